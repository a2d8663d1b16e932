#include "util/mutex.h"

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "util/clock.h"

/* Whether the process may use several processors. Its first thread's set tells: others may have one of their own. */
static bool has_company(void)
{
	static int processors; /* atomic */
	int n = __atomic_load_n(&processors, __ATOMIC_RELAXED);
	cpu_set_t set;

	if (!n) {
		n = sched_getaffinity(getpid(), sizeof(set), &set) ? 2 : CPU_COUNT(&set);
		__atomic_store_n(&processors, n, __ATOMIC_RELAXED);
	}
	return n > 1;
}

/* For about half a microsecond: whoever has the mutex needs the memory that it is in. */
static void pause_shortly(void)
{
	for (int i = 0; i < 32; i++) {
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#elif defined(__aarch64__)
		__asm__ volatile("yield");
#else
		__asm__ volatile("");
#endif
	}
}

void mutex_lock_soon(pthread_mutex_t *mutex)
{
	int64_t until;

	if (pthread_mutex_trylock(mutex) == 0)
		return;
	if (has_company()) {
		until = clock_monotonic() + mutex_look;
		do {
			pause_shortly();
			if (pthread_mutex_trylock(mutex) == 0)
				return;
		} while (clock_monotonic() < until);
	}
	pthread_mutex_lock(mutex);
}
