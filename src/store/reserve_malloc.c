/* RocksDB's cache asks malloc for its entries and does not look at what it gets (cache/lru_cache.cc). The linker leads every
 * call of the program here (--wrap in meson.build). Only what is as small as such an entry must not fail. */
#include <stddef.h>

#include "store/reserve.h"

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
	enum { entry_most = 160 };
	void *p = __real_malloc(size);

	return p || size > entry_most ? p : reserve_take(size, 1, false);
}
