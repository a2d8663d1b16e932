/* Who comes last, whatever becomes known first; and who is told to look again. */
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "bucket/attribute.h"
#include "bucket/control.h"
#include "bucket/transaction.h"
#include "bucket/version.h"
#include "fixture.h"
#include "store/behind.h"
#include "store/faulty.h"

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

	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	return h;
}

static void assert_size(struct fixture *f, const char *name, uint64_t size)
{
	struct attr attr;

	assert_int_equal(lookup(f, NODE_FILES, name, &attr), 0);
	assert_int_equal(attr.size, size);
}

/* The store as the next start finds it. What is open here has no way to it any more, and is put with crashed(). */
static void crash(struct fixture *f, struct fixture *after)
{
	*after = (struct fixture){.store = f->store};
	assert_int_equal(test_fs_open(f->store, &after->fs), 0);
	assert_int_equal(bucket_lookup(after->fs, S("nightly"), &after->b), 0);
	assert_int_equal(after->b->head.making, 0);
	f->b->dead = true;
}

static void end(struct fixture *after)
{
	bucket_put(after->fs, after->b);
	fs_close(after->fs);
}

static void crashed(struct fixture *f, struct file_open **h, int count)
{
	for (int i = 0; i < count; i++)
		if (h[i])
			file_close(h[i], true);
	f->b->dead = false;
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
	assert_int_equal(file_flush(nothing, FILE_CLOSER_DONE), 0);
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
		assert_int_equal(file_flush(first, FILE_CLOSER_DONE), 0);
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
	assert_int_equal(file_flush(first, FILE_CLOSER_DONE), 0);
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

/* What was overtaken is not published by the next start either; what was written to since is kept as a partial, and what was
 * closed once more comes last. */
static void test_crash(void **state)
{
	struct fixture *f = *state, after;
	struct file_open *h[4];

	put_file(f, NODE_FILES, "a", "old");
	put_file(f, NODE_FILES, "c", "old");
	put_file(f, NODE_FILES, "d", "old");
	for (int i = 0; i < 4; i++) {
		const char *name = (const char *[]){"a", "b", "c", "d"}[i];
		struct file_open *second;

		h[i] = closed(f, name, "first!!");
		if (i == 2)
			assert_int_equal(file_write(h[i], 0, false, S("more"), NULL), 0);
		second = closed(f, name, "second");
		file_close(second, false);
	}
	assert_int_equal(file_flush(h[3], FILE_CLOSER_DONE), 0);
	crash(f, &after);
	assert_file(&after, NODE_FILES, "a", "second");
	assert_file(&after, NODE_FILES, "b", "second");
	assert_file(&after, NODE_FILES, "c", "second");
	assert_file(&after, NODE_FILES, ".c.partial", "first!!");
	assert_file(&after, NODE_FILES, "d", "first!!");
	assert_int_equal(after.b->head.files, 5);
	end(&after);
	crashed(f, h, 4);
}

/* Closed in another order than they were begun: of a name that is there, of a new one, and with one of those released. */
static void test_crash_between_close_and_release(void **state)
{
	struct fixture *f = *state, after;
	struct file_open *h[6];

	put_file(f, NODE_FILES, "a", "old");
	for (int i = 0; i < 3; i++) {
		const char *name = (const char *[]){"a", "b", "c"}[i];

		h[2 * i] = begin(f, name, "first!!");
		h[2 * i + 1] = begin(f, name, "second");
		assert_int_equal(file_flush(h[2 * i + 1], FILE_CLOSER_DONE), 0);
		assert_int_equal(file_flush(h[2 * i], FILE_CLOSER_DONE), 0);
	}
	file_close(h[4], false);
	h[4] = NULL;
	crash(f, &after);
	assert_size(&after, "a", 7);
	assert_size(&after, "b", 7);
	assert_size(&after, "c", 7);
	assert_int_equal(after.b->head.files, 3);
	end(&after);
	crashed(f, h, 6);
}

/* What was synced is as good as closed, until something else takes its name; what was closed once more, with nothing new, comes
 * last. */
static void test_crash_of_synced_and_closed_again(void **state)
{
	struct fixture *f = *state, after;
	struct file_open *h[6];

	put_file(f, NODE_FILES, "a", "old");
	h[0] = begin(f, "a", "half");
	h[1] = begin(f, "new", "half");
	assert_int_equal(file_save(h[0]->file), 0);
	assert_int_equal(file_save(h[1]->file), 0);
	put_file(f, NODE_FILES, "a", "closed");
	for (int i = 0; i < 2; i++) {
		const char *name = i ? "c" : "b";

		if (i)
			put_file(f, NODE_FILES, name, "old");
		h[2 + 2 * i] = closed(f, name, "first");
		h[3 + 2 * i] = closed(f, name, "second");
		assert_int_equal(file_flush(h[2 + 2 * i], FILE_CLOSER_DONE), 0);
		if (i == 0)
			assert_int_equal(file_flush(h[3], FILE_CLOSER_DONE), 0);
	}
	crash(f, &after);
	assert_file(&after, NODE_FILES, "a", "closed");
	assert_file(&after, NODE_FILES, "new", "half");
	assert_file(&after, NODE_FILES, "b", "second");
	assert_file(&after, NODE_FILES, "c", "first");
	assert_int_equal(after.b->head.files, 4);
	end(&after);
	crashed(f, h, 6);
}

/* Synced, then closed: it is whole. */
static void test_crash_of_synced_and_closed(void **state)
{
	struct fixture *f = *state, after;
	struct file_open *h = begin(f, "new", "whole");

	assert_int_equal(file_save(h->file), 0);
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	crash(f, &after);
	assert_file(&after, NODE_FILES, "new", "whole");
	end(&after);
	crashed(f, &h, 1);
}

/* Who appends while another is on the way to its version does not publish that with nothing in it. */
static void test_append_beside_a_redirect(void **state)
{
	static const struct caller truncates = {0, 0, 7, NULL, NULL, NULL, 0};
	struct fixture *f = *state;
	struct file_open *h, *log;
	uint64_t number;

	put_file(f, NODE_FILES, "a", "old");
	number = number_of(f, NODE_FILES, "a");
	assert_int_equal(tree_open(f->fs, f->b, &truncates, number, TREE_WRITE | TREE_TRUNCATE, TREE_CLOSED_NONE, &h,
				   NULL), BUCKET_REDIRECTED);
	assert_int_equal(tree_open(f->fs, f->b, &test_root, number, TREE_WRITE | TREE_APPEND, TREE_CLOSED_NONE, &log, NULL), 0);
	assert_int_equal(file_write(log, 0, true, S("more"), NULL), 0);
	assert_int_equal(file_flush(log, FILE_CLOSER_DONE), 0);
	file_close(log, false);
	assert_file(f, NODE_FILES, "a", "oldmore");
	version_found_nothing(f->fs, &truncates);
}

static void test_new_one_closed_last(void **state)
{
	struct fixture *f = *state;
	struct file_open *first = begin(f, "a", "first!!"), *second = begin(f, "a", "second");

	assert_int_equal(file_flush(second, FILE_CLOSER_DONE), 0);
	assert_int_equal(file_flush(first, FILE_CLOSER_DONE), 0);
	file_close(first, false);
	file_close(second, false);
	assert_file(f, NODE_FILES, "a", "first!!");
}

/* A new file that is flushed and being written again loses its name to something moved there. */
static void test_moved_over_a_new_one(void **state)
{
	struct fixture *f = *state, after;
	struct file_open *first, *other;

	put_file(f, NODE_FILES, "b", "moved");
	first = closed(f, "a", "first");
	assert_int_equal(file_write(first, 0, false, S("more"), NULL), 0);
	assert_int_equal(rename_name(f, NODE_FILES, "b", NODE_FILES, "a"), 0);
	file_close(first, false);
	assert_int_equal(f->b->head.making, 0);
	put_file(f, NODE_FILES, "c", "old");
	other = closed(f, "c", "new");
	crash(f, &after);
	assert_file(&after, NODE_FILES, "a", "moved");
	assert_file(&after, NODE_FILES, "c", "new");
	end(&after);
	crashed(f, &other, 1);
}

/* Another spelling takes nobody's name. */
static void test_respelled(void **state)
{
	struct fixture *f = *state;
	struct file_open *first;

	put_file(f, NODE_FILES, "a", "old");
	first = closed(f, "a", "first");
	assert_int_equal(rename_name(f, NODE_FILES, "a", NODE_FILES, "A"), 0);
	file_close(first, false);
	assert_file(f, NODE_FILES, "a", "first");
}

/* A reader that closes what was overtaken changes nothing. */
static void test_closed_by_a_reader(void **state)
{
	struct fixture *f = *state;
	struct file_open *first = begin(f, "a", "first"), *second, *reader;

	assert_int_equal(tree_open(f->fs, f->b, &test_root, first->file->node.number, TREE_READ, TREE_CLOSED_NONE,
				   &reader, NULL), 0);
	assert_int_equal(file_flush(first, FILE_CLOSER_DONE), 0);
	second = closed(f, "a", "second");
	file_close(second, false);
	assert_int_equal(file_flush(reader, FILE_CLOSER_DIES), 0);
	file_close(reader, false);
	file_close(first, false);
	assert_file(f, NODE_FILES, "a", "second");
}

/* What was overtaken is not found by its name, nor waited for, whatever becomes of the name. */
static void test_overtaken_is_not_found(void **state)
{
	struct fixture *f = *state;
	struct file_open *first, *second, *h;
	uint64_t folder = make_folder(f, NODE_FILES, "d");
	struct attr attr;
	bool canonical;

	first = create(f, folder, "a");
	assert_int_equal(file_write(first, 0, false, S("first"), NULL), 0);
	assert_int_equal(file_flush(first, FILE_CLOSER_DONE), 0);
	put_file(f, folder, "a", "second");
	assert_int_equal(rename_name(f, folder, "a", NODE_FILES, "c"), 0);
	assert_int_equal(lookup(f, folder, "a", &attr), BUCKET_ABSENT);
	assert_int_equal(unlink_name(f, NODE_FILES, "d", true), 0);
	file_close(first, false);

	put_file(f, NODE_FILES, "a", "old");
	first = closed(f, "a", "first");
	second = closed(f, "a", "second");
	file_close(second, false);
	assert_int_equal(rename_name(f, NODE_FILES, "a", NODE_FILES, "b"), 0);
	assert_int_equal(tree_create(f->fs, f->b, &test_root, NODE_FILES, S("a"), 0644, TREE_WRITE | TREE_APPEND, &h,
				     &canonical, NULL), 0);
	assert_int_equal(file_write(h, 0, true, S("log"), NULL), 0);
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	file_close(first, false);
	file_close(h, false);
	assert_file(f, NODE_FILES, "a", "log");
}

/* Of two that are being made the one that was closed is waited for, whichever was begun first. */
static void test_waits(void **state)
{
	struct fixture *f = *state;

	put_file(f, NODE_FILES, "a", "old");
	for (int i = 0; i < 2; i++) {
		struct file_open *h[2] = {begin(f, "a", "first"), begin(f, "a", "second")};
		struct attr attr;
		bool canonical;
		int64_t before = f->fs->options.clock.now(NULL);

		assert_int_equal(file_flush(h[i], FILE_CLOSER_DONE), 0);
		assert_int_equal(tree_lookup(f->fs, f->b, &test_root, NODE_FILES, S("a"), TREE_CLOSED_ANY, &attr, &canonical),
				 BUCKET_WAIT);
		/* It was not closed yet when this was asked. */
		assert_int_equal(tree_lookup(f->fs, f->b, &test_root, NODE_FILES, S("a"), before, &attr, &canonical), 0);
		test_time += version_wait_shared;
		assert_int_equal(tree_lookup(f->fs, f->b, &test_root, NODE_FILES, S("a"), TREE_CLOSED_ANY, &attr, &canonical),
				 BUCKET_WAIT);
		test_time += version_wait;
		assert_int_equal(tree_lookup(f->fs, f->b, &test_root, NODE_FILES, S("a"), TREE_CLOSED_ANY, &attr, &canonical), 0);
		/* Closed again: several have it. */
		assert_int_equal(file_flush(h[i], FILE_CLOSER_DONE), 0);
		assert_int_equal(tree_lookup(f->fs, f->b, &test_root, NODE_FILES, S("a"), TREE_CLOSED_ANY, &attr, &canonical),
				 BUCKET_WAIT);
		test_time += version_wait_shared;
		assert_int_equal(tree_lookup(f->fs, f->b, &test_root, NODE_FILES, S("a"), TREE_CLOSED_ANY, &attr, &canonical), 0);
		/* The release is here, and waits for the disk, say: there is nothing to guess. */
		file_closes(h[i]);
		test_time += version_wait;
		assert_int_equal(tree_lookup(f->fs, f->b, &test_root, NODE_FILES, S("a"), TREE_CLOSED_ANY, &attr, &canonical),
				 BUCKET_WAIT);
		assert_int_equal(tree_lookup(f->fs, f->b, &test_root, NODE_FILES, S("a"), tree_closed_received(test_time), &attr,
					     &canonical), BUCKET_WAIT);
		assert_int_equal(tree_lookup(f->fs, f->b, &test_root, NODE_FILES, S("a"), tree_closed_received(before), &attr,
					     &canonical), 0);
		assert_int_equal(tree_lookup(f->fs, f->b, &test_root, NODE_FILES, S("a"), TREE_CLOSED_NONE, &attr, &canonical), 0);
		file_close(h[i], false);
		file_close(h[!i], true);
	}
}

static int opens(struct fixture *f, const struct file_open *h, unsigned flags, int64_t closed)
{
	struct file_open *again = NULL;
	int r = tree_open(f->fs, f->b, &test_root, h->file->node.number, flags, closed, &again, NULL);

	if (!r)
		file_close(again, true);
	return r;
}

/* Who writes to a new file that has been closed would hide from the others what they were promised with the close. */
static void test_open_waits(void **state)
{
	struct fixture *f = *state;
	struct file_open *h = create(f, NODE_FILES, "a");
	struct caller unknown = test_root;
	struct file_open *again;
	int64_t before;

	/* A lock, which two open: nothing is in it. */
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	assert_int_equal(opens(f, h, TREE_WRITE, TREE_CLOSED_ANY), 0);
	assert_int_equal(file_write(h, 0, false, S("whole"), NULL), 0);
	assert_int_equal(opens(f, h, TREE_WRITE, TREE_CLOSED_ANY), 0);
	before = f->fs->options.clock.now(NULL);
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	assert_int_equal(opens(f, h, TREE_WRITE, TREE_CLOSED_ANY), BUCKET_WAIT);
	assert_int_equal(opens(f, h, TREE_WRITE | TREE_APPEND, TREE_CLOSED_ANY), BUCKET_WAIT);
	assert_int_equal(opens(f, h, TREE_READ | TREE_WRITE | TREE_TRUNCATE, TREE_CLOSED_ANY), BUCKET_WAIT);
	assert_int_equal(tree_truncate(f->fs, f->b, &test_root, h->file->node.number, 1, TREE_CLOSED_ANY, NULL), BUCKET_WAIT);
	unknown.pid = 0;
	assert_int_equal(tree_open(f->fs, f->b, &unknown, h->file->node.number, TREE_WRITE | TREE_TRUNCATE, TREE_CLOSED_ANY,
				   &again, NULL), BUCKET_WAIT);
	assert_int_equal(opens(f, h, TREE_READ, TREE_CLOSED_ANY), 0);
	/* Who waited in vain has shown that it is still open: the next one need not. */
	assert_int_equal(opens(f, h, TREE_WRITE, before), 0);
	assert_int_equal(opens(f, h, TREE_WRITE, TREE_CLOSED_ANY), 0);
	/* Until its release is here. */
	file_closes(h);
	assert_int_equal(opens(f, h, TREE_WRITE, TREE_CLOSED_ANY), BUCKET_WAIT);
	file_close(h, false);
	assert_file(f, NODE_FILES, "a", "whole");
	assert_list(f, NODE_FILES, "a ");
}

/* Only the release of all who write publishes it. */
static void test_nobody_waits_for_who_writes(void **state)
{
	struct fixture *f = *state;
	struct file_open *first = begin(f, "a", "first"), *second = begin(f, "a", "second"), *log;
	struct attr attr;
	bool canonical;

	assert_int_equal(tree_open(f->fs, f->b, &test_root, first->file->node.number, TREE_WRITE | TREE_APPEND, TREE_CLOSED_NONE,
				   &log, NULL), 0);
	assert_int_equal(file_flush(first, FILE_CLOSER_DONE), 0);
	assert_int_equal(opens(f, first, TREE_WRITE, TREE_CLOSED_ANY), 0);
	assert_int_equal(file_write(log, 0, true, S(" more"), NULL), 0);
	assert_int_equal(file_flush(log, FILE_CLOSER_DONE), 0);
	/* Its last write was through another one, but whoever has this has closed it. */
	assert_int_equal(opens(f, first, TREE_WRITE, TREE_CLOSED_ANY), BUCKET_WAIT);
	file_close(log, false);
	assert_int_equal(opens(f, first, TREE_WRITE, TREE_CLOSED_ANY), BUCKET_WAIT);
	assert_int_equal(file_write(first, 0, true, S("."), NULL), 0);
	assert_int_equal(opens(f, first, TREE_WRITE, TREE_CLOSED_ANY), 0);
	/* The same for the version that takes the name from it. */
	assert_int_equal(tree_lookup(f->fs, f->b, &test_root, NODE_FILES, S("a"), TREE_CLOSED_ANY, &attr, &canonical), 0);
	assert_int_equal(file_flush(second, FILE_CLOSER_DONE), 0);
	assert_int_equal(tree_lookup(f->fs, f->b, &test_root, NODE_FILES, S("a"), TREE_CLOSED_ANY, &attr, &canonical),
			 BUCKET_WAIT);
	file_close(first, false);
	file_close(second, false);
	assert_file(f, NODE_FILES, "a", "second");
	/* Where nobody writes, as flock(1) makes its file, whoever has it counts. */
	assert_int_equal(tree_create(f->fs, f->b, &test_root, NODE_FILES, S("lock"), 0644, TREE_READ, &log, &canonical, NULL), 0);
	assert_int_equal(file_flush(log, FILE_CLOSER_DONE), 0);
	assert_int_equal(tree_list(f->fs, f->b, NODE_FILES, 0, TREE_CLOSED_ANY, NULL, NULL), BUCKET_WAIT);
	file_close(log, false);
	assert_list(f, NODE_FILES, "a lock ");
}

static void *close_one(void *h)
{
	file_close(h, false);
	return NULL;
}

/* A release that is here and cannot go on is waited for, also where somebody reads the file. */
static void test_settling_beside_a_reader(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 2; i++) {
		struct file_open *h = begin(f, "a", "text"), *reader;
		struct file *file = h->file;
		struct file_span span;
		struct attr attr;
		pthread_t thread;
		int64_t moment;
		bool settling, canonical;

		if (i == 0)
			assert_int_equal(tree_open(f->fs, f->b, &test_root, file->node.number, TREE_READ, TREE_CLOSED_NONE, &reader,
						   NULL), 0);
		file_share(file);
		assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
		/* It needs the file's lock. */
		assert_int_equal(file_read_begin(file, 0, 4, &span), 0);
		assert_int_equal(pthread_create(&thread, NULL, close_one, h), 0);
		do {
			bucket_lock(f->b);
			settling = file->settling;
			bucket_unlock(f->b);
		} while (!settling);
		moment = test_time += version_wait;
		assert_true(control_is_early(f->fs, f->b, NODE_INFO, TREE_CLOSED_ANY));
		assert_int_equal(tree_list(f->fs, f->b, NODE_FILES, 0, tree_closed_received(moment), NULL, NULL), BUCKET_WAIT);
		/* A version: the name has the old one until then. */
		if (i == 1)
			assert_int_equal(tree_lookup(f->fs, f->b, &test_root, NODE_FILES, S("a"), tree_closed_received(moment), &attr,
						     &canonical), BUCKET_WAIT);
		file_read_end(file);
		pthread_join(thread, NULL);
		file_put(file);
		assert_false(control_is_early(f->fs, f->b, NODE_INFO, TREE_CLOSED_ANY));
		assert_list(f, NODE_FILES, "a ");
		if (i == 0)
			file_close(reader, false);
	}
}

