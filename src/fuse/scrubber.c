#include "fuse/scrubber.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "bucket/bucket.h"
#include "bucket/scrub.h"
#include "util/clock.h"
#include "util/log.h"

/* Five MiB a second: a disk has something else to do. */
enum { pause_ns = 50000000 };
#define DAY_NS ((int64_t)86400 * 1000000000)

struct scrubber {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool leaving;
	struct fs *fs;
	unsigned days;
};

/* False: it is time to leave. */
static bool wait_until(struct scrubber *s, int64_t until)
{
	bool leaving;

	pthread_mutex_lock(&s->lock);
	while (!s->leaving && clock_wait(&s->wake, &s->lock, until))
		;
	leaving = s->leaving;
	pthread_mutex_unlock(&s->lock);
	return !leaving;
}

static bool go_on(void *context)
{
	return wait_until(context, clock_monotonic() + pause_ns);
}

static int add_number(void *context, uint32_t number, struct slice name)
{
	(void)name;
	return buf_add(context, &number, sizeof(number));
}

static int scrub_number(struct scrubber *s, uint32_t number)
{
	const struct scrub how = {go_on, s};
	struct bucket *b;
	int r = bucket_get(s->fs, number, &b);

	if (r)
		return r == BUCKET_GONE ? 0 : r;
	r = scrub_bucket(s->fs, b, &how);
	bucket_put(s->fs, b);
	return r;
}

/* One pass over all buckets. It begins anywhere, so that a mount that never lives for a whole one gets to all of them. */
static void pass(struct scrubber *s)
{
	uint64_t damaged = __atomic_load_n(&s->fs->scrub_damaged, __ATOMIC_RELAXED);
	struct buf numbers = {0};
	int r = bucket_list(s->fs, 0, add_number, &numbers);
	size_t count = numbers.len / sizeof(uint32_t), first = count ? (size_t)clock_monotonic() / 1000 % count : 0;

	for (size_t i = 0; r != -EINTR && i < count; i++) {
		uint32_t number;

		memcpy(&number, numbers.data + (first + i) % count * sizeof(number), sizeof(number));
		r = scrub_number(s, number);
		if (r && r != -EINTR)
			log_warning("scrub: bucket number %u could not be read: error %d", number, r);
	}
	if (r != -EINTR)
		log_info("scrub: all contents were read, %llu of them are damaged",
			 (unsigned long long)(__atomic_load_n(&s->fs->scrub_damaged, __ATOMIC_RELAXED) - damaged));
	buf_release(&numbers);
}

static void *serve(void *argument)
{
	struct scrubber *s = argument;
	int64_t next = clock_monotonic();

	/* The pauses make it slow. A low priority would keep a bucket's lock for long on a busy machine. */
	while (wait_until(s, next)) {
		next = clock_monotonic() + s->days * DAY_NS;
		pass(s);
	}
	return NULL;
}

int scrubber_new(struct scrubber **out, struct fs *fs, unsigned days)
{
	struct scrubber *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->fs = fs;
	s->days = days;
	pthread_mutex_init(&s->lock, NULL);
	clock_condition_init(&s->wake);
	r = pthread_create(&s->thread, NULL, serve, s);
	if (r) {
		pthread_mutex_destroy(&s->lock);
		pthread_cond_destroy(&s->wake);
		free(s);
		return -r;
	}
	pthread_setname_np(s->thread, "scrub");
	*out = s;
	return 0;
}

void scrubber_free(struct scrubber *s)
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
