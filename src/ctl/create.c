#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bucket/name.h"
#include "ctl/control.h"
#include "ctl/data.h"
#include "ctl/meta.h"
#include "ctl/say.h"
#include "ctl/terminal.h"
#include "ctl/value.h"

enum { opt_in = META_COUNT, opt_data, opt_json };

static const struct ctl_option options[] = {
	META_OPTIONS,
	[opt_in] = {"in", 'i', "PATH", "the mount where the bucket is made (here)"},
	[opt_data] = {"data", 'd', "JSON", "its first data: an object, @FILE, or - for standard input"},
	[opt_json] = {"json", 0, NULL, "print id and path as JSON"},
	[opt_json + 1] = {0},
};

static int generate(char *id, size_t size)
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
	unsigned char random[12];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return say_errno(NULL, errno, "random numbers");
	snprintf(id, size, "b");
	for (size_t i = 0; i < sizeof(random); i++)
		id[i + 1] = digits[random[i] % 36];
	id[sizeof(random) + 1] = 0;
	return CTL_OK;
}

/* The place of the new bucket, whose id is still empty if it is to be generated. */
static int find(struct place *p, const struct request *r)
{
	const char *given = r->count ? r->args[0] : NULL, *in = r->option[opt_in];
	size_t len;
	int status;

	/* A bare id: in the mount around us or named by --in, however deep in it. */
	if (given && strchr(given, '/') && in)
		return say_usage("--in and a path do not go together");
	status = place_find(p, given && strchr(given, '/') ? given : in ? in : ".");
	if (status)
		return status;
	if (given && strchr(given, '/')) {
		if (*p->rest || !*p->id)
			status = say_error("%s: a bucket can be made right in the root of the mount only", given);
	} else {
		if (p->bucket >= 0)
			close(p->bucket);
		p->bucket = -1;
		len = given ? strlen(given) : 0;
		if (len > NAME_MAX)
			status = say_error("%s: the id is too long", given);
		else
			memcpy(p->id, given ? given : "", len + 1);
	}
	if (!status && *p->id && !name_is_bucket_id(slice_str(p->id)))
		status = say_error("%s is not an id: a-z, 0-9 and _ are allowed", p->id);
	if (status)
		place_close(p);
	return status;
}

static int make(struct place *p)
{
	bool is_given = *p->id;

	for (int i = 0; i < 10; i++) {
		int status = is_given ? CTL_OK : generate(p->id, sizeof(p->id));

		if (status)
			return status;
		if (mkdirat(p->root, p->id, 0777) == 0) {
			p->bucket = openat(p->root, p->id, O_PATH | O_DIRECTORY | O_CLOEXEC);
			return p->bucket < 0 ? say_errno(p, errno, "%s", p->id) : CTL_OK;
		}
		if (errno != EEXIST || is_given)
			break;
	}
	return errno == EEXIST ? say_error("there is a bucket %s already", p->id) : say_errno(p, errno, "%s", p->id);
}

static int show(const struct place *p)
{
	char path[PATH_MAX + NAME_MAX + 2];
	cJSON *tree = cJSON_CreateObject();
	bool good;

	snprintf(path, sizeof(path), "%s/%s", p->mount, p->id);
	good = cJSON_AddStringToObject(tree, "id", p->id) && cJSON_AddStringToObject(tree, "path", path) && tree_print(tree);
	cJSON_Delete(tree);
	return good ? CTL_OK : say_no_memory();
}

/* Read before anything is made. */
static int read_data(const char *given, struct document *data)
{
	if (!given)
		return CTL_OK;
	if (*given == '@')
		return value_read_object(given + 1, data);
	if (strcmp(given, "-") == 0)
		return value_read_object(given, data);
	if (given[strspn(given, " \t\r\n")] != '{')
		return say_usage("--data %s: this is no object; @FILE is one in a file", given);
	return value_add_argument(given, false, data) ? CTL_FAILED : document_sort(data) ? say_no_memory() : CTL_OK;
}

static int fill(const struct place *p, const struct request *r, const struct document *data)
{
	struct buf merged = {0};
	bool any = false;
	int status = meta_write(p, r, &any);

	if (!status && r->option[opt_data])
		status = data_merge(p, data, &merged);
	buf_release(&merged);
	return status;
}

static int run(const struct request *r)
{
	struct document data = {0};
	struct place p;
	int status = read_data(r->option[opt_data], &data);

	if (!status)
		status = find(&p, r);
	if (status) {
		document_release(&data);
		return status;
	}
	status = make(&p);
	if (!status) {
		status = fill(&p, r, &data);
		/* A bucket that is not as it was asked for would surprise the next attempt. */
		if (status)
			unlinkat(p.root, p.id, AT_REMOVEDIR);
	}
	document_release(&data);
	if (!status && r->option[opt_json])
		status = show(&p);
	else if (!status)
		terminal_name(p.id);
	place_close(&p);
	return status;
}

const struct command command_create = {
	.name = "create",
	.usage = "[OPTIONS] [ID|PATH]",
	.about = "make a bucket and print its id",
	.more = "PATH is that of the new bucket, such as /mnt/buckets/nightly; ID is made in the mount we are in, or --in. With\n"
		"neither an id is made up.",
	.options = options,
	.max = 1,
	.run = run,
};
