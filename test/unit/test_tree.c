#include <sys/stat.h>

#include "bucket/attribute.h"
#include "bucket/attribute_bag.h"
#include "bucket/scratch.h"
#include "bucket/transaction.h"
#include "fixture.h"
#include "store/decorator.h"
#include "store/faulty.h"

static void test_spellings(void **state)
{
	struct fixture *f = *state;
	struct buf name = {0};
	struct attr attr;

	put_file(f, NODE_FILES, "My Report (Final).PDF", "x");
	assert_list(f, NODE_FILES, "my_report_final_.pdf ");
	assert_file(f, NODE_FILES, "my_report_final_.pdf", "x");
	assert_file(f, NODE_FILES, "MY!REPORT!FINAL!.pdf", "x");
	assert_int_equal(lookup(f, NODE_FILES, "my_report.pdf", &attr), BUCKET_ABSENT);
	assert_int_equal(tree_given_name(f->fs, f->b, &test_root, number_of(f, NODE_FILES, "my_report_final_.pdf"), &name), 0);
	assert_slice(buf_slice(&name), "My Report (Final).PDF");
	buf_release(&name);
	assert_int_equal(unlink_name(f, NODE_FILES, "my report final .PDF", false), 0);
	assert_list(f, NODE_FILES, "");
	assert_int_equal(f->b->head.files, 0);
	assert_int_equal(f->b->head.file_bytes, 0);
}

static void test_new_file_is_listed_when_closed(void **state)
{
	struct fixture *f = *state;
	struct file_open *h = create(f, NODE_FILES, "a"), *again;
	struct attr attr;

	assert_list(f, NODE_FILES, "");
	assert_int_equal(lookup(f, NODE_FILES, "a", &attr), 0);
	assert_int_equal(file_write(h, 0, false, S("text"), NULL), 0);
	/* Who opens it by name sees what is there so far. */
	assert_int_equal(tree_open(f->fs, f->b, &test_root, attr.inode & INODE_NODE_MASK, TREE_READ, TREE_CLOSED_NONE,
				   &again, NULL), 0);
	assert_ptr_equal(again->file, h->file);
	file_close(again, false);
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	assert_list(f, NODE_FILES, "");
	file_close(h, false);
	assert_list(f, NODE_FILES, "a ");
	assert_file(f, NODE_FILES, "a", "text");
}

/* Closing without a flush is what a mapping does; the bytes are there all the same. */
static void test_close_commits(void **state)
{
	struct fixture *f = *state;
	struct file_open *h = create(f, NODE_FILES, "a");

	assert_int_equal(file_write(h, 0, false, S("text"), NULL), 0);
	file_close(h, false);
	assert_file(f, NODE_FILES, "a", "text");
}

static void test_sizes(void **state)
{
	struct fixture *f = *state;
	struct file_open *h = create(f, NODE_FILES, "a");
	char block[10000];
	size_t got;

	memset(block, 'x', sizeof(block));
	/* Past the threshold it moves from memory to a content, with a hole on the way. */
	for (uint64_t at = 0; at < 100000; at += sizeof(block)) {
		assert_int_equal(file_write(h, at, false, slice_of(block, sizeof(block)), NULL), 0);
		assert_int_equal(f->b->pending_bytes, at + sizeof(block));
	}
	assert_int_equal(h->file->node.place, PLACE_CONTENT);
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	assert_int_equal(f->b->head.file_bytes, 100000);
	assert_int_equal(f->b->pending_bytes, 0);
	assert_int_equal(file_truncate(h->file, 5, NULL), 0);
	assert_int_equal(file_truncate(h->file, 10, NULL), 0);
	assert_int_equal(file_read(h->file, 0, block, sizeof(block), &got), 0);
	assert_int_equal(got, 10);
	assert_memory_equal(block, "xxxxx\0\0\0\0\0", 10);
	assert_int_equal(file_truncate(h->file, 0, NULL), 0);
	assert_int_equal(file_write(h, 3, false, S("abc"), NULL), 0);
	assert_int_equal(h->file->node.place, PLACE_INLINE);
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	assert_int_equal(f->b->head.file_bytes, 6);
	file_close(h, false);
	assert_int_equal(unlink_name(f, NODE_FILES, "a", false), 0);
	assert_int_equal(f->b->head.file_bytes, 0);
}

static void test_unlinked_while_open(void **state)
{
	struct fixture *f = *state;
	struct file_open *h[2];
	char got[16];
	size_t len;

	for (int large = 0; large < 2; large++) {
		h[large] = create(f, NODE_FILES, large ? "large" : "small");
		assert_int_equal(file_write(h[large], 0, false, S("head"), NULL), 0);
		if (large)
			assert_int_equal(file_truncate(h[large]->file, 100000, NULL), 0);
		assert_int_equal(file_flush(h[large], FILE_CLOSER_DONE), 0);
		file_close(h[large], false);
		/* Opened anew, so that nothing of it is loaded. */
		assert_int_equal(tree_open(f->fs, f->b, &test_root, number_of(f, NODE_FILES, large ? "large" : "small"),
					   TREE_READ | TREE_WRITE, TREE_CLOSED_NONE, &h[large], NULL), 0);
		assert_int_equal(unlink_name(f, NODE_FILES, large ? "large" : "small", false), 0);
	}
	assert_int_equal(f->b->head.files, 0);
	for (int large = 0; large < 2; large++) {
		assert_int_equal(file_read(h[large]->file, 0, got, 4, &len), 0);
		assert_slice(slice_of(got, len), "head");
		assert_int_equal(file_write(h[large], 0, false, S("HEAD"), NULL), 0);
		assert_int_equal(file_read(h[large]->file, 0, got, 4, &len), 0);
		assert_slice(slice_of(got, len), "HEAD");
		assert_int_equal(file_flush(h[large], FILE_CLOSER_DONE), 0);
		file_close(h[large], false);
	}
	assert_list(f, NODE_FILES, "");
	assert_int_equal(f->b->head.file_bytes, 0);
}

