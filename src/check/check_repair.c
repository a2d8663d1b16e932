/* Mending a bucket: every change of one round is one commit. */
#include "check/check_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "bucket/document.h"
#include "util/bytes.h"
#include "util/clock.h"

/* As "lost+found" is stored. */
static const struct slice lost_name = {"lost_found", 10};

/* ---- names that the batch takes and frees ---- */

static int note_key(struct buf *keys, struct slice key)
{
	int r = bytes_add_32(keys, (uint32_t)key.len);

	return r ? r : buf_add_slice(keys, key);
}

static bool has_key(const struct buf *keys, struct slice key)
{
	struct bytes_reader r = bytes_reader_of(buf_slice(keys));

	while (r.left)
		if (slice_equal(bytes_read(&r, bytes_read_32(&r)), key))
			return true;
	return false;
}

static int name_is_free(struct check_scan *s, uint64_t parent, struct slice name, bool *is)
{
	struct key_buf key = key_name(parent, name);
	struct buf value = {0};
	int r = 0;

	*is = false;
	if (has_key(&s->taken, key_slice(&key)))
		return 0;
	*is = has_key(&s->freed, key_slice(&key));
	if (!*is) {
		r = store_get(s->c->store, s->bucket->number, STORE_NODE, key_slice(&key), &value);
		*is = r == STORE_ABSENT;
	}
	buf_release(&value);
	return r < 0 ? r : 0;
}

/* ---- putting and deleting ---- */

void check_mend_delete(struct check_scan *s, enum store_space space, struct slice key)
{
	store_batch_delete(&s->batch, space, key);
	s->changed = true;
	if (space == STORE_NODE && key.len && *(const char *)key.at == 'D' && note_key(&s->freed, key))
		s->batch.error = -ENOMEM;
}

static void put(struct check_scan *s, enum store_space space, struct key_buf key, struct slice value)
{
	store_batch_put(&s->batch, space, key_slice(&key), value);
	s->changed = true;
}

static void delete(struct check_scan *s, enum store_space space, struct key_buf key)
{
	check_mend_delete(s, space, key_slice(&key));
}

static int put_name(struct check_scan *s, uint64_t parent, uint64_t number, struct slice name)
{
	struct key_buf key = key_name(parent, name);
	unsigned char raw[5];

	bytes_put_be40(raw, number);
	put(s, STORE_NODE, key, slice_of(raw, sizeof(raw)));
	bytes_put_be40(raw, parent);
	if (parent != NODE_FILES)
		put(s, STORE_NODE, key_parent(number), slice_of(raw, sizeof(raw)));
	return note_key(&s->taken, key_slice(&key));
}

static int put_node(struct check_scan *s, const struct node *n)
{
	struct buf record = {0};
	int r = node_encode(n, &record);

	if (!r)
		put(s, STORE_NODE, key_child(n->parent, n->number), buf_slice(&record));
	buf_release(&record);
	return r;
}

/* Numbers of what is there are not given out, whatever the head says. */
static uint64_t new_number(struct check_scan *s)
{
	uint64_t next = s->head.next_node > NODE_FIRST ? s->head.next_node : NODE_FIRST;

	for (size_t i = 0; i < s->count; i++)
		next = s->items[i].number >= next ? s->items[i].number + 1 : next;
	for (size_t i = 0; i < s->body_count; i++)
		next = s->bodies[i].node >= next ? s->bodies[i].node + 1 : next;
	s->head.next_node = next + 1;
	return next;
}

static struct node new_node(const struct check_scan *s, uint8_t kind, uint64_t number, uint64_t parent, struct slice name)
{
	int64_t now = clock_now(&clock_system);

	return (struct node){.number = number, .parent = parent, .kind = kind, .uid = s->head.owner, .gid = s->head.group, .modified = now,
			     .changed = now, .accessed = now, .created = now, .name = name};
}

/* ---- lost_found ---- */

