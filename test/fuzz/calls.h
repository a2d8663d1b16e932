/* Shared by the parts of the system-call fuzzer. See calls.c. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	SLOT_SIZE = 16384, /* of a process in FOLDER/state; calls.py reads it, too */
	SLOT_NOTES = 60,
	NOTE_SIZE = 256,
	BUFFER_SIZE = 1 << 20,
	KEPT_MOST = 300,
	NEIGHBOUR = 20009, /* the user whose secrets nobody may see */
};

/* The last calls of a process. */
struct slot {
	uint64_t began; /* CLOCK_MONOTONIC in ns, 0 between two calls */
	uint64_t calls;
	uint32_t operation;
	uint32_t next;
	char notes[SLOT_NOTES][NOTE_SIZE]; /* a ring of the last calls, each with its result */
};

struct options {
	const char *mount, *folder;
	uint64_t seed;
	unsigned number, uid;
	double seconds;
	bool heavy; /* with the cases that are known to take long */
	bool trace;
};
extern struct options options;
extern char buffer[BUFFER_SIZE]; /* of the next read or write */

/* ---- choices: operation N of a process draws the same numbers whatever the operations before it have met ---- */
void draw_begin(uint64_t operation);
uint64_t draw(void);
unsigned pick(unsigned count);   /* 0 … count - 1 */
bool chance(unsigned one_in);
#define PICK(array) ((array)[pick(sizeof(array) / sizeof *(array))])

/* ---- notes ---- */
__attribute__((format(printf, 1, 2))) void begin(const char *format, ...); /* a call begins */
long ended(long result);                                                   /* and has returned this; errno stays */
void seen(const void *data, size_t size); /* came from the mount: no secret may be in it */
__attribute__((format(printf, 1, 2))) void fault(const char *format, ...); /* calls.py prints it and fails */

/* ---- arguments; texts are good until eight more have been made ---- */
const char *make_name(void);
const char *make_path(void);
const char *make_bucket(void);
const char *make_spelled(const char *text); /* as it may be printed */
const char *make_attribute(void);
int64_t make_offset(void);
int64_t make_size(void);
size_t make_length(void);
size_t make_json(void);             /* a document with mutations, in the buffer */
size_t make_schema(void);
size_t make_bytes(size_t size);     /* anything, in the buffer */
size_t make_value(const char *attribute); /* an attribute's value, in the buffer */

/* ---- descriptors that stay open ---- */
const char *kept_name(int fd); /* for notes */
int kept_fd(void);                               /* one of them, or an odd number */
int kept_path_fd(const char **path);             /* one of them or AT_FDCWD, and a path relative to it */
int kept_add(int fd, const char *path, int flags); /* takes it, also if it is -1 */
void kept_close(unsigned count);
void kept_close_all(void);
int make_flags(void);

/* ---- operations ---- */
void do_open(void);
void do_close(void);
void do_dup(void);
void do_read(void);
void do_write(void);
void do_truncate(void);
void do_fallocate(void);
void do_seek(void);
void do_map(void);
void do_copy(void);
void do_sync(void);
void do_lock(void);
void do_ioctl(void);
void do_fcntl(void);
void do_list(void);

void do_rename(void);
void do_make(void);
void do_remove(void);
void do_attributes(void);
void do_xattr(void);
void do_stat(void);
void do_watch(void);
void do_handle(void);
void do_json(void);
void do_replace(void);
void do_transaction(void);
void do_control(void);

void do_child(void);
void do_killed(void);
void do_exec(void);
void do_job(void);
void do_own(void);
void do_bucket(void);
void do_any(void); /* one of the operations above that makes no process */
