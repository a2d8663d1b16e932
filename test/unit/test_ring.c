/* When a ring gives way (fuse/ring.h). */
#include "fuse/ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const int64_t ms = 1000000;

static void test_gives_way_in_a_burst(void **state)
{
	struct ring_pace p = {0};

	(void)state;
	ring_judge(&p, false, false, 1000 * ms);
	assert_false(p.gives_way);
	ring_judge(&p, true, false, 1002 * ms);
	assert_true(p.gives_way);
	ring_judge(&p, true, false, 1004 * ms);
	assert_true(p.gives_way);
	ring_judge(&p, false, false, 1006 * ms);
	assert_false(p.gives_way);
	/* It was not that it starved: the next burst does not wait. */
	ring_judge(&p, true, false, 1008 * ms);
	assert_true(p.gives_way);
}

/* How long after starving it gives way again, if the burst goes on. */
static int64_t pause(struct ring_pace *p, int64_t *now)
{
	int64_t from;

	ring_judge(p, true, true, *now);
	assert_false(p->gives_way);
	for (from = *now; !p->gives_way; *now += ms) {
		assert_true(*now - from < 10000 * ms);
		ring_judge(p, true, false, *now);
	}
	return *now - from;
}

static void test_starving_ends_it_for_longer_and_longer(void **state)
{
	struct ring_pace p = {0};
	int64_t now = 1000 * ms, last = 0, first;

	(void)state;
	ring_judge(&p, true, false, now);
	first = pause(&p, &now);
	assert_true(first >= ring_wait_first);
	for (int i = 0; i < 12; i++) {
		int64_t next = pause(&p, &now);

		assert_true(next >= last && next <= ring_wait_most + 10 * ms);
		last = next;
	}
	assert_true(last >= ring_wait_most);
	/* It went well for a while: it counts from the beginning. */
	now += 2 * ring_short;
	assert_true(pause(&p, &now) <= first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gives_way_in_a_burst),
		cmocka_unit_test(test_starving_ends_it_for_longer_and_longer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
