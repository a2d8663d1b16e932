/* Extended attributes: the user's own, and ours under user.bucketfs. */
#include <errno.h>
#include <stdlib.h>
#include <sys/xattr.h>

#include "bucket/attribute.h"
#include "fuse/frontend.h"
#include "fuse/notify.h"
#include "fuse/worker.h"

enum attribute_kind {
	ATTRIBUTE_USER,
	ATTRIBUTE_KEY,    /* user.bucketfs.key.NAME of data.json */
	ATTRIBUTE_ACL,    /* user.bucketfs.acl.PRIVILEGE of a bucket or the root */
	ATTRIBUTE_ACCESS, /* user.bucketfs.access */
	ATTRIBUTE_NAME,   /* user.bucketfs.name of a file */
	ATTRIBUTE_ID,     /* user.bucketfs.id of a file, */
	ATTRIBUTE_JOB,    /* .job, */
	ATTRIBUTE_SERVER, /* .server */
	ATTRIBUTE_USERNAME, /* and .username */
	ATTRIBUTE_USAGE,  /* user.bucketfs.usage of a bucket */
	ATTRIBUTE_DELETE, /* user.bucketfs.delete of a bucket: to be set to its id */
	ATTRIBUTE_LIMIT,  /* user.bucketfs.max_files … of a bucket */
	ATTRIBUTE_OURS,   /* anything else under user.bucketfs. */
	ATTRIBUTE_FOREIGN, /* security., trusted., system. */
};

struct attribute {
	enum attribute_kind kind;
	struct slice rest; /* what comes after the prefix */
	enum privilege privilege;
	int limit;
};

static bool strip(struct slice *name, const char *prefix)
{
	struct slice p = slice_str(prefix);

	if (!slice_starts_with(*name, p))
		return false;
	*name = slice_of((const char *)name->at + p.len, name->len - p.len);
	return true;
}

static struct attribute parse(const struct call *c, const char *full)
{
	struct slice name = slice_str(full);
	struct attribute a = {ATTRIBUTE_OURS, name, PRIVILEGE_CREATE, 0};


	if (!strip(&name, "user.")) {
		a.kind = ATTRIBUTE_FOREIGN;
		return a;
	}
	a.rest = name;
	if (!strip(&name, "bucketfs.")) {
		a.kind = ATTRIBUTE_USER;
		return a;
	}
	if (call_is_data(c) && strip(&name, "key.")) {
		a.kind = ATTRIBUTE_KEY;
	} else if (c->node == NODE_BUCKET && strip(&name, "acl.")) {
		for (int i = 0; i < PRIVILEGE_COUNT; i++) {
			if (slice_equal(name, slice_str(privilege_name[i]))) {
				a.kind = ATTRIBUTE_ACL;
				a.privilege = (enum privilege)i;
			}
		}
	} else if (slice_equal(name, slice_str("access"))) {
		a.kind = ATTRIBUTE_ACCESS;
	} else if (call_in_bucket(c) && slice_equal(name, slice_str("usage"))) {
		a.kind = ATTRIBUTE_USAGE;
	} else if (call_in_bucket(c) && slice_equal(name, slice_str("delete"))) {
		a.kind = ATTRIBUTE_DELETE;
	} else if (c->node >= NODE_FIRST && c->node < NODE_END) {
		static const struct {
			const char *name;
			enum attribute_kind kind;
		} of_files[] = {{"name", ATTRIBUTE_NAME}, {"id", ATTRIBUTE_ID}, {"job", ATTRIBUTE_JOB},
				{"server", ATTRIBUTE_SERVER}, {"username", ATTRIBUTE_USERNAME}};

		for (size_t i = 0; i < sizeof(of_files) / sizeof(*of_files); i++)
			if (slice_equal(name, slice_str(of_files[i].name)))
				a.kind = of_files[i].kind;
	}
	for (int i = 0; i < limits_own_count; i++) {
		if (call_in_bucket(c) && slice_equal(name, slice_str(limits_own_name[i]))) {
			a.kind = ATTRIBUTE_LIMIT;
			a.limit = i;
		}
	}
	a.rest = name;
	return a;
}

/* ---- what another thread does: access lists, whose names come from the name service, and the end of a bucket ---- */

enum acl_action { ACL_GET, ACL_SET, ACL_REMOVE, USERNAME_GET, BUCKET_DELETE };

struct acl_job {
	struct call c;
	struct worker_job job;
	enum privilege privilege;
	enum acl_action action;
	size_t size; /* get: the caller's buffer */
	struct buf text;
};

