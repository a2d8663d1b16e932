/* A decorator that makes a chosen call fail: for tests of what happens when the store does. */
#pragma once

#include "bucketfs/store.h"

struct faulty {
	unsigned calls;   /* made so far (closing does not count) */
	unsigned fail_at; /* the call that fails, counted from 1; 0: none */
	unsigned fail_from; /* this one and every later one fails; 0: none */
	int error;        /* with this negative errno */
	bool after;       /* a commit that fails is applied all the same: the answer was lost */
};

/* On success *out owns `inner`; `faulty` stays the caller's and may change at any time between calls. */
int faulty_store_open(struct store **out, struct store *inner, struct faulty *faulty);
