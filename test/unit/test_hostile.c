/* A store may hold anything. It is filled with one of everything, then every record is damaged in every way, one at a time, and a tour
 * of the whole domain is made: whatever is answered, nothing is read that is not there, and nothing goes on for ever. */
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bucket/attribute.h"
#include "bucket/control.h"
#include "bucket/info.h"
#include "bucket/redirect.h"
#include "bucket/scoped.h"
#include "bucket/settle.h"
#include "bucket/transaction.h"
#include "domain.h"
#include "log_lines.h"
#include "store/faulty.h"
#include "util/bytes.h"

enum { records_max = 256, contents_max = 16, calls_max = 20000, seconds_max = 60, head_space = STORE_SPACES };

/* ---- a store as a list ---- */

struct record {
	uint32_t bucket;
	unsigned space; /* head_space: the head, which has no key */
	struct buf key, value;
};

/* The damage that is being tried. */
static const char *what;
static const struct record *which;

struct image {
	struct record records[records_max];
	size_t count;
	struct buf contents[contents_max]; /* by number */
};

static void add_record(struct image *i, uint32_t bucket, unsigned space, struct slice key, struct slice value)
{
	struct record *r = &i->records[i->count++];

	assert_true(i->count <= records_max);
	*r = (struct record){.bucket = bucket, .space = space};
	assert_int_equal(buf_add_slice(&r->key, key), 0);
	assert_int_equal(buf_add_slice(&r->value, value), 0);
}

static void take_bucket(struct image *i, struct store *store, uint32_t bucket)
{
	struct slice none = slice_of(NULL, 0), key, value;
	struct store_cursor *cursor;
	struct buf head = {0};
	uint64_t revision;

	if (store_head(store, bucket, &revision, &head) == 0)
		add_record(i, bucket, head_space, none, buf_slice(&head));
	buf_release(&head);
	for (unsigned space = 0; space < STORE_SPACES; space++) {
		assert_int_equal(store_cursor_open(store, bucket, space, none, none, &cursor), 0);
		while (store_cursor_next(cursor, &key, &value) == 0)
			add_record(i, bucket, space, key, value);
		store_cursor_close(cursor);
	}
}

static void take_contents(struct image *i, struct store *store)
{
	struct store_content *content;

	for (uint64_t number = 1; number < contents_max; number++) {
		struct buf *bytes = &i->contents[number];
		size_t got;

		if (store_content_open(store, number, &content))
			continue;
		assert_int_equal(buf_resize(bytes, (size_t)file_inline_max * 4), 0);
		assert_int_equal(store_content_read(content, 0, bytes->data, bytes->len, &got), 0);
		bytes->len = got;
		store_content_close(content, false);
	}
}

static void image_release(struct image *i)
{
	for (size_t n = 0; n < i->count; n++) {
		buf_release(&i->records[n].key);
		buf_release(&i->records[n].value);
	}
	for (size_t n = 0; n < contents_max; n++)
		buf_release(&i->contents[n]);
}

/* The contents are adopted with the root's records. */
static void put_contents(const struct image *i, struct store *store, struct store_batch *batch)
{
	struct store_content *content;

	for (uint64_t number = 1; number < contents_max; number++) {
		const struct buf *bytes = &i->contents[number];

		assert_int_equal(store_content_create(store, &content), 0);
		assert_int_equal(content->number, number);
		if (bytes->len) {
			assert_int_equal(store_content_write(content, 0, bytes->data, bytes->len), 0);
			store_batch_adopt(batch, number);
		}
		store_content_close(content, !bytes->len);
	}
}

static struct store *store_of(const struct image *i)
{
	struct store *store;

	assert_int_equal(memory_store_open(&store), 0);
	for (size_t n = 0; n < i->count;) {
		uint32_t bucket = i->records[n].bucket;
		struct slice head = slice_of(NULL, 0);
		struct store_batch batch = {0};

		if (n == 0)
			put_contents(i, store, &batch);
		for (; n < i->count && i->records[n].bucket == bucket; n++) {
			const struct record *r = &i->records[n];

			if (r->space == head_space)
				head = buf_slice(&r->value);
			else
				store_batch_put(&batch, r->space, buf_slice(&r->key), buf_slice(&r->value));
		}
		assert_int_equal(store_commit(store, bucket, STORE_ANY_REVISION, head, &batch, NULL), 0);
		store_batch_release(&batch);
	}
	return store;
}

/* ---- one of everything ---- */

struct world {
	struct store *store;
	struct fs *fs;
	struct bucket *b;
};

static void put_file(struct fs *fs, struct bucket *b, uint64_t folder, const char *name, size_t size)
{
	struct file_open *h;
	struct buf bytes = {0};
	bool canonical;

	assert_int_equal(buf_resize(&bytes, size), 0);
	assert_int_equal(tree_create(fs, b, &test_root, folder, S(name), 0644, TREE_WRITE | TREE_TRUNCATE, &h, &canonical, NULL), 0);
	assert_int_equal(file_write(h, 0, false, buf_slice(&bytes), NULL), 0);
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	file_close(h, false);
	buf_release(&bytes);
}

static uint64_t put_folder(struct fs *fs, struct bucket *b, uint64_t parent, const char *name)
{
	uint64_t number;
	bool canonical;

	assert_int_equal(tree_mkdir(fs, b, &test_root, parent, S(name), &number, &canonical, NULL), 0);
	return number;
}

