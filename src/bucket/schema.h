/* JSON Schema, draft 2020-12: what a document has to look like. Pure.
 *
 * The core, applicator, unevaluated and validation vocabularies; `format` and the content keywords are annotations.
 * Nothing is ever fetched: a reference leads to somewhere in the same text, or the schema is refused. So is $dynamicRef,
 * and what older drafts write otherwise. A $schema of an older draft is fine where its keywords mean the same.
 *
 * Numbers are exact decimals of any size. Judging takes a bounded number of steps and a bounded depth; what needs more is
 * refused, with that as the reason. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "util/reason.h"
#include "util/slice.h"

struct schema;

/* `text` is a JSON value, an object or a boolean. 0; BUCKET_INVALID with a reason that names the place in the schema,
 * "schema: /properties/port/type: …"; -ENOMEM. */
int schema_compile(struct schema **out, struct slice text, struct reason *why);
/* Ends one reference, of which it begins with one. NULL is fine. */
void schema_free(struct schema *s);
struct schema *schema_share(struct schema *s);

/* Judges a JSON text, a value of any type. 0; BUCKET_INVALID with the first violation in `why`, "schema: /port: 70000 is
 * more than maximum 65535"; -ENOMEM. Values that any schema says are writeOnly are *** there, and objects and arrays are
 * never shown. Any number of threads may use one schema at once. */
int schema_check(const struct schema *s, struct slice text, struct reason *why);
/* The same within limits. */
struct schema_pace {
	bool shortly;         /* about a millisecond: what takes longer is BUCKET_LONG, and nothing is decided */
	bool briefly;         /* a tenth of a second at most, for others wait: what takes longer is BUCKET_INVALID */
	bool (*stop)(void);   /* asked from time to time: true ends it with -EINTR. NULL: it goes on to its end */
	uint64_t steps;       /* it took */
};
int schema_check_at(const struct schema *s, struct slice text, struct schema_pace *pace, struct reason *why);
