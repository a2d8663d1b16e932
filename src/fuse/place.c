#include "fuse/place.h"

#include <dirent.h>
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

static bool shows_mount(const char *mountinfo, const char *store)
{
	FILE *file = fopen(mountinfo, "re");
	char *line = NULL, wanted[4200];
	bool found = false;
	size_t size = 0;

	snprintf(wanted, sizeof(wanted), " - fuse.bucketfs %s ", store);
	while (file && !found && getline(&line, &size, file) >= 0)
		found = strstr(line, wanted);
	free(line);
	if (file)
		fclose(file);
	return found;
}

/* The mount namespace of a process; 0: that cannot be known. */
static uint64_t namespace_of(const char *process)
{
	char path[300];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%s/ns/mnt", process);
	return stat(path, &st) ? 0 : (uint64_t)st.st_ino;
}

void place_copy(const char *store, char *text, size_t size)
{
	DIR *processes = opendir("/proc");
	uint64_t own = namespace_of("self"), last = own, other;
	char path[300], command[32] = "";
	struct dirent *entry;
	FILE *file;

	*text = 0;
	while (processes && !*text && (entry = readdir(processes))) {
		other = *entry->d_name >= '1' && *entry->d_name <= '9' ? namespace_of(entry->d_name) : 0;
		/* Those of a container mostly come one after the other. */
		if (!other || other == own || other == last)
			continue;
		last = other;
		snprintf(path, sizeof(path), "/proc/%s/mountinfo", entry->d_name);
		if (!shows_mount(path, store))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		file = fopen(path, "re");
		if (!file || !fgets(command, sizeof(command), file))
			*command = 0;
		if (file)
			fclose(file);
		command[strcspn(command, "\n")] = 0;
		snprintf(text, size, "it was mounted when process %s (%s) began, whose mount namespace still has it: end that process, or unmount it "
				     "there (nsenter -t %s -m umount)", entry->d_name, command, entry->d_name);
	}
	if (processes)
		closedir(processes);
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

static bool is_empty(const char *path)
{
	DIR *folder = opendir(path);
	struct dirent *entry;
	unsigned count = 0;

	while (folder && count < 3 && (entry = readdir(folder)))
		count++;
	if (folder)
		closedir(folder);
	return count < 3;
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
	if (!is_empty(real_mount))
		log_warning("mount point %s is not empty: what is in it is hidden as long as this is mounted", real_mount);
	free(*store);
	free(*mountpoint);
	*store = real_store;
	*mountpoint = real_mount;
	return 0;
}
