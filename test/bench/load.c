/* The load of scripts/bench: does one kind of work COUNT times and prints how many seconds that took, and how many of a processor
 * this program took for it, the kernel's work on its behalf included. What is needed before (opening the folder, starting
 * threads, writing the file that is synced) is in neither. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum {
	threads_max = 64,
	chunk = 128 << 10,	/* what cat and cp take at once */
	sync_region = 4 << 20, /* what fdatasync writes to, round and round */
};

struct job {
	const char *folder, *source;
	size_t count, threads, size, keys;
	bool each; /* thread N works in a folder of its own, FOLDER with N behind it */
	uint64_t salt; /* no two runs write the same values: a merge that changes nothing costs less */
	pthread_barrier_t start;
};

struct worker {
	struct job *job;
	pthread_t thread;
	char *buffer;
	size_t from, to;
	int folder_fd;
	int file; /* of fdatasync */
	int failed;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double processor_time(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int failure(const char *what)
{
	int r = errno ? -errno : -EIO;

	fprintf(stderr, "load: %s: %s\n", what, strerror(-r));
	return r;
}

/* ---- small files ---- */

static const char *name_of(char name[16], size_t i)
{
	snprintf(name, 16, "f%06zu", i);
	return name;
}

static int write_file(struct worker *w, const char *name, int flags)
{
	struct job *job = w->job;
	int fd = openat(w->folder_fd, name, O_WRONLY | O_TRUNC | O_CLOEXEC | flags, 0644);

	if (fd < 0)
		return failure("open to write");
	if (job->size && write(fd, w->buffer, job->size) != (ssize_t)job->size) {
		close(fd);
		return failure("write");
	}
	return close(fd) ? failure("close") : 0;
}

static int do_create(struct worker *w, size_t i)
{
	char name[16];

	return write_file(w, name_of(name, i), O_CREAT);
}

static int do_rewrite(struct worker *w, size_t i)
{
	char name[16];

	return write_file(w, name_of(name, i), 0);
}

static int do_read(struct worker *w, size_t i)
{
	struct job *job = w->job;
	char name[16];
	int fd = openat(w->folder_fd, name_of(name, i), O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return failure("open to read");
	if (read(fd, w->buffer, job->size) != (ssize_t)job->size) {
		close(fd);
		return failure("read");
	}
	return close(fd) ? failure("close") : 0;
}

static int do_stat(struct worker *w, size_t i)
{
	struct stat st;
	char name[16];

	return fstatat(w->folder_fd, name_of(name, i), &st, AT_SYMLINK_NOFOLLOW) ? failure("stat") : 0;
}

static int do_unlink(struct worker *w, size_t i)
{
	char name[16];

	return unlinkat(w->folder_fd, name_of(name, i), 0) ? failure("unlink") : 0;
}

/* ---- the least that a request costs ---- */

static int prepare_request(struct worker *w)
{
	char name[16];

	w->file = openat(w->folder_fd, name_of(name, w->from), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	return w->file < 0 ? failure("open") : 0;
}

/* A question that the daemon answers at once, and the kernel keeps nothing of. */
static int do_request(struct worker *w, size_t i)
{
	(void)i;
	return fgetxattr(w->file, "security.capability", w->buffer, 64) < 0 && errno == ENODATA ? 0 : failure("getxattr");
}

/* ---- folders ---- */

static int list(struct worker *w, bool attributes)
{
	struct job *job = w->job;
	DIR *dir = opendir(job->folder);
	struct dirent *entry;
	struct stat st;
	size_t seen = 0;

	if (!dir)
		return failure("opendir");
	while (errno = 0, entry = readdir(dir)) {
		if (entry->d_name[0] == '.')
			continue;
		if (attributes && fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW)) {
			closedir(dir);
			return failure("stat");
		}
		seen++;
	}
	if (errno || seen != job->count) {
		fprintf(stderr, "load: %zu names listed, %zu expected\n", seen, job->count);
		closedir(dir);
		return failure("readdir");
	}
	return closedir(dir) ? failure("closedir") : 0;
}

static int do_list(struct worker *w, size_t i)
{
	(void)i;
	return list(w, false);
}

static int do_list_attributes(struct worker *w, size_t i)
{
	(void)i;
	return list(w, true);
}

/* ---- data.json ---- */

static int patch(struct worker *w, size_t i, bool sync)
{
	struct job *job = w->job;
	char text[64];
	int len = snprintf(text, sizeof(text), "{\"k%06zu\": %llu}\n", i * 7919 % job->keys,
			   (unsigned long long)(job->salt + i));
	int fd = openat(w->folder_fd, "data.json", O_WRONLY | O_TRUNC | O_CLOEXEC);

	if (fd < 0)
		return failure("open data.json");
	if (write(fd, text, (size_t)len) != len || (sync && fsync(fd))) {
		close(fd);
		return failure("merge");
	}
	return close(fd) ? failure("close data.json") : 0;
}

static int do_merge(struct worker *w, size_t i)
{
	return patch(w, i, false);
}

static int do_fsync_merge(struct worker *w, size_t i)
{
	return patch(w, i, true);
}

static int do_setxattr(struct worker *w, size_t i)
{
	struct job *job = w->job;
	char path[4096], name[64], value[32];
	int len = snprintf(value, sizeof(value), "%llu", (unsigned long long)(job->salt + i));

	snprintf(path, sizeof(path), "%s/data.json", job->folder);
	snprintf(name, sizeof(name), "user.bucketfs.key.k%06zu", i * 7919 % job->keys);
	return setxattr(path, name, value, (size_t)len, 0) ? failure("setxattr") : 0;
}

static int do_read_data(struct worker *w, size_t i)
{
	int fd = openat(w->folder_fd, "data.json", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	(void)i;
	if (fd < 0)
		return failure("open data.json");
	while ((n = read(fd, w->buffer, chunk)) > 0)
		;
	if (n < 0) {
		close(fd);
		return failure("read data.json");
	}
	return close(fd) ? failure("close data.json") : 0;
}

/* ---- one large file ---- */

static int do_stream_read(struct worker *w, size_t i)
{
	int fd = openat(w->folder_fd, "large", O_RDONLY | O_CLOEXEC);
	size_t total = 0;
	ssize_t n;

	(void)i;
	if (fd < 0)
		return failure("open to read");
	while ((n = read(fd, w->buffer, chunk)) > 0)
		total += (size_t)n;
	if (n < 0 || total != w->job->size) {
		close(fd);
		return failure("read");
	}
	return close(fd) ? failure("close") : 0;
}

static int do_copy_in(struct worker *w, size_t i)
{
	int in = open(w->job->source, O_RDONLY | O_CLOEXEC);
	int out = openat(w->folder_fd, "large", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	ssize_t n = 0;
	int r = in < 0 || out < 0 ? failure("open to copy") : 0;

	(void)i;
	while (!r && (n = read(in, w->buffer, chunk)) > 0)
		if (write(out, w->buffer, (size_t)n) != n)
			r = failure("write");
	if (!r && n < 0)
		r = failure("read");
	if (in >= 0)
		close(in);
	if (out >= 0 && close(out) && !r)
		r = failure("close");
	return r;
}

/* ---- the disk ---- */

static int open_synced(struct worker *w, int flags)
{
	char name[32];

	snprintf(name, sizeof(name), "synced%zu", w->from);
	w->file = openat(w->folder_fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | flags, 0644);
	return w->file < 0 ? failure("open") : 0;
}

/* The file is there in full already, so that what is synced is contents only. */
static int prepare_fdatasync(struct worker *w)
{
	int r = open_synced(w, 0);

	for (off_t at = 0; !r && at < sync_region; at += chunk)
		if (pwrite(w->file, w->buffer, chunk, at) != chunk)
			r = failure("pwrite");
	return r ? r : fsync(w->file) ? failure("fsync") : 0;
}

/* As a log grows: the new size is synced as well. With O_APPEND pwrite appends whatever the offset. */
static int prepare_fdatasync_append(struct worker *w)
{
	int r = open_synced(w, O_APPEND);

	return r ? r : fsync(w->file) ? failure("fsync") : 0;
}

static int do_fdatasync(struct worker *w, size_t i)
{
	if (pwrite(w->file, w->buffer, 4096, (off_t)(i * 4096 % sync_region)) != 4096)
		return failure("pwrite");
	return fdatasync(w->file) ? failure("fdatasync") : 0;
}

/* ---- running it ---- */

static const struct work {
	const char *name;
	int (*prepare)(struct worker *w);
	int (*one)(struct worker *w, size_t i);
	bool once; /* one call does it all */
} works[] = {
	{"create", NULL, do_create, false},
	{"rewrite", NULL, do_rewrite, false},
	{"read", NULL, do_read, false},
	{"stat", NULL, do_stat, false},
	{"unlink", NULL, do_unlink, false},
	{"request", prepare_request, do_request, false},
	{"list", NULL, do_list, true},
	{"list-attributes", NULL, do_list_attributes, true},
	{"merge", NULL, do_merge, false},
	{"fsync-merge", NULL, do_fsync_merge, false},
	{"setxattr", NULL, do_setxattr, false},
	{"read-data", NULL, do_read_data, false},
	{"stream-read", NULL, do_stream_read, true},
	{"copy-in", NULL, do_copy_in, true},
	{"fdatasync", prepare_fdatasync, do_fdatasync, false},
	{"fdatasync-append", prepare_fdatasync_append, do_fdatasync, false},
};

static const struct work *work;

static void *run(void *context)
{
	struct worker *w = context;

	if (work->prepare)
		w->failed = work->prepare(w);
	/* Once to be ready, once more so that the clock is read in between. */
	pthread_barrier_wait(&w->job->start);
	pthread_barrier_wait(&w->job->start);
	for (size_t i = w->from; i < w->to && !w->failed; i++)
		w->failed = work->one(w, i);
	return NULL;
}

static int new_worker(struct worker *w, struct job *job, size_t index)
{
	size_t size = job->size > chunk && !work->once ? job->size : chunk;
	char path[4096];

	*w = (struct worker){.job = job, .file = -1};
	snprintf(path, sizeof(path), job->each ? "%s%zu" : "%s", job->folder, index);
	w->folder_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->folder_fd < 0)
		return failure(path);
	w->from = work->once ? 0 : job->count * index / job->threads;
	w->to = work->once ? 1 : job->count * (index + 1) / job->threads;
	w->buffer = malloc(size);
	if (!w->buffer)
		return failure("buffer");
	/* Not zeroes: nobody shall win by compressing. */
	for (size_t i = 0; i < size; i++)
		w->buffer[i] = (char)(i * 2654435761u >> 13);
	errno = pthread_create(&w->thread, NULL, run, w);
	return errno ? failure("thread") : 0;
}

static int run_all(struct job *job)
{
	static struct worker workers[threads_max];
	double began, used;
	int r = 0;

	errno = pthread_barrier_init(&job->start, NULL, (unsigned)job->threads + 1);
	if (errno)
		return failure("barrier");
	for (size_t i = 0; i < job->threads; i++)
		if ((r = new_worker(&workers[i], job, i)))
			return r;
	pthread_barrier_wait(&job->start);
	used = processor_time();
	began = now();
	pthread_barrier_wait(&job->start);
	for (size_t i = 0; i < job->threads; i++) {
		pthread_join(workers[i].thread, NULL);
		if (workers[i].failed)
			r = workers[i].failed;
	}
	if (!r)
		printf("%.6f %.6f\n", now() - began, processor_time() - used);
	for (size_t i = 0; i < job->threads; i++) {
		free(workers[i].buffer);
		close(workers[i].folder_fd);
		if (workers[i].file >= 0)
			close(workers[i].file);
	}
	pthread_barrier_destroy(&job->start);
	return r;
}

static int usage(void)
{
	fprintf(stderr, "usage: load WORK FOLDER [-n COUNT] [-t THREADS] [-s SIZE] [-k KEYS] [-f SOURCE] [-e]\nWORK is one of");
	for (size_t i = 0; i < sizeof(works) / sizeof(*works); i++)
		fprintf(stderr, " %s", works[i].name);
	fprintf(stderr, "\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct job job = {.count = 1, .threads = 1, .size = 4096, .keys = 20, .salt = (uint64_t)(now() * 1e6)};
	int option;

	if (argc < 3)
		return usage();
	for (size_t i = 0; i < sizeof(works) / sizeof(*works); i++)
		if (strcmp(argv[1], works[i].name) == 0)
			work = &works[i];
	job.folder = argv[2];
	optind = 3;
	while ((option = getopt(argc, argv, "n:t:s:k:f:e")) != -1) {
		if (option == 'f')
			job.source = optarg;
		else if (option == 'e')
			job.each = true;
		else if (option == 'n')
			job.count = strtoul(optarg, NULL, 10);
		else if (option == 't')
			job.threads = strtoul(optarg, NULL, 10);
		else if (option == 's')
			job.size = strtoul(optarg, NULL, 10);
		else if (option == 'k')
			job.keys = strtoul(optarg, NULL, 10);
		else
			return usage();
	}
	if (!work || optind != argc || !job.threads || job.threads > threads_max || !job.keys ||
	    (work->one == do_copy_in && !job.source))
		return usage();
	return run_all(&job) ? 1 : 0;
}
