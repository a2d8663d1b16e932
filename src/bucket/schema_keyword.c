/* The keywords, one line each in the table, and how each kind of value is read. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "bucket/schema_compiler.h"
#include "bucket/uri.h"
#include "bucket/verdict.h"

struct site {
	struct compiler *c;
	struct subschema *s;
	const struct json_node *value;
	const struct place *place;
	const struct keyword *keyword;
};

struct keyword {
	const char *name;
	int (*read)(const struct site *at);
	size_t field;      /* offset in struct subschema of where it goes */
	const char *words; /* for those that are refused */
	bool asserts;      /* changes what is valid */
};

enum { uri_max = 1024 };

static void *field(const struct site *at)
{
	return (unsigned char *)at->s + at->keyword->field;
}

static int wrong(const struct site *at, const char *expected)
{
	return compile_refuse(at->c, at->place, "must be %s, not %s", expected, schema_show(at->value).text);
}

static void *alloc(const struct site *at, size_t count, size_t size)
{
	return arena_alloc(&at->c->schema->arena, count, size);
}

static const struct place *below(const struct site *at, struct slice token)
{
	return compile_place(at->c, at->place, token);
}

/* ---- annotations: only their type is looked at ---- */

static int read_text(const struct site *at)
{
	return at->value->kind == JSON_KIND_STRING ? 0 : wrong(at, "a string");
}

static int read_flag(const struct site *at)
{
	if (at->value->kind != JSON_KIND_BOOLEAN)
		return wrong(at, "true or false");
	if (at->keyword->field)
		*(bool *)field(at) = at->value->truth;
	return 0;
}

static int read_any_array(const struct site *at)
{
	return at->value->kind == JSON_KIND_ARRAY ? 0 : wrong(at, "an array");
}

static int read_vocabulary(const struct site *at)
{
	bool good = at->value->kind == JSON_KIND_OBJECT;

	for (size_t i = 0; good && i < at->value->count; i++)
		good = at->value->members[i].value->kind == JSON_KIND_BOOLEAN;
	return good ? 0 : wrong(at, "an object of true and false");
}

static int read_done(const struct site *at)
{
	(void)at; /* compile_identity has seen to it */
	return 0;
}

static int read_refused(const struct site *at)
{
	return compile_refuse(at->c, at->place, "%s", at->keyword->words);
}

/* What only drafts 3 and 4 know is an unknown keyword in all others. */
static int read_ancient(const struct site *at)
{
	enum dialect dialect = at->s->resource->dialect;

	if (dialect > DRAFT_4 || (strcmp(at->keyword->name, "id") && dialect != DRAFT_3))
		return 0;
	return read_refused(at);
}

/* ---- subschemas ---- */

static int read_schema(const struct site *at)
{
	struct subschema *found;
	int r;

	if (at->value->kind == JSON_KIND_ARRAY && !strcmp(at->keyword->name, "items"))
		return compile_refuse(at->c, at->place, "must be one schema; for an array of them 2020-12 writes prefixItems");
	r = compile_subschema(at->c, at->value, at->place, at->s->resource, &found);
	if (!r && at->keyword->field)
		*(const struct subschema **)field(at) = found;
	return r;
}

static int read_schema_list(const struct site *at)
{
	struct schema_list *list = field(at);
	char number[24];

	if (at->value->kind != JSON_KIND_ARRAY || at->value->count == 0)
		return wrong(at, "an array of at least one schema");
	list->at = alloc(at, at->value->count, sizeof(struct subschema *));
	if (!list->at)
		return -ENOMEM;
	for (size_t i = 0; i < at->value->count; i++) {
		struct slice token = arena_copy(&at->c->schema->arena,
						slice_of(number, (size_t)snprintf(number, sizeof(number), "%zu", i)));
		const struct place *place = token.at ? below(at, token) : NULL;
		struct subschema *found;
		int r = place ? compile_subschema(at->c, at->value->items[i], place, at->s->resource, &found) : -ENOMEM;

		if (r)
			return r;
		list->at[list->count++] = found;
	}
	return 0;
}

static int add_pattern(const struct site *at, const struct place *place, struct slice text, const struct pattern **out)
{
	struct pattern *p;
	struct reason why = {.text = ""};
	int r = pattern_compile(&p, text, &why);

	if (r == BUCKET_INVALID)
		return compile_refuse(at->c, place, "%s is not a regular expression (ECMA-262): %s",
				      schema_show_string(text).text, why.text);
	if (r)
		return r;
	r = buf_add(&at->c->patterns, &p, sizeof(p));
	if (r)
		pattern_free(p);
	else
		*out = p;
	return r;
}

