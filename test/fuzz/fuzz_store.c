/* Damaged stores: a store that has one of everything, in which the input changes, cuts, removes and doubles some
 * records. The tour of the domain is the unit test's; it has to end within so many calls of the store. */
int test_hostile_main(void);
#define main test_hostile_main
#include "../unit/test_hostile.c"
#undef main

#include "fuzz.h"

enum { changes_max = 6 };

/* Not the root's head: that alone may keep everything shut. */
static struct record *choose_record(struct choices *c, struct image *i)
{
	return &i->records[1 + choose(c, (unsigned)i->count - 1)];
}

static void change_bytes(struct choices *c, struct buf *bytes, size_t first)
{
	size_t at;

	if (bytes->len <= first)
		return;
	at = first + choose(c, (unsigned)(bytes->len - first));
	for (unsigned n = 1 + choose(c, 8); n-- && at < bytes->len; at++)
		bytes->data[at] = choose_byte(c);
}

static void insert_record(struct image *i, struct record *r)
{
	struct record copy = {.bucket = r->bucket, .space = r->space};
	size_t n = (size_t)(r - i->records);

	if (i->count == records_max)
		return;
	CLAIM(!buf_add_slice(&copy.key, buf_slice(&r->key)) && !buf_add_slice(&copy.value, buf_slice(&r->value)));
	memmove(r + 1, r, (i->count++ - n) * sizeof(copy));
	i->records[n] = copy;
}

static void remove_one(struct image *i, struct record *r)
{
	buf_release(&r->key);
	buf_release(&r->value);
	memmove(r, r + 1, (size_t)(i->records + --i->count - r) * sizeof(*r));
}

static void damage(struct choices *c, struct image *i)
{
	struct record *r = choose_record(c, i), *other = choose_record(c, i);
	struct buf swap;

	switch (choose(c, 8)) {
	case 0: /* another byte or a few */
	case 1:
		change_bytes(c, &r->value, 0);
		break;
	case 2: /* cut */
		r->value.len = r->value.len ? choose(c, (unsigned)r->value.len) : 0;
		break;
	case 3: /* longer */
		for (unsigned n = 1 + choose(c, 8); n--;)
			CLAIM(!buf_add_byte(&r->value, choose_byte(c)));
		break;
	case 4:
		if (i->count > 3)
			remove_one(i, r);
		break;
	case 5: /* twice, with another key */
		if (r->space != head_space) {
			insert_record(i, r);
			change_bytes(c, &r->key, 1);
		}
		break;
	case 6: /* another key */
		if (r->space != head_space)
			change_bytes(c, &r->key, 0);
		break;
	default: /* the record of something else */
		swap = r->value;
		r->value = other->value;
		other->value = swap;
	}
}

static struct image *copy_image(const struct image *from)
{
	struct image *i = calloc(1, sizeof(*i));

	CLAIM(i);
	for (size_t n = 0; n < from->count; n++)
		add_record(i, from->records[n].bucket, from->records[n].space, buf_slice(&from->records[n].key),
			   buf_slice(&from->records[n].value));
	for (size_t n = 0; n < contents_max; n++)
		CLAIM(!buf_add_slice(&i->contents[n], buf_slice(&from->contents[n])));
	return i;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct image *whole;
	static const struct record any = {.bucket = 1}; /* none of them keeps the others shut */
	struct faulty faulty = {.error = -EIO, .fail_from = calls_max};
	struct choices c = choices_of(data, size);
	struct store *store;
	struct image *i;

	if (!whole) {
		whole = calloc(1, sizeof(*whole));
		CLAIM(whole);
		build(whole);
	}
	i = copy_image(whole);
	for (unsigned n = 0; n < changes_max && (n == 0 || c.left); n++)
		damage(&c, i);
	which = &any;
	log_lines_clear();
	CLAIM(!faulty_store_open(&store, store_of(i), &faulty));
	tour(store);
	CLAIM(faulty.calls < calls_max);
	store_close(store);
	image_release(i);
	free(i);
	return 0;
}
