/* The documents that the mount has kept (.bucketfs/history): showing them, and putting one back. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
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

enum { opt_json };

static const struct ctl_option history_options[] = {
	{"json", 0, NULL, "an array of objects, newest first"},
	{0},
};
static const struct ctl_option undo_options[] = {
	{"json", 0, NULL, "there is no output anyway"},
	{0},
};

struct kept {
	uint64_t revision;
	struct stat st;
};

enum { kept_max = 64 };

struct kept_list {
	struct kept all[kept_max];
	size_t count;
};

static bool parse_revision(const char *text, const char *end, uint64_t *out)
{
	char *after;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*out = strtoull(text, &after, 10);
	return !errno && strcmp(after, end) == 0;
}

static int newest_first(const void *a, const void *b)
{
	const struct kept *x = a, *y = b;

	return (x->revision < y->revision) - (x->revision > y->revision);
}

static int open_history(const struct place *p, int *fd)
{
	*fd = openat(p->bucket, CONTROL "/history", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*fd >= 0)
		return CTL_OK;
	if (errno == ENOENT)
		return say_error("the mount at %s keeps no history: its bucketfs is older than this bucketctl", p->mount);
	return say_errno(p, errno, "%s/" CONTROL "/history", p->id);
}

static int load(const struct place *p, struct kept_list *list)
{
	struct dirent *entry;
	struct kept *k;
	DIR *folder;
	int fd, status = open_history(p, &fd);

	list->count = 0;
	if (status)
		return status;
	folder = fdopendir(fd);
	if (!folder) {
		close(fd);
		return say_no_memory();
	}
	while (list->count < kept_max && (entry = readdir(folder))) {
		k = &list->all[list->count];
		/* One that is gone since it was listed has made room for another. */
		if (parse_revision(entry->d_name, ".json", &k->revision) &&
		    fstatat(fd, entry->d_name, &k->st, AT_SYMLINK_NOFOLLOW) == 0)
			list->count++;
	}
	closedir(folder);
	qsort(list->all, list->count, sizeof(*list->all), newest_first);
	return CTL_OK;
}

static int read_text(const struct place *p, uint64_t revision, struct buf *text)
{
	char path[64];
	int r;

	snprintf(path, sizeof(path), CONTROL "/history/%" PRIu64 ".json", revision);
	r = io_read_at(p->bucket, path, text);
	if (r == -ENOENT)
		return say_error("%s: no document of revision %" PRIu64 " is kept", p->id, revision);
	return r ? say_errno(p, -r, "%s/%s", p->id, path) : CTL_OK;
}

/* ---- history ---- */

static void show(const struct kept *k)
{
	const struct passwd *user = getpwuid(k->st.st_uid);
	char when[64] = "?", uid[32];
	struct tm tm;

	if (localtime_r(&k->st.st_mtime, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(uid, sizeof(uid), "%u", k->st.st_uid);
	terminal_line(stdout, "%12" PRIu64 "  %s  %-16s  %10lld bytes", k->revision, when, user ? user->pw_name : uid,
		      (long long)k->st.st_size);
}

static int show_json(const struct kept_list *list)
{
	cJSON *array = cJSON_CreateArray();
	bool good = array != NULL;

	for (size_t i = 0; i < list->count && good; i++) {
		const struct kept *k = &list->all[i];
		cJSON *one = cJSON_CreateObject();
		char when[64] = "";
		struct tm tm;

		if (gmtime_r(&k->st.st_mtime, &tm))
			strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
		cJSON_AddNumberToObject(one, "revision", (double)k->revision);
		cJSON_AddStringToObject(one, "until", when);
		cJSON_AddNumberToObject(one, "uid", k->st.st_uid);
		cJSON_AddNumberToObject(one, "size", (double)k->st.st_size);
		good = cJSON_AddItemToArray(array, one);
	}
	good = good && tree_print(array);
	cJSON_Delete(array);
	return good ? CTL_OK : say_no_memory();
}

/* The bucket, and the revision if there is one. */
static int find(const struct request *r, struct place *p, uint64_t *revision)
{
	if (r->count > 1 && !parse_revision(r->args[1], "", revision))
		return say_usage("%s is no revision", r->args[1]);
	return place_find_bucket(p, r->args[0]);
}

static int history_run(const struct request *r)
{
	struct kept_list list;
	struct buf text = {0};
	uint64_t revision = 0;
	struct place p;
	int status = find(r, &p, &revision);

	if (status)
		return status;
	if (r->count > 1) {
		status = read_text(&p, revision, &text);
		if (!status)
			terminal_text(stdout, buf_slice(&text));
	} else if (!(status = load(&p, &list))) {
		if (r->option[opt_json])
			status = show_json(&list);
		else if (list.count == 0)
			terminal_line(stdout, "no document was removed or replaced here");
		for (size_t i = 0; i < list.count && !r->option[opt_json]; i++)
			show(&list.all[i]);
	}
	buf_release(&text);
	place_close(&p);
	return status;
}

/* ---- undo ---- */

/* As careful programs save: a temporary file, renamed onto data.json. What that held is kept then. */
static int put_back_once(const struct place *p, struct slice text)
{
	char name[64];
	int fd, r;

	snprintf(name, sizeof(name), "data.json.undo.%d", getpid());
	fd = openat(p->bucket, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	r = fd < 0 ? -errno : io_write(fd, text);
	if (fd >= 0 && close(fd) && !r)
		r = -errno;
	if (!r && renameat(p->bucket, name, p->bucket, "data.json"))
		r = -errno;
	if (r && fd >= 0)
		unlinkat(p->bucket, name, 0);
	return r;
}

static int put_back(const struct place *p, struct slice text)
{
	enum { attempts = 20 };
	int r = -ESTALE;

	for (int i = 0; i < attempts && r == -ESTALE; i++) {
		const struct timespec pause = {0, i * 5000000L};

		nanosleep(&pause, NULL);
		r = put_back_once(p, text);
	}
	return r ? say_errno(p, -r, "%s/data.json", p->id) : CTL_OK;
}

static int undo_run(const struct request *r)
{
	struct kept_list list;
	struct buf text = {0};
	uint64_t revision = 0;
	struct place p;
	int status = find(r, &p, &revision);

	if (status)
		return status;
	if (r->count == 1) {
		status = load(&p, &list);
		if (!status && list.count == 0)
			status = say_error("%s: no document was removed or replaced here", p.id);
		else if (!status)
			revision = list.all[0].revision;
	}
	if (!status)
		status = read_text(&p, revision, &text);
	if (!status)
		status = put_back(&p, buf_slice(&text));
	if (!status)
		say_note("%s/data.json is as it was at revision %" PRIu64, p.id, revision);
	buf_release(&text);
	place_close(&p);
	return status;
}

const struct command command_history = {
	.name = "history",
	.usage = "[--json] BUCKET\nBUCKET REVISION",
	.about = "list the documents that were removed or replaced whole, or print one",
	.more = "The mount keeps the last ten of a bucket, bounded in bytes, with the time and the user that ended them.",
	.options = history_options,
	.min = 1,
	.max = 2,
	.run = history_run,
};

const struct command command_undo = {
	.name = "undo",
	.usage = "BUCKET [REVISION]",
	.about = "put a document back that was removed or replaced whole",
	.more = "Without a revision the last one comes back. What data.json holds now is kept in its place, so that undo can be undone.",
	.options = undo_options,
	.min = 1,
	.max = 2,
	.run = undo_run,
};
