/* Calls by name: renames, folders, attributes, documents, transactions, watches. */
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { PATH_SIZE = 600 };

/* ---- names ---- */

void do_rename(void)
{
	static const unsigned hows[] = {0, 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT,
		RENAME_NOREPLACE | RENAME_EXCHANGE, 8};
	const char *from, *to;
	unsigned how = PICK(hows);
	int from_fd = kept_path_fd(&from), to_fd = kept_path_fd(&to);
	char near[PATH_SIZE * 16];

	/* Mostly within a folder, for between buckets it is EXDEV. */
	if (from_fd == AT_FDCWD && chance(2)) {
		const char *end = strrchr(from, '/');

		snprintf(near, sizeof near, "%.*s/%s", (int)(end - from), from, make_name());
		to = near;
		to_fd = AT_FDCWD;
	}
	begin("renameat2(%s, %s, %u)", make_spelled(from), make_spelled(to), how);
	ended(syscall(SYS_renameat2, from_fd, from, to_fd, to, how));
}

void do_make(void)
{
	const char *path, *other;
	int fd = kept_path_fd(&path);
	mode_t mode = chance(3) ? pick(07777) : 0755;
	static const mode_t kinds[] = {S_IFREG, S_IFREG, S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK, S_IFDIR, 0, 0170000};
	static const char *const targets[] = {"", "f1.bin", "../data.json", "/etc/passwd", "../../neighbour/data.json", "..",
		"\xff", "d1"};

	switch (pick(8)) {
	case 0:
		other = chance(2) ? PICK(targets) : make_name();
		begin("symlinkat(%s, %s)", make_spelled(other), make_spelled(path));
		ended(symlinkat(other, fd, path));
		return;
	case 1:
		other = make_path();
		begin("linkat(%s, %s)", make_spelled(other), make_spelled(path));
		ended(linkat(AT_FDCWD, other, fd, path, chance(2) ? AT_SYMLINK_FOLLOW : 0));
		return;
	case 2:
		other = "";
		fd = kept_fd();
		begin("linkat(%d, \"\", %s)", fd, make_spelled(path));
		ended(linkat(fd, "", AT_FDCWD, path, AT_EMPTY_PATH));
		return;
	case 3: case 4: {
		mode_t kind = PICK(kinds);

		begin("mknodat(%s, %o)", make_spelled(path), kind | mode);
		ended(mknodat(fd, path, kind | (mode & 07777), kind == S_IFREG ? 0 : 0x103));
		return;
	}
	default:
		begin("mkdirat(%s, %o)", make_spelled(path), mode);
		ended(mkdirat(fd, path, mode));
		return;
	}
}

void do_remove(void)
{
	const char *path;
	int fd = kept_path_fd(&path);
	bool folder = chance(3);

	begin("unlinkat(%s, %d)", make_spelled(path), folder);
	ended(unlinkat(fd, path, folder ? AT_REMOVEDIR : 0));
}

void do_bucket(void)
{
	char path[PATH_SIZE];
	static const char *const odd[] = {"Fz1", "fz 1", "fz.1", "", "data.json", "\xff", "日本", "device.x", "job.x.u20009.y",
		"tx"};

	if (chance(6))
		snprintf(path, sizeof path, "%s/%s", options.mount, PICK(odd));
	else
		snprintf(path, sizeof path, "%s/fz%u", options.mount, pick(5));
	if (chance(2)) {
		begin("mkdir(%s)", make_spelled(path));
		ended(mkdir(path, 0755));
	} else {
		begin("rmdir(%s)", make_spelled(path));
		ended(rmdir(path));
	}
}

/* ---- stat, chmod and their like ---- */

