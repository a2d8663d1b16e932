/* One process of the system-call fuzzer: as an ordinary user it makes all kinds of calls with odd arguments on a mount.
 *
 *     calls MOUNT SEED NUMBER UID:GID:GROUP,… SECONDS FOLDER [heavy] [trace] [job=OPERATION]
 *
 * calls.py starts it as root and looks after it. FOLDER is outside of the mount:
 *
 *     state            a struct slot for each process: its last calls and when the current one began
 *     secret, job      what the neighbour hides. A process searches all that it reads from the mount for pieces of them
 *     faults-NUMBER    what must not be; calls.py prints it
 *     stop             ends all processes when it is there
 *     trace-NUMBER     with trace: every call, and how many microseconds it took
 *
 * With job=OPERATION another such process has started this one with an odd BUCKETFS_JOB. It makes a few calls. */
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SECRET_SIZE = 64, PIECE = 16, GRAM = 4, FAULTS_MOST = 20 };

struct options options;
char buffer[BUFFER_SIZE];
static struct slot *slot;
static uint64_t state;
static unsigned faults;
static FILE *trace;

/* The secrets, and a bit for each four bytes that stand in one. */
static struct {
	char text[2][SECRET_SIZE];
	uint8_t grams[65536 / 8];
} secret;

/* ---- choices ---- */

uint64_t draw(void) /* splitmix64 */
{
	uint64_t z = state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

void draw_begin(uint64_t operation)
{
	state = options.seed;
	state = draw() + options.number;
	state = draw() + operation;
}

unsigned pick(unsigned count)
{
	return draw() % count;
}

bool chance(unsigned one_in)
{
	return pick(one_in) == 0;
}

/* ---- notes ---- */

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void begin(const char *format, ...)
{
	char *note = slot->notes[slot->next % SLOT_NOTES];
	va_list args;

	va_start(args, format);
	vsnprintf(note, NOTE_SIZE, format, args);
	va_end(args);
	__atomic_store_n(&slot->next, slot->next + 1, __ATOMIC_RELEASE);
	__atomic_store_n(&slot->began, now(), __ATOMIC_RELEASE);
}

long ended(long result)
{
	char *note = slot->notes[(slot->next + SLOT_NOTES - 1) % SLOT_NOTES];
	size_t n = strnlen(note, NOTE_SIZE);
	int number = errno;

	/* A child that begins a call of its own has ended that of its parent. */
	uint64_t took = slot->began ? now() - slot->began : 0;

	__atomic_store_n(&slot->began, 0, __ATOMIC_RELEASE);
	slot->calls++;
	if (n > NOTE_SIZE - 24)
		n = NOTE_SIZE - 24;
	/* The kernel says these when it does not understand an answer, or cannot open a file in the way that the daemon asks
	 * for. A read or an fsync also gives EIO after the daemon has refused bytes that were written through a mapping. */
	if (result < 0 && (number == EPROTO || number == EUCLEAN || (number == EIO && strncmp(note, "open", 4) == 0)))
		fault("%s", strerror(number));
	if (result < 0)
		snprintf(note + n, NOTE_SIZE - n, " = %s", strerrorname_np(number));
	else
		snprintf(note + n, NOTE_SIZE - n, " = %ld", result);
	if (trace) {
		fprintf(trace, "%u %llu %s\n", slot->operation, (unsigned long long)took / 1000, note);
		fflush(trace);
	}
	errno = number;
	return result;
}

void fault(const char *format, ...)
{
	char path[512];
	va_list args;
	FILE *f;

	if (faults++ >= FAULTS_MOST)
		return;
	snprintf(path, sizeof path, "%s/faults-%u", options.folder, options.number);
	f = fopen(path, "a");
	if (!f)
		return;
	fprintf(f, "operation %u: ", slot->operation);
	va_start(args, format);
	vfprintf(f, format, args);
	va_end(args);
	fprintf(f, "; in %s\n", slot->notes[(slot->next + SLOT_NOTES - 1) % SLOT_NOTES]);
	fclose(f);
}

/* ---- the secrets ---- */

static unsigned gram_at(const char *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return (v * 2654435761u) >> 16;
}

static int secret_load(void)
{
	static const char *const names[] = {"secret", "job"};

	for (int i = 0; i < 2; i++) {
		char path[512];
		int fd;

		snprintf(path, sizeof path, "%s/%s", options.folder, names[i]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || read(fd, secret.text[i], SECRET_SIZE) != SECRET_SIZE)
			return -1;
		close(fd);
		for (int at = 0; at + GRAM <= SECRET_SIZE; at++) {
			unsigned g = gram_at(secret.text[i] + at);

			secret.grams[g / 8] |= 1 << g % 8;
		}
	}
	return 0;
}

/* The id of a bucket is nobody's secret, and that of a neighbour's @job holds the job's name. */
static bool is_id(const char *data, const char *found)
{
	static const char before[] = "u20009.";

	return found - data >= (long)sizeof before - 1 && memcmp(found - (sizeof before - 1), before, sizeof before - 1) == 0;
}

static bool secret_at(const char *data, size_t size, size_t at)
{
	for (int i = 0; i < 2; i++) {
		for (int s = 0; s + GRAM <= SECRET_SIZE; s++) {
			size_t from = at, to = at + GRAM;
			int first = s, end = s + GRAM;

			if (memcmp(data + at, secret.text[i] + s, GRAM) != 0)
				continue;
			while (from > 0 && first > 0 && data[from - 1] == secret.text[i][first - 1])
				from--, first--;
			while (to < size && end < SECRET_SIZE && data[to] == secret.text[i][end])
				to++, end++;
			if (to - from >= PIECE && !(i == 1 && is_id(data, data + from))) {
				fault("THE SECRET was seen (%s, %zu bytes at %zu of %zu): %.*s", i ? "job name" : "data", to - from, from,
					size, (int)(to - from), data + from);
				return true;
			}
		}
	}
	return false;
}

/* A piece has 13 places where four bytes begin, so every 13th place is looked at. */
void seen(const void *data, size_t size)
{
	const char *p = data;

	for (size_t at = 0; at + GRAM <= size; at += PIECE - GRAM + 1) {
		unsigned g = gram_at(p + at);

		if (secret.grams[g / 8] & 1 << g % 8 && secret_at(p, size, at))
			return;
	}
}

/* ---- the process ---- */

static const struct {
	void (*run)(void);
	unsigned weight;
	bool alone; /* makes a process, or checks what it has made */
} operations[] = {
	{do_open, 110, false},
	{do_close, 40, false},
	{do_dup, 10, false},
	{do_read, 80, false},
	{do_write, 70, false},
	{do_truncate, 20, false},
	{do_fallocate, 15, false},
	{do_seek, 15, false},
	{do_map, 25, false},
	{do_copy, 25, false},
	{do_sync, 8, false},
	{do_lock, 15, false},
	{do_ioctl, 8, false},
	{do_fcntl, 8, false},
	{do_list, 30, false},
	{do_rename, 40, false},
	{do_make, 40, false},
	{do_remove, 30, false},
	{do_attributes, 20, false},
	{do_xattr, 60, false},
	{do_stat, 40, false},
	{do_watch, 15, false},
	{do_handle, 4, false},
	{do_json, 50, false},
	{do_replace, 20, false},
	{do_transaction, 10, false},
	{do_control, 20, false},
	{do_bucket, 6, false},
	{do_own, 15, true},
	{do_child, 6, true},
	{do_killed, 5, true},
	{do_exec, 2, true},
	{do_job, 3, true},
};
enum { OPERATIONS = sizeof operations / sizeof *operations };

static void run_one(bool alone)
{
	unsigned total = 0, at;

	for (int i = 0; i < OPERATIONS; i++)
		total += alone || !operations[i].alone ? operations[i].weight : 0;
	at = pick(total);
	for (int i = 0; i < OPERATIONS; i++) {
		if (!alone && operations[i].alone)
			continue;
		if (at < operations[i].weight) {
			operations[i].run();
			return;
		}
		at -= operations[i].weight;
	}
}

void do_any(void)
{
	run_one(false);
}

static int become(const char *who)
{
	unsigned uid, gid;
	gid_t groups[8];
	int n = 0, used = 0;

	if (sscanf(who, "%u:%u:%n", &uid, &gid, &used) != 2 || !used)
		return -1;
	for (const char *p = who + used; *p && n < 8;) {
		char *end;

		groups[n++] = strtoul(p, &end, 10);
		p = *end == ',' ? end + 1 : end;
		if (*end && *end != ',')
			return -1;
	}
	options.uid = uid;
	/* Only root changes these; what another has started is that user already. */
	if (geteuid() != 0)
		return 0;
	return setgroups(n, groups) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid) ? -1 : 0;
}

