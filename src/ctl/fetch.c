/* Files and data of a bucket, as one revision of it has them. They are copied beside their destination, then it is seen
 * whether the bucket still has just these files, and only then they are renamed into place. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "ctl/control.h"
#include "ctl/copy.h"
#include "ctl/data.h"
#include "ctl/io.h"
#include "ctl/say.h"
#include "ctl/terminal.h"
#include "ctl/transfer.h"
#include "ctl/value.h"

/* A bucket that never holds still for as long as copying takes is given up after this many attempts. */
enum { attempts = 20 };

static const struct ctl_option options[] = {TRANSFER_OPTIONS, {0}};

struct fetch {
	struct transfer t;
	struct document data; /* what FILE shall hold */
	struct info info;
	struct info_file *files; /* those that match; they point into info */
	size_t count;
	struct transfer_rest rest; /* those that do not */
	uint64_t bytes;
	int folder;                /* DIR */
	char part[NAME_MAX + 1]; /* in DIR, where things are copied to; empty: there is none */
	int part_fd;
};

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct info_file *)a)->path, ((const struct info_file *)b)->path);
}

/* Counts one that does not match. `folder`: the sub-folder that was counted last. */
static void leave_out(const struct fetch *f, const char *path, char folder[PATH_MAX], struct transfer_rest *rest)
{
	size_t len = strcspn(path, "/");
	char copy[PATH_MAX];

	if (path[len] && !glob_goes_down(f->t.glob)) {
		if (strncmp(folder, path, len) || folder[len]) {
			memcpy(folder, path, len);
			folder[len] = 0;
			rest->folders += *path != '.';
			rest->dots += *path == '.';
		}
		return;
	}
	snprintf(copy, sizeof(copy), "%s", path);
	len = strrchr(copy, '/') ? (size_t)(strrchr(copy, '/') + 1 - copy) : 0;
	if (copy[len] != '.')
		return;
	copy[len] = '_';
	rest->dots += glob_match(f->t.glob, copy);
}

static int choose(const struct fetch *f, const struct info *info, struct info_file **out, size_t *count, struct transfer_rest *rest)
{
	char folder[PATH_MAX] = "";
	const cJSON *item;
	size_t n = 0;

	*out = calloc((size_t)cJSON_GetArraySize(info->files) + 1, sizeof(**out));
	if (!*out)
		return say_no_memory();
	cJSON_ArrayForEach(item, info->files)
	{
		struct info_file file;

		if (!info_file_of(&f->t.place, item, &file))
			continue;
		if (glob_match(f->t.glob, file.path))
			(*out)[n++] = file;
		else
			leave_out(f, file.path, folder, rest);
	}
	qsort(*out, n, sizeof(**out), by_path);
	*count = n;
	return CTL_OK;
}

static int load(struct fetch *f)
{
	int status;

	free(f->files);
	f->files = NULL;
	info_release(&f->info);
	status = info_load(&f->t.place, &f->info);
	f->rest = (struct transfer_rest){0};
	return status ? status : choose(f, &f->info, &f->files, &f->count, &f->rest);
}

