#include "ctl/refusal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/control.h"
#include "ctl/io.h"

static const char *text_of(const cJSON *tree, const char *name)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(tree, name));

	return text ? text : "";
}

static long number_of(const cJSON *tree, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(tree, name);

	return cJSON_IsNumber(item) ? (long)item->valuedouble : -1;
}

time_t refusal_time(const char *text)
{
	struct tm tm = {0};

	return strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) ? timegm(&tm) : -1;
}

/* What is below the folder `path`, itself included. */
static bool is_below(const char *what, const char *path)
{
	size_t len = strlen(path);

	while (*what == '/')
		what++;
	return len == 0 || (strncmp(what, path, len) == 0 && (what[len] == 0 || what[len] == '/'));
}

static int add_line(struct refusals *out, const char *line, size_t len, const char *below)
{
	struct refusal r = {.tree = tree_parse(slice_of(line, len))};

	if (!r.tree)
		return 0;
	r.time = text_of(r.tree, "time");
	r.command = text_of(r.tree, "command");
	r.path = text_of(r.tree, "path");
	r.error = text_of(r.tree, "errno");
	r.reason = text_of(r.tree, "reason");
	r.uid = number_of(r.tree, "uid");
	r.pid = number_of(r.tree, "pid");
	if (!is_below(r.path, below)) {
		cJSON_Delete(r.tree);
		return 0;
	}
	if (out->count == out->cap) {
		size_t cap = out->cap ? out->cap * 2 : 16;
		struct refusal *grown = realloc(out->list, cap * sizeof(*grown));

		if (!grown) {
			cJSON_Delete(r.tree);
			return -ENOMEM;
		}
		out->list = grown;
		out->cap = cap;
	}
	out->list[out->count++] = r;
	return 0;
}

static int add_file(struct refusals *out, int folder, const char *below)
{
	struct buf text = {0};
	int r = io_read_at(folder, CONTROL "/errors", &text);
	const char *at = (const char *)text.data, *end = at ? at + text.len : at;

	while (!r && at < end) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		size_t len = (size_t)((stop ? stop : end) - at);

		r = add_line(out, at, len, below);
		at += len + 1;
	}
	buf_release(&text);
	return r;
}

static int by_time(const void *a, const void *b)
{
	const struct refusal *x = a, *y = b;
	int order = strcmp(x->time, y->time);

	return order ? order : (x->tree > y->tree) - (x->tree < y->tree);
}

static bool same(const struct refusal *a, const struct refusal *b)
{
	return a->pid == b->pid && strcmp(a->time, b->time) == 0 && strcmp(a->path, b->path) == 0 &&
	       strcmp(a->reason, b->reason) == 0;
}

int refusals_load(const struct place *at, struct refusals *out)
{
	char below[PATH_MAX + NAME_MAX + 2];
	size_t kept = 0;
	int in_bucket, in_mount;

	*out = (struct refusals){0};
	strcpy(below, at->id);
	if (*at->rest) {
		strcat(below, "/");
		strcat(below, at->rest);
	}
	in_bucket = at->bucket < 0 ? -ENOENT : add_file(out, at->bucket, below);
	in_mount = add_file(out, at->root, below);
	if (in_bucket && in_mount) {
		refusals_release(out);
		return in_bucket == -ENOENT ? in_mount : in_bucket;
	}
	if (out->count)
		qsort(out->list, out->count, sizeof(*out->list), by_time);
	for (size_t i = 0; i < out->count; i++) {
		if (kept && same(&out->list[kept - 1], &out->list[i]))
			cJSON_Delete(out->list[i].tree);
		else
			out->list[kept++] = out->list[i];
	}
	out->count = kept;
	return 0;
}

void refusals_release(struct refusals *r)
{
	for (size_t i = 0; i < r->count; i++)
		cJSON_Delete(r->list[i].tree);
	free(r->list);
	*r = (struct refusals){0};
}

bool refusal_of_this_process(const struct place *at, int error, time_t since, struct reason *out)
{
	const char *name = strerrorname_np(error);
	struct place whole = *at;
	struct refusals all;
	bool found = false;

	/* Making a bucket is refused at the root: wherever it was, it was us. */
	whole.id[0] = whole.rest[0] = 0;
	if (!name || refusals_load(&whole, &all))
		return false;
	for (size_t i = all.count; i-- > 0 && !found;) {
		const struct refusal *r = &all.list[i];

		if (r->pid != getpid() || strcmp(r->error, name) != 0 || refusal_time(r->time) + 1 < since || !*r->reason)
			continue;
		reason_set(out, "%s", r->reason);
		found = true;
	}
	refusals_release(&all);
	return found;
}