/* What will never be published, because its bucket is gone, is not waited for. */
static void test_settling_in_a_dead_bucket(void **state)
{
	static const struct caller appends = {0, 0, 9, NULL, NULL, NULL, 0};
	struct fixture *f = *state;
	struct file_open *h, *log;
	uint64_t number;

	put_file(f, NODE_FILES, "a", "old");
	number = number_of(f, NODE_FILES, "a");
	h = begin(f, "a", "new");
	/* Somebody was told to look again, and does not. */
	assert_int_equal(tree_open(f->fs, f->b, &appends, number, TREE_WRITE | TREE_APPEND, TREE_CLOSED_NONE, &log, NULL),
			 BUCKET_REDIRECTED);
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	file_closes(h);
	assert_true(control_is_early(f->fs, f->b, NODE_INFO, TREE_CLOSED_ANY));
	f->b->dead = true;
	assert_false(control_is_early(f->fs, f->b, NODE_INFO, TREE_CLOSED_ANY));
	file_close(h, false);
	f->b->dead = false;
	assert_false(control_is_early(f->fs, f->b, NODE_INFO, TREE_CLOSED_ANY));
	version_found_nothing(f->fs, &appends);
}

/* info.json tells of the whole bucket, so who opens it waits for what was closed anywhere in it, and for nothing else. */
static void test_info_waits(void **state)
{
	struct fixture *f = *state;
	struct file_open *h;
	uint64_t folder;
	int64_t before, after;
	bool canonical;

	assert_int_equal(tree_mkdir(f->fs, f->b, &test_root, NODE_FILES, S("d"), &folder, &canonical, NULL), 0);
	h = create(f, folder, "a");
	assert_int_equal(file_write(h, 0, false, S("text"), NULL), 0);
	assert_false(control_is_early(f->fs, f->b, NODE_INFO, TREE_CLOSED_ANY));
	before = f->fs->options.clock.now(NULL) - 1;
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	after = f->fs->options.clock.now(NULL);
	assert_true(control_is_early(f->fs, f->b, NODE_INFO, TREE_CLOSED_ANY));
	assert_true(control_is_early(f->fs, f->b, NODE_INFO, after));
	assert_false(control_is_early(f->fs, f->b, NODE_INFO, before));
	assert_false(control_is_early(f->fs, f->b, NODE_INFO, TREE_CLOSED_NONE));
	assert_false(control_is_early(f->fs, f->b, NODE_META, TREE_CLOSED_ANY));
	file_close(h, false);
	assert_false(control_is_early(f->fs, f->b, NODE_INFO, TREE_CLOSED_ANY));
}

