/* The document of a bucket: merges, edits and single keys in any order, on the memory store, beside a plain map.
 * After every step the rendered text, its size, which is counted without rendering, and the number of keys are the
 * map's. */
#include "fixture.h"
#include "fuzz.h"

enum { keys_max = 12, text_max = 64, steps_max = 60 };

/* Keys as they are written; the first ones stand for the same. */
static const char *const key_texts[] = {
	"\"a\"", "\"\\u0061\"", "\"\"", "\"b c\"", "\"\\n\"", "\"\\u000a\"", "\"é\"", "\"\\u00e9\"",
	"\"\\ud800\"", "\"\\uD800\"", "\"\\/\"", "\"/\"", "\"~\\\"\"", "\"zz\"",
};
enum { key_count = sizeof(key_texts) / sizeof(*key_texts) };

static const char *const values[] = {
	"1", "1.0", "null", "true", "\"\"", "\"x\\u0079\"", "{}", "[]", "{\"a\":1}", "{\"a\":2}", "[1,[2]]",
	"-0", "123456789012345678901234567890", "\"long, long, long, long, long, long\"",
};
/* The same values with white space in them. */
static const char *const wide_values[] = {
	" 1", "1.0 ", "\nnull", "true\t", "\"\" ", "\"x\\u0079\"", "{ }", "[\n]", "{ \"a\" : 1 }",
	"{\"a\":\r\n2}", "[ 1, [2 ] ]", "-0", "123456789012345678901234567890",
	" \"long, long, long, long, long, long\"",
};
enum { value_count = sizeof(values) / sizeof(*values) };

/* ---- the map ---- */

struct entry {
	char key[16];
	size_t key_len;
	const char *text, *value;
};

struct map {
	struct entry at[keys_max];
	size_t count;
	bool present;
};

static void entry_key(struct entry *e, const char *text)
{
	struct buf key = {0};

	CLAIM(!json_unquote(slice_str(text), &key) && key.len < sizeof(e->key));
	*e = (struct entry){.key_len = key.len, .text = text};
	if (key.len)
		memcpy(e->key, key.data, key.len);
	buf_release(&key);
}

static struct entry *map_find(struct map *m, const struct entry *e)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->at[i].key_len == e->key_len && !memcmp(m->at[i].key, e->key, e->key_len))
			return &m->at[i];
	return NULL;
}

static void map_remove(struct map *m, struct entry *e)
{
	*e = m->at[--m->count];
}

/* The same value again changes nothing, not even how the key is written. */
static void map_put(struct map *m, const struct entry *e)
{
	struct entry *old = map_find(m, e);

	if (old && !strcmp(old->value, e->value))
		return;
	CLAIM(old || m->count < keys_max);
	*(old ? old : &m->at[m->count++]) = *e;
}

static int by_key(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return slice_compare(slice_of(x->key, x->key_len), slice_of(y->key, y->key_len));
}

static void map_render(struct map *m, struct buf *out)
{
	qsort(m->at, m->count, sizeof(*m->at), by_key);
	CLAIM(!buf_add_string(out, "{"));
	for (size_t i = 0; i < m->count; i++)
		CLAIM(!buf_add_format(out, "%s\n  %s: %s", i ? "," : "", m->at[i].text, m->at[i].value));
	CLAIM(!buf_add_string(out, m->count ? "\n}\n" : "}\n"));
}

/* An edit carries the difference between two maps into the bucket's, unless the bucket's has changed there. */
static bool map_edit(struct map *m, struct map *base, struct map *now)
{
	struct map result = *m;

	for (size_t i = 0; i < base->count; i++) {
		struct entry *b = &base->at[i], *n = map_find(now, b), *has = map_find(&result, b);

		if (n && !strcmp(n->value, b->value))
			continue;
		if (!has || strcmp(has->value, b->value))
			return false;
		if (!n)
			map_remove(&result, has);
		else
			map_put(&result, n);
	}
	for (size_t i = 0; i < now->count; i++) {
		if (map_find(base, &now->at[i]))
			continue;
		if (map_find(&result, &now->at[i]))
			return false;
		map_put(&result, &now->at[i]);
	}
	result.present = true;
	*m = result;
	return true;
}

static size_t map_size(struct map *m)
{
	struct buf text = {0};
	size_t size;

	map_render(m, &text);
	size = text.len;
	buf_release(&text);
	return size;
}

/* ---- texts ---- */

/* An object of a few members, and in `map` what it merges. */
static void choose_object(struct choices *c, struct buf *text, struct map *map)
{
	unsigned count = choose(c, 5);

	CLAIM(!buf_add_string(text, "{"));
	for (unsigned i = 0; i < count; i++) {
		struct entry e;
		unsigned value = choose(c, value_count);

		entry_key(&e, key_texts[choose(c, key_count)]);
		e.value = values[value];
		CLAIM(!buf_add_format(text, "%s%s:%s", i ? "," : "", e.text,
				      (value + i) % 2 ? values[value] : wide_values[value]));
		/* Within one text the last one stays, as it is written. */
		if (map_find(map, &e))
			*map_find(map, &e) = e;
		else
			map->at[map->count++] = e;
	}
	CLAIM(!buf_add_string(text, "}"));
}

