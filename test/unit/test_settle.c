/* What a loss of power leaves: the process ends, some contents are shorter than their records say, and it is another boot. */
#include "bucket/settle.h"

#include <errno.h>

#include "fixture.h"
#include "store/faulty.h"
#include "store/trace.h"
#include "util/bytes.h"
#include "util/checksum.h"

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

/* The bucket's head counts what is there. */
static void assert_counts(struct fixture *f)
{
	struct store_cursor *cursor;
	struct slice key, value;
	unsigned making = 0, unsettled = 0;
	uint64_t files = 0, bytes = 0;

	assert_int_equal(store_cursor_open(f->store, f->b->number, STORE_NODE, S(""), S(""), &cursor), 0);
	while (!store_cursor_next(cursor, &key, &value)) {
		char kind = *(const char *)key.at;

		making += kind == 'V';
		unsettled += kind == 'U';
		if (kind == 'C') {
			struct node node = {.number = key_child_node_of(key), .parent = key_child_parent_of(key)};
			struct key_buf name;
			struct buf number = {0};

			assert_null(node_decode(&node, value));
			name = key_name(key_child_parent_of(key), node.name);
			if (!store_get(f->store, f->b->number, STORE_NODE, key_slice(&name), &number) &&
			    bytes_get_be40(number.data) == node.number) {
				files++;
				bytes += node.size;
			}
			buf_release(&number);
		}
	}
	store_cursor_close(cursor);
	assert_int_equal(f->b->head.files, files);
	assert_int_equal(f->b->head.file_bytes, bytes);
	assert_int_equal(f->b->head.making, making);
	assert_int_equal(f->b->head.unsettled, unsettled);
}

