#include "bucket/fresh.h"

#include <stdio.h>

#include "test.h"

enum { folder = 7 };

static struct slice name_of(char text[16], int i)
{
	snprintf(text, 16, "f%06d", i);
	return slice_str(text);
}

static void test_names(void **state)
{
	enum { count = 5000 };
	struct fresh *f;
	char text[16];
	int lacking = 0;

	(void)state;
	assert_int_equal(fresh_new(&f), 0);
	/* Of a folder that it was not told of it knows nothing. */
	assert_false(fresh_lacks(f, folder, slice_str("a")));
	fresh_add(f, folder, slice_str("a"));
	assert_false(fresh_lacks(f, folder, slice_str("b")));
	fresh_begin(f, folder);
	assert_true(fresh_lacks(f, folder, slice_str("a")));
	assert_false(fresh_lacks(f, folder + 1, slice_str("a")));
	for (int i = 0; i < count; i++) {
		fresh_add(f, folder, name_of(text, i));
		fresh_add(f, folder, name_of(text, i));
		assert_false(fresh_lacks(f, folder, slice_str(text)));
	}
	for (int i = 0; i < count; i++)
		assert_false(fresh_lacks(f, folder, name_of(text, i)));
	/* One in a million may look like another. */
	for (int i = count; i < 2 * count; i++)
		lacking += fresh_lacks(f, folder, name_of(text, i));
	assert_true(lacking > count - 10);
	fresh_free(f);
}

static void test_too_many_names(void **state)
{
	struct fresh *f;
	char text[16];

	(void)state;
	assert_int_equal(fresh_new(&f), 0);
	fresh_begin(f, folder);
	for (int i = 0; i < fresh_names; i++)
		fresh_add(f, folder, name_of(text, i));
	assert_true(fresh_lacks(f, folder, slice_str("another")));
	for (int i = 0; i < fresh_names; i++)
		fresh_add(f, folder, name_of(text, fresh_names + i));
	assert_false(fresh_lacks(f, folder, slice_str("another")));
	fresh_free(f);
}

static void test_too_many_folders(void **state)
{
	struct fresh *f;

	(void)state;
	assert_int_equal(fresh_new(&f), 0);
	for (uint64_t i = 0; i < fresh_folders; i++) {
		fresh_begin(f, folder + i);
		fresh_add(f, folder + i, slice_str("a"));
	}
	/* Begun again, each is what it was, and none makes room. */
	for (uint64_t i = fresh_folders; i-- > 0;) {
		fresh_begin(f, folder + i);
		assert_false(fresh_lacks(f, folder + i, slice_str("a")));
	}
	for (uint64_t i = 1; i < fresh_folders; i++)
		assert_true(fresh_lacks(f, folder + i, slice_str("b")));
	/* The first was used again, so the second makes room, … */
	assert_true(fresh_lacks(f, folder, slice_str("b")));
	fresh_begin(f, 1000);
	assert_false(fresh_lacks(f, folder + 1, slice_str("b")));
	assert_true(fresh_lacks(f, folder, slice_str("b")));
	assert_false(fresh_lacks(f, folder, slice_str("a")));
	/* … and nothing of it is in the new one. */
	assert_true(fresh_lacks(f, 1000, slice_str("a")));
	fresh_free(f);
	fresh_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_too_many_names),
					   cmocka_unit_test(test_too_many_folders)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
