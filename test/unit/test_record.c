#include "bucket/record.h"

#include "test.h"

static void test_node(void **state)
{
	struct node in = {.kind = NODE_FILE, .place = PLACE_CONTENT, .exec = 0111, .has_attributes = true, .uid = 5, .gid = 6,
			  .modified = -7, .changed = 8, .accessed = 9, .created = 10, .size = 1ULL << 40, .blocks = 12,
			  .content = 13, .name = S("a_b"), .given = S("A b")}, out = {0};
	struct buf record = {0};

	(void)state;
	out.number = 17;
	out.parent = NODE_FILES;
	assert_int_equal(node_encode(&in, &record), 0);
	assert_null(node_decode(&out, buf_slice(&record)));
	assert_int_equal(out.modified, -7);
	assert_true(out.size == in.size && out.exec == 0111 && out.has_attributes && out.content == 13);
	assert_slice(out.name, "a_b");
	assert_slice(out.given, "A b");
	for (size_t len = 0; len < record.len; len++)
		assert_non_null(node_decode(&out, slice_of(record.data, len)));
	record.data[0]++;
	assert_non_null(node_decode(&out, buf_slice(&record)));
	buf_release(&record);
}

static void test_head(void **state)
{
	struct principal p = {PRINCIPAL_GROUP, 77};
	struct head in = {.owner = 1, .group = 2, .data_present = true, .enabled = false, .created = 3, .next_node = 16,
			  .files = 5, .file_bytes = 6, .files_generation = 7, .data_keys = 8, .data_size = 9}, out;
	char five[] = "5M";
	struct own_limits own = {{NULL, five}}, own_got;
	const char *fault;
	struct acl acl = {.list[PRIVILEGE_READ] = {true, 1, &p}, .list[PRIVILEGE_EDIT] = {.set = true}}, got;
	struct buf record = {0};

	(void)state;
	assert_int_equal(head_encode(&in, &acl, &own, &record), 0);
	assert_int_equal(head_decode(&out, &got, &own_got, buf_slice(&record), &fault), 0);
	assert_true(out.data_present && !out.enabled && out.files_generation == 7 && out.data_size == 9);
	assert_true(got.list[PRIVILEGE_READ].set && got.list[PRIVILEGE_READ].principals[0].id == 77);
	assert_true(got.list[PRIVILEGE_EDIT].set && got.list[PRIVILEGE_EDIT].count == 0);
	assert_false(got.list[PRIVILEGE_ADMIN].set);
	assert_string_equal(own_got.text[1], "5M");
	assert_null(own_got.text[0]);
	own_limits_release(&own_got);
	acl_release(&got);
	for (size_t len = 0; len < 60; len++)
		assert_int_not_equal(head_decode(&out, &got, &own_got, slice_of(record.data, len), &fault), 0);
	buf_release(&record);
}

/* Listing a folder must give its nodes in the order of their numbers, and nobody else's. */
static void test_key_order(void **state)
{
	struct key_buf a = key_child(3, 255), b = key_child(3, 256), c = key_child(4, 16);

	(void)state;
	assert_true(slice_compare(key_slice(&a), key_slice(&b)) < 0);
	assert_true(slice_compare(key_slice(&b), key_slice(&c)) < 0);
	assert_int_equal(key_child_node_of(key_slice(&b)), 256);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_node), cmocka_unit_test(test_head),
					   cmocka_unit_test(test_key_order)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