static void test_unlink_before_flush(void **state)
{
	struct fixture *f = *state;
	struct file_open *h = create(f, NODE_FILES, "a");

	assert_int_equal(file_write(h, 0, false, S("x"), NULL), 0);
	assert_int_equal(unlink_name(f, NODE_FILES, "a", false), 0);
	put_file(f, NODE_FILES, "a", "second");
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	file_close(h, false);
	assert_file(f, NODE_FILES, "a", "second");
	assert_int_equal(f->b->head.files, 1);
}

static void test_folders(void **state)
{
	struct fixture *f = *state;
	uint64_t a = make_folder(f, NODE_FILES, "A"), b = make_folder(f, a, "b"), parent;

	put_file(f, b, "deep", "x");
	assert_list(f, NODE_FILES, "a ");
	assert_list(f, b, "deep ");
	assert_int_equal(tree_parent(f->fs, f->b, b, &parent), 0);
	assert_int_equal(parent, a);
	assert_int_equal(unlink_name(f, NODE_FILES, "a", true), BUCKET_NOT_EMPTY);
	assert_int_equal(unlink_name(f, NODE_FILES, "a", false), BUCKET_IS_FOLDER);
	assert_int_equal(unlink_name(f, b, "deep", true), BUCKET_NOT_FOLDER);
	assert_int_equal(bucket_remove(f->fs, &test_root, S("nightly")), BUCKET_NOT_EMPTY);
	assert_int_equal(unlink_name(f, b, "deep", false), 0);
	assert_int_equal(unlink_name(f, a, "b", true), 0);
	assert_int_equal(unlink_name(f, NODE_FILES, "a", true), 0);
	assert_int_equal(bucket_remove(f->fs, &test_root, S("nightly")), 0);
}

/* A file is found by its number alone, wherever those with numbers next to it are. */
static void test_numbers(void **state)
{
	enum { files = 40 };
	struct fixture *f = *state;
	uint64_t folder[3] = {NODE_FILES, make_folder(f, NODE_FILES, "a"), make_folder(f, NODE_FILES, "b")}, number[files];
	char name[8];

	for (int i = 0; i < files; i++) {
		snprintf(name, sizeof(name), "%d", i);
		put_file(f, folder[i % 3], name, name);
		number[i] = number_of(f, folder[i % 3], name);
	}
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < files; i++) {
			snprintf(name, sizeof(name), "%d", i);
			assert_number(f, number[i], name);
			assert_number(f, number[i], name);
		}
		/* Each in the next folder. */
		for (int i = 0; i < files; i++) {
			snprintf(name, sizeof(name), "%d", i);
			assert_int_equal(rename_name(f, folder[(i + round) % 3], name, folder[(i + round + 1) % 3], name), 0);
		}
	}
	for (int i = 0; i < files; i++) {
		struct file_open *h;

		snprintf(name, sizeof(name), "%d", i);
		assert_int_equal(unlink_name(f, folder[i % 3], name, false), 0);
		assert_int_equal(tree_open(f->fs, f->b, &test_root, number[i], TREE_READ, TREE_CLOSED_NONE, &h, NULL), BUCKET_GONE);
	}
}

/* How often the store is asked: not at all for what is not in a folder that was made lately, once for each that is next to
 * another in a folder. */
static void test_questions(void **state)
{
	enum { files = 8 };
	struct faulty faulty = {0};
	struct fixture f;
	struct file_open *h;
	struct attr attr;
	uint64_t folder, number[files];
	unsigned calls;
	char name[8];

	(void)state;
	assert_int_equal(memory_store_open(&f.store), 0);
	assert_int_equal(faulty_store_open(&f.store, f.store, &faulty), 0);
	assert_int_equal(fixture_open(&f), 0);
	folder = make_folder(&f, NODE_FILES, "folder");
	for (int i = 0; i < files; i++) {
		snprintf(name, sizeof(name), "%d", i);
		put_file(&f, folder, name, name);
		number[i] = number_of(&f, folder, name);
	}
	calls = faulty.calls;
	assert_int_equal(lookup(&f, NODE_FILES, "none", &attr), BUCKET_ABSENT);
	assert_int_equal(lookup(&f, folder, "none", &attr), BUCKET_ABSENT);
	assert_int_equal(faulty.calls, calls);
	assert_number(&f, number[0], "0");
	calls = faulty.calls;
	for (int i = 1; i < files; i++) {
		assert_int_equal(tree_open(f.fs, f.b, &test_root, number[i], TREE_READ, TREE_CLOSED_NONE, &h, NULL), 0);
		file_close(h, false);
	}
	assert_int_equal(faulty.calls, calls + files - 1);
	bucket_put(f.fs, f.b);
	fs_close(f.fs);
	/* Of what was made before it knows nothing. */
	assert_int_equal(test_fs_open(f.store, &f.fs), 0);
	assert_int_equal(bucket_lookup(f.fs, S("nightly"), &f.b), 0);
	calls = faulty.calls;
	assert_int_equal(lookup(&f, folder, "none", &attr), BUCKET_ABSENT);
	assert_int_equal(faulty.calls, calls + 1);
	bucket_put(f.fs, f.b);
	fs_close(f.fs);
	store_close(f.store);
}

