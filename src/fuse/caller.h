/* Who asks: what FUSE says of them, and what /proc adds. */
#pragma once

#include "bucket/acl.h"
#include "fuse/lowlevel.h"

/* Which environment variables name a job, for files that are created; NULL: BUCKETFS_JOB. */
extern const char *caller_job_variables;

struct caller caller_of(fuse_req_t req);
/* Whether two threads are of one process. Reads /proc/PID/status and task/ only, which is safe during a flush. */
bool caller_same_process(pid_t thread, pid_t other);
/* Whether the thread has not ended. */
bool caller_is_there(pid_t thread);
/* Whether the thread's process has a descriptor of an inode with this number, other than one that is being closed; or
 * it cannot be told. In a flush only for the thread that flushes: another one may begin an execve meanwhile, and would
 * be waited for. */
bool caller_has_open(pid_t thread, uint64_t inode);
/* The same for any thread, in a flush as well: true if it takes longer than a moment to tell. */
bool caller_has_open_soon(pid_t thread, uint64_t inode);
/* The value of the first of the comma-separated variables (NULL: BUCKETFS_JOB) that is in the environment a process was
 * started with and not empty; malloc'd. BUCKET_ABSENT. Not in a flush. */
int caller_environment(pid_t thread, const char *variables, char **value);
/* The name of the program a thread runs. */
bool caller_program(pid_t thread, char name[16]);
/* The process that a thread is of, and when it was started: ns since boot, as CLOCK_BOOTTIME counts, to a clock tick and
 * never too late. 0: it cannot be told. Not in a flush. */
pid_t caller_process(pid_t thread, int64_t *started);
/* The inode of the pipe that a descriptor leads to; 0: it is no pipe. */
uint64_t caller_pipe(pid_t thread, int fd);
/* Whether the thread is about to end, or has: it does not take an answer any more. Another signal is nothing to a
 * system call that FUSE serves. */
bool caller_is_ending(pid_t thread);
/* Whether this thread is dying of a signal. Asked in a flush: see caller.c for what may be read then. */
bool caller_is_killed(pid_t thread);
