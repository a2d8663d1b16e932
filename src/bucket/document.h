/* A document: members sorted by key, each value the text its writer gave. Pure.
 *
 * Rendered as
 *     {
 *       "a": 1,
 *       "b": [2,3]
 *     }
 * one member a line, sorted by the bytes of the decoded key, "{}" when empty; a line break at the end. */
#pragma once

#include "bucket/json.h"

/* Members in the order they were added, until document_sort. All zero is an empty document. */
struct document {
	struct buf arena;
	struct member *members;
	size_t count, cap;
	bool sorted;
};

struct member_view {
	struct slice key;   /* decoded */
	struct slice text;  /* the key as it is written, quotes included */
	struct slice value; /* JSON, compact */
};

void document_release(struct document *d);
void document_clear(struct document *d);
/* Bytes that the members take. */
size_t document_size(const struct document *d);
/* How much memory it takes; bytes. */
size_t document_memory(const struct document *d);
/* Copies. `text` with a NULL `at`: the canonical spelling of the key. */
int document_add(struct document *d, struct slice key, struct slice text, struct slice value);
int document_add_text(struct document *d, struct slice key_text, struct slice value);
/* Sorts by key; of members with one key the one that was added last stays. */
int document_sort(struct document *d);
struct member_view document_member(const struct document *d, size_t i);
/* The member with this key, in a sorted document. */
bool document_find(const struct document *d, struct slice key, struct member_view *member);

/* A whole text of zero or more objects, merged in order and sorted. BUCKET_INVALID, BUCKET_INCOMPLETE (also for a text
 * with no object in it), BUCKET_TOO_LARGE, -ENOMEM. `out` must be empty and is released on failure. */
int document_parse(struct slice text, size_t text_max, struct document *out, struct reason *why);

/* Rendering, member by member in key order. */
int document_render_begin(struct buf *out);
int document_render_member(struct buf *out, bool first, struct slice text, struct slice value);
int document_render_end(struct buf *out, bool empty);

/* The rendered size without rendering: document_size_empty plus document_size_member for each. */
enum { document_size_empty = 3 };
static inline uint64_t document_size_member(size_t text_len, size_t value_len)
{
	return text_len + value_len + 6;
}

/* A member as it is stored under its key: the value, and the key's text where it is not the canonical one. */
int document_encode(struct buf *out, struct slice key, struct slice text, struct slice value);
/* `scratch` holds the key's text where it has to be made. -EIO: the record is damaged. */
int document_decode(struct slice key, struct slice record, struct buf *scratch, struct member_view *member);
