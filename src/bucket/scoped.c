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

/* An existing one is as it is; a new one gets its lists and schema before anybody can have written it. `check` (or
 * NULL) says whether one more may be made. */
static uint64_t revision_of(struct bucket *b)
{
	uint64_t revision;

	bucket_lock(b);
	revision = b->revision;
	bucket_unlock(b);
	return revision;
}

static int make(struct fs *fs, const struct caller *owner, const char *id, const struct acl_list *lists,
		const struct slice *schema, int (*check)(struct fs *fs, const struct caller *owner, struct reason *why),
		struct reason *why)
{
	struct bucket *b;
	int r = bucket_lookup(fs, slice_str(id), &b);

	if (r == BUCKET_ABSENT) {
		r = check ? check(fs, owner, why) : 0;
		if (!r)
			r = bucket_make(fs, owner, slice_str(id), lists, lists, &b);
		if (r)
			return r == BUCKET_EXISTS ? 0 : r;
		if (schema) {
			uint64_t revision = revision_of(b);

			r = control_write(fs, b, owner, NODE_SCHEMA, *schema, why);
			if (!r)
				r = bucket_commit_untouched(fs, b, revision + 1);
			if (r) {
				bucket_put(fs, b);
				return r;
			}
		}
	}
	if (r)
		return r;
	__atomic_store_n(&b->resolved, fs_moment(fs), __ATOMIC_RELAXED);
	bucket_put(fs, b);
	return 0;
}

int scoped_device(struct fs *fs, const char *access, char id[name_max + 1], struct reason *why)
{
	struct slice parts[] = {slice_str("device"), slice_str(fs->options.device)};
	struct caller owner = {.uid = fs->options.mount_uid};
	struct acl_list list = {0};
	int r;

	scoped_id(id, parts, 2);
	/* It is for what all jobs of a host share, and that may be credentials: so nobody gets in whom nobody has named. */
	r = acl_list_parse(&list, slice_str(access ? access : "owner"), fs->options.names, why);
	if (!r)
		r = make(fs, &owner, id, &list, NULL, NULL, why);
	acl_list_release(&list);
	return r;
}

/* ---- those that nobody has used ---- */

static bool is_untouched(struct bucket *b)
{
	bool is;

	bucket_lock(b);
	is = b->head.untouched && !b->dead;
	bucket_unlock(b);
	return is;
}

static bool remove_if_untouched(struct fs *fs, struct bucket *b)
{
	struct caller daemon = {.uid = fs->options.mount_uid};
	int r = is_untouched(b) ? bucket_remove_untouched(fs, &daemon, b) : BUCKET_BUSY;

	/* It may be damaged, and must not keep the others from being removed. */
	if (r && r != BUCKET_BUSY)
		log_warning("bucket %.*s was never written to, and could not be removed: error %d", (int)b->name.len,
			    (const char *)b->name.at, r);
	return !r;
}

static int remove_untouched(struct fs *fs, uint32_t number)
{
	struct bucket *b;
	int r = bucket_get(fs, number, &b);

	/* A damaged one was named in the log, and stays. */
	if (r)
		return r == BUCKET_GONE || r == -EIO ? 0 : r;
	remove_if_untouched(fs, b);
	bucket_put(fs, b);
	return 0;
}

enum { prune_batch = 1024 };

struct candidates {
	uint32_t number[prune_batch];
	size_t count;
};

static int add_scoped(void *context, uint32_t number, struct slice name)
{
	struct candidates *c = context;

	if (scoped_is_id(name))
		c->number[c->count++] = number;
	return c->count == prune_batch;
}

int scoped_prune(struct fs *fs, bool (*go_on)(void *context), void *context)
{
	struct candidates c;
	uint32_t after = 0;
	int r;

	do {
		c.count = 0;
		r = bucket_list(fs, after, add_scoped, &c);
		for (size_t i = 0; r >= 0 && i < c.count; i++) {
			after = c.number[i];
			if (go_on && !go_on(context))
				return 0;
			r = remove_untouched(fs, after);
		}
	} while (r >= 0 && c.count == prune_batch);
	return r < 0 ? r : 0;
}

/* ---- @job ---- */

/* The beginning of all ids of a user's jobs. With a very long device it is cut, and others' ids may begin with it as
 * well. */
static size_t job_prefix(struct fs *fs, uid_t uid, char prefix[name_max + 1])
{
	enum { head_max = 100 };
	char full[4096], user[16];
	size_t at = 0;

	snprintf(user, sizeof(user), "u%u", uid);
	at = add_part(full, at, sizeof(full) - 2, slice_str("job"));
	full[at++] = '.';
	at = add_part(full, at, sizeof(full) - 2, slice_str(fs->options.device));
	full[at++] = '.';
	at = add_part(full, at, sizeof(full) - 2, slice_str(user));
	full[at++] = '.';
	if (at > head_max)
		at = head_max;
	memcpy(prefix, full, at);
	prefix[at] = 0;
	return at;
}

struct job_count {
	struct fs *fs;
	uid_t uid;
	bool prunes;
	unsigned count;
};

static int count_job(void *context, struct slice id)
{
	struct job_count *c = context;
	struct bucket *b;

	if (bucket_find(c->fs, id, &b))
		return 0;
	if (b->owner == c->uid && !(c->prunes && remove_if_untouched(c->fs, b)))
		c->count++;
	bucket_put(c->fs, b);
	return c->count >= scoped_jobs_max;
}

/* Counts the user's buckets; at the bound, those that were never written make room. */
static int check_count(struct fs *fs, const struct caller *owner, struct reason *why)
{
	char prefix[name_max + 1];
	struct slice begin = slice_of(prefix, job_prefix(fs, owner->uid, prefix));
	struct job_count c = {.fs = fs, .uid = owner->uid};
	int r = bucket_list_ids(fs, begin, count_job, &c);

	if (r <= 0)
		return r;
	c = (struct job_count){.fs = fs, .uid = owner->uid, .prunes = true};
	r = bucket_list_ids(fs, begin, count_job, &c);
	if (r <= 0)
		return r;
	reason_set(why, "you have buckets of %d jobs here, which is as many as there may be: remove some", scoped_jobs_max);
	return BUCKET_OVER_QUOTA;
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
	return make(fs, who, id, &theirs, schema, check_count, why);
}
