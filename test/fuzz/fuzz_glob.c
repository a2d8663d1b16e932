/* Patterns for files: braces end in at most brace_max patterns, a plain search finds what a pattern without brackets
 * finds, and a pattern matches what one of the patterns that it stands for matches. The input is a pattern, a NUL,
 * and a path. compare_glob.py asks bash about the rest. */
#include <errno.h>

#include "ctl/brace.h"
#include "ctl/glob.h"
#include "fuzz.h"

/* Of one name: * and ? and letters. */
static bool match_name(const char *pattern, const char *name)
{
	if (!*pattern)
		return !*name;
	if (*pattern == '*')
		return match_name(pattern + 1, name) || (*name && match_name(pattern, name + 1));
	return *name && (*pattern == '?' || *pattern == *name) && match_name(pattern + 1, name + 1);
}

static bool match_dotted(const char *pattern, const char *name)
{
	return (*name != '.' || *pattern == '.') && match_name(pattern, name);
}

/* Parts against names, both in arrays that end with NULL. */
static bool match_names(char **parts, char **names)
{
	if (!*parts)
		return !*names;
	if (strcmp(*parts, "**"))
		return *names && match_dotted(*parts, *names) && match_names(parts + 1, names + 1);
	if (!parts[1] && *names && !names[1] && **names != '.')
		return true;
	return (parts[1] && match_names(parts + 1, names)) || (*names && **names != '.' && match_names(parts, names + 1));
}

static void split(char *text, char **parts)
{
	char *save = NULL;

	for (char *part = strtok_r(text, "/", &save); part; part = strtok_r(NULL, "/", &save))
		*parts++ = part;
	*parts = NULL;
}

enum { plain_max = 40 };

/* Patterns of which every part is plain. A dot as a whole part is no name, and a slash at the end means a folder. */
static bool is_plain(const char *pattern)
{
	size_t len = strlen(pattern), stars = 0;

	for (const char *c = pattern; *c; c++) {
		stars += *c == '*';
		if (!((*c >= 'a' && *c <= 'z') || strchr("*?./_-", *c)))
			return false;
	}
	return len && len <= plain_max && stars < 6 && *pattern != '/' && pattern[len - 1] != '/' &&
	       !strstr(pattern, "./") && strcmp(pattern, ".") && !(len > 1 && !strcmp(pattern + len - 2, "/."));
}

static bool is_ascii(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text >= 0x80)
			return false;
	return true;
}

static void check_plain(const struct glob *g, const char *pattern, const char *path)
{
	char *a = strdup(pattern), *b = strdup(path), *parts[plain_max + 1], *names[plain_max + 1];

	CLAIM(a && b);
	split(a, parts);
	split(b, names);
	CLAIM(glob_match(g, path) == (*names && match_names(parts, names)));
	free(a);
	free(b);
}

/* Each pattern that the braces stand for, by itself. */
static void check_braces(const struct glob *g, const struct buf *expanded, int count, const char *path)
{
	const char *at = (const char *)expanded->data, *end = at + expanded->len;
	bool any = false, any_down = false;
	int seen = 0;

	for (; at < end; at += strlen(at) + 1, seen++) {
		struct glob *one;

		/* A brace that is left would be expanded once more, and an ! in front of one pattern negates that one only. */
		if (strchr(at, '{') || *at == '!' || !*at || count > 50)
			return;
		CLAIM(!glob_new(&one, at));
		any = any || glob_match(one, path);
		any_down = any_down || glob_goes_down(one);
		glob_free(one);
	}
	CLAIM(seen == count);
	CLAIM(glob_match(g, path) == any);
	CLAIM(glob_goes_down(g) == any_down);
}

/* `!x` matches what x does not, and `x|y` what x or y matches. */
static void check_whole(const struct glob *g, const char *pattern, const char *path)
{
	char *negated, *other;
	struct glob *one;

	CLAIM(asprintf(&negated, "!%s", pattern) > 0 && asprintf(&other, "%s|other", pattern) > 0);
	if (*pattern != '(') {
		CLAIM(!glob_new(&one, negated));
		CLAIM(glob_match(one, path) == !glob_match(g, path));
		glob_free(one);
	}
	if (is_plain(pattern)) {
		CLAIM(!glob_new(&one, other));
		CLAIM(glob_match(one, path) == (glob_match(g, path) || strcmp(path, "other") == 0));
		glob_free(one);
	}
	free(negated);
	free(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct choices c = choices_of(data, size);
	char *pattern = choose_text(&c), *path = pattern + strlen(pattern);
	struct buf expanded = {0};
	struct glob *g;
	bool has_other_meaning;
	int count, r;

	path += path < pattern + size;
	count = brace_expand(pattern, &expanded);
	CLAIM(count == -E2BIG || (count > 0 && count <= brace_max && expanded.len && !expanded.data[expanded.len - 1]));
	r = glob_new(&g, pattern);
	/* A | outside of braces makes several patterns of one, each with braces of its own. */
	has_other_meaning = *pattern == '!' || strpbrk(pattern, "(|");
	CLAIM(has_other_meaning ? !r || r == -E2BIG : r == (count < 0 ? count : 0));
	if (!r) {
		if (is_plain(pattern) && is_ascii(path) && strlen(path) <= plain_max)
			check_plain(g, pattern, path);
		if (*path)
			check_whole(g, pattern, path);
		if (*path && !has_other_meaning && count > 0)
			check_braces(g, &expanded, count, path);
		glob_free(g);
	}
	buf_release(&expanded);
	free(pattern);
	return 0;
}
