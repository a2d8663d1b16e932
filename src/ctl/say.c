#include "ctl/say.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/refusal.h"
#include "ctl/terminal.h"

static const char *command = "";
static time_t began;

void say_begin(const char *name)
{
	command = name;
	began = time(NULL);
}

static void say(const char *format, va_list args)
{
	fflush(stdout);
	terminal_part(stderr, "bucketctl %s: ", command);
	terminal_part_va(stderr, format, args);
}

void say_note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	terminal_line_end(stderr);
}

int say_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	terminal_line_end(stderr);
	return CTL_FAILED;
}

int say_no_memory(void)
{
	return say_error("out of memory");
}

int say_see_help(void)
{
	terminal_line(stderr, "bucketctl %s --help tells how it is used", command);
	return CTL_USAGE;
}

int say_usage(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	terminal_line_end(stderr);
	return say_see_help();
}

static const char *explain(int error)
{
	switch (error) {
	case EACCES:
		return "the privilege is missing; bucketctl acl show tells what you may";
	case ESTALE:
		return "somebody else changed or deleted it meanwhile";
	case EROFS:
		return "the bucket is disabled, or the mount is read-only";
	case EFBIG:
		return "too large: over max_data_size or max_file_size; bucketctl limits show tells them";
	case EDQUOT:
		return "the bucket would be over max_files or max_total_size; bucketctl limits show tells them";
	case ENOTCONN:
		return "the mount is dead: its bucketfs has ended";
	default:
		return strerror(error);
	}
}

int say_errno(const struct place *at, int error, const char *format, ...)
{
	struct reason why;
	bool told = at && refusal_of_this_process(at, error, began, &why);
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	terminal_line(stderr, ": %s", told ? why.text : explain(error));
	return CTL_FAILED;
}