void do_attributes(void)
{
	const char *path;
	int fd = kept_path_fd(&path), flags = chance(2) ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH;
	static const long nanoseconds[] = {0, UTIME_NOW, UTIME_OMIT, 999999999, 1000000000, -1};
	static const int64_t seconds[] = {0, 1, -1, 1ll << 31, 1ll << 34, INT64_MAX, INT64_MIN};
	struct timespec times[2] = {{PICK(seconds), PICK(nanoseconds)}, {PICK(seconds), PICK(nanoseconds)}};

	if (chance(4))
		flags = (int)pick(0x10000) & ~0x800; /* without AT_AUTOMOUNT */
	switch (pick(6)) {
	case 0:
		begin("fchmodat2(%s)", make_spelled(path));
		ended(syscall(452, fd, path, pick(010000), flags));
		break;
	case 1:
		begin("fchmod(%d)", fd);
		ended(fchmod(kept_fd(), pick(010000)));
		break;
	case 2:
		begin("fchownat(%s)", make_spelled(path));
		ended(fchownat(fd, path, chance(2) ? (uid_t)-1 : options.uid + pick(2), chance(2) ? (gid_t)-1 : 30000 + pick(3),
			flags));
		break;
	case 3:
		fd = kept_fd();
		begin("fchown(%d)", fd);
		ended(fchown(fd, options.uid, -1));
		break;
	case 4:
		fd = kept_fd();
		begin("futimens(%d)", fd);
		ended(futimens(fd, chance(5) ? NULL : times));
		break;
	default:
		begin("utimensat(%s)", make_spelled(path));
		ended(utimensat(fd, path, times, flags));
		break;
	}
}

void do_stat(void)
{
	const char *path;
	int fd = kept_path_fd(&path), flags = pick(4) ? 0 : (int)pick(0x10000);
	static const int synced[] = {0, AT_STATX_DONT_SYNC, AT_STATX_FORCE_SYNC, AT_STATX_DONT_SYNC | AT_STATX_FORCE_SYNC,
		AT_EMPTY_PATH};
	struct statx s;
	struct statvfs v;
	ssize_t n;

	switch (pick(8)) {
	case 0:
		begin("faccessat2(%s)", make_spelled(path));
		ended(syscall(439, fd, path, pick(9), flags));
		break;
	case 1: case 2:
		begin("readlinkat(%s)", make_spelled(path));
		n = ended(readlinkat(fd, path, buffer, make_length()));
		if (n > 0)
			seen(buffer, n);
		break;
	case 3:
		begin("statvfs(%s)", make_spelled(path));
		ended(statvfs(path, &v));
		break;
	case 4:
		begin("chdir(%s)", make_spelled(path));
		if (ended(fd == AT_FDCWD ? chdir(path) : fchdir(fd)) == 0) {
			n = syscall(SYS_getcwd, buffer, 4096);
			if (n > 0)
				seen(buffer, n);
		}
		if (chance(2) && chdir("/") != 0)
			return;
		break;
	default:
		begin("statx(%s, %#x)", make_spelled(path), flags);
		ended(statx(fd, path, flags | PICK(synced), chance(2) ? STATX_ALL : (unsigned)draw() & 0x7fffffff, &s));
		break;
	}
}

/* ---- extended attributes ---- */

void do_xattr(void)
{
	const char *path = make_path(), *name = make_attribute();
	int fd = chance(3) ? kept_fd() : -1, flags = chance(2) ? 0 : (int)pick(4);
	bool follow = chance(2);
	const char *shown = fd >= 0 ? kept_name(fd) : make_spelled(path);
	size_t size = chance(4) ? make_length() % 70000 : 65536;
	ssize_t n = -1;

	switch (pick(7)) {
	case 0: case 1: case 2:
		begin("getxattr(%s, %s, %zu)", shown, make_spelled(name), size);
		n = fd >= 0 ? fgetxattr(fd, name, buffer, size) : follow ? getxattr(path, name, buffer, size) : lgetxattr(path, name,
			buffer, size);
		ended(n);
		break;
	case 3:
		begin("listxattr(%s, %zu)", shown, size);
		n = fd >= 0 ? flistxattr(fd, buffer, size) : follow ? listxattr(path, buffer, size) : llistxattr(path, buffer, size);
		ended(n);
		break;
	case 4: case 5:
		size = make_value(name);
		begin("setxattr(%s, %s, %zu bytes: %.40s, %d)", shown, make_spelled(name), size,
			make_spelled((buffer[size < 40 ? size : 40] = 0, buffer)), flags);
		ended(fd >= 0 ? fsetxattr(fd, name, buffer, size, flags) : follow ? setxattr(path, name, buffer, size, flags) :
			lsetxattr(path, name, buffer, size, flags));
		return;
	default:
		begin("removexattr(%s, %s)", shown, make_spelled(name));
		ended(fd >= 0 ? fremovexattr(fd, name) : follow ? removexattr(path, name) : lremovexattr(path, name));
		return;
	}
	if (n > 0 && size)
		seen(buffer, n);
}

