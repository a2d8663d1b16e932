/* One suite for every backend: what store.h promises. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/behind.h"
#include "store/cache.h"
#include "store/faulty.h"
#include "store/memory.h"
#include "store/rocksdb.h"
#include "store/trace.h"
#include "test.h"
#include "util/checksum.h"

/* ---- the stores ---- */

struct fixture {
	struct store *store;
	char folder[64];
	unsigned lines;
};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static void count_line(void *context, const char *text)
{
	struct fixture *f = context;

	f->lines += strncmp(text, "store: ", 7) == 0;
}

static struct fixture *fixture_new(void **state)
{
	return *state = calloc(1, sizeof(struct fixture));
}

static int open_memory(void **state)
{
	return memory_store_open(&fixture_new(state)->store);
}

static int open_traced(void **state)
{
	struct fixture *f = fixture_new(state);
	struct store *inner;

	return memory_store_open(&inner) || trace_store_open(&f->store, inner, count_line, f);
}

static int open_cached(void **state)
{
	struct fixture *f = fixture_new(state);
	struct store *inner;

	return memory_store_open(&inner) || cache_store_open(&f->store, inner, STORE_DOC);
}

static int open_behind(void **state)
{
	struct fixture *f = fixture_new(state);
	struct store *inner;

	return memory_store_open(&inner) || behind_store_open(&f->store, inner, 1);
}

static const struct rocksdb_store_options rocksdb_options = {0};

static int open_rocksdb(void **state)
{
	struct fixture *f = fixture_new(state);

	strcpy(f->folder, "/tmp/bucketfs-contract-XXXXXX");
	return !mkdtemp(f->folder) || rocksdb_store_open(&f->store, f->folder, &rocksdb_options, NULL);
}

