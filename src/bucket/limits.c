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

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "5%", "2.5": what is below a tenth of a percent is cut off. */
static int parse_permille(const char *text, unsigned *out)
{
	unsigned v = 0;
	bool rest = false;

	if (!is_digit(*text))
		return BUCKET_INVALID;
	for (; is_digit(*text) && v <= 99; text++)
		v = v * 10 + (unsigned)(*text - '0');
	v *= 10;
	if (*text == '.') {
		text++;
		if (is_digit(*text))
			v += (unsigned)(*text++ - '0');
		for (; is_digit(*text); text++)
			rest = rest || *text != '0';
	}
	if (*text == '%')
		text++;
	if (*text || v + rest > 990)
		return BUCKET_INVALID;
	*out = v;
	return 0;
}

static int parse_types(const char *text, char *out, size_t size)
{
	if (strlen(text) >= size)
		return BUCKET_INVALID;
	/* A comma ends a mount option, so a colon will do as well. */
	for (const char *c = text; *c; c += strcspn(c, ",:"), c += *c != 0)
		if (*c != '.')
			return BUCKET_INVALID;
	snprintf(out, size, "%s", text);
	for (char *c = out; *c; c++)
		if (*c == ':')
			*c = ',';
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

/* ---- the mount's are ceilings ---- */

enum { which_types = limits_own_count - 1 };

static uint64_t *number_of(struct limits *l, int which)
{
	uint64_t *const numbers[which_types] = {&l->max_data_size, &l->max_file_size, &l->max_files, &l->max_total_size};

	return numbers[which];
}

static uint64_t get_number(const struct limits *l, int which)
{
	struct limits copy = *l;

	return *number_of(&copy, which);
}

/* Whether every name with this ending has one of those that the mount accepts. */
static bool is_accepted(const char *ending, size_t len, const char *accepted)
{
	while (*accepted) {
		size_t n = strcspn(accepted, ",");

		if (n && n <= len && strncasecmp(ending + len - n, accepted, n) == 0)
			return true;
		accepted += n;
		accepted += *accepted == ',';
	}
	return false;
}

/* Keeps those endings that the mount accepts. True: some were not. */
static bool keep_accepted(const char *own, const char *accepted, char *kept)
{
	bool others = !*own;
	size_t at = 0;

	while (*own) {
		size_t n = strcspn(own, ",");

		if (n && is_accepted(own, n, accepted)) {
			if (at)
				kept[at++] = ',';
			memcpy(kept + at, own, n);
			at += n;
		}
		others |= n && !is_accepted(own, n, accepted);
		own += n;
		own += *own == ',';
	}
	kept[at] = 0;
	return others;
}

bool limits_exceed(const struct limits *own, const struct limits *mount, int which)
{
	char kept[sizeof(own->accepted_file_types)];

	if (which == which_types)
		return *mount->accepted_file_types && keep_accepted(own->accepted_file_types, mount->accepted_file_types, kept);
	return get_number(mount, which) && (!get_number(own, which) || get_number(own, which) > get_number(mount, which));
}

void limits_cap(struct limits *own, const struct limits *mount, int which)
{
	char kept[sizeof(own->accepted_file_types)];

	if (!limits_exceed(own, mount, which))
		return;
	if (which != which_types) {
		*number_of(own, which) = get_number(mount, which);
		return;
	}
	keep_accepted(own->accepted_file_types, mount->accepted_file_types, kept);
	/* With none left, everything would be accepted. */
	snprintf(own->accepted_file_types, sizeof(own->accepted_file_types), "%s", *kept ? kept : mount->accepted_file_types);
}

void limits_show(const struct limits *l, int which, char *text, size_t size)
{
	if (which == which_types)
		snprintf(text, size, "%s", l->accepted_file_types);
	else
		snprintf(text, size, "%llu", (unsigned long long)get_number(l, which));
}
