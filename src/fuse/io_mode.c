#include "fuse/io_mode.h"

#include "util/log.h"

#if HAVE_FUSE_URING
static int backing_open(struct call *c, int fd)
{
	return fuse_passthrough_open(c->req, fd);
}

static void backing_close(fuse_req_t req, int backing)
{
	fuse_passthrough_close(req, backing);
}
#else
static int backing_open(struct call *c, int fd)
{
	(void)c, (void)fd;
	return 0;
}

static void backing_close(fuse_req_t req, int backing)
{
	(void)req, (void)backing;
}
#endif

/* The kernel gets a reference of its own on what is behind the descriptor. */
static bool lend(struct call *c, struct file *f)
{
	struct file_loan loan;
	int backing;

	if (file_lend_begin(f, &loan))
		return false;
	backing = backing_open(c, loan.fd);
	file_lend_end(f, backing > 0);
	if (backing <= 0) {
		if (!__atomic_exchange_n(&c->fe->passthrough_failed, true, __ATOMIC_RELAXED))
			log_warning("passthrough does not work here (it wants CAP_SYS_ADMIN): files are read through the daemon");
		return false;
	}
	f->modes.backing = backing;
	f->modes.content = loan.content;
	return true;
}

/* With the lock held. Only who reads what is published, and changes nothing, begins to pass through, and only while nobody has it
 * open otherwise: the kernel may not have heard of that yet, and would refuse it when it does. */
static bool passes(struct call *c, struct file_open *h)
{
	struct file_modes *m = &h->file->modes;

	if (m->passed)
		return m->content == file_content_now(h->file);
	return c->fe->passthrough && !__atomic_load_n(&c->fe->passthrough_failed, __ATOMIC_RELAXED) && !h->writes &&
	       !m->cached && !m->direct && !m->mappable && lend(c, h->file);
}

static enum io_mode choose(struct call *c, struct file_open *h)
{
	struct file_modes *m = &h->file->modes;

	if (passes(c, h) && !h->writes)
		return IO_PASSED;
	/* What is written comes to us. So does everything of one whose content is another by now; but the kernel wants to hear
	 * of the backing file that the inode is open with, and has its mappings from there. */
	if (m->passed)
		return IO_PASSED_DIRECT;
	/* What is being made is written once, from front to back, and nobody reads it yet: a page cache is only in the way.
	 * Who has such a one open for reading sees what is written at once. */
	if (m->direct || m->mappable || (c->fe->direct_files && !m->cached && !h->reads && file_is(&h->file->unlisted)))
		return h->reads ? IO_DIRECT_MAPPABLE : IO_DIRECT;
	return IO_CACHED;
}

static uint64_t *direct_word(struct frontend *fe, uint64_t inode, uint64_t *bit)
{
	uint64_t place = inode * 0x9e3779b97f4a7c15u >> 52; /* 12 bits */

	*bit = 1ULL << (place & 63);
	return &fe->written_direct[place >> 6];
}

void io_mode_written_direct(struct frontend *fe, uint64_t inode)
{
	uint64_t bit, *word = direct_word(fe, inode, &bit);

	if (!(__atomic_load_n(word, __ATOMIC_RELAXED) & bit))
		__atomic_fetch_or(word, bit, __ATOMIC_RELAXED);
}

/* Whether that was so since this was asked last. */
static bool take_written_direct(struct frontend *fe, uint64_t inode)
{
	uint64_t bit, *word = direct_word(fe, inode, &bit);

	return __atomic_load_n(word, __ATOMIC_RELAXED) & bit && __atomic_fetch_and(word, ~bit, __ATOMIC_RELAXED) & bit;
}

void io_mode_open(struct call *c, struct handle *h, struct fuse_file_info *fi)
{
	struct file *f = h->file->file;
	struct file_modes *m = &f->modes;

	pthread_mutex_lock(&m->lock);
	h->io_mode = choose(c, h->file);
	/* A writer that can read can map, and what is passed through is mapped from the store's own file. */
	if (h->io_mode == IO_PASSED_DIRECT && h->file->reads && h->file->writes && file_expose(f))
		log_error("a file is mapped whose checksums cannot be taken back: it will look damaged once it has changed");
	m->cached += h->io_mode == IO_CACHED;
	m->direct += h->io_mode == IO_DIRECT;
	m->mappable += h->io_mode == IO_DIRECT_MAPPABLE;
	m->passed += h->io_mode == IO_PASSED || h->io_mode == IO_PASSED_DIRECT;
	fi->direct_io = h->io_mode == IO_DIRECT || h->io_mode == IO_DIRECT_MAPPABLE || h->io_mode == IO_PASSED_DIRECT;
#if HAVE_FUSE_URING
	if (h->io_mode == IO_PASSED || h->io_mode == IO_PASSED_DIRECT)
		fi->backing_id = m->backing;
#endif
	/* All changes of the content come through the page cache, but for mappings that are passed through, and O_DIRECT. */
	fi->keep_cache = h->io_mode == IO_CACHED && !(c->fe->passthrough && m->cached == 1 && file_content_now(f)) &&
			 !(m->cached == 1 && take_written_direct(c->fe, f->inode));
	pthread_mutex_unlock(&m->lock);
}

void io_mode_close(struct handle *h, fuse_req_t req)
{
	struct file_modes *m = &h->file->file->modes;
	bool was_passed = h->io_mode == IO_PASSED || h->io_mode == IO_PASSED_DIRECT;

	pthread_mutex_lock(&m->lock);
	m->cached -= h->io_mode == IO_CACHED;
	m->direct -= h->io_mode == IO_DIRECT;
	m->mappable -= h->io_mode == IO_DIRECT_MAPPABLE;
	m->passed -= was_passed;
	if (was_passed && m->passed == 0 && req)
		backing_close(req, m->backing);
	pthread_mutex_unlock(&m->lock);
}