/* What a killed writer leaves is not what the name leads to, whoever looked it up before. */
static void test_open_after_kill(void **state)
{
	struct fixture *f = *state;
	bool canonical;

	for (int i = 0; i < 2; i++) {
		static const unsigned flags[] = {TREE_READ, TREE_WRITE | TREE_APPEND};
		struct file_open *h = begin(f, "a", "half");
		uint64_t number = h->file->node.number;
		struct file_open *again;
		struct attr attr;
		int64_t moment;

		assert_int_equal(file_flush(h, FILE_CLOSER_DIES), 0);
		moment = f->fs->options.clock.now(NULL);
		assert_int_equal(opens(f, h, flags[i], TREE_CLOSED_ANY), BUCKET_WAIT);
		assert_int_equal(tree_lookup(f->fs, f->b, &test_root, NODE_FILES, S("a"), TREE_CLOSED_ANY, &attr, &canonical),
				 BUCKET_WAIT);
		assert_int_equal(tree_rename(f->fs, f->b, &test_root, NODE_FILES, S("a"), NODE_FILES, S("b"), false,
					     TREE_CLOSED_ANY, &canonical, NULL), BUCKET_WAIT);
		file_close(h, false);
		assert_int_equal(tree_open(f->fs, f->b, &test_root, number, flags[i], i ? moment : TREE_CLOSED_ANY, &again, NULL),
				 i ? BUCKET_GONE : BUCKET_REDIRECTED);
		assert_int_equal(lookup(f, NODE_FILES, "a", &attr), BUCKET_ABSENT);
		/* By its own name it is found, and nothing of that is kept. */
		assert_int_equal(lookup(f, NODE_FILES, ".a.partial", &attr), 0);
		assert_true(attr.private);
		assert_file(f, NODE_FILES, ".a.partial", "half");
		assert_file(f, NODE_FILES, ".a.partial", "half");
		/* What is published or gone meanwhile. */
		h = closed(f, "c", "whole");
		assert_int_equal(opens(f, h, TREE_WRITE, TREE_CLOSED_ANY), BUCKET_WAIT);
		if (i)
			assert_int_equal(unlink_name(f, NODE_FILES, "c", false), 0);
		else
			assert_int_equal(tree_rename(f->fs, f->b, &test_root, NODE_FILES, S("c"), NODE_FILES, S("d"), false,
						     TREE_CLOSED_NONE, &canonical, NULL), 0);
		assert_int_equal(opens(f, h, TREE_WRITE, f->fs->options.clock.now(NULL)), BUCKET_GONE);
		file_close(h, false);
	}
}

