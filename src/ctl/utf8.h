/* UTF-8 (RFC 3629) in text that others wrote, which need not be any. Pure. */
#pragma once

#include "util/buf.h"

/* The length of the character that `text` begins with, and its code point. 0: it begins with no character. */
size_t utf8_character(struct slice text, uint32_t *point);
/* Puts U+FFFD in the place of every byte that belongs to no character. 0 or -ENOMEM, and then nothing has changed. */
int utf8_mend(struct buf *text);
/* Appends `text`, which is JSON, as cJSON can read it: mended, and with U+FFFD in the place of every lone surrogate.
 * RFC 8259 §8.2 allows \ud800 by itself; cJSON refuses the whole text for it. 0 or -ENOMEM. */
int utf8_add_json(struct buf *out, struct slice text);
