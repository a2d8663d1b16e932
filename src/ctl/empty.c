#include <errno.h>
#include <fcntl.h>

#include "ctl/ctl.h"
#include "ctl/data.h"
#include "ctl/io.h"
#include "ctl/say.h"

enum { opt_data, opt_files, opt_json };

static const struct ctl_option options[] = {
	{"data", 'd', NULL, "the data only: no keys are left"},
	{"files", 'f', NULL, "the files only, with their folders"},
	{"json", 0, NULL, "there is no output anyway"},
	{0},
};

static int empty_data(const struct place *p)
{
	struct document nothing = {0};
	struct buf merged = {0};
	int status = data_replace(p, &nothing, &merged);

	buf_release(&merged);
	return status;
}

static int empty_files(const struct place *p)
{
	int fd = openat(p->bucket, "files", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? -errno : io_remove_all(fd);

	return r && r != -ENOENT ? say_errno(p, -r, "%s/files", p->id) : CTL_OK;
}

static int run(const struct request *r)
{
	bool all = !r->option[opt_data] && !r->option[opt_files];
	struct place p;
	int status = place_find_folder(&p, r->args[0]);

	if (status)
		return status;
	if (all || r->option[opt_data])
		status = empty_data(&p);
	if (!status && (all || r->option[opt_files]))
		status = empty_files(&p);
	place_close(&p);
	return status;
}

const struct command command_empty = {
	.name = "empty",
	.usage = "[--data] [--files] BUCKET",
	.about = "remove all data and files of a bucket, or one of them",
	.options = options,
	.min = 1,
	.max = 1,
	.run = run,
};
