/* Calls on descriptors: reading, writing, mapping, copying, locking. */
#include "calls.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

enum { KEPT = 160, DENTS = 32768 };

/* ---- descriptors that stay open ---- */

static struct {
	int fd;
	int flags;
	int64_t cookie; /* of a folder: where a listing was */
	char path[100];
} kept[KEPT_MOST];
static unsigned places;

static unsigned kept_places(void)
{
	if (!places) {
		places = options.heavy ? KEPT_MOST : KEPT;
		for (unsigned i = 0; i < KEPT_MOST; i++)
			kept[i].fd = -1;
	}
	return places;
}

/* Nobody else opens what is in the neighbour's bucket. An O_PATH descriptor is no open. */
static void check_neighbour(int fd, const char *path, int flags)
{
	char link[64], target[512], inside[512];
	ssize_t n;

	if (flags & O_PATH || !strstr(path, "neighbour"))
		return;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	snprintf(inside, sizeof inside, "%s/neighbour/", options.mount);
	n = readlink(link, target, sizeof target - 1);
	if (n < 0)
		return;
	target[n] = 0;
	if (strncmp(target, inside, strlen(inside)) == 0)
		fault("opened what is the neighbour's: %s", make_spelled(target));
}

int kept_add(int fd, const char *path, int flags)
{
	unsigned at = pick(kept_places());

	if (fd < 0)
		return fd;
	check_neighbour(fd, path, flags);
	if (kept[at].fd >= 0) {
		begin("close(%d) %s", kept[at].fd, kept[at].path);
		ended(close(kept[at].fd));
	}
	kept[at].fd = fd;
	kept[at].flags = flags;
	kept[at].cookie = 0;
	snprintf(kept[at].path, sizeof kept[at].path, "%s", make_spelled(path + (strncmp(path, options.mount,
		strlen(options.mount)) == 0 ?
		strlen(options.mount) : 0)));
	return fd;
}

static unsigned kept_at(void)
{
	unsigned n = kept_places(), at = pick(n);

	for (unsigned i = 0; i < n; i++, at = (at + 1) % n) {
		if (kept[at].fd >= 0)
			return at;
	}
	return at;
}

int kept_fd(void)
{
	static const int odd[] = {-1, 9999, AT_FDCWD};
	unsigned at = kept_at();

	return chance(100) ? PICK(odd) : kept[at].fd;
}

int kept_path_fd(const char **path)
{
	unsigned how = pick(10);
	int fd = kept_fd();

	*path = make_path();
	if (how < 7)
		return AT_FDCWD;
	if (how == 7)
		*path = "";
	else if (how == 8)
		*path = make_name();
	else
		*path = *path + strlen(options.mount) + 1;
	return fd;
}

void kept_close(unsigned count)
{
	while (count--) {
		unsigned at = pick(kept_places());

		if (kept[at].fd < 0)
			continue;
		begin("close(%d) %s", kept[at].fd, kept[at].path);
		ended(close(kept[at].fd));
		kept[at].fd = -1;
	}
}

void kept_close_all(void)
{
	for (unsigned i = 0; i < kept_places(); i++) {
		if (kept[i].fd < 0)
			continue;
		begin("close(%d) %s", kept[i].fd, kept[i].path);
		ended(close(kept[i].fd));
		kept[i].fd = -1;
	}
}

const char *kept_name(int fd)
{
	for (unsigned i = 0; fd >= 0 && i < kept_places(); i++) {
		if (kept[i].fd == fd)
			return kept[i].path;
	}
	return "";
}

/* ---- open and close ---- */

void do_open(void)
{
	const char *path;
	int flags = make_flags(), fd, at;
	mode_t mode = chance(3) ? pick(07777) : 0644;
	char link[64];

	switch (pick(8)) {
	case 0: /* what a descriptor leads to, once more */
		at = kept_fd();
		snprintf(link, sizeof link, "/proc/self/fd/%d", at);
		begin("open(%s %s, %#x)", link, kept_name(at), flags);
		fd = ended(open(link, flags, mode));
		kept_add(fd, kept_name(at), flags);
		return;
	case 1: {
		struct open_how how = {.flags = flags & ~O_LARGEFILE, .resolve = 1u << pick(6)};

		at = kept_path_fd(&path);
		how.mode = flags & (O_CREAT | O_TMPFILE) ? mode & 07777 : 0;
		begin("openat2(%d %s, %s, %#x, %#llx)", at, kept_name(at), make_spelled(path), flags,
			(unsigned long long)how.resolve);
		fd = ended(syscall(SYS_openat2, at, path, &how, sizeof how));
		break;
	}
	default:
		at = kept_path_fd(&path);
		begin("openat(%d %s, %s, %#x, %o)", at, kept_name(at), make_spelled(path), flags, mode);
		fd = ended(openat(at, path, flags, mode));
		break;
	}
	kept_add(fd, path, flags);
}