struct closer {
	pthread_t thread;
	struct file_open *next; /* atomic */
	bool done;              /* atomic */
};

static void *close_each(void *argument)
{
	struct closer *c = argument;

	while (!__atomic_load_n(&c->done, __ATOMIC_ACQUIRE)) {
		struct file_open *h = __atomic_exchange_n(&c->next, NULL, __ATOMIC_ACQ_REL);

		if (h)
			file_close(h, false);
	}
	return NULL;
}

/* Nor while it is becoming the partial: who asks again at that very moment is not given it. */
static void test_open_beside_settling(void **state)
{
	enum { rounds = 200000 };
	struct fixture *f = *state;
	struct closer c = {0};
	int given = 0, refused = 0;

	assert_int_equal(pthread_create(&c.thread, NULL, close_each, &c), 0);
	for (int i = 0; i < rounds; i++) {
		struct file_open *h = begin(f, "a", "half"), *again;
		uint64_t number = h->file->node.number;
		int64_t moment;
		int r;

		assert_int_equal(file_flush(h, FILE_CLOSER_DIES), 0);
		moment = f->fs->options.clock.now(NULL);
		__atomic_store_n(&c.next, h, __ATOMIC_RELEASE);
		do
			r = tree_open(f->fs, f->b, &test_root, number, i % 2 ? TREE_READ : TREE_READ | TREE_WRITE, moment, &again,
				      NULL);
		while (r == BUCKET_WAIT);
		if (!r) {
			given++;
			file_close(again, false);
		}
		refused += r == BUCKET_GONE || r == BUCKET_REDIRECTED;
		while (file_peek(f->fs, inode_of(f->b->number, number)))
			;
	}
	__atomic_store_n(&c.done, true, __ATOMIC_RELEASE);
	pthread_join(c.thread, NULL);
	assert_int_equal(given, 0);
	assert_int_equal(refused, rounds);
}

