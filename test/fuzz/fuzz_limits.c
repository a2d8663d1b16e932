/* Limits: "name=value". A second parser, written from the header, has the same opinion and the same number; a limit
 * that is refused changes nothing. */
#include "bucket/limits.h"
#include "bucket/verdict.h"
#include "fuzz.h"

static bool digits(const char **at)
{
	const char *from = *at;

	while (**at >= '0' && **at <= '9')
		(*at)++;
	return *at > from;
}

/* Digits and one of k, M, G, T in either case; below 2 to the 63rd. */
static bool reference_size(const char *text, uint64_t *out)
{
	static const char letters[] = "kKmMgGtT";
	const char *end = text, *letter;
	unsigned __int128 v = 0;

	if (!digits(&end))
		return false;
	for (const char *c = text; c < end; c++)
		if ((v = v * 10 + (unsigned)(*c - '0')) > INT64_MAX)
			return false;
	if (*end) {
		letter = strchr(letters, *end);
		if (!letter || end[1])
			return false;
		v <<= 10 * ((letter - letters) / 2 + 1);
	}
	*out = (uint64_t)v;
	return v <= INT64_MAX;
}

/* Digits, a point and digits or not, a percent sign or not; up to 99. What is below a tenth of a percent is cut off. */
static bool reference_permille(const char *text, unsigned *out)
{
	const char *end = text;
	bool rest = false;
	uint64_t v = 0;

	if (!digits(&end))
		return false;
	for (const char *c = text; c < end; c++)
		if ((v = v * 10 + (unsigned)(*c - '0')) > 99)
			return false;
	v *= 10;
	if (*end == '.') {
		const char *fraction = ++end;

		if (digits(&end))
			v += (unsigned)(*fraction - '0');
		for (; fraction < end; fraction++)
			rest = rest || *fraction != '0';
	}
	if (*end == '%')
		end++;
	*out = (unsigned)v;
	return !*end && !(v >= 990 && rest);
}

static bool reference_types(const char *text)
{
	if (strlen(text) >= sizeof(limits_default.accepted_file_types))
		return false;
	for (bool begins = true; *text; text++) {
		if (begins && *text != '.')
			return false;
		begins = *text == ',' || *text == ':';
	}
	return true;
}

static bool is(struct slice name, const char *text)
{
	return slice_equal(name, slice_str(text));
}

static int reference_set(struct limits *l, struct slice name, const char *value)
{
	uint64_t *size = is(name, "max_data_size") ? &l->max_data_size : is(name, "max_file_size") ? &l->max_file_size :
			 is(name, "max_files") ? &l->max_files : is(name, "max_total_size") ? &l->max_total_size : NULL;

	if (size)
		return reference_size(value, size) ? 0 : BUCKET_INVALID;
	if (is(name, "reserve"))
		return reference_permille(value, &l->reserve_permille) ? 0 : BUCKET_INVALID;
	if (!is(name, "accepted_file_types"))
		return BUCKET_ABSENT;
	if (!reference_types(value))
		return BUCKET_INVALID;
	strcpy(l->accepted_file_types, value);
	for (char *c = l->accepted_file_types; *c; c++)
		*c = *c == ':' ? ',' : *c;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct choices c = choices_of(data, size);
	struct limits got = limits_default, expected = limits_default;
	char *text = choose_text(&c), *value = strchr(text, '=');
	struct reason why = {.text = ""};
	struct slice name;
	int r;

	if (!value) {
		free(text);
		return 0;
	}
	name = slice_of(text, (size_t)(value - text));
	*value++ = 0;
	r = limits_set(&got, name, value, &why);
	CLAIM(r == reference_set(&expected, name, value));
	CLAIM(!r || r == BUCKET_ABSENT || *why.text);
	if (!r)
		CLAIM(got.max_data_size == expected.max_data_size && got.max_file_size == expected.max_file_size &&
		      got.max_files == expected.max_files && got.max_total_size == expected.max_total_size &&
		      got.reserve_permille == expected.reserve_permille &&
		      !strcmp(got.accepted_file_types, expected.accepted_file_types));
	else
		CLAIM(!memcmp(&got, &limits_default, sizeof(got)));
	free(text);
	return 0;
}
