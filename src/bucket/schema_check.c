/* Judging a value. Annotations are not collected: all that anybody wants to know of them is which children of a value
 * have been evaluated (2020-12 core §11), a bit each, and only where an unevaluated* keyword asks. */
#include <errno.h>
#include <stdlib.h>

#include "bucket/schema_judge.h"
#include "bucket/verdict.h"

enum {
	depth_max = 2048,     /* schemas within schemas: a few for each level of the value */
	steps_min = 20000000, /* about a second at most … */
	steps_a_byte = 8,     /* … and more for what is large, … */
	steps_bytes_max = 4 << 20, /* … up to here: whoever sets a limit must not buy time with it */
	steps_briefly = 2000000, /* about a tenth of a second */
	steps_shortly = 20000, /* about a millisecond */
};

struct marks;

static int check(struct run *run, const struct subschema *s, const struct spot *spot, struct marks *marks);

/* ---- which children have been evaluated ---- */

struct marks {
	uint64_t few[2], *bits;
	size_t words;
};

static int marks_init(struct run *run, struct marks *m, size_t children)
{
	m->words = children / 64 + 1;
	m->few[0] = m->few[1] = 0;
	m->bits = m->words > 2 ? calloc(m->words, sizeof(*m->bits)) : m->few;
	return m->bits ? run_spend(run, m->words) : -ENOMEM;
}

static void marks_release(struct marks *m)
{
	if (m->bits != m->few)
		free(m->bits);
}

static void mark(struct marks *m, size_t i)
{
	if (m)
		m->bits[i / 64] |= (uint64_t)1 << i % 64;
}

static void mark_all(struct marks *m)
{
	if (m)
		memset(m->bits, 0xff, m->words * sizeof(*m->bits));
}

static bool marked(const struct marks *m, size_t i)
{
	return m->bits[i / 64] >> i % 64 & 1;
}

/* Whether `s` holds, which nobody need be told if it does not; what it evaluated counts if it does. */
static int try(struct run *run, const struct subschema *s, const struct spot *spot, struct marks *marks, bool *holds)
{
	struct marks own;
	int r = 0;

	*holds = false;
	if (marks) {
		r = marks_init(run, &own, spot->value->count);
		if (r)
			goto out;
	}
	run->quiet++;
	r = check(run, s, spot, marks ? &own : NULL);
	run->quiet--;
	*holds = r == 0;
	r = r == BUCKET_INVALID ? 0 : r;
	for (size_t i = 0; marks && *holds && i < marks->words; i++)
		marks->bits[i] |= own.bits[i];
out:
	if (marks)
		marks_release(&own);
	return r;
}

/* A child of the value at `spot->up`. */
static int check_child(struct run *run, const struct subschema *s, const struct spot *spot, const char *rule)
{
	if (s->always == ALWAYS_INVALID)
		return run_violation(run, spot, "is not allowed by %s", rule);
	return check(run, s, spot, NULL);
}

/* ---- arrays ---- */

static int check_unique(struct run *run, const struct spot *spot)
{
	const struct json_node *array = spot->value, **sorted;
	unsigned rounds = 1;
	int r;

	while (array->count >> rounds)
		rounds++;
	r = run_spend(run, array->count + array->weight / weight_a_step * rounds);
	if (r || array->count < 2)
		return r;
	sorted = calloc(array->count, sizeof(struct json_node *));
	if (!sorted)
		return -ENOMEM;
	memcpy(sorted, array->items, array->count * sizeof(struct json_node *));
	r = json_nodes_sort(sorted, array->count);
	for (size_t i = 1; !r && i < array->count; i++) {
		size_t a = 0, b = 0;

		if (json_node_compare(sorted[i - 1], sorted[i]))
			continue;
		for (size_t k = 0; k < array->count; k++) {
			a = array->items[k] == sorted[i - 1] ? k : a;
			b = array->items[k] == sorted[i] ? k : b;
		}
		r = run_violation(run, spot, "has equal items, %zu and %zu (uniqueItems)", a < b ? a : b, a < b ? b : a);
	}
	free(sorted);
	return r;
}

