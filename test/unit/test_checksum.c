/* The checksums that follow the writes are those of what is there: compared with a list that reads everything. */
#include "util/checksum.h"

#include <errno.h>

#include "test.h"

struct content {
	unsigned char *bytes;
	uint64_t size;
	unsigned reads;
};

enum { most = 5 * checksum_piece + 4321 };

static int read_bytes(void *context, uint64_t at, void *bytes, size_t len, size_t *got)
{
	struct content *c = context;

	c->reads++;
	*got = at >= c->size ? 0 : c->size - at < len ? (size_t)(c->size - at) : len;
	memcpy(bytes, c->bytes + at, *got);
	return 0;
}

static uint64_t next_data(void *context, uint64_t at)
{
	struct content *c = context;

	while (at < c->size && !c->bytes[at])
		at++;
	return at < c->size ? at : UINT64_MAX;
}

static struct checksum_source source_of(struct content *c)
{
	return (struct checksum_source){read_bytes, next_data, c};
}

static void assert_same(struct content *c, struct checksum *sums, uint64_t from)
{
	struct buf followed = {0}, read = {0};
	struct checksum_source source = source_of(c);

	assert_int_equal(checksum_add_list(sums, from, c->size, &source, &followed), 0);
	source.next_data = NULL;
	assert_int_equal(checksum_add_list(NULL, from, c->size, &source, &read), 0);
	assert_int_equal(followed.len, read.len);
	assert_memory_equal(followed.data, read.data, read.len);
	buf_release(&followed);
	buf_release(&read);
}

static void set(struct content *c, struct checksum *sums, uint64_t size)
{
	checksum_resized(sums, c->size, size);
	if (size > c->size)
		memset(c->bytes + c->size, 0, size - c->size);
	c->size = size;
}

static void put(struct content *c, struct checksum *sums, uint64_t at, size_t len)
{
	if (at + len > c->size)
		set(c, sums, at + len);
	for (size_t i = 0; i < len; i++)
		c->bytes[at + i] = (unsigned char)random();
	checksum_written(sums, at, c->bytes + at, len);
}

static void one_of_many(unsigned seed)
{
	struct content c = {calloc(1, most), 0, 0};
	struct checksum *sums = checksum_new();
	uint64_t next = 0;

	srandom(seed);
	for (int i = 0; i < 40; i++) {
		uint64_t at = (uint64_t)random() % (most - 1);
		size_t len = (size_t)random() % (random() % 4 ? 9000 : most);

		len = len < most - at ? len : (size_t)(most - at);
		switch (random() % 8) {
		case 0:
			put(&c, sums, at, len);
			break;
		case 1:
			put(&c, sums, at / checksum_piece * checksum_piece, len);
			next = at / checksum_piece * checksum_piece + len;
			break;
		case 2:
			set(&c, sums, at);
			break;
		case 3:
			len = at >= c.size ? 0 : c.size - at < len ? (size_t)(c.size - at) : len;
			memset(c.bytes + at, 0, len);
			checksum_changed(sums, at, len);
			break;
		case 4:
			assert_same(&c, sums, at < c.size ? at : c.size);
			break;
		default:
			/* Mostly it goes on where it was. */
			len = next >= most ? 0 : most - next < len ? (size_t)(most - next) : len;
			if (len)
				put(&c, sums, next, len);
			next += len;
		}
	}
	assert_same(&c, sums, 0);
	checksum_free(sums);
	free(c.bytes);
}

static void test_followed_writes_give_the_same_list(void **state)
{
	(void)state;
	for (unsigned seed = 0; seed < 60; seed++)
		one_of_many(seed);
}

static void test_front_to_back_reads_nothing(void **state)
{
	struct content c = {calloc(1, most), 0, 0};
	struct checksum *sums = checksum_new();
	struct checksum_source source = source_of(&c);
	struct buf list = {0};

	(void)state;
	for (uint64_t at = 0; at < most; at += 4321)
		put(&c, sums, at, most - at < 4321 ? (size_t)(most - at) : 4321);
	assert_int_equal(checksum_add_list(sums, 0, c.size, &source, &list), 0);
	assert_int_equal(c.reads, 0);
	checksum_free(sums);
	buf_release(&list);
	free(c.bytes);
}

