/* The document of a bucket, its settings, its attributes, and the counts in its head. */
#include "check/check_internal.h"

#include "bucket/document.h"
#include "bucket/schema.h"

static int check_each(struct check_scan *s, enum store_space space, int (*each)(struct check_scan *s, struct slice key, struct slice value))
{
	struct slice key, value, none = slice_of(NULL, 0);
	struct store_cursor *cursor;
	int r = store_cursor_open(s->c->store, s->bucket->number, space, none, none, &cursor);

	if (r)
		return r;
	while (!(r = store_cursor_next(cursor, &key, &value))) {
		r = each(s, key, value);
		if (r)
			break;
	}
	store_cursor_close(cursor);
	return r == STORE_END ? 0 : r;
}

/* ---- the document ---- */

static bool is_member(struct slice key, struct slice record, struct member_view *member, struct buf *scratch, struct buf *decoded)
{
	buf_clear(decoded);
	return !document_decode(key, record, scratch, member) && !json_text_state(member->value, NULL) &&
	       !json_text_state(member->text, NULL) && *(const char *)member->text.at == '"' && !json_unquote(member->text, decoded) &&
	       slice_equal(buf_slice(decoded), key);
}

static int check_member(struct check_scan *s, struct slice key, struct slice record)
{
	struct buf scratch = {0}, decoded = {0};
	struct member_view member;
	int r = 0;

	if (is_member(key, record, &member, &scratch, &decoded)) {
		s->keys++;
		s->data_size += document_size_member(member.text.len, member.value.len);
	} else {
		s->broken++;
		if (s->mends)
			check_mend_delete(s, STORE_DOC, key);
		r = check_tell(s->c, s->bucket->id, "data.json", "document", s->mends ? CHECK_MENDED : 0, "the value of \"%.*s\" cannot be read%s",
			       key.len > 100 ? 100 : (int)key.len, (const char *)key.at, s->mends ? " and is removed" : "");
	}
	buf_release(&scratch);
	buf_release(&decoded);
	return r;
}

/* ---- settings and attributes ---- */

static bool is_document(struct slice text)
{
	struct document d = {0};
	bool is = !document_parse(text, 0, &d, NULL);

	document_release(&d);
	return is;
}

static bool is_schema(struct slice text)
{
	struct schema *schema = NULL;
	bool is = !schema_compile(&schema, text, NULL);

	schema_free(schema);
	return is;
}

static bool is_history(struct slice record)
{
	struct history_entry entries[history_max];
	size_t count;

	return history_decode(entries, &count, record);
}

static int check_setting(struct check_scan *s, struct slice key, const char *name, bool good)
{
	char path[64] = ".bucketfs/";

	if (good)
		return 0;
	if (s->mends)
		check_mend_delete(s, STORE_META, key);
	strcat(path, name);
	return check_tell(s->c, s->bucket->id, path, "setting", s->mends ? CHECK_MENDED : 0, "it cannot be read%s", s->mends ? " and is removed" : "");
}

/* The attributes of a node have all been read. An older version kept no sum of them. */
static int end_attributes(struct check_scan *s)
{
	struct key_buf key = key_attribute(s->attributes_of, slice_of(NULL, 0));
	unsigned char value[attribute_totals_len];
	bool wrong = s->has_totals && (s->attributes.bytes != s->attributes_kept.bytes ||
				       s->attributes.list_bytes != s->attributes_kept.list_bytes);
	uint64_t node = s->attributes_of;

	if (s->has_totals)
		s->attribute_bytes += s->attributes.bytes;
	if (wrong && s->mends) {
		attribute_totals_encode(&s->attributes, value);
		store_batch_put(&s->batch, STORE_META, key_slice(&key), slice_of(value, sizeof(value)));
		s->changed = true;
	}
	s->attributes = s->attributes_kept = (struct attribute_totals){0};
	s->has_totals = false;
	return wrong ? check_tell(s->c, s->bucket->id, NULL, "count", s->mends ? CHECK_MENDED : 0,
				  "the attributes of number %llu have another sum than was kept", (unsigned long long)node) :
		       0;
}

static int sum_attribute(struct check_scan *s, uint64_t node, struct slice name, struct slice value)
{
	int r = node != s->attributes_of ? end_attributes(s) : 0;

	s->attributes_of = node;
	if (name.len) {
		attribute_totals_add(&s->attributes, name, value.len, 1);
	} else {
		s->has_totals = true;
		/* One that cannot be read is wrong. */
		if (!attribute_totals_decode(&s->attributes_kept, value))
			s->attributes_kept.bytes = UINT64_MAX;
	}
	return r;
}

static int check_attribute(struct check_scan *s, struct slice key, struct slice value)
{
	uint64_t node = key_child_parent_of(slice_of(key.at, 11));

	/* The bucket's own; or of a file that is open, and whose record comes later. */
	if (node < NODE_FIRST || s->c->live || check_scan_find(s, node, 0))
		return sum_attribute(s, node, slice_of((const char *)key.at + 6, key.len - 6), value);
	if (s->mends)
		check_mend_delete(s, STORE_META, key);
	if (key.len == 6)
		return 0;
	return check_tell(s->c, s->bucket->id, NULL, "leftover", CHECK_NOTE | (s->mends ? CHECK_MENDED : 0),
			  "an attribute of number %llu, which is not there, is left over", (unsigned long long)node);
}