static int make_lost(struct check_scan *s, struct slice name)
{
	struct node node = new_node(s, NODE_FOLDER, new_number(s), NODE_FILES, name);
	int r = put_node(s, &node);

	s->lost = node.number;
	s->made++;
	return r ? r : put_name(s, NODE_FILES, node.number, name);
}

/* A file may have the name: then the folder gets a number in its own. */
static int find_lost(struct check_scan *s)
{
	char text[name_max];
	struct slice name = lost_name;
	int r = 0;

	for (unsigned i = 1; !r && !s->lost; i++) {
		struct key_buf key = key_name(NODE_FILES, name);
		struct check_item *item;
		struct buf value = {0};
		bool is;

		r = name_is_free(s, NODE_FILES, name, &is);
		if (!r && is)
			return make_lost(s, name);
		if (!r)
			r = store_get(s->c->store, s->bucket->number, STORE_NODE, key_slice(&key), &value);
		item = !r && value.len == 5 ? check_scan_find(s, bytes_get_be40(value.data), NODE_FILES) : NULL;
		if (item && item->kind == NODE_FOLDER && item->named && !item->gone)
			s->lost = item->number;
		r = r < 0 ? r : 0;
		buf_release(&value);
		name = slice_of(text, (size_t)snprintf(text, sizeof(text), "lost_found.%u", i));
	}
	return r;
}

/* A name in lost_found that is free: with the number behind it, if need be. */
static int choose_name(struct check_scan *s, uint64_t number, struct slice name, char text[name_max + 1], struct slice *chosen)
{
	bool is = false;
	int r = name.len ? name_is_free(s, s->lost, name, &is) : 0;

	*chosen = name;
	for (unsigned i = 0; !r && !is; i++) {
		char end[48];
		int len = i ? snprintf(end, sizeof(end), ".%llu.%u", (unsigned long long)number, i) :
			      snprintf(end, sizeof(end), ".%llu", (unsigned long long)number);
		size_t room = name_max - (size_t)len;
		struct slice base = name.len ? name : slice_str("file");

		*chosen = slice_of(text, (size_t)snprintf(text, name_max + 1, "%.*s%s", (int)(base.len < room ? base.len : room),
							  (const char *)base.at, end));
		r = name_is_free(s, s->lost, *chosen, &is);
	}
	return r;
}

static int get_node(struct check_scan *s, const struct check_item *item, struct buf *record, struct node *n)
{
	struct key_buf key = key_child(item->parent, item->number);
	int r = store_get(s->c->store, s->bucket->number, STORE_NODE, key_slice(&key), record);

	*n = (struct node){.number = item->number, .parent = item->parent};
	/* It may be in itself. */
	if (item->parent == item->number)
		n->parent = NODE_FILES;
	if (!r && node_decode(n, buf_slice(record)))
		r = -EIO;
	n->parent = item->parent;
	return r > 0 ? -EIO : r;
}

/* Its record says that it is being made, in a folder that it leaves. */
static void forget_making(struct check_scan *s, struct check_item *item)
{
	for (size_t i = 0; i < s->making_count; i++) {
		struct check_making *m = &s->making[i];

		if (m->record.number != item->number || m->gone)
			continue;
		delete(s, STORE_NODE, key_making(item->number));
		m->gone = true;
	}
	item->making = false;
}

static void forget_name(struct check_scan *s, const struct check_item *item)
{
	if (item->named)
		delete(s, STORE_NODE, key_name(item->parent, check_scan_name(s, item)));
}

