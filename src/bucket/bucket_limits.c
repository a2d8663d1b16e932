/* A bucket's own limits, in the place of the mount's. */
#include "bucket/bucket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The mount's limits with a bucket's own in their place. */
static bool apply_limits(const struct fs *fs, const struct own_limits *own, struct limits *out, struct reason *why)
{
	*out = fs->options.limits;
	for (int i = 0; i < limits_own_count; i++)
		if (own->text[i] && limits_set(out, slice_str(limits_own_name[i]), own->text[i], why))
			return false;
	return true;
}

/* To who looks without the lock. */
static void show_limits(struct bucket *b)
{
	__atomic_store_n(&b->max_data_size, b->limits.max_data_size, __ATOMIC_RELAXED);
	__atomic_store_n(&b->max_file_size, b->limits.max_file_size, __ATOMIC_RELAXED);
	__atomic_store_n(&b->max_total_size, b->limits.max_total_size, __ATOMIC_RELAXED);
}

int bucket_limits_load(struct fs *fs, struct bucket *b)
{
	if (!apply_limits(fs, &b->own_limits, &b->limits, NULL))
		return -EIO;
	show_limits(b);
	return 0;
}

int bucket_limit_get(struct fs *fs, struct bucket *b, const struct caller *who, int which, struct buf *out)
{
	int r = bucket_check(fs, b, who, PRIVILEGE_READ, "see a limit");

	if (r)
		return r;
	bucket_lock(b);
	r = b->own_limits.text[which] ? buf_add_string(out, b->own_limits.text[which]) : BUCKET_NO_ATTRIBUTE;
	bucket_unlock(b);
	return r;
}

static int limit_set_locked(struct fs *fs, struct bucket *b, int which, char **text, struct reason *why)
{
	struct store_batch nothing = {0};
	struct head head = b->head;
	struct own_limits own = b->own_limits;
	struct limits limits;
	char *old = own.text[which];
	int r = 0;

	if (!*text && !old)
		return BUCKET_NO_ATTRIBUTE;
	own.text[which] = *text;
	if (!apply_limits(fs, &own, &limits, why))
		return BUCKET_INVALID;
	b->own_limits = own;
	r = bucket_commit(fs, b, &head, &nothing);
	if (r) {
		b->own_limits.text[which] = old;
		return r;
	}
	b->limits = limits;
	show_limits(b);
	*text = old;
	return 0;
}

int bucket_limit_set(struct fs *fs, struct bucket *b, const struct caller *who, int which, const struct slice *text,
		     struct reason *why)
{
	char *copy = NULL, detail[256];
	int r = bucket_check(fs, b, who, PRIVILEGE_ADMIN, "change a limit");

	if (!r && text) {
		copy = strndup(text->at ? text->at : "", text->len);
		r = copy ? 0 : -ENOMEM;
	}
	if (r)
		return r;
	snprintf(detail, sizeof(detail), "%s=%.200s", limits_own_name[which], copy ? copy : "inherited");
	bucket_lock(b);
	r = limit_set_locked(fs, b, which, &copy, why);
	bucket_unlock(b);
	free(copy);
	if (!r)
		fs_audit(who, "limit", b->name, detail);
	return r;
}
