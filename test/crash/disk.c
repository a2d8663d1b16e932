/* A disk with a volatile cache, whose power can be cut: the file MOUNTPOINT/disk, for a loop device to stand on.
 *
 *     crash-disk IMAGE SIZE MOUNTPOINT [DELAY]
 *
 * IMAGE holds the durable bytes. A write goes to the cache, that is: to the view that reads see, and to a log. A flush
 * (FSYNC, which the loop device sends for a FLUSH) brings the whole log into IMAGE. Writing a command to
 * MOUNTPOINT/control:
 *
 *     cut MODE SEED    the power goes: what of the log survives is brought into IMAGE, every later write and flush is EIO
 *     lie              from now on a flush says 0 and does nothing
 *
 * MODE is `drop` (nothing of the log survives), `keep` (all of it), `random` (each block by chance; a few are torn) or
 * `reorder` (mostly later writes survive and earlier ones do not). Reading MOUNTPOINT/control tells what came so far.
 *
 * DELAY, in microseconds, is how long a write of 16 KiB or more takes at most. Smaller ones and flushes overtake it, as they
 * do in a disk with a queue: so a journal can be on the disk before the data that was sent first. */
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { block_size = 4096, sector_size = 512, large_write = 16384, torn_per_1000 = 20 };
enum mode { MODE_DROP, MODE_KEEP, MODE_RANDOM, MODE_REORDER };
static const char *const mode_names[] = {"drop", "keep", "random", "reorder"};

/* One write since the last flush. */
struct entry {
	struct entry *next;
	uint64_t at;
	size_t size;
	char data[];
};

static struct {
	pthread_mutex_t lock;
	uint64_t size;
	char *durable; /* IMAGE */
	char *view;    /* what reads see: IMAGE with the log on top of it */
	struct entry *first, **last;
	uint64_t entries, writes, flushes, survived, lost;
	unsigned delay;
	uint64_t delay_state;
	bool dead, lies;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER, .last = &disk.first};

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static void clear_log(void)
{
	for (struct entry *e = disk.first, *next; e; e = next) {
		next = e->next;
		free(e);
	}
	disk.first = NULL;
	disk.last = &disk.first;
	disk.entries = 0;
}

static void make_durable(const struct entry *e, size_t from, size_t size)
{
	memcpy(disk.durable + e->at + from, e->data + from, size);
}

/* How many of 256 blocks of a write survive. */
static unsigned chance(enum mode mode, uint64_t number, unsigned usual)
{
	switch (mode) {
	case MODE_DROP:
		return 0;
	case MODE_KEEP:
		return 256;
	case MODE_REORDER:
		return number * 2 < disk.entries ? 24 : 232;
	default:
		return usual;
	}
}

/* The part of a write that lies in one block: survives, is lost, or is torn. */
static void decide(const struct entry *e, size_t from, size_t size, unsigned of_256, bool may_tear, uint64_t *random)
{
	if (may_tear && next_random(random) % 1000 < torn_per_1000) {
		for (size_t s = 0; s < size; s += sector_size)
			if (next_random(random) & 1)
				make_durable(e, from + s, size - s < sector_size ? size - s : sector_size);
		disk.lost++;
	} else if (next_random(random) % 256 < of_256) {
		make_durable(e, from, size);
		disk.survived++;
	} else {
		disk.lost++;
	}
}

static void cut(enum mode mode, uint64_t seed)
{
	static const unsigned usual[] = {16, 128, 240};
	uint64_t random = seed, number = 0;
	unsigned of_256 = usual[next_random(&random) % 3];

	for (struct entry *e = disk.first; e; e = e->next, number++)
		for (size_t from = 0, size; from < e->size; from += size) {
			size = block_size - (e->at + from) % block_size;
			if (size > e->size - from)
				size = e->size - from;
			decide(e, from, size, chance(mode, number, of_256), mode >= MODE_RANDOM, &random);
		}
	disk.dead = true;
}

static int command(const char *text)
{
	char mode[16];
	unsigned long long seed;

	if (!strcmp(text, "lie")) {
		disk.lies = true;
		return 0;
	}
	if (disk.dead || sscanf(text, "cut %15s %llu", mode, &seed) != 2)
		return -EINVAL;
	for (unsigned m = 0; m < sizeof(mode_names) / sizeof(*mode_names); m++)
		if (!strcmp(mode, mode_names[m])) {
			cut(m, seed);
			return 0;
		}
	return -EINVAL;
}

static int report(char *to, size_t size, off_t at)
{
	char text[256];
	int length = snprintf(text, sizeof(text),
			      "{\"writes\": %llu, \"flushes\": %llu, \"unflushed\": %llu, \"survived\": %llu, \"lost\": %llu}\n",
			      (unsigned long long)disk.writes, (unsigned long long)disk.flushes, (unsigned long long)disk.entries,
			      (unsigned long long)disk.survived, (unsigned long long)disk.lost);

	if (at >= length)
		return 0;
	if (size > (size_t)(length - at))
		size = (size_t)(length - at);
	memcpy(to, text + at, size);
	return (int)size;
}

