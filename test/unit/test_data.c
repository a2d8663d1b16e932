#include <errno.h>
#include <stdio.h>

#include "fixture.h"
#include "bucket/control.h"
#include "bucket/data_node.h"
#include "bucket/history.h"

static void assert_text(struct fixture *f, const char *want)
{
	struct text *text;
	struct attr attr;

	assert_int_equal(data_text(f->fs, f->b, &text), 0);
	assert_slice(buf_slice(&text->bytes), want);
	if (data_attr(f->fs, f->b, &test_root, &attr) == 0)
		assert_int_equal(attr.size, text->bytes.len);
	data_text_put(text);
}

static struct data_handle *open_with(struct fixture *f, unsigned flags)
{
	struct data_handle *h;
	int r = data_open(f->fs, f->b, &test_root, NODE_DATA, flags, &h, NULL);

	if (r == BUCKET_REDIRECTED)
		r = data_open(f->fs, f->b, &test_root, data_node_find(f->fs, f->b, &test_root), flags, &h, NULL);
	assert_int_equal(r, 0);
	return h;
}

static bool append;

static int write_text(struct data_handle *h, uint64_t at, const char *text)
{
	return data_write(h, at, append, S(text), NULL);
}

static int flush(struct data_handle *h)
{
	bool opener_only;

	return data_flush(h, NULL, &opener_only, NULL);
}

static int patch(struct fixture *f, const char *text)
{
	struct data_handle *h = open_with(f, DATA_WRITE | DATA_TRUNCATE);
	int r = write_text(h, 0, text);

	if (!r)
		r = flush(h);
	data_close(h, NULL);
	return r;
}

static void test_merge(void **state)
{
	struct fixture *f = *state;

	assert_text(f, "{}\n");
	assert_int_equal(patch(f, "{\"b\": {\"x\": 1}, \"a\": 1}"), 0);
	assert_text(f, "{\n  \"a\": 1,\n  \"b\": {\"x\":1}\n}\n");
	assert_int_equal(patch(f, "{\"b\": {\"y\": null}, \"c\": null}"), 0);
	assert_text(f, "{\n  \"a\": 1,\n  \"b\": {\"y\":null},\n  \"c\": null\n}\n");
	assert_int_equal(patch(f, "{\"d\":1}\n{\"d\":2} {\"e\":3}"), 0);
	assert_text(f, "{\n  \"a\": 1,\n  \"b\": {\"y\":null},\n  \"c\": null,\n  \"d\": 2,\n  \"e\": 3\n}\n");
}

static void test_nothing_changes_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t revision;
	int64_t modified;

	assert_int_equal(patch(f, "{\"a\": 1}"), 0);
	revision = f->b->revision;
	modified = f->b->head.data_modified;
	assert_int_equal(patch(f, "{\"a\": 1}"), 0);
	assert_int_equal(patch(f, "{\"\\u0061\": 1}"), 0);
	assert_int_equal(patch(f, "{}"), 0);
	assert_int_equal(patch(f, ""), 0);
	assert_int_equal(f->b->revision, revision);
	assert_int_equal(f->b->head.data_modified, modified);
	assert_int_equal(patch(f, "{\"a\": 1.0}"), 0);
	assert_int_not_equal(f->b->revision, revision);
}

static void test_bad_text(void **state)
{
	struct fixture *f = *state;
	struct data_handle *h;

	assert_int_equal(patch(f, "{\"a\": 1}"), 0);
	h = open_with(f, DATA_WRITE);
	assert_int_equal(write_text(h, 0, "{\"b\":1}{bad"), BUCKET_INVALID);
	assert_int_equal(write_text(h, 11, "{\"c\":1}"), BUCKET_INVALID);
	assert_int_equal(flush(h), BUCKET_INVALID);
	assert_text(f, "{\n  \"a\": 1\n}\n");
	/* Truncating begins anew. */
	assert_int_equal(data_truncate(h, 0, NULL), 0);
	assert_int_equal(write_text(h, 0, "{\"c\":1}"), 0);
	assert_int_equal(flush(h), 0);
	assert_text(f, "{\n  \"a\": 1,\n  \"c\": 1\n}\n");
	assert_int_equal(data_truncate(h, 5, NULL), BUCKET_INVALID);
	assert_int_equal(data_close(h, NULL), 0);
}

