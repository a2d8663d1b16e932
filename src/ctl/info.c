#include <time.h>

#include "ctl/control.h"
#include "ctl/ctl.h"
#include "ctl/refusal.h"
#include "ctl/say.h"
#include "ctl/terminal.h"

enum { opt_json };

static const struct ctl_option options[] = {
	{"json", 0, NULL, "all of it, as .bucketfs/info.json has it"},
	{0},
};

/* Moments are "2026-11-20T06:12:00.123Z". */
static void show_time(const cJSON *object, const char *name)
{
	time_t t = refusal_time(tree_text(object, name));
	struct tm tm;
	char text[64];

	if (t != -1 && localtime_r(&t, &tm) && strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm))
		terminal_part(stdout, "%s", text);
	else
		terminal_part(stdout, "%s", tree_text(object, name));
}

static void show_text(const cJSON *bucket, const char *name)
{
	if (*tree_text(bucket, name))
		terminal_line(stdout, "%-9s %s", name, tree_text(bucket, name));
}

static void show_files(const struct place *p, const cJSON *files)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, files)
	{
		struct info_file f;

		if (!info_file_of(p, item, &f))
			continue;
		terminal_part(stdout, "%12lld  ", f.size);
		show_time(item, "date");
		if (*tree_text(item, "username"))
			terminal_line(stdout, "  %s  (%s)", f.path, tree_text(item, "username"));
		else
			terminal_line(stdout, "  %s", f.path);
	}
}

static void show(const struct place *p, const struct info *info)
{
	static const char *const texts[] = {"id", "title", "icon", "notes", "username"};
	static const char *const times[] = {"created", "modified"};
	const cJSON *enabled = cJSON_GetObjectItemCaseSensitive(info->bucket, "enabled");
	struct document data = {0};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		show_text(info->bucket, texts[i]);
	if (cJSON_IsFalse(enabled) || (cJSON_IsNumber(enabled) && enabled->valuedouble == 0))
		terminal_line(stdout, "%-9s %s", "enabled", "no");
	for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++) {
		terminal_part(stdout, "%-9s ", times[i]);
		show_time(info->bucket, times[i]);
		terminal_line_end(stdout);
	}
	terminal_line(stdout, "%-9s %lld", "revision", info->revision);
	if (document_parse(info_data(info), 0, &data, NULL) == 0)
		terminal_line(stdout, "%-9s %zu keys, %zu bytes", "data", data.count, info_data(info).len);
	document_release(&data);
	terminal_line(stdout, "%-9s %d", "files", cJSON_GetArraySize(info->files));
	show_files(p, info->files);
}

static int run(const struct request *r)
{
	struct info info;
	struct place p;
	int status = place_find_bucket(&p, r->count ? r->args[0] : ".");

	if (status)
		return status;
	status = info_load(&p, &info);
	if (!status && r->option[opt_json])
		terminal_text(stdout, buf_slice(&info.text));
	else if (!status)
		show(&p, &info);
	if (!status)
		info_release(&info);
	place_close(&p);
	return status;
}

const struct command command_info = {
	.name = "info",
	.usage = "[--json] [BUCKET]",
	.about = "show what a bucket is and which files it has",
	.options = options,
	.max = 1,
	.run = run,
};
