#include <errno.h>
#include <stdlib.h>

#include "fuse/caller.h"
#include "fuse/control_file.h"
#include "fuse/frontend.h"
#include "fuse/io_mode.h"
#include "util/log.h"

static void link_handle(struct frontend *fe, struct handle *h)
{
	pthread_mutex_lock(&fe->lock);
	h->next = fe->handles;
	if (h->next)
		h->next->previous = h;
	fe->handles = h;
	pthread_mutex_unlock(&fe->lock);
}

static void unlink_handle(struct frontend *fe, struct handle *h)
{
	pthread_mutex_lock(&fe->lock);
	*(h->previous ? &h->previous->next : &fe->handles) = h->next;
	if (h->next)
		h->next->previous = h->previous;
	pthread_mutex_unlock(&fe->lock);
}

/* The memory of a handle with all that belongs to it, and of an open file's content while it is small and in memory. */
enum { handle_bytes = 4096 };

/* NULL: the result is in *r, and nothing is charged. Only an open file may need a descriptor of ours. */
static struct handle *new_handle(struct call *c, bool is_file, size_t bytes, int *r)
{
	struct handle *h = calloc(1, sizeof(*h));

	*r = h ? budget_open(c->fs->budget, &h->charge, c->who.uid, is_file, bytes, &c->why) : -ENOMEM;
	if (*r) {
		free(h);
		h = NULL;
	}
	return h;
}

int handle_new_data(struct call *c, struct data_handle *data, struct fuse_file_info *fi)
{
	int r;
	struct handle *h = new_handle(c, false, handle_bytes, &r);

	if (!h) {
		data_close(data, NULL);
		return r;
	}
	h->data = data;
	link_handle(c->fe, h);
	fi->fh = (uintptr_t)h;
	/* A snapshot is not what the inode has now: nothing of it belongs into the page cache. */
	fi->direct_io = 1;
	fi->noflush = !data_wants_flush(data);
	return 0;
}

int handle_new_file(struct call *c, struct file_open *file, struct fuse_file_info *fi)
{
	struct handle *h;
	struct node node;
	bool in_memory;
	int r;

	file_node(file->file, &node);
	in_memory = file->writes || node.place == PLACE_INLINE;
	h = new_handle(c, true, handle_bytes + (in_memory ? file_inline_max : 0), &r);
	if (!h) {
		file_close(file, true);
		return r;
	}
	h->file = file;
	h->opener = c->who.pid;
	link_handle(c->fe, h);
	fi->fh = (uintptr_t)h;
	fi->noflush = !file->writes && !file_is(&file->file->unlisted);
	io_mode_open(c, h, fi);
	return 0;
}

/* What is dropped here was refused, but nobody may have heard of it: many programs ignore a failed close. */
static void close_data(struct frontend *fe, struct data_handle *data)
{
	struct reason why = {.text = ""};
	struct bucket *b = bucket_share(fe->fs, data_bucket(data));
	uid_t data_uid = data_owner(data);

	if (data_close(data, &why))
		log_limited(data_uid, LOG_LEVEL_INFO, "refused: close: uid=%u bucket=%.*s: dropped what was not merged: %s", data_uid, (int)b->name.len,
			    (const char *)b->name.at, why.text);
	bucket_put(fe->fs, b);
}

#if ORDER_IS_TOLD
_Thread_local void *order_used[2];
#endif

void handle_close(struct frontend *fe, struct handle *h, fuse_req_t req, bool abandon)
{
	if (h->file)
		file_closes(h->file);
	order_close(h);
	unlink_handle(fe, h);
	if (h->control)
		control_file_close(h->control);
	else if (h->scratch)
		scratch_close(h->scratch, &h->scratch_closed);
	else if (h->data)
		close_data(fe, h->data);
	if (h->file) {
		io_mode_close(h, req);
		file_close(h->file, abandon);
	}
	budget_release(fe->fs->budget, &h->charge);
	free(h);
}

int handle_new_folder(struct call *c, struct fuse_file_info *fi)
{
	int r;
	struct handle *h = new_handle(c, false, handle_bytes, &r);

	if (!h)
		return r;
	link_handle(c->fe, h);
	fi->fh = (uintptr_t)h;
	return 0;
}

int handle_new_scratch(struct call *c, struct scratch *scratch, struct fuse_file_info *fi)
{
	int r;
	struct handle *h = new_handle(c, false, handle_bytes, &r);

	if (!h) {
		scratch_put(scratch);
		return r;
	}
	h->scratch = scratch;
	link_handle(c->fe, h);
	fi->fh = (uintptr_t)h;
	fi->direct_io = 1;
	return 0;
}

int handle_new_control(struct call *c, struct control_handle *control, struct fuse_file_info *fi)
{
	int r;
	struct handle *h = new_handle(c, false, handle_bytes, &r);

	if (!h) {
		control_file_close(control);
		return r;
	}
	h->control = control;
	link_handle(c->fe, h);
	fi->fh = (uintptr_t)h;
	fi->direct_io = 1;
	return 0;
}

enum { review_most = 64 };

struct reviewed {
	struct file *file;
	pid_t opener;
	unsigned closes;
};

static size_t take_reviews(struct frontend *fe, struct reviewed *list)
{
	size_t count = 0;

	pthread_mutex_lock(&fe->lock);
	for (struct handle *h = fe->handles; h && count < review_most; h = h->next) {
		if (!h->file || !h->file->writes || !__atomic_load_n(&h->flushed, __ATOMIC_RELAXED) ||
		    __atomic_exchange_n(&h->reviewed, true, __ATOMIC_RELAXED) || !file_is(&h->file->file->unlisted))
			continue;
		list[count++] = (struct reviewed){file_share(h->file->file), h->opener,
						   __atomic_load_n(&h->file->file->closes, __ATOMIC_RELAXED)};
	}
	pthread_mutex_unlock(&fe->lock);
	return count;
}

void handle_review(struct frontend *fe)
{
	struct reviewed list[review_most];
	size_t count = take_reviews(fe, list);

	for (size_t i = 0; i < count; i++) {
		if (list[i].opener && caller_has_open(list[i].opener, list[i].file->inode))
			file_is_shared(list[i].file, list[i].closes);
		file_put(list[i].file);
	}
}

static void name_open(const struct handle *h)
{
	const struct bucket *b;

	if (!h->file && !h->data)
		return;
	b = h->file ? h->file->file->b : data_bucket(h->data);
	if (h->file)
		log_warning("still open at the end: %.*s/files: %.*s", (int)b->name.len, (const char *)b->name.at,
			    (int)h->file->file->node.name.len, h->file->file->name);
	else
		log_warning("still open at the end: %.*s/data.json", (int)b->name.len, (const char *)b->name.at);
}

void handle_drain(struct frontend *fe)
{
	for (struct handle *h = fe->handles, *next; h; h = next) {
		next = h->next;
		name_open(h);
		handle_close(fe, h, NULL, true);
	}
}
