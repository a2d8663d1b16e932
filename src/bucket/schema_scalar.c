/* Judging a value for itself: what it is, numbers, strings. And the words for what is wrong with it. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "bucket/schema_judge.h"
#include "bucket/verdict.h"

int run_spend(struct run *run, uint64_t steps)
{
	enum { ask_every = 1 << 20 };

	if (run->steps < run->ask && run->stop) {
		run->ask = run->steps > ask_every ? run->steps - ask_every : 0;
		run->stopped |= run->stop();
	}
	if (steps <= run->steps && !run->stopped) {
		run->steps -= steps;
		return 0;
	}
	run->steps = 0;
	reason_set(run->why, "schema: judging this takes too many steps; a simpler schema, pattern or value is needed");
	return STOPPED;
}

int run_violation(struct run *run, const struct spot *spot, const char *format, ...)
{
	struct described d;
	struct shown value;
	char words[200];
	va_list args;
	int r;

	if (run->quiet)
		return BUCKET_INVALID;
	r = schema_describe(run->schema, spot, &d);
	if (r)
		return r;
	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	value = schema_show(spot->value);
	reason_set(run->why, "schema: %s: %s%s %s", d.pointer, spot->is_key ? "key " : "", d.masked ? "***" : value.text, words);
	return BUCKET_INVALID;
}

int run_match(struct run *run, const struct pattern *p, struct slice subject, bool *yes)
{
	int r = pattern_match(p, &run->matcher, subject, &run->steps, yes);

	if (r == PATTERN_EXHAUSTED) {
		run->steps = 0;
		return run_spend(run, 1);
	}
	return r;
}

/* ---- values of any type ---- */

static const char *kind_name(const struct json_node *value)
{
	static const char *const names[] = {"null", "a boolean", "a number", "a string", "an array", "an object"};

	return names[value->kind];
}

static int check_type(struct run *run, const struct subschema *s, const struct spot *spot)
{
	static const char *const names[] = {"null", "boolean", "number", "string", "array", "object", "integer"};
	const struct json_node *value = spot->value;
	char wanted[80] = "";
	size_t len = 0;

	if (s->types >> value->kind & 1)
		return 0;
	if (value->kind == JSON_KIND_NUMBER && s->types & type_integer && decimal_is_integer(&value->number))
		return 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (s->types >> i & 1)
			len += (size_t)snprintf(wanted + len, sizeof(wanted) - len, "%s%s", len ? " or " : "", names[i]);
	if (value->kind == JSON_KIND_NUMBER && s->types & type_integer)
		return run_violation(run, spot, "is a number with a fraction, not of type %s", wanted);
	return run_violation(run, spot, "is %s, not of type %s", kind_name(value), wanted);
}

static uint64_t compare_cost(const struct json_node *a, const struct json_node *b)
{
	return 1 + (a->weight < b->weight ? a->weight : b->weight) / weight_a_step;
}

static int check_const(struct run *run, const struct subschema *s, const struct spot *spot)
{
	struct described d;
	int r = run_spend(run, compare_cost(s->constant, spot->value));

	if (r || json_node_compare(s->constant, spot->value) == 0)
		return r;
	if (run->quiet)
		return BUCKET_INVALID;
	r = schema_describe(run->schema, spot, &d);
	if (r)
		return r;
	if (d.masked || json_node_has_children(s->constant))
		return run_violation(run, spot, "is not what const says");
	return run_violation(run, spot, "is not const %s", schema_show(s->constant).text);
}

static int check_enum(struct run *run, const struct subschema *s, const struct spot *spot)
{
	size_t low = 0, high = s->choice_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order, r = run_spend(run, compare_cost(s->choices[middle], spot->value));

		if (r)
			return r;
		order = json_node_compare(s->choices[middle], spot->value);
		if (order == 0)
			return 0;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return run_violation(run, spot, "is not one of the values in enum");
}

int check_any_value(struct run *run, const struct subschema *s, const struct spot *spot)
{
	int r = s->types ? check_type(run, s, spot) : 0;

	if (!r && s->constant)
		r = check_const(run, s, spot);
	if (!r && s->choices)
		r = check_enum(run, s, spot);
	return r;
}

/* ---- numbers and strings ---- */

static int check_multiple(struct run *run, const struct subschema *s, const struct spot *spot)
{
	const struct decimal *value = &spot->value->number, *of = &s->multiple_of->number;
	int r = run_spend(run, decimal_multiple_cost(value, of));
	bool yes;

	if (!r)
		r = decimal_is_multiple(value, of, &yes);
	if (r || yes)
		return r;
	return run_violation(run, spot, "is not a multiple of %s (multipleOf)", schema_show(s->multiple_of).text);
}

int check_number(struct run *run, const struct subschema *s, const struct spot *spot)
{
	const struct {
		const struct json_node *bound;
		int low, high; /* what the comparison may give */
		const char *words;
	} bounds[] = {
		{s->minimum, 0, 1, "is less than minimum"},
		{s->maximum, -1, 0, "is more than maximum"},
		{s->exclusive_minimum, 1, 1, "is not more than exclusiveMinimum"},
		{s->exclusive_maximum, -1, -1, "is not less than exclusiveMaximum"},
	};

	for (size_t i = 0; i < sizeof(bounds) / sizeof(*bounds); i++) {
		int order, r;

		if (!bounds[i].bound)
			continue;
		r = run_spend(run, compare_cost(bounds[i].bound, spot->value));
		if (r)
			return r;
		order = decimal_compare(&spot->value->number, &bounds[i].bound->number);
		order = (order > 0) - (order < 0);
		if (order < bounds[i].low || order > bounds[i].high)
			return run_violation(run, spot, "%s %s", bounds[i].words, schema_show(bounds[i].bound).text);
	}
	return s->multiple_of ? check_multiple(run, s, spot) : 0;
}

/* Code points; a lone surrogate is one. */
static uint64_t length(struct slice s)
{
	const unsigned char *at = s.at;
	uint64_t n = 0;

	for (size_t i = 0; i < s.len; i++)
		n += (at[i] & 0xc0) != 0x80;
	return n;
}

int check_string(struct run *run, const struct subschema *s, const struct spot *spot)
{
	struct slice text = spot->value->text;
	bool yes;
	int r;

	if (s->min_length || s->max_length != UINT64_MAX) {
		uint64_t n = length(text);

		r = run_spend(run, text.len / weight_a_step);
		if (r)
			return r;
		if (n < s->min_length)
			return run_violation(run, spot, "is shorter than minLength %llu", (unsigned long long)s->min_length);
		if (n > s->max_length)
			return run_violation(run, spot, "is longer than maxLength %llu", (unsigned long long)s->max_length);
	}
	if (!s->pattern)
		return 0;
	r = run_match(run, s->pattern, text, &yes);
	if (r || yes)
		return r;
	return run_violation(run, spot, "does not match pattern %s", schema_show_string(s->pattern_text).text);
}
