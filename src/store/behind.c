#include "store/behind.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#include "util/clock.h"
#include "util/container.h"
#include "util/mutex.h"

struct behind_content {
	struct store_content base;
	struct store_content *inner;
	struct behind *of;
	uint64_t end;     /* of what was written one after the other */
	bool is_seen;     /* its descriptor was asked for; atomic */
	bool has_room;    /* on its disk, for much more than is held back, as of the last look … */
	unsigned asked;   /* … that there are to be so many pieces after each */
	unsigned pending; /* pieces; of->lock, atomic for who looks without it */
	int error;        /* of the first that failed; likewise */
};

struct piece {
	struct behind_content *content;
	uint64_t at;
	size_t len, room; /* room: atomic for statistics */
	char *bytes;
};

struct behind {
	struct store base;
	struct store *inner;
	size_t least;

	pthread_t thread;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t wake, done;
	struct behind_content *content; /* whose pieces they are, if there are any or … */
	bool filling;                   /* … one is being filled */
	struct piece pieces[behind_pieces];
	unsigned first, count; /* the first one is being written; count is atomic for who looks without the lock */
	unsigned waiting;      /* for pieces to be done */
	bool sleeps, leaving;

	/* How long it takes, for some pieces of one content, from the first to the one after the last. */
	struct behind_pace pace;
	const struct behind_content *timed;
	unsigned timed_pieces;
	uint64_t timed_bytes;
	int64_t timed_since, timed_last;
	int64_t crowded; /* when two wrote at once */
};

static struct behind *self(struct store *base)
{
	return container_of(base, struct behind, base);
}

static struct behind_content *content(struct store_content *base)
{
	return container_of(base, struct behind_content, base);
}

/* ---- the thread ---- */

void behind_judge(struct behind_pace *p, int64_t cost)
{
	if (p->windows < behind_compare) {
		p->cost[p->at_once] += cost;
		p->at_once = !p->at_once;
	}
	p->windows++;
	/* Unless it is clearly faster, one processor will do. */
	if (p->windows == behind_compare)
		p->at_once = p->cost[false] > p->cost[true] - p->cost[true] / 16;
	if (p->windows == behind_compare + behind_stay)
		*p = (struct behind_pace){.at_once = p->at_once};
}

/* With the lock held, but for the writing. */
static void write_first(struct behind *s)
{
	const struct piece *p = &s->pieces[s->first];
	struct behind_content *c = p->content;
	int r = c->error;

	/* After one that failed no other is written: what is there ends with the last good one. */
	if (!r) {
		pthread_mutex_unlock(&s->lock);
		r = store_content_write(c->inner, p->at, p->bytes, p->len);
		pthread_mutex_lock(&s->lock);
		__atomic_store_n(&c->error, r, __ATOMIC_RELAXED);
	}
	s->first = (s->first + 1) % behind_pieces;
	__atomic_store_n(&s->count, s->count - 1, __ATOMIC_RELAXED);
	__atomic_store_n(&c->pending, c->pending - 1, __ATOMIC_RELEASE);
	/* Who waits for room gets some, so that it need not be woken for each piece. */
	if (s->waiting && s->count <= behind_pieces / 2)
		pthread_cond_broadcast(&s->done);
}

/* The next one usually comes at once, and who brings it should not have to wake anybody. With the lock held. */
static void wait_for_piece(struct behind *s)
{
	bool comes;

	pthread_mutex_unlock(&s->lock);
	comes = mutex_look_for(&s->count);
	pthread_mutex_lock(&s->lock);
	if (comes || s->count || s->leaving)
		return;
	s->sleeps = true;
	pthread_cond_wait(&s->wake, &s->lock);
	s->sleeps = false;
}

