/* Text that is no UTF-8 becomes UTF-8, and JSON that cJSON can read. */
#include "ctl/utf8.h"

#include "encode.h"
#include "test.h"

static void check_mended(const char *text, const char *want)
{
	struct buf mended = {0};

	assert_int_equal(buf_add_string(&mended, text), 0);
	assert_int_equal(utf8_mend(&mended), 0);
	assert_slice(buf_slice(&mended), want);
	buf_release(&mended);
}

static void check_json(const char *text, const char *want)
{
	struct buf out = {0};
	/* With nothing behind it that could be read. */
	char *copy = memcpy(test_malloc(strlen(text)), text, strlen(text));

	assert_int_equal(utf8_add_json(&out, slice_of(copy, strlen(text))), 0);
	assert_slice(buf_slice(&out), want);
	test_free(copy);
	buf_release(&out);
}

static void test_mend(void **state)
{
	char text[5];

	(void)state;
	for (uint32_t point = 1; point < point_count; point++) {
		encode(point, text);
		check_mended(text, is_surrogate(point) ? "\ufffd\ufffd\ufffd" : text);
	}
	check_mended("", "");
	check_mended("a\xff" "b\xe2\x82", "a\ufffd" "b\ufffd\ufffd");
}

static void test_json(void **state)
{
	(void)state;
	check_json("{\"a\": \"\xff\\\\ud800\\\"\"}", "{\"a\": \"\ufffd\\\\ud800\\\"\"}");
	check_json("\"\\ud800\"", "\"\ufffd\"");
	check_json("\"\\udc00\\ud800\"", "\"\ufffd\ufffd\"");
	check_json("\"\\ud83d\\ude00\\uD83D\\uDE00\"", "\"\\ud83d\\ude00\\uD83D\\uDE00\"");
	check_json("\"\\ud83d\\ud83d\\ude00\"", "\"\ufffd\\ud83d\\ude00\"");
	check_json("\"\\u00e9\\n\"", "\"\\u00e9\\n\"");
	/* No JSON, but no reading past the end either. */
	check_json("\\", "\\");
	check_json("\\\xff", "\\\ufffd");
	check_json("\\ud8", "\\ud8");
	check_json("\\ud800\\u", "\ufffd\\u");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mend),
		cmocka_unit_test(test_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
