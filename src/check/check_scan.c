/* One bucket, read into arrays: what its records say, whether or not they agree. */
#include "check/check_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "util/bytes.h"

enum { raw_items, raw_names, raw_making, raw_unsettled, raw_parents, raw_bodies };

/* ---- finding things ---- */

struct slice check_scan_name(const struct check_scan *s, const struct check_item *item)
{
	return slice_of(s->text.data + item->name, item->name_len);
}

struct check_item *check_scan_find(const struct check_scan *s, uint64_t number, uint64_t parent)
{
	size_t low = 0, high = s->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct check_item *item = &s->items[middle];

		if (item->number < number || (item->number == number && item->parent < parent))
			low = middle + 1;
		else
			high = middle;
	}
	if (low == s->count || s->items[low].number != number || (parent && s->items[low].parent != parent))
		return NULL;
	/* Of several the one that stays. */
	for (size_t i = low; !parent && i < s->count && s->items[i].number == number; i++)
		if (!s->items[i].gone)
			return &s->items[i];
	return &s->items[low];
}

struct check_body *check_scan_body(const struct check_scan *s, uint64_t node)
{
	size_t low = 0, high = s->body_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (s->bodies[middle].node == node)
			return &s->bodies[middle];
		if (s->bodies[middle].node < node)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* From the end to the beginning, and then turned. */
int check_scan_path(const struct check_scan *s, const struct check_item *item, struct buf *path)
{
	const struct check_item *at[64];
	size_t depth = 0;
	int r;

	for (; item && depth < sizeof(at) / sizeof(*at); item = item->parent == NODE_FILES ? NULL : check_scan_find(s, item->parent, 0)) {
		at[depth++] = item;
		if (item->parent == NODE_FILES)
			break;
	}
	buf_clear(path);
	r = buf_add_string(path, depth && at[depth - 1]->parent == NODE_FILES ? "files" : "files/...");
	while (!r && depth--) {
		struct slice name = check_scan_name(s, at[depth]);

		r = name.len ? buf_add_format(path, "/%.*s", (int)name.len, (const char *)name.at) :
			       buf_add_format(path, "/(number %llu)", (unsigned long long)at[depth]->number);
	}
	if (!r)
		r = buf_add_byte(path, 0);
	return r;
}

int check_scan_tell(struct check_scan *s, const struct check_item *item, const char *kind, bool mended, const char *format, ...)
{
	struct buf path = {0};
	char detail[400];
	va_list args;
	int r;

	va_start(args, format);
	vsnprintf(detail, sizeof(detail), format, args);
	va_end(args);
	s->broken++;
	r = check_scan_path(s, item, &path);
	if (!r)
		r = check_tell(s->c, s->bucket->id, (char *)path.data, kind, mended ? CHECK_MENDED : 0, "%s", detail);
	buf_release(&path);
	return r;
}

/* ---- reading ---- */

static int unreadable(struct check_scan *s, bool tell, enum store_space space, struct slice key)
{
	unsigned char kind = key.len ? *(const unsigned char *)key.at : 0;

	s->broken++;
	if (!tell)
		return 0;
	if (s->mends)
		check_mend_delete(s, space, key);
	return check_tell(s->c, s->bucket->id, NULL, "record", s->mends ? CHECK_MENDED : 0,
			  kind > ' ' && kind < 127 ? "a record of kind %c cannot be read" : "a record of kind %02x cannot be read", kind);
}

static int add_text(struct check_scan *s, struct slice name, size_t *at)
{
	*at = s->text.len;
	return buf_add_slice(&s->text, name);
}

static bool is_sound(const struct node *n)
{
	char normal[name_max];
	size_t len;

	if (n->kind != NODE_FILE && n->kind != NODE_FOLDER && n->kind != NODE_LINK)
		return false;
	if (n->kind == NODE_FOLDER && (n->place != PLACE_NONE || n->size))
		return false;
	if (n->kind == NODE_LINK)
		return !node_check(n);
	if (n->place > PLACE_CONTENT || (n->place == PLACE_NONE && n->size) || (n->place == PLACE_CONTENT) != !!n->content)
		return false;
	return n->name.len && !name_normalise(n->name, normal, &len) && slice_equal(n->name, slice_of(normal, len));
}

static bool is_place(uint64_t parent)
{
	return parent == NODE_FILES || parent >= NODE_FIRST;
}

static int add_item(struct check_scan *s, bool tell, struct slice key, struct slice value)
{
	struct check_item item = {.number = key_child_node_of(key), .parent = key_child_parent_of(key)};
	/* A folder in itself is told of with all others that lead in a circle. */
	struct node node = {.number = item.number, .parent = item.parent == item.number ? NODE_FILES : item.parent};
	int r = 0;

	if (item.number < NODE_FIRST || !is_place(item.parent))
		return unreadable(s, tell, STORE_NODE, key);
	item.bad = node_decode(&node, value) || !is_sound(&node);
	if (item.bad)
		return buf_add(&s->raw[raw_items], &item, sizeof(item));
	item.kind = node.kind;
	item.place = node.place;
	item.size = node.size;
	item.content = node.place == PLACE_CONTENT ? node.content : 0;
	item.name_len = (uint8_t)node.name.len;
	r = add_text(s, node.name, &item.name);
	return r ? r : buf_add(&s->raw[raw_items], &item, sizeof(item));
}

static int add_name(struct check_scan *s, bool tell, struct slice key, struct slice value)
{
	struct check_name name = {0};
	const unsigned char *at = key.at;
	int r;

	if (key.len < 7 || key.len > 6 + name_max || value.len != 5)
		return unreadable(s, tell, STORE_NODE, key);
	name.parent = bytes_get_be40(at + 1);
	name.number = bytes_get_be40(value.at);
	name.len = (uint8_t)(key.len - 6);
	r = add_text(s, slice_of(at + 6, name.len), &name.name);
	return r ? r : buf_add(&s->raw[raw_names], &name, sizeof(name));
}

static int add_making(struct check_scan *s, bool tell, struct slice key, struct slice value)
{
	struct check_making m = {0};

	if (!making_decode(&m.record, key, value))
		return unreadable(s, tell, STORE_NODE, key);
	return buf_add(&s->raw[raw_making], &m, sizeof(m));
}

static int add_unsettled(struct check_scan *s, bool tell, struct slice key, struct slice value)
{
	struct check_unsettled u = {.number = key_unsettled_node_of(key)};

	if (!u.number || !unsettled_decode(&u.record, value)) {
		/* Its fallback is nobody knows which. */
		s->c->unsure = true;
		return unreadable(s, tell, STORE_NODE, key);
	}
	u.record.boot = u.record.checks = slice_of(NULL, 0);
	return buf_add(&s->raw[raw_unsettled], &u, sizeof(u));
}

static int add_parent(struct check_scan *s, bool tell, struct slice key, struct slice value)
{
	struct check_parent p;

	if (key.len != 6 || value.len != 5)
		return unreadable(s, tell, STORE_NODE, key);
	p.node = key_making_node_of(key);
	p.parent = bytes_get_be40(value.at);
	return buf_add(&s->raw[raw_parents], &p, sizeof(p));
}

static int add_node(struct check_scan *s, bool tell, struct slice key, struct slice value)
{
	switch (key.len ? *(const char *)key.at : 0) {
	case 'C':
		return add_item(s, tell, key, value);
	case 'D':
		return add_name(s, tell, key, value);
	case 'V':
		return add_making(s, tell, key, value);
	case 'U':
		return add_unsettled(s, tell, key, value);
	case 'P':
		return add_parent(s, tell, key, value);
	default:
		s->broken += !tell;
		return tell ? check_tell(s->c, s->bucket->id, NULL, "record", 0, "a record is of no known kind (%02x)",
					 key.len ? *(const unsigned char *)key.at : 0) :
			      0;
	}
}

static int add_body(struct check_scan *s, bool tell, struct slice key, struct slice value)
{
	struct check_body body = {.len = value.len};

	if (key.len != 6 || *(const char *)key.at != 'I')
		return unreadable(s, tell, STORE_BODY, key);
	body.node = key_making_node_of(key);
	return buf_add(&s->raw[raw_bodies], &body, sizeof(body));
}

static int load_space(struct check_scan *s, bool tell, enum store_space space)
{
	struct slice key, value, none = slice_of(NULL, 0);
	struct store_cursor *cursor;
	int r = store_cursor_open(s->c->store, s->bucket->number, space, none, none, &cursor);

	if (r)
		return r;
	while (!(r = store_cursor_next(cursor, &key, &value))) {
		r = space == STORE_NODE ? add_node(s, tell, key, value) : add_body(s, tell, key, value);
		if (r)
			break;
	}
	store_cursor_close(cursor);
	return r == STORE_END ? 0 : r;
}

static int load_head(struct check_scan *s, bool tell)
{
	struct buf record = {0};
	struct limits limits = {0};
	const char *fault;
	int r = store_head(s->c->store, s->bucket->number, &s->revision, &record);

	s->has_head = r == 0;
	if (!r)
		r = head_decode(&s->head, &s->acl, &s->own, buf_slice(&record), &fault);
	buf_release(&record);
	/* Its access list is gone with it, so nothing is made up: the bucket stays closed. */
	if (r == -EIO) {
		s->bad_head = true;
		r = tell ? check_tell(s->c, s->bucket->id, NULL, "head", 0, "its head cannot be read") : 0;
	}
	for (int i = 0; !r && i < limits_own_count; i++)
		if (s->own.text[i] &&
		    limits_set(&limits, slice_str(limits_own_name[i]), limits_own_text(s->own.text[i]), NULL) && tell)
			r = check_tell(s->c, s->bucket->id, NULL, "head", 0, "its limit %s is none", limits_own_name[i]);
	return r == STORE_ABSENT ? 0 : r;
}

static int compare_items(const void *a, const void *b)
{
	const struct check_item *x = a, *y = b;

	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return (x->parent > y->parent) - (x->parent < y->parent);
}

static void take_arrays(struct check_scan *s)
{
	s->items = (struct check_item *)s->raw[raw_items].data;
	s->count = s->raw[raw_items].len / sizeof(*s->items);
	s->names = (struct check_name *)s->raw[raw_names].data;
	s->name_count = s->raw[raw_names].len / sizeof(*s->names);
	s->making = (struct check_making *)s->raw[raw_making].data;
	s->making_count = s->raw[raw_making].len / sizeof(*s->making);
	s->unsettled = (struct check_unsettled *)s->raw[raw_unsettled].data;
	s->unsettled_count = s->raw[raw_unsettled].len / sizeof(*s->unsettled);
	s->parents = (struct check_parent *)s->raw[raw_parents].data;
	s->parent_count = s->raw[raw_parents].len / sizeof(*s->parents);
	s->bodies = (struct check_body *)s->raw[raw_bodies].data;
	s->body_count = s->raw[raw_bodies].len / sizeof(*s->bodies);
	if (s->count)
		qsort(s->items, s->count, sizeof(*s->items), compare_items);
}

/* What stands beside an item in records of its own. */
static void mark_items(struct check_scan *s)
{
	struct check_item *item;

	for (size_t i = 0; i < s->name_count; i++) {
		struct check_name *name = &s->names[i];

		item = check_scan_find(s, name->number, name->parent);
		if (item && !item->bad && slice_equal(check_scan_name(s, item), slice_of(s->text.data + name->name, name->len)))
			item->named = true;
	}
	for (size_t i = 0; i < s->making_count; i++)
		if ((item = check_scan_find(s, s->making[i].record.number, s->making[i].record.parent)))
			item->making = true;
	for (size_t i = 0; i < s->unsettled_count; i++)
		if ((item = check_scan_find(s, s->unsettled[i].number, 0)))
			item->unsettled = true;
	for (size_t i = 0; i < s->parent_count; i++)
		if ((item = check_scan_find(s, s->parents[i].node, s->parents[i].parent)))
			item->parented = true;
}

int check_scan_load(struct check_scan *s, struct check *c, struct check_bucket *bucket, bool tell)
{
	int r;

	s->c = c;
	s->bucket = bucket;
	r = load_head(s, tell);
	s->mends = c->o->repair && !s->bad_head;
	if (!r)
		r = load_space(s, tell, STORE_NODE);
	if (!r)
		r = load_space(s, tell, STORE_BODY);
	take_arrays(s);
	mark_items(s);
	return r;
}

void check_scan_release(struct check_scan *s)
{
	acl_release(&s->acl);
	own_limits_release(&s->own);
	store_batch_release(&s->batch);
	for (size_t i = 0; i < sizeof(s->raw) / sizeof(*s->raw); i++)
		buf_release(&s->raw[i]);
	buf_release(&s->text);
	buf_release(&s->taken);
	buf_release(&s->freed);
}
