/* A strict, incremental JSON reader (RFC 8259, UTF-8 only). Pure.
 *
 * It is fed bytes as they come and gives the text of each top-level key and value less insignificant white space,
 * otherwise byte for byte. Everything the RFC allows is accepted, escaped lone surrogates included (RFC 8259 §8.2);
 * everything it forbids is refused at the first byte that makes it impossible. */
#pragma once

#include "util/buf.h"
#include "util/reason.h"

enum { json_depth_max = 512 };

enum json_mode {
	JSON_OBJECTS, /* any number of objects, one after another; a leading byte-order mark is dropped */
	JSON_VALUE,   /* one value of any type */
};

struct json_sink {
	/* One member of a top-level object: its key as written, with the quotes. In JSON_VALUE the value; no key. Both
	 * slices are valid during the call. Nonzero ends the reading with that result. */
	int (*entry)(void *context, struct slice key_text, struct slice value);
	/* A top-level object has ended. May be NULL. */
	int (*object)(void *context);
	void *context;
};

struct json_reader {
	struct json_sink sink;
	enum json_mode mode;
	unsigned char state;
	unsigned char resume;     /* the state after a string or escape */
	bool in_key;              /* the string being read is a member's name */
	unsigned char need;       /* UTF-8 continuation bytes to come … */
	unsigned char low, high;  /* … and the range of the next one */
	unsigned char hex;        /* digits of \u to come */
	const char *literal;      /* the rest of true, false, null */
	unsigned depth, depth_max; /* json_depth_max, unless the caller lowers it after init */
	unsigned char array[json_depth_max / 8 + 1]; /* a bit a level: array or object */
	unsigned long line, column;
	unsigned char mark;       /* bytes of a byte-order mark seen */
	size_t text_max;
	struct buf key, text;
};

/* `text_max` bounds the bytes kept for one member (0: unbounded); over it feeding gives BUCKET_TOO_LARGE. */
void json_reader_init(struct json_reader *r, enum json_mode mode, const struct json_sink *sink, size_t text_max);
void json_reader_release(struct json_reader *r);
/* Forgets what was read. */
void json_reader_reset(struct json_reader *r);
/* 0, -ENOMEM, BUCKET_INVALID with line and column in `why`, BUCKET_TOO_LARGE, or what the sink returned. After
 * anything but 0 the reader must be reset. */
int json_reader_feed(struct json_reader *r, const void *bytes, size_t len, struct reason *why);
/* The text is at its end. 0, or BUCKET_INCOMPLETE; in JSON_VALUE this is what ends a number. */
int json_reader_finish(struct json_reader *r, struct reason *why);

/* How far a text is on its way to one value: 0, BUCKET_INCOMPLETE, or BUCKET_INVALID. */
int json_text_state(struct slice text, struct reason *why);
/* Appends the one value that a text is, without its white space. At most `depth_max` levels (json_depth_max; less for
 * what will stand inside another value). 0, -ENOMEM, or BUCKET_INVALID, also for a text that ends too early. */
int json_compact(struct slice text, unsigned depth_max, struct buf *out, struct reason *why);

/* The bytes that a JSON string (with its quotes, known to be valid) stands for. A lone surrogate becomes its three
 * bytes in generalised UTF-8, so that different keys stay different. */
int json_unquote(struct slice text, struct buf *out);
/* The one JSON string that we would write for these bytes: `"` and `\` escaped, control characters by their short
 * escape or \u00xx, lone surrogates as \udxxx, all else as it is. */
int json_quote(struct slice bytes, struct buf *out);
/* Well-formed UTF-8 (RFC 3629), NUL allowed. */
bool json_is_utf8(struct slice bytes);
