#include "fuse/settler.h"

#include <errno.h>
#include <stdlib.h>

#include "bucket/file.h"
#include "bucket/scratch.h"
#include "bucket/settle.h"
#include "util/background.h"
#include "util/clock.h"

/* Long enough that a temporary file is gone by then, short enough that little is lost. */
enum { settle_seconds = 2 };
/* A commit without fsync is on the disk after so long, and the second until the thread looks, and the time that the disk takes. */
enum { sync_seconds = 3 };
static const int64_t second = 1000000000;

struct settler {
	struct background *contents, *log;
	struct fs *fs;
	void (*each_second)(void *context);
	void *context;
};

static void settle_contents(struct background *g, void *context)
{
	struct settler *s = context;

	while (background_sleep(g, clock_monotonic() + second)) {
		s->each_second(s->context);
		file_end_again(s->fs, false);
		scratch_settle_strays(s->fs, false);
		settle_due(s->fs, fs_moment(s->fs) - settle_seconds * second);
	}
	settle_due(s->fs, INT64_MAX);
}

/* A thread of its own, for a large content takes the disk's time. Costs nothing where nothing was committed. */
static void sync_log(struct background *g, void *context)
{
	struct settler *s = context;
	struct store_statistics now;
	uint64_t synced_commits = 0;

	while (background_sleep(g, clock_monotonic() + second)) {
		if (store_statistics(s->fs->store, &now) || now.commits == synced_commits)
			continue;
		/* If the disk refuses, the store says so, and what was committed waits for the next time. */
		if (store_sync(s->fs->store) == 0)
			synced_commits = now.commits;
		background_sleep(g, clock_monotonic() + (sync_seconds - 1) * second);
	}
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
	r = background_new(&s->contents, "settle", settle_contents, s);
	if (!r)
		r = background_new(&s->log, "sync", sync_log, s);
	if (r)
		settler_free(s);
	else
		*out = s;
	return r;
}

void settler_free(struct settler *s)
{
	if (!s)
		return;
	background_free(s->log);
	background_free(s->contents);
	free(s);
}
