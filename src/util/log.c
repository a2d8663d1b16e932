#include "util/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

static enum log_target log_target = LOG_TARGET_STDERR;
static enum log_level log_level = LOG_LEVEL_INFO;

static pthread_mutex_t limit_lock = PTHREAD_MUTEX_INITIALIZER;
/* By a hash of who it is: enough that two noisy ones seldom share a place. */
enum { limit_places = 256 };
static struct {
	time_t second;
	unsigned count;
} limits[limit_places];

void log_open(enum log_target target, enum log_level level)
{
	log_target = target;
	log_level = level;
	if (target == LOG_TARGET_SYSLOG)
		openlog("bucketfs", LOG_PID | LOG_NDELAY, LOG_DAEMON);
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

static void write_line(enum log_level level, const char *format, va_list args)
{
	static const int priority[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
	static const char *const label[] = {"error: ", "warning: ", "", "debug: "};
	char line[1024];

	if (level > log_level || log_target == LOG_TARGET_NONE)
		return;
	vsnprintf(line, sizeof(line), format, args);
	/* A name in it must not forge a line, or command the terminal of whoever reads the log. */
	for (size_t at = 0, len, bad; line[at]; at += len) {
		bad = unfit((const unsigned char *)line + at, &len);
		memset(line + at, '?', bad);
		len = bad ? bad : len;
	}
	if (log_target == LOG_TARGET_SYSLOG)
		syslog(priority[level], "%s%s", label[level], line);
	else
		fprintf(stderr, "bucketfs: %s%s\n", label[level], line);
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
