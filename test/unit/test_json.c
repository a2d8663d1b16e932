#include "bucket/json.h"

#include <dirent.h>

#include "bucket/document.h"
#include "bucket/verdict.h"
#include "test.h"

/* As the value of a key, which is how a document that is no object gets into a bucket. */
static int read_wrapped(struct slice text, struct document *out, struct reason *why)
{
	struct buf whole = {0};
	int r;

	buf_add_string(&whole, "{\"k\":");
	buf_add_slice(&whole, text);
	buf_add_string(&whole, "}");
	r = document_parse(buf_slice(&whole), 0, out, why);
	buf_release(&whole);
	return r;
}

static int collect(void *context, struct slice key, struct slice value)
{
	struct buf *out = context;

	buf_add_slice(out, key);
	buf_add_byte(out, '=');
	buf_add_slice(out, value);
	return buf_add_byte(out, '\n');
}

/* In pieces of any size the result is the same, good or bad. */
static int read_in_steps(struct slice text, size_t step, struct buf *out)
{
	struct json_sink sink = {collect, NULL, out};
	struct json_reader reader;
	struct reason why;
	int r = 0;

	json_reader_init(&reader, JSON_VALUE, &sink, 0);
	for (size_t at = 0; !r && at < text.len; at += step)
		r = json_reader_feed(&reader, (const char *)text.at + at, text.len - at < step ? text.len - at : step, &why);
	if (!r)
		r = json_reader_finish(&reader, &why);
	json_reader_release(&reader);
	return r;
}

static void read_file(const char *folder, const char *name, struct buf *out)
{
	char path[600];
	FILE *file;
	int c;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "rb");
	assert_non_null(file);
	while ((c = fgetc(file)) != EOF)
		buf_add_byte(out, (unsigned char)c);
	fclose(file);
}

static void check_file(const char *name, struct slice text)
{
	bool accept = strncmp(name, "accept-", 7) == 0;
	struct document d = {0};
	struct reason why = {.text = ""};
	struct buf whole = {0}, steps = {0};
	int r = read_wrapped(text, &d, &why), once = read_in_steps(text, text.len ? text.len : 1, &whole);

	for (size_t step = 1; step < 4; step++) {
		buf_clear(&steps);
		assert_int_equal(read_in_steps(text, step, &steps), once);
		if (once == 0)
			assert_true(slice_equal(buf_slice(&whole), buf_slice(&steps)));
	}
	if (accept && (r || once))
		fail_msg("%s: refused: %s", name, why.text);
	if (!accept && (r == 0 || once == 0))
		fail_msg("%s: accepted", name);
	if (!accept)
		assert_true(*why.text);
	document_release(&d);
	buf_release(&whole);
	buf_release(&steps);
}

static void test_corpus(void **state)
{
	char folder[500];
	struct dirent *entry;
	unsigned count = 0;
	DIR *d;

	(void)state;
	snprintf(folder, sizeof(folder), "%s/json", getenv("BUCKETFS_ASSETS"));
	d = opendir(folder);
	assert_non_null(d);
	while ((entry = readdir(d))) {
		struct buf text = {0};

		if (entry->d_name[0] == '.')
			continue;
		read_file(folder, entry->d_name, &text);
		check_file(entry->d_name, buf_slice(&text));
		buf_release(&text);
		count++;
	}
	closedir(d);
	assert_true(count > 100);
}

static void refuse(const char *text, const char *reason)
{
	struct document d = {0};
	struct reason why = {.text = ""};
	int r = document_parse(S(text), 0, &d, &why);

	if (!r)
		fail_msg("accepted: %s", text);
	if (!strstr(why.text, reason))
		fail_msg("reason \"%s\" does not say \"%s\"", why.text, reason);
}

static void test_reasons(void **state)
{
	(void)state;
	refuse("{\n  \"a\": 1,\n  \"b\" 2\n}", "line 3, column 7: expected ':'");
	refuse("[1]", "expected '{'");
	refuse("{\"a\": 01}", "leading zero");
	refuse("{\"a\": 1", "ends here");
	refuse("", "empty");
	refuse("\xff\xfe{", "UTF-16");
}

