/* For every fuzz target: claims that end the program, and an input that is taken apart into choices. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* libFuzzer keeps the input of a program that aborts. */
#define CLAIM(condition)                                                                                               \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                 \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

/* An input as a row of choices. After its end every choice is 0. */
struct choices {
	const uint8_t *at;
	size_t left;
};

static inline struct choices choices_of(const uint8_t *data, size_t size)
{
	return (struct choices){data, size};
}

static inline uint8_t choose_byte(struct choices *c)
{
	if (!c->left)
		return 0;
	c->left--;
	return *c->at++;
}

/* Below `count`, which is at most 65536. */
static inline unsigned choose(struct choices *c, unsigned count)
{
	unsigned v = choose_byte(c);

	if (count > 256)
		v = v << 8 | choose_byte(c);
	return v % count;
}

static inline uint64_t choose_number(struct choices *c)
{
	/* Numbers near a border are worth more than others. */
	static const uint64_t borders[] = {
	    0, 1, 2, 15, 16, 255, UINT32_MAX, (uint64_t)1 << 32, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX};
	unsigned way = choose_byte(c);
	uint64_t v = 0;

	if (way < sizeof(borders) / sizeof(*borders))
		return borders[way];
	for (unsigned i = 0; i < 1 + way % 8; i++)
		v = v << 8 | choose_byte(c);
	return v;
}

/* Up to `max` bytes, in memory of just their size, so that AddressSanitizer sees a read past their end. The caller
 * frees `at`. */
static inline struct slice choose_bytes(struct choices *c, size_t max)
{
	size_t len = max ? choose_byte(c) % (max + 1) : 0;
	uint8_t *copy;

	if (len > c->left)
		len = c->left;
	copy = malloc(len ? len : 1);
	CLAIM(copy);
	if (len)
		memcpy(copy, c->at, len);
	c->at += len;
	c->left -= len;
	return slice_of(copy, len);
}

static inline void bytes_free(struct slice s)
{
	free((void *)(uintptr_t)s.at);
}

/* All of the input as text that NUL ends. The caller frees it. */
static inline char *choose_text(struct choices *c)
{
	char *text = malloc(c->left + 1);

	CLAIM(text);
	if (c->left)
		memcpy(text, c->at, c->left);
	text[c->left] = 0;
	c->left = 0;
	return text;
}
