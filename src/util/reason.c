#include "util/reason.h"

#include <stdarg.h>
#include <stdio.h>

/* UTF-8 that was cut off within a character. */
static void drop_partial_character(char *text, size_t len)
{
	size_t start = len;

	while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
		start--;
	if (start > 0 && (unsigned char)text[start - 1] >= 0xc0)
		text[start - 1] = 0;
}

static void set(struct reason *why, bool own, const char *format, va_list args)
{
	int len = vsnprintf(why->text, sizeof(why->text), format, args);

	if (len >= (int)sizeof(why->text))
		drop_partial_character(why->text, sizeof(why->text) - 1);
	why->own = own;
}

void reason_set(struct reason *why, const char *format, ...)
{
	va_list args;

	if (!why)
		return;
	va_start(args, format);
	set(why, false, format, args);
	va_end(args);
}

void reason_set_own(struct reason *why, const char *format, ...)
{
	va_list args;

	if (!why)
		return;
	va_start(args, format);
	set(why, true, format, args);
	va_end(args);
}