int check_mend_move(struct check_scan *s, struct check_item *item, uint64_t size)
{
	char text[name_max + 1];
	struct buf record = {0};
	struct slice name;
	struct node n;
	int r = get_node(s, item, &record, &n);

	if (!r)
		r = find_lost(s);
	/* What is there already stays under its name. */
	if (!r && item->parent == s->lost)
		name = n.name;
	else if (!r)
		r = choose_name(s, item->number, n.name, text, &name);
	if (!r && item->parent != s->lost) {
		forget_name(s, item);
		delete(s, STORE_NODE, key_child(item->parent, item->number));
		forget_making(s, item);
		n.parent = s->lost;
	}
	if (!r) {
		if (!slice_equal(n.name, name))
			n.given = slice_of(NULL, 0);
		n.name = name;
		n.size = item->size = size;
		n.blocks = n.kind == NODE_FILE ? (size + 511) / 512 : n.blocks;
		n.changed = clock_now(&clock_system);
		r = put_node(s, &n);
	}
	if (!r)
		r = put_name(s, n.parent, n.number, n.name);
	item->parent = n.parent;
	item->named = true;
	buf_release(&record);
	return r;
}

int check_mend_name(struct check_scan *s, struct check_item *item)
{
	bool is = item->named;
	int r = is ? 0 : name_is_free(s, item->parent, check_scan_name(s, item), &is);

	if (r || !is)
		return r ? r : check_mend_move(s, item, item->size);
	item->named = true;
	return put_name(s, item->parent, item->number, check_scan_name(s, item));
}

/* A new record in lost_found. */
static int put_lost(struct check_scan *s, struct node *n, struct slice name)
{
	char text[name_max + 1], normal[name_max];
	struct slice wish = slice_of(normal, 0), chosen;
	int r = find_lost(s);

	if (name.len && name_normalise(name, normal, &wish.len))
		wish.len = 0;
	if (!r)
		r = choose_name(s, n->number, wish, text, &chosen);
	if (r)
		return r;
	n->parent = s->lost;
	n->name = chosen;
	n->blocks = (n->size + 511) / 512;
	s->made++;
	s->made_bytes += n->size;
	r = put_node(s, n);
	return r ? r : put_name(s, s->lost, n->number, chosen);
}

int check_mend_body(struct check_scan *s, uint64_t number, uint64_t size, struct slice name)
{
	struct node n = new_node(s, NODE_FILE, number, 0, slice_of(NULL, 0));

	if (number < NODE_FIRST) {
		delete(s, STORE_BODY, key_body(number));
		return 0;
	}
	n.size = size;
	n.place = PLACE_INLINE;
	return put_lost(s, &n, name);
}

int check_mend_content(struct check_scan *s, uint64_t content, uint64_t size, struct slice name)
{
	struct node n = new_node(s, NODE_FILE, new_number(s), 0, slice_of(NULL, 0));

	n.size = size;
	n.place = PLACE_CONTENT;
	n.content = content;
	return put_lost(s, &n, name);
}

int check_mend_lost(struct check_scan *s, struct slice name)
{
	struct check *c = s->c;
	bool first = !c->lost;

	c->lost = first || c->lost == s->bucket->number ? s->bucket->number : UINT32_MAX;
	buf_clear(&c->lost_name);
	return first ? buf_add_slice(&c->lost_name, name) : 0;
}

static int delete_attributes(struct check_scan *s, uint64_t number)
{
	struct key_buf prefix = key_attribute(number, slice_of(NULL, 0));
	struct store_cursor *cursor;
	struct slice key, value;
	int r = store_cursor_open(s->c->store, s->bucket->number, STORE_META, key_slice(&prefix), key_slice(&prefix), &cursor);

	if (r)
		return r;
	while (!(r = store_cursor_next(cursor, &key, &value))) {
		struct attribute_totals t;

		if (key.len == prefix.len && attribute_totals_decode(&t, value))
			s->attributes_gone += t.bytes;
		check_mend_delete(s, STORE_META, key);
	}
	store_cursor_close(cursor);
	return r == STORE_END ? 0 : r;
}

