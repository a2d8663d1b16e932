#include "fuse/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bucket/verdict.h"

void options_help(void)
{
	printf("usage: bucketfs STORE MOUNTPOINT [-f] [-o OPTION[,OPTION...]]\n"
	       "       mount -t fuse.bucketfs STORE MOUNTPOINT [-o OPTION[,OPTION...]]\n"
	       "\n"
	       "Mounts the buckets in the folder STORE (an empty folder becomes a new store) at MOUNTPOINT.\n"
	       "mkdir MOUNTPOINT/nightly makes a bucket; a write to nightly/data.json merges; nightly/files/ takes files.\n"
	       "umount MOUNTPOINT or SIGTERM ends it.\n"
	       "\n"
	       "  -f                 stay in the foreground and log to stderr\n"
	       "  -d                 the same, with every FUSE message\n"
	       "  -h, --help         this text\n"
	       "  -V, --version      versions of bucketfs and libfuse\n"
	       "\n"
	       "Limits of each bucket (0: none; sizes take k, M, G, T):\n"
	       "  -o max_data_size=SIZE          data.json (1M): EFBIG\n"
	       "  -o max_file_size=SIZE          one file (1G): EFBIG\n"
	       "  -o max_files=NUMBER            files and folders (100000): EDQUOT\n"
	       "  -o max_total_size=SIZE         all files of a bucket (0): EDQUOT\n"
	       "  -o accepted_file_types=LIST    endings such as .csv:.pdf (any): EPERM\n"
	       "  -o reserve=PERCENT             of the disk, kept for data.json (5%%): ENOSPC\n"
	       "\n"
	       "Behaviour:\n"
	       "  -o collide=replace|refuse  two names with one stored form: the newer replaces the older, or EEXIST (replace)\n"
	       "  -o root=squash     uid 0 is like anyone, not an admin\n"
	       "  -o sync            every close is an fsync\n"
	       "  -o scrub=DAYS      read all contents over 32K once in so many days, slowly, and compare their checksums (0: no)\n"
	       "  -o accept_loss     start a store whose log is damaged, without what is lost\n"
	       "  -o device=NAME     what @device and @job call this host (the host name at the first mount)\n"
	       "  -o device_acl=LIST first read and edit list of @device, entries joined by + (user:alice+group:ci)\n"
	       "  -o job_env=NAMES   environment variables that name a job, joined by : (BUCKETFS_JOB)\n"
	       "  -o job_schema=DIR  a new @job bucket of JOB gets the schema DIR/JOB.json\n"
	       "  -o editors=NAMES   programs that read data.json and write all of it, joined by : (nano, emacs, sponge, ...)\n"
	       "  -o io_uring=auto|on|off   FUSE over io_uring (auto: where the kernel has it enabled)\n"
	       "  -o passthrough=auto|off   large files are read by the kernel itself (auto: where it can, as root)\n"
	       "  -o give_way=auto|off      who waits for the daemon runs before it (auto: where it serves many requests)\n"
	       "  -o log=stderr|syslog      where the log goes (stderr with -f, else syslog)\n"
	       "  -o log_level=error|warning|info|debug   (info)\n"
	       "  -o trace           log every call into the store\n"
	       "and the usual ones of mount(8), such as ro, nosuid, nodev, noexec, noatime.\n");
}

/* What fstab and mount(8) say for themselves and not for us. */
static bool is_for_mount(const char *option)
{
	static const char *const words[] = {"defaults", "auto",  "noauto", "nofail", "user",   "nouser",     "users",
					    "owner",    "group", "_netdev", "rw",    "relatime", "norelatime", "strictatime",
					    "nostrictatime", "lazytime", "nolazytime", "loud", "silent"};

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (strcmp(option, words[i]) == 0)
			return true;
	return strncmp(option, "x-", 2) == 0 || strncmp(option, "X-", 2) == 0 || strncmp(option, "comment=", 8) == 0 ||
	       strncmp(option, "user=", 5) == 0;
}

static int wrong_value(const char *option)
{
	fprintf(stderr, "bucketfs: option %s: no such value; see bucketfs --help\n", option);
	return -1;
}

static int one_of(const char *value, const char *const *words)
{
	for (int i = 0; words[i]; i++)
		if (strcmp(value, words[i]) == 0)
			return i;
	return -1;
}

