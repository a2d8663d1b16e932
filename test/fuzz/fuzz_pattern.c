/* Regular expressions. Any text: a match ends within its steps and is the same a second time. What is in the part of
 * the language that everybody means the same by is matched here by a second matcher as well, which knows no
 * backtracking: it carries the set of all places that can be reached. The input is an expression, a NUL, and a
 * subject. */
#include "bucket/pattern.h"
#include "bucket/json.h"
#include "fuzz.h"

enum { subject_max = 63, rounds_max = 2000, repeat_max = 12, depth_max = 20, steps = 200000 };

/* Bit n of a set: before the nth byte. */
struct second {
	const char *at, *end;
	const char *subject;
	size_t len;
	unsigned depth, rounds;
	bool unknown; /* something that this matcher has no opinion of */
};

static uint64_t match_alternatives(struct second *s, uint64_t in);

static bool is_word(const struct second *s, size_t at)
{
	char c = at < s->len ? s->subject[at] : 0;

	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* A set of characters: bit n of byte n / 8. */
struct set {
	uint8_t bits[16];
};

static void set_add(struct set *set, unsigned from, unsigned to)
{
	for (unsigned c = from; c <= to && c < 128; c++)
		set->bits[c / 8] |= (uint8_t)(1u << c % 8);
}

static bool set_has(const struct set *set, unsigned char c)
{
	return c < 128 && set->bits[c / 8] >> c % 8 & 1;
}

static void set_turn(struct set *set)
{
	for (size_t i = 0; i < sizeof(set->bits); i++)
		set->bits[i] = (uint8_t)~set->bits[i];
}

/* \d and the like. False: another escape. */
static bool add_kind(struct set *set, char letter)
{
	struct set own = {{0}};

	switch (letter | 32) {
	case 'd':
		set_add(&own, '0', '9');
		break;
	case 'w':
		set_add(&own, '0', '9');
		set_add(&own, 'a', 'z');
		set_add(&own, 'A', 'Z');
		set_add(&own, '_', '_');
		break;
	case 's':
		set_add(&own, 9, 13);
		set_add(&own, ' ', ' ');
		break;
	default:
		return false;
	}
	if (letter < 'a')
		set_turn(&own);
	for (size_t i = 0; i < sizeof(own.bits); i++)
		set->bits[i] |= own.bits[i];
	return true;
}

static uint64_t match_set(const struct second *s, const struct set *set, uint64_t in)
{
	uint64_t out = 0;

	for (size_t i = 0; i < s->len; i++)
		if (in >> i & 1 && set_has(set, (unsigned char)s->subject[i]))
			out |= (uint64_t)2 << i;
	return out;
}

static uint64_t match_escape(struct second *s, uint64_t in)
{
	struct set set = {{0}};
	uint64_t out = 0;
	char c = s->at < s->end ? *s->at++ : 0;

	if (c == 'b' || c == 'B') {
		for (size_t i = 0; i <= s->len; i++)
			if (in >> i & 1 && ((i && is_word(s, i - 1)) != is_word(s, i)) == (c == 'b'))
				out |= (uint64_t)1 << i;
		return out;
	}
	if (c && strchr(".*+?()[]{}|^$\\/-", c))
		set_add(&set, (unsigned char)c, (unsigned char)c);
	else if (c == 'n')
		set_add(&set, '\n', '\n');
	else if (!add_kind(&set, c))
		s->unknown = true;
	return match_set(s, &set, in);
}

/* After the [. Plain characters, their ranges, and \d and the like. */
static uint64_t match_class(struct second *s, uint64_t in)
{
	struct set set = {{0}};
	bool turn = s->at < s->end && *s->at == '^';

	s->at += turn;
	while (s->at < s->end && *s->at != ']') {
		unsigned char from = (unsigned char)*s->at++, to = from;

		if (from == '\\') {
			s->unknown = s->unknown || s->at == s->end || !add_kind(&set, *s->at);
			s->at += s->at < s->end;
			/* Whether \d-z is a range is another question. */
			s->unknown = s->unknown || (s->at < s->end && *s->at == '-');
			continue;
		}
		if (s->end - s->at >= 2 && *s->at == '-' && s->at[1] != ']') {
			to = (unsigned char)s->at[1];
			s->at += 2;
			s->unknown = s->unknown || to == '\\' || to < from;
		}
		s->unknown = s->unknown || from == '[' || to == '[';
		set_add(&set, from, to);
	}
	s->unknown = s->unknown || s->at == s->end;
	s->at += s->at < s->end;
	if (turn)
		set_turn(&set);
	return match_set(s, &set, in);
}

/* After (?= or (?!. */
static uint64_t match_ahead(struct second *s, uint64_t in, bool negative)
{
	const char *from = s->at;
	uint64_t out = 0;

	for (size_t i = 0; i <= s->len; i++) {
		bool found;

		s->at = from;
		found = match_alternatives(s, (uint64_t)1 << i) != 0;
		if (in >> i & 1 && found != negative)
			out |= (uint64_t)1 << i;
	}
	return out;
}

static uint64_t match_group(struct second *s, uint64_t in, bool *repeatable)
{
	uint64_t out;

	if (s->at < s->end && *s->at == '?') {
		char kind = s->end - s->at >= 2 ? s->at[1] : 0;

		s->unknown = s->unknown || !kind || !strchr(":=!", kind);
		s->at += s->end - s->at >= 2 ? 2 : 1;
		*repeatable = kind == ':';
		out = kind == ':' ? match_alternatives(s, in) : match_ahead(s, in, kind == '!');
	} else {
		out = match_alternatives(s, in);
	}
	s->unknown = s->unknown || s->at == s->end;
	s->at += s->at < s->end;
	return out;
}

static uint64_t match_atom(struct second *s, uint64_t in, bool *repeatable)
{
	struct set set = {{0}};
	char c = *s->at++;
	uint64_t out;

	*repeatable = true;
	if (++s->rounds > rounds_max || s->depth > depth_max)
		s->unknown = true;
	if (s->unknown)
		return 0;
	s->depth++;
	switch (c) {
	case '(':
		out = match_group(s, in, repeatable);
		break;
	case '[':
		out = match_class(s, in);
		break;
	case '\\':
		*repeatable = s->at < s->end && (*s->at | 32) != 'b';
		out = match_escape(s, in);
		break;
	case '^':
		*repeatable = false;
		out = in & 1;
		break;
	case '$':
		*repeatable = false;
		out = in & (uint64_t)1 << s->len;
		break;
	case '.':
		set_add(&set, '\n', '\n');
		set_add(&set, '\r', '\r');
		set_turn(&set);
		out = match_set(s, &set, in);
		break;
	default:
		s->unknown = s->unknown || strchr("*+?{}])", c) != NULL;
		set_add(&set, (unsigned char)c, (unsigned char)c);
		out = match_set(s, &set, in);
	}
	s->depth--;
	return out;
}

/* {n}, {n,} and {n,m}, of at most two digits each. */
static bool read_braces(struct second *s, unsigned *least, unsigned *most)
{
	char text[16] = "";
	size_t len = (size_t)(s->end - s->at) < sizeof(text) - 1 ? (size_t)(s->end - s->at) : sizeof(text) - 1;
	int n = 0;

	memcpy(text, s->at, len);
	if (text[1] < '0' || text[1] > '9')
		return false;
	if (sscanf(text, "{%2u}%n", least, &n) == 1 && n) {
		*most = *least;
	} else if (sscanf(text, "{%2u,}%n", least, &n) == 1 && n) {
		*most = UINT32_MAX;
	} else if (!(text[strcspn(text, ",")] && text[strcspn(text, ",") + 1] >= '0' &&
		     text[strcspn(text, ",") + 1] <= '9' && sscanf(text, "{%2u,%2u}%n", least, most, &n) == 2 && n)) {
		return false;
	}
	s->at += n;
	return *least <= repeat_max && (*most <= repeat_max || *most == UINT32_MAX) && *least <= *most;
}

static uint64_t match_repeated(struct second *s, const char *from, uint64_t in, unsigned least, unsigned most)
{
	const char *behind = s->at;
	uint64_t now = in, all = least ? 0 : in;
	bool repeatable;

	for (unsigned n = 1; n <= most && now && !s->unknown; n++) {
		uint64_t before = all;

		s->at = from;
		now = match_atom(s, now, &repeatable);
		if (n >= least) {
			all |= now;
			/* Without an upper bound only places that are new lead to more. */
			if (most == UINT32_MAX && n > least && all == before)
				break;
		}
	}
	s->at = behind;
	return all;
}

static uint64_t match_sequence(struct second *s, uint64_t in)
{
	while (s->at < s->end && *s->at != '|' && *s->at != ')' && !s->unknown) {
		const char *from = s->at;
		unsigned least = 1, most = 1;
		bool repeatable, repeated = true;
		uint64_t once = match_atom(s, in, &repeatable);
		char c = s->at < s->end ? *s->at : 0;

		if (c == '*' || c == '+' || c == '?') {
			least = c == '+';
			most = c == '?' ? 1 : UINT32_MAX;
			s->at++;
		} else if (c == '{') {
			s->unknown = s->unknown || !read_braces(s, &least, &most);
		} else {
			repeated = false;
		}
		if (repeated && s->at < s->end && *s->at == '?')
			s->at++;
		s->unknown = s->unknown || (repeated && !repeatable);
		in = repeated ? match_repeated(s, from, in, least, most) : once;
	}
	return in;
}

static uint64_t match_alternatives(struct second *s, uint64_t in)
{
	uint64_t out = match_sequence(s, in);

	while (s->at < s->end && *s->at == '|' && !s->unknown) {
		s->at++;
		out |= match_sequence(s, in);
	}
	return out;
}

static bool is_simple(struct slice text)
{
	const unsigned char *at = text.at;

	for (size_t i = 0; i < text.len; i++)
		if (at[i] >= 0x7f || (at[i] < ' ' && at[i] != '\n'))
			return false;
	return true;
}

/* Whether the second matcher has an opinion, and which. */
static bool second_opinion(struct slice text, struct slice subject, bool *yes)
{
	struct second s = {
	    .at = text.at, .end = (const char *)text.at + text.len, .subject = subject.at, .len = subject.len};
	uint64_t all;

	if (!is_simple(text) || !is_simple(subject) || subject.len > subject_max)
		return false;
	all = subject.len == subject_max ? UINT64_MAX : ((uint64_t)2 << subject.len) - 1;
	*yes = match_alternatives(&s, all) != 0;
	return !s.unknown && s.at == s.end;
}

static void check_match(const struct pattern *p, struct slice text, struct slice subject)
{
	uint64_t left = steps, left_again = steps;
	struct matcher m = {0};
	bool yes, again, opinion;
	int r = pattern_match(p, &m, subject, &left, &yes);

	CLAIM(r == 0 || r == PATTERN_EXHAUSTED);
	CLAIM(left <= steps);
	CLAIM(pattern_match(p, &m, subject, &left_again, &again) == r && left_again == left);
	CLAIM(r || yes == again);
	if (!r && second_opinion(text, subject, &opinion))
		CLAIM(yes == opinion);
	matcher_release(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = size ? memchr(data, 0, size) : NULL;
	struct slice text = slice_of(data, end ? (size_t)(end - data) : size), subject = slice_of("", 0);
	struct reason why = {.text = ""};
	struct pattern *p;
	bool opinion;
	uint8_t *copy;

	if (end)
		subject = slice_of(end + 1, size - text.len - 1);
	/* Both come out of a JSON text. */
	if (!json_is_utf8(text) || !json_is_utf8(subject))
		return 0;
	copy = malloc(subject.len ? subject.len : 1);
	CLAIM(copy);
	memcpy(copy, subject.at, subject.len);
	subject.at = copy;
	if (!pattern_compile(&p, text, &why)) {
		check_match(p, text, subject);
		pattern_free(p);
	} else {
		CLAIM(*why.text);
		CLAIM(!second_opinion(text, subject, &opinion));
	}
	free(copy);
	return 0;
}
