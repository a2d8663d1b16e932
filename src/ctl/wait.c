/* Waiting for a key or a file. inotify on the mount wakes us; then it is looked again.
 *
 * An event may come a moment before what it tells of can be seen: a file is listed at the RELEASE that follows the close,
 * a merge may follow the write. So after an event it is looked a few times more, at growing distances, and then no more
 * until the next event. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bucket/json_tree.h"
#include "ctl/control.h"
#include "ctl/ctl.h"
#include "ctl/data.h"
#include "ctl/say.h"
#include "ctl/terminal.h"
#include "ctl/value.h"
#include "ctl/walk.h"
#include "util/clock.h"

enum { opt_key, opt_file, opt_timeout, opt_json };

static const struct ctl_option options[] = {
	{"key", 'k', "KEY[=VALUE]", "until there is this key, with this value"},
	{"file", 'f', "PATTERN", "until a file that matches is listed"},
	{"timeout", 't', "SECONDS", "give up after that, with exit status 124"},
	{"json", 0, NULL, "print what was waited for"},
	{0},
};

enum {
	changes = IN_CREATE | IN_DELETE | IN_MOVE | IN_CLOSE_WRITE | IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF,
	look_again_first = 2, /* milliseconds after an event, doubled each time … */
	look_again_last = 1100,
};

struct wait {
	struct place place;
	struct slice key;      /* NULL: none */
	struct buf value;      /* JSON; empty: any */
	struct buf as_string;  /* the same as a string */
	struct glob *glob;     /* NULL: none */
	struct timespec began; /* the bucket's last change when waiting began */
	int64_t deadline;      /* -1: none */
	int inotify;
	struct walk found;
	struct buf found_value;
	int error; /* of adding a watch */
};

static int64_t now(void)
{
	return clock_monotonic() / 1000000;
}

/* True, so that a walk goes on. */
static bool watch(void *context, int fd)
{
	struct wait *w = context;
	struct place_path path = place_path_of(fd, "");

	if (inotify_add_watch(w->inotify, path.text, changes) < 0)
		w->error = errno;
	return true;
}

