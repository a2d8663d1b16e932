#include "bucket/budget.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "bucket/verdict.h"
#include "util/table.h"

/* So many parts of the whole may one user take: half of the files, a quarter of the memory. */
enum { memory_shares = 4, file_shares = 2 };
/* A charge changes by such steps, so that most changes of an object's size cost nothing. */
enum { step = 4096 };

struct user {
	struct table_node by_uid;
	uid_t uid;
	size_t bytes, files;
};

struct budget {
	pthread_mutex_t lock; /* innermost */
	struct table users;   /* those who were ever charged anything */
	size_t memory, files;
	size_t taken, opened;
};

int budget_new(struct budget **out, size_t memory, size_t files)
{
	struct budget *b = calloc(1, sizeof(*b));
	int r = b ? table_init(&b->users) : -ENOMEM;

	if (r) {
		free(b);
		return r;
	}
	pthread_mutex_init(&b->lock, NULL);
	b->memory = memory;
	b->files = files;
	*out = b;
	return 0;
}

void budget_free(struct budget *b)
{
	struct table_node *node;

	if (!b)
		return;
	while ((node = table_any(&b->users))) {
		table_remove(&b->users, node);
		free(container_of(node, struct user, by_uid));
	}
	table_release(&b->users);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

void budget_set_files(struct budget *b, size_t files)
{
	pthread_mutex_lock(&b->lock);
	b->files = files;
	pthread_mutex_unlock(&b->lock);
}

/* ---- with the lock held ---- */

static struct user *find(struct budget *b, uid_t uid)
{
	for (struct table_node *n = table_first(&b->users, table_hash_number(uid)); n; n = table_next(n)) {
		struct user *u = container_of(n, struct user, by_uid);

		if (u->uid == uid)
			return u;
	}
	return NULL;
}

static struct user *find_or_add(struct budget *b, uid_t uid)
{
	struct user *u = find(b, uid);

	if (u)
		return u;
	u = calloc(1, sizeof(*u));
	if (!u)
		return NULL;
	u->uid = uid;
	table_add(&b->users, &u->by_uid, table_hash_number(uid));
	return u;
}

static int check_memory(const struct budget *b, const struct user *u, size_t more, struct reason *why)
{
	if (!b->memory)
		return 0;
	if (u->uid && u->bytes + more > b->memory / memory_shares) {
		reason_set_own(why, "what you have open and have not closed takes %zu MiB of memory, and one user may take %zu MiB",
			       (u->bytes + more) >> 20, b->memory / memory_shares >> 20);
		return BUCKET_OVER_QUOTA;
	}
	if (b->taken + more > b->memory) {
		reason_set_own(why,
			       "what all users have open and have not closed takes as much memory as it may, %zu MiB",
			       b->memory >> 20);
		return -ENOMEM;
	}
	return 0;
}

static int check_files(const struct budget *b, const struct user *u, struct reason *why)
{
	if (!b->files)
		return 0;
	if (u->uid && u->files >= b->files / file_shares) {
		reason_set_own(why, "you have %zu files open, and one user may have %zu", u->files, b->files / file_shares);
		return BUCKET_OVER_QUOTA;
	}
	if (b->opened >= b->files) {
		reason_set_own(why, "all users together have %zu files open, as many as there may be", b->opened);
		return BUCKET_OVER_QUOTA;
	}
	return 0;
}

static void give_back(struct budget *b, struct charge *c, size_t bytes)
{
	struct user *u = find(b, c->uid);

	b->taken -= c->bytes - bytes;
	if (u)
		u->bytes -= c->bytes - bytes;
	c->bytes = bytes;
}

static int take(struct budget *b, struct charge *c, uid_t uid, size_t bytes, struct reason *why)
{
	struct user *u = find_or_add(b, uid);
	size_t more = bytes - c->bytes;
	int r = u ? check_memory(b, u, more, why) : -ENOMEM;

	if (r)
		return r;
	u->bytes += more;
	b->taken += more;
	c->uid = uid;
	c->bytes = bytes;
	return 0;
}

/* ---- what is charged ---- */

int budget_charge(struct budget *b, struct charge *c, uid_t uid, size_t bytes, struct reason *why)
{
	int r = 0;

	if (bytes > SIZE_MAX - step)
		return -ENOMEM;
	bytes = (bytes + step - 1) / step * step;
	if (bytes == c->bytes)
		return 0;
	pthread_mutex_lock(&b->lock);
	if (bytes < c->bytes)
		give_back(b, c, bytes);
	else
		r = take(b, c, c->bytes || c->opened ? c->uid : uid, bytes, why);
	pthread_mutex_unlock(&b->lock);
	return r;
}

int budget_open(struct budget *b, struct charge *c, uid_t uid, bool is_file, size_t bytes, struct reason *why)
{
	struct user *u;
	int r;

	bytes = (bytes + step - 1) / step * step;
	pthread_mutex_lock(&b->lock);
	u = find_or_add(b, uid);
	r = u ? 0 : -ENOMEM;
	if (!r && is_file)
		r = check_files(b, u, why);
	if (!r)
		r = check_memory(b, u, bytes, why);
	if (!r) {
		u->files += is_file;
		u->bytes += bytes;
		b->opened += is_file;
		b->taken += bytes;
		*c = (struct charge){uid, bytes, is_file};
	}
	pthread_mutex_unlock(&b->lock);
	return r;
}

void budget_release(struct budget *b, struct charge *c)
{
	struct user *u;

	if (!c->bytes && !c->opened)
		return;
	pthread_mutex_lock(&b->lock);
	u = find(b, c->uid);
	b->taken -= c->bytes;
	b->opened -= c->opened;
	if (u) {
		u->bytes -= c->bytes;
		u->files -= c->opened;
	}
	pthread_mutex_unlock(&b->lock);
	*c = (struct charge){0};
}
