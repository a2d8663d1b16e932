#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

/* All are atomic: they change while threads write lines. */
static enum log_target log_target = LOG_TARGET_STDERR;
static enum log_level log_level = LOG_LEVEL_INFO;
static int log_fd = 2;
static bool log_stamps;
static char *log_path;

/* Lines that went to stderr before the log was opened elsewhere: whoever starts the daemon reads them there, and the log has them too. */
static struct {
	pthread_mutex_t lock;
	bool ended;      /* no more are kept */
	char text[4096]; /* of each the level, the line, and NUL */
	size_t len;
} early = {.lock = PTHREAD_MUTEX_INITIALIZER};

static pthread_mutex_t limit_lock = PTHREAD_MUTEX_INITIALIZER;
/* By a hash of who it is: enough that two noisy ones seldom share a place. */
enum { limit_places = 256 };
static struct {
	time_t second;
	unsigned count;
} limits[limit_places];

/* Whether lines on stderr get their time from nobody else. */
static bool needs_stamps(void)
{
	const char *journal = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	if (isatty(2))
		return false;
	return !(journal && sscanf(journal, "%llu:%llu", &device, &inode) == 2 && !fstat(2, &st) && st.st_dev == device &&
		 st.st_ino == inode);
}

/* syslog(3) itself says nothing when nobody listens. */
static int check_syslog(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
	int r, fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	r = connect(fd, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
	close(fd);
	return r;
}

static int open_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);

	return fd < 0 ? -errno : fd;
}

static void keep_early(enum log_level level, const char *text)
{
	size_t len = strlen(text) + 1;

	pthread_mutex_lock(&early.lock);
	if (!early.ended && len < sizeof(early.text) - early.len) {
		early.text[early.len] = (char)level;
		memcpy(early.text + early.len + 1, text, len);
		early.len += 1 + len;
	}
	pthread_mutex_unlock(&early.lock);
}

static void repeat_early(bool elsewhere)
{
	pthread_mutex_lock(&early.lock);
	__atomic_store_n(&early.ended, true, __ATOMIC_RELEASE);
	for (size_t at = 0; at < early.len && elsewhere; at += strlen(early.text + at + 1) + 2)
		log_line((enum log_level)early.text[at], "%s", early.text + at + 1);
	early.len = 0;
	pthread_mutex_unlock(&early.lock);
}

int log_open(enum log_target target, const char *path, enum log_level level)
{
	char *copy = NULL;
	int fd = 2;

	log_set_level(level);
	if (target == LOG_TARGET_FILE) {
		copy = strdup(path);
		fd = copy ? open_file(copy) : -ENOMEM;
	} else if (target == LOG_TARGET_SYSLOG) {
		fd = check_syslog();
	}
	if (fd < 0) {
		free(copy);
		return fd;
	}
	if (target == LOG_TARGET_SYSLOG)
		openlog("bucketfs", LOG_PID | LOG_NDELAY, LOG_DAEMON);
	free(log_path);
	log_path = copy;
	__atomic_store_n(&log_fd, fd, __ATOMIC_RELAXED);
	__atomic_store_n(&log_stamps, target == LOG_TARGET_FILE || needs_stamps(), __ATOMIC_RELAXED);
	__atomic_store_n(&log_target, target, __ATOMIC_RELEASE);
	if (target != LOG_TARGET_STDERR)
		repeat_early(target != LOG_TARGET_NONE);
	return 0;
}

void log_set_level(enum log_level level)
{
	__atomic_store_n(&log_level, level, __ATOMIC_RELAXED);
}

int log_reopen(void)
{
	int fd;

	if (!log_path)
		return 0;
	fd = open_file(log_path);
	if (fd < 0)
		return fd;
	/* The number stays, for a thread may be about to write to it. */
	if (dup3(fd, log_fd, O_CLOEXEC) < 0) {
		close(fd);
		return -errno;
	}
	close(fd);
	return 0;
}

/* How many bytes from here on must not reach a terminal: a control character (C0, DEL, C1), one that changes the
 * direction of text or ends a line, or a byte that is no UTF-8. 0: none, and *len bytes are a character. */
static size_t unfit(const unsigned char *at, size_t *len)
{
	unsigned code, least;

	*len = 1;
	if (*at < 0x80)
		return *at < ' ' || *at == 0x7f;
	if (*at < 0xc2 || *at > 0xf4)
		return 1;
	*len = *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : 4;
	least = *len == 2 ? 0x80 : *len == 3 ? 0x800 : 0x10000;
	code = *at & (0x7fu >> *len);
	for (size_t i = 1; i < *len; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 1;
		code = code << 6 | (at[i] & 0x3f);
	}
	if (code < least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) || code < 0xa0 || code == 0x61c ||
	    (code >= 0x200e && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069))
		return *len;
	return 0;
}

/* RFC 3339, in UTC. */
static size_t add_stamp(char *at, size_t size)
{
	struct timespec now;
	struct tm tm;
	size_t len;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	len = strftime(at, size, "%Y-%m-%dT%H:%M:%S", &tm);
	return len + (size_t)snprintf(at + len, size - len, ".%03ldZ ", now.tv_nsec / 1000000);
}

static void write_line(enum log_level level, const char *format, va_list args)
{
	static const int priority[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
	static const char *const label[] = {"error: ", "warning: ", "", "debug: "};
	enum log_target target = __atomic_load_n(&log_target, __ATOMIC_ACQUIRE);
	char text[1024], line[1100];
	size_t len = 0;

	if (level > __atomic_load_n(&log_level, __ATOMIC_RELAXED) || target == LOG_TARGET_NONE)
		return;
	vsnprintf(text, sizeof(text), format, args);
	/* A name in it must not forge a line, or command the terminal of whoever reads the log. */
	for (size_t at = 0, width, bad; text[at]; at += width) {
		bad = unfit((const unsigned char *)text + at, &width);
		memset(text + at, '?', bad);
		width = bad ? bad : width;
	}
	if (!__atomic_load_n(&early.ended, __ATOMIC_ACQUIRE))
		keep_early(level, text);
	if (target == LOG_TARGET_SYSLOG) {
		syslog(priority[level], "%s%s", label[level], text);
		return;
	}
	if (__atomic_load_n(&log_stamps, __ATOMIC_RELAXED))
		len = add_stamp(line, sizeof(line));
	len += (size_t)snprintf(line + len, sizeof(line) - len, "bucketfs: %s%s\n", label[level], text);
	/* In one piece, for others write there too. Where that fails, nobody could be told. */
	if (write(__atomic_load_n(&log_fd, __ATOMIC_RELAXED), line, len) < 0)
		return;
}

void log_line(enum log_level level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	write_line(level, format, args);
	va_end(args);
}

void log_limited(unsigned who, enum log_level level, const char *format, ...)
{
	unsigned place = who * 2654435761u >> 24, dropped = 0;
	struct timespec t;
	va_list args;
	int speak;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	pthread_mutex_lock(&limit_lock);
	/* Users who have a place together share its lines: none begins to count anew because another one speaks. */
	if (t.tv_sec != limits[place].second) {
		dropped = limits[place].count > log_burst ? limits[place].count - log_burst : 0;
		limits[place].second = t.tv_sec;
		limits[place].count = 0;
	}
	speak = limits[place].count++ < log_burst;
	pthread_mutex_unlock(&limit_lock);
	if (dropped)
		log_line(level, "%u more lines of one user were dropped within a second", dropped);
	if (!speak)
		return;
	va_start(args, format);
	write_line(level, format, args);
	va_end(args);
}
