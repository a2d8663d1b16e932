/* All that bucketctl prints is printed here, so that nothing that others wrote commands the terminal of a person.
 *
 * Names, titles, values, commands and reasons may hold any bytes. A control character, a character that changes the
 * direction of text, and U+2028 and U+2029 are shown as JSON writes them: \u001b. A line break is \n. A byte that is
 * no UTF-8 is \x9b. A tab stays, and so does a backslash: JSON stays JSON. The terminal is taken to speak UTF-8.
 *
 * scripts/check-layers fails the build if another file of bucketctl calls stdio to print. */
#pragma once

#include <stdarg.h>
#include <stdio.h>

#include "util/slice.h"

/* Makes stderr write a line at a time: a message is not mixed with those of other processes. */
void terminal_begin(void);
/* A line for a person, and its line break. It is escaped whole, line breaks too, also where `to` is no terminal. */
void terminal_line(FILE *to, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same without the line break, and the line break alone: a line in several parts. */
void terminal_part(FILE *to, const char *format, ...) __attribute__((format(printf, 2, 3)));
void terminal_part_va(FILE *to, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
void terminal_line_end(FILE *to);
/* Text for programs and people. A pipe or a file gets it byte for byte. A terminal gets it escaped, but for its line
 * breaks. */
void terminal_text(FILE *to, struct slice text);
/* A name for programs and people on stdout, and a line break. A pipe or a file gets it byte for byte. A terminal gets
 * it escaped, line breaks too. */
void terminal_name(const char *name);
/* The line of progress or a question on stderr, where that is a terminal. The next call, or terminal_status_end, takes
 * it away. */
void terminal_status(const char *format, ...) __attribute__((format(printf, 1, 2)));
void terminal_status_end(void);
