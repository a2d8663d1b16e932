/* The reference backend: everything in memory, gone at close. Simple rather than fast. */
#pragma once

#include "bucketfs/store.h"

/* 0 or -ENOMEM. */
int memory_store_open(struct store **out);
