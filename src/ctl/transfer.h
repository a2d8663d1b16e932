/* What fetch and store have in common: which bucket, which files, which data. */
#pragma once

#include "bucket/document.h"
#include "ctl/ctl.h"
#include "ctl/glob.h"
#include "ctl/place.h"

enum transfer_option { TRANSFER_SYNC, TRANSFER_GLOB, TRANSFER_DATA, TRANSFER_DRY_RUN, TRANSFER_STRICT, TRANSFER_JSON, TRANSFER_FOLLOW };

/* Those that both have; TRANSFER_FOLLOW is for store alone. */
#define TRANSFER_OPTIONS \
	[TRANSFER_SYNC] = {"sync", 's', "WHAT", "data, files or data_and_files; files unless --data is given"}, \
	[TRANSFER_GLOB] = {"glob", 'g', "PATTERN", "which files (*): *.csv, r_*.{pdf,txt}, **, **/*.log, [...], !*.tmp, a|b"}, \
	[TRANSFER_DATA] = {"data", 'd', "FILE", "where the data is, a JSON object; - is standard input or output"}, \
	[TRANSFER_DRY_RUN] = {"dry-run", 'n', NULL, "check, print what would be copied, change nothing"}, \
	[TRANSFER_STRICT] = {"strict", 0, NULL, "fail if nothing matches, or if something is left out"}, \
	[TRANSFER_JSON] = {"json", 0, NULL, "print what was copied as JSON"}

struct transfer {
	struct place place;
	bool data, files;
	const char *data_path; /* "-": standard input or output */
	const char *folder;
	struct glob *glob;
	const char *pattern;
	bool dry_run, json, strict, follow;
};

int transfer_begin(struct transfer *t, const struct request *r);
void transfer_end(struct transfer *t);

/* Files that are not transferred: in sub-folders that the pattern does not reach, with a leading dot, and none of them files. */
struct transfer_rest {
	unsigned folders, dots, others;
};
/* Says what is left out, or that nothing matches. With --strict that is a failure. */
int transfer_tell(const struct transfer *t, size_t count, const struct transfer_rest *rest);

/* What was, or would be, transferred: names a line, or one JSON object. Nothing without --json and --dry-run. */
struct transfer_list {
	const struct transfer *t;
	void *tree; /* cJSON */
	bool bad;
};
void transfer_list_begin(struct transfer_list *l, const struct transfer *t, long long revision);
void transfer_list_add(struct transfer_list *l, const char *path, long long size);
int transfer_list_end(struct transfer_list *l);
