/* Numbers: two or three of them, with a space between. Their order is a total one, equal numbers have equal fields,
 * and those that fit in 128 bits compare and divide as integers do. compare_decimal.py asks Python about the
 * others. */
#include "bucket/decimal.h"
#include "bucket/json.h"
#include "fuzz.h"

enum { numbers_max = 3, small_digits = 16, small_exponent = 18, cost_max = 1000000 };

static int sign(int v)
{
	return (v > 0) - (v < 0);
}

static bool is_number(struct slice text)
{
	const char *at = text.at;

	return text.len && (*at == '-' || (*at >= '0' && *at <= '9')) && !memchr(at, '\n', text.len) &&
	       !memchr(at, '\t', text.len) && !memchr(at, '\r', text.len) && json_text_state(text, NULL) == 0;
}

static void check_fields(const struct decimal *d)
{
	const char *digits = d->digits.at;

	CLAIM(!d->digits.len || (digits[0] != '0' && digits[d->digits.len - 1] != '0'));
	CLAIM(!memchr(d->digits.len ? digits : "", '.', d->digits.len));
	CLAIM(d->digits.len || (!d->negative && !d->exponent && !d->wide.len));
	CLAIM(!d->wide.len == (d->exponent != INT64_MAX && d->exponent != INT64_MIN));
	CLAIM(!d->wide.len || d->wide.len > small_exponent);
}

static bool same_fields(const struct decimal *a, const struct decimal *b)
{
	return a->negative == b->negative && a->exponent == b->exponent && slice_equal(a->digits, b->digits) &&
	       slice_equal(a->wide, b->wide);
}

/* Its value times 10 to the small_exponent, if that is an integer of 128 bits. */
static bool to_scaled(const struct decimal *d, __int128 *out)
{
	__int128 v = 0;
	int64_t zeros;

	*out = 0;
	if (decimal_is_zero(d))
		return true;
	if (d->digits.len > small_digits || d->wide.len)
		return false;
	zeros = d->exponent - (int64_t)d->digits.len + small_exponent;
	if (zeros < 0 || zeros + (int64_t)d->digits.len > 37)
		return false;
	for (size_t i = 0; i < d->digits.len; i++)
		v = v * 10 + (((const char *)d->digits.at)[i] - '0');
	while (zeros--)
		v *= 10;
	*out = d->negative ? -v : v;
	return true;
}

static bool divides(const struct decimal *value, const struct decimal *of, bool *known)
{
	bool yes = false;

	*known = !decimal_is_zero(of) && decimal_multiple_cost(value, of) < cost_max;
	if (*known)
		CLAIM(!decimal_is_multiple(value, of, &yes));
	return yes;
}

static void check_pair(const struct decimal *a, const struct decimal *b)
{
	int order = sign(decimal_compare(a, b));
	bool known, yes = divides(a, b, &known);
	__int128 x, y;

	CLAIM(order == -sign(decimal_compare(b, a)));
	CLAIM((order == 0) == same_fields(a, b));
	if (known && decimal_is_zero(a))
		CLAIM(yes);
	if (known && order == 0)
		CLAIM(yes);
	if (!to_scaled(a, &x) || !to_scaled(b, &y))
		return;
	CLAIM(order == (x > y) - (x < y));
	if (known)
		CLAIM(yes == (x % y == 0));
}

static void check_one(const struct decimal *d, struct arena *arena)
{
	struct decimal one, back;
	__int128 scale = 1, x;
	struct buf text = {0};
	bool known, yes;

	check_fields(d);
	CLAIM(decimal_compare(d, d) == 0);
	CLAIM(!decimal_parse(slice_str("1.0e0"), arena, &one));
	yes = divides(d, &one, &known);
	if (known)
		CLAIM(yes == decimal_is_integer(d));
	for (int i = 0; i < small_exponent; i++)
		scale *= 10;
	if (to_scaled(d, &x)) {
		CLAIM(decimal_is_integer(d) == (x % scale == 0));
		if (x >= 0 && x % scale == 0)
			CLAIM((__int128)decimal_to_count(d) == (x / scale < UINT64_MAX ? x / scale : UINT64_MAX));
	}
	/* Written in another way it is the same number. */
	if (d->wide.len || decimal_is_zero(d))
		return;
	CLAIM(!buf_add_format(&text, "%s%.*s000E%lld", d->negative ? "-" : "", (int)d->digits.len,
			      (const char *)d->digits.at, (long long)d->exponent - (long long)d->digits.len - 3));
	CLAIM(!decimal_parse(buf_slice(&text), arena, &back));
	CLAIM(decimal_compare(d, &back) == 0);
	buf_clear(&text);
	CLAIM(!buf_add_format(&text, "%s0.00%.*se%lld", d->negative ? "-" : "", (int)d->digits.len,
			      (const char *)d->digits.at, (long long)d->exponent + 2));
	CLAIM(!decimal_parse(buf_slice(&text), arena, &back));
	CLAIM(same_fields(d, &back));
	buf_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct decimal d[numbers_max];
	struct arena arena = {0};
	size_t count = 0;

	for (size_t from = 0; from < size && count < numbers_max;) {
		const uint8_t *space = memchr(data + from, ' ', size - from);
		size_t len = space ? (size_t)(space - data) - from : size - from;
		struct slice text = slice_of(data + from, len);

		if (is_number(text)) {
			CLAIM(!decimal_parse(text, &arena, &d[count]));
			check_one(&d[count], &arena);
			count++;
		}
		from += len + 1;
	}
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < count; j++)
			check_pair(&d[i], &d[j]);
	for (size_t i = 0; count == numbers_max && i < numbers_max; i++) {
		const struct decimal *a = &d[i], *b = &d[(i + 1) % numbers_max], *c = &d[(i + 2) % numbers_max];

		if (decimal_compare(a, b) <= 0 && decimal_compare(b, c) <= 0)
			CLAIM(decimal_compare(a, c) <= 0);
	}
	arena_release(&arena);
	return 0;
}
