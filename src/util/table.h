/* An intrusive hash table: nodes live inside the objects they name, so insertion cannot run out of memory after
 * table_init. Not locked: whoever owns the table locks it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "util/container.h"

struct table_node {
	struct table_node *next;
	uint64_t hash;
};

struct table {
	struct table_node **slots;
	size_t mask;
	size_t count; /* atomic for who looks without the lock */
};

/* 0 or -ENOMEM. */
int table_init(struct table *t);
/* The objects are not touched. */
void table_release(struct table *t);
void table_add(struct table *t, struct table_node *node, uint64_t hash);
void table_remove(struct table *t, struct table_node *node);
/* The first node with this hash, or NULL; table_next goes on from there. */
struct table_node *table_first(const struct table *t, uint64_t hash);
struct table_node *table_next(const struct table_node *node);
/* Any node at all, or NULL; for emptying a table. */
struct table_node *table_any(const struct table *t);
/* Calls `fn` for each node until it returns nonzero, which is then returned. The table must not change meanwhile. */
int table_each(const struct table *t, int (*fn)(void *arg, struct table_node *node), void *arg);

/* Spreads a small integer over 64 bits (the finalizer of MurmurHash3, public domain). */
static inline uint64_t table_hash_number(uint64_t v)
{
	v ^= v >> 33;
	v *= 0xff51afd7ed558ccdULL;
	v ^= v >> 33;
	v *= 0xc4ceb9fe1a85ec53ULL;
	return v ^ (v >> 33);
}
