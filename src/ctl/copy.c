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

int copy_file(int from_folder, const char *from, int to_folder, const char *to, off_t size, struct progress *progress,
	      enum copy_side *side)
{
	/* Not to wait for whoever writes into a FIFO that has come there meanwhile. */
	int in = openat(from_folder, from, O_RDONLY | O_NONBLOCK | O_CLOEXEC), out = -1, r = 0;
	struct stat st;

	*side = COPY_READING;
	if (in < 0 || fstat(in, &st))
		r = -errno;
	else if (!S_ISREG(st.st_mode) || st.st_size != size)
		r = -ESTALE;
	if (r)
		goto out;
	*side = COPY_WRITING;
	out = openat(to_folder, to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, st.st_mode & 0111 ? 0777 : 0666);
	if (out < 0) {
		r = -errno;
		goto out;
	}
	r = copy_content(in, out, size, progress, side);
	/* The same size and time afterwards: nobody wrote into it meanwhile. */
	if (!r) {
		struct stat after;

		*side = COPY_READING;
		if (fstat(in, &after))
			r = -errno;
		else if (after.st_size != st.st_size || after.st_mtim.tv_sec != st.st_mtim.tv_sec ||
			 after.st_mtim.tv_nsec != st.st_mtim.tv_nsec)
			r = -ESTALE;
	}
	if (close(out) && !r) {
		*side = COPY_WRITING;
		r = -errno;
	}
	if (!r)
		progress_file(progress);
out:
	if (in >= 0)
		close(in);
	return r;
}
