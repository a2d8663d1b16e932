/* UTF-8 made without the code that is tested. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { point_count = 0x110000 };

static inline size_t encode(uint32_t point, char out[5])
{
	static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};
	size_t len = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;

	for (size_t i = len - 1; i > 0; i--, point >>= 6)
		out[i] = (char)(0x80 | (point & 0x3f));
	out[0] = (char)(first[len] | point);
	out[len] = 0;
	return len;
}

static inline bool is_surrogate(uint32_t point)
{
	return point >= 0xd800 && point < 0xe000;
}
