#include "ctl/meta.h"

#include "ctl/control.h"
#include "ctl/say.h"
#include "ctl/value.h"

static int add(struct document *patch, const char *key, const char *text)
{
	struct buf value = {0};
	int status = CTL_OK;

	if (!text)
		return CTL_OK;
	if (!json_is_utf8(slice_str(text)))
		return say_error("--%s: this is not UTF-8", key);
	if (json_quote(slice_str(text), &value) || document_add(patch, slice_str(key), slice_of(NULL, 0), buf_slice(&value)))
		status = say_no_memory();
	buf_release(&value);
	return status;
}

int meta_write(const struct place *p, const struct request *r, bool *any)
{
	static const char *const names[] = {"title", "icon", "notes"};
	const char *enabled = r->option[META_ENABLE] ? "true" : r->option[META_DISABLE] ? "false" : NULL;
	struct document patch = {0};
	struct buf text = {0};
	int status = CTL_OK;

	if (r->option[META_ENABLE] && r->option[META_DISABLE])
		return say_usage("--enable and --disable do not go together");
	for (int i = META_TITLE; i <= META_NOTES && !status; i++)
		status = add(&patch, names[i], r->option[i]);
	if (!status && enabled && document_add(&patch, slice_str("enabled"), slice_of(NULL, 0), slice_str(enabled)))
		status = say_no_memory();
	*any = patch.count > 0;
	if (!status && *any && document_sort(&patch))
		status = say_no_memory();
	if (!status && *any)
		status = value_render(&patch, &text);
	if (!status && *any)
		status = control_write(p, "meta.json", buf_slice(&text));
	document_release(&patch);
	buf_release(&text);
	return status;
}
