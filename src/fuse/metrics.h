/* Counters for MOUNT/.bucketfs/metrics, in Prometheus' text format. Counting takes no lock. */
#pragma once

#include "fuse/frontend.h"

/* One operation has ended that began then (clock_monotonic). `name` is a string literal; `result` as in call_end. */
void metrics_count(const char *name, int result, int64_t began);
/* How many have ended so far. */
uint64_t metrics_requests(void);
void metrics_bytes(bool written, uint64_t bytes);
int metrics_text(struct frontend *fe, const struct caller *who, struct buf *out);
