#include "fuse/idle.h"

#include <malloc.h>

/* Seconds in a row with fewer requests than `few`, after which memory goes back, and once more when the store has ended what it does in
 * the background; on a busy host, once in so many seconds. `much`: so many requests may have left something. Going through all free memory
 * takes some milliseconds, in which others wait for memory. */
enum { quiet_seconds = 5, quieter_seconds = 60, few = 20, busy_seconds = 600, much = 1000 };

void idle_second(struct idle *i, uint64_t requests)
{
	i->quiet = requests - i->requests < few ? i->quiet + 1 : 0;
	i->requests = requests;
	i->since++;
	if (i->quiet != quieter_seconds &&
	    ((i->quiet < quiet_seconds && i->since < busy_seconds) || requests - i->trimmed_at < much))
		return;
	malloc_trim(0);
	i->trimmed_at = requests;
	i->since = 0;
}