/* Of several who have a file open, or of a writer and its children, one is killed. */
static void test_killed_beside_others(void **state)
{
	struct fixture *f = *state;
	struct file_open *h = begin(f, "a", "made"), *other;
	bool canonical;

	/* A child of the writer's: whoever has it open still is alive, and may rename it, after a moment; and go on. */
	assert_int_equal(file_flush(h, FILE_CLOSER_DIES), 0);
	assert_int_equal(tree_rename(f->fs, f->b, &test_root, NODE_FILES, S("a"), NODE_FILES, S("b"), false, TREE_CLOSED_NONE,
				     &canonical, NULL), 0);
	assert_file(f, NODE_FILES, "b", "made");
	file_close(h, false);
	h = begin(f, "a", "made");
	assert_int_equal(file_flush(h, FILE_CLOSER_DIES), 0);
	assert_int_equal(file_write(h, 4, false, S(" up"), NULL), 0);
	assert_int_equal(tree_rename(f->fs, f->b, &test_root, NODE_FILES, S("a"), NODE_FILES, S("c"), false, TREE_CLOSED_ANY,
				     &canonical, NULL), 0);
	file_close(h, false);
	assert_file(f, NODE_FILES, "c", "made up");
	/* Somebody who has written nothing. */
	h = create(f, NODE_FILES, "d");
	other = create(f, NODE_FILES, "d");
	assert_ptr_equal(h->file, other->file);
	assert_int_equal(file_write(h, 0, false, S("whole"), NULL), 0);
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	file_close(h, false);
	assert_int_equal(file_flush(other, FILE_CLOSER_DIES), 0);
	file_close(other, false);
	assert_file(f, NODE_FILES, "d", "whole");
	/* And the other way round. */
	h = create(f, NODE_FILES, "e");
	other = create(f, NODE_FILES, "e");
	assert_int_equal(file_write(h, 0, false, S("half"), NULL), 0);
	assert_int_equal(file_flush(h, FILE_CLOSER_DIES), 0);
	file_close(h, false);
	assert_int_equal(file_flush(other, FILE_CLOSER_DONE), 0);
	file_close(other, false);
	assert_list(f, NODE_FILES, "b c d .e.partial ");
	/* What a failed write leaves is not renamed, unless it is begun anew. */
	limit(f, "max_file_size", "2");
	h = create(f, NODE_FILES, "g");
	assert_int_equal(file_write(h, 0, false, S("long"), NULL), BUCKET_TOO_LARGE);
	assert_int_equal(tree_rename(f->fs, f->b, &test_root, NODE_FILES, S("g"), NODE_FILES, S("h"), false, TREE_CLOSED_NONE,
				     &canonical, NULL), BUCKET_BUSY);
	assert_int_equal(file_truncate_open(h, 0, NULL), 0);
	assert_int_equal(file_write(h, 0, false, S("ok"), NULL), 0);
	assert_int_equal(tree_rename(f->fs, f->b, &test_root, NODE_FILES, S("g"), NODE_FILES, S("h"), false, TREE_CLOSED_NONE,
				     &canonical, NULL), 0);
	file_close(h, false);
	limit(f, "max_file_size", "0");
	assert_file(f, NODE_FILES, "h", "ok");
}

