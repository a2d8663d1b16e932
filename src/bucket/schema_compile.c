/* Compiling: every subschema is found by walking the known keywords, then references are led to their targets (which may
 * be where no known keyword leads; those are compiled then), then loops of references that never get anywhere are
 * refused. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "bucket/schema_compiler.h"
#include "bucket/uri.h"
#include "bucket/verdict.h"

/* What an outermost $id is relative to. */
static const char base_of_all[] = "bucketfs:///schema.json";

int compile_refuse(struct compiler *c, const struct place *place, const char *format, ...)
{
	char where[pointer_max], what[sizeof(c->why->text)];
	va_list args;

	schema_place(place, where);
	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	reason_set(c->why, "schema: %s: %s", where, what);
	return BUCKET_INVALID;
}

const struct place *compile_place(struct compiler *c, const struct place *up, struct slice token)
{
	struct place *place = arena_alloc(&c->schema->arena, 1, sizeof(*place));

	if (place)
		*place = (struct place){up, token};
	return place;
}

/* ---- walking ---- */

static struct subschema *new_subschema(struct compiler *c, const struct json_node *node, const struct place *place,
				       struct resource *resource)
{
	struct schema *schema = c->schema;
	struct subschema *s = arena_alloc(&schema->arena, 1, sizeof(*s));

	if (!s)
		return NULL;
	*s = (struct subschema){
		.source = node,
		.place = place,
		.resource = resource,
		.number = schema->count++,
		.max_length = UINT64_MAX,
		.max_items = UINT64_MAX,
		.max_properties = UINT64_MAX,
		.min_contains = 1,
		.max_contains = UINT64_MAX,
	};
	if (schema->last)
		schema->last->next = s;
	else
		schema->first = s;
	schema->last = s;
	c->by_node[node->index] = s;
	return s;
}

/* As deep as the text is: json_depth_max at most. */
int compile_subschema(struct compiler *c, const struct json_node *node, const struct place *place,
		      struct resource *resource, struct subschema **out)
{
	struct subschema *s = c->by_node[node->index];
	int r;

	if (s) {
		*out = s;
		return 0;
	}
	if (node->kind != JSON_KIND_OBJECT && node->kind != JSON_KIND_BOOLEAN)
		return compile_refuse(c, place, "a schema is an object, true or false, not %s", schema_show(node).text);
	if (c->schema->count == schemas_max)
		return compile_refuse(c, place, "more than %d schemas in one", schemas_max);
	s = new_subschema(c, node, place, resource);
	if (!s)
		return -ENOMEM;
	*out = s;
	if (node->kind == JSON_KIND_BOOLEAN) {
		s->always = node->truth ? ALWAYS_VALID : ALWAYS_INVALID;
		return 0;
	}
	r = compile_identity(c, s, node, resource);
	if (!r)
		r = compile_siblings(c, s);
	for (size_t i = 0; !r && i < node->count; i++)
		r = compile_keyword(c, s, &node->members[i]);
	c->schema->masks = c->schema->masks || s->write_only;
	return r;
}

int compile_identifier(struct compiler *c, struct subschema *s, struct slice anchor)
{
	struct identifier id = {.schema = s};
	struct buf uri = {0};
	int r;

	if (c->resolving)
		return 0;
	r = buf_add_slice(&uri, s->resource->base);
	if (!r)
		r = buf_add_byte(&uri, '#');
	if (!r)
		r = buf_add_slice(&uri, anchor);
	if (!r) {
		id.uri = arena_copy(&c->schema->arena, buf_slice(&uri));
		r = id.uri.at ? buf_add(&c->identifiers, &id, sizeof(id)) : -ENOMEM;
	}
	buf_release(&uri);
	return r;
}

/* ---- references ---- */

static int identifier_order(const void *a, const void *b)
{
	return slice_compare(((const struct identifier *)a)->uri, ((const struct identifier *)b)->uri);
}

static int sort_identifiers(struct compiler *c)
{
	struct identifier *ids = (struct identifier *)(void *)c->identifiers.data;
	size_t count = c->identifiers.len / sizeof(*ids);

	if (count)
		qsort(ids, count, sizeof(*ids), identifier_order);
	for (size_t i = 1; i < count; i++) {
		struct slice uri = ids[i].uri;

		if (!slice_equal(ids[i - 1].uri, uri) || ids[i - 1].schema == ids[i].schema)
			continue;
		if (slice_starts_with(uri, slice_str(base_of_all)))
			uri = slice_of((const char *)uri.at + sizeof(base_of_all) - 1, uri.len - (sizeof(base_of_all) - 1));
		return compile_refuse(c, ids[i].schema->place, "another schema has the same $id or $anchor, %s",
				      schema_show_string(uri).text);
	}
	return 0;
}

