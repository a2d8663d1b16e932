/* Single files and folders of a bucket. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/io.h"
#include "ctl/say.h"

enum { opt_recursive, opt_force, opt_json };

static const struct ctl_option options[] = {
	{"recursive", 'r', NULL, "folders too, with all that is in them"},
	{"force", 'f', NULL, "what is not there is fine"},
	{"json", 0, NULL, "there is no output anyway"},
	{0},
};

static int remove_at(const struct place *p, int parent, const char *leaf, const char *name, bool recursive)
{
	int fd, r;

	if (unlinkat(parent, leaf, 0) == 0)
		return CTL_OK;
	if (errno != EISDIR && errno != EPERM)
		return say_errno(p, errno, "%s", name);
	fd = openat(parent, leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return say_errno(p, errno == ENOTDIR ? EPERM : errno, "%s", name);
	if (!recursive) {
		close(fd);
		return say_error("%s is a folder; -r removes it with all that is in it", name);
	}
	r = io_remove_all(fd);
	if (!r && unlinkat(parent, leaf, AT_REMOVEDIR))
		r = -errno;
	return r ? say_errno(p, -r, "%s", name) : CTL_OK;
}

/* `name` is below files/, also with that in front. */
static int remove_one(const struct place *p, int files, const char *name, const struct request *r)
{
	const char *path = strncmp(name, "files/", 6) == 0 ? name + 6 : name, *leaf = path;
	int parent = -1, e = *path && *path != '/' ? io_parent(files, path, false, &parent, &leaf) : -EINVAL, status;

	if (!e && (!*leaf || strcmp(leaf, ".") == 0 || strcmp(leaf, "..") == 0))
		e = -EINVAL;
	if (e == -ENOENT || (!e && faccessat(parent, leaf, F_OK, AT_SYMLINK_NOFOLLOW) && errno == ENOENT))
		status = r->option[opt_force] ? CTL_OK : say_error("%s: there is no such file in %s", name, p->id);
	else if (e)
		status = say_errno(p, -e, "%s", name);
	else
		status = remove_at(p, parent, leaf, name, r->option[opt_recursive] != NULL);
	if (parent >= 0)
		close(parent);
	return status;
}

static int run(const struct request *r)
{
	struct place p;
	int status = place_find_folder(&p, r->args[0]), files, worst = CTL_OK;

	if (status)
		return status;
	files = openat(p.bucket, "files", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (files < 0)
		worst = say_errno(&p, errno, "%s/files", p.id);
	for (int i = 1; i < r->count && files >= 0; i++) {
		status = remove_one(&p, files, r->args[i], r);
		worst = status ? status : worst;
	}
	if (files >= 0)
		close(files);
	place_close(&p);
	return worst;
}

const struct command command_rm = {
	.name = "rm",
	.usage = "[-r] [-f] BUCKET FILE...",
	.about = "remove single files of a bucket",
	.more = "FILE is below files/, in any spelling that leads to it. Each file that can be removed is removed, also if another one cannot.",
	.options = options,
	.min = 2,
	.max = -1,
	.run = run,
};