static int fill_map(const struct site *at, bool patterns)
{
	struct schema_map ignored = {0}, *map = at->keyword->field ? field(at) : &ignored;

	if (at->value->kind != JSON_KIND_OBJECT)
		return wrong(at, "an object of schemas");
	map->at = alloc(at, at->value->count, sizeof(*map->at));
	if (!map->at)
		return -ENOMEM;
	for (size_t i = 0; i < at->value->count; i++) {
		const struct json_member *member = &at->value->members[i];
		const struct place *place = below(at, member->key);
		struct schema_entry entry = {.key = member->key};
		struct subschema *found;
		int r = place ? 0 : -ENOMEM;

		if (!r && patterns)
			r = add_pattern(at, place, member->key, &entry.pattern);
		if (!r)
			r = compile_subschema(at->c, member->value, place, at->s->resource, &found);
		if (r)
			return r;
		entry.schema = found;
		map->at[map->count++] = entry;
	}
	return 0;
}

static int read_map(const struct site *at)
{
	return fill_map(at, false);
}

static int read_pattern_map(const struct site *at)
{
	return fill_map(at, true);
}

/* ---- assertions ---- */

static const char *const type_names[] = {"null", "boolean", "number", "string", "array", "object", "integer"};

static unsigned type_bit(const struct json_node *name)
{
	if (name->kind == JSON_KIND_STRING)
		for (unsigned i = 0; i < sizeof(type_names) / sizeof(*type_names); i++)
			if (slice_equal(name->text, slice_str(type_names[i])))
				return 1u << i;
	return 0;
}

static int read_type(const struct site *at)
{
	static const char *const names = "null, boolean, object, array, number, string or integer";
	unsigned bit, types = 0;

	if (at->value->kind != JSON_KIND_ARRAY) {
		at->s->types = type_bit(at->value);
		return at->s->types ? 0 : wrong(at, names);
	}
	for (size_t i = 0; i < at->value->count; i++) {
		bit = type_bit(at->value->items[i]);
		if (!bit || types & bit)
			return compile_refuse(at->c, at->place, "%s %s: must be %s, each once", schema_show(at->value->items[i]).text,
					      bit ? "stands twice" : "is no type", names);
		types |= bit;
	}
	at->s->types = types;
	return types ? 0 : compile_refuse(at->c, at->place, "must name at least one type");
}

static int read_const(const struct site *at)
{
	at->s->constant = at->value;
	return 0;
}

static int read_enum(const struct site *at)
{
	if (at->value->kind != JSON_KIND_ARRAY)
		return wrong(at, "an array");
	at->s->choices = alloc(at, at->value->count, sizeof(struct json_node *));
	if (!at->s->choices)
		return -ENOMEM;
	memcpy(at->s->choices, at->value->items, at->value->count * sizeof(struct json_node *));
	at->s->choice_count = at->value->count;
	return json_nodes_sort(at->s->choices, at->s->choice_count);
}

static int read_number(const struct site *at)
{
	if (at->value->kind == JSON_KIND_BOOLEAN && !strncmp(at->keyword->name, "exclusive", 9))
		return compile_refuse(at->c, at->place, "must be a number: 2020-12 writes the bound itself here, in place of %s",
				      at->keyword->words);
	if (at->value->kind != JSON_KIND_NUMBER)
		return wrong(at, "a number");
	*(const struct json_node **)field(at) = at->value;
	return 0;
}

static int read_divisor(const struct site *at)
{
	if (at->value->kind != JSON_KIND_NUMBER || decimal_is_zero(&at->value->number) || at->value->number.negative)
		return wrong(at, "a number above 0");
	return read_number(at);
}

static int read_count(const struct site *at)
{
	if (at->value->kind != JSON_KIND_NUMBER || at->value->number.negative || !decimal_is_integer(&at->value->number))
		return wrong(at, "an integer of 0 or more");
	*(uint64_t *)field(at) = decimal_to_count(&at->value->number);
	return 0;
}

static int read_pattern(const struct site *at)
{
	if (at->value->kind != JSON_KIND_STRING)
		return wrong(at, "a string");
	at->s->pattern_text = at->value->text;
	return add_pattern(at, at->place, at->value->text, &at->s->pattern);
}

