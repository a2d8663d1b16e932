#include "bucket/fs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "bucket/bucket.h"
#include "bucket/fresh.h"
#include "bucket/gone.h"
#include "bucket/reading.h"
#include "bucket/redirect.h"
#include "bucket/refusal.h"
#include "bucket/scratch.h"
#include "util/log.h"

/* A bucket that still has its name is in use, whatever is noted. */
static int is_in_use(struct fs *fs, uint32_t number, bool *in_use)
{
	struct key_buf key = key_bucket_number(number);
	struct buf origin = {0};
	int r = store_get(fs->store, 0, STORE_META, key_slice(&key), &origin);

	buf_release(&origin);
	*in_use = r == 0;
	return r == STORE_ABSENT ? 0 : r;
}

/* The first note that comes after *last, which becomes this one's number. STORE_END. */
static int next_left_over(struct fs *fs, uint32_t *last)
{
	struct key_buf from = key_bucket_erased(*last + 1);
	struct store_cursor *cursor;
	struct slice key, value;
	uint32_t number = 0;
	int r = store_cursor_open(fs->store, 0, STORE_META, slice_str("G"), key_slice(&from), &cursor);

	if (r)
		return r;
	/* One that is not a number would be the root's. */
	while (!number && !(r = store_cursor_next(cursor, &key, &value)))
		if (!(number = key_bucket_number_of(key)))
			bucket_damaged(fs->root, "deleted bucket", 0, "its number is none");
	store_cursor_close(cursor);
	*last = number;
	return r;
}

static int erase_left_over(struct fs *fs)
{
	uint32_t number = 0;
	int r = 0;

	while (!r && number != UINT32_MAX && !(r = next_left_over(fs, &number))) {
		bool in_use;

		r = is_in_use(fs, number, &in_use);
		if (!r && in_use)
			bucket_damaged(fs->root, "deleted bucket", number, "the bucket is there");
		else if (!r)
			r = bucket_erase(fs, number);
	}
	return r == STORE_END ? 0 : r;
}

int fs_open(struct fs **out, struct store *store, const struct fs_options *options)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	pthread_mutexattr_t recursive;
	int r;

	if (!fs)
		return -ENOMEM;
	fs->store = store;
	fs->options = *options;
	fs->opened = fs_moment(fs);
	fs->reserve_permille = options->limits.reserve_permille;
	pthread_mutex_init(&fs->lock, NULL);
	pthread_rwlock_init(&fs->acl_lock, NULL);
	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&fs->recovering, &recursive);
	pthread_mutexattr_destroy(&recursive);
	fs->lost = calloc(redirect_lost_max, sizeof(*fs->lost));
	r = fs->lost ? table_init(&fs->buckets) : -ENOMEM;
	if (!r)
		r = table_init(&fs->files);
	if (!r)
		r = budget_new(&fs->budget, options->memory_max, options->files_max);
	if (!r)
		r = refusals_new(&fs->refusals);
	if (!r)
		r = readings_new(&fs->readings);
	if (!r)
		r = fresh_new(&fs->fresh);
	if (!r)
		r = gone_new(&fs->gone);
	if (!r)
		r = bucket_load(fs, 0, &fs->root);
	if (!r) {
		fs->root->refs = 1;
		r = erase_left_over(fs);
	}
	if (r)
		fs_close(fs);
	else
		*out = fs;
	return r;
}

void fs_close(struct fs *fs)
{
	struct table_node *node;

	if (!fs)
		return;
	scratch_settle_strays(fs, true);
	file_end_again(fs, true);
	redirect_drop_all(fs);
	while (fs->buckets.slots && (node = table_any(&fs->buckets))) {
		struct bucket *b = container_of(node, struct bucket, by_number);

		b->refs++;
		scratch_drop_all(b);
		b->refs--;
		table_remove(&fs->buckets, node);
		bucket_free(fs, b);
	}
	bucket_free(fs, fs->root);
	table_release(&fs->buckets);
	table_release(&fs->files);
	buf_release(&fs->unsettled);
	buf_release(&fs->overdue);
	buf_release(&fs->strays);
	refusals_free(fs->refusals);
	readings_free(fs->readings);
	fresh_free(fs->fresh);
	gone_free(fs->gone);
	pthread_mutex_destroy(&fs->recovering);
	pthread_rwlock_destroy(&fs->acl_lock);
	pthread_mutex_destroy(&fs->lock);
	budget_free(fs->budget);
	free(fs->lost);
	free(fs);
}

static bool may_read(struct fs *fs, uint32_t bucket, const struct caller *who)
{
	struct bucket *b;
	bool may;

	if (bucket_get(fs, bucket, &b))
		return false;
	may = bucket_may(fs, b, who, PRIVILEGE_READ);
	bucket_put(fs, b);
	return may;
}

