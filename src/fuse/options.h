/* The command line and the mount options. */
#pragma once

#include <stdbool.h>

#include "bucket/limits.h"
#include "fuse/lowlevel.h"
#include "util/log.h"

enum uring { URING_AUTO, URING_ON, URING_OFF };

struct options {
	char *store, *mountpoint;
	bool foreground, help, version;
	bool debug;       /* libfuse's own messages */
	bool trace;       /* every call into the store, in the log */
	bool sync;
	unsigned scrub;   /* days between two passes; 0: none */
	bool accept_loss; /* start with what is left of a damaged log */
	/* The place of a word among those that there are (options.c). */
	unsigned io_uring;       /* enum uring */
	unsigned passthrough, give_way; /* 0: auto, 1: off */
	unsigned squash_root;    /* 1: root=squash */
	unsigned collide_refuse; /* 1: collide=refuse */
	unsigned symlinks;       /* 0: symlinks=off */
	unsigned log_level;      /* enum log_level */
	char *log;               /* stderr, syslog or the path of a file; NULL: not given */
	struct limits limits;
	char *device, *device_acl, *editors, *job_env, *job_schema; /* NULL: not given */
	unsigned configs; /* files that were read */
	struct fuse_args args; /* what is left for libfuse */
};

/* 0; or 1 after one line on stderr saying what is wrong. The command line comes before a file of options for store and
 * mount point; of options the later one counts. */
int options_parse(struct options *o, int argc, char **argv);
/* The same while the mount is there, for files may say something else by now; complaints go to the log. */
int options_parse_again(struct options *o, int argc, char **argv);
/* Nonzero: the log's file cannot be written, which `why` says. */
int options_check_log(const struct options *o, struct reason *why);
/* Where the log goes once the mount is there. */
enum log_target options_log_target(const struct options *o);
void options_release(struct options *o);
void options_help(void);
