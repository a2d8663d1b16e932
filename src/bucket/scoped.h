/* Scoped buckets: @device, one for a host, and @job, one for a host, user and job. They are ordinary buckets with ids that
 * mkdir cannot make: device.web01, job.web01.u1000.nightly. They come into being when they are looked for; those in
 * which nobody has written or set anything are removed after the next start. */
#pragma once

#include "bucket/bucket.h"

enum { scoped_id_plain_max = 200, scoped_jobs_max = 1000 /* of one user */ };

/* The id of parts: joined by dots, each byte outside [a-z0-9_-] as %hh, so that no two meet; over scoped_id_plain_max
 * bytes the last part is a hash of all. Pure. */
void scoped_id(char out[name_max + 1], const struct slice *parts, size_t count);
/* An id that scoped_id may have made. Pure. */
bool scoped_is_id(struct slice name);

/* This host's name as the store knows it: `given` (a mount option), or what the store kept, or the host name, which it
 * then keeps. */
int scoped_device_name(struct fs *fs, const char *given, char out[256]);

/* The bucket of the device, made if need be: owned by whoever mounted; `access` is its first read and edit list (NULL: the owner's
 * alone). *id gets its id. */
int scoped_device(struct fs *fs, const char *access, char id[name_max + 1], struct reason *why);
/* The bucket of a caller's job: theirs alone. `schema` (NULL: none) is what a new one gets. BUCKET_OVER_QUOTA: the user
 * has scoped_jobs_max that were written to. */
int scoped_job(struct fs *fs, const struct caller *who, struct slice job, const struct slice *schema,
	       char id[name_max + 1], struct reason *why);
/* Removes those in which nobody has written or set anything, one after the other, in one pass beside others' requests.
 * It stops when `go_on` (or NULL), which is asked before each, says so. */
int scoped_prune(struct fs *fs, bool (*go_on)(void *context), void *context);
