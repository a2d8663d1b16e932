/* glibc's fnmatch does the parts. It and bash disagree about alternatives right behind `*` or `?`, such as `b*!(x)` and
 * `**(x)`, and about alternatives or a \[ within alternatives. */
#include "ctl/glob.h"

#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/brace.h"

/* The parts of one pattern lie in `text`, each ended by NUL. */
struct pattern {
	char **parts;
	int count;
};

struct glob {
	struct buf text;
	struct pattern *patterns;
	int count;
	bool negated;   /* it matches what the patterns do not */
	locale_t bytes; /* for names that are no text in the user's locale */
};

/* Slashes inside @(…) separate nothing. */
static int cut(char *text, char **parts)
{
	int count = 0, depth = 0;

	for (char *c = text, *from = text;; c++) {
		bool end = !*c;

		if (*c == '\\' && c[1]) {
			c++;
			continue;
		}
		if (*c == '(' && c > text && strchr("?*+@!", c[-1]))
			depth++;
		else if (*c == ')' && depth)
			depth--;
		else if (end || (*c == '/' && depth == 0)) {
			*c = 0;
			/* `a//b` and `./a` are `a/b` and `a`, but no file is `a/` or `a/.`. */
			if (strcmp(from, ".") == 0)
				*from = 0;
			if (*from || end)
				parts[count++] = from;
			from = c + 1;
		}
		if (end)
			return count;
	}
}

static int pattern_parse(struct pattern *p, char *text)
{
	size_t slashes = 1;

	for (const char *c = text; *c; c++)
		slashes += *c == '/';
	p->parts = calloc(slashes, sizeof(*p->parts));
	if (!p->parts)
		return -ENOMEM;
	/* An absolute pattern matches nothing here. */
	p->count = *text == '/' ? 0 : cut(text, p->parts);
	return 0;
}

/* Ends at the character behind a [...] that begins here, or at the [ if that is none. */
static const char *skip_set(const char *c)
{
	const char *end = c + 1;

	end += *end == '!' || *end == '^';
	end += *end == ']';
	while (*end && *end != ']')
		end += *end == '\\' && end[1] ? 2 : 1;
	return *end ? end : c;
}

/* Patterns in which bash sees no meaning, as job schedulers' patterns have it (picomatch): `(a|b)` is `@(a|b)`, and a `|` outside of all
 * parentheses and braces separates patterns, which end with NUL each. The number of them; -ENOMEM. */
static int translate(const char *pattern, struct buf *out)
{
	int count = 1, parentheses = 0, braces = 0, r = 0;

	for (const char *c = pattern; *c && !r; c++) {
		const char *end = c;

		if (*c == '\\' && c[1])
			end = c + 1;
		else if (*c == '[')
			end = skip_set(c);
		else if (*c == '(' && (c == pattern || !strchr("?*+@!", c[-1]) || (c > pattern + 1 && c[-2] == '\\')))
			r = buf_add_byte(out, '@');
		if (end == c) {
			parentheses += (*c == '(') - (*c == ')' && parentheses);
			braces += (*c == '{') - (*c == '}' && braces);
		}
		if (!r && end == c && *c == '|' && !parentheses && !braces) {
			r = buf_add_byte(out, 0);
			count++;
		} else if (!r) {
			r = buf_add(out, c, (size_t)(end - c) + 1);
		}
		c = end;
	}
	if (!r)
		r = buf_add_byte(out, 0);
	return r ? r : count;
}

/* All patterns that alternatives and braces stand for, each ended by NUL. The number of them; -ENOMEM, -E2BIG. */
static int expand(const char *pattern, struct buf *out)
{
	struct buf parts = {0};
	int count = translate(pattern, &parts), all = 0;
	size_t at = 0;

	for (int i = 0; i < count && all >= 0; i++) {
		const char *part = (const char *)parts.data + at;
		int n = brace_expand(part, out);

		at += strlen(part) + 1;
		all = n < 0 ? n : all + n > brace_max ? -E2BIG : all + n;
	}
	buf_release(&parts);
	return count < 0 ? count : all;
}

