/* Starts bucketctl-check, which is where this program is. */
#include "ctl/check.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/say.h"

int check_run(const struct request *r)
{
	static const char end[] = "-check";
	char path[PATH_MAX + sizeof(end)], options[ctl_options_max][40];
	char *argv[ctl_options_max + 4] = {(char *)"bucketctl", (char *)r->command->name};
	ssize_t len = readlink("/proc/self/exe", path, PATH_MAX - 1);
	int argc = 2;

	if (len < 0) {
		say_error("/proc/self/exe: %s", strerror(errno));
		return CHECK_UNCHECKED;
	}
	memcpy(path + len, end, sizeof(end));
	for (int i = 0; r->command->options[i].name; i++) {
		if (!r->option[i])
			continue;
		snprintf(options[i], sizeof(options[i]), "--%s", r->command->options[i].name);
		argv[argc++] = options[i];
	}
	argv[argc++] = (char *)"--";
	argv[argc] = r->args[0];
	execv(path, argv);
	say_error("%s, which belongs beside bucketctl, cannot be started: %s", path, strerror(errno));
	return CHECK_UNCHECKED;
}
