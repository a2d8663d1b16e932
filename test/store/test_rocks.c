/* The local backend on a disk that refuses to write (lib/faults.c is a part of this program). */
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <unistd.h>

#include "store/rocksdb.h"
#include "test.h"
#include "util/clock.h"

enum { heal_seconds = 10, writers = 4, rounds = 300 };

static char folder[64], faults[80];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static void fault(const char *text)
{
	char new[96];
	FILE *file;

	snprintf(new, sizeof(new), "%s.new", faults);
	file = fopen(new, "w");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(rename(new, faults), 0);
}

static struct store *open_store(void)
{
	struct rocksdb_store_options options = {.cache_bytes = 1 << 20, .buffer_bytes = 4 << 20};
	struct store *s;
	struct reason why;

	if (rocksdb_store_open(&s, folder, &options, &why))
		fail_msg("%s", why.text);
	return s;
}

static int setup(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/bucketfs-rocks-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(faults, sizeof(faults), "%s-faults", folder);
	return setenv("FAULTS", faults, 1);
}

static int teardown(void **state)
{
	(void)state;
	unlink(faults);
	return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int commit(struct store *s, uint32_t bucket, uint64_t expect, const char *key)
{
	struct store_batch batch = {0};
	int r;

	store_batch_put(&batch, STORE_DOC, S(key), S("value"));
	r = store_commit(s, bucket, expect, S("head"), &batch, NULL);
	store_batch_release(&batch);
	return r;
}

/* Until a commit works again, which is the one that this makes. */
static void await_commit(struct store *s, uint32_t bucket, uint64_t expect, const char *key)
{
	int64_t until = clock_monotonic() + (int64_t)heal_seconds * 1000000000;
	int r;

	while ((r = commit(s, bucket, expect, key)) && clock_monotonic() < until)
		usleep(20000);
	assert_int_equal(r, 0);
}

static bool has(struct store *s, uint32_t bucket, const char *key)
{
	struct buf value = {0};
	int r = store_get(s, bucket, STORE_DOC, S(key), &value);

	buf_release(&value);
	assert_true(r == 0 || r == STORE_ABSENT);
	return r == 0;
}

static uint64_t revision(struct store *s, uint32_t bucket)
{
	struct buf head = {0};
	uint64_t at;

	assert_int_equal(store_head(s, bucket, &at, &head), 0);
	buf_release(&head);
	return at;
}

static void refused_commit(const char *text, int expected, bool memtable_is_empty)
{
	struct store *s = open_store();
	struct store_statistics st;

	assert_int_equal(commit(s, 1, 0, "before"), 0);
	if (memtable_is_empty) {
		store_close(s);
		s = open_store();
	}
	fault(text);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(commit(s, 1, 1, "refused"), expected);
		assert_true(store_sync(s) < 0);
		assert_int_equal(revision(s, 1), 1);
		assert_true(has(s, 1, "before"));
		assert_false(has(s, 1, "refused"));
		assert_int_equal(store_statistics(s, &st), 0);
		assert_true(st.failures > 0);
		usleep(100000);
	}
	fault("");
	await_commit(s, 1, 1, "after");
	assert_int_equal(revision(s, 1), 2);
	assert_int_equal(store_sync(s), 0);
	assert_int_equal(store_statistics(s, &st), 0);
	assert_int_equal(st.refusal, 0);
	for (int i = 0; i < 2; i++) {
		assert_false(has(s, 1, "refused"));
		assert_true(has(s, 1, "after"));
		store_close(s);
		s = open_store();
	}
	assert_int_equal(revision(s, 1), 2);
	assert_int_equal(commit(s, 1, 2, "again"), 0);
	assert_int_equal(store_erase(s, 1), 0);
	store_close(s);
}