static void test_incomplete(void **state)
{
	struct fixture *f = *state;
	struct data_handle *h = open_with(f, DATA_WRITE);

	assert_int_equal(flush(h), 0);
	assert_int_equal(write_text(h, 0, "{\"a\":1}{\"b\":"), 0);
	assert_int_equal(flush(h), BUCKET_INCOMPLETE);
	assert_text(f, "{\n  \"a\": 1\n}\n");
	assert_int_equal(write_text(h, 12, "2}"), 0);
	assert_int_equal(flush(h), 0);
	assert_text(f, "{\n  \"a\": 1,\n  \"b\": 2\n}\n");
	assert_int_equal(write_text(h, 14, "{"), 0);
	assert_int_equal(data_close(h, NULL), BUCKET_INCOMPLETE);
	assert_text(f, "{\n  \"a\": 1,\n  \"b\": 2\n}\n");
}

static void test_order_of_writes(void **state)
{
	struct fixture *f = *state;
	struct data_handle *h = open_with(f, DATA_WRITE);

	assert_int_equal(write_text(h, 0, "{\"a\":"), 0);
	assert_int_equal(write_text(h, 0, "1}"), BUCKET_INVALID);
	assert_int_equal(write_text(h, 6, "1}"), BUCKET_INVALID);
	assert_int_equal(write_text(h, 5, "1}"), 0);
	assert_int_equal(flush(h), 0);
	data_close(h, NULL);
	h = open_with(f, DATA_WRITE);
	append = true;
	assert_int_equal(write_text(h, 99, "{\"b\":"), 0);
	assert_int_equal(write_text(h, 7, "1}"), 0);
	append = false;
	assert_int_equal(flush(h), 0);
	data_close(h, NULL);
	assert_text(f, "{\n  \"a\": 1,\n  \"b\": 1\n}\n");
}

static void replace_text(struct data_handle *h, const char *text)
{
	assert_int_equal(data_truncate(h, 0, NULL), 0);
	assert_int_equal(write_text(h, 0, text), 0);
}

static void test_edit(void **state)
{
	struct fixture *f = *state;
	struct data_handle *h;

	assert_int_equal(patch(f, "{\"gone\":1,\"kept\":2,\"changed\":3}"), 0);
	h = open_with(f, DATA_READ | DATA_WRITE);
	replace_text(h, "{\"kept\":2,\"changed\":4,\"new\":5}");
	/* Somebody else's keys are not ours to touch. */
	assert_int_equal(patch(f, "{\"other\":6,\"kept\":7}"), 0);
	assert_int_equal(flush(h), 0);
	assert_text(f, "{\n  \"changed\": 4,\n  \"kept\": 7,\n  \"new\": 5,\n  \"other\": 6\n}\n");
	/* Committed once is committed. */
	assert_int_equal(patch(f, "{\"changed\":8}"), 0);
	assert_int_equal(flush(h), 0);
	assert_text(f, "{\n  \"changed\": 8,\n  \"kept\": 7,\n  \"new\": 5,\n  \"other\": 6\n}\n");
	assert_int_equal(data_close(h, NULL), 0);
}

static void conflict(struct fixture *f, const char *mine, const char *theirs)
{
	struct data_handle *h;
	uint64_t revision;

	assert_int_equal(patch(f, "{\"a\":1,\"b\":2}"), 0);
	h = open_with(f, DATA_READ | DATA_WRITE);
	replace_text(h, mine);
	assert_int_equal(patch(f, theirs), 0);
	revision = f->b->revision;
	assert_int_equal(flush(h), BUCKET_CONFLICT);
	assert_int_equal(flush(h), BUCKET_CONFLICT); /* the buffer is kept */
	assert_int_equal(f->b->revision, revision);
	assert_int_equal(data_close(h, NULL), BUCKET_INCOMPLETE);
}

