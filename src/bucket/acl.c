#include "bucket/acl.h"

#include <errno.h>
#include <stdlib.h>

#include "bucket/verdict.h"
#include "util/bytes.h"

const char *const privilege_name[PRIVILEGE_COUNT] = {"create", "read", "edit", "delete", "admin"};

void acl_list_release(struct acl_list *list)
{
	free(list->principals);
	*list = (struct acl_list){0};
}

void acl_release(struct acl *acl)
{
	for (int i = 0; i < PRIVILEGE_COUNT; i++)
		acl_list_release(&acl->list[i]);
}

int acl_list_copy(struct acl_list *out, const struct acl_list *from)
{
	*out = *from;
	out->principals = NULL;
	if (from->count == 0)
		return 0;
	out->principals = malloc(from->count * sizeof(*out->principals));
	if (!out->principals) {
		*out = (struct acl_list){0};
		return -ENOMEM;
	}
	memcpy(out->principals, from->principals, from->count * sizeof(*out->principals));
	return 0;
}

static int add(struct acl_list *list, struct principal p)
{
	struct principal *grown;

	for (uint32_t i = 0; i < list->count; i++)
		if (list->principals[i].kind == p.kind && list->principals[i].id == p.id)
			return 0;
	if (list->count == acl_list_max)
		return BUCKET_VALUE_TOO_LARGE;
	grown = realloc(list->principals, (list->count + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	list->principals = grown;
	list->principals[list->count++] = p;
	return 0;
}

/* A plain decimal number that fits; (uid_t)-1 means "no change" to the kernel and is nobody's. */
static bool parse_number(const char *text, uint32_t *id)
{
	uint64_t v = 0;

	for (const char *c = text; *c; c++) {
		if (*c < '0' || *c > '9')
			return false;
		v = v * 10 + (uint64_t)(*c - '0');
		if (v >= UINT32_MAX)
			return false;
	}
	*id = (uint32_t)v;
	return *text != 0;
}

static int parse_principal(const char *word, const struct acl_names *names, struct principal *p, struct reason *why)
{
	bool is_user = strncmp(word, "user:", 5) == 0, is_group = strncmp(word, "group:", 6) == 0;
	const char *name = strchr(word, ':');

	*p = (struct principal){0};
	if (strcmp(word, "*") == 0) {
		p->kind = PRINCIPAL_EVERYONE;
		return 0;
	}
	if (strcmp(word, "owner") == 0) {
		p->kind = PRINCIPAL_OWNER;
		return 0;
	}
	if (!is_user && !is_group) {
		reason_set_own(why, "\"%s\" is none of user:NAME, group:NAME, *, owner", word);
		return BUCKET_INVALID;
	}
	name++;
	p->kind = is_user ? PRINCIPAL_USER : PRINCIPAL_GROUP;
	if (parse_number(name, &p->id))
		return 0;
	if (*name && !(is_user ? names->uid_of : names->gid_of)(name, &p->id))
		return 0;
	reason_set_own(why, "there is no %s \"%s\"", is_user ? "user" : "group", name);
	return BUCKET_INVALID;
}

static struct slice trimmed(struct slice s)
{
	const char *at = s.at;

	while (s.len && strchr(" \t\n", at[s.len - 1]) && at[s.len - 1])
		s.len--;
	while (s.len && *at && strchr(" \t\n", *at)) {
		at++;
		s.len--;
	}
	return slice_of(at, s.len);
}

int acl_list_parse(struct acl_list *out, struct slice text, const struct acl_names *names, struct reason *why)
{
	struct acl_list list = {.set = true};
	const char *at;
	int r = 0;

	/* Some tools count the NUL in. */
	if (text.len && ((const char *)text.at)[text.len - 1] == 0)
		text.len--;
	text = trimmed(text);
	at = text.at;
	while (!r && text.len) {
		const char *comma = memchr(at, ',', text.len);
		size_t len = comma ? (size_t)(comma - at) : text.len;
		struct slice trim = trimmed(slice_of(at, len));
		struct principal p;
		char word[300];

		if (trim.len == 0 || trim.len >= sizeof(word) || memchr(trim.at, 0, trim.len) ||
		    (comma && len + 1 == text.len)) {
			reason_set_own(why, "an entry of the list is empty or too long");
			r = BUCKET_INVALID;
			break;
		}
		memcpy(word, trim.at, trim.len);
		word[trim.len] = 0;
		r = parse_principal(word, names, &p, why);
		if (!r)
			r = add(&list, p);
		if (r == BUCKET_VALUE_TOO_LARGE)
			reason_set_own(why, "an access list has up to %d entries", acl_list_max);
		at += len + (comma != NULL);
		text.len -= len + (comma != NULL);
	}
	if (r)
		acl_list_release(&list);
	else
		*out = list;
	return r;
}

int acl_list_format(const struct acl_list *list, const struct acl_names *names, struct buf *out)
{
	int r = 0;

	for (uint32_t i = 0; !r && i < list->count; i++) {
		const struct principal *p = &list->principals[i];
		bool is_user = p->kind == PRINCIPAL_USER;
		char name[256];

		if (i)
			r = buf_add_byte(out, ',');
		if (r)
			break;
		if (p->kind == PRINCIPAL_EVERYONE)
			r = buf_add_string(out, "*");
		else if (p->kind == PRINCIPAL_OWNER)
			r = buf_add_string(out, "owner");
		else if (!(is_user ? names->user_of : names->group_of)(p->id, name, sizeof(name)))
			r = buf_add_format(out, "%s:%s", is_user ? "user" : "group", name);
		else
			r = buf_add_format(out, "%s:%u", is_user ? "user" : "group", p->id);
	}
	return r;
}

bool acl_list_has(const struct acl_list *list, const struct caller *who, uid_t owner)
{
	for (uint32_t i = 0; i < list->count; i++) {
		const struct principal *p = &list->principals[i];

		if (p->kind == PRINCIPAL_EVERYONE || (p->kind == PRINCIPAL_OWNER && who->uid == owner) ||
		    (p->kind == PRINCIPAL_USER && who->uid == p->id) ||
		    (p->kind == PRINCIPAL_GROUP && who->gid == p->id))
			return true;
	}
	return false;
}

static int compare_groups(const void *a, const void *b)
{
	gid_t x = *(const gid_t *)a, y = *(const gid_t *)b;

	return (x > y) - (x < y);
}

bool acl_list_has_group(const struct acl_list *list, const gid_t *groups, size_t count)
{
	for (uint32_t i = 0; count && i < list->count; i++) {
		gid_t gid = list->principals[i].id;

		if (list->principals[i].kind == PRINCIPAL_GROUP && bsearch(&gid, groups, count, sizeof(gid), compare_groups))
			return true;
	}
	return false;
}

bool acl_list_is_everyone(const struct acl_list *list)
{
	for (uint32_t i = 0; i < list->count; i++)
		if (list->principals[i].kind == PRINCIPAL_EVERYONE)
			return true;
	return false;
}

int acl_list_encode(const struct acl_list *list, struct buf *out)
{
	int r = bytes_add_32(out, list->count);

	for (uint32_t i = 0; !r && i < list->count; i++) {
		r = buf_add_byte(out, list->principals[i].kind);
		if (!r)
			r = bytes_add_32(out, list->principals[i].id);
	}
	return r;
}

int acl_list_decode(struct acl_list *out, struct slice record)
{
	struct bytes_reader reader = bytes_reader_of(record);
	struct acl_list list = {.set = true, .count = bytes_read_32(&reader)};

	/* The length says how many there are, so that a damaged count takes neither memory nor time. */
	if (reader.bad || reader.left % 5 || reader.left / 5 != list.count)
		return -EIO;
	if (list.count) {
		list.principals = malloc(list.count * sizeof(*list.principals));
		if (!list.principals)
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < list.count; i++) {
		list.principals[i] = (struct principal){.kind = bytes_read_8(&reader)};
		list.principals[i].id = bytes_read_32(&reader);
		if (list.principals[i].kind > PRINCIPAL_GROUP) {
			acl_list_release(&list);
			return -EIO;
		}
	}
	*out = list;
	return 0;
}