static int check_transaction(struct check_scan *s, struct slice key)
{
	uint32_t number = key_bucket_number_of(key);

	return buf_add(&s->c->published, &number, sizeof(number));
}

static int check_meta(struct check_scan *s, struct slice key, struct slice value)
{
	char kind = key.len ? *(const char *)key.at : 0;

	if (kind == 'X' && key.len >= 6)
		return check_attribute(s, key, value);
	if (kind == 'T' && key.len == 5)
		return check_transaction(s, key);
	if (kind == 'S' && key.len == 1)
		return check_setting(s, key, "schema.json", is_schema(value));
	if (kind == 'M' && key.len == 1)
		return check_setting(s, key, "meta.json", is_document(value));
	if (kind == 'H' && key.len == 1)
		return check_setting(s, key, "history", is_history(value));
	if (kind == 'H' && key.len == 9)
		return check_setting(s, key, "history", is_document(value));
	if (kind == 'Q' && key.len == 1)
		return check_setting(s, key, "previous.json", is_document(value));
	return check_tell(s->c, s->bucket->id, NULL, "record", 0, "a setting is of no known kind (%02x)", (unsigned char)kind);
}

int check_data(struct check_scan *s)
{
	int r;

	s->data_size = document_size_empty;
	r = check_each(s, STORE_DOC, check_member);
	if (!r)
		r = check_each(s, STORE_META, check_meta);
	return r ? r : end_attributes(s);
}

/* ---- counts ---- */

struct count {
	const char *what, *path;
	uint64_t there, *kept;
};

static int check_count(struct check_scan *s, const struct count *n)
{
	uint64_t kept = *n->kept;

	if (kept == n->there)
		return 0;
	*n->kept = n->there;
	s->changed |= s->mends;
	/* They follow from what has been told. */
	if (s->broken)
		return 0;
	return check_tell(s->c, s->bucket->id, n->path, "count", s->mends ? CHECK_MENDED : 0, "%s: %llu are there and the head says %llu", n->what,
			  (unsigned long long)n->there, (unsigned long long)kept);
}

static void count_nodes(const struct check_scan *s, uint64_t *files, uint64_t *bytes, uint64_t *next)
{
	*files = s->made;
	*bytes = s->made_bytes;
	*next = s->head.next_node;
	for (size_t i = 0; i < s->count; i++) {
		const struct check_item *item = &s->items[i];

		*files += item->named && !item->gone;
		*bytes += item->named && !item->gone ? item->size : 0;
		*next = item->number >= *next ? item->number + 1 : *next;
	}
	for (size_t i = 0; i < s->body_count; i++)
		*next = s->bodies[i].node >= *next ? s->bodies[i].node + 1 : *next;
}

static int check_next(struct check_scan *s, uint64_t next)
{
	uint64_t kept = s->head.next_node;

	if (next <= kept)
		return 0;
	s->head.next_node = next;
	s->changed |= s->mends;
	return s->broken ? 0 : check_tell(s->c, s->bucket->id, NULL, "count", s->mends ? CHECK_MENDED : 0,
					  "the next file would get number %llu, and there is one with number %llu", (unsigned long long)kept,
					  (unsigned long long)next - 1);
}

static int check_presence(struct check_scan *s)
{
	if (!s->keys || s->head.data_present)
		return 0;
	s->head.data_present = true;
	s->changed |= s->mends;
	return check_tell(s->c, s->bucket->id, "data.json", "count", s->mends ? CHECK_MENDED : 0, "it has %llu keys and the head says that it was removed",
			  (unsigned long long)s->keys);
}

int check_counts(struct check_scan *s)
{
	uint64_t making = s->head.making, unsettled = s->head.unsettled, makings = 0, unsettleds = 0, files, bytes, next;
	bool empty = !s->count && !s->name_count && !s->body_count && !s->keys && !s->making_count && !s->unsettled_count;
	int r = 0;

	if (s->bad_head || (!s->has_head && empty))
		return 0;
	if (!s->has_head) {
		s->head.data_present = true;
		s->changed |= s->mends;
		r = check_tell(s->c, s->bucket->id, NULL, "head", s->mends ? CHECK_MENDED : 0, "it has records and no head%s",
			       s->mends ? "; only its owner may read it now" : "");
		s->broken++;
	}
	for (size_t i = 0; i < s->making_count; i++)
		makings += !s->making[i].gone;
	for (size_t i = 0; i < s->unsettled_count; i++)
		unsettleds += !s->unsettled[i].gone;
	count_nodes(s, &files, &bytes, &next);
	s->attribute_bytes -= s->attributes_gone < s->attribute_bytes ? s->attributes_gone : s->attribute_bytes;
	const struct count counts[] = {
		{"files and folders", "files", files, &s->head.files},
		{"bytes of files", "files", bytes, &s->head.file_bytes},
		{"files that are being made", "files", makings, &making},
		{"contents that are not on the disk yet", "files", unsettleds, &unsettled},
		{"keys", "data.json", s->keys, &s->head.data_keys},
		{"bytes", "data.json", s->data_size, &s->head.data_size},
		{"bytes of attributes", "files", s->attribute_bytes, &s->head.attribute_bytes},
	};
	for (size_t i = 0; !r && i < sizeof(counts) / sizeof(*counts); i++)
		r = check_count(s, &counts[i]);
	s->head.making = (uint32_t)making;
	s->head.unsettled = (uint32_t)unsettled;
	if (!r)
		r = check_next(s, next);
	return r ? r : check_presence(s);
}
