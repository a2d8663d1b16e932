#include "util/table.h"

#include <errno.h>
#include <stdlib.h>

int table_init(struct table *t)
{
	t->slots = calloc(16, sizeof(*t->slots));
	if (!t->slots)
		return -ENOMEM;
	t->mask = 15;
	t->count = 0;
	return 0;
}

void table_release(struct table *t)
{
	free(t->slots);
	*t = (struct table){0};
}

/* A table that cannot grow is slower, not broken. */
static void grow(struct table *t)
{
	size_t mask = t->mask * 2 + 1;
	struct table_node **slots = calloc(mask + 1, sizeof(*slots));

	if (!slots)
		return;
	for (size_t i = 0; i <= t->mask; i++) {
		struct table_node *node = t->slots[i];

		while (node) {
			struct table_node *next = node->next;

			node->next = slots[node->hash & mask];
			slots[node->hash & mask] = node;
			node = next;
		}
	}
	free(t->slots);
	t->slots = slots;
	t->mask = mask;
}

void table_add(struct table *t, struct table_node *node, uint64_t hash)
{
	if (t->count > t->mask)
		grow(t);
	node->hash = hash;
	node->next = t->slots[hash & t->mask];
	t->slots[hash & t->mask] = node;
	__atomic_store_n(&t->count, t->count + 1, __ATOMIC_RELAXED);
}

void table_remove(struct table *t, struct table_node *node)
{
	struct table_node **at = &t->slots[node->hash & t->mask];

	for (; *at; at = &(*at)->next) {
		if (*at == node) {
			*at = node->next;
			node->next = NULL;
			__atomic_store_n(&t->count, t->count - 1, __ATOMIC_RELAXED);
			return;
		}
	}
}

static struct table_node *same(struct table_node *node, uint64_t hash)
{
	while (node && node->hash != hash)
		node = node->next;
	return node;
}

struct table_node *table_first(const struct table *t, uint64_t hash)
{
	return same(t->slots[hash & t->mask], hash);
}

struct table_node *table_next(const struct table_node *node)
{
	return same(node->next, node->hash);
}

struct table_node *table_any(const struct table *t)
{
	for (size_t i = 0; t->count && i <= t->mask; i++)
		if (t->slots[i])
			return t->slots[i];
	return NULL;
}

int table_each(const struct table *t, int (*fn)(void *arg, struct table_node *node), void *arg)
{
	for (size_t i = 0; i <= t->mask; i++)
		for (struct table_node *node = t->slots[i]; node; node = node->next) {
			int r = fn(arg, node);

			if (r)
				return r;
		}
	return 0;
}
