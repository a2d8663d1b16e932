/* The schema of a bucket, asked before the mount is. Exit statuses. */
#pragma once

#include "bucket/schema.h"
#include "ctl/place.h"
#include "util/buf.h"

/* NULL if there is none, or none to be seen. */
int judge_load(const struct place *p, struct schema **out);
int judge_compile(struct slice text, const char *what, struct schema **out);
/* NULL judges nothing. */
int judge_check(const struct schema *s, struct slice text, const char *what);
