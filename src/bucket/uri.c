#include "bucket/uri.h"

#include "bucket/verdict.h"

/* NULL `at`: there is none. */
struct uri {
	struct slice scheme, authority, path, query;
};

static size_t until(struct slice s, const char *stops)
{
	const char *at = s.at;
	size_t n = 0;

	while (n < s.len && (!at[n] || !strchr(stops, at[n])))
		n++;
	return n;
}

static struct slice after(struct slice s, size_t n)
{
	return slice_of((const char *)s.at + n, s.len - n);
}

static bool starts_with(struct slice s, const char *prefix)
{
	return slice_starts_with(s, slice_str(prefix));
}

static struct uri parse(struct slice s)
{
	struct uri u = {0};
	size_t n = until(s, ":/?#");

	if (n && n < s.len && ((const char *)s.at)[n] == ':') {
		u.scheme = slice_of(s.at, n);
		s = after(s, n + 1);
	}
	if (starts_with(s, "//")) {
		s = after(s, 2);
		n = until(s, "/?#");
		u.authority = slice_of(s.at, n);
		s = after(s, n);
	}
	n = until(s, "?#");
	u.path = slice_of(s.at, n);
	s = after(s, n);
	if (starts_with(s, "?"))
		u.query = slice_of((const char *)s.at + 1, until(after(s, 1), "#"));
	return u;
}

/* §5.2.4. `path` is at the end of `out`, from `start`; it only becomes shorter. */
static void remove_dot_segments(struct buf *out, size_t start)
{
	struct slice in;
	size_t len = 0;
	unsigned char *to;

	if (out->len == start)
		return;
	to = out->data + start;
	in = slice_of(to, out->len - start);
	while (in.len) {
		bool up = starts_with(in, "/../") || slice_equal(in, slice_str("/.."));

		if (starts_with(in, "../") || starts_with(in, "./")) {
			in = after(in, starts_with(in, "./") ? 2 : 3);
		} else if (starts_with(in, "/./")) {
			in = after(in, 2);
		} else if (slice_equal(in, slice_str("/.")) || up) {
			while (up && len > 0 && to[--len] != '/')
				;
			/* What is left begins with a '/', which for "/." and "/.." there is no byte for any more. */
			if (in.len <= 3 && !starts_with(in, "/../")) {
				to[len++] = '/';
				break;
			}
			in = after(in, 3);
		} else if (slice_equal(in, slice_str(".")) || slice_equal(in, slice_str(".."))) {
			break;
		} else {
			size_t n = 1 + until(after(in, 1), "/");

			memmove(to + len, in.at, n);
			len += n;
			in = after(in, n);
		}
	}
	out->len = start + len;
}

static int add_path(struct buf *out, const struct uri *base, struct slice path)
{
	size_t start = out->len, keep = base->path.len;
	int r = 0;

	if (!starts_with(path, "/")) {
		/* §5.2.3: all of the base's path up to its last '/'. */
		while (keep > 0 && ((const char *)base->path.at)[keep - 1] != '/')
			keep--;
		r = buf_add(out, base->path.at, keep);
		if (!r && !keep && base->authority.at)
			r = buf_add_byte(out, '/');
	}
	if (!r)
		r = buf_add_slice(out, path);
	if (!r)
		remove_dot_segments(out, start);
	return r;
}

static int add_part(struct buf *out, const char *before, struct slice part, const char *behind)
{
	int r = 0;

	if (!part.at)
		return 0;
	r = buf_add_string(out, before);
	if (!r)
		r = buf_add_slice(out, part);
	return r ? r : buf_add_string(out, behind);
}

int uri_resolve(struct slice base_text, struct slice reference, struct buf *out)
{
	static const struct uri nothing;
	struct slice text, fragment;
	struct uri base, ref;
	int r;

	uri_split_fragment(reference, &text, &fragment);
	ref = parse(text);
	base = parse(base_text);
	if (!ref.scheme.at && !ref.authority.at && ref.path.len == 0) {
		ref.path = base.path;
		if (!ref.query.at)
			ref.query = base.query;
		ref.authority = base.authority;
		r = add_part(out, "", base.scheme, ":");
		if (!r)
			r = add_part(out, "//", ref.authority, "");
		if (!r)
			r = buf_add_slice(out, ref.path);
	} else {
		bool own = ref.scheme.at || ref.authority.at;

		r = add_part(out, "", ref.scheme.at ? ref.scheme : base.scheme, ":");
		if (!r)
			r = add_part(out, "//", own ? ref.authority : base.authority, "");
		if (!r)
			r = add_path(out, own ? &nothing : &base, ref.path);
	}
	return r ? r : add_part(out, "?", ref.query, "");
}

bool uri_split_fragment(struct slice reference, struct slice *uri, struct slice *fragment)
{
	size_t n = until(reference, "#");

	*uri = slice_of(reference.at, n);
	*fragment = n < reference.len ? after(reference, n + 1) : slice_of("", 0);
	return n < reference.len;
}

static int hex_digit(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 32;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int uri_decode(struct slice text, struct buf *out)
{
	const unsigned char *at = text.at;
	int r = 0;

	for (size_t i = 0; !r && i < text.len; i++) {
		int high, low;

		if (at[i] != '%') {
			r = buf_add_byte(out, at[i]);
			continue;
		}
		if (text.len - i < 3 || (high = hex_digit(at[i + 1])) < 0 || (low = hex_digit(at[i + 2])) < 0)
			return BUCKET_INVALID;
		r = buf_add_byte(out, (unsigned char)(high << 4 | low));
		i += 2;
	}
	return r;
}
