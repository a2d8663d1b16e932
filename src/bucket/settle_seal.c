/* Sealing what was changed in place, once nobody writes it. */
#include "bucket/settle_internal.h"

#include <errno.h>

#include "bucket/file.h"
#include "bucket/tree.h"
#include "util/checksum.h"

/* Whether somebody may change the content without a commit that says so before. With b->lock held. */
static bool is_written(struct fs *fs, const struct bucket *b, uint64_t number)
{
	struct file *f = file_peek(fs, inode_of(b->number, number));

	return f && (f->writers || file_is(&f->unsaved));
}

/* Larger ones are not read just for that: a scrub does it. */
enum { reseal_most = 64 << 20 };

struct paced {
	struct store_content *content;
	const struct settle_pace *pace; /* NULL: as fast as it goes */
};

static int read_paced(void *context, uint64_t at, void *bytes, size_t len, size_t *got)
{
	const struct paced *p = context;

	*got = 0;
	if (p->pace && !p->pace->go_on(p->pace->context))
		return -EINTR;
	return store_content_read(p->content, at, bytes, len, got);
}

static int add_checks(struct store_content *content, uint64_t size, const struct settle_pace *pace, struct buf *checks)
{
	struct paced paced = {content, pace};
	struct checksum_source source = {.read = read_paced, .context = &paced};

	return checksum_add_list(NULL, 0, size, &source, checks);
}

/* A content that is to be sealed. */
struct unsealed {
	uint64_t number, content, size, most;
	int64_t changed; /* the node's time, which every commit of its content moves */
	uint64_t exposures;
};

/* Whether nobody writes it, and all that was committed is on the disk. With b->lock held. */
static int find_unsealed(struct fs *fs, struct bucket *b, struct unsealed *u, bool *is)
{
	struct found found = {0};
	struct settle s = {0};
	int r = b->dead ? BUCKET_GONE : settle_load(fs, b, u->number, &s);

	if (!r)
		r = tree_find_number(fs, b, u->number, &found);
	*is = !r && !s.content && !is_written(fs, b, u->number) && found.node.place == PLACE_CONTENT &&
	      found.node.content == u->content && found.node.size <= u->most;
	u->size = found.node.size;
	u->changed = found.node.changed;
	u->exposures = __atomic_load_n(&fs->exposures, __ATOMIC_RELAXED);
	tree_found_release(&found);
	settle_release(&s);
	return r == BUCKET_GONE ? 0 : r;
}

static int seal_now(struct fs *fs, struct bucket *b, const struct unsealed *u, const struct buf *checks)
{
	struct store_batch batch = {0};
	struct head head = b->head;
	struct unsealed now = *u;
	bool is;
	int r = find_unsealed(fs, b, &now, &is);

	/* A writer that came and went meanwhile has brought it here again. */
	if (!r && is && now.exposures == u->exposures && now.size == u->size && now.changed == u->changed) {
		store_batch_seal(&batch, u->content, buf_slice(checks));
		r = bucket_commit(fs, b, &head, &batch);
	}
	store_batch_release(&batch);
	return r;
}

/* *mapped: somebody may change it without telling us. */
static int reseal(struct fs *fs, struct bucket *b, uint64_t number, uint64_t content, uint64_t most, const struct settle_pace *pace,
		  bool *mapped)
{
	struct unsealed u = {.number = number, .content = content, .most = most};
	struct store_content *open;
	struct buf checks = {0};
	bool is, sealed = true;
	int r;

	*mapped = false;
	bucket_lock(b);
	r = find_unsealed(fs, b, &u, &is);
	bucket_unlock(b);
	if (!r && is)
		r = store_content_has_writer(fs->store, content, mapped);
	if (r || !is || *mapped)
		return r == STORE_ABSENT ? 0 : r;
	r = store_content_open(fs->store, content, &open);
	if (r)
		return r == STORE_ABSENT ? 0 : r;
	r = store_content_is_sealed(open, u.size, &sealed);
	if (!r && !sealed)
		r = add_checks(open, u.size, pace, &checks);
	if (!r && !sealed)
		r = store_content_sync(open);
	store_content_close(open, false);
	/* What nobody can vouch for is not sealed. */
	if (r == STORE_REPEATED)
		r = 0;
	else if (!r && !sealed) {
		bucket_lock(b);
		r = seal_now(fs, b, &u, &checks);
		bucket_unlock(b);
	}
	buf_release(&checks);
	return r;
}

int settle_reseal_small(struct fs *fs, struct bucket *b, uint64_t number, uint64_t content, bool *mapped)
{
	return reseal(fs, b, number, content, reseal_most, NULL, mapped);
}

int settle_reseal(struct fs *fs, struct bucket *b, uint64_t number, uint64_t content, const struct settle_pace *pace)
{
	bool mapped;

	return reseal(fs, b, number, content, UINT64_MAX, pace, &mapped);
}