static void restart(struct fixture *f, bool other_boot)
{
	bucket_put(f->fs, f->b);
	fs_close(f->fs);
	test_boot += other_boot;
	assert_int_equal(test_fs_open(f->store, &f->fs), 0);
	assert_int_equal(bucket_find(f->fs, S("nightly"), &f->b), 0);
	if (f->b->head.next_node > NODE_FIRST)
		assert_counts(f);
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

/* ---- lengths without their bytes ---- */

/* The disk has the length of a file, and from here on none of its bytes. */
static void lose_bytes(struct fixture *f, const char *name, uint64_t from)
{
	struct store_content *content;
	struct node node;

	assert_int_equal(find(f, name, &node), 0);
	assert_int_equal(store_content_open(f->store, node.content, &content), 0);
	assert_int_equal(store_content_punch(content, from, node.size - from), 0);
	store_content_close(content, false);
}

static struct file_open *reopen(struct fixture *f, const char *name, unsigned flags)
{
	struct file_open *h;
	struct node node;

	assert_int_equal(find(f, name, &node), 0);
	assert_int_equal(tree_open(f->fs, f->b, &test_root, node.number, flags, TREE_CLOSED_NONE, &h, NULL), 0);
	return h;
}

static void write_fill(struct file_open *h, uint64_t at, size_t size, char fill)
{
	char *bytes = malloc(size);

	memset(bytes, fill, size);
	assert_int_equal(file_write(h, at, false, slice_of(bytes, size), NULL), 0);
	free(bytes);
}

static void append(struct fixture *f, const char *name, size_t size, char fill)
{
	struct file_open *h = reopen(f, name, TREE_WRITE | TREE_APPEND);

	write_fill(h, h->file->node.size, size, fill);
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	file_close(h, false);
}

static void test_new_and_nothing_but_its_length(void **state)
{
	struct fixture *f = *state;
	struct node node;

	put(f, "a", large, 'x');
	lose_bytes(f, "a", 20000);
	restart(f, true);
	assert_int_equal(find(f, "a", &node), BUCKET_ABSENT);
	/* What is left of it. */
	expect(f, ".a.partial", 20000, 'x');
	assert_int_equal(f->b->head.file_bytes, 20000);
	expect_settled(f);
}

static void test_replaced_and_nothing_but_its_length(void **state)
{
	struct fixture *f = *state;

	for (int small = 0; small < 2; small++) {
		size_t size = small ? 100 : large;

		put(f, "a", size, 'o');
		settle_due(f->fs, INT64_MAX);
		put(f, "a", large, 'n');
		lose_bytes(f, "a", 0);
		restart(f, true);
		expect(f, "a", size, 'o');
		expect_settled(f);
	}
}

/* The file is closed, and its release is still on its way: the record of that says nothing of the disk. */
static void test_closed_and_not_released(void **state)
{
	struct fixture *f = *state, after = {.store = f->store};
	struct file_open *h;
	struct node node;

	for (int whole = 0; whole < 2; whole++) {
		/* The partial of the first round stays. */
		put(f, "a", large, 'o');
		settle_due(f->fs, INT64_MAX);
		h = create(f, NODE_FILES, "a");
		write_fill(h, 0, large, 'n');
		assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
		if (!whole)
			assert_int_equal(store_content_punch(h->file->content, 4096, large - 4096), 0);
		test_boot++;
		assert_int_equal(test_fs_open(f->store, &after.fs), 0);
		assert_int_equal(bucket_find(after.fs, S("nightly"), &after.b), 0);
		f->b->dead = true;
		expect(&after, "a", large, whole ? 'n' : 'o');
		assert_int_equal(find(&after, ".a.partial", &node), 0);
		assert_int_equal(after.b->head.making, 0);
		expect_settled(&after);
		bucket_put(after.fs, after.b);
		fs_close(after.fs);
		file_close(h, true);
		f->b->dead = false;
		restart(f, false);
	}
}

static void test_appended_and_nothing_but_its_length(void **state)
{
	struct fixture *f = *state;

	put(f, "log", large, 'x');
	settle_due(f->fs, INT64_MAX);
	append(f, "log", 3000, 'x');
	append(f, "log", 3000, 'x');
	/* Less than a block of it. */
	lose_bytes(f, "log", large + 5900);
	restart(f, true);
	expect(f, "log", large, 'x');
	assert_int_equal(f->b->head.file_bytes, large);
	expect_settled(f);
	/* With all its bytes it is as long as it was said to be. */
	append(f, "log", 3000, 'x');
	restart(f, true);
	expect(f, "log", large + 3000, 'x');
	expect_settled(f);
}

/* More is appended while the disk takes what was there: what it has got is safe from then on. */
static void test_what_the_disk_has_got_is_safe(void **state)
{
	struct fixture *f = *state;
	struct settle s;
	struct node node;

	put(f, "log", large, 'x');
	settle_due(f->fs, INT64_MAX);
	append(f, "log", 1000, 'x');
	assert_int_equal(find(f, "log", &node), 0);
	assert_int_equal(settle_load(f->fs, f->b, node.number, &s), 0);
	assert_int_equal(s.safe, large);
	settle_release(&s);
	settle_due(f->fs, INT64_MAX);
	append(f, "log", 1000, 'x');
	assert_int_equal(settle_load(f->fs, f->b, node.number, &s), 0);
	assert_int_equal(s.safe, large + 1000);
	settle_release(&s);
}

/* Appended to and then replaced before either is on the disk: what was there before both is kept. */
static void test_appended_and_replaced(void **state)
{
	struct fixture *f = *state;

	put(f, "a", large, 'o');
	settle_due(f->fs, INT64_MAX);
	append(f, "a", 1000, 'p');
	put(f, "a", large, 'n');
	lose_bytes(f, "a", 0);
	restart(f, true);
	expect(f, "a", large, 'o');
	expect_settled(f);
}

/* A file that is replaced every second is settled all the same. */
static void test_replaced_all_the_time(void **state)
{
	struct fixture *f = *state;

	put(f, "a", large, 'o');
	settle_due(f->fs, INT64_MAX);
	for (int second = 0; second < 10; second++) {
		put(f, "a", large, (char)('a' + second));
		test_time += 1000000000;
		settle_due(f->fs, fs_moment(f->fs) - 2000000000);
	}
	lose_bytes(f, "a", 0);
	restart(f, true);
	/* One of the last few. */
	{
		struct file_open *h = reopen(f, "a", TREE_READ);
		char byte;
		size_t got;

		assert_int_equal(file_read(h->file, 0, &byte, 1, &got), 0);
		assert_in_range(byte, 'f', 'j');
		file_close(h, false);
	}
}

/* Every step of a small file that grows: what the store's log had is not lost for what the disk lacks. */
static void test_grown_and_nothing_but_its_length(void **state)
{
	struct fixture *f = *state;
	struct file_open *h;
	struct node node;

	for (int step = 0; step < 4; step++) {
		put(f, "a", 100, 'o');
		append(f, "a", large, 'n');
		h = reopen(f, "a", TREE_READ | TREE_WRITE);
		if (step == 1)
			assert_int_equal(file_truncate(h->file, large - 1000, NULL), 0);
		if (step == 2)
			assert_int_equal(file_punch(h->file, 40000, 5000), 0);
		if (step == 3)
			assert_int_equal(file_truncate(h->file, large + 9000, NULL), 0);
		assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
		file_close(h, false);
		/* A change of what was committed has waited for the disk; else it is what it was before. */
		if (step == 0 || step == 3)
			lose_bytes(f, "a", 100);
		restart(f, true);
		if (step == 0 || step == 3)
			expect(f, "a", 100, 'o');
		assert_int_equal(find(f, "a", &node), 0);
		if (step == 1 || step == 2)
			assert_int_equal(node.size, step == 1 ? large - 900 - 100 : large + 100);
		assert_int_equal(unlink_name(f, NODE_FILES, "a", false), 0);
	}
}

/* Written over in place before it was on the disk: the change must not look like a loss. */
static void test_changed_before_it_is_settled(void **state)
{
	struct fixture *f = *state;
	struct file_open *h;

	put(f, "a", large, 'x');
	assert_int_equal(f->b->head.unsettled, 1);
	h = reopen(f, "a", TREE_WRITE);
	write_fill(h, 1000, 20, 'x');
	expect_settled(f);
	/* Now the content changes without a record of it. */
	assert_int_equal(store_content_write(h->file->content, 100, "x", 1), 0);
	file_close(h, false);
	restart(f, true);
	expect(f, "a", large, 'x');
}

static void test_shortened_in_place(void **state)
{
	struct fixture *f = *state;
	struct store_content *content;
	struct file_open *h;
	uint64_t size;

	put(f, "a", large, 'x');
	settle_due(f->fs, INT64_MAX);
	h = reopen(f, "a", TREE_READ | TREE_WRITE);
	assert_int_equal(file_truncate(h->file, 40000, NULL), 0);
	assert_int_equal(f->b->head.file_bytes, 40000);
	assert_int_equal(store_content_open(f->store, h->file->node.content, &content), 0);
	assert_int_equal(store_content_size(content, &size), 0);
	assert_int_equal(size, 40000);
	store_content_close(content, false);
	file_close(h, false);
	restart(f, true);
	expect(f, "a", 40000, 'x');
}

/* What is shorter than its record says is not filled up with zeros. */
static void test_short_content_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct file_open *h;
	char byte;
	size_t got;

	put(f, "a", large, 'x');
	settle_due(f->fs, INT64_MAX);
	tear(f, "a");
	restart(f, true);
	h = reopen(f, "a", TREE_READ);
	assert_int_equal(file_read(h->file, 0, &byte, 1, &got), -EIO);
	file_close(h, false);
}

static int read_content(void *context, uint64_t at, void *bytes, size_t len, size_t *got)
{
	return store_content_read(context, at, bytes, len, got);
}

/* The checksums that were committed are those of what is in the content, right after the commit. */
static void assert_checks(struct fixture *f, struct file *file)
{
	struct checksum_source source = {.read = read_content, .context = file->content};
	struct checksum_list list;
	struct settle s;
	uint64_t good;
	bool whole;

	assert_int_equal(settle_load(f->fs, f->b, file->node.number, &s), 0);
	if (s.content) {
		assert_int_equal(s.content, file->node.content);
		assert_int_equal(checksum_list_decode(&list, buf_slice(&s.checks)), 0);
		assert_int_equal(list.size, file->node.size);
		assert_true(s.safe <= list.size && list.first <= s.safe / checksum_piece);
		assert_int_equal(checksum_verify(&list, 0, &source, &whole, &good), 0);
		assert_true(whole);
		checksum_list_release(&list);
	}
	settle_release(&s);
}

