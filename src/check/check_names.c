/* How the nodes of a bucket hang together: names, folders, and what is known of files that are being made. */
#include "check/check_internal.h"

#include <stdio.h>

enum check_way { WAY_UNKNOWN, WAY_OPEN, WAY_GOOD, WAY_BAD };

static struct slice text_of(const struct check_scan *s, const struct check_name *name)
{
	return slice_of(s->text.data + name->name, name->len);
}

static void forget_name(struct check_scan *s, const struct check_name *name)
{
	struct key_buf key = key_name(name->parent, text_of(s, name));

	check_mend_delete(s, STORE_NODE, key_slice(&key));
}

/* A name that leads to nothing is shown below its folder. */
static int tell_name(struct check_scan *s, const struct check_name *name, const char *kind, const char *detail)
{
	struct check_item *folder = name->parent == NODE_FILES ? NULL : check_scan_find(s, name->parent, 0);
	struct slice text = text_of(s, name);
	struct buf path = {0};
	int r = folder ? check_scan_path(s, folder, &path) : buf_add_string(&path, name->parent == NODE_FILES ? "files" : "files/...");

	if (folder && path.len)
		path.len--;
	if (!r)
		r = buf_add_format(&path, "/%.*s", (int)text.len, (const char *)text.at);
	if (!r)
		r = buf_add_byte(&path, 0);
	s->broken++;
	if (!r)
		r = check_tell(s->c, s->bucket->id, (char *)path.data, kind, s->mends ? CHECK_MENDED : 0, "%s", detail);
	buf_release(&path);
	return r;
}

/* A record that cannot be read, by the name that leads to it. A small content is saved. */
static int check_bad(struct check_scan *s, struct check_item *item, struct slice name)
{
	struct check_body *body = check_scan_body(s, item->number);
	int r;

	if (item->told)
		return 0;
	item->told = true;
	s->c->unsure = true;
	if (s->mends)
		r = check_mend_remove(s, item);
	else
		r = 0;
	if (!r && s->mends)
		r = body ? check_mend_body(s, item->number, body->len, name) : check_mend_lost(s, name);
	if (body)
		body->owned = true;
	if (!r)
		r = check_scan_tell(s, item, "record", s->mends, body && s->mends ? "its record cannot be read; its content is in lost_found" :
									   s->mends ? "its record cannot be read and is removed" :
										      "its record cannot be read");
	return r;
}

static bool is_fallback(const struct check_scan *s, uint64_t node)
{
	for (size_t i = 0; i < s->unsettled_count; i++)
		if (s->unsettled[i].record.falls_back && s->unsettled[i].record.fallback.number == node)
			return true;
	return false;
}

/* A small content that is left without its record. */
static struct check_body *find_left(const struct check_scan *s, uint64_t node)
{
	struct check_body *body = check_scan_find(s, node, 0) ? NULL : check_scan_body(s, node);

	return body && !body->owned && !is_fallback(s, node) ? body : NULL;
}

static int check_name(struct check_scan *s, const struct check_name *name)
{
	struct check_item *item = check_scan_find(s, name->number, name->parent);
	struct check_body *left = find_left(s, name->number);
	char detail[400];
	int r = 0;

	/* It went with its record. */
	if (item && item->gone)
		return 0;
	if (item && item->bad) {
		/* So that the finding names it. */
		item->name = name->name;
		item->name_len = name->len;
		r = check_bad(s, item, text_of(s, name));
		if (!r && s->mends)
			forget_name(s, name);
		return r;
	}
	if (item && slice_equal(check_scan_name(s, item), text_of(s, name)))
		return 0;
	if (left)
		snprintf(detail, sizeof(detail), "its record is gone%s", s->mends ? "; its content is in lost_found" : "");
	else if (!item)
		snprintf(detail, sizeof(detail), "the name leads to number %llu, which is not there", (unsigned long long)name->number);
	else
		snprintf(detail, sizeof(detail), "the name leads to number %llu, which is called %.*s", (unsigned long long)name->number,
			 (int)item->name_len, (const char *)check_scan_name(s, item).at);
	if (s->mends)
		forget_name(s, name);
	if (item && !item->named && !item->making) {
		item->told = true;
		r = s->mends ? check_mend_name(s, item) : 0;
	}
	if (!item && !left && s->mends)
		r = check_mend_lost(s, text_of(s, name));
	if (left) {
		left->owned = true;
		r = s->mends ? check_mend_body(s, left->node, left->len, text_of(s, name)) : 0;
	}
	return r ? r : tell_name(s, name, left ? "record" : "name", detail);
}