static void put_control(struct world *w)
{
	struct slice text = S("alice,*");
	bool narrowed;

	assert_int_equal(control_write(w->fs, w->b, &test_root, NODE_META, S("{\"title\":\"t\"}"), NULL), 0);
	assert_int_equal(control_write(w->fs, w->b, &test_root, NODE_SCHEMA, S("{\"type\":\"object\"}"), NULL), 0);
	text = S("user:alice,*,group:7");
	assert_int_equal(bucket_acl_set(w->fs, w->b, &test_root, PRIVILEGE_READ, &text, &narrowed, NULL), 0);
	text = S("owner");
	assert_int_equal(bucket_acl_set(w->fs, w->b, &test_root, PRIVILEGE_EDIT, &text, &narrowed, NULL), 0);
	text = S("5M");
	assert_int_equal(bucket_limit_set(w->fs, w->b, &test_root, 1, &text, NULL), 0);
}

static void put_record(struct store *store, uint32_t bucket, enum store_space space, struct slice key, struct slice value)
{
	struct store_batch batch = {0};
	struct buf head = {0};
	uint64_t revision;

	store_head(store, bucket, &revision, &head);
	store_batch_put(&batch, space, key, value);
	assert_int_equal(store_commit(store, bucket, STORE_ANY_REVISION, buf_slice(&head), &batch, NULL), 0);
	store_batch_release(&batch);
	buf_release(&head);
}

static uint64_t number_of(struct world *w, const char *name)
{
	struct attr attr;
	bool canonical;

	assert_int_equal(tree_lookup(w->fs, w->b, &test_root, NODE_FILES, S(name), TREE_CLOSED_NONE, &attr, &canonical), 0);
	return attr.inode & INODE_NODE_MASK;
}

static void fill_bucket(struct world *w)
{
	uint64_t folder, inner;

	assert_int_equal(data_key_set(w->fs, w->b, &test_root, S("a"), S("1"), false, false, NULL), 0);
	assert_int_equal(data_key_set(w->fs, w->b, &test_root, S("b/c"), S("[2]"), false, false, NULL), 0);
	put_control(w);
	put_file(w->fs, w->b, NODE_FILES, "Small One", 9);
	put_file(w->fs, w->b, NODE_FILES, "large", file_inline_max + 1);
	settle_due(w->fs, INT64_MAX);
	folder = put_folder(w->fs, w->b, NODE_FILES, "d");
	inner = put_folder(w->fs, w->b, folder, "e");
	put_file(w->fs, w->b, inner, "deep", 5);
	assert_int_equal(attribute_set(w->fs, w->b, &test_root, number_of(w, "large"), S("x"), S("y"), false, false, NULL), 0);
	assert_int_equal(attribute_set(w->fs, w->b, &test_root, NODE_BUCKET, S("x"), S("y"), false, false, NULL), 0);
	/* Not known to be on the disk, with a fallback. */
	put_file(w->fs, w->b, NODE_FILES, "young", file_inline_max + 2);
	settle_due(w->fs, INT64_MAX);
	put_file(w->fs, w->b, NODE_FILES, "young", file_inline_max + 3);
}

static void fill_transactions(struct world *w)
{
	struct key_buf mark = {.bytes = {'T'}, .len = 5};
	struct bucket *t;

	assert_int_equal(transaction_begin(w->fs, w->b, &test_root, S("t"), &t, NULL), 0);
	put_file(w->fs, t, put_folder(w->fs, t, NODE_FILES, "d"), "moved", 4);
	put_file(w->fs, t, NODE_FILES, "young", file_inline_max + 4);
	assert_int_equal(settle_bucket(w->fs, t), 0);
	assert_int_equal(data_key_set(w->fs, t, &test_root, S("a"), S("3"), false, false, NULL), 0);
	bucket_put(w->fs, t);
	/* Published, and the crash came before its end. */
	assert_int_equal(transaction_begin(w->fs, w->b, &test_root, S("done"), &t, NULL), 0);
	put_file(w->fs, t, NODE_FILES, "f", 4);
	bytes_put_be32(mark.bytes + 1, t->number);
	bucket_put(w->fs, t);
	put_record(w->store, w->b->number, STORE_META, key_slice(&mark), S(""));
	w->b->revision++;
}

