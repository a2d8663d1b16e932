/* title, icon, notes and whether a bucket is enabled: the options for them, and meta.json. */
#pragma once

#include "ctl/ctl.h"
#include "ctl/place.h"

/* Must be the first options of a command. */
enum meta_option { META_TITLE, META_ICON, META_NOTES, META_ENABLE, META_DISABLE, META_COUNT };
#define META_OPTIONS \
	{"title", 't', "TEXT", "its title"}, {"icon", 0, "TEXT", "its icon"}, {"notes", 0, "TEXT", "notes about it"}, \
		{"enable", 0, NULL, "it can be written"}, {"disable", 0, NULL, "nobody can write into it"}

/* Writes what the options say, as one patch; nothing if they say nothing. */
int meta_write(const struct place *p, const struct request *r, bool *any);
