#include "util/background.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "util/clock.h"

struct background {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool leaving;
	void (*body)(struct background *g, void *context);
	void *context;
};

static void *run(void *argument)
{
	struct background *g = argument;

	g->body(g, g->context);
	return NULL;
}

int background_new(struct background **out, const char *name, void (*body)(struct background *g, void *context), void *context)
{
	struct background *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return -ENOMEM;
	g->body = body;
	g->context = context;
	pthread_mutex_init(&g->lock, NULL);
	clock_condition_init(&g->wake);
	r = pthread_create(&g->thread, NULL, run, g);
	if (r) {
		pthread_mutex_destroy(&g->lock);
		pthread_cond_destroy(&g->wake);
		free(g);
		return -r;
	}
	pthread_setname_np(g->thread, name);
	*out = g;
	return 0;
}

bool background_sleep(struct background *g, int64_t until)
{
	bool leaving;

	pthread_mutex_lock(&g->lock);
	while (!g->leaving && clock_wait(&g->wake, &g->lock, until))
		;
	leaving = g->leaving;
	pthread_mutex_unlock(&g->lock);
	return !leaving;
}

void background_free(struct background *g)
{
	if (!g)
		return;
	pthread_mutex_lock(&g->lock);
	g->leaving = true;
	pthread_cond_signal(&g->wake);
	pthread_mutex_unlock(&g->lock);
	pthread_join(g->thread, NULL);
	pthread_mutex_destroy(&g->lock);
	pthread_cond_destroy(&g->wake);
	free(g);
}