static void change(struct fixture *f, struct file_open *h)
{
	uint64_t size = h->file->node.size, at = (uint64_t)random() % (size + 1);
	size_t len = (size_t)random() % (random() % 3 ? 300 : 200000) + 1;
	char fill = (char)('a' + random() % 26);

	switch (random() % 12) {
	case 0:
		assert_int_equal(file_truncate(h->file, at, NULL), 0);
		break;
	case 1:
		assert_int_equal(file_truncate(h->file, size + len, NULL), 0);
		break;
	case 2:
		assert_int_equal(file_punch(h->file, at, len), 0);
		break;
	case 3:
		assert_int_equal(file_allocate(h, at, len, false, NULL), 0);
		break;
	case 4:
		write_fill(h, at, len, fill);
		break;
	case 5:
		write_fill(h, size + len, len, fill);
		break;
	case 6:
		settle_due(f->fs, INT64_MAX);
		break;
	default:
		write_fill(h, size, len, fill);
	}
}

static void test_checksums_are_those_of_the_content(void **state)
{
	struct fixture *f = *state;

	for (unsigned seed = 0; seed < 200; seed++) {
		struct file_open *h = create(f, NODE_FILES, "log");

		srandom(seed);
		for (int i = 0; i < 60; i++) {
			change(f, h);
			if (random() % 2)
				continue;
			assert_int_equal(file_flush(h, random() % 4 ? FILE_CLOSER_DONE : FILE_CLOSER_SHARES), 0);
			if (h->file->node.place == PLACE_CONTENT && h->file->content && !h->file->unsaved)
				assert_checks(f, h->file);
			if (random() % 4)
				continue;
			file_close(h, false);
			h = reopen(f, "log", TREE_READ | TREE_WRITE);
		}
		file_close(h, false);
		assert_int_equal(unlink_name(f, NODE_FILES, "log", false), 0);
	}
}

/* ---- what a close says ---- */

/* The process is killed as things stand: how many bytes of which has the name then? */
static void expect_after_kill(struct fixture *f, struct file_open *h, const char *name, int size, char fill, bool partial)
{
	struct fixture after = {.store = f->store};
	char kept[64];
	struct node node;

	assert_int_equal(test_fs_open(f->store, &after.fs), 0);
	assert_int_equal(bucket_find(after.fs, S("nightly"), &after.b), 0);
	f->b->dead = true;
	if (size < 0)
		assert_int_equal(find(&after, name, &node), BUCKET_ABSENT);
	else
		expect(&after, name, (size_t)size, fill);
	snprintf(kept, sizeof(kept), ".%s.partial", name);
	assert_int_equal(find(&after, kept, &node), partial ? 0 : BUCKET_ABSENT);
	bucket_put(after.fs, after.b);
	fs_close(after.fs);
	file_close(h, true);
	f->b->dead = false;
	restart(f, false);
}

static void test_closed_with_nothing_in_it(void **state)
{
	struct fixture *f = *state;
	struct file_open *h;

	for (int closed = 0; closed < 3; closed++) {
		put(f, "a", 100, 'o');
		h = create(f, NODE_FILES, "a");
		if (closed == 1)
			assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
		else if (closed == 2)
			assert_int_equal(file_save(h->file), 0);
		else
			assert_int_equal(file_flush(h, FILE_CLOSER_SHARES), 0);
		expect_after_kill(f, h, "a", closed ? 0 : 100, 'o', false);
	}
}

static void test_closed_by_a_child(void **state)
{
	struct fixture *f = *state;
	struct file_open *h;

	for (int i = 0; i < 4; i++) {
		bool new = i % 2, done = i / 2;
		const char *name = new ? done ? "d" : "c" : "a";

		if (!new)
			put(f, name, 100, 'o');
		h = create(f, NODE_FILES, name);
		write_fill(h, 0, 50, 'n');
		assert_int_equal(file_flush(h, FILE_CLOSER_SHARES), 0);
		if (done)
			assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
		expect_after_kill(f, h, name, done ? 50 : new ? -1 : 100, done ? 'n' : 'o', !done);
		unlink_name(f, NODE_FILES, ".a.partial", false);
	}
}

/* The second close has the name, and none of its bytes is on the disk: the first is the last one that is whole. */
static void superseded(void **state, bool released)
{
	struct fixture *f = *state, after = {.store = f->store};
	struct file_open *first, *second;

	put(f, "a", large, 'o');
	settle_due(f->fs, INT64_MAX);
	first = create(f, NODE_FILES, "a");
	write_fill(first, 0, 100, '1');
	assert_int_equal(file_flush(first, FILE_CLOSER_DONE), 0);
	second = create(f, NODE_FILES, "a");
	write_fill(second, 0, large, '2');
	assert_int_equal(file_flush(second, FILE_CLOSER_DONE), 0);
	file_close(second, false);
	expect(f, "a", large, '2');
	if (released)
		file_close(first, false);
	lose_bytes(f, "a", 0);
	test_boot++;
	assert_int_equal(test_fs_open(f->store, &after.fs), 0);
	assert_int_equal(bucket_find(after.fs, S("nightly"), &after.b), 0);
	expect(&after, "a", 100, '1');
	assert_counts(&after);
	f->b->dead = true;
	bucket_put(after.fs, after.b);
	fs_close(after.fs);
	if (!released)
		file_close(first, true);
	f->b->dead = false;
	restart(f, false);
}

static void test_superseded_by_what_was_lost(void **state)
{
	superseded(state, false);
}

static void test_superseded_and_released(void **state)
{
	superseded(state, true);
}

/* Three closes, and the last two are lost: what the first of these two had superseded has the name. */
static void test_superseded_by_two_that_were_lost(void **state)
{
	struct fixture *f = *state;
	struct file_open *first = create(f, NODE_FILES, "a");

	write_fill(first, 0, 100, '1');
	assert_int_equal(file_flush(first, FILE_CLOSER_DONE), 0);
	put(f, "a", large, '2');
	put(f, "a", large, '3');
	file_close(first, false);
	expect(f, "a", large, '3');
	lose_bytes(f, "a", 0);
	restart(f, true);
	expect(f, "a", 100, '1');
}

