#include "bucket/info.h"

#include <errno.h>
#include <stdlib.h>

#include "bucket/document.h"
#include "bucket/tree.h"
#include "bucket/moment.h"

/* A snapshot's records: both cursors were opened under the bucket's lock. */
struct snapshot {
	struct head head;
	uint64_t revision;
	struct store_cursor *data, *nodes;
	struct buf unlisted;
};

static int take(struct fs *fs, struct bucket *b, struct snapshot *s)
{
	struct slice none = slice_of(NULL, 0);
	int r;

	*s = (struct snapshot){.revision = 0};
	bucket_lock(b);
	s->head = b->head;
	s->revision = b->revision;
	r = b->dead ? BUCKET_GONE : store_cursor_open(fs->store, b->number, STORE_DOC, none, none, &s->data);
	if (!r)
		r = store_cursor_open(fs->store, b->number, STORE_NODE, slice_str("C"), none, &s->nodes);
	if (!r)
		r = tree_unlisted(b, &s->unlisted);
	bucket_unlock(b);
	return r;
}

static int add_string(struct buf *out, const char *name, struct slice text)
{
	int r = buf_add_format(out, ",\n    \"%s\": ", name);

	return r ? r : json_quote(text, out);
}

static int add_moment(struct buf *out, const char *name, int64_t moment)
{
	int r = buf_add_format(out, ",\n    \"%s\": ", name);

	return r ? r : moment_add(out, moment);
}

static int add_user(struct fs *fs, struct buf *out, const char *name, uint32_t uid)
{
	char user[256];

	if (fs->options.names->user_of(uid, user, sizeof(user)))
		snprintf(user, sizeof(user), "%u", uid);
	return add_string(out, name, slice_str(user));
}

static int add_bucket(struct fs *fs, struct bucket *b, const struct snapshot *s, struct buf *out)
{
	struct buf meta = {0};
	int r = buf_add_string(out, "{\n  \"bucket\": {\n    \"id\": ");

	if (!r)
		r = json_quote(b->name, out);
	if (!r)
		r = control_meta_fields(fs, b, &meta);
	/* Indented by two more. */
	if (!r)
		r = buf_add_string(out, ",\n    ");
	for (size_t i = 2; !r && i < meta.len; i++) {
		r = buf_add_byte(out, meta.data[i]);
		if (!r && meta.data[i] == '\n')
			r = buf_add_string(out, "  ");
	}
	buf_release(&meta);
	if (!r)
		r = add_user(fs, out, "username", s->head.owner);
	if (!r)
		r = add_moment(out, "created", s->head.created);
	if (!r)
		r = add_moment(out, "modified", s->head.modified);
	return r ? r : buf_add_format(out, ",\n    \"revision\": %llu\n  }", (unsigned long long)s->revision);
}

static int add_data(const struct bucket *b, struct snapshot *s, struct buf *out)
{
	struct slice key, record;
	struct buf scratch = {0};
	bool first = true;
	int r = buf_add_string(out, ",\n  \"data\": {");

	while (!r && !(r = store_cursor_next(s->data, &key, &record))) {
		struct member_view m;

		r = bucket_key_result(b, key, document_decode(key, record, &scratch, &m));
		if (!r)
			r = buf_add_format(out, "%s\n    ", first ? "" : ",");
		if (!r)
			r = buf_add_slice(out, m.text);
		if (!r)
			r = buf_add_string(out, ": ");
		if (!r)
			r = buf_add_slice(out, m.value);
		first = false;
	}
	buf_release(&scratch);
	if (r != STORE_END)
		return r;
	return buf_add_string(out, first ? "}" : "\n  }");
}

/* ---- files: a record knows its folder by number, so the folders' names are kept while going through ---- */

struct entry {
	struct node node;
	size_t name, job, given, target; /* where they begin in `names`, … */
	size_t name_len, job_len, given_len;
};

struct entries {
	struct entry *all;
	size_t count, cap;
	struct buf names;
};

static int collect(const struct bucket *b, struct snapshot *s, struct entries *e)
{
	struct slice key, record;
	int r;

	while (!(r = store_cursor_next(s->nodes, &key, &record))) {
		struct node node = {.number = key_child_node_of(key), .parent = key_child_parent_of(key)};
		const char *fault = node_decode(&node, record);
		struct entry entry;

		if (fault)
			return bucket_damaged(b, "file", node.number, fault);
		entry = (struct entry){.node = node_without_names(&node), .name_len = node.name.len, .job_len = node.job.len,
				       .given_len = node.given.len};
		if (e->count == e->cap) {
			size_t cap = e->cap ? e->cap * 2 : 64;
			struct entry *grown = realloc(e->all, cap * sizeof(*grown));

			if (!grown)
				return -ENOMEM;
			e->all = grown;
			e->cap = cap;
		}
		entry.name = e->names.len;
		r = buf_add_slice(&e->names, node.name);
		entry.job = e->names.len;
		if (!r)
			r = buf_add_slice(&e->names, node.job);
		entry.given = e->names.len;
		if (!r)
			r = buf_add_slice(&e->names, node.given);
		entry.target = e->names.len;
		if (!r)
			r = buf_add_slice(&e->names, node.target);
		if (r)
			return r;
		e->all[e->count++] = entry;
	}
	return r == STORE_END ? 0 : r;
}

