/* References by URI (RFC 3986), as far as naming things needs them. Pure: nothing is ever fetched. */
#pragma once

#include "util/buf.h"

/* What `reference` means in a text whose base is `base` (RFC 3986 §5.2), without its fragment. 0 or -ENOMEM. */
int uri_resolve(struct slice base, struct slice reference, struct buf *out);
/* Splits "uri#fragment"; false if there is no '#', and the fragment is empty. */
bool uri_split_fragment(struct slice reference, struct slice *uri, struct slice *fragment);
/* Percent-decoding. 0, -ENOMEM, or BUCKET_INVALID for a '%' that two hexadecimal digits do not follow. */
int uri_decode(struct slice text, struct buf *out);
