/* Which boot of the system this is. */
#pragma once

enum { boot_size = 16 };

/* Another one for every boot: /proc/sys/kernel/random/boot_id (random(4)). Where there is none, every call counts as another boot. */
void boot_read(unsigned char boot[boot_size]);
