/* What editors have read: who is found, who goes when there is no room. */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bucket/data.h"
#include "test.h"

static struct text *text_new(const char *bytes, size_t len)
{
	struct text *text = calloc(1, sizeof(*text));

	text->refs = 1;
	assert_int_equal(buf_resize(&text->bytes, len), 0);
	memcpy(text->bytes.data, bytes, strlen(bytes) < len ? strlen(bytes) : len);
	return text;
}

static struct reading_key process(uint64_t id)
{
	return (struct reading_key){READING_PROCESS, id, 100};
}

static void add(struct readings *r, uint32_t bucket, struct reading_key key, const char *bytes, size_t len,
		const void *handle)
{
	struct text *text = text_new(bytes, len);

	readings_add(r, bucket, &key, text, handle);
	data_text_put(text);
}

/* The first byte of what is found, or 0. */
static char found(struct readings *r, uint32_t bucket, struct reading_key key)
{
	struct text *text = readings_find(r, bucket, &key);
	char first = text ? (char)text->bytes.data[0] : 0;

	data_text_put(text);
	return first;
}

static void test_whose(void **state)
{
	struct readings *r;
	struct reading_key pipe = {READING_PIPE, 7, 100}, later = {READING_PROCESS, 7, 101};

	(void)state;
	assert_int_equal(readings_new(&r), 0);
	assert_false(readings_any(r, 1));
	add(r, 1, process(7), "a", 1, NULL);
	assert_true(readings_any(r, 1));
	assert_false(readings_any(r, 2));
	assert_int_equal(found(r, 1, process(7)), 'a');
	assert_int_equal(found(r, 2, process(7)), 0);
	assert_int_equal(found(r, 1, process(8)), 0);
	assert_int_equal(found(r, 1, pipe), 0);
	/* Another process by now. */
	assert_int_equal(found(r, 1, later), 0);
	add(r, 1, process(7), "b", 1, NULL);
	assert_int_equal(found(r, 1, process(7)), 'b');
	readings_free(r);
}

static void test_copy(void **state)
{
	struct readings *r;
	int one, two;

	(void)state;
	assert_int_equal(readings_new(&r), 0);
	add(r, 1, process(7), "a", 1, &one);
	readings_copied(r, 1, 7);
	assert_int_equal(found(r, 1, process(7)), 'a');
	readings_closed(r, &one);
	add(r, 1, process(7), "b", 1, &two);
	assert_int_equal(found(r, 1, process(7)), 'b');
	readings_copied(r, 1, 7);
	assert_int_equal(found(r, 1, process(7)), 'a');
	readings_closed(r, &two);
	/* Read again, and closed before anything is copied: that is what it has now. */
	add(r, 1, process(7), "c", 1, &two);
	readings_closed(r, &two);
	readings_copied(r, 1, 7);
	assert_int_equal(found(r, 1, process(7)), 'c');
	readings_free(r);
}

static void test_no_room(void **state)
{
	struct reading_key pipe = {READING_PIPE, 7, 100};
	uint64_t alive = (uint64_t)getpid(), gone;
	struct readings *r;
	pid_t child = fork();

	(void)state;
	if (child == 0)
		_exit(0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	gone = (uint64_t)child;
	assert_int_equal(readings_new(&r), 0);
	for (uint32_t i = 1; i <= reading_count - 2; i++)
		add(r, i, process(alive), "a", 1, NULL);
	add(r, 1, process(gone), "g", 1, NULL);
	add(r, 1, pipe, "p", 1, NULL);
	add(r, 1001, process(alive), "a", 1, NULL);
	assert_int_equal(found(r, 1, pipe), 0);
	assert_int_equal(found(r, 1, process(gone)), 'g');
	add(r, 1002, process(alive), "a", 1, NULL);
	assert_int_equal(found(r, 1, process(gone)), 0);
	assert_int_equal(found(r, 1, process(alive)), 'a');
	add(r, 1003, process(alive), "a", 1, NULL);
	assert_int_equal(found(r, 1, process(alive)), 0);
	assert_int_equal(found(r, 2, process(alive)), 'a');
	readings_free(r);
}

static void test_memory(void **state)
{
	size_t third = reading_text_max / 3;
	struct text *shared = text_new("s", third);
	struct readings *r;

	(void)state;
	assert_int_equal(readings_new(&r), 0);
	/* Shared: counted once. */
	for (uint64_t i = 1; i <= 10; i++)
		readings_add(r, 1, &(struct reading_key){READING_PROCESS, i, 100}, shared, NULL);
	add(r, 2, process(getpid()), "b", third, NULL);
	add(r, 3, process(getpid()), "c", third, NULL);
	assert_int_equal(found(r, 1, process(1)), 's');
	add(r, 4, process(getpid()), "d", third, NULL);
	assert_int_equal(found(r, 1, process(1)), 0);
	assert_int_equal(found(r, 4, process(getpid())), 'd');
	/* More than there may be at all. */
	add(r, 5, process(getpid()), "e", reading_text_max + 1, NULL);
	assert_int_equal(found(r, 5, process(getpid())), 0);
	readings_free(r);
	data_text_put(shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whose),
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
