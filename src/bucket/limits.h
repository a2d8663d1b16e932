/* What a bucket may hold. Pure. Zero means without limit everywhere. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "util/reason.h"
#include "util/slice.h"

struct limits {
	uint64_t max_data_size;         /* bytes of the rendered document */
	uint64_t max_file_size;         /* bytes */
	uint64_t max_files;             /* files and folders */
	uint64_t max_total_size;        /* bytes of all files of a bucket */
	char accepted_file_types[1024]; /* comma-separated endings; empty: any */
	unsigned reserve_permille;      /* of the disk: below this much free, files get no more space */
};

/* Those that a bucket may have of its own, by name; all but the reserve. */
enum { limits_own_count = 5 };
extern const char *const limits_own_name[limits_own_count];

/* A bucket's own limit is stored as text. One that an admin of the mount has set above the mount's own has this before
 * it. */
enum { limits_granted = '+' };
static inline const char *limits_own_text(const char *stored)
{
	return stored + (*stored == limits_granted);
}

/* Whether a bucket's limit (limits_own_name) lets in more than the mount's does. */
bool limits_exceed(const struct limits *own, const struct limits *mount, int which);
/* Lowers it so that it does not. */
void limits_cap(struct limits *own, const struct limits *mount, int which);
/* A limit as text, in a form that limits_set takes. */
void limits_show(const struct limits *l, int which, char *text, size_t size);

/* The defaults of the mount options. */
extern const struct limits limits_default;

/* One option as "name=value", sizes with an optional suffix k, M, G, T (powers of 1024), reserve in percent ("5%",
 * "2.5%"). BUCKET_INVALID with a reason; BUCKET_ABSENT if there is no such limit. */
int limits_set(struct limits *l, struct slice name, const char *value, struct reason *why);