void do_close(void)
{
	if (chance(20)) { /* a storm */
		kept_close(kept_places());
		return;
	}
	kept_close(1 + pick(6));
}

void do_dup(void)
{
	unsigned at = kept_at();
	int fd = kept[at].fd, copies[40], n = chance(4) ? 40 : 2;

	for (int i = 0; i < n; i++) {
		begin("dup(%d) %s", fd, kept[at].path);
		copies[i] = ended(chance(2) ? dup(fd) : fcntl(fd, F_DUPFD_CLOEXEC, 100));
	}
	for (int i = 0; i < n; i++) {
		if (copies[i] < 0)
			continue;
		if (chance(10)) {
			kept_add(copies[i], kept[at].path, kept[at].flags);
			continue;
		}
		begin("close(%d) %s", copies[i], kept[at].path);
		ended(close(copies[i]));
	}
	if (chance(5) && fd >= 0) {
		unsigned other = kept_at();

		begin("dup2(%d, %d) %s", fd, kept[other].fd, kept[at].path);
		ended(kept[other].fd >= 0 ? dup2(fd, kept[other].fd) : -1);
	}
}

/* ---- read and write ---- */

void do_read(void)
{
	int fd = kept_fd();
	size_t size = make_length();
	int64_t at = make_offset();
	struct iovec parts[5];
	ssize_t n;

	switch (pick(6)) {
	case 0: case 1:
		if (chance(2)) {
			begin("lseek(%d, 0)", fd);
			ended(lseek(fd, 0, SEEK_SET));
		}
		begin("read(%d, %zu) %s", fd, size, kept_name(fd));
		n = ended(read(fd, buffer, size));
		break;
	case 2: case 3:
		if (chance(2))
			at = 0;
		begin("pread(%d, %zu, %lld) %s", fd, size, (long long)at, kept_name(fd));
		n = ended(pread(fd, buffer, size, at));
		break;
	case 4: {
		static const int how[] = {0, RWF_NOWAIT, RWF_HIPRI, RWF_DSYNC, 0x80, 1 << 30};
		int flags = PICK(how);

		for (int i = 0; i < 5; i++)
			parts[i] = (struct iovec){buffer + i * 100000, pick(100000)};
		begin("preadv2(%d, %lld, %#x) %s", fd, (long long)at, flags, kept_name(fd));
		n = ended(preadv2(fd, parts, 5, at, flags));
		/* Between the parts is what was there before: that has been searched, or is ours. */
		seen(buffer, 500000);
		return;
	}
	default:
		begin("readahead(%d) %s", fd, kept_name(fd));
		ended(chance(2) ? readahead(fd, at, size) : posix_fadvise(fd, at, size, pick(7)));
		return;
	}
	if (n > 0)
		seen(buffer, n);
}

void do_write(void)
{
	int fd = kept_fd();
	size_t size = chance(3) ? make_json() : make_bytes(make_length());
	int64_t at = chance(2) ? (int64_t)pick(70000) : make_offset();
	struct iovec parts[2] = {{buffer, size / 3}, {buffer + size / 3, size - size / 3}};

	switch (pick(6)) {
	case 0: case 1:
		begin("write(%d, %zu) %s", fd, size, kept_name(fd));
		ended(write(fd, buffer, size));
		break;
	case 2: case 3:
		begin("pwrite(%d, %zu, %lld) %s", fd, size, (long long)at, kept_name(fd));
		ended(pwrite(fd, buffer, size, at));
		break;
	case 4:
		begin("writev(%d, %zu) %s", fd, size, kept_name(fd));
		ended(writev(fd, parts, 2));
		break;
	default: {
		static const int how[] = {0, RWF_APPEND, RWF_DSYNC, RWF_SYNC, RWF_NOWAIT, 0x20, 0x40, 0x80};
		int flags = PICK(how);

		begin("pwritev2(%d, %zu, %lld, %#x) %s", fd, size, (long long)at, flags, kept_name(fd));
		ended(pwritev2(fd, parts, 2, at, flags));
		break;
	}
	}
}

