#include "fuse/caller.h"

#include "bucket/verdict.h"
#include "util/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

const char *caller_job_variables;

/* /proc/PID/stat and environ must not be read here: during a flush that comes from execve, that deadlocks. The file
 * status does not take the lock in question. */
static bool read_proc(pid_t pid, const char *name, char *text, size_t size)
{
	char path[64];
	size_t len = 0;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	/* A long one comes in pieces. */
	while (len < size - 1 && (n = read(fd, text + len, size - 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	text[len] = 0;
	return len > 0;
}

static const char *field(const char *status, const char *name)
{
	const char *at = strstr(status, name);

	return at ? at + strlen(name) : NULL;
}

/* The whole of /proc/PID/status: with 64 Ki groups, the kernel's limit, it has 700 KiB. */
static char *read_status(pid_t pid)
{
	enum { first = 4096, most = 1 << 20 };
	char *text = NULL;

	for (size_t size = first; size <= most; size *= 4) {
		char *grown = realloc(text, size);

		if (!grown || !read_proc(pid, "status", text = grown, size)) {
			free(text);
			return NULL;
		}
		if (strlen(text) < size - 1)
			break;
	}
	return text;
}

/* The groups of the request that a thread asked for last. */
struct known_groups {
	uint64_t request;
	gid_t *all;
	size_t count, cap;
};

static pthread_key_t groups_key;
static pthread_once_t groups_once = PTHREAD_ONCE_INIT;

static void free_groups(void *groups)
{
	struct known_groups *k = groups;

	free(k->all);
	free(k);
}

static void make_groups_key(void)
{
	pthread_key_create(&groups_key, free_groups);
}

/* NULL: there is no memory, and nobody is let in by a group. */
static struct known_groups *own_groups(void)
{
	struct known_groups *k;

	pthread_once(&groups_once, make_groups_key);
	k = pthread_getspecific(groups_key);
	if (k)
		return k;
	k = calloc(1, sizeof(*k));
	if (k && pthread_setspecific(groups_key, k)) {
		free(k);
		k = NULL;
	}
	return k;
}

static bool add_group(struct known_groups *k, gid_t gid)
{
	if (k->count == k->cap) {
		size_t cap = k->cap ? k->cap * 2 : 32;
		gid_t *grown = realloc(k->all, cap * sizeof(*grown));

		if (!grown)
			return false;
		k->all = grown;
		k->cap = cap;
	}
	k->all[k->count++] = gid;
	return true;
}

static int compare_groups(const void *a, const void *b)
{
	gid_t x = *(const gid_t *)a, y = *(const gid_t *)b;

	return (x > y) - (x < y);
}

static void read_groups(struct known_groups *k, pid_t pid)
{
	char *text = pid ? read_status(pid) : NULL, *end;
	const char *at = text ? field(text, "\nGroups:") : NULL;

	k->count = 0;
	while (at) {
		unsigned long group;

		at += strspn(at, " \t");
		if (*at < '0' || *at > '9')
			break;
		group = strtoul(at, &end, 10);
		if (!add_group(k, (gid_t)group))
			break;
		at = end;
	}
	free(text);
	if (k->count)
		qsort(k->all, k->count, sizeof(*k->all), compare_groups);
}

static const gid_t *groups_of(const struct caller *who, size_t *count)
{
	struct known_groups *k = own_groups();

	*count = 0;
	if (!k)
		return NULL;
	if (!who->request || k->request != who->request) {
		read_groups(k, who->pid);
		k->request = who->request;
	}
	*count = k->count;
	return k->all;
}

/* Unlike any other request's of any thread, also of threads that have ended: each thread takes numbers by the million.
 */
static uint64_t new_request(void)
{
	enum { numbers = 1 << 20 };
	static uint64_t taken;
	static _Thread_local uint64_t last, end;

	if (last == end) {
		last = __atomic_fetch_add(&taken, numbers, __ATOMIC_RELAXED);
		end = last + numbers;
	}
	return ++last;
}

static void command(const struct caller *who, char name[16])
{
	char text[256];
	const char *at;

	name[0] = 0;
	if (!who->pid || !read_proc(who->pid, "status", text, sizeof(text)) || strncmp(text, "Name:", 5) != 0)
		return;
	at = text + 5 + strspn(text + 5, " \t");
	snprintf(name, 16, "%.*s", (int)strcspn(at, "\n"), at);
}

/* How much of a text fits, without a part of a character at its end. */
static size_t whole_characters(const char *text, size_t most)
{
	size_t len = strnlen(text, most), end = len;

	if (len < most)
		return len;
	while (end && len - end < 4 && ((unsigned char)text[end] & 0xc0) == 0x80)
		end--;
	return end && ((unsigned char)text[end] & 0xc0) != 0x80 ? end : len;
}

/* Asked for every file that is created, so the last answers are kept for a moment. A process that has just become
 * another program may be taken for what it was; this says where a file comes from, and gives nobody anything. */
static size_t job_of(const struct caller *who, char *name, size_t size)
{
	enum { places = 64, lifetime = 100000000 };
	static struct {
		pid_t pid;
		int64_t since;
		size_t len;
		char job[64];
	} kept[places];
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	size_t place = (size_t)who->pid % places, len = 0, all = 0;
	struct timespec t;
	int64_t now;
	char *job = NULL;
	bool known;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	now = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
	pthread_mutex_lock(&lock);
	known = kept[place].pid == who->pid && now - kept[place].since <= lifetime;
	if (known) {
		len = kept[place].len < size ? kept[place].len : size;
		memcpy(name, kept[place].job, len);
	}
	pthread_mutex_unlock(&lock);
	if (known)
		return len;
	/* A process may keep readers of its memory waiting: nobody else waits with it. */
	if (!caller_environment(who->pid, caller_job_variables, &job))
		all = whole_characters(job, sizeof(kept[place].job));
	pthread_mutex_lock(&lock);
	kept[place].pid = who->pid;
	kept[place].since = now;
	kept[place].len = all;
	if (all)
		memcpy(kept[place].job, job, all);
	pthread_mutex_unlock(&lock);
	len = all < size ? all : size;
	if (len)
		memcpy(name, job, len);
	free(job);
	return len;
}

struct caller caller_of(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return (struct caller){ctx->uid, ctx->gid, ctx->pid, groups_of, command, job_of, new_request()};
}

bool caller_same_process(pid_t thread, pid_t other)
{
	char text[4096], path[64];
	const char *at;

	if (thread == other || thread == 0 || other == 0)
		return true;
	if (!read_proc(thread, "status", text, sizeof(text)) || !(at = field(text, "\nTgid:")))
		return false;
	snprintf(path, sizeof(path), "/proc/%d/task/%d", atoi(at), other);
	return access(path, F_OK) == 0;
}

bool caller_is_there(pid_t thread)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d", thread);
	return access(path, F_OK) == 0;
}

/* In the middle of an execve a process has new memory and no program in it yet. It holds a lock then that whoever looks
 * into its fd/ waits for, and it waits for the answer to its flush: so nobody who answers may look there. statm takes
 * no such lock. True as well if it cannot be told. */
static bool is_in_exec(pid_t thread)
{
	char text[256];
	unsigned long size, resident, shared, program;

	if (!read_proc(thread, "statm", text, sizeof(text)))
		return caller_is_there(thread);
	return sscanf(text, "%lu %lu %lu %lu", &size, &resident, &shared, &program) != 4 || (size && !program);
}

/* AT_STATX_DONT_SYNC: the kernel must not ask us, nor any other server that hangs. A process that ends has no descriptors any more
 * when they are closed. */
bool caller_has_open(pid_t thread, uint64_t inode)
{
	enum { most = 4096 };
	char path[64];
	struct dirent *entry;
	struct statx st;
	bool has = false;
	int count = 0;
	DIR *folder;

	if (is_in_exec(thread))
		return true;
	snprintf(path, sizeof(path), "/proc/%d/fd", thread);
	folder = opendir(path);
	if (!folder)
		return !(errno == ENOENT || errno == ESRCH);
	while (!has && (entry = readdir(folder))) {
		if (*entry->d_name == '.')
			continue;
		has = ++count > most || (statx(dirfd(folder), entry->d_name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_INO, &st) == 0 &&
					 st.stx_ino == inode);
	}
	closedir(folder);
	return has;
}

/* A look that a thread of its own takes. Whoever wants to know waits for a moment only. */
struct look {
	pthread_mutex_t lock;
	pthread_cond_t done;
	pid_t thread;
	uint64_t inode;
	bool has, ended;
	unsigned users; /* the thread, and whoever waits */
};

static unsigned looks; /* under way; atomic */

/* With the lock held, which it gives back. */
static void end_look(struct look *l)
{
	bool last = --l->users == 0;

	pthread_mutex_unlock(&l->lock);
	if (!last)
		return;
	pthread_mutex_destroy(&l->lock);
	pthread_cond_destroy(&l->done);
	free(l);
}

static void *take_look(void *argument)
{
	struct look *l = argument;
	bool has = caller_has_open(l->thread, l->inode);

	__atomic_sub_fetch(&looks, 1, __ATOMIC_RELAXED);
	pthread_mutex_lock(&l->lock);
	l->has = has;
	l->ended = true;
	pthread_cond_signal(&l->done);
	end_look(l);
	return NULL;
}

static struct look *begin_look(pid_t thread, uint64_t inode)
{
	enum { most = 8 };
	struct look *l = calloc(1, sizeof(*l));
	pthread_attr_t detached;
	pthread_t id;
	bool begun = false;

	if (!l)
		return NULL;
	*l = (struct look){.thread = thread, .inode = inode, .has = true, .users = 2};
	pthread_mutex_init(&l->lock, NULL);
	clock_condition_init(&l->done);
	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	if (__atomic_add_fetch(&looks, 1, __ATOMIC_RELAXED) <= most)
		begun = pthread_create(&id, &detached, take_look, l) == 0;
	pthread_attr_destroy(&detached);
	if (begun)
		return l;
	__atomic_sub_fetch(&looks, 1, __ATOMIC_RELAXED);
	pthread_mutex_lock(&l->lock);
	l->users--;
	end_look(l);
	return NULL;
}

bool caller_has_open_soon(pid_t thread, uint64_t inode)
{
	enum { moment = 20000000 };
	int64_t until = clock_monotonic() + moment;
	struct look *l = begin_look(thread, inode);
	bool has = true;

	if (!l)
		return true;
	pthread_mutex_lock(&l->lock);
	while (!l->ended && clock_wait(&l->done, &l->lock, until))
		;
	has = l->has;
	end_look(l);
	return has;
}

bool caller_program(pid_t thread, char name[16])
{
	if (!thread || !read_proc(thread, "comm", name, 16))
		return false;
	name[strcspn(name, "\n")] = 0;
	return true;
}

/* The 22nd field of /proc/PID/stat, counted after the name, which may hold anything. */
static int64_t start_of(pid_t process)
{
	char text[1024];
	const char *at;

	if (!read_proc(process, "stat", text, sizeof(text)) || !(at = strrchr(text, ')')))
		return 0;
	for (int i = 2; i < 22 && at; i++)
		at = strchr(at + 1, ' ');
	return at ? (int64_t)(strtoull(at, NULL, 10) * (1000000000 / (uint64_t)sysconf(_SC_CLK_TCK))) : 0;
}

pid_t caller_process(pid_t thread, int64_t *started)
{
	char text[4096];
	const char *at;
	pid_t process;

	if (!thread || !read_proc(thread, "status", text, sizeof(text)) || !(at = field(text, "\nTgid:")))
		return 0;
	process = atoi(at);
	if (started)
		*started = start_of(process);
	return process;
}

uint64_t caller_pipe(pid_t thread, int fd)
{
	char path[64], target[64];
	unsigned long long inode;
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", thread, fd);
	len = thread ? readlink(path, target, sizeof(target) - 1) : 0;
	if (len <= 0)
		return 0;
	target[len] = 0;
	return sscanf(target, "pipe:[%llu]", &inode) == 1 ? inode : 0;
}

/* Asks where none of its pages are: what matters is whether it has any. False: no, or we may not know. */
static bool has_memory(pid_t thread)
{
	return syscall(SYS_move_pages, (long)thread, 0L, NULL, NULL, NULL, 0L) == 0;
}

bool caller_is_killed(pid_t thread)
{
	char text[4096];
	const char *last;

	/* Files are closed after memory is gone: who still has memory is alive, and this is an ordinary close. Neither
	 * move_pages nor statm takes a lock that an execve holds; only without memory, where no execve can be, stat is read. */
	if (thread == 0 || has_memory(thread))
		return false;
	if (!read_proc(thread, "statm", text, sizeof(text)) || strncmp(text, "0 ", 2) != 0)
		return false;
	if (!read_proc(thread, "stat", text, sizeof(text)))
		return false;
	text[strcspn(text, "\n")] = 0;
	last = strrchr(text, ' ');
	return last && (atoi(last + 1) & 0x7f) != 0;
}

static uint64_t signals(const char *status, const char *name)
{
	const char *at = field(status, name);

	return at ? strtoull(at, NULL, 16) : 0;
}

bool caller_is_ending(pid_t thread)
{
	const uint64_t killed = UINT64_C(1) << (SIGKILL - 1);
	char *status = thread ? read_status(thread) : NULL;
	bool ends = status && (signals(status, "\nSigPnd:") | signals(status, "\nShdPnd:")) & killed;

	free(status);
	return ends || (thread && !caller_is_there(thread));
}

static const char *find_variable(const char *text, size_t len, const char *name, size_t name_len)
{
	for (size_t at = 0; at < len; at += strlen(text + at) + 1)
		if (strncmp(text + at, name, name_len) == 0 && text[at + name_len] == '=' && text[at + name_len + 1])
			return text + at + name_len + 1;
	return NULL;
}

int caller_environment(pid_t thread, const char *variables, char **value)
{
	enum { environment_max = 1 << 21 };
	char *text = thread ? malloc(8192) : NULL, path[64], *grown;
	const char *found = NULL;
	size_t len = 0, size = 8192;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/environ", thread);
	fd = text ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	while (fd >= 0 && (n = read(fd, text + len, size - 1 - len)) > 0) {
		len += (size_t)n;
		if (len < size - 1)
			continue;
		grown = size < environment_max ? realloc(text, size * 2) : NULL;
		if (!grown)
			break;
		text = grown;
		size *= 2;
	}
	if (fd >= 0)
		close(fd);
	if (text)
		text[len] = 0;
	for (const char *name = variables ? variables : "BUCKETFS_JOB"; len && *name && !found;) {
		size_t name_len = strcspn(name, ",:");

		found = find_variable(text, len, name, name_len);
		name += name_len + (name[name_len] != 0);
	}
	*value = found ? strdup(found) : NULL;
	free(text);
	return *value ? 0 : BUCKET_ABSENT;
}
