/* {a,b} and {1..9}, as bash expands them. Pure. */
#pragma once

#include "util/buf.h"

enum { brace_max = 10000 };

/* `out` gets the patterns one after another, each ended by NUL; their number, -E2BIG over brace_max, or -ENOMEM. */
int brace_expand(const char *pattern, struct buf *out);