/* Somebody finds a bucket right after the commit that makes it, and puts a file there before its maker goes on. */
static int put_first(void *context, const char *call, uint32_t bucket, int result, int64_t nanoseconds)
{
	struct fixture *f = context;

	(void)nanoseconds;
	if (f->fs && bucket == 0 && result == 0 && strcmp(call, "commit") == 0 && !f->b) {
		struct fixture other = *f;

		assert_int_equal(bucket_lookup(f->fs, S("nightly"), &other.b), 0);
		f->b = other.b;
		put_file(&other, NODE_FILES, "first", "text");
		bucket_put(f->fs, other.b);
	}
	return result;
}

static void test_found_at_once(void **state)
{
	struct fixture f = {0};

	(void)state;
	assert_int_equal(memory_store_open(&f.store), 0);
	assert_int_equal(decorator_open(&f.store, f.store, &(struct decorator_hooks){.after = put_first, .context = &f}), 0);
	assert_int_equal(fixture_open(&f), 0);
	assert_file(&f, NODE_FILES, "first", "text");
	bucket_put(f.fs, f.b);
	fs_close(f.fs);
	store_close(f.store);
}

/* rmdir does not count files that nobody has closed yet; they lose their name. */
static void test_rmdir_with_unlisted(void **state)
{
	struct fixture *f = *state;
	uint64_t a = make_folder(f, NODE_FILES, "a");
	struct file_open *h = create(f, a, "new"), *other = create(f, NODE_FILES, "new");

	assert_int_equal(unlink_name(f, NODE_FILES, "a", true), 0);
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	file_close(h, false);
	assert_int_equal(f->b->making.count, 1);
	assert_int_equal(bucket_remove(f->fs, &test_root, S("nightly")), 0);
	assert_int_equal(file_flush(other, FILE_CLOSER_DONE), 0);
	file_close(other, false);
}

static void test_rename(void **state)
{
	struct fixture *f = *state;
	uint64_t folder = make_folder(f, NODE_FILES, "folder"), sub = make_folder(f, folder, "sub"), number;
	struct file_open *h;
	struct attr attr;

	put_file(f, NODE_FILES, "a", "1");
	put_file(f, NODE_FILES, "b", "22");
	number = number_of(f, NODE_FILES, "a");
	assert_int_equal(rename_name(f, NODE_FILES, "a", NODE_FILES, "b"), 0);
	assert_file(f, NODE_FILES, "b", "1");
	assert_int_equal(number_of(f, NODE_FILES, "b"), number);
	assert_int_equal(lookup(f, NODE_FILES, "a", &attr), BUCKET_ABSENT);
	assert_int_equal(f->b->head.files, 3);
	assert_int_equal(f->b->head.file_bytes, 1);
	assert_int_equal(rename_name(f, NODE_FILES, "b", sub, "C"), 0);
	assert_file(f, sub, "c", "1");
	assert_int_equal(tree_attr(f->fs, f->b, &test_root, number, &attr), 0);
	assert_int_equal(rename_name(f, sub, "c", sub, "C C"), 0);
	assert_list(f, sub, "c_c ");
	assert_int_equal(rename_name(f, sub, "C c", sub, "c_c"), 0); /* to itself */
	assert_list(f, sub, "c_c ");
	assert_int_equal(rename_name(f, NODE_FILES, "folder", sub, "x"), BUCKET_INVALID);
	assert_int_equal(rename_name(f, NODE_FILES, "folder", folder, "x"), BUCKET_INVALID);
	assert_int_equal(rename_name(f, NODE_FILES, "folder", sub, "c_c"), BUCKET_NOT_FOLDER);
	assert_int_equal(rename_name(f, sub, "c_c", NODE_FILES, "folder"), BUCKET_IS_FOLDER);
	assert_int_equal(rename_name(f, NODE_FILES, "none", NODE_FILES, "x"), BUCKET_ABSENT);
	/* While it is being written: the name moves, the bytes follow. */
	h = create(f, NODE_FILES, "tmp");
	assert_int_equal(file_write(h, 0, false, S("half"), NULL), 0);
	assert_int_equal(rename_name(f, NODE_FILES, "tmp", sub, "c_c"), 0);
	assert_int_equal(file_write(h, 4, false, S("whole"), NULL), 0);
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	file_close(h, false);
	assert_file(f, sub, "c_c", "halfwhole");
	assert_list(f, NODE_FILES, "folder ");
	assert_int_equal(rename_name(f, folder, "sub", NODE_FILES, "sub"), 0);
	assert_file(f, number_of(f, NODE_FILES, "sub"), "c_c", "halfwhole");
	assert_int_equal(rename_name(f, NODE_FILES, "sub", NODE_FILES, "folder"), 0);
	assert_list(f, NODE_FILES, "folder ");
}

