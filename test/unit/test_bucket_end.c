/* A bucket or a transaction ends while files of it are open: who has one open goes on reading what was there, and nothing that was
 * acknowledged is said to be lost. Random sequences; BUCKETFS_SEED repeats one. */
#include <errno.h>

#include <sys/stat.h>

#include "bucket/redirect.h"
#include "bucket/settle.h"
#include "bucket/transaction.h"
#include "domain.h"
#include "log_lines.h"
#include "store/faulty.h"

enum { handles_max = 10, transactions = 3, steps = 150, rounds = 2000, name_count = 3 };

/* What every handle of an open file must read. */
struct model {
	struct file *f;
	unsigned handles;
	struct buf bytes;
	bool unknown; /* a write failed in the middle, or the file was changed under another name */
};

struct world {
	struct store *store;
	struct faulty faulty;
	struct fs *fs;
	struct bucket *b;
	struct file_open *handles[handles_max];
	struct model models[handles_max];
	uint64_t random;
	bool faults;
	char history[steps * 96];
	size_t history_len;
};

static unsigned below(struct world *w, unsigned n)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return (unsigned)(w->random >> 20) % n;
}

__attribute__((format(printf, 2, 3))) static void note(struct world *w, const char *format, ...)
{
	size_t left = sizeof(w->history) - w->history_len;
	va_list args;

	va_start(args, format);
	w->history_len += (size_t)vsnprintf(w->history + w->history_len, left, format, args);
	va_end(args);
	assert_true(w->history_len < sizeof(w->history));
}

/* The history is too long for a message of cmocka. */
__attribute__((format(printf, 2, 3))) static void fail_here(const struct world *w, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "%s\n%s", w->history, log_lines);
	vfprintf(stderr, format, args);
	va_end(args);
	fail_msg("see above");
}

static int sync_file(struct file *f)
{
	int r = file_save(f);

	return r ? r : file_settle(f);
}

/* ---- models ---- */

static struct model *model_of(struct world *w, const struct file *f)
{
	for (size_t i = 0; i < handles_max; i++)
		if (w->models[i].handles && w->models[i].f == f)
			return &w->models[i];
	return NULL;
}

static void read_content(struct store_content *content, uint64_t size, struct buf *out)
{
	size_t got;

	assert_int_equal(buf_resize(out, size), 0);
	assert_int_equal(store_content_read(content, 0, out->data, size, &got), 0);
	assert_int_equal(got, size);
}

/* From the store and past the file, which is to load it as late as possible. */
static void look_up_bytes(struct world *w, struct file *f, struct buf *out)
{
	struct key_buf key = key_body(f->node.number);
	struct store_content *content;

	if (f->node.place == PLACE_CONTENT && f->loaded) {
		read_content(f->content, f->node.size, out);
	} else if (f->node.place == PLACE_CONTENT) {
		assert_int_equal(store_content_open(w->store, f->node.content, &content), 0);
		read_content(content, f->node.size, out);
		store_content_close(content, false);
	} else if (f->loaded) {
		assert_int_equal(buf_add(out, f->bytes.data, f->node.size), 0);
	} else if (f->node.size) {
		assert_int_equal(store_get(w->store, f->b->number, STORE_BODY, key_slice(&key), out), 0);
	}
	assert_int_equal(out->len, f->node.size);
}

static void add_handle(struct world *w, struct file_open *h, unsigned flags)
{
	struct model *m = model_of(w, h->file);
	size_t i = 0;

	w->faulty.fail_at = 0;
	while (w->handles[i])
		i++;
	w->handles[i] = h;
	note(w, " -> handle %zu, node %llu", i, (unsigned long long)h->file->node.number);
	for (i = 0; !m && i < handles_max; i++) {
		if (w->models[i].handles == 0) {
			m = &w->models[i];
			m->f = h->file;
			m->unknown = false;
			look_up_bytes(w, h->file, &m->bytes);
		}
	}
	m->handles++;
	if (flags & TREE_TRUNCATE) {
		assert_int_equal(h->file->node.size, 0);
		buf_clear(&m->bytes);
		m->unknown = false;
	}
}

