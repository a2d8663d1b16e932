/* Who may do what in a bucket, its access lists, and what stat shows of that. */
#include "bucket/bucket.h"

#include <stdio.h>
#include <sys/stat.h>

#include "bucket/moment.h"
#include "bucket/transaction.h"
#include "util/log.h"

/* ---- judging ---- */

/* The list that counts: the bucket's own or the root's. Out of the box everybody may read and nothing else. */
static const struct acl_list *effective(const struct fs *fs, const struct bucket *b, enum privilege privilege)
{
	static struct principal everyone = {PRINCIPAL_EVERYONE, 0};
	static const struct acl_list all = {true, 1, &everyone}, none = {true, 0, NULL};

	if (b->acl.list[privilege].set)
		return &b->acl.list[privilege];
	if (fs->root->acl.list[privilege].set)
		return &fs->root->acl.list[privilege];
	return privilege == PRIVILEGE_READ ? &all : &none;
}

static bool is_superuser(const struct fs *fs, const struct caller *who)
{
	if (who->uid == 0)
		return !fs->options.squash_root;
	return who->uid == fs->options.mount_uid;
}

/* The root has no owner: (uid_t)-1 is nobody's. Nor has what uid 0 made, where uid 0 is like anyone: a container's root
 * did not make it. */
static uid_t owner_of(const struct fs *fs, const struct bucket *b)
{
	return !b->number || (b->owner == 0 && fs->options.squash_root) ? (uid_t)-1 : b->owner;
}

/* Without supplementary groups. With acl_lock held. */
static bool may_locked(struct fs *fs, const struct bucket *b, const struct caller *who, enum privilege privilege)
{
	uid_t owner = owner_of(fs, b);

	if (is_superuser(fs, who) || who->uid == owner)
		return true;
	if (acl_list_has(effective(fs, b, privilege), who, owner))
		return true;
	return privilege != PRIVILEGE_ADMIN && acl_list_has(effective(fs, b, PRIVILEGE_ADMIN), who, owner);
}

static bool group_may(struct fs *fs, const struct bucket *b, const struct caller *who, enum privilege privilege)
{
	size_t count = 0;
	/* Costs a look into /proc: without the lock, and last. */
	const gid_t *groups = who->groups ? who->groups(who, &count) : NULL;
	bool may;

	if (!count)
		return false;
	pthread_rwlock_rdlock(&fs->acl_lock);
	may = acl_list_has_group(effective(fs, b, privilege), groups, count) ||
	      (privilege != PRIVILEGE_ADMIN && acl_list_has_group(effective(fs, b, PRIVILEGE_ADMIN), groups, count));
	pthread_rwlock_unlock(&fs->acl_lock);
	return may;
}

static bool has_groups(const struct acl_list *list)
{
	for (uint32_t i = 0; i < list->count; i++)
		if (list->principals[i].kind == PRINCIPAL_GROUP)
			return true;
	return false;
}

bool bucket_may(struct fs *fs, const struct bucket *b, const struct caller *who, enum privilege privilege)
{
	bool may, ask;

	pthread_rwlock_rdlock(&fs->acl_lock);
	may = may_locked(fs, b, who, privilege);
	ask = !may && (has_groups(effective(fs, b, privilege)) || has_groups(effective(fs, b, PRIVILEGE_ADMIN)));
	pthread_rwlock_unlock(&fs->acl_lock);
	return may || (ask && group_may(fs, b, who, privilege));
}

static int denied(struct fs *fs, const struct bucket *b, const struct caller *who, enum privilege privilege, const char *action)
{
	log_limited(who->uid, LOG_LEVEL_INFO, "audit: denied: uid=%u gid=%u pid=%d bucket=%.*s needs %s to %s", who->uid, who->gid,
		    who->pid, b->number ? (int)b->name.len : 1, b->number ? (const char *)b->name.at : "/",
		    privilege_name[privilege], action);
	struct reason why;
	char path[name_max + 1], giver[160];

	snprintf(path, sizeof(path), "%.*s", b->number ? (int)b->name.len : 1, b->number ? (const char *)b->name.at : "/");
	if (slice_starts_with(b->name, slice_str("device.")))
		snprintf(giver, sizeof(giver), "bucketctl acl @device and the mount option device_acl give it");
	else if (b->number)
		snprintf(giver, sizeof(giver), "the bucket's owner and its admins give it: bucketctl acl %.*s", (int)b->name.len,
			 (const char *)b->name.at);
	else
		snprintf(giver, sizeof(giver), "admins of the mount give it: bucketctl acl /");
	reason_set_own(&why, "to %s takes the privilege to %s, which you do not have; %s", action, privilege_name[privilege], giver);
	fs_refused(fs, 0, who, path, "EACCES", &why);
	return BUCKET_DENIED;
}

