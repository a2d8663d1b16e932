/* ECMA-262 §22.2.1 (u flag) to PCRE2, construct by construct. Lone escapes of punctuation are let pass, as u alone would
 * not, because schemas are full of them. */
#include "bucket/pattern.h"

#include <errno.h>

#include "bucket/verdict.h"

struct translation {
	const char *at, *end;
	struct buf *out;
	struct reason *why;
	bool repeats;
	bool quantifiable; /* the last thing may be repeated */
};

/* §22.2.2.9 WhiteSpace and LineTerminator, and all else. Also valid inside a class. */
#define SPACES "\\x{9}-\\x{d}\\x{20}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}\\x{feff}"
#define NO_SPACES                                                                                                      \
	"\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}"              \
	"\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{fefe}\\x{ff00}-\\x{10ffff}"

static int refuse(struct translation *t, const char *what)
{
	reason_set(t->why, "%s", what);
	return BUCKET_INVALID;
}

static int add_code(struct translation *t, unsigned code)
{
	return buf_add_format(t->out, "\\x{%x}", code);
}

static bool read_hex(struct translation *t, int digits, unsigned *code)
{
	const char *at = t->at;

	*code = 0;
	for (int i = 0; i < digits; i++, at++) {
		int low = at < t->end ? *at | 32 : 0;

		if (at >= t->end || !((*at >= '0' && *at <= '9') || (low >= 'a' && low <= 'f')))
			return false;
		*code = *code << 4 | (unsigned)(*at <= '9' ? *at - '0' : low - 'a' + 10);
	}
	t->at = at;
	return true;
}

/* After \u: four digits, two such that are a surrogate pair, or {digits}. */
static int unicode_escape(struct translation *t)
{
	unsigned code = 0, low;

	if (t->at < t->end && *t->at == '{') {
		unsigned digit;

		for (t->at++; code <= 0x10ffff && read_hex(t, 1, &digit);)
			code = code << 4 | digit;
		if (code > 0x10ffff || t->at >= t->end || *t->at != '}' || t->at[-1] == '{')
			return refuse(t, "\\u{…} is not a code point");
		t->at++;
		return add_code(t, code);
	}
	if (!read_hex(t, 4, &code))
		return refuse(t, "\\u needs four hexadecimal digits");
	if (code >= 0xd800 && code < 0xdc00 && t->end - t->at >= 6 && t->at[0] == '\\' && t->at[1] == 'u') {
		t->at += 2;
		if (!read_hex(t, 4, &low) || low < 0xdc00 || low > 0xdfff)
			return refuse(t, "\\u has half a surrogate pair");
		code = 0x10000 + ((code - 0xd800) << 10 | (low - 0xdc00));
	}
	if (code >= 0xd800 && code < 0xe000)
		return refuse(t, "\\u has half a surrogate pair");
	return add_code(t, code);
}

/* The long names of general categories, which PCRE2 knows by the short ones only (UAX #44, table 12). */
static const char *const categories[][2] = {
	{"Letter", "L"}, {"Cased_Letter", "L&"}, {"Uppercase_Letter", "Lu"}, {"Lowercase_Letter", "Ll"},
	{"Titlecase_Letter", "Lt"}, {"Modifier_Letter", "Lm"}, {"Other_Letter", "Lo"}, {"Mark", "M"},
	{"Combining_Mark", "M"}, {"Nonspacing_Mark", "Mn"}, {"Spacing_Mark", "Mc"}, {"Enclosing_Mark", "Me"},
	{"Number", "N"}, {"Decimal_Number", "Nd"}, {"digit", "Nd"}, {"Letter_Number", "Nl"}, {"Other_Number", "No"},
	{"Punctuation", "P"}, {"punct", "P"}, {"Connector_Punctuation", "Pc"}, {"Dash_Punctuation", "Pd"},
	{"Open_Punctuation", "Ps"}, {"Close_Punctuation", "Pe"}, {"Initial_Punctuation", "Pi"},
	{"Final_Punctuation", "Pf"}, {"Other_Punctuation", "Po"}, {"Symbol", "S"}, {"Math_Symbol", "Sm"},
	{"Currency_Symbol", "Sc"}, {"Modifier_Symbol", "Sk"}, {"Other_Symbol", "So"}, {"Separator", "Z"},
	{"Space_Separator", "Zs"}, {"Line_Separator", "Zl"}, {"Paragraph_Separator", "Zp"}, {"Other", "C"},
	{"Control", "Cc"}, {"cntrl", "Cc"}, {"Format", "Cf"}, {"Surrogate", "Cs"}, {"Private_Use", "Co"},
	{"Unassigned", "Cn"},
};

