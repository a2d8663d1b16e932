#include "fuse/settler.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "bucket/file.h"
#include "bucket/settle.h"
#include "util/clock.h"

/* Long enough that a temporary file is gone by then, short enough that little is lost. */
enum { settle_seconds = 2 };
/* A commit without fsync is on the disk after so long, and the second until the thread looks, and the time that the disk takes. */
enum { sync_seconds = 3 };

struct settler {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool leaving;
	int64_t sync_at;         /* not again before this moment */
	uint64_t synced_commits; /* as many commits are on the disk */
	struct fs *fs;
	void (*each_second)(void *context);
	void *context;
};

static bool wait_second(struct settler *s)
{
	int64_t until = clock_monotonic() + 1000000000;
	bool leaving;

	pthread_mutex_lock(&s->lock);
	while (!s->leaving && clock_wait(&s->wake, &s->lock, until))
		;
	leaving = s->leaving;
	pthread_mutex_unlock(&s->lock);
	return !leaving;
}

/* Costs nothing where nothing was committed. */
static void sync_if_due(struct settler *s)
{
	struct store_statistics now;

	if (clock_monotonic() < s->sync_at || store_statistics(s->fs->store, &now) || now.commits == s->synced_commits)
		return;
	/* If the disk refuses, the store says so, and what was committed waits for the next time. */
	if (store_sync(s->fs->store) == 0)
		s->synced_commits = now.commits;
	s->sync_at = clock_monotonic() + (int64_t)sync_seconds * 1000000000;
}

static void *serve(void *argument)
{
	struct settler *s = argument;

	while (wait_second(s)) {
		s->each_second(s->context);
		file_end_again(s->fs, false);
		/* First, for a large content takes the disk's time. */
		sync_if_due(s);
		settle_due(s->fs, fs_moment(s->fs) - (int64_t)settle_seconds * 1000000000);
	}
	settle_due(s->fs, INT64_MAX);
	return NULL;
}

int settler_new(struct settler **out, struct fs *fs, void (*each_second)(void *context), void *context)
{
	struct settler *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->fs = fs;
	s->each_second = each_second;
	s->context = context;
	pthread_mutex_init(&s->lock, NULL);
	clock_condition_init(&s->wake);
	r = pthread_create(&s->thread, NULL, serve, s);
	if (r) {
		free(s);
		return -r;
	}
	pthread_setname_np(s->thread, "settle");
	*out = s;
	return 0;
}

void settler_free(struct settler *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->leaving = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->wake);
	free(s);
}
