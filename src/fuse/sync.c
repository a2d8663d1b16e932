#include "fuse/sync.h"

#include <errno.h>
#include <stdlib.h>

#include "bucket/version.h"
#include "fuse/caller.h"
#include "fuse/control_file.h"
#include "fuse/later.h"
#include "fuse/worker.h"

struct sync_job {
	struct call c;
	struct later_job job;
	struct handle *h;
	struct worker_job work;
	fuse_ino_t inode;
	bool is_flush;
	bool waits; /* for its bucket, which is busy */
	bool ran;
	int result;
};

static void note(struct call *c, int r)
{
	if (r == BUCKET_GONE)
		reason_set(&c->why, "the bucket was deleted meanwhile");
	/* The write that was refused has said why. */
	c->told = r > 0 && !c->why.text[0];
}

/* The first close of a handle with something in the file is its last one, but for programs that copy descriptors: a shell closes one
 * before the first byte, and a child closes what it has from its parent. Nothing of that costs a file much that is opened, written
 * and closed by one thread; the exception is found by handle_review. */
static enum file_closer closer_of(pid_t thread, struct handle *h)
{
	bool first = !__atomic_exchange_n(&h->flushed, true, __ATOMIC_RELAXED);
	struct file *f = h->file->file;
	bool written = file_is(&f->written), same;

	__atomic_store_n(&h->reviewed, false, __ATOMIC_RELAXED);
	if (caller_is_killed(thread))
		return FILE_CLOSER_DIES;
	if (!thread || !h->opener)
		return first && written ? FILE_CLOSER_DONE : FILE_CLOSER_SHARES;
	same = thread == h->opener || caller_same_process(thread, h->opener) || !caller_is_there(h->opener);
	if (same && first && written)
		return FILE_CLOSER_DONE;
	/* A child has it: then its parent may have taken a copy of the descriptor, and not the last one, to write by. */
	if (!same && file_is(&f->candidate) && caller_has_open_soon(h->opener, f->inode))
		file_is_shared(f, __atomic_load_n(&f->closes, __ATOMIC_RELAXED));
	return same && !caller_has_open(thread, f->inode) ? FILE_CLOSER_DONE : FILE_CLOSER_SHARES;
}

int sync_flush(struct call *c, struct handle *h)
{
	bool opener_only;
	int r;

	if (h->file)
		return file_flush(h->file, file_is(&h->file->file->unlisted) ? closer_of(c->who.pid, h) : FILE_CLOSER_DONE);
	if (h->control)
		return control_file_flush(c, h->control);
	data_closed_by(h->data, c->who.pid);
	r = data_flush(h->data, &c->who, &opener_only, &c->why);
	note(c, r);
	return r && opener_only && !caller_same_process(c->who.pid, data_opener(h->data)) ? 0 : r;
}

/* What is done where the request was received: a merge does not wait for the disk, and the disk's thread has enough to do. */
static int begin(struct call *c, struct handle *h, bool is_flush)
{
	int r;

	if (!h || !h->data)
		return 0;
	if (is_flush)
		return sync_flush(c, h);
	r = data_fsync(h->data, &c->who, &c->why);
	note(c, r);
	return r;
}

static void save(struct sync_job *job)
{
	struct handle *h = job->h;

	job->ran = true;
	if (h && h->file) {
		job->result = job->is_flush ? sync_flush(&job->c, h) : file_save(h->file->file);
		if (!job->result)
			job->result = file_settle(h->file->file);
		/* A database that is made and synced is there from then on, whatever becomes of who made it. */
		if (!job->result && !job->is_flush && h->file->reads && h->file->writes && !file_is(&h->file->file->version))
			job->result = version_publish(h->file->file);
	} else if (h && h->control) {
		job->result = sync_flush(&job->c, h);
	}
}

static void run_work(struct worker_job *work)
{
	struct sync_job *job = container_of(work, struct sync_job, work);

	save(job);
	later_add(job->c.fe->disk, &job->job);
}

/* The disk's thread is everybody's: it does not wait for the lock of a bucket that is busy. A worker does, and then the
 * job comes back. */
static void run(struct later_job *base)
{
	struct sync_job *job = container_of(base, struct sync_job, job);
	struct handle *h = job->h;

	if (job->ran || !h || !(h->file || h->control))
		return;
	job->waits = workers_are_busy_in(job->c.fe->workers, job->c.b->number);
	if (!job->waits)
		save(job);
}

static void hand_over(struct sync_job *job)
{
	job->waits = false;
	job->work = (struct worker_job){.run = run_work, .uid = job->c.who.uid, .key = job->inode, .bucket = job->c.b->number};
	workers_add(job->c.fe->workers, &job->work);
}

void sync_finish(void *context, struct later_job *jobs)
{
	struct frontend *fe = context;
	int r = store_sync(fe->fs->store);

	while (jobs) {
		struct sync_job *job = container_of(jobs, struct sync_job, job);

		jobs = jobs->next;
		if (job->waits) {
			hand_over(job);
			continue;
		}
		order_use(job->h);
		call_end(&job->c, job->result ? job->result : r);
		free(job);
	}
}

static void add(fuse_req_t req, fuse_ino_t inode, struct handle *h, bool is_flush)
{
	struct sync_job *job = call_begin_later(sizeof(*job), req, inode, is_flush ? "close" : "fsync");
	int r;

	if (!job)
		return;
	r = begin(&job->c, h, is_flush);
	if (r) {
		call_end(&job->c, r);
		free(job);
		return;
	}
	job->job.run = run;
	job->h = h;
	job->inode = inode;
	job->is_flush = is_flush;
	later_add(job->c.fe->disk, &job->job);
}

void sync_later(fuse_req_t req, fuse_ino_t inode, struct handle *h)
{
	add(req, inode, h, false);
}

void sync_flush_later(fuse_req_t req, fuse_ino_t inode, struct handle *h)
{
	add(req, inode, h, true);
}
