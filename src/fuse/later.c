#include "fuse/later.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct later {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake, idle;
	struct later_job *first, **last;
	bool running, leaving;
	void (*finish)(void *context, struct later_job *jobs);
	void *context;
};

static struct later_job *take_all(struct later *l)
{
	struct later_job *jobs;

	pthread_mutex_lock(&l->lock);
	l->running = false;
	if (!l->first)
		pthread_cond_broadcast(&l->idle);
	while (!l->first && !l->leaving)
		pthread_cond_wait(&l->wake, &l->lock);
	jobs = l->first;
	l->first = NULL;
	l->last = &l->first;
	l->running = jobs;
	pthread_mutex_unlock(&l->lock);
	return jobs;
}

static void *serve(void *argument)
{
	struct later *l = argument;
	struct later_job *jobs;

	while ((jobs = take_all(l))) {
		for (struct later_job *job = jobs, *next; job; job = next) {
			next = job->next;
			job->run(job);
		}
		if (l->finish)
			l->finish(l->context, jobs);
	}
	return NULL;
}

int later_new(struct later **out, const char *name, void (*finish)(void *context, struct later_job *jobs),
	      void *context)
{
	struct later *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->wake, NULL);
	pthread_cond_init(&l->idle, NULL);
	l->last = &l->first;
	l->finish = finish;
	l->context = context;
	r = pthread_create(&l->thread, NULL, serve, l);
	if (r) {
		free(l);
		return -r;
	}
	pthread_setname_np(l->thread, name);
	*out = l;
	return 0;
}

void later_add(struct later *l, struct later_job *job)
{
	job->next = NULL;
	pthread_mutex_lock(&l->lock);
	*l->last = job;
	l->last = &job->next;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
}

void later_drain(struct later *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	while (l->first || l->running)
		pthread_cond_wait(&l->idle, &l->lock);
	pthread_mutex_unlock(&l->lock);
}

void later_free(struct later *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->leaving = true;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	pthread_mutex_destroy(&l->lock);
	pthread_cond_destroy(&l->wake);
	pthread_cond_destroy(&l->idle);
	free(l);
}
