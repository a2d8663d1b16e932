/* bucketctl prints every code point and every byte. */
#include "ctl/terminal.h"

#include <fcntl.h>
#include <pty.h>
#include <termios.h>
#include <unistd.h>

#include "encode.h"
#include "test.h"

/* By Unicode's own names: Cc, Bidi_Control, Zl and Zp; less the tab. */
static bool is_unsafe(uint32_t point)
{
	static const uint32_t others[] = {0x61c, 0x200e, 0x200f, 0x2028, 0x2029, 0x202a, 0x202b, 0x202c, 0x202d, 0x202e,
					  0x2066, 0x2067, 0x2068, 0x2069};

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		if (point == others[i])
			return true;
	return (point < 0x20 && point != '\t') || (point >= 0x7f && point < 0xa0);
}

static char *line_of(const char *text)
{
	char *out = NULL;
	size_t len;
	FILE *to = open_memstream(&out, &len);

	assert_non_null(to);
	terminal_line(to, "%s|%s", text, text);
	fclose(to);
	return out;
}

static void assert_line(const char *text, const char *want)
{
	char *got = line_of(text), *whole;

	assert_true(asprintf(&whole, "%s|%s\n", want, want) > 0);
	assert_string_equal(got, whole);
	free(got);
	free(whole);
}

static void test_every_code_point(void **state)
{
	char text[5], want[24];

	(void)state;
	for (uint32_t point = 1; point < point_count; point++) {
		size_t len = encode(point, text);

		if (is_surrogate(point))
			snprintf(want, sizeof(want), "\\x%02x\\x%02x\\x%02x", (unsigned char)text[0],
				 (unsigned char)text[1], (unsigned char)text[2]);
		else if (point == '\n')
			snprintf(want, sizeof(want), "\\n");
		else if (is_unsafe(point))
			snprintf(want, sizeof(want), "\\u%04x", (unsigned)point);
		else
			snprintf(want, sizeof(want), "%.*s", (int)len, text);
		assert_line(text, want);
	}
}

static void test_what_is_no_utf8(void **state)
{
	char text[3] = "", want[16];

	(void)state;
	for (unsigned byte = 0x80; byte < 0x100; byte++) {
		text[0] = (char)byte;
		text[1] = 0;
		snprintf(want, sizeof(want), "\\x%02x", byte);
		assert_line(text, want);
		/* The byte that follows is a character of its own. */
		text[1] = 'x';
		snprintf(want, sizeof(want), "\\x%02xx", byte);
		assert_line(text, want);
	}
	assert_line("\xc0\x80", "\\xc0\\x80");
	assert_line("\xc1\x9b", "\\xc1\\x9b");
	assert_line("\xe0\x82\x9b", "\\xe0\\x82\\x9b");
	assert_line("\xf0\x80\x80\x9b", "\\xf0\\x80\\x80\\x9b");
	assert_line("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80");
	assert_line("\xe2\x82\x1b", "\\xe2\\x82\\u001b");
	assert_line("\xe2\x82\xc3\xbc", "\\xe2\\x82\xc3\xbc");
}

/* terminal_text and terminal_name write `want` into a pipe, or to a terminal that adds nothing. */
static void check_written(bool is_terminal, struct slice text, const char *name, struct slice want)
{
	int ours = -1, theirs, saved = dup(STDOUT_FILENO);
	struct termios mode;
	char got[256];
	ssize_t len;

	if (is_terminal) {
		assert_int_equal(openpty(&ours, &theirs, NULL, NULL, NULL), 0);
		tcgetattr(theirs, &mode);
		cfmakeraw(&mode);
		tcsetattr(theirs, TCSANOW, &mode);
	} else {
		int ends[2];

		assert_int_equal(pipe(ends), 0);
		ours = ends[0];
		theirs = ends[1];
	}
	fflush(stdout);
	dup2(theirs, STDOUT_FILENO);
	terminal_text(stdout, text);
	terminal_name(name);
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	len = read(ours, got, sizeof(got));
	close(saved);
	close(theirs);
	close(ours);
	assert_true(len >= 0);
	assert_true(slice_equal(slice_of(got, (size_t)len), want));
}

static void test_text_and_names(void **state)
{
	static const char text[] = "a\0b\x1b\t\xff\r\n\"\\n\xc2\x9b\"", name[] = "n\n\x1b\xff";
	static const char raw[] = "a\0b\x1b\t\xff\r\n\"\\n\xc2\x9b\"n\n\x1b\xff\n";
	static const char shown[] = "a\\u0000b\\u001b\t\\xff\\u000d\n\"\\n\\u009b\"n\\n\\u001b\\xff\n";

	(void)state;
	check_written(false, slice_of(text, sizeof(text) - 1), name, slice_of(raw, sizeof(raw) - 1));
	check_written(true, slice_of(text, sizeof(text) - 1), name, slice_of(shown, sizeof(shown) - 1));
	check_written(true, slice_of(NULL, 0), "", slice_str("\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_code_point),
		cmocka_unit_test(test_what_is_no_utf8),
		cmocka_unit_test(test_text_and_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