static int open_folder(struct fetch *f)
{
	int r = io_make_parents(AT_FDCWD, f->t.folder);

	if (!r && mkdir(f->t.folder, 0777) && errno != EEXIST)
		r = -errno;
	f->folder = r ? -1 : open(f->t.folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (!r && f->folder < 0)
		r = -errno;
	return r ? say_errno(NULL, -r, "%s", f->t.folder) : CTL_OK;
}

/* Whether a file can be put there. A folder that is not there yet is no obstacle. */
static int check_way(const struct fetch *f, const char *path)
{
	const char *leaf;
	struct stat st;
	int parent, r = io_parent(f->folder, path, false, &parent, &leaf);

	if (r)
		return r == -ENOENT ? 0 : r;
	if (fstatat(parent, leaf, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
		r = -EISDIR;
	close(parent);
	return r;
}

/* Before the first byte is copied: nothing stands in the way, and there is room. */
static int check(struct fetch *f)
{
	struct statvfs fs;
	uint64_t need = 0, room;
	struct stat st;

	f->bytes = 0;
	for (size_t i = 0; i < f->count; i++) {
		char path[PATH_MAX];
		int r = check_way(f, f->files[i].path);

		if (r == -ELOOP)
			return say_error("%s/%s: a symbolic link is in the way, and is not followed", f->t.folder, f->files[i].path);
		if (r)
			return say_error("%s/%s: a file and a folder are in each other's way", f->t.folder, f->files[i].path);
		snprintf(path, sizeof(path), "files/%s", f->files[i].path);
		f->bytes += (uint64_t)f->files[i].size;
		if (fstatat(f->t.place.bucket, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
			need += st.st_blocks * 512 < st.st_size ? (uint64_t)st.st_blocks * 512 : (uint64_t)st.st_size;
	}
	if (fstatvfs(f->folder, &fs))
		return CTL_OK;
	room = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (need > room)
		return say_error("%s: no space: %llu bytes are needed, %llu are free", f->t.folder, (unsigned long long)need,
				 (unsigned long long)room);
	return CTL_OK;
}

static void drop_part(struct fetch *f)
{
	if (!*f->part)
		return;
	io_remove_all(f->part_fd);
	unlinkat(f->folder, f->part, AT_REMOVEDIR);
	f->part[0] = 0;
}

static int make_part(struct fetch *f)
{
	for (int i = 0; i < 100; i++) {
		snprintf(f->part, sizeof(f->part), ".bucketctl-%d-%d", (int)getpid(), i);
		if (mkdirat(f->folder, f->part, 0700) == 0) {
			f->part_fd = openat(f->folder, f->part, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			if (f->part_fd >= 0)
				return CTL_OK;
			break;
		}
		if (errno != EEXIST)
			break;
	}
	f->part[0] = 0;
	return say_errno(NULL, errno, "%s", f->t.folder);
}

/* *again: the bucket has changed meanwhile. */
static int copy_all(struct fetch *f, bool *again)
{
	struct progress progress;
	int status = CTL_OK;

	progress_begin(&progress, "fetch", f->count, f->bytes);
	for (size_t i = 0; i < f->count && !status && !*again; i++) {
		const struct info_file *file = &f->files[i];
		enum copy_side side = COPY_WRITING;
		char path[PATH_MAX];
		struct copy_end from = {f->t.place.bucket, path, file->link, false}, to = {.folder = f->part_fd, .path = file->path};
		int r;

		snprintf(path, sizeof(path), "files/%s", file->path);
		r = copy_file(&from, &to, file->size, &progress, &side);
		if (!r)
			continue;
		progress_end(&progress);
		if (r == -EINTR)
			status = say_error("interrupted");
		else if (side == COPY_READING && (r == -ESTALE || r == -ENOENT))
			*again = true;
		else if (side == COPY_READING)
			status = say_errno(&f->t.place, -r, "%s/%s", f->t.place.id, path);
		else
			status = say_errno(NULL, -r, "%s/%s", f->t.folder, file->path);
	}
	progress_end(&progress);
	return status;
}

/* Whether the bucket has the chosen files still, the very same. */
static int compare(struct fetch *f, bool *again)
{
	struct info_file *files = NULL;
	struct transfer_rest rest = {0};
	struct info now;
	size_t count;
	int status = info_load(&f->t.place, &now);

	if (status)
		return status;
	if (now.revision == f->info.revision)
		goto out;
	status = choose(f, &now, &files, &count, &rest);
	if (status)
		goto out;
	*again = count != f->count;
	for (size_t i = 0; i < count && !*again; i++)
		*again = !cJSON_Compare(files[i].item, f->files[i].item, true);
	free(files);
out:
	info_release(&now);
	return status;
}

static int move_into_place(struct fetch *f, const char *path)
{
	const char *leaf;
	int from, to, r = io_parent(f->part_fd, path, false, &from, &leaf);

	if (r)
		return r;
	r = io_parent(f->folder, path, true, &to, &leaf);
	if (!r && renameat(from, leaf, to, leaf))
		r = -errno;
	if (to >= 0)
		close(to);
	close(from);
	return r;
}

static int publish(struct fetch *f)
{
	for (size_t i = 0; i < f->count; i++) {
		const char *path = f->files[i].path;
		int r = move_into_place(f, path);

		if (r)
			return say_errno(NULL, -r, "%s/%s", f->t.folder, path);
	}
	return CTL_OK;
}

static int attempt(struct fetch *f, bool *again)
{
	int status = check(f);

	*again = false;
	if (status || f->t.dry_run)
		return status;
	status = make_part(f);
	if (!status)
		status = copy_all(f, again);
	if (!status && !*again)
		status = compare(f, again);
	if (status || *again)
		drop_part(f);
	return status;
}

static int copy_files(struct fetch *f)
{
	bool again;

	copy_catch_signals();
	for (int i = 0; i < attempts; i++) {
		struct timespec pause = {0, 50000000L * (i < 10 ? i : 10)};
		int status;

		nanosleep(&pause, NULL);
		status = i ? load(f) : CTL_OK;
		if (!status)
			status = attempt(f, &again);
		if (status || !again)
			return status;
	}
	return say_error("%s: its files kept changing while they were copied, %d times", f->t.place.id, attempts);
}

/* What FILE holds, if it is there. */
static int load_data(struct fetch *f)
{
	if (strcmp(f->t.data_path, "-") == 0 || access(f->t.data_path, F_OK))
		return CTL_OK;
	return value_read_object(f->t.data_path, &f->data);
}

/* The data of the same revision, merged into that. */
static int merge_data(struct fetch *f)
{
	struct document data = {0};
	struct reason why;
	int r, status;

	if (!f->t.files) {
		status = data_read(&f->t.place, NULL, &data);
	} else {
		r = document_parse(info_data(&f->info), 0, &data, &why);
		status = r > 0 ? say_error("%s: %s", f->t.place.id, why.text) : r ? say_no_memory() : CTL_OK;
	}
	if (!status)
		status = value_add_all(&f->data, &data);
	if (!status && document_sort(&f->data))
		status = say_no_memory();
	document_release(&data);
	return status;
}

static int write_data(struct fetch *f)
{
	struct buf text = {0};
	int status = value_render(&f->data, &text), r;

	if (!status && strcmp(f->t.data_path, "-") == 0) {
		terminal_text(stdout, buf_slice(&text));
	} else if (!status) {
		r = io_replace(f->t.data_path, buf_slice(&text));
		status = r ? say_errno(NULL, -r, "%s", f->t.data_path) : CTL_OK;
	}
	buf_release(&text);
	return status;
}

static int list(const struct fetch *f)
{
	struct transfer_list l;

	transfer_list_begin(&l, &f->t, f->t.files ? f->info.revision : -1);
	for (size_t i = 0; i < f->count; i++)
		transfer_list_add(&l, f->files[i].path, f->files[i].size);
	return transfer_list_end(&l);
}

static int run(const struct request *r)
{
	struct fetch f = {.folder = -1, .part_fd = -1};
	int status = transfer_begin(&f.t, r);

	if (status)
		return status;
	if (f.t.data)
		status = load_data(&f);
	if (!status && f.t.files)
		status = load(&f);
	if (!status && f.t.files)
		status = transfer_tell(&f.t, f.count, &f.rest);
	if (!status && f.t.files)
		status = open_folder(&f);
	if (!status && f.t.files)
		status = copy_files(&f);
	if (!status && f.t.data)
		status = merge_data(&f);
	if (!status && f.t.files && !f.t.dry_run)
		status = publish(&f);
	if (!status && f.t.data && !f.t.dry_run)
		status = write_data(&f);
	if (!status)
		status = list(&f);
	drop_part(&f);
	if (f.folder >= 0)
		close(f.folder);
	free(f.files);
	info_release(&f.info);
	document_release(&f.data);
	transfer_end(&f.t);
	return status;
}

const struct command command_fetch = {
	.name = "fetch",
	.usage = "[OPTIONS] BUCKET DIR\n[OPTIONS] --sync data --data FILE BUCKET",
	.about = "copy files of a bucket to a folder, and its data into a JSON file",
	.more = "Files that match go to DIR, with their sub-folders; the data is merged into the object in FILE, key by key.\n"
		"All of it is one revision of the bucket: if its files change meanwhile, it is tried again. DIR and FILE are\n"
		"changed only after everything has been copied. Symbolic links are fetched as links; one that is in the way in DIR is\n"
		"not followed. Exit status 3: there is no such bucket, and nothing was touched.",
	.options = options,
	.min = 1,
	.max = 2,
	.run = run,
};
