/* A decorator that writes new contents behind their writer: a long piece is copied, the call returns, and a thread hands the piece
 * to the inner store while the writer fetches the next one. What a copy takes is then shared by two processors.
 *
 * Only what nobody can see otherwise is held back: pieces of a content that was created here, one after the other, as long as its
 * descriptor was not asked for, and as long as its disk has room for many more, so that what was acknowledged is written. One
 * content at a time; whoever comes meanwhile writes as without this. Every other call for the content waits for its pieces
 * first. If one cannot be written all the same, the content is lost: every call for it says so from then on.
 *
 * Where the processors are busy it would only cost: the copy, and what each of them has in its caches. So now and then both ways
 * are timed, in turn, and pieces go the faster one until the next time. */
#pragma once

#include "bucketfs/store.h"

enum {
	behind_pieces = 4,     /* that are held back at most; as much memory is kept */
	behind_least = 65536,  /* bytes of a piece: to copy less and wake the thread costs more than it spares */
	behind_settle = 5,     /* pieces that are not timed after the way has changed */
	behind_look = 16,      /* pieces that are timed together: a window */
	behind_compare = 4,    /* windows, half of them either way, and then … */
	behind_stay = 60,      /* … so many the way that was faster */
	behind_gap = 20000000, /* ns between two pieces after which they are not timed together */
	behind_ask = 8,        /* pieces from one look at the disk's room to the next */
	behind_room = 64 << 20, /* bytes that there must be: no disk takes so much between two looks */
	behind_calm = 50000000 /* ns in which only one content was written, or none is held back */
};

/* Which way pieces go. */
struct behind_pace {
	bool at_once;     /* not held back */
	unsigned windows; /* since both ways were compared */
	int64_t cost[2];  /* ns, held back and at once */
};

/* A MiB took so long in the window that has ended. */
void behind_judge(struct behind_pace *p, int64_t cost);
/* On success *out owns `inner`. `least`: behind_least, or fewer in a test. */
int behind_store_open(struct store **out, struct store *inner, size_t least);
