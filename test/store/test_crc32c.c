/* The checksum that RocksDB is given: it must be the one that RocksDB has, or no store opens again. */
#include <stdlib.h>

#include "store/crc32c.h"
#include "test.h"

uint32_t __real__ZN7rocksdb6crc32c6ExtendEjPKcm(uint32_t crc, const char *bytes, size_t len);

/* RFC 3720, appendix B.4. */
static void test_vectors(void **state)
{
	unsigned char zeros[32] = {0}, ones[32], up[32], down[32];

	(void)state;
	for (int i = 0; i < 32; i++) {
		ones[i] = 0xff;
		up[i] = (unsigned char)i;
		down[i] = (unsigned char)(31 - i);
	}
	assert_int_equal(crc32c(0, zeros, 32), 0x8a9136aa);
	assert_int_equal(crc32c(0, ones, 32), 0x62a8ab43);
	assert_int_equal(crc32c(0, up, 32), 0x46dd794e);
	assert_int_equal(crc32c(0, down, 32), 0x113fdb5c);
}

static void test_same_as_rocksdb(void **state)
{
	enum { size = 8192 };
	static char bytes[size + 8];

	(void)state;
	srand(1);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)rand();
	for (size_t len = 0; len <= size; len += len < 1600 ? 1 : 97) {
		const char *at = bytes + len % 8;
		uint32_t start = (uint32_t)rand();

		assert_int_equal(crc32c(start, at, len), __real__ZN7rocksdb6crc32c6ExtendEjPKcm(start, at, len));
		assert_int_equal(crc32c(crc32c(start, at, len / 3), at + len / 3, len - len / 3), crc32c(start, at, len));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors), cmocka_unit_test(test_same_as_rocksdb)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
