/* Requests that are not served by the thread that receives them, though that is known only when they are looked at:
 * their bucket is busy (worker.h), or the domain finds that they take long (BUCKET_LONG). They are copied, and a worker
 * serves them. */
#pragma once

#include <stdbool.h>

#include "fuse/lowlevel.h"

/* For call.c: the request that this thread is serving takes long. False: this thread may take its time, or cannot hand
 * it on. */
bool defer_request(void);
/* Whether the caller of the request that this worker serves has gone, or is about to. */
bool defer_is_abandoned(void);
/* The operations of ops.c, each of which may hand its request on. */
extern const struct fuse_lowlevel_ops defer_ops;
