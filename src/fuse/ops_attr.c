/* Operations on attributes. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "bucket/control.h"
#include "fuse/control_file.h"
#include "fuse/frontend.h"
#include "fuse/patience.h"
#include "fuse/worker.h"

void op_getattr(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
	struct call c;
	struct attr attr;

	(void)fi;
	if (!call_begin_gone(&c, req, inode, "getattr", &attr))
		return;
	call_end_attr(&c, attr.mode ? 0 : call_attr(&c, &attr), &attr);
}

static int64_t time_of(const struct timespec *t, bool now, int64_t present)
{
	/* Nanoseconds in 64 bits reach from 1677 to 2262. */
	const int64_t most = INT64_MAX / 1000000000 - 1;
	int64_t seconds = t->tv_sec > most ? most : t->tv_sec < -most ? -most : t->tv_sec;

	return now ? present : seconds * 1000000000 + t->tv_nsec;
}

static int set_data(struct call *c, const struct stat *st, int set, struct handle *h)
{
	int64_t present = fs_now(c->fs), modified = time_of(&st->st_mtim, set & FUSE_SET_ATTR_MTIME_NOW, present);
	struct attr attr;
	int r = bucket_check(c->fs, c->b, &c->who, PRIVILEGE_EDIT, "change data.json");

	if (!r && set & FUSE_SET_ATTR_SIZE) {
		if (h && h->data)
			return data_truncate(h->data, (uint64_t)st->st_size, &c->why);
		/* By name: an empty patch changes nothing, and to cut a document elsewhere makes no sense. */
		r = data_attr(c->fs, c->b, &c->who, &attr);
		if (!r && st->st_size && (uint64_t)st->st_size != attr.size) {
			reason_set(&c->why, "data.json can be truncated to nothing only, which changes nothing");
			r = BUCKET_INVALID;
		}
	}
	/* The kernel sends a time along with a truncation; the merge sets the right one. */
	if (!r && set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW) && !(set & FUSE_SET_ATTR_SIZE))
		r = data_touch(c->fs, c->b, &c->who, modified);
	return r;
}

/* Modes, owners and times are accepted: whoever saves this way puts on what data.json shows. */
static int set_scratch(struct call *c, const struct stat *st, int set, struct handle *h)
{
	if (!(set & FUSE_SET_ATTR_SIZE))
		return 0;
	return h && h->scratch ? scratch_truncate(h->scratch, (uint64_t)st->st_size, &c->why) :
				 scratch_truncate_node(c->fs, c->b, &c->who, c->node, (uint64_t)st->st_size, &c->why);
}

static int set_tree(struct call *c, const struct stat *st, int set, struct handle *h, int64_t closed)
{
	int64_t present = fs_now(c->fs);
	int64_t accessed = time_of(&st->st_atim, set & FUSE_SET_ATTR_ATIME_NOW, present);
	int64_t modified = time_of(&st->st_mtim, set & FUSE_SET_ATTR_MTIME_NOW, present);
	uint32_t mode = st->st_mode;
	struct tree_change change = {
		set & FUSE_SET_ATTR_MODE ? &mode : NULL,
		set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW) ? &accessed : NULL,
		set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW) ? &modified : NULL,
	};
	int r = 0;

	if (set & FUSE_SET_ATTR_SIZE) {
		if (h && h->file)
			r = h->file->writes ? file_truncate_open(h->file, (uint64_t)st->st_size, &c->why) :
					      BUCKET_WRONG_HANDLE;
		else
			r = tree_truncate(c->fs, c->b, &c->who, c->node, (uint64_t)st->st_size, closed, &c->why);
	}
	if (r || !(change.mode || change.accessed || change.modified || !(set & FUSE_SET_ATTR_SIZE)))
		return r;
	return tree_set(c->fs, c->b, &c->who, c->node, &change);
}

struct set_question {
	struct question q;
	struct stat st;
	int set;
	struct handle *h; /* NULL: by name */
};

static bool ask_set(const struct question *base, const struct turn *turn)
{
	const struct set_question *q = container_of(base, struct set_question, q);
	struct call c;
	struct attr attr;
	bool changed;
	int r;

	if (!call_begin_turn(&c, base, turn, "setattr"))
		return true;
	if (q->h && q->h->control)
		r = q->set & FUSE_SET_ATTR_SIZE ? control_file_truncate(q->h->control, (uint64_t)q->st.st_size, &c.why) : 0;
	else if (scratch_is(c.node))
		r = set_scratch(&c, &q->st, q->set, q->h);
	else if (call_in_control(&c))
		r = control_file_check(&c);
	else if (call_is_data(&c))
		r = set_data(&c, &q->st, q->set, q->h);
	else if (call_in_tree(&c))
		r = set_tree(&c, &q->st, q->set, q->h, turn->closed);
	else
		/* A bucket's mode and times are what its ACL and its content make them. */
		r = bucket_check(c.fs, c.b, &c.who, PRIVILEGE_EDIT, "change attributes");
	if (r == BUCKET_WAIT) {
		call_postpone(&c);
		return false;
	}
	changed = !r;
	if (changed)
		r = call_attr(&c, &attr);
	/* An editor who may not read is told that it worked. The kernel wants the attributes all the same, and the right
	 * ones, for it shares them with those who may. */
	if (r == BUCKET_DENIED && changed) {
		c.who.uid = c.b->owner;
		r = call_attr(&c, &attr);
	}
	call_end_attr(&c, r, &attr);
	return true;
}

