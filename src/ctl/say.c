#include "ctl/say.h"

#include <errno.h>
#include <cjson/cJSON.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/refusal.h"
#include "ctl/terminal.h"

static const char *command = "";
static time_t began;
static bool json;

void say_begin(const char *name, bool as_json)
{
	command = name;
	began = time(NULL);
	json = as_json;
}

/* One line, or one object. `errno_name`: NULL if it is no system call that failed. */
static void say(const char *kind, const char *errno_name, const char *text)
{
	cJSON *line;
	char *printed;

	fflush(stdout);
	if (!json) {
		terminal_line(stderr, "bucketctl %s: %s", command, text);
		return;
	}
	line = cJSON_CreateObject();
	cJSON_AddStringToObject(line, "command", command);
	cJSON_AddStringToObject(line, kind, text);
	if (errno_name)
		cJSON_AddStringToObject(line, "errno", errno_name);
	printed = cJSON_PrintUnformatted(line);
	terminal_line(stderr, "%s", printed ? printed : "{\"error\":\"out of memory\"}");
	free(printed);
	cJSON_Delete(line);
}

static void say_va(const char *kind, const char *format, va_list args)
{
	char text[8192];

	vsnprintf(text, sizeof(text), format, args);
	say(kind, NULL, text);
}

void say_note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say_va("note", format, args);
	va_end(args);
}

int say_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say_va("error", format, args);
	va_end(args);
	return CTL_FAILED;
}

int say_no_memory(void)
{
	return say_error("out of memory");
}

int say_see_help(void)
{
	if (!json)
		terminal_line(stderr, "bucketctl %s --help tells how it is used", command);
	return CTL_USAGE;
}

int say_usage(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say_va("error", format, args);
	va_end(args);
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
	char text[8192];
	struct reason why;
	bool told = at && refusal_of_this_process(at, error, began, &why);
	size_t len;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	len = strlen(text);
	snprintf(text + len, sizeof(text) - len, ": %s", told ? why.text : explain(error));
	say("error", strerrorname_np(error), text);
	return CTL_FAILED;
}
