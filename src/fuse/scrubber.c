#include "fuse/scrubber.h"

#include <errno.h>
#include <stdlib.h>

#include "bucket/bucket.h"
#include "bucket/scrub.h"
#include "util/background.h"
#include "util/clock.h"
#include "util/log.h"

/* Five MiB a second: a disk has something else to do. */
enum { pause_ns = 50000000 };
#define DAY_NS ((int64_t)86400 * 1000000000)

struct scrubber {
	struct background *thread;
	struct fs *fs;
	unsigned days;
	bool interrupted;
};

static bool go_on(void *context)
{
	return background_sleep(context, clock_monotonic() + pause_ns);
}

static int add_number(void *context, uint32_t number, struct slice name)
{
	(void)name;
	return buf_add(context, &number, sizeof(number));
}

static int scrub_number(struct scrubber *s, struct background *g, bool unsealed, uint32_t number)
{
	const struct settle_pace how = {go_on, g};
	struct bucket *b;
	int r = bucket_get(s->fs, number, &b);

	if (r)
		return r == BUCKET_GONE ? 0 : r;
	r = scrub_bucket(s->fs, b, unsealed, &how);
	bucket_put(s->fs, b);
	return r;
}

/* One pass over all buckets. It begins anywhere, so that a mount that never lives for a whole one gets to all of them. */
static void pass(struct scrubber *s, struct background *g, bool unsealed)
{
	uint64_t damaged = __atomic_load_n(&s->fs->scrub_damaged, __ATOMIC_RELAXED);
	struct buf numbers = {0};
	int r = bucket_list(s->fs, 0, add_number, &numbers);
	size_t count = numbers.len / sizeof(uint32_t), first = count ? (size_t)clock_monotonic() / 1000 % count : 0;

	for (size_t i = 0; r != -EINTR && i < count; i++) {
		uint32_t number;

		memcpy(&number, numbers.data + (first + i) % count * sizeof(number), sizeof(number));
		r = scrub_number(s, g, unsealed, number);
		if (r && r != -EINTR)
			log_warning("scrub: bucket number %u could not be read: error %d", number, r);
	}
	if (r != -EINTR && !unsealed)
		log_info("scrub: all contents were read, %llu of them are damaged",
			 (unsigned long long)(__atomic_load_n(&s->fs->scrub_damaged, __ATOMIC_RELAXED) - damaged));
	buf_release(&numbers);
}

/* The pauses make it slow. A low priority would keep a bucket's lock for long on a busy machine. */
static void scrub(struct background *g, void *context)
{
	struct scrubber *s = context;
	int64_t next = clock_monotonic();

	/* A file that was changed in place when the last daemon was killed has no checksums, and nobody remembers it. */
	if (s->interrupted && background_sleep(g, next))
		pass(s, g, true);
	while (s->days && background_sleep(g, next)) {
		next = clock_monotonic() + s->days * DAY_NS;
		pass(s, g, false);
	}
}

int scrubber_new(struct scrubber **out, struct fs *fs, unsigned days)
{
	struct scrubber *s = calloc(1, sizeof(*s));
	struct store_statistics statistics;
	int r;

	if (!s)
		return -ENOMEM;
	s->fs = fs;
	s->days = days;
	s->interrupted = !store_statistics(fs->store, &statistics) && statistics.interrupted;
	r = background_new(&s->thread, "scrub", scrub, s);
	if (r)
		free(s);
	else
		*out = s;
	return r;
}

void scrubber_free(struct scrubber *s)
{
	if (!s)
		return;
	background_free(s->thread);
	free(s);
}
