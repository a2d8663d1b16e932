#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "ctl/ctl.h"
#include "ctl/say.h"
#include "ctl/terminal.h"

static void help_option(const struct ctl_option *o)
{
	char left[64], letter[4] = "   ";

	if (o->letter)
		snprintf(letter, sizeof(letter), "-%c,", o->letter);
	snprintf(left, sizeof(left), "%s --%s%s%s", letter, o->name, o->value ? " " : "", o->value ? o->value : "");
	terminal_line(stdout, "  %-30s %s", left, o->help);
}

static void help_paragraph(const char *text)
{
	terminal_text(stdout, slice_str("\n"));
	terminal_text(stdout, slice_str(text));
	terminal_text(stdout, slice_str("\n"));
}

void ctl_help(const struct command *command)
{
	static const struct ctl_option help = {"help", 'h', NULL, "this text"};
	const char *form = command->usage, *prefix = "usage:";

	for (; form; prefix = "      ") {
		size_t len = strcspn(form, "\n");

		terminal_line(stdout, "%s bucketctl %s %.*s", prefix, command->name, (int)len, form);
		form = form[len] ? form + len + 1 : NULL;
	}
	help_paragraph(command->about);
	if (command->more)
		help_paragraph(command->more);
	terminal_text(stdout, slice_str("\n"));
	for (const struct ctl_option *o = command->options; o && o->name; o++)
		help_option(o);
	help_option(&help);
}

/* Says what is wrong with an option, because getopt prints the word as it is. `known`: the option that is meant;
 * NULL: the command has no such option. */
static int refuse_option(int verdict, const struct option *known, const char *word)
{
	if (known)
		return say_usage(verdict == ':' ? "--%s needs a value" : "--%s takes no value", known->name);
	if (optopt)
		return say_usage("there is no option -%c", optopt);
	return say_usage("%s is no option, or it is short for several", word);
}

/* The option that getopt complains about, by its value or its letter. */
static const struct option *known_option(const struct command *command, const struct option *longs, int count)
{
	for (int i = 0; i < count; i++)
		if (optopt == longs[i].val || (command->options[i].letter && optopt == command->options[i].letter))
			return &longs[i];
	return optopt == 'h' ? &longs[count] : NULL;
}

int ctl_parse(const struct command *command, int argc, char **argv, struct request *out, bool *done)
{
	struct option longs[ctl_options_max + 2] = {0};
	char shorts[3 * ctl_options_max + 4] = ":h"; /* the colon: getopt prints nothing */
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
		if (c == '?' || c == ':')
			return refuse_option(c, known_option(command, longs, count), argv[optind - 1]);
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
