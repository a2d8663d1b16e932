/* Schemas: any text is compiled or refused, and what a schema says of a value it says again, also from within allOf,
 * anyOf, not and if. A second judge, written from the specification's chapter on validation, has the same opinion
 * where it has one. The input is a schema, a NUL, and a value. */
#include "bucket/json.h"
#include "bucket/json_tree.h"
#include "bucket/schema.h"
#include "bucket/verdict.h"
#include "fuzz.h"

/* ---- the second judge ---- */

enum { unknown = -1, no = 0, yes = 1, judge_depth_max = 12, divide_max = 1000 };

static int both(int a, int b)
{
	return a == unknown || b == unknown ? unknown : a && b;
}

/* The specification's equality; json_node_compare is asked as well. */
static bool equal_children(const struct json_node *a, const struct json_node *b);

static bool equal(const struct json_node *a, const struct json_node *b)
{
	bool same = a->kind == b->kind;

	if (same && a->kind == JSON_KIND_BOOLEAN)
		same = a->truth == b->truth;
	else if (same && a->kind == JSON_KIND_NUMBER)
		same = decimal_compare(&a->number, &b->number) == 0;
	else if (same && a->kind == JSON_KIND_STRING)
		same = slice_equal(a->text, b->text);
	else if (same && a->kind >= JSON_KIND_ARRAY)
		same = equal_children(a, b);
	CLAIM(same == (json_node_compare(a, b) == 0));
	return same;
}

static bool equal_children(const struct json_node *a, const struct json_node *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		const struct json_node *other = a->kind == JSON_KIND_ARRAY ? b->items[i] : json_node_find(b, a->members[i].key);

		if (!other || !equal(a->kind == JSON_KIND_ARRAY ? a->items[i] : a->members[i].value, other))
			return false;
	}
	return true;
}

static bool is_key(struct slice key, const char *name)
{
	return slice_equal(key, slice_str(name));
}

static bool has_type(const struct json_node *v, struct slice type)
{
	static const char *const names[] = {"null", "boolean", "number", "string", "array", "object"};

	return is_key(type, names[v->kind]) ||
	       (is_key(type, "integer") && v->kind == JSON_KIND_NUMBER && decimal_is_integer(&v->number));
}

static int judge_type(const struct json_node *types, const struct json_node *v)
{
	if (types->kind == JSON_KIND_STRING)
		return has_type(v, types->text);
	for (size_t i = 0; i < types->count; i++)
		if (has_type(v, types->items[i]->text))
			return yes;
	return no;
}

static int judge_enum(const struct json_node *choices, const struct json_node *v)
{
	for (size_t i = 0; i < choices->count; i++)
		if (equal(choices->items[i], v))
			return yes;
	return no;
}

static int judge_number(struct slice key, const struct json_node *bound, const struct json_node *v)
{
	bool is_multiple = false;
	int order;

	if (v->kind != JSON_KIND_NUMBER)
		return yes;
	order = decimal_compare(&v->number, &bound->number);
	if (is_key(key, "minimum"))
		return order >= 0;
	if (is_key(key, "maximum"))
		return order <= 0;
	if (is_key(key, "exclusiveMinimum"))
		return order > 0;
	if (is_key(key, "exclusiveMaximum"))
		return order < 0;
	if (decimal_multiple_cost(&v->number, &bound->number) > divide_max)
		return unknown;
	CLAIM(!decimal_is_multiple(&v->number, &bound->number, &is_multiple));
	return is_multiple;
}

static uint64_t characters(struct slice text)
{
	uint64_t n = 0;

	for (size_t i = 0; i < text.len; i++)
		n += (((const uint8_t *)text.at)[i] & 0xc0) != 0x80;
	return n;
}

/* minLength and the like. */
static int judge_count(struct slice key, const struct json_node *bound, const struct json_node *v)
{
	const char *at = key.at;
	uint64_t count, limit = decimal_to_count(&bound->number);
	enum json_kind kind = memmem(at, key.len, "Length", 6)  ? JSON_KIND_STRING
			      : memmem(at, key.len, "Items", 5) ? JSON_KIND_ARRAY
								: JSON_KIND_OBJECT;

	if (v->kind != kind)
		return yes;
	count = kind == JSON_KIND_STRING ? characters(v->text) : v->count;
	return at[1] == 'i' ? count >= limit : count <= limit;
}

static int judge_required(const struct json_node *keys, const struct json_node *v)
{
	for (size_t i = 0; v->kind == JSON_KIND_OBJECT && i < keys->count; i++)
		if (!json_node_find(v, keys->items[i]->text))
			return no;
	return yes;
}