/* Strings, each once. */
static int read_name_list(const struct site *at, const struct json_node *list, const struct place *place, struct names *out)
{
	const struct json_node **sorted;

	if (list->kind != JSON_KIND_ARRAY)
		return compile_refuse(at->c, place, "must be an array of strings, not %s", schema_show(list).text);
	sorted = alloc(at, list->count, sizeof(struct json_node *));
	out->at = alloc(at, list->count, sizeof(*out->at));
	if (!sorted || !out->at)
		return -ENOMEM;
	for (size_t i = 0; i < list->count; i++) {
		if (list->items[i]->kind != JSON_KIND_STRING)
			return compile_refuse(at->c, place, "must be an array of strings; %s is none", schema_show(list->items[i]).text);
		sorted[i] = list->items[i];
		out->at[out->count++] = list->items[i]->text;
	}
	if (json_nodes_sort(sorted, list->count))
		return -ENOMEM;
	for (size_t i = 1; i < list->count; i++)
		if (json_node_compare(sorted[i - 1], sorted[i]) == 0)
			return compile_refuse(at->c, place, "%s stands there twice", schema_show(sorted[i]).text);
	return 0;
}

static int read_required(const struct site *at)
{
	if (at->value->kind == JSON_KIND_BOOLEAN)
		return compile_refuse(at->c, at->place, "must be an array of strings: 2020-12 lists the keys in the object's schema");
	return read_name_list(at, at->value, at->place, &at->s->required);
}

static int read_dependent_required(const struct site *at)
{
	int r = 0;

	if (at->value->kind != JSON_KIND_OBJECT)
		return wrong(at, "an object of arrays of strings");
	at->s->dependent_required = alloc(at, at->value->count, sizeof(*at->s->dependent_required));
	if (!at->s->dependent_required)
		return -ENOMEM;
	for (size_t i = 0; !r && i < at->value->count; i++) {
		struct dependency *d = &at->s->dependent_required[at->s->dependent_required_count++];
		const struct place *place = below(at, at->value->members[i].key);

		d->key = at->value->members[i].key;
		r = place ? read_name_list(at, at->value->members[i].value, place, &d->required) : -ENOMEM;
	}
	return r;
}

/* ---- identity ---- */

static int read_ref(const struct site *at)
{
	if (at->value->kind != JSON_KIND_STRING)
		return wrong(at, "a string");
	at->s->ref_text = at->value;
	return 0;
}

static bool is_anchor(struct slice s)
{
	const unsigned char *at = s.at;

	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = at[i];
		bool letter = (c | 32) >= 'a' && (c | 32) <= 'z';

		if (!letter && c != '_' && (i == 0 || !((c >= '0' && c <= '9') || c == '-' || c == '.')))
			return false;
	}
	return s.len > 0;
}

static int read_anchor(const struct site *at)
{
	if (at->value->kind != JSON_KIND_STRING || !is_anchor(at->value->text))
		return wrong(at, "a name (letters, digits, - _ .)");
	return compile_identifier(at->c, at->s, at->value->text);
}

static int read_dialect(struct compiler *c, const struct place *up, const struct json_node *value, enum dialect *out)
{
	static const struct {
		const char *path;
		enum dialect dialect;
	} known[] = {
		{"draft/2020-12/schema", DRAFT_2020_12}, {"draft/2019-09/schema", DRAFT_2019_09}, {"draft-07/schema", DRAFT_7},
		{"draft-06/schema", DRAFT_6},		 {"draft-04/schema", DRAFT_4},		  {"draft-03/schema", DRAFT_3},
	};
	const struct place *place = compile_place(c, up, slice_str("$schema"));
	struct slice uri, fragment, path = {0};

	if (!place)
		return -ENOMEM;
	if (value->kind != JSON_KIND_STRING)
		return compile_refuse(c, place, "must be a string, not %s", schema_show(value).text);
	uri_split_fragment(value->text, &uri, &fragment);
	for (size_t i = 0; i < 2; i++) {
		struct slice start = slice_str(i ? "https://json-schema.org/" : "http://json-schema.org/");

		if (slice_starts_with(uri, start))
			path = slice_of((const char *)uri.at + start.len, uri.len - start.len);
	}
	for (size_t i = 0; path.at && !fragment.len && i < sizeof(known) / sizeof(*known); i++) {
		if (slice_equal(path, slice_str(known[i].path))) {
			*out = known[i].dialect;
			return 0;
		}
	}
	return compile_refuse(c, place, "%s is not known here; write https://json-schema.org/draft/2020-12/schema",
			      schema_show(value).text);
}

