/* Why something was refused, for people: the last refusals, one JSON object a line. errno is a poor vocabulary.
 *
 * In memory and bounded, for each user on their own, so that nobody's noise hides anybody's reason. Names of programs
 * only, never their arguments. */
#pragma once

#include <pthread.h>

#include "bucket/acl.h"
#include "util/buf.h"
#include "util/reason.h"

enum { refusal_count = 1024, refusal_count_user = 64 };

struct refusal {
	int64_t time;    /* ns since the epoch; 0: an empty place */
	uint32_t bucket; /* 0: by privilege, or outside any bucket */
	uid_t uid;
	pid_t pid;
	char command[16];
	char path[320]; /* under the mount */
	const char *error; /* "EINVAL" */
	struct reason why;
};

struct refusals {
	pthread_mutex_t lock;
	size_t next;
	struct refusal all[refusal_count];
};

/* -ENOMEM. */
int refusals_new(struct refusals **out);
void refusals_free(struct refusals *r);
void refusals_add(struct refusals *r, const struct refusal *refusal);
/* The bucket is gone, and another one may get its number. */
void refusals_forget(struct refusals *r, uint32_t bucket);
/* Those of a bucket, oldest first: of one user, or with `everybody` all. */
int refusals_show(struct refusals *r, uint32_t bucket, uid_t uid, bool everybody, struct buf *out);