/* Three that were closed for good are held open when the fourth takes the name: two that the disk has, then an empty one, or the empty one
 * in another order. The fourth is lost: the last of the three has the name, whatever was released, in whatever order, and not what the
 * fourth had replaced. */
static void superseded_by_one(void **state, int released)
{
	struct fixture *f = *state, after = {.store = f->store};
	struct file_open *first, *second;

	put(f, "a", 100, 'o');
	settle_due(f->fs, INT64_MAX);
	put(f, "a", large, 'p');
	put(f, "a", large, 'q');
	first = create(f, NODE_FILES, "a");
	write_fill(first, 0, large, '1');
	assert_int_equal(file_flush(first, FILE_CLOSER_DONE), 0);
	assert_int_equal(file_settle(first->file), 0);
	second = create(f, NODE_FILES, "a");
	assert_int_equal(file_flush(second, FILE_CLOSER_DONE), 0);
	assert_int_equal(file_settle(second->file), 0);
	put(f, "a", large, '3');
	if (released & 1)
		file_close(first, false);
	if (released & 2)
		file_close(second, false);
	if (released & 4)
		file_close(first, false);
	lose_bytes(f, "a", 0);
	test_boot++;
	assert_int_equal(test_fs_open(f->store, &after.fs), 0);
	assert_int_equal(bucket_find(after.fs, S("nightly"), &after.b), 0);
	expect(&after, "a", 0, 0);
	assert_counts(&after);
	f->b->dead = true;
	bucket_put(after.fs, after.b);
	fs_close(after.fs);
	if (!(released & 5))
		file_close(first, true);
	if (!(released & 2))
		file_close(second, true);
	f->b->dead = false;
	restart(f, false);
}

static void test_last_of_two_that_one_supersedes(void **state)
{
	static const int released[] = {0, 1, 2, 3, 6};

	for (size_t i = 0; i < sizeof(released) / sizeof(released[0]); i++)
		superseded_by_one(state, released[i]);
}

/* Closed, on the disk and superseded; then the daemon is killed, and then the power goes. */
static void test_superseded_before_a_kill(void **state)
{
	struct fixture *f = *state, after = {.store = f->store};
	struct file_open *first;

	put(f, "a", large, 'o');
	settle_due(f->fs, INT64_MAX);
	first = create(f, NODE_FILES, "a");
	write_fill(first, 0, large, '1');
	assert_int_equal(file_flush(first, FILE_CLOSER_DONE), 0);
	assert_int_equal(file_settle(first->file), 0);
	put(f, "b", 100, 'b');
	put(f, "a", large, '2');
	for (int times = 0; times < 2; times++) {
		assert_int_equal(test_fs_open(f->store, &after.fs), 0);
		assert_int_equal(bucket_find(after.fs, S("nightly"), &after.b), 0);
		expect(&after, "a", large, times ? '1' : '2');
		assert_counts(&after);
		if (!times)
			lose_bytes(&after, "a", 0);
		bucket_put(after.fs, after.b);
		fs_close(after.fs);
		test_boot++;
	}
	f->b->dead = true;
	file_close(first, true);
	f->b->dead = false;
	restart(f, false);
}

/* Closed with nothing in it while somebody else has it open, and then replaced twice: if both are lost, it is empty. */
static void test_empty_one_that_is_held(void **state)
{
	struct fixture *f = *state;
	struct file_open *first = create(f, NODE_FILES, "a");

	assert_int_equal(file_flush(first, FILE_CLOSER_DONE), 0);
	put(f, "a", large, '2');
	put(f, "a", large, '3');
	file_close(first, false);
	expect(f, "a", large, '3');
	lose_bytes(f, "a", 0);
	restart(f, true);
	expect(f, "a", 0, 0);
}

/* Two that open a new file before anything is in it have the same one, as a lock is, until it is closed for good. */
static void test_empty_one_that_is_shared(void **state)
{
	struct fixture *f = *state;
	struct file_open *first = create(f, NODE_FILES, "a"), *second, *third;

	assert_int_equal(file_flush(first, FILE_CLOSER_SHARES), 0);
	second = create(f, NODE_FILES, "a");
	assert_ptr_equal(first->file, second->file);
	assert_int_equal(file_flush(first, FILE_CLOSER_DONE), 0);
	third = create(f, NODE_FILES, "a");
	assert_ptr_equal(first->file, third->file);
	assert_true(first->file->unlisted);
	write_fill(third, 0, 100, '3');
	assert_int_equal(file_flush(third, FILE_CLOSER_SHARES), 0);
	file_close(second, false);
	file_close(first, false);
	expect(f, "a", 0, 0);
	expect_after_kill(f, third, "a", 0, 0, true);
}

/* Closed and fsynced, begun anew, and superseded. If what came later is lost, it is what was fsynced, and not what was there before. */
static void test_superseded_and_rewritten_before(void **state)
{
	struct fixture *f = *state;
	struct file_open *first;

	put(f, "a", large, 'o');
	settle_due(f->fs, INT64_MAX);
	first = create(f, NODE_FILES, "a");
	write_fill(first, 0, large, '1');
	assert_int_equal(file_flush(first, FILE_CLOSER_DONE), 0);
	assert_int_equal(file_settle(first->file), 0);
	assert_int_equal(file_truncate_open(first, 0, NULL), 0);
	write_fill(first, 0, large, '2');
	assert_int_equal(file_flush(first, FILE_CLOSER_DONE), 0);
	put(f, "a", large, '3');
	file_close(first, false);
	expect(f, "a", large, '3');
	lose_bytes(f, "a", 0);
	restart(f, true);
	expect(f, "a", large, '1');
}

