#include "store/decorator.h"

#include <errno.h>
#include <stdlib.h>

#include "util/clock.h"
#include "util/container.h"

struct decorator {
	struct store base;
	struct store *inner;
	struct decorator_hooks hooks;
};

struct decorated_cursor {
	struct store_cursor base;
	struct store_cursor *inner;
	struct decorator *of;
};

struct decorated_content {
	struct store_content base;
	struct store_content *inner;
	struct decorator *of;
};

/* The one shape of every forwarded call. */
#define FORWARD(d, bucket, call, expression)                                                    \
	__extension__({                                                                         \
		struct decorator *d_ = (d);                                                     \
		int64_t began_ = clock_monotonic();                                             \
		int r_ = d_->hooks.before ? d_->hooks.before(d_->hooks.context, call) : 0;      \
		if (!r_)                                                                        \
			r_ = (expression);                                                      \
		d_->hooks.after ? d_->hooks.after(d_->hooks.context, call, (bucket), r_, clock_monotonic() - began_) : r_; \
	})

static struct decorator *self(struct store *base)
{
	return container_of(base, struct decorator, base);
}

static void decorator_close(struct store *base)
{
	struct decorator *d = self(base);

	store_close(d->inner);
	if (d->hooks.closed)
		d->hooks.closed(d->hooks.context);
	free(d);
}

static int decorator_head(struct store *base, uint32_t bucket, uint64_t *revision, struct buf *head)
{
	return FORWARD(self(base), bucket, "head", store_head(d_->inner, bucket, revision, head));
}

static int decorator_get(struct store *base, uint32_t bucket, enum store_space space, struct slice key,
			 struct buf *value)
{
	return FORWARD(self(base), bucket, "get", store_get(d_->inner, bucket, space, key, value));
}

static int decorator_commit(struct store *base, uint32_t bucket, uint64_t expect, struct slice head,
			    const struct store_batch *batch, uint64_t *revision)
{
	return FORWARD(self(base), bucket, "commit", store_commit(d_->inner, bucket, expect, head, batch, revision));
}

static int decorator_erase(struct store *base, uint32_t bucket)
{
	return FORWARD(self(base), bucket, "erase", store_erase(d_->inner, bucket));
}

static int decorator_sync(struct store *base)
{
	return FORWARD(self(base), 0, "sync", store_sync(d_->inner));
}

static int decorator_usage(struct store *base, struct store_usage *usage)
{
	return FORWARD(self(base), 0, "usage", store_usage(d_->inner, usage));
}

static int decorator_statistics(struct store *base, struct store_statistics *statistics)
{
	return FORWARD(self(base), 0, "statistics", store_statistics(d_->inner, statistics));
}

static int decorator_cursor_open(struct store *base, uint32_t bucket, enum store_space space, struct slice prefix,
				 struct slice from, struct store_cursor **out)
{
	struct decorated_cursor *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	*c = (struct decorated_cursor){{base->ops}, NULL, self(base)};
	r = FORWARD(self(base), bucket, "cursor_open",
		    store_cursor_open(d_->inner, bucket, space, prefix, from, &c->inner));
	if (r)
		free(c);
	else
		*out = &c->base;
	return r;
}

static int decorator_cursor_next(struct store_cursor *base, struct slice *key, struct slice *value)
{
	struct decorated_cursor *c = container_of(base, struct decorated_cursor, base);

	return FORWARD(c->of, 0, "cursor_next", store_cursor_next(c->inner, key, value));
}

static void decorator_cursor_close(struct store_cursor *base)
{
	struct decorated_cursor *c = container_of(base, struct decorated_cursor, base);

	store_cursor_close(c->inner);
	free(c);
}

static int content_wrap(struct decorator *d, int r, struct decorated_content *c, struct store_content **out)
{
	if (r) {
		free(c);
		return r;
	}
	*c = (struct decorated_content){{d->base.ops, c->inner->number}, c->inner, d};
	*out = &c->base;
	return 0;
}

static int decorator_content_create(struct store *base, struct store_content **out)
{
	struct decorated_content *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	return content_wrap(self(base), FORWARD(self(base), 0, "content_create",
						store_content_create(d_->inner, &c->inner)), c, out);
}

static int decorator_content_open(struct store *base, uint64_t number, struct store_content **out)
{
	struct decorated_content *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	return content_wrap(self(base), FORWARD(self(base), 0, "content_open",
						store_content_open(d_->inner, number, &c->inner)), c, out);
}

static int decorator_content_has_writer(struct store *base, uint64_t number, bool *has)
{
	return FORWARD(self(base), 0, "content_has_writer", store_content_has_writer(d_->inner, number, has));
}

