/* The one place that includes libfuse, and what differs between its versions. */
#pragma once

#include <fuse_lowlevel.h>

#include "fuse/order.h"

/* FUSE_USE_VERSION comes from the build: 3.14 for a system's older library, 3.18 for the newer one. */
#if FUSE_USE_VERSION >= FUSE_MAKE_VERSION(3, 18)
#define HAVE_FUSE_URING 1
#else
#define HAVE_FUSE_URING 0
#endif