/* The other way round: what had the name in between is newer than what the first had been before. */
static void test_superseded_and_rewritten_after(void **state)
{
	struct fixture *f = *state;

	for (int again = 0; again < 2; again++) {
		struct file_open *first;
		struct node third;

		put(f, "a", large, 'o');
		settle_due(f->fs, INT64_MAX);
		first = create(f, NODE_FILES, "a");
		write_fill(first, 0, large, '1');
		assert_int_equal(file_flush(first, FILE_CLOSER_DONE), 0);
		settle_due(f->fs, INT64_MAX);
		if (again) {
			assert_int_equal(file_truncate_open(first, 0, NULL), 0);
			write_fill(first, 0, large, '2');
			assert_int_equal(file_flush(first, FILE_CLOSER_DONE), 0);
		}
		put(f, "a", large, '3');
		assert_int_equal(find(f, "a", &third), 0);
		assert_int_equal(settle_content(f->fs, f->b, third.number, third.content), 0);
		if (!again) {
			assert_int_equal(file_truncate_open(first, 0, NULL), 0);
			write_fill(first, 0, large, '4');
		}
		assert_int_equal(file_flush(first, FILE_CLOSER_DONE), 0);
		file_close(first, false);
		expect(f, "a", large, again ? '2' : '4');
		lose_bytes(f, "a", 0);
		restart(f, true);
		expect(f, "a", large, '3');
	}
}

/* ---- anything, and then the power goes ---- */

enum { slots = 5, names = 3, versions_most = 200 };

struct world {
	unsigned seed;
	int most_names; /* in use */
	struct file_open *slot[slots];
	size_t size[versions_most]; /* of each version; all its bytes are its number */
	int name[versions_most];
	unsigned order[versions_most]; /* which of all closes was its last one; 0: none */
	unsigned versions, closes;
	unsigned of_slot[slots];
	unsigned durable[names]; /* the order of what was closed and is on the disk: nothing older has the name after that */
};

static const char *const name_of[names] = {"a", "b", "c"};

static void put_version(struct fixture *f, struct world *w)
{
	static const size_t sizes[] = {0, 100, 20000, large, 90000};
	int at = (int)(random() % slots);
	size_t size = sizes[random() % 5];

	if (w->slot[at] || w->versions + 1 == versions_most)
		return;
	w->size[++w->versions] = size;
	w->of_slot[at] = w->versions;
	w->name[w->versions] = (int)(random() % w->most_names);
	w->slot[at] = create(f, NODE_FILES, name_of[w->name[w->versions]]);
	/* Two that open a new file before anything is in it have the same one, and what is written then is in both. If it was fsynced
	 * and nobody has closed it, that makes it one that is being written again. */
	for (int i = 0; i < slots; i++) {
		if (i == at || !w->slot[i] || w->slot[i]->file != w->slot[at]->file)
			continue;
		w->of_slot[i] = w->versions;
		if (size && !w->slot[i]->file->closed && w->name[w->versions] >= 0)
			w->durable[w->name[w->versions]] = 0;
	}
	if (size)
		write_fill(w->slot[at], 0, size, (char)w->versions);
}

/* Its writer begins anew, through the same descriptor. */
static void begin_again(struct world *w, int at)
{
	struct file *file = w->slot[at] ? w->slot[at]->file : NULL;
	unsigned before = w->of_slot[at], version = w->versions + 1;
	bool complete;

	if (!file || !file->unlisted || version == versions_most)
		return;
	complete = file->candidate;
	w->size[version] = random() % 2 ? large : 100;
	w->name[version] = w->name[before];
	w->versions = version;
	for (int i = 0; i < slots; i++)
		if (w->slot[i] && w->slot[i]->file == file)
			w->of_slot[i] = version;
	assert_int_equal(file_truncate_open(w->slot[at], 0, NULL), 0);
	write_fill(w->slot[at], 0, w->size[version], (char)version);
	/* What it had closed, or fsynced, is being written again. */
	if (w->name[before] >= 0 && complete)
		w->durable[w->name[before]] = 0;
}

static void closed(struct world *w, int at, bool durable)
{
	unsigned version = w->of_slot[at];

	w->order[version] = ++w->closes;
	if (durable && w->name[version] >= 0)
		w->durable[w->name[version]] = w->closes;
}

static void close_slot(struct world *w, int at, enum file_closer closer)
{
	struct file *file = w->slot[at] ? w->slot[at]->file : NULL;
	unsigned version = w->of_slot[at];
	bool making = file && file->unlisted;

	/* What a rename has published is not closed once more. */
	if (!file || file_flush(w->slot[at], closer) || !making)
		return;
	/* What its writer did not live to close is nobody's. A holder that has written nothing only closes it. */
	if (closer == FILE_CLOSER_DIES && file->killed && w->name[version] >= 0)
		w->durable[w->name[version]] = 0;
	else if (closer != FILE_CLOSER_SHARES && !file->unlinked && !file->killed)
		closed(w, at, file->node.place != PLACE_CONTENT);
}

/* What was made under this name may be anywhere. */
static void forget(struct world *w, int name)
{
	w->durable[name] = 0;
	for (unsigned v = 1; v <= w->versions; v++)
		if (w->name[v] == name)
			w->name[v] = -1;
}

/* Whether a rename would publish what somebody is still writing. */
static bool is_making(const struct world *w, int name)
{
	for (int i = 0; i < slots; i++)
		if (w->slot[i] && w->slot[i]->file->unlisted && w->name[w->of_slot[i]] == name)
			return true;
	return false;
}

static void one_step(struct fixture *f, struct world *w)
{
	int at = (int)(random() % slots), from, to;

	switch (random() % 13) {
	case 12:
		begin_again(w, at);
		break;
	case 0:
	case 1:
	case 2:
		put_version(f, w);
		break;
	case 3:
	case 4:
		close_slot(w, at, random() % 4 ? FILE_CLOSER_DONE : FILE_CLOSER_SHARES);
		break;
	case 5:
		if (w->slot[at] && w->slot[at]->file->unlisted && !w->slot[at]->file->killed && !file_save(w->slot[at]->file) &&
		    !file_settle(w->slot[at]->file))
			closed(w, at, true);
		break;
	case 6:
	case 7:
	case 8:
		close_slot(w, at, random() % 6 ? FILE_CLOSER_DONE : FILE_CLOSER_DIES);
		if (w->slot[at])
			file_close(w->slot[at], false);
		w->slot[at] = NULL;
		break;
	case 9:
		from = (int)(random() % w->most_names);
		to = (int)(random() % w->most_names);
		if (from == to && is_making(w, from))
			forget(w, from);
		rename_name(f, NODE_FILES, name_of[from], NODE_FILES, name_of[to]);
		if (from != to)
			forget(w, from), forget(w, to);
		break;
	case 10:
		to = (int)(random() % w->most_names);
		if (random() % 3)
			break;
		unlink_name(f, NODE_FILES, name_of[to], false);
		forget(w, to);
		break;
	default:
		settle_due(f->fs, random() % 2 ? INT64_MAX : fs_moment(f->fs) - 100);
	}
}

