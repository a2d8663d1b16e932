/* Who asks: what FUSE says of them, and what /proc adds. */
#pragma once

#include "bucket/acl.h"
#include "fuse/lowlevel.h"

/* Which environment variables name a job, for files that are created; NULL: BUCKETFS_JOB. */
extern const char *caller_job_variables;

struct caller caller_of(fuse_req_t req);
/* Whether two threads are of one process. Reads /proc/PID/status and task/ only, which is safe during a flush. */
bool caller_same_process(pid_t thread, pid_t other);
/* The value of the first of the comma-separated variables (NULL: BUCKETFS_JOB) that is in the environment a process was
 * started with and not empty; malloc'd. BUCKET_ABSENT. Not in a flush. */
int caller_environment(pid_t thread, const char *variables, char **value);
/* Whether this thread is dying of a signal. Asked in a flush: see caller.c for what may be read then. */
bool caller_is_killed(pid_t thread);
