#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/say.h"

enum { opt_recursive, opt_json };

static const struct ctl_option options[] = {
	{"recursive", 'r', NULL, "with everything in it"},
	{"json", 0, NULL, "there is no output anyway"},
	{0},
};

/* With everything in it, at once or not at all. */
static int delete_all(const struct place *p)
{
	struct place_path path = place_path_of(p->bucket, "");

	if (setxattr(path.text, "user.bucketfs.delete", p->id, strlen(p->id), 0) == 0)
		return CTL_OK;
	return say_errno(p, errno, "%s", p->id);
}

static int run(const struct request *r)
{
	struct place p;
	int status = place_find_folder(&p, r->args[0]);

	if (status)
		return status;
	if (r->option[opt_recursive])
		status = delete_all(&p);
	else if (unlinkat(p.root, p.id, AT_REMOVEDIR))
		status = errno == ENOTEMPTY ? say_error("%s is not empty; -r deletes it all the same", p.id) :
					      say_errno(&p, errno, "%s", p.id);
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