int check_mend_unsettled(struct check_scan *s, struct check_unsettled *u)
{
	struct key_buf key = key_unsettled(u->number);
	struct unsettled_record record;
	struct buf old = {0}, new = {0};
	int r;

	if (u->gone) {
		/* Its fallback goes, unless the node has it back. */
		struct check_item *item = check_scan_find(s, u->number, 0);
		const struct node *f = &u->record.fallback;

		delete(s, STORE_NODE, key);
		if (u->record.falls_back && f->place == PLACE_CONTENT && !(item && item->content == f->content))
			store_batch_drop(&s->batch, f->content);
		if (u->record.falls_back && f->place == PLACE_INLINE && !check_scan_find(s, f->number, 0))
			delete(s, STORE_BODY, key_body(f->number));
		return 0;
	}
	r = store_get(s->c->store, s->bucket->number, STORE_NODE, key_slice(&key), &old);
	if (!r && !unsettled_decode(&record, buf_slice(&old)))
		r = -EIO;
	if (!r) {
		record.falls_back = false;
		r = unsettled_encode(&record, &new);
	}
	if (!r)
		put(s, STORE_NODE, key, buf_slice(&new));
	buf_release(&old);
	buf_release(&new);
	return r > 0 ? -EIO : r;
}

void check_mend_extra(struct check_scan *s, struct check_item *item)
{
	forget_name(s, item);
	delete(s, STORE_NODE, key_child(item->parent, item->number));
	item->gone = true;
}

int check_mend_remove(struct check_scan *s, struct check_item *item)
{
	forget_name(s, item);
	forget_making(s, item);
	delete(s, STORE_NODE, key_child(item->parent, item->number));
	if (item->parented || item->parent != NODE_FILES)
		delete(s, STORE_NODE, key_parent(item->number));
	for (size_t i = 0; i < s->unsettled_count; i++) {
		struct check_unsettled *u = &s->unsettled[i];

		if (u->number != item->number || u->gone)
			continue;
		u->gone = true;
		check_mend_unsettled(s, u);
	}
	if (item->content)
		store_batch_drop(&s->batch, item->content);
	item->gone = true;
	return delete_attributes(s, item->number);
}

/* ---- the commit ---- */

static int only_owner(struct acl_list *list)
{
	list->principals = malloc(sizeof(*list->principals));
	if (!list->principals)
		return -ENOMEM;
	*list->principals = (struct principal){PRINCIPAL_OWNER, 0};
	list->set = true;
	list->count = 1;
	return 0;
}

/* As a bucket begins (bucket_load), but for its access list, which is lost: what was in it may have been for few. */
static int make_head(struct check_scan *s)
{
	struct key_buf key = key_bucket_number(s->bucket->number);
	struct origin origin = {.created = clock_now(&clock_system)};
	struct buf record = {0};
	int r = store_get(s->c->store, 0, STORE_META, key_slice(&key), &record);

	if (!r && origin_decode(&origin, buf_slice(&record)))
		r = -EIO;
	s->head.owner = origin.owner;
	s->head.group = origin.group;
	s->head.created = s->head.data_modified = s->head.files_modified = origin.created;
	s->head.data_present = s->head.enabled = true;
	buf_release(&record);
	if (r >= 0)
		r = only_owner(&s->acl.list[PRIVILEGE_READ]);
	return r ? r : only_owner(&s->acl.list[PRIVILEGE_EDIT]);
}

int check_mend_commit(struct check_scan *s)
{
	struct buf record = {0};
	int r = 0;

	if (!s->changed || !s->mends)
		return 0;
	if (!s->has_head)
		r = make_head(s);
	s->head.modified = clock_now(&clock_system);
	if (!r)
		r = head_encode(&s->head, &s->acl, &s->own, &record);
	if (!r)
		r = store_commit(s->c->store, s->bucket->number, s->has_head ? s->revision : STORE_ANY_REVISION, buf_slice(&record), &s->batch, NULL);
	buf_release(&record);
	return r > 0 ? -EIO : r;
}
