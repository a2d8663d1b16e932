/* Access lists: a second parser, written from the header, has the same opinion; what is shown is read as the same
 * list; a list names whom a plain search finds. */
#include "bucket/acl.h"
#include "bucket/verdict.h"
#include "fuzz.h"

enum { word_max = 300 };

static int number_of(const char *name, uint32_t *id)
{
	if (strcmp(name, "alice") && strcmp(name, "ci"))
		return -1;
	*id = strcmp(name, "ci") ? 1001 : 2001;
	return 0;
}

static int name_of(uint32_t id, char *name, size_t size)
{
	if (id != 1001 && id != 2001)
		return -1;
	snprintf(name, size, "%s", id == 1001 ? "alice" : "ci");
	return 0;
}

static const struct acl_names names = {number_of, number_of, name_of, name_of};

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n';
}

static bool reference_number(const char *text, uint32_t *id)
{
	uint64_t v;
	char *end;

	if (!*text || strspn(text, "0123456789") != strlen(text))
		return false;
	while (*text == '0' && text[1])
		text++;
	if (strlen(text) > 10)
		return false;
	v = strtoull(text, &end, 10);
	*id = (uint32_t)v;
	return v < UINT32_MAX;
}

static bool reference_word(const char *from, const char *to, struct principal *p)
{
	char word[word_max];
	bool is_user;

	while (from < to && is_space(*from))
		from++;
	while (to > from && is_space(to[-1]))
		to--;
	if (from == to || to - from >= word_max || memchr(from, 0, (size_t)(to - from)))
		return false;
	memcpy(word, from, (size_t)(to - from));
	word[to - from] = 0;
	*p = (struct principal){0};
	if (!strcmp(word, "*") || !strcmp(word, "owner")) {
		p->kind = *word == '*' ? PRINCIPAL_EVERYONE : PRINCIPAL_OWNER;
		return true;
	}
	is_user = !strncmp(word, "user:", 5);
	if (!is_user && strncmp(word, "group:", 6))
		return false;
	p->kind = is_user ? PRINCIPAL_USER : PRINCIPAL_GROUP;
	from = word + (is_user ? 5 : 6);
	return reference_number(from, &p->id) || !number_of(from, &p->id);
}

static bool has(const struct principal *list, size_t count, struct principal p)
{
	for (size_t i = 0; i < count; i++)
		if (list[i].kind == p.kind && list[i].id == p.id)
			return true;
	return false;
}

/* `list` has room for an entry a byte. False: it is no list. */
static bool reference_parse(struct slice text, struct principal *list, size_t *count)
{
	const char *from = text.at, *end = from + text.len;
	struct principal p;

	*count = 0;
	if (text.len && !end[-1])
		end--;
	while (from < end && is_space(*from))
		from++;
	while (end > from && is_space(end[-1]))
		end--;
	if (from == end)
		return true;
	for (;;) {
		const char *comma = memchr(from, ',', (size_t)(end - from));

		if (!reference_word(from, comma ? comma : end, &p))
			return false;
		if (!has(list, *count, p))
			list[(*count)++] = p;
		if (!comma)
			return true;
		from = comma + 1;
	}
}

static bool same(const struct acl_list *a, const struct acl_list *b)
{
	for (uint32_t i = 0; i < a->count && i < b->count; i++)
		if (a->principals[i].kind != b->principals[i].kind || a->principals[i].id != b->principals[i].id)
			return false;
	return a->set == b->set && a->count == b->count;
}

static bool in_group(const struct caller *who, gid_t gid)
{
	return who->pid == 7 && gid && gid % 3 == 0 && gid < 3000;
}

/* All of them, sorted. */
static const gid_t *groups_of(const struct caller *who, size_t *count)
{
	static gid_t groups[1000];

	*count = 0;
	for (gid_t gid = 0; gid < 3000; gid++)
		if (in_group(who, gid))
			groups[(*count)++] = gid;
	return groups;
}

static void check_callers(const struct acl_list *list)
{
	static const uint32_t ids[] = {0, 1, 7, 1001, 2001};
	enum { count = sizeof(ids) / sizeof(*ids) };
	const struct principal *all = list->principals;

	for (size_t n = 0; n < count * count * 2; n++) {
		struct caller who = {.uid = ids[n % count], .gid = ids[n / count % count], .pid = n % 2 ? 7 : 8};
		size_t group_count;
		const gid_t *groups = groups_of(&who, &group_count);
		bool expected = has(all, list->count, (struct principal){PRINCIPAL_EVERYONE, 0}) ||
				(who.uid == 7 && has(all, list->count, (struct principal){PRINCIPAL_OWNER, 0})) ||
				has(all, list->count, (struct principal){PRINCIPAL_USER, who.uid}) ||
				has(all, list->count, (struct principal){PRINCIPAL_GROUP, who.gid});

		for (uint32_t i = 0; i < list->count; i++)
			expected = expected || (all[i].kind == PRINCIPAL_GROUP && in_group(&who, all[i].id));
		CLAIM((acl_list_has(list, &who, 7) || acl_list_has_group(list, groups, group_count)) == expected);
	}
}

static void check_list(struct acl_list *list)
{
	struct buf text = {0}, record = {0};
	struct acl_list again, decoded, copy;

	CLAIM(!acl_list_format(list, &names, &text));
	CLAIM(!acl_list_parse(&again, buf_slice(&text), &names, NULL));
	CLAIM(same(list, &again));
	CLAIM(!acl_list_encode(list, &record));
	CLAIM(!acl_list_decode(&decoded, buf_slice(&record)));
	CLAIM(same(list, &decoded));
	CLAIM(!acl_list_copy(&copy, list));
	CLAIM(same(list, &copy));
	CLAIM(acl_list_is_everyone(list) == has(list->principals, list->count, (struct principal){PRINCIPAL_EVERYONE, 0}));
	check_callers(list);
	acl_list_release(&again);
	acl_list_release(&decoded);
	acl_list_release(&copy);
	buf_release(&text);
	buf_release(&record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_of(data, size);
	struct principal *expected = calloc(size + 1, sizeof(*expected));
	struct reason why = {.text = ""};
	struct acl_list list;
	size_t count;
	bool good;
	int r;

	CLAIM(expected);
	good = reference_parse(text, expected, &count);
	r = acl_list_parse(&list, text, &names, &why);
	CLAIM(r == (good ? 0 : BUCKET_INVALID));
	CLAIM(good || *why.text);
	if (good) {
		CLAIM(list.set && list.count == count);
		for (size_t i = 0; i < count; i++)
			CLAIM(list.principals[i].kind == expected[i].kind && list.principals[i].id == expected[i].id);
		check_list(&list);
		acl_list_release(&list);
	}
	free(expected);
	return 0;
}
