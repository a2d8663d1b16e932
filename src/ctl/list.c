#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ctl/control.h"
#include "ctl/ctl.h"
#include "ctl/io.h"
#include "ctl/say.h"
#include "ctl/terminal.h"

enum { opt_long, opt_json };

static const struct ctl_option options[] = {
	{"long", 'l', NULL, "owner, revision, keys, files and their bytes, and when it was made, too"},
	{"json", 0, NULL, "an array of objects with all of that, and enabled, icon, notes"},
	{0},
};

struct row {
	char *id;
	cJSON *meta; /* NULL: it may not be read, or there is none */
	cJSON *usage; /* likewise */
	time_t modified;
};

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->id, ((const struct row *)b)->id);
}

static void load(int root, const char *id, struct row *out)
{
	char path[NAME_MAX + 32];
	struct buf text = {0};
	struct stat st;
	int fd;

	out->modified = fstatat(root, id, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_mtim.tv_sec : 0;
	snprintf(path, sizeof(path), "%s/" CONTROL "/meta.json", id);
	if (io_read_at(root, path, &text) == 0)
		out->meta = tree_parse(buf_slice(&text));
	buf_release(&text);
	fd = openat(root, id, O_PATH | O_DIRECTORY | O_CLOEXEC);
	out->usage = control_usage(fd);
	if (fd >= 0)
		close(fd);
}

static const char *owner_of(const struct row *row, char text[32])
{
	const struct passwd *user = row->usage ? getpwuid((uid_t)tree_number(row->usage, "uid")) : NULL;

	if (row->usage)
		snprintf(text, 32, "%.0f", tree_number(row->usage, "uid"));
	return user ? user->pw_name : row->usage ? text : "-";
}

static int collect(const struct place *p, struct row **rows, size_t *count)
{
	int fd = openat(p->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), status = CTL_OK;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	size_t cap = 0;
	struct dirent *e;

	if (!dir) {
		status = say_errno(p, errno, "%s", p->mount);
		if (fd >= 0)
			close(fd);
		return status;
	}
	while (!status && (e = readdir(dir))) {
		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		if (*count == cap) {
			struct row *grown = realloc(*rows, (cap = cap ? cap * 2 : 64) * sizeof(*grown));

			if (!grown) {
				status = say_no_memory();
				break;
			}
			*rows = grown;
		}
		(*rows)[*count] = (struct row){.id = strdup(e->d_name)};
		if ((*rows)[*count].id)
			load(dirfd(dir), e->d_name, &(*rows)[(*count)++]);
		else
			status = say_no_memory();
	}
	closedir(dir);
	return status;
}

static int show_json(const struct row *rows, size_t count)
{
	cJSON *all = cJSON_CreateArray();
	bool good = all != NULL;

	for (size_t i = 0; i < count && good; i++) {
		cJSON *one = cJSON_CreateObject(), *item;
		char when[64] = "";
		struct tm tm;

		if (gmtime_r(&rows[i].modified, &tm))
			strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
		good = cJSON_AddStringToObject(one, "id", rows[i].id) && cJSON_AddStringToObject(one, "modified", when);
		cJSON_ArrayForEach(item, rows[i].meta)
		{
			if (item->string && !cJSON_GetObjectItemCaseSensitive(one, item->string))
				cJSON_AddItemToObject(one, item->string, cJSON_Duplicate(item, true));
		}
		if (rows[i].usage) {
			char text[32];

			cJSON_AddStringToObject(one, "owner", owner_of(&rows[i], text));
			cJSON_ArrayForEach(item, rows[i].usage)
			{
				if (item->string && strcmp(item->string, "uid") && strcmp(item->string, "modified"))
					cJSON_AddItemToObject(one, item->string, cJSON_Duplicate(item, true));
			}
		}
		good = cJSON_AddItemToArray(all, one) && good;
	}
	good = good && tree_print(all);
	cJSON_Delete(all);
	return good ? CTL_OK : say_no_memory();
}

static void show(const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char when[64] = "";
		struct tm tm;
		const char *title = tree_text(rows[i].meta, "title");
		bool off = cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(rows[i].meta, "enabled"));

		if (localtime_r(&rows[i].modified, &tm))
			strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &tm);
		terminal_line(stdout, "%-24s  %s%s%s%s", rows[i].id, when, *title ? "  " : "", title,
			      off ? "  (disabled)" : "");
	}
}

static void show_long(const struct row *rows, size_t count)
{
	terminal_line(stdout, "%-24s  %-12s %8s %8s %8s %14s  %-10s  %s", "id", "owner", "revision", "keys", "files", "bytes", "made", "changed");
	for (size_t i = 0; i < count; i++) {
		const cJSON *u = rows[i].usage;
		char when[64] = "", owner[32];
		struct tm tm;

		if (localtime_r(&rows[i].modified, &tm))
			strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &tm);
		if (u)
			terminal_line(stdout, "%-24s  %-12s %8.0f %8.0f %8.0f %14.0f  %.10s  %s", rows[i].id, owner_of(&rows[i], owner),
				      tree_number(u, "revision"), tree_number(u, "keys"), tree_number(u, "files"),
				      tree_number(u, "file_bytes") + tree_number(u, "data_size"), tree_text(u, "created"), when);
		else
			terminal_line(stdout, "%-24s  %-12s %8s %8s %8s %14s  %-10s  %s", rows[i].id, "-", "-", "-", "-", "-", "-", when);
	}
}

static int run(const struct request *r)
{
	struct row *rows = NULL;
	size_t count = 0;
	struct place p;
	int status = place_find_any(&p, r->count ? r->args[0] : ".");

	if (status)
		return status;
	status = collect(&p, &rows, &count);
	if (!status && count)
		qsort(rows, count, sizeof(*rows), by_id);
	if (!status && r->option[opt_json])
		status = show_json(rows, count);
	else if (!status && r->option[opt_long])
		show_long(rows, count);
	else if (!status)
		show(rows, count);
	for (size_t i = 0; i < count; i++) {
		free(rows[i].id);
		cJSON_Delete(rows[i].meta);
		cJSON_Delete(rows[i].usage);
	}
	free(rows);
	place_close(&p);
	return status;
}

const struct command command_list = {
	.name = "list",
	.usage = "[-l] [--json] [PATH]",
	.about = "list the buckets of a mount",
	.options = options,
	.max = 1,
	.run = run,
};
