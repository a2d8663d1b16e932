#include "util/table.h"

#include "test.h"

struct item {
	struct table_node node;
	uint64_t number;
};

static void test_table(void **state)
{
	enum { count = 1000 };
	static struct item items[count];
	struct table t;

	(void)state;
	assert_int_equal(table_init(&t), 0);
	for (uint64_t i = 0; i < count; i++) {
		items[i].number = i;
		table_add(&t, &items[i].node, table_hash_number(i / 2)); /* two share a hash */
	}
	assert_int_equal(t.count, count);
	for (uint64_t i = 0; i < count; i++) {
		struct table_node *n = table_first(&t, table_hash_number(i / 2));

		while (n && container_of(n, struct item, node)->number != i)
			n = table_next(n);
		assert_non_null(n);
	}
	for (uint64_t i = 0; i < count; i += 2)
		table_remove(&t, &items[i].node);
	assert_int_equal(t.count, count / 2);
	assert_null(table_next(table_first(&t, table_hash_number(3))));
	assert_null(table_first(&t, table_hash_number(count)));
	table_release(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_table)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
