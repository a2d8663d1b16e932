#include "util/checksum.h"

#include <errno.h>
#include <stdlib.h>

#include "util/bytes.h"

#if CHECKSUM_DISPATCH
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

struct checksum {
	uint64_t *sums;
	bool *known; /* of whole pieces only */
	size_t count;
	/* The piece that is being written front to back: bytes from `begin` to `at` are in `state`. NULL or at == UINT64_MAX: none. */
	XXH3_state_t *state;
	uint64_t begin, at;
};

enum { list_head = 16, run_max = 0x7fffffff, block = 4096 };
static const uint32_t run_same = 0x80000000;
static const uint64_t nowhere = UINT64_MAX;

uint64_t checksum_of(const void *bytes, size_t len)
{
	return XXH3_64bits(bytes, len);
}

uint64_t checksum_pieces(uint64_t size)
{
	uint64_t covered = size < CHECKSUM_COVERED ? size : CHECKSUM_COVERED;

	return (covered + checksum_piece - 1) / checksum_piece;
}

/* ---- following the writes ---- */

struct checksum *checksum_new(void)
{
	struct checksum *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->state = XXH3_createState();
	c->at = nowhere;
	return c;
}

void checksum_free(struct checksum *c)
{
	if (!c)
		return;
	XXH3_freeState(c->state);
	free(c->sums);
	free(c->known);
	free(c);
}

static bool make_room(struct checksum *c, uint64_t pieces)
{
	size_t count = c->count ? c->count : 4;
	uint64_t *sums;
	bool *known;

	while (count < pieces)
		count *= 2;
	if (count == c->count)
		return true;
	sums = realloc(c->sums, count * sizeof(*sums));
	if (!sums)
		return false;
	c->sums = sums;
	known = realloc(c->known, count * sizeof(*known));
	if (!known)
		return false;
	memset(known + c->count, 0, (count - c->count) * sizeof(*known));
	c->known = known;
	c->count = count;
	return true;
}

static void know(struct checksum *c, uint64_t piece, uint64_t sum)
{
	if (!make_room(c, piece + 1))
		return;
	c->sums[piece] = sum;
	c->known[piece] = true;
}

static bool is_known(const struct checksum *c, uint64_t piece)
{
	return piece < c->count && c->known[piece];
}

static void forget(struct checksum *c, uint64_t from, uint64_t to)
{
	uint64_t last = (to + checksum_piece - 1) / checksum_piece;

	for (uint64_t piece = from / checksum_piece; piece < last && piece < c->count; piece++)
		c->known[piece] = false;
	if (c->at != nowhere && from < c->at && to > c->begin)
		c->at = nowhere;
}

static void begin_piece(struct checksum *c, uint64_t at)
{
	c->begin = c->at = at;
	if (!c->state || XXH3_64bits_reset(c->state) != XXH_OK)
		c->at = nowhere;
}

/* The bytes that come next in the piece that is being written. */
static void follow(struct checksum *c, const unsigned char *bytes, uint64_t len)
{
	while (len && c->at != nowhere && c->at < CHECKSUM_COVERED) {
		uint64_t end = c->begin + checksum_piece, n = len < end - c->at ? len : end - c->at;

		XXH3_64bits_update(c->state, bytes, (size_t)n);
		c->at += n;
		bytes += n;
		len -= n;
		if (c->at == end) {
			know(c, c->begin / checksum_piece, XXH3_64bits_digest(c->state));
			begin_piece(c, end);
		}
	}
}

void checksum_written(struct checksum *c, uint64_t at, const void *bytes, size_t len)
{
	if (!c || !len)
		return;
	if (c->at != at) {
		forget(c, at, at + len);
		if (at % checksum_piece)
			return;
		begin_piece(c, at);
	} else {
		/* A whole piece that was known may be overwritten front to back. */
		forget(c, at, at + len);
	}
	follow(c, bytes, len);
}

void checksum_changed(struct checksum *c, uint64_t at, uint64_t len)
{
	if (c && len)
		forget(c, at, len > UINT64_MAX - at ? UINT64_MAX - checksum_piece : at + len);
}

void checksum_resized(struct checksum *c, uint64_t from, uint64_t to)
{
	/* The piece in which a content ends has another length now. Its end may be where the next write begins: that goes on. */
	if (c && to < from)
		forget(c, to, from);
	else if (c && from % checksum_piece && from / checksum_piece < c->count)
		c->known[from / checksum_piece] = false;
}

uint64_t checksum_unknown(const struct checksum *c, uint64_t from, uint64_t size)
{
	uint64_t unknown = 0, pieces = checksum_pieces(size);

	for (uint64_t piece = from / checksum_piece; piece < pieces; piece++)
		unknown += c && is_known(c, piece) ? 0 : checksum_piece;
	return unknown;
}

/* ---- lists ---- */

void checksum_list_release(struct checksum_list *list)
{
	free(list->sums);
	*list = (struct checksum_list){0};
}

/* Equal ones after each other, such as a hole's, take the room of one. */
int checksum_list_encode(const struct checksum_list *list, struct buf *out)
{
	int r = bytes_add_64(out, list->size);

	if (!r)
		r = bytes_add_64(out, list->first);
	for (size_t at = 0, run; !r && at < list->count; at += run) {
		bool same = at + 1 < list->count && list->sums[at + 1] == list->sums[at];

		for (run = 1; at + run < list->count && run < run_max; run++)
			if ((list->sums[at + run] == list->sums[at + run - 1]) != same)
				break;
		/* The last one of different ones may begin a run of equal ones. */
		if (!same && at + run < list->count && run > 1)
			run--;
		r = bytes_add_32(out, (uint32_t)run | (same ? run_same : 0));
		for (size_t i = 0; !r && i < (same ? 1 : run); i++)
			r = bytes_add_64(out, list->sums[at + i]);
	}
	return r;
}

