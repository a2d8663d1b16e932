#include "util/arena.h"

#include <stdlib.h>

struct arena_block {
	struct arena_block *next;
	_Alignas(max_align_t) unsigned char bytes[];
};

enum { block_min = 16000, alignment = _Alignof(max_align_t) };

static int add_block(struct arena *a, size_t size)
{
	struct arena_block *block;
	size_t room = size > block_min ? size : block_min;

	if (size > SIZE_MAX / 2)
		return -1;
	block = calloc(1, sizeof(*block) + room);
	if (!block)
		return -1;
	block->next = a->blocks;
	a->blocks = block;
	a->at = block->bytes;
	a->left = room;
	return 0;
}

void *arena_alloc(struct arena *a, size_t count, size_t size)
{
	size_t bytes;
	void *result;

	if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2)
		return NULL;
	bytes = (bytes + !bytes + alignment - 1) & ~(size_t)(alignment - 1);
	if (bytes > a->left && add_block(a, bytes))
		return NULL;
	result = a->at;
	a->at += bytes;
	a->left -= bytes;
	return result;
}

struct slice arena_copy(struct arena *a, struct slice bytes)
{
	void *copy = arena_alloc(a, bytes.len, 1);

	if (copy && bytes.len)
		memcpy(copy, bytes.at, bytes.len);
	return slice_of(copy, bytes.len);
}

void arena_release(struct arena *a)
{
	while (a->blocks) {
		struct arena_block *next = a->blocks->next;

		free(a->blocks);
		a->blocks = next;
	}
	*a = (struct arena){0};
}
