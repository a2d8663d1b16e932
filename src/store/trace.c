#include "store/trace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/decorator.h"

struct trace {
	void (*line)(void *context, const char *text);
	void *context;
};

static int after(void *context, const char *call, uint32_t bucket, int result, int64_t nanoseconds)
{
	struct trace *t = context;
	char text[128];

	snprintf(text, sizeof(text), "store: %s bucket=%u result=%d us=%lld", call, bucket, result,
		 (long long)(nanoseconds / 1000));
	t->line(t->context, text);
	return result;
}

int trace_store_open(struct store **out, struct store *inner, void (*line)(void *context, const char *text),
		     void *context)
{
	struct trace *t = malloc(sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	*t = (struct trace){line, context};
	r = decorator_open(out, inner, &(struct decorator_hooks){.after = after, .closed = free, .context = t});
	if (r)
		free(t);
	return r;
}
