/* Whether a store is what it should be. It is read where it is, not through the mount: by root, or the store's owner. */
#include <errno.h>
#include <mntent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bucket/json.h"
#include "check/check.h"
#include "ctl/check.h"
#include "ctl/ctl.h"
#include "ctl/say.h"
#include "ctl/terminal.h"
#include "util/clock.h"
#include "util/log.h"

enum { interval = 100000000 };

struct report {
	bool json, shown;
	struct buf findings, notes; /* JSON, comma-separated */
	int64_t next; /* when the line of progress is due again */
	int error;
};

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
	(void)signal;
	interrupted = 1;
}

/* ---- what is told ---- */

static void clear_line(const struct report *r)
{
	if (r->shown)
		terminal_status_end();
}

static bool progress(void *context, const char *what, uint64_t done, uint64_t total)
{
	struct report *r = context;
	int64_t now;

	if (!r->shown || (now = clock_now(&clock_system)) < r->next)
		return !interrupted;
	r->next = now + interval;
	terminal_status("check: %s, %d%%", what, total ? (int)((double)done * 100 / (double)total) : 100);
	return !interrupted;
}

static int add_member(struct buf *out, const char *name, const char *text)
{
	int r = buf_add_format(out, "\"%s\":", name);

	return r ? r : json_quote(slice_str(text), out);
}

static int add_finding(struct buf *out, const struct check_finding *f)
{
	int r = buf_add_string(out, out->len ? ",{" : "{");

	if (!r)
		r = add_member(out, "bucket", f->bucket);
	if (!r)
		r = buf_add_byte(out, ',');
	if (!r)
		r = add_member(out, "path", f->path);
	if (!r)
		r = buf_add_byte(out, ',');
	if (!r)
		r = add_member(out, "kind", f->kind);
	if (!r)
		r = buf_add_byte(out, ',');
	if (!r)
		r = add_member(out, "detail", f->detail);
	return r ? r : buf_add_format(out, ",\"mended\":%s}", f->mended ? "true" : "false");
}

static void finding(void *context, const struct check_finding *f)
{
	struct report *r = context;

	if (r->json) {
		int error = add_finding(f->note ? &r->notes : &r->findings, f);

		r->error = r->error ? r->error : error;
		return;
	}
	clear_line(r);
	terminal_line(stdout, "%s%s%s%s%s%s%s", f->note ? "note: " : "", f->bucket, *f->bucket && *f->path ? "/" : "",
		      f->path, *f->bucket || *f->path ? ": " : "", f->detail, f->mended ? " (mended)" : "");
}

static void show_json(const struct report *r, const struct check_sums *s)
{
	char sums[256];

	snprintf(sums, sizeof(sums), "{\"buckets\":%llu,\"files\":%llu,\"bytes\":%llu,\"live\":%s,",
		 (unsigned long long)s->buckets, (unsigned long long)s->files, (unsigned long long)s->bytes,
		 s->live ? "true" : "false");
	terminal_text(stdout, slice_str(sums));
	snprintf(sums, sizeof(sums), "\"unsealed\":%llu,\"mended\":%llu,\"findings\":[", (unsigned long long)s->unsealed,
		 (unsigned long long)s->mended);
	terminal_text(stdout, slice_str(sums));
	terminal_text(stdout, buf_slice(&r->findings));
	terminal_text(stdout, slice_str("],\"notes\":["));
	terminal_text(stdout, buf_slice(&r->notes));
	terminal_text(stdout, slice_str("]}\n"));
}

/* 1,204 */
static const char *count_of(uint64_t n, char text[32])
{
	char plain[24];
	int len = snprintf(plain, sizeof(plain), "%llu", (unsigned long long)n), at = 0;

	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			text[at++] = ',';
		text[at++] = plain[i];
	}
	text[at] = 0;
	return text;
}

static const char *bytes_of(uint64_t n, char text[32])
{
	static const char *const unit[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
	double value = (double)n / 1024;
	size_t i = 0;

	if (n < 1024) {
		snprintf(text, 32, "%llu bytes", (unsigned long long)n);
		return text;
	}
	for (; value >= 1024 && i + 1 < sizeof(unit) / sizeof(*unit); i++)
		value /= 1024;
	snprintf(text, 32, "%.1f %s", value, unit[i]);
	return text;
}

static void show_sums(const struct check_sums *s, bool data)
{
	char buckets[32], files[32], bytes[32], number[32];

	terminal_part(stdout, "%s bucket%s, %s file%s, %s: ", count_of(s->buckets, buckets), s->buckets == 1 ? "" : "s",
		      count_of(s->files, files), s->files == 1 ? "" : "s", bytes_of(s->bytes, bytes));
	if (!s->findings)
		terminal_part(stdout, "nothing wrong");
	else
		terminal_part(stdout, "%s finding%s, %llu mended", count_of(s->findings, number),
			      s->findings == 1 ? "" : "s", (unsigned long long)s->mended);
	if (data && s->unsealed)
		terminal_part(stdout, "; %s content%s no checksum", count_of(s->unsealed, number),
			      s->unsealed == 1 ? " has" : "s have");
	terminal_line_end(stdout);
}

/* ---- which store ---- */

/* Where a mount of bucketfs has its store; else it is a store itself. */
static void find_store(const char *given, char store[PATH_MAX])
{
	char path[PATH_MAX], line[2 * PATH_MAX + 512];
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent m;

	if (!realpath(given, path))
		snprintf(path, sizeof(path), "%s", given);
	snprintf(store, PATH_MAX, "%s", path);
	while (mounts && getmntent_r(mounts, &m, line, sizeof(line)))
		if (strcmp(m.mnt_type, "fuse.bucketfs") == 0 && strcmp(m.mnt_dir, path) == 0)
			snprintf(store, PATH_MAX, "%s", m.mnt_fsname);
	if (mounts)
		endmntent(mounts);
}

static int check_and_show(const struct check_options *o, struct report *report)
{
	struct reason why = {.text = ""};
	struct check_sums sums;
	int r = check_store(o, &sums, &why);

	clear_line(report);
	if (!r)
		r = report->error;
	if (r == -EINTR) {
		say_error("interrupted");
		return CHECK_UNCHECKED;
	}
	if (r) {
		say_error("%s", *why.text ? why.text : strerror(-r));
		return CHECK_UNCHECKED;
	}
	if (report->json)
		show_json(report, &sums);
	else
		show_sums(&sums, o->data);
	return sums.findings > sums.mended ? CHECK_LEFT : sums.mended ? CHECK_ALL_MENDED : CHECK_CLEAN;
}

int check_run(const struct request *r)
{
	struct report report = {.json = r->option[CHECK_OPT_JSON], .shown = isatty(STDERR_FILENO)};
	struct sigaction action = {.sa_handler = interrupt};
	char store[PATH_MAX];
	struct check_options o = {
		.store = store,
		.data = r->option[CHECK_OPT_DATA],
		.repair = r->option[CHECK_OPT_REPAIR],
		.finding = finding,
		.progress = progress,
		.context = &report,
	};
	int status;

	find_store(r->args[0], store);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	/* What the backend would log is a finding here. */
	log_open(LOG_TARGET_NONE, NULL, LOG_LEVEL_ERROR);
	status = check_and_show(&o, &report);
	if (fflush(stdout) || ferror(stdout)) {
		say_error("cannot write the output");
		status = CHECK_UNCHECKED;
	}
	buf_release(&report.findings);
	buf_release(&report.notes);
	return status;
}
