/* Processes that end in the middle, are killed, or have odd environments. Files that only one process changes. */
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { OWN = 8, OWN_LARGEST = 300000, PATH_SIZE = 600, JOB_SIZE = 4200 };

static pid_t fork_child(const char *what)
{
	pid_t pid;

	begin("fork: %s", what);
	pid = ended(fork());
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static void await(pid_t pid)
{
	int status;

	if (pid > 0 && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
		fault("a child was ended by signal %d", WTERMSIG(status));
}

/* A child has all descriptors that we have, uses some and ends. Its end flushes each. */
void do_child(void)
{
	unsigned how = pick(8), n = pick(20);
	pid_t pid = fork_child("a child that ends in the middle");

	if (pid == 0) {
		if (how == 0 && unshare(CLONE_NEWUSER) == 0)
			n += 5;
		if (how == 1 && unshare(CLONE_NEWUSER | CLONE_NEWPID) == 0) {
			/* The daemon sees no process number of what is in a namespace that it does not know. */
			pid_t inner = fork();

			if (inner > 0)
				waitpid(inner, NULL, 0);
		}
		while (n--)
			do_any();
		if (how == 2)
			raise(SIGKILL);
		if (how == 3) {
			char *const arguments[] = {(char *)"true", NULL};

			execv("/bin/true", arguments);
		}
		begin("_exit of a child");
		_exit(how == 4 ? 1 : 0);
	}
	await(pid);
	ended(0);
}

/* ---- files of its own ---- */

/* File i holds SIZE bytes that follow from SEED. SIZE is -1 as long as nothing is known. */
static struct {
	uint64_t seed;
	long size;
} own[OWN];
static bool own_begun;

static void fill(char *out, size_t size, uint64_t seed)
{
	for (size_t i = 0; i < size; i++) {
		seed = seed * 6364136223846793005 + 1442695040888963407;
		out[i] = (char)(seed >> 56);
	}
}

static void own_path(char *out, unsigned i)
{
	snprintf(out, PATH_SIZE, "%s/pub0/files/own_%u_%u.bin", options.mount, options.number, i);
}

static unsigned own_pick(void)
{
	for (unsigned i = 0; !own_begun && i < OWN; i++)
		own[i].size = -1;
	own_begun = true;
	return pick(OWN);
}

/* All of the calls in between have succeeded, or nothing is known of the file. */
static bool write_all(int fd, const char *data, size_t size)
{
	for (size_t at = 0; at < size;) {
		size_t n = chance(3) ? pick(60000) + 1 : size;
		ssize_t wrote;

		n = n < size - at ? n : size - at;
		begin("write(%d, %zu) of its own", fd, n);
		wrote = ended(write(fd, data + at, n));
		if (wrote <= 0)
			return false;
		at += wrote;
	}
	return true;
}

static bool write_mapped(int fd, const char *data, size_t size)
{
	char *memory;

	begin("ftruncate(%d, %zu) of its own", fd, size);
	if (ended(ftruncate(fd, size)) != 0)
		return false;
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return write_all(fd, data, size);
	begin("a mapping of its own is written");
	memcpy(memory, data, size);
	ended(0);
	munmap(memory, size);
	return true;
}

static bool write_own(const char *path, const char *data, size_t size)
{
	unsigned how = pick(6);
	int fd, flags = how == 0 ? O_RDWR : chance(8) ? O_RDWR : O_WRONLY;
	bool good;

	begin("open(%s, O_TRUNC)", path);
	fd = ended(open(path, flags | O_CREAT | O_TRUNC | O_CLOEXEC * chance(2), 0644));
	if (fd < 0)
		return false;
	if (how == 0 && size) {
		good = write_mapped(fd, data, size);
	} else if (how == 1) {
		int memory = memfd_create("own", MFD_CLOEXEC);
		loff_t zero = 0;

		good = write(memory, data, size) == (ssize_t)size;
		for (size_t left = size; good && left;) {
			ssize_t n;

			begin("splice or copy_file_range(memory, %d, %zu) of its own", fd, left);
			n = ended(copy_file_range(memory, &zero, fd, NULL, left, 0));
			if (n <= 0) {
				good = write_all(fd, data + (size - left), left);
				break;
			}
			left -= n;
		}
		close(memory);
	} else {
		good = write_all(fd, data, size);
	}
	if (chance(4)) {
		begin("fsync(%d) of its own", fd);
		good &= ended(fsync(fd)) == 0;
	}
	begin("close(%d) of its own", fd);
	return ended(close(fd)) == 0 && good;
}

static void check_own(const char *path, unsigned i, const char *when)
{
	static char expected[OWN_LARGEST];
	long n, size = own[i].size;
	int fd;

	begin("open(%s) to check it", path);
	fd = ended(open(path, O_RDONLY | O_CLOEXEC));
	if (fd < 0) {
		/* Neither is a sign of lost bytes: the process, or the machine, has too many files open. */
		if (errno != EMFILE && errno != ENFILE)
			fault("%s cannot be opened %s: %s", path, when, strerror(errno));
		return;
	}
	fill(expected, size, own[i].seed);
	n = 0;
	for (ssize_t more = 1; more > 0 && n < BUFFER_SIZE; n += more) {
		begin("read(%d) of its own", fd);
		more = ended(read(fd, buffer + n, BUFFER_SIZE - n));
		if (more < 0) {
			fault("%s cannot be read %s: %s", path, when, strerror(errno));
			close(fd);
			return;
		}
	}
	close(fd);
	if (n != size || memcmp(buffer, expected, size) != 0) {
		long at = 0;

		while (at < n && at < size && buffer[at] == expected[at])
			at++;
		fault("%s has %ld bytes and not %ld, and differs from byte %ld on, %s", path, n, size, at, when);
		own[i].size = -1;
	}
}

/* A write and a close that have succeeded are there: nobody else writes, renames or removes these. */
void do_own(void)
{
	static char data[OWN_LARGEST];
	unsigned i = own_pick();
	size_t size = chance(3) ? pick(OWN_LARGEST) : pick(40000);
	uint64_t seed = draw();
	char path[PATH_SIZE];

	own_path(path, i);
	if (own[i].size >= 0 && chance(3)) {
		check_own(path, i, "later");
		return;
	}
	fill(data, size, seed);
	if (!write_own(path, data, size)) {
		own[i].size = -1;
		return;
	}
	own[i].seed = seed;
	own[i].size = size;
	check_own(path, i, "after a close that has succeeded");
}

/* ---- killed ---- */

/* A writer that SIGKILL ends in the middle leaves the file as it was, if nothing says that it has been written. */
void do_killed(void)
{
	unsigned i = own_pick();
	char path[PATH_SIZE];
	const struct timespec moment = {.tv_nsec = 1000 * pick(4000)};
	bool of_its_own = own[i].size >= 0;
	const char *other = make_path();
	pid_t pid;

	if (of_its_own)
		own_path(path, i);
	else
		snprintf(path, sizeof path, "%.500s", other);
	pid = fork_child("a writer that is killed");
	if (pid == 0) {
		int fd;

		begin("open and writes of %s until SIGKILL", make_spelled(path));
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
		while (fd >= 0 && write(fd, buffer, 1 + pick(100000)) >= 0)
			;
		for (;;)
			pause();
	}
	if (pid < 0)
		return;
	nanosleep(&moment, NULL);
	kill(pid, SIGKILL);
	await(pid);
	ended(0);
	if (of_its_own)
		check_own(path, i, "after a writer that was killed");
}

/* ---- programs ---- */

/* A file of the mount is executed: text that is no program, and descriptors that execve closes. */
void do_exec(void)
{
	static const char script[] = "#!/bin/true\n";
	char path[PATH_SIZE];
	pid_t pid;
	int fd;

	snprintf(path, sizeof path, "%s/pub0/files/run%u.sh", options.mount, pick(3));
	if (chance(2)) {
		begin("open(%s)", path);
		fd = ended(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0755));
		if (fd >= 0) {
			begin("write, fchmod, close of %s", path);
			ended(write(fd, script, sizeof script - 1) < 0 ? -1 : fchmod(fd, 0755));
			close(fd);
		}
	}
	pid = fork_child("a program in the mount");
	if (pid == 0) {
		char *const arguments[] = {path, NULL};

		execv(path, arguments);
		_exit(0);
	}
	await(pid);
}

/* The environment is what a process was begun with, so an odd job needs a process of its own. */
void do_job(void)
{
	static char job[JOB_SIZE] = "BUCKETFS_JOB=";
	char *const start = job + strlen("BUCKETFS_JOB=");
	static const char *const odd[] = {"", "nightly", "a", "a.b", "..", "/", "a/b", "\xff\xfe", "\xe6\x97", "日本語", "u20009",
		"x\ny", "*", "%2e"};
	static const unsigned lengths[] = {63, 64, 65, 199, 200, 201, 255, 4096};
	char number[24], seed[24], uid[64], operation[40];
	pid_t pid;

	if (chance(2)) {
		strcpy(start, PICK(odd));
	} else {
		unsigned length = PICK(lengths);
		const char *bit = chance(2) ? "j" : "日";

		for (unsigned i = 0; i < length; i++)
			start[i] = bit[i % strlen(bit)];
		start[length] = 0;
	}
	snprintf(number, sizeof number, "%u", options.number);
	snprintf(seed, sizeof seed, "%llu", (unsigned long long)options.seed);
	snprintf(uid, sizeof uid, "%u:%u:", options.uid, getgid());
	snprintf(operation, sizeof operation, "job=%u", pick(1 << 30));
	pid = fork_child("a process of an odd job");
	if (pid == 0) {
		char *const arguments[] = {(char *)"calls", (char *)options.mount, seed, number, uid, (char *)"1",
			(char *)options.folder, operation, options.heavy ? (char *)"heavy" : NULL, NULL};
		char *const environment[] = {job, (char *)"ASAN_OPTIONS=detect_leaks=0", NULL};

		execve("/proc/self/exe", arguments, environment);
		_exit(1);
	}
	await(pid);
}
