#include "ctl/brace.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct expansion {
	struct buf *out;
	int count;
	unsigned depth;
};

/* Every level of recursion takes one pair of braces out of the pattern. */
enum { depth_max = 200 };

static int expand(struct expansion *x, const char *pattern);

/* One alternative put in place of the braces. */
static int put(struct expansion *x, struct slice before, struct slice middle, const char *after)
{
	struct buf whole = {0};
	int r = buf_add_slice(&whole, before);

	if (!r)
		r = buf_add_slice(&whole, middle);
	if (!r)
		r = buf_add(&whole, after, strlen(after) + 1);
	if (!r)
		r = expand(x, (const char *)whole.data);
	buf_release(&whole);
	return r;
}

static bool number(const char **at, long *out)
{
	char *end;

	if (!isdigit((unsigned char)(*at)[**at == '-' || **at == '+']))
		return false;
	errno = 0;
	*out = strtol(*at, &end, 10);
	*at = end;
	return errno == 0 && *out > -1000000000 && *out < 1000000000;
}

/* How many digits a number was written with, if it begins with a zero. */
static int zeros(const char *at)
{
	size_t sign = *at == '-', digits = strspn(at + sign, "0123456789");

	return at[sign] == '0' && digits > 1 ? (int)(digits + sign) : 0;
}

struct sequence {
	long from, to, step;
	int width;
	bool letters;
};

static bool sequence_parse(const char *at, const char *end, struct sequence *s)
{
	const char *second;

	*s = (struct sequence){.step = 1};
	if (isalpha((unsigned char)at[0]) && at[1] == '.' && at[2] == '.' && isalpha((unsigned char)at[3])) {
		s->letters = true;
		s->from = at[0];
		s->to = at[3];
		at += 4;
	} else {
		s->width = zeros(at);
		if (!number(&at, &s->from) || at[0] != '.' || at[1] != '.')
			return false;
		second = at + 2;
		at = second;
		if (!number(&at, &s->to))
			return false;
		if (zeros(second) > s->width)
			s->width = zeros(second);
		if (s->width && (int)(at - second) > s->width)
			s->width = (int)(at - second);
	}
	if (at[0] == '.' && at[1] == '.') {
		at += 2;
		if (!number(&at, &s->step))
			return false;
		s->step = s->step ? labs(s->step) : 1;
	}
	return at == end;
}

static int sequence_put(struct expansion *x, const struct sequence *s, struct slice before, const char *after)
{
	long direction = s->from <= s->to ? 1 : -1;
	int r = 0;

	for (long v = s->from; !r && (direction > 0 ? v <= s->to : v >= s->to); v += direction * s->step) {
		char text[32];
		int len = s->letters ? snprintf(text, sizeof(text), "%c", (int)v)
				     : snprintf(text, sizeof(text), "%0*ld", s->width < 20 ? s->width : 20, v);

		r = put(x, before, slice_of(text, (size_t)len), after);
	}
	return r;
}

/* After the brace at `open`: the brace that ends it and whether a comma stands between. NULL: nothing ends it. */
static const char *closing(const char *open, bool *comma)
{
	int depth = 0;

	*comma = false;
	for (const char *c = open; *c; c++) {
		if (*c == '\\' && c[1])
			c++;
		else if (*c == '{')
			depth++;
		else if (*c == ',' && depth == 1)
			*comma = true;
		else if (*c == '}' && --depth == 0)
			return c;
	}
	return NULL;
}

static int alternatives(struct expansion *x, struct slice before, const char *open, const char *end)
{
	const char *from = open + 1;
	int depth = 0, r = 0;

	for (const char *c = from; !r && c <= end; c++) {
		if (c < end && *c == '\\') {
			c++;
		} else if (c < end && *c == '{') {
			depth++;
		} else if (c < end && *c == '}') {
			depth--;
		} else if (depth == 0 && (c == end || *c == ',')) {
			r = put(x, before, slice_of(from, (size_t)(c - from)), end + 1);
			from = c + 1;
		}
	}
	return r;
}

static int expand_first(struct expansion *x, const char *pattern)
{
	struct sequence s;

	for (const char *c = pattern; *c; c++) {
		struct slice before = slice_of(pattern, (size_t)(c - pattern));
		const char *end;
		bool comma;

		if (*c == '\\' && c[1]) {
			c++;
			continue;
		}
		if (*c != '{' || !(end = closing(c, &comma)))
			continue;
		if (comma)
			return alternatives(x, before, c, end);
		if (sequence_parse(c + 1, end, &s))
			return sequence_put(x, &s, before, end + 1);
	}
	if (++x->count > brace_max)
		return -E2BIG;
	return buf_add(x->out, pattern, strlen(pattern) + 1);
}

static int expand(struct expansion *x, const char *pattern)
{
	int r;

	if (x->depth >= depth_max)
		return -E2BIG;
	x->depth++;
	r = expand_first(x, pattern);
	x->depth--;
	return r;
}

int brace_expand(const char *pattern, struct buf *out)
{
	struct expansion x = {.out = out};
	int r = expand(&x, pattern);

	return r ? r : x.count;
}