static void *serve(void *argument)
{
	struct behind *s = argument;

	pthread_mutex_lock(&s->lock);
	while (s->count || !s->leaving) {
		if (s->count)
			write_first(s);
		else
			wait_for_piece(s);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* With the lock held. */
static void wait_until(struct behind *s, const unsigned *count, unsigned at_most)
{
	s->waiting++;
	while (*count > at_most)
		pthread_cond_wait(&s->done, &s->lock);
	s->waiting--;
}

/* ---- writing ---- */

/* Waits until all is written, and says what has failed: from then on always. */
static int drain(struct behind_content *c)
{
	struct behind *s = c->of;
	int r;

	if (!__atomic_load_n(&c->pending, __ATOMIC_ACQUIRE) && !__atomic_load_n(&c->error, __ATOMIC_RELAXED))
		return 0;
	pthread_mutex_lock(&s->lock);
	wait_until(s, &c->pending, 0);
	r = c->error;
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* A piece has come. With the lock held. */
static void time_piece(struct behind *s, const struct behind_content *c, size_t len, int64_t now)
{
	if (s->timed == c && s->timed_pieces == behind_settle + behind_look) {
		behind_judge(&s->pace, (now - s->timed_since) * (1 << 20) / (int64_t)s->timed_bytes);
		s->timed = NULL;
	}
	/* A writer that had something else to do says nothing. */
	if (s->timed != c || now - s->timed_last > behind_gap) {
		s->timed = c;
		s->timed_pieces = 0;
	}
	s->timed_last = now;
	/* The first ones find what the other way has left. */
	if (s->timed_pieces == behind_settle) {
		s->timed_since = now;
		s->timed_bytes = 0;
	}
	s->timed_pieces++;
	s->timed_bytes += len;
}

/* A place for the content's next piece, if it is to be written behind. */
static struct piece *claim(struct behind *s, struct behind_content *c, size_t len)
{
	struct piece *p = NULL;
	int64_t now = clock_monotonic();

	pthread_mutex_lock(&s->lock);
	/* Two who write have two processors already. */
	if (s->content != c && (s->count || s->filling))
		s->crowded = now;
	if (now - s->crowded < behind_calm)
		s->timed = NULL;
	else
		time_piece(s, c, len, now);
	if (s->timed && !s->pace.at_once) {
		s->content = c;
		s->filling = true;
		if (s->count == behind_pieces)
			wait_until(s, &s->count, behind_pieces / 2);
		p = &s->pieces[(s->first + s->count) % behind_pieces];
	}
	pthread_mutex_unlock(&s->lock);
	return p;
}

/* What has become of the place. */
static void fill(struct behind *s, struct piece *p, bool filled)
{
	pthread_mutex_lock(&s->lock);
	s->filling = false;
	if (filled) {
		__atomic_store_n(&s->count, s->count + 1, __ATOMIC_RELAXED);
		__atomic_store_n(&p->content->pending, p->content->pending + 1, __ATOMIC_RELEASE);
		if (s->sleeps)
			pthread_cond_signal(&s->wake);
	}
	pthread_mutex_unlock(&s->lock);
}

static bool fits(struct piece *p, size_t len)
{
	char *bytes = p->room < len ? malloc(len) : p->bytes;

	if (!bytes)
		return false;
	if (bytes != p->bytes) {
		free(p->bytes);
		p->bytes = bytes;
		__atomic_store_n(&p->room, len, __ATOMIC_RELAXED);
	}
	return true;
}

/* What is held back has been acknowledged: a disk that is nearly full, who writes must hear of at once. */
static bool has_room(struct behind_content *c)
{
	struct statvfs fs;
	int fd;

	if (c->asked++ % behind_ask)
		return c->has_room;
	fd = store_content_fd(c->inner);
	c->has_room = fd < 0 || (fstatvfs(fd, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize >= behind_room);
	return c->has_room;
}

static bool write_behind(struct behind_content *c, uint64_t at, const void *bytes, size_t len)
{
	struct behind *s = c->of;
	struct piece *p;
	bool filled;

	if (len < s->least || at != c->end || __atomic_load_n(&c->is_seen, __ATOMIC_RELAXED) || !has_room(c))
		return false;
	p = claim(s, c, len);
	if (!p)
		return false;
	filled = fits(p, len);
	if (filled) {
		memcpy(p->bytes, bytes, len);
		p->content = c;
		p->at = at;
		p->len = len;
	}
	fill(s, p, filled);
	return filled;
}

static int behind_content_write(struct store_content *base, uint64_t at, const void *bytes, size_t len)
{
	struct behind_content *c = content(base);
	int r = __atomic_load_n(&c->error, __ATOMIC_RELAXED);

	if (!r && !write_behind(c, at, bytes, len)) {
		r = drain(c);
		if (!r)
			r = store_content_write(c->inner, at, bytes, len);
	}
	c->end = r ? UINT64_MAX : at + len;
	return r;
}

/* ---- everything else comes after what was written ---- */

static int behind_content_read(struct store_content *base, uint64_t at, void *bytes, size_t len, size_t *got)
{
	/* Why it could not be written is nothing to a reader. */
	return drain(content(base)) ? -EIO : store_content_read(content(base)->inner, at, bytes, len, got);
}

static int behind_content_truncate(struct store_content *base, uint64_t len)
{
	int r = drain(content(base));

	return r ? r : store_content_truncate(content(base)->inner, len);
}

static int behind_content_allocate(struct store_content *base, uint64_t at, uint64_t len, bool keep_size)
{
	int r = drain(content(base));

	return r ? r : store_content_allocate(content(base)->inner, at, len, keep_size);
}

static int behind_content_punch(struct store_content *base, uint64_t at, uint64_t len)
{
	int r = drain(content(base));

	return r ? r : store_content_punch(content(base)->inner, at, len);
}

/* Of what is held back. */
static uint64_t bytes_held(struct behind_content *c)
{
	struct behind *s = c->of;
	uint64_t bytes = 0;

	if (!__atomic_load_n(&c->pending, __ATOMIC_ACQUIRE))
		return 0;
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; s->content == c && i < s->count; i++)
		bytes += s->pieces[(s->first + i) % behind_pieces].len;
	pthread_mutex_unlock(&s->lock);
	return bytes;
}

static int behind_content_blocks(struct store_content *base, uint64_t *blocks)
{
	struct behind_content *c = content(base);
	uint64_t held = (bytes_held(c) + 511) / 512, most = (c->end + 4095) / 4096 * 8, written = 0;
	int r = store_content_blocks(c->inner, &written);

	/* A part of what is held back may be there already. */
	*blocks = written + held <= most ? written + held : written > most ? written : most;
	return r;
}

static int behind_content_holes(struct store_content *base, uint64_t at, uint64_t len, uint64_t *bytes)
{
	int r = drain(content(base));

	return r ? r : store_content_holes(content(base)->inner, at, len, bytes);
}

static int behind_content_size(struct store_content *base, uint64_t *size)
{
	int r = drain(content(base));

	return r ? r : store_content_size(content(base)->inner, size);
}

static int behind_content_unseal(struct store_content *base)
{
	return store_content_unseal(content(base)->inner);
}

static int behind_content_is_sealed(struct store_content *base, uint64_t size, bool *sealed)
{
	return store_content_is_sealed(content(base)->inner, size, sealed);
}

static int behind_content_check(struct store_content *base, uint64_t piece)
{
	int r = drain(content(base));

	return r ? r : store_content_check(content(base)->inner, piece);
}

static int behind_content_sync(struct store_content *base)
{
	int r = drain(content(base));

	return r ? r : store_content_sync(content(base)->inner);
}

static int behind_content_sync_again(struct store_content *base, uint64_t from)
{
	int r = drain(content(base));

	return r ? r : store_content_sync_again(content(base)->inner, from);
}

static int behind_content_fd(struct store_content *base)
{
	struct behind_content *c = content(base);

	__atomic_store_n(&c->is_seen, true, __ATOMIC_RELAXED);
	return drain(c) ? -1 : store_content_fd(c->inner);
}

static void behind_content_close(struct store_content *base, bool discard)
{
	struct behind_content *c = content(base);
	struct behind *s = c->of;

	drain(c);
	pthread_mutex_lock(&s->lock);
	if (s->content == c)
		s->content = NULL;
	if (s->timed == c)
		s->timed = NULL;
	pthread_mutex_unlock(&s->lock);
	store_content_close(c->inner, discard);
	free(c);
}

/* ---- the store; what is passed on is the inner one's own, contents that are there already too ---- */

static int behind_content_create(struct store *base, struct store_content **out)
{
	struct behind_content *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	r = store_content_create(self(base)->inner, &c->inner);
	if (r) {
		free(c);
		return r;
	}
	c->base = (struct store_content){self(base)->base.ops, c->inner->number};
	c->of = self(base);
	*out = &c->base;
	return 0;
}

static int behind_content_open(struct store *base, uint64_t number, struct store_content **out)
{
	return store_content_open(self(base)->inner, number, out);
}

static int behind_content_has_writer(struct store *base, uint64_t number, bool *has)
{
	return store_content_has_writer(self(base)->inner, number, has);
}

static int behind_head(struct store *base, uint32_t bucket, uint64_t *revision, struct buf *head)
{
	return store_head(self(base)->inner, bucket, revision, head);
}

static int behind_get(struct store *base, uint32_t bucket, enum store_space space, struct slice key, struct buf *value)
{
	return store_get(self(base)->inner, bucket, space, key, value);
}

static int behind_commit(struct store *base, uint32_t bucket, uint64_t expect, struct slice head,
			 const struct store_batch *batch, uint64_t *revision)
{
	return store_commit(self(base)->inner, bucket, expect, head, batch, revision);
}

static int behind_erase(struct store *base, uint32_t bucket)
{
	return store_erase(self(base)->inner, bucket);
}

static int behind_sync(struct store *base)
{
	return store_sync(self(base)->inner);
}

static int behind_usage(struct store *base, struct store_usage *usage)
{
	return store_usage(self(base)->inner, usage);
}

static int behind_statistics(struct store *base, struct store_statistics *statistics)
{
	struct behind *s = self(base);
	int r = store_statistics(s->inner, statistics);

	for (size_t i = 0; i < behind_pieces; i++)
		statistics->memory_bytes += __atomic_load_n(&s->pieces[i].room, __ATOMIC_RELAXED);
	return r;
}

static int behind_cursor_open(struct store *base, uint32_t bucket, enum store_space space, struct slice prefix,
			      struct slice from, struct store_cursor **out)
{
	return store_cursor_open(self(base)->inner, bucket, space, prefix, from, out);
}

static void behind_free(struct behind *s)
{
	for (size_t i = 0; i < behind_pieces; i++)
		free(s->pieces[i].bytes);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->wake);
	pthread_cond_destroy(&s->done);
	free(s);
}

static void behind_close(struct store *base)
{
	struct behind *s = self(base);

	pthread_mutex_lock(&s->lock);
	s->leaving = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	store_close(s->inner);
	behind_free(s);
}

static const struct store_ops behind_ops = {
	.name = "behind",
	.close = behind_close,
	.head = behind_head,
	.get = behind_get,
	.commit = behind_commit,
	.erase = behind_erase,
	.sync = behind_sync,
	.usage = behind_usage,
	.statistics = behind_statistics,
	.cursor_open = behind_cursor_open,
	.content_create = behind_content_create,
	.content_open = behind_content_open,
	.content_has_writer = behind_content_has_writer,
	.content_read = behind_content_read,
	.content_write = behind_content_write,
	.content_truncate = behind_content_truncate,
	.content_allocate = behind_content_allocate,
	.content_punch = behind_content_punch,
	.content_blocks = behind_content_blocks,
	.content_holes = behind_content_holes,
	.content_size = behind_content_size,
	.content_unseal = behind_content_unseal,
	.content_is_sealed = behind_content_is_sealed,
	.content_check = behind_content_check,
	.content_sync = behind_content_sync,
	.content_sync_again = behind_content_sync_again,
	.content_fd = behind_content_fd,
	.content_close = behind_content_close,
};

int behind_store_open(struct store **out, struct store *inner, size_t least)
{
	struct behind *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->base.ops = &behind_ops;
	s->inner = inner;
	s->least = least;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->wake, NULL);
	pthread_cond_init(&s->done, NULL);
	r = pthread_create(&s->thread, NULL, serve, s);
	if (r) {
		behind_free(s);
		return -r;
	}
	pthread_setname_np(s->thread, "behind");
	*out = &s->base;
	return 0;
}
