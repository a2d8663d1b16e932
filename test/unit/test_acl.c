#include "bucket/acl.h"

#include "bucket/verdict.h"
#include "test.h"

static int number_of(const char *name, uint32_t *id)
{
	*id = 7;
	return strcmp(name, "alice") && strcmp(name, "ci");
}

static int name_of(uint32_t id, char *name, size_t size)
{
	snprintf(name, size, "alice");
	return id != 7;
}

static const struct acl_names names = {number_of, number_of, name_of, name_of};

static void round_trip(const char *text, const char *want)
{
	struct acl_list list, stored;
	struct buf out = {0}, record = {0};

	assert_int_equal(acl_list_parse(&list, S(text), &names, NULL), 0);
	assert_int_equal(acl_list_encode(&list, &record), 0);
	assert_int_equal(acl_list_decode(&stored, buf_slice(&record)), 0);
	assert_int_equal(acl_list_format(&stored, &names, &out), 0);
	assert_slice(buf_slice(&out), want);
	acl_list_release(&list);
	acl_list_release(&stored);
	buf_release(&out);
	buf_release(&record);
}

static void test_parse(void **state)
{
	(void)state;
	round_trip("", "");
	round_trip("*", "*");
	round_trip("user:alice,group:ci,owner,*", "user:alice,group:alice,owner,*");
	round_trip(" user:7 , user:8\n", "user:alice,user:8");
	round_trip("user:7,user:alice", "user:alice");
}

static void test_parse_refuses(void **state)
{
	static const char *const bad[] = {"user:", "user:nobody_here", "group:nope", "alice", "user:alice,", ",user:alice",
					  "user:alice,,owner", "*x", "owner:1", "user:-1", "user:4294967295", "user:1x", "USER:alice", "user:alice owner"};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct acl_list list;
		struct reason why = {.text = ""};

		if (acl_list_parse(&list, S(bad[i]), &names, &why) != BUCKET_INVALID)
			fail_msg("accepted: %s", bad[i]);
		assert_true(*why.text);
	}
}

static const gid_t *in_nine(const struct caller *who, size_t *count)
{
	static const gid_t groups[] = {3, 9, 70};

	(void)who;
	*count = 3;
	return groups;
}

static bool has(const char *text, struct caller who)
{
	struct acl_list list;
	bool result;

	assert_int_equal(acl_list_parse(&list, S(text), &names, NULL), 0);
	size_t count = 0;
	const gid_t *groups = who.groups ? who.groups(&who, &count) : NULL;

	result = acl_list_has(&list, &who, 100) || acl_list_has_group(&list, groups, count);
	acl_list_release(&list);
	return result;
}

static void test_has(void **state)
{
	(void)state;
	assert_true(has("*", (struct caller){1, 1, 0, NULL, NULL, NULL, 0}));
	assert_false(has("", (struct caller){0, 0, 0, NULL, NULL, NULL, 0}));
	assert_true(has("owner", (struct caller){100, 1, 0, NULL, NULL, NULL, 0}));
	assert_false(has("owner", (struct caller){101, 100, 0, NULL, NULL, NULL, 0}));
	assert_true(has("user:5", (struct caller){5, 1, 0, NULL, NULL, NULL, 0}));
	assert_false(has("user:5", (struct caller){6, 5, 0, NULL, NULL, NULL, 0}));
	assert_true(has("group:5", (struct caller){6, 5, 0, NULL, NULL, NULL, 0}));
	assert_true(has("group:9", (struct caller){6, 5, 0, in_nine, NULL, NULL, 0}));
	assert_false(has("group:8", (struct caller){6, 5, 0, in_nine, NULL, NULL, 0}));
	assert_false(has("user:9", (struct caller){6, 5, 0, in_nine, NULL, NULL, 0}));
}

static void test_bound(void **state)
{
	struct acl_list list;
	struct buf text = {0};
	struct reason why = {.text = ""};

	(void)state;
	for (int i = 0; i < acl_list_max; i++)
		assert_int_equal(buf_add_format(&text, "%sgroup:%d", i ? "," : "", i), 0);
	assert_int_equal(acl_list_parse(&list, buf_slice(&text), &names, NULL), 0);
	assert_int_equal(list.count, acl_list_max);
	acl_list_release(&list);
	assert_int_equal(buf_add_string(&text, ",*"), 0);
	assert_int_equal(acl_list_parse(&list, buf_slice(&text), &names, &why), BUCKET_VALUE_TOO_LARGE);
	assert_non_null(strstr(why.text, "1000"));
	buf_release(&text);
}

static void test_decode_damaged(void **state)
{
	struct acl_list list;
	static const unsigned char bad[] = {2, 0, 0, 0, 2, 7, 0, 0, 0, 9, 7, 0, 0, 0};

	(void)state;
	for (size_t len = 0; len <= sizeof(bad); len++)
		assert_int_not_equal(acl_list_decode(&list, slice_of(bad, len)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_parse), cmocka_unit_test(test_parse_refuses),
					   cmocka_unit_test(test_has), cmocka_unit_test(test_bound), cmocka_unit_test(test_decode_damaged)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
