#include "bucket/control.h"
#include "bucket/transaction.h"
#include "domain.h"

static struct store *store;
static struct fs *fs;
static struct bucket *b;

static int setup(void **state)
{
	(void)state;
	return memory_store_open(&store) || test_fs_open(store, &fs) || bucket_create(fs, &test_root, S("nightly"), &b);
}

static int teardown(void **state)
{
	(void)state;
	bucket_put(fs, b);
	fs_close(fs);
	store_close(store);
	return 0;
}

static int begin(const struct caller *who, int number, struct reason *why)
{
	struct bucket *t;
	char name[16];
	int r;

	snprintf(name, sizeof(name), "t%d", number);
	r = transaction_begin(fs, b, who, S(name), &t, why);
	if (!r)
		bucket_put(fs, t);
	return r;
}

static void test_bound(void **state)
{
	struct caller alice = {1001, 1001, 2, NULL, NULL, NULL, 0};
	struct slice everybody = S("*");
	struct reason why = {.text = ""};
	bool narrowed;

	(void)state;
	assert_int_equal(bucket_acl_set(fs, b, &test_root, PRIVILEGE_EDIT, &everybody, &narrowed, NULL), 0);
	for (int i = 0; i < transaction_max; i++)
		assert_int_equal(begin(&test_root, i, NULL), 0);
	assert_int_equal(begin(&test_root, 0, &why), BUCKET_EXISTS);
	assert_string_equal(why.text, "");
	assert_int_equal(begin(&test_root, transaction_max, &why), BUCKET_OVER_QUOTA);
	assert_string_not_equal(why.text, "");
	/* Others have their own. */
	assert_int_equal(begin(&alice, 0, NULL), 0);
	assert_int_equal(transaction_abandon(fs, b, &test_root, S("t7")), 0);
	assert_int_equal(begin(&test_root, transaction_max, NULL), 0);
}

/* After the last number those of removed buckets are taken again, and of nothing else. */
static void test_numbers(void **state)
{
	struct bucket *first, *again;
	uint32_t number;

	(void)state;
	assert_int_equal(bucket_create(fs, &test_root, S("first"), &first), 0);
	number = first->number;
	assert_int_equal(number, b->number + 1);
	fs->root->head.next_node = bucket_number_max;
	assert_int_equal(begin(&test_root, 1, NULL), 0);
	assert_int_equal(bucket_create(fs, &test_root, S("second"), &again), 0);
	/* Both of the lower ones are in use. */
	assert_int_equal(again->number, number + 1);
	bucket_put(fs, again);
	assert_int_equal(bucket_remove(fs, &test_root, S("first")), 0);
	bucket_put(fs, first);
	fs->root->head.next_node = 2 * (uint64_t)bucket_number_max;
	assert_int_equal(begin(&test_root, 2, NULL), 0);
	assert_int_equal(begin(&test_root, 3, NULL), 0);
	assert_int_equal(bucket_create(fs, &test_root, S("third"), &again), 0);
	assert_int_equal(again->number, number + 3);
	bucket_put(fs, again);
	/* The transaction that has the number now was not published, though another one that had it was. */
	assert_int_equal(transaction_recover(fs), 0);
	assert_int_equal(begin(&test_root, 2, NULL), BUCKET_EXISTS);
}

static void test_mark_of_another(void **state)
{
	struct key_buf mark;
	struct store_batch batch = {0};
	struct head head;
	struct bucket *t;
	uint32_t number;

	(void)state;
	assert_int_equal(transaction_begin(fs, b, &test_root, S("t"), &t, NULL), 0);
	number = t->number;
	bucket_put(fs, t);
	mark = key_transaction(number);
	store_batch_put(&batch, STORE_META, key_slice(&mark), slice_of("12345678", 8));
	bucket_lock(b);
	head = b->head;
	assert_int_equal(bucket_commit(fs, b, &head, &batch), 0);
	bucket_unlock(b);
	store_batch_release(&batch);
	assert_int_equal(transaction_recover(fs), 0);
	assert_int_equal(transaction_lookup(fs, b, &test_root, S("t"), &t), 0);
	bucket_put(fs, t);
}

static void enable(bool enabled)
{
	assert_int_equal(control_write(fs, b, &test_root, NODE_META,
				       S(enabled ? "{\"enabled\":true}" : "{\"enabled\":false}"), NULL), 0);
}

static void test_disabled(void **state)
{
	struct data_handle *h, *late;
	struct file_open *file;
	struct bucket *t;
	bool canonical, opener_only;

	(void)state;
	assert_int_equal(transaction_bucket(S("nightly")), 0);
	assert_int_equal(transaction_begin(fs, b, &test_root, S("t"), &t, NULL), 0);
	assert_int_equal(transaction_bucket(t->name), b->number);
	assert_int_equal(data_open(fs, t, &test_root, NODE_DATA, DATA_WRITE, &h, NULL), 0);
	assert_int_equal(data_write(h, 0, false, S("{\"a\":1}"), NULL), 0);
	enable(false);
	assert_int_equal(data_flush(h, NULL, &opener_only, NULL), BUCKET_READ_ONLY);
	assert_int_equal(data_open(fs, t, &test_root, NODE_DATA, DATA_WRITE, &late, NULL), BUCKET_READ_ONLY);
	assert_int_equal(tree_create(fs, t, &test_root, NODE_FILES, S("x"), 0644, TREE_WRITE, &file, &canonical, NULL),
			 BUCKET_READ_ONLY);
	assert_int_equal(transaction_commit(fs, b, &test_root, S("t"), NULL), BUCKET_READ_ONLY);
	assert_int_equal(transaction_abandon(fs, b, &test_root, S("t")), BUCKET_READ_ONLY);
	enable(true);
	assert_int_equal(data_flush(h, NULL, &opener_only, NULL), 0);
	data_close(h, NULL);
	assert_int_equal(transaction_commit(fs, b, &test_root, S("t"), NULL), 0);
	bucket_put(fs, t);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {T(test_bound), T(test_numbers), T(test_mark_of_another), T(test_disabled)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
