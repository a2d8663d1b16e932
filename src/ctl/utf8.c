#include "ctl/utf8.h"

#include <ctype.h>
#include <stdlib.h>

static const char replacement[] = "\xef\xbf\xbd";

size_t utf8_character(struct slice text, uint32_t *point)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char *at = text.at;
	size_t len;
	uint32_t value;

	if (!text.len)
		return 0;
	len = at[0] < 0x80 ? 1 : at[0] < 0xc0 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : at[0] < 0xf8 ? 4 : 0;
	if (!len || len > text.len)
		return 0;
	value = len == 1 ? at[0] : at[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | (at[i] & 0x3f);
	}
	/* Longer than it need be, a surrogate, or beyond the last code point. */
	if (value < smallest[len] || (value >= 0xd800 && value < 0xe000) || value > 0x10ffff)
		return 0;
	*point = value;
	return len;
}

static bool is_whole(struct slice text)
{
	uint32_t point;
	size_t len;

	for (; text.len; text = slice_of((const char *)text.at + len, text.len - len)) {
		len = utf8_character(text, &point);
		if (!len)
			return false;
	}
	return true;
}

/* The hexadecimal digits after \u at the beginning of `text`; -1: there is no such escape. */
static long escape(struct slice text)
{
	const char *at = text.at;
	char digits[5] = "";

	if (text.len < 6 || at[0] != '\\' || at[1] != 'u')
		return -1;
	memcpy(digits, at + 2, 4);
	for (int i = 0; i < 4; i++)
		if (!isxdigit((unsigned char)digits[i]))
			return -1;
	return strtol(digits, NULL, 16);
}

/* The length of the escape that `text` begins with. *lone: half a surrogate pair. */
static size_t escape_len(struct slice text, bool *lone)
{
	long first = escape(text), second;

	*lone = false;
	if (first < 0)
		return text.len > 1 && ((const unsigned char *)text.at)[1] < 0x80 ? 2 : 1;
	if (first < 0xd800 || first > 0xdfff)
		return 6;
	second = escape(slice_of((const char *)text.at + 6, text.len - 6));
	*lone = first > 0xdbff || second < 0xdc00 || second > 0xdfff;
	return *lone ? 6 : 12;
}

static int add_mended(struct buf *out, struct slice text, bool json)
{
	const char *at = text.at, *end = at + text.len;
	int r = 0;

	while (at < end && !r) {
		struct slice rest = {at, (size_t)(end - at)};
		bool lone = false;
		uint32_t point;
		size_t len = json && *at == '\\' ? escape_len(rest, &lone) : utf8_character(rest, &point);

		r = !len || lone ? buf_add_string(out, replacement) : buf_add(out, at, len);
		at += len ? len : 1;
	}
	return r;
}

int utf8_mend(struct buf *text)
{
	struct buf mended = {0};
	int r;

	if (is_whole(buf_slice(text)))
		return 0;
	r = add_mended(&mended, buf_slice(text), false);
	if (r) {
		buf_release(&mended);
		return r;
	}
	buf_release(text);
	*text = mended;
	return 0;
}

int utf8_add_json(struct buf *out, struct slice text)
{
	return add_mended(out, text, true);
}
