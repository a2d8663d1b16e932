#include "util/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int buf_reserve(struct buf *b, size_t extra)
{
	size_t want, cap;
	void *grown;

	if (__builtin_add_overflow(b->len, extra, &want))
		return -ENOMEM;
	if (want <= b->cap)
		return 0;
	cap = b->cap ? b->cap : 64;
	while (cap < want)
		if (__builtin_mul_overflow(cap, 2, &cap))
			return -ENOMEM;
	grown = realloc(b->data, cap);
	if (!grown)
		return -ENOMEM;
	b->data = grown;
	b->cap = cap;
	return 0;
}

int buf_add(struct buf *b, const void *bytes, size_t len)
{
	int r;

	if (len == 0)
		return 0;
	r = buf_reserve(b, len);
	if (r)
		return r;
	memcpy(b->data + b->len, bytes, len);
	b->len += len;
	return 0;
}

int buf_add_slice(struct buf *b, struct slice s)
{
	return buf_add(b, s.at, s.len);
}

int buf_add_byte(struct buf *b, unsigned char byte)
{
	if (b->len == b->cap) {
		int r = buf_reserve(b, 1);

		if (r)
			return r;
	}
	b->data[b->len++] = byte;
	return 0;
}

int buf_add_string(struct buf *b, const char *text)
{
	return buf_add(b, text, strlen(text));
}

int buf_add_format(struct buf *b, const char *format, ...)
{
	va_list args;
	int len, r;

	va_start(args, format);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len < 0)
		return -EINVAL;
	r = buf_reserve(b, (size_t)len + 1);
	if (r)
		return r;
	va_start(args, format);
	vsnprintf((char *)b->data + b->len, (size_t)len + 1, format, args);
	va_end(args);
	b->len += (size_t)len;
	return 0;
}

int buf_resize(struct buf *b, size_t len)
{
	if (len > b->len) {
		int r = buf_reserve(b, len - b->len);

		if (r)
			return r;
		memset(b->data + b->len, 0, len - b->len);
	}
	b->len = len;
	return 0;
}

int buf_write_at(struct buf *b, size_t at, const void *bytes, size_t len)
{
	size_t end;

	if (__builtin_add_overflow(at, len, &end))
		return -ENOMEM;
	if (end > b->len) {
		int r = buf_resize(b, end);

		if (r)
			return r;
	}
	if (len)
		memcpy(b->data + at, bytes, len);
	return 0;
}

void buf_release(struct buf *b)
{
	free(b->data);
	*b = (struct buf){0};
}
