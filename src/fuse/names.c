#include "fuse/names.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>

enum { entry_first = 4096, entry_max = 1 << 20 };

/* One shape for the four questions: with a buffer that grows while it is too small. */
#define ASK(call)                                                       \
	size_t size = entry_first;                                      \
	char *buffer = NULL;                                            \
	int r = ERANGE;                                                 \
	for (; r == ERANGE && size <= entry_max; size *= 4) {           \
		char *grown = realloc(buffer, size);                    \
		if (!grown)                                             \
			break;                                          \
		buffer = grown;                                         \
		r = (call);                                             \
	}

static int uid_of(const char *name, uint32_t *uid)
{
	struct passwd entry, *found = NULL;

	ASK(getpwnam_r(name, &entry, buffer, size, &found))
	if (found)
		*uid = found->pw_uid;
	free(buffer);
	return found ? 0 : -1;
}

static int gid_of(const char *name, uint32_t *gid)
{
	struct group entry, *found = NULL;

	ASK(getgrnam_r(name, &entry, buffer, size, &found))
	if (found)
		*gid = found->gr_gid;
	free(buffer);
	return found ? 0 : -1;
}

static int user_of(uint32_t uid, char *name, size_t max)
{
	struct passwd entry, *found = NULL;

	ASK(getpwuid_r(uid, &entry, buffer, size, &found))
	if (found)
		snprintf(name, max, "%s", found->pw_name);
	free(buffer);
	return found ? 0 : -1;
}

static int group_of(uint32_t gid, char *name, size_t max)
{
	struct group entry, *found = NULL;

	ASK(getgrgid_r(gid, &entry, buffer, size, &found))
	if (found)
		snprintf(name, max, "%s", found->gr_name);
	free(buffer);
	return found ? 0 : -1;
}

const struct acl_names names_system = {uid_of, gid_of, user_of, group_of};