static void test_limits(void **state)
{
	struct fixture *f = *state;
	struct file_open *h;
	bool canonical;

	limit(f, "max_files", "2");
	limit(f, "max_file_size", "10");
	limit(f, "max_total_size", "15");
	limit(f, "accepted_file_types", ".txt");
	h = create(f, NODE_FILES, "x.txt");
	assert_int_equal(file_write(h, 0, false, S("0123456789x"), NULL), BUCKET_TOO_LARGE);
	file_close(h, false);
	assert_list(f, NODE_FILES, ".x.txt.partial ");
	assert_int_equal(unlink_name(f, NODE_FILES, ".x.txt.partial", false), 0);
	h = create(f, NODE_FILES, "a.txt");
	assert_int_equal(file_write(h, 0, false, S("0123456789"), NULL), 0);
	assert_int_equal(file_truncate(h->file, 11, NULL), BUCKET_TOO_LARGE);
	file_close(h, false);
	h = create(f, NODE_FILES, "b.txt");
	assert_int_equal(file_write(h, 0, false, S("01234"), NULL), 0);
	assert_int_equal(file_write(h, 5, false, S("5"), NULL), BUCKET_OVER_QUOTA);
	struct file_open *third;
	assert_int_equal(tree_create(f->fs, f->b, &test_root, NODE_FILES, S("c.txt"), 0, TREE_WRITE, &third, &canonical, NULL),
			 BUCKET_OVER_QUOTA);
	file_close(h, false);
	assert_int_equal(unlink_name(f, NODE_FILES, "a.txt", false), 0);
	assert_int_equal(tree_create(f->fs, f->b, &test_root, NODE_FILES, S("c.pdf"), 0, TREE_WRITE, &third, &canonical, NULL),
			 BUCKET_NOT_PERMITTED);
	assert_int_equal(tree_create(f->fs, f->b, &test_root, NODE_FILES, S(".c.pdf.x1"), 0, TREE_WRITE, &third, &canonical, NULL),
			 0);
	file_close(third, false);
	assert_int_equal(rename_name(f, NODE_FILES, ".c.pdf.x1", NODE_FILES, "c.pdf"), BUCKET_NOT_PERMITTED);
}

/* What a version will replace makes room for it, and for nothing else. */
static void test_limit_of_versions(void **state)
{
	struct fixture *f = *state;
	struct file_open *h[3], *other;
	struct bucket *t;
	struct fixture in = *f;

	limit(f, "max_total_size", "10");
	put_file(f, NODE_FILES, "a", "0123456789");
	for (int i = 0; i < 3; i++)
		h[i] = create(f, NODE_FILES, "a");
	other = create(f, NODE_FILES, "b");
	assert_int_equal(file_write(other, 0, false, S("x"), NULL), BUCKET_OVER_QUOTA);
	file_close(other, false);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(file_write(h[i], 0, false, S("abcdefghij"), NULL), 0);
		assert_int_equal(file_write(h[i], 10, false, S("x"), NULL), BUCKET_OVER_QUOTA);
		assert_int_equal(file_truncate(h[i]->file, 0, NULL), 0);
		assert_int_equal(file_write(h[i], 0, false, S("ABCDEFGHIJ"), NULL), 0);
	}
	for (int i = 0; i < 3; i++) {
		assert_int_equal(file_flush(h[i], FILE_CLOSER_DONE), 0);
		file_close(h[i], false);
	}
	assert_file(f, NODE_FILES, "a", "ABCDEFGHIJ");
	assert_int_equal(f->b->head.file_bytes, 10);
	assert_int_equal(f->b->pending_bytes, 0);
	assert_int_equal(unlink_name(f, NODE_FILES, "a", false), 0);
	/* A transaction's commit is judged by what is open as well. */
	other = create(f, NODE_FILES, "b");
	assert_int_equal(file_write(other, 0, false, S("012345"), NULL), 0);
	assert_int_equal(transaction_begin(f->fs, f->b, &test_root, S("t"), &t, NULL), 0);
	in.b = t;
	put_file(&in, NODE_FILES, "c", "012345");
	bucket_put(f->fs, t);
	assert_int_equal(transaction_commit(f->fs, f->b, &test_root, S("t"), NULL), BUCKET_OVER_QUOTA);
	assert_int_equal(file_truncate(other->file, 4, NULL), 0);
	assert_int_equal(transaction_commit(f->fs, f->b, &test_root, S("t"), NULL), 0);
	assert_int_equal(file_flush(other, FILE_CLOSER_DONE), 0);
	file_close(other, false);
	assert_int_equal(f->b->head.file_bytes, 10);
}

/* ---- who may do what ---- */

