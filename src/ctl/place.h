/* Where a path leads: which mount, which bucket. */
#pragma once

#include <limits.h>
#include <stdbool.h>

struct place {
	char mount[PATH_MAX]; /* the root of the mount, absolute */
	char id[NAME_MAX + 1]; /* of the bucket; empty: the root itself */
	char rest[PATH_MAX];  /* below the bucket; empty: the bucket itself */
	int root;             /* O_PATH */
	int bucket;           /* O_PATH; -1: there is no such bucket, or none is meant */
};

/* The place of a path in a mount; what it names, and its bucket, need not exist. An exit status. */
int place_find(struct place *out, const char *path);
/* The same, and it is the root of the mount, or there is such a bucket: CTL_UNKNOWN. */
int place_find_any(struct place *out, const char *path);
/* The same, and there must be such a bucket: CTL_UNKNOWN. */
int place_find_bucket(struct place *out, const char *path);
/* The same for commands that change the bucket as a whole: the path must be its folder, not something in it. */
int place_find_folder(struct place *out, const char *path);
/* Whether the path is in a mount, and in a bucket, without a word. */
bool place_is_mounted(const char *path);
bool place_is_bucket(const char *path);
void place_close(struct place *p);

/* The comma-separated privileges of the caller here contain `privilege`. Errors count as yes: the mount will decide. */
bool place_may(const struct place *p, const char *privilege);
/* /proc/self/fd/N: an O_PATH descriptor as a path for calls that take no descriptor (xattrs, inotify). */
struct place_path {
	char text[64];
};
struct place_path place_path_of(int fd, const char *below);