/* After \p or \P. */
static int property_escape(struct translation *t, char letter)
{
	static const char *const prefixes[] = {"General_Category=", "gc="};
	const char *close;
	struct slice name;

	if (t->at >= t->end || *t->at != '{' || !(close = memchr(t->at, '}', (size_t)(t->end - t->at))))
		return refuse(t, "\\p needs a {property}");
	name = slice_of(t->at + 1, (size_t)(close - t->at) - 1);
	t->at = close + 1;
	if (memchr(name.at, '^', name.len))
		return refuse(t, "\\p needs a {property}");
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++) {
		struct slice prefix = slice_str(prefixes[i]);

		if (slice_starts_with(name, prefix))
			name = slice_of((const char *)name.at + prefix.len, name.len - prefix.len);
	}
	for (size_t i = 0; i < sizeof(categories) / sizeof(*categories); i++)
		if (slice_equal(name, slice_str(categories[i][0])))
			name = slice_str(categories[i][1]);
	return buf_add_format(t->out, "\\%c{%.*s}", letter, (int)name.len, (const char *)name.at);
}

static int group_reference(struct translation *t)
{
	const char *close;

	if (t->at >= t->end || *t->at != '<' || !(close = memchr(t->at, '>', (size_t)(t->end - t->at))))
		return refuse(t, "\\k needs the <name> of a group");
	close++;
	if (buf_add_string(t->out, "\\k") || buf_add(t->out, t->at, (size_t)(close - t->at)))
		return -ENOMEM;
	t->at = close;
	return 0;
}

static int number_reference(struct translation *t)
{
	unsigned number = 0;

	while (t->at < t->end && *t->at >= '0' && *t->at <= '9' && number < 100000)
		number = number * 10 + (unsigned)(*t->at++ - '0');
	return buf_add_format(t->out, "\\g{%u}", number);
}

static int control_escape(struct translation *t)
{
	int letter = t->at < t->end ? *t->at | 32 : 0;

	if (letter < 'a' || letter > 'z')
		return refuse(t, "\\c needs a letter");
	t->at++;
	return add_code(t, (unsigned)letter & 31);
}

static int escape(struct translation *t, bool in_class)
{
	unsigned code;
	char c;

	if (t->at >= t->end)
		return refuse(t, "it ends with a \\");
	c = *t->at++;
	switch (c) {
	case 'd':
	case 'D':
	case 'w':
	case 'W':
	case 'f':
	case 'n':
	case 'r':
	case 't':
		return buf_add_format(t->out, "\\%c", c);
	case 's':
		return buf_add_string(t->out, in_class ? SPACES : "[" SPACES "]");
	case 'S':
		return buf_add_string(t->out, in_class ? NO_SPACES : "[" NO_SPACES "]");
	case 'v':
		return add_code(t, '\v');
	case 'b':
		t->quantifiable = in_class;
		return in_class ? add_code(t, '\b') : buf_add_string(t->out, "\\b");
	case 'B':
		t->quantifiable = false;
		return in_class ? refuse(t, "\\B in a class") : buf_add_string(t->out, "\\B");
	case 'c':
		return control_escape(t);
	case 'x':
		return read_hex(t, 2, &code) ? add_code(t, code) : refuse(t, "\\x needs two hexadecimal digits");
	case 'u':
		return unicode_escape(t);
	case 'p':
	case 'P':
		return property_escape(t, c);
	case 'k':
		return in_class ? refuse(t, "\\k in a class") : group_reference(t);
	case '0':
		return t->at < t->end && *t->at >= '0' && *t->at <= '9' ? refuse(t, "octal escapes are not ECMA-262's") : add_code(t, 0);
	default:
		break;
	}
	if (c >= '1' && c <= '9' && !in_class) {
		t->at--;
		return number_reference(t);
	}
	if ((c | 32) >= 'a' && (c | 32) <= 'z') {
		reason_set(t->why, "\\%c is not ECMA-262's", c);
		return BUCKET_INVALID;
	}
	if ((c >= '0' && c <= '9') || (unsigned char)c >= 0x80)
		return refuse(t, "a \\ before what needs none");
	return add_code(t, (unsigned char)c);
}

