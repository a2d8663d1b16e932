/* The nth call into the store fails, the nth allocation fails: each time the operation says so, nothing is half-done,
 * and the same operation works right afterwards. */
#include <errno.h>

#include "allocations.h"
#include "bucket/settle.h"
#include "domain.h"
#include "store/behind.h"
#include "store/faulty.h"

struct world {
	struct store *store;
	struct faulty faulty;
	struct fs *fs;
	struct bucket *b;
};

/* ---- what is done; each is checked by what a fresh look at the store shows ---- */

static int flush(struct data_handle *h)
{
	bool opener_only;

	return data_flush(h, NULL, &opener_only, NULL);
}

static int do_merge(struct world *w)
{
	struct data_handle *h;
	int r = data_open(w->fs, w->b, &test_root, NODE_DATA, DATA_WRITE, &h, NULL);

	if (r)
		return r;
	r = data_write(h, 0, false, S("{\"x\": [1, 2], \"y\": {\"z\": null}}"), NULL);
	if (!r)
		r = flush(h);
	data_close(h, NULL);
	return r;
}

static int do_edit(struct world *w)
{
	struct data_handle *h;
	int r = data_open(w->fs, w->b, &test_root, NODE_DATA, DATA_READ | DATA_WRITE, &h, NULL);

	if (r)
		return r;
	r = data_truncate(h, 0, NULL);
	if (!r)
		r = data_write(h, 0, false, S("{\"new\": 1}"), NULL);
	if (!r)
		r = flush(h);
	data_close(h, NULL);
	return r;
}

static int do_remove_data(struct world *w)
{
	int r = data_remove(w->fs, w->b, &test_root, NULL);

	return r == BUCKET_ABSENT ? 0 : r;
}

static int do_key(struct world *w)
{
	return data_key_set(w->fs, w->b, &test_root, S("k"), S("[true]"), false, false, NULL);
}

static int create_sized(struct world *w, const char *name, size_t size)
{
	struct file_open *h;
	struct buf bytes = {0};
	bool canonical;
	int r = buf_resize(&bytes, size);

	if (!r)
		r = tree_create(w->fs, w->b, &test_root, NODE_FILES, S(name), 0644, TREE_WRITE | TREE_TRUNCATE, &h, &canonical, NULL);
	if (!r) {
		r = file_write(h, 0, false, buf_slice(&bytes), NULL);
		if (!r)
			r = file_flush(h, FILE_CLOSER_DONE);
		file_close(h, false);
	}
	buf_release(&bytes);
	return r;
}

static int do_create_small(struct world *w)
{
	return create_sized(w, "Small", 100);
}

static int do_create_large(struct world *w)
{
	return create_sized(w, "large", file_inline_max + 1);
}

static int do_rewrite(struct world *w)
{
	return create_sized(w, "old", file_inline_max * 3);
}

/* "target" is settled, and "young" is not: the one falls back to the other. */
static int do_replace(struct world *w)
{
	bool canonical;
	int r = tree_rename(w->fs, w->b, &test_root, NODE_FILES, S("young"), NODE_FILES, S("Target"), false,
			    TREE_CLOSED_NONE, &canonical, NULL);

	return r == BUCKET_ABSENT ? 0 : r;
}

static int do_rewrite_settled(struct world *w)
{
	return create_sized(w, "target", file_inline_max * 3);
}

static int do_settle(struct world *w)
{
	return settle_bucket(w->fs, w->b);
}

static int do_unlink(struct world *w)
{
	bool canonical;
	int r = tree_unlink(w->fs, w->b, &test_root, NODE_FILES, S("old"), false, &canonical);

	return r == BUCKET_ABSENT ? 0 : r;
}

static int do_rename(struct world *w)
{
	bool canonical;
	int r = tree_rename(w->fs, w->b, &test_root, NODE_FILES, S("old"), NODE_FILES, S("Target"), false,
			    TREE_CLOSED_NONE, &canonical, NULL);

	return r == BUCKET_ABSENT ? 0 : r;
}

static int do_mkdir(struct world *w)
{
	uint64_t number;
	bool canonical;
	int r = tree_mkdir(w->fs, w->b, &test_root, NODE_FILES, S("folder"), &number, &canonical, NULL);

	return r == BUCKET_EXISTS ? 0 : r;
}

