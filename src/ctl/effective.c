#include "ctl/effective.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "ctl/control.h"
#include "ctl/ctl.h"
#include "ctl/io.h"
#include "ctl/say.h"

const char *const limit_names[limit_count] = {"max_data_size", "max_file_size", "max_files", "max_total_size",
					      "accepted_file_types"};

int limit_find(struct slice name)
{
	for (int i = 0; i < limit_count; i++)
		if (slice_equal(name, slice_str(limit_names[i])))
			return i;
	return -1;
}

struct limit_attribute limit_attribute(int which)
{
	struct limit_attribute name;

	snprintf(name.text, sizeof(name.text), "user.bucketfs.%s", limit_names[which]);
	return name;
}

void limit_format(const struct limits *l, int which, char *out, size_t size)
{
	const uint64_t numbers[] = {l->max_data_size, l->max_file_size, l->max_files, l->max_total_size};

	if (which < 4)
		snprintf(out, size, "%" PRIu64, numbers[which]);
	else
		snprintf(out, size, "%s", l->accepted_file_types);
}

static bool set(struct effective *e, int which, const char *value, enum limit_source source)
{
	struct reason why;

	if (limits_set(&e->limits, slice_str(limit_names[which]), value, &why))
		return false;
	e->source[which] = source;
	return true;
}

/* The mount's own, as config.json has them. */
static void load_mount(const struct place *p, struct effective *e)
{
	struct buf text = {0};
	cJSON *tree = NULL;
	const cJSON *limits;

	if (io_read_at(p->root, CONTROL "/config.json", &text) == 0)
		tree = tree_parse(buf_slice(&text));
	limits = cJSON_GetObjectItemCaseSensitive(tree, "limits");
	for (int i = 0; i < limit_count; i++) {
		const cJSON *item = cJSON_GetObjectItemCaseSensitive(limits, limit_names[i]);
		char value[32];

		if (cJSON_IsString(item)) {
			set(e, i, item->valuestring, LIMIT_OF_MOUNT);
		} else if (cJSON_IsNumber(item)) {
			snprintf(value, sizeof(value), "%.0f", item->valuedouble);
			set(e, i, value, LIMIT_OF_MOUNT);
		} else if (cJSON_IsNull(item)) {
			set(e, i, i < 4 ? "0" : "", LIMIT_OF_MOUNT);
		}
	}
	cJSON_Delete(tree);
	buf_release(&text);
}

int effective_load(const struct place *p, struct effective *out)
{
	struct buf value = {0};
	int status = CTL_OK;

	*out = (struct effective){0};
	load_mount(p, out);
	for (int i = 0; i < limit_count && p->bucket >= 0; i++) {
		int r;

		buf_clear(&value);
		r = io_attribute(p->bucket, limit_attribute(i).text, &value);
		if (!r)
			r = buf_add_byte(&value, 0);
		if (!r)
			set(out, i, (const char *)value.data, LIMIT_OF_BUCKET);
		else if (r == -ENOMEM)
			status = say_no_memory();
	}
	buf_release(&value);
	return status;
}