/* So does who looks for the partial that a file is to become, also where an older one is to be replaced by it. */
static void test_look_for_partial_waits(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 2; i++) {
		struct file_open *h = begin(f, "a", i ? "second" : "first");
		struct attr attr;
		bool canonical;

		assert_int_equal(tree_lookup(f->fs, f->b, &test_root, NODE_FILES, S(".a.partial"), TREE_CLOSED_ANY, &attr,
					     &canonical), i ? 0 : BUCKET_ABSENT);
		assert_int_equal(file_flush(h, FILE_CLOSER_DIES), 0);
		assert_int_equal(tree_lookup(f->fs, f->b, &test_root, NODE_FILES, S(".a.partial"), TREE_CLOSED_ANY, &attr,
					     &canonical), BUCKET_WAIT);
		assert_int_equal(tree_lookup(f->fs, f->b, &test_root, NODE_FILES, S(".b.partial"), TREE_CLOSED_ANY, &attr,
					     &canonical), BUCKET_ABSENT);
		file_close(h, false);
		assert_file(f, NODE_FILES, ".a.partial", i ? "second" : "first");
	}
}

/* What is dropped takes all that is its own along, and nothing else. */
static void test_dropped(void **state)
{
	struct fixture *f = *state, t = *f;
	struct file_open *first, *second;
	struct buf large = {0}, value = {0};
	struct key_buf key;
	uint64_t number;

	put_file(f, NODE_FILES, "a", "old");
	first = closed(f, "a", "first");
	number = first->file->node.number;
	assert_int_equal(attribute_set(f->fs, f->b, &test_root, number, S("user.x"), S("1"), false, false, NULL), 0);
	second = closed(f, "a", "second");
	file_close(second, false);
	file_close(first, false);
	key = key_attribute(number, S("user.x"));
	assert_int_equal(store_get(f->store, f->b->number, STORE_META, key_slice(&key), &value), STORE_ABSENT);
	/* A process that looked it up a moment ago is told all the same. */
	assert_int_equal(attribute_get(f->fs, f->b, &test_root, number, S("user.x"), &value), 0);
	assert_slice(buf_slice(&value), "1");
	buf_release(&value);

	/* With a content that is not known to be on the disk. */
	assert_int_equal(transaction_begin(f->fs, f->b, &test_root, S("t"), &t.b, NULL), 0);
	put_file(&t, NODE_FILES, "a", "old");
	assert_int_equal(buf_resize(&large, 100000), 0);
	first = create(&t, NODE_FILES, "a");
	assert_int_equal(file_write(first, 0, false, buf_slice(&large), NULL), 0);
	assert_int_equal(file_flush(first, FILE_CLOSER_DONE), 0);
	buf_release(&large);
	second = closed(&t, "a", "second");
	file_close(second, false);
	file_close(first, false);
	assert_int_equal(t.b->head.unsettled, 0);
	bucket_put(f->fs, t.b);
	assert_int_equal(transaction_commit(f->fs, f->b, &test_root, S("t"), NULL), 0);
}

static void faulty_setup(struct fixture *f, struct faulty *faulty)
{
	assert_int_equal(memory_store_open(&f->store), 0);
	assert_int_equal(faulty_store_open(&f->store, f->store, faulty), 0);
	assert_int_equal(fixture_open(f), 0);
	log_open(LOG_TARGET_STDERR, NULL, (enum log_level)-1);
	put_file(f, NODE_FILES, "a", "old");
}

static void faulty_fails(struct faulty *faulty, unsigned call)
{
	faulty->calls = 0;
	faulty->error = -EIO;
	faulty->fail_at = call;
}

