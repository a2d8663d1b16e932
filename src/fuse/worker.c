#include "fuse/worker.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

enum { busy_max = 16 };

struct row {
	struct row *next;
	struct worker_job *job; /* gone once it has run; so the rest is a copy */
	uid_t uid;
	uint64_t key;
	uint32_t bucket;
	unsigned cpu;     /* of the thread that received the request: its ring keeps a place for it */
	bool makes_busy, urgent, running;
};

struct workers {
	pthread_t threads[worker_threads];
	unsigned thread_count;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t wake, idle;
	struct row *first, **last; /* those that run stay there */
	struct {
		uint32_t bucket;
		unsigned times;
	} busy[busy_max];
	unsigned busy_count; /* atomic for others */
	bool leaving;
};

static _Thread_local bool serves_requests;
/* The job of this thread that makes its bucket busy, and whether it does so just now. NULL: there is none. */
static _Thread_local struct workers *own_workers;
static _Thread_local uint32_t own_bucket;
static _Thread_local bool own_busy;

bool worker_may_take_long(void)
{
	return !serves_requests;
}

void worker_serves(bool serves)
{
	serves_requests = serves;
}

/* ---- with the lock held ---- */

static bool is_busy(const struct workers *w, uint32_t bucket)
{
	for (unsigned i = 0; bucket && w->busy_count && i < busy_max; i++)
		if (w->busy[i].times && w->busy[i].bucket == bucket)
			return true;
	return false;
}

/* False: so many are busy that this one cannot be as well, and its requests wait for its lock. */
static bool make_busy(struct workers *w, uint32_t bucket)
{
	int place = -1;

	for (int i = 0; i < busy_max; i++) {
		if (w->busy[i].times && w->busy[i].bucket == bucket) {
			w->busy[i].times++;
			return true;
		}
		if (!w->busy[i].times)
			place = i;
	}
	if (place < 0)
		return false;
	w->busy[place].bucket = bucket;
	w->busy[place].times = 1;
	__atomic_add_fetch(&w->busy_count, 1, __ATOMIC_SEQ_CST);
	return true;
}

static void end_busy(struct workers *w, uint32_t bucket)
{
	for (int i = 0; i < busy_max; i++) {
		if (!w->busy[i].times || w->busy[i].bucket != bucket)
			continue;
		if (--w->busy[i].times == 0)
			__atomic_sub_fetch(&w->busy_count, 1, __ATOMIC_SEQ_CST);
		break;
	}
	pthread_cond_broadcast(&w->wake);
}

/* Whether another job keeps it from running: one of the same user that runs, unless this is urgent, or an earlier one
 * of the same key. */
static bool must_wait(const struct workers *w, const struct row *row)
{
	bool before = true;

	if (is_busy(w, row->bucket))
		return true;
	for (const struct row *other = w->first; other; other = other->next) {
		if (other == row)
			before = false;
		else if ((other->running && other->uid == row->uid && !row->urgent) || (before && row->key && other->key == row->key))
			return true;
	}
	return false;
}

/* An urgent one is before all others. */
static struct row *next_row(struct workers *w)
{
	struct row *first = NULL;

	for (struct row *row = w->first; row; row = row->next) {
		if (row->running || must_wait(w, row))
			continue;
		if (row->urgent)
			return row;
		if (!first)
			first = row;
	}
	return first;
}

static void take_out(struct workers *w, struct row *row)
{
	struct row **at = &w->first;

	while (*at != row)
		at = &(*at)->next;
	*at = row->next;
	if (!*at)
		w->last = at;
	free(row);
	pthread_cond_broadcast(&w->wake);
	if (!w->first)
		pthread_cond_broadcast(&w->idle);
}

/* ---- the threads ---- */

/* Threads that serve requests have looked whether the bucket is busy a moment ago, and are about to take its lock. */
static void let_them_pass(void)
{
	static const struct timespec moment = {.tv_nsec = 1000000};

	nanosleep(&moment, NULL);
}

static void begin_own(struct workers *w, uint32_t bucket)
{
	pthread_mutex_lock(&w->lock);
	own_busy = make_busy(w, bucket);
	pthread_mutex_unlock(&w->lock);
	if (own_busy)
		let_them_pass();
}

static void end_own(struct workers *w, uint32_t bucket)
{
	pthread_mutex_lock(&w->lock);
	if (own_busy)
		end_busy(w, bucket);
	own_busy = false;
	pthread_mutex_unlock(&w->lock);
}

