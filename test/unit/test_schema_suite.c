/* The official suite (github.com/json-schema-org/JSON-Schema-Test-Suite), every file in BUCKETFS_SCHEMA_SUITE, or where
 * the project keeps it. Without it there is nothing to run. */
#include <dirent.h>

#include "bucket/json.h"
#include "bucket/json_tree.h"
#include "bucket/schema.h"
#include "bucket/verdict.h"
#include "test.h"

/* What is refused on purpose: its schema must not compile, and the reason has to say this. */
static const struct {
	const char *file, *description, *reason;
} refused[] = {
	{"defs.json", "validate definition against metaschema", "remote"},
	{"ref.json", "remote ref, containing refs itself", "remote"},
	{"unevaluatedItems.json", "unevaluatedItems with $dynamicRef", "$dynamicRef"},
	{"unevaluatedProperties.json", "unevaluatedProperties with $dynamicRef", "$dynamicRef"},
	{"dynamicRef.json", NULL, ""},  /* $dynamicRef; those that do without compile */
	{"refRemote.json", NULL, ""},   /* remote references; those that do without compile */
	{"vocabulary.json", NULL, ""},  /* other meta-schemas */
};

static void write_node(const struct json_node *node, struct buf *out)
{
	switch (node->kind) {
	case JSON_KIND_NULL:
		buf_add_string(out, "null");
		break;
	case JSON_KIND_BOOLEAN:
		buf_add_string(out, node->truth ? "true" : "false");
		break;
	case JSON_KIND_NUMBER:
		buf_add_slice(out, node->text);
		break;
	case JSON_KIND_STRING:
		json_quote(node->text, out);
		break;
	case JSON_KIND_ARRAY:
		buf_add_byte(out, '[');
		for (size_t i = 0; i < node->count; i++) {
			buf_add_string(out, i ? "," : "");
			write_node(node->items[i], out);
		}
		buf_add_byte(out, ']');
		break;
	case JSON_KIND_OBJECT:
		buf_add_byte(out, '{');
		for (size_t i = 0; i < node->count; i++) {
			buf_add_string(out, i ? "," : "");
			json_quote(node->members[i].key, out);
			buf_add_byte(out, ':');
			write_node(node->members[i].value, out);
		}
		buf_add_byte(out, '}');
		break;
	}
}

static const struct json_node *get(const struct json_node *object, const char *key)
{
	const struct json_node *found = json_node_find(object, S(key));

	assert_non_null(found);
	return found;
}

static unsigned passed, failed, left_out;

static void run_case(const char *file, struct slice group, const struct schema *schema, const struct json_node *test)
{
	struct slice name = get(test, "description")->text;
	struct reason why = {.text = ""};
	struct buf data = {0};
	int r;

	write_node(get(test, "data"), &data);
	r = schema_check(schema, buf_slice(&data), &why);
	if ((r == 0) == get(test, "valid")->truth && (r == 0 || r == BUCKET_INVALID)) {
		passed++;
	} else {
		failed++;
		print_error("%s: %.*s: %.*s: %d %s\n", file, (int)group.len, (const char *)group.at, (int)name.len,
			    (const char *)name.at, r, why.text);
	}
	buf_release(&data);
}

static const char *refused_because(const char *file, struct slice description)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++)
		if (!strcmp(refused[i].file, file) &&
		    (!refused[i].description || slice_equal(description, S(refused[i].description))))
			return refused[i].reason;
	return NULL;
}

static void run_group(const char *file, const struct json_node *group)
{
	struct slice description = get(group, "description")->text;
	const char *because = refused_because(file, description);
	const struct json_node *tests = get(group, "tests");
	struct schema *schema = NULL;
	struct reason why = {.text = ""};
	struct buf text = {0};
	int r;

	write_node(get(group, "schema"), &text);
	r = schema_compile(&schema, buf_slice(&text), &why);
	if (r && because && strstr(why.text, because)) {
		left_out += (unsigned)tests->count;
	} else if (r || (because && *because)) {
		failed += (unsigned)tests->count;
		print_error("%s: %.*s: %d %s\n", file, (int)description.len, (const char *)description.at, r, why.text);
	} else {
		for (size_t i = 0; i < tests->count; i++)
			run_case(file, description, schema, tests->items[i]);
	}
	schema_free(schema);
	buf_release(&text);
}

static void run_file(const char *folder, const char *name)
{
	char path[600];
	struct json_tree tree;
	struct reason why = {.text = ""};
	struct buf text = {0};
	FILE *file;
	int c;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "rb");
	assert_non_null(file);
	while ((c = fgetc(file)) != EOF)
		buf_add_byte(&text, (unsigned char)c);
	fclose(file);
	if (json_tree_parse(&tree, buf_slice(&text), &why))
		fail_msg("%s: %s", name, why.text);
	for (size_t i = 0; i < tree.root->count; i++)
		run_group(name, tree.root->items[i]);
	json_tree_release(&tree);
	buf_release(&text);
}

static void test_suite(void **state)
{
	const char *folder = getenv("BUCKETFS_SCHEMA_SUITE");
	struct dirent *entry;
	DIR *d;

	(void)state;
	if (!folder)
		folder = getenv("BUCKETFS_SCHEMA_SUITE_DEFAULT");
	d = folder ? opendir(folder) : NULL;
	if (!d) {
		skip();
		return;
	}
	while ((entry = readdir(d)))
		if (strlen(entry->d_name) > 5 && !strcmp(entry->d_name + strlen(entry->d_name) - 5, ".json"))
			run_file(folder, entry->d_name);
	closedir(d);
	print_message("%u passed, %u failed, %u left out\n", passed, failed, left_out);
	assert_int_equal(failed, 0);
	assert_true(passed > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_suite)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
