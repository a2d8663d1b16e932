/* Words about values and places, short enough for a reason, and without what is writeOnly. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "bucket/json.h"
#include "bucket/schema_internal.h"

enum { token_max = 40 };
#define CUT "\xe2\x80\xa6"

/* One character of `in` at *at as it is shown; the bytes it takes. */
static size_t show_character(struct slice in, size_t *at, bool in_pointer, char out[8])
{
	const unsigned char *c = (const unsigned char *)in.at + *at;
	size_t left = in.len - *at, len = *c < 0x80 ? 1 : *c < 0xe0 ? 2 : *c < 0xf0 ? 3 : 4;

	len = len < left ? len : left;
	*at += len;
	if (in_pointer && (*c == '~' || *c == '/'))
		return (size_t)snprintf(out, 8, "~%c", *c == '/' ? '1' : '0');
	if (!in_pointer && (*c == '"' || *c == '\\'))
		return (size_t)snprintf(out, 8, "\\%c", *c);
	if (*c < ' ' || *c == 0x7f)
		return (size_t)snprintf(out, 8, "\\u%04x", *c);
	if (*c == 0xed && len == 3 && c[1] >= 0xa0)
		return (size_t)snprintf(out, 8, "\\u%04x", 0xd000u | (c[1] & 0x3fu) << 6 | (c[2] & 0x3fu));
	memcpy(out, c, len);
	return len;
}

static size_t show_bytes(struct slice in, bool in_pointer, char *out, size_t room)
{
	size_t at = 0, len = 0;

	while (at < in.len) {
		char one[8];
		size_t n = show_character(in, &at, in_pointer, one);

		if (len + n + sizeof(CUT) > room) {
			memcpy(out + len, CUT, sizeof(CUT) - 1);
			len += sizeof(CUT) - 1;
			break;
		}
		memcpy(out + len, one, n);
		len += n;
	}
	out[len] = 0;
	return len;
}

struct shown schema_show_string(struct slice bytes)
{
	struct shown s;
	size_t len;

	s.text[0] = '"';
	len = show_bytes(bytes, false, s.text + 1, sizeof(s.text) - 2) + 1;
	s.text[len] = '"';
	s.text[len + 1] = 0;
	return s;
}

struct shown schema_show(const struct json_node *value)
{
	static const char *const words[] = {
		[JSON_KIND_NULL] = "null", [JSON_KIND_ARRAY] = "the array", [JSON_KIND_OBJECT] = "the object"};
	struct shown s;

	switch (value->kind) {
	case JSON_KIND_STRING:
		return schema_show_string(value->text);
	case JSON_KIND_NUMBER:
		show_bytes(value->text, false, s.text, sizeof(s.text));
		break;
	case JSON_KIND_BOOLEAN:
		snprintf(s.text, sizeof(s.text), "%s", value->truth ? "true" : "false");
		break;
	default:
		snprintf(s.text, sizeof(s.text), "%s", words[value->kind]);
	}
	return s;
}

/* ---- pointers, written from their end ---- */

struct pointer {
	char text[pointer_max];
	size_t start;
	bool full;
};

static void prepend(struct pointer *p, struct slice token, bool as_it_is)
{
	char shown[token_max + 1];
	size_t len = as_it_is ? (size_t)snprintf(shown, sizeof(shown), "%.*s", (int)token.len, (const char *)token.at)
			      : show_bytes(token, true, shown, sizeof(shown));

	if (p->full || len + sizeof(CUT) + 1 > p->start) {
		p->full = true;
		return;
	}
	p->start -= len;
	memcpy(p->text + p->start, shown, len);
	p->text[--p->start] = '/';
}

static void pointer_copy(const struct pointer *p, char out[pointer_max])
{
	const char *text = p->text + p->start;

	snprintf(out, pointer_max, "%s%s", p->full ? CUT : "", *text || p->full ? text : "(root)");
}

void schema_place(const struct place *place, char text[pointer_max])
{
	struct pointer p = {.start = pointer_max - 1};

	for (; place; place = place->up)
		prepend(&p, place->token, false);
	pointer_copy(&p, text);
}

static void spot_pointer(const struct spot *spot, const bool *hidden, size_t depth, char text[pointer_max])
{
	struct pointer p = {.start = pointer_max - 1};
	char number[24];

	for (; spot->up; spot = spot->up, depth--) {
		if (spot->is_key)
			continue;
		if (hidden[depth])
			prepend(&p, slice_str("***"), true);
		else if (spot->key.at)
			prepend(&p, spot->key, false);
		else
			prepend(&p, slice_of(number, (size_t)snprintf(number, sizeof(number), "%zu", spot->index)), true);
	}
	pointer_copy(&p, text);
}

