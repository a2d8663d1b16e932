#include "bucket/control.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "bucket/data.h"
#include "bucket/history.h"
#include "bucket/info.h"
#include "bucket/json_tree.h"
#include "bucket/refusal.h"
#include "bucket/schema.h"
#include "bucket/transaction.h"
#include "bucket/version.h"

static const struct {
	uint64_t node;
	const char *name;
	bool writable;
} files[] = {
	{NODE_INFO, "info.json", false},
	{NODE_META, "meta.json", true},
	{NODE_SCHEMA, "schema.json", true},
	{NODE_ERRORS, "errors", false},
	{NODE_PREVIOUS, "previous.json", false},
};

enum { schema_size_max = 1 << 20, note_size_max = 65536 };

uint64_t control_node(struct slice name)
{
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		if (slice_equal(name, slice_str(files[i].name)))
			return files[i].node;
	return 0;
}

const char *control_name(uint64_t node)
{
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		if (files[i].node == node)
			return files[i].name;
	return "";
}

static struct key_buf key_of(char tag)
{
	return (struct key_buf){.bytes = {(unsigned char)tag}, .len = 1};
}

static int stored(struct fs *fs, struct bucket *b, char tag, struct buf *out)
{
	struct key_buf key = key_of(tag);
	int r = store_get(fs->store, b->number, STORE_META, key_slice(&key), out);

	return r == STORE_ABSENT ? BUCKET_ABSENT : r;
}

/* ---- kept documents: previous.json is the newest of them ---- */

static bool is_kept(uint64_t node)
{
	return node == NODE_PREVIOUS || control_is_history(node);
}

static int find_kept(struct fs *fs, struct bucket *b, uint64_t node, struct history_entry *out)
{
	const struct history_entry *newest;
	struct history_list list;
	int r = history_load(fs, b, &list);

	if (r)
		return r;
	newest = history_newest(&list);
	for (size_t i = 0; i < list.count; i++) {
		if (node == NODE_PREVIOUS ? &list.all[i] == newest : list.all[i].revision == (node & ~HISTORY_NODE)) {
			*out = list.all[i];
			return 0;
		}
	}
	return BUCKET_ABSENT;
}

static int kept_attr(struct fs *fs, struct bucket *b, uint64_t node, struct attr *attr)
{
	struct history_entry entry;
	struct buf text = {0};
	int r = find_kept(fs, b, node, &entry);

	if (r == BUCKET_ABSENT && node == NODE_PREVIOUS) {
		r = stored(fs, b, 'Q', &text);
		attr->size = text.len;
		buf_release(&text);
	} else if (!r) {
		attr->size = entry.size;
		attr->uid = entry.uid;
		attr->modified = attr->changed = attr->accessed = entry.time;
	}
	attr->blocks = (attr->size + 511) / 512;
	return r;
}

static int kept_text(struct fs *fs, struct bucket *b, uint64_t node, struct buf *out)
{
	struct history_entry entry;
	int r = find_kept(fs, b, node, &entry);

	if (r == BUCKET_ABSENT && node == NODE_PREVIOUS)
		return stored(fs, b, 'Q', out);
	return r ? r : history_text(fs, b, entry.revision, out);
}

int control_history_lookup(struct fs *fs, struct bucket *b, const struct caller *who, struct slice name,
			   struct attr *attr)
{
	uint64_t revision;

	if (!history_parse(name, &revision))
		return BUCKET_ABSENT;
	return control_attr(fs, b, who, HISTORY_NODE | revision, attr);
}

int control_history_list(struct fs *fs, struct bucket *b, uint64_t after,
			 int (*each)(void *context, struct slice name, uint64_t node), void *context)
{
	char name[history_name_max];
	struct history_list list;
	int r = history_load(fs, b, &list);

	for (size_t i = 0; !r && i < list.count; i++) {
		uint64_t node = HISTORY_NODE | list.all[i].revision;

		history_name(list.all[i].revision, name);
		if (!control_is_history(after) || node > after)
			r = each(context, slice_str(name), node);
	}
	return r;
}