void do_truncate(void)
{
	int64_t size = make_size();

	if (chance(3)) {
		const char *path = make_path();

		begin("truncate(%s, %lld)", make_spelled(path), (long long)size);
		ended(truncate(path, size));
	} else {
		int fd = kept_fd();

		begin("ftruncate(%d, %lld) %s", fd, (long long)size, kept_name(fd));
		ended(ftruncate(fd, size));
	}
}

void do_fallocate(void)
{
	int fd = kept_fd(), mode = chance(2) ? FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE : 0;
	int64_t at = make_offset(), size = make_size();

	if (chance(3))
		mode = (int)pick(256);
	begin("fallocate(%d, %#x, %lld, %lld) %s", fd, mode, (long long)at, (long long)size, kept_name(fd));
	ended(fallocate(fd, mode, at, size));
}

void do_seek(void)
{
	static const int hows[] = {SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE, 9};
	int fd = kept_fd(), how = PICK(hows);
	int64_t at = make_offset();

	begin("lseek(%d, %lld, %d) %s", fd, (long long)at, how, kept_name(fd));
	ended(lseek(fd, at, how));
}

void do_sync(void)
{
	int fd = kept_fd();
	unsigned how = pick(8);

	begin("%s(%d) %s", how < 3 ? "fsync" : how < 6 ? "fdatasync" : how == 6 ? "sync_file_range" : "syncfs", fd,
		kept_name(fd));
	switch (how) {
	case 0: case 1: case 2: ended(fsync(fd)); break;
	case 3: case 4: case 5: ended(fdatasync(fd)); break;
	case 6: ended(sync_file_range(fd, make_offset(), make_size(), pick(8))); break;
	default: ended(syncfs(fd)); break;
	}
}

/* ---- mappings ---- */

static sigjmp_buf bus;

static void on_bus(int signal)
{
	(void)signal;
	siglongjmp(bus, 1);
}

/* A page that is not there any more, or that the daemon refuses, is SIGBUS. */
static void touch(char *memory, size_t size, bool write_too)
{
	if (sigsetjmp(bus, 1)) {
		errno = EFAULT; /* that is: SIGBUS */
		ended(-1);
		return;
	}
	begin("a mapping is read");
	memcpy(buffer, memory, size);
	ended(0);
	seen(buffer, size);
	if (!write_too)
		return;
	begin("a mapping is written");
	for (unsigned n = 1 + pick(6); n; n--)
		memory[pick(size)] = (char)draw();
	ended(0);
}

void do_map(void)
{
	static void *held[6];
	static size_t sizes[6];
	static const int advices[] = {MADV_DONTNEED, MADV_REMOVE, MADV_WILLNEED, MADV_SEQUENTIAL, MADV_POPULATE_READ,
		MADV_PAGEOUT};
	static const int syncs[] = {MS_SYNC, MS_ASYNC, MS_INVALIDATE | MS_SYNC, 64};
	struct sigaction action = {.sa_handler = on_bus};
	int fd = kept_fd(), kind = chance(2) ? MAP_SHARED : MAP_PRIVATE, protection = PROT_READ | (chance(2) ? PROT_WRITE : 0);
	size_t size = 4096 * (1 + pick(chance(5) ? 100 : 4)), slot = pick(6);
	int64_t at = chance(3) ? (int64_t)pick(64) * 4096 : 0;
	char *memory;

	if (chance(20))
		kind = MAP_SHARED_VALIDATE | MAP_SYNC;
	sigaction(SIGBUS, &action, NULL);
	begin("mmap(%zu, %#x, %#x, %d, %lld) %s", size, protection, kind, fd, (long long)at, kept_name(fd));
	memory = mmap(NULL, size, protection, kind, fd, at);
	ended(memory == MAP_FAILED ? -1 : 0);
	if (memory == MAP_FAILED) {
		if (!held[slot])
			return;
		/* An old one then: its file may have been replaced, truncated or closed meanwhile. */
		memory = held[slot];
		size = sizes[slot];
		held[slot] = NULL;
		protection = PROT_READ;
	}
	touch(memory, size, protection & PROT_WRITE);
	if (chance(3)) {
		begin("msync %s", kept_name(fd));
		ended(msync(memory, size, PICK(syncs)));
	}
	if (chance(4)) {
		int advice = PICK(advices);

		begin("madvise(%d) %s", advice, kept_name(fd));
		ended(madvise(memory, size, advice));
	}
	if (chance(3) && !(protection & PROT_WRITE)) {
		if (held[slot])
			munmap(held[slot], sizes[slot]);
		held[slot] = memory;
		sizes[slot] = size;
	} else {
		begin("munmap %s", kept_name(fd));
		ended(munmap(memory, size));
	}
	signal(SIGBUS, SIG_DFL);
}

