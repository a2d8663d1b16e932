/* A domain on the memory store, with a clock that only moves when told to. */
#pragma once

#include "bucket/data.h"
#include "bucket/tree.h"
#include "store/memory.h"
#include "test.h"
#include "util/log.h"

static int64_t test_time = 1000000000;
static unsigned char test_boot = 1;

static inline int64_t test_now(void *context)
{
	(void)context;
	return test_time++;
}

static inline int test_number_of(const char *name, uint32_t *id)
{
	if (strcmp(name, "alice") && strcmp(name, "ci"))
		return -1;
	*id = strcmp(name, "ci") ? 1001 : 2001;
	return 0;
}

static inline int test_name_of(uint32_t id, char *name, size_t size)
{
	if (id != 1001 && id != 2001)
		return -1;
	snprintf(name, size, "%s", id == 1001 ? "alice" : "ci");
	return 0;
}

static const struct acl_names test_names = {test_number_of, test_number_of, test_name_of, test_name_of};
static const struct caller test_root = {0, 0, 1, NULL, NULL, NULL, 0};

static inline int test_fs_open(struct store *store, struct fs **fs)
{
	struct fs_options options = {
		.limits = limits_default,
		.names = &test_names,
		.clock = {test_now, test_now, NULL},
	};

	options.boot[0] = test_boot;
	log_open(LOG_TARGET_STDERR, NULL, LOG_LEVEL_ERROR);
	return fs_open(fs, store, &options);
}