int control_attr(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct attr *attr)
{
	struct buf text = {0};
	bool writable = node == NODE_META || node == NODE_SCHEMA;
	int r = bucket_check_enter(fs, b, who, "look into the control folder");

	if (r)
		return r;
	bucket_lock(b);
	*attr = (struct attr){
		.inode = inode_of(b->number, node),
		.generation = b->generation,
		.mode = node == NODE_CONTROL || node == NODE_HISTORY ? S_IFDIR | 0555 : S_IFREG | (writable ? 0644u : 0444u),
		.uid = b->head.owner,
		.gid = b->head.group,
		.modified = b->head.modified,
		.changed = b->head.modified,
		.accessed = b->head.modified,
		.private = true,
		.fleeting = true,
	};
	r = b->dead ? BUCKET_GONE : 0;
	bucket_unlock(b);
	if (!r && !bucket_may(fs, b, who, PRIVILEGE_READ)) {
		attr->modified = attr->changed = attr->accessed = 0;
		if (node == NODE_SCHEMA || is_kept(node))
			r = bucket_check(fs, b, who, PRIVILEGE_READ, "look into the control folder");
	}
	if (!r && is_kept(node))
		return kept_attr(fs, b, node, attr);
	if (!r && node == NODE_SCHEMA)
		r = stored(fs, b, 'S', &text);
	attr->size = text.len;
	attr->blocks = (text.len + 511) / 512;
	buf_release(&text);
	return r;
}

/* ---- schema ---- */

int control_schema(struct fs *fs, struct bucket *b, struct schema **out)
{
	struct buf text = {0};
	struct reason why = {.text = ""};
	int r = 0;

	if (!b->schema_known) {
		r = stored(fs, b, 'S', &text);
		if (r == BUCKET_ABSENT)
			r = 0;
		else if (!r && (r = schema_compile(&b->schema, buf_slice(&text), &why)) > 0)
			r = bucket_damaged_name(b, "control file", slice_str("schema.json"), why.text);
		b->schema_known = !r;
	}
	buf_release(&text);
	*out = b->schema;
	return r;
}

static bool never_written(const struct bucket *b)
{
	return b->head.data_keys == 0 && (!b->head.data_present || b->head.data_modified == b->head.created);
}

/* Compiles it and judges today's data; with b->lock held if `b` is to stay as it is judged. */
static int judge_schema(struct bucket *b, struct slice text, const struct text *data, struct schema **out,
			struct reason *why)
{
	struct schema *schema = NULL;
	int r;

	if (text.len > schema_size_max) {
		reason_set(why, "a schema may have up to %d bytes", schema_size_max);
		return BUCKET_TOO_LARGE;
	}
	r = schema_compile(&schema, text, why);
	if (!r && data && !never_written(b))
		r = schema_check(schema, buf_slice(&data->bytes), why);
	if (r || !out)
		schema_free(schema);
	else
		*out = schema;
	return r;
}

static int set_schema(struct fs *fs, struct bucket *b, const struct slice *text, struct reason *why)
{
	struct key_buf key = key_of('S');
	struct store_batch batch = {0};
	struct schema *schema = NULL;
	struct text *data = NULL;
	struct head head;
	uint64_t revision;
	int r;

	/* Judged outside the lock, and again if somebody wrote meanwhile. */
	do {
		schema_free(schema);
		schema = NULL;
		bucket_lock(b);
		revision = b->revision;
		bucket_unlock(b);
		r = text ? data_text(fs, b, &data) : 0;
		if (!r && text)
			r = judge_schema(b, *text, data, &schema, why);
		data_text_put(data);
		data = NULL;
		if (r)
			return r;
		bucket_lock(b);
		if (b->revision == revision) {
			head = b->head;
			if (text)
				store_batch_put(&batch, STORE_META, key_slice(&key), *text);
			else
				store_batch_delete(&batch, STORE_META, key_slice(&key));
			r = bucket_commit(fs, b, &head, &batch);
			if (!r) {
				struct schema *old = b->schema;

				b->schema = schema;
				b->schema_known = true;
				schema = old;
			}
			revision = b->revision;
			bucket_unlock(b);
			break;
		}
		bucket_unlock(b);
	} while (true);
	schema_free(schema);
	store_batch_release(&batch);
	return r;
}

/* ---- meta.json ---- */

struct meta {
	struct buf title, icon, notes;
	bool enabled;
};

static void meta_release(struct meta *m)
{
	buf_release(&m->title);
	buf_release(&m->icon);
	buf_release(&m->notes);
	*m = (struct meta){.enabled = true};
}