/* Where a file comes from. */
static int get_source(struct call *c, enum attribute_kind kind, struct buf *value)
{
	struct buf job = {0};
	char user[256];
	uint32_t uid;
	int r = tree_source(c->fs, c->b, &c->who, c->node, &job, &uid);

	if (!r && kind == ATTRIBUTE_ID)
		r = buf_add_format(value, "%llu", (unsigned long long)c->node);
	else if (!r && kind == ATTRIBUTE_SERVER)
		r = buf_add_string(value, c->fs->options.server);
	else if (!r && kind == ATTRIBUTE_USERNAME && !c->fs->options.names->user_of(uid, user, sizeof(user)))
		r = buf_add_string(value, user);
	else if (!r && kind == ATTRIBUTE_USERNAME)
		r = buf_add_format(value, "%u", uid);
	else if (!r)
		r = job.len ? buf_add_slice(value, buf_slice(&job)) : BUCKET_NO_ATTRIBUTE;
	buf_release(&job);
	return r;
}

/* The bucket goes with everything in it. Its id is asked for as a second thought. */
static int delete_bucket(struct call *c, struct slice id)
{
	int r;

	if (!slice_equal(id, c->b->name)) {
		reason_set(&c->why, "the value is the bucket's own id, and it is deleted with everything in it");
		return BUCKET_INVALID;
	}
	r = bucket_remove_all(c->fs, &c->who, c->b);
	if (!r)
		notifier_spelled(c->fe->notifier, FUSE_ROOT_ID, c->b->name, true);
	return r;
}

static void acl_run(struct worker_job *base)
{
	struct acl_job *job = container_of(base, struct acl_job, job);
	struct call *c = &job->c;
	struct slice text = buf_slice(&job->text);
	struct buf value = {0};
	bool narrowed = false;
	int r;

	if (job->action == USERNAME_GET) {
		r = get_source(c, ATTRIBUTE_USERNAME, &value);
		call_end_value(c, r, &value, job->size);
	} else if (job->action == BUCKET_DELETE) {
		call_end(c, delete_bucket(c, text));
	} else if (job->action == ACL_GET) {
		r = bucket_acl_get(c->fs, c->b, &c->who, job->privilege, &value);
		call_end_value(c, r, &value, job->size);
	} else {
		struct frontend *fe = c->fe;
		struct bucket *b = NULL;

		r = bucket_acl_set(c->fs, c->b, &c->who, job->privilege, job->action == ACL_SET ? &text : NULL, &narrowed,
				   &c->why);
		if (narrowed && !bucket_get(c->fs, c->b->number, &b))
			notifier_narrowed(fe->notifier, fe->fs, b);
		call_end(c, r);
		if (b)
			notifier_narrowed_after(fe->notifier, fe->fs, b);
		bucket_put(fe->fs, b);
	}
	buf_release(&job->text);
	free(job);
}

/* `size` is that of the caller's buffer, `text` the list to be set. */
static void acl_later(fuse_req_t req, fuse_ino_t inode, enum acl_action action, enum privilege privilege, size_t size,
		      struct slice text)
{
	struct acl_job *job = call_begin_later(sizeof(*job), req, inode, "access list");
	int r;

	if (!job)
		return;
	job->job = (struct worker_job){.run = acl_run, .uid = job->c.who.uid, .bucket = job->c.b->number};
	job->action = action;
	job->privilege = privilege;
	job->size = size;
	r = buf_add_slice(&job->text, text);
	if (r) {
		call_end(&job->c, r);
		free(job);
		return;
	}
	workers_add(job->c.fe->workers, &job->job);
}

/* ---- operations ---- */

/* data.json is one file, by whichever inode it is seen. */
static uint64_t owner_node(const struct call *c)
{
	return call_is_data(c) ? NODE_DATA : c->node;
}

static int get(struct call *c, const struct attribute *a, struct buf *value)
{
	switch (a->kind) {
	case ATTRIBUTE_USER:
		return attribute_get(c->fs, c->b, &c->who, owner_node(c), a->rest, value);
	case ATTRIBUTE_KEY:
		return data_key_get(c->fs, c->b, &c->who, a->rest, value);
	case ATTRIBUTE_ID:
	case ATTRIBUTE_JOB:
	case ATTRIBUTE_SERVER:
		return get_source(c, a->kind, value);
	case ATTRIBUTE_LIMIT:
		return bucket_limit_get(c->fs, c->b, &c->who, a->limit, value);
	case ATTRIBUTE_USAGE:
		return bucket_usage(c->fs, c->b, &c->who, value);
	case ATTRIBUTE_ACCESS:
		return bucket_access(c->fs, c->b, &c->who, value);
	case ATTRIBUTE_NAME:
		return tree_given_name(c->fs, c->b, &c->who, c->node, value);
	default:
		return BUCKET_NO_ATTRIBUTE;
	}
}

