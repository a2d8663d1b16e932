#include "fuse/caller.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* /proc/PID/stat and environ must not be read here: during a flush that comes from execve, that deadlocks. The file
 * status does not take the lock in question. */
static bool read_status(pid_t pid, char *text, size_t size)
{
	char path[64];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, size - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = 0;
	return true;
}

static const char *field(const char *status, const char *name)
{
	const char *at = strstr(status, name);

	return at ? at + strlen(name) : NULL;
}

static bool in_group(const struct caller *who, gid_t gid)
{
	/* 64 Ki groups of up to 11 bytes is the kernel's limit; a process with more than fit here keeps the first. */
	enum { status_max = 65536 };
	char *text = who->pid ? malloc(status_max) : NULL;
	const char *at = NULL;
	bool found = false;

	if (text && read_status(who->pid, text, status_max))
		at = field(text, "\nGroups:");
	while (at && !found) {
		char *end;
		unsigned long group;

		while (*at == ' ' || *at == '\t')
			at++;
		group = strtoul(at, &end, 10);
		if (end == at)
			break;
		found = group == gid;
		at = end;
	}
	free(text);
	return found;
}

struct caller caller_of(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return (struct caller){ctx->uid, ctx->gid, ctx->pid, in_group};
}

bool caller_same_process(pid_t thread, pid_t other)
{
	char text[4096], path[64];
	const char *at;

	if (thread == other || thread == 0 || other == 0)
		return true;
	if (!read_status(thread, text, sizeof(text)) || !(at = field(text, "\nTgid:")))
		return false;
	snprintf(path, sizeof(path), "/proc/%d/task/%d", atoi(at), other);
	return access(path, F_OK) == 0;
}