static int acl(struct fixture *f, struct bucket *b, enum privilege privilege, const char *text)
{
	struct slice s = text ? S(text) : slice_of(NULL, 0);
	bool narrowed;

	return bucket_acl_set(f->fs, b, &test_root, privilege, text ? &s : NULL, &narrowed, NULL);
}

static void assert_access(struct fixture *f, struct bucket *b, struct caller who, const char *want)
{
	struct buf got = {0};

	assert_int_equal(bucket_access(f->fs, b, &who, &got), 0);
	assert_slice(buf_slice(&got), want);
	buf_release(&got);
}

static void test_privileges(void **state)
{
	struct fixture *f = *state;
	struct caller alice = {1001, 1001, 1, NULL, NULL, NULL, 0}, ci = {5, 2001, 1, NULL, NULL, NULL, 0},
		      other = {6, 6, 1, NULL, NULL, NULL, 0};
	struct bucket *mine;

	assert_access(f, f->b, other, "read");
	assert_access(f, f->b, test_root, "read,edit,delete,admin");
	assert_access(f, f->fs->root, other, "read");
	assert_int_equal(bucket_create(f->fs, &alice, S("mine"), &mine), BUCKET_DENIED);
	assert_int_equal(acl(f, f->fs->root, PRIVILEGE_CREATE, "user:alice"), 0);
	assert_int_equal(bucket_create(f->fs, &alice, S("mine"), &mine), 0);
	assert_access(f, mine, alice, "read,edit,delete,admin");
	assert_access(f, f->fs->root, alice, "create,read");
	assert_int_equal(acl(f, f->fs->root, PRIVILEGE_EDIT, "group:ci,owner"), 0);
	assert_access(f, mine, ci, "read,edit");
	assert_int_equal(acl(f, mine, PRIVILEGE_EDIT, ""), 0);
	assert_access(f, mine, ci, "read");
	assert_access(f, f->b, ci, "read,edit");
	assert_int_equal(acl(f, mine, PRIVILEGE_EDIT, NULL), 0);
	assert_int_equal(acl(f, mine, PRIVILEGE_EDIT, NULL), BUCKET_NO_ATTRIBUTE);
	assert_access(f, mine, ci, "read,edit");
	assert_int_equal(acl(f, mine, PRIVILEGE_READ, "user:alice"), 0);
	assert_access(f, mine, ci, "edit");
	assert_access(f, mine, other, "");
	assert_int_equal(acl(f, mine, PRIVILEGE_ADMIN, "user:6"), 0);
	assert_access(f, mine, other, "read,edit,delete,admin");
	assert_int_equal(acl(f, mine, PRIVILEGE_CREATE, "user:6"), BUCKET_INVALID);
	f->fs->options.squash_root = true;
	assert_access(f, mine, test_root, "");
	f->fs->options.squash_root = false;
	bucket_put(f->fs, mine);
}

static void test_private(void **state)
{
	struct fixture *f = *state;
	struct caller ci = {5, 2001, 1, NULL, NULL, NULL, 0}, other = {6, 6, 1, NULL, NULL, NULL, 0};
	struct attr attr;
	struct file_open *h;
	bool canonical;

	put_file(f, NODE_FILES, "a", "x");
	assert_int_equal(acl(f, f->b, PRIVILEGE_READ, ""), 0);
	assert_int_equal(acl(f, f->b, PRIVILEGE_EDIT, "group:ci"), 0);
	assert_int_equal(bucket_attr(f->fs, f->b, &other, &attr), 0);
	assert_true(attr.private && attr.modified == 0);
	assert_int_equal(tree_lookup(f->fs, f->b, &other, NODE_FILES, S("a"), TREE_CLOSED_NONE, &attr, &canonical), BUCKET_DENIED);
	assert_int_equal(data_attr(f->fs, f->b, &other, &attr), BUCKET_DENIED);
	/* A drop-box: put things in, see nothing of others. */
	assert_int_equal(data_attr(f->fs, f->b, &ci, &attr), 0);
	assert_int_equal(attr.size, 0);
	assert_int_equal(tree_attr(f->fs, f->b, &ci, number_of(f, NODE_FILES, "a"), &attr), BUCKET_DENIED);
	assert_int_equal(tree_create(f->fs, f->b, &ci, NODE_FILES, S("b"), 0, TREE_WRITE, &h, &canonical, NULL), 0);
	assert_int_equal(tree_attr(f->fs, f->b, &ci, h->file->node.number, &attr), 0);
	file_close(h, false);
	assert_int_equal(tree_open(f->fs, f->b, &ci, number_of(f, NODE_FILES, "a"), TREE_READ, TREE_CLOSED_NONE, &h,
				   NULL), BUCKET_DENIED);
	assert_int_equal(tree_open(f->fs, f->b, &ci, number_of(f, NODE_FILES, "a"), TREE_WRITE, TREE_CLOSED_NONE, &h, NULL), 0);
	file_close(h, false);
	assert_int_equal(tree_unlink(f->fs, f->b, &ci, NODE_FILES, S("a"), false, &canonical), 0);
}

/* ---- what a restart finds ---- */

static void reopen(struct fixture *f)
{
	bucket_put(f->fs, f->b);
	fs_close(f->fs);
	assert_int_equal(test_fs_open(f->store, &f->fs), 0);
	assert_int_equal(bucket_lookup(f->fs, S("nightly"), &f->b), 0);
}