static void accept(struct slice text, const char *want)
{
	struct document d = {0};
	struct reason why = {.text = ""};
	struct buf out = {0};

	if (document_parse(text, 0, &d, &why))
		fail_msg("%.*s: %s", (int)text.len, (const char *)text.at, why.text);
	for (size_t i = 0; i < d.count; i++) {
		struct member_view m = document_member(&d, i);

		buf_add_slice(&out, m.text);
		buf_add_byte(&out, ':');
		buf_add_slice(&out, m.value);
		buf_add_byte(&out, ';');
	}
	assert_slice(buf_slice(&out), want);
	buf_release(&out);
	document_release(&d);
}

static void test_documents(void **state)
{
	(void)state;
	accept(S("{}"), "");
	accept(S("{\"b\": 1, \"a\": [1, 2]}"), "\"a\":[1,2];\"b\":1;");
	accept(S("{\"a\":1}{\"b\":2}\n{\"a\":3}"), "\"a\":3;\"b\":2;");
	accept(S("\xef\xbb\xbf{\"a\":1}"), "\"a\":1;");
	accept(S("{\"\\u0061\":1,\"a\":2}"), "\"a\":2;");
	accept(S("{\"a\":{\"x\" : \" y \" , \"z\" : [ ] }}"), "\"a\":{\"x\":\" y \",\"z\":[]};");
}

static void test_utf16(void **state)
{
	struct document d = {0};
	struct reason why = {.text = ""};

	(void)state;
	assert_int_equal(document_parse(slice_of("{\0\"\0", 4), 0, &d, &why), BUCKET_INVALID);
	assert_non_null(strstr(why.text, "UTF-16"));
	assert_int_equal(document_parse(slice_of("\0{\0\"", 4), 0, &d, &why), BUCKET_INVALID);
	assert_non_null(strstr(why.text, "UTF-16"));
	assert_int_equal(document_parse(S("\xef\xbb{}"), 0, &d, &why), BUCKET_INVALID);
	assert_int_equal(document_parse(S("\xef\xbb\xbf"), 0, &d, &why), BUCKET_INCOMPLETE);
}

static void round_trip(struct slice bytes, const char *quoted)
{
	struct buf q = {0}, back = {0};

	assert_int_equal(json_quote(bytes, &q), 0);
	assert_slice(buf_slice(&q), quoted);
	assert_int_equal(json_unquote(buf_slice(&q), &back), 0);
	assert_true(slice_equal(buf_slice(&back), bytes));
	buf_release(&q);
	buf_release(&back);
}

static void test_quoting(void **state)
{
	(void)state;
	round_trip(S("plain"), "\"plain\"");
	round_trip(S(""), "\"\"");
	round_trip(S("a\"b\\c/d"), "\"a\\\"b\\\\c/d\"");
	round_trip(slice_of("\0\b\f\n\r\t\x1f\x7f", 8), "\"\\u0000\\b\\f\\n\\r\\t\\u001f\x7f\"");
	round_trip(S("\xed\xa0\x80x"), "\"\\ud800x\"");
	round_trip(S("\xf0\x9f\x98\x80"), "\"\xf0\x9f\x98\x80\"");
}

static void test_text_max(void **state)
{
	struct document d = {0};
	struct reason why = {.text = ""};

	(void)state;
	assert_int_equal(document_parse(S("{\"a\":\"0123456789\"}"), 10, &d, &why), BUCKET_TOO_LARGE);
	assert_int_equal(document_parse(S("{\"a\":1,\"b\":2,\"c\":3,\"d\":4}"), 10, &d, &why), 0);
	document_release(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_corpus),    cmocka_unit_test(test_reasons), cmocka_unit_test(test_documents),
		cmocka_unit_test(test_utf16),     cmocka_unit_test(test_quoting), cmocka_unit_test(test_text_max),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