static void map_document(struct map *m, struct document *out)
{
	struct buf text = {0};

	map_render(m, &text);
	CLAIM(!document_parse(buf_slice(&text), 0, out, NULL));
	buf_release(&text);
}

/* ---- steps ---- */

struct state {
	struct fixture f;
	struct map map, before;
	uint64_t max; /* 0: as the mount has it */
};

/* Whether the map may become the other, and then it does. */
static int becomes(struct state *s, struct map *next)
{
	size_t size = map_size(next), was = map_size(&s->map);

	if (s->max && size > s->max && size > was)
		return BUCKET_TOO_LARGE;
	s->before = s->map;
	s->map = *next;
	return 0;
}

static void step_merge(struct state *s, struct choices *c)
{
	struct document patch = {0};
	struct map next = s->map, given = {0};
	struct buf text = {0};
	uint64_t headroom;
	int r;

	choose_object(c, &text, &given);
	CLAIM(!document_parse(buf_slice(&text), 0, &patch, NULL));
	for (size_t i = 0; i < given.count; i++)
		map_put(&next, &given.at[i]);
	next.present = true;
	r = data_check_merge(s->f.fs, s->f.b, &patch, &headroom, NULL);
	CLAIM(data_merge(s->f.fs, s->f.b, NULL, &patch, NULL) == becomes(s, &next));
	CLAIM(!r == (map_size(&next) == map_size(&s->map)));
	if (!r && headroom && s->max)
		CLAIM(map_size(&s->map) + headroom <= s->max);
	document_release(&patch);
	buf_release(&text);
}

/* The same through a handle, in two writes: what one flush merges is one patch, however many objects it is. */
static void step_patch(struct state *s, struct choices *c)
{
	struct data_handle *h;
	struct map next = s->map, given = {0};
	struct buf text = {0};
	bool opener_only;
	unsigned objects = choose(c, 3);
	size_t cut;
	int want;

	for (unsigned i = 0; i < objects; i++)
		choose_object(c, &text, &given);
	for (size_t i = 0; i < given.count; i++)
		map_put(&next, &given.at[i]);
	/* Nothing to merge does not bring a removed document back: open(2) with O_CREAT does. */
	next.present = next.present || given.count;
	cut = text.len ? choose(c, (unsigned)text.len) : 0;
	CLAIM(!data_open(s->f.fs, s->f.b, &test_root, NODE_DATA, DATA_WRITE | DATA_TRUNCATE, &h, NULL));
	/* With a limit each object may be too large for itself; only that nothing else is seen is checked then. */
	if (!s->max) {
		CLAIM(!data_write(h, 0, false, slice_of(text.data, cut), NULL));
		CLAIM(!data_write(h, cut, false, slice_of(text.data + cut, text.len - cut), NULL));
		want = becomes(s, &next);
		CLAIM(data_flush(h, NULL, &opener_only, NULL) == want);
	}
	CLAIM(!data_close(h, NULL));
	buf_release(&text);
}

static void step_edit(struct state *s, struct choices *c, bool replace)
{
	struct map base = choose(c, 3) ? s->map : s->before, now = base, given = {0}, next = s->map;
	struct document a = {0}, b = {0};
	struct buf text = {0};
	int want;

	choose_object(c, &text, &given);
	for (size_t i = 0; i < given.count; i++)
		map_put(&now, &given.at[i]);
	if (now.count && choose(c, 2))
		map_remove(&now, &now.at[choose(c, (unsigned)now.count)]);
	map_document(&base, &a);
	map_document(&now, &b);
	/* Where there is no document, a whole one is put as any file is. */
	if (replace && !s->map.present)
		base = (struct map){0};
	want = map_edit(&next, &base, &now) ? becomes(s, &next) : BUCKET_CONFLICT;
	CLAIM(data_edit(s->f.fs, s->f.b, &(struct data_edit){.base = &a, .now = &b, .whole = replace}, NULL) == want);
	document_release(&a);
	document_release(&b);
	buf_release(&text);
}

static void step_key_set(struct state *s, struct choices *c)
{
	unsigned value = choose(c, value_count), how = choose(c, 3);
	bool create = how == 1, replace = how == 2;
	struct buf quoted = {0};
	struct entry e, *old;
	struct map next = s->map;
	int want = 0;

	/* The key is given as bytes, so it is written in the usual way. */
	entry_key(&e, key_texts[choose(c, key_count)]);
	CLAIM(!json_quote(slice_of(e.key, e.key_len), &quoted));
	for (size_t i = 0; i < key_count; i++)
		if (slice_equal(slice_str(key_texts[i]), buf_slice(&quoted)))
			e.text = key_texts[i];
	e.value = values[value];
	buf_release(&quoted);
	old = map_find(&s->map, &e);
	if (!json_is_utf8(slice_of(e.key, e.key_len)))
		want = BUCKET_INVALID;
	else if (create && old)
		want = BUCKET_EXISTS;
	else if (replace && !old)
		want = BUCKET_NO_ATTRIBUTE;
	if (!want) {
		map_put(&next, &e);
		next.present = true;
		want = becomes(s, &next);
	}
	CLAIM(data_key_set(s->f.fs, s->f.b, &test_root, slice_of(e.key, e.key_len), slice_str(wide_values[value]),
			   create, replace, NULL) == want);
}

