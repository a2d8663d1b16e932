#include "bucket/schema.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "ctl/control.h"
#include "ctl/ctl.h"
#include "ctl/data.h"
#include "ctl/io.h"
#include "ctl/judge.h"
#include "ctl/say.h"
#include "ctl/terminal.h"
#include "ctl/value.h"

enum { opt_data, opt_json };

static const struct ctl_option options[] = {
	{"data", 'd', "FILE", "check: the data as it would be with the object in FILE merged (- is standard input)"},
	{"json", 0, NULL, "show: the output is JSON anyway"},
	{0},
};

static int read_file(const char *path, struct buf *out)
{
	int r = io_read_file(path, out);

	return r ? say_errno(NULL, -r, "%s", path) : CTL_OK;
}

static int show(const struct place *p)
{
	struct buf text = {0};
	int r = io_read_at(p->bucket, CONTROL "/schema.json", &text), status = CTL_OK;

	if (r == -ENOENT && control_exists(p))
		status = say_error("%s has no schema", p->id);
	else if (r)
		status = control_failed(p, -r, "schema.json");
	terminal_text(stdout, buf_slice(&text));
	buf_release(&text);
	return status;
}

static int set(const struct place *p, const char *file)
{
	struct schema *schema = NULL;
	struct buf text = {0};
	int status = read_file(file, &text);

	if (!status)
		status = judge_compile(buf_slice(&text), file, &schema);
	if (!status)
		status = control_write(p, "schema.json", buf_slice(&text));
	schema_free(schema);
	buf_release(&text);
	return status;
}

static int take_away(const struct place *p)
{
	if (unlinkat(p->bucket, CONTROL "/schema.json", 0) == 0)
		return CTL_OK;
	if (errno == ENOENT && control_exists(p))
		return CTL_OK;
	return control_failed(p, errno, "schema.json");
}

/* The data, with the object in FILE merged if there is one. */
static int data_to_judge(const struct place *p, const char *file, struct buf *out)
{
	struct document doc = {0}, patch = {0};
	int status = data_read(p, NULL, &doc);

	if (!status && file)
		status = value_read_object(file, &patch);
	if (!status)
		status = value_add_all(&doc, &patch);
	if (!status && document_sort(&doc))
		status = say_no_memory();
	if (!status)
		status = value_render(&doc, out);
	document_release(&doc);
	document_release(&patch);
	return status;
}

/* `file`: a schema in place of the bucket's, or NULL. `p`: NULL to look at the schema only. */
static int check(const struct place *p, const char *file, const char *data)
{
	struct schema *schema = NULL;
	struct buf text = {0};
	int status = CTL_OK;

	if (file) {
		status = read_file(file, &text);
		if (!status)
			status = judge_compile(buf_slice(&text), file, &schema);
	} else {
		status = judge_load(p, &schema);
		if (!status && !schema)
			status = say_error("%s has no schema", p->id);
	}
	buf_clear(&text);
	if (!status && p)
		status = data_to_judge(p, data, &text);
	if (!status && p)
		status = judge_check(schema, buf_slice(&text), data ? data : p->id);
	schema_free(schema);
	buf_release(&text);
	return status;
}

static int run_check(const struct request *r)
{
	const char *file = r->count > 2 ? r->args[2] : NULL, *data = r->option[opt_data];
	struct place p;
	int status;

	if (r->count == 2 && !data && !place_is_bucket(r->args[1]) && access(r->args[1], R_OK) == 0)
		return check(NULL, r->args[1], NULL);
	status = place_find_bucket(&p, r->count > 1 ? r->args[1] : ".");
	if (status)
		return status;
	status = check(&p, file, data);
	place_close(&p);
	return status;
}

static int run(const struct request *r)
{
	const char *what = r->args[0];
	bool is_set = strcmp(what, "set") == 0, is_show = strcmp(what, "show") == 0, is_check = strcmp(what, "check") == 0;
	struct place p;
	int status;

	if (!is_set && !is_show && !is_check && strcmp(what, "remove") != 0)
		return say_usage("there is show, set, remove and check, not %s", what);
	if (is_set ? r->count != 3 : r->count > (is_check ? 3 : 2) || (!is_show && !is_check && r->count != 2))
		return say_usage("that is not the right number of arguments");
	if (is_check)
		return run_check(r);
	status = place_find_bucket(&p, r->count > 1 ? r->args[1] : ".");
	if (status)
		return status;
	status = is_show ? show(&p) : is_set ? set(&p, r->args[2]) : take_away(&p);
	place_close(&p);
	return status;
}

const struct command command_schema = {
	.name = "schema",
	.usage = "show [BUCKET]\nset BUCKET FILE\nremove BUCKET\ncheck [--data FILE] BUCKET [SCHEMA]\ncheck SCHEMA",
	.about = "show, set, remove and try the JSON Schema of a bucket",
	.more = "check changes nothing. It judges today's data, or with --data what it would be, by the schema of the bucket or the\n"
		"one in the file SCHEMA; with a file alone, whether that is a schema at all.",
	.options = options,
	.min = 1,
	.max = 3,
	.run = run,
};
