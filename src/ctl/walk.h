/* The files below a folder that match a pattern, sorted by path. Exit statuses. */
#pragma once

#include <sys/types.h>

#include "ctl/glob.h"
#include "util/buf.h"

struct walk_file {
	char *path;   /* below the folder */
	char *source; /* where it is read from; NULL: there */
	char *link; /* what a symbolic link leads to; NULL: it is a file */
	off_t size;
};

struct walk {
	struct walk_file *files;
	size_t count, cap;
	bool (*on_folder)(void *context, int fd); /* sees each folder before its names are read; false ends; may be NULL */
	void *context;
	bool follow;      /* links to files are what they lead to; else they are links */
	unsigned skipped; /* matching names that are neither: devices, sockets, with `follow` broken links */
	unsigned folders; /* sub-folders that the pattern does not reach */
	unsigned dots;    /* names that would match if they did not begin with a dot */
};

/* Links to folders are never gone into, nor folders that begin with a dot unless the pattern means them. `folder` stays open. 0 or a negative errno; -ECANCELED: on_folder ended it. */
int walk_files(struct walk *w, int folder, const struct glob *g);
/* One more file, which is to be `path`, and is `source`. */
int walk_add(struct walk *w, const char *path, const char *source, off_t size);
void walk_release(struct walk *w);
