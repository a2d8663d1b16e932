/* One bucket, "nightly", on the memory store. */
#pragma once

#include "domain.h"

struct fixture {
	struct store *store;
	struct fs *fs;
	struct bucket *b;
};

/* On whatever store it has. */
static inline int fixture_open(struct fixture *f)
{
	return test_fs_open(f->store, &f->fs) || bucket_create(f->fs, &test_root, S("nightly"), &f->b);
}

static inline int setup(void **state)
{
	struct fixture *f = *state = calloc(1, sizeof(*f));

	return memory_store_open(&f->store) || fixture_open(f);
}

/* Nothing is left open or counted twice. */
static inline int teardown(void **state)
{
	struct fixture *f = *state;

	file_end_again(f->fs, true);
	assert_int_equal(f->fs->files.count, 0);
	if (!f->b->dead) {
		assert_int_equal(f->b->pending_bytes, 0);
		assert_int_equal(f->b->making.count, 0);
	}
	bucket_put(f->fs, f->b);
	fs_close(f->fs);
	store_close(f->store);
	free(f);
	return 0;
}

/* One of the bucket's own limits. */
static inline void limit(struct fixture *f, const char *name, const char *value)
{
	struct slice text = S(value);
	int which = 0;

	while (which < limits_own_count && strcmp(limits_own_name[which], name))
		which++;
	assert_true(which < limits_own_count);
	assert_int_equal(bucket_limit_set(f->fs, f->b, &test_root, which, &text, NULL), 0);
}

static inline struct file_open *create(struct fixture *f, uint64_t parent, const char *name)
{
	struct file_open *h;
	bool canonical;

	assert_int_equal(tree_create(f->fs, f->b, &test_root, parent, S(name), 0644, TREE_WRITE | TREE_TRUNCATE, &h,
				     &canonical, NULL), 0);
	return h;
}

static inline void put_file(struct fixture *f, uint64_t parent, const char *name, const char *text)
{
	struct file_open *h = create(f, parent, name);

	assert_int_equal(file_write(h, 0, false, S(text), NULL), 0);
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	file_close(h, false);
}

static inline int lookup(struct fixture *f, uint64_t parent, const char *name, struct attr *attr)
{
	bool canonical;

	return tree_lookup(f->fs, f->b, &test_root, parent, S(name), TREE_CLOSED_NONE, attr, &canonical);
}

static inline uint64_t number_of(struct fixture *f, uint64_t parent, const char *name)
{
	struct attr attr;

	assert_int_equal(lookup(f, parent, name, &attr), 0);
	return attr.inode & INODE_NODE_MASK;
}

static inline void assert_number(struct fixture *f, uint64_t number, const char *want)
{
	struct file_open *h;
	char got[256];
	size_t len;
	int r = tree_open(f->fs, f->b, &test_root, number, TREE_READ, TREE_CLOSED_NONE, &h, NULL);

	/* As the kernel does it: who opens what has just become a partial is to look again. */
	if (r == BUCKET_GONE || r == BUCKET_REDIRECTED)
		r = tree_open(f->fs, f->b, &test_root, number, TREE_READ, TREE_CLOSED_NONE, &h, NULL);
	assert_int_equal(r, 0);
	assert_int_equal(file_read(h->file, 0, got, sizeof(got), &len), 0);
	assert_slice(slice_of(got, len), want);
	file_close(h, false);
}

static inline void assert_file(struct fixture *f, uint64_t parent, const char *name, const char *want)
{
	assert_number(f, number_of(f, parent, name), want);
}

static inline int unlink_name(struct fixture *f, uint64_t parent, const char *name, bool folder)
{
	bool canonical;

	return tree_unlink(f->fs, f->b, &test_root, parent, S(name), folder, &canonical);
}

static inline int rename_name(struct fixture *f, uint64_t parent, const char *name, uint64_t to, const char *new_name)
{
	bool canonical;

	return tree_rename(f->fs, f->b, &test_root, parent, S(name), to, S(new_name), false, TREE_CLOSED_NONE, &canonical, NULL);
}

static inline int add_name(void *context, const struct node *node, const struct attr *attr)
{
	(void)attr;
	buf_add_slice(context, node->name);
	return buf_add_byte(context, ' ');
}

static inline void assert_list(struct fixture *f, uint64_t parent, const char *want)
{
	struct buf names = {0};

	assert_int_equal(tree_list(f->fs, f->b, parent, 0, TREE_CLOSED_NONE, add_name, &names), 0);
	assert_slice(buf_slice(&names), want);
	buf_release(&names);
}

static inline uint64_t make_folder(struct fixture *f, uint64_t parent, const char *name)
{
	uint64_t number;
	bool canonical;

	assert_int_equal(tree_mkdir(f->fs, f->b, &test_root, parent, S(name), &number, &canonical, NULL), 0);
	return number;
}