/* A call that failed in the middle may have emptied what it was about to open. */
static void failed(struct world *w, int r)
{
	for (size_t i = 0; r < 0 && i < handles_max; i++)
		w->models[i].unknown |= w->models[i].handles && w->models[i].f->node.size == 0;
}

static void check(struct world *w, struct file_open *h)
{
	struct model *m = model_of(w, h->file);
	struct buf got = {0};
	size_t len = 0;
	int r;

	assert_int_equal(buf_resize(&got, m->bytes.len + 10), 0);
	r = file_read(h->file, 0, got.data, got.len, &len);
	if ((r && !w->faulty.fail_at) || (!r && !m->unknown && (len != m->bytes.len || (len && memcmp(got.data, m->bytes.data, len)))))
		fail_here(w, "node %llu: reading gives %d and %zu bytes of %zu, or others", (unsigned long long)h->file->node.number, r,
			  len, m->bytes.len);
	buf_release(&got);
}

/* ---- what is done ---- */

static struct bucket *some_bucket(struct world *w)
{
	struct bucket *t;
	char name[8];

	snprintf(name, sizeof(name), "t%u", below(w, transactions));
	if (below(w, 4) == 0)
		return bucket_share(w->fs, w->b);
	return transaction_lookup(w->fs, w->b, &test_root, S(name), &t) ? NULL : t;
}

static uint64_t some_folder(struct world *w, struct bucket *b)
{
	struct attr attr;
	bool canonical;

	if (below(w, 3) || tree_lookup(w->fs, b, &test_root, NODE_FILES, S("d"), TREE_CLOSED_NONE, &attr, &canonical))
		return NODE_FILES;
	return attr.inode & INODE_NODE_MASK;
}

static struct slice some_name(struct world *w)
{
	static const char *const names[name_count] = {"a", "b", "c"};

	return S(names[below(w, name_count)]);
}

static bool has_room(const struct world *w)
{
	size_t used = 0;

	for (size_t i = 0; i < handles_max; i++)
		used += w->handles[i] != NULL;
	return used < handles_max;
}

static struct file_open *some_handle(struct world *w, size_t *i)
{
	*i = below(w, handles_max);
	return w->handles[*i];
}

static void do_create(struct world *w, struct bucket *b)
{
	static const unsigned flags[] = {TREE_WRITE | TREE_TRUNCATE, TREE_WRITE | TREE_TRUNCATE, TREE_READ | TREE_WRITE,
					 TREE_WRITE | TREE_APPEND};
	uint64_t folder = some_folder(w, b);
	struct slice name = some_name(w);
	unsigned how = flags[below(w, 4)];
	struct file_open *h;
	bool canonical;
	int r;

	if (!has_room(w))
		return;
	note(w, "create %.*s/%llu/%s", (int)b->name.len, (const char *)b->name.at, (unsigned long long)folder, (const char *)name.at);
	r = tree_create(w->fs, b, &test_root, folder, name, 0644, how, &h, &canonical, NULL);
	if (r == 0)
		add_handle(w, h, how);
	failed(w, r);
}

static void do_open(struct world *w, struct bucket *b)
{
	static const unsigned flags[] = {TREE_READ, TREE_READ, TREE_READ, TREE_READ | TREE_WRITE, TREE_WRITE | TREE_TRUNCATE};
	unsigned how = flags[below(w, 5)];
	uint64_t folder = some_folder(w, b);
	struct slice name = some_name(w);
	struct file_open *h;
	struct attr attr;
	bool canonical;
	int r;

	if (!has_room(w))
		return;
	note(w, "open %.*s/%llu/%s %u", (int)b->name.len, (const char *)b->name.at, (unsigned long long)folder, (const char *)name.at,
	     how);
	for (int i = 0; i < 2; i++) {
		if (tree_lookup(w->fs, b, &test_root, folder, name, TREE_CLOSED_NONE, &attr, &canonical))
			return;
		r = tree_open(w->fs, b, &test_root, attr.inode & INODE_NODE_MASK, how, TREE_CLOSED_NONE, &h, NULL);
		failed(w, r);
		if (r == 0) {
			add_handle(w, h, how);
			return;
		}
	}
}

