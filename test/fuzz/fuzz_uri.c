/* References: the steps of RFC 3986, section 5.2, as they stand there, give the same. The input is a base, a NUL,
 * and a reference. */
#include "bucket/uri.h"
#include "bucket/verdict.h"
#include "fuzz.h"

/* The parts by the expression of appendix B. NULL: there is none. */
struct parts {
	char *scheme, *authority, *path, *query;
};

static char *piece(const char *from, size_t len)
{
	char *copy = strndup(from, len);

	CLAIM(copy);
	return copy;
}

static struct parts split(const char *text)
{
	struct parts p = {0};
	size_t n = strcspn(text, ":/?#");

	if (n && text[n] == ':') {
		p.scheme = piece(text, n);
		text += n + 1;
	}
	if (text[0] == '/' && text[1] == '/') {
		text += 2;
		n = strcspn(text, "/?#");
		p.authority = piece(text, n);
		text += n;
	}
	n = strcspn(text, "?#");
	p.path = piece(text, n);
	text += n;
	if (*text == '?')
		p.query = piece(text + 1, strcspn(text + 1, "#"));
	return p;
}

static void parts_free(struct parts *p)
{
	free(p->scheme);
	free(p->authority);
	free(p->path);
	free(p->query);
}

static bool begins(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static void remove_last(struct buf *out)
{
	while (out->len && out->data[out->len - 1] != '/')
		out->len--;
	if (out->len)
		out->len--;
}

/* Section 5.2.4, its steps A to E. */
static void remove_dots(const char *path, struct buf *out)
{
	char *whole = piece(path, strlen(path)), *in = whole;

	while (*in) {
		if (begins(in, "../")) {
			in += 3;
		} else if (begins(in, "./")) {
			in += 2;
		} else if (begins(in, "/./")) {
			in += 2;
		} else if (!strcmp(in, "/.")) {
			in[1] = 0;
		} else if (begins(in, "/../")) {
			in += 3;
			remove_last(out);
		} else if (!strcmp(in, "/..")) {
			in[1] = 0;
			remove_last(out);
		} else if (!strcmp(in, ".") || !strcmp(in, "..")) {
			break;
		} else {
			size_t n = (*in == '/') + strcspn(in + (*in == '/'), "/");

			CLAIM(!buf_add(out, in, n));
			in += n;
		}
	}
	free(whole);
}

/* Section 5.2.3. */
static char *merge(const struct parts *base, const char *path)
{
	const char *slash = strrchr(base->path, '/');
	struct buf out = {0};

	if (base->authority && !*base->path)
		CLAIM(!buf_add_byte(&out, '/'));
	else if (slash)
		CLAIM(!buf_add(&out, base->path, (size_t)(slash + 1 - base->path)));
	CLAIM(!buf_add(&out, path, strlen(path) + 1));
	return (char *)out.data;
}

/* Section 5.2.2 and 5.3. */
static void resolve(const struct parts *base, const struct parts *ref, struct buf *out)
{
	const struct parts *authority = ref->scheme || ref->authority ? ref : base;
	const char *scheme = ref->scheme ? ref->scheme : base->scheme, *query = ref->query;
	struct buf path = {0};

	if (authority == ref || *ref->path == '/') {
		remove_dots(ref->path, &path);
	} else if (!*ref->path) {
		CLAIM(!buf_add_string(&path, base->path));
		query = query ? query : base->query;
	} else {
		char *merged = merge(base, ref->path);

		remove_dots(merged, &path);
		free(merged);
	}
	if (scheme)
		CLAIM(!buf_add_format(out, "%s:", scheme));
	if (authority->authority)
		CLAIM(!buf_add_format(out, "//%s", authority->authority));
	CLAIM(!buf_add_slice(out, buf_slice(&path)));
	if (query)
		CLAIM(!buf_add_format(out, "?%s", query));
	buf_release(&path);
}

static void check_resolve(const char *base_text, const char *reference)
{
	struct buf got = {0}, want = {0};
	struct parts base = split(base_text), ref = split(reference);

	CLAIM(!uri_resolve(slice_str(base_text), slice_str(reference), &got));
	resolve(&base, &ref, &want);
	CLAIM(slice_equal(buf_slice(&got), buf_slice(&want)));
	parts_free(&base);
	parts_free(&ref);
	buf_release(&got);
	buf_release(&want);
}

static void check_decode(struct slice text)
{
	const unsigned char *at = text.at;
	struct buf got = {0}, want = {0}, escaped = {0};
	int expected = 0;

	for (size_t i = 0; i < text.len; i++)
		CLAIM(!buf_add_format(&escaped, "%%%02x", at[i]));
	for (size_t i = 0; i < text.len; i++) {
		char hex[3] = "";

		if (at[i] != '%') {
			CLAIM(!buf_add_byte(&want, at[i]));
			continue;
		}
		if (i + 2 < text.len)
			memcpy(hex, at + i + 1, 2);
		if (strlen(hex) != 2 || strspn(hex, "0123456789abcdefABCDEF") != 2) {
			expected = BUCKET_INVALID;
			break;
		}
		CLAIM(!buf_add_byte(&want, (unsigned char)strtoul(hex, NULL, 16)));
		i += 2;
	}
	CLAIM(uri_decode(text, &got) == expected);
	CLAIM(expected || slice_equal(buf_slice(&got), buf_slice(&want)));
	buf_clear(&got);
	CLAIM(!uri_decode(buf_slice(&escaped), &got) && slice_equal(buf_slice(&got), text));
	buf_release(&got);
	buf_release(&want);
	buf_release(&escaped);
}

static void check_fragment(struct slice reference)
{
	const char *hash = reference.len ? memchr(reference.at, '#', reference.len) : NULL;
	struct slice uri, fragment;

	CLAIM(uri_split_fragment(reference, &uri, &fragment) == (hash != NULL));
	CLAIM(uri.len + fragment.len + (hash != NULL) == reference.len);
	CLAIM(uri.len == (hash ? (size_t)(hash - (const char *)reference.at) : reference.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct choices c = choices_of(data, size);
	struct slice text = slice_of(data, size);
	char *base = choose_text(&c), *reference = base + strlen(base);
	struct buf out = {0};

	reference += reference < base + size;
	check_resolve(base, reference);
	check_resolve(reference, base);
	check_decode(text);
	check_fragment(text);
	/* Bytes of any kind, NUL among them. */
	CLAIM(!uri_resolve(slice_of(data, size / 2), slice_of(data + size / 2, size - size / 2), &out));
	buf_release(&out);
	free(base);
	return 0;
}