static void test_conflict(void **state)
{
	struct fixture *f = *state;

	conflict(f, "{\"a\":9,\"b\":2}", "{\"a\":5}");
	conflict(f, "{\"b\":2}", "{\"a\":6}");
	conflict(f, "{\"a\":1,\"b\":2,\"c\":3}", "{\"c\":4}");
	conflict(f, "{\"a\":9,\"b\":9}", "{\"b\":5}");
}

static void test_edit_judged_at_flush(void **state)
{
	struct fixture *f = *state;
	struct data_handle *h;

	assert_int_equal(patch(f, "{\"a\":1}"), 0);
	h = open_with(f, DATA_READ | DATA_WRITE);
	assert_int_equal(flush(h), 0);
	replace_text(h, "{\"a\":");
	assert_int_equal(flush(h), BUCKET_INCOMPLETE);
	replace_text(h, "nonsense");
	assert_int_equal(flush(h), BUCKET_INVALID);
	assert_int_equal(data_truncate(h, 0, NULL), 0);
	assert_int_equal(flush(h), BUCKET_INCOMPLETE); /* an empty text deletes nothing */
	assert_text(f, "{\n  \"a\": 1\n}\n");
	replace_text(h, "{}");
	assert_int_equal(flush(h), 0);
	assert_text(f, "{}\n");
	data_close(h, NULL);
}

static void assert_read(struct data_handle *h, const char *want)
{
	struct buf got = {0};

	assert_int_equal(data_read(h, 0, 4096, &got), 0);
	assert_slice(buf_slice(&got), want);
	buf_release(&got);
}

static void test_snapshot(void **state)
{
	struct fixture *f = *state;
	struct data_handle *h;
	struct buf part = {0};

	assert_int_equal(patch(f, "{\"a\":1}"), 0);
	h = open_with(f, DATA_READ);
	assert_int_equal(patch(f, "{\"a\":2}"), 0);
	assert_read(h, "{\n  \"a\": 1\n}\n");
	assert_int_equal(data_read(h, 4, 3, &part), 0);
	assert_slice(buf_slice(&part), "\"a\"");
	assert_int_equal(write_text(h, 0, "{}"), BUCKET_WRONG_HANDLE);
	buf_release(&part);
	data_close(h, NULL);
}

static uint64_t shown_size(struct fixture *f, const struct caller *who, uint64_t node)
{
	struct attr attr;

	assert_int_equal(data_attr_open(f->fs, f->b, who, node, &attr), 0);
	assert_int_equal(attr.inode, inode_of(f->b->number, node));
	assert_int_equal(attr.shown_inode, inode_of(f->b->number, NODE_DATA));
	return attr.size;
}

/* Size and text are of one revision: a reader has an inode of its own while others write. */
static void test_node_of_a_reader(void **state)
{
	struct fixture *f = *state;
	struct caller other = test_root;
	struct data_handle *first, *second, *again, *writer;
	uint64_t node;

	other.pid = 12345;
	/* While all is quiet it has NODE_DATA, and whoever comes to write waits, but for the reader's own thread. */
	first = open_with(f, DATA_READ);
	assert_int_equal(shown_size(f, &other, NODE_DATA), 3);
	assert_int_equal(data_open(f->fs, f->b, &other, NODE_DATA, DATA_WRITE | DATA_WAITS, &writer, NULL), BUCKET_WAIT);
	assert_int_equal(data_open(f->fs, f->b, &test_root, NODE_DATA, DATA_WRITE | DATA_WAITS, &writer, NULL), 0);
	data_close(writer, NULL);
	assert_int_equal(patch(f, "{\"a\": \"longer\"}"), 0);
	assert_int_equal(shown_size(f, &test_root, NODE_DATA), 3);
	assert_true(shown_size(f, &other, NODE_DATA) > 3);
	/* From here on readers are sent elsewhere, where the same text is for whoever opens the same inode. */
	assert_int_equal(data_open(f->fs, f->b, &other, NODE_DATA, DATA_READ, &second, NULL), BUCKET_REDIRECTED);
	node = data_node_find(f->fs, f->b, &other);
	assert_true(snapshot_is(node));
	assert_int_equal(data_node_find(f->fs, f->b, &test_root), NODE_DATA);
	assert_int_equal(data_open(f->fs, f->b, &other, node, DATA_READ, &second, NULL), 0);
	assert_int_equal(data_node_find(f->fs, f->b, &other), NODE_DATA);
	assert_int_equal(patch(f, "{\"a\": 1}"), 0);
	assert_read(second, "{\n  \"a\": \"longer\"\n}\n");
	assert_int_equal(shown_size(f, &test_root, node), strlen("{\n  \"a\": \"longer\"\n}\n"));
	assert_int_equal(data_open(f->fs, f->b, &test_root, node, DATA_READ, &again, NULL), 0);
	assert_read(again, "{\n  \"a\": \"longer\"\n}\n");
	data_close(again, NULL);
	data_close(second, NULL);
	assert_int_equal(shown_size(f, &other, node), strlen("{\n  \"a\": 1\n}\n"));
	/* No look-up in between: there is no name to find another inode by. */
	assert_int_equal(data_open(f->fs, f->b, &other, NODE_DATA, DATA_READ, &second, NULL), BUCKET_REDIRECTED);
	assert_int_equal(data_open(f->fs, f->b, &other, NODE_DATA, DATA_READ, &second, NULL), 0);
	assert_read(second, "{\n  \"a\": 1\n}\n");
	assert_read(first, "{}\n");
	data_close(second, NULL);
	data_close(first, NULL);
}