void op_getxattr(fuse_req_t req, fuse_ino_t inode, const char *name, size_t size)
{
	struct buf value = {0};
	struct attr gone;
	struct attribute a;
	struct call c;

	if (!call_begin_gone(&c, req, inode, "getxattr", &gone))
		return;
	a = parse(&c, name);
	if (gone.mode) {
		call_end(&c, BUCKET_NO_ATTRIBUTE);
	} else if (a.kind == ATTRIBUTE_ACL || a.kind == ATTRIBUTE_USERNAME) {
		call_postpone(&c);
		acl_later(req, inode, a.kind == ATTRIBUTE_ACL ? ACL_GET : USERNAME_GET, a.privilege, size, slice_of(NULL, 0));
	} else if (a.kind == ATTRIBUTE_FOREIGN && strncmp(name, "system.", 7) == 0) {
		call_end(&c, BUCKET_UNSUPPORTED);
	} else {
		call_end_value(&c, get(&c, &a, &value), &value, size);
	}
}

static int set(struct call *c, const struct attribute *a, struct slice value, int flags)
{
	bool create = flags & XATTR_CREATE, replace = flags & XATTR_REPLACE;

	switch (a->kind) {
	case ATTRIBUTE_USER:
		return attribute_set(c->fs, c->b, &c->who, owner_node(c), a->rest, value, create, replace, &c->why);
	case ATTRIBUTE_KEY:
		return data_key_set(c->fs, c->b, &c->who, a->rest, value, create, replace, &c->why);
	case ATTRIBUTE_LIMIT:
		return bucket_limit_set(c->fs, c->b, &c->who, a->limit, &value, &c->why);
	case ATTRIBUTE_FOREIGN:
		/* cp -a and install try this on every file and go on without. */
		if (!slice_starts_with(a->rest, slice_str("system.")))
			reason_set(&c->why, "only attributes that begin with user. are kept");
		return BUCKET_UNSUPPORTED;
	default:
		reason_set(&c->why, "there is no attribute of this name here that can be set");
		return a->kind == ATTRIBUTE_OURS ? BUCKET_INVALID : BUCKET_NOT_PERMITTED;
	}
}

void op_setxattr(fuse_req_t req, fuse_ino_t inode, const char *name, const char *value, size_t size, int flags)
{
	struct attribute a;
	struct call c;

	if (!call_begin(&c, req, inode, "setxattr"))
		return;
	a = parse(&c, name);
	if (c.node >= NODE_END) {
		call_end(&c, BUCKET_UNSUPPORTED);
		return;
	}
	if (a.kind != ATTRIBUTE_ACL && a.kind != ATTRIBUTE_DELETE) {
		call_end(&c, set(&c, &a, slice_of(value, size), flags));
		return;
	}
	call_postpone(&c);
	acl_later(req, inode, a.kind == ATTRIBUTE_ACL ? ACL_SET : BUCKET_DELETE, a.privilege, 0, slice_of(value, size));
}

void op_removexattr(fuse_req_t req, fuse_ino_t inode, const char *name)
{
	struct attribute a;
	struct call c;
	int r;

	if (!call_begin(&c, req, inode, "removexattr"))
		return;
	a = parse(&c, name);
	if (a.kind == ATTRIBUTE_ACL) {
		call_postpone(&c);
		acl_later(req, inode, ACL_REMOVE, a.privilege, 0, slice_of(NULL, 0));
		return;
	}
	if (a.kind == ATTRIBUTE_USER)
		r = attribute_remove(c.fs, c.b, &c.who, owner_node(&c), a.rest);
	else if (a.kind == ATTRIBUTE_LIMIT)
		r = bucket_limit_set(c.fs, c.b, &c.who, a.limit, NULL, &c.why);
	else if (a.kind == ATTRIBUTE_KEY)
		r = data_key_remove(c.fs, c.b, &c.who, a.rest, &c.why);
	else
		r = a.kind == ATTRIBUTE_FOREIGN ? BUCKET_UNSUPPORTED :
		    a.kind == ATTRIBUTE_OURS    ? BUCKET_NO_ATTRIBUTE :
						  BUCKET_NOT_PERMITTED;
	if (r == BUCKET_NOT_PERMITTED)
		reason_set(&c.why, "where a file comes from cannot be taken back");
	call_end(&c, r);
}

/* Nothing under user.bucketfs: backups and cp -a must not carry keys and access lists about. */
void op_listxattr(fuse_req_t req, fuse_ino_t inode, size_t size)
{
	struct buf own = {0}, names = {0};
	struct attr gone;
	struct call c;
	int r = 0;

	if (!call_begin_gone(&c, req, inode, "listxattr", &gone))
		return;
	if (!gone.mode)
		r = attribute_list(c.fs, c.b, &c.who, owner_node(&c), &own);
	for (size_t at = 0; !r && at < own.len; at += strlen((char *)own.data + at) + 1) {
		r = buf_add_string(&names, "user.");
		if (!r)
			r = buf_add(&names, own.data + at, strlen((char *)own.data + at) + 1);
	}
	buf_release(&own);
	call_end_value(&c, r, &names, size);
}
