/* What programs have read of data.json that may write it anew as a whole.
 *
 * An editor that saves in place (nano) truncates the file and writes all of it, just as somebody does who writes a patch.
 * Who knows that the writer is an editor (fuse/editor.h) finds here what it had read, which makes its writing an edit.
 * What a program has read that hands on what it makes of it through a pipe is kept under that pipe, for who writes what
 * comes out of it (`jq … data.json | sponge data.json`).
 *
 * A table of fixed size; texts are shared with whoever else has them. Who is not found here writes a patch, which deletes
 * nothing. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct text;

enum { reading_count = 256, reading_text_max = 64 << 20 };

enum reading_source { READING_NONE, READING_PROCESS, READING_PIPE };

struct reading_key {
	enum reading_source source;
	uint64_t id;   /* of the process, or the inode of the pipe */
	int64_t since; /* when it was read; to be found: not before that, for numbers come again. ns since boot */
};

struct readings;

/* -ENOMEM. */
int readings_new(struct readings **out);
/* NULL is fine. */
void readings_free(struct readings *r);

/* Shares the text. `handle` is who has it open for reading, until readings_closed; NULL: nobody. Where there is no room a
 * pipe's goes first, then one of a process that is gone, then the one that was added longest ago. */
void readings_add(struct readings *r, uint32_t bucket, const struct reading_key *key, struct text *text,
		  const void *handle);
void readings_closed(struct readings *r, const void *handle);
/* The process makes a copy: if it has the file open for that, it is what it had read before that counts. */
void readings_copied(struct readings *r, uint32_t bucket, uint64_t process);
/* The bucket is gone, and another one may get its number. */
void readings_forget(struct readings *r, uint32_t bucket);
/* Whether there is any; cheap. */
bool readings_any(struct readings *r, uint32_t bucket);
/* The caller puts it back. NULL: not there. */
struct text *readings_find(struct readings *r, uint32_t bucket, const struct reading_key *key);
