/* What the files that judge share: schema_check.c (containers, schemas in place of others) and schema_scalar.c. */
#pragma once

#include "bucket/schema_internal.h"

enum {
	STOPPED = 1, /* too deep or too much work; `why` says so */
	weight_a_step = 16, /* bytes compared in the time of a step */
};

struct run {
	const struct schema *schema;
	struct reason *why;
	unsigned quiet; /* within anyOf and the like, where a violation is no news */
	unsigned depth;
	uint64_t steps;
	uint64_t ask; /* with so many steps left `stop` is asked next */
	bool (*stop)(void);
	bool stopped; /* it said so */
	struct matcher matcher;
};

/* 0 or STOPPED. */
int run_spend(struct run *run, uint64_t steps);
/* BUCKET_INVALID with "schema: POINTER: VALUE ..." in `why`, or -ENOMEM. */
int run_violation(struct run *run, const struct spot *spot, const char *format, ...) __attribute__((format(printf, 3, 4)));
int run_match(struct run *run, const struct pattern *p, struct slice subject, bool *yes);

/* type, const and enum, for values of any type; the rules for numbers; those for strings. All give 0, BUCKET_INVALID,
 * STOPPED or -ENOMEM. */
int check_any_value(struct run *run, const struct subschema *s, const struct spot *spot);
int check_number(struct run *run, const struct subschema *s, const struct spot *spot);
int check_string(struct run *run, const struct subschema *s, const struct spot *spot);
