/* A bucket's own limits, in the place of the mount's. */
#include "bucket/bucket.h"
#include "bucket/transaction.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The mount's limits with a bucket's own in their place. The mount's are ceilings. */
static bool apply_limits(struct fs *fs, const struct own_limits *own, struct limits *out, struct reason *why)
{
	struct limits mount;

	fs_limits(fs, &mount);
	*out = mount;
	for (int i = 0; i < limits_own_count; i++) {
		if (own->text[i] && limits_set(out, slice_str(limits_own_name[i]), limits_own_text(own->text[i]), why))
			return false;
		if (own->text[i] && *own->text[i] != limits_granted)
			limits_cap(out, &mount, i);
	}
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

/* As it was written, or what counts if the mount allows less by now. */
static int show_own(struct fs *fs, const struct bucket *b, int which, struct buf *out)
{
	struct limits mount, written;
	const char *text = b->own_limits.text[which];
	char counts[sizeof(written.accepted_file_types)];

	fs_limits(fs, &mount);
	written = mount;
	if (*text == limits_granted || limits_set(&written, slice_str(limits_own_name[which]), text, NULL) ||
	    !limits_exceed(&written, &mount, which))
		return buf_add_string(out, limits_own_text(text));
	limits_show(&b->limits, which, counts, sizeof(counts));
	return buf_add_string(out, counts);
}

int bucket_limit_get(struct fs *fs, struct bucket *b, const struct caller *who, int which, struct buf *out)
{
	int r = bucket_check(fs, b, who, PRIVILEGE_READ, "see a limit");

	if (r)
		return r;
	bucket_lock(b);
	r = b->own_limits.text[which] ? show_own(fs, b, which, out) : BUCKET_NO_ATTRIBUTE;
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

/* The text to be stored for a limit, malloc'd. */
static int make_text(struct fs *fs, const struct caller *who, int which, struct slice text, char **out,
		     struct reason *why)
{
	struct limits mount, wanted;
	char ceiling[sizeof(wanted.accepted_file_types)];
	bool above;
	char *copy = malloc(text.len + 2);

	if (!copy)
		return -ENOMEM;
	fs_limits(fs, &mount);
	wanted = mount;
	copy[0] = limits_granted;
	if (text.len)
		memcpy(copy + 1, text.at, text.len);
	copy[text.len + 1] = 0;
	/* Nobody writes the mark of a grant but this function: no limit begins with it. */
	if (copy[1] == limits_granted || limits_set(&wanted, slice_str(limits_own_name[which]), copy + 1, why)) {
		if (copy[1] == limits_granted)
			reason_set_own(why, "%s: a limit does not begin with %c", limits_own_name[which], limits_granted);
		free(copy);
		return BUCKET_INVALID;
	}
	above = limits_exceed(&wanted, &mount, which);
	if (above && !bucket_may(fs, fs->root, who, PRIVILEGE_ADMIN)) {
		limits_show(&mount, which, ceiling, sizeof(ceiling));
		reason_set(why, "%s of the mount is %.100s, and only its admins may let a bucket have more",
			   limits_own_name[which], ceiling);
		free(copy);
		return BUCKET_NOT_PERMITTED;
	}
	if (!above)
		memmove(copy, copy + 1, text.len + 1);
	*out = copy;
	return 0;
}

int bucket_limit_set(struct fs *fs, struct bucket *b, const struct caller *who, int which, const struct slice *text,
		     struct reason *why)
{
	char *copy = NULL, detail[256];
	int r = bucket_check(fs, b, who, PRIVILEGE_ADMIN, "change a limit");

	if (!r)
		r = transaction_check_setting(b, why);
	if (!r && text)
		r = make_text(fs, who, which, *text, &copy, why);
	if (r)
		return r;
	snprintf(detail, sizeof(detail), "%s=%.200s", limits_own_name[which], copy ? limits_own_text(copy) : "inherited");
	bucket_lock(b);
	r = limit_set_locked(fs, b, which, &copy, why);
	bucket_unlock(b);
	free(copy);
	if (!r)
		fs_audit(who, "limit", b->name, detail);
	return r;
}

void bucket_limits_inherit(struct bucket *b, const struct limits *from)
{
	b->limits = *from;
	show_limits(b);
}
