/* Names of buckets and files. Pure. */
#pragma once

#include "util/slice.h"

enum { name_max = 255 };

/* A bucket's id: [a-z0-9_]+, up to name_max bytes. */
bool name_is_bucket_id(struct slice name);

/* The stored form of a file's name: each maximal run of bytes outside [A-Za-z0-9_.-] becomes one '_', then ASCII lower
 * case. `out` gets up to name_max bytes and no NUL. BUCKET_NAME_TOO_LONG if the given name has more than name_max
 * bytes; BUCKET_INVALID if it is empty. */
int name_normalise(struct slice given, char out[name_max], size_t *len);

/* Whether a stored name ends in one of the comma-separated endings (".csv,.pdf"); NULL or empty: any does. Names that
 * begin with a dot are exempt: they are the temporary files of rsync and editors. */
bool name_has_type(struct slice name, const char *endings);
