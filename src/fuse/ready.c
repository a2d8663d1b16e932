#include "fuse/ready.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/background.h"
#include "util/log.h"

struct ready {
	const char *mountpoint;
	int parent;
	void (*ready)(void *context);
	void *context;
	struct background *thread;
};

/* The protocol of sd_notify(3): a datagram to a socket whose path the environment has; @ begins an abstract one. */
void ready_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (!len || len >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path, path, len);
	if (*path == '@')
		address.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		log_warning("systemd could not be told %s: %s", state, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void wait_and_tell(struct background *g, void *context)
{
	struct ready *r = context;
	struct statfs answer;

	(void)g;
	/* Other threads answer it. Where the mount ends instead, the kernel does. */
	if (statfs(r->mountpoint, &answer)) {
		log_error("%s does not answer: %s", r->mountpoint, strerror(errno));
		return;
	}
	r->ready(r->context);
	ready_notify("READY=1");
	if (r->parent >= 0 && write(r->parent, "", 1) != 1)
		log_warning("nobody waits for the mount any more");
	if (r->parent >= 0)
		close(r->parent);
}

int ready_new(struct ready **out, const char *mountpoint, int parent, void (*ready)(void *context), void *context)
{
	struct ready *r = malloc(sizeof(*r));
	int failed;

	*out = NULL;
	if (!r)
		return -ENOMEM;
	*r = (struct ready){mountpoint, parent, ready, context, NULL};
	failed = background_new(&r->thread, "ready", wait_and_tell, r);
	if (failed)
		free(r);
	else
		*out = r;
	return failed;
}

void ready_free(struct ready *r)
{
	if (!r)
		return;
	background_free(r->thread);
	free(r);
}