static void build(struct image *i)
{
	static unsigned char fallback[32];
	struct key_buf erased = key_bucket_erased(77);
	struct world w;
	struct bucket *other;
	struct file_open *making, *version;
	char device[256];
	bool canonical;
	uint32_t last;

	assert_int_equal(memory_store_open(&w.store), 0);
	assert_int_equal(test_fs_open(w.store, &w.fs), 0);
	assert_int_equal(scoped_device_name(w.fs, NULL, device), 0);
	assert_int_equal(bucket_create(w.fs, &test_root, S("nightly"), &w.b), 0);
	assert_int_equal(bucket_create(w.fs, &test_root, S("other"), &other), 0);
	assert_int_equal(data_key_set(w.fs, other, &test_root, S("k"), S("1"), false, false, NULL), 0);
	assert_int_equal(bucket_make(w.fs, &test_root, S("device.x"), NULL, NULL, &other), 0);
	fill_bucket(&w);
	fill_transactions(&w);
	put_record(w.store, 77, STORE_NODE, S("Cxxxxxyyyyy"), S("z"));
	put_record(w.store, 0, STORE_META, key_slice(&erased), S(""));
	put_record(w.store, w.b->number, STORE_META, S("Q"), S("{\"a\":0}"));
	w.fs->root->revision++;
	w.b->revision++;
	/* What was being made when the crash came: closed and not released, and written to after that. */
	assert_int_equal(tree_create(w.fs, w.b, &test_root, NODE_FILES, S("large"), 0644, TREE_WRITE | TREE_TRUNCATE, &version,
				     &canonical, NULL), 0);
	assert_int_equal(file_write(version, 0, false, slice_of(fallback, sizeof(fallback)), NULL), 0);
	assert_int_equal(file_flush(version, FILE_CLOSER_DONE), 0);
	assert_int_equal(tree_create(w.fs, w.b, &test_root, NODE_FILES, S("new"), 0644, TREE_WRITE | TREE_TRUNCATE, &making, &canonical,
				     NULL), 0);
	assert_int_equal(file_write(making, 0, false, S("x"), NULL), 0);
	assert_int_equal(file_flush(making, FILE_CLOSER_DONE), 0);
	assert_int_equal(file_write(making, 0, false, S("y"), NULL), 0);
	last = (uint32_t)w.fs->root->head.next_node;
	for (uint32_t bucket = 0; bucket < last; bucket++)
		take_bucket(i, w.store, bucket);
	take_bucket(i, w.store, 77);
	take_contents(i, w.store);
	file_close(version, false);
	file_close(making, false);
	bucket_put(w.fs, w.b);
	fs_close(w.fs);
	store_close(w.store);
}

/* ---- the tour ---- */

struct tour {
	struct fs *fs;
	struct bucket *b;
	uint64_t numbers[24], parents[24];
	char names[24][name_max + 1];
	size_t count;
	uint64_t parent;
};

static int note_node(void *context, const struct node *node, const struct attr *attr)
{
	struct tour *t = context;

	(void)attr;
	if (t->count == sizeof(t->numbers) / sizeof(*t->numbers))
		return 0;
	t->numbers[t->count] = node->number;
	t->parents[t->count] = t->parent;
	assert_true(node->name.len && node->name.len <= name_max);
	memcpy(t->names[t->count], node->name.at, node->name.len);
	t->names[t->count++][node->name.len] = 0;
	return 0;
}

static void walk(struct tour *t)
{
	t->count = 0;
	t->parent = NODE_FILES;
	tree_list(t->fs, t->b, NODE_FILES, 0, TREE_CLOSED_NONE, note_node, t);
	for (size_t i = 0; i < t->count; i++) {
		t->parent = t->numbers[i];
		tree_list(t->fs, t->b, t->parent, 0, TREE_CLOSED_NONE, note_node, t);
	}
}

static void read_handle(struct file_open *h)
{
	static char bytes[file_inline_max + 100];
	size_t len;

	file_read(h->file, 0, bytes, sizeof(bytes), &len);
	file_read(h->file, h->file->node.size - 1, bytes, 1, &len);
}

static void look_at(struct tour *t, size_t i)
{
	struct slice name = S(t->names[i]);
	struct file_open *h;
	struct attr attr;
	struct buf out = {0};
	bool canonical;
	uint32_t uid;

	tree_lookup(t->fs, t->b, &test_root, t->parents[i], name, TREE_CLOSED_NONE, &attr, &canonical);
	tree_attr(t->fs, t->b, &test_root, t->numbers[i], &attr);
	tree_given_name(t->fs, t->b, &test_root, t->numbers[i], &out);
	tree_source(t->fs, t->b, &test_root, t->numbers[i], &out, &uid);
	attribute_list(t->fs, t->b, &test_root, t->numbers[i], &out);
	attribute_get(t->fs, t->b, &test_root, t->numbers[i], S("x"), &out);
	buf_release(&out);
	if (tree_open(t->fs, t->b, &test_root, t->numbers[i], TREE_READ, TREE_CLOSED_NONE, &h, NULL) == 0) {
		read_handle(h);
		file_close(h, false);
	}
}

static void change(struct tour *t, size_t i)
{
	static const uint32_t mode = 0755;
	struct tree_change chmod_it = {.mode = &mode};
	struct slice name = S(t->names[i]);
	struct file_open *h;
	bool canonical;

	tree_set(t->fs, t->b, &test_root, t->numbers[i], &chmod_it);
	if (tree_open(t->fs, t->b, &test_root, t->numbers[i], TREE_READ | TREE_WRITE, TREE_CLOSED_NONE, &h, NULL) == 0) {
		file_write(h, 3, false, S("changed"), NULL);
		read_handle(h);
		file_flush(h, FILE_CLOSER_DONE);
		file_close(h, false);
	}
	switch (i % 4) {
	case 0:
		tree_rename(t->fs, t->b, &test_root, t->parents[i], name, NODE_FILES, S("moved"), false, TREE_CLOSED_NONE, &canonical,
			    NULL);
		break;
	case 1:
		tree_rename(t->fs, t->b, &test_root, t->parents[i], name, t->numbers[t->count - 1], S("inner"), false,
			    TREE_CLOSED_NONE, &canonical, NULL);
		break;
	case 2:
		if (tree_create(t->fs, t->b, &test_root, t->parents[i], name, 0644, TREE_WRITE | TREE_TRUNCATE, &h, &canonical,
				NULL) == 0) {
			file_write(h, 0, false, S("new"), NULL);
			file_flush(h, FILE_CLOSER_DONE);
			file_close(h, false);
		}
		break;
	default:
		tree_truncate(t->fs, t->b, &test_root, t->numbers[i], 2, TREE_CLOSED_NONE, NULL);
	}
}

