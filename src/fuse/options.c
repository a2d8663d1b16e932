#include "fuse/options.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bucket/verdict.h"

void options_help(void)
{
	printf("usage: bucketfs STORE MOUNTPOINT [-f] [-o OPTION[,OPTION...]]\n"
	       "       bucketfs -o config=NAME [-f]\n"
	       "       mount -t fuse.bucketfs STORE MOUNTPOINT [-o OPTION[,OPTION...]]\n"
	       "\n"
	       "Mounts the buckets in the folder STORE (an empty folder becomes a new store) at MOUNTPOINT.\n"
	       "mkdir MOUNTPOINT/nightly makes a bucket; a write to nightly/data.json merges; nightly/files/ takes files.\n"
	       "umount MOUNTPOINT or SIGTERM ends it; SIGHUP reads limits, log_level and log once more.\n"
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
	       "  -o config=NAME     options from /etc/bucketfs/NAME.conf (or a path), one a line; also store=DIR and mountpoint=DIR\n"
	       "  -o collide=replace|refuse  two names with one stored form: the newer replaces the older, or EEXIST (replace)\n"
	       "  -o symlinks=off    no symbolic links in files/: none is made, none is followed\n"
	       "  -o root=squash     uid 0 is like anyone, not an admin\n"
	       "  -o sync            every close is an fsync\n"
	       "  -o scrub=DAYS      read all contents over 32K once in so many days, slowly, and compare their checksums (0: no)\n"
	       "  -o accept_loss     start a store whose log is damaged, without what is lost\n"
	       "  -o device=NAME     what @device and @job call this host (the host name at the first mount)\n"
	       "  -o device_acl=LIST who may first read and edit @device, joined by + (owner; user:alice+group:ci; *: everybody)\n"
	       "  -o job_env=NAMES   environment variables that name a job, joined by : (BUCKETFS_JOB)\n"
	       "  -o job_schema=DIR  a new @job bucket of JOB gets the schema DIR/JOB.json\n"
	       "  -o editors=NAMES   programs that read data.json and write all of it, joined by : (nano, emacs, sponge, ...)\n"
	       "  -o io_uring=auto|on|off   FUSE over io_uring (auto: where the kernel has it enabled)\n"
	       "  -o passthrough=auto|off   large files are read by the kernel itself (auto: where it can, as root)\n"
	       "  -o give_way=auto|off      who waits for the daemon runs before it (auto: where it serves many requests)\n"
	       "  -o log=stderr|syslog|FILE where the log goes (stderr with -f, else syslog)\n"
	       "  -o log_level=error|warning|info|debug   (info)\n"
	       "  -o trace           log every call into the store\n"
	       "and the usual ones of mount(8), such as ro, nosuid, nodev, noexec, noatime.\n");
}

/* On stderr at the start, where somebody waits; in the log when the options are read once more. */
static bool rereads;

static void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void complain(const char *format, ...)
{
	char text[1000];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (rereads)
		log_error("%s", text);
	else
		fprintf(stderr, "bucketfs: %s\n", text);
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
	complain("option %s: no such value; see bucketfs --help", option);
	return -1;
}

static int one_of(const char *value, const char *const *words)
{
	for (int i = 0; words[i]; i++)
		if (strcmp(value, words[i]) == 0)
			return i;
	return -1;
}

enum option_kind {
	OPTION_FLAG,   /* NAME sets a bool */
	OPTION_TEXT,   /* NAME=TEXT */
	OPTION_NUMBER, /* NAME=NUMBER, of at most `most` */
	OPTION_CHOICE, /* NAME=WORD, one of `words`: its place among them */
};

struct own_option {
	const char *name;
	enum option_kind kind;
	size_t at; /* in struct options */
	const char *const *words;
	unsigned long most;
};

static const char *const yes_words[] = {"off", "on", NULL}, *const auto_words[] = {"auto", "on", "off", NULL};
static const char *const auto_or_off[] = {"auto", "off", NULL}, *const roots[] = {"admin", "squash", NULL};
static const char *const logs[] = {"stderr", "syslog", NULL};
static const char *const levels[] = {"error", "warning", "info", "debug", NULL}, *const collides[] = {"replace", "refuse", NULL};