static void test_reopen(void **state)
{
	struct fixture *f = *state;
	uint64_t folder = make_folder(f, NODE_FILES, "folder"), number;
	struct bucket *b;

	put_file(f, folder, "A file", "x");
	number = number_of(f, folder, "a_file");
	assert_int_equal(acl(f, f->b, PRIVILEGE_EDIT, "user:alice"), 0);
	reopen(f);
	assert_file(f, folder, "a_file", "x");
	assert_int_equal(number_of(f, folder, "a_file"), number);
	assert_access(f, f->b, (struct caller){1001, 1, 1, NULL, NULL, NULL, 0}, "read,edit");
	assert_int_equal(unlink_name(f, folder, "a_file", false), 0);
	put_file(f, folder, "a_file", "y");
	assert_true(number_of(f, folder, "a_file") > number);
	/* A bucket's number is not used again either. */
	assert_int_equal(bucket_create(f->fs, &test_root, S("other"), &b), 0);
	uint32_t first = b->number;
	bucket_put(f->fs, b);
	assert_int_equal(bucket_remove(f->fs, &test_root, S("other")), 0);
	reopen(f);
	assert_int_equal(bucket_create(f->fs, &test_root, S("other"), &b), 0);
	assert_true(b->number > first);
	bucket_put(f->fs, b);
}

/* More buckets than are kept in memory. */
static void test_many_buckets(void **state)
{
	struct fixture *f = *state;
	struct bucket *b;
	char name[32];

	for (int i = 0; i < 6000; i++) {
		snprintf(name, sizeof(name), "b%d", i);
		assert_int_equal(bucket_create(f->fs, &test_root, S(name), &b), 0);
		bucket_put(f->fs, b);
	}
	assert_true(f->fs->buckets.count < 5000);
	assert_int_equal(bucket_lookup(f->fs, S("b0"), &b), 0);
	assert_slice(b->name, "b0");
	bucket_put(f->fs, b);
}

static struct scratch *make_beside(struct fixture *f, const char *name, const char *text)
{
	bool closed = false;
	struct scratch *s;

	assert_int_equal(scratch_create(f->fs, f->b, &test_root, S(name), false, false, &s, NULL), 0);
	assert_int_equal(scratch_write(s, 0, false, S(text), NULL), 0);
	scratch_close(s, &closed);
	return s;
}

/* A file that is made beside data.json by a common name goes to files/ after a minute, unless it is moved, removed, or open. */
static void test_strays(void **state)
{
	const int64_t second = 1000000000;
	struct fixture *f = *state;
	struct scratch *open;
	struct attr attr;
	bool closed = false;

	assert_int_equal(scratch_create(f->fs, f->b, &test_root, S("notes.txt"), false, false, &open, NULL), BUCKET_NOT_PERMITTED);
	make_beside(f, "Report.json", "report");
	make_beside(f, "new.json", "{\"a\": 1}");
	make_beside(f, "gone.tmp", "gone");
	make_beside(f, "data.json.tmp", "stays");
	assert_int_equal(scratch_create(f->fs, f->b, &test_root, S("open.json"), false, false, &open, NULL), 0);
	scratch_settle_strays(f->fs, false);
	assert_int_equal(scratch_rename(f->fs, f->b, &test_root, S("new.json"), S("data.json"), false, NULL), 0);
	assert_int_equal(scratch_unlink(f->fs, f->b, &test_root, S("gone.tmp")), 0);
	test_time += 59 * second;
	scratch_settle_strays(f->fs, false);
	assert_int_equal(lookup(f, NODE_FILES, "report.json", &attr), BUCKET_ABSENT);
	test_time += 2 * second;
	scratch_settle_strays(f->fs, false);
	assert_file(f, NODE_FILES, "report.json", "report");
	for (size_t i = 0; i < 3; i++) {
		static const char *const names[] = {"new.json", "gone.tmp", "open.json"};

		assert_int_equal(lookup(f, NODE_FILES, names[i], &attr), BUCKET_ABSENT);
	}
	assert_int_equal(scratch_lookup(f->fs, f->b, &test_root, S("Report.json"), &attr), BUCKET_ABSENT);
	assert_int_equal(scratch_lookup(f->fs, f->b, &test_root, S("data.json.tmp"), &attr), 0);
	/* Where it is refused, it waits. */
	scratch_close(open, &closed);
	limit(f, "accepted_file_types", ".csv");
	for (int i = 0; i < 3; i++) {
		scratch_settle_strays(f->fs, false);
		test_time += 61 * second;
	}
	assert_int_equal(scratch_lookup(f->fs, f->b, &test_root, S("open.json"), &attr), 0);
	limit(f, "accepted_file_types", "");
	scratch_settle_strays(f->fs, false);
	test_time += 61 * second;
	scratch_settle_strays(f->fs, false);
	assert_file(f, NODE_FILES, "open.json", "");
	/* The maker's name may be somebody else's by then. */
	put_file(f, NODE_FILES, "taken.json", "first");
	make_beside(f, "taken.json", "second");
	scratch_settle_strays(f->fs, true);
	assert_file(f, NODE_FILES, "taken.json", "first");
	assert_file(f, NODE_FILES, ".taken.json.partial", "second");
}

