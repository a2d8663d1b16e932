/* A compiled schema, for schema_*.c only. */
#pragma once

#include "bucket/json_tree.h"
#include "bucket/pattern.h"
#include "bucket/schema.h"

/* Where in the schema's text; NULL is its root. */
struct place {
	const struct place *up;
	struct slice token;
};

enum dialect { DRAFT_3 = 3, DRAFT_4 = 4, DRAFT_6 = 6, DRAFT_7 = 7, DRAFT_2019_09 = 2019, DRAFT_2020_12 = 2020 };

/* What a $id begins: the scope of "#" references. */
struct resource {
	struct slice base; /* an absolute URI without fragment */
	const struct json_node *root;
	enum dialect dialect;
};

struct schema_list {
	const struct subschema **at;
	size_t count;
};

struct schema_entry {
	struct slice key;
	const struct subschema *schema;
	const struct pattern *pattern; /* in patternProperties */
};

/* Sorted by key. */
struct schema_map {
	struct schema_entry *at;
	size_t count;
};

struct names {
	struct slice *at;
	size_t count;
};

struct dependency {
	struct slice key;
	struct names required;
};

enum verdict_always { NOT_ALWAYS, ALWAYS_VALID, ALWAYS_INVALID };

/* One schema object or boolean. Keywords that are absent are NULL, or a bound that is always met. */
struct subschema {
	const struct json_node *source;
	const struct place *place;
	struct resource *resource;
	struct subschema *next; /* all of them, in the order they were found */
	size_t number;
	enum verdict_always always;
	bool write_only;
	unsigned char color; /* while looking for reference loops */

	unsigned types; /* a bit for each json_kind, and type_integer; 0: any */
	const struct json_node *constant;
	const struct json_node **choices; /* enum, sorted */
	size_t choice_count;

	const struct json_node *minimum, *maximum, *exclusive_minimum, *exclusive_maximum, *multiple_of;

	uint64_t min_length, max_length;
	const struct pattern *pattern;
	struct slice pattern_text;

	struct schema_list prefix_items;
	const struct subschema *items, *contains, *unevaluated_items;
	uint64_t min_items, max_items, min_contains, max_contains;
	bool unique_items;

	struct schema_map properties, pattern_properties;
	const struct subschema *additional_properties, *property_names, *unevaluated_properties;
	uint64_t min_properties, max_properties;
	struct names required;
	struct dependency *dependent_required;
	size_t dependent_required_count;
	struct schema_map dependent_schemas;

	const struct json_node *ref_text;
	const struct subschema *ref, *negated, *condition, *then, *otherwise;
	struct schema_list all_of, any_of, one_of;
};

enum { type_integer = 1 << 6, schemas_max = 65536 };

struct schema {
	unsigned refs; /* atomic */
	struct json_tree tree;
	struct arena arena;
	struct subschema *root, *first, *last;
	size_t count;
	struct pattern **patterns;
	size_t pattern_count;
	bool masks; /* there is a writeOnly somewhere */
};

/* The schemas that judge the same value as `s` does, whatever the value: the nth, or NULL. */
const struct subschema *schema_in_place(const struct subschema *s, size_t n);
const struct subschema *schema_map_find(const struct schema_map *map, struct slice key);

/* ---- a value being judged, and words about it ---- */

/* A value and how one comes to it. Lives on the stack of the judge. */
struct spot {
	const struct spot *up; /* NULL: the whole */
	const struct json_node *value;
	struct slice key; /* in an object; NULL `at` in an array */
	size_t index;
	bool is_key; /* the value is the key of a member, not a member */
};

/* Enough of a value to recognise it. */
struct shown {
	char text[64];
};

struct shown schema_show(const struct json_node *value);
struct shown schema_show_string(struct slice bytes);

enum { pointer_max = 104 };

struct described {
	char pointer[pointer_max]; /* "/a/0/b~1c", its beginning cut off if it is too long; "(root)" for the whole */
	bool masked;               /* the value is, or is within, one that some schema calls writeOnly */
};

/* Keys within what is masked become *** in the pointer, unless `properties` names them. 0 or -ENOMEM. */
int schema_describe(const struct schema *s, const struct spot *spot, struct described *out);
/* The same for a place in the schema. */
void schema_place(const struct place *place, char text[pointer_max]);
