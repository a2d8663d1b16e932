/* Patterns for files as job schedulers and bash with globstar and extglob have them: * ? […] {a,b} @(…) !(…) ** . Pure.
 * Where bash has no meaning for it in a pattern: `!*.csv` is all but `*.csv`, `(a|b).csv` is `@(a|b).csv`, `a|b` is either, and the empty
 * pattern is `*`.
 *
 * A path matches as bash would list it: `*` and `?` do not cross a slash, a name that begins with a dot has to be meant,
 * and `**` as a whole part is any number of folders. */
#pragma once

#include <stdbool.h>

struct glob;

/* 0; -E2BIG: braces that stand for too many patterns; -ENOMEM. */
int glob_new(struct glob **out, const char *pattern);
void glob_free(struct glob *g);
/* `path` is that of a file, parts separated by a slash. */
bool glob_match(const struct glob *g, const char *path);
/* Whether it can match anything in a sub-folder. */
bool glob_goes_down(const struct glob *g);
