#include "fuse/reload.h"

#include <string.h>

#include "fuse/options.h"
#include "util/log.h"

static int arguments_count;
static char **arguments;
static bool asked; /* atomic */

void reload_begin(int argc, char **argv)
{
	arguments_count = argc;
	arguments = argv;
}

void reload_request(void)
{
	__atomic_store_n(&asked, true, __ATOMIC_RELAXED);
}

void reload_if_asked(struct fs *fs)
{
	struct options o;
	int r;

	if (!__atomic_exchange_n(&asked, false, __ATOMIC_RELAXED))
		return;
	r = log_reopen();
	if (r)
		log_error("the log's file cannot be opened again: %s", strerror(-r));
	if (options_parse_again(&o, arguments_count, arguments)) {
		log_error("SIGHUP: the options are as they were");
	} else {
		log_set_level((enum log_level)o.log_level);
		fs_set_limits(fs, &o.limits);
		log_info("SIGHUP: limits and log_level are those of the options as they are now");
	}
	options_release(&o);
}