static int read_id(struct compiler *c, struct subschema *s, const struct json_node *value, struct resource *resource)
{
	const struct place *place = compile_place(c, s->place, slice_str("$id"));
	struct resource *own;
	struct slice uri, fragment;
	struct buf base = {0};
	int r = 0;

	if (!place)
		return -ENOMEM;
	if (value->kind != JSON_KIND_STRING)
		return compile_refuse(c, place, "must be a string, not %s", schema_show(value).text);
	uri_split_fragment(value->text, &uri, &fragment);
	if (fragment.len)
		return compile_refuse(c, place, "must have no fragment: 2020-12 writes \"$anchor\": %s", schema_show_string(fragment).text);
	if (uri.len > uri_max)
		return compile_refuse(c, place, "longer than %d bytes", uri_max);
	if (!uri.len)
		return 0;
	own = arena_alloc(&c->schema->arena, 1, sizeof(*own));
	if (!own)
		return -ENOMEM;
	*own = (struct resource){.root = s->source, .dialect = resource->dialect};
	r = uri_resolve(resource->base, uri, &base);
	if (!r && base.len > 2 * uri_max)
		r = compile_refuse(c, place, "longer than %d bytes with all that it is relative to", 2 * uri_max);
	if (!r) {
		own->base = arena_copy(&c->schema->arena, buf_slice(&base));
		r = own->base.at ? 0 : -ENOMEM;
	}
	buf_release(&base);
	s->resource = own;
	return r ? r : compile_identifier(c, s, slice_str(""));
}

int compile_identity(struct compiler *c, struct subschema *s, const struct json_node *node, struct resource *resource)
{
	const struct json_node *dialect = json_node_find(node, slice_str("$schema"));
	const struct json_node *id = json_node_find(node, slice_str("$id"));
	enum dialect found = DRAFT_2020_12;
	int r = dialect ? read_dialect(c, s->place, dialect, &found) : 0;

	if (!r && id)
		r = read_id(c, s, id, resource);
	/* Only what begins a resource can have a $schema of its own; elsewhere it means nothing. */
	if (!r && dialect && s->resource->root == node)
		s->resource->dialect = found;
	return r;
}

/* ---- the table ---- */

#define FIELD(name) offsetof(struct subschema, name)

