#include "fuse/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "util/clock.h"

struct ring {
	struct ring *next; /* rings->lock */
	struct rings *rings;
	pid_t thread;
	int state;           /* its /proc/thread-self/stat, or -1 where it does not give way */
	unsigned served;     /* atomic */
	int64_t clock;       /* at the last look at it; its own thread's */
	unsigned seen;       /* of `served`, at the last look of the looking thread; from here on rings->lock */
	unsigned lately;     /* served before that, since the look before */
	bool waits;          /* for its CPU, as it seems: it had something to do, and got little done */
	struct ring_pace pace;
};

struct rings {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_key_t key; /* its destructor is how a thread's end is known */
	struct ring *first;
	pid_t looker; /* the thread that looks; 0: there is none */
	bool give_way, leaving;
	bool serving; /* a ring has served a request; atomic */
	bool looking; /* a burst of requests has its looks; atomic */
	int64_t busy; /* when many requests were last seen to come */
	void (*end)(void *context);
	void *context;
};

static struct ring not_a_ring;
static _Thread_local struct ring *own; /* NULL: not known yet; &not_a_ring: the thread is not a ring's */

void ring_judge(struct ring_pace *p, bool burst, bool starves, int64_t now)
{
	if (!p->gives_way) {
		p->gives_way = burst && now >= p->not_before;
		p->since = now;
	} else if (starves) {
		p->gives_way = false;
		if (now - p->since >= ring_short)
			p->wait = ring_wait_first;
		else
			p->wait = p->wait * 2 < ring_wait_first ? ring_wait_first :
				  p->wait * 2 > ring_wait_most	? ring_wait_most :
								  p->wait * 2;
		p->not_before = now + p->wait;
	} else {
		p->gives_way = burst;
	}
}

/* ---- looking ---- */

static int set_policy(pid_t thread, int policy)
{
	struct sched_param none = {0};

	return sched_setscheduler(thread, policy, &none);
}

/* Whether a thread runs or would, if it were let (or waits for the disk, which nobody helps by giving way): proc_pid_stat(5), the
 * field after the name. */
static bool is_runnable(const struct ring *ring)
{
	char text[128];
	ssize_t len = pread(ring->state, text, sizeof(text) - 1, 0);
	const char *name_end;

	if (len <= 0)
		return true;
	text[len] = 0;
	name_end = strrchr(text, ')');
	return !name_end || !name_end[1] || name_end[2] != 'S';
}

static void judge(struct ring *ring, bool burst, int64_t now)
{
	bool before = ring->pace.gives_way, waited = ring->waits;

	/* Seen once, it may just have been given something to do. */
	ring->waits = before && ring->lately < ring_burst && is_runnable(ring);
	ring_judge(&ring->pace, burst, ring->waits && waited, now);
	if (ring->pace.gives_way != before)
		set_policy(ring->thread, ring->pace.gives_way ? SCHED_IDLE : SCHED_OTHER);
}

/* Whether the burst goes on. */
static bool look(struct rings *r)
{
	int64_t t = clock_monotonic();
	unsigned all = 0;
	bool burst;

	for (struct ring *ring = r->first; ring; ring = ring->next) {
		unsigned served = __atomic_load_n(&ring->served, __ATOMIC_RELAXED);

		ring->lately = served - ring->seen;
		ring->seen = served;
		all += ring->lately;
	}
	if (all >= ring_burst)
		r->busy = t;
	burst = t - r->busy < ring_calm;
	for (struct ring *ring = r->first; ring; ring = ring->next)
		if (ring->state >= 0)
			judge(ring, burst, t);
	return burst;
}

static void *serve(void *argument)
{
	struct rings *r = argument;
	int64_t until;

	/* Who takes the policy back must not itself wait behind who computes. Where that is not allowed, it waits its turn. */
	setpriority(PRIO_PROCESS, (id_t)gettid(), -20);
	pthread_mutex_lock(&r->lock);
	r->looker = gettid();
	pthread_cond_broadcast(&r->wake);
	while (!r->leaving) {
		if (!r->looking) {
			pthread_cond_wait(&r->wake, &r->lock);
			continue;
		}
		__atomic_store_n(&r->looking, look(r), __ATOMIC_RELAXED);
		until = clock_monotonic() + ring_look;
		while (!r->leaving && clock_wait(&r->wake, &r->lock, until))
			;
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

static int cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);
}

/* Whether a thread may be given the policy and get back its own: tried out on the one that looks, which sleeps. */
static bool may_change(struct rings *r)
{
	pid_t thread;

	pthread_mutex_lock(&r->lock);
	while (!r->looker)
		pthread_cond_wait(&r->wake, &r->lock);
	thread = r->looker;
	pthread_mutex_unlock(&r->lock);
	return set_policy(thread, SCHED_IDLE) == 0 && set_policy(thread, SCHED_OTHER) == 0;
}

