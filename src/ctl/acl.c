#include "bucket/acl.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/xattr.h>

#include "bucket/verdict.h"
#include "ctl/control.h"
#include "ctl/ctl.h"
#include "ctl/io.h"
#include "ctl/say.h"
#include "ctl/terminal.h"

enum { opt_json };

static const struct ctl_option options[] = {
	{"json", 0, NULL, "show: an object of lists"},
	{0},
};

static int uid_of(const char *name, uint32_t *uid)
{
	const struct passwd *user = getpwnam(name);

	if (user)
		*uid = user->pw_uid;
	return user ? 0 : -1;
}

static int gid_of(const char *name, uint32_t *gid)
{
	const struct group *group = getgrnam(name);

	if (group)
		*gid = group->gr_gid;
	return group ? 0 : -1;
}

static int user_of(uint32_t uid, char *name, size_t size)
{
	const struct passwd *user = getpwuid(uid);

	return user && snprintf(name, size, "%s", user->pw_name) < (int)size ? 0 : -1;
}

static int group_of(uint32_t gid, char *name, size_t size)
{
	const struct group *group = getgrgid(gid);

	return group && snprintf(name, size, "%s", group->gr_name) < (int)size ? 0 : -1;
}

static const struct acl_names names = {uid_of, gid_of, user_of, group_of};

struct attribute {
	char text[64];
};

static struct attribute attribute_of(int privilege)
{
	struct attribute a;

	snprintf(a.text, sizeof(a.text), "user.bucketfs.acl.%s", privilege_name[privilege]);
	return a;
}

/* The list that holds: the bucket's own, the root's, or what there is out of the box. */
static int load(const struct place *p, int privilege, struct buf *text, bool *inherited)
{
	struct attribute a = attribute_of(privilege);
	int r = p->bucket >= 0 ? io_attribute(p->bucket, a.text, text) : -ENODATA;

	*inherited = r == -ENODATA && p->bucket >= 0;
	if (r == -ENODATA)
		r = io_attribute(p->root, a.text, text);
	/* The root's may be hidden, or none. */
	if (r == -ENODATA || (r == -EACCES && *inherited))
		r = privilege == PRIVILEGE_READ ? buf_add_string(text, "*") : 0;
	return r ? say_errno(p, -r, "%s", *p->id ? p->id : p->mount) : CTL_OK;
}

static int show(const struct place *p, bool json)
{
	cJSON *tree = cJSON_CreateObject();
	struct buf text = {0};
	int status = CTL_OK;

	for (int i = p->bucket >= 0 ? PRIVILEGE_READ : PRIVILEGE_CREATE; i < PRIVILEGE_COUNT && !status; i++) {
		bool inherited;
		cJSON *one;

		buf_clear(&text);
		status = load(p, i, &text, &inherited);
		if (!status && buf_add_byte(&text, 0))
			status = say_no_memory();
		if (status)
			break;
		one = cJSON_AddObjectToObject(tree, privilege_name[i]);
		cJSON_AddStringToObject(one, "list", (char *)text.data);
		cJSON_AddBoolToObject(one, "inherited", inherited);
		if (!json)
			terminal_line(stdout, "%-7s %s%s", privilege_name[i],
				      text.len > 1 ? (char *)text.data : "(nobody else)",
				      inherited ? "   (as the root of the mount has it)" : "");
	}
	buf_clear(&text);
	if (!status && io_attribute(p->bucket >= 0 ? p->bucket : p->root, "user.bucketfs.access", &text) == 0 &&
	    buf_add_byte(&text, 0) == 0) {
		cJSON_AddStringToObject(tree, "access", (char *)text.data);
		if (!json)
			terminal_line(stdout, "you may %s", text.len > 1 ? (char *)text.data : "nothing");
	}
	if (!status && json && !tree_print(tree))
		status = say_no_memory();
	cJSON_Delete(tree);
	buf_release(&text);
	return status;
}

static bool same(const struct principal *a, const struct principal *b)
{
	return a->kind == b->kind && (a->kind < PRINCIPAL_USER || a->id == b->id);
}

static const struct principal *find(const struct acl_list *list, const struct principal *what)
{
	for (uint32_t i = 0; i < list->count; i++)
		if (same(&list->principals[i], what))
			return &list->principals[i];
	return NULL;
}

static int parse(struct acl_list *out, struct slice text)
{
	struct reason why;
	int r = acl_list_parse(out, text, &names, &why);

	return r > 0 ? say_error("%s", why.text) : r ? say_no_memory() : CTL_OK;
}

static int parse_arguments(struct acl_list *out, char *const *words, int count)
{
	struct buf text = {0};
	int status = CTL_OK;

	for (int i = 0; i < count && !status; i++)
		if ((i && buf_add_byte(&text, ',')) || buf_add_string(&text, words[i]))
			status = say_no_memory();
	if (!status)
		status = parse(out, buf_slice(&text));
	buf_release(&text);
	return status;
}

