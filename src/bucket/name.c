#include "bucket/name.h"

#include <strings.h>

#include "bucket/verdict.h"

static bool is_lower_or_digit(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool name_is_bucket_id(struct slice name)
{
	const unsigned char *at = name.at;

	if (name.len == 0 || name.len > name_max)
		return false;
	for (size_t i = 0; i < name.len; i++)
		if (!is_lower_or_digit(at[i]) && at[i] != '_')
			return false;
	return true;
}

int name_normalise(struct slice given, char out[name_max], size_t *len)
{
	const unsigned char *at = given.at;
	bool in_run = false;

	if (given.len == 0)
		return BUCKET_INVALID;
	if (given.len > name_max)
		return BUCKET_NAME_TOO_LONG;
	*len = 0;
	for (size_t i = 0; i < given.len; i++) {
		unsigned char c = at[i];
		bool kept = true;

		if (c >= 'A' && c <= 'Z')
			c = (unsigned char)(c - 'A' + 'a');
		else
			kept = is_lower_or_digit(c) || c == '_' || c == '.' || c == '-';
		if (kept)
			out[(*len)++] = (char)c;
		else if (!in_run)
			out[(*len)++] = '_';
		in_run = !kept;
	}
	return 0;
}

bool name_has_type(struct slice name, const char *endings)
{
	const char *at = name.at;

	if (!endings || !*endings || (name.len && *at == '.'))
		return true;
	while (*endings) {
		size_t len = strcspn(endings, ",");

		if (len && len <= name.len && strncasecmp(at + name.len - len, endings, len) == 0)
			return true;
		endings += len;
		endings += *endings == ',';
	}
	return false;
}