static struct subschema *find_identifier(struct compiler *c, const struct buf *uri)
{
	struct identifier key = {.uri = buf_slice(uri)}, *found;

	if (!c->identifiers.len)
		return NULL;
	found = bsearch(&key, c->identifiers.data, c->identifiers.len / sizeof(key), sizeof(key), identifier_order);
	return found ? found->schema : NULL;
}

/* One step of a JSON pointer (RFC 6901): the token, its ~0 and ~1 undone, as in an object or an array. */
static const struct json_node *pointer_step(const struct json_node *node, struct slice token)
{
	const char *at = token.at;
	size_t index = 0;

	if (node->kind != JSON_KIND_ARRAY)
		return json_node_find(node, token);
	if (token.len == 0 || token.len > 9 || (token.len > 1 && *at == '0'))
		return NULL;
	for (size_t i = 0; i < token.len; i++) {
		if (at[i] < '0' || at[i] > '9')
			return NULL;
		index = index * 10 + (size_t)(at[i] - '0');
	}
	return index < node->count ? node->items[index] : NULL;
}

/* Undoes ~0 and ~1 in place. False: a ~ that is neither. */
static bool unescape(char *token, size_t *len)
{
	size_t to = 0;

	for (size_t i = 0; i < *len; i++) {
		char c = token[i];

		if (c == '~') {
			if (++i == *len || (token[i] != '0' && token[i] != '1'))
				return false;
			c = token[i] == '0' ? '~' : '/';
		}
		token[to++] = c;
	}
	*len = to;
	return true;
}

/* *found stays NULL where it leads nowhere. */
static int follow_pointer(struct compiler *c, struct resource *resource, struct slice pointer, struct subschema **found)
{
	const struct json_node *node = resource->root;
	struct subschema *near = c->by_node[node->index];
	const struct place *place = near->place;
	struct slice copy = arena_copy(&c->schema->arena, pointer);
	char *at, *end;

	if (!copy.at)
		return -ENOMEM;
	at = (char *)(uintptr_t)copy.at;
	end = at + copy.len;
	while (at < end) {
		char *token = ++at;
		size_t len;

		while (at < end && *at != '/')
			at++;
		len = (size_t)(at - token);
		node = unescape(token, &len) ? pointer_step(node, slice_of(token, len)) : NULL;
		if (!node)
			return 0;
		place = compile_place(c, place, slice_of(token, len));
		if (!place)
			return -ENOMEM;
		if (c->by_node[node->index])
			near = c->by_node[node->index];
	}
	return compile_subschema(c, node, place, near->resource, found);
}

static int lead_to(struct compiler *c, struct subschema *s, struct buf *uri, struct slice fragment, struct subschema **found)
{
	struct resource *resource = s->resource;
	struct buf decoded = {0};
	int r = 0;

	if (!slice_equal(buf_slice(uri), resource->base)) {
		struct subschema *root;

		r = buf_add_byte(uri, '#');
		root = r ? NULL : find_identifier(c, uri);
		if (!root)
			return r ? r : compile_refuse(c, s->place, "$ref %s: remote references are not followed; put the schema under $defs with its $id",
						      schema_show(s->ref_text).text);
		uri->len--;
		resource = root->resource;
	}
	r = uri_decode(fragment, &decoded);
	if (!r && (!decoded.len || decoded.data[0] == '/')) {
		r = follow_pointer(c, resource, buf_slice(&decoded), found);
	} else if (!r) {
		r = buf_add_byte(uri, '#');
		if (!r)
			r = buf_add_slice(uri, buf_slice(&decoded));
		*found = r ? NULL : find_identifier(c, uri);
	}
	buf_release(&decoded);
	return r == BUCKET_INVALID && !*c->why->text ? 0 : r;
}

static int resolve(struct compiler *c, struct subschema *s)
{
	struct slice text, fragment;
	struct subschema *found = NULL;
	struct buf uri = {0};
	int r;

	uri_split_fragment(s->ref_text->text, &text, &fragment);
	if (text.len > 1024)
		return compile_refuse(c, s->place, "$ref is longer than 1024 bytes");
	r = uri_resolve(s->resource->base, text, &uri);
	if (!r)
		r = lead_to(c, s, &uri, fragment, &found);
	if (!r && !found)
		r = compile_refuse(c, s->place, "$ref %s leads to nothing in this text", schema_show(s->ref_text).text);
	s->ref = found;
	buf_release(&uri);
	return r;
}

