/* Who may do what: parsing, showing and judging access lists. Pure; user and group names come through callbacks. */
#pragma once

#include <sys/types.h>

#include "util/buf.h"
#include "util/reason.h"

enum privilege { PRIVILEGE_CREATE, PRIVILEGE_READ, PRIVILEGE_EDIT, PRIVILEGE_DELETE, PRIVILEGE_ADMIN, PRIVILEGE_COUNT };

extern const char *const privilege_name[PRIVILEGE_COUNT];

enum principal_kind { PRINCIPAL_EVERYONE, PRINCIPAL_OWNER, PRINCIPAL_USER, PRINCIPAL_GROUP };

struct principal {
	uint8_t kind;
	uint32_t id; /* uid or gid */
};

/* Not set means: as the root of the mount has it. Set and empty means: nobody. */
struct acl_list {
	bool set;
	uint32_t count;
	struct principal *principals;
};

struct acl {
	struct acl_list list[PRIVILEGE_COUNT];
};

/* How names become numbers and back. 0, or nonzero if there is none. */
struct acl_names {
	int (*uid_of)(const char *name, uint32_t *uid);
	int (*gid_of)(const char *name, uint32_t *gid);
	int (*user_of)(uint32_t uid, char *name, size_t size);
	int (*group_of)(uint32_t gid, char *name, size_t size);
};

/* Who asks. */
struct caller {
	uid_t uid;
	gid_t gid;
	pid_t pid; /* a thread's id; 0: outside our process namespace */
	/* The supplementary groups, sorted; valid until this thread asks for another request's. Asked only when nothing
	 * else has decided, and without locks, for it reads files. NULL: there are none. */
	const gid_t *(*groups)(const struct caller *who, size_t *count);
	/* The name of their program, empty if it cannot be told. NULL: it cannot. */
	void (*command)(const struct caller *who, char name[16]);
	/* The name of the job they are in, up to `size` bytes and no NUL; its length, 0: none. NULL: it cannot be told. */
	size_t (*job)(const struct caller *who, char *name, size_t size);
	uint64_t request; /* whatever is asked for one request is found out once; 0: it is found out each time */
};

void acl_list_release(struct acl_list *list);
void acl_release(struct acl *acl);
int acl_list_copy(struct acl_list *out, const struct acl_list *from);

/* A list is judged for every request. */
enum { acl_list_max = 1000 };

/* "user:NAME|UID", "group:NAME|GID", "*" and "owner", comma-separated; white space around them is ignored; empty text
 * is the empty list. BUCKET_INVALID for unknown names and anything else; BUCKET_VALUE_TOO_LARGE over acl_list_max;
 * -ENOMEM. */
int acl_list_parse(struct acl_list *out, struct slice text, const struct acl_names *names, struct reason *why);
/* The same form, names where there are any. */
int acl_list_format(const struct acl_list *list, const struct acl_names *names, struct buf *out);

/* Whether the list names the caller by anything but a supplementary group. `owner` is the bucket's. */
bool acl_list_has(const struct acl_list *list, const struct caller *who, uid_t owner);
/* Whether the list names one of the groups, which are sorted. */
bool acl_list_has_group(const struct acl_list *list, const gid_t *groups, size_t count);
/* Whether the list lets in everybody, so that nothing needs hiding. */
bool acl_list_is_everyone(const struct acl_list *list);

/* The stored form: count, then kind and number of each. */
int acl_list_encode(const struct acl_list *list, struct buf *out);
int acl_list_decode(struct acl_list *out, struct slice record);
