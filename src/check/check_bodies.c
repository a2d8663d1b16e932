/* Small contents, which stand in records of their own, and the contents that the nodes of a bucket own. */
#include "check/check_internal.h"

static int check_body(struct check_scan *s, struct check_item *item)
{
	struct check_body *body = check_scan_body(s, item->number);
	uint64_t left = body ? body->len : 0;
	int r;

	if (body)
		body->owned = true;
	/* What has just been moved is looked at again at the next round. */
	if ((body && left == item->size) || (item->told && s->mends))
		return 0;
	if (!body) {
		r = check_scan_tell(s, item, "gone", s->mends, "its content is gone");
		return !r && s->mends ? check_mend_remove(s, item) : r;
	}
	r = left < item->size ? check_scan_tell(s, item, "short", s->mends, "%llu of its %llu bytes are there", (unsigned long long)left,
						(unsigned long long)item->size) :
				check_scan_tell(s, item, "long", s->mends, "it has %llu bytes and %llu are there", (unsigned long long)item->size,
						(unsigned long long)left);
	return !r && s->mends ? check_mend_move(s, item, left) : r;
}

static int check_fallback(struct check_scan *s, struct check_unsettled *u)
{
	struct check_body *body = check_scan_body(s, u->record.fallback.number);
	struct check_item *item = check_scan_find(s, u->number, 0);
	int r = 0;

	if (body) {
		body->owned = true;
		return 0;
	}
	u->record.falls_back = false;
	if (item)
		r = check_scan_tell(s, item, "fallback", s->mends, "what it falls back to after a loss of power is gone");
	return !r && s->mends ? check_mend_unsettled(s, u) : r;
}

static int check_unowned(struct check_scan *s, struct check_body *body)
{
	struct check_item *item = check_scan_find(s, body->node, 0);
	struct key_buf key = key_body(body->node);
	int r;

	if (item && item->gone)
		return 0;
	if (item) {
		if (s->mends)
			check_mend_delete(s, STORE_BODY, key_slice(&key));
		return check_scan_tell(s, item, "body", s->mends, "it has a small content that its record knows nothing of");
	}
	s->broken++;
	r = s->mends ? check_mend_body(s, body->node, body->len, slice_of(NULL, 0)) : 0;
	return r ? r : check_tell(s->c, s->bucket->id, NULL, "body", s->mends ? CHECK_MENDED : 0, "a small content, number %llu, belongs to no file%s",
				  (unsigned long long)body->node, s->mends ? "; it is in lost_found now" : "");
}

static int add_owner(struct check_scan *s, const struct check_item *item, const struct check_unsettled *u)
{
	struct check_owner owner = {.bucket = s->bucket->number, .node = item ? item->number : u->number, .parent = item ? item->parent : 0};

	if (u) {
		owner.fallback = true;
		owner.content = u->record.fallback.content;
		owner.size = u->record.fallback.size;
	} else {
		owner.content = item->content;
		owner.size = item->size;
		owner.changing = item->unsettled || item->making;
	}
	return buf_add(&s->c->owners, &owner, sizeof(owner));
}

int check_bodies(struct check_scan *s)
{
	int r = 0;

	for (size_t i = 0; !r && i < s->unsettled_count; i++)
		if (!s->unsettled[i].gone && s->unsettled[i].record.falls_back && s->unsettled[i].record.fallback.place == PLACE_INLINE)
			r = check_fallback(s, &s->unsettled[i]);
	for (size_t i = 0; !r && i < s->count; i++) {
		struct check_item *item = &s->items[i];

		if (!item->bad && !item->gone && item->place == PLACE_INLINE)
			r = check_body(s, item);
	}
	for (size_t i = 0; !r && i < s->body_count; i++)
		if (!s->bodies[i].owned)
			r = check_unowned(s, &s->bodies[i]);
	for (size_t i = 0; !r && i < s->count; i++)
		if (!s->items[i].gone && s->items[i].content)
			r = add_owner(s, &s->items[i], NULL);
	for (size_t i = 0; !r && i < s->unsettled_count; i++)
		if (!s->unsettled[i].gone && s->unsettled[i].record.falls_back && s->unsettled[i].record.fallback.place == PLACE_CONTENT)
			r = add_owner(s, check_scan_find(s, s->unsettled[i].number, 0), &s->unsettled[i]);
	for (size_t i = 0; i < s->count; i++) {
		s->c->sums->files += s->items[i].kind == NODE_FILE && s->items[i].named && !s->items[i].gone;
		s->c->sums->bytes += s->items[i].named && !s->items[i].gone ? s->items[i].size : 0;
	}
	return r;
}
