/* What a loss of power leaves: the process ends, some contents are shorter than their records say, and it is another boot. */
#include "bucket/settle.h"

#include "fixture.h"

enum { large = 50000 };

static void put(struct fixture *f, const char *name, size_t size, char fill)
{
	char *bytes = malloc(size);
	struct file_open *h;
	bool canonical;

	memset(bytes, fill, size);
	assert_int_equal(tree_create(f->fs, f->b, &test_root, NODE_FILES, S(name), 0644, TREE_WRITE | TREE_TRUNCATE, &h,
				     &canonical, NULL), 0);
	assert_int_equal(file_write(h, 0, false, slice_of(bytes, size), NULL), 0);
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	file_close(h, false);
	free(bytes);
}

static int find(struct fixture *f, const char *name, struct node *node)
{
	struct found found = {0};
	int r = tree_find_name(f->fs, f->b, NODE_FILES, S(name), &found);

	*node = found.node;
	tree_found_release(&found);
	return r;
}

/* The content of a file has not reached the disk in whole. */
static void tear(struct fixture *f, const char *name)
{
	struct store_content *content;
	struct node node;

	assert_int_equal(find(f, name, &node), 0);
	assert_int_equal(store_content_open(f->store, node.content, &content), 0);
	assert_int_equal(store_content_truncate(content, node.size / 2), 0);
	store_content_close(content, false);
}

static void restart(struct fixture *f, bool other_boot)
{
	bucket_put(f->fs, f->b);
	fs_close(f->fs);
	test_boot += other_boot;
	assert_int_equal(test_fs_open(f->store, &f->fs), 0);
	assert_int_equal(bucket_find(f->fs, S("nightly"), &f->b), 0);
}

static bool has_content(struct fixture *f, uint64_t number)
{
	struct store_content *content;

	if (store_content_open(f->store, number, &content))
		return false;
	store_content_close(content, false);
	return true;
}

/* That the file has this size, all of it this byte, and that the bucket counts right. */
static void expect(struct fixture *f, const char *name, size_t size, char fill)
{
	struct file_open *h;
	struct node node;
	uint64_t total = 0;
	char *bytes = malloc(size + 1);
	size_t got;

	assert_int_equal(find(f, name, &node), 0);
	assert_int_equal(tree_open(f->fs, f->b, &test_root, node.number, TREE_READ, TREE_CLOSED_NONE, &h, NULL), 0);
	assert_int_equal(file_read(h->file, 0, bytes, size + 1, &got), 0);
	assert_int_equal(got, size);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(bytes[i], fill);
	file_close(h, false);
	total += size;
	assert_true(f->b->head.file_bytes >= total);
	free(bytes);
}

static void expect_settled(struct fixture *f)
{
	struct store_cursor *cursor;
	struct slice key, value;

	assert_int_equal(f->b->head.unsettled, 0);
	assert_int_equal(store_cursor_open(f->store, f->b->number, STORE_NODE, S("U"), slice_of(NULL, 0), &cursor), 0);
	assert_int_equal(store_cursor_next(cursor, &key, &value), STORE_END);
	store_cursor_close(cursor);
}

static void test_new_and_torn(void **state)
{
	struct fixture *f = *state;
	struct node node;

	put(f, "a", large, 'x');
	assert_int_equal(f->b->head.unsettled, 1);
	tear(f, "a");
	restart(f, true);
	assert_int_equal(find(f, "a", &node), BUCKET_ABSENT);
	assert_int_equal(find(f, ".a.partial", &node), 0);
	assert_int_equal(f->b->head.files, 1);
	expect_settled(f);
	put(f, "a", large, 'y');
	expect(f, "a", large, 'y');
}

static void test_whole_after_all(void **state)
{
	struct fixture *f = *state;
	struct node old;

	put(f, "a", large, 'o');
	assert_int_equal(find(f, "a", &old), 0);
	settle_due(f->fs, INT64_MAX);
	put(f, "a", large + 1, 'n');
	restart(f, true);
	expect(f, "a", large + 1, 'n');
	expect_settled(f);
	assert_false(has_content(f, old.content));
}

static void replaced(struct fixture *f, size_t old_size, bool by_rename)
{
	bool canonical;
	struct node node;

	put(f, "a", old_size, 'o');
	settle_due(f->fs, INT64_MAX);
	expect_settled(f);
	for (int i = 0; i < 2; i++) {
		put(f, by_rename ? "temp" : "a", large + 7 + (size_t)i, 'n');
		if (by_rename)
			assert_int_equal(tree_rename(f->fs, f->b, &test_root, NODE_FILES, S("temp"), NODE_FILES, S("a"),
						     false, TREE_CLOSED_NONE, &canonical, NULL), 0);
		expect(f, "a", large + 7 + (size_t)i, 'n');
	}
	assert_int_equal(f->b->head.unsettled, 1);
	assert_int_equal(f->b->head.file_bytes, large + 8);
	assert_int_equal(find(f, "a", &node), 0);
	tear(f, "a");
	restart(f, false);
	assert_int_equal(f->b->head.unsettled, 1);
	restart(f, true);
	expect(f, "a", old_size, 'o');
	assert_int_equal(f->b->head.files, 1);
	assert_int_equal(f->b->head.file_bytes, old_size);
	expect_settled(f);
	assert_false(has_content(f, node.content));
}