void worker_pause(bool begins)
{
	if (!own_workers)
		return;
	if (begins)
		end_own(own_workers, own_bucket);
	else
		begin_own(own_workers, own_bucket);
}

static void run(struct workers *w, struct row *row)
{
	row->running = true;
	if (row->makes_busy) {
		own_workers = w;
		own_bucket = row->bucket;
		own_busy = make_busy(w, row->bucket);
	}
	pthread_mutex_unlock(&w->lock);
	if (own_busy)
		let_them_pass();
	row->job->run(row->job);
	if (own_workers)
		end_own(w, own_bucket);
	own_workers = NULL;
	pthread_mutex_lock(&w->lock);
	take_out(w, row);
}

static void *serve(void *argument)
{
	struct workers *w = argument;
	struct row *row;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		row = next_row(w);
		if (row)
			run(w, row);
		else if (w->leaving && !w->first)
			break;
		else
			pthread_cond_wait(&w->wake, &w->lock);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

int workers_new(struct workers **out)
{
	struct workers *w = calloc(1, sizeof(*w));
	int r = 0;

	if (!w)
		return -ENOMEM;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->wake, NULL);
	pthread_cond_init(&w->idle, NULL);
	w->last = &w->first;
	while (!r && w->thread_count < worker_threads) {
		r = pthread_create(&w->threads[w->thread_count], NULL, serve, w);
		if (!r)
			pthread_setname_np(w->threads[w->thread_count++], "worker");
	}
	if (r) {
		workers_free(w);
		return -r;
	}
	*out = w;
	return 0;
}

static void run_at_once(struct worker_job *job)
{
	bool served = serves_requests;

	serves_requests = false;
	job->run(job);
	serves_requests = served;
}

/* With the lock held. */
static unsigned count(const struct workers *w, uid_t uid, unsigned cpu)
{
	unsigned all = 0;

	for (const struct row *row = w->first; row; row = row->next)
		all += row->uid == uid && row->cpu == cpu;
	return all;
}

/* Nobody is refused because he asks much at once: these are short jobs, and his next request waits for this thread.
 * With the lock held. */
static bool is_crowded(const struct workers *w, const struct row *row)
{
	return serves_requests && !row->key && !is_busy(w, row->bucket) &&
	       count(w, row->uid, row->cpu) >= worker_jobs_of_a_user;
}

void workers_add(struct workers *w, struct worker_job *job)
{
	struct row *row = malloc(sizeof(*row));
	bool takes = row;

	if (row) {
		*row = (struct row){.job = job,
				    .uid = job->uid,
				    .key = job->key,
				    .bucket = job->bucket,
				    .cpu = (unsigned)sched_getcpu(),
				    .makes_busy = job->makes_busy,
				    .urgent = job->urgent};
		pthread_mutex_lock(&w->lock);
		takes = !is_crowded(w, row);
		if (takes) {
			*w->last = row;
			w->last = &row->next;
			pthread_cond_signal(&w->wake);
		}
		pthread_mutex_unlock(&w->lock);
	}
	if (takes)
		return;
	free(row);
	run_at_once(job);
}

bool workers_are_busy_in(struct workers *w, uint32_t bucket)
{
	bool is;

	if (!__atomic_load_n(&w->busy_count, __ATOMIC_SEQ_CST))
		return false;
	pthread_mutex_lock(&w->lock);
	is = is_busy(w, bucket);
	pthread_mutex_unlock(&w->lock);
	return is;
}

bool workers_begin_busy(struct workers *w, uint32_t bucket)
{
	bool made;

	pthread_mutex_lock(&w->lock);
	made = make_busy(w, bucket);
	pthread_mutex_unlock(&w->lock);
	if (made)
		let_them_pass();
	return made;
}

void workers_end_busy(struct workers *w, uint32_t bucket)
{
	pthread_mutex_lock(&w->lock);
	end_busy(w, bucket);
	pthread_mutex_unlock(&w->lock);
}

unsigned workers_count(struct workers *w, uid_t uid)
{
	unsigned all;

	pthread_mutex_lock(&w->lock);
	all = count(w, uid, (unsigned)sched_getcpu());
	pthread_mutex_unlock(&w->lock);
	return all;
}

void workers_drain(struct workers *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	while (w->first)
		pthread_cond_wait(&w->idle, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

void workers_free(struct workers *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->leaving = true;
	pthread_cond_broadcast(&w->wake);
	pthread_mutex_unlock(&w->lock);
	for (unsigned i = 0; i < w->thread_count; i++)
		pthread_join(w->threads[i], NULL);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->wake);
	pthread_cond_destroy(&w->idle);
	free(w);
}
