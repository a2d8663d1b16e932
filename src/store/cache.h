/* A decorator that keeps the small records of one space that were read or written lately, in memory: a file's record is
 * asked for again and again (looked up, opened, removed), and each time the backend searches all of its tables for it. */
#pragma once

#include "bucketfs/store.h"

enum {
	cache_slots = 65536,  /* one record each; the memory is taken as they are used, 12 MiB at most */
	cache_slot_bytes = 180 /* of key and value; what is longer is not kept */
};

/* On success *out owns `inner`. Nobody else may commit to it, and commits to one bucket must come one after the other. */
int cache_store_open(struct store **out, struct store *inner, enum store_space space);
