/* Why something was refused, in words a person understands. NULL is a fine place to send one. */
#pragma once

#include <stdbool.h>

struct reason {
	char text[256];
	bool own; /* it tells of the request alone, and of nothing that is stored: whoever may not read may hear it */
};

void reason_set(struct reason *why, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for one that tells of the request alone. */
void reason_set_own(struct reason *why, const char *format, ...) __attribute__((format(printf, 2, 3)));
