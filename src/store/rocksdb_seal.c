#include "store/rocksdb_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "store/blob.h"
#include "util/bytes.h"
#include "util/log.h"

static int get(struct rocksdb_store *s, uint64_t content, struct buf *seal)
{
	unsigned char key[9];

	rocks_own_key(key, 'S', content);
	return rocks_get(s, family_own, key, sizeof(key), seal);
}

void rocks_seal_trust(struct rocksdb_store *s, uint64_t content)
{
	__atomic_store_n(&s->trusted[content % named_count], content, __ATOMIC_RELAXED);
}

static bool is_trusted(struct rocksdb_store *s, uint64_t content)
{
	return __atomic_load_n(&s->trusted[content % named_count], __ATOMIC_RELAXED) == content;
}

struct rocks_seal rocks_seal_none(struct rocksdb_store *s)
{
	return (struct rocks_seal){.seals = __atomic_load_n(&s->seals, __ATOMIC_ACQUIRE)};
}

void rocks_seal_release(struct rocks_seal *seal)
{
	checksum_list_release(&seal->list);
	free(seal->checked);
	*seal = (struct rocks_seal){0};
}

bool rocks_seal_is_checking(const struct rocks_seal *seal)
{
	return __atomic_load_n(&seal->left, __ATOMIC_ACQUIRE);
}

int rocks_seal_load(struct rocksdb_store *s, uint64_t content, struct rocks_seal *seal)
{
	struct buf record = {0};
	int r;

	/* What a writer has to know of it, it asks for then. */
	*seal = (struct rocks_seal){.seals = UINT64_MAX};
	if (is_trusted(s, content))
		return 0;
	r = get(s, content, &record);
	if (!r && record.len)
		r = checksum_list_decode(&seal->list, buf_slice(&record));
	if (!r && seal->list.first)
		r = -EIO;
	if (r == -EIO)
		log_error("store: the checksums of content %016llx cannot be read", (unsigned long long)content);
	buf_release(&record);
	if (!r && seal->list.count) {
		seal->checked = calloc(seal->list.count, 1);
		seal->left = seal->list.count;
		r = seal->checked ? 0 : -ENOMEM;
	}
	if (r)
		rocks_seal_release(seal);
	return r == STORE_ABSENT ? 0 : r;
}

static int check_piece(const struct checksum_list *list, struct store_content *content, size_t piece, unsigned char *bytes)
{
	uint64_t at = (uint64_t)piece * checksum_piece, rest = list->size - at;
	size_t len = rest < checksum_piece ? (size_t)rest : checksum_piece, got;
	int r = blob_read(content, at, bytes, len, &got);

	return !r && (got != len || checksum_of(bytes, len) != list->sums[piece]) ? -EIO : r;
}

static int tell_damaged(const struct store_content *content, uint64_t piece)
{
	log_error("store: content %016llx is damaged: piece %llu, from byte %llu on, is not what was written",
		  (unsigned long long)content->number, (unsigned long long)piece, (unsigned long long)(piece * checksum_piece));
	return -EIO;
}

/* Whether the seal is still what it was: else a writer has ended it, and then changed what it was about. */
static bool is_still(struct rocksdb_store *s, uint64_t content, struct slice seal)
{
	struct buf now = {0};
	bool is = !get(s, content, &now) && slice_equal(buf_slice(&now), seal);

	buf_release(&now);
	return is;
}

int rocks_seal_scrub(struct rocksdb_store *s, struct store_content *content, uint64_t piece)
{
	struct checksum_list list = {0};
	struct buf seal = {0};
	unsigned char *bytes = malloc(checksum_piece);
	int r = bytes ? get(s, content->number, &seal) : -ENOMEM;

	if (!r)
		r = seal.len ? checksum_list_decode(&list, buf_slice(&seal)) : STORE_END;
	if (!r)
		r = piece < list.count ? check_piece(&list, content, (size_t)piece, bytes) : STORE_END;
	if (r == -EIO && !is_still(s, content->number, buf_slice(&seal)))
		r = STORE_END;
	if (r == -EIO) {
		tell_damaged(content, piece);
		/* Nobody gets it unseen any more. */
		__atomic_store_n(&s->trusted[content->number % named_count], 0, __ATOMIC_RELAXED);
	}
	free(bytes);
	buf_release(&seal);
	checksum_list_release(&list);
	return r == STORE_ABSENT ? STORE_END : r;
}

