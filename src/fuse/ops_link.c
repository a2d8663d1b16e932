/* Symbolic links: those in files/, and @device and @job, which lead every caller to their own bucket, like /proc/self. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bucket/scoped.h"
#include "fuse/caller.h"
#include "fuse/frontend.h"
#include "fuse/worker.h"

uint64_t link_node(const char *name)
{
	if (strcmp(name, "@device") == 0)
		return NODE_ROOT_DEVICE;
	return strcmp(name, "@job") == 0 ? NODE_ROOT_JOB : 0;
}

int link_attr(struct call *c, struct attr *attr)
{
	*attr = (struct attr){
		.inode = c->node,
		.mode = S_IFLNK | 0777,
		.uid = c->fs->options.mount_uid,
		.private = true,
		.fleeting = true,
	};
	return 0;
}

/* What a new bucket of this job must look like: DIR/JOB.json, if there is one. */
static int read_schema(const struct frontend *fe, const char *job, struct buf *out)
{
	char path[4096];
	ssize_t n = 1;
	int fd, r = 0;

	if (!fe->job_schema || strchr(job, '/') || job[0] == '.')
		return BUCKET_ABSENT;
	snprintf(path, sizeof(path), "%s/%s.json", fe->job_schema, job);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT ? BUCKET_ABSENT : -errno;
	while (!r && n > 0) {
		r = buf_reserve(out, 65536);
		n = r ? 0 : read(fd, out->data + out->len, 65536);
		if (n < 0)
			r = -errno;
		else
			out->len += (size_t)n;
		if (out->len > 4 << 20)
			r = BUCKET_TOO_LARGE;
	}
	close(fd);
	return r;
}

static int resolve_job(struct call *c, char id[name_max + 1])
{
	struct buf schema = {0};
	struct slice text;
	char *job = NULL;
	int r = caller_environment(c->who.pid, c->fe->job_env, &job);

	if (r) {
		reason_set(&c->why, "%s is not in the environment that process %d was started with, so this is no job: "
				    "env BUCKETFS_JOB=NAME COMMAND (export in the shell that redirects is too late)",
			   c->fe->job_env ? c->fe->job_env : "BUCKETFS_JOB", c->who.pid);
		return BUCKET_ABSENT;
	}
	r = read_schema(c->fe, job, &schema);
	if (r && r != BUCKET_ABSENT)
		reason_set(&c->why, "the schema for this job, %.60s.json in the folder of job_schema, cannot be used: %s", job,
			   r > 0 ? "it has more than 4 MiB" : strerror(-r));
	text = buf_slice(&schema);
	if (r == 0 || r == BUCKET_ABSENT)
		r = scoped_job(c->fs, &c->who, slice_str(job), r ? NULL : &text, id, &c->why);
	buf_release(&schema);
	free(job);
	return r;
}

struct link_job {
	struct call c;
	struct worker_job job;
};

static void run(struct worker_job *base)
{
	struct link_job *job = container_of(base, struct link_job, job);
	struct call *c = &job->c;
	char id[name_max + 1];
	int r;

	if (c->node == NODE_ROOT_DEVICE)
		r = scoped_device(c->fs, c->fe->device_acl, id, &c->why);
	else
		r = resolve_job(c, id);
	if (r) {
		c->leaf = c->node == NODE_ROOT_DEVICE ? "@device" : "@job";
		call_end(c, r);
	} else {
		fuse_reply_readlink(c->req, id);
		call_release(c);
	}
	free(job);
}

/* One that a user made. */
static void read_target(fuse_req_t req, fuse_ino_t inode)
{
	struct buf target = {0};
	struct call c;
	int r;

	if (!call_begin(&c, req, inode, "readlink"))
		return;
	c.told = true;
	r = call_in_tree(&c) ? tree_target(c.fs, c.b, &c.who, c.node, &target) : BUCKET_INVALID;
	if (!r && c.fs->options.symlinks_off) {
		c.told = false;
		reason_set(&c.why, "symbolic links lead nowhere here: the mount has symlinks=off");
		r = BUCKET_NOT_PERMITTED;
	}
	if (!r)
		r = buf_add_byte(&target, 0);
	if (r) {
		call_end(&c, r);
	} else {
		fuse_reply_readlink(req, (char *)target.data);
		call_release(&c);
	}
	buf_release(&target);
}

void op_readlink(fuse_req_t req, fuse_ino_t inode)
{
	struct link_job *job;

	if (inode != inode_of(0, NODE_ROOT_DEVICE) && inode != inode_of(0, NODE_ROOT_JOB)) {
		read_target(req, inode);
		return;
	}
	job = call_begin_later(sizeof(*job), req, inode, "readlink");
	if (!job)
		return;
	/* It may ask the name service, and reads /proc. */
	job->job = (struct worker_job){.run = run, .uid = job->c.who.uid};
	workers_add(job->c.fe->workers, &job->job);
}
