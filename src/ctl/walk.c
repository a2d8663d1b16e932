#include "ctl/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Open folders at once. */
enum { depth_max = 200 };

struct walking {
	struct walk *w;
	const struct glob *g;
	struct buf path;
	int depth;
};

static int add(struct walk *w, const char *path, char *link, off_t size)
{
	char *copy = strdup(path);

	if (copy && w->count == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 64;
		struct walk_file *grown = realloc(w->files, cap * sizeof(*grown));

		if (!grown) {
			free(copy);
			free(link);
			return -ENOMEM;
		}
		w->files = grown;
		w->cap = cap;
	}
	if (!copy) {
		free(link);
		return -ENOMEM;
	}
	w->files[w->count++] = (struct walk_file){copy, NULL, link, size};
	return 0;
}

static int add_link(struct walk *w, int folder, const char *name, const char *path)
{
	char target[PATH_MAX];
	ssize_t len = readlinkat(folder, name, target, sizeof(target) - 1);
	char *copy;

	if (len < 0)
		return errno == ENOENT || errno == EINVAL ? 0 : -errno;
	target[len] = 0;
	copy = strdup(target);
	return copy ? add(w, path, copy, len) : -ENOMEM;
}

/* Whether it is only its dot that keeps it out. */
static bool is_hidden(const struct walking *x, const char *name)
{
	char copy[PATH_MAX];
	size_t len = x->path.len;

	if (*name != '.' || len >= sizeof(copy))
		return false;
	memcpy(copy, x->path.data, len);
	copy[len] = 0;
	copy[len - strlen(name)] = '_';
	return glob_match(x->g, copy);
}

static int go_down(struct walking *x, int fd);

/* x->path is that of the entry. */
static int visit(struct walking *x, int folder, const char *name)
{
	const char *path = (const char *)x->path.data;
	struct stat st;
	int fd;

	if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : -errno;
	if (S_ISDIR(st.st_mode)) {
		if (!glob_goes_down(x->g)) {
			x->w->folders += *name != '.';
			x->w->dots += *name == '.';
			return 0;
		}
		fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return errno == ENOENT ? 0 : -errno;
		return go_down(x, fd);
	}
	if (!glob_match(x->g, path)) {
		x->w->dots += is_hidden(x, name);
		return 0;
	}
	if (S_ISLNK(st.st_mode) && !x->w->follow)
		return add_link(x->w, folder, name, path);
	if (S_ISLNK(st.st_mode) && fstatat(folder, name, &st, 0))
		st.st_mode = 0;
	if (S_ISDIR(st.st_mode))
		return 0;
	if (S_ISREG(st.st_mode))
		return add(x->w, path, NULL, st.st_size);
	x->w->skipped++;
	return 0;
}

static int read_folder(struct walking *x, DIR *dir)
{
	size_t len = x->path.len;
	struct dirent *e;
	int r = 0;

	while (!r && (errno = 0, e = readdir(dir))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (len)
			r = buf_add_byte(&x->path, '/');
		if (!r)
			r = buf_add(&x->path, e->d_name, strlen(e->d_name) + 1);
		if (!r)
			r = x->path.len > PATH_MAX ? -ENAMETOOLONG : 0;
		if (!r) {
			x->path.len--;
			r = visit(x, dirfd(dir), e->d_name);
		}
		x->path.len = len;
	}
	return r ? r : -errno;
}

static int go_down(struct walking *x, int fd)
{
	DIR *dir = fdopendir(fd);
	int r = 0;

	if (!dir) {
		r = -errno;
		close(fd);
		return r;
	}
	if (x->depth == depth_max)
		r = -ELOOP;
	else if (x->w->on_folder && !x->w->on_folder(x->w->context, fd))
		r = -ECANCELED;
	x->depth++;
	if (!r)
		r = read_folder(x, dir);
	x->depth--;
	closedir(dir);
	return r;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct walk_file *)a)->path, ((const struct walk_file *)b)->path);
}

int walk_add(struct walk *w, const char *path, const char *source, off_t size)
{
	char *copy = strdup(source);
	int r = copy ? add(w, path, NULL, size) : -ENOMEM;

	if (r)
		free(copy);
	else
		w->files[w->count - 1].source = copy;
	return r;
}

int walk_files(struct walk *w, int folder, const struct glob *g)
{
	struct walking x = {.w = w, .g = g};
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? -errno : go_down(&x, fd);

	buf_release(&x.path);
	if (w->count)
		qsort(w->files, w->count, sizeof(*w->files), by_path);
	return r;
}

void walk_release(struct walk *w)
{
	for (size_t i = 0; i < w->count; i++) {
		free(w->files[i].path);
		free(w->files[i].source);
		free(w->files[i].link);
	}
	free(w->files);
	w->files = NULL;
	w->count = w->cap = 0;
}
