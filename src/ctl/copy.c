#include "ctl/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/io.h"

enum { piece = 1 << 20 };

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	interrupted = number;
}

void copy_catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

bool copy_was_interrupted(void)
{
	return interrupted != 0;
}

static int copy_range(int in, int out, off_t at, off_t end, void *room, struct progress *progress, enum copy_side *side)
{
	while (at < end) {
		size_t want = end - at < piece ? (size_t)(end - at) : piece;
		ssize_t n = pread(in, room, want, at);
		int r;

		*side = COPY_READING;
		if (interrupted)
			return -EINTR;
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ESTALE;
		*side = COPY_WRITING;
		r = lseek(out, at, SEEK_SET) < 0 ? -errno : io_write(out, slice_of(room, (size_t)n));
		if (r)
			return r;
		at += n;
		progress_bytes(progress, (uint64_t)n);
	}
	return 0;
}

/* Data after data, holes left out. */
static int copy_content(int in, int out, off_t size, struct progress *progress, enum copy_side *side)
{
	void *room = malloc(piece);
	off_t at = 0, end;
	int r = room ? 0 : -ENOMEM;

	while (!r && at < size) {
		off_t data = lseek(in, at, SEEK_DATA);

		if (data < 0 && errno == ENXIO)
			break;
		if (data < 0 || data > size)
			data = data < 0 ? at : size;
		end = lseek(in, data, SEEK_HOLE);
		if (end <= data || end > size)
			end = size;
		progress_bytes(progress, (uint64_t)(data - at));
		r = copy_range(in, out, data, end, room, progress, side);
		at = end;
	}
	free(room);
	*side = r ? *side : COPY_WRITING;
	if (!r && at < size && ftruncate(out, size))
		r = -errno;
	if (!r && size && lseek(out, 0, SEEK_END) != size && ftruncate(out, size))
		r = -errno;
	return r;
}

static int open_source(const struct copy_end *from)
{
	/* Not to wait for whoever writes into a FIFO that has come there meanwhile. */
	int flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC, parent, fd, r;
	const char *leaf;

	if (from->follow) {
		fd = openat(from->folder, from->path, flags);
		return fd < 0 ? -errno : fd;
	}
	r = io_parent(from->folder, from->path, false, &parent, &leaf);
	if (r)
		return r;
	fd = openat(parent, leaf, flags | O_NOFOLLOW);
	r = fd < 0 ? -errno : fd;
	close(parent);
	return r;
}

/* The source has the size and time that it had at the beginning: nobody wrote into it meanwhile. */
static int check_unchanged(int in, const struct stat *before)
{
	struct stat after;

	if (fstat(in, &after))
		return -errno;
	return after.st_size != before->st_size || after.st_mtim.tv_sec != before->st_mtim.tv_sec ||
	       after.st_mtim.tv_nsec != before->st_mtim.tv_nsec ? -ESTALE : 0;
}

static int copy_regular(int in, int parent, const char *leaf, off_t size, struct progress *progress, enum copy_side *side)
{
	struct stat st;
	int out, r;

	*side = COPY_READING;
	if (fstat(in, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size != size)
		return -ESTALE;
	*side = COPY_WRITING;
	out = openat(parent, leaf, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, st.st_mode & 0111 ? 0777 : 0666);
	if (out < 0)
		return -errno;
	r = copy_content(in, out, size, progress, side);
	if (!r) {
		*side = COPY_READING;
		r = check_unchanged(in, &st);
	}
	if (close(out) && !r) {
		*side = COPY_WRITING;
		r = -errno;
	}
	return r;
}

int copy_file(const struct copy_end *from, const struct copy_end *to, off_t size, struct progress *progress, enum copy_side *side)
{
	int in = -1, parent = -1, r = 0;
	const char *leaf;

	*side = COPY_READING;
	if (!from->link) {
		in = open_source(from);
		r = in < 0 ? in : 0;
		/* It is a link by now. */
		r = r == -ELOOP && !from->follow ? -ESTALE : r;
	}
	if (!r) {
		*side = COPY_WRITING;
		r = io_parent(to->folder, to->path, true, &parent, &leaf);
	}
	if (!r && from->link)
		r = symlinkat(from->link, parent, leaf) ? -errno : 0;
	else if (!r)
		r = copy_regular(in, parent, leaf, size, progress, side);
	if (!r)
		progress_file(progress);
	if (in >= 0)
		close(in);
	if (parent >= 0)
		close(parent);
	return r;
}
