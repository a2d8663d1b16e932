#include "ctl/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/say.h"

enum { fuse_magic = 0x65735546 };

static const char access_name[] = "user.bucketfs.access";

/* Cuts the last component off; what was cut, or NULL if nothing can be. */
static const char *cut(char *path)
{
	char *slash = strrchr(path, '/');

	if (!slash || slash[1] == 0)
		return NULL;
	*slash = 0;
	return slash + 1;
}

/* realpath of what there is of the path, and the rest as it is written. */
static int canonical(const char *path, char out[PATH_MAX])
{
	char front[PATH_MAX], full[PATH_MAX], tail[PATH_MAX] = "", grown[PATH_MAX];
	int n = path[0] == '/' ? snprintf(front, sizeof(front), "%s", path) : snprintf(front, sizeof(front), "./%s", path);

	if (n >= PATH_MAX)
		return -ENAMETOOLONG;
	while (n > 1 && front[n - 1] == '/')
		front[--n] = 0;
	while (!realpath(*front ? front : "/", full)) {
		const char *name;

		if (errno != ENOENT)
			return -errno;
		name = cut(front);
		if (!name || strcmp(name, "..") == 0)
			return -ENOENT;
		if (snprintf(grown, sizeof(grown), "/%s%s", name, tail) >= PATH_MAX)
			return -ENAMETOOLONG;
		strcpy(tail, grown);
	}
	return snprintf(out, PATH_MAX, "%s%s", strcmp(full, "/") == 0 && *tail ? "" : full, tail) >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* Shortens `root`, an absolute path, to the root of the filesystem that its existing part is on. */
static int find_root(char root[PATH_MAX])
{
	struct stat here, above;
	char parent[PATH_MAX];

	while (lstat(*root ? root : "/", &here)) {
		if (errno != ENOENT || !cut(root))
			return -errno;
	}
	for (;;) {
		strcpy(parent, root);
		if (!cut(parent))
			return 0;
		if (stat(*parent ? parent : "/", &above))
			return -errno;
		if (above.st_dev != here.st_dev)
			return 0;
		strcpy(root, parent);
		if (!*root)
			return 0;
	}
}

static bool is_ours(const char *root)
{
	struct statfs fs;

	return *root && statfs(root, &fs) == 0 && (unsigned long)fs.f_type == fuse_magic &&
	       getxattr(root, access_name, NULL, 0) >= 0;
}

/* `below`: what comes after the root of the mount. */
static int split(struct place *p, const char *below)
{
	size_t len;

	while (*below == '/')
		below++;
	len = strcspn(below, "/");
	if (len > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(p->id, below, len);
	p->id[len] = 0;
	below += len;
	while (*below == '/')
		below++;
	strcpy(p->rest, below);
	return 0;
}

static int open_place(struct place *p)
{
	p->root = open(p->mount, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (p->root < 0)
		return -errno;
	if (!*p->id)
		return 0;
	p->bucket = openat(p->root, p->id, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return p->bucket < 0 && errno != ENOENT && errno != EINVAL && errno != ENOTDIR ? -errno : 0;
}

/* Without a word; -EXDEV: not in a mount of ours. */
static int find(struct place *out, const char *path)
{
	char full[PATH_MAX];
	int r;

	*out = (struct place){.root = -1, .bucket = -1};
	r = canonical(path, full);
	if (!r) {
		strcpy(out->mount, full);
		r = find_root(out->mount);
	}
	if (!r && !is_ours(out->mount))
		r = -EXDEV;
	if (!r)
		r = split(out, full + strlen(out->mount));
	if (!r)
		r = open_place(out);
	if (r)
		place_close(out);
	return r;
}

int place_find(struct place *out, const char *path)
{
	int r = find(out, path);

	if (r == -EXDEV)
		return say_error("%s is not in a mount of bucketfs", path);
	return r ? say_errno(NULL, -r, "%s", path) : CTL_OK;
}

/* Says so, and closes it. */
static int no_such_bucket(struct place *p)
{
	char target;

	/* @job outside a job, say: the mount says why. */
	if (*p->id == '@')
		say_errno(p, readlinkat(p->root, p->id, &target, 1) < 0 ? errno : ENOENT, "%s", p->id);
	else
		say_error("there is no bucket %s in %s", p->id, p->mount);
	place_close(p);
	return CTL_UNKNOWN;
}

int place_find_any(struct place *out, const char *path)
{
	int status = place_find(out, path);

	return status || out->bucket >= 0 || !*out->id ? status : no_such_bucket(out);
}

int place_find_bucket(struct place *out, const char *path)
{
	int status = place_find_any(out, path);

	if (status || out->bucket >= 0)
		return status;
	say_error("%s is the root of the mount, not a bucket", path);
	place_close(out);
	return CTL_FAILED;
}

int place_find_folder(struct place *out, const char *path)
{
	int status = place_find_bucket(out, path);

	if (!status && *out->rest) {
		status = say_error("%s is inside the bucket %s; name the folder of the bucket itself", path, out->id);
		place_close(out);
	}
	return status;
}

bool place_is_mounted(const char *path)
{
	struct place p;
	bool is = find(&p, path) == 0;

	place_close(&p);
	return is;
}

bool place_is_bucket(const char *path)
{
	struct place p;
	bool is = find(&p, path) == 0 && p.bucket >= 0;

	place_close(&p);
	return is;
}

void place_close(struct place *p)
{
	if (p->bucket >= 0)
		close(p->bucket);
	if (p->root >= 0)
		close(p->root);
	p->bucket = p->root = -1;
}

struct place_path place_path_of(int fd, const char *below)
{
	struct place_path path;

	snprintf(path.text, sizeof(path.text), "/proc/self/fd/%d%s%s", fd, *below ? "/" : "", below);
	return path;
}

bool place_may(const struct place *p, const char *privilege)
{
	struct place_path path = place_path_of(p->bucket >= 0 ? p->bucket : p->root, "");
	char list[256], *word, *save = NULL;
	ssize_t len = getxattr(path.text, access_name, list, sizeof(list) - 1);

	if (len < 0)
		return true;
	list[len] = 0;
	for (word = strtok_r(list, ",", &save); word; word = strtok_r(NULL, ",", &save))
		if (strcmp(word, privilege) == 0)
			return true;
	return false;
}
