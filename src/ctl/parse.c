#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "ctl/ctl.h"
#include "ctl/say.h"

static void help_option(const struct ctl_option *o)
{
	char left[64], letter[4] = "   ";

	if (o->letter)
		snprintf(letter, sizeof(letter), "-%c,", o->letter);
	snprintf(left, sizeof(left), "%s --%s%s%s", letter, o->name, o->value ? " " : "", o->value ? o->value : "");
	printf("  %-30s %s\n", left, o->help);
}

void ctl_help(const struct command *command)
{
	static const struct ctl_option help = {"help", 'h', NULL, "this text"};
	const char *form = command->usage, *prefix = "usage:";

	for (; form; prefix = "      ") {
		size_t len = strcspn(form, "\n");

		printf("%s bucketctl %s %.*s\n", prefix, command->name, (int)len, form);
		form = form[len] ? form + len + 1 : NULL;
	}
	printf("\n%s\n", command->about);
	if (command->more)
		printf("\n%s\n", command->more);
	printf("\n");
	for (const struct ctl_option *o = command->options; o && o->name; o++)
		help_option(o);
	help_option(&help);
}

int ctl_parse(const struct command *command, int argc, char **argv, struct request *out, bool *done)
{
	struct option longs[ctl_options_max + 2] = {0};
	char shorts[3 * ctl_options_max + 4] = "h";
	int count = 0, c, which;

	*out = (struct request){.command = command};
	for (const struct ctl_option *o = command->options; o && o->name; o++, count++) {
		longs[count] = (struct option){o->name, o->value ? required_argument : no_argument, NULL, 256 + count};
		if (o->letter) {
			char text[3] = {o->letter, o->value ? ':' : 0, 0};

			strcat(shorts, text);
		}
	}
	longs[count] = (struct option){"help", no_argument, NULL, 'h'};
	optind = 0;
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		if (c == '?')
			return say_see_help();
		if (c == 'h') {
			ctl_help(command);
			*done = true;
			return CTL_OK;
		}
		for (which = 0; which < count; which++)
			if (c == 256 + which || c == command->options[which].letter)
				out->option[which] = command->options[which].value ? optarg : "";
	}
	out->count = argc - optind;
	out->args = argv + optind;
	if (out->count < command->min)
		return say_usage("something is missing");
	if (command->max >= 0 && out->count > command->max)
		return say_usage("too many arguments: %s", out->args[command->max]);
	return CTL_OK;
}