/* fstat of what is edited shows what its descriptor reads. */
static void test_size_of_an_edit(void **state)
{
	struct fixture *f = *state;
	struct data_handle *h = open_with(f, DATA_READ | DATA_WRITE);

	assert_int_equal(shown_size(f, &test_root, NODE_DATA), 3);
	assert_int_equal(write_text(h, 0, "{\"a\": 1}"), 0);
	assert_int_equal(shown_size(f, &test_root, NODE_DATA), 8);
	assert_int_equal(data_truncate(h, 0, NULL), 0);
	assert_int_equal(shown_size(f, &test_root, NODE_DATA), 0);
	assert_int_equal(write_text(h, 0, "{\"a\": 12}"), 0);
	assert_int_equal(flush(h), 0);
	assert_int_equal(shown_size(f, &test_root, NODE_DATA), 9);
	assert_int_equal(data_fsync(h, &test_root, NULL), 0);
	assert_int_equal(shown_size(f, &test_root, NODE_DATA), strlen("{\n  \"a\": 12\n}\n"));
	data_close(h, NULL);
}

/* While a schema judges, others have the lock: what they do then is what `meanwhile` does, once. */
static struct fixture *judged;
static void (*meanwhile)(struct fixture *f);

static void pause(bool begins)
{
	void (*once)(struct fixture *f) = meanwhile;

	meanwhile = NULL;
	if (begins && once)
		once(judged);
}

static void set_schema(struct fixture *f, const char *text)
{
	struct reason why;
	struct slice schema = S(text);

	assert_int_equal(control_write(f->fs, f->b, &test_root, NODE_SCHEMA, schema, &why), 0);
}

static void merge_another(struct fixture *f)
{
	assert_int_equal(patch(f, "{\"b\": 2}"), 0);
}

static void forbid_more(struct fixture *f)
{
	set_schema(f, "{\"maxProperties\": 1}");
}

static void remove_document(struct fixture *f)
{
	assert_int_equal(data_remove(f->fs, f->b, &test_root, NULL), 0);
}

static void set_limit(struct fixture *f)
{
	struct slice limit = S("500000");

	assert_int_equal(bucket_limit_set(f->fs, f->b, &test_root, 0, &limit, NULL), 0);
}

static void take_edit_away(struct fixture *f)
{
	struct slice nobody = S("user:1");
	bool narrowed;

	assert_int_equal(bucket_acl_set(f->fs, f->b, &test_root, PRIVILEGE_EDIT, &nobody, &narrowed, NULL), 0);
}

static int patch_beside(struct fixture *f, void (*what)(struct fixture *f), const char *text)
{
	int r;

	meanwhile = what;
	r = patch(f, text);
	assert_null(meanwhile);
	return r;
}