static int class(struct translation *t)
{
	int r;

	/* [] matches nothing. PCRE2 has that as well, but ignores a quantifier behind it. */
	if (t->at < t->end && *t->at == ']') {
		t->at++;
		t->quantifiable = true;
		return buf_add_string(t->out, "[^\\x{0}-\\x{10ffff}]");
	}
	r = buf_add_byte(t->out, '[');
	if (!r && t->at < t->end && *t->at == '^')
		r = buf_add_byte(t->out, (unsigned char)*t->at++);
	while (!r && t->at < t->end && *t->at != ']') {
		char c = *t->at++;

		if (c == '\\')
			r = escape(t, true);
		else if (c && strchr("[:.=", c)) /* where PCRE2 might see [:alpha:], or refuse [.a.] */
			r = buf_add_format(t->out, "\\%c", c);
		else
			r = buf_add_byte(t->out, (unsigned char)c);
	}
	if (r)
		return r;
	if (t->at >= t->end)
		return refuse(t, "a [ without its ]");
	t->at++;
	t->quantifiable = true;
	return buf_add_byte(t->out, ']');
}

/* After a (: what may follow it in ECMA-262 and nothing else. */
static int group(struct translation *t)
{
	static const char *const kinds[] = {"?:", "?=", "?!", "?<=", "?<!"};
	struct slice rest = slice_of(t->at, (size_t)(t->end - t->at));
	struct slice kind = {0};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (slice_starts_with(rest, slice_str(kinds[i])))
			kind = slice_str(kinds[i]);
	if (!kind.at && slice_starts_with(rest, slice_str("?<")))
		kind = slice_str("?<");
	if (!kind.at && rest.len && (*t->at == '?' || *t->at == '*'))
		return refuse(t, "a group that ECMA-262 does not know");
	t->at += kind.len;
	t->quantifiable = false;
	return buf_add_byte(t->out, '(') || buf_add_slice(t->out, kind) ? -ENOMEM : 0;
}

/* The bytes of {n}, {n,} or {n,m} here; 0 if it is none. */
static size_t braces(const struct translation *t, bool *open_ended)
{
	const char *at = t->at + 1;
	const char *digits = at;

	while (at < t->end && *at >= '0' && *at <= '9')
		at++;
	if (at == digits)
		return 0;
	*open_ended = false;
	if (at < t->end && *at == ',') {
		digits = ++at;
		while (at < t->end && *at >= '0' && *at <= '9')
			at++;
		*open_ended = at == digits;
	}
	return at < t->end && *at == '}' ? (size_t)(at + 1 - t->at) : 0;
}

static int quantifier(struct translation *t)
{
	bool open_ended = *t->at == '*' || *t->at == '+';
	size_t len = *t->at == '{' ? braces(t, &open_ended) : 1;
	int r;

	if (len == 0) {
		t->at++;
		t->quantifiable = true;
		return buf_add_string(t->out, "\\{");
	}
	if (!t->quantifiable)
		return refuse(t, "nothing to repeat");
	t->repeats = t->repeats || open_ended;
	r = buf_add(t->out, t->at, len);
	t->at += len;
	if (!r && t->at < t->end && *t->at == '?')
		r = buf_add_byte(t->out, (unsigned char)*t->at++);
	t->quantifiable = false;
	return r;
}

static int one(struct translation *t)
{
	char c = *t->at;

	switch (c) {
	case '*':
	case '+':
	case '?':
	case '{':
		return quantifier(t);
	case '\\':
		t->at++;
		t->quantifiable = true;
		return escape(t, false);
	case '[':
		t->at++;
		return class(t);
	case '(':
		t->at++;
		return group(t);
	case '.':
		t->at++;
		t->quantifiable = true;
		return buf_add_string(t->out, "[^\\n\\r\\x{2028}\\x{2029}]");
	default:
		t->at++;
		t->quantifiable = c != '^' && c != '$' && c != '|';
		return buf_add_byte(t->out, (unsigned char)c);
	}
}

int pattern_translate(struct slice text, struct buf *out, bool *repeats, struct reason *why)
{
	struct translation t = {.at = text.at, .end = (const char *)text.at + text.len, .out = out, .why = why};
	int r = 0;

	while (!r && t.at < t.end)
		r = one(&t);
	*repeats = t.repeats;
	return r;
}
