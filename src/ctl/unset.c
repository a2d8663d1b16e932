#include <stdio.h>

#include "ctl/ctl.h"
#include "ctl/data.h"
#include "ctl/terminal.h"

enum { opt_quiet, opt_json };

static const struct ctl_option options[] = {
	{"quiet", 'q', NULL, "do not print the object"},
	{"json", 0, NULL, "the output is JSON anyway"},
	{0},
};

static int run(const struct request *r)
{
	struct buf merged = {0};
	struct place p;
	int status = place_find_bucket(&p, r->args[0]);

	if (status)
		return status;
	status = data_remove(&p, r->args + 1, r->count - 1, &merged);
	if (!status && !r->option[opt_quiet])
		terminal_text(stdout, buf_slice(&merged));
	buf_release(&merged);
	place_close(&p);
	return status;
}

const struct command command_unset = {
	.name = "unset",
	.usage = "[OPTIONS] BUCKET KEY...",
	.about = "remove keys from a bucket and print what is left",
	.more = "All of them in one atomic change. Keys that are not there are fine.",
	.options = options,
	.min = 2,
	.max = -1,
	.run = run,
};