static int do_bucket(struct world *w)
{
	struct bucket *b;
	int r = bucket_create(w->fs, &test_root, S("second"), &b);

	if (!r)
		bucket_put(w->fs, b);
	return r == BUCKET_EXISTS ? 0 : r;
}

static int do_acl(struct world *w)
{
	struct slice text = S("user:alice,group:ci");
	bool narrowed;

	return bucket_acl_set(w->fs, w->b, &test_root, PRIVILEGE_EDIT, &text, &narrowed, NULL);
}

static const struct {
	const char *name;
	int (*run)(struct world *w);
} actions[] = {
	{"merge", do_merge},		     {"edit", do_edit},			{"remove data", do_remove_data},
	{"key", do_key},		     {"create small", do_create_small}, {"create large", do_create_large},
	{"rewrite", do_rewrite},	     {"unlink", do_unlink},		{"rename", do_rename},
	{"replace", do_replace},	     {"rewrite settled", do_rewrite_settled}, {"settle", do_settle},
	{"mkdir", do_mkdir},		     {"bucket", do_bucket},		{"acl", do_acl},
};

/* ---- a picture of everything, to compare ---- */

struct sums {
	struct buf *out;
	uint64_t files, bytes, partials, partial_bytes;
};

static int draw_node(void *context, const struct node *node, const struct attr *attr)
{
	struct sums *sums = context;
	struct slice end = S(".partial");

	sums->files++;
	sums->bytes += attr->size;
	/* What a failed writer leaves is not part of the picture. */
	if (node->name.len > end.len && memcmp((const char *)node->name.at + node->name.len - end.len, end.at, end.len) == 0) {
		sums->partials++;
		sums->partial_bytes += attr->size;
		return 0;
	}
	return buf_add_format(sums->out, "%.*s %llu place=%d\n", (int)node->name.len, (const char *)node->name.at,
			      (unsigned long long)attr->size, node->place);
}

static int draw_bucket(void *context, uint32_t number, struct slice name)
{
	(void)number;
	return buf_add_format(context, "bucket %.*s\n", (int)name.len, (const char *)name.at);
}

static void draw(struct store *store, struct buf *out)
{
	struct buf acl = {0};
	struct bucket *b;
	struct text *text;
	struct attr attr;
	struct fs *fs;
	struct sums sums = {.out = out};

	assert_int_equal(test_fs_open(store, &fs), 0);
	assert_int_equal(bucket_list(fs, 0, draw_bucket, out), 0);
	assert_int_equal(bucket_lookup(fs, S("nightly"), &b), 0);
	assert_int_equal(data_text(fs, b, &text), 0);
	buf_add_slice(out, buf_slice(&text->bytes));
	if (data_attr(fs, b, &test_root, &attr) == 0)
		assert_int_equal(attr.size, text->bytes.len);
	else
		buf_add_string(out, "absent\n");
	data_text_put(text);
	assert_int_equal(tree_list(fs, b, NODE_FILES, 0, TREE_CLOSED_NONE, draw_node, &sums), 0);
	assert_int_equal(b->head.files, sums.files);
	assert_int_equal(b->head.file_bytes, sums.bytes);
	assert_int_equal(b->head.making, 0);
	if (bucket_acl_get(fs, b, &test_root, PRIVILEGE_EDIT, &acl) == 0)
		buf_add_slice(out, buf_slice(&acl));
	buf_add_format(out, "files %llu bytes %llu\n", (unsigned long long)(sums.files - sums.partials),
		       (unsigned long long)(sums.bytes - sums.partial_bytes));
	buf_release(&acl);
	bucket_put(fs, b);
	fs_close(fs);
}

/* Contents are written behind, so that what fails is told by a later call. */
static bool written_behind;