/* ---- from one descriptor to another ---- */

static void through_pipe(int from, int to, size_t size, loff_t *at)
{
	int ends[2];
	ssize_t n, m;

	if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0)
		return;
	begin("splice(%d %s, pipe, %zu)", from, kept_name(from), size);
	n = ended(splice(from, at, ends[1], NULL, size, SPLICE_F_NONBLOCK | (chance(2) ? SPLICE_F_MOVE : 0)));
	if (n > 0 && chance(2)) {
		begin("splice(pipe, %d %s, %zd)", to, kept_name(to), n);
		m = ended(splice(ends[0], NULL, to, NULL, n, SPLICE_F_NONBLOCK));
		n -= m > 0 ? m : 0;
	}
	if (n > 0 && (n = read(ends[0], buffer, n)) > 0)
		seen(buffer, n);
	close(ends[0]);
	close(ends[1]);
}

void do_copy(void)
{
	int from = kept_fd(), to = kept_fd();
	size_t size = make_length();
	loff_t at = chance(2) ? 0 : make_offset(), to_at = chance(2) ? 0 : make_offset();
	off_t send_at = at;
	ssize_t n;

	switch (pick(4)) {
	case 0: {
		int memory = memfd_create("copy", MFD_CLOEXEC);

		begin("sendfile(memory, %d %s, %lld, %zu)", from, kept_name(from), (long long)at, size);
		n = ended(sendfile(memory, from, &send_at, size));
		if (n > 0 && (n = pread(memory, buffer, size, 0)) > 0)
			seen(buffer, n);
		close(memory);
		break;
	}
	case 1:
		begin("sendfile(%d %s, %d %s, %zu)", to, kept_name(to), from, kept_name(from), size);
		ended(sendfile(to, from, chance(2) ? &send_at : NULL, size));
		break;
	case 2:
		begin("copy_file_range(%d %s, %lld, %d %s, %lld, %zu)", from, kept_name(from), (long long)at, to, kept_name(to),
			(long long)to_at,
			size);
		ended(copy_file_range(from, chance(2) ? &at : NULL, to, chance(2) ? &to_at : NULL, chance(10) ? SIZE_MAX >> 1 : size,
			chance(10)));
		break;
	default: through_pipe(from, to, size, chance(2) ? &at : NULL); break;
	}
}

/* ---- locks, leases, ioctl, fcntl ---- */

static void interrupt_in(int microseconds)
{
	struct itimerval t = {.it_value = {.tv_usec = microseconds}};

	setitimer(ITIMER_REAL, &t, NULL);
}

static void on_alarm(int signal)
{
	(void)signal;
}

static void lease(int fd)
{
	static const int kinds[] = {F_RDLCK, F_WRLCK, F_UNLCK};

	begin("F_SETLEASE(%d) %s", fd, kept_name(fd));
	ended(fcntl(fd, F_SETLEASE, PICK(kinds)));
	if (chance(2))
		do_read();
	/* A lease that stays keeps every other opener of the file waiting for 45 seconds. */
	begin("F_SETLEASE(%d, F_UNLCK) %s", fd, kept_name(fd));
	ended(fcntl(fd, F_SETLEASE, F_UNLCK));
}