static void remove_node(struct tour *t, size_t i)
{
	bool canonical;

	if (tree_unlink(t->fs, t->b, &test_root, t->parents[i], S(t->names[i]), false, &canonical))
		tree_unlink(t->fs, t->b, &test_root, t->parents[i], S(t->names[i]), true, &canonical);
}

/* By the names that it was filled with, which listings may not show any more. */
static void look_by_name(struct tour *t)
{
	static const char *const names[] = {"small_one", "large", "d", "young", "new", "f"};
	struct attr attr;
	bool canonical;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		tree_lookup(t->fs, t->b, &test_root, NODE_FILES, S(names[i]), TREE_CLOSED_NONE, &attr, &canonical);
}

static void look_at_data(struct tour *t)
{
	static const char *const keys[] = {"a", "b/c", "k"};
	struct buf out = {0};
	struct text *text;
	struct attr attr;

	if (data_text(t->fs, t->b, &text) == 0)
		data_text_put(text);
	data_attr(t->fs, t->b, &test_root, &attr);
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		buf_clear(&out);
		data_key_get(t->fs, t->b, &test_root, S(keys[i]), &out);
		data_key_set(t->fs, t->b, &test_root, S(keys[i]), S("7"), false, false, NULL);
	}
	data_key_remove(t->fs, t->b, &test_root, S("a"), NULL);
	buf_release(&out);
}

static void look_at_control(struct tour *t)
{
	struct buf out = {0};
	struct attr attr;

	for (uint64_t node = NODE_CONTROL; node <= NODE_CONTROL_LAST; node++) {
		buf_clear(&out);
		control_attr(t->fs, t->b, &test_root, node, &attr);
		if (node != NODE_CONTROL)
			control_text(t->fs, t->b, &test_root, node, &out);
	}
	for (int i = 0; i < PRIVILEGE_COUNT; i++)
		bucket_acl_get(t->fs, t->b, &test_root, (enum privilege)i, &out);
	for (int i = 0; i < limits_own_count; i++)
		bucket_limit_get(t->fs, t->b, &test_root, i, &out);
	control_write(t->fs, t->b, &test_root, NODE_META, S("{\"title\":\"u\"}"), NULL);
	bucket_attr(t->fs, t->b, &test_root, &attr);
	bucket_look(t->fs, t->b);
	buf_release(&out);
}

static int note_id(void *context, struct slice name, uint32_t number)
{
	(void)context, (void)number;
	assert_true(name.len);
	return 0;
}

static void visit(struct fs *fs, struct bucket *b)
{
	struct tour t = {.fs = fs, .b = b};
	struct file_open *h;
	uint64_t number;
	bool canonical;
	char path[600];

	look_at_data(&t);
	look_at_control(&t);
	look_by_name(&t);
	transaction_path(fs, b, path, sizeof(path));
	transaction_list(fs, b, &test_root, 0, note_id, NULL);
	walk(&t);
	for (size_t i = 0; i < t.count; i++)
		look_at(&t, i);
	for (size_t i = 0; i < t.count; i++)
		change(&t, i);
	transaction_commit(fs, b, &test_root, S("t"), NULL);
	transaction_commit(fs, b, &test_root, S("done"), NULL);
	tree_mkdir(fs, b, &test_root, NODE_FILES, S("g"), &number, &canonical, NULL);
	if (tree_create(fs, b, &test_root, NODE_FILES, S("fresh"), 0644, TREE_WRITE, &h, &canonical, NULL) == 0) {
		file_write(h, 0, false, S("new"), NULL);
		file_flush(h, FILE_CLOSER_DONE);
		file_close(h, false);
	}
	settle_bucket(fs, b);
	walk(&t);
	for (size_t i = t.count; i--;)
		remove_node(&t, i);
}

static int visit_number(void *context, uint32_t number, struct slice id)
{
	struct fs *fs = context;
	struct bucket *b;

	assert_true(number && id.len && id.len <= name_max);
	if (bucket_get(fs, number, &b))
		return 0;
	visit(fs, b);
	bucket_put(fs, b);
	return 0;
}

static void tour(struct store *store)
{
	struct bucket *b;
	struct fs *fs;
	char device[256];

	/* Only the root's own head may keep everything shut. */
	if (test_fs_open(store, &fs)) {
		assert_true(which->bucket == 0 && which->space == head_space && log_lines_have("is damaged"));
		return;
	}
	scoped_device_name(fs, NULL, device);
	assert_int_equal(transaction_recover(fs), 0);
	assert_int_equal(scoped_prune(fs, NULL, NULL), 0);
	if (bucket_lookup(fs, S("nightly"), &b) == 0) {
		visit(fs, b);
		bucket_put(fs, b);
	}
	assert_int_equal(bucket_list(fs, 0, visit_number, fs), 0);
	bucket_remove(fs, &test_root, S("nightly"));
	transaction_purge(fs, 1);
	transaction_abandon(fs, fs->root, &test_root, S("t"));
	if (bucket_create(fs, &test_root, S("fresh"), &b) == 0)
		bucket_put(fs, b);
	settle_due(fs, INT64_MAX);
	redirect_drop_all(fs);
	file_end_again(fs, true);
	assert_int_equal(fs->files.count, 0);
	fs_close(fs);
	/* And once more, as the next start finds it. */
	if (test_fs_open(store, &fs))
		return;
	transaction_recover(fs);
	bucket_list(fs, 0, visit_number, fs);
	redirect_drop_all(fs);
	fs_close(fs);
}