static int slot_map(void)
{
	char path[512];
	int fd;

	snprintf(path, sizeof path, "%s/state", options.folder);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -1;
	slot = mmap(NULL, SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)options.number * SLOT_SIZE);
	close(fd);
	return slot == MAP_FAILED ? -1 : 0;
}

static void trace_begin(void)
{
	char path[512];

	snprintf(path, sizeof path, "%s/trace-%u", options.folder, options.number);
	trace = fopen(path, "a");
}

static void limits(void)
{
	struct rlimit files = {2000, 2000}, core = {0, 0};
	static const int ignored[] = {SIGPIPE, SIGXFSZ, SIGIO, SIGUSR1, SIGHUP};

	setrlimit(RLIMIT_NOFILE, &files);
	setrlimit(RLIMIT_CORE, &core);
	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
		signal(ignored[i], SIG_IGN);
	umask(0);
}

static void run(void)
{
	uint64_t end = now() + (uint64_t)(options.seconds * 1e9);
	char stop[512];

	snprintf(stop, sizeof stop, "%s/stop", options.folder);
	for (unsigned n = 0; now() < end && (n % 64 || access(stop, F_OK) != 0); n++) {
		slot->operation = n;
		draw_begin(n);
		run_one(true);
	}
	kept_close_all();
}

int main(int argc, char **argv)
{
	unsigned job = 0;

	if (argc < 7)
		goto usage;
	options = (struct options){.mount = argv[1], .folder = argv[6], .seed = strtoull(argv[2], NULL, 10),
		.number = strtoul(argv[3], NULL, 10), .seconds = strtod(argv[5], NULL)};
	for (int i = 7; i < argc; i++) {
		options.heavy |= strcmp(argv[i], "heavy") == 0;
		options.trace |= strcmp(argv[i], "trace") == 0;
		if (strncmp(argv[i], "job=", 4) == 0)
			job = strtoul(argv[i] + 4, NULL, 10) + 1;
	}
	if (slot_map() != 0 || become(argv[4]) != 0 || secret_load() != 0 || chdir("/") != 0)
		goto usage;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	limits();
	if (options.trace)
		trace_begin();
	if (!job) {
		run();
		return 0;
	}
	/* The parent waits for this process, and the slot is ours meanwhile. */
	draw_begin((uint64_t)job << 32);
	for (unsigned n = 4 + pick(12); n; n--)
		do_any();
	return 0;
usage:
	fprintf(stderr, "usage: calls MOUNT SEED NUMBER UID:GID:GROUPS SECONDS FOLDER [heavy] [trace] [job=OPERATION]\n");
	return 2;
}
