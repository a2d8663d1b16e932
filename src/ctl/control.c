#include "ctl/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bucket/verdict.h"
#include "ctl/ctl.h"
#include "ctl/io.h"
#include "ctl/say.h"
#include "ctl/terminal.h"
#include "ctl/utf8.h"

bool control_exists(const struct place *p)
{
	return faccessat(p->bucket, CONTROL, F_OK, 0) == 0 || errno != ENOENT;
}

int control_failed(const struct place *p, int error, const char *name)
{
	if (error == ENOENT && !control_exists(p))
		return say_error("the mount at %s has no " CONTROL "/%s: its bucketfs is older than this bucketctl", p->mount, name);
	return say_errno(p, error, "%s/" CONTROL "/%s", p->id, name);
}

int control_read(const struct place *p, const char *name, struct buf *out)
{
	char path[NAME_MAX + 16];
	int r;

	snprintf(path, sizeof(path), CONTROL "/%s", name);
	r = io_read_at(p->bucket, path, out);
	return r ? control_failed(p, -r, name) : CTL_OK;
}

int control_write(const struct place *p, const char *name, struct slice text)
{
	char path[NAME_MAX + 16];
	int r;

	snprintf(path, sizeof(path), CONTROL "/%s", name);
	r = io_write_at(p->bucket, path, O_WRONLY | O_CREAT | O_TRUNC, text);
	return r ? control_failed(p, -r, name) : CTL_OK;
}

static cJSON *part(const struct document *top, const char *name)
{
	struct member_view m;

	return document_find(top, slice_str(name), &m) ? tree_parse(m.value) : NULL;
}

/* 0, a negative errno of reading it, or BUCKET_INVALID and why. */
static int info_read(const struct place *p, struct info *out, struct reason *why)
{
	int r;

	*out = (struct info){0};
	r = io_read_at(p->bucket, CONTROL "/info.json", &out->text);
	/* Older daemons wrote the name of a job as the job had it, which need not be UTF-8. */
	if (!r)
		r = utf8_mend(&out->text);
	/* The data in it may hold what cJSON does not understand, so only the rest is given to it. */
	if (!r)
		r = document_parse(buf_slice(&out->text), 0, &out->top, why);
	if (r)
		goto out;
	out->bucket = part(&out->top, "bucket");
	out->files = part(&out->top, "files");
	if (!cJSON_IsObject(out->bucket) || !cJSON_IsArray(out->files)) {
		reason_set(why, "bucket or files are missing");
		r = BUCKET_INVALID;
		goto out;
	}
	out->revision = (long long)tree_number(out->bucket, "revision");
out:
	if (r)
		info_release(out);
	return r;
}

int info_load(const struct place *p, struct info *out)
{
	struct reason why;
	int r = info_read(p, out, &why);

	if (r > 0)
		return say_error("%s/" CONTROL "/info.json: %s", p->id, why.text);
	return r ? control_failed(p, -r, "info.json") : CTL_OK;
}

bool info_try(const struct place *p, struct info *out)
{
	struct reason why;

	return info_read(p, out, &why) == 0;
}

void info_release(struct info *i)
{
	cJSON_Delete(i->bucket);
	cJSON_Delete(i->files);
	document_release(&i->top);
	buf_release(&i->text);
	*i = (struct info){0};
}

struct slice info_data(const struct info *i)
{
	struct member_view m;

	return document_find(&i->top, slice_str("data"), &m) && *(const char *)m.value.at == '{' ? m.value : slice_str("{}");
}

static bool is_safe(const char *path)
{
	for (;;) {
		size_t len = strcspn(path, "/");

		if (len == 0 || (len == 1 && path[0] == '.') || (len == 2 && path[0] == '.' && path[1] == '.'))
			return false;
		if (!path[len])
			return true;
		path += len + 1;
	}
}

bool info_file_of(const struct place *p, const cJSON *item, struct info_file *out)
{
	char prefix[NAME_MAX + 16];
	const char *path = tree_text(item, "path");
	size_t len = (size_t)snprintf(prefix, sizeof(prefix), "%s/files/", p->id);

	if (strncmp(path, prefix, len) != 0 || !is_safe(path + len))
		return false;
	*out = (struct info_file){.path = path + len, .id = tree_text(item, "id"),
		.size = (long long)tree_number(item, "size"), .item = item};
	if (cJSON_IsString(cJSON_GetObjectItemCaseSensitive(item, "link")))
		out->link = tree_text(item, "link");
	return out->size >= 0;
}

cJSON *tree_parse(struct slice json)
{
	struct buf mended = {0};
	cJSON *tree = NULL;

	if (!utf8_add_json(&mended, json))
		tree = cJSON_ParseWithLength((const char *)mended.data, mended.len);
	buf_release(&mended);
	return tree;
}

const char *tree_text(const cJSON *object, const char *name)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));

	return text ? text : "";
}

double tree_number(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

bool tree_print(const cJSON *tree)
{
	char *text = cJSON_PrintUnformatted(tree);

	if (!text)
		return false;
	terminal_text(stdout, slice_str(text));
	terminal_text(stdout, slice_str("\n"));
	cJSON_free(text);
	return true;
}

cJSON *control_usage(int bucket)
{
	struct buf text = {0};
	cJSON *tree = NULL;

	if (bucket >= 0 && io_attribute(bucket, "user.bucketfs.usage", &text) == 0)
		tree = tree_parse(buf_slice(&text));
	buf_release(&text);
	return tree;
}