struct slow_set {
	struct worker_job job;
	struct set_question q;
};

static void run_set(struct worker_job *job)
{
	struct slow_set *slow = container_of(job, struct slow_set, job);

	order_use(slow->q.h);
	if (slow->q.h)
		file_change_ahead(slow->q.h->file->file);
	question_put(&slow->q.q, sizeof(slow->q));
	free(slow);
}

/* A committed file that becomes shorter waits for the disk. By name it is not known whether it does. */
static bool set_waits(const struct set_question *q)
{
	uint64_t node = q->q.inode & INODE_NODE_MASK;

	if (!(q->set & FUSE_SET_ATTR_SIZE))
		return false;
	if (q->h)
		return q->h->file && q->h->file->writes && file_truncate_waits(q->h->file->file, (uint64_t)q->st.st_size);
	return q->st.st_size && node >= NODE_FIRST && !scratch_is(node);
}

void op_setattr(fuse_req_t req, fuse_ino_t inode, struct stat *st, int set, struct fuse_file_info *fi)
{
	struct set_question q = {{.req = req, .inode = inode, .ask = ask_set}, *st, set, fi ? handle_of(fi) : NULL};
	struct slow_set *slow = set_waits(&q) ? malloc(sizeof(*slow)) : NULL;

	if (!slow) {
		question_put(&q.q, sizeof(q));
		return;
	}
	*slow = (struct slow_set){{.run = run_set,
				   .uid = fuse_req_ctx(req)->uid,
				   .key = inode,
				   .bucket = (uint32_t)(inode >> inode_node_bits)},
				  q};
	workers_add(((struct frontend *)fuse_req_userdata(req))->workers, &slow->job);
}

static int check_access(struct call *c, int mask)
{
	enum privilege writing = call_is_root(c) ? PRIVILEGE_CREATE : PRIVILEGE_EDIT;
	struct attr attr;
	int r = 0;

	if (mask & R_OK && !call_is_root(c))
		r = bucket_check(c->fs, c->b, &c->who, PRIVILEGE_READ, "read");
	if (!r && mask & W_OK)
		r = bucket_check(c->fs, c->b, &c->who, writing, "write");
	if (!r && !call_is_root(c))
		r = bucket_check_enter(c->fs, c->b, &c->who, "look inside");
	if (!r && mask & W_OK && call_in_control(c) && c->node != NODE_CONTROL)
		r = call_is_root(c) ? BUCKET_DENIED : control_check_write(c->fs, c->b, &c->who, c->node);
	if (!r && mask & X_OK && c->node != NODE_BUCKET) {
		r = call_attr(c, &attr);
		if (!r && S_ISREG(attr.mode) && !(attr.mode & 0111))
			r = BUCKET_DENIED;
	}
	return r;
}

void op_access(fuse_req_t req, fuse_ino_t inode, int mask)
{
	struct call c;
	struct attr gone;

	if (!call_begin_gone(&c, req, inode, "access", &gone))
		return;
	/* They only ask. */
	c.told = true;
	call_end(&c, gone.mode ? 0 : check_access(&c, mask));
}

void op_statfs(fuse_req_t req, fuse_ino_t inode)
{
	struct call c;
	struct attr gone;
	struct store_usage usage;
	uint64_t reserve;
	int r;

	if (!call_begin_gone(&c, req, inode, "statfs", &gone))
		return;
	r = store_usage(c.fs->store, &usage);
	if (r) {
		call_end(&c, r);
		return;
	}
	reserve = usage.total_bytes / 1000 * __atomic_load_n(&c.fs->reserve_permille, __ATOMIC_RELAXED);
	struct statvfs v = {
		.f_bsize = 4096,
		.f_frsize = 4096,
		.f_blocks = usage.total_bytes / 4096,
		.f_bfree = usage.free_bytes / 4096,
		.f_bavail = (usage.available_bytes > reserve ? usage.available_bytes - reserve : 0) / 4096,
		.f_files = usage.total_nodes,
		.f_ffree = usage.free_nodes,
		.f_favail = usage.free_nodes,
		.f_namemax = name_max,
	};
	fuse_reply_statfs(req, &v);
	call_release(&c);
}