void do_lock(void)
{
	static const short kinds[] = {F_RDLCK, F_WRLCK, F_UNLCK, 9};
	static const int commands[] = {F_SETLK, F_GETLK, F_OFD_SETLK, F_OFD_GETLK, F_SETLKW, F_OFD_SETLKW};
	struct flock lock = {.l_type = PICK(kinds), .l_whence = pick(3), .l_start = make_offset(), .l_len = make_size()};
	int fd = kept_fd(), command = PICK(commands);
	struct sigaction action = {.sa_handler = on_alarm};

	switch (pick(4)) {
	case 0: lease(fd); break;
	case 1:
		begin("flock(%d) %s", fd, kept_name(fd));
		ended(flock(fd, (chance(2) ? LOCK_EX : chance(2) ? LOCK_SH : LOCK_UN) | LOCK_NB));
		break;
	default:
		sigaction(SIGALRM, &action, NULL);
		interrupt_in(50000);
		begin("fcntl(%d, %d, lock %d) %s", fd, command, lock.l_type, kept_name(fd));
		ended(fcntl(fd, command, &lock));
		interrupt_in(0);
		break;
	}
}

void do_ioctl(void)
{
	int fd = kept_fd(), other = kept_fd();
	static char argument[sizeof(struct fiemap) + 64 * sizeof(struct fiemap_extent)];
	static const unsigned long requests[] = {FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IOC_FSGETXATTR, FS_IOC_GETVERSION,
		FIONREAD, FIBMAP,
		FIGETBSZ, FS_IOC_FIEMAP, FIFREEZE, FITRIM, FICLONE, FICLONERANGE, FIDEDUPERANGE, 0x5401, 0xffffffff, 0x8004e500,
		0xe501};
	unsigned long request = PICK(requests);
	struct fiemap map = {.fm_length = UINT64_MAX, .fm_extent_count = pick(64), .fm_flags = pick(4)};

	memset(argument, 0, sizeof argument);
	if (request == FS_IOC_FIEMAP)
		memcpy(argument, &map, sizeof map);
	begin("ioctl(%d, %#lx) %s", fd, request, kept_name(fd));
	if (request == FICLONE)
		ended(ioctl(fd, FICLONE, other));
	else
		ended(ioctl(fd, request, argument));
	seen(argument, sizeof argument);
}

void do_fcntl(void)
{
	static const int flags[] = {O_APPEND, O_DIRECT, O_NONBLOCK, O_NOATIME, 0, O_APPEND | O_DIRECT};
	int fd = kept_fd();
	uint64_t hint = pick(7);

	begin("fcntl(%d) %s", fd, kept_name(fd));
	switch (pick(6)) {
	case 0: case 1: ended(fcntl(fd, F_SETFL, PICK(flags))); break;
	case 2: ended(fcntl(fd, F_NOTIFY, pick(64))); break;
	case 3: ended(fcntl(fd, F_SET_RW_HINT, &hint)); break;
	case 4: ended(fcntl(fd, F_ADD_SEALS, pick(32))); break;
	default: ended(fcntl(fd, F_GETFL)); break;
	}
}

/* ---- listings ---- */

static int64_t list_search(long n)
{
	int64_t cookie = 0;

	for (long at = 0; at < n;) {
		struct dirent64 *d = (struct dirent64 *)(buffer + at);

		seen(d->d_name, strnlen(d->d_name, d->d_reclen));
		if (chance(4))
			cookie = d->d_off;
		at += d->d_reclen;
	}
	return cookie;
}

void do_list(void)
{
	unsigned at = kept_at();
	int fd = kept[at].fd;
	long n;

	if (chance(2)) {
		const char *path = make_path();

		begin("open(%s, O_DIRECTORY)", make_spelled(path));
		fd = ended(open(path, O_RDONLY | O_DIRECTORY));
		if (fd < 0)
			return;
	} else if (chance(2)) {
		int64_t to = chance(2) ? kept[at].cookie : chance(2) ? make_offset() : (int64_t)pick(100);

		begin("lseek(%d, %lld) %s", fd, (long long)to, kept[at].path);
		ended(lseek(fd, to, SEEK_SET));
	}
	for (unsigned rounds = 1 + pick(6); rounds; rounds--) {
		size_t size = chance(4) ? pick(300) : DENTS;

		begin("getdents64(%d, %zu) %s", fd, size, kept_name(fd));
		n = ended(syscall(SYS_getdents64, fd, buffer, size));
		if (n <= 0)
			break;
		int64_t cookie = list_search(n);

		if (fd == kept[at].fd && cookie)
			kept[at].cookie = cookie;
	}
	if (fd != kept[at].fd) {
		begin("close(%d)", fd);
		ended(close(fd));
	}
}
