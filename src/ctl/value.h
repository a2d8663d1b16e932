/* Values and patches as they are written on a command line. */
#pragma once

#include "bucket/document.h"

/* The compact JSON text for what somebody wrote: itself if it is JSON, else a string. `is_string`: always a string. An
 * exit status. */
int value_of(struct slice written, bool is_string, const char *what, struct buf *out);
/* One argument of set: {…}, KEY=VALUE, KEY=@FILE, - ; its members are added. */
int value_add_argument(const char *argument, bool is_string, struct document *patch);
/* A whole object, "-" being standard input. */
int value_read_object(const char *path, struct document *out);
/* Every member of `from`, added. */
int value_add_all(struct document *to, const struct document *from);
/* As data.json shows it. */
int value_render(const struct document *d, struct buf *out);