/* The daemon is killed, and another one starts in the same boot. */
static void kill_and_start(struct fixture *f, struct fixture *after)
{
	assert_int_equal(test_fs_open(f->store, &after->fs), 0);
	assert_int_equal(bucket_find(after->fs, S("nightly"), &after->b), 0);
	if (after->b->head.next_node > NODE_FIRST)
		assert_counts(after);
	bucket_put(after->fs, after->b);
	fs_close(after->fs);
}

/* Of what is not known to be on the disk some is not. */
static void lose_some(struct fixture *f)
{
	struct store_content *content;
	struct store_cursor *cursor;
	struct slice key, value;
	uint64_t size, from;

	assert_int_equal(store_cursor_open(f->store, f->b->number, STORE_NODE, S("U"), slice_of(NULL, 0), &cursor), 0);
	while (!store_cursor_next(cursor, &key, &value)) {
		struct settle s;

		if (random() % 2)
			continue;
		assert_int_equal(settle_load(f->fs, f->b, key_unsettled_node_of(key), &s), 0);
		if (!store_content_open(f->store, s.content, &content)) {
			assert_int_equal(store_content_size(content, &size), 0);
			from = random() % 2 ? 0 : (uint64_t)random() % (size + 1);
			from = from < s.safe ? s.safe : from;
			if (random() % 2)
				assert_int_equal(store_content_punch(content, from, size), 0);
			else
				assert_int_equal(store_content_truncate(content, from), 0);
			store_content_close(content, false);
		}
		settle_release(&s);
	}
	store_cursor_close(cursor);
}

static void check_order(struct world *w, int name, unsigned version)
{
	unsigned order = w->order[version];

	/* All empty ones look alike. */
	for (unsigned v = 1; !version && v <= w->versions; v++)
		if (!w->size[v] && w->order[v] > order)
			order = w->order[v];
	if (order < w->durable[name])
		fail_msg("seed %u: %s has what was closed as number %u, and number %u was on the disk", w->seed, name_of[name], order, w->durable[name]);
	w->durable[name] = 0;
}

static int check_one(void *context, const struct node *node, const struct attr *attr)
{
	struct fixture *f = ((void **)context)[0];
	struct world *w = ((void **)context)[1];
	char name[name_max + 1], *bytes = malloc(node->size + 1);
	struct file_open *h;
	size_t got;

	(void)attr;
	memcpy(name, node->name.at, node->name.len);
	name[node->name.len] = 0;
	/* As the kernel does it, a second time for what has just become a partial. */
	if (tree_open(f->fs, f->b, &test_root, node->number, TREE_READ, TREE_CLOSED_NONE, &h, NULL))
		assert_int_equal(tree_open(f->fs, f->b, &test_root, node->number, TREE_READ, TREE_CLOSED_NONE, &h, NULL), 0);
	assert_int_equal(file_read(h->file, 0, bytes, node->size + 1, &got), 0);
	assert_int_equal(got, node->size);
	for (size_t i = 1; i < got; i++)
		assert_int_equal(bytes[i], bytes[0]);
	/* A partial may be a part of what was written; under a name there is all of a version. */
	for (int i = 0; i < names; i++)
		if (strcmp(name, name_of[i]) == 0)
			check_order(w, i, got ? (unsigned char)bytes[0] : 0);
	if (got) {
		assert_in_range((unsigned char)bytes[0], 1, w->versions);
		if (*name == '.')
			assert_true(got <= w->size[(unsigned char)bytes[0]]);
		else
			assert_int_equal(got, w->size[(unsigned char)bytes[0]]);
	}
	file_close(h, false);
	free(bytes);
	return 0;
}

static void test_anything_and_then_the_power_goes(void **state)
{
	const char *more = getenv("BUCKETFS_SEEDS");

	(void)state;
	for (unsigned seed = 0; seed < (more ? (unsigned)atoi(more) : 3000); seed++) {
		struct fixture f = {0}, after = {0};
		struct world w = {.seed = seed};
		void *context[] = {&after, &w};

		srandom(seed);
		w.most_names = seed % 2 ? names : 1;
		test_time = 1000000000;
		test_boot = 1;
		assert_int_equal(memory_store_open(&f.store), 0);
		assert_int_equal(fixture_open(&f), 0);
		after.store = f.store;
		for (int i = 0; i < 40; i++) {
			one_step(&f, &w);
			assert_counts(&f);
		}
		if (random() % 3 == 0)
			kill_and_start(&f, &after);
		lose_some(&f);
		test_boot++;
		assert_int_equal(test_fs_open(f.store, &after.fs), 0);
		assert_int_equal(bucket_find(after.fs, S("nightly"), &after.b), 0);
		assert_int_equal(after.b->head.making, 0);
		if (after.b->head.next_node > NODE_FIRST)
			assert_counts(&after);
		expect_settled(&after);
		assert_int_equal(tree_list(after.fs, after.b, NODE_FILES, 0, TREE_CLOSED_NONE, check_one, context), 0);
		for (int i = 0; i < names; i++)
			if (w.durable[i])
				fail_msg("seed %u: %s is gone", seed, name_of[i]);
		f.b->dead = true;
		bucket_put(after.fs, after.b);
		fs_close(after.fs);
		for (int i = 0; i < slots; i++)
			if (w.slot[i])
				file_close(w.slot[i], true);
		f.b->dead = false;
		bucket_put(f.fs, f.b);
		fs_close(f.fs);
		store_close(f.store);
	}
}