/* By an open handle, as through /proc/self/fd. */
static void do_reopen(struct world *w)
{
	size_t i;
	struct file_open *old = some_handle(w, &i), *h;
	unsigned how = below(w, 3) ? TREE_READ : TREE_WRITE;
	struct file *f;

	if (!old || !has_room(w))
		return;
	f = old->file;
	note(w, "reopen %zu %u", i, how);
	if (tree_open(w->fs, f->b, &test_root, f->node.number, how, TREE_CLOSED_NONE, &h, NULL) == 0)
		add_handle(w, h, how);
}

/* Of a published file that is changed in place a reader of the transaction sees that, as after rename(2). Not the other way round. */
static void changed_in_place(struct world *w, const struct file *f)
{
	if (f->unlinked)
		return;
	for (size_t i = 0; i < handles_max; i++) {
		struct model *m = &w->models[i];

		if (m->handles && m->f != f && f->node.place == PLACE_CONTENT && m->f->node.place == PLACE_CONTENT &&
		    m->f->node.content == f->node.content)
			m->unknown = true;
	}
}

static void do_write(struct world *w)
{
	static char bytes[70000];
	size_t i, len = below(w, 3) ? 1 + below(w, 50) : 40000 + below(w, 20000);
	struct file_open *h = some_handle(w, &i);
	struct model *m;
	uint64_t at;

	if (!h || !h->writes)
		return;
	m = model_of(w, h->file);
	memset(bytes, 'a' + (int)below(w, 26), len);
	at = h->append ? h->file->node.size : below(w, (unsigned)h->file->node.size + 1);
	note(w, "write %zu %llu+%zu", i, (unsigned long long)at, len);
	if (file_write(h, at, h->append, slice_of(bytes, len), NULL))
		m->unknown = true;
	else
		assert_int_equal(buf_write_at(&m->bytes, at, bytes, len), 0);
	changed_in_place(w, h->file);
}

static void do_truncate(struct world *w)
{
	size_t i;
	struct file_open *h = some_handle(w, &i);
	uint64_t size = below(w, 3) ? 0 : below(w, 60000);
	struct model *m;

	if (!h || !h->writes)
		return;
	m = model_of(w, h->file);
	note(w, "truncate %zu %llu", i, (unsigned long long)size);
	if (file_truncate_open(h, size, NULL))
		m->unknown = true;
	else
		assert_int_equal(buf_resize(&m->bytes, size), 0);
	changed_in_place(w, h->file);
}

static void do_truncate_number(struct world *w)
{
	size_t i;
	struct file_open *h = some_handle(w, &i);
	uint64_t size = below(w, 3) ? 0 : below(w, 60000);
	struct model *m;
	int r;

	if (!h)
		return;
	m = model_of(w, h->file);
	note(w, "truncate by number %zu %llu", i, (unsigned long long)size);
	r = tree_truncate(w->fs, h->file->b, &test_root, h->file->node.number, size, TREE_CLOSED_NONE, NULL);
	if (r == 0)
		assert_int_equal(buf_resize(&m->bytes, size), 0);
	else if (r < 0)
		m->unknown = true;
	if (r <= 0)
		changed_in_place(w, h->file);
}

static void do_mode(struct world *w)
{
	size_t i;
	struct file_open *h = some_handle(w, &i);
	uint32_t mode = below(w, 2) ? 0755 : 0644;
	struct tree_change change = {.mode = &mode};

	if (!h)
		return;
	note(w, "chmod %zu", i);
	tree_set(w->fs, h->file->b, &test_root, h->file->node.number, &change);
}

