/* A store in which exactly one thing is broken: the check finds that and nothing else, repair mends it, and everything else stays. */
#include "check/check.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bucket/attribute.h"
#include "bucket/control.h"
#include "bucket/data.h"
#include "bucket/settle.h"
#include "bucket/transaction.h"
#include "fixture.h"
#include "store/rocksdb.h"
#include "store/rocksdb_check.h"
#include "store/rocksdb_internal.h"
#include "util/bytes.h"

enum { large = 50000, findings_most = 64 };

struct told {
	char bucket[64], path[128], kind[16], detail[256];
	bool mended, note;
};

struct box {
	char folder[64], lock[80];
	struct fixture f;
	struct store *store; /* opened to break something */
	uint32_t bucket, other;
	uint64_t a, empty, big, sub, b, deep; /* numbers of nodes */
	uint64_t content, deep_content;
	struct told told[findings_most];
	size_t count, notes;
	struct check_sums sums;
};

/* ---- the store ---- */

static void put_large(struct fixture *f, uint64_t parent, const char *name, char fill)
{
	char *bytes = malloc(large);
	struct file_open *h = create(f, parent, name);

	memset(bytes, fill, large);
	assert_int_equal(file_write(h, 0, false, slice_of(bytes, large), NULL), 0);
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	file_close(h, false);
	free(bytes);
}

static uint64_t content_of(struct fixture *f, uint64_t parent, const char *name)
{
	struct found found = {0};
	uint64_t content;

	assert_int_equal(tree_find_name(f->fs, f->b, parent, S(name), &found), 0);
	content = found.node.content;
	tree_found_release(&found);
	return content;
}

static void merge(struct fixture *f, const char *text)
{
	struct document patch = {0};

	assert_int_equal(document_parse(S(text), 0, &patch, NULL), 0);
	assert_int_equal(data_merge(f->fs, f->b, NULL, &patch, NULL), 0);
	document_release(&patch);
}

static void open_fs(struct box *x)
{
	struct rocksdb_store_options options = {0};

	assert_int_equal(rocksdb_store_open(&x->f.store, x->folder, &options, NULL), 0);
	assert_int_equal(test_fs_open(x->f.store, &x->f.fs), 0);
}

static void close_fs(struct box *x)
{
	fs_close(x->f.fs);
	store_close(x->f.store);
}

static void fill_bucket(struct box *x, const char *name)
{
	struct fixture *f = &x->f;
	struct slice schema = S("{\"type\": \"object\"}");

	assert_int_equal(bucket_create(f->fs, &test_root, S(name), &f->b), 0);
	put_file(f, NODE_FILES, "a", "hello");
	put_file(f, NODE_FILES, "empty", "");
	put_large(f, NODE_FILES, "big", 'x');
	x->sub = make_folder(f, NODE_FILES, "sub");
	put_file(f, x->sub, "b", "world");
	put_large(f, x->sub, "deep", 'y');
	merge(f, "{\"k\": 1, \"n\": [2, 3]}");
	assert_int_equal(control_write(f->fs, f->b, &test_root, NODE_META, S("{\"title\": \"T\"}"), NULL), 0);
	assert_int_equal(control_write(f->fs, f->b, &test_root, NODE_SCHEMA, schema, NULL), 0);
	assert_int_equal(attribute_set(f->fs, f->b, &test_root, number_of(f, NODE_FILES, "a"), S("user.x"), S("v"),
				       false, false, NULL),
			 0);
	settle_due(f->fs, INT64_MAX);
	x->a = number_of(f, NODE_FILES, "a");
	x->empty = number_of(f, NODE_FILES, "empty");
	x->big = number_of(f, NODE_FILES, "big");
	x->b = number_of(f, x->sub, "b");
	x->deep = number_of(f, x->sub, "deep");
	x->content = content_of(f, NODE_FILES, "big");
	x->deep_content = content_of(f, x->sub, "deep");
}

