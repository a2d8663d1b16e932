/* Checksums of a content: one XXH3 (64 bits) for each piece of checksum_piece bytes, the last one of what is left.
 *
 * Only its bytes tell whether a content is whole. A filesystem may journal a length before it writes the bytes, and a program may
 * set the length of a file before it writes anything. A `struct checksum` follows the writes to one content: bytes that come front
 * to back are summed up as they pass. Every other piece is read again when the list is asked for, mostly from memory. */
#pragma once

#include "util/buf.h"

enum { checksum_piece = 262144 };
/* Bytes of a content that have checksums: the first 64 GiB, so that a list has 2 MiB at the most. Of the rest only the length is
 * known. */
#define CHECKSUM_COVERED ((uint64_t)64 << 30)

struct checksum;

/* Nothing is known yet of what is in the content. NULL: no memory; the functions below accept that, and read everything. */
struct checksum *checksum_new(void);
/* NULL is fine. */
void checksum_free(struct checksum *c);
/* These bytes are in the content now. */
void checksum_written(struct checksum *c, uint64_t at, const void *bytes, size_t len);
/* This range was changed in another way. */
void checksum_changed(struct checksum *c, uint64_t at, uint64_t len);
/* The content's length has changed from one to the other. */
void checksum_resized(struct checksum *c, uint64_t from, uint64_t to);

/* Where the bytes come from. */
struct checksum_source {
	/* As store_content_read: fewer bytes than asked for only at the end. */
	int (*read)(void *context, uint64_t at, void *bytes, size_t len, size_t *got);
	/* The first byte from `at` on that may be another one than zero; at least `at`. NULL: not known. */
	uint64_t (*next_data)(void *context, uint64_t at);
	void *context;
};

/* The checksums of the pieces from number `first` on, of a content of `size` bytes. */
struct checksum_list {
	uint64_t size, first;
	uint64_t *sums;
	size_t count;
};
void checksum_list_release(struct checksum_list *list);
/* How many pieces have checksums in a content of this size. */
uint64_t checksum_pieces(uint64_t size);
/* How many bytes that would read, at the most. */
uint64_t checksum_unknown(const struct checksum *c, uint64_t from, uint64_t size);
/* From the piece that byte number `from` is in, encoded at the end of `out`. -EIO: the source ends before `size`. */
int checksum_add_list(struct checksum *c, uint64_t from, uint64_t size, const struct checksum_source *source, struct buf *out);
/* -EIO: it is not such a list. */
int checksum_list_decode(struct checksum_list *list, struct slice record);
int checksum_list_encode(const struct checksum_list *list, struct buf *out);
/* Compares the source with the list, from the piece that byte number `from` is in. *whole: everything is as it was. If not, what is
 * left ends at *good: in the first piece that differs, before the first block of 4 KiB that is all zero, and before zeros at the end. */
int checksum_verify(const struct checksum_list *list, uint64_t from, const struct checksum_source *source, bool *whole, uint64_t *good);
/* Of one piece. */
uint64_t checksum_of(const void *bytes, size_t len);
