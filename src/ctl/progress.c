#include "ctl/progress.h"

#include <unistd.h>

#include "ctl/terminal.h"
#include "util/clock.h"

enum { interval = 100000000 };

static void draw(struct progress *p)
{
	int64_t now;

	if (!p->shown)
		return;
	now = clock_now(&clock_system);
	if (now < p->next)
		return;
	p->next = now + interval;
	terminal_status("%s: %zu of %zu files, %.1f of %.1f MB, %d%%", p->what, p->files, p->files_total,
			(double)p->bytes / 1e6, (double)p->bytes_total / 1e6,
			p->bytes_total ? (int)((double)p->bytes * 100 / (double)p->bytes_total) : 100);
}

void progress_begin(struct progress *p, const char *what, size_t files, uint64_t bytes)
{
	*p = (struct progress){.what = what, .shown = isatty(STDERR_FILENO), .files_total = files, .bytes_total = bytes};
	draw(p);
}

void progress_bytes(struct progress *p, uint64_t bytes)
{
	p->bytes += bytes;
	draw(p);
}

void progress_file(struct progress *p)
{
	p->files++;
	draw(p);
}

void progress_end(struct progress *p)
{
	if (p->shown)
		terminal_status_end();
	p->shown = false;
}
