#include "bucket/transaction_id.h"

#include <stdlib.h>

bool transaction_is_id(struct slice id)
{
	return slice_starts_with(id, slice_str("tx."));
}

uint32_t transaction_bucket(struct slice id)
{
	/* The number ends with a dot. */
	return transaction_is_id(id) ? (uint32_t)strtoul((const char *)id.at + 3, NULL, 10) : 0;
}

/* tx.NUMBER.uUID.NAME */
struct slice transaction_name(struct slice id)
{
	const char *at = id.at, *end = at + id.len;

	for (int dots = 0; at < end && dots < 3; at++)
		dots += *at == '.';
	return slice_of(at, (size_t)(end - at));
}