/* Sorted by name. */
static const struct keyword keywords[] = {
	{"$anchor", read_anchor, 0, NULL, true},
	{"$comment", read_text, 0, NULL, false},
	{"$defs", read_map, 0, NULL, false},
	{"$dynamicAnchor", read_anchor, 0, NULL, true},
	{"$dynamicRef", read_refused, 0, "is not supported; write $ref, to something in this text", true},
	{"$id", read_done, 0, NULL, true},
	{"$recursiveAnchor", read_refused, 0, "is 2019-09's; 2020-12 writes $dynamicAnchor, or with $ref nothing at all", true},
	{"$recursiveRef", read_refused, 0, "is 2019-09's; for 2020-12's $dynamicRef, which is not supported, write $ref", true},
	{"$ref", read_ref, 0, NULL, false},
	{"$schema", read_done, 0, NULL, false},
	{"$vocabulary", read_vocabulary, 0, NULL, false},
	{"additionalItems", read_refused, 0, "is older than 2020-12, which writes items, beside prefixItems", true},
	{"additionalProperties", read_schema, FIELD(additional_properties), NULL, true},
	{"allOf", read_schema_list, FIELD(all_of), NULL, true},
	{"anyOf", read_schema_list, FIELD(any_of), NULL, true},
	{"const", read_const, 0, NULL, true},
	{"contains", read_schema, FIELD(contains), NULL, true},
	{"contentEncoding", read_text, 0, NULL, false},
	{"contentMediaType", read_text, 0, NULL, false},
	{"contentSchema", read_schema, 0, NULL, false},
	{"definitions", read_map, 0, NULL, false},
	{"dependencies", read_refused, 0, "is older than 2020-12, which writes dependentRequired and dependentSchemas", true},
	{"dependentRequired", read_dependent_required, 0, NULL, true},
	{"dependentSchemas", read_map, FIELD(dependent_schemas), NULL, true},
	{"deprecated", read_flag, 0, NULL, false},
	{"description", read_text, 0, NULL, false},
	{"disallow", read_ancient, 0, "is draft 3's; 2020-12 writes not", true},
	{"divisibleBy", read_ancient, 0, "is draft 3's; 2020-12 writes multipleOf", true},
	{"else", read_schema, FIELD(otherwise), NULL, true},
	{"enum", read_enum, 0, NULL, true},
	{"examples", read_any_array, 0, NULL, false},
	{"exclusiveMaximum", read_number, FIELD(exclusive_maximum), "maximum", true},
	{"exclusiveMinimum", read_number, FIELD(exclusive_minimum), "minimum", true},
	{"extends", read_ancient, 0, "is draft 3's; 2020-12 writes allOf", true},
	{"format", read_text, 0, NULL, false},
	{"id", read_ancient, 0, "is draft 4's; 2020-12 writes $id", true},
	{"if", read_schema, FIELD(condition), NULL, true},
	{"items", read_schema, FIELD(items), NULL, true},
	{"maxContains", read_count, FIELD(max_contains), NULL, true},
	{"maxItems", read_count, FIELD(max_items), NULL, true},
	{"maxLength", read_count, FIELD(max_length), NULL, true},
	{"maxProperties", read_count, FIELD(max_properties), NULL, true},
	{"maximum", read_number, FIELD(maximum), NULL, true},
	{"minContains", read_count, FIELD(min_contains), NULL, true},
	{"minItems", read_count, FIELD(min_items), NULL, true},
	{"minLength", read_count, FIELD(min_length), NULL, true},
	{"minProperties", read_count, FIELD(min_properties), NULL, true},
	{"minimum", read_number, FIELD(minimum), NULL, true},
	{"multipleOf", read_divisor, FIELD(multiple_of), NULL, true},
	{"not", read_schema, FIELD(negated), NULL, true},
	{"oneOf", read_schema_list, FIELD(one_of), NULL, true},
	{"pattern", read_pattern, 0, NULL, true},
	{"patternProperties", read_pattern_map, FIELD(pattern_properties), NULL, true},
	{"prefixItems", read_schema_list, FIELD(prefix_items), NULL, true},
	{"properties", read_map, FIELD(properties), NULL, true},
	{"propertyNames", read_schema, FIELD(property_names), NULL, true},
	{"readOnly", read_flag, 0, NULL, false},
	{"required", read_required, 0, NULL, true},
	{"then", read_schema, FIELD(then), NULL, true},
	{"title", read_text, 0, NULL, false},
	{"type", read_type, 0, NULL, true},
	{"unevaluatedItems", read_schema, FIELD(unevaluated_items), NULL, true},
	{"unevaluatedProperties", read_schema, FIELD(unevaluated_properties), NULL, true},
	{"uniqueItems", read_flag, FIELD(unique_items), NULL, true},
	{"writeOnly", read_flag, FIELD(write_only), NULL, false},
};

static int keyword_order(const void *name, const void *keyword)
{
	return slice_compare(*(const struct slice *)name, slice_str(((const struct keyword *)keyword)->name));
}

static const struct keyword *find_keyword(struct slice name)
{
	return bsearch(&name, keywords, sizeof(keywords) / sizeof(*keywords), sizeof(*keywords), keyword_order);
}

int compile_keyword(struct compiler *c, struct subschema *s, const struct json_member *member)
{
	const struct keyword *keyword = find_keyword(member->key);
	struct site at = {c, s, member->value, NULL, keyword};

	if (!keyword)
		return 0;
	at.place = compile_place(c, s->place, member->key);
	return at.place ? keyword->read(&at) : -ENOMEM;
}

int compile_siblings(struct compiler *c, const struct subschema *s)
{
	if (s->resource->dialect > DRAFT_7 || !json_node_find(s->source, slice_str("$ref")))
		return 0;
	for (size_t i = 0; i < s->source->count; i++) {
		const struct keyword *keyword = find_keyword(s->source->members[i].key);

		/* Of the whole text a $id changes nothing for "#/…". */
		if (keyword && keyword->read == read_done && s->source == c->schema->tree.root)
			continue;
		if (keyword && keyword->asserts)
			return compile_refuse(c, s->place, "%s beside $ref means nothing before 2019-09 and something in 2020-12; "
					      "name 2020-12 as $schema", keyword->name);
	}
	return 0;
}