/* list + what, or list - what. */
static int combine(const struct acl_list *list, const struct acl_list *what, bool grant, struct acl_list *out)
{
	out->principals = calloc((size_t)list->count + what->count + 1, sizeof(*out->principals));
	if (!out->principals)
		return say_no_memory();
	out->set = true;
	for (uint32_t i = 0; i < list->count; i++)
		if (grant || !find(what, &list->principals[i]))
			out->principals[out->count++] = list->principals[i];
	for (uint32_t i = 0; grant && i < what->count; i++)
		if (!find(out, &what->principals[i]))
			out->principals[out->count++] = what->principals[i];
	return CTL_OK;
}

static int write_list(const struct place *p, int privilege, const struct acl_list *list)
{
	struct place_path path = place_path_of(p->bucket >= 0 ? p->bucket : p->root, "");
	struct attribute a = attribute_of(privilege);
	struct buf text = {0};
	int status = CTL_OK;

	if (acl_list_format(list, &names, &text))
		status = say_no_memory();
	else if (setxattr(path.text, a.text, text.len ? (void *)text.data : "", text.len, 0))
		status = say_errno(p, errno, "%s: %s", *p->id ? p->id : p->mount, privilege_name[privilege]);
	buf_release(&text);
	return status;
}

static int change(const struct place *p, int privilege, bool grant, char *const *words, int count)
{
	struct acl_list list = {0}, what = {0}, result = {0};
	struct buf text = {0};
	bool inherited;
	int status = load(p, privilege, &text, &inherited);

	if (!status)
		status = parse(&list, buf_slice(&text));
	if (!status)
		status = parse_arguments(&what, words, count);
	if (!status)
		status = combine(&list, &what, grant, &result);
	if (!status)
		status = write_list(p, privilege, &result);
	if (!status && !grant && acl_list_is_everyone(&result))
		say_note("%s still is for everybody: the list has *", privilege_name[privilege]);
	acl_list_release(&list);
	acl_list_release(&what);
	acl_list_release(&result);
	buf_release(&text);
	return status;
}

static int inherit(const struct place *p, int privilege)
{
	struct place_path path = place_path_of(p->bucket >= 0 ? p->bucket : p->root, "");

	if (removexattr(path.text, attribute_of(privilege).text) && errno != ENODATA)
		return say_errno(p, errno, "%s: %s", *p->id ? p->id : p->mount, privilege_name[privilege]);
	return CTL_OK;
}

/* A bucket, or the root of the mount. */
static int find_place(struct place *out, const char *path)
{
	int status = place_find(out, path);

	if (status || !*out->id || out->bucket >= 0)
		return status;
	place_close(out);
	return place_find_bucket(out, path);
}

static int run(const struct request *r)
{
	const char *what = r->args[0];
	bool is_show = strcmp(what, "show") == 0, grant = strcmp(what, "grant") == 0, revoke = strcmp(what, "revoke") == 0;
	bool reset = strcmp(what, "inherit") == 0;
	int privilege = 0, status;
	struct place p;

	if (!is_show && !grant && !revoke && !reset)
		return say_usage("there is show, grant, revoke and inherit, not %s", what);
	if (is_show ? r->count > 2 : r->count < (reset ? 3 : 4))
		return say_usage(is_show ? "too many arguments" : "something is missing");
	for (; !is_show && strcmp(r->args[2], privilege_name[privilege]) != 0;)
		if (++privilege == PRIVILEGE_COUNT)
			return say_usage("there is no privilege %s, but create, read, edit, delete, admin", r->args[2]);
	status = find_place(&p, r->count > 1 ? r->args[1] : ".");
	if (status)
		return status;
	if (is_show)
		status = show(&p, r->option[opt_json] != NULL);
	else if (reset)
		status = inherit(&p, privilege);
	else
		status = change(&p, privilege, grant, r->args + 3, r->count - 3);
	place_close(&p);
	return status;
}

const struct command command_acl = {
	.name = "acl",
	.usage = "show [--json] [PATH]\ngrant PATH PRIVILEGE WHO...\nrevoke PATH PRIVILEGE WHO...\ninherit PATH PRIVILEGE",
	.about = "show and change who may do what with a bucket",
	.more = "PRIVILEGE is read, edit, delete or admin, and create for the root of the mount. WHO is user:NAME, group:NAME, * for\n"
		"everybody or owner. A bucket without a list of its own has that of the root; grant and revoke begin with it, and\n"
		"inherit goes back to it.",
	.options = options,
	.min = 1,
	.max = -1,
	.run = run,
};