static int close_fixture(void **state)
{
	struct fixture *f = *state;

	store_close(f->store);
	if (*f->folder)
		nftw(f->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(f);
	return 0;
}

static struct store *store_of(void **state)
{
	return ((struct fixture *)*state)->store;
}

/* ---- records ---- */

static int put(struct store *s, uint32_t bucket, const char *key, const char *value)
{
	struct store_batch batch = {0};
	int r;

	store_batch_put(&batch, STORE_DOC, S(key), S(value));
	r = store_commit(s, bucket, STORE_ANY_REVISION, S("head"), &batch, NULL);
	store_batch_release(&batch);
	return r;
}

static void assert_value(struct store *s, uint32_t bucket, enum store_space space, const char *key, const char *want)
{
	struct buf value = {0};
	int r = store_get(s, bucket, space, S(key), &value);

	if (!want) {
		assert_int_equal(r, STORE_ABSENT);
	} else {
		assert_int_equal(r, 0);
		assert_slice(buf_slice(&value), want);
	}
	buf_release(&value);
}

static void test_commit(void **state)
{
	struct store *s = store_of(state);
	struct store_batch batch = {0};
	struct buf head = {0};
	uint64_t revision = 7;

	assert_int_equal(store_head(s, 1, &revision, &head), STORE_ABSENT);
	assert_int_equal(revision, 0);
	store_batch_put(&batch, STORE_DOC, S("a"), S("1"));
	store_batch_put(&batch, STORE_NODE, S("a"), S("2"));
	store_batch_put(&batch, STORE_META, S("a"), S(""));
	store_batch_put(&batch, STORE_BODY, slice_of("\0\xff", 2), slice_of("\0", 1));
	assert_int_equal(store_commit(s, 1, 0, S("first"), &batch, &revision), 0);
	assert_int_equal(revision, 1);
	assert_value(s, 1, STORE_DOC, "a", "1");
	assert_value(s, 1, STORE_NODE, "a", "2");
	assert_value(s, 1, STORE_META, "a", "");
	assert_value(s, 1, STORE_BODY, "a", NULL);
	assert_value(s, 2, STORE_DOC, "a", NULL);
	assert_int_equal(store_head(s, 1, &revision, &head), 0);
	assert_int_equal(revision, 1);
	assert_slice(buf_slice(&head), "first");

	/* Later operations of a batch win over earlier ones. */
	store_batch_clear(&batch);
	store_batch_delete(&batch, STORE_DOC, S("a"));
	store_batch_put(&batch, STORE_DOC, S("a"), S("3"));
	store_batch_put(&batch, STORE_NODE, S("a"), S("4"));
	store_batch_delete(&batch, STORE_NODE, S("a"));
	store_batch_delete(&batch, STORE_NODE, S("never"));
	assert_int_equal(store_commit(s, 1, 1, S("second"), &batch, &revision), 0);
	assert_int_equal(revision, 2);
	assert_value(s, 1, STORE_DOC, "a", "3");
	assert_value(s, 1, STORE_NODE, "a", NULL);
	store_batch_release(&batch);
	buf_release(&head);
}

static void test_conflict(void **state)
{
	struct store *s = store_of(state);
	struct store_batch batch = {0};
	uint64_t revision = 99;

	assert_int_equal(put(s, 1, "a", "1"), 0);
	store_batch_put(&batch, STORE_DOC, S("a"), S("2"));
	assert_int_equal(store_commit(s, 1, 0, S("x"), &batch, &revision), STORE_CONFLICT);
	assert_int_equal(store_commit(s, 1, 2, S("x"), &batch, &revision), STORE_CONFLICT);
	assert_int_equal(revision, 99);
	assert_value(s, 1, STORE_DOC, "a", "1");
	assert_int_equal(store_commit(s, 1, 1, S("x"), &batch, &revision), 0);
	assert_int_equal(revision, 2);
	store_batch_release(&batch);
}

static void scan(struct store *s, const char *prefix, const char *from, const char *want)
{
	struct store_cursor *c;
	struct slice key, value;
	struct buf got = {0};
	int r;

	assert_int_equal(store_cursor_open(s, 1, STORE_DOC, S(prefix), S(from), &c), 0);
	while (!(r = store_cursor_next(c, &key, &value))) {
		buf_add_slice(&got, key);
		buf_add_byte(&got, '=');
		buf_add_slice(&got, value);
		buf_add_byte(&got, ' ');
	}
	assert_int_equal(r, STORE_END);
	assert_int_equal(store_cursor_next(c, &key, &value), STORE_END);
	store_cursor_close(c);
	assert_slice(buf_slice(&got), want);
	buf_release(&got);
}

static void test_scan(void **state)
{
	struct store *s = store_of(state);
	static const char *const keys[] = {"b", "a", "ab", "abc", "\xff", "\xff\xff", "c"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		assert_int_equal(put(s, 1, keys[i], "1"), 0);
		assert_int_equal(put(s, 2, keys[i], "2"), 0);
		assert_int_equal(put(s, 0, keys[i], "0"), 0);
	}
	scan(s, "", "", "a=1 ab=1 abc=1 b=1 c=1 \xff=1 \xff\xff=1 ");
	scan(s, "a", "", "a=1 ab=1 abc=1 ");
	scan(s, "a", "ab", "ab=1 abc=1 ");
	scan(s, "a", "aa", "ab=1 abc=1 ");
	scan(s, "", "b", "b=1 c=1 \xff=1 \xff\xff=1 ");
	scan(s, "\xff", "", "\xff=1 \xff\xff=1 ");
	scan(s, "b", "a", "b=1 ");
	scan(s, "x", "", "");
}

/* What a cursor gives is the state at its opening, whatever happens meanwhile. */
static void test_scan_is_a_snapshot(void **state)
{
	struct store *s = store_of(state);
	struct store_cursor *c;
	struct slice key, value;
	char name[8];

	for (int i = 10; i < 20; i++) {
		snprintf(name, sizeof(name), "%d", i);
		assert_int_equal(put(s, 1, name, "old"), 0);
	}
	assert_int_equal(store_cursor_open(s, 1, STORE_DOC, S(""), S(""), &c), 0);
	for (int i = 10; i < 30; i++) {
		snprintf(name, sizeof(name), "%d", i);
		assert_int_equal(put(s, 1, name, "new"), 0);
	}
	for (int i = 10; i < 20; i++) {
		assert_int_equal(store_cursor_next(c, &key, &value), 0);
		assert_slice(value, "old");
	}
	assert_int_equal(store_cursor_next(c, &key, &value), STORE_END);
	store_cursor_close(c);
}

static void test_erase(void **state)
{
	struct store *s = store_of(state);
	struct buf head = {0};
	uint64_t revision;

	assert_int_equal(put(s, 1, "a", "1"), 0);
	assert_int_equal(put(s, 2, "a", "2"), 0);
	assert_int_equal(store_erase(s, 1), 0);
	assert_int_equal(store_erase(s, 1), 0);
	assert_value(s, 1, STORE_DOC, "a", NULL);
	assert_value(s, 2, STORE_DOC, "a", "2");
	assert_int_equal(store_head(s, 1, &revision, &head), STORE_ABSENT);
	assert_int_equal(store_head(s, 2, &revision, &head), 0);
	buf_release(&head);
}

static void test_large_values(void **state)
{
	struct store *s = store_of(state);
	struct buf key = {0}, value = {0}, got = {0};
	struct store_batch batch = {0};

	assert_int_equal(buf_resize(&key, 100000), 0);
	assert_int_equal(buf_resize(&value, 3000000), 0);
	memset(key.data, 'k', key.len);
	memset(value.data, 'v', value.len);
	store_batch_put(&batch, STORE_DOC, buf_slice(&key), buf_slice(&value));
	assert_int_equal(store_commit(s, 1, STORE_ANY_REVISION, S(""), &batch, NULL), 0);
	assert_int_equal(store_get(s, 1, STORE_DOC, buf_slice(&key), &got), 0);
	assert_true(slice_equal(buf_slice(&got), buf_slice(&value)));
	store_batch_release(&batch);
	buf_release(&key);
	buf_release(&value);
	buf_release(&got);
}

/* ---- contents ---- */

static void commit_content(struct store *s, uint64_t number, bool adopt)
{
	struct store_batch batch = {0};

	if (adopt)
		store_batch_adopt(&batch, number);
	else
		store_batch_drop(&batch, number);
	assert_int_equal(store_commit(s, 1, STORE_ANY_REVISION, S(""), &batch, NULL), 0);
	store_batch_release(&batch);
}

static void assert_content(struct store_content *c, uint64_t at, const char *want)
{
	char got[64];
	size_t len = 0;

	assert_int_equal(store_content_read(c, at, got, sizeof(got), &len), 0);
	assert_slice(slice_of(got, len), want);
}

static void test_content(void **state)
{
	struct store *s = store_of(state);
	struct store_content *c, *again;
	uint64_t number, blocks;

	assert_int_equal(store_content_create(s, &c), 0);
	number = c->number;
	assert_int_equal(store_content_write(c, 0, "hello", 5), 0);
	assert_int_equal(store_content_write(c, 5, " world", 6), 0);
	assert_content(c, 0, "hello world");
	assert_content(c, 6, "world");
	assert_content(c, 11, "");
	assert_content(c, 100, "");
	assert_int_equal(store_content_truncate(c, 5), 0);
	assert_content(c, 0, "hello");
	assert_int_equal(store_content_sync(c), 0);
	assert_int_equal(store_content_blocks(c, &blocks), 0);
	commit_content(s, number, true);
	store_content_close(c, false);

	assert_int_equal(store_content_open(s, number, &c), 0);
	assert_int_equal(c->number, number);
	assert_content(c, 0, "hello");
	/* Dropped: nobody opens it any more, and who has it goes on. */
	commit_content(s, number, false);
	assert_content(c, 0, "hello");
	store_content_close(c, false);
	for (int i = 0; i < 200 && store_content_open(s, number, &again) == 0; i++) {
		store_content_close(again, false);
		usleep(10000);
	}
	assert_int_equal(store_content_open(s, number, &again), STORE_ABSENT);
}

static void test_content_holes(void **state)
{
	struct store *s = store_of(state);
	struct store_content *c;
	char got[16];
	uint64_t size, holes;
	size_t len;

	assert_int_equal(store_content_create(s, &c), 0);
	assert_int_equal(store_content_write(c, 10, "x", 1), 0);
	assert_int_equal(store_content_read(c, 0, got, sizeof(got), &len), 0);
	assert_int_equal(len, 11);
	assert_memory_equal(got, "\0\0\0\0\0\0\0\0\0\0x", 11);
	assert_int_equal(store_content_allocate(c, 0, 20, true), 0);
	assert_int_equal(store_content_size(c, &size), 0);
	assert_int_equal(size, 11);
	assert_int_equal(store_content_allocate(c, 0, 20, false), 0);
	assert_int_equal(store_content_holes(c, 0, 20, &holes), 0);
	assert_int_equal(holes, 0);
	assert_int_equal(store_content_size(c, &size), 0);
	assert_int_equal(size, 20);
	assert_int_equal(store_content_read(c, 0, got, sizeof(got), &len), 0);
	assert_int_equal(len, 16);
	assert_int_equal(store_content_write(c, 0, "abcdefgh", 8), 0);
	assert_int_equal(store_content_punch(c, 2, 3), 0);
	assert_int_equal(store_content_read(c, 0, got, 8, &len), 0);
	assert_memory_equal(got, "ab\0\0\0fgh", 8);
	store_content_close(c, true);
}

/* Space that a write would need: of what was never written, or given back. A backend without holes has none. */
static void test_content_space(void **state)
{
	enum { block = 1 << 16 };
	struct store *s = store_of(state);
	struct store_content *c;
	uint64_t holes, blocks;
	char *bytes = calloc(1, block);

	memset(bytes, 'x', block);
	assert_int_equal(store_content_create(s, &c), 0);
	assert_int_equal(store_content_write(c, 4 * block, bytes, block), 0);
	/* Also of what has not been written yet. */
	assert_int_equal(store_content_blocks(c, &blocks), 0);
	assert_true(blocks >= block / 512);
	assert_int_equal(store_content_holes(c, 4 * block, block, &holes), 0);
	assert_int_equal(holes, 0);
	assert_int_equal(store_content_holes(c, 5 * block, block, &holes), 0);
	assert_int_equal(holes, block);
	assert_int_equal(store_content_holes(c, 3 * block, 2 * block, &holes), 0);
	assert_true(holes == 0 || holes == block);
	if (holes) {
		assert_int_equal(store_content_allocate(c, 3 * block, block, false), 0);
		assert_int_equal(store_content_holes(c, 2 * block, 4 * block, &holes), 0);
		assert_int_equal(holes, 2 * block);
		assert_int_equal(store_content_punch(c, 3 * block, block), 0);
		assert_int_equal(store_content_holes(c, 2 * block, 3 * block, &holes), 0);
		assert_int_equal(holes, 2 * block);
		/* Past the end, and given back. */
		assert_int_equal(store_content_allocate(c, 5 * block, block, true), 0);
		assert_int_equal(store_content_holes(c, 5 * block, block, &holes), 0);
		assert_int_equal(holes, 0);
		assert_int_equal(store_content_truncate(c, 5 * block), 0);
		assert_int_equal(store_content_holes(c, 5 * block, block, &holes), 0);
		assert_int_equal(holes, block);
	}
	store_content_close(c, true);
	free(bytes);
}

static void test_content_discard(void **state)
{
	struct store *s = store_of(state);
	struct store_content *c, *d;
	uint64_t number;

	assert_int_equal(store_content_create(s, &c), 0);
	assert_int_equal(store_content_create(s, &d), 0);
	assert_int_not_equal(c->number, d->number);
	number = c->number;
	store_content_close(c, true);
	store_content_close(d, true);
	assert_int_equal(store_content_open(s, number, &c), STORE_ABSENT);
}

static void test_usage(void **state)
{
	struct store_usage usage;

	assert_int_equal(store_usage(store_of(state), &usage), 0);
	assert_true(usage.total_bytes >= usage.free_bytes && usage.free_bytes >= usage.available_bytes);
	assert_int_equal(store_sync(store_of(state)), 0);
}

/* ---- what only one of them has ---- */

static void reopen(struct fixture *f)
{
	struct reason why;

	store_close(f->store);
	f->store = NULL;
	if (rocksdb_store_open(&f->store, f->folder, &rocksdb_options, &why))
		fail_msg("%s", why.text);
}

/* Another process opens the store, and is killed; then it is opened here. */
static void kill_store(struct fixture *f)
{
	struct reason why;
	int status;
	pid_t pid;

	store_close(f->store);
	f->store = NULL;
	pid = fork();
	if (!pid)
		_exit(rocksdb_store_open(&f->store, f->folder, &rocksdb_options, &why) ? 1 : 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	if (rocksdb_store_open(&f->store, f->folder, &rocksdb_options, &why))
		fail_msg("%s", why.text);
}

static int read_bytes(void *context, uint64_t at, void *bytes, size_t len, size_t *got)
{
	return store_content_read(context, at, bytes, len, got);
}

static void test_reopen(void **state)
{
	struct fixture *f = *state;
	struct store_content *kept, *orphan;
	uint64_t kept_number, orphan_number, revision;
	struct buf head = {0};

	assert_int_equal(put(f->store, 5, "a", "1"), 0);
	assert_int_equal(store_content_create(f->store, &kept), 0);
	assert_int_equal(store_content_create(f->store, &orphan), 0);
	assert_int_equal(store_content_write(kept, 0, "kept", 4), 0);
	kept_number = kept->number;
	orphan_number = orphan->number;
	commit_content(f->store, kept_number, true);
	store_content_close(kept, false);
	store_content_close(orphan, false); /* as if we had been killed */
	reopen(f);
	assert_value(f->store, 5, STORE_DOC, "a", "1");
	assert_int_equal(store_head(f->store, 5, &revision, &head), 0);
	assert_int_equal(revision, 1);
	assert_int_equal(store_content_open(f->store, kept_number, &kept), 0);
	assert_content(kept, 0, "kept");
	store_content_close(kept, false);
	reopen(f); /* closing waits for what is being removed */
	assert_int_equal(store_content_open(f->store, orphan_number, &orphan), STORE_ABSENT);
	assert_int_equal(store_content_create(f->store, &orphan), 0);
	assert_true(orphan->number > orphan_number);
	store_content_close(orphan, true);
	buf_release(&head);
}

/* ---- seals of the local backend ---- */

static void seal(struct store *s, struct store_content *c, uint64_t from, uint64_t size)
{
	struct checksum_source source = {.read = read_bytes, .context = c};
	struct store_batch batch = {0};
	struct buf checks = {0};

	assert_int_equal(checksum_add_list(NULL, from, size, &source, &checks), 0);
	store_batch_seal(&batch, c->number, buf_slice(&checks));
	assert_int_equal(store_commit(s, 1, STORE_ANY_REVISION, S(""), &batch, NULL), 0);
	store_batch_release(&batch);
	buf_release(&checks);
}

static int open_blob(const struct fixture *f, uint64_t number)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/blobs/%02x/%016llx", f->folder, (unsigned)(number & 0xff), (unsigned long long)number);
	return open(path, O_RDWR);
}

/* As a disk would do it that loses a bit. */
static void flip(const struct fixture *f, uint64_t number, off_t at)
{
	int fd = open_blob(f, number);
	unsigned char byte;

	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 4;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

enum { sealed_size = 2 * checksum_piece + 1000 };

static uint64_t make_sealed(struct fixture *f)
{
	struct store_content *c;
	char *bytes = malloc(sealed_size);
	uint64_t number;

	memset(bytes, 'x', sealed_size);
	assert_int_equal(store_content_create(f->store, &c), 0);
	assert_int_equal(store_content_write(c, 0, bytes, sealed_size), 0);
	number = c->number;
	commit_content(f->store, number, true);
	seal(f->store, c, 0, sealed_size);
	store_content_close(c, false);
	free(bytes);
	return number;
}

static int read_at(struct store_content *c, uint64_t at)
{
	char byte;
	size_t got;
	int r = store_content_read(c, at, &byte, 1, &got);

	return r ? r : got == 1 && byte == 'x' ? 0 : 1;
}

static void test_damaged_content_is_not_served(void **state)
{
	struct fixture *f = *state;
	uint64_t number = make_sealed(f);
	struct store_content *c;

	flip(f, number, checksum_piece + 10);
	reopen(f);
	assert_int_equal(store_content_open(f->store, number, &c), 0);
	assert_int_equal(read_at(c, 5), 0);
	assert_int_equal(read_at(c, checksum_piece), -EIO);
	assert_int_equal(read_at(c, checksum_piece + 10), -EIO);
	assert_int_equal(read_at(c, 2 * checksum_piece), 0);
	/* Nobody who reads the descriptor would notice. */
	assert_int_equal(store_content_fd(c), -1);
	store_content_close(c, false);
	flip(f, number, checksum_piece + 10);
	assert_int_equal(store_content_open(f->store, number, &c), 0);
	for (uint64_t at = 0; at < sealed_size; at += checksum_piece)
		assert_int_equal(read_at(c, at), 0);
	assert_true(store_content_fd(c) >= 0);
	store_content_close(c, false);
	assert_int_equal(store_content_open(f->store, number, &c), 0);
	assert_true(store_content_fd(c) >= 0);
	store_content_close(c, false);
}

static void test_short_content_is_not_served(void **state)
{
	struct fixture *f = *state;
	uint64_t number = make_sealed(f);
	struct store_content *c;
	int fd = open_blob(f, number);

	assert_int_equal(ftruncate(fd, sealed_size - 1), 0);
	close(fd);
	reopen(f);
	assert_int_equal(store_content_open(f->store, number, &c), 0);
	assert_int_equal(read_at(c, 2 * checksum_piece), -EIO);
	store_content_close(c, false);
}

/* What is changed is not compared with what it was; what is appended leaves the rest under its seal. */
static void test_a_change_ends_the_seal(void **state)
{
	struct fixture *f = *state;
	struct store_content *c;
	bool sealed;

	for (int i = 0; i < 5; i++) {
		uint64_t number = make_sealed(f);

		reopen(f);
		assert_int_equal(store_content_open(f->store, number, &c), 0);
		assert_int_equal(store_content_is_sealed(c, sealed_size, &sealed), 0);
		assert_true(sealed);
		if (i == 0)
			assert_int_equal(store_content_write(c, 10, "y", 1), 0);
		else if (i == 1)
			assert_int_equal(store_content_truncate(c, 100), 0);
		else if (i == 2)
			assert_int_equal(store_content_punch(c, 8192, 4096), 0);
		else if (i == 3)
			assert_int_equal(store_content_unseal(c), 0);
		else
			assert_int_equal(store_content_write(c, sealed_size, "x", 1), 0);
		assert_int_equal(store_content_is_sealed(c, sealed_size, &sealed), 0);
		assert_true(sealed == (i == 4));
		store_content_close(c, false);
		reopen(f);
		assert_int_equal(store_content_open(f->store, number, &c), 0);
		assert_int_equal(read_at(c, 0), 0);
		if (i == 4) {
			/* And a list that goes on from there extends it. */
			assert_int_equal(read_at(c, sealed_size), 0);
			seal(f->store, c, sealed_size, sealed_size + 1);
			assert_int_equal(store_content_is_sealed(c, sealed_size + 1, &sealed), 0);
			assert_true(sealed);
			store_content_close(c, false);
			flip(f, number, 10);
			reopen(f);
			assert_int_equal(store_content_open(f->store, number, &c), 0);
			assert_int_equal(read_at(c, 0), -EIO);
			assert_int_equal(read_at(c, sealed_size), 0);
		}
		store_content_close(c, false);
	}
}

/* Else the damage would look like what the writer wrote. */
static void test_damaged_content_is_not_changed(void **state)
{
	struct fixture *f = *state;
	uint64_t number = make_sealed(f);
	struct store_content *c;
	bool sealed;

	flip(f, number, checksum_piece + 10);
	for (int i = 0; i < 4; i++) {
		reopen(f);
		assert_int_equal(store_content_open(f->store, number, &c), 0);
		if (i == 0)
			assert_int_equal(store_content_write(c, 10, "y", 1), -EIO);
		else if (i == 1)
			assert_int_equal(store_content_truncate(c, 100), -EIO);
		else if (i == 2)
			assert_int_equal(store_content_punch(c, 0, 4096), -EIO);
		else
			assert_int_equal(store_content_unseal(c), -EIO);
		assert_int_equal(store_content_is_sealed(c, sealed_size, &sealed), 0);
		assert_true(sealed);
		assert_int_equal(read_at(c, 0), 0);
		assert_int_equal(read_at(c, checksum_piece), -EIO);
		store_content_close(c, false);
	}
}

/* Its holder goes on with what has no name and no seal any more. */
static void test_dropped_content_is_changed(void **state)
{
	struct fixture *f = *state;
	uint64_t number = make_sealed(f);
	struct store_batch batch = {0};
	struct store_content *c;
	char bytes[4];
	size_t got;

	reopen(f);
	assert_int_equal(store_content_open(f->store, number, &c), 0);
	store_batch_drop(&batch, number);
	assert_int_equal(store_commit(f->store, 1, STORE_ANY_REVISION, S(""), &batch, NULL), 0);
	store_batch_release(&batch);
	assert_int_equal(store_content_write(c, checksum_piece, "yyyy", 4), 0);
	assert_int_equal(store_content_read(c, checksum_piece, bytes, 4, &got), 0);
	assert_memory_equal(bytes, "yyyy", 4);
	store_content_close(c, false);
}

static int fail_fdatasync;
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

int __wrap_fdatasync(int fd)
{
	if (!fail_fdatasync)
		return __real_fdatasync(fd);
	fail_fdatasync--;
	errno = EIO;
	return -1;
}

/* The kernel reports a failed sync once, and takes the pages for clean after that. */
static void test_failed_sync_is_remembered(void **state)
{
	struct fixture *f = *state;
	struct store_content *c;
	uint64_t number;

	assert_int_equal(store_content_create(f->store, &c), 0);
	assert_int_equal(store_content_write(c, 0, "hello", 5), 0);
	assert_int_equal(store_content_write(c, 100000, "world", 5), 0);
	number = c->number;
	commit_content(f->store, number, true);
	fail_fdatasync = 2;
	assert_int_equal(store_content_sync(c), -EIO);
	store_content_close(c, false);
	/* By whichever handle. */
	assert_int_equal(store_content_open(f->store, number, &c), 0);
	assert_int_equal(store_content_sync(c), -EIO);
	assert_int_equal(store_content_sync(c), STORE_REPEATED);
	assert_int_equal(store_content_sync(c), STORE_REPEATED);
	assert_content(c, 100000, "world");
	store_content_close(c, false);
	assert_int_equal(store_content_create(f->store, &c), 0);
	assert_int_equal(store_content_sync(c), 0);
	store_content_close(c, true);
}

/* Also for a process that only suspects it: all bytes go to the disk once more, and are what they were. */
static void test_sync_again(void **state)
{
	struct fixture *f = *state;
	struct store_content *c;

	assert_int_equal(store_content_create(f->store, &c), 0);
	assert_int_equal(store_content_sync_again(c, 0), STORE_REPEATED);
	assert_int_equal(store_content_write(c, 0, "hello", 5), 0);
	assert_int_equal(store_content_write(c, 3000000, "world", 5), 0);
	assert_int_equal(store_content_sync(c), 0);
	for (uint64_t from = 0; from < 4000000; from += 1999999)
		assert_int_equal(store_content_sync_again(c, from), STORE_REPEATED);
	assert_int_equal(store_content_sync(c), 0);
	assert_int_equal(store_content_truncate(c, 3000005), 0);
	assert_content(c, 3000000, "world");
	assert_int_equal(store_content_truncate(c, 5), 0);
	assert_content(c, 0, "hello");
	store_content_close(c, true);
}

/* A mapping is there when no descriptor is. */
static void test_has_writer(void **state)
{
	struct fixture *f = *state;
	struct store_content *c;
	uint64_t number;
	void *mapped;
	bool has;

	assert_int_equal(store_content_create(f->store, &c), 0);
	number = c->number;
	assert_int_equal(store_content_write(c, 0, "hello", 5), 0);
	commit_content(f->store, number, true);
	assert_int_equal(store_content_has_writer(f->store, number, &has), 0);
	assert_true(has);
	mapped = mmap(NULL, 5, PROT_READ | PROT_WRITE, MAP_SHARED, store_content_fd(c), 0);
	assert_ptr_not_equal(mapped, MAP_FAILED);
	store_content_close(c, false);
	assert_int_equal(store_content_has_writer(f->store, number, &has), 0);
	assert_true(has);
	munmap(mapped, 5);
	assert_int_equal(store_content_has_writer(f->store, number, &has), 0);
	assert_false(has);
	assert_int_equal(store_content_has_writer(f->store, number + 1, &has), STORE_ABSENT);
}

/* A loss of power has taken the records of a content, and its file is there. */
static void test_unknown_contents_go(void **state)
{
	struct fixture *f = *state;
	uint64_t number = make_sealed(f);
	struct store_content *c;
	char path[200], marker[200];
	int fd;

	/* Between two numbers that were given out, and none was. */
	snprintf(path, sizeof(path), "%s/blobs/%02x/%016llx", f->folder, (unsigned)((number + 1) & 0xff), (unsigned long long)number + 1);
	snprintf(marker, sizeof(marker), "%s/blobs/%02x", f->folder, (unsigned)((number + 1) & 0xff));
	mkdir(marker, 0700);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	/* Closed as it should be, nobody looks. */
	reopen(f);
	usleep(200000);
	assert_int_equal(access(path, F_OK), 0);
	kill_store(f);
	for (int i = 0; i < 200 && access(path, F_OK) == 0; i++)
		usleep(10000);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(store_content_open(f->store, number, &c), 0);
	assert_int_equal(read_at(c, 0), 0);
	store_content_close(c, false);
}

static int try_open(const char *folder, struct reason *why)
{
	struct store *s;
	int r = rocksdb_store_open(&s, folder, &rocksdb_options, why);

	if (!r)
		store_close(s);
	return r;
}

static void write_text(const char *folder, const char *name, const char *text)
{
	char path[200];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void test_open_refuses(void **state)
{
	struct fixture *f = *state;
	struct reason why;
	char path[100];

	assert_int_equal(try_open(f->folder, &why), STORE_IN_USE);
	assert_non_null(strstr(why.text, "in use"));
	assert_int_equal(try_open("/nonexistent/store", &why), STORE_ABSENT);
	store_close(f->store);
	f->store = NULL;
	write_text(f->folder, "format", "bucketfs store 3\n");
	assert_int_equal(try_open(f->folder, &why), STORE_NEWER);
	assert_non_null(strstr(why.text, "newer"));
	write_text(f->folder, "format", "gibberish\n");
	assert_int_equal(try_open(f->folder, &why), STORE_DAMAGED);
	snprintf(path, sizeof(path), "%s/format", f->folder);
	unlink(path);
	write_text(f->folder, "holiday.jpg", "");
	assert_int_equal(try_open(f->folder, &why), STORE_FOREIGN);
	/* A store whose database is gone must not look like an empty one. */
	write_text(f->folder, "format", "bucketfs store 1\n");
	snprintf(path, sizeof(path), "%s/db/CURRENT", f->folder);
	unlink(path);
	assert_int_equal(try_open(f->folder, &why), STORE_DAMAGED);
	assert_non_null(strstr(why.text, "damaged"));
}

static void test_trace_traces(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(put(f->store, 1, "a", "1"), 0);
	assert_value(f->store, 1, STORE_DOC, "a", "1");
	assert_int_equal(f->lines, 2);
}

static void test_faulty_fails(void **state)
{
	struct faulty faulty = {.error = -EIO};
	struct store *inner, *s;

	(void)state;
	assert_int_equal(memory_store_open(&inner), 0);
	assert_int_equal(faulty_store_open(&s, inner, &faulty), 0);
	assert_int_equal(put(s, 1, "a", "1"), 0);
	faulty.fail_at = faulty.calls + 1;
	assert_int_equal(put(s, 1, "a", "2"), -EIO);
	assert_value(s, 1, STORE_DOC, "a", "1");
	faulty.fail_at = faulty.calls + 1;
	faulty.after = true;
	assert_int_equal(put(s, 1, "a", "3"), -EIO);
	assert_value(s, 1, STORE_DOC, "a", "3");
	store_close(s);
}

/* How often a store under the cache is asked. */
static void test_cache_keeps(void **state)
{
	struct faulty faulty = {.error = -EIO};
	struct store *inner, *s;
	char longest[cache_slot_bytes + 1]; /* with a key of one byte: one too many */
	struct buf got = {0};
	unsigned calls;

	(void)state;
	assert_int_equal(memory_store_open(&inner), 0);
	assert_int_equal(faulty_store_open(&inner, inner, &faulty), 0);
	assert_int_equal(put(inner, 1, "before", "0"), 0);
	assert_int_equal(cache_store_open(&s, inner, STORE_DOC), 0);
	/* What was read, and what was written. */
	assert_value(s, 1, STORE_DOC, "before", "0");
	assert_int_equal(put(s, 1, "a", "0"), 0);
	assert_int_equal(put(s, 1, "a", "1"), 0);
	calls = faulty.calls;
	assert_value(s, 1, STORE_DOC, "before", "0");
	assert_value(s, 1, STORE_DOC, "a", "1");
	assert_int_equal(faulty.calls, calls);
	/* Another bucket's, and one that is not there, which is asked for every time. */
	assert_int_equal(store_get(s, 2, STORE_DOC, slice_str("a"), &got), STORE_ABSENT);
	assert_int_equal(store_get(s, 2, STORE_DOC, slice_str("a"), &got), STORE_ABSENT);
	assert_int_equal(faulty.calls, calls + 2);
	assert_int_equal(put(s, 2, "a", "other"), 0);
	assert_value(s, 1, STORE_DOC, "a", "1");
	assert_value(s, 2, STORE_DOC, "a", "other");
	/* What a failed commit changed is not known any more. */
	faulty.fail_at = faulty.calls + 1;
	faulty.after = true;
	assert_int_equal(put(s, 1, "a", "2"), -EIO);
	assert_value(s, 1, STORE_DOC, "a", "2");
	calls = faulty.calls;
	assert_value(s, 1, STORE_DOC, "a", "2");
	assert_int_equal(faulty.calls, calls);
	faulty.fail_at = faulty.calls + 1;
	faulty.after = false;
	assert_int_equal(put(s, 1, "a", "3"), -EIO);
	assert_value(s, 1, STORE_DOC, "a", "2");
	/* No key is a key too, and no slot is its. */
	assert_int_equal(store_get(s, 0, STORE_DOC, slice_str(""), &got), STORE_ABSENT);
	assert_int_equal(put(s, 1, "", "empty"), 0);
	assert_value(s, 1, STORE_DOC, "", "empty");
	/* Too long to be kept: not the old one either. */
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	assert_int_equal(put(s, 1, "a", longest), 0);
	calls = faulty.calls;
	assert_value(s, 1, STORE_DOC, "a", longest);
	assert_value(s, 1, STORE_DOC, "a", longest);
	assert_int_equal(faulty.calls, calls + 2);
	longest[sizeof(longest) - 2] = 0;
	assert_int_equal(put(s, 1, "b", longest), 0);
	assert_value(s, 1, STORE_DOC, "b", longest);
	assert_value(s, 1, STORE_DOC, "b", longest);
	assert_int_equal(faulty.calls, calls + 3);
	assert_int_equal(put(s, 1, "c", "3"), 0);
	assert_int_equal(store_erase(s, 1), 0);
	assert_int_equal(store_get(s, 1, STORE_DOC, slice_str("c"), &got), STORE_ABSENT);
	assert_value(s, 2, STORE_DOC, "a", "other");
	buf_release(&got);
	store_close(s);
}

/* More than is held back, of all sizes, and each call sees what was written before it. */
static void test_behind_is_in_order(void **state)
{
	struct store *s = store_of(state);
	struct store_content *c, *other;
	char piece[100], got[100], first;
	size_t len;

	assert_int_equal(store_content_create(s, &c), 0);
	assert_int_equal(store_content_create(s, &other), 0);
	for (int i = 0; i < 5000; i++) {
		memset(piece, 'a' + i % 26, sizeof(piece));
		assert_int_equal(store_content_write(c, (uint64_t)i * sizeof(piece), piece, sizeof(piece)), 0);
		/* Somebody else's in between, at last, and over what was written. */
		if (i > 4000 && i % 7 == 0)
			assert_int_equal(store_content_write(other, (uint64_t)i, "x", 1), 0);
		if (i % 100 == 99) {
			assert_int_equal(store_content_write(c, 0, piece, 1), 0);
			assert_int_equal(store_content_read(c, 0, &first, 1, &len), 0);
			assert_int_equal(first, piece[0]);
			assert_int_equal(store_content_read(c, (uint64_t)i * sizeof(piece), got, sizeof(got), &len), 0);
			assert_int_equal(len, sizeof(got));
			assert_memory_equal(got, piece, sizeof(piece));
		}
	}
	assert_int_equal(store_content_read(c, 1234 * sizeof(piece), got, sizeof(got), &len), 0);
	assert_int_equal(got[0], 'a' + 1234 % 26);
	store_content_close(c, true);
	store_content_close(other, true);
}

/* What fails behind the writer is told by every later call, and nothing is written after it. */
static void test_behind_tells(void **state)
{
	struct faulty faulty = {.error = -EDQUOT};
	struct store *inner, *s;
	struct store_content *c;
	uint64_t blocks;
	unsigned calls;
	char got[4];
	size_t len;

	(void)state;
	assert_int_equal(memory_store_open(&inner), 0);
	assert_int_equal(faulty_store_open(&inner, inner, &faulty), 0);
	assert_int_equal(behind_store_open(&s, inner, 1), 0);
	assert_int_equal(store_content_create(s, &c), 0);
	faulty.fail_at = faulty.calls + 1;
	assert_int_equal(store_content_write(c, 0, "lost", 4), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(store_content_size(c, &blocks), -EDQUOT);
		calls = faulty.calls;
		assert_int_equal(store_content_write(c, 4, "more", 4), -EDQUOT);
		assert_int_equal(store_content_write(c, 0, "over", 4), -EDQUOT);
		assert_int_equal(store_content_truncate(c, 2), -EDQUOT);
		assert_int_equal(store_content_sync(c), -EDQUOT);
		assert_int_equal(store_content_read(c, 0, got, sizeof(got), &len), -EIO);
		assert_int_equal(store_content_fd(c), -1);
		assert_int_equal(faulty.calls, calls);
	}
	store_content_close(c, true);
	/* Another one is as good as new. */
	assert_int_equal(store_content_create(s, &c), 0);
	assert_int_equal(store_content_write(c, 0, "kept", 4), 0);
	assert_int_equal(store_content_read(c, 0, got, sizeof(got), &len), 0);
	assert_memory_equal(got, "kept", 4);
	store_content_close(c, true);
	store_close(s);
}

static void window(struct behind_pace *p, int64_t behind, int64_t at_once)
{
	behind_judge(p, p->at_once ? at_once : behind);
}

static void test_behind_goes_the_faster_way(void **state)
{
	struct behind_pace p = {0};
	unsigned slower = 0;

	(void)state;
	/* Both are tried first. */
	for (int i = 0; i < behind_compare; i++) {
		assert_int_equal(p.at_once, i % 2);
		window(&p, 100, 200);
	}
	assert_false(p.at_once);
	for (int i = 0; i < 10 * (behind_compare + behind_stay); i++) {
		window(&p, 100, 200);
		slower += p.at_once;
	}
	assert_int_equal(slower, 10 * behind_compare / 2);
	/* Then the processors are busy. */
	for (int i = 0; i < behind_compare + behind_stay; i++)
		window(&p, 300, 200);
	assert_true(p.at_once);
	/* No better is not good enough. */
	for (int i = 0; i < behind_compare + behind_stay; i++)
		window(&p, 199, 200);
	assert_true(p.at_once);
}

#define ON(test, open) cmocka_unit_test_setup_teardown(test, open, close_fixture)
#define SUITE(open)                                                                                                \
	ON(test_commit, open), ON(test_conflict, open), ON(test_scan, open), ON(test_scan_is_a_snapshot, open),    \
		ON(test_erase, open), ON(test_large_values, open), ON(test_content, open),                         \
		ON(test_content_holes, open), ON(test_content_space, open), ON(test_content_discard, open), ON(test_sync_again, open), ON(test_usage, open)

int main(void)
{
	const struct CMUnitTest memory[] = {SUITE(open_memory)}, rocksdb[] = {SUITE(open_rocksdb)};
	const struct CMUnitTest traced[] = {SUITE(open_traced)}, cached[] = {SUITE(open_cached)};
	const struct CMUnitTest behind[] = {SUITE(open_behind), ON(test_behind_is_in_order, open_behind),
					    cmocka_unit_test(test_behind_tells), cmocka_unit_test(test_behind_goes_the_faster_way)};
	const struct CMUnitTest own[] = {ON(test_reopen, open_rocksdb), ON(test_open_refuses, open_rocksdb),
					 ON(test_damaged_content_is_not_served, open_rocksdb),
					 ON(test_short_content_is_not_served, open_rocksdb),
					 ON(test_a_change_ends_the_seal, open_rocksdb), ON(test_damaged_content_is_not_changed, open_rocksdb),
					 ON(test_dropped_content_is_changed, open_rocksdb), ON(test_unknown_contents_go, open_rocksdb),
					 ON(test_failed_sync_is_remembered, open_rocksdb), ON(test_has_writer, open_rocksdb),
					 ON(test_trace_traces, open_traced), cmocka_unit_test(test_faulty_fails), cmocka_unit_test(test_cache_keeps)};

	return cmocka_run_group_tests(memory, NULL, NULL) + cmocka_run_group_tests(rocksdb, NULL, NULL) +
	       cmocka_run_group_tests(traced, NULL, NULL) + cmocka_run_group_tests(cached, NULL, NULL) +
	       cmocka_run_group_tests(behind, NULL, NULL) +
	       cmocka_run_group_tests(own, NULL, NULL);
}
