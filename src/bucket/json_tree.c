#include "bucket/json_tree.h"

#include <errno.h>
#include <stdlib.h>

#include "bucket/json.h"
#include "bucket/verdict.h"

struct level {
	struct json_node *node;
	size_t first;     /* of its children among `pending` */
	struct slice key; /* of the member being read */
};

struct builder {
	struct json_tree *tree;
	const char *at, *end;
	struct buf pending; /* struct json_member: children of what is still open */
	size_t depth;
	struct level levels[json_depth_max + 1];
};

static struct json_node *new_node(struct builder *b, enum json_kind kind)
{
	struct json_node *node = arena_alloc(&b->tree->arena, 1, sizeof(*node));

	if (node) {
		node->kind = kind;
		node->index = b->tree->count++;
		node->weight = 1;
	}
	return node;
}

static int value_ended(struct builder *b, struct json_node *node)
{
	struct level *level = &b->levels[b->depth];
	struct json_member child = {level->key, node};

	if (b->depth == 0) {
		b->tree->root = node;
		return 0;
	}
	level->node->weight += node->weight + (level->node->kind == JSON_KIND_OBJECT ? level->key.len + 1 : 0);
	return buf_add(&b->pending, &child, sizeof(child));
}

static int member_order(const void *a, const void *b)
{
	const struct json_member *x = a, *y = b;
	int order = slice_compare(x->key, y->key);

	return order ? order : (x->value->index > y->value->index) - (x->value->index < y->value->index);
}

static void close_object(struct json_node *node, const struct json_member *children, size_t count)
{
	struct json_member *to = node->members;

	memcpy(to, children, count * sizeof(*to));
	qsort(to, count, sizeof(*to), member_order);
	for (size_t i = 0; i < count; i++)
		if (i + 1 == count || !slice_equal(to[i].key, to[i + 1].key))
			to[node->count++] = to[i];
}

static int close_level(struct builder *b)
{
	struct level *level = &b->levels[b->depth];
	struct json_node *node = level->node;
	const struct json_member *children = (const struct json_member *)(const void *)b->pending.data;
	size_t count = b->pending.len / sizeof(*children) - level->first;
	size_t size = node->kind == JSON_KIND_OBJECT ? sizeof(*node->members) : sizeof(*node->items);
	void *list = arena_alloc(&b->tree->arena, count, size);

	if (!list)
		return -ENOMEM;
	if (node->kind == JSON_KIND_OBJECT) {
		node->members = list;
		if (count)
			close_object(node, children + level->first, count);
	} else {
		node->items = list;
		for (size_t i = 0; i < count; i++)
			node->items[i] = children[level->first + i].value;
		node->count = count;
	}
	b->pending.len = level->first * sizeof(*children);
	b->depth--;
	return value_ended(b, node);
}

static int open_level(struct builder *b, enum json_kind kind)
{
	struct json_node *node = new_node(b, kind);

	if (!node)
		return -ENOMEM;
	b->depth++;
	b->levels[b->depth] = (struct level){.node = node, .first = b->pending.len / sizeof(struct json_member)};
	return 0;
}

/* The string that begins here, decoded; where there are no escapes it stays where it is. */
static int take_string(struct builder *b, struct slice *out)
{
	const char *from = b->at++;
	bool escaped = false;
	struct buf decoded = {0};
	int r = 0;

	for (; *b->at != '"'; b->at++) {
		if (*b->at == '\\') {
			escaped = true;
			b->at++;
		}
	}
	b->at++;
	*out = slice_of(from + 1, (size_t)(b->at - from) - 2);
	if (!escaped)
		return 0;
	r = json_unquote(slice_of(from, (size_t)(b->at - from)), &decoded);
	if (!r) {
		*out = arena_copy(&b->tree->arena, buf_slice(&decoded));
		r = out->at ? 0 : -ENOMEM;
	}
	buf_release(&decoded);
	return r;
}

static int string_or_key(struct builder *b)
{
	struct json_node *node;
	struct slice text;
	int r = take_string(b, &text);

	if (r)
		return r;
	if (b->at < b->end && *b->at == ':') {
		b->levels[b->depth].key = text;
		return 0;
	}
	node = new_node(b, JSON_KIND_STRING);
	if (!node)
		return -ENOMEM;
	node->text = text;
	node->weight += text.len;
	return value_ended(b, node);
}

static int literal(struct builder *b)
{
	struct json_node *node = new_node(b, *b->at == 'n' ? JSON_KIND_NULL : JSON_KIND_BOOLEAN);

	if (!node)
		return -ENOMEM;
	node->truth = *b->at == 't';
	b->at += *b->at == 'f' ? 5 : 4;
	return value_ended(b, node);
}

