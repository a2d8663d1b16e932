/* What schema_compile.c and schema_keyword.c share. */
#pragma once

#include "bucket/schema_internal.h"

/* "uri#" of a resource, "uri#anchor" of an anchor. */
struct identifier {
	struct slice uri;
	struct subschema *schema;
};

struct compiler {
	struct schema *schema;
	struct reason *why;
	struct subschema **by_node;
	struct buf identifiers; /* struct identifier */
	bool resolving;         /* what is compiled now was found by a reference only: its identifiers are nobody's */
	struct buf patterns;    /* struct pattern *, until they are the schema's */
};

/* The subschema at a node, compiled if it is not yet. */
int compile_subschema(struct compiler *c, const struct json_node *node, const struct place *place,
		      struct resource *resource, struct subschema **out);
int compile_keyword(struct compiler *c, struct subschema *s, const struct json_member *member);
/* $schema and $id, which go before all others. */
int compile_identity(struct compiler *c, struct subschema *s, const struct json_node *node, struct resource *resource);
/* Under the older drafts a $ref is all that counts. */
int compile_siblings(struct compiler *c, const struct subschema *s);
int compile_identifier(struct compiler *c, struct subschema *s, struct slice anchor);

const struct place *compile_place(struct compiler *c, const struct place *up, struct slice token);
/* BUCKET_INVALID, with the place in front. */
int compile_refuse(struct compiler *c, const struct place *place, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
