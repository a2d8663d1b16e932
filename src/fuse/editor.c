#include "fuse/editor.h"

#include <string.h>
#include <time.h>

#include "fuse/caller.h"

static int64_t since_boot(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* emacs is emacs-nox as well. */
static bool is_editor(const struct call *c, const char *program)
{
	const char *names = c->fe->editors ? c->fe->editors : EDITOR_DEFAULT;

	while (*names) {
		size_t len = strcspn(names, ":");

		if (len && strncmp(program, names, len) == 0 && (!program[len] || program[len] == '-'))
			return true;
		names += len;
		names += *names == ':';
	}
	return false;
}

bool editor_takes_back(const struct call *c)
{
	enum { seconds = 60 };
	char program[16];
	int64_t modified;

	if (!caller_program(c->who.pid, program) || strcmp(program, "rclone") != 0)
		return false;
	bucket_lock(c->b);
	modified = c->b->head.data_modified;
	bucket_unlock(c->b);
	return fs_now(c->fs) - modified < (int64_t)seconds * 1000000000;
}

/* As whose to keep what they read: an editor's, or that of whoever reads what it puts into a pipe. */
static void look(const struct call *c, struct reading_key *reader)
{
	char program[16];

	*reader = (struct reading_key){0};
	if (caller_program(c->who.pid, program) && is_editor(c, program))
		*reader = (struct reading_key){READING_PROCESS, (uint64_t)caller_process(c->who.pid, NULL), 0};
	else
		*reader = (struct reading_key){READING_PIPE, caller_pipe(c->who.pid, 1), 0};
	if (!reader->id)
		reader->source = READING_NONE;
}

/* Who opens data.json in a loop is not looked at every time, but again after a while: they may become another program.
 * Whoever does that does so less often before, as a script that then runs an editor in its place. */
static void look_seldom(const struct call *c, int64_t now, struct reading_key *reader)
{
	enum { places = 64, often = 8, lifetime = 100000000 };
	static struct place {
		pid_t thread;
		unsigned count;
		int64_t looked;
		struct reading_key reader;
	} seen[places];
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct place *p = &seen[(size_t)c->who.pid % places];
	bool known;

	pthread_mutex_lock(&lock);
	if (p->thread != c->who.pid)
		*p = (struct place){.thread = c->who.pid};
	known = ++p->count > often && now - p->looked < lifetime;
	*reader = p->reader;
	pthread_mutex_unlock(&lock);
	if (known)
		return;
	look(c, reader);
	pthread_mutex_lock(&lock);
	if (p->thread == c->who.pid) {
		p->looked = now;
		p->reader = *reader;
	}
	pthread_mutex_unlock(&lock);
}

void editor_reads(struct call *c, struct reading_key *reader)
{
	int64_t now = since_boot();

	if (!c->who.pid)
		return;
	look_seldom(c, now, reader);
	reader->since = now;
	/* What is read for a copy is not what will be edited. */
	if (reader->source == READING_PROCESS && scratch_is_backed_up(c->b, &c->who))
		reader->source = READING_NONE;
}

struct text *editor_base(struct call *c, struct reading_key *reader)
{
	struct readings *readings = c->fs->readings;
	struct reading_key pipe = {.source = READING_PIPE};
	struct text *base = NULL;

	*reader = (struct reading_key){0};
	if (!c->who.pid || !readings_any(readings, c->b->number))
		return NULL;
	look_seldom(c, since_boot(), reader);
	if (reader->source == READING_PROCESS)
		reader->id = (uint64_t)caller_process(c->who.pid, &reader->since);
	if (reader->source != READING_PROCESS || !reader->id) {
		reader->source = READING_NONE;
		return NULL;
	}
	base = readings_find(readings, c->b->number, reader);
	if (!base && (pipe.id = caller_pipe(c->who.pid, 0)))
		base = readings_find(readings, c->b->number, &pipe);
	if (base)
		reader->since = since_boot();
	else
		reader->source = READING_NONE;
	return base;
}

void editor_copies(struct call *c)
{
	pid_t process;

	if (!readings_any(c->fs->readings, c->b->number))
		return;
	if (c->leaf && !scratch_is_backup(slice_str(c->leaf)))
		return;
	process = caller_process(c->who.pid, NULL);
	if (process)
		readings_copied(c->fs->readings, c->b->number, (uint64_t)process);
}