static void assert_good(struct content *c, const struct buf *list, uint64_t from, uint64_t want, bool torn)
{
	struct checksum_source source = {.read = read_bytes, .context = c};
	struct checksum_list decoded;
	uint64_t good;
	bool whole;

	assert_int_equal(checksum_list_decode(&decoded, buf_slice(list)), 0);
	assert_int_equal(checksum_verify(&decoded, from, &source, &whole, &good), 0);
	assert_int_equal(good, want);
	assert_true(whole == (want == decoded.size && !torn));
	checksum_list_release(&decoded);
}

static void test_what_differs_is_found(void **state)
{
	struct content c = {calloc(1, most), 0, 0};
	struct checksum_source source = source_of(&c);
	struct buf list = {0};
	uint64_t size;

	(void)state;
	put(&c, NULL, 0, most);
	size = c.size;
	assert_int_equal(checksum_add_list(NULL, 0, size, &source, &list), 0);
	assert_good(&c, &list, 0, size, false);
	assert_good(&c, &list, size, size, false);
	/* Longer is fine: that was never said to be there. Shorter is not. */
	c.size = size - 5000;
	assert_good(&c, &list, 0, size - 5000, false);
	c.size = size;
	/* A block of NULs ends what is good; a byte that is another one does not tell where it ends. */
	memset(c.bytes + 2 * checksum_piece + 8192, 0, 4096);
	assert_good(&c, &list, 0, 2 * checksum_piece + 8192, false);
	assert_good(&c, &list, 3 * checksum_piece, size, false);
	/* Less than a block of NULs at the end, and a bit at the very end. */
	memset(c.bytes + size - 100, 0, 100);
	c.bytes[size - 101] = 1;
	assert_good(&c, &list, size, size - 100, false);
	c.bytes[size - 1] = 1;
	assert_good(&c, &list, size, size, true);
	c.bytes[checksum_piece + 1] ^= 1;
	assert_good(&c, &list, 0, 2 * checksum_piece, false);
	buf_release(&list);
	free(c.bytes);
}

static void test_holes_take_no_room(void **state)
{
	struct content c = {calloc(1, most), most, 0};
	struct checksum_source source = source_of(&c);
	struct buf list = {0};

	(void)state;
	assert_int_equal(checksum_add_list(NULL, 0, most, &source, &list), 0);
	assert_int_equal(c.reads, 0);
	assert_true(list.len < 16 + 2 * 12 + 1);
	buf_release(&list);
	free(c.bytes);
}

/* The source ends too early: what is not there has no checksum. */
static void test_short_source(void **state)
{
	struct content c = {calloc(1, most), 1000, 0};
	struct checksum_source source = {.read = read_bytes, .context = &c};
	struct buf list = {0};

	(void)state;
	assert_int_equal(checksum_add_list(NULL, 0, 1001, &source, &list), -EIO);
	buf_release(&list);
	free(c.bytes);
}

/* Lists come from the disk: whatever is in one, it is decoded or refused. */
static void test_damaged_lists(void **state)
{
	uint64_t sums[] = {1, 2, 2, 2, 3, 4, 4};
	struct checksum_list list = {6 * checksum_piece + 5, 0, sums, 7}, decoded;
	struct buf record = {0};

	(void)state;
	assert_int_equal(checksum_list_encode(&list, &record), 0);
	assert_int_equal(checksum_list_decode(&decoded, buf_slice(&record)), 0);
	assert_int_equal(decoded.count, 7);
	assert_memory_equal(decoded.sums, sums, sizeof(sums));
	checksum_list_release(&decoded);
	for (size_t len = 0; len < record.len; len++)
		assert_int_equal(checksum_list_decode(&decoded, slice_of(record.data, len)), -EIO);
	for (size_t at = 0; at < record.len; at++)
		for (int bit = 0; bit < 8; bit++) {
			record.data[at] ^= (unsigned char)(1 << bit);
			if (!checksum_list_decode(&decoded, buf_slice(&record)))
				checksum_list_release(&decoded);
			record.data[at] ^= (unsigned char)(1 << bit);
		}
	buf_release(&record);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_followed_writes_give_the_same_list), cmocka_unit_test(test_front_to_back_reads_nothing),
		cmocka_unit_test(test_what_differs_is_found), cmocka_unit_test(test_holes_take_no_room),
		cmocka_unit_test(test_short_source), cmocka_unit_test(test_damaged_lists),
	};

	return cmocka_run_group_tests_name("checksum", tests, NULL, NULL);
}
