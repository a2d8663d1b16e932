#include "bucket/history.h"

#include <errno.h>
#include <stdio.h>

#include "util/bytes.h"

enum { history_bytes_max = 16 << 20 };

static int load(struct fs *fs, struct bucket *b, struct history_list *list, bool *damaged)
{
	struct key_buf key = key_history();
	struct buf record = {0};
	int r = store_get(fs->store, b->number, STORE_META, key_slice(&key), &record);

	list->count = 0;
	*damaged = !r && !history_decode(list->all, &list->count, buf_slice(&record));
	buf_release(&record);
	return r == STORE_ABSENT ? 0 : r;
}

int history_load(struct fs *fs, struct bucket *b, struct history_list *list)
{
	bool damaged;
	int r = load(fs, b, list, &damaged);

	return damaged ? bucket_damaged_name(b, "control file", slice_str("history"), "its list makes no sense") : r;
}

static int put_list(const struct history_list *list, struct store_batch *batch)
{
	struct key_buf key = key_history();
	struct buf record = {0};
	int r = history_encode(list->all, list->count, &record);

	if (list->count)
		store_batch_put(batch, STORE_META, key_slice(&key), buf_slice(&record));
	else
		store_batch_delete(batch, STORE_META, key_slice(&key));
	buf_release(&record);
	return r;
}

/* Takes one out of the list, and its text out of the store. */
static void drop(struct history_list *list, size_t i, struct store_batch *batch)
{
	struct key_buf key = key_history_text(list->all[i].revision);

	store_batch_delete(batch, STORE_META, key_slice(&key));
	list->count--;
	memmove(&list->all[i], &list->all[i + 1], (list->count - i) * sizeof(*list->all));
}

static void add(struct history_list *list, const struct history_entry *entry, struct slice text,
		struct store_batch *batch)
{
	struct key_buf key = key_history_text(entry->revision);
	uint64_t bytes = text.len;

	for (size_t i = 0; i < list->count; i++)
		bytes += list->all[i].size;
	while (list->count && (list->count == history_max || bytes > history_bytes_max)) {
		bytes -= list->all[0].size;
		drop(list, 0, batch);
	}
	list->all[list->count++] = *entry;
	store_batch_put(batch, STORE_META, key_slice(&key), text);
}

/* An older version kept only one, under another key. */
static int take_over(struct fs *fs, struct bucket *b, struct history_list *list, struct store_batch *batch)
{
	struct key_buf key = key_previous();
	struct history_entry entry = {.revision = 0, .time = b->head.data_modified, .uid = b->head.owner};
	struct buf text = {0};
	int r = list->count ? STORE_ABSENT : store_get(fs->store, b->number, STORE_META, key_slice(&key), &text);

	if (!r) {
		entry.size = text.len;
		add(list, &entry, buf_slice(&text), batch);
		store_batch_delete(batch, STORE_META, key_slice(&key));
	}
	buf_release(&text);
	return r == STORE_ABSENT ? 0 : r;
}

/* A damaged list must not keep anybody from removing a document: it is made again of the texts, of which nobody knows
 * any more when and by whom. */
static int make_again(struct fs *fs, struct bucket *b, struct history_list *list, struct store_batch *batch)
{
	struct key_buf first = key_history();
	struct slice prefix = key_slice(&first), key, text;
	struct store_cursor *cursor;
	int r = store_cursor_open(fs->store, b->number, STORE_META, prefix, prefix, &cursor);

	list->count = 0;
	if (r)
		return r;
	while (!(r = store_cursor_next(cursor, &key, &text))) {
		if (key.len != key_history_text(0).len)
			continue;
		if (list->count == history_max)
			drop(list, 0, batch);
		list->all[list->count++] = (struct history_entry){key_history_revision_of(key), text.len,
								  b->head.data_modified, b->head.owner};
	}
	store_cursor_close(cursor);
	return r == STORE_END ? 0 : r;
}

int history_put(struct fs *fs, struct bucket *b, uid_t uid, struct slice text, struct store_batch *batch)
{
	struct history_entry entry = {b->revision, text.len, fs_now(fs), uid};
	struct history_list list;
	bool damaged;
	int r = load(fs, b, &list, &damaged);

	if (damaged)
		r = make_again(fs, b, &list, batch);
	if (!r)
		r = take_over(fs, b, &list, batch);
	if (r)
		return r;
	add(&list, &entry, text, batch);
	return put_list(&list, batch);
}

int history_text(struct fs *fs, struct bucket *b, uint64_t revision, struct buf *out)
{
	struct key_buf key = key_history_text(revision);
	int r = store_get(fs->store, b->number, STORE_META, key_slice(&key), out);

	return r == STORE_ABSENT ? BUCKET_ABSENT : r;
}

int history_remove(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t revision)
{
	struct store_batch batch = {0};
	struct history_list list;
	struct head head;
	size_t i = 0;
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "remove a kept document");

	if (r)
		return r;
	bucket_lock(b);
	r = b->dead ? BUCKET_GONE : history_load(fs, b, &list);
	while (!r && i < list.count && list.all[i].revision != revision)
		i++;
	if (!r && i == list.count)
		r = BUCKET_ABSENT;
	if (!r) {
		drop(&list, i, &batch);
		r = put_list(&list, &batch);
	}
	if (!r) {
		head = b->head;
		r = bucket_commit(fs, b, &head, &batch);
	}
	bucket_unlock(b);
	store_batch_release(&batch);
	return r;
}

bool history_parse(struct slice name, uint64_t *revision)
{
	static const struct slice end = {".json", 5};
	const char *at = name.at;
	size_t digits;

	if (name.len <= end.len || memcmp(at + name.len - end.len, end.at, end.len) != 0)
		return false;
	digits = name.len - end.len;
	if (digits > 12 || (digits > 1 && *at == '0'))
		return false;
	*revision = 0;
	for (size_t i = 0; i < digits; i++) {
		if (at[i] < '0' || at[i] > '9')
			return false;
		*revision = *revision * 10 + (uint64_t)(at[i] - '0');
	}
	return *revision < HISTORY_NODE;
}

void history_name(uint64_t revision, char name[history_name_max])
{
	snprintf(name, history_name_max, "%llu.json", (unsigned long long)revision);
}
