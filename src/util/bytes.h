/* Fixed-width integers in records (little endian) and in keys (big endian, so that byte order is number order). */
#pragma once

#include "util/buf.h"

#include <endian.h>

static inline void bytes_put_be40(unsigned char *at, uint64_t v)
{
	for (int i = 4; i >= 0; i--, v >>= 8)
		at[i] = (unsigned char)v;
}

static inline uint64_t bytes_get_be40(const unsigned char *at)
{
	uint64_t v = 0;

	for (int i = 0; i < 5; i++)
		v = v << 8 | at[i];
	return v;
}

static inline void bytes_put_be32(unsigned char *at, uint32_t v)
{
	v = htobe32(v);
	memcpy(at, &v, 4);
}

static inline uint32_t bytes_get_be32(const unsigned char *at)
{
	uint32_t v;

	memcpy(&v, at, 4);
	return be32toh(v);
}

static inline void bytes_put_le32(unsigned char *at, uint32_t v)
{
	v = htole32(v);
	memcpy(at, &v, 4);
}

static inline uint32_t bytes_get_le32(const unsigned char *at)
{
	uint32_t v;

	memcpy(&v, at, 4);
	return le32toh(v);
}

static inline void bytes_put_le64(unsigned char *at, uint64_t v)
{
	v = htole64(v);
	memcpy(at, &v, 8);
}

static inline uint64_t bytes_get_le64(const unsigned char *at)
{
	uint64_t v;

	memcpy(&v, at, 8);
	return le64toh(v);
}

/* Reads a record front to back. After a read past the end `bad` is set and every value is 0. */
struct bytes_reader {
	const unsigned char *at;
	size_t left;
	bool bad;
};

static inline struct bytes_reader bytes_reader_of(struct slice s)
{
	return (struct bytes_reader){s.at, s.len, false};
}

static inline struct slice bytes_read(struct bytes_reader *r, size_t len)
{
	struct slice s = {r->at, len};

	if (len > r->left || r->bad) {
		r->bad = true;
		return slice_of("", 0);
	}
	r->at += len;
	r->left -= len;
	return s;
}

static inline uint8_t bytes_read_8(struct bytes_reader *r)
{
	struct slice s = bytes_read(r, 1);

	return s.len ? *(const unsigned char *)s.at : 0;
}

static inline uint32_t bytes_read_32(struct bytes_reader *r)
{
	struct slice s = bytes_read(r, 4);

	return s.len ? bytes_get_le32(s.at) : 0;
}

static inline uint64_t bytes_read_64(struct bytes_reader *r)
{
	struct slice s = bytes_read(r, 8);

	return s.len ? bytes_get_le64(s.at) : 0;
}

static inline int bytes_add_32(struct buf *b, uint32_t v)
{
	unsigned char raw[4];

	bytes_put_le32(raw, v);
	return buf_add(b, raw, sizeof(raw));
}

static inline int bytes_add_64(struct buf *b, uint64_t v)
{
	unsigned char raw[8];

	bytes_put_le64(raw, v);
	return buf_add(b, raw, sizeof(raw));
}