static int box_setup(void **state)
{
	struct box *x = *state = calloc(1, sizeof(*x));

	strcpy(x->folder, "/tmp/bucketfs-test-check-XXXXXX");
	assert_non_null(mkdtemp(x->folder));
	open_fs(x);
	fill_bucket(x, "other");
	x->other = x->f.b->number;
	bucket_put(x->f.fs, x->f.b);
	fill_bucket(x, "nightly");
	x->bucket = x->f.b->number;
	bucket_put(x->f.fs, x->f.b);
	close_fs(x);
	log_open(LOG_TARGET_NONE, NULL, LOG_LEVEL_ERROR);
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static int box_teardown(void **state)
{
	struct box *x = *state;

	nftw(x->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(x);
	return 0;
}

/* ---- breaking ---- */

static void begin(struct box *x)
{
	assert_int_equal(rocksdb_store_open_to_check(&x->store, x->folder, ROCKSDB_CHECK_REPAIR, NULL, NULL), 0);
}

static void end(struct box *x)
{
	store_close(x->store);
	x->store = NULL;
}

/* With the head as it is, or as it is made. */
static void commit(struct box *x, uint32_t bucket, struct store_batch *batch, void (*edit)(struct head *head))
{
	struct own_limits own = {{NULL}};
	struct buf head = {0};
	struct acl acl = {0};
	uint64_t revision;
	struct head h;
	const char *fault;
	int r = store_head(x->store, bucket, &revision, &head);

	assert_true(r == 0 || r == STORE_ABSENT);
	if (edit) {
		assert_int_equal(head_decode(&h, &acl, &own, buf_slice(&head), &fault), 0);
		edit(&h);
		buf_clear(&head);
		assert_int_equal(head_encode(&h, &acl, &own, &head), 0);
	}
	assert_int_equal(store_commit(x->store, bucket, STORE_ANY_REVISION, buf_slice(&head), batch, NULL), 0);
	acl_release(&acl);
	own_limits_release(&own);
	buf_release(&head);
	store_batch_release(batch);
}

static void edit_head(struct box *x, uint32_t bucket, void (*edit)(struct head *head))
{
	struct store_batch batch = {0};

	begin(x);
	commit(x, bucket, &batch, edit);
	end(x);
}

static void put_in(struct box *x, uint32_t bucket, enum store_space space, struct key_buf key, struct slice value)
{
	struct store_batch batch = {0};

	begin(x);
	store_batch_put(&batch, space, key_slice(&key), value);
	commit(x, bucket, &batch, NULL);
	end(x);
}

static void put(struct box *x, enum store_space space, struct key_buf key, struct slice value)
{
	put_in(x, x->bucket, space, key, value);
}

static void delete_in(struct box *x, uint32_t bucket, enum store_space space, struct key_buf key)
{
	struct store_batch batch = {0};

	begin(x);
	store_batch_delete(&batch, space, key_slice(&key));
	commit(x, bucket, &batch, NULL);
	end(x);
}

static void delete(struct box *x, enum store_space space, struct key_buf key)
{
	delete_in(x, x->bucket, space, key);
}

static struct key_buf letter(char kind)
{
	return (struct key_buf){.bytes = {(unsigned char)kind}, .len = 1};
}

static void put_number(struct box *x, struct key_buf key, uint64_t number)
{
	unsigned char raw[5];

	bytes_put_be40(raw, number);
	put(x, STORE_NODE, key, slice_of(raw, 5));
}

static void own_change(struct box *x, char kind, uint64_t number, bool is)
{
	struct rocksdb_store *s;

	begin(x);
	s = container_of(x->store, struct rocksdb_store, base);
	assert_int_equal(is ? rocks_own_write(s, kind, number, "", 0) : rocks_own_delete(s, kind, number), 0);
	end(x);
}

static void blob_path(struct box *x, uint64_t content, char path[128])
{
	snprintf(path, 128, "%s/blobs/%02x/%016llx", x->folder, (unsigned)(content & 0xff), (unsigned long long)content);
}

/* ---- looking ---- */

static void note_finding(void *context, const struct check_finding *f)
{
	struct box *x = context;
	struct told *t = &x->told[x->count];

	if (f->note) {
		x->notes++;
		return;
	}
	assert_true(x->count < findings_most);
	snprintf(t->bucket, sizeof(t->bucket), "%s", f->bucket);
	snprintf(t->path, sizeof(t->path), "%s", f->path);
	snprintf(t->kind, sizeof(t->kind), "%s", f->kind);
	snprintf(t->detail, sizeof(t->detail), "%s", f->detail);
	t->mended = f->mended;
	x->count++;
}

static int check(struct box *x, bool data, bool repair)
{
	struct check_options o = {.store = x->folder, .data = data, .repair = repair, .finding = note_finding, .context = x};
	struct reason why;

	x->count = x->notes = 0;
	return check_store(&o, &x->sums, &why);
}

static void show(struct box *x)
{
	for (size_t i = 0; i < x->count; i++)
		print_error("%s/%s [%s]: %s%s\n", x->told[i].bucket, x->told[i].path, x->told[i].kind, x->told[i].detail,
			    x->told[i].mended ? " (mended)" : "");
}

static void expect_count(struct box *x, size_t count)
{
	if (x->count != count) {
		show(x);
		fail_msg("%zu findings, expected %zu", x->count, count);
	}
}

static void expect_nothing(struct box *x, bool data)
{
	assert_int_equal(check(x, data, false), 0);
	expect_count(x, 0);
	assert_int_equal(x->sums.findings, 0);
}

static void expect_told(struct box *x, const char *bucket, const char *path, const char *kind, bool mended)
{
	expect_count(x, 1);
	assert_string_equal(x->told[0].bucket, bucket);
	assert_string_equal(x->told[0].path, path);
	assert_string_equal(x->told[0].kind, kind);
	assert_int_equal(x->told[0].mended, mended);
}

/* One finding; mended; none. */
static void mends(struct box *x, bool data, const char *bucket, const char *path, const char *kind)
{
	assert_int_equal(check(x, data, false), 0);
	expect_told(x, bucket, path, kind, false);
	assert_int_equal(check(x, data, true), 0);
	expect_told(x, bucket, path, kind, true);
	assert_int_equal(x->sums.mended, 1);
	expect_nothing(x, true);
	assert_int_equal(x->notes, 0);
}

/* One finding, which repair leaves. */
static void leaves(struct box *x, const char *bucket, const char *path, const char *kind)
{
	for (int repair = 0; repair < 2; repair++) {
		assert_int_equal(check(x, false, repair), 0);
		expect_told(x, bucket, path, kind, false);
		assert_int_equal(x->sums.mended, 0);
	}
}

static void expect_large(struct fixture *f, uint64_t parent, const char *name, uint64_t size, char fill)
{
	struct file_open *h;
	char *bytes = malloc(large + 1);
	size_t got;

	assert_int_equal(tree_open(f->fs, f->b, &test_root, number_of(f, parent, name), TREE_READ, TREE_CLOSED_NONE, &h, NULL), 0);
	assert_int_equal(file_read(h->file, 0, bytes, large + 1, &got), 0);
	assert_int_equal(got, size);
	for (size_t i = 0; fill && i < got; i++)
		assert_int_equal(bytes[i], fill);
	file_close(h, false);
	free(bytes);
}

static void expect_data(struct fixture *f, const char *want)
{
	struct text *text;

	assert_int_equal(data_text(f->fs, f->b, &text), 0);
	assert_slice(buf_slice(&text->bytes), want);
	data_text_put(text);
}

enum { NO_A = 1, NO_BIG = 2, NO_SUB = 4, NO_DATA = 8, NO_EMPTY = 16, NO_B = 32, NO_DEEP = 64 };

/* A daemon finds everything as it was, but for what `without` names; `look` sees to that. */
static void serve(struct box *x, const char *name, unsigned without, void (*look)(struct fixture *f))
{
	struct fixture *f = &x->f;
	uint64_t sub = 0;

	open_fs(x);
	log_open(LOG_TARGET_NONE, NULL, LOG_LEVEL_ERROR);
	for (int i = 0; i < 2; i++) {
		unsigned left = i ? without : 0;

		assert_int_equal(bucket_find(f->fs, S(i ? name : "other"), &f->b), 0);
		if (!(left & NO_A))
			assert_file(f, NODE_FILES, "a", "hello");
		if (!(left & NO_EMPTY))
			assert_file(f, NODE_FILES, "empty", "");
		if (!(left & NO_BIG))
			expect_large(f, NODE_FILES, "big", large, 'x');
		if (!(left & NO_SUB))
			sub = number_of(f, NODE_FILES, "sub");
		if (!(left & (NO_SUB | NO_B)))
			assert_file(f, sub, "b", "world");
		if (!(left & (NO_SUB | NO_DEEP)))
			expect_large(f, sub, "deep", large, 'y');
		if (!(left & NO_DATA))
			expect_data(f, "{\n  \"k\": 1,\n  \"n\": [2,3]\n}\n");
		if (i && look)
			look(f);
		bucket_put(f->fs, f->b);
	}
	close_fs(x);
}

static void serves(struct box *x)
{
	serve(x, "nightly", 0, NULL);
}

/* ---- nothing is wrong ---- */

static void test_clean(void **state)
{
	struct box *x = *state;

	expect_nothing(x, true);
	assert_int_equal(x->sums.buckets, 2);
	assert_int_equal(x->sums.files, 10);
	assert_int_equal(x->sums.bytes, 4 * large + 20);
	assert_int_equal(x->sums.unsealed, 0);
	assert_false(x->sums.live);
	assert_int_equal(check(x, true, true), 0);
	expect_count(x, 0);
	serves(x);
}

static void test_no_store(void **state)
{
	struct box *x = *state;
	struct check_options o = {.store = "/nowhere/at/all", .finding = note_finding, .context = x};
	struct reason why;

	assert_int_not_equal(check_store(&o, &x->sums, &why), 0);
	assert_non_null(strstr(why.text, "there is no store"));
	o.store = "/usr";
	assert_int_not_equal(check_store(&o, &x->sums, &why), 0);
	assert_non_null(strstr(why.text, "not a bucketfs store"));
}

/* A daemon holds it, with a file that is being made, one that is rewritten, and a transaction. */
static void test_live(void **state)
{
	struct box *x = *state;
	struct fixture *f = &x->f;
	struct file_open *made, *again;
	struct bucket *t;

	open_fs(x);
	assert_int_equal(bucket_find(f->fs, S("nightly"), &f->b), 0);
	made = create(f, NODE_FILES, "made");
	assert_int_equal(file_write(made, 0, false, S("half"), NULL), 0);
	assert_int_equal(file_flush(made, FILE_CLOSER_SHARES), 0);
	again = create(f, NODE_FILES, "big");
	assert_int_equal(file_write(again, 0, false, S("new"), NULL), 0);
	assert_int_equal(file_flush(again, FILE_CLOSER_DONE), 0);
	assert_int_equal(transaction_begin(f->fs, f->b, &test_root, S("t"), &t, NULL), 0);
	expect_nothing(x, true);
	assert_true(x->sums.live);
	assert_int_equal(x->sums.buckets, 2);
	assert_int_not_equal(check(x, false, true), 0);
	bucket_put(f->fs, t);
	file_close(made, false);
	file_close(again, false);
	bucket_put(f->fs, f->b);
	close_fs(x);
	expect_nothing(x, true);
}

/* What is broken before a daemon takes the store is found while it has it. */
static void test_live_and_broken(void **state)
{
	struct box *x = *state;
	char path[128];

	delete(x, STORE_NODE, key_name(NODE_FILES, S("empty")));
	blob_path(x, x->content, path);
	assert_int_equal(truncate(path, 3), 0);
	open_fs(x);
	log_open(LOG_TARGET_NONE, NULL, LOG_LEVEL_ERROR);
	assert_int_equal(check(x, false, false), 0);
	assert_true(x->sums.live);
	expect_count(x, 2);
	assert_string_equal(x->told[0].path, "files/empty");
	assert_string_equal(x->told[1].path, "files/big");
	assert_string_equal(x->told[1].detail, "3 of its 50000 bytes are there");
	close_fs(x);
}

static void name_empty(struct box *x, bool is)
{
	struct key_buf key = key_name(NODE_FILES, S("empty"));
	struct store_batch batch = {0};
	unsigned char raw[5];

	bytes_put_be40(raw, x->empty);
	if (is)
		store_batch_put(&batch, STORE_NODE, key_slice(&key), slice_of(raw, 5));
	else
		store_batch_delete(&batch, STORE_NODE, key_slice(&key));
	x->store = x->f.store;
	commit(x, x->bucket, &batch, NULL);
	x->store = NULL;
}

/* After the moment that is looked at, and before the next look. */
static bool mend_meanwhile(void *context, const char *what, uint64_t done, uint64_t total)
{
	struct box *x = context;

	(void)what, (void)total;
	if (done == 1 && x->notes == 0) {
		name_empty(x, true);
		x->notes = 1;
	}
	return true;
}

/* What is found at one look only is not told. */
static void test_second_look(void **state)
{
	struct box *x = *state;
	struct check_options o = {.store = x->folder, .finding = note_finding, .progress = mend_meanwhile, .context = x};

	open_fs(x);
	log_open(LOG_TARGET_NONE, NULL, LOG_LEVEL_ERROR);
	name_empty(x, false);
	x->count = x->notes = 0;
	assert_int_equal(check_store(&o, &x->sums, NULL), 0);
	assert_true(x->sums.live);
	assert_int_equal(x->notes, 1);
	expect_count(x, 0);
	name_empty(x, false);
	assert_int_equal(check(x, false, false), 0);
	expect_told(x, "nightly", "files/empty", "name", false);
	name_empty(x, true);
	close_fs(x);
	serves(x);
}

/* ---- counts ---- */

static void more_files(struct head *h) { h->files++; }
static void more_bytes(struct head *h) { h->file_bytes -= 3; }
static void more_making(struct head *h) { h->making++; }
static void more_unsettled(struct head *h) { h->unsettled++; }
static void more_keys(struct head *h) { h->data_keys++; }
static void more_data(struct head *h) { h->data_size--; }
static void no_data(struct head *h) { h->data_present = false; }
static void early_number(struct head *h) { h->next_node = NODE_FIRST + 1; }
static void first_number(struct head *h) { h->next_node = 1; }

static void test_counts(void **state)
{
	struct box *x = *state;
	static const struct {
		void (*edit)(struct head *h);
		const char *path;
	} cases[] = {{more_files, "files"}, {more_bytes, "files"}, {more_making, "files"}, {more_unsettled, "files"}, {more_keys, "data.json"},
		     {more_data, "data.json"}, {no_data, "data.json"}, {early_number, ""}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		edit_head(x, x->bucket, cases[i].edit);
		mends(x, false, "nightly", cases[i].path, "count");
	}
	edit_head(x, 0, more_files);
	mends(x, false, "", "", "count");
	edit_head(x, 0, first_number);
	mends(x, false, "", "", "count");
	serves(x);
}

/* ---- names ---- */

static void test_no_name(void **state)
{
	struct box *x = *state;

	delete(x, STORE_NODE, key_name(NODE_FILES, S("a")));
	mends(x, false, "nightly", "files/a", "name");
	serves(x);
}

static void in_lost(struct fixture *f, const char *name, const char *want)
{
	assert_file(f, number_of(f, NODE_FILES, "lost_found"), name, want);
}

static void look_empty_lost(struct fixture *f)
{
	char name[40];

	snprintf(name, sizeof(name), "a");
	in_lost(f, name, "hello");
	assert_file(f, NODE_FILES, "a", "");
}

/* Something else has its name: both are kept. */
static void test_name_taken(void **state)
{
	struct box *x = *state;
	struct store_batch batch = {0};
	struct key_buf old = key_child(NODE_FILES, x->empty), name = key_name(NODE_FILES, S("a")), own = key_name(NODE_FILES, S("empty"));
	struct buf record = {0}, changed = {0};
	unsigned char raw[5];
	struct node n;

	begin(x);
	assert_int_equal(store_get(x->store, x->bucket, STORE_NODE, key_slice(&old), &record), 0);
	n = (struct node){.number = key_child_node_of(key_slice(&old)), .parent = key_child_parent_of(key_slice(&old))};
	assert_null(node_decode(&n, buf_slice(&record)));
	n.name = S("a");
	assert_int_equal(node_encode(&n, &changed), 0);
	store_batch_put(&batch, STORE_NODE, key_slice(&old), buf_slice(&changed));
	bytes_put_be40(raw, x->empty);
	store_batch_put(&batch, STORE_NODE, key_slice(&name), slice_of(raw, 5));
	store_batch_delete(&batch, STORE_NODE, key_slice(&own));
	commit(x, x->bucket, &batch, NULL);
	end(x);
	buf_release(&record);
	buf_release(&changed);
	mends(x, false, "nightly", "files/a", "name");
	serve(x, "nightly", NO_A | NO_EMPTY, look_empty_lost);
}

static void look_saved(struct fixture *f)
{
	in_lost(f, "a", "hello");
}

static void test_no_record(void **state)
{
	struct box *x = *state;

	delete(x, STORE_NODE, key_child(NODE_FILES, x->a));
	mends(x, false, "nightly", "files/a", "record");
	serve(x, "nightly", NO_A, look_saved);
}

static void test_name_to_nothing(void **state)
{
	struct box *x = *state;
	struct key_buf child = key_child(NODE_FILES, x->empty), body = key_body(x->empty);
	struct store_batch batch = {0};

	begin(x);
	store_batch_delete(&batch, STORE_NODE, key_slice(&child));
	store_batch_delete(&batch, STORE_BODY, key_slice(&body));
	commit(x, x->bucket, &batch, NULL);
	end(x);
	mends(x, false, "nightly", "files/empty", "name");
	serve(x, "nightly", NO_EMPTY, NULL);
}

static void test_name_to_another(void **state)
{
	struct box *x = *state;

	put_number(x, key_name(NODE_FILES, S("stray")), x->a);
	mends(x, false, "nightly", "files/stray", "name");
	serves(x);
}

static void test_bad_record(void **state)
{
	struct box *x = *state;

	put(x, STORE_NODE, key_child(NODE_FILES, x->empty), S("\x01\x01"));
	mends(x, false, "nightly", "files/empty", "record");
	serve(x, "nightly", NO_EMPTY, NULL);
}

/* A small content outlives its record. */
static void test_bad_record_with_body(void **state)
{
	struct box *x = *state;

	put(x, STORE_NODE, key_child(NODE_FILES, x->a), S(""));
	assert_int_equal(check(x, false, false), 0);
	expect_told(x, "nightly", "files/a", "record", false);
	assert_int_equal(check(x, false, true), 0);
	expect_count(x, 1);
	expect_nothing(x, true);
	serve(x, "nightly", NO_A, look_saved);
}

static void look_saved_large(struct fixture *f)
{
	expect_large(f, number_of(f, NODE_FILES, "lost_found"), "big", large, 'x');
}

/* So does a large one: it was the only one that nobody owned. */
static void test_bad_record_with_content(void **state)
{
	struct box *x = *state;

	for (int i = 0; i < 2; i++) {
		if (i)
			delete(x, STORE_NODE, key_child(x->sub, x->deep));
		else
			put(x, STORE_NODE, key_child(NODE_FILES, x->big), S(""));
		assert_int_equal(check(x, false, true), 0);
		expect_count(x, 2);
		assert_string_equal(x->told[0].path, i ? "files/sub/deep" : "files/big");
		assert_string_equal(x->told[1].kind, "orphan");
		assert_true(x->told[0].mended && x->told[1].mended);
		expect_nothing(x, true);
	}
	serve(x, "nightly", NO_BIG | NO_DEEP, look_saved_large);
}

static void size_without_place(struct node *n) { n->size = 7; n->place = PLACE_NONE; }
static void place_without_content(struct node *n) { n->place = PLACE_CONTENT; }
static void no_kind(struct node *n) { n->kind = 9; }
static void no_name(struct node *n) { n->name.len = 0; }
static void folder_with_bytes(struct node *n) { n->kind = NODE_FOLDER; n->size = 1; }

/* A record that can be decoded and makes no sense. */
static void test_unsound_record(void **state)
{
	struct box *x = *state;
	void (*const edits[])(struct node *n) = {size_without_place, place_without_content, no_kind, no_name, folder_with_bytes};
	struct key_buf child = key_child(NODE_FILES, x->a);
	struct buf record = {0}, changed = {0};
	struct node n;

	begin(x);
	assert_int_equal(store_get(x->store, x->bucket, STORE_NODE, key_slice(&child), &record), 0);
	end(x);
	for (size_t i = 0; i < sizeof(edits) / sizeof(*edits); i++) {
		n = (struct node){.number = key_child_node_of(key_slice(&child)), .parent = key_child_parent_of(key_slice(&child))};
	assert_null(node_decode(&n, buf_slice(&record)));
		edits[i](&n);
		buf_clear(&changed);
		assert_int_equal(node_encode(&n, &changed), 0);
		put(x, STORE_NODE, child, buf_slice(&changed));
		assert_int_equal(check(x, false, false), 0);
		expect_told(x, "nightly", "files/a", "record", false);
	}
	assert_int_equal(check(x, false, true), 0);
	expect_count(x, 1);
	expect_nothing(x, true);
	serve(x, "nightly", NO_A, look_saved);
	buf_release(&record);
	buf_release(&changed);
}

static void look_both(struct fixture *f)
{
	uint64_t lost = number_of(f, NODE_FILES, "lost_found");
	struct buf names = {0};
	size_t spaces = 0;

	in_lost(f, "a", "hello");
	assert_int_equal(tree_list(f->fs, f->b, lost, 0, TREE_CLOSED_NONE, add_name, &names), 0);
	for (size_t i = 0; i < names.len; i++)
		spaces += names.data[i] == ' ';
	assert_int_equal(spaces, 2);
	buf_release(&names);
}

/* Two that come to lost_found at once, by one name. */
static void test_one_name_for_two(void **state)
{
	struct box *x = *state;
	struct key_buf child = key_child(NODE_FILES, x->a), first = key_child(800, x->a), second = key_child(801, x->empty),
		       name = key_name(NODE_FILES, S("a")), empty_child = key_child(NODE_FILES, x->empty), empty = key_name(NODE_FILES, S("empty"));
	struct store_batch batch = {0};
	struct buf record = {0}, other = {0}, changed = {0};
	struct node n;

	begin(x);
	assert_int_equal(store_get(x->store, x->bucket, STORE_NODE, key_slice(&child), &record), 0);
	assert_int_equal(store_get(x->store, x->bucket, STORE_NODE, key_slice(&empty_child), &other), 0);
	n = (struct node){.number = key_child_node_of(key_slice(&empty_child)), .parent = key_child_parent_of(key_slice(&empty_child))};
	assert_null(node_decode(&n, buf_slice(&other)));
	n.name = S("a");
	assert_int_equal(node_encode(&n, &changed), 0);
	store_batch_put(&batch, STORE_NODE, key_slice(&first), buf_slice(&record));
	store_batch_put(&batch, STORE_NODE, key_slice(&second), buf_slice(&changed));
	store_batch_delete(&batch, STORE_NODE, key_slice(&child));
	store_batch_delete(&batch, STORE_NODE, key_slice(&empty_child));
	store_batch_delete(&batch, STORE_NODE, key_slice(&name));
	store_batch_delete(&batch, STORE_NODE, key_slice(&empty));
	commit(x, x->bucket, &batch, NULL);
	end(x);
	buf_release(&record);
	buf_release(&other);
	buf_release(&changed);
	assert_int_equal(check(x, false, true), 0);
	expect_count(x, 2);
	expect_nothing(x, true);
	serve(x, "nightly", NO_A | NO_EMPTY, look_both);
}

static int flip_hello(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	size_t len = (size_t)st->st_size;
	const char *dot = strrchr(path, '.');
	char *bytes, *at;
	int fd;

	(void)ftw;
	if (type != FTW_F || !dot || strcmp(dot, ".sst"))
		return 0;
	bytes = malloc(len + 1);
	fd = open(path, O_RDWR);
	assert_int_equal(read(fd, bytes, len), (ssize_t)len);
	at = memmem(bytes, len, "hello", 5);
	if (at)
		assert_int_equal(pwrite(fd, "j", 1, at - bytes), 1);
	close(fd);
	free(bytes);
	return 0;
}

/* RocksDB's own files are damaged: everything else is still looked at. */
static void test_damaged_table(void **state)
{
	struct box *x = *state;

	nftw(x->folder, flip_hello, 16, FTW_PHYS);
	for (int repair = 0; repair < 2; repair++) {
		assert_int_equal(check(x, false, repair), 0);
		expect_count(x, 2);
		for (int i = 0; i < 2; i++) {
			assert_string_equal(x->told[i].bucket, i ? "nightly" : "other");
			assert_string_equal(x->told[i].kind, "record");
			assert_false(x->told[i].mended);
		}
	}
}

static void test_bad_keys(void **state)
{
	struct box *x = *state;
	static const char kinds[] = "CDVUP";

	for (size_t i = 0; i + 1 < sizeof(kinds); i++) {
		struct key_buf key = {.bytes = {(unsigned char)kinds[i], 1}, .len = 2};

		put(x, STORE_NODE, key, S("?"));
		mends(x, false, "nightly", "", "record");
	}
	put(x, STORE_BODY, letter('I'), S("?"));
	mends(x, false, "nightly", "", "record");
	serves(x);
}

static void test_unknown_kind(void **state)
{
	struct box *x = *state;

	put(x, STORE_NODE, letter('z'), S(""));
	leaves(x, "nightly", "", "record");
	delete(x, STORE_NODE, letter('z'));
	put(x, STORE_META, letter('z'), S(""));
	leaves(x, "nightly", "", "record");
	delete(x, STORE_META, letter('z'));
	put_in(x, 0, STORE_META, letter('z'), S(""));
	leaves(x, "", "", "record");
}

/* ---- folders ---- */

static void test_no_parent(void **state)
{
	struct box *x = *state;

	delete(x, STORE_NODE, key_parent(x->b));
	mends(x, false, "nightly", "files/sub/b", "parent");
	serves(x);
}

static void test_other_parent(void **state)
{
	struct box *x = *state;

	put_number(x, key_parent(x->b), x->sub + 1000);
	mends(x, false, "nightly", "files/sub/b", "parent");
	put_number(x, key_parent(x->a), x->sub);
	mends(x, false, "nightly", "files/a", "parent");
	serves(x);
}

static void look_lost_children(struct fixture *f)
{
	in_lost(f, "b", "world");
	expect_large(f, number_of(f, NODE_FILES, "lost_found"), "deep", large, 'y');
}

static void test_no_folder(void **state)
{
	struct box *x = *state;
	struct store_batch batch = {0};
	struct key_buf child = key_child(NODE_FILES, x->sub), name = key_name(NODE_FILES, S("sub"));

	begin(x);
	store_batch_delete(&batch, STORE_NODE, key_slice(&child));
	store_batch_delete(&batch, STORE_NODE, key_slice(&name));
	commit(x, x->bucket, &batch, NULL);
	end(x);
	assert_int_equal(check(x, false, false), 0);
	expect_count(x, 2);
	assert_int_equal(check(x, false, true), 0);
	expect_count(x, 2);
	for (int i = 0; i < 2; i++)
		assert_string_equal(x->told[i].kind, "parent");
	expect_nothing(x, true);
	serve(x, "nightly", NO_SUB, look_lost_children);
}

static void look_lost_folder(struct fixture *f)
{
	uint64_t lost = number_of(f, NODE_FILES, "lost_found"), sub = number_of(f, lost, "sub");

	assert_file(f, sub, "b", "world");
}

/* A folder that is in itself. */
static void test_cycle(void **state)
{
	struct box *x = *state;
	struct store_batch batch = {0};
	struct key_buf child = key_child(NODE_FILES, x->sub), name = key_name(NODE_FILES, S("sub")), inner = key_child(x->sub, x->sub),
		       inner_name = key_name(x->sub, S("sub")), parent = key_parent(x->sub);
	struct buf record = {0};
	unsigned char raw[5];

	begin(x);
	assert_int_equal(store_get(x->store, x->bucket, STORE_NODE, key_slice(&child), &record), 0);
	store_batch_delete(&batch, STORE_NODE, key_slice(&child));
	store_batch_delete(&batch, STORE_NODE, key_slice(&name));
	store_batch_put(&batch, STORE_NODE, key_slice(&inner), buf_slice(&record));
	bytes_put_be40(raw, x->sub);
	store_batch_put(&batch, STORE_NODE, key_slice(&inner_name), slice_of(raw, 5));
	store_batch_put(&batch, STORE_NODE, key_slice(&parent), slice_of(raw, 5));
	commit(x, x->bucket, &batch, NULL);
	end(x);
	buf_release(&record);
	assert_int_equal(check(x, false, false), 0);
	expect_count(x, 1);
	assert_string_equal(x->told[0].kind, "parent");
	assert_int_equal(check(x, false, true), 0);
	expect_count(x, 1);
	expect_nothing(x, true);
	serve(x, "nightly", NO_SUB, look_lost_folder);
}

static void test_twice(void **state)
{
	struct box *x = *state;
	struct key_buf child = key_child(NODE_FILES, x->empty), other = key_child(x->sub, x->empty), making = key_making(x->empty);
	struct making_record m = {.number = x->empty, .parent = x->sub, .state = MARK_WRITING};
	unsigned char value[making_len];
	struct store_batch batch = {0};
	struct buf record = {0};

	begin(x);
	assert_int_equal(store_get(x->store, x->bucket, STORE_NODE, key_slice(&child), &record), 0);
	store_batch_put(&batch, STORE_NODE, key_slice(&other), buf_slice(&record));
	making_encode(&m, value);
	store_batch_put(&batch, STORE_NODE, key_slice(&making), slice_of(value, sizeof(value)));
	commit(x, x->bucket, &batch, more_making);
	end(x);
	buf_release(&record);
	mends(x, false, "nightly", "files/sub/empty", "twice");
	serves(x);
}

/* ---- files that are being made ---- */

static void test_marks(void **state)
{
	struct box *x = *state;
	struct making_record m = {.number = x->big + 100, .parent = NODE_FILES, .state = MARK_WRITING};
	struct unsettled_record u = {.content = 4711, .boot = S("0123456789abcdef")};
	unsigned char value[making_len];
	struct buf record = {0};

	making_encode(&m, value);
	put(x, STORE_NODE, key_making(x->big + 100), slice_of(value, sizeof(value)));
	mends(x, false, "nightly", "", "made");
	value[0] = 9;
	put(x, STORE_NODE, key_making(x->a), slice_of(value, sizeof(value)));
	mends(x, false, "nightly", "", "record");
	assert_int_equal(unsettled_encode(&u, &record), 0);
	put(x, STORE_NODE, key_unsettled(x->a), buf_slice(&record));
	mends(x, false, "nightly", "", "unsettled");
	put(x, STORE_NODE, key_unsettled(x->a), S("short"));
	mends(x, false, "nightly", "", "record");
	buf_release(&record);
	serves(x);
}

/* What an unsettled content would fall back to is not there. */
static void test_fallback(void **state)
{
	struct box *x = *state;
	struct unsettled_record u = {.content = x->content, .boot = S("0123456789abcdef"), .falls_back = true,
				     .fallback = {.place = PLACE_INLINE, .number = x->big, .size = 3}};
	struct key_buf key = key_unsettled(x->big);
	struct store_batch batch = {0};
	struct buf record = {0};

	assert_int_equal(unsettled_encode(&u, &record), 0);
	begin(x);
	store_batch_put(&batch, STORE_NODE, key_slice(&key), buf_slice(&record));
	commit(x, x->bucket, &batch, more_unsettled);
	end(x);
	mends(x, false, "nightly", "files/big", "fallback");
	buf_clear(&record);
	u.fallback = (struct node){.place = PLACE_CONTENT, .size = 3, .content = 4711};
	assert_int_equal(unsettled_encode(&u, &record), 0);
	put(x, STORE_NODE, key, buf_slice(&record));
	assert_int_equal(check(x, false, false), 0);
	expect_count(x, 2);
	assert_string_equal(x->told[0].kind, "note");
	assert_string_equal(x->told[1].kind, "fallback");
	assert_int_equal(check(x, false, true), 0);
	expect_nothing(x, true);
	buf_release(&record);
	serves(x);
}

/* ---- small contents ---- */

static void test_body_gone(void **state)
{
	struct box *x = *state;

	delete(x, STORE_BODY, key_body(x->a));
	mends(x, false, "nightly", "files/a", "gone");
	serve(x, "nightly", NO_A, NULL);
}

static void look_short(struct fixture *f)
{
	in_lost(f, "a", "hel");
	in_lost(f, "b", "worldly");
}

static void test_body_length(void **state)
{
	struct box *x = *state;

	put(x, STORE_BODY, key_body(x->a), S("hel"));
	mends(x, false, "nightly", "files/a", "short");
	put(x, STORE_BODY, key_body(x->b), S("worldly"));
	mends(x, false, "nightly", "files/sub/b", "long");
	serve(x, "nightly", NO_A | NO_B, look_short);
}

static void look_body(struct fixture *f)
{
	char name[40];

	snprintf(name, sizeof(name), "file.%d", 500);
	in_lost(f, name, "stray");
}

static void test_body_of_nobody(void **state)
{
	struct box *x = *state;

	put(x, STORE_BODY, key_body(x->big), S("beside"));
	mends(x, false, "nightly", "files/big", "body");
	put(x, STORE_BODY, key_body(500), S("stray"));
	mends(x, false, "nightly", "", "body");
	serve(x, "nightly", 0, look_body);
}

/* ---- documents, settings, attributes ---- */

static void look_data(struct fixture *f)
{
	expect_data(f, "{\n  \"n\": [2,3]\n}\n");
}

static void test_document(void **state)
{
	struct box *x = *state;
	struct key_buf key = {.bytes = "zz", .len = 2};

	put(x, STORE_DOC, key, S("\0" "1"));
	mends(x, false, "nightly", "data.json", "document");
	put(x, STORE_DOC, key, slice_of("\0nope", 5));
	mends(x, false, "nightly", "data.json", "document");
	put(x, STORE_DOC, key, slice_of("\x01\x03\0\0\0\"a\"1", 9));
	mends(x, false, "nightly", "data.json", "document");
	put(x, STORE_DOC, letter('k'), slice_of("\0[", 2));
	mends(x, false, "nightly", "data.json", "document");
	serve(x, "nightly", NO_DATA, look_data);
}

static void test_settings(void **state)
{
	struct box *x = *state;

	put(x, STORE_META, letter('S'), S("{\"type\": 7}"));
	mends(x, false, "nightly", ".bucketfs/schema.json", "setting");
	put(x, STORE_META, letter('M'), S("{"));
	mends(x, false, "nightly", ".bucketfs/meta.json", "setting");
	put(x, STORE_META, letter('Q'), S("[]"));
	mends(x, false, "nightly", ".bucketfs/previous.json", "setting");
	serves(x);
}

static void test_leftovers(void **state)
{
	struct box *x = *state;
	char path[128];
	int fd;

	put(x, STORE_META, key_attribute(900, S("user.y")), S("v"));
	put_number(x, key_parent(901), x->sub);
	blob_path(x, 0xabcdef, path);
	*strrchr(path, '/') = 0;
	mkdir(path, 0700);
	blob_path(x, 0xabcdef, path);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(check(x, false, i), 0);
		expect_count(x, 0);
		assert_int_equal(x->notes, 3);
	}
	expect_nothing(x, true);
	assert_int_equal(x->notes, 0);
	assert_int_equal(access(path, F_OK), -1);
	serves(x);
}

/* ---- heads, and the list of buckets ---- */

static void test_bad_head(void **state)
{
	struct box *x = *state;
	struct store_batch nothing = {0};

	begin(x);
	assert_int_equal(store_commit(x->store, x->bucket, STORE_ANY_REVISION, S("\x07"), &nothing, NULL), 0);
	end(x);
	leaves(x, "nightly", "", "head");
}

static void look_private(struct fixture *f)
{
	struct caller somebody = {4711, 4711, 1, NULL, NULL, NULL, 0};

	assert_false(bucket_may(f->fs, f->b, &somebody, PRIVILEGE_READ));
}

/* Who may read it is not known any more. */
static void test_no_head(void **state)
{
	struct box *x = *state;

	own_change(x, 'H', x->bucket, false);
	mends(x, false, "nightly", "", "head");
	serve(x, "nightly", 0, look_private);
}

static void test_list(void **state)
{
	struct box *x = *state;
	unsigned char raw[4];

	delete_in(x, 0, STORE_META, key_bucket_name(S("nightly")));
	mends(x, false, "nightly", "", "bucket");
	delete_in(x, 0, STORE_META, key_bucket_number(x->bucket));
	mends(x, false, "nightly", "", "bucket");
	bytes_put_le32(raw, x->bucket);
	put_in(x, 0, STORE_META, key_bucket_name(S("alias")), slice_of(raw, 4));
	mends(x, false, "alias", "", "bucket");
	bytes_put_le32(raw, 4711);
	put_in(x, 0, STORE_META, key_bucket_name(S("alias")), slice_of(raw, 4));
	mends(x, false, "alias", "", "bucket");
	put_in(x, 0, STORE_META, key_bucket_name(S("alias")), S("?"));
	mends(x, false, "", "", "record");
	put_in(x, 0, STORE_META, key_bucket_erased(x->bucket), S(""));
	mends(x, false, "nightly", "", "bucket");
	serves(x);
}

static void test_unlisted(void **state)
{
	struct box *x = *state;
	struct key_buf by_name = key_bucket_name(S("nightly")), by_number = key_bucket_number(x->bucket);
	struct store_batch batch = {0};
	char lost[32];

	begin(x);
	store_batch_delete(&batch, STORE_META, key_slice(&by_name));
	store_batch_delete(&batch, STORE_META, key_slice(&by_number));
	commit(x, 0, &batch, NULL);
	end(x);
	assert_int_equal(check(x, false, true), 0);
	assert_true(x->count > 0);
	for (size_t i = 0; i < x->count; i++)
		assert_true(x->told[i].mended);
	expect_nothing(x, true);
	snprintf(lost, sizeof(lost), "lost_%u", x->bucket);
	serve(x, lost, 0, NULL);
}

static void test_transactions(void **state)
{
	struct box *x = *state;
	struct fixture *f = &x->f;
	struct bucket *t;
	char id[64];

	open_fs(x);
	assert_int_equal(bucket_find(f->fs, S("nightly"), &f->b), 0);
	assert_int_equal(transaction_begin(f->fs, f->b, &test_root, S("t"), &t, NULL), 0);
	bucket_put(f->fs, t);
	bucket_put(f->fs, f->b);
	close_fs(x);
	expect_nothing(x, true);
	assert_int_equal(x->notes, 0);
	/* Its bucket is another one now, that is not there. */
	snprintf(id, sizeof(id), "tx.%u.u0.t", x->bucket);
	begin(x);
	struct key_buf old = key_bucket_name(S(id)), number;
	struct store_batch batch = {0};
	struct buf value = {0}, record = {0};
	struct origin origin = {0, 0, 1, S("tx.4711.u0.t")};

	assert_int_equal(store_get(x->store, 0, STORE_META, key_slice(&old), &value), 0);
	number = key_bucket_number(bytes_get_le32(value.data));
	store_batch_delete(&batch, STORE_META, key_slice(&old));
	old = key_bucket_name(origin.name);
	store_batch_put(&batch, STORE_META, key_slice(&old), buf_slice(&value));
	assert_int_equal(origin_encode(&origin, &record), 0);
	store_batch_put(&batch, STORE_META, key_slice(&number), buf_slice(&record));
	commit(x, 0, &batch, NULL);
	end(x);
	buf_release(&value);
	buf_release(&record);
	expect_nothing(x, false);
	assert_int_equal(x->notes, 1);
	serves(x);
}

/* ---- contents ---- */

static void test_content_gone(void **state)
{
	struct box *x = *state;
	char path[128];

	blob_path(x, x->content, path);
	assert_int_equal(unlink(path), 0);
	mends(x, false, "nightly", "files/big", "gone");
	serve(x, "nightly", NO_BIG, NULL);
}

static void look_cut(struct fixture *f)
{
	expect_large(f, number_of(f, NODE_FILES, "lost_found"), "deep", 3, 'y');
}

static void test_content_short(void **state)
{
	struct box *x = *state;
	char path[128];

	blob_path(x, x->deep_content, path);
	assert_int_equal(truncate(path, 3), 0);
	mends(x, false, "nightly", "files/sub/deep", "short");
	serve(x, "nightly", NO_DEEP, look_cut);
}

static void look_damaged(struct fixture *f)
{
	expect_large(f, number_of(f, NODE_FILES, "lost_found"), "big", large, 0);
}

static void test_content_damaged(void **state)
{
	struct box *x = *state;
	char path[128];
	int fd;

	blob_path(x, x->content, path);
	fd = open(path, O_WRONLY);
	assert_int_equal(pwrite(fd, "!", 1, 777), 1);
	close(fd);
	expect_nothing(x, false);
	mends(x, true, "nightly", "files/big", "damaged");
	serve(x, "nightly", NO_BIG, look_damaged);
}

static void test_notes_of_contents(void **state)
{
	struct box *x = *state;
	char path[128];

	own_change(x, 'S', x->content, false);
	mends(x, false, "nightly", "", "note");
	own_change(x, 'X', x->deep_content, true);
	mends(x, false, "nightly", "", "note");
	own_change(x, 'S', 4711, true);
	mends(x, false, "", "", "orphan");
	/* A daemon that starts now removes nothing that belongs to somebody. */
	serves(x);
	serves(x);
	blob_path(x, x->content, path);
	assert_int_equal(access(path, F_OK), 0);
}

static void test_content_of_two(void **state)
{
	struct box *x = *state;
	struct key_buf child = key_child(NODE_FILES, x->empty), body = key_body(x->empty);
	struct store_batch batch = {0};
	struct buf record = {0}, changed = {0};
	struct node n;

	begin(x);
	assert_int_equal(store_get(x->store, x->bucket, STORE_NODE, key_slice(&child), &record), 0);
	n = (struct node){.number = key_child_node_of(key_slice(&child)), .parent = key_child_parent_of(key_slice(&child))};
	assert_null(node_decode(&n, buf_slice(&record)));
	n.place = PLACE_CONTENT;
	n.content = x->content;
	assert_int_equal(node_encode(&n, &changed), 0);
	store_batch_delete(&batch, STORE_BODY, key_slice(&body));
	store_batch_put(&batch, STORE_NODE, key_slice(&child), buf_slice(&changed));
	commit(x, x->bucket, &batch, NULL);
	end(x);
	buf_release(&record);
	buf_release(&changed);
	leaves(x, "nightly", "", "twice");
}

/* ---- whatever is broken ---- */

static uint64_t dice_state;

static unsigned dice(unsigned sides)
{
	dice_state = dice_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(dice_state >> 33) % sides;
}

/* A record of this space, by chance. */
static bool pick(struct box *x, uint32_t bucket, enum store_space space, struct buf *key, struct buf *value)
{
	struct slice k, v, none = slice_of(NULL, 0);
	struct store_cursor *cursor;
	unsigned seen = 0;

	assert_int_equal(store_cursor_open(x->store, bucket, space, none, none, &cursor), 0);
	while (store_cursor_next(cursor, &k, &v) == 0) {
		if (dice(++seen))
			continue;
		buf_clear(key);
		buf_clear(value);
		buf_add_slice(key, k);
		buf_add_slice(value, v);
	}
	store_cursor_close(cursor);
	return seen;
}

static void flip(struct buf *bytes)
{
	if (bytes->len)
		bytes->data[dice((unsigned)bytes->len)] ^= (unsigned char)(1u << dice(8));
}

static void break_one(struct box *x, uint32_t bucket, struct store_batch *batch)
{
	enum store_space space = bucket ? (enum store_space)dice(STORE_SPACES) : STORE_META;
	struct buf key = {0}, value = {0}, other_key = {0}, other = {0};

	if (pick(x, bucket, space, &key, &value) && pick(x, bucket, space, &other_key, &other)) {
		switch (dice(6)) {
		case 0:
			store_batch_delete(batch, space, buf_slice(&key));
			break;
		case 1:
			flip(&value);
			store_batch_put(batch, space, buf_slice(&key), buf_slice(&value));
			break;
		case 2:
			value.len = dice((unsigned)value.len + 1);
			store_batch_put(batch, space, buf_slice(&key), buf_slice(&value));
			break;
		case 3:
			flip(&key);
			store_batch_put(batch, space, buf_slice(&key), buf_slice(&value));
			break;
		case 4:
			store_batch_put(batch, space, buf_slice(&key), buf_slice(&other));
			break;
		default:
			key.len = dice((unsigned)key.len) + 1;
			store_batch_put(batch, space, buf_slice(&key), buf_slice(&other));
		}
	}
	buf_release(&key);
	buf_release(&value);
	buf_release(&other_key);
	buf_release(&other);
}

/* Something about a content of the bucket, or of nobody. */
static void break_content(struct box *x)
{
	uint64_t number = dice(4) ? dice(2) ? x->content : x->deep_content : 4711;
	char path[128];
	int fd;

	blob_path(x, number, path);
	switch (dice(6)) {
	case 0:
		unlink(path);
		break;
	case 1:
		if (truncate(path, dice(large)))
			break;
		break;
	case 2:
		fd = open(path, O_WRONLY);
		if (fd >= 0) {
			assert_int_equal(pwrite(fd, "!", 1, dice(large)), 1);
			close(fd);
		}
		break;
	case 3:
		own_change(x, 'S', number, dice(2));
		break;
	case 4:
		own_change(x, 'X', number, true);
		break;
	default:
		break;
	}
}

static int read_node(void *context, const struct node *node, const struct attr *attr)
{
	struct fixture *f = context;
	struct file_open *h;
	char bytes[64];
	size_t got;
	int r;

	(void)attr;
	if (node->kind == NODE_FOLDER)
		return tree_list(f->fs, f->b, node->number, 0, TREE_CLOSED_NONE, read_node, f);
	r = tree_open(f->fs, f->b, &test_root, node->number, TREE_READ, TREE_CLOSED_NONE, &h, NULL);
	if (!r)
		r = file_read(h->file, 0, bytes, sizeof(bytes), &got);
	assert_int_equal(r, 0);
	file_close(h, false);
	return 0;
}

static int read_bucket(void *context, uint32_t number, struct slice name)
{
	struct fixture *f = context;
	struct text *text = NULL;

	(void)name;
	assert_int_equal(bucket_get(f->fs, number, &f->b), 0);
	assert_int_equal(tree_list(f->fs, f->b, NODE_FILES, 0, TREE_CLOSED_NONE, read_node, f), 0);
	if (f->b->head.data_present)
		assert_int_equal(data_text(f->fs, f->b, &text), 0);
	data_text_put(text);
	bucket_put(f->fs, f->b);
	return 0;
}

/* Several records at once, by chance: the check ends, repair leaves nothing but what it said it leaves, and where it leaves nothing a
 * daemon can read everything. The other bucket stays as it was. */
static void break_by_chance(struct box *x, uint64_t seed)
{
	struct store_batch batch = {0};
	uint32_t bucket;
	size_t left, mended;

	dice_state = seed;
	bucket = dice(8) ? x->bucket : 0;
	begin(x);
	for (unsigned i = 0, n = 1 + dice(5); i < n; i++)
		break_one(x, bucket, &batch);
	commit(x, bucket, &batch, NULL);
	end(x);
	if (bucket && !dice(3))
		break_content(x);
	assert_int_equal(check(x, true, false), 0);
	assert_int_equal(check(x, true, true), 0);
	left = x->sums.findings - x->sums.mended;
	for (mended = 0; left && mended < 2; mended++) {
		assert_int_equal(check(x, true, true), 0);
		if (x->sums.mended || x->sums.findings != left) {
			show(x);
			fail_msg("seed %llu: %llu of %llu findings are mended by a second repair, and %zu were left", (unsigned long long)seed,
				 (unsigned long long)x->sums.mended, (unsigned long long)x->sums.findings, left);
		}
	}
	assert_int_equal(check(x, true, false), 0);
	if (x->sums.findings != left) {
		show(x);
		fail_msg("seed %llu: %llu findings after the repair, not %zu", (unsigned long long)seed, (unsigned long long)x->sums.findings, left);
	}
	if (left)
		return;
	open_fs(x);
	log_open(LOG_TARGET_NONE, NULL, LOG_LEVEL_ERROR);
	assert_int_equal(bucket_list(x->f.fs, 0, read_bucket, &x->f), 0);
	if (bucket) {
		assert_int_equal(bucket_find(x->f.fs, S("other"), &x->f.b), 0);
		assert_file(&x->f, NODE_FILES, "a", "hello");
		expect_large(&x->f, NODE_FILES, "big", large, 'x');
		bucket_put(x->f.fs, x->f.b);
	}
	close_fs(x);
}

/* BUCKETFS_SEEDS=FROM-TO for more. */
static void test_by_chance(void **state)
{
	const char *range = getenv("BUCKETFS_SEEDS");
	unsigned long from = 1, to = 40;
	(void)state;

	if (range)
		sscanf(range, "%lu-%lu", &from, &to);
	for (unsigned long seed = from; seed <= to; seed++) {
		void *x = NULL;

		box_setup(&x);
		if (range)
			print_message("seed %lu\n", seed);
		break_by_chance(x, seed);
		box_teardown(&x);
	}
}

/* ---- nothing is changed without --repair ---- */

static struct buf files_seen;

static int see(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)ftw;
	if (type == FTW_F && !strstr(path, "/lock"))
		buf_add_format(&files_seen, "%s %lld %lld.%09ld\n", path, (long long)st->st_size, (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	return 0;
}

static void test_changes_nothing(void **state)
{
	struct box *x = *state;
	struct buf before;

	delete(x, STORE_NODE, key_name(NODE_FILES, S("a")));
	nftw(x->folder, see, 16, FTW_PHYS);
	before = files_seen;
	files_seen = (struct buf){0};
	assert_int_equal(check(x, true, false), 0);
	expect_count(x, 1);
	nftw(x->folder, see, 16, FTW_PHYS);
	assert_true(slice_equal(buf_slice(&before), buf_slice(&files_seen)));
	buf_release(&before);
	buf_release(&files_seen);
}

#define T(name) cmocka_unit_test_setup_teardown(name, box_setup, box_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_clean), T(test_no_store), T(test_live), T(test_live_and_broken), T(test_second_look), T(test_counts),
		T(test_no_name), T(test_name_taken), T(test_no_record), T(test_name_to_nothing), T(test_name_to_another),
		T(test_bad_record), T(test_bad_record_with_body), T(test_bad_record_with_content), T(test_unsound_record), T(test_one_name_for_two), T(test_damaged_table), T(test_bad_keys), T(test_unknown_kind),
		T(test_no_parent), T(test_other_parent), T(test_no_folder), T(test_cycle), T(test_twice),
		T(test_marks), T(test_fallback), T(test_body_gone), T(test_body_length), T(test_body_of_nobody),
		T(test_document), T(test_settings), T(test_leftovers), T(test_bad_head), T(test_no_head),
		T(test_list), T(test_unlisted), T(test_transactions), T(test_content_gone), T(test_content_short),
		T(test_content_damaged), T(test_notes_of_contents), T(test_content_of_two), T(test_changes_nothing),
		cmocka_unit_test(test_by_chance),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