static void do_flush(struct world *w)
{
	size_t i;
	struct file_open *h = some_handle(w, &i);

	if (!h)
		return;
	note(w, "flush %zu", i);
	file_flush(h, below(w, 10) ? below(w, 3) ? FILE_CLOSER_DONE : FILE_CLOSER_SHARES : FILE_CLOSER_DIES);
}

static void do_sync(struct world *w)
{
	size_t i;
	struct file_open *h = some_handle(w, &i);

	if (!h)
		return;
	note(w, "sync %zu", i);
	sync_file(h->file);
}

static void close_handle(struct world *w, size_t i, bool flush)
{
	struct file_open *h = w->handles[i];
	struct model *m = model_of(w, h->file);

	if (flush)
		file_flush(h, FILE_CLOSER_DONE);
	if (!w->faults)
		check(w, h);
	w->handles[i] = NULL;
	if (--m->handles == 0)
		buf_release(&m->bytes);
	file_close(h, false);
}

static void do_close(struct world *w)
{
	size_t i;
	bool flush = below(w, 5) > 0;

	if (!some_handle(w, &i))
		return;
	note(w, "close %zu%s", i, flush ? "" : " without a flush");
	close_handle(w, i, flush);
}

static void do_check(struct world *w)
{
	size_t i;
	struct file_open *h = some_handle(w, &i);

	if (!h)
		return;
	note(w, "read %zu", i);
	check(w, h);
}

static void do_rename(struct world *w, struct bucket *b)
{
	uint64_t from = some_folder(w, b), to = some_folder(w, b);
	struct slice name = some_name(w), new_name = some_name(w);
	bool canonical;

	note(w, "rename %.*s/%llu/%s %llu/%s", (int)b->name.len, (const char *)b->name.at, (unsigned long long)from,
	     (const char *)name.at, (unsigned long long)to, (const char *)new_name.at);
	tree_rename(w->fs, b, &test_root, from, name, to, new_name, false, TREE_CLOSED_NONE, &canonical, NULL);
}

static void do_unlink(struct world *w, struct bucket *b)
{
	uint64_t folder = some_folder(w, b);
	struct slice name = some_name(w);
	bool canonical;

	note(w, "unlink %.*s/%llu/%s", (int)b->name.len, (const char *)b->name.at, (unsigned long long)folder, (const char *)name.at);
	tree_unlink(w->fs, b, &test_root, folder, name, false, &canonical);
}

static void do_folder(struct world *w, struct bucket *b)
{
	uint64_t number;
	bool canonical;

	note(w, "folder in %.*s", (int)b->name.len, (const char *)b->name.at);
	if (below(w, 2))
		tree_mkdir(w->fs, b, &test_root, NODE_FILES, S("d"), &number, &canonical, NULL);
	else
		tree_unlink(w->fs, b, &test_root, NODE_FILES, S("d"), true, &canonical);
}

static void do_begin(struct world *w)
{
	struct bucket *t;
	char name[8];

	snprintf(name, sizeof(name), "t%u", below(w, transactions));
	note(w, "begin %s", name);
	if (transaction_begin(w->fs, w->b, &test_root, S(name), &t, NULL) == 0)
		bucket_put(w->fs, t);
}

static void do_publish(struct world *w)
{
	char name[8];
	int r;

	snprintf(name, sizeof(name), "t%u", below(w, transactions));
	r = transaction_commit(w->fs, w->b, &test_root, S(name), NULL);
	note(w, "publish %s: %d", name, r);
}

