#include "store/rocksdb_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int read_line(int fd, char *line, size_t size)
{
	ssize_t n = pread(fd, line, size - 1, 0);

	if (n < 0)
		return -errno;
	line[n] = 0;
	line[strcspn(line, "\n")] = 0;
	return 0;
}

int rocks_folder_lock(struct rocksdb_store *s, const struct rocksdb_store_options *options, struct reason *why)
{
	char holder[512] = "";

	s->lock_fd = openat(s->folder_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock_fd < 0) {
		int r = -errno;

		reason_set(why, "cannot write in store %s: %s", s->folder, strerror(-r));
		return r;
	}
	for (int waited = 0; flock(s->lock_fd, LOCK_EX | LOCK_NB); waited++) {
		if (errno != EWOULDBLOCK)
			return -errno;
		read_line(s->lock_fd, holder, sizeof(holder));
		if (!options->holder_leaves || !options->holder_leaves(options->context, holder) ||
		    waited >= rocksdb_store_wait_seconds * 50) {
			if (options->holder_stays)
				options->holder_stays(options->context);
			reason_set(why, "store %s is in use (%s): stop that one first", s->folder,
				   *holder ? holder : "holder unknown");
			return STORE_IN_USE;
		}
		nanosleep(&(struct timespec){0, 20000000}, NULL);
	}
	if (ftruncate(s->lock_fd, 0) || dprintf(s->lock_fd, "%s\n", options->holder ? options->holder : "") < 0) {
		int r = -errno;

		reason_set(why, "cannot write in store %s: %s", s->folder, strerror(-r));
		return r;
	}
	return 0;
}

/* Whether the folder holds nothing but what an interrupted first start may have left. */
static int folder_is_new(struct rocksdb_store *s, bool *new)
{
	static const char *const ours[] = {".", "..", "lock", "db", "blobs", "format.new", "ballast", "synced", "boot", "lost+found"};
	int fd = openat(s->folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!folder)
		return -errno;
	*new = true;
	while (*new && (entry = readdir(folder))) {
		bool known = false;

		for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++)
			known |= strcmp(entry->d_name, ours[i]) == 0;
		*new = known;
	}
	closedir(folder);
	return 0;
}

int rocks_folder_check(struct rocksdb_store *s, bool *new, struct reason *why)
{
	char line[64] = "";
	unsigned version = 0;
	int fd = openat(s->folder_fd, "format", O_RDONLY | O_CLOEXEC), r;

	if (fd < 0 && errno != ENOENT) {
		r = -errno;
		reason_set(why, "cannot read %s/format: %s", s->folder, strerror(-r));
		return r;
	}
	if (fd < 0) {
		r = folder_is_new(s, new);
		if (!r && !*new) {
			reason_set(why, "%s is not a bucketfs store and not empty: give it a folder of its own", s->folder);
			r = STORE_FOREIGN;
		}
		return r;
	}
	*new = false;
	r = read_line(fd, line, sizeof(line));
	close(fd);
	if (r)
		return r;
	if (sscanf(line, "bucketfs store %u", &version) != 1 || version == 0) {
		reason_set(why, "store %s is damaged: its file \"format\" is not readable; restore it from a backup",
			   s->folder);
		return STORE_DAMAGED;
	}
	s->format = version;
	if (version > rocksdb_store_format) {
		reason_set(why, "store %s has format %u and this bucketfs knows up to %d: use a newer bucketfs",
			   s->folder, version, rocksdb_store_format);
		return STORE_NEWER;
	}
	return 0;
}

int rocks_folder_finish(struct rocksdb_store *s)
{
	int fd = openat(s->folder_fd, "format.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int r = 0;

	if (fd < 0)
		return -errno;
	if (dprintf(fd, "bucketfs store %d\n", rocksdb_store_format) < 0 || fsync(fd))
		r = -errno;
	close(fd);
	if (!r && renameat(s->folder_fd, "format.new", s->folder_fd, "format"))
		r = -errno;
	if (!r && fsync(s->folder_fd))
		r = -errno;
	return r;
}

int rocks_folder_private(struct rocksdb_store *s, const char *name)
{
	if (mkdirat(s->folder_fd, name, 0700) == 0)
		return 0;
	if (errno != EEXIST || fchmodat(s->folder_fd, name, 0700, 0))
		return -errno;
	return 0;
}
