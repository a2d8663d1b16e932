/* What every test program needs. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "util/buf.h"

#define S(text) slice_str(text)

static inline void assert_slice(struct slice got, const char *want)
{
	if (!slice_equal(got, slice_str(want)))
		fail_msg("got \"%.*s\", want \"%s\"", (int)got.len, (const char *)got.at, want);
}