static void world_open(struct world *w)
{
	struct store *inner;

	*w = (struct world){.faulty = {.error = -EIO}};
	assert_int_equal(memory_store_open(&inner), 0);
	assert_int_equal(faulty_store_open(&w->store, inner, &w->faulty), 0);
	if (written_behind)
		assert_int_equal(behind_store_open(&w->store, w->store, 1), 0);
	assert_int_equal(test_fs_open(w->store, &w->fs), 0);
	assert_int_equal(bucket_create(w->fs, &test_root, S("nightly"), &w->b), 0);
	assert_int_equal(data_key_set(w->fs, w->b, &test_root, S("kept"), S("1"), false, false, NULL), 0);
	assert_int_equal(create_sized(w, "old", 10), 0);
	assert_int_equal(create_sized(w, "target", file_inline_max * 2), 0);
	settle_due(w->fs, INT64_MAX);
	assert_int_equal(create_sized(w, "young", file_inline_max * 2 + 1), 0);
	/* Nothing is cached that a restart would have to read. */
	bucket_put(w->fs, w->b);
	fs_close(w->fs);
	assert_int_equal(test_fs_open(w->store, &w->fs), 0);
	assert_int_equal(bucket_lookup(w->fs, S("nightly"), &w->b), 0);
}

static void world_close(struct world *w)
{
	file_end_again(w->fs, true);
	assert_int_equal(w->fs->files.count, 0);
	assert_int_equal(w->b->making.count, 0);
	assert_int_equal(w->b->pending_bytes, 0);
	bucket_put(w->fs, w->b);
	fs_close(w->fs);
	store_close(w->store);
}

/* Runs one action with the nth store call (or allocation) failing. False: it did not get that far. */
static bool run_failing(size_t action, unsigned nth, bool allocation, const struct buf *before, const struct buf *after)
{
	struct world w;
	struct buf picture = {0};
	int r;

	world_open(&w);
	w.faulty.calls = allocations = 0;
	if (allocation)
		allocation_fails_at = nth;
	else
		w.faulty.fail_at = nth;
	r = actions[action].run(&w);
	bool reached = allocation ? allocations >= nth : w.faulty.calls >= nth;
	allocation_fails_at = w.faulty.fail_at = 0;
	draw(w.store, &picture);
	if (r > 0 || (r == 0 && !slice_equal(buf_slice(&picture), buf_slice(after))))
		fail_msg("%s, %s %u: result %d, then\n%.*s", actions[action].name, allocation ? "allocation" : "call", nth, r,
			 (int)picture.len, picture.data);
	/* A failed action has done nothing, or (when only telling of it failed) everything. A create that fails in its
	 * second step may leave the empty file that its first step made, as POSIX has it. */
	if (r < 0 && !slice_equal(buf_slice(&picture), buf_slice(before)) && !slice_equal(buf_slice(&picture), buf_slice(after)) &&
	    strncmp(actions[action].name, "create", 6) && strncmp(actions[action].name, "rewrite", 7))
		fail_msg("%s, %s %u: half-done:\n%.*s", actions[action].name, allocation ? "allocation" : "call", nth,
			 (int)picture.len, picture.data);
	/* And nothing is broken by it. */
	buf_clear(&picture);
	r = actions[action].run(&w);
	if (r)
		fail_msg("%s, %s %u: the second try gives %d", actions[action].name, allocation ? "allocation" : "call", nth, r);
	draw(w.store, &picture);
	if (!slice_equal(buf_slice(&picture), buf_slice(after)))
		fail_msg("%s, %s %u: after the second try:\n%.*s", actions[action].name, allocation ? "allocation" : "call", nth,
			 (int)picture.len, picture.data);
	buf_release(&picture);
	world_close(&w);
	return reached;
}

static void fail_all(bool allocation)
{
	for (size_t i = 0; i < sizeof(actions) / sizeof(*actions); i++) {
		struct buf before = {0}, after = {0};
		struct world w;
		unsigned nth = 1;

		world_open(&w);
		draw(w.store, &before);
		assert_int_equal(actions[i].run(&w), 0);
		draw(w.store, &after);
		world_close(&w);
		while (run_failing(i, nth, allocation, &before, &after))
			nth++;
		assert_true(nth >= 2);
		buf_release(&before);
		buf_release(&after);
	}
}

static void test_store_calls(void **state)
{
	(void)state;
	fail_all(false);
}

static void test_store_calls_behind(void **state)
{
	(void)state;
	written_behind = true;
	fail_all(false);
	written_behind = false;
}

static void test_allocations(void **state)
{
	(void)state;
	fail_all(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_store_calls), cmocka_unit_test(test_store_calls_behind),
					   cmocka_unit_test(test_allocations)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
