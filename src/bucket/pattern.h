/* Regular expressions as JSON Schema has them: ECMA-262 with its u flag, unanchored, matched by PCRE2. Pure.
 *
 * What ECMA-262 does not know is refused, what it means otherwise than PCRE2 is translated (pattern_ecma.c). Matching is
 * bounded by a budget of steps. */
#pragma once

#include "util/buf.h"
#include "util/reason.h"

struct pattern;

/* 0, BUCKET_INVALID with what is wrong, -ENOMEM. */
int pattern_compile(struct pattern **out, struct slice text, struct reason *why);
void pattern_free(struct pattern *p);

/* What matching needs beside the pattern, for one thread. All zero is a valid new one. */
struct matcher {
	void *data, *context;
};

void matcher_release(struct matcher *m);

enum { PATTERN_EXHAUSTED = 1 };

/* `subject` is UTF-8, lone surrogates allowed. 0, -ENOMEM, or PATTERN_EXHAUSTED: *steps, which every match lowers, did
 * not suffice to tell. A step is worth a hundred nanoseconds at most. */
int pattern_match(const struct pattern *p, struct matcher *m, struct slice subject, uint64_t *steps, bool *yes);

/* The same expression in PCRE2's syntax (UTF mode, no UCP). *repeats: it has a quantifier without an upper bound.
 * 0, BUCKET_INVALID, -ENOMEM. */
int pattern_translate(struct slice text, struct buf *out, bool *repeats, struct reason *why);