static const struct own_option own_options[] = {
	{"sync", OPTION_FLAG, offsetof(struct options, sync), NULL, 0},
	{"accept_loss", OPTION_FLAG, offsetof(struct options, accept_loss), NULL, 0},
	{"trace", OPTION_FLAG, offsetof(struct options, trace), NULL, 0},
	{"device", OPTION_TEXT, offsetof(struct options, device), NULL, 0},
	{"device_acl", OPTION_TEXT, offsetof(struct options, device_acl), NULL, 0},
	{"editors", OPTION_TEXT, offsetof(struct options, editors), NULL, 0},
	{"job_env", OPTION_TEXT, offsetof(struct options, job_env), NULL, 0},
	{"job_schema", OPTION_TEXT, offsetof(struct options, job_schema), NULL, 0},
	{"log", OPTION_TEXT, offsetof(struct options, log), NULL, 0},
	{"scrub", OPTION_NUMBER, offsetof(struct options, scrub), NULL, 3650},
	{"io_uring", OPTION_CHOICE, offsetof(struct options, io_uring), auto_words, 0},
	{"passthrough", OPTION_CHOICE, offsetof(struct options, passthrough), auto_or_off, 0},
	{"give_way", OPTION_CHOICE, offsetof(struct options, give_way), auto_or_off, 0},
	{"log_level", OPTION_CHOICE, offsetof(struct options, log_level), levels, 0},
	{"root", OPTION_CHOICE, offsetof(struct options, squash_root), roots, 0},
	{"collide", OPTION_CHOICE, offsetof(struct options, collide_refuse), collides, 0},
	{"symlinks", OPTION_CHOICE, offsetof(struct options, symlinks), yes_words, 0},
};

static int set_text(char **at, const char *value)
{
	free(*at);
	*at = strdup(value);
	return *at ? 0 : -1;
}

static int set_number(const char *option, const char *value, unsigned long most, unsigned *at)
{
	char *end;
	unsigned long number = strtoul(value, &end, 10);

	if (*end || end == value || *value == '-' || number > most)
		return wrong_value(option);
	*at = (unsigned)number;
	return 0;
}

static int set_choice(const char *option, const char *value, const char *const *words, unsigned *at)
{
	int choice = one_of(value, words);

	if (choice < 0)
		return wrong_value(option);
	*at = (unsigned)choice;
	return 0;
}

/* 1: not ours; 0: done; -1: wrong. */
static int own_option(struct options *o, const char *option)
{
	const char *equals = strchr(option, '='), *value = equals ? equals + 1 : NULL;
	struct slice name = slice_of(option, equals ? (size_t)(equals - option) : strlen(option));
	struct reason why;
	int r;

	for (size_t i = 0; i < sizeof(own_options) / sizeof(*own_options); i++) {
		const struct own_option *own = &own_options[i];
		char *at = (char *)o + own->at;

		if (!slice_equal(name, slice_str(own->name)) || (own->kind == OPTION_FLAG) != !value)
			continue;
		switch (own->kind) {
		case OPTION_FLAG:
			*(bool *)(void *)at = true;
			return 0;
		case OPTION_TEXT:
			if (own->at == offsetof(struct options, log) && *value != '/' && one_of(value, logs) < 0)
				return wrong_value(option);
			return set_text((char **)(void *)at, value);
		case OPTION_NUMBER:
			return set_number(option, value, own->most, (unsigned *)(void *)at);
		case OPTION_CHOICE:
			return set_choice(option, value, own->words, (unsigned *)(void *)at);
		}
	}
	if (!value)
		return 1;
	r = limits_set(&o->limits, name, value, &why);
	if (r == BUCKET_INVALID)
		complain("option %s", why.text);
	return r == BUCKET_ABSENT ? 1 : r ? -1 : 0;
}

enum { configs_max = 8 };
static int read_config(struct options *o, const char *name);

/* One option of whichever kind. */
static int any_option(struct options *o, const char *option)
{
	int r;

	if (!*option || is_for_mount(option))
		return 0;
	if (strncmp(option, "config=", 7) == 0)
		return read_config(o, option + 7);
	r = own_option(o, option);
	if (r == 1)
		r = fuse_opt_add_arg(&o->args, "-o") || fuse_opt_add_arg(&o->args, option) ? -1 : 0;
	return r;
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
		r = any_option(o, option);
	}
	free(option);
	return r;
}

