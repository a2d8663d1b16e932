/* A growable buffer. All zero is a valid empty one. */
#pragma once

#include "util/slice.h"

struct buf {
	unsigned char *data;
	size_t len;
	size_t cap;
};

/* Room for `extra` more bytes. 0 or -ENOMEM, and then nothing has changed. */
int buf_reserve(struct buf *b, size_t extra);
int buf_add(struct buf *b, const void *bytes, size_t len);
int buf_add_slice(struct buf *b, struct slice s);
int buf_add_byte(struct buf *b, unsigned char byte);
int buf_add_string(struct buf *b, const char *text);
int buf_add_format(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Length becomes `len`; new bytes are zero. */
int buf_resize(struct buf *b, size_t len);
/* Write over or past the end; a gap is filled with zero. */
int buf_write_at(struct buf *b, size_t at, const void *bytes, size_t len);
/* Empty, memory kept. */
static inline void buf_clear(struct buf *b) { b->len = 0; }
/* Empty, memory given back. */
void buf_release(struct buf *b);

static inline struct slice buf_slice(const struct buf *b)
{
	return slice_of(b->data, b->len);
}
