#pragma once

#include <stddef.h>

/* The object that `pointer` is the member of. */
#define container_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))
