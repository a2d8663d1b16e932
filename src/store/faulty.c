#include "store/faulty.h"

#include "store/decorator.h"

static int before(void *context, const char *call)
{
	struct faulty *f = context;
	unsigned now = __atomic_add_fetch(&f->calls, 1, __ATOMIC_RELAXED);

	if (f->fail_from && now >= f->fail_from)
		return f->error;
	if (now != f->fail_at || (f->after && strcmp(call, "commit") == 0))
		return 0;
	return f->error;
}

static int after(void *context, const char *call, uint32_t bucket, int result, int64_t nanoseconds)
{
	struct faulty *f = context;

	(void)bucket, (void)nanoseconds;
	if (f->after && result == 0 && strcmp(call, "commit") == 0 && f->calls == f->fail_at)
		return f->error;
	return result;
}

int faulty_store_open(struct store **out, struct store *inner, struct faulty *faulty)
{
	return decorator_open(out, inner, &(struct decorator_hooks){before, after, NULL, faulty});
}