/* ---- damage ---- */

static void say_where(void)
{
	fprintf(stderr, "%s: bucket %u, space %u, key \"", what, which->bucket, which->space);
	for (size_t i = 0; i < which->key.len; i++)
		fprintf(stderr, which->key.data[i] > 32 && which->key.data[i] < 127 ? "%c" : "\\%02x", which->key.data[i]);
	fprintf(stderr, "\", value of %zu bytes\n%s", which->value.len, log_lines);
}

static void too_long(int signal)
{
	(void)signal;
	say_where();
	_exit(3);
}

static void try_image(struct image *i, const char *kind, const struct record *at)
{
	struct faulty faulty = {.error = -EIO, .fail_from = calls_max};
	struct store *store;

	what = kind;
	which = at;
	log_lines_clear();
	alarm(seconds_max);
	assert_int_equal(faulty_store_open(&store, store_of(i), &faulty), 0);
	tour(store);
	if (faulty.calls >= calls_max) {
		say_where();
		fail_msg("%u calls of the store", faulty.calls);
	}
	store_close(store);
	alarm(0);
}

static void damage_value(struct image *i, struct record *r)
{
	struct buf *v = &r->value;
	size_t len = v->len;

	for (v->len = 0; v->len < len; v->len++)
		try_image(i, "cut short", r);
	assert_int_equal(buf_add_byte(v, 1), 0);
	try_image(i, "too long", r);
	v->len = len;
	for (size_t at = 0; at < len; at++) {
		unsigned char was = v->data[at];
		const unsigned char others[] = {0, 0xff, (unsigned char)(was ^ 1u << at % 8)};

		for (size_t n = 0; n < sizeof(others); n++) {
			v->data[at] = others[n];
			if (others[n] != was)
				try_image(i, "another byte", r);
		}
		v->data[at] = was;
	}
}

/* Beside it, so that the list stays in the order of buckets. */
static void try_double(struct image *i, size_t n, size_t key_len, const char *kind)
{
	struct record copy = {.bucket = i->records[n].bucket, .space = i->records[n].space};

	assert_int_equal(buf_add_slice(&copy.key, buf_slice(&i->records[n].key)), 0);
	assert_int_equal(buf_add_slice(&copy.value, buf_slice(&i->records[n].value)), 0);
	assert_int_equal(buf_resize(&copy.key, key_len), 0);
	memmove(i->records + n + 1, i->records + n, (i->count++ - n) * sizeof(copy));
	i->records[n] = copy;
	try_image(i, kind, &i->records[n]);
	memmove(i->records + n, i->records + n + 1, (--i->count - n) * sizeof(copy));
	buf_release(&copy.key);
	buf_release(&copy.value);
}

static void damage_key(struct image *i, size_t n)
{
	struct record *r = &i->records[n];
	size_t len = r->key.len;

	if (r->space == head_space)
		return;
	for (size_t shorter = 1; shorter < len; shorter++)
		try_double(i, n, shorter, "doubled with a shorter key");
	try_double(i, n, len + 1, "doubled with a longer key");
	try_double(i, n, 600, "doubled with a very long key");
	for (size_t at = 1; at < len; at++) {
		unsigned char was = r->key.data[at];
		const unsigned char others[] = {0, 0xff, (unsigned char)(was ^ 1u << at % 8)};

		for (size_t k = 0; k < sizeof(others); k++) {
			r->key.data[at] = others[k];
			if (others[k] != was)
				try_image(i, "another key", r);
		}
		r->key.data[at] = was;
	}
}

static void remove_record(struct image *i, size_t n)
{
	struct record was = i->records[n];

	memmove(i->records + n, i->records + n + 1, (--i->count - n) * sizeof(was));
	if (i->count)
		try_image(i, "removed", &was);
	memmove(i->records + n + 1, i->records + n, (i->count++ - n) * sizeof(was));
	i->records[n] = was;
}

static struct image *new_image(void)
{
	struct image *i = calloc(1, sizeof(*i));

	assert_non_null(i);
	build(i);
	signal(SIGALRM, too_long);
	return i;
}

static void each_record(void (*damage)(struct image *i, size_t n))
{
	struct image *i = new_image();

	for (size_t n = 0; n < i->count; n++)
		damage(i, n);
	image_release(i);
	free(i);
}

static void damage_value_at(struct image *i, size_t n)
{
	damage_value(i, &i->records[n]);
}

static void test_values(void **state)
{
	(void)state;
	each_record(damage_value_at);
}

static void test_keys(void **state)
{
	(void)state;
	each_record(damage_key);
}

static void test_removed(void **state)
{
	(void)state;
	each_record(remove_record);
}

/* The tour itself damages nothing. */
static void test_undamaged(void **state)
{
	struct image *i = new_image();

	(void)state;
	try_image(i, "nothing", &i->records[0]);
	if (log_lines_have("damaged")) {
		say_where();
		fail();
	}
	image_release(i);
	free(i);
}

/* ---- what takes more than one byte, and what the log says ---- */

static void open_world(struct world *w)
{
	assert_int_equal(memory_store_open(&w->store), 0);
	assert_int_equal(test_fs_open(w->store, &w->fs), 0);
	assert_int_equal(bucket_create(w->fs, &test_root, S("nightly"), &w->b), 0);
	alarm(seconds_max);
}

