#include "bucket/scoped.h"

#include <errno.h>
#include <stdio.h>

#include "bucket/control.h"
#include "bucket/data.h"
#include "util/log.h"

static bool is_plain(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static size_t add_part(char *out, size_t at, size_t max, struct slice part)
{
	const unsigned char *bytes = part.at;

	for (size_t i = 0; i < part.len && at + 4 < max; i++)
		at += (size_t)snprintf(out + at, max - at, is_plain(bytes[i]) ? "%c" : "%%%02x", bytes[i]);
	return at;
}

void scoped_id(char out[name_max + 1], const struct slice *parts, size_t count)
{
	char full[4096];
	size_t at = 0, head = 0;

	for (size_t i = 0; i < count; i++) {
		if (i)
			full[at++] = '.';
		if (i + 1 == count)
			head = at;
		at = add_part(full, at, sizeof(full) - 2, parts[i]);
	}
	full[at] = 0;
	if (at <= scoped_id_plain_max) {
		memcpy(out, full, at + 1);
		return;
	}
	/* A part never begins with '%' and two digits that are not a byte's, so "%h" cannot be met. */
	if (head > 100)
		head = 100;
	snprintf(out, name_max + 1, "%.*s%%h%016llx%016llx", (int)head, full,
		 (unsigned long long)slice_hash(slice_of(full, at), 0),
		 (unsigned long long)slice_hash(slice_of(full, at), 0x9e3779b97f4a7c15ULL));
}

bool scoped_is_id(struct slice name)
{
	const char *at = name.at;

	if (name.len == 0 || name.len > name_max || !memchr(at, '.', name.len))
		return false;
	if (!slice_starts_with(name, slice_str("device.")) && !slice_starts_with(name, slice_str("job.")))
		return false;
	for (size_t i = 0; i < name.len; i++)
		if (!is_plain((unsigned char)at[i]) && at[i] != '.' && at[i] != '%')
			return false;
	return true;
}

int scoped_device_name(struct fs *fs, const char *given, char out[256])
{
	struct key_buf key = {.bytes = {'D'}, .len = 1};
	struct store_batch batch = {0};
	struct buf kept = {0};
	struct head head;
	int r = 0;

	if (given && *given) {
		snprintf(out, 256, "%s", given);
		return 0;
	}
	r = store_get(fs->store, 0, STORE_META, key_slice(&key), &kept);
	if (!r && (!kept.len || kept.len > 255 || memchr(kept.data, 0, kept.len))) {
		bucket_damaged_name(fs->root, "device", buf_slice(&kept), "it is no name, so it goes by the host's");
		snprintf(out, 256, "%s", *fs->options.server ? fs->options.server : "localhost");
	} else if (!r) {
		snprintf(out, 256, "%.*s", (int)kept.len, (const char *)kept.data);
	} else if (r == STORE_ABSENT) {
		snprintf(out, 256, "%s", *fs->options.server ? fs->options.server : "localhost");
		store_batch_put(&batch, STORE_META, key_slice(&key), slice_str(out));
		bucket_lock(fs->root);
		head = fs->root->head;
		r = bucket_commit(fs, fs->root, &head, &batch);
		bucket_unlock(fs->root);
		store_batch_release(&batch);
	}
	buf_release(&kept);
	return r;
}

/* An existing one is as it is; a new one gets its lists and schema before anybody can have written it. */
static int make(struct fs *fs, const struct caller *owner, const char *id, const struct acl_list *read,
		const struct acl_list *edit, const struct slice *schema, struct reason *why)
{
	struct bucket *b;
	int r = bucket_lookup(fs, slice_str(id), &b);

	if (r != BUCKET_ABSENT) {
		if (!r)
			bucket_put(fs, b);
		return r;
	}
	r = bucket_make(fs, owner, slice_str(id), read, edit, &b);
	if (r)
		return r == BUCKET_EXISTS ? 0 : r;
	if (schema)
		r = control_write(fs, b, owner, NODE_SCHEMA, *schema, why);
	bucket_put(fs, b);
	return r;
}

int scoped_device(struct fs *fs, const char *access, char id[name_max + 1], struct reason *why)
{
	struct slice parts[] = {slice_str("device"), slice_str(fs->options.device)};
	struct caller owner = {.uid = fs->options.mount_uid};
	struct acl_list list = {0};
	int r = 0;

	scoped_id(id, parts, 2);
	if (access)
		r = acl_list_parse(&list, slice_str(access), fs->options.names, why);
	if (!r)
		r = make(fs, &owner, id, access ? &list : NULL, access ? &list : NULL, NULL, why);
	acl_list_release(&list);
	return r;
}

int scoped_job(struct fs *fs, const struct caller *who, struct slice job, const struct slice *schema,
	       char id[name_max + 1], struct reason *why)
{
	char user[16];
	struct slice parts[] = {slice_str("job"), slice_str(fs->options.device), slice_of(NULL, 0), job};
	struct principal owner = {PRINCIPAL_OWNER, 0};
	struct acl_list theirs = {true, 1, &owner};

	snprintf(user, sizeof(user), "u%u", who->uid);
	parts[2] = slice_str(user);
	scoped_id(id, parts, 4);
	return make(fs, who, id, &theirs, &theirs, schema, why);
}

struct pruning {
	struct fs *fs;
	char name[name_max + 1];
	uint32_t number; /* of the one that was looked at last */
	bool found;
};

static int find_unwritten(void *context, uint32_t number, struct slice name)
{
	struct pruning *p = context;
	struct bucket *b;
	int r;

	p->number = number;
	if (!scoped_is_id(name))
		return 0;
	r = bucket_get(p->fs, number, &b);
	/* One that is damaged was named in the log, and stays. */
	if (r)
		return r == BUCKET_GONE || r == -EIO ? 0 : r;
	p->found = b->head.data_keys == 0 && b->head.files == 0 && b->head.data_modified == b->head.created;
	bucket_put(p->fs, b);
	if (p->found)
		snprintf(p->name, sizeof(p->name), "%.*s", (int)name.len, (const char *)name.at);
	return p->found;
}

int scoped_prune(struct fs *fs)
{
	struct caller daemon = {.uid = fs->options.mount_uid};
	struct pruning p = {.fs = fs};
	int r;

	do {
		p.found = false;
		r = bucket_list(fs, p.number, find_unwritten, &p);
		if (r < 0 || !p.found)
			return r < 0 ? r : 0;
		r = bucket_remove_any(fs, &daemon, slice_str(p.name));
		/* It may be damaged, and keeps nobody from the others. */
		if (r && r != -ENOMEM)
			log_warning("bucket %s, which nobody has written to, could not be removed: error %d", p.name, r);
	} while (r != -ENOMEM);
	return r;
}
