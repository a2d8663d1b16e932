/* How much memory and how many open files one user may take, and all of them together.
 *
 * Whatever a user makes the daemon hold is charged: temporary files, patches, snapshots, what control files hold, open
 * files. A charge is taken before the memory is. A share for a user leaves room for the others, and the whole leaves
 * room for the store. uid 0 has no share of its own, only the whole. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "util/reason.h"

struct budget;

/* The charge for one object: all zero is nothing. Whoever owns the object keeps others from it meanwhile. */
struct charge {
	uid_t uid;
	size_t bytes;
	bool opened; /* an open file is charged as well */
};

/* `memory` bytes and `files` for all; 0: no bound. -ENOMEM. */
int budget_new(struct budget **out, size_t memory, size_t files);
/* NULL is fine. */
void budget_free(struct budget *b);
/* From now on. What is over it stays. */
void budget_set_files(struct budget *b, size_t files);
/* The object takes so many bytes from now on. BUCKET_OVER_QUOTA over a share, -ENOMEM over the whole or for want of
 * memory: then it is charged what it was. To take less never fails. */
int budget_charge(struct budget *b, struct charge *c, uid_t uid, size_t bytes, struct reason *why);
/* The first charge of an object that somebody opens; `is_file`: it may need a descriptor. As above. */
int budget_open(struct budget *b, struct charge *c, uid_t uid, bool is_file, size_t bytes, struct reason *why);
/* Nothing is charged for it any more. */
void budget_release(struct budget *b, struct charge *c);
