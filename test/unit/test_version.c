/* Who comes last, whatever becomes known first; and who is told to look again. */
#include "bucket/transaction.h"
#include "bucket/version.h"
#include "fixture.h"

static struct file_open *begin(struct fixture *f, const char *name, const char *text)
{
	struct file_open *h = create(f, NODE_FILES, name);

	assert_int_equal(file_write(h, 0, false, S(text), NULL), 0);
	return h;
}

/* close(2), of which the release is still to come. */
static struct file_open *closed(struct fixture *f, const char *name, const char *text)
{
	struct file_open *h = begin(f, name, text);

	assert_int_equal(file_flush(h->file), 0);
	return h;
}

static void test_released_in_another_order(void **state)
{
	struct fixture *f = *state;

	/* Of a new name, of one that is there, and of one that has been there with nothing in it. */
	put_file(f, NODE_FILES, "old", "old");
	put_file(f, NODE_FILES, "empty", "");
	for (int i = 0; i < 3; i++) {
		const char *name = (const char *[]){"new", "old", "empty"}[i];
		struct file_open *first = closed(f, name, "first"), *second = closed(f, name, "second");
		uint64_t files = f->b->head.files;

		file_close(second, false);
		assert_file(f, NODE_FILES, name, "second");
		file_close(first, false);
		assert_file(f, NODE_FILES, name, "second");
		assert_int_equal(f->b->head.files, files);
	}
	assert_list(f, NODE_FILES, "new old empty ");
	assert_int_equal(f->b->head.file_bytes, 18);
	assert_int_equal(f->b->head.making, 0);
}

static void test_nothing_written(void **state)
{
	struct fixture *f = *state;
	struct file_open *nothing, *second;

	put_file(f, NODE_FILES, "a", "old");
	nothing = create(f, NODE_FILES, "a");
	assert_int_equal(file_flush(nothing->file), 0);
	second = closed(f, "a", "second");
	file_close(second, false);
	file_close(nothing, false);
	assert_file(f, NODE_FILES, "a", "second");
}

/* A descriptor was closed, and not the last one. */
static void test_not_closed_yet(void **state)
{
	struct fixture *f = *state;
	struct file_open *first, *second;

	put_file(f, NODE_FILES, "a", "old");
	for (int written = 0; written < 2; written++) {
		first = closed(f, "a", "first");
		second = closed(f, "a", "second");
		file_close(second, false);
		assert_file(f, NODE_FILES, "a", "second");
		if (written)
			assert_int_equal(file_write(first, 0, false, S("FIRST"), NULL), 0);
		assert_int_equal(file_flush(first->file), 0);
		file_close(first, false);
		assert_file(f, NODE_FILES, "a", written ? "FIRST" : "first");
	}
}

/* It was closed, and then something else was moved to its name. */
static void test_moved_there(void **state)
{
	struct fixture *f = *state;
	struct file_open *first;

	put_file(f, NODE_FILES, "a", "old");
	put_file(f, NODE_FILES, "b", "moved");
	first = closed(f, "a", "first");
	assert_int_equal(rename_name(f, NODE_FILES, "b", NODE_FILES, "a"), 0);
	file_close(first, false);
	assert_file(f, NODE_FILES, "a", "moved");
	assert_list(f, NODE_FILES, "a ");
	/* Who closes it after that comes later. */
	put_file(f, NODE_FILES, "b", "moved");
	first = begin(f, "a", "first");
	assert_int_equal(rename_name(f, NODE_FILES, "b", NODE_FILES, "a"), 0);
	assert_int_equal(file_flush(first->file), 0);
	file_close(first, false);
	assert_file(f, NODE_FILES, "a", "first");
	assert_int_equal(f->b->head.making, 0);
}

static void test_transaction(void **state)
{
	struct fixture *f = *state;
	struct file_open *first, *fresh;
	struct fixture t = *f;
	struct reason why;

	put_file(f, NODE_FILES, "a", "old");
	assert_int_equal(transaction_begin(f->fs, f->b, &test_root, S("t"), &t.b, NULL), 0);
	put_file(&t, NODE_FILES, "a", "published");
	put_file(&t, NODE_FILES, "b", "published");
	bucket_put(f->fs, t.b);
	first = closed(f, "a", "first");
	fresh = closed(f, "b", "first");
	assert_int_equal(transaction_commit(f->fs, f->b, &test_root, S("t"), &why), 0);
	file_close(first, false);
	file_close(fresh, false);
	assert_file(f, NODE_FILES, "a", "published");
	assert_file(f, NODE_FILES, "b", "published");
	assert_int_equal(f->b->head.files, 2);
	assert_int_equal(f->b->head.making, 0);
}

/* What was overtaken is not published by the next start either. */
static void test_crash(void **state)
{
	struct fixture *f = *state, after = {.store = f->store};
	struct file_open *first, *fresh, *second, *third;

	put_file(f, NODE_FILES, "a", "old");
	first = closed(f, "a", "first");
	second = closed(f, "a", "second");
	file_close(second, false);
	fresh = closed(f, "b", "first");
	third = closed(f, "b", "second");
	file_close(third, false);

	assert_int_equal(test_fs_open(f->store, &after.fs), 0);
	assert_int_equal(bucket_lookup(after.fs, S("nightly"), &after.b), 0);
	assert_file(&after, NODE_FILES, "a", "second");
	assert_file(&after, NODE_FILES, "b", "second");
	assert_int_equal(after.b->head.files, 2);
	assert_int_equal(after.b->head.making, 0);
	bucket_put(after.fs, after.b);
	fs_close(after.fs);

	file_close(first, true);
	file_close(fresh, true);
}

