/* Files and data into a bucket, all of it or nothing: a transaction is filled, then published by one rename. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ctl/control.h"
#include "ctl/copy.h"
#include "ctl/io.h"
#include "ctl/plan.h"
#include "ctl/say.h"
#include "ctl/transfer.h"
#include "ctl/value.h"

static const struct ctl_option options[] = {
	TRANSFER_OPTIONS,
	[TRANSFER_FOLLOW] = {"dereference", 'L', NULL, "store what links lead to, also outside DIR, not the links"},
	{0},
};

struct store {
	struct transfer t;
	struct document patch;
	struct walk walk;
	int from;       /* DIR */
	char path[64]; /* of the transaction below the bucket; empty: there is none */
	int to;         /* the folder of the transaction */
};

static int find_files(struct store *s)
{
	struct transfer_rest rest;
	int r;

	s->walk.follow = s->t.follow;
	s->from = open(s->t.folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = s->from < 0 ? -errno : walk_files(&s->walk, s->from, s->t.glob);
	if (r)
		return say_errno(NULL, -r, "%s", s->t.folder);
	rest = (struct transfer_rest){s->walk.folders, s->walk.dots, s->walk.skipped};
	return transfer_tell(&s->t, s->walk.count, &rest);
}

static int begin(struct store *s)
{
	unsigned long long name = 0;

	if (getrandom(&name, sizeof(name), 0) < 0)
		return say_errno(NULL, errno, "random numbers");
	snprintf(s->path, sizeof(s->path), CONTROL "/tx/ctl-%d-%016llx", (int)getpid(), name);
	if (mkdirat(s->t.place.bucket, s->path, 0777)) {
		int error = errno;

		s->path[0] = 0;
		return control_failed(&s->t.place, error, "tx");
	}
	s->to = openat(s->t.place.bucket, s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return s->to < 0 ? say_errno(&s->t.place, errno, "%s/%s", s->t.place.id, s->path) : CTL_OK;
}

static int put_data(struct store *s)
{
	struct buf text = {0};
	int status = value_render(&s->patch, &text), r = 0;

	if (!status)
		r = io_write_at(s->to, "data.json", O_WRONLY | O_CREAT | O_TRUNC, buf_slice(&text));
	if (r)
		status = say_errno(&s->t.place, -r, "%s/data.json", s->t.place.id);
	buf_release(&text);
	return status;
}

static int put_file(struct store *s, const struct walk_file *file, struct progress *progress)
{
	enum copy_side side = COPY_WRITING;
	char path[PATH_MAX + 8];
	struct copy_end from = {s->from, file->source ? file->source : file->path, file->link, s->t.follow}, to = {.folder = s->to, .path = path};
	int r = -ENAMETOOLONG;

	if (snprintf(path, sizeof(path), "files/%s", file->path) < PATH_MAX)
		r = copy_file(&from, &to, file->size, progress, &side);
	if (!r)
		return CTL_OK;
	progress_end(progress);
	if (r == -EINTR)
		return say_error("interrupted; nothing was stored");
	if (side == COPY_READING && r == -ESTALE)
		return say_error("%s%s%s changed while it was copied; nothing was stored", s->t.folder ? s->t.folder : "",
				 s->t.folder ? "/" : "", from.path);
	if (side == COPY_READING)
		return say_errno(NULL, -r, "%s%s%s", s->t.folder ? s->t.folder : "", s->t.folder ? "/" : "", from.path);
	return say_errno(&s->t.place, -r, "%s/files/%s", s->t.place.id, file->path);
}

static int put_files(struct store *s)
{
	struct progress progress;
	uint64_t bytes = 0;
	int status = CTL_OK;

	for (size_t i = 0; i < s->walk.count; i++)
		bytes += (uint64_t)s->walk.files[i].size;
	progress_begin(&progress, "store", s->walk.count, bytes);
	for (size_t i = 0; i < s->walk.count && !status; i++)
		status = put_file(s, &s->walk.files[i], &progress);
	progress_end(&progress);
	return status;
}

/* A file that has just been closed may count as open for a moment: its RELEASE is on the way. */
static int publish(struct store *s)
{
	struct timespec pause = {0, 5000000};

	for (int i = 0; renameat(s->t.place.bucket, s->path, s->t.place.bucket, CONTROL "/commit"); i++) {
		if (errno != EBUSY || i == 400)
			return -1;
		nanosleep(&pause, NULL);
	}
	return 0;
}

static int commit(struct store *s)
{
	if (copy_was_interrupted())
		return say_error("interrupted; nothing was stored");
	if (publish(s))
		return say_errno(&s->t.place, errno, "%s: nothing was stored", s->t.place.id);
	s->path[0] = 0;
	return CTL_OK;
}

static void abandon(struct store *s)
{
	if (*s->path) {
		int fd = openat(s->t.place.bucket, s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (fd >= 0)
			io_remove_all(fd);
		unlinkat(s->t.place.bucket, s->path, AT_REMOVEDIR);
	}
	if (s->to >= 0)
		close(s->to);
}

static int transact(struct store *s)
{
	int status;

	copy_catch_signals();
	status = begin(s);
	if (!status && s->t.data)
		status = put_data(s);
	if (!status && s->t.files)
		status = put_files(s);
	if (!status)
		status = commit(s);
	abandon(s);
	return status;
}

static int list(const struct store *s)
{
	struct transfer_list l;

	transfer_list_begin(&l, &s->t, -1);
	for (size_t i = 0; i < s->walk.count; i++)
		transfer_list_add(&l, s->walk.files[i].path, s->walk.files[i].size);
	return transfer_list_end(&l);
}

static int run(const struct request *r)
{
	struct store s = {.from = -1, .to = -1};
	int status = transfer_begin(&s.t, r);

	if (status)
		return status;
	if (s.t.data)
		status = value_read_object(s.t.data_path, &s.patch);
	if (!status && s.t.files)
		status = find_files(&s);
	if (!status && !s.t.data && !s.walk.count) {
		status = list(&s);
		goto out;
	}
	if (!status)
		status = plan_check(&s.t.place, &s.walk, s.t.data ? &s.patch : NULL);
	if (!status && !s.t.dry_run)
		status = transact(&s);
	if (!status)
		status = list(&s);
out:
	if (s.from >= 0)
		close(s.from);
	walk_release(&s.walk);
	document_release(&s.patch);
	transfer_end(&s.t);
	return status;
}

const struct command command_store = {
	.name = "store",
	.usage = "[OPTIONS] BUCKET DIR\n[OPTIONS] --sync data --data FILE BUCKET",
	.about = "copy files of a folder into a bucket, and merge a JSON file into its data",
	.more = "Files of DIR that match go to files/, with their sub-folders; the object in FILE is merged. All of it appears in\n"
		"the bucket at one moment, or none of it. Names and limits are checked before the first byte is copied.\n"
		"Symbolic links are stored as links, and not followed, unless --dereference is given.",
	.options = options,
	.min = 1,
	.max = 2,
	.run = run,
};

/* ---- cp: single files, into a bucket or out of one ---- */

enum { cp_json };

static const struct ctl_option cp_options[] = {
	{"json", 0, NULL, "into a bucket: print what was copied as JSON"},
	{0},
};

static const char *leaf_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Whether the last argument names a folder below files/, so that each file keeps its name. */
static bool is_folder_there(const struct place *p, const char *argument, int sources)
{
	struct stat st;

	return sources > 1 || !*p->rest || strcmp(p->rest, "files") == 0 || argument[strlen(argument) - 1] == '/' ||
	       (fstatat(p->bucket, p->rest, &st, 0) == 0 && S_ISDIR(st.st_mode));
}

static int add_sources(struct store *s, const struct request *r, const char *below, bool keeps_names)
{
	for (int i = 0; i + 1 < r->count; i++) {
		char path[PATH_MAX];
		struct stat st;

		if (stat(r->args[i], &st))
			return say_errno(NULL, errno, "%s", r->args[i]);
		if (!S_ISREG(st.st_mode))
			return say_error("%s is no file; bucketctl store takes folders", r->args[i]);
		if (snprintf(path, sizeof(path), "%s%s%s", below, *below && keeps_names ? "/" : "", keeps_names ? leaf_of(r->args[i]) : "") >= PATH_MAX)
			return say_errno(NULL, ENAMETOOLONG, "%s", r->args[i]);
		if (walk_add(&s->walk, path, r->args[i], st.st_size))
			return say_no_memory();
	}
	return CTL_OK;
}

static int copy_in(struct store *s, const struct request *r)
{
	const char *below = strncmp(s->t.place.rest, "files", 5) == 0 ? s->t.place.rest + 5 : NULL;
	int status;

	if (*s->t.place.rest && (!below || (*below && *below != '/')))
		return say_error("%s: files go into BUCKET or BUCKET/files/PATH", r->args[r->count - 1]);
	below = below && *below ? below + 1 : "";
	status = add_sources(s, r, below, is_folder_there(&s->t.place, r->args[r->count - 1], r->count - 1));
	if (!status)
		status = plan_check(&s->t.place, &s->walk, NULL);
	if (!status)
		status = transact(s);
	return status ? status : list(s);
}

/* One file of a bucket, whole or not at all. `folder`: where it keeps its name; else `to` is its path. */
static int copy_out(const char *source, int folder, const char *to)
{
	char part[64];
	struct copy_end from = {AT_FDCWD, source, NULL, true}, into = {.folder = folder, .path = part};
	enum copy_side side = COPY_READING;
	struct progress progress;
	struct stat st;
	int e = 0;

	snprintf(part, sizeof(part), ".bucketctl-%d", (int)getpid());
	if (stat(source, &st))
		return say_errno(NULL, errno, "%s", source);
	progress_begin(&progress, "cp", 1, (uint64_t)st.st_size);
	e = copy_file(&from, &into, st.st_size, &progress, &side);
	progress_end(&progress);
	if (!e && renameat(folder, part, folder, to))
		e = -errno;
	if (e)
		unlinkat(folder, part, 0);
	return e ? say_errno(NULL, -e, "%s", side == COPY_READING ? source : to) : CTL_OK;
}

/* Neither of them is in a bucket: says which one was meant to be. */
static int in_no_bucket(const char *from, const char *to)
{
	struct place p;
	struct stat st;
	int status;

	if (lstat(from, &st) == 0 && S_ISLNK(st.st_mode))
		return say_error("%s is a symbolic link that leads out of its bucket", from);
	if (!place_is_mounted(to) && !place_is_mounted(from))
		return say_error("neither %s nor %s is in a bucket", from, to);
	status = place_find_bucket(&p, place_is_mounted(to) ? to : from);
	if (!status)
		place_close(&p);
	return status;
}

static int copy_all_out(const struct request *r)
{
	const char *last = r->args[r->count - 1], *slash = strrchr(last, '/');
	char parent[PATH_MAX];
	struct stat st;
	bool is_folder = stat(last, &st) == 0 && S_ISDIR(st.st_mode);
	int folder, status = CTL_OK;

	if (!is_folder && r->count > 2)
		return say_error("%s is no folder", last);
	if (snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - last) + 1 : 1, slash ? last : ".") >= PATH_MAX)
		return say_errno(NULL, ENAMETOOLONG, "%s", last);
	folder = open(is_folder ? last : parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return say_errno(NULL, errno, "%s", last);
	copy_catch_signals();
	for (int i = 0; i + 1 < r->count && !status; i++)
		status = place_is_bucket(r->args[i]) ? copy_out(r->args[i], folder, is_folder ? leaf_of(r->args[i]) : leaf_of(last)) :
						       in_no_bucket(r->args[i], last);
	close(folder);
	return status;
}

static int run_cp(const struct request *r)
{
	struct store s = {.from = AT_FDCWD, .to = -1, .t = {.place = {.root = -1, .bucket = -1}, .files = true, .follow = true}};
	int status;

	if (!place_is_bucket(r->args[r->count - 1]))
		return copy_all_out(r);
	s.t.json = r->option[cp_json] != NULL;
	status = place_find_bucket(&s.t.place, r->args[r->count - 1]);
	if (!status)
		status = copy_in(&s, r);
	walk_release(&s.walk);
	place_close(&s.t.place);
	return status;
}

const struct command command_cp = {
	.name = "cp",
	.usage = "FILE... BUCKET[/files/PATH]\nBUCKET/files/FILE... FOLDER|FILE",
	.about = "copy single files into a bucket, or out of one",
	.more = "Into a bucket all of them appear at one moment, or none. Out of one each is there whole, or not at all.",
	.options = cp_options,
	.min = 2,
	.max = -1,
	.run = run_cp,
};
