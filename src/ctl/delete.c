#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/io.h"
#include "ctl/say.h"

enum { opt_recursive, opt_json };

static const struct ctl_option options[] = {
	{"recursive", 'r', NULL, "with everything in it"},
	{"json", 0, NULL, "there is no output anyway"},
	{0},
};

static int empty(const struct place *p)
{
	int fd = openat(p->bucket, "files", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? -errno : io_remove_all(fd);

	if (r && r != -ENOENT)
		return say_errno(p, -r, "%s/files", p->id);
	if (unlinkat(p->bucket, "data.json", 0) && errno != ENOENT)
		return say_errno(p, errno, "%s/data.json", p->id);
	return CTL_OK;
}

static int run(const struct request *r)
{
	struct place p;
	int status = place_find_folder(&p, r->args[0]);

	if (status)
		return status;
	if (r->option[opt_recursive]) {
		/* Not to empty what cannot be deleted then. */
		if (!place_may(&p, "delete"))
			status = say_error("%s: you may not delete it", p.id);
		if (!status)
			status = empty(&p);
	}
	if (!status && unlinkat(p.root, p.id, AT_REMOVEDIR)) {
		if (errno == ENOTEMPTY && !r->option[opt_recursive])
			status = say_error("%s is not empty; -r deletes it all the same", p.id);
		else
			status = say_errno(&p, errno, "%s", p.id);
	}
	place_close(&p);
	return status;
}

const struct command command_delete = {
	.name = "delete",
	.usage = "[-r] BUCKET",
	.about = "delete a bucket that is empty, or with -r any",
	.options = options,
	.min = 1,
	.max = 1,
	.run = run,
};
