#include <stdio.h>

#include "ctl/ctl.h"
#include "ctl/data.h"
#include "ctl/say.h"
#include "ctl/terminal.h"
#include "ctl/value.h"

enum { opt_replace, opt_string, opt_quiet, opt_json };

static const struct ctl_option options[] = {
	{"replace", 0, NULL, "what is not given is removed"},
	{"string", 's', NULL, "every VALUE and FILE is a string, also 1, true and null"},
	{"quiet", 'q', NULL, "do not print the object"},
	{"json", 0, NULL, "the output is JSON anyway"},
	{0},
};

static int run(const struct request *r)
{
	struct document patch = {0};
	struct buf merged = {0};
	struct place p;
	int status = place_find_bucket(&p, r->args[0]);

	if (status)
		return status;
	for (int i = 1; !status && i < r->count; i++)
		status = value_add_argument(r->args[i], r->option[opt_string] != NULL, &patch);
	if (!status && document_sort(&patch))
		status = say_no_memory();
	if (!status)
		status = r->option[opt_replace] ? data_replace(&p, &patch, &merged) : data_merge(&p, &patch, &merged);
	if (!status && !r->option[opt_quiet])
		terminal_text(stdout, buf_slice(&merged));
	document_release(&patch);
	buf_release(&merged);
	place_close(&p);
	return status;
}

const struct command command_set = {
	.name = "set",
	.usage = "[OPTIONS] BUCKET '{...}'|KEY=VALUE|KEY=@FILE|KEY=@-|-...",
	.about = "merge keys into a bucket and print what came of it",
	.more = "All arguments are one atomic change; later ones win. VALUE is JSON, or else a string. KEY=@FILE takes the content\n"
		"of FILE (less one line break at its end), KEY=@- that of standard input, - an object from standard input, so that\n"
		"no secret has to stand in the command line.",
	.options = options,
	.min = 2,
	.max = -1,
	.run = run,
};
