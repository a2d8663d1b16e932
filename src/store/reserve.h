/* Memory that is kept for RocksDB. It is written in C++, and where it asks for memory and gets none, the process would end.
 * So the program's operator new is the one of reserve.c: it gives up the reserve, and then waits until there is some.
 * As long as the reserve is not whole, requests that need memory are refused before they enter RocksDB. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Called when the reserve is given up, and when it is whole again. From a thread of the reserve's own. */
typedef void reserve_changed(void *context, bool low);

/* For the life of the program; the first call counts. -ENOMEM: there is not even the reserve. */
int reserve_begin(void);
/* Sets the function that is told of changes. After a call with NULL none is on its way. */
void reserve_watch(reserve_changed *changed, void *context);
/* 0, or -ENOMEM while the reserve is not whole, or where there is no room for so many bytes more. */
int reserve_ask(size_t bytes);
/* For what must not fail: from the reserve if need be, then when there is some; NULL only if it may fail. */
void *reserve_take(size_t size, size_t align, bool may_fail);