/* How many bytes there is a seal for; `none`: there is no seal. */
static int sealed_bytes(struct rocksdb_store *s, uint64_t content, uint64_t *bytes, bool *none)
{
	struct buf record = {0};
	int r = get(s, content, &record);

	*none = r || record.len < 8;
	*bytes = *none ? 0 : bytes_get_le64(record.data);
	buf_release(&record);
	return r == STORE_ABSENT ? 0 : r;
}

int rocks_seal_is(struct rocksdb_store *s, uint64_t content, uint64_t size, bool *sealed)
{
	uint64_t bytes;
	bool none;
	int r = sealed_bytes(s, content, &bytes, &none);

	*sealed = !none && bytes >= size;
	return r;
}

/* Whether a writer has ended the seal. */
static bool is_ended(struct rocksdb_store *s, uint64_t content)
{
	struct buf now = {0};
	bool is = !get(s, content, &now) && !now.len;

	buf_release(&now);
	return is;
}

int rocks_seal_check(struct rocksdb_store *s, struct rocks_seal *seal, struct store_content *content, uint64_t at, size_t len)
{
	uint64_t end = at + len < seal->list.size ? at + len : seal->list.size;
	unsigned char *bytes = NULL;
	int r = 0;

	for (uint64_t piece = at / checksum_piece; !r && piece < seal->list.count && piece * checksum_piece < end; piece++) {
		if (__atomic_load_n(&seal->checked[piece], __ATOMIC_ACQUIRE))
			continue;
		if (!bytes && !(bytes = malloc(checksum_piece)))
			return -ENOMEM;
		r = check_piece(&seal->list, content, (size_t)piece, bytes);
		/* It may have been since this one was read, and then what it was about was changed. */
		if (r == -EIO && is_ended(s, content->number)) {
			free(bytes);
			return 0;
		}
		if (r == -EIO)
			tell_damaged(content, piece);
		/* The reader that checks the last one opens the content for everybody. */
		if (!r && !__atomic_exchange_n(&seal->checked[piece], 1, __ATOMIC_ACQ_REL) &&
		    !__atomic_sub_fetch(&seal->left, 1, __ATOMIC_ACQ_REL))
			rocks_seal_trust(s, content->number);
	}
	free(bytes);
	return r;
}

/* Larger contents are not read just for that. */
enum { compare_most = 64 << 20 };

int rocks_seal_break(struct rocksdb_store *s, struct rocks_seal *seal, struct store_content *content, uint64_t from)
{
	uint64_t seals = __atomic_load_n(&s->seals, __ATOMIC_ACQUIRE);
	bool none = false;
	int r = 0;

	if (seal->seals != seals) {
		r = sealed_bytes(s, content->number, &seal->end, &none);
		seal->seals = r ? UINT64_MAX : seals;
	}
	if (!r && none)
		__atomic_store_n(&seal->left, 0, __ATOMIC_RELEASE);
	if (r || from >= seal->end)
		return r;
	/* What is damaged would look like what the writer wrote, and be sealed anew. */
	if (rocks_seal_is_checking(seal) && seal->list.size <= compare_most)
		r = rocks_seal_check(s, seal, content, 0, (size_t)seal->list.size);
	if (!r)
		r = rocks_own_write(s, 'S', content->number, "", 0);
	if (!r)
		r = store_sync(&s->base);
	if (r)
		return r;
	seal->end = 0;
	__atomic_store_n(&seal->left, 0, __ATOMIC_RELEASE);
	return 0;
}

int rocks_seal_join(struct rocksdb_store *s, uint64_t content, struct slice checksums, struct buf *joined)
{
	struct checksum_list new, old = {0};
	struct buf record = {0};
	uint64_t *sums;
	int r = checksum_list_decode(&new, checksums);

	if (r || !new.first) {
		checksum_list_release(&new);
		return r ? r : buf_add_slice(joined, checksums);
	}
	r = get(s, content, &record);
	if (!r)
		r = record.len ? checksum_list_decode(&old, buf_slice(&record)) : STORE_ABSENT;
	/* A damaged one is as good as none. */
	if (r == -EIO || (!r && (old.first || old.size < new.first * checksum_piece)))
		r = STORE_ABSENT;
	sums = r ? NULL : malloc((size_t)(new.first + new.count) * sizeof(*sums));
	if (!r && !sums)
		r = -ENOMEM;
	if (!r) {
		memcpy(sums, old.sums, (size_t)new.first * sizeof(*sums));
		memcpy(sums + new.first, new.sums, new.count * sizeof(*sums));
		r = checksum_list_encode(&(struct checksum_list){new.size, 0, sums, (size_t)new.first + new.count}, joined);
	}
	free(sums);
	buf_release(&record);
	checksum_list_release(&new);
	checksum_list_release(&old);
	return r;
}
