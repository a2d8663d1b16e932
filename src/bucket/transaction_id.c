#include "bucket/transaction_id.h"

#include "bucket/record.h"

bool transaction_is_id(struct slice id)
{
	return slice_starts_with(id, slice_str("tx."));
}

uint32_t transaction_bucket(struct slice id)
{
	const char *at = id.at;
	uint32_t number = 0;
	size_t i = 3;

	if (!transaction_is_id(id))
		return 0;
	for (; i < id.len && at[i] >= '0' && at[i] <= '9' && number <= bucket_number_max; i++)
		number = number * 10 + (uint32_t)(at[i] - '0');
	/* A dot ends it, and an owner and a name follow. */
	return i + 2 < id.len && at[i] == '.' && at[i + 1] == 'u' && number <= bucket_number_max ? number : 0;
}

/* tx.NUMBER.uUID.NAME */
struct slice transaction_name(struct slice id)
{
	const char *at = id.at, *end = at + id.len;

	for (int dots = 0; at < end && dots < 3; at++)
		dots += *at == '.';
	return slice_of(at, (size_t)(end - at));
}
