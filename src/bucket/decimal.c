#include "bucket/decimal.h"

#include <errno.h>
#include <stdlib.h>

enum {
	narrow_digits = 18, /* of an exponent that is kept as an integer */
	limb_digits = 9,
	limb_base = 1000000000,
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The parts of "-12.50e+3". */
struct parts {
	const char *first, *end; /* of the mantissa, its point included */
	size_t whole;            /* digits before the point */
	bool exponent_negative;
	struct slice exponent;   /* its digits, leading zeros dropped */
};

static struct parts split(struct slice text, bool *negative)
{
	const char *at = text.at, *end = at + text.len, *exponent;
	struct parts p = {0};

	*negative = at < end && *at == '-';
	p.first = at + *negative;
	for (p.end = p.first; p.end < end && (*p.end | 32) != 'e'; p.end++)
		;
	while (p.first + p.whole < p.end && is_digit(p.first[p.whole]))
		p.whole++;
	exponent = p.end < end ? p.end + 1 : end;
	if (exponent < end && !is_digit(*exponent))
		p.exponent_negative = *exponent++ == '-';
	while (exponent < end && *exponent == '0')
		exponent++;
	p.exponent = slice_of(exponent, (size_t)(end - exponent));
	return p;
}

static int64_t to_integer(struct slice digits)
{
	const char *at = digits.at;
	int64_t v = 0;

	for (size_t i = 0; i < digits.len; i++)
		v = v * 10 + (at[i] - '0');
	return v;
}

/* Exponent digits too many for an integer: `shift` is added to them as on paper. */
static int wide_exponent(const struct parts *p, int64_t shift, struct arena *arena, struct decimal *out)
{
	size_t len = p->exponent.len + 1, zeros = 0;
	int64_t carry = p->exponent_negative ? -shift : shift;
	char *sum = arena_alloc(arena, len, 1);

	if (!sum)
		return -ENOMEM;
	sum[0] = '0';
	memcpy(sum + 1, p->exponent.at, p->exponent.len);
	for (size_t i = len; i-- > 0 && carry;) {
		int64_t v = sum[i] - '0' + carry, digit = ((v % 10) + 10) % 10;

		sum[i] = (char)('0' + digit);
		carry = (v - digit) / 10;
	}
	while (zeros < len && sum[zeros] == '0')
		zeros++;
	out->wide = slice_of(sum + zeros, len - zeros);
	if (out->wide.len <= narrow_digits) {
		out->exponent = to_integer(out->wide);
		out->exponent = p->exponent_negative ? -out->exponent : out->exponent;
		out->wide = (struct slice){0};
	} else {
		out->exponent = p->exponent_negative ? INT64_MIN : INT64_MAX;
	}
	return 0;
}

/* The digits from `from` to `to`, without the point that may stand between them. */
static int take_digits(const char *from, const char *to, struct arena *arena, struct slice *out)
{
	const char *point = memchr(from, '.', (size_t)(to - from));
	char *joined;

	*out = slice_of(from, (size_t)(to - from));
	if (!point)
		return 0;
	joined = arena_alloc(arena, out->len - 1, 1);
	if (!joined)
		return -ENOMEM;
	memcpy(joined, from, (size_t)(point - from));
	memcpy(joined + (point - from), point + 1, (size_t)(to - point - 1));
	*out = slice_of(joined, out->len - 1);
	return 0;
}

int decimal_parse(struct slice text, struct arena *arena, struct decimal *out)
{
	struct decimal d = {0};
	struct parts p = split(text, &d.negative);
	const char *from = p.first, *to = p.end;
	int64_t shift, exponent;
	int r;

	while (from < to && (*from == '0' || *from == '.'))
		from++;
	while (to > from && (to[-1] == '0' || to[-1] == '.'))
		to--;
	if (from == to) {
		*out = (struct decimal){0};
		return 0;
	}
	/* How far the point is right of the first significant digit; a fraction's leading zeros count against it. */
	shift = (int64_t)p.whole - (from - p.first);
	if (shift < 0)
		shift++;
	r = take_digits(from, to, arena, &d.digits);
	if (r)
		return r;
	if (p.exponent.len >= narrow_digits) {
		r = wide_exponent(&p, shift, arena, &d);
	} else {
		exponent = to_integer(p.exponent);
		d.exponent = shift + (p.exponent_negative ? -exponent : exponent);
	}
	if (!r)
		*out = d;
	return r;
}

/* As magnitudes: both are above zero. */
static int compare_magnitude(const struct decimal *a, const struct decimal *b)
{
	if (a->exponent != b->exponent)
		return a->exponent < b->exponent ? -1 : 1;
	if (a->wide.len || b->wide.len) {
		int order = a->wide.len == b->wide.len ? slice_compare(a->wide, b->wide) : a->wide.len < b->wide.len ? -1 : 1;

		if (order)
			return a->exponent < 0 ? -order : order;
	}
	return slice_compare(a->digits, b->digits);
}

int decimal_compare(const struct decimal *a, const struct decimal *b)
{
	int sign_a = decimal_is_zero(a) ? 0 : a->negative ? -1 : 1, sign_b = decimal_is_zero(b) ? 0 : b->negative ? -1 : 1;

	if (sign_a != sign_b)
		return sign_a < sign_b ? -1 : 1;
	return sign_a * (sign_a ? compare_magnitude(a, b) : 0);
}

bool decimal_is_integer(const struct decimal *d)
{
	return decimal_is_zero(d) || (d->exponent > 0 && (uint64_t)d->exponent >= d->digits.len);
}

uint64_t decimal_to_count(const struct decimal *d)
{
	const char *digits = d->digits.at;
	uint64_t v = 0;

	if (decimal_is_zero(d))
		return 0;
	if (d->exponent > 20)
		return UINT64_MAX;
	for (int64_t i = 0; i < d->exponent; i++) {
		unsigned digit = (size_t)i < d->digits.len ? (unsigned)(digits[i] - '0') : 0;

		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, digit, &v))
			return UINT64_MAX;
	}
	return v;
}