static void test_refused_commit_never_comes_back(void **state)
{
	static const char *const ways[] = {"write 5 .log", "half 5 .log", "whole 5 .log", "write 30 .log"};

	(void)state;
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		refused_commit(ways[i], -EIO, false);
		refused_commit(ways[i], -EIO, true);
	}
	refused_commit("write 28 .log", -ENOSPC, false);
	refused_commit("half 28 .log", -ENOSPC, true);
}

/* A commit that was acknowledged before a sync failed is there, and is on the disk once the disk works. */
static void test_failed_sync_loses_nothing(void **state)
{
	struct store *s = open_store();

	(void)state;
	assert_int_equal(commit(s, 1, 0, "before"), 0);
	fault("sync 5 .log");
	assert_true(store_sync(s) < 0);
	assert_true(store_sync(s) < 0);
	assert_int_equal(commit(s, 1, 1, "refused"), -EIO);
	assert_true(has(s, 1, "before"));
	fault("");
	await_commit(s, 1, 1, "after");
	assert_int_equal(store_sync(s), 0);
	store_close(s);
	s = open_store();
	assert_int_equal(revision(s, 1), 2);
	assert_true(has(s, 1, "before") && has(s, 1, "after") && !has(s, 1, "refused"));
	store_close(s);
}

static void test_close_while_failing(void **state)
{
	static const char *const ways[] = {"write 5 /db/", "sync 5 /db/", "write 28 /db/\nopen 28 /db/", "write 5 .sst\nwrite 5 MANIFEST"};

	(void)state;
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		struct store *s = open_store();
		uint64_t at;
		struct buf head = {0};
		bool is_new = store_head(s, 1, &at, &head) == STORE_ABSENT;

		buf_release(&head);
		assert_true(is_new || has(s, 1, "before"));
		assert_int_equal(commit(s, 1, STORE_ANY_REVISION, "before"), 0);
		fault(ways[i]);
		commit(s, 1, STORE_ANY_REVISION, "during");
		store_sync(s);
		store_close(s);
		fault("");
	}
}

struct writer {
	pthread_t thread;
	struct store *store;
	uint32_t bucket;
	uint64_t acknowledged;
	unsigned refused, wrong;
};

static void *write_on(void *argument)
{
	struct writer *w = argument;

	for (int i = 0; i < rounds; i++) {
		int r = commit(w->store, w->bucket, w->acknowledged, "key");

		/* A conflict would mean that a commit which was refused has been made. */
		if (r == 0)
			w->acknowledged++;
		else if (r == -EIO || r == -ENOSPC)
			w->refused++;
		else
			w->wrong++;
		if (i % 16 == 0)
			store_sync(w->store);
		usleep(2000);
	}
	return NULL;
}

static void test_revisions_under_faults(void **state)
{
	struct store *s = open_store();
	struct writer all[writers];
	unsigned refused = 0;

	(void)state;
	for (uint32_t i = 0; i < writers; i++) {
		all[i] = (struct writer){.store = s, .bucket = i + 1};
		assert_int_equal(pthread_create(&all[i].thread, NULL, write_on, &all[i]), 0);
	}
	for (int i = 0; i < 8; i++) {
		static const char *const ways[] = {"whole 5 .log", "write 5 .log", "sync 5 .log", "half 28 .log\nopen 28 .sst"};

		usleep(40000);
		fault(ways[i % 4]);
		usleep(30000);
		fault("");
	}
	for (int i = 0; i < writers; i++) {
		pthread_join(all[i].thread, NULL);
		assert_int_equal(all[i].wrong, 0);
		refused += all[i].refused;
	}
	assert_true(refused > 0);
	for (int again = 0; again < 2; again++) {
		for (int i = 0; i < writers; i++)
			if (all[i].acknowledged)
				assert_int_equal(revision(s, all[i].bucket), all[i].acknowledged);
		store_close(s);
		s = open_store();
	}
	store_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_refused_commit_never_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failed_sync_loses_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_close_while_failing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_revisions_under_faults, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
