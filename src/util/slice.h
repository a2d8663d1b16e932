/* A borrowed run of bytes. The bytes belong to somebody else and may hold NUL. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
	const void *at;
	size_t len;
};

static inline struct slice slice_of(const void *at, size_t len)
{
	return (struct slice){at, len};
}

static inline struct slice slice_str(const char *text)
{
	return (struct slice){text, strlen(text)};
}

static inline bool slice_equal(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* Byte order, a prefix before what it begins: <0, 0, >0. */
static inline int slice_compare(struct slice a, struct slice b)
{
	size_t shared = a.len < b.len ? a.len : b.len;
	int order = shared ? memcmp(a.at, b.at, shared) : 0;

	if (order)
		return order;
	return (a.len > b.len) - (a.len < b.len);
}

static inline bool slice_starts_with(struct slice whole, struct slice prefix)
{
	return whole.len >= prefix.len && (prefix.len == 0 || memcmp(whole.at, prefix.at, prefix.len) == 0);
}

/* FNV-1a, 64 bits: for tables in memory only, never stored. */
static inline uint64_t slice_hash(struct slice s, uint64_t seed)
{
	const unsigned char *byte = s.at;
	uint64_t hash = 14695981039346656037ULL ^ seed;

	for (size_t i = 0; i < s.len; i++)
		hash = (hash ^ byte[i]) * 1099511628211ULL;
	return hash ^ (hash >> 29);
}
