#include "ctl/terminal.h"

#include <stdlib.h>
#include <unistd.h>

#include "ctl/utf8.h"

/* Back to the beginning of the line, and erase it. */
static const char line_again[] = "\r\033[K";

/* Controls (C0, C1, DEL), characters that change the direction of text, and separators of lines and paragraphs. */
static bool is_unsafe(uint32_t point)
{
	return (point < 0x20 && point != '\t') || (point >= 0x7f && point <= 0x9f) || point == 0x61c ||
	       (point >= 0x200e && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) ||
	       (point >= 0x2066 && point <= 0x2069);
}

static void escape(FILE *to, struct slice text, bool keep_lines)
{
	const unsigned char *at = text.at, *end = at + text.len, *safe = at;

	while (at < end) {
		uint32_t point = 0;
		size_t len = utf8_character(slice_of(at, (size_t)(end - at)), &point);

		if (len && (!is_unsafe(point) || (keep_lines && point == '\n'))) {
			at += len;
			continue;
		}
		fwrite(safe, 1, (size_t)(at - safe), to);
		if (!len)
			fprintf(to, "\\x%02x", *at);
		else if (point == '\n')
			fputs("\\n", to);
		else
			fprintf(to, "\\u%04x", (unsigned)point);
		at += len ? len : 1;
		safe = at;
	}
	fwrite(safe, 1, (size_t)(at - safe), to);
}

void terminal_begin(void)
{
	setvbuf(stderr, NULL, _IOLBF, 0);
}

void terminal_part_va(FILE *to, const char *format, va_list args)
{
	char *text = NULL, cut[1024];
	va_list again;

	va_copy(again, args);
	if (vasprintf(&text, format, args) < 0) {
		/* Out of memory, which may be the message: as much of it as there is room for. */
		vsnprintf(cut, sizeof(cut), format, again);
		text = NULL;
	}
	va_end(again);
	escape(to, slice_str(text ? text : cut), false);
	free(text);
}

void terminal_line(FILE *to, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	terminal_part_va(to, format, args);
	va_end(args);
	terminal_line_end(to);
}

void terminal_part(FILE *to, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	terminal_part_va(to, format, args);
	va_end(args);
}

void terminal_line_end(FILE *to)
{
	putc('\n', to);
}

void terminal_text(FILE *to, struct slice text)
{
	if (!text.len)
		return;
	if (isatty(fileno(to)))
		escape(to, text, true);
	else
		fwrite(text.at, 1, text.len, to);
}

void terminal_name(const char *name)
{
	if (isatty(STDOUT_FILENO))
		escape(stdout, slice_str(name), false);
	else
		fputs(name, stdout);
	putc('\n', stdout);
}

void terminal_status(const char *format, ...)
{
	va_list args;

	fputs(line_again, stderr);
	va_start(args, format);
	terminal_part_va(stderr, format, args);
	va_end(args);
	fflush(stderr);
}

void terminal_status_end(void)
{
	fputs(line_again, stderr);
	fflush(stderr);
}