static int check_contains(struct run *run, const struct subschema *s, const struct spot *spot, struct marks *marks)
{
	uint64_t found = 0;

	for (size_t i = 0; i < spot->value->count; i++) {
		struct spot item = {.up = spot, .value = spot->value->items[i], .index = i};
		bool holds;
		int r = try(run, s->contains, &item, NULL, &holds);

		if (r)
			return r;
		if (!holds)
			continue;
		found++;
		mark(marks, i);
	}
	if (found < s->min_contains && s->min_contains == 1)
		return run_violation(run, spot, "has no item as contains wants one");
	if (found < s->min_contains)
		return run_violation(run, spot, "has %llu items that contains counts, less than minContains %llu",
				 (unsigned long long)found, (unsigned long long)s->min_contains);
	if (found > s->max_contains)
		return run_violation(run, spot, "has %llu items that contains counts, more than maxContains %llu",
				 (unsigned long long)found, (unsigned long long)s->max_contains);
	return 0;
}

static int check_items(struct run *run, const struct subschema *s, const struct spot *spot, struct marks *marks)
{
	size_t count = spot->value->count, prefix = s->prefix_items.count, end = s->items || prefix > count ? count : prefix;

	for (size_t i = 0; i < end; i++) {
		struct spot item = {.up = spot, .value = spot->value->items[i], .index = i};
		int r = run_spend(run, 1);

		if (!r)
			r = check_child(run, i < prefix ? s->prefix_items.at[i] : s->items, &item, i < prefix ? "prefixItems" : "items");
		if (r)
			return r;
		mark(marks, i);
	}
	return 0;
}

static int check_array(struct run *run, const struct subschema *s, const struct spot *spot, struct marks *marks)
{
	uint64_t count = spot->value->count;
	int r = 0;

	if (count < s->min_items)
		return run_violation(run, spot, "has %llu items, less than minItems %llu", (unsigned long long)count,
				 (unsigned long long)s->min_items);
	if (count > s->max_items)
		return run_violation(run, spot, "has %llu items, more than maxItems %llu", (unsigned long long)count,
				 (unsigned long long)s->max_items);
	if (s->items || s->prefix_items.count)
		r = check_items(run, s, spot, marks);
	if (!r && s->contains)
		r = check_contains(run, s, spot, marks);
	if (!r && s->unique_items)
		r = check_unique(run, spot);
	return r;
}

/* ---- objects ---- */

static int check_member(struct run *run, const struct subschema *s, const struct spot *member, struct marks *marks)
{
	const struct subschema *declared = schema_map_find(&s->properties, member->key);
	bool found = declared;
	int r = run_spend(run, 1 + member->key.len / weight_a_step);

	if (!r && declared)
		r = check_child(run, declared, member, "properties");
	for (size_t i = 0; !r && i < s->pattern_properties.count; i++) {
		const struct schema_entry *e = &s->pattern_properties.at[i];
		bool yes;

		r = run_match(run, e->pattern, member->key, &yes);
		if (!r && yes) {
			found = true;
			r = check_child(run, e->schema, member, "patternProperties");
		}
	}
	if (!r && !found && s->additional_properties) {
		found = true;
		r = check_child(run, s->additional_properties, member, "additionalProperties");
	}
	if (!r && found)
		mark(marks, member->index);
	return r;
}

static int check_members(struct run *run, const struct subschema *s, const struct spot *spot, struct marks *marks)
{
	bool by_value = s->properties.count || s->pattern_properties.count || s->additional_properties;
	int r = 0;

	for (size_t i = 0; !r && i < spot->value->count; i++) {
		const struct json_member *m = &spot->value->members[i];
		struct spot member = {.up = spot, .value = m->value, .key = m->key, .index = i};

		if (s->property_names) {
			struct json_node name = {.kind = JSON_KIND_STRING, .text = member.key, .weight = 1 + member.key.len};
			struct spot key = {.up = spot, .value = &name, .is_key = true};

			r = check_child(run, s->property_names, &key, "propertyNames");
		}
		if (!r && by_value)
			r = check_member(run, s, &member, marks);
	}
	return r;
}

