#include "bucket/refusal.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "bucket/json.h"
#include "bucket/moment.h"

int refusals_new(struct refusals **out)
{
	struct refusals *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	pthread_mutex_init(&r->lock, NULL);
	*out = r;
	return 0;
}

void refusals_free(struct refusals *r)
{
	if (!r)
		return;
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* The place for one more: that user's oldest if they have their share, else the oldest of all. */
static size_t place_for(struct refusals *r, uid_t uid)
{
	size_t own = 0, oldest = r->next;

	for (size_t i = 0; i < refusal_count; i++) {
		size_t at = (r->next + i) % refusal_count;

		if (!r->all[at].time || r->all[at].uid != uid)
			continue;
		if (own++ == 0)
			oldest = at;
	}
	return own >= refusal_count_user ? oldest : r->next;
}

void refusals_add(struct refusals *r, const struct refusal *refusal)
{
	size_t at;

	pthread_mutex_lock(&r->lock);
	at = place_for(r, refusal->uid);
	/* Kept in the order of time: what came later moves up. */
	while (at != r->next) {
		size_t following = (at + 1) % refusal_count;

		if (following == r->next)
			break;
		r->all[at] = r->all[following];
		at = following;
	}
	r->all[at] = *refusal;
	if (at == r->next)
		r->next = (r->next + 1) % refusal_count;
	pthread_mutex_unlock(&r->lock);
}

void refusals_forget(struct refusals *r, uint32_t bucket)
{
	pthread_mutex_lock(&r->lock);
	for (size_t i = 0; i < refusal_count; i++)
		if (r->all[i].bucket == bucket)
			r->all[i].time = 0;
	pthread_mutex_unlock(&r->lock);
}

static int add_text(struct buf *out, const char *name, const char *text)
{
	int r = buf_add_format(out, ",\"%s\":", name);

	return r ? r : json_quote(slice_str(text), out);
}

static int show(const struct refusal *f, struct buf *out)
{
	int r = buf_add_string(out, "{\"time\":");

	if (!r)
		r = moment_add(out, f->time);
	if (!r)
		r = buf_add_format(out, ",\"uid\":%u,\"pid\":%d", f->uid, f->pid);
	if (!r)
		r = add_text(out, "command", f->command);
	if (!r)
		r = add_text(out, "path", f->path);
	if (!r)
		r = add_text(out, "errno", f->error);
	if (!r)
		r = add_text(out, "reason", f->why.text);
	return r ? r : buf_add_string(out, "}\n");
}

int refusals_show(struct refusals *r, uint32_t bucket, uid_t uid, bool everybody, struct buf *out)
{
	int result = 0;

	pthread_mutex_lock(&r->lock);
	for (size_t i = 0; !result && i < refusal_count; i++) {
		const struct refusal *f = &r->all[(r->next + i) % refusal_count];

		if (f->time && f->bucket == bucket && (everybody || f->uid == uid))
			result = show(f, out);
	}
	pthread_mutex_unlock(&r->lock);
	return result;
}
