#include "bucket/document.h"

#include <errno.h>
#include <stdlib.h>

#include "bucket/verdict.h"
#include "util/bytes.h"

/* Offsets into the arena, which moves as it grows. */
struct member {
	size_t key, text, value, end; /* each ends where the next begins */
	size_t order;
};

void document_release(struct document *d)
{
	buf_release(&d->arena);
	free(d->members);
	*d = (struct document){0};
}

void document_clear(struct document *d)
{
	buf_clear(&d->arena);
	d->count = 0;
	d->sorted = false;
}

size_t document_size(const struct document *d)
{
	return d->arena.len;
}

size_t document_memory(const struct document *d)
{
	return d->arena.cap + d->cap * sizeof(*d->members);
}

static int grow(struct document *d)
{
	size_t cap = d->cap ? d->cap * 2 : 8;
	struct member *grown = realloc(d->members, cap * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	d->members = grown;
	d->cap = cap;
	return 0;
}

int document_add(struct document *d, struct slice key, struct slice text, struct slice value)
{
	size_t began = d->arena.len;
	struct member m = {.key = began, .order = d->count};
	int r = d->count == d->cap ? grow(d) : 0;

	if (!r)
		r = buf_add_slice(&d->arena, key);
	m.text = d->arena.len;
	if (!r)
		r = text.at ? buf_add_slice(&d->arena, text) : json_quote(key, &d->arena);
	m.value = d->arena.len;
	if (!r)
		r = buf_add_slice(&d->arena, value);
	m.end = d->arena.len;
	if (r) {
		d->arena.len = began;
		return r;
	}
	d->members[d->count++] = m;
	d->sorted = false;
	return 0;
}

int document_add_text(struct document *d, struct slice key_text, struct slice value)
{
	struct buf key = {0};
	int r = json_unquote(key_text, &key);

	if (!r)
		r = document_add(d, buf_slice(&key), key_text, value);
	buf_release(&key);
	return r;
}

static struct slice key_of(const struct document *d, const struct member *m)
{
	return slice_of(d->arena.data + m->key, m->text - m->key);
}

struct member_view document_member(const struct document *d, size_t i)
{
	const struct member *m = &d->members[i];

	return (struct member_view){
		.key = key_of(d, m),
		.text = slice_of(d->arena.data + m->text, m->value - m->text),
		.value = slice_of(d->arena.data + m->value, m->end - m->value),
	};
}

static int compare(const void *a, const void *b, void *context)
{
	const struct member *x = a, *y = b;
	int order = slice_compare(key_of(context, x), key_of(context, y));

	return order ? order : (x->order > y->order) - (x->order < y->order);
}

/* Gives back the room of members that were dropped, when it is worth it. */
static int compact(struct document *d)
{
	struct buf arena = {0};
	size_t live = 0;
	int r;

	for (size_t i = 0; i < d->count; i++)
		live += d->members[i].end - d->members[i].key;
	if (live >= d->arena.len / 2)
		return 0;
	r = buf_reserve(&arena, live);
	if (r)
		return r;
	for (size_t i = 0; i < d->count; i++) {
		struct member *m = &d->members[i];
		size_t at = arena.len;

		buf_add(&arena, d->arena.data + m->key, m->end - m->key);
		m->text += at - m->key;
		m->value += at - m->key;
		m->end += at - m->key;
		m->key = at;
	}
	buf_release(&d->arena);
	d->arena = arena;
	return 0;
}

int document_sort(struct document *d)
{
	size_t kept = 0;

	if (d->sorted || d->count == 0)
		return 0;
	qsort_r(d->members, d->count, sizeof(*d->members), compare, d);
	for (size_t i = 0; i < d->count; i++) {
		bool same_as_next = i + 1 < d->count &&
				    slice_equal(key_of(d, &d->members[i]), key_of(d, &d->members[i + 1]));

		if (!same_as_next)
			d->members[kept++] = d->members[i];
	}
	d->count = kept;
	for (size_t i = 0; i < kept; i++)
		d->members[i].order = i;
	d->sorted = true;
	return compact(d);
}

bool document_find(const struct document *d, struct slice key, struct member_view *member)
{
	size_t low = 0, high = d->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = slice_compare(key_of(d, &d->members[middle]), key);

		if (order == 0) {
			*member = document_member(d, middle);
			return true;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

struct parse {
	struct document *out;
	bool any;
};

static int parsed_entry(void *context, struct slice key_text, struct slice value)
{
	struct parse *p = context;

	return document_add_text(p->out, key_text, value);
}

static int parsed_object(void *context)
{
	struct parse *p = context;

	p->any = true;
	return 0;
}

int document_parse(struct slice text, size_t text_max, struct document *out, struct reason *why)
{
	struct parse parse = {out, false};
	struct json_sink sink = {parsed_entry, parsed_object, &parse};
	struct json_reader reader;
	int r;

	json_reader_init(&reader, JSON_OBJECTS, &sink, text_max);
	r = json_reader_feed(&reader, text.at, text.len, why);
	if (!r)
		r = json_reader_finish(&reader, why);
	if (!r && !parse.any) {
		reason_set_own(why, "the text is empty: a document is a JSON object, at least {}");
		r = BUCKET_INCOMPLETE;
	}
	json_reader_release(&reader);
	if (!r)
		r = document_sort(out);
	if (r)
		document_release(out);
	return r;
}

int document_render_begin(struct buf *out)
{
	return buf_add_byte(out, '{');
}

int document_render_member(struct buf *out, bool first, struct slice text, struct slice value)
{
	int r = buf_reserve(out, document_size_member(text.len, value.len) + 3);

	if (r)
		return r;
	buf_add_string(out, first ? "\n  " : ",\n  ");
	buf_add_slice(out, text);
	buf_add_string(out, ": ");
	return buf_add_slice(out, value);
}

int document_render_end(struct buf *out, bool empty)
{
	return buf_add_string(out, empty ? "}\n" : "\n}\n");
}

enum { canonical = 0, spelled = 1 };

int document_encode(struct buf *out, struct slice key, struct slice text, struct slice value)
{
	struct buf usual = {0};
	bool is_usual;
	int r = json_quote(key, &usual);

	if (r)
		goto out;
	is_usual = slice_equal(buf_slice(&usual), text);
	r = buf_add_byte(out, is_usual ? canonical : spelled);
	if (!r && !is_usual)
		r = bytes_add_32(out, (uint32_t)text.len);
	if (!r && !is_usual)
		r = buf_add_slice(out, text);
	if (!r)
		r = buf_add_slice(out, value);
out:
	buf_release(&usual);
	return r;
}

static bool is_quoted(struct slice text)
{
	const char *at = text.at;

	return text.len >= 2 && at[0] == '"' && at[text.len - 1] == '"';
}

int document_decode(struct slice key, struct slice record, struct buf *scratch, struct member_view *member)
{
	struct bytes_reader r = bytes_reader_of(record);
	uint8_t form = bytes_read_8(&r);

	member->key = key;
	if (form == spelled) {
		member->text = bytes_read(&r, bytes_read_32(&r));
	} else {
		buf_clear(scratch);
		if (json_quote(key, scratch))
			return -ENOMEM;
		member->text = buf_slice(scratch);
	}
	member->value = slice_of(r.at, r.left);
	return r.bad || form > spelled || !r.left || !is_quoted(member->text) ? -EIO : 0;
}
