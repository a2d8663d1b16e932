/* One function per group of states; feed() is the loop. The reader never looks ahead and keeps no input but the member
 * that is being read, so a document may come in pieces of any size. */
#include "bucket/json.h"

#include <errno.h>

#include "bucket/verdict.h"

enum state {
	AT_START,     /* nothing read yet: a byte-order mark may come */
	BETWEEN,      /* objects */
	KEY_OR_END,   /* after { */
	KEY,          /* after , in an object */
	COLON,
	VALUE,
	VALUE_OR_END, /* after [ */
	AFTER,        /* a value inside something */
	STRING,
	ESCAPE,
	HEX,
	MINUS,
	ZERO,
	INTEGER,
	POINT,
	FRACTION,
	EXPONENT,
	EXPONENT_SIGN,
	EXPONENT_DIGITS,
	LITERAL,
	DONE,
};

void json_reader_init(struct json_reader *r, enum json_mode mode, const struct json_sink *sink, size_t text_max)
{
	memset(r, 0, sizeof(*r));
	r->sink = *sink;
	r->mode = mode;
	r->text_max = text_max;
	r->depth_max = json_depth_max;
	json_reader_reset(r);
}

void json_reader_release(struct json_reader *r)
{
	buf_release(&r->key);
	buf_release(&r->text);
}

void json_reader_reset(struct json_reader *r)
{
	r->state = r->mode == JSON_VALUE ? VALUE : AT_START;
	r->need = r->hex = r->mark = 0;
	r->depth = 0;
	r->in_key = false;
	r->line = r->column = 1;
	buf_clear(&r->key);
	buf_clear(&r->text);
}

static int invalid(const struct json_reader *r, unsigned char c, const char *expected, struct reason *why)
{
	if (c >= ' ' && c < 0x7f)
		reason_set_own(why, "line %lu, column %lu: expected %s, found '%c'", r->line, r->column, expected, c);
	else
		reason_set_own(why, "line %lu, column %lu: expected %s, found byte 0x%02x", r->line, r->column, expected, c);
	return BUCKET_INVALID;
}