static struct decorated_content *content(struct store_content *base)
{
	return container_of(base, struct decorated_content, base);
}

static int decorator_content_read(struct store_content *base, uint64_t at, void *bytes, size_t len, size_t *got)
{
	return FORWARD(content(base)->of, 0, "content_read",
		       store_content_read(content(base)->inner, at, bytes, len, got));
}

static int decorator_content_write(struct store_content *base, uint64_t at, const void *bytes, size_t len)
{
	return FORWARD(content(base)->of, 0, "content_write",
		       store_content_write(content(base)->inner, at, bytes, len));
}

static int decorator_content_truncate(struct store_content *base, uint64_t len)
{
	return FORWARD(content(base)->of, 0, "content_truncate", store_content_truncate(content(base)->inner, len));
}

static int decorator_content_allocate(struct store_content *base, uint64_t at, uint64_t len, bool keep_size)
{
	return FORWARD(content(base)->of, 0, "content_allocate",
		       store_content_allocate(content(base)->inner, at, len, keep_size));
}

static int decorator_content_punch(struct store_content *base, uint64_t at, uint64_t len)
{
	return FORWARD(content(base)->of, 0, "content_punch", store_content_punch(content(base)->inner, at, len));
}

static int decorator_content_blocks(struct store_content *base, uint64_t *blocks)
{
	return FORWARD(content(base)->of, 0, "content_blocks", store_content_blocks(content(base)->inner, blocks));
}

static int decorator_content_holes(struct store_content *base, uint64_t at, uint64_t len, uint64_t *bytes)
{
	return FORWARD(content(base)->of, 0, "content_holes", store_content_holes(content(base)->inner, at, len, bytes));
}

static int decorator_content_size(struct store_content *base, uint64_t *size)
{
	return FORWARD(content(base)->of, 0, "content_size", store_content_size(content(base)->inner, size));
}

static int decorator_content_unseal(struct store_content *base)
{
	return FORWARD(content(base)->of, 0, "content_unseal", store_content_unseal(content(base)->inner));
}

static int decorator_content_is_sealed(struct store_content *base, uint64_t size, bool *sealed)
{
	return FORWARD(content(base)->of, 0, "content_is_sealed", store_content_is_sealed(content(base)->inner, size, sealed));
}

static int decorator_content_check(struct store_content *base, uint64_t piece)
{
	return FORWARD(content(base)->of, 0, "content_check", store_content_check(content(base)->inner, piece));
}

static int decorator_content_sync(struct store_content *base)
{
	return FORWARD(content(base)->of, 0, "content_sync", store_content_sync(content(base)->inner));
}

static int decorator_content_sync_again(struct store_content *base, uint64_t from)
{
	return FORWARD(content(base)->of, 0, "content_sync_again", store_content_sync_again(content(base)->inner, from));
}

static int decorator_content_fd(struct store_content *base)
{
	return store_content_fd(content(base)->inner);
}

static void decorator_content_close(struct store_content *base, bool discard)
{
	struct decorated_content *c = content(base);

	store_content_close(c->inner, discard);
	free(c);
}

static const struct store_ops decorator_ops = {
	.name = "decorator",
	.close = decorator_close,
	.head = decorator_head,
	.get = decorator_get,
	.commit = decorator_commit,
	.erase = decorator_erase,
	.sync = decorator_sync,
	.usage = decorator_usage,
	.statistics = decorator_statistics,
	.cursor_open = decorator_cursor_open,
	.cursor_next = decorator_cursor_next,
	.cursor_close = decorator_cursor_close,
	.content_create = decorator_content_create,
	.content_open = decorator_content_open,
	.content_has_writer = decorator_content_has_writer,
	.content_read = decorator_content_read,
	.content_write = decorator_content_write,
	.content_truncate = decorator_content_truncate,
	.content_allocate = decorator_content_allocate,
	.content_punch = decorator_content_punch,
	.content_blocks = decorator_content_blocks,
	.content_holes = decorator_content_holes,
	.content_size = decorator_content_size,
	.content_unseal = decorator_content_unseal,
	.content_is_sealed = decorator_content_is_sealed,
	.content_check = decorator_content_check,
	.content_sync = decorator_content_sync,
	.content_sync_again = decorator_content_sync_again,
	.content_fd = decorator_content_fd,
	.content_close = decorator_content_close,
};

int decorator_open(struct store **out, struct store *inner, const struct decorator_hooks *hooks)
{
	struct decorator *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	*d = (struct decorator){{&decorator_ops}, inner, *hooks};
	*out = &d->base;
	return 0;
}