/* As the next start finds it. *b is NULL if the bucket cannot be opened. */
static void reopen_world(struct world *w)
{
	if (w->b)
		bucket_put(w->fs, w->b);
	fs_close(w->fs);
	log_lines_clear();
	w->b = NULL;
	assert_int_equal(test_fs_open(w->store, &w->fs), 0);
	bucket_lookup(w->fs, S("nightly"), &w->b);
}

static void close_world(struct world *w)
{
	bucket_put(w->fs, w->b);
	file_end_again(w->fs, true);
	assert_int_equal(w->fs->files.count, 0);
	fs_close(w->fs);
	store_close(w->store);
	alarm(0);
}

static void assert_line(const char *line)
{
	if (!log_lines_have(line))
		fail_msg("want \"%s\" in the log:\n%s", line, log_lines);
}

static int lookup(struct world *w, const char *name)
{
	struct attr attr;
	bool canonical;

	return tree_lookup(w->fs, w->b, &test_root, NODE_FILES, S(name), TREE_CLOSED_NONE, &attr, &canonical);
}

static void damage_node(struct world *w, uint64_t parent, uint64_t number, size_t at, unsigned char byte)
{
	struct key_buf key = key_child(parent, number);
	struct buf record = {0};

	assert_int_equal(store_get(w->store, w->b->number, STORE_NODE, key_slice(&key), &record), 0);
	record.data[at] = byte;
	put_record(w->store, w->b->number, STORE_NODE, key_slice(&key), buf_slice(&record));
	buf_release(&record);
}

static void test_no_place(void **state)
{
	struct world w;

	(void)state;
	open_world(&w);
	put_file(w.fs, w.b, NODE_FILES, "a", 9);
	damage_node(&w, NODE_FILES, 16, 2, PLACE_NONE);
	reopen_world(&w);
	assert_int_equal(lookup(&w, "a"), -EIO);
	assert_line("bucket nightly: the record of file number 16 is damaged: it has a size and no place\n");
	close_world(&w);
}

/* It would not fit where an open file has it. */
static void test_long_job(void **state)
{
	static char job[200];
	struct node node = {.number = 16, .parent = NODE_FILES, .kind = NODE_FILE, .name = S("a")};
	struct key_buf key = key_child(NODE_FILES, 16);
	struct buf record = {0};
	struct file_open *h;
	struct world w;

	(void)state;
	open_world(&w);
	put_file(w.fs, w.b, NODE_FILES, "a", 9);
	memset(job, 'j', sizeof(job));
	node.job = slice_of(job, sizeof(job));
	assert_int_equal(node_encode(&node, &record), 0);
	put_record(w.store, w.b->number, STORE_NODE, key_slice(&key), buf_slice(&record));
	reopen_world(&w);
	assert_int_equal(tree_open(w.fs, w.b, &test_root, 16, TREE_READ, TREE_CLOSED_NONE, &h, NULL), -EIO);
	assert_line("bucket nightly: the record of file number 16 is damaged: its job has no name\n");
	buf_release(&record);
	close_world(&w);
}

static void put_head(struct world *w, uint32_t bucket, const struct buf *head)
{
	struct store_batch nothing = {0};

	assert_int_equal(store_commit(w->store, bucket, STORE_ANY_REVISION, buf_slice(head), &nothing, NULL), 0);
}

static void test_section_twice(void **state)
{
	enum { section = 14 }; /* tag, length, count, one principal */
	struct slice everybody = S("*");
	struct buf head = {0};
	struct world w;
	uint64_t revision;
	bool narrowed;

	(void)state;
	open_world(&w);
	assert_int_equal(bucket_acl_set(w.fs, w.b, &test_root, PRIVILEGE_EDIT, &everybody, &narrowed, NULL), 0);
	assert_int_equal(store_head(w.store, w.b->number, &revision, &head), 0);
	assert_int_equal(buf_reserve(&head, head.len), 0);
	assert_int_equal(head.data[head.len - section], 1 + PRIVILEGE_EDIT);
	assert_int_equal(buf_add(&head, head.data + head.len - section, section), 0);
	put_head(&w, w.b->number, &head);
	reopen_world(&w);
	assert_null(w.b);
	assert_line("bucket nightly: the record of bucket number 1 is damaged: a section of it is none, or is there twice\n");
	/* The others are there all the same. */
	assert_int_equal(bucket_create(w.fs, &test_root, S("other"), &w.b), 0);
	buf_release(&head);
	close_world(&w);
}