static int number(struct builder *b)
{
	struct json_node *node = new_node(b, JSON_KIND_NUMBER);
	const char *from = b->at;
	int r;

	if (!node)
		return -ENOMEM;
	while (b->at < b->end && *b->at != ',' && *b->at != ']' && *b->at != '}')
		b->at++;
	node->text = slice_of(from, (size_t)(b->at - from));
	node->weight += node->text.len;
	r = decimal_parse(node->text, &b->tree->arena, &node->number);
	return r ? r : value_ended(b, node);
}

/* The text is valid and without white space, so the first byte of a thing tells what it is. */
static int build(struct builder *b)
{
	int r = 0;

	while (!r && b->at < b->end) {
		switch (*b->at) {
		case '{':
		case '[':
			r = open_level(b, *b->at++ == '{' ? JSON_KIND_OBJECT : JSON_KIND_ARRAY);
			break;
		case '}':
		case ']':
			b->at++;
			r = close_level(b);
			break;
		case ',':
		case ':':
			b->at++;
			break;
		case '"':
			r = string_or_key(b);
			break;
		case 't':
		case 'f':
		case 'n':
			r = literal(b);
			break;
		default:
			r = number(b);
		}
	}
	return r;
}

int json_tree_parse(struct json_tree *out, struct slice text, struct reason *why)
{
	struct builder *b;
	int r;

	*out = (struct json_tree){0};
	r = json_compact(text, json_depth_max, &out->text, why);
	if (r)
		goto out;
	b = calloc(1, sizeof(*b));
	r = -ENOMEM;
	if (!b)
		goto out;
	b->tree = out;
	b->at = (const char *)out->text.data;
	b->end = b->at + out->text.len;
	r = build(b);
	buf_release(&b->pending);
	free(b);
out:
	if (r)
		json_tree_release(out);
	return r;
}

void json_tree_release(struct json_tree *tree)
{
	arena_release(&tree->arena);
	buf_release(&tree->text);
	*tree = (struct json_tree){0};
}

const struct json_node *json_node_find(const struct json_node *object, struct slice key)
{
	size_t low = 0, high = object->kind == JSON_KIND_OBJECT ? object->count : 0;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = slice_compare(object->members[middle].key, key);

		if (order == 0)
			return object->members[middle].value;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* As deep as the trees are: json_depth_max at most. */
int json_node_compare(const struct json_node *a, const struct json_node *b)
{
	int order = 0;

	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	switch (a->kind) {
	case JSON_KIND_NULL:
		return 0;
	case JSON_KIND_BOOLEAN:
		return a->truth - b->truth;
	case JSON_KIND_NUMBER:
		return decimal_compare(&a->number, &b->number);
	case JSON_KIND_STRING:
		return slice_compare(a->text, b->text);
	default:
		break;
	}
	if (a->count != b->count)
		return a->count < b->count ? -1 : 1;
	for (size_t i = 0; !order && i < a->count; i++) {
		if (a->kind == JSON_KIND_ARRAY) {
			order = json_node_compare(a->items[i], b->items[i]);
			continue;
		}
		order = slice_compare(a->members[i].key, b->members[i].key);
		if (!order)
			order = json_node_compare(a->members[i].value, b->members[i].value);
	}
	return order;
}

static void merge(const struct json_node **from, const struct json_node **to, size_t low, size_t middle, size_t high)
{
	size_t left = low, right = middle;

	for (size_t i = low; i < high; i++) {
		bool take_left = left < middle && (right >= high || json_node_compare(from[left], from[right]) <= 0);

		to[i] = take_left ? from[left++] : from[right++];
	}
}

int json_nodes_sort(const struct json_node **nodes, size_t count)
{
	const struct json_node **from = nodes, **scratch, **to, **swap;

	if (count < 2)
		return 0;
	scratch = to = calloc(count, sizeof(struct json_node *));
	if (!scratch)
		return -ENOMEM;
	for (size_t width = 1; width < count; width *= 2) {
		for (size_t low = 0; low < count; low += width * 2) {
			size_t middle = count - low > width ? low + width : count;
			size_t high = count - low > width * 2 ? low + width * 2 : count;

			merge(from, to, low, middle, high);
		}
		swap = from;
		from = to;
		to = swap;
	}
	if (from != nodes)
		memcpy(nodes, from, count * sizeof(struct json_node *));
	free(scratch);
	return 0;
}