/* Whatever the store refuses, what has the name keeps it and what is in it. */
static void test_store_fails(void **state)
{
	static const struct caller unknown = {0, 0, 0, NULL, NULL, NULL, 0};

	(void)state;
	for (unsigned call = 1; call < 12; call++) {
		struct faulty faulty = {0};
		struct fixture f = {0};
		struct file_open *first, *second;

		faulty_setup(&f, &faulty);
		first = closed(&f, "a", "first");
		second = closed(&f, "a", "second");
		file_close(second, false);
		faulty_fails(&faulty, call);
		file_close(first, false);
		faulty.fail_at = 0;
		assert_file(&f, NODE_FILES, "a", "second");
		end(&f);
		store_close(f.store);
	}
	for (unsigned call = 1; call < 12; call++) {
		struct faulty faulty = {0};
		struct fixture f = {0};
		struct file_open *h;
		uint64_t number;
		int r;

		faulty_setup(&f, &faulty);
		number = number_of(&f, NODE_FILES, "a");
		faulty_fails(&faulty, call);
		r = tree_open(f.fs, f.b, &unknown, number, TREE_WRITE | TREE_TRUNCATE, TREE_CLOSED_NONE, &h, NULL);
		faulty.fail_at = 0;
		if (r)
			assert_file(&f, NODE_FILES, "a", "old");
		else
			file_close(h, true);
		end(&f);
		store_close(f.store);
	}
}

/* What a crash left cannot be read just now: it is not given up. */
static void test_store_fails_after_a_crash(void **state)
{
	unsigned not_opened = 0;

	(void)state;
	for (unsigned call = 1; call < 12; call++) {
		struct faulty faulty = {0};
		struct fixture f = {0}, after;
		struct file_open *h;
		int r;

		faulty_setup(&f, &faulty);
		h = closed(&f, "a", "first");
		f.b->dead = true;
		after = (struct fixture){.store = f.store};
		assert_int_equal(test_fs_open(f.store, &after.fs), 0);
		log_open(LOG_TARGET_STDERR, NULL, (enum log_level)-1);
		faulty_fails(&faulty, call);
		r = bucket_lookup(after.fs, S("nightly"), &after.b);
		faulty.fail_at = 0;
		not_opened += r != 0;
		if (r) {
			assert_int_equal(bucket_lookup(after.fs, S("nightly"), &after.b), 0);
			assert_file(&after, NODE_FILES, "a", "first");
		}
		end(&after);
		crashed(&f, &h, 1);
		end(&f);
		store_close(f.store);
	}
	/* All of these calls come before anything is settled. */
	assert_int_equal(not_opened, 11);
}

/* A write that was refused before the file became a version has nothing to do with that. */
static void test_refused_before(void **state)
{
	struct fixture *f = *state;
	struct file_open *reader, *log, *h;
	uint64_t number;

	put_file(f, NODE_FILES, "a", "");
	number = number_of(f, NODE_FILES, "a");
	assert_int_equal(tree_open(f->fs, f->b, &test_root, number, TREE_READ, TREE_CLOSED_NONE, &reader, NULL), 0);
	assert_int_equal(tree_open(f->fs, f->b, &test_root, number, TREE_WRITE | TREE_APPEND, TREE_CLOSED_NONE, &log, NULL), 0);
	limit(f, "max_file_size", "2");
	assert_int_equal(file_write(log, 0, true, S("long"), NULL), BUCKET_TOO_LARGE);
	file_close(log, false);
	limit(f, "max_file_size", "0");
	h = closed(f, "a", "good");
	file_close(h, false);
	file_close(reader, false);
	assert_file(f, NODE_FILES, "a", "good");
	assert_list(f, NODE_FILES, "a ");
}

static const struct caller thread = {0, 0, 7, NULL, NULL, NULL, 0};

