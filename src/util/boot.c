#include "util/boot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/clock.h"

void boot_read(unsigned char boot[boot_size])
{
	int64_t now = clock_now(&clock_system);
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
	char digit[2] = "";

	memset(boot, 0, boot_size);
	memcpy(boot, &now, sizeof(now));
	/* 32 hexadecimal digits with dashes among them. */
	for (int i = 0, c; file && i < 2 * boot_size && (c = fgetc(file)) != EOF;) {
		digit[0] = (char)c;
		if (c == '-')
			continue;
		boot[i / 2] = (unsigned char)(boot[i / 2] << 4 | strtoul(digit, NULL, 16));
		i++;
	}
	if (file)
		fclose(file);
}
