#include "fuse/place.h"

#include <errno.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/log.h"

bool place_is_mounted(const char *mountpoint)
{
	FILE *mounts = setmntent("/proc/self/mounts", "r");
	struct mntent *m;
	bool found = false;

	if (!mounts)
		return false;
	while (!found && (m = getmntent(mounts)))
		found = strcmp(m->mnt_dir, mountpoint) == 0 && strcmp(m->mnt_type, "fuse.bucketfs") == 0;
	endmntent(mounts);
	return found;
}

/* realpath of the parent and then the last part, which a dead mount does not let us look at. */
static char *resolve_dead(const char *path)
{
	char *copy = strdup(path), *resolved = NULL, *parent, *slash;
	size_t len = copy ? strlen(copy) : 0;

	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = 0;
	slash = copy ? strrchr(copy, '/') : NULL;
	if (slash)
		*slash = 0;
	parent = copy ? realpath(!slash ? "." : *copy ? copy : "/", NULL) : NULL;
	if (parent && asprintf(&resolved, "%s/%s", strcmp(parent, "/") ? parent : "", slash ? slash + 1 : copy) < 0)
		resolved = NULL;
	free(parent);
	free(copy);
	return resolved;
}

static int unmount_dead(const char *path)
{
	int status;
	pid_t pid;

	if (umount2(path, MNT_DETACH) == 0)
		return 0;
	if (errno != EPERM)
		return -errno;
	pid = fork();
	if (pid == 0) {
		execlp("fusermount3", "fusermount3", "-u", "-z", path, (char *)NULL);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 ? 0 : -EPERM;
}

static int clean_dead(const char *path, struct reason *why)
{
	char *resolved = resolve_dead(path);
	int r = -ENOTCONN;

	if (resolved && place_is_mounted(resolved))
		r = unmount_dead(resolved);
	if (r)
		reason_set(why, "mount point %s: a dead mount is there that cannot be cleaned up: try umount -l %s", path, path);
	else
		log_warning("cleaned up the dead mount at %s", path);
	free(resolved);
	return r;
}

static bool is_inside(const char *inner, const char *outer)
{
	size_t len = strlen(outer);

	return strncmp(inner, outer, len) == 0 && (inner[len] == 0 || inner[len] == '/' || strcmp(outer, "/") == 0);
}

int place_prepare(char **store, char **mountpoint, struct reason *why)
{
	char *real_store, *real_mount;
	struct stat st;
	int r = 0;

	/* More than one may be stacked there. */
	for (int i = 0; i < 16 && stat(*mountpoint, &st) && (errno == ENOTCONN || errno == ECONNABORTED); i++) {
		r = clean_dead(*mountpoint, why);
		if (r)
			return r;
	}
	real_mount = realpath(*mountpoint, NULL);
	if (!real_mount || stat(real_mount, &st) || !S_ISDIR(st.st_mode)) {
		reason_set(why, "mount point %s: %s", *mountpoint, real_mount ? "it is not a folder" : strerror(errno));
		free(real_mount);
		return -ENOENT;
	}
	real_store = realpath(*store, NULL);
	if (!real_store) {
		reason_set(why, "store %s: %s%s", *store, strerror(errno),
			   errno == ENOENT ? ": create it with mkdir" : "");
		r = -ENOENT;
	} else if (is_inside(real_store, real_mount)) {
		reason_set(why, "store %s is inside the mount point %s: it would hide itself", *store, *mountpoint);
		r = -EINVAL;
	} else if (is_inside(real_mount, real_store)) {
		reason_set(why, "mount point %s is inside the store %s: choose another", *mountpoint, *store);
		r = -EINVAL;
	} else if (place_is_mounted(real_mount)) {
		reason_set(why, "mount point %s: a bucketfs is mounted there already", *mountpoint);
		r = -EBUSY;
	}
	if (r) {
		free(real_store);
		free(real_mount);
		return r;
	}
	free(*store);
	free(*mountpoint);
	*store = real_store;
	*mountpoint = real_mount;
	return 0;
}
