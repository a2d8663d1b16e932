/* What the daemon logs is kept instead of written. For one file of a test that is linked with --wrap=log_line and log_limited. */
#pragma once

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "util/log.h"

static char log_lines[1 << 16];
static size_t log_lines_len;

void __wrap_log_line(enum log_level level, const char *format, ...);
void __wrap_log_limited(unsigned who, enum log_level level, const char *format, ...);

static inline void log_lines_clear(void)
{
	log_lines_len = 0;
	log_lines[0] = 0;
}

/* What does not fit is dropped: a test clears it often. */
static inline void log_lines_add(enum log_level level, const char *format, va_list args)
{
	size_t left = sizeof(log_lines) - log_lines_len;
	int len;

	if (level > LOG_LEVEL_WARNING || left < 1026)
		return;
	len = vsnprintf(log_lines + log_lines_len, 1024, format, args);
	log_lines_len += len < 1024 ? (size_t)len : 1023;
	log_lines[log_lines_len++] = '\n';
	log_lines[log_lines_len] = 0;
}

void __wrap_log_line(enum log_level level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_lines_add(level, format, args);
	va_end(args);
}

void __wrap_log_limited(unsigned who, enum log_level level, const char *format, ...)
{
	va_list args;

	(void)who;
	va_start(args, format);
	log_lines_add(level, format, args);
	va_end(args);
}

static inline bool log_lines_have(const char *part)
{
	return strstr(log_lines, part) != NULL;
}