static bool read_runs(struct checksum_list *list, struct bytes_reader *r)
{
	for (size_t at = 0; at < list->count;) {
		uint32_t run = bytes_read_32(r), n = run & ~run_same;

		if (r->bad || !n || n > list->count - at)
			return false;
		for (uint32_t i = 0; i < n; i++)
			list->sums[at + i] = i && run & run_same ? list->sums[at] : bytes_read_64(r);
		at += n;
	}
	return !r->bad && r->left == 0;
}

int checksum_list_decode(struct checksum_list *list, struct slice record)
{
	struct bytes_reader r = bytes_reader_of(record);
	uint64_t pieces;

	*list = (struct checksum_list){0};
	list->size = bytes_read_64(&r);
	list->first = bytes_read_64(&r);
	pieces = checksum_pieces(list->size);
	if (r.bad || list->first > pieces)
		return -EIO;
	list->count = (size_t)(pieces - list->first);
	list->sums = malloc((list->count + 1) * sizeof(*list->sums));
	if (!list->sums)
		return -ENOMEM;
	if (read_runs(list, &r))
		return 0;
	checksum_list_release(list);
	return -EIO;
}

static size_t piece_len(uint64_t piece, uint64_t size)
{
	uint64_t at = piece * checksum_piece;

	return size - at < checksum_piece ? (size_t)(size - at) : checksum_piece;
}

/* What is in a piece, in `buffer`. Of a hole nothing is read. */
static int read_piece(const struct checksum_source *source, uint64_t piece, size_t len, unsigned char *buffer, size_t *got)
{
	uint64_t at = piece * checksum_piece;

	if (source->next_data && source->next_data(source->context, at) >= at + len) {
		memset(buffer, 0, len);
		*got = len;
		return 0;
	}
	return source->read(source->context, at, buffer, len, got);
}

/* *buffer is made when something has to be read. */
static int sum_piece(struct checksum *c, uint64_t piece, uint64_t size, const struct checksum_source *source,
		     unsigned char **buffer, uint64_t *sum)
{
	uint64_t at = piece * checksum_piece;
	size_t len = piece_len(piece, size), got;
	int r;

	if (c && len == checksum_piece && is_known(c, piece)) {
		*sum = c->sums[piece];
		return 0;
	}
	if (c && c->begin == at && c->at == at + len) {
		*sum = XXH3_64bits_digest(c->state);
		return 0;
	}
	if (!*buffer && !(*buffer = malloc(checksum_piece)))
		return -ENOMEM;
	r = read_piece(source, piece, len, *buffer, &got);
	if (r || got != len)
		return r ? r : -EIO;
	*sum = checksum_of(*buffer, len);
	if (c && len == checksum_piece) {
		know(c, piece, *sum);
	} else if (c) {
		/* The next bytes are mostly appended: from here on they are followed. */
		begin_piece(c, at);
		follow(c, *buffer, len);
	}
	return 0;
}

int checksum_add_list(struct checksum *c, uint64_t from, uint64_t size, const struct checksum_source *source, struct buf *out)
{
	uint64_t pieces = checksum_pieces(size), first = from / checksum_piece < pieces ? from / checksum_piece : pieces;
	struct checksum_list list = {size, first, NULL, (size_t)(pieces - first)};
	unsigned char *buffer = NULL;
	int r = 0;

	list.sums = malloc((list.count + 1) * sizeof(*list.sums));
	if (!list.sums)
		r = -ENOMEM;
	for (size_t i = 0; !r && i < list.count; i++)
		r = sum_piece(c, first + i, size, source, &buffer, &list.sums[i]);
	if (!r)
		r = checksum_list_encode(&list, out);
	free(buffer);
	checksum_list_release(&list);
	return r;
}

/* How much of a piece that is not as it was may be: up to its first block of zeros, or to its end, less the zeros before that. */
static size_t good_bytes(const unsigned char *bytes, size_t got)
{
	static const unsigned char zeros[block];
	size_t at = 0, n;

	for (; at < got; at += n) {
		n = got - at < block ? got - at : block;
		if (memcmp(bytes + at, zeros, n) == 0)
			break;
	}
	while (at && !bytes[at - 1])
		at--;
	return at;
}

int checksum_verify(const struct checksum_list *list, uint64_t from, const struct checksum_source *source, bool *whole, uint64_t *good)
{
	unsigned char *buffer = malloc(checksum_piece);
	uint64_t skipped = from / checksum_piece > list->first ? from / checksum_piece - list->first : 0;
	int r = buffer ? 0 : -ENOMEM;

	*whole = false;
	*good = (list->first + skipped) * checksum_piece;
	for (size_t i = (size_t)skipped; !r && i < list->count; i++) {
		size_t len = piece_len(list->first + i, list->size), got = 0;

		r = read_piece(source, list->first + i, len, buffer, &got);
		/* What cannot be read is not as it was. */
		if (r == -EIO)
			got = 0, r = 0;
		if (!r && (got != len || checksum_of(buffer, len) != list->sums[i])) {
			*good += good_bytes(buffer, got);
			free(buffer);
			return 0;
		}
		*good += len;
	}
	if (!r) {
		*whole = true;
		*good = list->size;
	}
	free(buffer);
	return r;
}
