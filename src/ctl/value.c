#include "ctl/value.h"

#include <string.h>

#include "bucket/verdict.h"
#include "ctl/ctl.h"
#include "ctl/io.h"
#include "ctl/say.h"

int value_of(struct slice written, bool is_string, const char *what, struct buf *out)
{
	size_t began = out->len;
	struct reason why = {.text = ""};
	int r;

	if (!is_string) {
		r = json_compact(written, json_depth_max, out, &why);
		if (r <= 0)
			return r ? say_no_memory() : CTL_OK;
		out->len = began;
		/* Somebody has forgotten a brace or a quote, and will not want a string that looks like half an object. */
		if (written.len && strchr("{[\"", *(const char *)written.at))
			return say_error("%s: the value begins like JSON and is none: %s; --string takes it as it is", what, why.text);
	}
	if (!json_is_utf8(written))
		return say_error("%s: the value is neither JSON nor text in UTF-8", what);
	return json_quote(written, out) ? say_no_memory() : CTL_OK;
}

static int add_object(struct slice text, const char *what, struct document *patch)
{
	struct document object = {0};
	struct reason why;
	int r = document_parse(text, 0, &object, &why), status = CTL_OK;

	if (r > 0)
		return say_error("%s: %s", what, why.text);
	if (!r)
		status = value_add_all(patch, &object);
	document_release(&object);
	return r ? say_no_memory() : status;
}

int value_read_object(const char *path, struct document *out)
{
	const char *what = strcmp(path, "-") == 0 ? "standard input" : path;
	struct buf text = {0};
	int r = io_read_file(path, &text), status;

	status = r ? say_errno(NULL, -r, "%s", what) : add_object(buf_slice(&text), what, out);
	if (!status && document_sort(out))
		status = say_no_memory();
	buf_release(&text);
	return status;
}

int value_add_argument(const char *argument, bool is_string, struct document *patch)
{
	const char *equals = strchr(argument, '=');
	struct buf written = {0}, value = {0};
	struct slice key;
	int r = 0, status = CTL_OK;

	if (strcmp(argument, "-") == 0)
		return value_read_object(argument, patch);
	if (argument[strspn(argument, " \t\r\n")] == '{')
		return add_object(slice_str(argument), "the object", patch);
	if (!equals)
		return say_usage("%s is neither an object nor KEY=VALUE", argument);
	key = slice_of(argument, (size_t)(equals - argument));
	if (!key.len)
		return say_usage("%s: there is no key before the =; '{\"\": ...}' sets one that is empty", argument);
	if (!json_is_utf8(key))
		return say_error("the key is not UTF-8");
	if (equals[1] == '@') {
		r = io_read_file(equals + 2, &written);
		if (r)
			status = say_errno(NULL, -r, "%s", equals + 2);
		/* What editors and echo put at the end of a file is no part of a secret. */
		else if (written.len && written.data[written.len - 1] == '\n')
			written.len--;
	} else {
		r = buf_add_string(&written, equals + 1);
	}
	if (!r)
		status = value_of(buf_slice(&written), is_string, argument, &value);
	if (!r && !status && document_add(patch, key, slice_of(NULL, 0), buf_slice(&value)))
		status = say_no_memory();
	buf_release(&written);
	buf_release(&value);
	return r && !status ? say_no_memory() : status;
}

int value_add_all(struct document *to, const struct document *from)
{
	for (size_t i = 0; i < from->count; i++) {
		struct member_view m = document_member(from, i);

		if (document_add(to, m.key, m.text, m.value))
			return say_no_memory();
	}
	return CTL_OK;
}

int value_render(const struct document *d, struct buf *out)
{
	int r = document_render_begin(out);

	for (size_t i = 0; !r && i < d->count; i++) {
		struct member_view m = document_member(d, i);

		r = document_render_member(out, i == 0, m.text, m.value);
	}
	if (!r)
		r = document_render_end(out, d->count == 0);
	return r ? say_no_memory() : CTL_OK;
}