static void test_what_happens_while_a_schema_judges(void **state)
{
	struct slice everybody = S("*");
	struct caller user = {.uid = 1000, .gid = 1000, .pid = 77};
	struct fixture *f = *state;
	struct data_handle *h;
	bool narrowed;

	judged = f;
	f->fs->options.pause = pause;
	set_schema(f, "{\"maxProperties\": 3}");
	assert_int_equal(patch(f, "{\"a\": 1}"), 0);
	/* The schema has judged the document that is committed, and nothing of the others is lost. */
	assert_int_equal(patch_beside(f, merge_another, "{\"c\": 3}"), 0);
	assert_text(f, "{\n  \"a\": 1,\n  \"b\": 2,\n  \"c\": 3\n}\n");
	assert_int_equal(patch_beside(f, set_limit, "{\"a\": 11}"), 0);
	assert_int_equal(f->b->limits.max_data_size, 500000);
	assert_text(f, "{\n  \"a\": 11,\n  \"b\": 2,\n  \"c\": 3\n}\n");
	assert_int_equal(patch_beside(f, remove_document, "{\"d\": 4}"), 0);
	assert_text(f, "{\n  \"d\": 4\n}\n");
	assert_int_equal(patch_beside(f, merge_another, "{\"b\": 5}"), 0);
	assert_text(f, "{\n  \"b\": 5,\n  \"d\": 4\n}\n");
	/* A schema of that moment judges as well. */
	assert_int_equal(data_remove(f->fs, f->b, &test_root, NULL), 0);
	assert_int_equal(patch(f, "{\"a\": 1}"), 0);
	assert_int_equal(patch_beside(f, forbid_more, "{\"b\": 2}"), BUCKET_INVALID);
	assert_text(f, "{\n  \"a\": 1\n}\n");
	assert_int_equal(f->b->head.data_keys, 1);
	/* A user that may not edit any more commits nothing, though the merge has begun before. */
	set_schema(f, "{\"maxProperties\": 3}");
	assert_int_equal(bucket_acl_set(f->fs, f->b, &test_root, PRIVILEGE_EDIT, &everybody, &narrowed, NULL), 0);
	assert_int_equal(data_open(f->fs, f->b, &user, NODE_DATA, DATA_WRITE | DATA_TRUNCATE, &h, NULL), 0);
	assert_int_equal(write_text(h, 0, "{\"z\": 1}"), 0);
	meanwhile = take_edit_away;
	assert_int_equal(flush(h), BUCKET_DENIED);
	assert_null(meanwhile);
	data_close(h, NULL);
	assert_text(f, "{\n  \"a\": 1\n}\n");
	f->fs->options.pause = NULL;
}

static void test_fsync_shows_the_merged(void **state)
{
	struct fixture *f = *state;
	struct data_handle *h;

	assert_int_equal(patch(f, "{\"a\":1}"), 0);
	h = open_with(f, DATA_READ | DATA_WRITE | DATA_TRUNCATE);
	assert_int_equal(write_text(h, 0, "{\"b\":2}"), 0);
	assert_read(h, "{\"b\":2}");
	assert_int_equal(data_fsync(h, NULL, NULL), 0);
	assert_read(h, "{\n  \"a\": 1,\n  \"b\": 2\n}\n");
	data_close(h, NULL);
	h = open_with(f, DATA_READ | DATA_WRITE);
	replace_text(h, "{\"a\":1,\"b\":3}");
	assert_int_equal(patch(f, "{\"c\":4}"), 0);
	assert_int_equal(data_fsync(h, NULL, NULL), 0);
	assert_read(h, "{\n  \"a\": 1,\n  \"b\": 3,\n  \"c\": 4\n}\n");
	data_close(h, NULL);
}

