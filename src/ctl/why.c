#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/ctl.h"
#include "ctl/refusal.h"
#include "ctl/control.h"
#include "ctl/say.h"
#include "ctl/terminal.h"

enum { opt_number, opt_json };

static const struct ctl_option options[] = {
	{"number", 'n', "COUNT", "how many (10)"},
	{"json", 0, NULL, "an array of objects, oldest first"},
	{0},
};

static void show_when(const char *text)
{
	time_t t = refusal_time(text);
	char when[64];
	struct tm tm;

	if (t != -1 && localtime_r(&t, &tm) && strftime(when, sizeof(when), "%a %d %b %H:%M:%S", &tm))
		terminal_part(stdout, "%s", when);
	else
		terminal_part(stdout, "%s", text);
}

static void show(const struct refusal *r)
{
	const struct passwd *user = r->uid >= 0 ? getpwuid((uid_t)r->uid) : NULL;

	show_when(r->time);
	if (user)
		terminal_part(stdout, "  %s", user->pw_name);
	else
		terminal_part(stdout, "  uid %ld", r->uid);
	terminal_line(stdout, ", %s[%ld]  %s  %s", *r->command ? r->command : "?", r->pid, *r->path ? r->path : "/",
		      r->error);
	terminal_line(stdout, "    %s", *r->reason ? r->reason : "(no reason is known)");
}

static int show_json(const struct refusals *all, size_t first)
{
	cJSON *array = cJSON_CreateArray();
	bool good = array != NULL;

	for (size_t i = first; i < all->count && good; i++)
		good = cJSON_AddItemReferenceToArray(array, all->list[i].tree);
	good = good && tree_print(array);
	cJSON_Delete(array);
	return good ? CTL_OK : say_no_memory();
}

static int run(const struct request *r)
{
	unsigned long count = r->option[opt_number] ? strtoul(r->option[opt_number], NULL, 10) : 10;
	struct refusals all;
	struct place p;
	size_t first;
	int status = place_find_any(&p, r->count ? r->args[0] : "."), e;

	if (status)
		return status;
	e = refusals_load(&p, &all);
	if (e) {
		status = e == -ENOENT ? say_error("the mount at %s keeps no " CONTROL "/errors: its bucketfs is older than this bucketctl",
						  p.mount)
				      : say_errno(NULL, -e, "%s/" CONTROL "/errors", p.mount);
		goto out;
	}
	first = all.count > count ? all.count - count : 0;
	if (r->option[opt_json])
		status = show_json(&all, first);
	else if (all.count == 0)
		terminal_line(stdout, "nothing was refused here lately");
	for (size_t i = first; i < all.count && !r->option[opt_json]; i++)
		show(&all.list[i]);
	refusals_release(&all);
out:
	place_close(&p);
	return status;
}

const struct command command_why = {
	.name = "why",
	.usage = "[-n COUNT] [--json] [PATH]",
	.about = "tell what was refused there lately, and why",
	.more = "You see what was refused to you; admins see all.",
	.options = options,
	.max = 1,
	.run = run,
};