static void watch_below(struct wait *w, const char *name)
{
	int fd = openat(w->place.bucket, name, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	watch(w, fd);
	close(fd);
}

static bool equal_json(struct slice a, struct slice b)
{
	struct json_tree x = {0}, y = {0};
	bool equal = json_tree_parse(&x, a, NULL) == 0;

	if (equal && json_tree_parse(&y, b, NULL))
		equal = false;
	equal = equal && json_node_compare(x.root, y.root) == 0;
	if (x.root)
		json_tree_release(&x);
	if (y.root)
		json_tree_release(&y);
	return equal;
}

static int key_is_there(struct wait *w, bool *is)
{
	struct document doc = {0};
	struct member_view m;
	int status = data_read(&w->place, NULL, &doc);

	*is = false;
	if (!status && document_find(&doc, w->key, &m)) {
		*is = w->value.len == 0 || equal_json(m.value, buf_slice(&w->value)) ||
		      equal_json(m.value, buf_slice(&w->as_string));
		buf_clear(&w->found_value);
		if (buf_add_slice(&w->found_value, m.value))
			status = say_no_memory();
	}
	document_release(&doc);
	return status;
}

static int file_is_there(struct wait *w, bool *is)
{
	int fd = openat(w->place.bucket, "files", O_PATH | O_DIRECTORY | O_CLOEXEC), r;

	*is = false;
	if (fd < 0)
		return errno == ENOENT || errno == ESTALE ? CTL_OK : say_errno(&w->place, errno, "%s/files", w->place.id);
	walk_release(&w->found);
	/* Folders are watched before they are read, so nothing falls in between. */
	r = walk_files(&w->found, fd, w->glob);
	close(fd);
	if (r && r != -ENOENT && r != -ESTALE)
		return say_errno(&w->place, -r, "%s/files", w->place.id);
	*is = w->found.count > 0;
	return CTL_OK;
}

static int look(struct wait *w, bool *done)
{
	struct stat st;
	bool is = true;
	int status = CTL_OK;

	if (fstatat(w->place.root, w->place.id, &st, 0)) {
		if (errno != ENOENT)
			return say_errno(&w->place, errno, "%s", w->place.id);
		say_error("the bucket %s has been deleted", w->place.id);
		return CTL_UNKNOWN;
	}
	watch(w, w->place.bucket);
	watch_below(w, CONTROL);
	watch_below(w, "files");
	if (w->key.at)
		status = key_is_there(w, &is);
	if (!status && is && w->glob)
		status = file_is_there(w, &is);
	if (!w->key.at && !w->glob)
		is = st.st_mtim.tv_sec != w->began.tv_sec || st.st_mtim.tv_nsec != w->began.tv_nsec;
	if (w->error)
		return say_errno(NULL, w->error, "inotify");
	*done = is;
	return status;
}

/* 1: something happened; 0: the time is over. */
static int sleep_until(struct wait *w, int64_t when)
{
	char events[4096] __attribute__((aligned(8)));
	struct pollfd p = {.fd = w->inotify, .events = POLLIN};
	int64_t left = when - now();
	int n = poll(&p, 1, when < 0 ? -1 : left < 0 ? 0 : left > 3600000 ? 3600000 : (int)left);

	if (n <= 0)
		return 0;
	while (read(w->inotify, events, sizeof(events)) > 0)
		;
	return 1;
}

static int wait_for(struct wait *w)
{
	int64_t pause = look_again_last + 1;
	bool done = false;

	for (;;) {
		int64_t until = w->deadline, again;
		int status = look(w, &done);

		if (status || done)
			return status;
		if (w->deadline >= 0 && now() >= w->deadline)
			return CTL_TIMEOUT;
		again = now() + pause;
		if (pause <= look_again_last && (until < 0 || again < until))
			until = again;
		pause = sleep_until(w, until) ? look_again_first : pause <= look_again_last ? pause * 2 : pause;
	}
}

static int parse_key(struct wait *w, const char *text)
{
	const char *equals = strchr(text, '=');
	int status;

	w->key = slice_of(text, equals ? (size_t)(equals - text) : strlen(text));
	if (!equals)
		return CTL_OK;
	status = value_of(slice_str(equals + 1), false, text, &w->value);
	return status ? status : value_of(slice_str(equals + 1), true, text, &w->as_string);
}

static int parse(struct wait *w, const struct request *r)
{
	const char *timeout = r->option[opt_timeout];
	int status = CTL_OK;

	w->deadline = -1;
	if (timeout) {
		char *end;
		double seconds = strtod(timeout, &end);

		if (end == timeout || *end || !(seconds >= 0 && seconds < 1e9))
			return say_usage("--timeout %s: that is no number of seconds", timeout);
		w->deadline = now() + (int64_t)(seconds * 1000);
	}
	if (r->option[opt_key])
		status = parse_key(w, r->option[opt_key]);
	if (!status && r->option[opt_file]) {
		int g = glob_new(&w->glob, r->option[opt_file]);

		if (g)
			status = g == -E2BIG ? say_usage("--file: these braces stand for too many patterns") : say_no_memory();
	}
	return status;
}

static void show(const struct wait *w)
{
	struct buf text = {0};
	struct slice key = w->key;

	buf_add_byte(&text, '{');
	if (key.at) {
		buf_add_string(&text, "\"key\":");
		json_quote(key, &text);
		buf_add_string(&text, ",\"value\":");
		buf_add_slice(&text, buf_slice(&w->found_value));
	}
	if (w->glob) {
		buf_add_string(&text, key.at ? ",\"files\":[" : "\"files\":[");
		for (size_t i = 0; i < w->found.count; i++) {
			if (i)
				buf_add_byte(&text, ',');
			json_quote(slice_str(w->found.files[i].path), &text);
		}
		buf_add_byte(&text, ']');
	}
	buf_add_string(&text, "}\n");
	terminal_text(stdout, buf_slice(&text));
	buf_release(&text);
}

static int run(const struct request *r)
{
	struct wait w = {.inotify = -1, .place = {.root = -1, .bucket = -1}};
	struct stat st;
	int status = parse(&w, r);

	if (!status)
		status = place_find_bucket(&w.place, r->args[0]);
	if (status)
		goto out;
	w.found.on_folder = watch;
	w.found.context = &w;
	if (fstat(w.place.bucket, &st) == 0)
		w.began = st.st_mtim;
	w.inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	status = w.inotify < 0 ? say_errno(NULL, errno, "inotify") : wait_for(&w);
	if (status == CTL_TIMEOUT)
		say_note("it did not happen within %s seconds", r->option[opt_timeout]);
	if (!status && r->option[opt_json])
		show(&w);
	if (w.inotify >= 0)
		close(w.inotify);
out:
	walk_release(&w.found);
	buf_release(&w.found_value);
	buf_release(&w.value);
	buf_release(&w.as_string);
	glob_free(w.glob);
	place_close(&w.place);
	return status;
}

const struct command command_wait = {
	.name = "wait",
	.usage = "[OPTIONS] BUCKET",
	.about = "wait until a bucket has a key, a value or a file",
	.more = "With --key and --file both must be there; with neither any change ends it. Nothing is polled: changes made\n"
		"through this mount wake it. Exit status 3: there is no such bucket (any more).",
	.options = options,
	.min = 1,
	.max = 1,
	.run = run,
};