static void test_remove(void **state)
{
	struct fixture *f = *state;
	struct attr attr;

	assert_int_equal(patch(f, "{\"a\":1}"), 0);
	assert_int_equal(data_remove(f->fs, f->b, &test_root, NULL), 0);
	assert_int_equal(data_remove(f->fs, f->b, &test_root, NULL), BUCKET_ABSENT);
	assert_int_equal(data_attr(f->fs, f->b, &test_root, &attr), BUCKET_ABSENT);
	assert_text(f, "{}\n");
	assert_int_equal(patch(f, "{\"b\":1}"), 0);
	assert_int_equal(data_attr(f->fs, f->b, &test_root, &attr), 0);
	assert_text(f, "{\n  \"b\": 1\n}\n");
	assert_int_equal(data_remove(f->fs, f->b, &test_root, NULL), 0);
	assert_int_equal(data_create(f->fs, f->b, &test_root), 0);
	assert_int_equal(data_attr(f->fs, f->b, &test_root, &attr), 0);
}

static void test_damaged_history(void **state)
{
	struct fixture *f = *state;
	struct history_list list;
	struct key_buf key = key_history();
	struct store_batch batch = {0};
	struct head head = f->b->head;
	struct buf text = {0};

	for (int i = 0; i < 3; i++) {
		assert_int_equal(patch(f, i == 0 ? "{\"a\":1}" : i == 1 ? "{\"b\":1}" : "{\"c\":1}"), 0);
		assert_int_equal(data_remove(f->fs, f->b, &test_root, NULL), 0);
	}
	assert_int_equal(history_load(f->fs, f->b, &list), 0);
	assert_int_equal(list.count, 3);
	/* Nobody is kept from removing a document, and none that was kept before is lost. */
	bucket_lock(f->b);
	head = f->b->head;
	store_batch_put(&batch, STORE_META, key_slice(&key), S("nonsense"));
	assert_int_equal(bucket_commit(f->fs, f->b, &head, &batch), 0);
	bucket_unlock(f->b);
	store_batch_release(&batch);
	assert_int_equal(history_load(f->fs, f->b, &list), -EIO);
	assert_int_equal(patch(f, "{\"d\":1}"), 0);
	assert_int_equal(data_remove(f->fs, f->b, &test_root, NULL), 0);
	assert_int_equal(history_load(f->fs, f->b, &list), 0);
	assert_int_equal(list.count, 4);
	for (size_t i = 0; i < 4; i++) {
		char want[32];

		buf_clear(&text);
		assert_int_equal(history_text(f->fs, f->b, list.all[i].revision, &text), 0);
		snprintf(want, sizeof(want), "{\n  \"%c\": 1\n}\n", 'a' + (int)i);
		assert_slice(buf_slice(&text), want);
		assert_int_equal(list.all[i].size, text.len);
	}
	buf_release(&text);
}

static void test_limit(void **state)
{
	struct fixture *f = *state;
	struct data_handle *h;
	struct reason why = {.text = ""};

	f->b->limits.max_data_size = 40;
	assert_int_equal(patch(f, "{\"a\":\"0123456789\"}"), 0);
	h = open_with(f, DATA_WRITE);
	/* Complete objects that do not fit are refused by the write. */
	assert_int_equal(data_write(h, 0, false, S("{\"b\":\"0123456789\"}"), &why), BUCKET_TOO_LARGE);
	assert_non_null(strstr(why.text, "max_data_size"));
	data_close(h, NULL);
	assert_int_equal(patch(f, "{\"a\":\"9876543210\"}"), 0);
	assert_int_equal(patch(f, "{\"a\":1}{\"b\":\"0123456789\"}"), 0);
	assert_text(f, "{\n  \"a\": 1,\n  \"b\": \"0123456789\"\n}\n");
	/* Lowered below what is there: it may shrink. */
	f->b->limits.max_data_size = 20;
	assert_int_equal(patch(f, "{\"b\":\"01234567\"}"), 0);
	assert_int_equal(patch(f, "{\"c\":1}"), BUCKET_TOO_LARGE);
}

static void assert_key(struct fixture *f, const char *key, const char *want)
{
	struct buf value = {0};
	int r = data_key_get(f->fs, f->b, &test_root, S(key), &value);

	if (!want) {
		assert_int_equal(r, BUCKET_NO_ATTRIBUTE);
	} else {
		assert_int_equal(r, 0);
		assert_slice(buf_slice(&value), want);
	}
	buf_release(&value);
}

