/* A moment as a JSON string, RFC 3339 in UTC with milliseconds: "2026-11-20T06:12:00.123Z". */
#pragma once

#include <stdio.h>
#include <time.h>

#include "util/buf.h"

static inline int moment_add(struct buf *out, int64_t ns)
{
	time_t seconds = (time_t)(ns / 1000000000);
	int ms = (int)(ns % 1000000000 / 1000000);
	struct tm t;

	if (ms < 0) {
		ms += 1000;
		seconds--;
	}
	if (!gmtime_r(&seconds, &t))
		return buf_add_string(out, "null");
	return buf_add_format(out, "\"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ\"", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday,
			      t.tm_hour, t.tm_min, t.tm_sec, ms);
}