/* A line of a file: an option, a place, a comment or nothing. */
static int config_line(struct options *o, char *line)
{
	size_t len;

	line += strspn(line, " \t");
	len = strcspn(line, "\r\n");
	while (len && strchr(" \t", line[len - 1]))
		len--;
	line[len] = 0;
	if (!*line || *line == '#')
		return 0;
	if (strncmp(line, "store=", 6) == 0)
		return o->store ? 0 : set_text(&o->store, line + 6);
	if (strncmp(line, "mountpoint=", 11) == 0)
		return o->mountpoint ? 0 : set_text(&o->mountpoint, line + 11);
	return any_option(o, line);
}

/* NAME is /etc/bucketfs/NAME.conf, anything with a slash a path. */
static int read_config(struct options *o, const char *name)
{
	char path[4096], *line = NULL;
	unsigned number = 0;
	size_t size = 0;
	FILE *file;
	int r = 0;

	snprintf(path, sizeof(path), strchr(name, '/') ? "%s" : "/etc/bucketfs/%s.conf", name);
	if (o->configs++ >= configs_max) {
		complain("option config=%s: files lead to one another", name);
		return -1;
	}
	file = fopen(path, "re");
	if (!file) {
		complain("option config=%s: %s: %s", name, path, strerror(errno));
		return -1;
	}
	while (r >= 0 && getline(&line, &size, file) >= 0) {
		number++;
		r = config_line(o, line);
		if (r < 0)
			complain("%s: line %u is wrong", path, number);
	}
	free(line);
	fclose(file);
	return r;
}

static int usage_error(const char *what, const char *which)
{
	complain("%s%s%s; usage: bucketfs STORE MOUNTPOINT [-f] [-o OPTIONS]", what, which ? " " : "", which ? which : "");
	return 1;
}

int options_parse(struct options *o, int argc, char **argv)
{
	int store = 0, mountpoint = 0;

	*o = (struct options){.limits = limits_default, .log_level = LOG_LEVEL_INFO, .symlinks = 1};
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
			if (o->debug)
				o->log_level = LOG_LEVEL_DEBUG;
		} else if (strcmp(a, "-n") == 0 || strcmp(a, "-s") == 0 || strcmp(a, "-v") == 0) {
			/* mount(8) hands them on; they say nothing to us. */
			continue;
		} else if (strcmp(a, "-t") == 0 && i + 1 < argc) {
			i++;
		} else if (strncmp(a, "-o", 2) == 0) {
			if (!a[2] && i + 1 == argc)
				return usage_error("-o without an option", NULL);
			if (option_list(o, a[2] ? a + 2 : argv[++i]) < 0)
				return 1;
		} else if (a[0] == '-' && a[1]) {
			return usage_error("unknown option", a);
		} else if (!store++) {
			set_text(&o->store, a);
		} else if (!mountpoint++) {
			set_text(&o->mountpoint, a);
		} else {
			return usage_error("one argument too many:", a);
		}
	}
	if (!o->help && !o->version && !o->mountpoint)
		return usage_error(o->store ? "no mount point given" : "no store and no mount point given", NULL);
	return 0;
}

enum log_target options_log_target(const struct options *o)
{
	if (!o->log)
		return o->foreground ? LOG_TARGET_STDERR : LOG_TARGET_SYSLOG;
	return strcmp(o->log, "stderr") == 0 ? LOG_TARGET_STDERR : strcmp(o->log, "syslog") == 0 ? LOG_TARGET_SYSLOG : LOG_TARGET_FILE;
}

int options_parse_again(struct options *o, int argc, char **argv)
{
	int r;

	rereads = true;
	r = options_parse(o, argc, argv);
	rereads = false;
	return r;
}

int options_check_log(const struct options *o, struct reason *why)
{
	int fd;

	if (options_log_target(o) != LOG_TARGET_FILE)
		return 0;
	fd = open(o->log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
	if (fd < 0)
		reason_set(why, "option log=%s: %s", o->log, strerror(errno));
	else
		close(fd);
	return fd < 0 ? -1 : 0;
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
	free(o->log);
	fuse_opt_free_args(&o->args);
}