static int write_disk(const char *from, size_t size, uint64_t at)
{
	struct entry *e;

	if (disk.dead)
		return -EIO;
	if (at > disk.size || size > disk.size - at)
		return -ENOSPC;
	e = malloc(sizeof(*e) + size);
	if (!e)
		return -ENOMEM;
	*e = (struct entry){.at = at, .size = size};
	memcpy(e->data, from, size);
	memcpy(disk.view + at, from, size);
	*disk.last = e;
	disk.last = &e->next;
	disk.entries++;
	disk.writes++;
	return (int)size;
}

static int flush_disk(void)
{
	if (disk.dead)
		return -EIO;
	disk.flushes++;
	if (disk.lies)
		return 0;
	for (struct entry *e = disk.first; e; e = e->next)
		make_durable(e, 0, e->size);
	clear_log();
	return 0;
}

static bool is_control(const char *path)
{
	return !strcmp(path, "/control");
}

static bool is_disk(const char *path)
{
	return !strcmp(path, "/disk");
}

static int op_getattr(const char *path, struct stat *st, struct fuse_file_info *file)
{
	(void)file;
	memset(st, 0, sizeof(*st));
	st->st_nlink = 1;
	if (!strcmp(path, "/")) {
		st->st_mode = S_IFDIR | 0700;
	} else if (is_disk(path)) {
		st->st_mode = S_IFREG | 0600;
		st->st_size = (off_t)disk.size;
	} else if (is_control(path)) {
		st->st_mode = S_IFREG | 0600;
	} else {
		return -ENOENT;
	}
	return 0;
}

static int op_open(const char *path, struct fuse_file_info *file)
{
	if (!is_disk(path) && !is_control(path))
		return -ENOENT;
	file->direct_io = 1;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 15)
	file->parallel_direct_writes = is_disk(path);
#endif
	return 0;
}

static int op_truncate(const char *path, off_t size, struct fuse_file_info *file)
{
	(void)file;
	return is_control(path) && size == 0 ? 0 : -EPERM;
}

static int op_read(const char *path, char *to, size_t size, off_t at, struct fuse_file_info *file)
{
	int r;

	(void)file;
	pthread_mutex_lock(&disk.lock);
	if (is_control(path)) {
		r = report(to, size, at);
	} else {
		if ((uint64_t)at > disk.size)
			at = (off_t)disk.size;
		if (size > disk.size - (uint64_t)at)
			size = disk.size - (uint64_t)at;
		memcpy(to, disk.view + at, size);
		r = (int)size;
	}
	pthread_mutex_unlock(&disk.lock);
	return r;
}

static int op_write(const char *path, const char *from, size_t size, off_t at, struct fuse_file_info *file)
{
	unsigned wait = 0;
	char text[64];
	int r;

	(void)file;
	pthread_mutex_lock(&disk.lock);
	if (is_control(path)) {
		snprintf(text, sizeof(text), "%.*s", (int)size, from);
		text[strcspn(text, "\n")] = '\0';
		r = command(text);
		pthread_mutex_unlock(&disk.lock);
		return r ? r : (int)size;
	}
	if (disk.delay && size >= large_write)
		wait = (unsigned)(next_random(&disk.delay_state) % disk.delay);
	if (wait) {
		pthread_mutex_unlock(&disk.lock);
		usleep(wait);
		pthread_mutex_lock(&disk.lock);
	}
	r = write_disk(from, size, (uint64_t)at);
	pthread_mutex_unlock(&disk.lock);
	return r;
}

static int op_fsync(const char *path, int only_data, struct fuse_file_info *file)
{
	int r = 0;

	(void)only_data;
	(void)file;
	pthread_mutex_lock(&disk.lock);
	if (is_disk(path))
		r = flush_disk();
	pthread_mutex_unlock(&disk.lock);
	return r;
}

static const struct fuse_operations operations = {
	.getattr = op_getattr,
	.open = op_open,
	.truncate = op_truncate,
	.read = op_read,
	.write = op_write,
	.fsync = op_fsync,
};

static int open_image(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)disk.size))
		return -1;
	disk.durable = mmap(NULL, disk.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	/* A page that was written is its own from then on; any other shows the image, which is the same. */
	disk.view = mmap(NULL, disk.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
	close(fd);
	return disk.durable == MAP_FAILED || disk.view == MAP_FAILED ? -1 : 0;
}

int main(int argc, char **argv)
{
	char foreground[] = "-f";
	char *arguments[] = {argv[0], foreground, argc > 3 ? argv[3] : NULL, NULL};

	if (argc < 4 || argc > 5) {
		fprintf(stderr, "usage: %s IMAGE SIZE MOUNTPOINT [DELAY]\n", argv[0]);
		return 2;
	}
	disk.size = strtoull(argv[2], NULL, 10);
	disk.delay = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;
	/* Never without whoever started it: the loop device would wait for ever. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (open_image(argv[1])) {
		perror(argv[1]);
		return 1;
	}
	return fuse_main(3, arguments, &operations, NULL);
}