/* ---- multiples ---- */

/* All that counts of an exponent that does not fit is how far it is from one that does. With one digit more it may be
 * close; any greater one is farther than any number has digits. */
static int64_t clamped_exponent(const struct decimal *d)
{
	static const int64_t far = 4000000000000000000;
	const char *wide = d->wide.at;
	int64_t v = far;

	if (!d->wide.len)
		return d->exponent;
	if (d->wide.len == narrow_digits + 1 && *wide < '4')
		v = to_integer(d->wide);
	return d->exponent < 0 ? -v : v;
}

/* With V and M the digits as integers, the value is V·10^v and the other M·10^m; wanted is whether M divides V·10^k,
 * k = v - m. V does not end in 0, so never for a negative k. And as M has less than 4 factors 2 or 5 for each of its
 * digits, more zeros than that change nothing. False: the answer is no. */
static bool zeros_to_append(const struct decimal *value, const struct decimal *of, uint64_t *zeros)
{
	uint64_t enough = 4 * (uint64_t)of->digits.len;
	int64_t k;

	k = clamped_exponent(value) - (int64_t)value->digits.len - (clamped_exponent(of) - (int64_t)of->digits.len);
	*zeros = (uint64_t)k < enough ? (uint64_t)k : enough;
	return k >= 0;
}

static size_t limbs_for(struct slice digits)
{
	return digits.len / limb_digits + 2;
}

uint64_t decimal_multiple_cost(const struct decimal *value, const struct decimal *of)
{
	uint64_t zeros = 0, cost;

	if (value->wide.len && of->wide.len)
		return UINT64_MAX;
	if (decimal_is_zero(value) || !zeros_to_append(value, of, &zeros))
		return 1;
	if (of->digits.len <= narrow_digits)
		return value->digits.len + zeros;
	if (__builtin_mul_overflow(value->digits.len + zeros, limbs_for(of->digits), &cost))
		return UINT64_MAX;
	return cost;
}

static unsigned digit_at(const struct decimal *d, uint64_t i)
{
	return i < d->digits.len ? (unsigned)(((const char *)d->digits.at)[i] - '0') : 0;
}

static bool divides_narrow(const struct decimal *value, uint64_t total, uint64_t of)
{
	uint64_t rest = 0;

	for (uint64_t i = 0; i < total; i++)
		rest = (rest * 10 + digit_at(value, i)) % of;
	return rest == 0;
}

static void times_ten_plus(uint32_t *limbs, size_t count, unsigned carry)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t v = (uint64_t)limbs[i] * 10 + carry;

		limbs[i] = (uint32_t)(v % limb_base);
		carry = (unsigned)(v / limb_base);
	}
}

/* Takes `less` away as often as it goes: at most nine times. */
static void reduce(uint32_t *limbs, const uint32_t *less, size_t count)
{
	for (;;) {
		size_t top = count;
		int64_t borrow = 0;

		while (top > 0 && limbs[top - 1] == less[top - 1])
			top--;
		if (top > 0 && limbs[top - 1] < less[top - 1])
			return;
		for (size_t i = 0; i < count; i++) {
			int64_t v = (int64_t)limbs[i] - less[i] - borrow;

			borrow = v < 0;
			limbs[i] = (uint32_t)(v + borrow * limb_base);
		}
	}
}

int decimal_is_multiple(const struct decimal *value, const struct decimal *of, bool *yes)
{
	size_t count = limbs_for(of->digits);
	uint32_t *rest, *divisor;
	uint64_t zeros, total;

	*yes = decimal_is_zero(value);
	if (*yes || !zeros_to_append(value, of, &zeros))
		return 0;
	total = value->digits.len + zeros;
	if (of->digits.len <= narrow_digits) {
		*yes = divides_narrow(value, total, (uint64_t)to_integer(of->digits));
		return 0;
	}
	rest = calloc(count * 2, sizeof(*rest));
	if (!rest)
		return -ENOMEM;
	divisor = rest + count;
	for (size_t i = 0; i < of->digits.len; i++)
		times_ten_plus(divisor, count, digit_at(of, i));
	for (uint64_t i = 0; i < total; i++) {
		times_ten_plus(rest, count, digit_at(value, i));
		reduce(rest, divisor, count);
	}
	*yes = true;
	for (size_t i = 0; i < count; i++)
		*yes = *yes && rest[i] == 0;
	free(rest);
	return 0;
}