static int by_number(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return (x->node.number > y->node.number) - (x->node.number < y->node.number);
}

static struct slice name_of(const struct entries *e, const struct entry *entry)
{
	return slice_of(e->names.data + entry->name, entry->name_len);
}

static const struct entry *folder_of(const struct entries *e, const struct entry *entry)
{
	struct entry wanted = {.node = {.number = entry->node.parent}};
	const struct entry *folder = bsearch(&wanted, e->all, e->count, sizeof(*e->all), by_number);

	return folder && folder->node.kind == NODE_FOLDER ? folder : NULL;
}

/* Written from its end: an older version had no bound for how deep a folder may be. */
static int add_path(const struct bucket *b, const struct entries *e, const struct entry *entry, struct buf *out)
{
	size_t len = entry->name_len, steps = 0, at;
	int r;

	for (const struct entry *f = entry; f->node.parent != NODE_FILES; len += 1 + f->name_len) {
		f = folder_of(e, f);
		if (!f || ++steps > e->count)
			return bucket_damaged(b, "the folder of file", entry->node.number,
					      f ? "it is in a folder that is in it" : "there is no such folder");
	}
	at = out->len + len;
	r = buf_resize(out, at);
	for (const struct entry *f = entry; !r; f = folder_of(e, f)) {
		at -= f->name_len;
		memcpy(out->data + at, e->names.data + f->name, f->name_len);
		if (f->node.parent == NODE_FILES)
			break;
		out->data[--at] = '/';
	}
	return r;
}

static int add_file(struct fs *fs, struct bucket *b, const struct bucket_look *look, const struct entries *e, const struct entry *entry,
		    bool first, struct buf *out)
{
	struct buf path = {0};
	int r = buf_add_format(out, "%s\n    {\n    \"id\": %llu", first ? "" : ",", (unsigned long long)entry->node.number);

	if (!r)
		r = buf_add_slice(&path, b->name);
	if (!r)
		r = buf_add_string(&path, "/files/");
	if (!r)
		r = add_path(b, e, entry, &path);
	if (!r)
		r = add_string(out, "filename", name_of(e, entry));
	if (!r)
		r = add_string(out, "path", buf_slice(&path));
	/* As its maker spelled it. */
	if (!r)
		r = add_string(out, "name", entry->given_len ? slice_of(e->names.data + entry->given, entry->given_len) :
							       name_of(e, entry));
	if (!r && entry->node.kind == NODE_LINK)
		r = add_string(out, "link", slice_of(e->names.data + entry->target, entry->node.size));
	if (!r)
		r = buf_add_format(out, ",\n    \"mode\": \"%04o\"",
				   entry->node.kind == NODE_LINK ? 0777 : look->file_mode | entry->node.exec);
	if (!r)
		r = buf_add_format(out, ",\n    \"size\": %llu", (unsigned long long)entry->node.size);
	if (!r)
		r = add_moment(out, "date", entry->node.modified);
	if (!r)
		r = add_user(fs, out, "username", entry->node.uid);
	if (!r)
		r = add_string(out, "job", slice_of(e->names.data + entry->job, entry->job_len));
	if (!r)
		r = add_string(out, "server", slice_str(fs->options.server));
	buf_release(&path);
	return r ? r : buf_add_string(out, "\n    }");
}

static int add_files(struct fs *fs, struct bucket *b, struct snapshot *s, struct buf *out)
{
	struct bucket_look look = bucket_look(fs, b);
	struct entries e = {0};
	bool first = true;
	int r = collect(b, s, &e);

	if (!r && e.count)
		qsort(e.all, e.count, sizeof(*e.all), by_number);
	if (!r)
		r = buf_add_string(out, ",\n  \"files\": [");
	for (size_t i = 0; !r && i < e.count; i++) {
		if (e.all[i].node.kind == NODE_FOLDER || tree_is_unlisted(&s->unlisted, e.all[i].node.number))
			continue;
		r = add_file(fs, b, &look, &e, &e.all[i], first, out);
		first = false;
	}
	free(e.all);
	buf_release(&e.names);
	return r ? r : buf_add_string(out, first ? "]\n}\n" : "\n  ]\n}\n");
}

int info_text(struct fs *fs, struct bucket *b, struct buf *out)
{
	struct snapshot s;
	int r = take(fs, b, &s);

	if (!r)
		r = add_bucket(fs, b, &s, out);
	if (!r)
		r = add_data(b, &s, out);
	if (!r)
		r = add_files(fs, b, &s, out);
	buf_release(&s.unlisted);
	store_cursor_close(s.data);
	store_cursor_close(s.nodes);
	return r;
}