/* ---- watches and handles ---- */

void do_watch(void)
{
	static int watcher = -1;
	static int watches[16];
	unsigned at = pick(16);
	const char *path = chance(4) ? options.mount : make_path();
	ssize_t n;

	if (watcher < 0)
		watcher = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (chance(2)) {
		if (watches[at] > 0) {
			begin("inotify_rm_watch(%d)", watches[at]);
			ended(inotify_rm_watch(watcher, watches[at]));
		}
		begin("inotify_add_watch(%s)", make_spelled(path));
		watches[at] = ended(inotify_add_watch(watcher, path, chance(3) ? (uint32_t)draw() : IN_ALL_EVENTS));
	}
	for (unsigned rounds = 8; rounds && (n = read(watcher, buffer, 65536)) > 0; rounds--)
		seen(buffer, n);
}

void do_handle(void)
{
	union {
		struct file_handle head;
		char bytes[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} handle;
	const char *path;
	int at = kept_path_fd(&path), id, fd;

	memset(&handle, 0, sizeof handle);
	handle.head.handle_bytes = chance(4) ? pick(MAX_HANDLE_SZ + 1) : MAX_HANDLE_SZ;
	begin("name_to_handle_at(%s)", make_spelled(path));
	ended(name_to_handle_at(at, path, &handle.head, &id, chance(2) ? AT_EMPTY_PATH : 0));
	if (chance(3))
		handle.bytes[sizeof handle.head + pick(16)] = (char)draw();
	begin("open_by_handle_at(%s)", make_spelled(path));
	fd = ended(open_by_handle_at(kept_fd(), &handle.head, make_flags() & ~O_CREAT));
	if (fd >= 0) {
		fault("open_by_handle_at has opened something without CAP_DAC_READ_SEARCH");
		close(fd);
	}
}

/* ---- documents ---- */

/* Writes the buffer to a file, mostly at once, and closes it. */
static void send(const char *path, int flags, size_t size)
{
	size_t half = chance(3) ? pick(size + 1) : size;
	int fd;

	begin("open(%s, %#x)", make_spelled(path), flags);
	fd = ended(open(path, flags, 0644));
	if (fd < 0)
		return;
	begin("write(%d, %zu) %s", fd, half, make_spelled(path));
	ended(write(fd, buffer, half));
	if (half < size) {
		begin("write(%d, %zu) %s", fd, size - half, make_spelled(path));
		ended(write(fd, buffer + half, size - half));
	}
	if (chance(4)) {
		begin("fsync(%d) %s", fd, make_spelled(path));
		ended(fsync(fd));
	}
	/* A transaction with an open file is not published. */
	if (chance(strstr(path, "/tx/") ? 60 : 8)) {
		kept_add(fd, path, flags);
		return;
	}
	begin("close(%d) %s", fd, make_spelled(path));
	ended(close(fd));
}

static void take(const char *path)
{
	ssize_t n;
	int fd;

	begin("open(%s)", make_spelled(path));
	fd = ended(open(path, O_RDONLY | O_CLOEXEC));
	if (fd < 0)
		return;
	begin("read(%d) %s", fd, make_spelled(path));
	n = ended(read(fd, buffer, BUFFER_SIZE));
	if (n > 0)
		seen(buffer, n);
	if (chance(5)) {
		kept_add(fd, path, O_RDONLY);
		return;
	}
	begin("close(%d) %s", fd, make_spelled(path));
	ended(close(fd));
}

static const char *bucket_path(char *out, const char *what)
{
	snprintf(out, PATH_SIZE, "%s/%.100s/%s", options.mount, make_bucket(), what);
	return out;
}

void do_json(void)
{
	static const int flags[] = {O_WRONLY | O_TRUNC | O_CREAT, O_WRONLY | O_CREAT, O_WRONLY | O_APPEND, O_RDWR,
		O_RDWR | O_TRUNC,
		O_RDWR | O_CREAT | O_EXCL};
	char path[PATH_SIZE];

	switch (pick(8)) {
	case 0: send(bucket_path(path, ".bucketfs/meta.json"), PICK(flags), make_json()); break;
	case 1: send(bucket_path(path, ".bucketfs/schema.json"), PICK(flags), make_schema()); break;
	case 2: take(bucket_path(path, "data.json")); break;
	default: send(bucket_path(path, "data.json"), PICK(flags), make_json()); break;
	}
}

/* As editors save: a temporary file takes the place of data.json, or of a file. */
void do_replace(void)
{
	static const char *const temporary[] = {"data.json.tmp", "4913", "sedA1b2C3", "data.json~", "data.json.new"};
	char from[PATH_SIZE], to[PATH_SIZE], id[128];
	unsigned how = chance(4) ? RENAME_EXCHANGE : chance(4) ? RENAME_NOREPLACE : 0;

	snprintf(id, sizeof id, "%.100s", make_bucket());
	if (chance(2)) {
		snprintf(from, sizeof from, "%s/%s/%s", options.mount, id, PICK(temporary));
		snprintf(to, sizeof to, "%s/%s/%s", options.mount, id, chance(8) ? "files/f1.bin" : "data.json");
		if (chance(3)) {
			begin("rename(%s, %s)", to, from);
			ended(rename(to, from));
		}
	} else {
		snprintf(from, sizeof from, "%s/%s/files/f%u.tmp", options.mount, id, pick(3));
		snprintf(to, sizeof to, "%s/%s/files/f%u.bin", options.mount, id, pick(6));
	}
	send(from, (chance(2) ? O_RDWR | O_EXCL : O_WRONLY | O_TRUNC) | O_CREAT, make_json());
	begin("renameat2(%s, %s, %u)", from, to, how);
	ended(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, how));
}

