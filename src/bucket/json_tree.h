/* A JSON value as a tree, for looking at. Pure.
 *
 * Numbers keep their text and are compared exactly, strings may hold NUL, members are sorted by key and of those with
 * one key the last counts. Nodes live as long as the tree. */
#pragma once

#include "bucket/decimal.h"
#include "util/buf.h"
#include "util/reason.h"

enum json_kind { JSON_KIND_NULL, JSON_KIND_BOOLEAN, JSON_KIND_NUMBER, JSON_KIND_STRING, JSON_KIND_ARRAY, JSON_KIND_OBJECT };

struct json_member {
	struct slice key; /* decoded */
	const struct json_node *value;
};

struct json_node {
	enum json_kind kind;
	bool truth;        /* BOOLEAN */
	size_t index;      /* counted from 0 in the order of the text */
	size_t weight;     /* about the bytes of text it was */
	struct slice text; /* STRING: decoded; NUMBER: as written */
	union {
		struct decimal number;
		struct {
			const struct json_node **items; /* ARRAY */
			struct json_member *members;    /* OBJECT */
			size_t count;
		};
	};
};

struct json_tree {
	struct arena arena;
	struct buf text;
	const struct json_node *root;
	size_t count; /* of nodes */
};

/* One value of any type. 0, BUCKET_INVALID with line and column in `why`, -ENOMEM; on failure `out` is empty. */
int json_tree_parse(struct json_tree *out, struct slice text, struct reason *why);
void json_tree_release(struct json_tree *tree);

/* An array or an object. */
static inline bool json_node_has_children(const struct json_node *node)
{
	return node->kind >= JSON_KIND_ARRAY;
}

/* NULL if there is none, or the node is no object. */
const struct json_node *json_node_find(const struct json_node *object, struct slice key);
/* A total order in which 0 means equal as JSON Schema has it: 1.0 is 1, the order of members is nothing. Takes no longer
 * than the smaller of the two. */
int json_node_compare(const struct json_node *a, const struct json_node *b);
/* Sorts in that order, in n log n whatever the input. 0 or -ENOMEM. */
int json_nodes_sort(const struct json_node **nodes, size_t count);
