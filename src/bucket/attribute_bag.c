#include "bucket/attribute_bag.h"

#include "bucket/verdict.h"
#include "util/bytes.h"

/* One after the other: the lengths of name and value, 4 bytes each, and both. */
enum { lengths = 8 };

struct entry {
	size_t at, len; /* where it is in the bag, all of it */
	struct slice name, value;
};

/* The entry at this place; false: the bag ends there. */
static bool entry_at(const struct buf *bag, size_t at, struct entry *e)
{
	const unsigned char *bytes = bag->data + at;
	size_t name, value;

	if (at >= bag->len)
		return false;
	name = bytes_get_le32(bytes);
	value = bytes_get_le32(bytes + 4);
	*e = (struct entry){at, lengths + name + value, slice_of(bytes + lengths, name), slice_of(bytes + lengths + name, value)};
	return true;
}

static bool find(const struct buf *bag, struct slice name, struct entry *e)
{
	for (size_t at = 0; entry_at(bag, at, e); at += e->len)
		if (slice_equal(e->name, name))
			return true;
	return false;
}

int attribute_bag_get(const struct buf *bag, struct slice name, struct buf *value)
{
	struct entry e;

	return find(bag, name, &e) ? buf_add_slice(value, e.value) : BUCKET_NO_ATTRIBUTE;
}

static void take_out(struct buf *bag, const struct entry *e)
{
	memmove(bag->data + e->at, bag->data + e->at + e->len, bag->len - e->at - e->len);
	bag->len -= e->len;
}

int attribute_bag_add(struct buf *bag, struct slice name, struct slice value)
{
	size_t len = lengths + name.len + value.len;
	unsigned char raw[lengths];
	int r = bag->len + len > attribute_bag_max ? BUCKET_OVER_QUOTA : buf_reserve(bag, len);

	if (r)
		return r;
	bytes_put_le32(raw, (uint32_t)name.len);
	bytes_put_le32(raw + 4, (uint32_t)value.len);
	buf_add(bag, raw, sizeof(raw));
	buf_add_slice(bag, name);
	return buf_add_slice(bag, value);
}

int attribute_bag_set(struct buf *bag, struct slice name, struct slice value, bool create, bool replace)
{
	size_t len = lengths + name.len + value.len;
	struct entry old;
	bool has = find(bag, name, &old);
	int r;

	if (has ? create : replace)
		return has ? BUCKET_EXISTS : BUCKET_NO_ATTRIBUTE;
	if (bag->len + len - (has ? old.len : 0) > attribute_bag_max)
		return BUCKET_OVER_QUOTA;
	r = buf_reserve(bag, len);
	if (r)
		return r;
	if (has)
		take_out(bag, &old);
	return attribute_bag_add(bag, name, value);
}

int attribute_bag_remove(struct buf *bag, struct slice name)
{
	struct entry e;

	if (!find(bag, name, &e))
		return BUCKET_NO_ATTRIBUTE;
	take_out(bag, &e);
	return 0;
}

int attribute_bag_list(const struct buf *bag, struct buf *names)
{
	struct entry e;
	int r = 0;

	for (size_t at = 0; !r && entry_at(bag, at, &e); at += e.len) {
		r = buf_add_slice(names, e.name);
		if (!r)
			r = buf_add_byte(names, 0);
	}
	return r;
}
