/* The id of the bucket that a transaction is (transaction.h): tx.NUMBER.uUID.NAME. Pure. */
#pragma once

#include "util/slice.h"

/* Whether a bucket's id is a transaction's. */
bool transaction_is_id(struct slice id);
/* The number of the bucket that it will be published in; 0: the id is no transaction's. */
uint32_t transaction_bucket(struct slice id);
/* The name that its maker gives it. */
struct slice transaction_name(struct slice id);
