#include "util/mutex.h"

#include <sched.h>
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

/* Tries until it is done or has been tried for long enough; at once if there is nobody else who could be about to change it. */
static bool look(bool (*try)(void *what), void *what)
{
	int64_t until;

	if (try(what))
		return true;
	if (!has_company())
		return false;
	until = clock_monotonic() + mutex_look;
	do {
		pause_shortly();
		if (try(what))
			return true;
	} while (clock_monotonic() < until);
	return false;
}

static bool try_lock(void *mutex)
{
	return pthread_mutex_trylock(mutex) == 0;
}

void mutex_lock_soon(pthread_mutex_t *mutex)
{
	if (!look(try_lock, mutex))
		pthread_mutex_lock(mutex);
}

static bool is_any(void *count)
{
	return __atomic_load_n((unsigned *)count, __ATOMIC_RELAXED) > 0;
}

bool mutex_look_for(const unsigned *count)
{
	return look(is_any, (unsigned *)count);
}
