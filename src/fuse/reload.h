/* SIGHUP: the options are read once more, and those that can change do: limits, log_level, and the log's file, which may have been moved
 * away. */
#pragma once

#include "bucket/fs.h"

/* The command line, which must stay valid. */
void reload_begin(int argc, char **argv);
/* For the handler of the signal. */
void reload_request(void);
/* For a thread that waits for nobody, now and then: does what was asked for since. */
void reload_if_asked(struct fs *fs);
