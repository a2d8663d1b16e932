/* Who asks: what FUSE says of them, and what /proc adds. */
#pragma once

#include "bucket/acl.h"
#include "fuse/lowlevel.h"

struct caller caller_of(fuse_req_t req);
/* Whether two threads are of one process. Reads /proc/PID/status and task/ only, which is safe during a flush. */
bool caller_same_process(pid_t thread, pid_t other);
/* Whether this thread is dying of a signal. Asked in a flush: see caller.c for what may be read then. */
bool caller_is_killed(pid_t thread);