static int set_field(struct meta *m, struct slice key, const struct json_node *value, struct reason *why)
{
	const struct {
		const char *name;
		struct buf *text;
	} fields[] = {{"title", &m->title}, {"icon", &m->icon}, {"notes", &m->notes}};

	if (slice_equal(key, slice_str("enabled"))) {
		if (value->kind != JSON_KIND_BOOLEAN) {
			reason_set(why, "/enabled is true or false");
			return BUCKET_INVALID;
		}
		m->enabled = value->truth;
		return 0;
	}
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
		if (!slice_equal(key, slice_str(fields[i].name)))
			continue;
		if (value->kind != JSON_KIND_STRING || value->text.len > note_size_max) {
			reason_set(why, "/%s is a string of up to %d bytes", fields[i].name, note_size_max);
			return BUCKET_INVALID;
		}
		buf_clear(fields[i].text);
		return buf_add_slice(fields[i].text, value->text);
	}
	reason_set(why, "there is no \"%.*s\" to change here: title, enabled, icon, notes", key.len > 60 ? 60 : (int)key.len,
		   (const char *)key.at);
	return BUCKET_INVALID;
}

/* Fields that are as they are may stand in a patch, whatever they are: cp meta.json back is fine. */
static int patch_meta(struct meta *m, struct slice text, struct reason *why)
{
	struct json_tree tree = {0};
	struct document d = {0};
	int r = document_parse(text, 0, &d, why);

	for (size_t i = 0; !r && i < d.count; i++) {
		struct member_view member = document_member(&d, i);

		r = json_tree_parse(&tree, member.value, why);
		if (!r)
			r = set_field(m, member.key, tree.root, why);
		json_tree_release(&tree);
	}
	document_release(&d);
	return r;
}

static int read_meta(struct fs *fs, struct bucket *b, struct meta *m)
{
	struct reason why = {.text = ""};
	struct buf text = {0};
	int r = stored(fs, b, 'M', &text);

	*m = (struct meta){.enabled = true};
	if (r == BUCKET_ABSENT)
		r = 0;
	else if (!r)
		r = patch_meta(m, buf_slice(&text), &why);
	if (r > 0)
		r = bucket_damaged_name(b, "control file", slice_str("meta.json"), why.text);
	bucket_lock(b);
	m->enabled = b->head.enabled;
	bucket_unlock(b);
	buf_release(&text);
	return r;
}

static int show_meta(const struct meta *m, struct buf *out)
{
	const struct {
		const char *name;
		const struct buf *text;
	} fields[] = {{"title", &m->title}, {"icon", &m->icon}, {"notes", &m->notes}};
	int r = buf_add_format(out, "{\n  \"enabled\": %s", m->enabled ? "true" : "false");

	for (size_t i = 0; !r && i < sizeof(fields) / sizeof(*fields); i++) {
		r = buf_add_format(out, ",\n  \"%s\": ", fields[i].name);
		if (!r)
			r = json_quote(buf_slice(fields[i].text), out);
	}
	return r ? r : buf_add_string(out, "\n}\n");
}

int control_meta_fields(struct fs *fs, struct bucket *b, struct buf *out)
{
	struct meta m;
	int r = read_meta(fs, b, &m);

	if (!r)
		r = show_meta(&m, out);
	meta_release(&m);
	/* Without the braces: members of another object. */
	if (!r && out->len > 4) {
		out->len -= 3;
		memmove(out->data, out->data + 2, out->len - 2);
		out->len -= 2;
	}
	return r;
}

static int write_meta(struct fs *fs, struct bucket *b, const struct caller *who, struct slice patch, struct reason *why)
{
	struct key_buf key = key_of('M');
	struct store_batch batch = {0};
	struct buf text = {0};
	struct meta m = {.enabled = true};
	struct head head;
	bool again;
	int r;

	/* Anew if somebody else has changed the bucket meanwhile. */
	do {
		uint64_t revision;

		again = false;
		buf_clear(&text);
		store_batch_clear(&batch);
		meta_release(&m);
		bucket_lock(b);
		revision = b->revision;
		bucket_unlock(b);
		r = read_meta(fs, b, &m);
		if (!r)
			r = patch_meta(&m, patch, why);
		if (!r)
			r = show_meta(&m, &text);
		if (r)
			break;
		store_batch_put(&batch, STORE_META, key_slice(&key), buf_slice(&text));
		bucket_lock(b);
		again = b->revision != revision;
		if (!again) {
			head = b->head;
			head.enabled = m.enabled;
			r = bucket_commit(fs, b, &head, &batch);
		}
		bucket_unlock(b);
	} while (again);
	if (!r)
		fs_audit(who, "metadata", b->name, m.enabled ? NULL : "disabled");
	store_batch_release(&batch);
	buf_release(&text);
	meta_release(&m);
	return r;
}

/* ---- all of them ---- */

