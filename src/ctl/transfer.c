#include "ctl/transfer.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctl/control.h"
#include "ctl/say.h"
#include "ctl/terminal.h"

static int what_to_sync(struct transfer *t, const char *sync)
{
	if (!sync)
		sync = t->data_path ? "data_and_files" : "files";
	t->data = strcmp(sync, "data") == 0 || strcmp(sync, "data_and_files") == 0;
	t->files = strcmp(sync, "files") == 0 || strcmp(sync, "data_and_files") == 0;
	if (!t->data && !t->files)
		return say_usage("--sync %s: there is data, files and data_and_files", sync);
	if (t->data && !t->data_path)
		return say_usage("--sync %s needs --data FILE", sync);
	if (!t->data && t->data_path)
		return say_usage("--sync files and --data do not go together");
	if (t->files && !t->folder)
		return say_usage("DIR is missing");
	return CTL_OK;
}

int transfer_begin(struct transfer *t, const struct request *r)
{
	const char *pattern = r->option[TRANSFER_GLOB] ? r->option[TRANSFER_GLOB] : "*";
	int status, g;

	*t = (struct transfer){.place = {.root = -1, .bucket = -1}, .data_path = r->option[TRANSFER_DATA],
		.folder = r->count > 1 ? r->args[1] : NULL, .dry_run = r->option[TRANSFER_DRY_RUN] != NULL,
		.json = r->option[TRANSFER_JSON] != NULL, .strict = r->option[TRANSFER_STRICT] != NULL,
		.follow = r->option[TRANSFER_FOLLOW] != NULL, .pattern = pattern};
	status = what_to_sync(t, r->option[TRANSFER_SYNC]);
	if (!status)
		status = place_find_bucket(&t->place, r->args[0]);
	if (status)
		return status;
	g = glob_new(&t->glob, pattern);
	if (g)
		status = g == -E2BIG ? say_usage("--glob %s: these braces stand for too many patterns", pattern) : say_no_memory();
	if (status)
		transfer_end(t);
	return status;
}

int transfer_tell(const struct transfer *t, size_t count, const struct transfer_rest *rest)
{
	const char *where = t->folder;

	if (!count)
		say_note("%s: no file matches %s", where, *t->pattern ? t->pattern : "*");
	if (rest->folders)
		say_note("%s: %u sub-folder%s left out; --glob '**' takes %s", where, rest->folders, rest->folders == 1 ? " is" : "s are",
			 rest->folders == 1 ? "it" : "them");
	if (rest->dots)
		say_note("%s: %u name%s a dot and %s left out; --glob '{,.}*' takes %s", where, rest->dots,
			 rest->dots == 1 ? " begins with" : "s begin with", rest->dots == 1 ? "is" : "are", rest->dots == 1 ? "it" : "them");
	if (rest->others)
		say_note("%s: %u matching name%s no file%s and left out", where, rest->others, rest->others == 1 ? " is" : "s are",
			 rest->others == 1 ? "" : "s");
	if (t->strict && (!count || rest->folders || rest->dots || rest->others))
		return say_error("nothing was copied: --strict");
	return CTL_OK;
}

void transfer_end(struct transfer *t)
{
	glob_free(t->glob);
	t->glob = NULL;
	place_close(&t->place);
}

void transfer_list_begin(struct transfer_list *l, const struct transfer *t, long long revision)
{
	*l = (struct transfer_list){.t = t};
	if (!t->json)
		return;
	l->tree = cJSON_CreateObject();
	cJSON_AddStringToObject(l->tree, "bucket", t->place.id);
	if (revision >= 0)
		cJSON_AddNumberToObject(l->tree, "revision", (double)revision);
	cJSON_AddBoolToObject(l->tree, "data", t->data);
	l->bad = !cJSON_AddArrayToObject(l->tree, "files");
}

void transfer_list_add(struct transfer_list *l, const char *path, long long size)
{
	cJSON *item;

	if (!l->tree) {
		if (l->t->dry_run)
			terminal_name(path);
		return;
	}
	item = cJSON_CreateObject();
	cJSON_AddStringToObject(item, "path", path);
	cJSON_AddNumberToObject(item, "size", (double)size);
	if (!cJSON_AddItemToArray(cJSON_GetObjectItemCaseSensitive(l->tree, "files"), item)) {
		cJSON_Delete(item);
		l->bad = true;
	}
}

int transfer_list_end(struct transfer_list *l)
{
	bool bad = l->tree && (l->bad || !tree_print(l->tree));

	cJSON_Delete(l->tree);
	return bad ? say_no_memory() : CTL_OK;
}
