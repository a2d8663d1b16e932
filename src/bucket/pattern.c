#define PCRE2_CODE_UNIT_WIDTH 8
#include "bucket/pattern.h"

#include <errno.h>
#include <pcre2.h>
#include <stdlib.h>

#include "bucket/verdict.h"

struct pattern {
	pcre2_code *code;
	bool anchored;
	bool repeats;
	size_t len;
};

enum {
	text_max = 32768,
	nesting_max = 100,
	limit_first = 8, /* calls of PCRE2's match(), for one place to begin at */
	limit_factor = 4,
	limit_last = 1 << 22,
	depth_max = 500000,
	heap_max = 32768,    /* KiB */
	bytes_a_step = 32,   /* that a repeat runs over in the time of a step */
};

static void *allocate(size_t size, void *context)
{
	(void)context;
	return malloc(size);
}

static void deallocate(void *memory, void *context)
{
	(void)context;
	free(memory);
}

static int compile(struct pattern *p, pcre2_compile_context *context, struct slice text, struct reason *why)
{
	uint32_t options = PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_MATCH_UNSET_BACKREF | PCRE2_ALLOW_EMPTY_CLASS |
			   PCRE2_NEVER_BACKSLASH_C | PCRE2_USE_OFFSET_LIMIT, all = 0;
	unsigned char message[120];
	PCRE2_SIZE offset;
	int error;

	/* PCRE2 10.42 looks for the first letter of a lookahead once more behind it: (?=s)a?s would not match s. */
	if (text.len && memmem(text.at, text.len, "(?=", 3))
		options |= PCRE2_NO_START_OPTIMIZE;
	pcre2_set_parens_nest_limit(context, nesting_max);
	p->code = pcre2_compile(text.len ? text.at : (PCRE2_SPTR)"", text.len, options, &error, &offset, context);
	if (p->code) {
		pcre2_pattern_info(p->code, PCRE2_INFO_ALLOPTIONS, &all);
		p->anchored = all & PCRE2_ANCHORED;
		return 0;
	}
	if (error == PCRE2_ERROR_HEAP_FAILED || error == PCRE2_ERROR_NOMEMORY)
		return -ENOMEM;
	pcre2_get_error_message(error, message, sizeof(message));
	reason_set(why, "%s", (const char *)message);
	return BUCKET_INVALID;
}

int pattern_compile(struct pattern **out, struct slice text, struct reason *why)
{
	pcre2_general_context *general = NULL;
	pcre2_compile_context *context = NULL;
	struct buf translated = {0};
	struct pattern *p;
	int r;

	if (text.len > text_max) {
		reason_set(why, "longer than %d bytes", text_max);
		return BUCKET_INVALID;
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->len = text.len;
	r = pattern_translate(text, &translated, &p->repeats, why);
	if (r)
		goto out;
	r = -ENOMEM;
	general = pcre2_general_context_create(allocate, deallocate, NULL);
	context = general ? pcre2_compile_context_create(general) : NULL;
	if (context)
		r = compile(p, context, buf_slice(&translated), why);
out:
	pcre2_compile_context_free(context);
	pcre2_general_context_free(general);
	buf_release(&translated);
	if (r)
		pattern_free(p);
	else
		*out = p;
	return r;
}

void pattern_free(struct pattern *p)
{
	if (!p)
		return;
	pcre2_code_free(p->code);
	free(p);
}

void matcher_release(struct matcher *m)
{
	pcre2_match_data_free(m->data);
	pcre2_match_context_free(m->context);
	*m = (struct matcher){0};
}

static int matcher_prepare(struct matcher *m)
{
	pcre2_general_context *general;

	if (m->data)
		return 0;
	general = pcre2_general_context_create(allocate, deallocate, NULL);
	if (!general)
		return -ENOMEM;
	m->context = pcre2_match_context_create(general);
	m->data = m->context ? pcre2_match_data_create(1, general) : NULL;
	pcre2_general_context_free(general);
	if (!m->data) {
		matcher_release(m);
		return -ENOMEM;
	}
	pcre2_set_depth_limit(m->context, depth_max);
	pcre2_set_heap_limit(m->context, heap_max);
	return 0;
}

/* Looks for a match that begins at one of the `window` bytes from `from`.
 *
 * PCRE2 does not say how much work a match was, but it stops at a limit of calls, anew for each place to begin at. So
 * the limit grows from very little, and what is paid for is what it is known to have cost at least: every attempt that
 * hit its limit. A call can run to the end of the subject where the pattern repeats something without bound. */
static int match_window(const struct pattern *p, struct matcher *m, struct slice subject, size_t from, size_t window,
			uint64_t *steps, bool *yes)
{
	size_t left = subject.len - from, reach = p->repeats || left < p->len ? left : p->len;
	uint64_t places = p->anchored ? 1 : window < left + 1 ? window : left + 1;
	uint64_t known = 1, cost;

	pcre2_set_offset_limit(m->context, from + window - 1);
	for (uint32_t limit = limit_first; limit <= limit_last; known = limit, limit *= limit_factor) {
		int found;

		if (__builtin_mul_overflow(places, known * (1 + reach / bytes_a_step), &cost) || cost > *steps)
			return PATTERN_EXHAUSTED;
		*steps -= cost;
		pcre2_set_match_limit(m->context, limit);
		found = pcre2_match(p->code, subject.at, subject.len, from, PCRE2_NO_UTF_CHECK, m->data, m->context);
		if (found == PCRE2_ERROR_MATCHLIMIT)
			continue;
		*yes = found >= 0;
		if (found >= 0 || found == PCRE2_ERROR_NOMATCH)
			return 0;
		return found == PCRE2_ERROR_NOMEMORY ? -ENOMEM : PATTERN_EXHAUSTED;
	}
	return PATTERN_EXHAUSTED;
}

static bool continues(struct slice s, size_t at)
{
	return at < s.len && (((const unsigned char *)s.at)[at] & 0xc0) == 0x80;
}

static int match(const struct pattern *p, struct matcher *m, struct slice subject, uint64_t *steps, bool *yes)
{
	size_t window = p->anchored ? subject.len + 1 : 1, from = 0;
	int r;

	/* First few places to begin at, then more: most patterns match early, and are not to be charged for the rest. */
	for (;;) {
		r = match_window(p, m, subject, from, window, steps, yes);
		if (r || *yes || window > subject.len - from)
			return r;
		from += window;
		while (continues(subject, from))
			from++;
		window = window < subject.len ? window * 2 : window;
	}
}

/* Lone surrogates, three bytes each, become U+FFFD: PCRE2 must not see them. */
static int without_surrogates(struct slice *subject, struct buf *copy)
{
	const unsigned char *at = subject->at;
	int r;

	for (size_t i = 0; i + 2 < subject->len; i++) {
		if (at[i] != 0xed || at[i + 1] < 0xa0)
			continue;
		if (!copy->len) {
			r = buf_add_slice(copy, *subject);
			if (r)
				return r;
			at = copy->data;
		}
		memcpy(copy->data + i, "\xef\xbf\xbd", 3);
	}
	if (copy->len)
		*subject = buf_slice(copy);
	return 0;
}

int pattern_match(const struct pattern *p, struct matcher *m, struct slice subject, uint64_t *steps, bool *yes)
{
	struct buf copy = {0};
	int r = matcher_prepare(m);

	*yes = false;
	if (!subject.at || !subject.len)
		subject = slice_of("", 0);
	if (!r)
		r = without_surrogates(&subject, &copy);
	if (!r)
		r = match(p, m, subject, steps, yes);
	buf_release(&copy);
	return r;
}