static int begin_thread(struct rings *r)
{
	int e = pthread_create(&r->thread, NULL, serve, r);

	if (e)
		return -e;
	pthread_setname_np(r->thread, "rings");
	return 0;
}

static void end_thread(struct rings *r)
{
	pthread_mutex_lock(&r->lock);
	r->leaving = true;
	pthread_cond_broadcast(&r->wake);
	pthread_mutex_unlock(&r->lock);
	pthread_join(r->thread, NULL);
	r->looker = 0;
}

/* ---- serving ---- */

static void end(void *value)
{
	struct ring *ring = value;
	struct rings *r = ring->rings;

	/* Not with the lock and behind who computes. */
	if (ring->state >= 0)
		set_policy(0, SCHED_OTHER);
	pthread_mutex_lock(&r->lock);
	for (struct ring **at = &r->first; *at; at = &(*at)->next) {
		if (*at == ring) {
			*at = ring->next;
			break;
		}
	}
	if (ring->pace.gives_way)
		set_policy(0, SCHED_OTHER);
	pthread_mutex_unlock(&r->lock);
	if (ring->state >= 0)
		close(ring->state);
	free(ring);
	own = NULL;
	r->end(r->context);
}

/* Requests come to other threads as well, over the classic channel or from a ring that has given them away. */
static bool is_ring(void)
{
	static const char prefix[] = "fuse-ring";
	char name[16] = "";

	return pthread_getname_np(pthread_self(), name, sizeof(name)) == 0 && strncmp(name, prefix, sizeof(prefix) - 1) == 0;
}

static void join(struct rings *r)
{
	struct ring *ring;

	own = &not_a_ring;
	if (!is_ring())
		return;
	/* libfuse cancels ring threads at the end, wherever they are: it would be in the middle of a commit, its locks held. They
	 * end without it, for it wakes them as well. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	ring = calloc(1, sizeof(*ring));
	if (!ring)
		return;
	ring->rings = r;
	ring->thread = gettid();
	/* Only a thread that has a CPU of its own, for others move themselves, and the usual policy. */
	ring->state = -1;
	if (r->give_way && cpus() == 1 && sched_getscheduler(0) == SCHED_OTHER)
		ring->state = open("/proc/thread-self/stat", O_RDONLY | O_CLOEXEC);
	if (pthread_setspecific(r->key, ring)) {
		if (ring->state >= 0)
			close(ring->state);
		free(ring);
		return;
	}
	pthread_mutex_lock(&r->lock);
	ring->next = r->first;
	r->first = ring;
	pthread_mutex_unlock(&r->lock);
	own = ring;
	__atomic_store_n(&r->serving, true, __ATOMIC_RELAXED);
}

static void begin_looking(struct rings *r, int64_t now)
{
	/* Somebody else may be doing it; and who gives way already must not wait with the lock. */
	if (pthread_mutex_trylock(&r->lock))
		return;
	__atomic_store_n(&r->looking, true, __ATOMIC_RELAXED);
	r->busy = now;
	pthread_cond_signal(&r->wake);
	pthread_mutex_unlock(&r->lock);
}

void rings_serve(struct rings *r, int64_t now)
{
	struct ring *ring = own;

	if (!ring)
		join(r);
	if (!ring || ring == &not_a_ring)
		return;
	if (__atomic_add_fetch(&ring->served, 1, __ATOMIC_RELAXED) % ring_every || ring->state < 0)
		return;
	if (now - ring->clock < (int64_t)ring_every * ring_look / ring_burst && !__atomic_load_n(&r->looking, __ATOMIC_RELAXED))
		begin_looking(r, now);
	ring->clock = now;
}

/* ---- the whole ---- */

bool rings_are_used(const struct rings *r)
{
	return __atomic_load_n(&r->serving, __ATOMIC_RELAXED);
}

bool rings_give_way(const struct rings *r)
{
	return r->give_way && rings_are_used(r);
}

int rings_new(struct rings **out, bool give_way, void (*end_of_thread)(void *context), void *context)
{
	struct rings *r = calloc(1, sizeof(*r));
	int e;

	if (!r)
		return -ENOMEM;
	r->end = end_of_thread;
	r->context = context;
	pthread_mutex_init(&r->lock, NULL);
	clock_condition_init(&r->wake);
	e = pthread_key_create(&r->key, end);
	if (e) {
		pthread_mutex_destroy(&r->lock);
		pthread_cond_destroy(&r->wake);
		free(r);
		return -e;
	}
	if (give_way && cpus() > 1 && !begin_thread(r)) {
		r->give_way = may_change(r);
		if (!r->give_way)
			end_thread(r);
	}
	*out = r;
	return 0;
}

void rings_free(struct rings *r)
{
	if (!r)
		return;
	if (r->looker)
		end_thread(r);
	pthread_key_delete(r->key);
	pthread_mutex_destroy(&r->lock);
	pthread_cond_destroy(&r->wake);
	free(r);
}
