/* The log: stderr, syslog or a file, one line a call. Safe from any thread.
 *
 * A line in a file begins with the time, and so does one on stderr, unless that is a terminal or leads to the journal, which has the
 * time itself. Until a log elsewhere is opened, lines go to stderr; the first 4 KiB of them are repeated there. */
#pragma once

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_target { LOG_TARGET_STDERR, LOG_TARGET_SYSLOG, LOG_TARGET_FILE, LOG_TARGET_NONE };

/* Lines less important than `level` are dropped. `path` is an absolute one, of LOG_TARGET_FILE; it is copied. 0; or a negative errno: the
 * file cannot be opened, or nobody listens at /dev/log. Then the log goes where it went before. */
int log_open(enum log_target target, const char *path, enum log_level level);
/* Another level from now on. */
void log_set_level(enum log_level level);
/* The file is opened by its path once more: what it was may have been moved away (logrotate). A negative errno: it goes on as it was. */
int log_reopen(void);

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* For lines that somebody can provoke at will: at most `log_burst` a second for each `who` (a uid), so that nobody's
 * noise hides anybody else's line; then one that says how many were dropped. */
void log_limited(unsigned who, enum log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));
enum { log_burst = 20 };
