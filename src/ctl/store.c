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
	int r;

	s->from = open(s->t.folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = s->from < 0 ? -errno : walk_files(&s->walk, s->from, s->t.glob);
	if (s->walk.skipped)
		say_note("%s: %u matching names are no files and left out", s->t.folder, s->walk.skipped);
	return r ? say_errno(NULL, -r, "%s", s->t.folder) : CTL_OK;
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
	char to[PATH_MAX + 8];
	int r;

	if (snprintf(to, sizeof(to), "files/%s", file->path) >= PATH_MAX)
		r = -ENAMETOOLONG;
	else
		r = io_make_parents(s->to, to);
	if (!r)
		r = copy_file(s->from, file->path, s->to, to, file->size, progress, &side);
	if (!r)
		return CTL_OK;
	progress_end(progress);
	if (r == -EINTR)
		return say_error("interrupted; nothing was stored");
	if (side == COPY_READING && r == -ESTALE)
		return say_error("%s/%s changed while it was copied; nothing was stored", s->t.folder, file->path);
	if (side == COPY_READING)
		return say_errno(NULL, -r, "%s/%s", s->t.folder, file->path);
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
	if (!status)
		status = plan_check(&s.t.place, &s.walk, s.t.data ? &s.patch : NULL);
	if (!status && !s.t.dry_run)
		status = transact(&s);
	if (!status)
		status = list(&s);
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
		"Symbolic links to files are followed, to folders not.",
	.options = transfer_options,
	.min = 1,
	.max = 2,
	.run = run,
};
