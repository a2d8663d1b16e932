/* Names: the stored form is what the header says, has a stored form that is itself, and so has the id of a bucket.
 * The input is a name, a NUL, and endings. */
#include "bucket/name.h"
#include "bucket/record.h"
#include "bucket/transaction_id.h"
#include "bucket/verdict.h"
#include "fuzz.h"

static bool is_kept(unsigned char c)
{
	static const char kept[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";

	return memchr(kept, c, sizeof(kept) - 1) != NULL;
}

static size_t reference_normal(struct slice name, char *out)
{
	const unsigned char *at = name.at;
	size_t len = 0;

	for (size_t i = 0; i < name.len; i++) {
		unsigned char c = at[i];

		if (is_kept(c))
			out[len++] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
		else if (i == 0 || is_kept(at[i - 1]))
			out[len++] = '_';
	}
	return len;
}

static void check_normal(struct slice name)
{
	char *got = malloc(name_max), *again = malloc(name_max), *expected = malloc(name.len + 1);
	int want = !name.len ? BUCKET_INVALID : name.len > name_max ? BUCKET_NAME_TOO_LONG : 0;
	size_t len = 0, len_again;
	bool is_id = name.len && name.len <= name_max;

	CLAIM(got && again && expected);
	CLAIM(name_normalise(name, got, &len) == want);
	if (!want) {
		CLAIM(len == reference_normal(name, expected) && !memcmp(got, expected, len));
		CLAIM(!name_normalise(slice_of(got, len), again, &len_again));
		CLAIM(len_again == len && !memcmp(got, again, len));
	}
	for (size_t i = 0; i < name.len; i++) {
		unsigned char c = ((const unsigned char *)name.at)[i];

		is_id = is_id && is_kept(c) && c != '.' && c != '-' && !(c >= 'A' && c <= 'Z');
	}
	CLAIM(name_is_bucket_id(name) == is_id);
	if (is_id)
		CLAIM(len == name.len && !memcmp(got, name.at, len) && !transaction_is_id(name));
	free(got);
	free(again);
	free(expected);
}

static bool ends_in(struct slice name, const char *ending, size_t len)
{
	const char *at = name.at;

	if (!len || len > name.len)
		return false;
	for (size_t i = 0; i < len; i++) {
		char a = at[name.len - len + i], b = ending[i];

		a = a >= 'A' && a <= 'Z' ? (char)(a + 32) : a;
		b = b >= 'A' && b <= 'Z' ? (char)(b + 32) : b;
		if (a != b)
			return false;
	}
	return true;
}

static bool reference_has_type(struct slice name, const char *endings)
{
	if (!*endings || (name.len && *(const char *)name.at == '.'))
		return true;
	for (const char *comma; *endings; endings = *comma ? comma + 1 : comma) {
		comma = strchrnul(endings, ',');
		if (ends_in(name, endings, (size_t)(comma - endings)))
			return true;
	}
	return false;
}

/* tx.NUMBER.uUID.NAME: what the parts are put together to is read as these parts. */
static void check_transaction(struct slice id)
{
	struct slice name = transaction_name(id);
	uint32_t number = transaction_bucket(id);
	struct buf made = {0};

	CLAIM(number <= bucket_number_max);
	CLAIM(!number || transaction_is_id(id));
	CLAIM((const char *)name.at >= (const char *)id.at &&
	      (const char *)name.at + name.len == (const char *)id.at + id.len);
	number = (uint32_t)slice_hash(id, 0) & bucket_number_max;
	CLAIM(!buf_add_format(&made, "tx.%u.u%u.", number, number * 3) && !buf_add_slice(&made, id));
	CLAIM(transaction_is_id(buf_slice(&made)) && transaction_bucket(buf_slice(&made)) == number);
	CLAIM(slice_equal(transaction_name(buf_slice(&made)), id));
	buf_release(&made);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct choices c = choices_of(data, size);
	const uint8_t *end = size ? memchr(data, 0, size) : NULL;
	size_t len = end ? (size_t)(end - data) : size;
	char *endings, *copy = malloc(len + 1);
	struct slice name;

	CLAIM(copy);
	memcpy(copy, data, len);
	copy = realloc(copy, len ? len : 1);
	name = slice_of(copy, len);
	c.at += end ? len + 1 : len;
	c.left -= end ? len + 1 : len;
	endings = choose_text(&c);
	check_normal(name);
	check_normal(slice_of(data, size)); /* with NULs in it */
	check_transaction(name);
	CLAIM(name_has_type(name, NULL));
	CLAIM(name_has_type(name, endings) == reference_has_type(name, endings));
	free(endings);
	free(copy);
	return 0;
}
