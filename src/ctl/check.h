/* `bucketctl check` is a program of its own beside bucketctl, which runs it: RocksDB would make every other command start slower. */
#pragma once

struct request;

enum { CHECK_OPT_DATA, CHECK_OPT_REPAIR, CHECK_OPT_JSON };

/* As fsck(8) has them. */
enum { CHECK_CLEAN = 0, CHECK_ALL_MENDED = 1, CHECK_LEFT = 4, CHECK_UNCHECKED = 8, CHECK_USAGE = 16 };

/* In check_run.c, which checks, and in check_start.c, which starts the program that has that. */
int check_run(const struct request *r);