/* A sync that fails is made again by and by, not at the next start. */
static void test_failed_sync_is_made_again(void **state)
{
	struct fixture *f = *state;
	struct faulty faulty = {.error = -EIO};
	struct store *faulty_store;

	put(f, "a", large, 'x');
	assert_int_equal(faulty_store_open(&faulty_store, f->store, &faulty), 0);
	f->fs->store = faulty_store;
	for (unsigned call = 1; f->b->head.unsettled && call < 10; call++) {
		faulty.fail_at = faulty.calls + call;
		settle_due(f->fs, INT64_MAX);
	}
	faulty.fail_at = 0;
	settle_due(f->fs, INT64_MAX);
	expect_settled(f);
	assert_int_equal(f->fs->unsettled.len, 0);
	f->store = faulty_store;
	expect(f, "a", large, 'x');
}

static void count_again(void *context, const char *text)
{
	*(unsigned *)context += strstr(text, "content_sync_again") != NULL;
}

/* A sync that failed in a process that was killed may have been made again by nobody: the next one writes all bytes once more. */
static void test_failed_sync_is_made_again_after_a_kill(void **state)
{
	struct fixture *f = *state, after;
	struct store *traced;
	unsigned again = 0;

	put(f, "a", large, 'x');
	assert_int_equal(trace_store_open(&traced, f->store, count_again, &again), 0);
	after = (struct fixture){.store = traced};
	assert_int_equal(test_fs_open(after.store, &after.fs), 0);
	assert_int_equal(bucket_find(after.fs, S("nightly"), &after.b), 0);
	/* What is written only now is not. */
	put(&after, "b", large, 'y');
	f->b->dead = true;
	/* The killed writer may have changed it after its last commit: that is kept, and nobody vouches for it. */
	lose_bytes(&after, "a", 1000);
	settle_due(after.fs, INT64_MAX);
	assert_int_equal(again, 1);
	expect_settled(&after);
	bucket_put(after.fs, after.b);
	fs_close(after.fs);
	f->b->dead = false;
	f->store = traced;
	f->fs->store = traced;
	restart(f, false);
	expect(f, "b", large, 'y');
}

static void end_made(struct file_open *h)
{
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	file_close(h, false);
}

static void count_sync(void *context, const char *text)
{
	*(unsigned *)context += strstr(text, "store: sync ") != NULL;
}

/* It was fsynced while it was made, so its bytes are on the disk, and its record says that it is whole. Before they are changed, the disk
 * has it that it is being written again. */
static void test_mark_is_on_the_disk_before_the_bytes(void **state)
{
	struct fixture *f = *state;
	struct store *traced;
	unsigned synced = 0;

	assert_int_equal(trace_store_open(&traced, f->store, count_sync, &synced), 0);
	f->store = f->fs->store = traced;
	for (int how = 0; how < 4; how++) {
		struct file_open *h = create(f, NODE_FILES, "a");

		write_fill(h, 0, large, '1');
		assert_int_equal(file_save(h->file), 0);
		assert_int_equal(file_settle(h->file), 0);
		assert_int_equal(synced, 0);
		if (how == 0)
			write_fill(h, 10, 100, '2');
		else if (how == 1)
			assert_int_equal(file_truncate_open(h, large - 1, NULL), 0);
		else if (how == 2)
			assert_int_equal(file_punch(h->file, 0, 10), 0);
		else
			write_fill(h, large, 100, '1');
		assert_int_equal(synced, how < 3);
		/* Once is enough. */
		write_fill(h, 0, 100, '1');
		assert_int_equal(synced, 1);
		synced = 0;
		end_made(h);
		unlink_name(f, NODE_FILES, "a", false);
	}
}

static int count_listed(void *context, const struct node *node, const struct attr *attr)
{
	(void)node;
	(void)attr;
	++*(int *)context;
	return 0;
}

/* A child has written the first part, or it was fsynced, and all of that is on the disk before the rest is written. */
static struct file_open *half_made(struct fixture *f, const char *name, bool fsynced, size_t size)
{
	struct file_open *h = create(f, NODE_FILES, name);

	write_fill(h, 0, size, '1');
	if (fsynced) {
		assert_int_equal(file_save(h->file), 0);
		assert_int_equal(file_settle(h->file), 0);
	} else {
		assert_int_equal(file_flush(h, FILE_CLOSER_SHARES), 0);
		settle_due(f->fs, INT64_MAX);
	}
	return h;
}

static void test_half_of_it_was_settled(void **state)
{
	struct fixture *f = *state;
	struct file_open *h;
	struct node node;

	for (int fsynced = 0; fsynced < 2; fsynced++) {
		const char *name = fsynced ? "a" : "b";

		put(f, name, large, 'o');
		settle_due(f->fs, INT64_MAX);
		h = half_made(f, name, fsynced, 60000);
		write_fill(h, 60000, 60000, '2');
		end_made(h);
		lose_bytes(f, name, 60000);
		restart(f, true);
		expect(f, name, large, 'o');
	}
	h = half_made(f, "new", false, 60000);
	write_fill(h, 60000, 60000, '2');
	end_made(h);
	lose_bytes(f, "new", 60000);
	restart(f, true);
	assert_int_equal(find(f, "new", &node), BUCKET_ABSENT);
	put(f, "c", large, 'o');
	settle_due(f->fs, INT64_MAX);
	h = half_made(f, "temporary", false, 60000);
	write_fill(h, 60000, 60000, '2');
	end_made(h);
	assert_int_equal(rename_name(f, NODE_FILES, "temporary", NODE_FILES, "c"), 0);
	lose_bytes(f, "c", 60000);
	restart(f, true);
	expect(f, "c", large, 'o');
}

/* What the writer did to the part that is on the disk already is missing there. */
static void test_written_over_while_it_was_made(void **state)
{
	struct fixture *f = *state;
	struct store_content *c;
	struct file_open *h;
	struct node node;

	for (int variant = 0; variant < 4; variant++) {
		put(f, "a", large, 'o');
		settle_due(f->fs, INT64_MAX);
		h = half_made(f, "a", variant & 1, 600000);
		if (variant & 2)
			assert_int_equal(file_truncate(h->file, 1000, NULL), 0);
		write_fill(h, 1000, variant & 2 ? 599000 : 5000, '2');
		end_made(h);
		assert_int_equal(find(f, "a", &node), 0);
		assert_int_equal(store_content_open(f->store, node.content, &c), 0);
		assert_int_equal(store_content_punch(c, 1000, variant & 2 ? 599000 : 5000), 0);
		store_content_close(c, false);
		restart(f, true);
		expect(f, "a", large, 'o');
	}
}

