/* RocksDB's checksum of its log, as fast as the processor has it: Debian builds RocksDB for the oldest x86-64, where CRC-32C
 * goes by tables, and that was a sixth of what a commit of 4 KiB costs. The linker leads RocksDB's own calls here (--wrap
 * in meson.build); with a shared RocksDB, or on another processor, nothing changes. */
#include "store/crc32c.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* rocksdb::crc32c::Extend(uint32_t, char const *, size_t), and what the linker makes of it. */
uint32_t __real__ZN7rocksdb6crc32c6ExtendEjPKcm(uint32_t crc, const char *bytes, size_t len);
uint32_t __wrap__ZN7rocksdb6crc32c6ExtendEjPKcm(uint32_t crc, const char *bytes, size_t len);

#if defined(__x86_64__)
#include <nmmintrin.h>

/* One instruction takes three cycles and one can begin every cycle, so three runs go side by side and are put together
 * afterwards: the crc of A followed by n bytes is that of A moved on by n zero bytes, which is a linear map. */
enum { run = 256 };

static uint32_t shift_table[4][256]; /* what `run` zero bytes make of each byte of a crc */

__attribute__((target("sse4.2"))) static uint32_t zeros(uint32_t crc, size_t len)
{
	uint64_t c = crc;

	for (size_t i = 0; i < len; i += 8)
		c = _mm_crc32_u64(c, 0);
	return (uint32_t)c;
}

__attribute__((constructor)) static void make_table(void)
{
	__builtin_cpu_init();
	if (!__builtin_cpu_supports("sse4.2"))
		return;
	for (int byte = 0; byte < 4; byte++)
		for (uint32_t value = 0; value < 256; value++)
			shift_table[byte][value] = zeros(value << 8 * byte, run);
}

static uint32_t shift(uint32_t crc)
{
	return shift_table[0][crc & 0xff] ^ shift_table[1][crc >> 8 & 0xff] ^ shift_table[2][crc >> 16 & 0xff] ^
	       shift_table[3][crc >> 24];
}

static uint64_t word(const char *at)
{
	uint64_t w;

	memcpy(&w, at, sizeof(w));
	return w;
}

__attribute__((target("sse4.2"))) static uint32_t extend(uint32_t crc, const char *at, size_t len)
{
	uint64_t a = ~crc;

	for (; len >= 3 * run; at += 3 * run, len -= 3 * run) {
		uint64_t b = 0, c = 0;

		for (size_t i = 0; i < run; i += 8) {
			a = _mm_crc32_u64(a, word(at + i));
			b = _mm_crc32_u64(b, word(at + run + i));
			c = _mm_crc32_u64(c, word(at + 2 * run + i));
		}
		a = shift(shift((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
	}
	for (; len >= 8; at += 8, len -= 8)
		a = _mm_crc32_u64(a, word(at));
	for (; len; at++, len--)
		a = _mm_crc32_u8((uint32_t)a, (unsigned char)*at);
	return ~(uint32_t)a;
}

uint32_t __wrap__ZN7rocksdb6crc32c6ExtendEjPKcm(uint32_t crc, const char *bytes, size_t len)
{
	return __builtin_cpu_supports("sse4.2") ? extend(crc, bytes, len) :
						  __real__ZN7rocksdb6crc32c6ExtendEjPKcm(crc, bytes, len);
}

#else

uint32_t __wrap__ZN7rocksdb6crc32c6ExtendEjPKcm(uint32_t crc, const char *bytes, size_t len)
{
	return __real__ZN7rocksdb6crc32c6ExtendEjPKcm(crc, bytes, len);
}

#endif

uint32_t crc32c(uint32_t crc, const void *bytes, size_t len)
{
	return __wrap__ZN7rocksdb6crc32c6ExtendEjPKcm(crc, bytes, len);
}
