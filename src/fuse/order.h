/* What the kernel puts in order, told to ThreadSanitizer, which cannot see it; in any other build this is nothing.
 *
 * A handle is used by nobody before its open has been answered, and closed when everything that used it has been. Only this
 * is told of, handle by handle: that one request was answered before another came proves nothing about what they share. */
#pragma once

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ORDER_IS_TOLD 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define ORDER_IS_TOLD 1
#endif

#if ORDER_IS_TOLD
#include <sanitizer/tsan_interface.h>

/* What the request that this thread serves uses; a copy has two. */
extern _Thread_local void *order_used[2];

static inline void order_use(void *handle)
{
	if (handle)
		__tsan_acquire(handle);
	order_used[1] = order_used[0];
	order_used[0] = handle;
}

static inline void order_reply(void)
{
	for (int i = 0; i < 2; i++) {
		if (order_used[i])
			__tsan_release((char *)order_used[i] + 1);
		order_used[i] = 0;
	}
}

static inline void order_close(void *handle)
{
	__tsan_acquire(handle);
	__tsan_acquire((char *)handle + 1);
	order_used[0] = order_used[1] = 0;
}

#define fuse_reply_open(req, fi) (__tsan_release((void *)(fi)->fh), fuse_reply_open(req, fi))
#define fuse_reply_create(req, entry, fi) (__tsan_release((void *)(fi)->fh), fuse_reply_create(req, entry, fi))
#define fuse_reply_err(...) (order_reply(), fuse_reply_err(__VA_ARGS__))
#define fuse_reply_buf(...) (order_reply(), fuse_reply_buf(__VA_ARGS__))
#define fuse_reply_data(...) (order_reply(), fuse_reply_data(__VA_ARGS__))
#define fuse_reply_write(...) (order_reply(), fuse_reply_write(__VA_ARGS__))
#define fuse_reply_attr(...) (order_reply(), fuse_reply_attr(__VA_ARGS__))
#define fuse_reply_lseek(...) (order_reply(), fuse_reply_lseek(__VA_ARGS__))
#else
#define order_use(handle) ((void)(handle))
#define order_close(handle) ((void)(handle))
#endif
