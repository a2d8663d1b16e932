/* What the mount has refused lately and why: BUCKET/.bucketfs/errors and MOUNT/.bucketfs/errors. */
#pragma once

#include <cjson/cJSON.h>
#include <time.h>

#include "ctl/place.h"
#include "util/reason.h"

/* One line of it. The strings are the tree's. */
struct refusal {
	cJSON *tree;
	const char *time, *command, *path, *error, *reason;
	long uid, pid;
};

struct refusals {
	struct refusal *list;
	size_t count, cap;
};

/* Those of the bucket, and of the mount as far as they concern the place; oldest first, each once. 0 or a negative errno:
 * -ENOENT where the mount keeps none. */
int refusals_load(const struct place *at, struct refusals *out);
void refusals_release(struct refusals *r);
/* The reason of the last one that this process got since then, with this errno. */
bool refusal_of_this_process(const struct place *at, int error, time_t since, struct reason *out);
/* "2026-11-20T06:12:00.123Z"; -1: it is not one. */
time_t refusal_time(const char *text);