static void test_links(void **state)
{
	struct fixture *f = *state;
	struct buf target = {0};
	struct file_open *h;
	struct attr attr;
	uint64_t number;
	bool canonical;
	char most[link_target_max + 1];

	memset(most, 'x', sizeof(most));
	assert_int_equal(tree_symlink(f->fs, f->b, &test_root, NODE_FILES, S("L"), S("to/here"), &number, &canonical, NULL), 0);
	assert_false(canonical);
	assert_int_equal(tree_symlink(f->fs, f->b, &test_root, NODE_FILES, S("l"), S("x"), &number, &canonical, NULL), BUCKET_EXISTS);
	assert_int_equal(lookup(f, NODE_FILES, "l", &attr), 0);
	assert_int_equal(attr.mode & S_IFMT, S_IFLNK);
	assert_int_equal(attr.size, 7);
	number = attr.inode & INODE_NODE_MASK;
	assert_int_equal(tree_target(f->fs, f->b, &test_root, number, &target), 0);
	assert_slice(buf_slice(&target), "to/here");
	buf_release(&target);
	assert_int_equal(tree_open(f->fs, f->b, &test_root, number, TREE_READ, TREE_CLOSED_NONE, &h, NULL), BUCKET_IS_LINK);
	assert_int_equal(f->b->head.files, 1);
	assert_int_equal(f->b->head.file_bytes, 7);
	/* A file takes its name, and falls back to no link. */
	put_file(f, NODE_FILES, "file", "content");
	assert_int_equal(rename_name(f, NODE_FILES, "file", NODE_FILES, "l"), 0);
	assert_file(f, NODE_FILES, "l", "content");
	assert_int_equal(f->b->head.files, 1);
	assert_int_equal(tree_symlink(f->fs, f->b, &test_root, NODE_FILES, S("m"), slice_of(most, link_target_max), &number, &canonical, NULL), 0);
	assert_int_equal(tree_symlink(f->fs, f->b, &test_root, NODE_FILES, S("n"), slice_of(most, sizeof(most)), &number, &canonical, NULL),
			 BUCKET_NAME_TOO_LONG);
	assert_int_equal(rename_name(f, NODE_FILES, "m", NODE_FILES, "l"), 0);
	assert_int_equal(f->b->head.file_bytes, link_target_max);
	assert_int_equal(unlink_name(f, NODE_FILES, "L", false), 0);
	assert_int_equal(f->b->head.files, 0);
	assert_int_equal(f->b->head.file_bytes, 0);
}

/* A file that was found a moment ago is told and changed, though another one has its name by now, or none has. */
static void test_gone(void **state)
{
	struct fixture *f = *state;
	int64_t modified = 42;
	uint32_t mode = 0755;
	struct tree_change change = {&mode, NULL, &modified};
	struct buf value = {0};
	struct attr attr;
	uint64_t number, folder;
	bool canonical;

	put_file(f, NODE_FILES, "a", "old");
	number = number_of(f, NODE_FILES, "a");
	assert_int_equal(attribute_set(f->fs, f->b, &test_root, number, S("x"), S("1"), false, false, NULL), 0);
	put_file(f, NODE_FILES, "a", "new one");
	assert_int_equal(tree_attr(f->fs, f->b, &test_root, number, &attr), 0);
	assert_true(attr.unlinked);
	assert_int_equal(attr.size, 3);
	assert_int_equal(tree_set(f->fs, f->b, &test_root, number, &change), 0);
	assert_int_equal(tree_truncate(f->fs, f->b, &test_root, number, 1, TREE_CLOSED_NONE, NULL), 0);
	assert_int_equal(tree_attr(f->fs, f->b, &test_root, number, &attr), 0);
	assert_int_equal(attr.size, 1);
	assert_int_equal(attr.modified, 42);
	assert_true(attr.mode & 0111);
	assert_int_equal(attribute_get(f->fs, f->b, &test_root, number, S("x"), &value), 0);
	assert_slice(buf_slice(&value), "1");
	buf_clear(&value);
	assert_int_equal(attribute_set(f->fs, f->b, &test_root, number, S("y"), S("2"), true, false, NULL), 0);
	assert_int_equal(attribute_set(f->fs, f->b, &test_root, number, S("y"), S("2"), true, false, NULL), BUCKET_EXISTS);
	assert_int_equal(attribute_remove(f->fs, f->b, &test_root, number, S("x")), 0);
	assert_int_equal(attribute_remove(f->fs, f->b, &test_root, number, S("x")), BUCKET_NO_ATTRIBUTE);
	assert_int_equal(attribute_list(f->fs, f->b, &test_root, number, &value), 0);
	assert_int_equal(value.len, 2);
	assert_memory_equal(value.data, "y", 2);
	buf_release(&value);
	/* The one that has the name is not touched. */
	assert_file(f, NODE_FILES, "a", "new one");
	assert_int_equal(tree_mkdir(f->fs, f->b, &test_root, NODE_FILES, S("d"), &folder, &canonical, NULL), 0);
	assert_int_equal(unlink_name(f, NODE_FILES, "d", true), 0);
	assert_int_equal(tree_attr(f->fs, f->b, &test_root, folder, &attr), 0);
	assert_int_equal(attr.mode & S_IFMT, S_IFDIR);
	/* The memory is short. */
	for (int i = 0; i < 1100; i++)
		put_file(f, NODE_FILES, "a", "x");
	assert_int_equal(tree_attr(f->fs, f->b, &test_root, number, &attr), BUCKET_GONE);
	assert_int_equal(tree_set(f->fs, f->b, &test_root, number, &change), BUCKET_GONE);
	assert_int_equal(tree_attr(f->fs, f->b, &test_root, folder, &attr), 0);
}