static int judge_unique(const struct json_node *wanted, const struct json_node *v)
{
	if (v->kind != JSON_KIND_ARRAY || !wanted->truth)
		return yes;
	if (v->count > 30)
		return unknown;
	for (size_t i = 0; i < v->count; i++)
		for (size_t j = i + 1; j < v->count; j++)
			if (equal(v->items[i], v->items[j]))
				return no;
	return yes;
}

static int judge(const struct json_node *s, const struct json_node *v, unsigned depth);

static int judge_properties(const struct json_node *properties, const struct json_node *v, unsigned depth)
{
	int r = yes;

	for (size_t i = 0; v->kind == JSON_KIND_OBJECT && i < properties->count; i++) {
		const struct json_node *value = json_node_find(v, properties->members[i].key);

		if (value)
			r = both(r, judge(properties->members[i].value, value, depth));
	}
	return r;
}

static int judge_additional(const struct json_node *s, const struct json_node *other, const struct json_node *v,
			    unsigned depth)
{
	const struct json_node *properties = json_node_find(s, slice_str("properties"));
	int r = yes;

	if (json_node_find(s, slice_str("patternProperties")))
		return unknown;
	for (size_t i = 0; v->kind == JSON_KIND_OBJECT && i < v->count; i++)
		if (!properties || !json_node_find(properties, v->members[i].key))
			r = both(r, judge(other, v->members[i].value, depth));
	return r;
}

static int judge_items(const struct json_node *s, const struct json_node *items, const struct json_node *v,
		       unsigned depth)
{
	const struct json_node *prefix = json_node_find(s, slice_str("prefixItems"));
	int r = yes;

	for (size_t i = prefix ? prefix->count : 0; v->kind == JSON_KIND_ARRAY && i < v->count; i++)
		r = both(r, judge(items, v->items[i], depth));
	return r;
}

static int judge_prefix(const struct json_node *prefix, const struct json_node *v, unsigned depth)
{
	int r = yes;

	for (size_t i = 0; v->kind == JSON_KIND_ARRAY && i < v->count && i < prefix->count; i++)
		r = both(r, judge(prefix->items[i], v->items[i], depth));
	return r;
}

/* allOf, anyOf, oneOf: how many say yes. */
static int judge_lists(struct slice key, const struct json_node *list, const struct json_node *v, unsigned depth)
{
	size_t good = 0;

	for (size_t i = 0; i < list->count; i++) {
		int r = judge(list->items[i], v, depth);

		if (r == unknown)
			return unknown;
		good += (size_t)r;
	}
	return is_key(key, "allOf") ? good == list->count : is_key(key, "anyOf") ? good > 0 : good == 1;
}

static int judge_if(const struct json_node *s, const struct json_node *condition, const struct json_node *v,
		    unsigned depth)
{
	int r = judge(condition, v, depth);
	const struct json_node *then = json_node_find(s, slice_str(r ? "then" : "else"));

	return r == unknown ? unknown : then ? judge(then, v, depth) : yes;
}

static bool is_one_of(struct slice key, const char *const *names)
{
	for (; *names; names++)
		if (is_key(key, *names))
			return true;
	return false;
}

static int judge_keyword(const struct json_node *s, struct slice key, const struct json_node *k,
			 const struct json_node *v, unsigned depth)
{
	static const char *const numbers[] = {"minimum",          "maximum",    "exclusiveMinimum",
					      "exclusiveMaximum", "multipleOf", NULL};
	static const char *const counts[] = {"minLength",     "maxLength",     "minItems", "maxItems",
					     "minProperties", "maxProperties", NULL};
	static const char *const lists[] = {"allOf", "anyOf", "oneOf", NULL};
	static const char *const words[] = {"title", "description", "default",    "examples", "format",
					    "then",  "else",        "deprecated", NULL};
	int r;

	if (is_one_of(key, numbers))
		return judge_number(key, k, v);
	if (is_one_of(key, counts))
		return judge_count(key, k, v);
	if (is_one_of(key, lists))
		return judge_lists(key, k, v, depth);
	if (is_one_of(key, words))
		return yes;
	if (is_key(key, "type"))
		return judge_type(k, v);
	if (is_key(key, "const"))
		return equal(k, v);
	if (is_key(key, "enum"))
		return judge_enum(k, v);
	if (is_key(key, "required"))
		return judge_required(k, v);
	if (is_key(key, "uniqueItems"))
		return judge_unique(k, v);
	if (is_key(key, "properties"))
		return judge_properties(k, v, depth);
	if (is_key(key, "additionalProperties"))
		return judge_additional(s, k, v, depth);
	if (is_key(key, "prefixItems"))
		return judge_prefix(k, v, depth);
	if (is_key(key, "items") && k->kind != JSON_KIND_ARRAY)
		return judge_items(s, k, v, depth);
	if (is_key(key, "if"))
		return judge_if(s, k, v, depth);
	if (!is_key(key, "not"))
		return unknown;
	r = judge(k, v, depth);
	return r == unknown ? unknown : !r;
}

