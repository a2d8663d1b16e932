#include "store/reserve.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "util/log.h"

/* In pieces, because a heap in use seldom has much in one. */
enum { pieces = 64, piece_bytes = 512 << 10, small_ask = 64 << 10, wait_ms = 20, tell_ms = 10000, look_ms = 100 };

static void *piece[pieces]; /* atomic */
static bool begun, low;     /* atomic */
static sem_t given_up;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	reserve_changed *changed;
	void *context;
} watcher;

static void pause_ms(unsigned ms)
{
	nanosleep(&(struct timespec){ms / 1000, (long)(ms % 1000) * 1000000}, NULL);
}

/* False: there was nothing left of it. */
static bool give_up(void)
{
	bool some = false;

	for (int i = 0; i < pieces; i++) {
		void *p = __atomic_exchange_n(&piece[i], NULL, __ATOMIC_ACQ_REL);

		some |= p != NULL;
		free(p);
	}
	if (some && !__atomic_exchange_n(&low, true, __ATOMIC_ACQ_REL))
		sem_post(&given_up);
	return some;
}

static bool fill(void)
{
	for (int i = 0; i < pieces; i++) {
		void *p;

		if (__atomic_load_n(&piece[i], __ATOMIC_ACQUIRE))
			continue;
		p = malloc(piece_bytes);
		if (!p)
			return false;
		__atomic_store_n(&piece[i], p, __ATOMIC_RELEASE);
	}
	return true;
}

static void tell(bool is_low)
{
	pthread_mutex_lock(&lock);
	if (watcher.changed)
		watcher.changed(watcher.context, is_low);
	pthread_mutex_unlock(&lock);
}

/* The thread that gives the reserve up holds locks of RocksDB's. So this one makes room and takes the reserve again. */
static void *serve(void *argument)
{
	(void)argument;
	for (;;) {
		while (sem_wait(&given_up))
			;
		log_warning("memory is short: what needs more of it is refused with ENOMEM until there is room");
		tell(true);
		do
			pause_ms(look_ms);
		while (!fill());
		__atomic_store_n(&low, false, __ATOMIC_RELEASE);
		tell(false);
		log_info("there is memory again");
	}
	return NULL;
}

/* A store that is opened needs the reserve, stacks for its threads, and arenas of malloc's. RocksDB ends the process if it cannot
 * make a thread. */
static bool there_is_room(void)
{
	size_t size = (size_t)256 << 20;
	void *p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return false;
	munmap(p, size);
	return true;
}

int reserve_begin(void)
{
	static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
	pthread_t thread;
	int r = 0;

	pthread_mutex_lock(&once);
	if (!begun) {
		sem_init(&given_up, 0, 0);
		r = there_is_room() && fill() ? -pthread_create(&thread, NULL, serve, NULL) : -ENOMEM;
		if (!r) {
			pthread_setname_np(thread, "reserve");
			pthread_detach(thread);
			__atomic_store_n(&begun, true, __ATOMIC_RELEASE);
		}
	}
	pthread_mutex_unlock(&once);
	return r;
}

void reserve_watch(reserve_changed *changed, void *context)
{
	pthread_mutex_lock(&lock);
	watcher.changed = changed;
	watcher.context = context;
	pthread_mutex_unlock(&lock);
}

int reserve_ask(size_t bytes)
{
	void *p;

	if (__atomic_load_n(&low, __ATOMIC_ACQUIRE))
		return -ENOMEM;
	if (bytes <= small_ask)
		return 0;
	/* The compiler must not see that nobody uses it. */
	p = malloc(bytes);
	__asm__ volatile("" : : "r"(p) : "memory");
	if (!p)
		return -ENOMEM;
	free(p);
	return 0;
}

/* Not malloc, which may lead here (reserve_malloc.c). */
static void *take(size_t size, size_t align)
{
	void *p = NULL;

	if (align < 2 * sizeof(void *))
		align = 2 * sizeof(void *);
	return posix_memalign(&p, align, size ? size : 1) ? NULL : p;
}

/* RocksDB waits meanwhile, however long that is: the mount stands still, and goes on when there is memory. */
void *reserve_take(size_t size, size_t align, bool may_fail)
{
	static const char text[] = "bucketfs: error: there is no memory: the mount waits for some\n";
	void *p = NULL;

	for (unsigned waited = 0; !p; waited += wait_ms) {
		while (give_up() && !(p = take(size, align)))
			;
		if (!p)
			p = take(size, align);
		if (p || may_fail)
			return p;
		/* The log would need memory. */
		if (waited % tell_ms == tell_ms - wait_ms) {
			ssize_t told = write(2, text, sizeof(text) - 1);

			(void)told;
		}
		pause_ms(wait_ms);
	}
	return p;
}

#if RESERVE_FOR_NEW

/* The Itanium C++ ABI's names of operator new and delete. */
struct nothrow;
#define NEW(name)                                                        \
	void *name(size_t size);                                         \
	void *name(size_t size)                                          \
	{                                                                \
		void *p = take(size, 1);                                 \
		return p ? p : reserve_take(size, 1, false);        \
	}
#define NEW_ALIGNED(name)                                                \
	void *name(size_t size, size_t align);                           \
	void *name(size_t size, size_t align)                            \
	{                                                                \
		void *p = take(size, align);                             \
		return p ? p : reserve_take(size, align, false);    \
	}
#define NEW_NOTHROW(name)                                                \
	void *name(size_t size, const struct nothrow *tag);              \
	void *name(size_t size, const struct nothrow *tag)               \
	{                                                                \
		void *p = take(size, 1);                                 \
		(void)tag;                                               \
		return p ? p : reserve_take(size, 1, true);         \
	}
#define NEW_ALIGNED_NOTHROW(name)                                        \
	void *name(size_t size, size_t align, const struct nothrow *tag); \
	void *name(size_t size, size_t align, const struct nothrow *tag) \
	{                                                                \
		void *p = take(size, align);                             \
		(void)tag;                                               \
		return p ? p : reserve_take(size, align, true);     \
	}
#define DELETE(name, parameters) \
	void name parameters;    \
	void name parameters     \
	{                        \
		free(p);         \
	}
NEW(_Znwm)
NEW(_Znam)
NEW_ALIGNED(_ZnwmSt11align_val_t)
NEW_ALIGNED(_ZnamSt11align_val_t)
NEW_NOTHROW(_ZnwmRKSt9nothrow_t)
NEW_NOTHROW(_ZnamRKSt9nothrow_t)
NEW_ALIGNED_NOTHROW(_ZnwmSt11align_val_tRKSt9nothrow_t)
NEW_ALIGNED_NOTHROW(_ZnamSt11align_val_tRKSt9nothrow_t)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
DELETE(_ZdlPv, (void *p))
DELETE(_ZdaPv, (void *p))
DELETE(_ZdlPvm, (void *p, size_t size))
DELETE(_ZdaPvm, (void *p, size_t size))
DELETE(_ZdlPvSt11align_val_t, (void *p, size_t align))
DELETE(_ZdaPvSt11align_val_t, (void *p, size_t align))
DELETE(_ZdlPvmSt11align_val_t, (void *p, size_t size, size_t align))
DELETE(_ZdaPvmSt11align_val_t, (void *p, size_t size, size_t align))
DELETE(_ZdlPvRKSt9nothrow_t, (void *p, const struct nothrow *tag))
DELETE(_ZdaPvRKSt9nothrow_t, (void *p, const struct nothrow *tag))
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, (void *p, size_t align, const struct nothrow *tag))
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, (void *p, size_t align, const struct nothrow *tag))
#pragma GCC diagnostic pop

#endif