static const struct caller thread = {0, 0, 7, NULL, NULL, NULL};

static int open_by(struct fixture *f, uint64_t number, unsigned flags, struct file_open **h)
{
	return tree_open(f->fs, f->b, &thread, number, flags, h, NULL);
}

static uint64_t looked_up_by(struct fixture *f, const char *name)
{
	struct attr attr;
	bool canonical;

	assert_int_equal(tree_lookup(f->fs, f->b, &thread, NODE_FILES, S(name), TREE_CLOSED_NONE, &attr, &canonical), 0);
	return attr.inode & INODE_NODE_MASK;
}

/* An open that comes too late is told to look again, … */
static void miss(struct fixture *f, const char *name)
{
	struct file_open *h;
	uint64_t number;

	put_file(f, NODE_FILES, name, "old");
	number = looked_up_by(f, name);
	assert_int_equal(unlink_name(f, NODE_FILES, name, false), 0);
	assert_int_equal(open_by(f, number, TREE_WRITE | TREE_TRUNCATE, &h), BUCKET_GONE);
}

static void test_missed(void **state)
{
	struct fixture *f = *state;
	struct file_open *h;
	uint64_t number;

	miss(f, "a");
	put_file(f, NODE_FILES, "a", "other");
	/* … and what is held for it then is replaced as a whole, whoever is faster. */
	number = looked_up_by(f, "a");
	assert_int_not_equal(number, number_of(f, NODE_FILES, "a"));
	assert_int_equal(unlink_name(f, NODE_FILES, "a", false), 0);
	assert_int_equal(open_by(f, number, TREE_WRITE | TREE_TRUNCATE, &h), 0);
	file_close(h, false);
}

/* What it does next has nothing to do with that: a log that it appends to is not replaced. */
static void assert_untouched(struct fixture *f, const char *name)
{
	uint64_t number = looked_up_by(f, name);
	struct file_open *h;

	assert_int_equal(number, number_of(f, NODE_FILES, name));
	assert_int_equal(open_by(f, number, TREE_WRITE | TREE_APPEND, &h), 0);
	assert_int_equal(file_write(h, 0, true, S("more"), NULL), 0);
	assert_int_equal(file_flush(h->file), 0);
	file_close(h, false);
	assert_file(f, NODE_FILES, name, "logmore");
	assert_int_equal(unlink_name(f, NODE_FILES, name, false), 0);
}

static void test_missed_and_gave_up(void **state)
{
	struct fixture *f = *state;
	struct file_open *h;
	struct attr attr;
	bool canonical;

	/* Not even the look-up came. */
	put_file(f, NODE_FILES, "log", "log");
	miss(f, "a");
	assert_untouched(f, "log");
	/* There was no such name any more. */
	miss(f, "log");
	assert_int_equal(tree_lookup(f->fs, f->b, &thread, NODE_FILES, S("log"), TREE_CLOSED_NONE, &attr, &canonical),
			 BUCKET_ABSENT);
	put_file(f, NODE_FILES, "log", "log");
	assert_untouched(f, "log");
	/* It was made. */
	miss(f, "log");
	assert_int_equal(tree_create(f->fs, f->b, &thread, NODE_FILES, S("log"), 0644, TREE_WRITE | TREE_TRUNCATE, &h,
				     &canonical, NULL), 0);
	assert_int_equal(file_write(h, 0, false, S("log"), NULL), 0);
	assert_int_equal(file_flush(h->file), 0);
	file_close(h, false);
	assert_untouched(f, "log");
}

/* The same name, and something else is wanted of it: who opens that is told to look again, and finds what it wants. */
static void test_missed_and_wants_another(void **state)
{
	struct fixture *f = *state;
	static const unsigned wants[] = {TREE_READ, TREE_READ | TREE_WRITE, TREE_WRITE | TREE_APPEND};

	for (size_t i = 0; i < sizeof(wants) / sizeof(*wants); i++) {
		struct file_open *h;
		uint64_t number;
		char got[16];
		size_t len;

		miss(f, "a");
		put_file(f, NODE_FILES, "a", "kept");
		number = looked_up_by(f, "a");
		assert_int_not_equal(number, number_of(f, NODE_FILES, "a"));
		assert_int_equal(open_by(f, number, wants[i], &h), BUCKET_REDIRECTED);
		number = looked_up_by(f, "a");
		assert_int_equal(number, number_of(f, NODE_FILES, "a"));
		assert_int_equal(open_by(f, number, wants[i], &h), 0);
		assert_int_equal(file_read(h->file, 0, got, sizeof(got), &len), 0);
		assert_slice(slice_of(got, len), "kept");
		file_close(h, false);
		assert_int_equal(unlink_name(f, NODE_FILES, "a", false), 0);
	}
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_released_in_another_order), T(test_nothing_written), T(test_not_closed_yet), T(test_moved_there),
		T(test_transaction), T(test_crash), T(test_missed), T(test_missed_and_gave_up),
		T(test_missed_and_wants_another),
	};

	return cmocka_run_group_tests_name("version", tests, NULL, NULL);
}
