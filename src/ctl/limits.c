#include "bucket/limits.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "ctl/control.h"
#include "ctl/ctl.h"
#include "ctl/effective.h"
#include "ctl/say.h"
#include "ctl/terminal.h"

enum { opt_json };

static const struct ctl_option options[] = {
	{"json", 0, NULL, "show: an object of values"},
	{0},
};

static const char *const sources[] = {"unknown", "mount", "bucket"};

/* How much a bucket has of a limited thing; where the limit is for each file, nothing. */
static const char *const used_name[limit_count] = {"data_size", NULL, "files", "file_bytes", NULL};

static int show(const struct place *p, bool json)
{
	struct effective e;
	cJSON *tree = cJSON_CreateObject(), *usage = control_usage(p->bucket);
	int status = effective_load(p, &e);

	for (int i = 0; i < limit_count && !status; i++) {
		char value[1200];
		cJSON *one = cJSON_AddObjectToObject(tree, limit_names[i]);
		char used[32] = "";

		if (usage && used_name[i])
			snprintf(used, sizeof(used), "%.0f", tree_number(usage, used_name[i]));

		limit_format(&e.limits, i, value, sizeof(value));
		if (e.source[i] == LIMIT_UNKNOWN)
			cJSON_AddNullToObject(one, "value");
		else if (i < 4)
			cJSON_AddRawToObject(one, "value", value);
		else
			cJSON_AddStringToObject(one, "value", value);
		cJSON_AddStringToObject(one, "from", sources[e.source[i]]);
		if (*used)
			cJSON_AddRawToObject(one, "used", used);
		if (!json)
			terminal_line(stdout, "%-20s  %-12s  %s%s%s", limit_names[i],
				      e.source[i] == LIMIT_UNKNOWN ? "?" : *value && strcmp(value, "0") != 0 ? value : i < 4 ? "none" : "any",
				      sources[e.source[i]], *used ? "  used " : "", used);
	}
	if (!status && json && !tree_print(tree))
		status = say_no_memory();
	cJSON_Delete(tree);
	cJSON_Delete(usage);
	return status;
}

struct change {
	int which;
	bool remove;
	char value[1200];
};

static int parse(const char *argument, struct change *out)
{
	const char *equals = strchr(argument, '=');
	struct limits l = {0};
	struct reason why;

	if (!equals)
		return say_usage("%s is not NAME=VALUE", argument);
	out->which = limit_find(slice_of(argument, (size_t)(equals - argument)));
	if (out->which < 0)
		return say_usage("there is no limit %.*s", (int)(equals - argument), argument);
	out->remove = strcmp(equals + 1, "inherit") == 0;
	if (out->remove)
		return CTL_OK;
	if (limits_set(&l, slice_str(limit_names[out->which]), equals + 1, &why))
		return say_error("%s", why.text);
	limit_format(&l, out->which, out->value, sizeof(out->value));
	return CTL_OK;
}

static int apply(const struct place *p, const struct change *c)
{
	struct place_path path = place_path_of(p->bucket, "");
	struct limit_attribute name = limit_attribute(c->which);
	int r = c->remove ? removexattr(path.text, name.text) : setxattr(path.text, name.text, c->value, strlen(c->value), 0);

	int error = r ? errno : 0;

	if (error && !control_exists(p))
		return say_error("the mount at %s has no limits for single buckets: its bucketfs is older than this bucketctl",
				 p->mount);
	if (error && !(c->remove && error == ENODATA))
		return say_errno(p, error, "%s: %s", p->id, limit_names[c->which]);
	return CTL_OK;
}

static int set(const struct place *p, char *const *arguments, int count)
{
	struct change c;
	int status = CTL_OK;

	/* All are read before the first is set. */
	for (int i = 0; i < count && !status; i++)
		status = parse(arguments[i], &c);
	for (int i = 0; i < count && !status; i++) {
		status = parse(arguments[i], &c);
		if (!status)
			status = apply(p, &c);
	}
	return status;
}

static int run(const struct request *r)
{
	bool is_show = strcmp(r->args[0], "show") == 0;
	struct place p;
	int status;

	if (!is_show && strcmp(r->args[0], "set") != 0)
		return say_usage("there is show and set, not %s", r->args[0]);
	if (is_show ? r->count > 2 : r->count < 3)
		return say_usage(is_show ? "too many arguments" : "something is missing");
	status = place_find_bucket(&p, r->count > 1 ? r->args[1] : ".");
	if (status)
		return status;
	status = is_show ? show(&p, r->option[opt_json] != NULL) : set(&p, r->args + 2, r->count - 2);
	place_close(&p);
	return status;
}

const struct command command_limits = {
	.name = "limits",
	.usage = "show [--json] [BUCKET]\nset BUCKET NAME=VALUE...",
	.about = "show and set what a bucket may hold",
	.more = "NAME is max_data_size, max_file_size, max_files, max_total_size (sizes take k, M, G, T; 0 is none) or\n"
		"accepted_file_types (.csv,.pdf; empty is any). The VALUE inherit goes back to what the mount has.",
	.options = options,
	.min = 1,
	.max = -1,
	.run = run,
};
