#include "ctl/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "bucket/name.h"
#include "bucket/verdict.h"
#include "ctl/control.h"
#include "ctl/ctl.h"
#include "ctl/effective.h"
#include "ctl/say.h"
#include "ctl/value.h"

/* A name as the bucket will have it, or has it. */
struct entry {
	char *path;
	long long size; /* -1: a folder */
	const char *given; /* NULL: it is there already */
};

struct entries {
	struct entry *list;
	size_t count, cap;
};

struct plan {
	struct entries all;
	struct effective limits;
	struct info info;
	bool knows; /* what is in the bucket already */
};

static int add(struct entries *e, const char *path, size_t len, long long size, const char *given)
{
	char *copy = strndup(path, len);

	if (copy && e->count == e->cap) {
		size_t cap = e->cap ? e->cap * 2 : 64;
		struct entry *grown = realloc(e->list, cap * sizeof(*grown));

		if (grown) {
			e->list = grown;
			e->cap = cap;
		}
	}
	if (!copy || e->count == e->cap) {
		free(copy);
		return say_no_memory();
	}
	e->list[e->count++] = (struct entry){copy, size, given};
	return CTL_OK;
}

/* The file and the folders above it. */
static int add_with_folders(struct entries *e, const char *path, long long size, const char *given)
{
	int status = CTL_OK;

	for (const char *c = path; *c && !status; c++)
		if (*c == '/')
			status = add(e, path, (size_t)(c - path), -1, given);
	return status ? status : add(e, path, strlen(path), size, given);
}

static int normalise(const char *given, char out[PATH_MAX])
{
	size_t used = 0;

	for (const char *part = given;;) {
		size_t len = strcspn(part, "/"), got = 0;

		if (used + name_max + 2 > PATH_MAX || name_normalise(slice_of(part, len), out + used, &got))
			return say_error("%s: the name is too long", given);
		used += got;
		out[used] = 0;
		if (!part[len])
			return CTL_OK;
		out[used++] = '/';
		part += len + 1;
	}
}

static int add_new(struct plan *plan, const struct walk_file *f)
{
	const struct limits *l = &plan->limits.limits;
	char path[PATH_MAX];
	const char *name;
	int status = normalise(f->path, path);

	if (status)
		return status;
	name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	if (!name_has_type(slice_str(name), l->accepted_file_types))
		return say_error("%s: only files that end in %s are accepted", f->path, l->accepted_file_types);
	if (l->max_file_size && (uint64_t)f->size > l->max_file_size)
		return say_error("%s: its %lld bytes are over max_file_size=%llu", f->path, (long long)f->size,
				 (unsigned long long)l->max_file_size);
	return add_with_folders(&plan->all, path, f->size, f->path);
}

static int add_old(struct plan *plan, const struct place *p)
{
	const cJSON *item;
	int status = CTL_OK;

	cJSON_ArrayForEach(item, plan->info.files)
	{
		struct info_file file;

		if (!status && info_file_of(p, item, &file))
			status = add_with_folders(&plan->all, file.path, file.size, NULL);
	}
	return status;
}

/* By path, what is new first. */
static int by_path(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int order = strcmp(x->path, y->path);

	return order ? order : (y->given != NULL) - (x->given != NULL);
}

static int check_names(const struct entry *x, const struct entry *y)
{
	if ((x->size < 0) != (y->size < 0))
		return say_error("%s: a file and a folder are in each other's way", x->given ? x->given : x->path);
	if (x->size >= 0 && x->given && y->given)
		return say_error("%s and %s would both be stored as %s", x->given, y->given, x->path);
	return CTL_OK;
}

/* Counts what the bucket would hold afterwards. */
static int check_quota(struct plan *plan)
{
	const struct limits *l = &plan->limits.limits;
	uint64_t count = 0, bytes = 0;
	struct entry *e = plan->all.list;

	if (plan->all.count)
		qsort(e, plan->all.count, sizeof(*e), by_path);
	for (size_t i = 0; i < plan->all.count; i++) {
		int status = i && strcmp(e[i - 1].path, e[i].path) == 0 ? check_names(&e[i - 1], &e[i]) : CTL_OK;

		if (status)
			return status;
		if (i && strcmp(e[i - 1].path, e[i].path) == 0)
			continue;
		count++;
		bytes += e[i].size > 0 ? (uint64_t)e[i].size : 0;
	}
	if (l->max_files && count > l->max_files)
		return say_error("that would be %llu files and folders, over max_files=%llu", (unsigned long long)count,
				 (unsigned long long)l->max_files);
	if (l->max_total_size && bytes > l->max_total_size)
		return say_error("that would be %llu bytes in files, over max_total_size=%llu", (unsigned long long)bytes,
				 (unsigned long long)l->max_total_size);
	return CTL_OK;
}

static int check_data(const struct plan *plan, const struct document *patch)
{
	uint64_t size = document_size_empty, max = plan->limits.limits.max_data_size;
	struct document merged = {0};
	struct reason why;
	int status = CTL_OK;

	if (!max)
		return CTL_OK;
	if (plan->knows && document_parse(info_data(&plan->info), 0, &merged, &why))
		return CTL_OK;
	status = value_add_all(&merged, patch);
	if (!status && document_sort(&merged))
		status = say_no_memory();
	for (size_t i = 0; i < merged.count; i++) {
		struct member_view m = document_member(&merged, i);

		size += document_size_member(m.text.len, m.value.len);
	}
	if (!status && merged.count && size > max)
		status = say_error("the data would be %llu bytes, over max_data_size=%llu", (unsigned long long)size,
				   (unsigned long long)max);
	document_release(&merged);
	return status;
}

static int check_space(const struct place *p, const struct walk *files)
{
	struct statvfs fs;
	uint64_t need = 0, room;

	for (size_t i = 0; i < files->count; i++)
		need += (uint64_t)files->files[i].size;
	if (need == 0 || fstatvfs(p->root, &fs) || fs.f_blocks == 0)
		return CTL_OK;
	room = (uint64_t)fs.f_bavail * fs.f_frsize;
	return need <= room ? CTL_OK : say_error("no space: %llu bytes are needed, %llu are free",
						 (unsigned long long)need, (unsigned long long)room);
}

int plan_check(const struct place *p, const struct walk *files, const struct document *patch)
{
	struct plan plan = {0};
	/* Whoever may edit but not read is told by the commit. */
	bool may_read = place_may(p, "read");
	int status = may_read ? effective_load(p, &plan.limits) : CTL_OK;

	plan.knows = !status && may_read && info_try(p, &plan.info);
	if (!status && plan.knows)
		status = add_old(&plan, p);
	for (size_t i = 0; i < files->count && !status; i++)
		status = add_new(&plan, &files->files[i]);
	if (!status)
		status = check_quota(&plan);
	if (!status && patch)
		status = check_data(&plan, patch);
	if (!status)
		status = check_space(p, files);
	for (size_t i = 0; i < plan.all.count; i++)
		free(plan.all.list[i].path);
	free(plan.all.list);
	info_release(&plan.info);
	return status;
}
