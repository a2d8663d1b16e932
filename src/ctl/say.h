/* What is said on stderr, and the exit status that goes with it. */
#pragma once

#include "ctl/place.h"

/* The name of the command, which every line begins with. Also when the command began, for telling its own refusals from
 * older ones. `as_json`: each line is an object: command, error or note, and errno's name where there is one. */
void say_begin(const char *command, bool as_json);

void say_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* CTL_FAILED */
int say_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
int say_no_memory(void);
/* CTL_USAGE */
int say_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
int say_see_help(void);
/* A system call at this place failed with errno `error`: why, as the mount itself explains it, else as errno does.
 * `at` may be NULL. CTL_FAILED. */
int say_errno(const struct place *at, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
