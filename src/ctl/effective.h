/* The limits that hold for a bucket, and where each comes from. */
#pragma once

#include "bucket/limits.h"
#include "ctl/place.h"

enum { limit_count = 5 };
extern const char *const limit_names[limit_count];

enum limit_source { LIMIT_UNKNOWN, LIMIT_OF_MOUNT, LIMIT_OF_BUCKET };

struct effective {
	struct limits limits; /* none where the source is not known */
	enum limit_source source[limit_count];
};

/* Which of the names; -1: none. */
int limit_find(struct slice name);
/* user.bucketfs.NAME */
struct limit_attribute {
	char text[64];
} limit_attribute(int which);
/* The value as text; accepted_file_types comma-separated. */
void limit_format(const struct limits *l, int which, char *out, size_t size);
/* An exit status; a mount that does not tell is no failure. */
int effective_load(const struct place *p, struct effective *out);
