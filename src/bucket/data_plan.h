/* A change of the document on its way into one commit: what is put and what is deleted, and whether the schema and the
 * limits allow what comes of it. */
#pragma once

#include "bucket/bucket.h"
#include "bucket/document.h"
#include "bucket/schema.h"

/* In whose name it is: judged again after the bucket's lock was given back. */
struct plan_access {
	const struct caller *who;
	bool reads; /* read is needed as well, for its refusal tells of the document */
};

/* Whether it may be made; NULL: by anybody. Without locks. */
int plan_may(struct fs *fs, struct bucket *b, const struct plan_access *access);

struct plan {
	struct fs *fs;
	struct bucket *b;
	const struct plan_access *access; /* NULL: nobody is judged */
	struct head head;
	struct store_batch batch;
	struct buf old, scratch, record;
	bool changed;
	bool keeps_lock;             /* b->lock is not given back while the schema judges */
	bool judged_briefly;         /* the kernel keeps others waiting for it: see plan_init */
	struct schema *schema;       /* NULL: none */
	struct document touched;     /* only with a schema: what is put, and with an empty value what is deleted */
};

/* Makes a plan with b->lock held and calls `change`, which ends with plan_check and, if that allows it, plan_commit.
 * While a schema judges that may take long, the lock is given back. If the document changes meanwhile, the plan is made
 * anew: so `change` must change nothing but the plan. If an access list changes meanwhile, `access` is judged again:
 * BUCKET_DENIED. Its result. */
int plan_run(struct fs *fs, struct bucket *b, const struct plan_access *access,
	     int (*change)(struct plan *p, void *context), void *context);

/* ---- with b->lock held ---- */

/* For a caller that commits it with other things, a transaction: then the lock is kept. The kernel holds a lock of all
 * moves between folders meanwhile, so a schema has a tenth of a second to judge: what takes longer is BUCKET_INVALID.
 * BUCKET_GONE. */
int plan_init(struct plan *p, struct fs *fs, struct bucket *b);
void plan_release(struct plan *p);
/* The value that the key has now. BUCKET_NO_ATTRIBUTE. The view is valid until the next call for this plan. */
int plan_look(struct plan *p, struct slice key, struct member_view *m);
int plan_put(struct plan *p, const struct member_view *m);
int plan_delete(struct plan *p, struct slice key);
/* BUCKET_TOO_LARGE, and what the schema says: BUCKET_INVALID; BUCKET_LONG. The lock may be given back: records that
 * others than the document depend on are read after this. */
int plan_check(struct plan *p, struct reason *why);
/* A change that changes nothing is no commit, and changes neither revision nor time. BUCKET_READ_ONLY. */
int plan_commit(struct plan *p, struct reason *why);