static int check_required(struct run *run, const struct names *names, const struct spot *spot, const char *rule)
{
	int r = run_spend(run, names->count);

	for (size_t i = 0; !r && i < names->count; i++)
		if (!json_node_find(spot->value, names->at[i]))
			return run_violation(run, spot, "lacks the key %s (%s)", schema_show_string(names->at[i]).text, rule);
	return r;
}

static int check_dependent(struct run *run, const struct subschema *s, const struct spot *spot, struct marks *marks)
{
	int r = run_spend(run, s->dependent_required_count + s->dependent_schemas.count);

	for (size_t i = 0; !r && i < s->dependent_required_count; i++)
		if (json_node_find(spot->value, s->dependent_required[i].key))
			r = check_required(run, &s->dependent_required[i].required, spot, "dependentRequired");
	for (size_t i = 0; !r && i < s->dependent_schemas.count; i++)
		if (json_node_find(spot->value, s->dependent_schemas.at[i].key))
			r = check(run, s->dependent_schemas.at[i].schema, spot, marks);
	return r;
}

static int check_object(struct run *run, const struct subschema *s, const struct spot *spot, struct marks *marks)
{
	uint64_t count = spot->value->count;
	int r;

	if (count < s->min_properties)
		return run_violation(run, spot, "has %llu keys, less than minProperties %llu", (unsigned long long)count,
				 (unsigned long long)s->min_properties);
	if (count > s->max_properties)
		return run_violation(run, spot, "has %llu keys, more than maxProperties %llu", (unsigned long long)count,
				 (unsigned long long)s->max_properties);
	r = check_required(run, &s->required, spot, "required");
	if (!r && (s->properties.count || s->pattern_properties.count || s->additional_properties || s->property_names))
		r = check_members(run, s, spot, marks);
	if (!r && (s->dependent_required_count || s->dependent_schemas.count))
		r = check_dependent(run, s, spot, marks);
	return r;
}

/* ---- schemas for the same value ---- */

static int check_any(struct run *run, const struct subschema *s, const struct spot *spot, struct marks *marks)
{
	bool any = false;

	/* Each that holds has evaluated something, so where that is asked for none is left out. */
	for (size_t i = 0; i < s->any_of.count && (!any || marks); i++) {
		bool holds;
		int r = try(run, s->any_of.at[i], spot, marks, &holds);

		if (r)
			return r;
		any = any || holds;
	}
	return any ? 0 : run_violation(run, spot, "is not valid by any of the %zu schemas in anyOf", s->any_of.count);
}

static int check_one(struct run *run, const struct subschema *s, const struct spot *spot, struct marks *marks)
{
	size_t found = 0, first = 0;

	for (size_t i = 0; i < s->one_of.count; i++) {
		bool holds;
		int r = try(run, s->one_of.at[i], spot, marks, &holds);

		if (r)
			return r;
		if (holds && found++)
			return run_violation(run, spot, "is valid by schemas %zu and %zu in oneOf, not by exactly one", first, i);
		first = holds ? i : first;
	}
	return found ? 0 : run_violation(run, spot, "is not valid by any of the %zu schemas in oneOf", s->one_of.count);
}

static int check_if(struct run *run, const struct subschema *s, const struct spot *spot, struct marks *marks)
{
	const struct subschema *branch;
	bool holds;
	int r;

	if (!s->then && !s->otherwise && !marks)
		return 0;
	r = try(run, s->condition, spot, marks, &holds);
	branch = holds ? s->then : s->otherwise;
	if (!r && branch && branch->always == ALWAYS_INVALID)
		return run_violation(run, spot, "is not allowed by %s", holds ? "then" : "else");
	return r || !branch ? r : check(run, branch, spot, marks);
}

static int check_in_place(struct run *run, const struct subschema *s, const struct spot *spot, struct marks *marks)
{
	int r = 0;

	if (s->ref)
		r = check(run, s->ref, spot, marks);
	for (size_t i = 0; !r && i < s->all_of.count; i++)
		r = check(run, s->all_of.at[i], spot, marks);
	if (!r && s->any_of.count)
		r = check_any(run, s, spot, marks);
	if (!r && s->one_of.count)
		r = check_one(run, s, spot, marks);
	if (!r && s->negated) {
		bool holds;

		r = try(run, s->negated, spot, NULL, &holds);
		if (!r && holds)
			r = run_violation(run, spot, "is valid by the schema in not");
	}
	if (!r && s->condition)
		r = check_if(run, s, spot, marks);
	return r;
}

