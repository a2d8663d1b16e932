#include "bucket/name.h"

#include "bucket/verdict.h"
#include "test.h"

static void check(const char *given, const char *want)
{
	char out[name_max];
	size_t len = 0;

	assert_int_equal(name_normalise(S(given), out, &len), 0);
	assert_slice(slice_of(out, len), want);
}

static void test_normalise(void **state)
{
	(void)state;
	check("My Report (Final).PDF", "my_report_final_.pdf");
	check("日本語.txt", "_.txt");
	check("already_fine-1.0.csv", "already_fine-1.0.csv");
	check("a  b", "a_b");
	check("a _ b", "a___b"); /* an underscore of the name's own is no part of a run */
	check("..hidden", "..hidden");
	check("\n", "_");
	check("ÄÖ", "_");
}

static void test_normalise_is_idempotent(void **state)
{
	(void)state;
	for (int seed = 0; seed < 2000; seed++) {
		char given[40], once[name_max], twice[name_max];
		size_t len = 1 + (size_t)(seed % 39), first = 0, second = 0;

		srand((unsigned)seed);
		for (size_t i = 0; i < len; i++)
			given[i] = (char)(1 + rand() % 255);
		assert_int_equal(name_normalise(slice_of(given, len), once, &first), 0);
		assert_int_equal(name_normalise(slice_of(once, first), twice, &second), 0);
		assert_true(slice_equal(slice_of(once, first), slice_of(twice, second)));
	}
}

static void test_lengths(void **state)
{
	char given[300], out[name_max];
	size_t len = 0;

	(void)state;
	memset(given, 'a', sizeof(given));
	assert_int_equal(name_normalise(slice_of(given, 255), out, &len), 0);
	assert_int_equal(len, 255);
	assert_int_equal(name_normalise(slice_of(given, 256), out, &len), BUCKET_NAME_TOO_LONG);
	assert_int_equal(name_normalise(slice_of(given, 0), out, &len), BUCKET_INVALID);
}

static void test_bucket_id(void **state)
{
	static const char *const good[] = {"a", "nightly", "a_b_1", "0", "_"};
	static const char *const bad[] = {"", "A", "a-b", "a.b", "a b", "ä", ".bucketfs", "@job", "a/b"};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		assert_true(name_is_bucket_id(S(good[i])));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(name_is_bucket_id(S(bad[i])));
}

static void test_types(void **state)
{
	(void)state;
	assert_true(name_has_type(S("a.csv"), ".csv,.pdf"));
	assert_true(name_has_type(S("a.pdf"), ".csv,.pdf"));
	assert_false(name_has_type(S("a.txt"), ".csv,.pdf"));
	assert_false(name_has_type(S("csv"), ".csv,.pdf"));
	assert_true(name_has_type(S(".a.txt.Xy12"), ".csv"));
	assert_true(name_has_type(S("a.txt"), ""));
	assert_true(name_has_type(S("a.txt"), NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_normalise), cmocka_unit_test(test_normalise_is_idempotent),
		cmocka_unit_test(test_lengths),   cmocka_unit_test(test_bucket_id),
		cmocka_unit_test(test_types),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
