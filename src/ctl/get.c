#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/data.h"
#include "ctl/say.h"
#include "ctl/terminal.h"
#include "ctl/value.h"

enum { opt_json, opt_raw };

static const struct ctl_option options[] = {
	{"json", 0, NULL, "one object, also for one key"},
	{"raw", 'r', NULL, "strings without quotes and escapes"},
	{0},
};

static int show(struct slice value, bool raw)
{
	struct buf text = {0};
	int r = 0;

	if (raw && *(const char *)value.at == '"') {
		r = json_unquote(value, &text);
		value = buf_slice(&text);
	}
	terminal_text(stdout, value);
	terminal_text(stdout, slice_str("\n"));
	buf_release(&text);
	return r ? say_no_memory() : CTL_OK;
}

static int show_keys(const struct request *r, const struct document *doc, int first)
{
	struct document chosen = {0};
	struct member_view m;
	struct buf text = {0};
	int status = CTL_OK;

	/* All or nothing: half an answer looks like a whole one. */
	for (int i = first; i < r->count; i++)
		if (!document_find(doc, slice_str(r->args[i]), &m))
			status = say_error("there is no key %s", r->args[i]);
	for (int i = first; !status && i < r->count; i++) {
		document_find(doc, slice_str(r->args[i]), &m);
		if (!r->option[opt_json])
			status = show(m.value, r->option[opt_raw] != NULL);
		else if (document_add(&chosen, m.key, m.text, m.value))
			status = say_no_memory();
	}
	if (!status && r->option[opt_json]) {
		status = document_sort(&chosen) ? say_no_memory() : value_render(&chosen, &text);
		terminal_text(stdout, buf_slice(&text));
	}
	document_release(&chosen);
	buf_release(&text);
	return status;
}

/* Whether the first argument is where the bucket is: inside one that may be left out. */
static bool is_path(const char *argument)
{
	return strchr(argument, '/') || faccessat(AT_FDCWD, argument, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || !place_is_bucket(".");
}

static int run(const struct request *r)
{
	bool named = r->count > 0 && is_path(r->args[0]);
	struct document doc = {0};
	struct buf text = {0};
	struct place p;
	int status = place_find_bucket(&p, named ? r->args[0] : ".");

	if (status)
		return status;
	status = data_read(&p, &text, r->count > named ? &doc : NULL);
	if (!status && r->count > named)
		status = show_keys(r, &doc, named);
	else if (!status)
		terminal_text(stdout, buf_slice(&text));
	document_release(&doc);
	buf_release(&text);
	place_close(&p);
	return status;
}

const struct command command_get = {
	.name = "get",
	.usage = "[OPTIONS] [BUCKET] [KEY...]",
	.about = "print the data of a bucket, or the values of some keys",
	.more = "One value a line, in the order asked for, as JSON. A key that is not there is a failure, and nothing is printed.\n"
		"Inside a bucket its name may be left out; an argument that names nothing there is then a key.",
	.options = options,
	.max = -1,
	.run = run,
};
