/* Mutexes that are held for about as long as it takes to sleep and to be woken. */
#pragma once

#include <pthread.h>
#include <stdbool.h>

/* ns for which is looked whether it is free. To sleep and be woken takes some 5 µs of each side, and 10 to 20 on a virtual machine,
 * where the other processor is woken by way of the host. */
enum { mutex_look = 50000 };

/* pthread_mutex_lock that looks whether the mutex is free before it sleeps, where there is another processor that may be
 * about to free it. */
void mutex_lock_soon(pthread_mutex_t *mutex);
/* Likewise whether an atomic count is more than 0. */
bool mutex_look_for(const unsigned *count);