static void test_attribute_bag(void **state)
{
	struct buf bag = {0}, value = {0};
	char large[65536];

	(void)state;
	memset(large, 'v', sizeof(large));
	assert_int_equal(attribute_bag_get(&bag, S("a"), &value), BUCKET_NO_ATTRIBUTE);
	assert_int_equal(attribute_bag_set(&bag, S("a"), S("1"), false, true), BUCKET_NO_ATTRIBUTE);
	assert_int_equal(attribute_bag_set(&bag, S("a"), S("1"), true, false), 0);
	assert_int_equal(attribute_bag_set(&bag, S("b"), S(""), false, false), 0);
	assert_int_equal(attribute_bag_set(&bag, S("a"), S("longer"), false, false), 0);
	assert_int_equal(attribute_bag_get(&bag, S("a"), &value), 0);
	assert_slice(buf_slice(&value), "longer");
	buf_clear(&value);
	assert_int_equal(attribute_bag_list(&bag, &value), 0);
	assert_int_equal(value.len, 4);
	assert_memory_equal(value.data, "b\0a", 4);
	for (int i = 0; i < 3; i++)
		assert_int_equal(attribute_bag_set(&bag, slice_of(&"xyz"[i], 1), slice_of(large, sizeof(large)), false, false), 0);
	assert_int_equal(attribute_bag_set(&bag, S("w"), slice_of(large, sizeof(large)), false, false), BUCKET_OVER_QUOTA);
	assert_int_equal(attribute_bag_remove(&bag, S("x")), 0);
	assert_int_equal(attribute_bag_set(&bag, S("w"), slice_of(large, sizeof(large)), false, false), 0);
	assert_int_equal(attribute_bag_remove(&bag, S("x")), BUCKET_NO_ATTRIBUTE);
	buf_release(&bag);
	buf_release(&value);
}

/* The privilege to delete a bucket is one to remove what is in it, and to do nothing else there. */
static void test_removal(void **state)
{
	struct caller deleter = {.uid = 1001};
	struct fixture *f = *state;
	struct slice list = S("user:alice"), reading = S("*");
	struct file_open *h;
	bool narrowed, canonical;
	uint64_t number;

	assert_int_equal(bucket_acl_set(f->fs, f->b, &test_root, PRIVILEGE_DELETE, &list, &narrowed, NULL), 0);
	assert_int_equal(bucket_acl_set(f->fs, f->b, &test_root, PRIVILEGE_READ, &reading, &narrowed, NULL), 0);
	put_file(f, NODE_FILES, "a", "x");
	assert_int_equal(tree_create(f->fs, f->b, &deleter, NODE_FILES, S("b"), 0644, TREE_WRITE, &h, &canonical, NULL), BUCKET_DENIED);
	assert_int_equal(tree_mkdir(f->fs, f->b, &deleter, NODE_FILES, S("d"), &number, &canonical, NULL), BUCKET_DENIED);
	assert_int_equal(tree_rename(f->fs, f->b, &deleter, NODE_FILES, S("a"), NODE_FILES, S("b"), false, TREE_CLOSED_NONE, &canonical, NULL),
			 BUCKET_DENIED);
	assert_int_equal(tree_unlink(f->fs, f->b, &deleter, NODE_FILES, S("a"), false, &canonical), 0);
	put_file(f, NODE_FILES, "a", "x");
	h = create(f, NODE_FILES, "open");
	assert_int_equal(file_write(h, 0, false, S("kept"), NULL), 0);
	assert_int_equal(bucket_remove_all(f->fs, &(struct caller){.uid = 1002}, f->b), BUCKET_DENIED);
	assert_int_equal(bucket_remove_all(f->fs, &deleter, f->b), 0);
	assert_true(f->b->dead);
	assert_int_equal(bucket_remove_all(f->fs, &test_root, f->b), BUCKET_GONE);
	file_close(h, false);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_spellings), T(test_new_file_is_listed_when_closed), T(test_close_commits), T(test_sizes),
		T(test_unlinked_while_open), T(test_unlink_before_flush), T(test_folders), T(test_numbers),
		cmocka_unit_test(test_questions), cmocka_unit_test(test_found_at_once), T(test_rmdir_with_unlisted),
		T(test_rename), T(test_limits), T(test_limit_of_versions), T(test_privileges), T(test_private), T(test_reopen), T(test_many_buckets),
		T(test_strays), T(test_links), T(test_gone), cmocka_unit_test(test_attribute_bag), T(test_removal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