static int set(struct fixture *f, const char *key, const char *value, bool create, bool replace)
{
	return data_key_set(f->fs, f->b, &test_root, S(key), S(value), create, replace, NULL);
}

static void test_keys(void **state)
{
	struct fixture *f = *state;

	assert_key(f, "a", NULL);
	assert_int_equal(set(f, "a", " [1, 2]\n", false, false), 0);
	assert_key(f, "a", "[1,2]");
	assert_int_equal(set(f, "a", "3", true, false), BUCKET_EXISTS);
	assert_int_equal(set(f, "b", "3", false, true), BUCKET_NO_ATTRIBUTE);
	assert_int_equal(set(f, "a", "3", false, true), 0);
	assert_int_equal(set(f, "b", "9007199254740993", true, false), 0);
	assert_text(f, "{\n  \"a\": 3,\n  \"b\": 9007199254740993\n}\n");
	assert_int_equal(set(f, "a", "", false, false), BUCKET_INVALID);
	assert_int_equal(set(f, "a", "1,\"x\":2", false, false), BUCKET_INVALID);
	assert_int_equal(set(f, "a", "1}{\"x\":2", false, false), BUCKET_INVALID);
	assert_int_equal(set(f, "a", "[1", false, false), BUCKET_INVALID);
	assert_int_equal(set(f, "\xff", "1", false, false), BUCKET_INVALID);
	assert_int_equal(data_key_remove(f->fs, f->b, &test_root, S("a"), NULL), 0);
	assert_int_equal(data_key_remove(f->fs, f->b, &test_root, S("a"), NULL), BUCKET_NO_ATTRIBUTE);
	assert_text(f, "{\n  \"b\": 9007199254740993\n}\n");
}

/* The same small key again and again through one handle is a small patch. */
static void test_long_patch(void **state)
{
	struct fixture *f = *state;
	struct data_handle *h = open_with(f, DATA_WRITE);
	char text[1200];
	uint64_t at = 0;

	for (int i = 0; i < 5000; i++) {
		int len = snprintf(text, sizeof(text), "{\"status\":\"%01000d\"}", i);

		assert_int_equal(write_text(h, at, text), 0);
		at += (uint64_t)len;
	}
	assert_int_equal(flush(h), 0);
	data_close(h, NULL);
	assert_int_equal(f->b->head.data_keys, 1);
}

/* A value that nests as deep as may be is still part of a document that can be edited. */
static void test_deepest_value(void **state)
{
	struct fixture *f = *state;
	struct data_handle *h;
	char text[1100];

	memset(text, '[', 512);
	memset(text + 512, ']', 512);
	text[1024] = 0;
	assert_int_equal(set(f, "d", text, false, false), BUCKET_INVALID);
	text[1023] = 0;
	assert_int_equal(set(f, "d", text + 1, false, false), 0);
	h = open_with(f, DATA_READ | DATA_WRITE);
	assert_int_equal(write_text(h, 0, " "), 0);
	assert_int_equal(write_text(h, 0, "{"), 0);
	assert_int_equal(flush(h), 0);
	data_close(h, NULL);
}

static void test_gone(void **state)
{
	struct fixture *f = *state;
	struct data_handle *h = open_with(f, DATA_WRITE);

	assert_int_equal(write_text(h, 0, "{\"a\":1}"), 0);
	assert_int_equal(bucket_remove(f->fs, &test_root, S("nightly")), 0);
	assert_int_equal(flush(h), BUCKET_GONE);
	data_close(h, NULL);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_merge), T(test_nothing_changes_nothing), T(test_bad_text), T(test_incomplete), T(test_order_of_writes),
		T(test_edit), T(test_conflict), T(test_edit_judged_at_flush), T(test_snapshot), T(test_node_of_a_reader),
		T(test_size_of_an_edit), T(test_what_happens_while_a_schema_judges),
		T(test_fsync_shows_the_merged),
		T(test_remove), T(test_damaged_history), T(test_limit), T(test_keys), T(test_long_patch), T(test_deepest_value),
		T(test_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