/* ---- writeOnly ---- */

/* Every schema that may judge the value at one depth; conditions count as met. */
struct judges {
	const struct subschema **list;
	size_t count;
};

struct masking {
	struct judges now, next;
	size_t *seen; /* by number: the depth at which it was added last, plus 1 */
	size_t depth;
	struct matcher matcher;
	uint64_t steps;
	bool declared; /* properties names the key */
};

enum { masking_steps = 1000000 };

static void add(struct masking *m, struct judges *judges, const struct subschema *s)
{
	if (!s || m->seen[s->number] == m->depth + 1)
		return;
	m->seen[s->number] = m->depth + 1;
	judges->list[judges->count++] = s;
}

static bool spread(struct masking *m)
{
	bool write_only = false;

	for (size_t i = 0; i < m->now.count; i++) {
		const struct subschema *s = m->now.list[i], *child;

		write_only = write_only || s->write_only;
		for (size_t n = 0; (child = schema_in_place(s, n)); n++)
			add(m, &m->now, child);
	}
	return write_only;
}

static int step_into_member(struct masking *m, const struct subschema *s, struct slice key)
{
	const struct subschema *declared = schema_map_find(&s->properties, key);
	bool found = declared;

	add(m, &m->next, declared);
	m->declared = m->declared || declared;
	for (size_t i = 0; i < s->pattern_properties.count; i++) {
		const struct schema_entry *e = &s->pattern_properties.at[i];
		bool yes = false;
		int r = pattern_match(e->pattern, &m->matcher, key, &m->steps, &yes);

		if (r < 0)
			return r;
		if (!yes && r != PATTERN_EXHAUSTED)
			continue;
		add(m, &m->next, e->schema);
		found = true;
	}
	if (!found)
		add(m, &m->next, s->additional_properties);
	if (!found && !s->additional_properties)
		add(m, &m->next, s->unevaluated_properties);
	return 0;
}

static int step_into(struct masking *m, const struct spot *spot)
{
	struct judges swap;
	int r = 0;

	m->depth++;
	m->declared = false;
	m->next.count = 0;
	for (size_t i = 0; !r && i < m->now.count; i++) {
		const struct subschema *s = m->now.list[i];

		if (spot->is_key) {
			add(m, &m->next, s->property_names);
		} else if (spot->key.at) {
			r = step_into_member(m, s, spot->key);
		} else {
			bool in_prefix = spot->index < s->prefix_items.count;

			add(m, &m->next, in_prefix ? s->prefix_items.at[spot->index] : s->items);
			add(m, &m->next, s->contains);
			if (!in_prefix && !s->items)
				add(m, &m->next, s->unevaluated_items);
		}
	}
	swap = m->now;
	m->now = m->next;
	m->next = swap;
	return r;
}

static int find_masked(const struct schema *s, const struct spot **path, size_t depth, bool *hidden, bool *masked)
{
	struct masking m = {.steps = masking_steps};
	int r = -ENOMEM;

	m.now.list = calloc(s->count, sizeof(struct subschema *));
	m.next.list = calloc(s->count, sizeof(struct subschema *));
	m.seen = calloc(s->count, sizeof(*m.seen));
	if (!m.now.list || !m.next.list || !m.seen)
		goto out;
	add(&m, &m.now, s->root);
	*masked = spread(&m);
	r = 0;
	for (size_t i = 1; !r && i <= depth; i++) {
		r = step_into(&m, path[i]);
		hidden[i] = *masked && path[i]->key.at && !m.declared;
		*masked = spread(&m) || *masked;
	}
out:
	matcher_release(&m.matcher);
	free(m.now.list);
	free(m.next.list);
	free(m.seen);
	return r;
}

int schema_describe(const struct schema *s, const struct spot *spot, struct described *out)
{
	const struct spot *path[json_depth_max + 2];
	bool hidden[json_depth_max + 2] = {false};
	size_t depth = 0, i;
	int r = 0;

	for (const struct spot *up = spot; up->up; up = up->up)
		depth++;
	i = depth;
	for (const struct spot *up = spot; up; up = up->up, i--)
		path[i] = up;
	out->masked = false;
	if (s->masks)
		r = find_masked(s, path, depth, hidden, &out->masked);
	spot_pointer(spot, hidden, depth, out->pointer);
	return r;
}
