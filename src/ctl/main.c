#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/say.h"
#include "ctl/terminal.h"
#include "version.h"

static const struct command *const commands[] = {
	&command_get,    &command_set,    &command_unset,  &command_edit,   &command_fetch, &command_store,
	&command_wait,   &command_info,   &command_list,   &command_create, &command_update, &command_delete,
	&command_empty,  &command_history, &command_undo,  &command_acl,    &command_limits, &command_schema,
	&command_cp,     &command_rm,     &command_why,    &command_check,
};

static const char help_begin[] =
	"usage: bucketctl COMMAND [ARGUMENTS]\n"
	"\n"
	"Works on the buckets of a bucketfs mount. A BUCKET is its folder, or anything inside it.\n"
	"\n";
static const char help_end[] =
	"\n"
	"bucketctl COMMAND --help tells more. Exit status: 0 done, 1 refused, 2 wrong usage, 3 no such bucket,\n"
	"124 wait took too long; those of check are fsck's.\n"
	"\n"
	"Control characters in names, titles, values and reasons are shown as \\u001b, line breaks as \\n, bytes that\n"
	"are no UTF-8 as \\x9b. JSON, the output of get -r, and the names that --dry-run lists are escaped so on a\n"
	"terminal only: a pipe or a file gets them byte for byte.\n";

static void help(FILE *to)
{
	terminal_text(to, slice_str(help_begin));
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		terminal_line(to, "  %-8s %s", commands[i]->name, commands[i]->about);
	terminal_text(to, slice_str(help_end));
}

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

/* Before the options are read, for what is wrong with them is told so as well. */
static bool wants_json(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
		if (strcmp(argv[i], "--json") == 0)
			return true;
	return false;
}

static int run(const struct command *command, int argc, char **argv)
{
	struct request request;
	bool done = false;
	int status;

	say_begin(command->name, wants_json(argc, argv));
	status = ctl_parse(command, argc, argv, &request, &done);
	if (!status && !done)
		status = command->run(&request);
	else if (status == CTL_USAGE && command->usage_status)
		status = command->usage_status;
	if (fflush(stdout) || ferror(stdout))
		status = status ? status : say_error("cannot write the output");
	return status;
}

int main(int argc, char **argv)
{
	const struct command *command;
	const char *name = argc > 1 ? argv[1] : "";

	srandom((unsigned)getpid());
	setlocale(LC_CTYPE, "");
	if (MB_CUR_MAX == 1)
		setlocale(LC_CTYPE, "C.UTF-8");
	terminal_begin();
	/* A reader that has seen enough is an ordinary failed write. */
	signal(SIGPIPE, SIG_IGN);
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || (strcmp(name, "help") == 0 && argc == 2)) {
		help(stdout);
		return CTL_OK;
	}
	if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
		terminal_line(stdout, "bucketctl %s", BUCKETFS_VERSION);
		return CTL_OK;
	}
	if (strcmp(name, "help") == 0 && (command = find(argv[2]))) {
		ctl_help(command);
		return CTL_OK;
	}
	command = find(name);
	if (!command) {
		if (*name)
			terminal_line(stderr, "bucketctl: there is no command %s", name);
		help(stderr);
		return CTL_USAGE;
	}
	return run(command, argc - 1, argv + 1);
}
