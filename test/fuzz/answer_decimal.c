/* Reads lines of two numbers, with a space between. For each line: how they compare, whether the first is an
 * integer, its count, and whether it is a multiple of the second (-: that is not defined or would take too long). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bucket/decimal.h"

enum { cost_max = 100000000 };

static int answer(char *line)
{
	struct arena arena = {0};
	struct decimal a, b;
	char *second = strchr(line, ' ');
	bool yes = false, known;
	int order;

	if (!second)
		return 1;
	*second++ = 0;
	second[strcspn(second, "\n")] = 0;
	if (decimal_parse(slice_str(line), &arena, &a) || decimal_parse(slice_str(second), &arena, &b))
		return 1;
	order = decimal_compare(&a, &b);
	known = !decimal_is_zero(&b) && decimal_multiple_cost(&a, &b) < cost_max;
	if (known && decimal_is_multiple(&a, &b, &yes))
		return 1;
	printf("%d %d %llu %s\n", (order > 0) - (order < 0), decimal_is_integer(&a),
	       a.negative || !decimal_is_integer(&a) ? 0 : (unsigned long long)decimal_to_count(&a),
	       known ? yes ? "1" : "0" : "-");
	arena_release(&arena);
	return 0;
}

int main(void)
{
	char *line = NULL;
	size_t size = 0;
	int r = 0;

	while (!r && getline(&line, &size, stdin) > 0)
		r = answer(line);
	free(line);
	return r;
}
