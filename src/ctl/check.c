#include "ctl/check.h"

#include <stddef.h>

#include "ctl/ctl.h"

static const struct ctl_option options[] = {
	{"data", 'd', NULL, "read every content, and compare it with its checksums"},
	{"repair", 'r', NULL, "mend what is wrong; no daemon may hold the store"},
	{"json", 0, NULL, "print one object instead of lines"},
	{0},
};

const struct command command_check = {
	.name = "check",
	.usage = "[--data] [--repair] [--json] STORE|MOUNTPOINT",
	.about = "compare the records, names, counts, sizes and contents of a store",
	.more = "STORE is the folder that bucketfs was given, MOUNTPOINT where it is mounted. Only root and the owner of the store may read\n"
		"it. While a bucketfs holds the store the check looks at one moment of it, and changes nothing.\n"
		"\n"
		"Each finding is a line, and the last line has the sums. A note is no finding: the next start of bucketfs removes what it is\n"
		"about. With --repair (unmount first) counts are set right, and names and records that lead nowhere are removed. What has lost\n"
		"its place, and files that are damaged or too short, go to files/lost_found of their bucket; contents that belong to no\n"
		"file go to STORE/lost+found. What is gone is named.\n"
		"\n"
		"Exit status, as fsck has it: 0 nothing is wrong, 1 all that was wrong is mended, 4 something is wrong and left,\n"
		"8 the store could not be checked, 16 wrong usage.",
	.options = options,
	.min = 1,
	.max = 1,
	.usage_status = CHECK_USAGE,
	.run = check_run,
};