/* The name of a transaction leads to the root, to its bucket, to another one; then its bucket is its own. */
static void test_wrong_transaction(void **state)
{
	static const uint32_t numbers[] = {0, 1, 2, 77};
	struct key_buf by_name = key_bucket_name(S("tx.1.u0.t")), by_number = key_bucket_number(1);
	struct bucket *other;
	struct world w;
	struct buf origin = {0};

	(void)state;
	open_world(&w);
	assert_int_equal(bucket_create(w.fs, &test_root, S("other"), &other), 0);
	bucket_put(w.fs, other);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		unsigned char raw[4];

		bytes_put_le32(raw, numbers[i]);
		put_record(w.store, 0, STORE_META, key_slice(&by_name), slice_of(raw, sizeof(raw)));
		reopen_world(&w);
		assert_int_equal(transaction_recover(w.fs), 0);
		assert_int_equal(transaction_commit(w.fs, w.b, &test_root, S("t"), NULL), numbers[i] == 77 ? BUCKET_ABSENT : -EIO);
		assert_int_equal(transaction_abandon(w.fs, w.b, &test_root, S("t")), numbers[i] == 77 ? BUCKET_ABSENT : -EIO);
		assert_int_equal(transaction_purge(w.fs, 1), 0);
		if (numbers[i] != 77)
			assert_line(numbers[i] ? "bucket /: the record of bucket \"tx.1.u0.t\" is damaged: it leads to another bucket\n" :
						 "bucket /: the record of bucket \"tx.1.u0.t\" is damaged: it leads to no number\n");
	}
	put_record(w.store, 0, STORE_META, key_slice(&by_name), slice_of("\1\0\0\0", 4));
	assert_int_equal(origin_encode(&(struct origin){.name = S("tx.1.u0.t")}, &origin), 0);
	put_record(w.store, 0, STORE_META, key_slice(&by_number), buf_slice(&origin));
	reopen_world(&w);
	assert_null(w.b);
	assert_int_equal(transaction_recover(w.fs), 0);
	assert_int_equal(bucket_get(w.fs, 1, &w.b), 0);
	assert_int_equal(transaction_commit(w.fs, w.b, &test_root, S("t"), NULL), -EIO);
	assert_line("bucket tx.1.u0.t: the record of bucket number 1 is damaged: it is a transaction of its own\n");
	assert_int_equal(transaction_purge(w.fs, 1), 0);
	buf_release(&origin);
	close_world(&w);
}

static void test_transaction_ids(void **state)
{
	static const char *const none[] = {"tx.", "tx.1", "tx.1.", "tx.1.u", "tx.x.u0.t", "tx..u0.t", "tx.99999999.u0.t", "tx.-1.u0.t",
					   "nightly"};

	(void)state;
	for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++) {
		/* Without a NUL behind it. */
		char *exact = malloc(strlen(none[i]));

		assert_non_null(exact);
		memcpy(exact, none[i], strlen(none[i]));
		assert_int_equal(transaction_bucket(slice_of(exact, strlen(none[i]))), 0);
		free(exact);
	}
	assert_int_equal(transaction_bucket(S("tx.12.u0.t")), 12);
}

static void test_long_id(void **state)
{
	struct key_buf by_number = key_bucket_number(1);
	struct buf origin = {0};
	char name[400];
	struct world w;

	(void)state;
	open_world(&w);
	memset(name, 'a', sizeof(name));
	assert_int_equal(origin_encode(&(struct origin){.name = slice_of(name, sizeof(name))}, &origin), 0);
	put_record(w.store, 0, STORE_META, key_slice(&by_number), buf_slice(&origin));
	reopen_world(&w);
	assert_null(w.b);
	assert_line("the record of bucket number 1 is damaged: its id is none\n");
	assert_int_equal(bucket_list(w.fs, 0, visit_number, w.fs), 0);
	buf_release(&origin);
	close_world(&w);
}

/* Two folders that are in each other. */
static void test_circle(void **state)
{
	struct world w;
	struct buf record = {0}, text = {0};
	struct key_buf key;
	unsigned char raw[5];
	uint64_t one, other, third;
	bool canonical;

	(void)state;
	open_world(&w);
	one = put_folder(w.fs, w.b, NODE_FILES, "one");
	other = put_folder(w.fs, w.b, one, "other");
	third = put_folder(w.fs, w.b, NODE_FILES, "third");
	put_file(w.fs, w.b, other, "deep", 4);
	key = key_child(NODE_FILES, one);
	assert_int_equal(store_get(w.store, w.b->number, STORE_NODE, key_slice(&key), &record), 0);
	key = key_child(other, one);
	put_record(w.store, w.b->number, STORE_NODE, key_slice(&key), buf_slice(&record));
	key = key_parent(one);
	bytes_put_be40(raw, other);
	put_record(w.store, w.b->number, STORE_NODE, key_slice(&key), slice_of(raw, sizeof(raw)));
	/* Its record right in files/ goes, but not its name. */
	key = key_child(NODE_FILES, one);
	struct store_batch batch = {0};
	struct buf head = {0};
	uint64_t revision;
	assert_int_equal(store_head(w.store, w.b->number, &revision, &head), 0);
	store_batch_delete(&batch, STORE_NODE, key_slice(&key));
	assert_int_equal(store_commit(w.store, w.b->number, STORE_ANY_REVISION, buf_slice(&head), &batch, NULL), 0);
	store_batch_release(&batch);
	buf_release(&head);
	reopen_world(&w);
	assert_int_equal(tree_rename(w.fs, w.b, &test_root, NODE_FILES, S("third"), other, S("in"), false, TREE_CLOSED_NONE, &canonical,
				     NULL), -EIO);
	assert_line("it is in a folder that is in it\n");
	assert_int_equal(info_text(w.fs, w.b, &text), -EIO);
	assert_int_equal(lookup(&w, "third"), 0);
	(void)third;
	buf_release(&record);
	buf_release(&text);
	close_world(&w);
}

