/* The control files of a bucket and of the mount, in the folder .bucketfs that is not listed. */
#pragma once

#include <cjson/cJSON.h>

#include "bucket/document.h"
#include "ctl/place.h"

#define CONTROL ".bucketfs"

/* False: the mount is of a time before there were any. */
bool control_exists(const struct place *p);
/* Reads BUCKET/.bucketfs/NAME whole. An exit status; a mount that has no such thing is told apart. */
int control_read(const struct place *p, const char *name, struct buf *out);
/* Writes it whole, in one write. */
int control_write(const struct place *p, const char *name, struct slice text);
/* Why opening something in there failed. */
int control_failed(const struct place *p, int error, const char *name);

/* The usage of a bucket, as its user.bucketfs.usage has it; NULL: it may not be read, or the mount tells nothing. */
cJSON *control_usage(int bucket);
/* What info.json says: one moment of the bucket. */
struct info {
	struct buf text;
	struct document top; /* bucket, data, files: as they are written */
	cJSON *bucket, *files;
	long long revision;
};

struct info_file {
	const char *path; /* below files/ */
	const char *id;   /* as text, whatever it is */
	const char *link; /* what a symbolic link leads to; NULL: it is a file */
	long long size;
	const cJSON *item;
};

int info_load(const struct place *p, struct info *out);
/* The same without a word, for those who can do without. */
bool info_try(const struct place *p, struct info *out);
void info_release(struct info *i);
/* The text of the data, {} if there is none. */
struct slice info_data(const struct info *i);
/* False: an entry that makes no sense, or whose path leads elsewhere. */
bool info_file_of(const struct place *p, const cJSON *item, struct info_file *out);

/* Reads JSON that a daemon of any version wrote. A byte in it that is no UTF-8, or a lone surrogate, becomes U+FFFD.
 * NULL: this is no JSON, or there is no memory. */
cJSON *tree_parse(struct slice json);
/* cJSON with plain answers. */
const char *tree_text(const cJSON *object, const char *name);
double tree_number(const cJSON *object, const char *name);
/* Prints a tree in one line; false: out of memory. */
bool tree_print(const cJSON *tree);