static int open_by(struct fixture *f, uint64_t number, unsigned flags, struct file_open **h)
{
	return tree_open(f->fs, f->b, &thread, number, flags, TREE_CLOSED_NONE, h, NULL);
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
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
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
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
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

/* Nobody comes for it: it keeps nothing from being published. */
static void test_nobody_comes(void **state)
{
	struct fixture *f = *state, t = *f;
	struct file_open *h;

	assert_int_equal(transaction_begin(f->fs, f->b, &test_root, S("t"), &t.b, NULL), 0);
	put_file(&t, NODE_FILES, "a", "old");
	assert_int_equal(open_by(&t, number_of(&t, NODE_FILES, "a"), TREE_WRITE | TREE_TRUNCATE, &h), BUCKET_REDIRECTED);
	bucket_put(f->fs, t.b);
	test_time += 60000000000;
	assert_int_equal(transaction_commit(f->fs, f->b, &test_root, S("t"), NULL), 0);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

/* A write was acknowledged and fails after that: whoever closes it is told, and it is no file. Begun anew it is one. */
static void test_write_fails_behind(void **state)
{
	struct faulty faulty = {.error = -EDQUOT};
	struct fixture f = {0};
	struct buf bytes = {0};
	struct file_open *h;
	struct store *inner;
	struct attr attr;
	uint64_t blocks;

	(void)state;
	assert_int_equal(memory_store_open(&inner), 0);
	assert_int_equal(faulty_store_open(&inner, inner, &faulty), 0);
	assert_int_equal(behind_store_open(&f.store, inner, 1), 0);
	assert_int_equal(fixture_open(&f), 0);
	assert_int_equal(buf_resize(&bytes, file_inline_max * 2), 0);
	put_file(&f, NODE_FILES, "old", "old");
	for (int i = 0; i < 6; i++) {
		const char *name = i % 2 ? "old" : "new";

		h = create(&f, NODE_FILES, name);
		assert_int_equal(file_write(h, 0, false, buf_slice(&bytes), NULL), 0);
		/* Now all is written; the next piece is not. */
		assert_int_equal(store_content_size(h->file->content, &blocks), 0);
		faulty.fail_at = faulty.calls + 1;
		assert_int_equal(file_write(h, bytes.len, false, buf_slice(&bytes), NULL), 0);
		for (int wait = 0; wait < 10000 && __atomic_load_n(&faulty.calls, __ATOMIC_RELAXED) < faulty.fail_at; wait++)
			usleep(1000);
		/* Somebody else's close first, or it is made public by what is not a close. */
		if (i < 2)
			assert_int_equal(file_flush(h, FILE_CLOSER_DONE), -EDQUOT);
		else if (i < 4)
			assert_int_equal(file_save(h->file), -EDQUOT);
		else
			assert_int_equal(version_publish(h->file), -EDQUOT);
		assert_int_equal(file_flush(h, FILE_CLOSER_DONE), -EDQUOT);
		assert_int_equal(file_save(h->file), -EDQUOT);
		file_close(h, false);
		assert_file(&f, NODE_FILES, "old", "old");
		assert_int_equal(lookup(&f, NODE_FILES, "new", &attr), BUCKET_ABSENT);
		/* What was written before that is kept. */
		assert_int_equal(lookup(&f, NODE_FILES, i % 2 ? ".old.partial" : ".new.partial", &attr), 0);
		assert_int_equal(attr.size, bytes.len);
		assert_int_equal(f.b->head.making, 0);
		assert_int_equal(f.b->pending_bytes, 0);
	}
	/* Without a name nobody would miss it, but for who writes it. */
	h = create(&f, NODE_FILES, "gone");
	assert_int_equal(file_write(h, 0, false, buf_slice(&bytes), NULL), 0);
	assert_int_equal(unlink_name(&f, NODE_FILES, "gone", false), 0);
	assert_int_equal(store_content_size(h->file->content, &blocks), 0);
	faulty.fail_at = faulty.calls + 1;
	assert_int_equal(file_write(h, bytes.len, false, buf_slice(&bytes), NULL), 0);
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), -EDQUOT);
	file_close(h, false);
	h = create(&f, NODE_FILES, "new");
	assert_int_equal(file_write(h, 0, false, buf_slice(&bytes), NULL), 0);
	assert_int_equal(store_content_size(h->file->content, &blocks), 0);
	faulty.fail_at = faulty.calls + 1;
	assert_int_equal(file_write(h, bytes.len, false, buf_slice(&bytes), NULL), 0);
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), -EDQUOT);
	assert_int_equal(file_truncate_open(h, 0, NULL), 0);
	assert_int_equal(file_write(h, 0, false, S("anew"), NULL), 0);
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	file_close(h, false);
	assert_file(&f, NODE_FILES, "new", "anew");
	assert_int_equal(unlink_name(&f, NODE_FILES, ".old.partial", false), 0);
	assert_int_equal(unlink_name(&f, NODE_FILES, ".new.partial", false), 0);
	assert_list(&f, NODE_FILES, "old new ");
	assert_int_equal(f.b->head.file_bytes, 7);
	assert_int_equal(f.b->pending_bytes, 0);
	assert_int_equal(f.b->making.count, 0);
	file_end_again(f.fs, true);
	assert_int_equal(f.fs->files.count, 0);
	buf_release(&bytes);
	bucket_put(f.fs, f.b);
	fs_close(f.fs);
	store_close(f.store);
}

static size_t long_job(const struct caller *who, char *name, size_t size)
{
	(void)who;
	memset(name, 'j', size);
	return size;
}

/* The record of a file that is open was freed when the open was answered. A sanitizer sees it if something still points
 * there. */
static void test_swapped_file_keeps_its_job(void **state)
{
	struct fixture *f = *state;
	struct caller worker = {0, 0, 1, NULL, NULL, long_job, 0};
	struct file_open *h;
	struct buf job = {0};
	struct attr attr;
	bool canonical;
	uint32_t uid;

	assert_int_equal(tree_create(f->fs, f->b, &worker, NODE_FILES, S("a"), 0644, TREE_WRITE, &h, &canonical, NULL), 0);
	assert_int_equal(file_write(h, 0, false, S("old"), NULL), 0);
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	file_close(h, false);
	assert_int_equal(lookup(f, NODE_FILES, "a", &attr), 0);
	assert_int_equal(tree_open(f->fs, f->b, &test_root, attr.inode & INODE_NODE_MASK, TREE_WRITE, TREE_CLOSED_NONE,
				   &h, NULL),
			 0);
	assert_int_equal(file_truncate_open(h, 0, NULL), 0);
	/* The old content has another inode by now. */
	assert_int_equal(lookup(f, NODE_FILES, "a", &attr), 0);
	assert_int_equal(tree_source(f->fs, f->b, &test_root, attr.inode & INODE_NODE_MASK, &job, &uid), 0);
	assert_int_equal(job.len, node_job_max);
	assert_int_equal(job.data[0], 'j');
	buf_release(&job);
	assert_int_equal(file_write(h, 0, false, S("new"), NULL), 0);
	file_close(h, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_released_in_another_order),
		T(test_nothing_written),
		T(test_not_closed_yet),
		T(test_moved_there),
		T(test_transaction),
		T(test_crash),
		T(test_crash_between_close_and_release),
		T(test_new_one_closed_last),
		T(test_crash_of_synced_and_closed_again),
		T(test_crash_of_synced_and_closed),
		T(test_append_beside_a_redirect),
		T(test_moved_over_a_new_one),
		T(test_respelled),
		T(test_closed_by_a_reader),
		T(test_overtaken_is_not_found),
		T(test_waits),
		T(test_settling_beside_a_reader),
		T(test_settling_in_a_dead_bucket),
		T(test_info_waits),
		T(test_open_waits),
		T(test_nobody_waits_for_who_writes),
		T(test_open_after_kill),
		T(test_open_beside_settling),
		T(test_killed_beside_others),
		T(test_look_for_partial_waits),
		T(test_dropped),
		cmocka_unit_test(test_store_fails),
		cmocka_unit_test(test_store_fails_after_a_crash),
		T(test_refused_before),
		T(test_missed),
		T(test_swapped_file_keeps_its_job),
		T(test_missed_and_gave_up),
		T(test_missed_and_wants_another),
		T(test_nobody_comes),
		cmocka_unit_test(test_write_fails_behind),
	};

	return cmocka_run_group_tests_name("version", tests, NULL, NULL);
}