/* A number that is in use is not given out again, in files/ and elsewhere. */
static void test_next_number(void **state)
{
	for (int in_folder = 0; in_folder < 2; in_folder++) {
		struct world w;
		struct buf head = {0};
		struct acl acl;
		struct own_limits own;
		struct head h;
		const char *fault;
		uint64_t revision, folder = NODE_FILES, kept;
		struct attr attr;
		bool canonical;

		(void)state;
		open_world(&w);
		if (in_folder)
			folder = put_folder(w.fs, w.b, NODE_FILES, "d");
		put_file(w.fs, w.b, folder, "a", 9);
		kept = w.b->head.next_node - 1;
		assert_int_equal(store_head(w.store, w.b->number, &revision, &head), 0);
		assert_int_equal(head_decode(&h, &acl, &own, buf_slice(&head), &fault), 0);
		h.next_node = kept;
		buf_clear(&head);
		assert_int_equal(head_encode(&h, &acl, &own, &head), 0);
		put_head(&w, w.b->number, &head);
		reopen_world(&w);
		put_file(w.fs, w.b, folder, "b", 3);
		assert_line("bucket nightly: the record of bucket number 1 is damaged: the next number is one that is in use");
		assert_int_equal(tree_lookup(w.fs, w.b, &test_root, folder, S("b"), TREE_CLOSED_NONE, &attr, &canonical), 0);
		assert_int_equal(attr.inode & INODE_NODE_MASK, kept + 1);
		assert_int_equal(tree_lookup(w.fs, w.b, &test_root, folder, S("a"), TREE_CLOSED_NONE, &attr, &canonical), 0);
		assert_int_equal(attr.inode & INODE_NODE_MASK, kept);
		assert_int_equal(attr.size, 9);
		buf_release(&head);
		close_world(&w);
	}
}

/* And of buckets. */
static void test_next_bucket(void **state)
{
	struct store_batch nothing = {0};
	struct world w;
	struct bucket *other;

	(void)state;
	open_world(&w);
	put_file(w.fs, w.b, NODE_FILES, "a", 9);
	/* The root's head is lost, and with it the next number. */
	w.fs->root->head.next_node = 1;
	bucket_lock(w.fs->root);
	assert_int_equal(bucket_commit(w.fs, w.fs->root, &w.fs->root->head, &nothing), 0);
	bucket_unlock(w.fs->root);
	reopen_world(&w);
	assert_int_equal(bucket_create(w.fs, &test_root, S("other"), &other), 0);
	assert_int_equal(other->number, 2);
	assert_line("bucket /: the record of bucket number 0 is damaged: the next number is one that is in use");
	bucket_put(w.fs, other);
	assert_int_equal(lookup(&w, "a"), 0);
	close_world(&w);
}

/* A note of a deleted bucket that leads to one that is there, or to none at all. */
static void test_wrong_note(void **state)
{
	struct key_buf erased = key_bucket_erased(1);
	struct bucket *other;
	struct world w;

	(void)state;
	open_world(&w);
	put_file(w.fs, w.b, NODE_FILES, "a", 9);
	put_record(w.store, 0, STORE_META, key_slice(&erased), S(""));
	put_record(w.store, 0, STORE_META, S("G"), S(""));
	put_record(w.store, 0, STORE_META, S("Gaaaaa"), S(""));
	reopen_world(&w);
	assert_line("bucket /: the record of deleted bucket number 1 is damaged: the bucket is there\n");
	assert_int_equal(lookup(&w, "a"), 0);
	assert_int_equal(bucket_create(w.fs, &test_root, S("other"), &other), 0);
	bucket_put(w.fs, other);
	close_world(&w);
}

/* A name that leads to no file, a file by another name, a head that has forgotten what is there. */
static void test_names_and_counts(void **state)
{
	struct key_buf nowhere = key_name(NODE_FILES, S("b")), wrong = key_name(NODE_FILES, S("c"));
	struct world w;
	struct head head;
	unsigned char raw[5];

	(void)state;
	open_world(&w);
	put_file(w.fs, w.b, NODE_FILES, "a", 9);
	bytes_put_be40(raw, 99);
	put_record(w.store, 1, STORE_NODE, key_slice(&nowhere), slice_of(raw, sizeof(raw)));
	bytes_put_be40(raw, 16);
	put_record(w.store, 1, STORE_NODE, key_slice(&wrong), slice_of(raw, sizeof(raw)));
	reopen_world(&w);
	assert_int_equal(lookup(&w, "b"), -EIO);
	assert_line("bucket nightly: the record of name \"b\" is damaged: it leads to no file\n");
	assert_int_equal(lookup(&w, "c"), -EIO);
	assert_line("bucket nightly: the record of file number 16 is damaged: its name is not the one that it was found by\n");
	head = w.b->head;
	head.files = 0;
	bucket_lock(w.b);
	assert_int_equal(bucket_commit(w.fs, w.b, &head, &(struct store_batch){0}), 0);
	bucket_unlock(w.b);
	assert_int_equal(bucket_remove(w.fs, &test_root, S("nightly")), -EIO);
	assert_int_equal(lookup(&w, "a"), 0);
	close_world(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_undamaged), cmocka_unit_test(test_values), cmocka_unit_test(test_keys),
					   cmocka_unit_test(test_removed), cmocka_unit_test(test_no_place), cmocka_unit_test(test_long_job),
					   cmocka_unit_test(test_section_twice),
					   cmocka_unit_test(test_wrong_transaction), cmocka_unit_test(test_transaction_ids),
					   cmocka_unit_test(test_long_id), cmocka_unit_test(test_circle),
					   cmocka_unit_test(test_next_number), cmocka_unit_test(test_next_bucket),
					   cmocka_unit_test(test_wrong_note), cmocka_unit_test(test_names_and_counts)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
