#include "bucket/document.h"

#include "test.h"

static void render(const struct document *d, struct buf *out)
{
	document_render_begin(out);
	for (size_t i = 0; i < d->count; i++) {
		struct member_view m = document_member(d, i);

		document_render_member(out, i == 0, m.text, m.value);
	}
	document_render_end(out, d->count == 0);
}

static void check(const char *text, const char *want)
{
	struct document d = {0};
	struct buf out = {0};
	uint64_t size = document_size_empty;

	assert_int_equal(document_parse(S(text), 0, &d, NULL), 0);
	render(&d, &out);
	assert_slice(buf_slice(&out), want);
	for (size_t i = 0; i < d.count; i++) {
		struct member_view m = document_member(&d, i);

		size += document_size_member(m.text.len, m.value.len);
	}
	/* What stat says without rendering. */
	assert_int_equal(size, out.len);
	buf_release(&out);
	document_release(&d);
}

static void test_render(void **state)
{
	(void)state;
	check("{}", "{}\n");
	check("{\"a\":1}", "{\n  \"a\": 1\n}\n");
	check("{\"z\":[1, 2],\"a\":{\"x\": null},\"B\":\"s\"}",
	      "{\n  \"B\": \"s\",\n  \"a\": {\"x\":null},\n  \"z\": [1,2]\n}\n");
	check("{\"\\u00e9\":1,\"z\":2}", "{\n  \"z\": 2,\n  \"\\u00e9\": 1\n}\n");
}

static void test_find(void **state)
{
	struct document d = {0};
	struct member_view m;

	(void)state;
	assert_int_equal(document_parse(S("{\"a\":1,\"c\":3,\"b\":2,\"a\":4}"), 0, &d, NULL), 0);
	assert_int_equal(d.count, 3);
	assert_true(document_find(&d, S("a"), &m));
	assert_slice(m.value, "4");
	assert_true(document_find(&d, S("c"), &m));
	assert_false(document_find(&d, S("aa"), &m));
	assert_false(document_find(&d, S(""), &m));
	document_release(&d);
}

static void test_codec(void **state)
{
	struct buf record = {0}, scratch = {0};
	struct member_view m;

	(void)state;
	assert_int_equal(document_encode(&record, S("a"), S("\"a\""), S("[1]")), 0);
	assert_int_equal(record.len, 4); /* the usual spelling is not stored */
	assert_int_equal(document_decode(S("a"), buf_slice(&record), &scratch, &m), 0);
	assert_slice(m.text, "\"a\"");
	assert_slice(m.value, "[1]");
	buf_clear(&record);
	assert_int_equal(document_encode(&record, S("a"), S("\"\\u0061\""), S("1")), 0);
	assert_int_equal(document_decode(S("a"), buf_slice(&record), &scratch, &m), 0);
	assert_slice(m.text, "\"\\u0061\"");
	for (size_t len = 0; len < 6; len++)
		assert_int_not_equal(document_decode(S("a"), slice_of(record.data, len), &scratch, &m), 0);
	buf_release(&record);
	buf_release(&scratch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_render), cmocka_unit_test(test_find),
					   cmocka_unit_test(test_codec)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