bool bucket_is_enabled(struct fs *fs, const struct bucket *b)
{
	uint32_t number = transaction_bucket(b->name);
	struct bucket *into;
	bool enabled = true;

	if (!number)
		return !b->number || __atomic_load_n(&b->enabled, __ATOMIC_RELAXED);
	if (!bucket_get(fs, number, &into)) {
		enabled = __atomic_load_n(&into->enabled, __ATOMIC_RELAXED);
		bucket_put(fs, into);
	}
	return enabled;
}

int bucket_read_only(struct fs *fs, const struct bucket *b, const struct caller *who, const char *action)
{
	char path[name_max + 32];
	uint32_t number = transaction_path(fs, b, path, sizeof(path));
	struct reason why;

	reason_set_own(&why, "the bucket is disabled, so that it can be read only: to %s, enable it first, which takes the privilege to edit "
			     "(echo '{\"enabled\": true}' > .bucketfs/meta.json); bucketctl delete -r deletes it as it is", action);
	fs_refused_and_log(fs, number, who, path, "EROFS", &why);
	return BUCKET_READ_ONLY;
}

int bucket_check(struct fs *fs, const struct bucket *b, const struct caller *who, enum privilege privilege,
		 const char *action)
{
	if (!bucket_may(fs, b, who, privilege))
		return denied(fs, b, who, privilege, action);
	return privilege != PRIVILEGE_READ && !bucket_is_enabled(fs, b) ? bucket_read_only(fs, b, who, action) : 0;
}

int bucket_check_removal(struct fs *fs, const struct bucket *b, const struct caller *who, const char *action)
{
	if (!bucket_may(fs, b, who, PRIVILEGE_DELETE))
		return bucket_check(fs, b, who, PRIVILEGE_EDIT, action);
	return bucket_is_enabled(fs, b) ? 0 : bucket_read_only(fs, b, who, action);
}

int bucket_check_end(struct fs *fs, const struct bucket *b, const struct caller *who)
{
	return bucket_may(fs, b, who, PRIVILEGE_ADMIN) ? 0 : bucket_check(fs, b, who, PRIVILEGE_DELETE, "delete the bucket");
}

int bucket_check_enter(struct fs *fs, const struct bucket *b, const struct caller *who, const char *action)
{
	if (bucket_may(fs, b, who, PRIVILEGE_READ) || bucket_may(fs, b, who, PRIVILEGE_EDIT))
		return 0;
	return denied(fs, b, who, PRIVILEGE_READ, action);
}

bool bucket_is_private(struct fs *fs, const struct bucket *b)
{
	bool private;

	pthread_rwlock_rdlock(&fs->acl_lock);
	private = !acl_list_is_everyone(effective(fs, b, PRIVILEGE_READ));
	pthread_rwlock_unlock(&fs->acl_lock);
	return private;
}

/* What everybody, or the owner's group, has of a privilege. */
static void shared_by(const struct acl_list *list, uint32_t group, bool *for_group, bool *for_all)
{
	*for_all = acl_list_is_everyone(list);
	*for_group = *for_all;
	for (uint32_t i = 0; i < list->count; i++)
		*for_group |= list->principals[i].kind == PRINCIPAL_GROUP && list->principals[i].id == group;
}

struct bucket_look bucket_look(struct fs *fs, const struct bucket *b)
{
	enum privilege writing = b->number ? PRIVILEGE_EDIT : PRIVILEGE_CREATE;
	bool group_reads, all_read, group_writes, all_write;
	uint32_t mode = 0600;

	pthread_rwlock_rdlock(&fs->acl_lock);
	shared_by(effective(fs, b, PRIVILEGE_READ), b->group, &group_reads, &all_read);
	shared_by(effective(fs, b, writing), b->group, &group_writes, &all_write);
	pthread_rwlock_unlock(&fs->acl_lock);
	mode |= (group_reads ? 040u : 0) | (all_read ? 04u : 0) | (group_writes ? 020u : 0) | (all_write ? 02u : 0);
	return (struct bucket_look){
		.file_mode = mode,
		.folder_mode = mode | 0100 | (group_reads || group_writes ? 010u : 0) | (all_read || all_write ? 01u : 0),
		.private = !all_read,
	};
}

static int add_moment(struct buf *out, const char *name, int64_t moment)
{
	int r = buf_add_format(out, ", \"%s\": ", name);

	return r ? r : moment_add(out, moment);
}

int bucket_usage(struct fs *fs, struct bucket *b, const struct caller *who, struct buf *out)
{
	uint64_t revision;
	struct head h;
	int r = bucket_check(fs, b, who, PRIVILEGE_READ, "see what it holds");

	if (r)
		return r;
	bucket_lock(b);
	h = b->head;
	revision = b->revision;
	bucket_unlock(b);
	r = buf_add_format(out, "{\"uid\": %u", h.owner);
	if (!r)
		r = add_moment(out, "created", h.created);
	if (!r)
		r = add_moment(out, "modified", h.modified);
	return r ? r : buf_add_format(out, ", \"revision\": %llu, \"keys\": %llu, \"data_size\": %llu, \"files\": %llu, \"file_bytes\": %llu}",
				      (unsigned long long)revision, (unsigned long long)h.data_keys, (unsigned long long)h.data_size,
				      (unsigned long long)h.files, (unsigned long long)h.file_bytes);
}