int glob_new(struct glob **out, const char *pattern)
{
	struct glob *g = calloc(1, sizeof(*g));
	size_t at = 0;
	int n, r = 0;

	if (!g)
		return -ENOMEM;
	/* `!(…)` is a pattern of its own. */
	while (*pattern == '!' && pattern[1] != '(') {
		g->negated = !g->negated;
		pattern++;
	}
	n = expand(*pattern ? pattern : "*", &g->text);
	if (n > 0)
		g->patterns = calloc((size_t)n, sizeof(*g->patterns));
	if (n <= 0 || !g->patterns) {
		r = n < 0 ? n : -ENOMEM;
		goto out;
	}
	for (; g->count < n && !r; g->count++) {
		char *text = (char *)g->text.data + at;

		at += strlen(text) + 1;
		r = pattern_parse(&g->patterns[g->count], text);
	}
	g->bytes = newlocale(LC_ALL_MASK, "C", (locale_t)0);
out:
	if (r)
		glob_free(g);
	else
		*out = g;
	return r;
}

void glob_free(struct glob *g)
{
	if (!g)
		return;
	for (int i = 0; i < g->count; i++)
		free(g->patterns[i].parts);
	if (g->bytes)
		freelocale(g->bytes);
	free(g->patterns);
	buf_release(&g->text);
	free(g);
}

/* A pattern may match a leading dot if it, or an alternative that it begins with, begins with one; or what follows
 * alternatives that it may leave out. */
static bool means_dot(const char *pattern)
{
	bool may_be_none = *pattern == '?' || *pattern == '*';
	int depth = 0;

	if (*pattern && strchr("?*+@", *pattern) && pattern[1] == '(') {
		for (pattern++; *pattern; pattern++) {
			depth += (*pattern == '(') - (*pattern == ')');
			if (depth == 0)
				return may_be_none && means_dot(pattern + 1);
			if (strchr("(|", *pattern) && pattern[1 + (pattern[1] == '\\')] == '.')
				return true;
			if (*pattern == '\\' && pattern[1])
				pattern++;
		}
		return false;
	}
	return pattern[*pattern == '\\'] == '.';
}

static bool match_part(const struct glob *g, const char *pattern, const char *name)
{
	/* Of other names FNM_PERIOD means nothing, but glibc then refuses `*?[.]` for "a.". */
	int flags = FNM_EXTMATCH | (*name == '.' ? FNM_PERIOD : 0), r;

	if (*name == '.' && !means_dot(pattern))
		return false;
	r = fnmatch(pattern, name, flags);
	if (r != 0 && r != FNM_NOMATCH && g->bytes) {
		locale_t was = uselocale(g->bytes);

		r = fnmatch(pattern, name, flags);
		uselocale(was);
	}
	return r == 0;
}

/* Parts against names; several `**` make this quadratic at most, for what a later one can match the last one could. */
static bool match_parts(const struct glob *g, const struct pattern *p, char *const *names, int count)
{
	int part = 0, name = 0, star = -1, star_name = 0;

	while (name < count) {
		bool is_star = part < p->count && strcmp(p->parts[part], "**") == 0;

		if (is_star) {
			star = part++;
			star_name = name;
			/* As the last part it stands for the file as well. */
			if (part == p->count) {
				for (; name < count; name++)
					if (names[name][0] == '.')
						return false;
				return true;
			}
		} else if (part < p->count && match_part(g, p->parts[part], names[name])) {
			part++;
			name++;
		} else if (star >= 0 && names[star_name][0] != '.') {
			name = ++star_name;
			part = star + 1;
		} else {
			return false;
		}
	}
	return part == p->count;
}

bool glob_match(const struct glob *g, const char *path)
{
	char copy[PATH_MAX], *names[PATH_MAX / 2], *save = NULL;
	int count = 0;

	if (strlen(path) >= sizeof(copy))
		return false;
	strcpy(copy, path);
	for (char *name = strtok_r(copy, "/", &save); name; name = strtok_r(NULL, "/", &save))
		names[count++] = name;
	for (int i = 0; i < g->count; i++)
		if (match_parts(g, &g->patterns[i], names, count))
			return !g->negated;
	return g->negated;
}

bool glob_goes_down(const struct glob *g)
{
	if (g->negated)
		return true;
	for (int i = 0; i < g->count; i++) {
		const struct pattern *p = &g->patterns[i];

		if (p->count > 1 || (p->count == 1 && strcmp(p->parts[0], "**") == 0))
			return true;
	}
	return false;
}