static int judge(const struct json_node *s, const struct json_node *v, unsigned depth)
{
	int r = yes;

	if (s->kind == JSON_KIND_BOOLEAN)
		return s->truth;
	if (depth > judge_depth_max || s->kind != JSON_KIND_OBJECT || s->count > 20)
		return unknown;
	for (size_t i = 0; i < s->count && r != unknown; i++)
		r = both(r, judge_keyword(s, s->members[i].key, s->members[i].value, v, depth + 1));
	return r;
}

/* ---- the judge ---- */

/* It ran out of steps or of depth: that is a verdict on the schema and not on the value. */
static bool stopped(const struct reason *why)
{
	return strstr(why->text, "too many steps") || strstr(why->text, "schemas within schemas");
}

static int check(const struct schema *s, struct slice value, struct reason *why)
{
	int r;

	*why = (struct reason){.text = ""};
	r = schema_check(s, value, why);
	CLAIM(r == 0 || r == BUCKET_INVALID);
	CLAIM(!r == !*why->text);
	return r;
}

/* The schema as a part of another, of which the verdict is known. */
static void check_within(struct slice schema, struct slice value, const char *before, const char *behind,
			 bool opposite, int verdict)
{
	struct buf text = {0};
	struct reason why;
	struct schema *s;
	int r;

	CLAIM(!buf_add_string(&text, before) && !buf_add_slice(&text, schema) && !buf_add_string(&text, behind));
	r = schema_compile(&s, buf_slice(&text), &why);
	/* Only that the text is deeper can be a reason. */
	CLAIM(!r || strstr(why.text, "nested"));
	if (!r) {
		r = check(s, value, &why);
		if (!stopped(&why))
			CLAIM(!r == (opposite ? verdict != 0 : verdict == 0));
		schema_free(s);
	}
	buf_release(&text);
}

static void check_second(struct slice schema, struct slice value, int verdict)
{
	struct json_tree a, b;
	int opinion;

	CLAIM(!json_tree_parse(&a, schema, NULL));
	CLAIM(!json_tree_parse(&b, value, NULL));
	opinion = judge(a.root, b.root, 0);
	CLAIM(opinion == unknown || opinion == !verdict);
	json_tree_release(&a);
	json_tree_release(&b);
}

static void check_value(const struct schema *s, struct slice schema, struct slice value)
{
	struct reason why, again;
	struct buf compact = {0};
	int r = check(s, value, &why);

	CLAIM(check(s, value, &again) == r && !strcmp(why.text, again.text));
	if (json_compact(value, json_depth_max, &compact, NULL) || stopped(&why)) {
		CLAIM(r);
		buf_release(&compact);
		return;
	}
	CLAIM(check(s, buf_slice(&compact), &again) == r && !strcmp(why.text, again.text));
	check_second(schema, value, r);
	/* References lead to elsewhere from within another schema. */
	if (!memchr(schema.at, '$', schema.len) && !memmem(schema.at, schema.len, "\\u", 2)) {
		check_within(schema, value, "{\"allOf\":[", "]}", false, r);
		check_within(schema, value, "{\"anyOf\":[false,", "]}", false, r);
		check_within(schema, value, "{\"not\":", "}", true, r);
		check_within(schema, value, "{\"else\":false,\"if\":", "}", false, r);
	}
	buf_release(&compact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = size ? memchr(data, 0, size) : NULL;
	struct slice text = slice_of(data, end ? (size_t)(end - data) : size), value = slice_of("0", 1);
	struct reason why = {.text = ""};
	struct schema *s;
	int r;

	if (end)
		value = slice_of(end + 1, size - text.len - 1);
	r = schema_compile(&s, text, &why);
	CLAIM(r == 0 || (r == BUCKET_INVALID && *why.text));
	if (r)
		return 0;
	check_value(s, text, value);
	schema_free(s);
	return 0;
}