static void test_replaced_large(void **state)
{
	replaced(*state, large, false);
}

static void test_replaced_small(void **state)
{
	replaced(*state, 100, false);
}

static void test_renamed_over_large(void **state)
{
	replaced(*state, large, true);
}

static void test_renamed_over_small(void **state)
{
	replaced(*state, 100, true);
}

static void test_settling_drops_the_fallback(void **state)
{
	struct fixture *f = *state;
	struct node old, new;

	put(f, "a", large, 'o');
	assert_int_equal(find(f, "a", &old), 0);
	settle_due(f->fs, INT64_MAX);
	put(f, "a", large + 1, 'n');
	assert_int_equal(find(f, "a", &new), 0);
	assert_true(has_content(f, old.content));
	settle_due(f->fs, 0);
	assert_true(has_content(f, old.content));
	settle_due(f->fs, INT64_MAX);
	assert_false(has_content(f, old.content));
	assert_true(has_content(f, new.content));
	expect_settled(f);
}

static void test_deleted_meanwhile(void **state)
{
	struct fixture *f = *state;
	struct node old, new;
	bool canonical;

	put(f, "a", large, 'o');
	assert_int_equal(find(f, "a", &old), 0);
	settle_due(f->fs, INT64_MAX);
	put(f, "a", large, 'n');
	assert_int_equal(find(f, "a", &new), 0);
	assert_int_equal(tree_unlink(f->fs, f->b, &test_root, NODE_FILES, S("a"), false, &canonical), 0);
	assert_false(has_content(f, old.content));
	assert_false(has_content(f, new.content));
	expect_settled(f);
	settle_due(f->fs, INT64_MAX);
}

/* In place: a small file grows, and a large one is emptied and written again. */
static void test_in_place(void **state)
{
	struct fixture *f = *state;
	static char bytes[large];
	struct file_open *h;
	struct node node;

	for (int i = 0; i < 2; i++) {
		size_t size = i ? large - 1 : 100;

		put(f, "a", size, 'o');
		settle_due(f->fs, INT64_MAX);
		assert_int_equal(find(f, "a", &node), 0);
		assert_int_equal(tree_open(f->fs, f->b, &test_root, node.number, TREE_READ | TREE_WRITE | (i ? TREE_TRUNCATE : 0),
					   TREE_CLOSED_NONE, &h, NULL), 0);
		memset(bytes, 'n', sizeof(bytes));
		assert_int_equal(file_write(h, 0, false, slice_of(bytes, sizeof(bytes)), NULL), 0);
		assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
		file_close(h, false);
		expect(f, "a", large, 'n');
		tear(f, "a");
		restart(f, true);
		expect(f, "a", size, 'o');
		expect_settled(f);
	}
}

static void test_fsync_settles(void **state)
{
	struct fixture *f = *state;
	struct file_open *h;
	struct node node;

	put(f, "a", large, 'x');
	assert_int_equal(find(f, "a", &node), 0);
	assert_int_equal(tree_open(f->fs, f->b, &test_root, node.number, TREE_READ | TREE_WRITE, TREE_CLOSED_NONE, &h, NULL), 0);
	assert_int_equal(file_save(h->file), 0);
	assert_int_equal(file_settle(h->file), 0);
	file_close(h, false);
	expect_settled(f);
}

/* What it fell back to is not there either: the file is lost, its bucket is not. */
static void test_fallback_is_missing(void **state)
{
	struct fixture *f = *state;
	struct store_batch batch = {0};
	struct key_buf body;
	struct node node;

	put(f, "other", 10, 'x');
	put(f, "a", 100, 'o');
	assert_int_equal(find(f, "a", &node), 0);
	body = key_body(node.number);
	settle_due(f->fs, INT64_MAX);
	put(f, "a", large, 'n');
	store_batch_delete(&batch, STORE_BODY, key_slice(&body));
	assert_int_equal(store_commit(f->store, f->b->number, STORE_ANY_REVISION, slice_of("", 0), &batch, NULL), 0);
	store_batch_release(&batch);
	/* That put an empty head in place of the bucket's: the next commit puts it back. */
	f->b->revision++;
	put(f, "later", 10, 'y');
	tear(f, "a");
	restart(f, true);
	expect(f, "other", 10, 'x');
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_new_and_torn), T(test_whole_after_all), T(test_replaced_large), T(test_replaced_small),
		T(test_renamed_over_large), T(test_renamed_over_small), T(test_settling_drops_the_fallback),
		T(test_deleted_meanwhile), T(test_in_place), T(test_fsync_settles),
		T(test_fallback_is_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
