#include "ctl/data.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bucket/verdict.h"
#include "ctl/ctl.h"
#include "ctl/io.h"
#include "ctl/say.h"
#include "ctl/value.h"

/* An edit that others keep getting ahead of is given up after this many attempts. */
enum { attempts = 200 };

static const char file[] = "data.json";

static int failed(const struct place *p, int r)
{
	return r == -ENOMEM ? say_no_memory() : say_errno(p, -r, "%s/%s", p->id, file);
}

static int parse(const struct place *p, const struct buf *text, struct document *doc)
{
	struct reason why;
	int r = document_parse(buf_slice(text), 0, doc, &why);

	if (r > 0)
		return say_error("%s/%s: %s", p->id, file, why.text);
	return r ? say_no_memory() : CTL_OK;
}

int data_read(const struct place *p, struct buf *text, struct document *doc)
{
	struct buf own = {0}, *to = text ? text : &own;
	int r = io_read_at(p->bucket, file, to), status = CTL_OK;

	if (r == -ENOENT)
		r = buf_add_string(to, "{}\n");
	if (r)
		status = failed(p, r);
	else if (doc)
		status = parse(p, to, doc);
	buf_release(&own);
	return status;
}

/* Commits what was written and reads what came of it. */
static int finish(int fd, struct buf *merged)
{
	if (fsync(fd))
		return -errno;
	buf_clear(merged);
	return io_read_again(fd, merged);
}

int data_merge(const struct place *p, const struct document *patch, struct buf *merged)
{
	/* Into a drop-box one may write without seeing what comes of it. */
	bool is_blind = !place_may(p, "read");
	int flags = (is_blind ? O_WRONLY : O_RDWR) | O_CREAT | O_TRUNC | O_CLOEXEC;
	struct buf text = {0};
	int status = value_render(patch, &text), fd, r;

	if (status)
		goto out;
	fd = openat(p->bucket, file, flags, 0666);
	r = fd < 0 ? -errno : io_write(fd, buf_slice(&text));
	if (!r)
		r = is_blind ? 0 : finish(fd, merged);
	if (fd >= 0 && close(fd) && !r)
		r = -errno;
	status = r ? failed(p, r) : CTL_OK;
out:
	buf_release(&text);
	return status;
}

int data_edit_begin(const struct place *p, int *out, struct buf *text, struct document *doc)
{
	int fd = openat(p->bucket, file, O_RDWR | O_CREAT | O_CLOEXEC, 0666), status;
	int r = fd < 0 ? -errno : io_read_again(fd, text);

	/* It was removed, and this has just made it. */
	if (!r && !text->len)
		r = buf_add_string(text, "{}\n");
	status = r ? failed(p, r) : parse(p, text, doc);
	if (status && fd >= 0)
		close(fd);
	if (!status)
		*out = fd;
	return status;
}

int data_edit_commit(int fd, struct slice text, struct buf *merged)
{
	int r;

	if (ftruncate(fd, 0) || lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	r = io_write(fd, text);
	return r ? r : finish(fd, merged);
}

/* How an edit goes: makes of what is there what shall be there. Positive: it is there already. */
struct edit {
	int (*make)(const struct edit *e, const struct document *is, struct document *out);
	/* Whether what came of it is what was wanted. */
	bool (*is_done)(const struct edit *e, const struct document *is);
	const struct document *whole;
	char *const *keys;
	int count;
};

/* One attempt. *again: somebody else was faster. */
static int edit_once(const struct place *p, const struct edit *e, struct buf *merged, bool *again)
{
	struct document is = {0}, shall = {0}, now = {0};
	struct buf text = {0};
	int fd = -1, r, status;

	*again = false;
	status = data_edit_begin(p, &fd, &text, &is);
	if (!status && e->make(e, &is, &shall))
		status = say_no_memory();
	if (status)
		goto out;
	buf_clear(&text);
	status = value_render(&shall, &text);
	if (status)
		goto out;
	r = data_edit_commit(fd, buf_slice(&text), merged);
	*again = r == -ESTALE;
	status = r && !*again ? failed(p, r) : CTL_OK;
	if (!r)
		status = parse(p, merged, &now);
	if (!r && !status)
		*again = !e->is_done(e, &now);
out:
	/* Whatever there is to tell has been told. */
	if (fd >= 0)
		close(fd);
	document_release(&is);
	document_release(&shall);
	document_release(&now);
	buf_release(&text);
	return status;
}

static int edit(const struct place *p, const struct edit *e, struct buf *merged)
{
	bool again = true;

	for (unsigned i = 0; i < attempts; i++) {
		struct timespec pause = {0, (long)(1 + (unsigned)random() % 8) * 1000000L * (i < 8 ? i : 8)};
		int status;

		if (i)
			nanosleep(&pause, NULL);
		status = edit_once(p, e, merged, &again);
		if (status || !again)
			return status;
	}
	return say_error("%s/%s: others changed it %d times while this was being tried", p->id, file, attempts);
}

static int make_whole(const struct edit *e, const struct document *is, struct document *out)
{
	(void)is;
	return value_add_all(out, e->whole) ? -ENOMEM : document_sort(out);
}

static bool is_whole(const struct edit *e, const struct document *is)
{
	struct member_view m;

	/* Values that others have set since are theirs to set; keys that should not be there are what matters. */
	for (size_t i = 0; i < is->count; i++)
		if (!document_find(e->whole, document_member(is, i).key, &m))
			return false;
	return true;
}

static bool is_one_of(struct slice key, const struct edit *e)
{
	for (int i = 0; i < e->count; i++)
		if (slice_equal(key, slice_str(e->keys[i])))
			return true;
	return false;
}

static int make_without(const struct edit *e, const struct document *is, struct document *out)
{
	for (size_t i = 0; i < is->count; i++) {
		struct member_view m = document_member(is, i);
		int r = is_one_of(m.key, e) ? 0 : document_add(out, m.key, m.text, m.value);

		if (r)
			return r;
	}
	return document_sort(out);
}

static bool is_without(const struct edit *e, const struct document *is)
{
	(void)e, (void)is;
	return true;
}

int data_replace(const struct place *p, const struct document *whole, struct buf *merged)
{
	struct edit e = {.make = make_whole, .is_done = is_whole, .whole = whole};

	return edit(p, &e, merged);
}

int data_remove(const struct place *p, char *const *keys, int count, struct buf *merged)
{
	struct edit e = {.make = make_without, .is_done = is_without, .keys = keys, .count = count};

	return edit(p, &e, merged);
}
