/* Reads lines: paths, an empty line, patterns. For each pattern two lines: what its braces stand for, with a tab
 * behind each, and which of the paths it matches, by number; or twice "too many". */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/brace.h"
#include "ctl/glob.h"

enum { paths_max = 1000 };

static void answer(const char *pattern, char **paths, size_t count)
{
	struct buf expanded = {0};
	struct glob *g;

	if (brace_expand(pattern, &expanded) < 0 || glob_new(&g, pattern)) {
		buf_release(&expanded);
		puts("too many\ntoo many");
		return;
	}
	for (size_t at = 0; at < expanded.len; at += strlen((char *)expanded.data + at) + 1)
		printf("%s\t", (char *)expanded.data + at);
	putchar('\n');
	for (size_t i = 0; i < count; i++)
		if (glob_match(g, paths[i]))
			printf("%zu ", i);
	putchar('\n');
	glob_free(g);
	buf_release(&expanded);
}

int main(void)
{
	char *paths[paths_max], *line = NULL;
	size_t size = 0, count = 0;

	setlocale(LC_ALL, "");
	while (getline(&line, &size, stdin) > 0 && *line != '\n' && count < paths_max) {
		line[strcspn(line, "\n")] = 0;
		paths[count++] = strdup(line);
	}
	while (getline(&line, &size, stdin) > 0) {
		line[strcspn(line, "\n")] = 0;
		answer(line, paths, count);
	}
	for (size_t i = 0; i < count; i++)
		free(paths[i]);
	free(line);
	return 0;
}