/* ---- one number in several folders ---- */

static int score(const struct check_scan *s, const struct check_item *item)
{
	const struct check_item *folder = check_scan_find(s, item->parent, 0);
	bool placed = item->parent == NODE_FILES || (folder && folder->kind == NODE_FOLDER);

	return item->bad ? -1 : 4 * placed + 2 * item->named + item->parented;
}

/* Where the others own nothing of their own they can go without a loss. */
static int check_group(struct check_scan *s, size_t from, size_t to)
{
	struct check_item *best = &s->items[from];
	int r = 0;

	for (size_t i = from + 1; i < to; i++)
		if (score(s, &s->items[i]) > score(s, best))
			best = &s->items[i];
	for (size_t i = from; !r && i < to; i++) {
		struct check_item *item = &s->items[i];
		bool mends = s->mends && (!item->content || item->content == best->content);

		if (item == best)
			continue;
		r = check_scan_tell(s, item, "twice", mends, "number %llu is in two folders", (unsigned long long)item->number);
		item->told = best->told = true;
		if (mends)
			check_mend_extra(s, item);
		else
			item->gone = !item->content || item->content == best->content;
	}
	/* The one record of its place is about this one from now on. */
	return !r && s->mends && best->named && !best->bad ? check_mend_name(s, best) : r;
}

static int check_groups(struct check_scan *s)
{
	int r = 0;

	for (size_t i = 0, end; !r && i < s->count; i = end) {
		for (end = i + 1; end < s->count && s->items[end].number == s->items[i].number; end++)
			;
		if (end - i > 1)
			r = check_group(s, i, end);
	}
	return r;
}

/* ---- folders ---- */

static struct check_item *folder_of(const struct check_scan *s, const struct check_item *item)
{
	struct check_item *folder = check_scan_find(s, item->parent, 0);

	return folder && folder->kind == NODE_FOLDER && !folder->gone ? folder : NULL;
}

/* Goes up from a node until the way is known. NULL: all is well; else the node that has no way up. */
static struct check_item *way_up(struct check_scan *s, struct check_item *item)
{
	struct check_item *at = item, *wrong = NULL;
	uint8_t way = WAY_GOOD;

	while (at && at->way == WAY_UNKNOWN) {
		struct check_item *up = at->parent == NODE_FILES ? NULL : folder_of(s, at);

		at->way = WAY_OPEN;
		if (at->parent == NODE_FILES)
			break;
		/* No folder; or one that this very walk came by. */
		if (!up || up->way == WAY_OPEN) {
			wrong = at;
			break;
		}
		at = up;
	}
	/* What is below something wrong goes with it. */
	for (at = item; at && at->way == WAY_OPEN; at = at->parent == NODE_FILES ? NULL : folder_of(s, at))
		at->way = way;
	return wrong;
}

static int check_folders(struct check_scan *s)
{
	int r = 0;

	for (size_t i = 0; !r && i < s->count; i++) {
		struct check_item *wrong;
		bool cycle;

		if (s->items[i].bad || s->items[i].gone || s->items[i].told)
			continue;
		wrong = way_up(s, &s->items[i]);
		if (!wrong)
			continue;
		wrong->told = true;
		cycle = folder_of(s, wrong);
		r = check_scan_tell(s, wrong, "parent", s->mends, cycle ? "it is in a folder that is in itself" : "its folder, number %llu, is not there",
				    (unsigned long long)wrong->parent);
		if (!r && s->mends)
			r = check_mend_move(s, wrong, wrong->size);
	}
	return r;
}

/* ---- nodes without a name ---- */

