/* Who asks: what FUSE says of them, and what /proc adds. */
#pragma once

#include "bucket/acl.h"
#include "fuse/lowlevel.h"

struct caller caller_of(fuse_req_t req);
/* Whether two threads are of one process. Reads /proc/PID/status and task/ only, which is safe during a flush. */
bool caller_same_process(pid_t thread, pid_t other);
