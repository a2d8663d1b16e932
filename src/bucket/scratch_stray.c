/* Files beside data.json by names that anybody might think of.
 *
 * `jq … data.json > new.json && mv new.json data.json` is what most people type. So a file may be made beside data.json by such a name,
 * and is scratch. But `cp report.json BUCKET/` looks the same, and means files/. So what nobody moves onto data.json, or removes, goes to
 * files/ a minute after its last close, or at the end of the mount, and its maker is told. */
#include <stdio.h>
#include <stdlib.h>

#include "bucket/scratch_internal.h"
#include "bucket/tree.h"
#include "bucket/version.h"
#include "util/log.h"

/* A person may look at the one before typing the other. */
static const int64_t wait_for_move = 60000000000;

struct stray {
	uint32_t bucket;
	uint64_t node;
};

bool scratch_may_stray(struct slice name)
{
	static const char *const ends[] = {".json", ".tmp", ".new"}, *const words[] = {"tmp", "temp", "new"};
	const char *at = name.at;

	if (!name.len || *at == '.')
		return false;
	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
		size_t len = strlen(ends[i]);

		if (name.len > len && memcmp(at + name.len - len, ends[i], len) == 0)
			return true;
	}
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (slice_equal(name, slice_str(words[i])))
			return true;
	return false;
}

/* If there is no memory for the list, it stays scratch until the end of the mount. */
void scratch_strays_add(struct fs *fs, struct scratch *s, const struct caller *who)
{
	struct stray stray = {s->b->number, s->node};

	s->stray = true;
	s->gid = who->gid;
	pthread_mutex_lock(&fs->lock);
	buf_add(&fs->strays, &stray, sizeof(stray));
	pthread_mutex_unlock(&fs->lock);
}

/* Under its name, or as a partial where something else has that. */
static int put(struct fs *fs, struct bucket *b, struct scratch *s, const struct caller *maker, struct slice *name, char partial[name_max])
{
	struct file_open *h;
	bool canonical;
	int r = tree_create(fs, b, maker, NODE_FILES, *name, 0644, TREE_WRITE | TREE_EXCLUSIVE, &h, &canonical, NULL);

	if (r == BUCKET_EXISTS) {
		*name = slice_of(partial, version_partial_name(*name, partial));
		r = tree_create(fs, b, maker, NODE_FILES, *name, 0644, TREE_WRITE | TREE_TRUNCATE, &h, &canonical, NULL);
	}
	if (r)
		return r;
	if (s->bytes.len)
		r = file_write(h, 0, false, buf_slice(&s->bytes), NULL);
	if (!r)
		r = file_flush(h, FILE_CLOSER_DONE);
	file_close(h, r != 0);
	return r;
}

static void tell(struct fs *fs, struct bucket *b, struct scratch *s, const struct caller *maker, struct slice name, int r)
{
	char path[2 * name_max + 2];
	struct reason why;

	snprintf(path, sizeof(path), "%.*s/%.*s", (int)b->name.len, (const char *)b->name.at, (int)s->name_len, s->name);
	if (r)
		reason_set_own(&why, "it was made beside data.json, nobody has moved it there, and it could not be put into files/: it is gone");
	else
		reason_set_own(&why, "it was made beside data.json, and nobody has moved it there: it is files/%.*s now", (int)name.len,
			       (const char *)name.at);
	log_limited(s->uid, LOG_LEVEL_WARNING, "bucket %.*s: %.*s: %s", (int)b->name.len, (const char *)b->name.at, (int)s->name_len, s->name,
		    why.text);
	fs_refused(fs, b->number, maker, path, "0", &why);
}

/* Whether it is nobody's by now: taken off the list, with the list's reference. *waits: it may still be moved. */
static struct scratch *take(struct fs *fs, struct bucket *b, uint64_t node, bool last, bool *waits)
{
	struct scratch *s;
	int64_t now = fs_moment(fs);

	*waits = false;
	bucket_lock(b);
	for (s = b->scratch; s && s->node != node; s = s->next)
		;
	if (s && !last) {
		s->idle = s->refs > 1 ? 0 : s->idle ? s->idle : now;
		*waits = !s->idle || now - s->idle < wait_for_move;
	}
	if (s && !*waits)
		scratch_unlink_from_list(b, s);
	bucket_unlock(b);
	return *waits ? NULL : s;
}

/* Onto the list. False: the bucket is gone. */
static bool put_back(struct bucket *b, struct scratch *s)
{
	bool dead;

	bucket_lock(b);
	dead = b->dead;
	if (!dead) {
		s->unlinked = false;
		s->idle = 0;
		s->next = b->scratch;
		__atomic_store_n(&b->scratch, s, __ATOMIC_RELAXED);
	}
	bucket_unlock(b);
	return !dead;
}

static bool settle_one(struct fs *fs, const struct stray *stray, bool last)
{
	struct bucket *b;
	struct scratch *s;
	bool waits;

	if (bucket_get(fs, stray->bucket, &b))
		return true;
	s = take(fs, b, stray->node, last, &waits);
	if (s) {
		struct caller maker = {.uid = s->uid, .gid = s->gid};
		struct slice name = slice_of(s->name, s->name_len);
		char partial[name_max];
		int r = put(fs, b, s, &maker, &name, partial);

		/* It is tried again, in case there is room by then, or its maker may edit again. */
		waits = r && !last && put_back(b, s);
		if (!waits) {
			tell(fs, b, s, &maker, name, r);
			bucket_name_lost(fs, b, NODE_BUCKET, slice_of(s->name, s->name_len));
			scratch_put(s);
		}
	}
	bucket_put(fs, b);
	return !waits;
}

void scratch_settle_strays(struct fs *fs, bool last)
{
	struct buf all, left = {0};
	struct stray stray;

	pthread_mutex_lock(&fs->lock);
	all = fs->strays;
	fs->strays = (struct buf){0};
	pthread_mutex_unlock(&fs->lock);
	for (size_t at = 0; at < all.len; at += sizeof(stray)) {
		memcpy(&stray, all.data + at, sizeof(stray));
		if (!settle_one(fs, &stray, last))
			buf_add(&left, &stray, sizeof(stray));
	}
	if (left.len) {
		pthread_mutex_lock(&fs->lock);
		buf_add_slice(&fs->strays, buf_slice(&left));
		pthread_mutex_unlock(&fs->lock);
	}
	buf_release(&left);
	buf_release(&all);
}
