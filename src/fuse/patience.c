#include "fuse/patience.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/frontend.h"
#include "fuse/worker.h"
#include "util/clock.h"

struct patience {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake, idle;
	struct patience_job *jobs;
	unsigned count; /* of jobs that are not answered yet, the ones being asked included; atomic */
	unsigned draining; /* who waits for all to be answered */
	bool woken, leaving;
	int64_t early, wait;
	unsigned most_late;
};

/* Until something is closed or the first moment has passed. */
static void wait_some(struct patience *p)
{
	int64_t until = INT64_MAX;

	for (struct patience_job *job = p->jobs; job; job = job->next) {
		int64_t at = job->early ? job->early : job->until;

		until = at < until ? at : until;
	}
	while (!p->woken && !p->leaving && !(p->draining && p->jobs))
		if (!clock_wait(&p->wake, &p->lock, until))
			break;
	p->woken = false;
}

static enum patience_mood mood_for(const struct patience *p, const struct patience_job *job, unsigned late, bool hurry)
{
	if (hurry || (job->late && late >= p->most_late))
		return PATIENCE_NONE;
	return job->late ? PATIENCE_KNOWN : PATIENCE_GUESS;
}

static void run_all(struct patience *p, struct patience_job *jobs, bool hurry)
{
	unsigned late = 0;

	while (jobs) {
		struct patience_job *next = jobs->next;
		int64_t now = clock_monotonic();

		if (now >= jobs->until) {
			jobs->late = true;
			jobs->until = now + p->wait;
		}
		if (jobs->run(jobs, mood_for(p, jobs, late, hurry))) {
			__atomic_sub_fetch(&p->count, 1, __ATOMIC_SEQ_CST);
		} else {
			late += jobs->late;
			if (now >= jobs->early)
				jobs->early = 0;
			pthread_mutex_lock(&p->lock);
			jobs->next = p->jobs;
			p->jobs = jobs;
			pthread_mutex_unlock(&p->lock);
		}
		jobs = next;
	}
}

static void *serve(void *argument)
{
	struct patience *p = argument;
	bool leaving = false;

	pthread_mutex_lock(&p->lock);
	while (!leaving) {
		struct patience_job *jobs;
		bool hurry;

		wait_some(p);
		leaving = p->leaving;
		hurry = leaving || p->draining;
		jobs = p->jobs;
		p->jobs = NULL;
		pthread_mutex_unlock(&p->lock);
		run_all(p, jobs, hurry);
		pthread_mutex_lock(&p->lock);
		if (!__atomic_load_n(&p->count, __ATOMIC_SEQ_CST))
			pthread_cond_broadcast(&p->idle);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

int patience_new(struct patience **out, const char *name, int64_t early, int64_t wait)
{
	struct patience *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->early = early;
	p->wait = wait;
	p->most_late = UINT_MAX;
	pthread_mutex_init(&p->lock, NULL);
	clock_condition_init(&p->wake);
	pthread_cond_init(&p->idle, NULL);
	r = pthread_create(&p->thread, NULL, serve, p);
	if (r) {
		free(p);
		return -r;
	}
	pthread_setname_np(p->thread, name);
	*out = p;
	return 0;
}

void patience_limit(struct patience *p, unsigned most_late)
{
	pthread_mutex_lock(&p->lock);
	p->most_late = most_late;
	pthread_mutex_unlock(&p->lock);
}

void patience_add(struct patience *p, struct patience_job *job)
{
	int64_t now = clock_monotonic();

	job->early = now + p->early;
	job->until = now + p->wait;
	job->late = false;
	pthread_mutex_lock(&p->lock);
	__atomic_add_fetch(&p->count, 1, __ATOMIC_SEQ_CST);
	job->next = p->jobs;
	p->jobs = job;
	p->woken = true;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

void patience_wake(struct patience *p)
{
	if (!__atomic_load_n(&p->count, __ATOMIC_SEQ_CST))
		return;
	pthread_mutex_lock(&p->lock);
	p->woken = true;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

void patience_drain(struct patience *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->draining++;
	pthread_cond_signal(&p->wake);
	while (__atomic_load_n(&p->count, __ATOMIC_SEQ_CST))
		pthread_cond_wait(&p->idle, &p->lock);
	p->draining--;
	pthread_mutex_unlock(&p->lock);
}

void patience_free(struct patience *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->leaving = true;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->wake);
	pthread_cond_destroy(&p->idle);
	free(p);
}

/* ---- requests ---- */

int64_t patience_closed(enum patience_mood mood, int64_t moment)
{
	return mood == PATIENCE_GUESS ? moment : mood == PATIENCE_KNOWN ? tree_closed_received(moment) : TREE_CLOSED_NONE;
}

static bool ask_again(struct patience_job *job, enum patience_mood mood)
{
	struct question *q = container_of(job, struct question, job);
	struct turn turn = {patience_closed(mood, q->turn.closed), q->turn.began};
	struct frontend *fe = fuse_req_userdata(q->req);
	bool done;

	/* Others wait for this thread. */
	if (mood != PATIENCE_NONE && workers_are_busy_in(fe->workers, (uint32_t)(q->inode >> inode_node_bits)))
		return false;
	done = q->ask(q, &turn);

	if (done)
		free(q);
	return done;
}

void question_put(const struct question *q, size_t size)
{
	struct frontend *fe = fuse_req_userdata(q->req);
	size_t name_size = q->name ? strlen(q->name) + 1 : 0, new_size = q->new_name ? strlen(q->new_name) + 1 : 0;
	struct question *later;

	if (q->ask(q, &(struct turn){TREE_CLOSED_ANY, 0}))
		return;
	later = malloc(size + name_size + new_size);
	if (!later) {
		q->ask(q, &(struct turn){TREE_CLOSED_NONE, 0});
		return;
	}
	memcpy(later, q, size);
	if (q->name)
		later->name = memcpy((char *)later + size, q->name, name_size);
	if (q->new_name)
		later->new_name = memcpy((char *)later + size + name_size, q->new_name, new_size);
	later->turn = (struct turn){fs_moment(fe->fs), clock_monotonic()};
	later->job.run = ask_again;
	patience_add(fe->patience, &later->job);
}
