#include "util/mutex.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "test.h"
#include "util/clock.h"

enum { threads = 4, rounds = 20000 };

struct shared {
	pthread_mutex_t mutex;
	atomic_bool held;
	int64_t held_for; /* ns */
	unsigned count;   /* by all, under the mutex */
	bool overlap;     /* likewise */
};

static void *count(void *argument)
{
	struct shared *s = argument;

	for (int i = 0; i < rounds; i++) {
		mutex_lock_soon(&s->mutex);
		s->overlap |= atomic_exchange(&s->held, true);
		s->count++;
		atomic_store(&s->held, false);
		pthread_mutex_unlock(&s->mutex);
	}
	return NULL;
}

static void test_one_at_a_time(void **state)
{
	struct shared s = {.mutex = PTHREAD_MUTEX_INITIALIZER};
	pthread_t thread[threads];

	(void)state;
	for (int i = 0; i < threads; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, count, &s), 0);
	for (int i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	assert_false(s.overlap);
	assert_int_equal(s.count, threads * rounds);
}

static void *hold(void *argument)
{
	struct shared *s = argument;
	struct timespec t = {0, s->held_for};

	pthread_mutex_lock(&s->mutex);
	atomic_store(&s->held, true);
	nanosleep(&t, NULL);
	atomic_store(&s->held, false);
	pthread_mutex_unlock(&s->mutex);
	return NULL;
}

static int64_t processor_time(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Held for much longer than anybody looks: waited for asleep. */
static void test_held_long(void **state)
{
	struct shared s = {.mutex = PTHREAD_MUTEX_INITIALIZER, .held_for = 300000000};
	int64_t before;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, hold, &s), 0);
	while (!atomic_load(&s.held))
		sched_yield();
	before = processor_time();
	mutex_lock_soon(&s.mutex);
	assert_false(atomic_load(&s.held));
	assert_true(processor_time() - before < s.held_for / 2);
	pthread_mutex_unlock(&s.mutex);
	pthread_join(thread, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_at_a_time), cmocka_unit_test(test_held_long)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