void do_transaction(void)
{
	char top[PATH_SIZE], place[PATH_SIZE + 300], id[128];
	unsigned n = pick(5);

	snprintf(id, sizeof id, "%.100s", make_bucket());
	snprintf(top, sizeof top, "%s/%s/.bucketfs/tx/t%u", options.mount, id, pick(4));
	begin("mkdir(%s)", top);
	ended(mkdir(top, 0755));
	if (chance(2)) {
		snprintf(place, sizeof place, "%s/data.json", top);
		send(place, O_WRONLY | O_CREAT, make_json());
	}
	while (n--) {
		snprintf(place, sizeof place, "%s/files/%.250s", top, make_name());
		if (chance(4)) {
			begin("mkdir(%s)", make_spelled(place));
			ended(mkdir(place, 0755));
		} else {
			send(place, O_WRONLY | O_CREAT | O_TRUNC, make_bytes(make_length()));
		}
	}
	if (chance(5))
		do_any();
	snprintf(place, sizeof place, "%s/%s/.bucketfs/%s", options.mount, id, chance(10) ? make_name() : "commit");
	begin("rename(%s, %s)", top, make_spelled(place));
	ended(rename(top, place));
}

/* Reads the control files: they tell of others. */
void do_control(void)
{
	static const char *const files[] = {"info.json", "info.json", "errors", "errors", "meta.json", "schema.json",
		"previous.json",
		"history/1"};
	static const char *const roots[] = {"errors", "metrics", "config.json", "version"};
	char path[PATH_SIZE];

	if (chance(4)) {
		snprintf(path, sizeof path, "%s/.bucketfs/%s", options.mount, PICK(roots));
	} else {
		snprintf(path, sizeof path, "%s/%.100s/.bucketfs/%s", options.mount, make_bucket(), PICK(files));
	}
	if (chance(20)) {
		begin("unlink(%s)", make_spelled(path));
		ended(unlink(path));
		return;
	}
	take(path);
}