void fs_refused(struct fs *fs, uint32_t bucket, const struct caller *who, const char *path, const char *error,
		const struct reason *why)
{
	struct refusal refusal = {fs_now(fs), bucket, who->uid, who->pid, "", "", error, *why};

	if (bucket && !why->own && !may_read(fs, bucket, who))
		reason_set(&refusal.why, "the bucket refuses it; whoever may not read the bucket is told no more");

	if (who->command)
		who->command(who, refusal.command);
	snprintf(refusal.path, sizeof(refusal.path), "%s", path);
	refusals_add(fs->refusals, &refusal);
}

void fs_refused_and_log(struct fs *fs, uint32_t bucket, const struct caller *who, const char *path, const char *error,
			const struct reason *why)
{
	fs_refused(fs, bucket, who, path, error, why);
	log_limited(who->uid, LOG_LEVEL_INFO, "refused: uid=%u pid=%d path=%s %s: %s", who->uid, who->pid, path, error, why->text);
}

void fs_audit(const struct caller *who, const char *action, struct slice bucket, const char *detail)
{
	log_limited(who->uid, LOG_LEVEL_INFO, "audit: %s: uid=%u gid=%u pid=%d bucket=%.*s%s%s", action, who->uid,
		    who->gid, who->pid, bucket.len ? (int)bucket.len : 1, bucket.len ? (const char *)bucket.at : "/",
		    detail ? " " : "", detail ? detail : "");
}

void fs_limits(struct fs *fs, struct limits *out)
{
	pthread_mutex_lock(&fs->lock);
	*out = fs->options.limits;
	pthread_mutex_unlock(&fs->lock);
}

static int add_number(void *context, struct table_node *node)
{
	const struct bucket *b = container_of(node, struct bucket, by_number);

	return buf_add(context, &b->number, sizeof(b->number));
}

/* One that is loaded from now on has them already. */
void fs_set_limits(struct fs *fs, const struct limits *limits)
{
	struct buf numbers = {0};
	struct bucket *b;
	uint32_t number;

	pthread_mutex_lock(&fs->lock);
	fs->options.limits = *limits;
	__atomic_store_n(&fs->reserve_permille, limits->reserve_permille, __ATOMIC_RELAXED);
	fs->space_checked = 0;
	if (table_each(&fs->buckets, add_number, &numbers))
		log_warning("the new limits count for some buckets after the next start only: there is no memory");
	pthread_mutex_unlock(&fs->lock);
	for (size_t at = 0; at < numbers.len; at += sizeof(number)) {
		memcpy(&number, numbers.data + at, sizeof(number));
		if (bucket_get(fs, number, &b))
			continue;
		bucket_lock(b);
		bucket_limits_load(fs, b);
		bucket_unlock(b);
		bucket_put(fs, b);
	}
	buf_release(&numbers);
}

/* BUCKET_NO_SPACE; -errno. `frees_more`: what was removed is not off the disk yet. */
static int take_space(struct fs *fs, uint64_t bytes, bool *frees_more, struct reason *why)
{
	struct store_usage usage = {0};
	int64_t now = fs_moment(fs);
	int r = 0;

	pthread_mutex_lock(&fs->lock);
	if (!fs->space_checked || now - fs->space_checked > 1000000000 || fs->space_left < bytes) {
		r = store_usage(fs->store, &usage);
		if (!r) {
			uint64_t reserve = usage.total_bytes / 1000 * fs->options.limits.reserve_permille;

			fs->space_left = usage.available_bytes > reserve ? usage.available_bytes - reserve : 0;
			fs->space_checked = now;
		}
	}
	if (!r && fs->space_left < bytes) {
		reason_set(why, "less than %u.%u%% of the disk is free, which is kept for data.json",
			   fs->options.limits.reserve_permille / 10, fs->options.limits.reserve_permille % 10);
		r = BUCKET_NO_SPACE;
	} else if (!r) {
		fs->space_left -= bytes;
	}
	pthread_mutex_unlock(&fs->lock);
	*frees_more = usage.frees_more;
	return r;
}

int fs_check_space(struct fs *fs, uint64_t bytes, struct reason *why)
{
	static const struct timespec moment = {.tv_nsec = 5000000};
	enum { moments = 200 };
	bool frees_more;
	int r;

	if (__atomic_load_n(&fs->reserve_permille, __ATOMIC_RELAXED) == 0)
		return 0;
	r = take_space(fs, bytes, &frees_more, why);
	/* A user that has just removed a large file has made room, as on any filesystem. */
	for (int i = 0; r == BUCKET_NO_SPACE && frees_more && i < moments; i++) {
		nanosleep(&moment, NULL);
		r = take_space(fs, bytes, &frees_more, why);
	}
	if (!r && why)
		why->text[0] = 0;
	return r;
}
