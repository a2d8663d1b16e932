/* Editors that save data.json in place: they truncate it and write all of it, which from anybody else is a patch and would
 * keep the keys that were deleted. They are known by the name of their program alone, and what they do is an edit of what
 * they have read (bucket/reading.h).
 *
 * sponge has not read data.json; but if who writes into the pipe that it reads has, that is what sponge edits:
 * `jq 'del(.x)' data.json | sponge data.json`. Nothing less will do: somebody else in the same script may have read it as
 * well, and what sponge writes may be a patch all the same. */
#pragma once

#include "fuse/frontend.h"

/* The mount option editors=. */
#define EDITOR_DEFAULT "nano:rnano:pico:emacs:joe:jmacs:jstar:jpico:rjoe:micro:ed:nvim:editor:sponge"

/* Whoever opens data.json for reading: as whose to keep what they read. Left alone: as nobody's. */
void editor_reads(struct call *c, struct reading_key *reader);
/* Whoever opens it to write all of it: what they edit, which the caller puts back, and whose edit it is. NULL: no editor, or
 * nobody knows; then it is a patch. */
struct text *editor_base(struct call *c, struct reading_key *reader);
/* Whoever begins the scratch file c->leaf or c->node. */
void editor_copies(struct call *c);
/* Whether the caller is a program that compares sizes after it has copied, and removes what it takes for a bad copy:
 * rclone. data.json never has the size of what was written, so that what it has just merged, and everything else in
 * there, would be gone. */
bool editor_takes_back(const struct call *c);