/* What no other keyword here or in place of it has evaluated. */
static int check_rest(struct run *run, const struct subschema *s, const struct spot *spot, struct marks *marks)
{
	const struct json_node *value = spot->value;
	bool object = value->kind == JSON_KIND_OBJECT;
	int r = 0;

	for (size_t i = 0; !r && i < value->count; i++) {
		struct spot child = {.up = spot, .index = i};

		if (marked(marks, i))
			continue;
		child.value = object ? value->members[i].value : value->items[i];
		if (object)
			child.key = value->members[i].key;
		r = run_spend(run, 1);
		if (!r)
			r = check_child(run, object ? s->unevaluated_properties : s->unevaluated_items, &child,
					object ? "unevaluatedProperties" : "unevaluatedItems");
	}
	mark_all(marks);
	return r;
}

static int check_all(struct run *run, const struct subschema *s, const struct spot *spot, struct marks *marks)
{
	int r = check_any_value(run, s, spot);

	if (r)
		return r;
	switch (spot->value->kind) {
	case JSON_KIND_NUMBER:
		r = check_number(run, s, spot);
		break;
	case JSON_KIND_STRING:
		r = check_string(run, s, spot);
		break;
	case JSON_KIND_ARRAY:
		r = check_array(run, s, spot, marks);
		break;
	case JSON_KIND_OBJECT:
		r = check_object(run, s, spot, marks);
		break;
	default:
		break;
	}
	return r ? r : check_in_place(run, s, spot, marks);
}

/* `marks`: somebody above asks what of this value is evaluated; NULL if nobody does. */
static int check(struct run *run, const struct subschema *s, const struct spot *spot, struct marks *marks)
{
	enum json_kind kind = spot->value->kind;
	struct marks own;
	int r;

	if (s->always)
		return s->always == ALWAYS_VALID ? 0 : run_violation(run, spot, "is not allowed: the schema for it is false");
	r = run_spend(run, 1);
	if (r)
		return r;
	if (run->depth == depth_max) {
		reason_set(run->why, "schema: judging this goes through more than %d schemas within schemas", depth_max);
		return STOPPED;
	}
	run->depth++;
	if ((kind == JSON_KIND_OBJECT && s->unevaluated_properties) || (kind == JSON_KIND_ARRAY && s->unevaluated_items)) {
		/* It is not to see what its cousins have evaluated, only what is in it. */
		r = marks_init(run, &own, spot->value->count);
		if (!r)
			r = check_all(run, s, spot, &own);
		if (!r)
			r = check_rest(run, s, spot, &own);
		if (!r)
			mark_all(marks);
		marks_release(&own);
	} else {
		r = check_all(run, s, spot, json_node_has_children(spot->value) ? marks : NULL);
	}
	run->depth--;
	return r;
}

int schema_check_at(const struct schema *s, struct slice text, struct schema_pace *pace, struct reason *why)
{
	uint64_t len = text.len < steps_bytes_max ? text.len : steps_bytes_max, most = steps_min + steps_a_byte * len;
	struct run run = {.schema = s,
			  .why = why,
			  .quiet = !why,
			  .steps = pace->shortly ? steps_shortly : pace->briefly ? steps_briefly : most,
			  .stop = pace->stop};
	struct json_tree tree;
	struct spot whole = {0};
	int r = json_tree_parse(&tree, text, why);

	if (r)
		return r;
	whole.value = tree.root;
	most = run.ask = run.steps;
	r = check(&run, s->root, &whole, NULL);
	pace->steps = most - run.steps;
	matcher_release(&run.matcher);
	json_tree_release(&tree);
	if (r != STOPPED)
		return r;
	return run.stopped ? -EINTR : pace->shortly ? BUCKET_LONG : BUCKET_INVALID;
}

int schema_check(const struct schema *s, struct slice text, struct reason *why)
{
	struct schema_pace pace = {0};

	return schema_check_at(s, text, &pace, why);
}
