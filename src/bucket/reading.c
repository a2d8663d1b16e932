#include "bucket/reading.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "bucket/data.h"

struct reading {
	uint32_t bucket;
	struct reading_key key; /* READING_NONE: a free place */
	struct text *text;
	struct text *before; /* what it had read before, while … */
	const void *handle;  /* … it has this open */
	uint64_t turn;       /* when it was added */
};

struct readings {
	pthread_mutex_t lock;
	unsigned used; /* atomic for who only asks whether there is any */
	uint64_t turn;
	size_t bytes; /* of the texts, each counted once */
	struct reading all[reading_count];
};

int readings_new(struct readings **out)
{
	struct readings *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	pthread_mutex_init(&r->lock, NULL);
	*out = r;
	return 0;
}

/* ---- with the lock held ---- */

static struct text *keep(struct readings *r, struct text *text)
{
	if (text->kept++ == 0)
		r->bytes += text->bytes.len;
	return data_text_share(text);
}

static void let_go(struct readings *r, struct text *text)
{
	if (text && --text->kept == 0)
		r->bytes -= text->bytes.len;
	data_text_put(text);
}

static void clear(struct readings *r, struct reading *e)
{
	if (e->key.source == READING_NONE)
		return;
	let_go(r, e->text);
	let_go(r, e->before);
	*e = (struct reading){0};
	__atomic_sub_fetch(&r->used, 1, __ATOMIC_RELAXED);
}

static struct reading *find(struct readings *r, uint32_t bucket, enum reading_source source, uint64_t id)
{
	for (size_t i = 0; i < reading_count; i++)
		if (r->all[i].bucket == bucket && r->all[i].key.id == id && r->all[i].key.source == source)
			return &r->all[i];
	return NULL;
}

static bool is_gone(const struct reading *e)
{
	return e->key.source == READING_PROCESS && kill((pid_t)e->key.id, 0) && errno == ESRCH;
}

/* The one that goes next, other than `spared`. */
static struct reading *victim(struct readings *r, const struct reading *spared)
{
	struct reading *oldest = NULL, *pipe = NULL, *gone = NULL;

	for (size_t i = 0; i < reading_count; i++) {
		struct reading *e = &r->all[i];

		if (e->key.source == READING_NONE || e == spared)
			continue;
		if (!oldest || e->turn < oldest->turn)
			oldest = e;
		if (e->key.source == READING_PIPE && (!pipe || e->turn < pipe->turn))
			pipe = e;
	}
	for (size_t i = 0; !pipe && !gone && i < reading_count; i++)
		if (&r->all[i] != spared && is_gone(&r->all[i]))
			gone = &r->all[i];
	return pipe ? pipe : gone ? gone : oldest;
}

static struct reading *place(struct readings *r, uint32_t bucket, const struct reading_key *key)
{
	struct reading *e = find(r, bucket, key->source, key->id);

	if (e)
		return e;
	for (size_t i = 0; i < reading_count && !e; i++)
		if (r->all[i].key.source == READING_NONE)
			e = &r->all[i];
	if (!e) {
		e = victim(r, NULL);
		clear(r, e);
	}
	*e = (struct reading){.bucket = bucket, .key = *key};
	__atomic_add_fetch(&r->used, 1, __ATOMIC_RELAXED);
	return e;
}

/* ---- */

void readings_free(struct readings *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < reading_count; i++)
		clear(r, &r->all[i]);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

void readings_add(struct readings *r, uint32_t bucket, const struct reading_key *key, struct text *text,
		  const void *handle)
{
	struct reading *e, *other;

	pthread_mutex_lock(&r->lock);
	e = place(r, bucket, key);
	e->turn = ++r->turn;
	e->key.since = key->since;
	let_go(r, e->before);
	e->before = handle ? e->text : NULL;
	if (!handle)
		let_go(r, e->text);
	e->handle = handle;
	e->text = keep(r, text);
	while (r->bytes > reading_text_max && (other = victim(r, e)))
		clear(r, other);
	if (r->bytes > reading_text_max)
		clear(r, e);
	pthread_mutex_unlock(&r->lock);
}

void readings_closed(struct readings *r, const void *handle)
{
	pthread_mutex_lock(&r->lock);
	for (size_t i = 0; i < reading_count; i++) {
		struct reading *e = &r->all[i];

		if (e->handle != handle)
			continue;
		let_go(r, e->before);
		e->before = NULL;
		e->handle = NULL;
	}
	pthread_mutex_unlock(&r->lock);
}

void readings_copied(struct readings *r, uint32_t bucket, uint64_t process)
{
	struct reading *e;

	pthread_mutex_lock(&r->lock);
	e = find(r, bucket, READING_PROCESS, process);
	if (e && e->before) {
		let_go(r, e->text);
		e->text = e->before;
		e->before = NULL;
		e->handle = NULL;
	}
	pthread_mutex_unlock(&r->lock);
}

void readings_forget(struct readings *r, uint32_t bucket)
{
	pthread_mutex_lock(&r->lock);
	for (size_t i = 0; i < reading_count; i++)
		if (r->all[i].bucket == bucket)
			clear(r, &r->all[i]);
	pthread_mutex_unlock(&r->lock);
}

bool readings_any(struct readings *r, uint32_t bucket)
{
	bool any = false;

	if (!__atomic_load_n(&r->used, __ATOMIC_RELAXED))
		return false;
	pthread_mutex_lock(&r->lock);
	for (size_t i = 0; i < reading_count && !any; i++)
		any = r->all[i].bucket == bucket && r->all[i].key.source != READING_NONE;
	pthread_mutex_unlock(&r->lock);
	return any;
}

struct text *readings_find(struct readings *r, uint32_t bucket, const struct reading_key *key)
{
	struct text *text = NULL;
	struct reading *e;

	pthread_mutex_lock(&r->lock);
	e = find(r, bucket, key->source, key->id);
	if (e && e->key.since >= key->since)
		text = data_text_share(e->text);
	pthread_mutex_unlock(&r->lock);
	return text;
}
