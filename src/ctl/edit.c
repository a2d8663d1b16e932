/* The data in an editor. The handle that the snapshot came from stays open meanwhile, so the mount itself sees a conflict;
 * keys that others changed and we did not are left as they are now. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/data.h"
#include "ctl/io.h"
#include "ctl/judge.h"
#include "ctl/say.h"
#include "ctl/terminal.h"
#include "ctl/value.h"

enum { opt_json };

static const struct ctl_option options[] = {
	{"json", 0, NULL, "print what came of it"},
	{0},
};

struct edit {
	struct place place;
	int fd;
	struct buf text, merged;
	struct document base, mine;
	char path[PATH_MAX]; /* what the editor gets; empty: there is none */
};

static void in_child(const char *editor, const char *path)
{
	char script[4096];

	signal(SIGPIPE, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGQUIT, SIG_DFL);
	/* As git does: $EDITOR may have arguments. */
	if (snprintf(script, sizeof(script), "exec %s \"$1\"", editor) < (int)sizeof(script))
		execl("/bin/sh", "sh", "-c", script, "sh", path, (char *)NULL);
	_exit(127);
}

static int run_editor(const char *path)
{
	const char *editor = getenv("EDITOR");
	int result = 0;
	pid_t pid;

	if (!editor || !*editor)
		editor = getenv("VISUAL");
	if (!editor || !*editor)
		editor = "vi";
	pid = fork();
	if (pid == 0)
		in_child(editor, path);
	if (pid < 0)
		return say_errno(NULL, errno, "fork");
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	while (waitpid(pid, &result, 0) < 0 && errno == EINTR)
		;
	signal(SIGINT, SIG_DFL);
	signal(SIGQUIT, SIG_DFL);
	return result == 0 ? CTL_OK : say_error("%s failed; nothing is changed", editor);
}

static int begin(struct edit *e)
{
	const char *folder = getenv("TMPDIR");
	int fd, r;
	int status = data_edit_begin(&e->place, &e->fd, &e->text, &e->base);

	if (status)
		return status;
	snprintf(e->path, sizeof(e->path), "%s/bucketctl-%s-XXXXXX.json", folder && *folder ? folder : "/tmp", e->place.id);
	fd = mkostemps(e->path, 5, O_CLOEXEC);
	if (fd < 0) {
		r = -errno;
		status = say_errno(NULL, -r, "%s", e->path);
		e->path[0] = 0;
		return status;
	}
	r = io_write(fd, buf_slice(&e->text));
	if (close(fd) && !r)
		r = -errno;
	return r ? say_errno(NULL, -r, "%s", e->path) : CTL_OK;
}

/* What the editor left, judged. */
static int take(struct edit *e)
{
	struct schema *schema = NULL;
	struct buf text = {0};
	struct reason why;
	int r = io_read_file(e->path, &text), status;

	document_release(&e->mine);
	if (r) {
		status = say_errno(NULL, -r, "%s", e->path);
		goto out;
	}
	r = document_parse(buf_slice(&text), 0, &e->mine, &why);
	status = r > 0 ? say_error("%s", why.text) : r ? say_no_memory() : judge_load(&e->place, &schema);
	buf_clear(&text);
	if (!status)
		status = value_render(&e->mine, &text);
	if (!status)
		status = judge_check(schema, buf_slice(&text), "not saved");
out:
	schema_free(schema);
	buf_release(&text);
	return status;
}

static bool ask_again(void)
{
	char answer[16];

	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return false;
	terminal_status("Edit again? [Y/n] ");
	return fgets(answer, sizeof(answer), stdin) && *answer != 'n' && *answer != 'N';
}

static struct slice value_in(const struct document *d, struct slice key)
{
	struct member_view m;

	return document_find(d, key, &m) ? m.value : slice_of(NULL, 0);
}

static void show_value(const char *whose, struct slice value)
{
	enum { shown_max = 200 };
	int len = value.len > shown_max ? shown_max : (int)value.len;

	/* The cut is before a character, not within one. */
	while (len < (int)value.len && len > 0 && (((const unsigned char *)value.at)[len] & 0xc0) == 0x80)
		len--;
	if (value.at)
		terminal_line(stderr, "    %-7s %.*s%s", whose, len, (const char *)value.at,
			      value.len > shown_max ? "..." : "");
	else
		terminal_line(stderr, "    %-7s (no such key)", whose);
}

/* A key that both we and somebody else changed. */
static void show_conflict(const struct edit *e, const struct document *theirs, struct slice key, struct slice text)
{
	struct slice base = value_in(&e->base, key), mine = value_in(&e->mine, key), now = value_in(theirs, key);

	if (slice_equal(base, mine) || slice_equal(base, now))
		return;
	terminal_line(stderr, "  %.*s", (int)text.len, (const char *)text.at);
	show_value("was", base);
	show_value("theirs", now);
	show_value("yours", mine);
}

static int conflict(struct edit *e)
{
	struct document now = {0};
	struct member_view m;
	int status;

	say_error("%s: somebody else changed the same keys meanwhile, so nothing was saved:", e->place.id);
	status = data_read(&e->place, NULL, &now);
	for (size_t i = 0; !status && i < e->base.count; i++) {
		m = document_member(&e->base, i);
		show_conflict(e, &now, m.key, m.text);
	}
	for (size_t i = 0; !status && i < e->mine.count; i++) {
		m = document_member(&e->mine, i);
		if (!value_in(&e->base, m.key).at)
			show_conflict(e, &now, m.key, m.text);
	}
	document_release(&now);
	return CTL_FAILED;
}

static int save(struct edit *e)
{
	int status, r;

	buf_clear(&e->text);
	status = value_render(&e->mine, &e->text);
	if (status)
		return status;
	r = data_edit_commit(e->fd, buf_slice(&e->text), &e->merged);
	if (r == -ESTALE)
		return conflict(e);
	return r ? say_errno(&e->place, -r, "%s/data.json", e->place.id) : CTL_OK;
}

static int run(const struct request *r)
{
	struct edit e = {.fd = -1};
	int status = place_find_bucket(&e.place, r->args[0]);
	bool edited = false;

	if (status)
		return status;
	status = begin(&e);
	while (!status) {
		status = run_editor(e.path);
		if (status)
			break;
		edited = true;
		status = take(&e);
		if (!status || !ask_again())
			break;
		status = CTL_OK;
	}
	if (!status)
		status = save(&e);
	if (!status && r->option[opt_json])
		terminal_text(stdout, buf_slice(&e.merged));
	if (status && edited)
		say_note("what you wrote is in %s", e.path);
	else if (*e.path)
		unlink(e.path);
	if (e.fd >= 0)
		close(e.fd);
	buf_release(&e.text);
	buf_release(&e.merged);
	document_release(&e.base);
	document_release(&e.mine);
	place_close(&e.place);
	return status;
}

const struct command command_edit = {
	.name = "edit",
	.usage = "[--json] BUCKET",
	.about = "edit the data of a bucket in $EDITOR",
	.more = "What you leave in the editor is checked against the schema before it is saved. Keys that you do not touch stay as\n"
		"others leave them meanwhile; if somebody changed one that you changed too, both are shown and nothing is saved.",
	.options = options,
	.min = 1,
	.max = 1,
	.run = run,
};