bool control_is_early(struct fs *fs, struct bucket *b, uint64_t node, int64_t closed)
{
	bool early;

	if (node != NODE_INFO || !b->number)
		return false;
	bucket_lock(b);
	early = !b->dead && version_is_closing(fs, b, 0, closed);
	bucket_unlock(b);
	return early;
}

int control_text(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct buf *out)
{
	struct meta m;
	int r = bucket_check_enter(fs, b, who, "read the control folder");

	if (!r && node != NODE_ERRORS)
		r = bucket_check(fs, b, who, PRIVILEGE_READ, "read the control folder");
	if (r)
		return r;
	switch (node) {
	case NODE_INFO:
		return info_text(fs, b, out);
	case NODE_ERRORS:
		return refusals_show(fs->refusals, b->number, who->uid, bucket_may(fs, b, who, PRIVILEGE_ADMIN), out);
	case NODE_META:
		r = read_meta(fs, b, &m);
		if (!r)
			r = show_meta(&m, out);
		meta_release(&m);
		return r;
	case NODE_SCHEMA:
		return stored(fs, b, 'S', out);
	default:
		return kept_text(fs, b, node, out);
	}
}

int control_check_write(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node)
{
	if (node == NODE_SCHEMA && transaction_check_setting(b, NULL))
		return BUCKET_NOT_PERMITTED;
	if (node == NODE_SCHEMA)
		return bucket_check(fs, b, who, PRIVILEGE_ADMIN, "change the schema");
	if (node != NODE_META)
		return BUCKET_NOT_PERMITTED;
	/* The one way to enable a bucket again: who may disable it may. */
	if (bucket_may(fs, b, who, PRIVILEGE_EDIT))
		return 0;
	return bucket_check(fs, b, who, PRIVILEGE_EDIT, "change the metadata");
}

static int is_complete(struct slice text, struct reason *why)
{
	struct json_tree tree = {0};
	int r = json_tree_parse(&tree, text, why);

	json_tree_release(&tree);
	return r;
}

int control_judge(struct fs *fs, struct bucket *b, uint64_t node, struct slice text, struct reason *why)
{
	struct text *data = NULL;
	struct meta m;
	int r;

	if (node == NODE_META) {
		r = read_meta(fs, b, &m);
		if (!r)
			r = patch_meta(&m, text, why);
		meta_release(&m);
		return r;
	}
	r = json_text_state(text, why);
	if (!r)
		r = is_complete(text, why);
	if (!r)
		r = data_text(fs, b, &data);
	if (!r)
		r = judge_schema(b, text, data, NULL, why);
	data_text_put(data);
	return r;
}

int control_write(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct slice text,
		  struct reason *why)
{
	int r = control_check_write(fs, b, who, node);

	if (r)
		return r;
	if (node == NODE_META)
		return write_meta(fs, b, who, text, why);
	r = json_text_state(text, why);
	if (!r)
		r = set_schema(fs, b, &text, why);
	if (!r)
		fs_audit(who, "schema", b->name, "set");
	return r;
}

/* What an older version kept. */
static int remove_previous(struct fs *fs, struct bucket *b)
{
	struct store_batch batch = {0};
	struct key_buf key = key_previous();
	struct buf text = {0};
	struct head head;
	int r = stored(fs, b, 'Q', &text);

	buf_release(&text);
	if (r)
		return r;
	bucket_lock(b);
	head = b->head;
	store_batch_delete(&batch, STORE_META, key_slice(&key));
	r = bucket_commit(fs, b, &head, &batch);
	bucket_unlock(b);
	store_batch_release(&batch);
	return r;
}

static int remove_kept(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node)
{
	struct history_entry entry;
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "remove a kept document");

	if (!r)
		r = find_kept(fs, b, node, &entry);
	if (r == BUCKET_ABSENT && node == NODE_PREVIOUS)
		return remove_previous(fs, b);
	return r ? r : history_remove(fs, b, who, entry.revision);
}

int control_remove(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node)
{
	struct buf text = {0};
	int r;

	if (is_kept(node))
		return remove_kept(fs, b, who, node);
	if (node != NODE_SCHEMA)
		return BUCKET_NOT_PERMITTED;
	r = bucket_check(fs, b, who, PRIVILEGE_ADMIN, "remove the schema");
	if (!r)
		r = stored(fs, b, 'S', &text);
	buf_release(&text);
	if (!r)
		r = set_schema(fs, b, NULL, NULL);
	if (!r)
		fs_audit(who, "schema", b->name, "removed");
	return r;
}
