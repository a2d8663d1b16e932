#include "util/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>
#include <time.h>

static enum log_target log_target = LOG_TARGET_STDERR;
static enum log_level log_level = LOG_LEVEL_INFO;

static pthread_mutex_t limit_lock = PTHREAD_MUTEX_INITIALIZER;
/* By a hash of who it is: enough that two noisy ones seldom share a place. */
enum { limit_places = 256 };
static struct {
	unsigned who;
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

static void write_line(enum log_level level, const char *format, va_list args)
{
	static const int priority[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
	static const char *const label[] = {"error: ", "warning: ", "", "debug: "};
	char line[1024];

	if (level > log_level || log_target == LOG_TARGET_NONE)
		return;
	vsnprintf(line, sizeof(line), format, args);
	/* A name with a line break in it must not be able to forge a line. */
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < ' ')
			*c = '?';
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
	if (t.tv_sec != limits[place].second || who != limits[place].who) {
		dropped = limits[place].count > log_burst ? limits[place].count - log_burst : 0;
		limits[place].second = t.tv_sec;
		limits[place].who = who;
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