/* ---- loops ---- */

const struct subschema *schema_in_place(const struct subschema *s, size_t n)
{
	const struct schema_list *lists[] = {&s->all_of, &s->any_of, &s->one_of};
	const struct subschema *singles[] = {s->ref, s->negated, s->condition, s->condition ? s->then : NULL,
					     s->condition ? s->otherwise : NULL};

	for (size_t i = 0; i < sizeof(singles) / sizeof(*singles); i++)
		if (singles[i] && n-- == 0)
			return singles[i];
	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		if (n < lists[i]->count)
			return lists[i]->at[n];
		n -= lists[i]->count;
	}
	return n < s->dependent_schemas.count ? s->dependent_schemas.at[n].schema : NULL;
}

struct step {
	struct subschema *schema;
	size_t next;
};

enum { white, grey, black };

/* Depth first, from one schema; `path` has room for all of them. */
static int look_for_loop(struct compiler *c, struct subschema *from, struct step *path)
{
	size_t depth = 0;

	path[0] = (struct step){from, 0};
	from->color = grey;
	for (;;) {
		struct step *top = &path[depth];
		const struct subschema *child = schema_in_place(top->schema, top->next++);
		struct subschema *below = child ? c->by_node[child->source->index] : NULL;

		if (!below) {
			top->schema->color = black;
			if (depth-- == 0)
				return 0;
		} else if (below->color == grey) {
			return compile_refuse(c, below->place, "is judged by itself, round a loop of $ref that never gets further into the data");
		} else if (below->color == white) {
			below->color = grey;
			path[++depth] = (struct step){below, 0};
		}
	}
}

static int refuse_loops(struct compiler *c)
{
	struct step *path = calloc(c->schema->count, sizeof(*path));
	int r = path ? 0 : -ENOMEM;

	for (struct subschema *s = c->schema->first; !r && s; s = s->next)
		if (s->color == white)
			r = look_for_loop(c, s, path);
	free(path);
	return r;
}

/* ---- all of it ---- */

static int compile_all(struct compiler *c)
{
	struct schema *schema = c->schema;
	struct resource *all = arena_alloc(&schema->arena, 1, sizeof(*all));
	int r;

	c->by_node = calloc(schema->tree.count, sizeof(struct subschema *));
	if (!all || !c->by_node)
		return -ENOMEM;
	*all = (struct resource){slice_str(base_of_all), schema->tree.root, DRAFT_2020_12};
	r = compile_subschema(c, schema->tree.root, NULL, all, &schema->root);
	if (!r)
		r = sort_identifiers(c);
	c->resolving = true;
	/* The list grows meanwhile. */
	for (struct subschema *s = schema->first; !r && s; s = s->next)
		if (s->ref_text)
			r = resolve(c, s);
	return r ? r : refuse_loops(c);
}

int schema_compile(struct schema **out, struct slice text, struct reason *why)
{
	struct reason own = {.text = ""};
	struct schema *schema = calloc(1, sizeof(*schema));
	struct compiler c = {.schema = schema, .why = &own};
	int r;

	if (!schema)
		return -ENOMEM;
	schema->refs = 1;
	r = json_tree_parse(&schema->tree, text, &own);
	if (!r)
		r = compile_all(&c);
	schema->patterns = (struct pattern **)(void *)c.patterns.data;
	schema->pattern_count = c.patterns.len / sizeof(*schema->patterns);
	buf_release(&c.identifiers);
	free(c.by_node);
	if (r)
		schema_free(schema);
	else
		*out = schema;
	if (r == BUCKET_INVALID)
		reason_set(why, "%s", own.text);
	return r;
}

struct schema *schema_share(struct schema *s)
{
	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
	return s;
}

void schema_free(struct schema *s)
{
	if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL))
		return;
	for (size_t i = 0; i < s->pattern_count; i++)
		pattern_free(s->patterns[i]);
	free(s->patterns);
	arena_release(&s->arena);
	json_tree_release(&s->tree);
	free(s);
}

const struct subschema *schema_map_find(const struct schema_map *map, struct slice key)
{
	size_t low = 0, high = map->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = slice_compare(map->at[middle].key, key);

		if (order == 0)
			return map->at[middle].schema;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}
