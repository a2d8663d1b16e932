#include "bucket/limits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "bucket/verdict.h"

const struct limits limits_default = {
	.max_data_size = 1u << 20,
	.max_file_size = 1u << 30,
	.max_files = 100000,
	.reserve_permille = 50,
};

const char *const limits_own_name[limits_own_count] = {"max_data_size", "max_file_size", "max_files", "max_total_size",
							"accepted_file_types"};

static int parse_size(const char *text, uint64_t *out)
{
	static const char suffixes[] = "kmgt";
	unsigned long long v;
	const char *suffix;
	unsigned shift = 0;
	char *end;

	if (*text < '0' || *text > '9')
		return BUCKET_INVALID;
	errno = 0;
	v = strtoull(text, &end, 10);
	if (errno)
		return BUCKET_INVALID;
	if (*end) {
		suffix = strchr(suffixes, *end | 32);
		if (!suffix || end[1])
			return BUCKET_INVALID;
		shift = 10 * (unsigned)(suffix - suffixes + 1);
	}
	/* Offsets are signed 64-bit numbers. */
	if (v > (uint64_t)INT64_MAX >> shift)
		return BUCKET_INVALID;
	*out = v << shift;
	return 0;
}

static int parse_permille(const char *text, unsigned *out)
{
	char *end;
	double v;

	if (*text < '0' || *text > '9')
		return BUCKET_INVALID;
	v = strtod(text, &end);
	if ((strcmp(end, "%") != 0 && *end) || v > 99)
		return BUCKET_INVALID;
	*out = (unsigned)(v * 10);
	return 0;
}

static int parse_types(const char *text, char *out, size_t size)
{
	if (strlen(text) >= size)
		return BUCKET_INVALID;
	snprintf(out, size, "%s", text);
	/* A comma ends a mount option, so a colon will do as well. */
	for (char *c = out; *c; c++)
		if (*c == ':')
			*c = ',';
	for (const char *c = out; *c; c += strcspn(c, ","), c += *c == ',')
		if (*c != '.')
			return BUCKET_INVALID;
	return 0;
}

int limits_set(struct limits *l, struct slice name, const char *value, struct reason *why)
{
	const struct {
		const char *name;
		uint64_t *at;
	} sizes[] = {
		{"max_data_size", &l->max_data_size},
		{"max_file_size", &l->max_file_size},
		{"max_files", &l->max_files},
		{"max_total_size", &l->max_total_size},
	};
	int r = BUCKET_ABSENT;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		if (slice_equal(name, slice_str(sizes[i].name))) {
			r = parse_size(value, sizes[i].at);
			if (r)
				reason_set(why, "%s: \"%s\" is not a number or size (such as 1048576, 512k, 1M, 2G)", sizes[i].name, value);
			return r;
		}
	}
	if (slice_equal(name, slice_str("accepted_file_types"))) {
		r = parse_types(value, l->accepted_file_types, sizeof(l->accepted_file_types));
		if (r)
			reason_set(why, "accepted_file_types: \"%s\" is not a list of endings (such as .csv:.pdf)", value);
	} else if (slice_equal(name, slice_str("reserve"))) {
		r = parse_permille(value, &l->reserve_permille);
		if (r)
			reason_set(why, "reserve: \"%s\" is not a percentage (such as 5%%)", value);
	}
	return r;
}