/* 1: not ours; 0: done; -1: wrong. */
static int own_option(struct options *o, const char *option)
{
	static const char *const urings[] = {"auto", "on", "off", NULL}, *const targets[] = {"stderr", "syslog", NULL};
	static const char *const autos[] = {"auto", "off", NULL};
	static const char *const levels[] = {"error", "warning", "info", "debug", NULL};
	static const char *const roots[] = {"squash", NULL}, *const collides[] = {"replace", "refuse", NULL};
	const struct {
		const char *name;
		const char *const *values;
	} choices[] = {{"io_uring", urings}, {"log", targets}, {"log_level", levels}, {"root", roots}, {"collide", collides},
		       {"passthrough", autos}, {"give_way", autos}};
	const char *equals = strchr(option, '=');
	struct reason why;
	int r, choice;

	if (strcmp(option, "sync") == 0)
		return o->sync = true, 0;
	if (strcmp(option, "accept_loss") == 0)
		return o->accept_loss = true, 0;
	if (strcmp(option, "trace") == 0)
		return o->trace = true, 0;
	if (!equals)
		return 1;
	const struct {
		const char *name;
		char **at;
	} texts[] = {{"device", &o->device}, {"device_acl", &o->device_acl}, {"editors", &o->editors},
		   {"job_env", &o->job_env}, {"job_schema", &o->job_schema}};
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		if (strlen(texts[i].name) != (size_t)(equals - option) || strncmp(option, texts[i].name, (size_t)(equals - option)))
			continue;
		free(*texts[i].at);
		*texts[i].at = strdup(equals + 1);
		return *texts[i].at ? 0 : -1;
	}
	struct slice name = slice_of(option, (size_t)(equals - option));
	if (slice_equal(name, slice_str("scrub"))) {
		char *end;
		unsigned long days = strtoul(equals + 1, &end, 10);

		if (*end || end == equals + 1 || equals[1] == '-' || days > 3650)
			return wrong_value(option);
		return o->scrub = (unsigned)days, 0;
	}
	r = limits_set(&o->limits, name, equals + 1, &why);
	if (r == BUCKET_INVALID)
		fprintf(stderr, "bucketfs: option %s\n", why.text);
	if (r != BUCKET_ABSENT)
		return r ? -1 : 0;
	for (size_t i = 0; i < sizeof(choices) / sizeof(*choices); i++) {
		if (!slice_equal(name, slice_str(choices[i].name)))
			continue;
		choice = one_of(equals + 1, choices[i].values);
		if (choice < 0)
			return wrong_value(option);
		switch (i) {
		case 0:
			o->io_uring = (unsigned)choice;
			break;
		case 1:
			o->log_target = (enum log_target)choice;
			o->log_given = true;
			break;
		case 2:
			o->log_level = (enum log_level)choice;
			break;
		case 3:
			o->squash_root = true;
			break;
		case 4:
			o->collide_refuse = choice == 1;
			break;
		case 5:
			o->passthrough = (unsigned)choice;
			break;
		default:
			o->give_way = (unsigned)choice;
		}
		return 0;
	}
	return 1;
}

/* -o a,b\,c,d: a backslash takes the next character as it is. */
static int option_list(struct options *o, const char *list)
{
	char *option = malloc(strlen(list) + 1);
	int r = 0;

	if (!option)
		return -1;
	while (r >= 0 && *list) {
		size_t len = 0;

		for (; *list && *list != ','; list++) {
			if (*list == '\\' && list[1])
				list++;
			option[len++] = *list;
		}
		list += *list == ',';
		option[len] = 0;
		if (len == 0 || is_for_mount(option))
			continue;
		r = own_option(o, option);
		if (r == 1)
			r = fuse_opt_add_arg(&o->args, "-o") || fuse_opt_add_arg(&o->args, option) ? -1 : 0;
	}
	free(option);
	return r;
}

static int usage_error(const char *what, const char *which)
{
	fprintf(stderr, "bucketfs: %s%s%s; usage: bucketfs STORE MOUNTPOINT [-f] [-o OPTIONS]\n", what, which ? " " : "",
		which ? which : "");
	return 1;
}

int options_parse(struct options *o, int argc, char **argv)
{
	*o = (struct options){.limits = limits_default, .log_level = LOG_LEVEL_INFO};
	if (fuse_opt_add_arg(&o->args, "bucketfs"))
		return 1;
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i];

		if (strcmp(a, "-h") == 0 || strcmp(a, "--help") == 0) {
			o->help = true;
		} else if (strcmp(a, "-V") == 0 || strcmp(a, "--version") == 0) {
			o->version = true;
		} else if (strcmp(a, "-f") == 0 || strcmp(a, "-d") == 0) {
			o->foreground = true;
			o->debug |= a[1] == 'd';
		} else if (strncmp(a, "-o", 2) == 0) {
			if (!a[2] && i + 1 == argc)
				return usage_error("-o without an option", NULL);
			if (option_list(o, a[2] ? a + 2 : argv[++i]) < 0)
				return 1;
		} else if (a[0] == '-' && a[1]) {
			return usage_error("unknown option", a);
		} else if (!o->store) {
			o->store = strdup(a);
		} else if (!o->mountpoint) {
			o->mountpoint = strdup(a);
		} else {
			return usage_error("one argument too many:", a);
		}
	}
	if (!o->help && !o->version && !o->mountpoint)
		return usage_error(o->store ? "no mount point given" : "no store and no mount point given", NULL);
	if (!o->log_given)
		o->log_target = o->foreground ? LOG_TARGET_STDERR : LOG_TARGET_SYSLOG;
	return 0;
}

void options_release(struct options *o)
{
	free(o->store);
	free(o->mountpoint);
	free(o->device);
	free(o->device_acl);
	free(o->editors);
	free(o->job_env);
	free(o->job_schema);
	fuse_opt_free_args(&o->args);
}