static void step_key_remove(struct state *s, struct choices *c)
{
	struct map next = s->map;
	struct entry e, *old;

	entry_key(&e, key_texts[choose(c, key_count)]);
	old = map_find(&next, &e);
	if (old)
		map_remove(&next, old);
	CLAIM(data_key_remove(s->f.fs, s->f.b, &test_root, slice_of(e.key, e.key_len), NULL) ==
	      (old ? becomes(s, &next) : BUCKET_NO_ATTRIBUTE));
}

static void step_remove(struct state *s)
{
	int want = s->map.present ? 0 : BUCKET_ABSENT;

	CLAIM(data_remove(s->f.fs, s->f.b, &test_root, NULL) == want);
	if (!want) {
		s->before = s->map;
		s->map = (struct map){0};
	}
}

static void step_create(struct state *s)
{
	CLAIM(!data_create(s->f.fs, s->f.b, &test_root));
	s->map.present = true;
}

static void step_reopen(struct state *s)
{
	struct fixture *f = &s->f;

	bucket_put(f->fs, f->b);
	fs_close(f->fs);
	CLAIM(!test_fs_open(f->store, &f->fs));
	CLAIM(!bucket_lookup(f->fs, S("nightly"), &f->b));
}

static void step_limit(struct state *s, struct choices *c)
{
	static const char *const texts[] = {NULL, "3", "40", "100", "200"};
	static const uint64_t sizes[] = {0, 3, 40, 100, 200};
	unsigned which = choose(c, 5);
	struct slice text = S(texts[which] ? texts[which] : "");
	int r = bucket_limit_set(s->f.fs, s->f.b, &test_root, 0, texts[which] ? &text : NULL, NULL);

	CLAIM(r == (which || s->max ? 0 : BUCKET_NO_ATTRIBUTE));
	s->max = sizes[which];
}

static void check_state(struct state *s)
{
	struct buf want = {0}, value = {0};
	struct text *text;
	struct attr attr;

	map_render(&s->map, &want);
	CLAIM(!data_text(s->f.fs, s->f.b, &text));
	CLAIM(slice_equal(buf_slice(&text->bytes), buf_slice(&want)));
	CLAIM(s->f.b->head.data_size == want.len && s->f.b->head.data_keys == s->map.count);
	CLAIM(s->f.b->head.data_present == s->map.present);
	CLAIM(data_attr(s->f.fs, s->f.b, &test_root, &attr) == (s->map.present ? 0 : BUCKET_ABSENT));
	CLAIM(!s->map.present || attr.size == want.len);
	data_text_put(text);
	for (size_t i = 0; i < key_count; i++) {
		struct entry e, *found;

		entry_key(&e, key_texts[i]);
		found = map_find(&s->map, &e);
		buf_clear(&value);
		CLAIM(data_key_get(s->f.fs, s->f.b, &test_root, slice_of(e.key, e.key_len), &value) ==
		      (found ? 0 : BUCKET_NO_ATTRIBUTE));
		CLAIM(!found || slice_equal(buf_slice(&value), slice_str(found->value)));
	}
	buf_release(&want);
	buf_release(&value);
}

static void step(struct state *s, struct choices *c)
{
	switch (choose(c, 16)) {
	case 0:
	case 1:
	case 2:
	case 3:
		step_merge(s, c);
		break;
	case 4:
	case 5:
		step_patch(s, c);
		break;
	case 6:
	case 7:
		step_edit(s, c, false);
		break;
	case 8:
		step_edit(s, c, true);
		break;
	case 9:
	case 10:
		step_key_set(s, c);
		break;
	case 11:
	case 12:
		step_key_remove(s, c);
		break;
	case 13:
		step_remove(s);
		break;
	case 14:
		choose(c, 2) ? step_create(s) : step_reopen(s);
		break;
	default:
		step_limit(s, c);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct choices c = choices_of(data, size);
	struct state s = {.map = {.present = true}, .before = {.present = true}};

	CLAIM(!memory_store_open(&s.f.store) && !fixture_open(&s.f));
	check_state(&s);
	for (unsigned n = 0; n < steps_max && c.left; n++) {
		step(&s, &c);
		check_state(&s);
	}
	step_reopen(&s);
	check_state(&s);
	bucket_put(s.f.fs, s.f.b);
	fs_close(s.f.fs);
	store_close(s.f.store);
	return 0;
}
