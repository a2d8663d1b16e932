/* The command line and the mount options. */
#pragma once

#include <stdbool.h>

#include "bucket/limits.h"
#include "fuse/lowlevel.h"
#include "util/log.h"

struct options {
	char *store, *mountpoint;
	bool foreground, help, version;
	bool debug;       /* libfuse's own messages */
	bool trace;       /* every call into the store, in the log */
	bool squash_root; /* root=squash */
	bool collide_refuse; /* collide=refuse */
	bool sync;
	unsigned scrub;   /* days between two passes; 0: none */
	bool accept_loss; /* start with what is left of a damaged log */
	enum { URING_AUTO, URING_ON, URING_OFF } io_uring;
	enum { PASSTHROUGH_AUTO, PASSTHROUGH_OFF } passthrough;
	enum { GIVE_WAY_AUTO, GIVE_WAY_OFF } give_way;
	bool log_given;
	enum log_target log_target;
	enum log_level log_level;
	struct limits limits;
	char *device, *device_acl, *editors, *job_env, *job_schema; /* NULL: not given */
	struct fuse_args args; /* what is left for libfuse */
};

/* 0; or 1 after one line on stderr saying what is wrong. */
int options_parse(struct options *o, int argc, char **argv);
void options_release(struct options *o);
void options_help(void);