static bool is_space(unsigned char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static bool is_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

static struct buf *target(struct json_reader *r)
{
	return r->in_key && r->depth == 1 && r->mode == JSON_OBJECTS ? &r->key : &r->text;
}

static int keep(struct json_reader *r, const void *bytes, size_t len, struct reason *why)
{
	if (r->text_max && r->key.len + r->text.len + len > r->text_max) {
		reason_set_own(why, "line %lu, column %lu: a member has more than %zu bytes", r->line, r->column, r->text_max);
		return BUCKET_TOO_LARGE;
	}
	return buf_add(target(r), bytes, len);
}

static bool in_array(const struct json_reader *r)
{
	return r->array[r->depth / 8] >> (r->depth % 8) & 1;
}

static int push(struct json_reader *r, bool array, struct reason *why)
{
	if (r->depth >= r->depth_max) {
		reason_set_own(why, "line %lu, column %lu: nested more than %u deep", r->line, r->column, r->depth_max);
		return BUCKET_INVALID;
	}
	r->depth++;
	if (array)
		r->array[r->depth / 8] |= (unsigned char)(1 << r->depth % 8);
	else
		r->array[r->depth / 8] &= (unsigned char)~(1 << r->depth % 8);
	return 0;
}

/* A value has ended at the present depth. */
static int value_ended(struct json_reader *r)
{
	int result = 0;

	r->state = AFTER;
	if (r->mode == JSON_VALUE) {
		if (r->depth == 0) {
			r->state = DONE;
			result = r->sink.entry(r->sink.context, slice_of(NULL, 0), buf_slice(&r->text));
		}
	} else if (r->depth == 1) {
		result = r->sink.entry(r->sink.context, buf_slice(&r->key), buf_slice(&r->text));
		buf_clear(&r->key);
		buf_clear(&r->text);
	}
	return result;
}

static int close_container(struct json_reader *r, unsigned char c, struct reason *why)
{
	int result;

	if (r->mode == JSON_OBJECTS && r->depth == 1) {
		r->depth = 0;
		r->state = BETWEEN;
		return r->sink.object ? r->sink.object(r->sink.context) : 0;
	}
	result = keep(r, &c, 1, why);
	if (result)
		return result;
	r->depth--;
	return value_ended(r);
}

static int begin_value(struct json_reader *r, unsigned char c, struct reason *why)
{
	int result;

	switch (c) {
	case '{':
	case '[':
		/* Written before the depth changes, so that it lands in the same buffer as the rest. */
		result = keep(r, &c, 1, why);
		r->state = c == '{' ? KEY_OR_END : VALUE_OR_END;
		return result ? result : push(r, c == '[', why);
	case '"':
		r->in_key = false;
		r->state = STRING;
		break;
	case '-':
		r->state = MINUS;
		break;
	case '0':
		r->state = ZERO;
		break;
	case 't':
		r->literal = "rue";
		r->state = LITERAL;
		break;
	case 'f':
		r->literal = "alse";
		r->state = LITERAL;
		break;
	case 'n':
		r->literal = "ull";
		r->state = LITERAL;
		break;
	default:
		if (!is_digit(c))
			return invalid(r, c, "a value", why);
		r->state = INTEGER;
	}
	return keep(r, &c, 1, why);
}

static int top_level(struct json_reader *r, unsigned char c, struct reason *why)
{
	static const unsigned char mark[3] = {0xef, 0xbb, 0xbf};

	if (r->state == AT_START) {
		if (r->mark < 3 && c == mark[r->mark]) {
			r->mark++;
			return 0;
		}
		if (r->mark == 0 && (c == 0xfe || c == 0xff || c == 0)) {
			reason_set_own(why, "line 1, column 1: this is UTF-16 or UTF-32; write UTF-8");
			return BUCKET_INVALID;
		}
		if (r->mark == 1 || r->mark == 2)
			return invalid(r, c, "the rest of a byte-order mark", why);
	}
	if (is_space(c)) {
		if (r->mark == 0)
			r->state = BETWEEN;
		return 0;
	}
	if (c != '{')
		return invalid(r, c, "'{' (a patch is a JSON object)", why);
	r->state = KEY_OR_END;
	return push(r, false, why);
}

static int structure(struct json_reader *r, unsigned char c, struct reason *why)
{
	int result;

	if (is_space(c))
		return 0;
	switch (r->state) {
	case KEY_OR_END:
		if (c == '}')
			return close_container(r, c, why);
		__attribute__((fallthrough));
	case KEY:
		if (c == 0 && r->depth == 1) {
			reason_set_own(why, "line %lu, column %lu: a NUL byte: is this UTF-16? write UTF-8", r->line, r->column);
			return BUCKET_INVALID;
		}
		if (c != '"')
			return invalid(r, c, r->state == KEY ? "'\"' (a key)" : "'\"' (a key) or '}'", why);
		r->in_key = true;
		r->state = STRING;
		return keep(r, &c, 1, why);
	case COLON:
		if (c != ':')
			return invalid(r, c, "':'", why);
		r->in_key = false;
		r->state = VALUE;
		/* The colon of a top-level member stands in neither of the two texts. */
		return r->depth == 1 && r->mode == JSON_OBJECTS ? 0 : keep(r, &c, 1, why);
	case VALUE_OR_END:
		if (c == ']')
			return close_container(r, c, why);
		__attribute__((fallthrough));
	case VALUE:
		return begin_value(r, c, why);
	case AFTER:
		if (c == (in_array(r) ? ']' : '}'))
			return close_container(r, c, why);
		if (c != ',')
			return invalid(r, c, in_array(r) ? "',' or ']'" : "',' or '}'", why);
		r->state = in_array(r) ? VALUE : KEY;
		if (r->depth == 1 && r->mode == JSON_OBJECTS)
			return 0;
		result = keep(r, &c, 1, why);
		return result;
	default:
		return invalid(r, c, "nothing more", why);
	}
}

/* RFC 3629 §4: which second bytes may follow a first one. */
static bool utf8_begin(unsigned char c, unsigned char *need, unsigned char *low, unsigned char *high)
{
	*low = 0x80;
	*high = 0xbf;
	if (c >= 0xc2 && c <= 0xdf) {
		*need = 1;
	} else if (c >= 0xe0 && c <= 0xef) {
		*need = 2;
		if (c == 0xe0)
			*low = 0xa0;
		if (c == 0xed)
			*high = 0x9f;
	} else if (c >= 0xf0 && c <= 0xf4) {
		*need = 3;
		if (c == 0xf0)
			*low = 0x90;
		if (c == 0xf4)
			*high = 0x8f;
	} else {
		return false;
	}
	return true;
}

static int string_byte(struct json_reader *r, unsigned char c, struct reason *why)
{
	int result;

	if (r->need) {
		if (c < r->low || c > r->high)
			return invalid(r, c, "valid UTF-8", why);
		r->need--;
		r->low = 0x80;
		r->high = 0xbf;
		return keep(r, &c, 1, why);
	}
	if (c < ' ')
		return invalid(r, c, "a string's next character (control characters are written \\u00xx)", why);
	if (c >= 0x80 && !utf8_begin(c, &r->need, &r->low, &r->high))
		return invalid(r, c, "valid UTF-8", why);
	result = keep(r, &c, 1, why);
	if (result)
		return result;
	if (c == '\\')
		r->state = ESCAPE;
	if (c != '"')
		return 0;
	if (r->in_key) {
		r->state = COLON;
		return 0;
	}
	return value_ended(r);
}

static int escape_byte(struct json_reader *r, unsigned char c, struct reason *why)
{
	if (r->state == HEX) {
		if (!is_digit(c) && !((c | 32) >= 'a' && (c | 32) <= 'f'))
			return invalid(r, c, "a hexadecimal digit", why);
		if (--r->hex == 0)
			r->state = STRING;
		return keep(r, &c, 1, why);
	}
	if (!c || !strchr("\"\\/bfnrtu", c))
		return invalid(r, c, "an escape (one of \" \\ / b f n r t u)", why);
	r->hex = 4;
	r->state = c == 'u' ? HEX : STRING;
	return keep(r, &c, 1, why);
}

static bool number_may_end(unsigned char state)
{
	return state == ZERO || state == INTEGER || state == FRACTION || state == EXPONENT_DIGITS;
}

/* Sets *again if the byte is not part of the number and must be looked at once more. */
static int number_byte(struct json_reader *r, unsigned char c, bool *again, struct reason *why)
{
	unsigned char next = 0;

	if (is_digit(c)) {
		switch (r->state) {
		case MINUS:
			next = c == '0' ? ZERO : INTEGER;
			break;
		case INTEGER:
			next = INTEGER;
			break;
		case POINT:
		case FRACTION:
			next = FRACTION;
			break;
		case EXPONENT:
		case EXPONENT_SIGN:
		case EXPONENT_DIGITS:
			next = EXPONENT_DIGITS;
			break;
		default: /* a digit after a leading zero */
			return invalid(r, c, "no digit after a leading zero", why);
		}
	} else if (c == '.' && (r->state == ZERO || r->state == INTEGER)) {
		next = POINT;
	} else if ((c | 32) == 'e' && number_may_end(r->state) && r->state != EXPONENT_DIGITS) {
		next = EXPONENT;
	} else if ((c == '+' || c == '-') && r->state == EXPONENT) {
		next = EXPONENT_SIGN;
	}
	if (next) {
		r->state = next;
		return keep(r, &c, 1, why);
	}
	if (!number_may_end(r->state))
		return invalid(r, c, "a digit", why);
	*again = true;
	return value_ended(r);
}

static int literal_byte(struct json_reader *r, unsigned char c, struct reason *why)
{
	int result;

	if (c != (unsigned char)*r->literal)
		return invalid(r, c, "true, false or null", why);
	r->literal++;
	result = keep(r, &c, 1, why);
	return result || *r->literal ? result : value_ended(r);
}

static int one_byte(struct json_reader *r, unsigned char c, struct reason *why)
{
	bool again = false;
	int result;

	do {
		again = false;
		if (r->state <= BETWEEN)
			result = top_level(r, c, why);
		else if (r->state == STRING)
			result = string_byte(r, c, why);
		else if (r->state == ESCAPE || r->state == HEX)
			result = escape_byte(r, c, why);
		else if (r->state >= MINUS && r->state <= EXPONENT_DIGITS)
			result = number_byte(r, c, &again, why);
		else if (r->state == LITERAL)
			result = literal_byte(r, c, why);
		else
			result = structure(r, c, why);
	} while (again && !result);
	return result;
}

/* The plain characters at the front: they need no state. */
static size_t plain_run(const unsigned char *at, size_t len)
{
	size_t n = 0;

	while (n < len && at[n] >= ' ' && at[n] < 0x80 && at[n] != '"' && at[n] != '\\')
		n++;
	return n;
}

int json_reader_feed(struct json_reader *r, const void *bytes, size_t len, struct reason *why)
{
	const unsigned char *at = bytes, *end;

	if (len == 0)
		return 0;
	end = at + len;
	while (at < end) {
		int result;
		size_t run = r->state == STRING && !r->need ? plain_run(at, (size_t)(end - at)) : 0;

		if (run) {
			result = keep(r, at, run, why);
			at += run;
			r->column += run;
		} else {
			result = one_byte(r, *at, why);
			r->column++;
			if (*at++ == '\n') {
				r->line++;
				r->column = 1;
			}
		}
		if (result)
			return result;
	}
	return 0;
}

int json_reader_finish(struct json_reader *r, struct reason *why)
{
	if (r->mode == JSON_VALUE && r->depth == 0 && number_may_end(r->state))
		return value_ended(r);
	if (r->mode == JSON_VALUE ? r->state == DONE : r->state == BETWEEN || (r->state == AT_START && r->mark == 0))
		return 0;
	reason_set_own(why, "line %lu, column %lu: the text ends here, unfinished", r->line, r->column);
	return BUCKET_INCOMPLETE;
}

static int read_value(struct slice text, unsigned depth_max, const struct json_sink *sink, struct reason *why)
{
	struct json_reader reader;
	int r;

	json_reader_init(&reader, JSON_VALUE, sink, 0);
	reader.depth_max = depth_max;
	r = json_reader_feed(&reader, text.at, text.len, why);
	if (!r)
		r = json_reader_finish(&reader, why);
	json_reader_release(&reader);
	return r;
}

static int ignore(void *context, struct slice key_text, struct slice value)
{
	(void)context, (void)key_text, (void)value;
	return 0;
}

int json_text_state(struct slice text, struct reason *why)
{
	return read_value(text, json_depth_max, &(struct json_sink){ignore, NULL, NULL}, why);
}

static int keep_value(void *context, struct slice key_text, struct slice value)
{
	(void)key_text;
	return buf_add_slice(context, value);
}

int json_compact(struct slice text, unsigned depth_max, struct buf *out, struct reason *why)
{
	int r = read_value(text, depth_max, &(struct json_sink){keep_value, NULL, out}, why);

	return r == BUCKET_INCOMPLETE ? BUCKET_INVALID : r;
}

/* ---- strings ---- */

static unsigned hex4(const unsigned char *at)
{
	unsigned v = 0;

	for (int i = 0; i < 4; i++)
		v = v << 4 | (unsigned)(is_digit(at[i]) ? at[i] - '0' : (at[i] | 32) - 'a' + 10);
	return v;
}

static int add_code_point(struct buf *out, unsigned c)
{
	unsigned char raw[4];
	size_t len;

	if (c < 0x80) {
		raw[0] = (unsigned char)c;
		len = 1;
	} else if (c < 0x800) {
		raw[0] = (unsigned char)(0xc0 | c >> 6);
		raw[1] = (unsigned char)(0x80 | (c & 0x3f));
		len = 2;
	} else if (c < 0x10000) {
		raw[0] = (unsigned char)(0xe0 | c >> 12);
		raw[1] = (unsigned char)(0x80 | (c >> 6 & 0x3f));
		raw[2] = (unsigned char)(0x80 | (c & 0x3f));
		len = 3;
	} else {
		raw[0] = (unsigned char)(0xf0 | c >> 18);
		raw[1] = (unsigned char)(0x80 | (c >> 12 & 0x3f));
		raw[2] = (unsigned char)(0x80 | (c >> 6 & 0x3f));
		raw[3] = (unsigned char)(0x80 | (c & 0x3f));
		len = 4;
	}
	return buf_add(out, raw, len);
}

static const char escaped[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";

int json_unquote(struct slice text, struct buf *out)
{
	const unsigned char *at = (const unsigned char *)text.at + 1, *end = at + text.len - 2;
	int r = buf_reserve(out, text.len);

	while (!r && at < end) {
		if (*at != '\\') {
			r = buf_add_byte(out, *at++);
		} else if (at[1] != 'u') {
			r = buf_add_byte(out, (unsigned char)meant[strchr(escaped, at[1]) - escaped]);
			at += 2;
		} else {
			unsigned c = hex4(at + 2), low;

			at += 6;
			if (c >= 0xd800 && c < 0xdc00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u' &&
			    (low = hex4(at + 2)) >= 0xdc00 && low < 0xe000) {
				c = 0x10000 + ((c - 0xd800) << 10 | (low - 0xdc00));
				at += 6;
			}
			r = add_code_point(out, c);
		}
	}
	return r;
}

/* How many bytes the character here has; 0: it is none. */
static size_t character_length(const unsigned char *at, const unsigned char *end)
{
	unsigned char need = 0, low = 0, high = 0;

	if (*at < 0x80)
		return 1;
	if (!utf8_begin(*at, &need, &low, &high) || end - at <= need || at[1] < low || at[1] > high)
		return 0;
	for (unsigned char i = 2; i <= need; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	return need + 1u;
}

int json_quote(struct slice bytes, struct buf *out)
{
	static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */
	const unsigned char *at = bytes.at, *end = at + bytes.len;
	int r = buf_add_byte(out, '"');
	size_t len;

	while (!r && at < end) {
		const char *found;

		if (*at == 0xed && end - at >= 3 && at[1] >= 0xa0) {
			r = buf_add_format(out, "\\u%04x", 0xd000u | (at[1] & 0x3fu) << 6 | (at[2] & 0x3fu));
			at += 3;
			continue;
		}
		len = character_length(at, end);
		if (*at != '/' && *at && (found = strchr(meant, *at)))
			r = buf_add_format(out, "\\%c", escaped[found - meant]);
		else if (*at < ' ')
			r = buf_add_format(out, "\\u%04x", *at);
		else if (len)
			r = buf_add(out, at, len);
		else
			r = buf_add_string(out, replacement);
		at += len ? len : 1;
	}
	return r ? r : buf_add_byte(out, '"');
}

bool json_is_utf8(struct slice bytes)
{
	const unsigned char *at = bytes.at;
	unsigned char need = 0, low = 0, high = 0;

	for (size_t i = 0; i < bytes.len; i++) {
		if (need) {
			if (at[i] < low || at[i] > high)
				return false;
			need--;
			low = 0x80;
			high = 0xbf;
		} else if (at[i] >= 0x80 && !utf8_begin(at[i], &need, &low, &high)) {
			return false;
		}
	}
	return need == 0;
}
