/* Why something was refused, in words a person understands. NULL is a fine place to send one. */
#pragma once

struct reason {
	char text[256];
};

void reason_set(struct reason *why, const char *format, ...) __attribute__((format(printf, 2, 3)));