int bucket_access(struct fs *fs, const struct bucket *b, const struct caller *who, struct buf *out)
{
	int r = 0;

	for (int i = 0; !r && i < PRIVILEGE_COUNT; i++) {
		if ((i == PRIVILEGE_CREATE && b->number) || !bucket_may(fs, b, who, (enum privilege)i))
			continue;
		if (out->len)
			r = buf_add_byte(out, ',');
		if (!r)
			r = buf_add_string(out, privilege_name[i]);
	}
	return r;
}

/* ---- access lists ---- */

int bucket_acl_get(struct fs *fs, struct bucket *b, const struct caller *who, enum privilege privilege, struct buf *out)
{
	struct acl_list list = {0};
	int r = bucket_check(fs, b, who, PRIVILEGE_READ, "see the access list");

	if (r)
		return r;
	pthread_rwlock_rdlock(&fs->acl_lock);
	r = b->acl.list[privilege].set ? acl_list_copy(&list, &b->acl.list[privilege]) : BUCKET_NO_ATTRIBUTE;
	pthread_rwlock_unlock(&fs->acl_lock);
	/* Names come from a service that may be slow: not under the lock. */
	if (!r)
		r = acl_list_format(&list, fs->options.names, out);
	acl_list_release(&list);
	return r;
}

/* Puts the list in place and gives back the one that was there. */
static struct acl_list exchange(struct fs *fs, struct bucket *b, enum privilege privilege, struct acl_list list)
{
	struct acl_list old;

	pthread_rwlock_wrlock(&fs->acl_lock);
	old = b->acl.list[privilege];
	b->acl.list[privilege] = list;
	__atomic_add_fetch(&b->acl_changes, 1, __ATOMIC_RELEASE);
	pthread_rwlock_unlock(&fs->acl_lock);
	return old;
}

int bucket_acl_set(struct fs *fs, struct bucket *b, const struct caller *who, enum privilege privilege,
		   const struct slice *text, bool *narrowed, struct reason *why)
{
	struct acl_list list = {0}, old;
	struct store_batch nothing = {0};
	struct head head;
	int r = bucket_check(fs, b, who, PRIVILEGE_ADMIN, "change the access list");

	*narrowed = false;
	if (!r)
		r = transaction_check_setting(b, why);
	if (r)
		return r;
	if (privilege == PRIVILEGE_CREATE && b->number) {
		reason_set_own(why, "the create privilege is set on the root of the mount");
		return BUCKET_INVALID;
	}
	if (text)
		r = acl_list_parse(&list, *text, fs->options.names, why);
	if (r)
		return r;
	bucket_lock(b);
	/* Nobody who may not read any more gets in once this has begun; if the commit fails they do again. */
	old = exchange(fs, b, privilege, list);
	if (!text && !old.set)
		r = BUCKET_NO_ATTRIBUTE;
	head = b->head;
	if (!r)
		r = bucket_commit(fs, b, &head, &nothing);
	if (r)
		old = exchange(fs, b, privilege, old);
	bucket_unlock(b);
	acl_list_release(&old);
	if (r)
		return r;
	*narrowed = privilege != PRIVILEGE_CREATE && privilege != PRIVILEGE_DELETE;
	char detail[1100];
	snprintf(detail, sizeof(detail), "%s=%.*s", privilege_name[privilege], text ? (int)text->len : 9,
		 text ? (const char *)text->at : "inherited");
	fs_audit(who, "acl", b->name, detail);
	return 0;
}

/* ---- attributes ---- */

/* Without the bucket's lock: whoever lists the root must not wait for a bucket that is at work. */
int bucket_attr(struct fs *fs, struct bucket *b, const struct caller *who, struct attr *attr)
{
	struct bucket_look look = bucket_look(fs, b);
	int64_t modified = __atomic_load_n(&b->shown.modified, __ATOMIC_RELAXED);

	if (__atomic_load_n(&b->dead, __ATOMIC_RELAXED))
		return BUCKET_GONE;
	*attr = (struct attr){
		.inode = inode_of(b->number, NODE_BUCKET),
		.generation = b->number ? b->generation : 0,
		.mode = S_IFDIR | look.folder_mode,
		.uid = b->number ? b->owner : fs->options.mount_uid,
		.gid = b->group,
		.modified = modified,
		.changed = modified,
		.accessed = modified,
		.private = look.private,
		.fleeting = true,
	};
	if (b->number && attr->private && !bucket_may(fs, b, who, PRIVILEGE_READ)) {
		attr->uid = attr->gid = 0;
		attr->mode = S_IFDIR | 0700;
		attr->modified = attr->changed = attr->accessed = 0;
	}
	return 0;
}
