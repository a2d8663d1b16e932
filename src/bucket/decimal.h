/* Numbers as JSON writes them, of any size and exponent, compared exactly. Pure.
 *
 * Nothing is ever expanded: a value is its significant digits and where the decimal point stands, so 1e999999999 is as
 * cheap as 1. */
#pragma once

#include "util/arena.h"

/* The value is 0.DIGITS times ten to the exponent; two equal values have equal fields. */
struct decimal {
	bool negative;       /* never for zero */
	struct slice digits; /* neither begins nor ends with a 0; empty for zero */
	int64_t exponent;    /* INT64_MAX and INT64_MIN: it is as large as … */
	struct slice wide;   /* … these digits say (19 or more), else empty */
};

/* `text` is a valid JSON number and must outlive the decimal, so must the arena. 0 or -ENOMEM. */
int decimal_parse(struct slice text, struct arena *arena, struct decimal *out);
/* <0, 0, >0; takes no longer than the shorter of the two. */
int decimal_compare(const struct decimal *a, const struct decimal *b);
static inline bool decimal_is_zero(const struct decimal *d) { return d->digits.len == 0; }
/* Without a fraction: 1.0 and 1e2 are integers. */
bool decimal_is_integer(const struct decimal *d);
/* A non-negative integer; UINT64_MAX if it is that or more. */
uint64_t decimal_to_count(const struct decimal *d);
/* Steps that decimal_is_multiple takes, roughly; UINT64_MAX: it cannot tell, do not call it. */
uint64_t decimal_multiple_cost(const struct decimal *value, const struct decimal *of);
/* Whether `value` is an integer times `of`, which is not zero. 0 or -ENOMEM. */
int decimal_is_multiple(const struct decimal *value, const struct decimal *of, bool *yes);
