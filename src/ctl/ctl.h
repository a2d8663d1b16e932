/* bucketctl: what the program and its sub-commands agree on.
 *
 * A function that takes part in a command returns an exit status. Whoever first knows why something does not work says so
 * on stderr (say.h) and returns the status; everybody above passes it on. */
#pragma once

#include <stdbool.h>

enum ctl_status {
	CTL_OK,
	CTL_FAILED,  /* refused or broken; the reason has been said */
	CTL_USAGE,   /* the command line makes no sense */
	CTL_UNKNOWN, /* there is no such bucket */
	CTL_TIMEOUT = 124,
};

struct ctl_option {
	const char *name;  /* without the dashes; NULL ends the list */
	char letter;       /* 0: none */
	const char *value; /* what its value is called; NULL: it has none */
	const char *help;
};

enum { ctl_options_max = 10 };

struct request {
	const struct command *command;
	const char *option[ctl_options_max]; /* by place in the command's list; NULL: not given; "" for one without value */
	int count;
	char **args;
};

struct command {
	const char *name;
	const char *usage; /* what comes after the name; several forms a line each */
	const char *about; /* one line */
	const char *more;  /* paragraphs for --help; may be NULL */
	const struct ctl_option *options;
	int min, max; /* arguments that are no options; max -1: any number */
	int usage_status; /* for a command line that makes no sense; 0: CTL_USAGE */
	int (*run)(const struct request *r);
};

extern const struct command command_acl, command_check, command_cp, command_create, command_delete, command_edit, command_empty,
	command_fetch, command_get, command_history, command_info, command_limits, command_list, command_schema,
	command_rm, command_set, command_store, command_undo, command_unset, command_update, command_wait, command_why;

/* Reads the options of `command` from its arguments; argv[0] is its name. CTL_OK with `done` set: help was shown. */
int ctl_parse(const struct command *command, int argc, char **argv, struct request *out, bool *done);
void ctl_help(const struct command *command);
