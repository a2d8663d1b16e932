/* The JSON reader: any text, in one piece, in bytes and in random pieces, gives the same entries and the same
 * verdict; a second reader, written from RFC 8259, has the same opinion. */
#include "bucket/document.h"
#include "bucket/json_tree.h"
#include "bucket/verdict.h"
#include "fuzz.h"

/* ---- the second reader: of a whole text, by recursion ---- */

enum opinion { GOOD = 0, UNFINISHED = BUCKET_INCOMPLETE, WRONG = BUCKET_INVALID };

struct reference {
	const uint8_t *at, *end;
	unsigned depth_max;
	struct buf *out; /* the text without its white space */
};

static void take(struct reference *r)
{
	CLAIM(!buf_add_byte(r->out, *r->at++));
}

static void skip_space(struct reference *r)
{
	while (r->at < r->end && memchr(" \t\n\r", *r->at, 4))
		r->at++;
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static enum opinion reference_word(struct reference *r, const char *word)
{
	for (; *word; word++) {
		if (r->at == r->end)
			return UNFINISHED;
		if (*r->at != (uint8_t)*word)
			return WRONG;
		take(r);
	}
	return GOOD;
}

static enum opinion reference_digits(struct reference *r)
{
	if (r->at == r->end)
		return UNFINISHED;
	if (!is_digit(*r->at))
		return WRONG;
	while (r->at < r->end && is_digit(*r->at))
		take(r);
	return GOOD;
}

/* number = [ minus ] int [ frac ] [ exp ] */
static enum opinion reference_number(struct reference *r)
{
	enum opinion o;

	if (*r->at == '-')
		take(r);
	if (r->at < r->end && *r->at == '0') {
		take(r);
		if (r->at < r->end && is_digit(*r->at))
			return WRONG;
	} else if ((o = reference_digits(r))) {
		return o;
	}
	if (r->at < r->end && *r->at == '.') {
		take(r);
		if ((o = reference_digits(r)))
			return o;
	}
	if (r->at < r->end && (*r->at == 'e' || *r->at == 'E')) {
		take(r);
		if (r->at < r->end && (*r->at == '+' || *r->at == '-'))
			take(r);
		return reference_digits(r);
	}
	return GOOD;
}

/* The Unicode Standard, table 3-7: the well-formed sequences, row by row. */
static const uint8_t well_formed[][4][2] = {
	{{0xc2, 0xdf}, {0x80, 0xbf}},
	{{0xe0, 0xe0}, {0xa0, 0xbf}, {0x80, 0xbf}},
	{{0xe1, 0xec}, {0x80, 0xbf}, {0x80, 0xbf}},
	{{0xed, 0xed}, {0x80, 0x9f}, {0x80, 0xbf}},
	{{0xee, 0xef}, {0x80, 0xbf}, {0x80, 0xbf}},
	{{0xf0, 0xf0}, {0x90, 0xbf}, {0x80, 0xbf}, {0x80, 0xbf}},
	{{0xf1, 0xf3}, {0x80, 0xbf}, {0x80, 0xbf}, {0x80, 0xbf}},
	{{0xf4, 0xf4}, {0x80, 0x8f}, {0x80, 0xbf}, {0x80, 0xbf}},
};

/* The length of the character at `at`. UNFINISHED if the text ends in it. */
static enum opinion reference_character(const uint8_t *at, const uint8_t *end, size_t *len)
{
	*len = 1;
	if (*at < 0x80)
		return GOOD;
	for (size_t row = 0; row < sizeof(well_formed) / sizeof(*well_formed); row++) {
		if (*at < well_formed[row][0][0] || *at > well_formed[row][0][1])
			continue;
		for (; *len < 4 && well_formed[row][*len][1]; (*len)++) {
			if (at + *len == end)
				return UNFINISHED;
			if (at[*len] < well_formed[row][*len][0] || at[*len] > well_formed[row][*len][1])
				return WRONG;
		}
		return GOOD;
	}
	return WRONG;
}

static enum opinion reference_escape(struct reference *r)
{
	take(r);
	if (r->at == r->end)
		return UNFINISHED;
	if (*r->at != 'u') {
		if (!memchr("\"\\/bfnrt", *r->at, 8))
			return WRONG;
		take(r);
		return GOOD;
	}
	take(r);
	for (int i = 0; i < 4; i++) {
		if (r->at == r->end)
			return UNFINISHED;
		if (!memchr("0123456789abcdefABCDEF", *r->at, 22))
			return WRONG;
		take(r);
	}
	return GOOD;
}

static enum opinion reference_string(struct reference *r)
{
	enum opinion o;
	size_t len;

	take(r);
	for (;;) {
		if (r->at == r->end)
			return UNFINISHED;
		if (*r->at == '"') {
			take(r);
			return GOOD;
		}
		if (*r->at < 0x20)
			return WRONG;
		if (*r->at == '\\') {
			if ((o = reference_escape(r)))
				return o;
			continue;
		}
		if ((o = reference_character(r->at, r->end, &len)))
			return o;
		while (len--)
			take(r);
	}
}

typedef enum opinion member_rule(struct reference *r, unsigned depth, void *context);

/* A container: what stands between its brackets is for `member`. */
static enum opinion reference_list(struct reference *r, unsigned depth, uint8_t close, member_rule *member,
				   void *context)
{
	enum opinion o;

	if (depth > r->depth_max)
		return WRONG;
	skip_space(r);
	if (r->at < r->end && *r->at == close) {
		take(r);
		return GOOD;
	}
	for (;;) {
		skip_space(r);
		if (r->at == r->end)
			return UNFINISHED;
		if ((o = member(r, depth, context)))
			return o;
		skip_space(r);
		if (r->at == r->end)
			return UNFINISHED;
		if (*r->at != close && *r->at != ',')
			return WRONG;
		take(r);
		if (r->at[-1] == close)
			return GOOD;
	}
}

static enum opinion reference_value(struct reference *r, unsigned depth);

static enum opinion reference_item(struct reference *r, unsigned depth, void *context)
{
	(void)context;
	return reference_value(r, depth);
}

static enum opinion reference_key(struct reference *r)
{
	enum opinion o;

	if (*r->at != '"')
		return WRONG;
	if ((o = reference_string(r)))
		return o;
	skip_space(r);
	if (r->at == r->end)
		return UNFINISHED;
	if (*r->at != ':')
		return WRONG;
	take(r);
	skip_space(r);
	return r->at == r->end ? UNFINISHED : GOOD;
}

static enum opinion reference_member(struct reference *r, unsigned depth, void *context)
{
	enum opinion o = reference_key(r);

	(void)context;
	return o ? o : reference_value(r, depth);
}

/* `depth`: how many containers it stands in. */
static enum opinion reference_value(struct reference *r, unsigned depth)
{
	switch (*r->at) {
	case '{':
		take(r);
		return reference_list(r, depth + 1, '}', reference_member, NULL);
	case '[':
		take(r);
		return reference_list(r, depth + 1, ']', reference_item, NULL);
	case '"':
		return reference_string(r);
	case 't':
		return reference_word(r, "true");
	case 'f':
		return reference_word(r, "false");
	case 'n':
		return reference_word(r, "null");
	default:
		return *r->at == '-' || is_digit(*r->at) ? reference_number(r) : WRONG;
	}
}

static enum opinion reference_whole_value(struct slice text, unsigned depth_max, struct buf *out)
{
	struct reference r = {text.at, (const uint8_t *)text.at + text.len, depth_max, out};
	enum opinion o;

	skip_space(&r);
	if (r.at == r.end)
		return UNFINISHED;
	if ((o = reference_value(&r, 0)))
		return o;
	skip_space(&r);
	return r.at == r.end ? GOOD : WRONG;
}

/* An entry in the list of what happened: its key, a NUL, its value, a NUL. The end of an object is one byte, 1. */
static void note_entry(struct buf *events, struct slice key, struct slice value)
{
	CLAIM(!buf_add_slice(events, key) && !buf_add_byte(events, 0));
	CLAIM(!buf_add_slice(events, value) && !buf_add_byte(events, 0));
}

static enum opinion reference_entry(struct reference *r, unsigned depth, void *context)
{
	size_t began = r->out->len, colon;
	enum opinion o = reference_key(r);

	if (o)
		return o;
	colon = r->out->len - 1;
	o = reference_value(r, depth);
	/* The reader tells of a number when it sees the byte behind it. */
	if (!o && r->at < r->end)
		note_entry(context, slice_of(r->out->data + began, colon - began),
			   slice_of(r->out->data + colon + 1, r->out->len - colon - 1));
	else if (!o && !is_digit(r->at[-1]))
		note_entry(context, slice_of(r->out->data + began, colon - began),
			   slice_of(r->out->data + colon + 1, r->out->len - colon - 1));
	return o;
}

static enum opinion reference_objects(struct slice text, struct buf *events)
{
	struct buf out = {0};
	struct reference r = {text.at, (const uint8_t *)text.at + text.len, json_depth_max, &out};
	enum opinion o = GOOD;

	for (size_t i = 0; i < 3 && r.at < r.end && *r.at == (uint8_t)"\xef\xbb\xbf"[i]; i++)
		r.at++;
	if (r.at != text.at && r.at - (const uint8_t *)text.at < 3)
		return r.at == r.end ? UNFINISHED : WRONG;
	/* A byte-order mark alone is the beginning of a document. */
	if (r.at != text.at) {
		skip_space(&r);
		if (r.at == r.end)
			o = UNFINISHED;
	}
	skip_space(&r);
	while (!o && r.at < r.end) {
		o = WRONG;
		if (*r.at != '{')
			break;
		take(&r);
		o = reference_list(&r, 1, '}', reference_entry, events);
		if (!o)
			CLAIM(!buf_add_byte(events, 1));
		skip_space(&r);
	}
	buf_release(&out);
	return o;
}

/* ---- the reader ---- */

static int on_entry(void *context, struct slice key, struct slice value)
{
	note_entry(context, key, value);
	return 0;
}

static int on_object(void *context)
{
	CLAIM(!buf_add_byte(context, 1));
	return 0;
}

static unsigned always_one(void *context)
{
	(void)context;
	return 1;
}

static unsigned random_piece(void *context)
{
	uint32_t *state = context;

	*state = *state * 1664525 + 1013904223;
	return *state >> 28;
}

/* In pieces, each in memory of its own. */
static int read_pieces(struct json_reader *r, struct slice text, unsigned (*piece)(void *context), void *context)
{
	const uint8_t *at = text.at;
	int result = 0;

	for (size_t from = 0, n; !result && from < text.len; from += n) {
		uint8_t *copy;

		n = piece(context);
		n = n < text.len - from ? n : text.len - from;
		copy = malloc(n + 1);
		CLAIM(copy);
		memcpy(copy, at + from, n);
		/* One exact piece: the byte more is for a piece of none. */
		result = json_reader_feed(r, copy + 1, 0, NULL);
		CLAIM(!result);
		copy = realloc(copy, n ? n : 1);
		result = json_reader_feed(r, copy, n, NULL);
		free(copy);
	}
	return result ? result : json_reader_finish(r, NULL);
}

static int read_all(struct json_reader *r, struct slice text)
{
	int result = json_reader_feed(r, text.at, text.len, NULL);

	return result ? result : json_reader_finish(r, NULL);
}

static int check_mode(struct slice text, enum json_mode mode, size_t text_max, struct buf *events)
{
	struct buf other = {0};
	struct json_sink sink = {on_entry, on_object, events}, again = {on_entry, on_object, &other};
	struct json_reader r;
	uint32_t seed = (uint32_t)slice_hash(text, 1);
	int verdict, second;

	json_reader_init(&r, mode, &sink, text_max);
	verdict = read_all(&r, text);
	r.sink = again;
	json_reader_reset(&r);
	second = read_pieces(&r, text, always_one, NULL);
	CLAIM(second == verdict);
	CLAIM(slice_equal(buf_slice(events), buf_slice(&other)));
	buf_clear(&other);
	json_reader_reset(&r);
	second = read_pieces(&r, text, random_piece, &seed);
	CLAIM(second == verdict);
	CLAIM(slice_equal(buf_slice(events), buf_slice(&other)));
	json_reader_release(&r);
	buf_release(&other);
	return verdict;
}

/* Of a string that was accepted: what it stands for is written as one string only, which stands for the same. */
static void check_string(struct slice text)
{
	struct buf bytes = {0}, quoted = {0}, again = {0}, out = {0};

	CLAIM(!json_unquote(text, &bytes));
	CLAIM(!json_quote(buf_slice(&bytes), &quoted));
	CLAIM(reference_whole_value(buf_slice(&quoted), 0, &out) == GOOD);
	CLAIM(!json_unquote(buf_slice(&quoted), &again));
	CLAIM(slice_equal(buf_slice(&bytes), buf_slice(&again)));
	buf_release(&bytes);
	buf_release(&quoted);
	buf_release(&again);
	buf_release(&out);
}

static void check_value(struct slice text, unsigned depth_max)
{
	struct buf compact = {0}, expected = {0}, twice = {0};
	struct reason why = {.text = ""};
	struct json_tree tree;
	int opinion = reference_whole_value(text, json_depth_max, &expected), r;

	CLAIM(json_text_state(text, &why) == opinion);
	CLAIM(!opinion || *why.text);
	r = json_tree_parse(&tree, text, NULL);
	CLAIM(r == (opinion ? BUCKET_INVALID : 0));
	if (!r) {
		CLAIM(tree.root);
		CLAIM(json_node_compare(tree.root, tree.root) == 0);
		json_tree_release(&tree);
	}
	buf_clear(&expected);
	opinion = reference_whole_value(text, depth_max, &expected);
	r = json_compact(text, depth_max, &compact, NULL);
	CLAIM(r == (opinion ? BUCKET_INVALID : 0));
	if (!r) {
		CLAIM(slice_equal(buf_slice(&compact), buf_slice(&expected)));
		CLAIM(!json_compact(buf_slice(&compact), depth_max, &twice, NULL));
		CLAIM(slice_equal(buf_slice(&compact), buf_slice(&twice)));
		if (*compact.data == '"')
			check_string(buf_slice(&compact));
	}
	buf_release(&compact);
	buf_release(&expected);
	buf_release(&twice);
}

static bool reference_utf8(struct slice text)
{
	const uint8_t *at = text.at, *end = at + text.len;
	size_t len;

	for (; at < end; at += len)
		if (reference_character(at, end, &len))
			return false;
	return true;
}

/* A document that was accepted is the same one when it is read from its own rendering. */
static void check_document(struct slice text, int verdict)
{
	struct document d = {0}, again = {0};
	struct buf rendered = {0};
	uint64_t size = document_size_empty;
	int r = document_parse(text, 0, &d, NULL);

	CLAIM(r == verdict || (!verdict && r == BUCKET_INCOMPLETE));
	if (r)
		return;
	CLAIM(!document_render_begin(&rendered));
	for (size_t i = 0; i < d.count; i++) {
		struct member_view m = document_member(&d, i), found;

		CLAIM(!document_render_member(&rendered, i == 0, m.text, m.value));
		size += document_size_member(m.text.len, m.value.len);
		CLAIM(i == 0 || slice_compare(document_member(&d, i - 1).key, m.key) < 0);
		CLAIM(document_find(&d, m.key, &found) && found.value.at == m.value.at);
		check_string(m.text);
	}
	CLAIM(!document_render_end(&rendered, d.count == 0));
	CLAIM(rendered.len == size);
	CLAIM(!document_parse(buf_slice(&rendered), 0, &again, NULL));
	CLAIM(again.count == d.count);
	for (size_t i = 0; i < d.count; i++) {
		struct member_view a = document_member(&d, i), b = document_member(&again, i);

		CLAIM(slice_equal(a.key, b.key) && slice_equal(a.text, b.text) && slice_equal(a.value, b.value));
	}
	document_release(&d);
	document_release(&again);
	buf_release(&rendered);
}

/* Any bytes that stand for a key make a string, and a key that is UTF-8 is what it stands for. */
static void check_quote(struct slice bytes)
{
	struct buf quoted = {0}, back = {0};

	if (!json_is_utf8(bytes))
		return;
	CLAIM(!json_quote(bytes, &quoted));
	CLAIM(!json_text_state(buf_slice(&quoted), NULL));
	CLAIM(!json_unquote(buf_slice(&quoted), &back));
	CLAIM(slice_equal(bytes, buf_slice(&back)));
	buf_release(&quoted);
	buf_release(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf events = {0}, expected = {0};
	struct slice text;
	size_t text_max;
	unsigned how;
	int verdict;

	if (!size)
		return 0;
	how = data[size - 1];
	text = slice_of(data, size - 1);
	verdict = check_mode(text, JSON_OBJECTS, 0, &events);
	CLAIM(verdict == (int)reference_objects(text, &expected));
	CLAIM(slice_equal(buf_slice(&events), buf_slice(&expected)));
	check_document(text, verdict);
	buf_clear(&events);
	text_max = 1 + how;
	check_mode(text, JSON_OBJECTS, text_max, &events);
	buf_clear(&events);
	check_mode(text, JSON_VALUE, 0, &events);
	check_value(text, how % 4 ? json_depth_max : how / 4);
	CLAIM(json_is_utf8(text) == reference_utf8(text));
	check_quote(text);
	buf_release(&events);
	buf_release(&expected);
	return 0;
}
