/* The files below a folder that match a pattern, sorted by path. Exit statuses. */
#pragma once

#include <sys/types.h>

#include "ctl/glob.h"
#include "util/buf.h"

struct walk_file {
	char *path; /* below the folder */
	off_t size;
};

struct walk {
	struct walk_file *files;
	size_t count, cap;
	bool (*on_folder)(void *context, int fd); /* sees each folder before its names are read; false ends; may be NULL */
	void *context;
	unsigned skipped; /* matching names that are no files: devices, sockets, broken links */
};

/* Symbolic links to files are followed, to folders not; folders beginning with a dot only if the pattern means them.
 * `folder` stays open. 0 or a negative errno; -ECANCELED: on_folder ended it. */
int walk_files(struct walk *w, int folder, const struct glob *g);
void walk_release(struct walk *w);
