/* Whether a bucket has room for what is to be stored, before the first byte of it is copied. */
#pragma once

#include "bucket/document.h"
#include "ctl/place.h"
#include "ctl/walk.h"

/* Names, limits and space; the mount has the last word all the same. `patch` may be NULL. An exit status. */
int plan_check(const struct place *p, const struct walk *files, const struct document *patch);
