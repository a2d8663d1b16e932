#include "ctl/judge.h"

#include "ctl/control.h"
#include "ctl/ctl.h"
#include "ctl/io.h"
#include "ctl/say.h"

int judge_compile(struct slice text, const char *what, struct schema **out)
{
	struct reason why;
	int r = schema_compile(out, text, &why);

	if (r > 0)
		return say_error("%s: %s", what, why.text);
	return r ? say_no_memory() : CTL_OK;
}

int judge_load(const struct place *p, struct schema **out)
{
	struct buf text = {0};
	int status = CTL_OK;

	*out = NULL;
	if (io_read_at(p->bucket, CONTROL "/schema.json", &text) == 0)
		status = judge_compile(buf_slice(&text), "the schema of the bucket", out);
	buf_release(&text);
	return status;
}

int judge_check(const struct schema *s, struct slice text, const char *what)
{
	struct reason why;
	int r = s ? schema_check(s, text, &why) : 0;

	if (r > 0)
		return say_error("%s: %s", what, why.text);
	return r ? say_no_memory() : CTL_OK;
}
