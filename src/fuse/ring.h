/* The threads of FUSE over io_uring, one for each CPU (libfuse makes them): when they give way, and how they end.
 *
 * Giving way. Whoever waits for an answer sleeps on the CPU whose ring serves it. The answer wakes it, and the scheduler,
 * seeing the ring's thread still at work there, moves it to a CPU that is idle: that one must be woken, on a virtual machine
 * by way of its host, and neither finds its caches warm. One program that makes many requests then takes twice as long for
 * each. A CPU on which only threads of the policy SCHED_IDLE run counts as idle (sched(7); sched_idle_cpu() in the kernel's
 * fair.c), so while many requests are served the rings have that policy: who is woken stays, and runs next.
 *
 * A thread of that policy would starve beside one that computes. So another looks every 2 ms, and a ring that twice has something
 * to do and gets little done has its own policy back. Each time that it did not last, it is longer until the next
 * try. When fewer requests come, all have their own policy. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct rings;

enum {
	ring_look = 2000000,        /* ns from one look to the next while any gives way */
	ring_burst = 16,            /* requests in that time that are many */
	ring_every = 64,            /* requests after which a ring looks at the clock */
	ring_calm = 50000000,       /* ns with fewer requests until all have their own policy */
	ring_short = 100000000,     /* ns: what is less did not last */
	ring_wait_first = 20000000, /* ns until the next try, at first … */
	ring_wait_most = 1000000000 /* … and at most */
};

/* When one ring gives way. Times are of CLOCK_MONOTONIC, ns. */
struct ring_pace {
	bool gives_way;
	int64_t since;      /* it gives way */
	int64_t wait;       /* after the last time */
	int64_t not_before; /* it gives way again */
};

/* What the looking thread decides: gives_way is as it should be now. `burst`: many requests are coming, to whichever ring;
 * `starves`: this one gets little done although it has something to do. */
void ring_judge(struct ring_pace *p, bool burst, bool starves, int64_t now);

/* `give_way`: as above, where the process may (CAP_SYS_NICE or RLIMIT_NICE) and there are several CPUs. `end` is called by each
 * ring's thread that has served requests, when it ends: libfuse frees their memory after that. */
int rings_new(struct rings **out, bool give_way, void (*end)(void *context), void *context);
/* Whether requests do come over rings. */
bool rings_are_used(const struct rings *r);
/* Whether they may give way. */
bool rings_give_way(const struct rings *r);
/* The calling thread, which may be any, has a request to serve. */
void rings_serve(struct rings *r, int64_t now);
/* After the threads have ended. NULL is fine. */
void rings_free(struct rings *r);
