#include <stdio.h>

#include "ctl/control.h"
#include "ctl/meta.h"
#include "ctl/say.h"
#include "ctl/terminal.h"

enum { opt_json = META_COUNT };

static const struct ctl_option options[] = {
	META_OPTIONS,
	[opt_json] = {"json", 0, NULL, "print what came of it"},
	[opt_json + 1] = {0},
};

static int run(const struct request *r)
{
	struct buf text = {0};
	struct place p;
	bool any = false;
	int status = place_find_bucket(&p, r->args[0]);

	if (status)
		return status;
	status = meta_write(&p, r, &any);
	if (!status && !any)
		status = say_usage("nothing to change was given");
	if (!status && r->option[opt_json])
		status = control_read(&p, "meta.json", &text);
	terminal_text(stdout, buf_slice(&text));
	buf_release(&text);
	place_close(&p);
	return status;
}

const struct command command_update = {
	.name = "update",
	.usage = "[OPTIONS] BUCKET",
	.about = "change title, icon, notes of a bucket, enable or disable it",
	.options = options,
	.min = 1,
	.max = 1,
	.run = run,
};
