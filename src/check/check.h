/* Whether a store on this host is what it should be: records, names, counts, sizes and contents, compared both ways.
 *
 * A store that nobody holds is locked meanwhile. If a daemon holds it, the records are those of one moment; a content may be changed or
 * removed after that moment, so its record is looked at once more before anything is said about it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "util/reason.h"

struct check_finding {
	const char *bucket; /* its id; empty: the store itself */
	const char *path;   /* below the bucket; may be empty */
	const char *kind;   /* one word */
	const char *detail; /* a sentence */
	bool mended;
	bool note; /* nothing is wrong: the next start removes it */
};

struct check_sums {
	uint64_t buckets, files, bytes;
	uint64_t findings, mended, notes;
	uint64_t unsealed; /* contents without checksums: nobody can tell whether they are as they were */
	bool live;         /* a daemon held the store */
};

struct check_options {
	const char *store;
	bool data;    /* read every content */
	bool repair;
	void (*finding)(void *context, const struct check_finding *finding);
	/* How far it is. False: it is to end. May be NULL. */
	bool (*progress)(void *context, const char *what, uint64_t done, uint64_t total);
	void *context;
};

/* 0: it was checked. -EINTR: `progress` ended it. -ENOMEM. -EIO and everything else: it could not be checked, and `why` says why. */
int check_store(const struct check_options *options, struct check_sums *sums, struct reason *why);