static void test_rewritten_in_place_before_it_is_settled(void **state)
{
	struct fixture *f = *state;
	struct file_open *h;

	put(f, "a", large, 'o');
	settle_due(f->fs, INT64_MAX);
	append(f, "a", 1000, 'p');
	h = reopen(f, "a", TREE_READ | TREE_WRITE);
	assert_int_equal(file_truncate(h->file, 0, NULL), 0);
	write_fill(h, 0, large, 'n');
	end_made(h);
	lose_bytes(f, "a", 0);
	restart(f, true);
	expect(f, "a", large, 'o');
	expect_settled(f);
}

/* The old inode is written by a holder, while the new one may still fall back to it. */
static void test_fallback_is_written(void **state)
{
	struct fixture *f = *state;
	struct file_open *h;
	struct node node;

	put(f, "a", large, 'o');
	settle_due(f->fs, INT64_MAX);
	h = reopen(f, "a", TREE_READ | TREE_WRITE);
	write_fill(h, 0, 1, 'o');
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	settle_due(f->fs, INT64_MAX);
	put(f, "a", large, 'n');
	assert_int_equal(find(f, "a", &node), 0);
	assert_int_equal(f->b->head.unsettled, 1);
	write_fill(h, 100, 100, 'X');
	/* So the new one is on the disk before. */
	expect_settled(f);
	assert_int_equal(file_truncate(h->file, 40000, NULL), 0);
	file_close(h, false);
	restart(f, true);
	expect(f, "a", large, 'n');
}

/* Not for ever: the bucket opens later, or not. */
static void test_records_cannot_be_read(void **state)
{
	struct fixture *f = *state;
	struct faulty faulty = {.error = -EIO};
	struct store *faulty_store;
	struct bucket *b;
	unsigned failed = 0;

	put(f, "a", large, 'x');
	put(f, "b", large, 'x');
	bucket_put(f->fs, f->b);
	assert_int_equal(faulty_store_open(&faulty_store, f->store, &faulty), 0);
	for (unsigned n = 1; n < 16; n++) {
		fs_close(f->fs);
		assert_int_equal(test_fs_open(f->store, &f->fs), 0);
		f->fs->store = faulty_store;
		faulty.calls = 0;
		faulty.fail_from = n;
		if (bucket_find(f->fs, S("nightly"), &b) == 0)
			bucket_put(f->fs, b);
		else
			failed++;
		faulty.fail_from = 0;
	}
	assert_true(failed > 3);
	fs_close(f->fs);
	f->store = faulty_store;
	assert_int_equal(test_fs_open(f->store, &f->fs), 0);
	assert_int_equal(bucket_find(f->fs, S("nightly"), &f->b), 0);
	expect(f, "a", large, 'x');
}

/* A store that refuses for a while: half a file is listed in no moment, and ends as it should afterwards. */
static void test_end_is_refused_for_a_while(void **state)
{
	struct fixture *f = *state;
	struct faulty faulty = {.error = -EIO};
	struct store *faulty_store;
	struct file_open *h;
	struct node node;
	int listed = 0;

	assert_int_equal(faulty_store_open(&faulty_store, f->store, &faulty), 0);
	f->fs->store = f->store = faulty_store;
	h = create(f, NODE_FILES, "a");
	write_fill(h, 0, 100, '1');
	assert_int_equal(file_flush(h, FILE_CLOSER_SHARES), 0);
	write_fill(h, 100, 100, '2');
	faulty.fail_from = faulty.calls + 1;
	file_close(h, true);
	file_end_again(f->fs, false);
	faulty.fail_from = 0;
	assert_int_equal(tree_list(f->fs, f->b, NODE_FILES, 0, TREE_CLOSED_NONE, count_listed, &listed), 0);
	assert_int_equal(listed, 0);
	file_end_again(f->fs, false);
	assert_int_equal(find(f, "a", &node), BUCKET_ABSENT);
	assert_int_equal(find(f, ".a.partial", &node), 0);
	assert_int_equal(node.size, 200);
	assert_int_equal(f->fs->files.count, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_new_and_torn), T(test_whole_after_all), T(test_replaced_large), T(test_replaced_small),
		T(test_renamed_over_large), T(test_renamed_over_small), T(test_settling_drops_the_fallback),
		T(test_deleted_meanwhile), T(test_in_place), T(test_fsync_settles),
		T(test_fallback_is_missing),
		T(test_new_and_nothing_but_its_length), T(test_replaced_and_nothing_but_its_length),
		T(test_closed_and_not_released), T(test_appended_and_nothing_but_its_length),
		T(test_what_the_disk_has_got_is_safe), T(test_appended_and_replaced), T(test_replaced_all_the_time), T(test_grown_and_nothing_but_its_length),
		T(test_changed_before_it_is_settled), T(test_shortened_in_place), T(test_short_content_is_an_error),
		T(test_checksums_are_those_of_the_content), T(test_closed_with_nothing_in_it), T(test_closed_by_a_child), T(test_superseded_by_what_was_lost),
		T(test_superseded_and_released), T(test_superseded_by_two_that_were_lost),
		T(test_last_of_two_that_one_supersedes), T(test_superseded_before_a_kill), T(test_empty_one_that_is_held),
		T(test_empty_one_that_is_shared), T(test_superseded_and_rewritten_before),
		T(test_superseded_and_rewritten_after), cmocka_unit_test(test_anything_and_then_the_power_goes),
		T(test_failed_sync_is_made_again), T(test_half_of_it_was_settled), T(test_written_over_while_it_was_made),
		T(test_rewritten_in_place_before_it_is_settled), T(test_fallback_is_written), T(test_records_cannot_be_read),
		T(test_failed_sync_is_made_again_after_a_kill), T(test_mark_is_on_the_disk_before_the_bytes), T(test_end_is_refused_for_a_while),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