static void empty_bucket(struct world *w, struct bucket *b)
{
	static const char *const names[] = {"a", "b", "c", ".a.partial", ".b.partial", ".c.partial"};
	struct attr attr;
	bool canonical;

	if (tree_lookup(w->fs, b, &test_root, NODE_FILES, S("d"), TREE_CLOSED_NONE, &attr, &canonical) == 0) {
		for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
			tree_unlink(w->fs, b, &test_root, attr.inode & INODE_NODE_MASK, S(names[i]), false, &canonical);
		tree_unlink(w->fs, b, &test_root, NODE_FILES, S("d"), true, &canonical);
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		tree_unlink(w->fs, b, &test_root, NODE_FILES, S(names[i]), false, &canonical);
}

static void do_abandon(struct world *w)
{
	struct bucket *t;
	char name[8];

	snprintf(name, sizeof(name), "t%u", below(w, transactions));
	note(w, "abandon %s", name);
	if (transaction_lookup(w->fs, w->b, &test_root, S(name), &t))
		return;
	if (below(w, 3))
		empty_bucket(w, t);
	bucket_put(w->fs, t);
	note(w, ": %d", transaction_abandon(w->fs, w->b, &test_root, S(name)));
}

static void do_remove(struct world *w)
{
	struct bucket *again;
	int r;

	note(w, "remove the bucket");
	empty_bucket(w, w->b);
	r = bucket_remove(w->fs, &test_root, S("nightly"));
	note(w, ": %d", r);
	w->faulty.fail_at = 0;
	r = bucket_create(w->fs, &test_root, S("nightly"), &again);
	assert_true(r == 0 || r == BUCKET_EXISTS);
	if (r)
		return;
	bucket_put(w->fs, w->b);
	w->b = again;
}

static void do_settle(struct world *w)
{
	note(w, "settle");
	settle_due(w->fs, INT64_MAX);
}

/* ---- rounds ---- */

static void step(struct world *w)
{
	unsigned what = below(w, 100);
	struct bucket *b = what < 46 ? some_bucket(w) : NULL;

	if (what < 46 && !b)
		do_begin(w);
	else if (what < 16)
		do_create(w, b);
	else if (what < 30)
		do_open(w, b);
	else if (what < 37)
		do_rename(w, b);
	else if (what < 42)
		do_unlink(w, b);
	else if (what < 46)
		do_folder(w, b);
	else if (what < 60)
		do_write(w);
	else if (what < 62)
		do_truncate(w);
	else if (what < 64)
		do_truncate_number(w);
	else if (what < 66)
		do_mode(w);
	else if (what < 70)
		do_flush(w);
	else if (what < 72)
		do_sync(w);
	else if (what < 84)
		do_close(w);
	else if (what < 85)
		do_check(w);
	else if (what < 87)
		do_reopen(w);
	else if (what < 89)
		do_settle(w);
	else if (what < 95)
		do_publish(w);
	else if (what < 98)
		do_abandon(w);
	else
		do_remove(w);
	bucket_put(w->fs, b);
	if (w->history[w->history_len - 1] != '\n')
		note(w, "\n");
}

static void check_log(const struct world *w)
{
	if (log_lines_have("is missing from the store") || log_lines_have("is damaged") ||
	    (!w->faults && log_lines_have("could not be committed")))
		fail_here(w, "a line that must not be");
}

static int read_one(void *context, const struct node *node, const struct attr *attr)
{
	struct world *w = context;
	struct file_open *h;
	struct buf got = {0};
	size_t len;

	if (S_ISDIR(attr->mode))
		return 0;
	if (tree_open(w->fs, w->b, &test_root, node->number, TREE_READ, TREE_CLOSED_NONE, &h, NULL))
		fail_here(w, "%.*s cannot be opened", (int)node->name.len, (const char *)node->name.at);
	assert_int_equal(buf_resize(&got, node->size), 0);
	if (file_read(h->file, 0, got.data, got.len, &len) || len != node->size)
		fail_here(w, "%.*s is not whole", (int)node->name.len, (const char *)node->name.at);
	buf_release(&got);
	file_close(h, false);
	return 0;
}

static int read_bucket(void *context, uint32_t number, struct slice name)
{
	struct world *w = context;
	struct attr attr;
	bool canonical;

	(void)name;
	assert_int_equal(bucket_get(w->fs, number, &w->b), 0);
	assert_int_equal(tree_list(w->fs, w->b, NODE_FILES, 0, TREE_CLOSED_NONE, read_one, w), 0);
	if (tree_lookup(w->fs, w->b, &test_root, NODE_FILES, S("d"), TREE_CLOSED_NONE, &attr, &canonical) == 0)
		assert_int_equal(tree_list(w->fs, w->b, attr.inode & INODE_NODE_MASK, 0, TREE_CLOSED_NONE, read_one, w), 0);
	bucket_put(w->fs, w->b);
	return 0;
}

/* Everything that has a name is there after a restart. */
static void check_store(struct world *w)
{
	log_lines_clear();
	assert_int_equal(test_fs_open(w->store, &w->fs), 0);
	assert_int_equal(transaction_recover(w->fs), 0);
	assert_int_equal(bucket_list(w->fs, 0, read_bucket, w), 0);
	check_log(w);
	fs_close(w->fs);
}

static void round_of(uint64_t seed, bool faults)
{
	struct world *w = calloc(1, sizeof(*w));
	struct store *inner;

	assert_non_null(w);
	w->random = seed * 0x9e3779b97f4a7c15ULL + 1;
	w->faults = faults;
	w->faulty.error = -EIO;
	note(w, "BUCKETFS_SEED=%llu%s\n", (unsigned long long)seed, faults ? " with faults" : "");
	assert_int_equal(memory_store_open(&inner), 0);
	assert_int_equal(faulty_store_open(&w->store, inner, &w->faulty), 0);
	assert_int_equal(test_fs_open(w->store, &w->fs), 0);
	assert_int_equal(bucket_create(w->fs, &test_root, S("nightly"), &w->b), 0);
	for (int i = 0; i < steps; i++) {
		bool failing = faults && below(w, 8) == 0;

		log_lines_clear();
		w->faulty.fail_at = failing ? w->faulty.calls + 1 + below(w, 12) : 0;
		step(w);
		w->faulty.fail_at = 0;
		if (!failing)
			check_log(w);
	}
	for (size_t i = 0; i < handles_max; i++)
		if (w->handles[i])
			close_handle(w, i, true);
	check_log(w);
	bucket_put(w->fs, w->b);
	redirect_drop_all(w->fs);
	file_end_again(w->fs, true);
	assert_int_equal(w->fs->files.count, 0);
	fs_close(w->fs);
	check_store(w);
	store_close(w->store);
	free(w);
}

static void run(bool faults)
{
	const char *seed = getenv("BUCKETFS_SEED");

	if (seed) {
		round_of(strtoull(seed, NULL, 10), faults);
		return;
	}
	for (uint64_t i = 1; i <= rounds; i++)
		round_of(i, faults);
}

static void test_random(void **state)
{
	(void)state;
	run(false);
}

static void test_random_with_faults(void **state)
{
	(void)state;
	run(true);
}

/* ---- one by one ---- */

enum { large = 3 * file_inline_max };

static struct file_open *put_large(struct world *w, struct bucket *b, const char *name, bool closed)
{
	static char bytes[large];
	struct file_open *h;
	bool canonical;

	memset(bytes, 'x', sizeof(bytes));
	assert_int_equal(tree_create(w->fs, b, &test_root, NODE_FILES, S(name), 0644, TREE_WRITE | TREE_TRUNCATE, &h, &canonical,
				     NULL), 0);
	assert_int_equal(file_write(h, 0, false, slice_of(bytes, sizeof(bytes)), NULL), 0);
	assert_int_equal(file_flush(h, FILE_CLOSER_DONE), 0);
	if (!closed)
		return h;
	file_close(h, false);
	return NULL;
}

static uint64_t number_of(struct world *w, struct bucket *b, const char *name)
{
	struct attr attr;
	bool canonical;

	assert_int_equal(tree_lookup(w->fs, b, &test_root, NODE_FILES, S(name), TREE_CLOSED_NONE, &attr, &canonical), 0);
	return attr.inode & INODE_NODE_MASK;
}

static struct file_open *open_number(struct world *w, struct bucket *b, uint64_t number)
{
	struct file_open *h;

	assert_int_equal(tree_open(w->fs, b, &test_root, number, TREE_READ, TREE_CLOSED_NONE, &h, NULL), 0);
	return h;
}

static void assert_large(struct file_open *h)
{
	static char bytes[large + 1];
	size_t len;

	assert_int_equal(file_read(h->file, 0, bytes, sizeof(bytes), &len), 0);
	assert_int_equal(len, large);
	for (size_t i = 0; i < large; i++)
		assert_int_equal(bytes[i], 'x');
}

static void open_world(struct world *w)
{
	*w = (struct world){0};
	assert_int_equal(memory_store_open(&w->store), 0);
	assert_int_equal(test_fs_open(w->store, &w->fs), 0);
	assert_int_equal(bucket_create(w->fs, &test_root, S("nightly"), &w->b), 0);
	log_lines_clear();
}

static void close_world(struct world *w)
{
	assert_string_equal(log_lines, "");
	file_end_again(w->fs, true);
	assert_int_equal(w->fs->files.count, 0);
	bucket_put(w->fs, w->b);
	fs_close(w->fs);
	store_close(w->store);
}

/* A reader of the transaction keeps the content, and cannot change it for the bucket's file. */
static void test_reader_of_published(void **state)
{
	/* Of a thread outside our process namespace: it is not asked to look again. */
	static const struct caller nobody_known = {0};
	static struct world w;
	struct file_open *reader, *again, *published;
	struct bucket *t;
	uint64_t number;
	bool canonical;

	(void)state;
	open_world(&w);
	assert_int_equal(transaction_begin(w.fs, w.b, &test_root, S("t"), &t, NULL), 0);
	put_large(&w, t, "a", true);
	number = number_of(&w, t, "a");
	reader = open_number(&w, t, number);
	assert_int_equal(transaction_commit(w.fs, w.b, &test_root, S("t"), NULL), 0);
	assert_int_equal(tree_open(w.fs, t, &test_root, number, TREE_WRITE, TREE_CLOSED_NONE, &again, NULL), BUCKET_GONE);
	assert_int_equal(tree_open(w.fs, t, &test_root, number, TREE_READ | TREE_WRITE | TREE_TRUNCATE, TREE_CLOSED_NONE, &again,
				   NULL), BUCKET_GONE);
	assert_int_equal(tree_open(w.fs, t, &nobody_known, number, TREE_WRITE | TREE_TRUNCATE, TREE_CLOSED_NONE, &again, NULL),
			 BUCKET_GONE);
	assert_int_equal(tree_truncate(w.fs, t, &test_root, number, 10, TREE_CLOSED_NONE, NULL), BUCKET_GONE);
	again = open_number(&w, t, number);
	published = open_number(&w, w.b, number_of(&w, w.b, "a"));
	assert_large(published);
	file_close(published, false);
	assert_int_equal(tree_unlink(w.fs, w.b, &test_root, NODE_FILES, S("a"), false, &canonical), 0);
	assert_large(reader);
	file_close(reader, false);
	assert_large(again);
	file_close(again, false);
	bucket_put(w.fs, t);
	close_world(&w);
}

/* What is written through a mapping after the last close of a writer is published with the rest. */
static void test_dirty_without_writer(void **state)
{
	static struct world w;
	struct file_open *writer, *reader;
	struct bucket *t;
	char bytes[8];
	bool canonical;
	size_t len;

	(void)state;
	open_world(&w);
	assert_int_equal(transaction_begin(w.fs, w.b, &test_root, S("t"), &t, NULL), 0);
	assert_int_equal(tree_create(w.fs, t, &test_root, NODE_FILES, S("a"), 0644, TREE_WRITE | TREE_APPEND, &writer, &canonical,
				     NULL), 0);
	reader = open_number(&w, t, number_of(&w, t, "a"));
	assert_int_equal(file_write(writer, 0, false, S("late"), NULL), 0);
	file_close(writer, false);
	assert_int_equal(transaction_commit(w.fs, w.b, &test_root, S("t"), NULL), 0);
	file_close(reader, false);
	reader = open_number(&w, w.b, number_of(&w, w.b, "a"));
	assert_int_equal(file_read(reader->file, 0, bytes, sizeof(bytes), &len), 0);
	assert_slice(slice_of(bytes, len), "late");
	file_close(reader, false);
	bucket_put(w.fs, t);
	close_world(&w);
}

/* With a bucket its transactions go; who writes there goes on, as in a file that was unlinked. */
static void test_writer_of_purged(void **state)
{
	static struct world w;
	struct file_open *writer, *reader;
	struct bucket *t;

	(void)state;
	open_world(&w);
	assert_int_equal(transaction_begin(w.fs, w.b, &test_root, S("t"), &t, NULL), 0);
	writer = put_large(&w, t, "a", false);
	put_large(&w, t, "b", true);
	reader = open_number(&w, t, number_of(&w, t, "b"));
	assert_int_equal(bucket_remove(w.fs, &test_root, S("nightly")), 0);
	assert_large(reader);
	assert_int_equal(file_write(writer, 0, false, S("x"), NULL), 0);
	assert_int_equal(file_flush(writer, FILE_CLOSER_DONE), 0);
	assert_int_equal(sync_file(writer->file), 0);
	assert_large(writer);
	file_close(writer, false);
	file_close(reader, false);
	bucket_put(w.fs, t);
	close_world(&w);
}

/* The commit that takes the name of a published transaction away fails: nothing in it can be changed until it is gone. */
static void test_published_lingers(void **state)
{
	static struct world w;
	struct file_open *reader;
	struct bucket *t;
	struct store *inner;
	unsigned before;
	bool canonical;
	int r;

	(void)state;
	for (unsigned nth = 1; ; nth++) {
		w = (struct world){.faulty = {.error = -EIO}};
		assert_int_equal(memory_store_open(&inner), 0);
		assert_int_equal(faulty_store_open(&w.store, inner, &w.faulty), 0);
		assert_int_equal(test_fs_open(w.store, &w.fs), 0);
		assert_int_equal(bucket_create(w.fs, &test_root, S("nightly"), &w.b), 0);
		assert_int_equal(transaction_begin(w.fs, w.b, &test_root, S("t"), &t, NULL), 0);
		put_large(&w, t, "a", true);
		settle_due(w.fs, INT64_MAX);
		before = w.faulty.calls;
		/* From there on every call fails. */
		w.faulty.fail_from = before + nth;
		r = transaction_commit(w.fs, w.b, &test_root, S("t"), NULL);
		bool reached = w.faulty.calls >= before + nth;
		w.faulty.fail_from = 0;
		if (r == 0) {
			tree_unlink(w.fs, t, &test_root, NODE_FILES, S("a"), false, &canonical);
			/* As if many texts were kept: then who is not in use leaves the memory. */
			w.fs->text_bytes = (size_t)data_text_budget + 1;
			bucket_put(w.fs, t);
			w.fs->text_bytes = 0;
			t = NULL;
			reader = open_number(&w, w.b, number_of(&w, w.b, "a"));
			assert_large(reader);
			file_close(reader, false);
			assert_int_equal(transaction_commit(w.fs, w.b, &test_root, S("t"), NULL), BUCKET_ABSENT);
		}
		bucket_put(w.fs, t);
		bucket_put(w.fs, w.b);
		fs_close(w.fs);
		check_store(&w);
		store_close(w.store);
		if (!reached)
			break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_random), cmocka_unit_test(test_random_with_faults),
					   cmocka_unit_test(test_reader_of_published), cmocka_unit_test(test_dirty_without_writer),
					   cmocka_unit_test(test_writer_of_purged), cmocka_unit_test(test_published_lingers)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
