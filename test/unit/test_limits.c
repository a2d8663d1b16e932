#include "bucket/limits.h"

#include "bucket/verdict.h"
#include "test.h"

static void test_set(void **state)
{
	struct limits l = limits_default;

	(void)state;
	assert_int_equal(limits_set(&l, S("max_data_size"), "2M", NULL), 0);
	assert_int_equal(l.max_data_size, 2 << 20);
	assert_int_equal(limits_set(&l, S("max_files"), "7", NULL), 0);
	assert_int_equal(l.max_files, 7);
	assert_int_equal(limits_set(&l, S("max_total_size"), "1t", NULL), 0);
	assert_int_equal(l.max_total_size, 1ULL << 40);
	assert_int_equal(limits_set(&l, S("max_file_size"), "0", NULL), 0);
	assert_int_equal(l.max_file_size, 0);
	assert_int_equal(limits_set(&l, S("reserve"), "2.5%", NULL), 0);
	assert_int_equal(l.reserve_permille, 25);
	assert_int_equal(limits_set(&l, S("accepted_file_types"), ".csv:.pdf", NULL), 0);
	assert_string_equal(l.accepted_file_types, ".csv,.pdf");
	assert_int_equal(limits_set(&l, S("colour"), "red", NULL), BUCKET_ABSENT);
}

static void test_refuses(void **state)
{
	static const char *const bad[][2] = {{"max_data_size", ""}, {"max_data_size", "-1"}, {"max_data_size", "1x"},
					     {"max_data_size", "1MB"}, {"max_files", "99999999999999999999"}, {"max_file_size", "9000000T"},
					     {"reserve", "5x"}, {"reserve", "100%"}, {"reserve", "x%"}, {"reserve", "0x5%"},
					     {"reserve", "1e1"}, {"reserve", "99.01"}, {"accepted_file_types", "csv"},
					     {"accepted_file_types", ".csv:pdf"}};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct limits l = limits_default;
		struct reason why = {.text = ""};

		if (limits_set(&l, S(bad[i][0]), bad[i][1], &why) != BUCKET_INVALID)
			fail_msg("accepted: %s=%s", bad[i][0], bad[i][1]);
		assert_true(*why.text);
		/* A limit that is refused changes nothing. */
		assert_memory_equal(&l, &limits_default, sizeof(l));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_set), cmocka_unit_test(test_refuses)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
