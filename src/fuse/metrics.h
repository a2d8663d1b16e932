/* Counters for MOUNT/.bucketfs/metrics, in Prometheus' text format. Counting takes no lock. */
#pragma once

#include "fuse/frontend.h"

/* A moment to count from; nanoseconds. */
int64_t metrics_now(void);
/* One operation has ended. `name` is a string literal; `result` as in call_end. */
void metrics_count(const char *name, int result, int64_t began);
void metrics_bytes(bool written, uint64_t bytes);
int metrics_text(struct frontend *fe, struct buf *out);