static int check_nameless(struct check_scan *s)
{
	int r = 0;

	for (size_t i = 0; !r && i < s->count; i++) {
		struct check_item *item = &s->items[i];

		if (item->bad && !item->told && !item->gone)
			r = check_bad(s, item, slice_of(NULL, 0));
		if (item->bad || item->named || item->making || item->told || item->gone)
			continue;
		item->told = true;
		r = check_scan_tell(s, item, "name", s->mends, "no name leads to it");
		if (!r && s->mends)
			r = check_mend_name(s, item);
	}
	return r;
}

/* ---- where a node is ---- */

static int leftover(struct check_scan *s, const char *what, uint64_t number)
{
	/* A file that is open may have it before its record. */
	if (s->c->live)
		return 0;
	return check_tell(s->c, s->bucket->id, NULL, "leftover", CHECK_NOTE | (s->mends ? CHECK_MENDED : 0),
			  "%s of number %llu, which is not there, is left over", what, (unsigned long long)number);
}

static int check_parents(struct check_scan *s)
{
	int r = 0;

	for (size_t i = 0; !r && i < s->parent_count; i++) {
		const struct check_parent *p = &s->parents[i];
		struct key_buf key = key_parent(p->node);
		struct check_item *item = check_scan_find(s, p->node, 0);

		if (item && (item->parented || item->gone || item->bad))
			continue;
		if (s->mends)
			check_mend_delete(s, STORE_NODE, key_slice(&key));
		if (!item) {
			r = leftover(s, "the place", p->node);
			continue;
		}
		/* In files/ itself nobody asks for it; elsewhere the right one is put below. */
		if (item->parent == NODE_FILES)
			r = check_scan_tell(s, item, "parent", s->mends, "its place is also kept as folder number %llu", (unsigned long long)p->parent);
	}
	for (size_t i = 0; !r && i < s->count; i++) {
		struct check_item *item = &s->items[i];

		if (item->parent == NODE_FILES || item->parented || !item->named || item->told || item->gone || item->bad)
			continue;
		r = check_scan_tell(s, item, "parent", s->mends, "no record says which folder it is in");
		if (!r && s->mends)
			r = check_mend_name(s, item);
	}
	return r;
}

/* ---- files that are being made, and contents that the disk may not have ---- */

static int check_making(struct check_scan *s)
{
	int r = 0;

	for (size_t i = 0; !r && i < s->making_count; i++) {
		struct check_making *m = &s->making[i];
		struct check_item *item = check_scan_find(s, m->record.number, m->record.parent);
		struct key_buf key = key_making(m->record.number);

		if ((item && !item->gone) || m->gone)
			continue;
		if (s->mends) {
			check_mend_delete(s, STORE_NODE, key_slice(&key));
			m->gone = true;
		}
		s->broken++;
		if (item)
			continue;
		r = check_tell(s->c, s->bucket->id, NULL, "made", s->mends ? CHECK_MENDED : 0,
			       "number %llu is kept as being made, and it is not there", (unsigned long long)m->record.number);
	}
	return r;
}

static int check_unsettled(struct check_scan *s)
{
	int r = 0;

	for (size_t i = 0; !r && i < s->unsettled_count; i++) {
		struct check_unsettled *u = &s->unsettled[i];
		struct check_item *item = check_scan_find(s, u->number, 0);

		if (u->gone || (item && item->place == PLACE_CONTENT && item->content == u->record.content))
			continue;
		s->broken++;
		if (item)
			item->unsettled = false;
		u->gone = s->mends;
		r = s->mends ? check_mend_unsettled(s, u) : 0;
		if (!r)
			r = check_tell(s->c, s->bucket->id, NULL, "unsettled", s->mends ? CHECK_MENDED : 0,
				       "number %llu is kept as not on the disk yet, and has no such content", (unsigned long long)u->number);
	}
	return r;
}

int check_names(struct check_scan *s)
{
	int r = 0;

	r = check_groups(s);
	for (size_t i = 0; !r && i < s->name_count; i++)
		r = check_name(s, &s->names[i]);
	if (!r)
		r = check_folders(s);
	if (!r)
		r = check_nameless(s);
	if (!r)
		r = check_parents(s);
	if (!r)
		r = check_making(s);
	return r ? r : check_unsettled(s);
}
