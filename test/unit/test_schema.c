/* What a schema says of a value, in which words, and that neither can keep anybody busy for long. */
#include "bucket/schema.h"

#include <errno.h>
#include <unistd.h>

#include "bucket/verdict.h"
#include "allocations.h"
#include "test.h"

static struct schema *compile(const char *text)
{
	struct schema *s = NULL;
	struct reason why = {.text = ""};

	if (schema_compile(&s, S(text), &why))
		fail_msg("%s: %s", text, why.text);
	return s;
}

static void refuse(const char *text, const char *reason)
{
	struct schema *s = NULL;
	struct reason why = {.text = ""};
	int r = schema_compile(&s, S(text), &why);

	if (r != BUCKET_INVALID || s)
		fail_msg("accepted: %s", text);
	if (!strstr(why.text, reason))
		fail_msg("%s: reason \"%s\" does not say \"%s\"", text, why.text, reason);
}

/* `want`: in the reason; NULL: it is valid. */
static void judge(const char *schema, const char *value, const char *want)
{
	struct schema *s = compile(schema);
	struct reason why = {.text = ""};
	int r = schema_check(s, S(value), &why);

	if (r && r != BUCKET_INVALID)
		fail_msg("%s: %s: %d", schema, value, r);
	if (!want && r)
		fail_msg("%s: %s: %s", schema, value, why.text);
	if (want && !r)
		fail_msg("%s: %s: accepted", schema, value);
	if (want && !strstr(why.text, want))
		fail_msg("%s: %s: reason \"%s\" does not say \"%s\"", schema, value, why.text, want);
	assert_int_equal(schema_check(s, S(value), NULL), r);
	schema_free(s);
}

struct judged {
	const char *schema, *value, *want;
};

static void judge_all(const struct judged *cases, size_t count)
{
	for (size_t i = 0; i < count; i++)
		judge(cases[i].schema, cases[i].value, cases[i].want);
}

#define JUDGE(...)                                                                                                     \
	static const struct judged cases[] = {__VA_ARGS__};                                                            \
	(void)state;                                                                                                   \
	judge_all(cases, sizeof(cases) / sizeof(*cases))

static void test_numbers(void **state)
{
	JUDGE({"{\"maximum\":9007199254740992}", "9007199254740993", "9007199254740993 is more than maximum 9007199254740992"},
	      {"{\"maximum\":9007199254740993}", "9007199254740993", NULL},
	      {"{\"const\":9007199254740993}", "9007199254740992", "9007199254740992 is not const 9007199254740993"},
	      {"{\"enum\":[1,9007199254740993]}", "9007199254740992", "is not one of the values in enum"},
	      {"{\"enum\":[9007199254740992,9007199254740993,3]}", "9007199254740993.0", NULL},
	      {"{\"const\":1}", "1.0", NULL}, {"{\"const\":100}", "1e2", NULL}, {"{\"const\":1E+2}", "100.00e0", NULL},
	      {"{\"const\":0}", "-0.0e5", NULL}, {"{\"const\":0.05}", "5e-2", NULL}, {"{\"const\":0.05}", "0.5", "const"},
	      {"{\"const\":1}", "true", "const"}, {"{\"const\":-1}", "1", "const"}, {"{\"const\":10}", "1", "const"},
	      {"{\"type\":\"integer\"}", "1.0", NULL}, {"{\"type\":\"integer\"}", "1.5e1", NULL},
	      {"{\"type\":\"integer\"}", "1.55e1", "is a number with a fraction, not of type integer"},
	      {"{\"type\":\"integer\"}", "1e-400", "integer"}, {"{\"type\":\"integer\"}", "1e400", NULL},
	      {"{\"maximum\":1e400}", "1e401", "more than maximum 1e400"}, {"{\"maximum\":1e400}", "9e399", NULL},
	      {"{\"minimum\":1e-9999}", "9E-10000", "less"}, {"{\"minimum\":1e-9999}", "11E-10000", NULL},
	      {"{\"exclusiveMinimum\":-1e400}", "-1e400", "is not more than exclusiveMinimum -1e400"},
	      {"{\"exclusiveMaximum\":3}", "3.0", "is not less than exclusiveMaximum 3"},
	      {"{\"exclusiveMaximum\":3}", "2.9999999999999999999999999999", NULL},
	      {"{\"minimum\":-5}", "-5.0000000000000000000000000001", "less than minimum -5"},
	      {"{\"maximum\":1e99999999999999999999}", "10e99999999999999999998", NULL},
	      {"{\"maximum\":1e99999999999999999999}", "11e99999999999999999998", "more"},
	      {"{\"const\":1e99999999999999999999}", "0.001e100000000000000000002", NULL},
	      {"{\"const\":1e-99999999999999999999}", "0.01e-99999999999999999997", NULL},
	      {"{\"minimum\":1e-99999999999999999999}", "1e-100000000000000000000", "less"},
	      {"{\"const\":1e100000000000000000}", "10e99999999999999999", NULL});
}

static void test_multiples(void **state)
{
	JUDGE({"{\"multipleOf\":2}", "7", "7 is not a multiple of 2 (multipleOf)"}, {"{\"multipleOf\":2}", "-8", NULL},
	      {"{\"multipleOf\":0.01}", "4.35", NULL}, {"{\"multipleOf\":0.01}", "4.355", "multiple"},
	      {"{\"multipleOf\":0.1}", "0.3", NULL}, {"{\"multipleOf\":0.0001}", "0.0075", NULL},
	      {"{\"multipleOf\":1.5}", "4.5", NULL}, {"{\"multipleOf\":1.5}", "4", "multiple"},
	      {"{\"multipleOf\":3}", "9007199254740993", NULL}, {"{\"multipleOf\":3}", "9007199254740992", "multiple"},
	      {"{\"multipleOf\":0.123456789}", "1e308", "multiple"}, {"{\"multipleOf\":0.5}", "1e308", NULL},
	      {"{\"multipleOf\":1e-8}", "12391239123", NULL}, {"{\"multipleOf\":7}", "0", NULL},
	      {"{\"multipleOf\":3}", "6e999999999", NULL}, {"{\"multipleOf\":3}", "1e999999999", "multiple"},
	      {"{\"multipleOf\":1024}", "1e10", NULL}, {"{\"multipleOf\":1024}", "1e9", "multiple"},
	      {"{\"multipleOf\":7}", "1e99999999999999999999", "multiple"}, {"{\"multipleOf\":8}", "1e99999999999999999999", NULL},
	      {"{\"multipleOf\":1e99999999999999999999}", "5", "multiple"},
	      {"{\"multipleOf\":33554432e-1000000000000000008}", "505033e-999999999999999997", "multiple"},
	      {"{\"multipleOf\":16e-1000000000000000001}", "3e-999999999999999997", NULL},
	      {"{\"multipleOf\":3e999999999999999990}", "6e1000000000000000001", NULL},
	      {"{\"multipleOf\":1e-99999999999999999999}", "5", NULL},
	      {"{\"multipleOf\":1e99999999999999999999}", "1e99999999999999999999", "too many steps"},
	      {"{\"multipleOf\":12345678901234567890123456789}", "37037036703703703670370370367", NULL},
	      {"{\"multipleOf\":12345678901234567890123456789}", "37037036703703703670370370368", "multiple"},
	      {"{\"multipleOf\":12345678901234567890123456789}", "12345678901234567890123456789e50", NULL},
	      {"{\"multipleOf\":1000000000000000000000000000001}", "1000000000000000000000000000002000000000000000000000000000001", NULL});
}

static void test_types_and_values(void **state)
{
	JUDGE({"true", "1", NULL}, {"false", "1", "schema: (root): 1 is not allowed"}, {"{}", "null", NULL},
	      {"{\"type\":\"string\"}", "1", "schema: (root): 1 is a number, not of type string"},
	      {"{\"type\":[\"string\",\"null\"]}", "{}", "the object is an object, not of type null or string"},
	      {"{\"type\":\"number\"}", "1.5", NULL}, {"{\"type\":\"boolean\"}", "0", "boolean"},
	      {"{\"const\":{\"a\":[1,{\"b\":null}]}}", "{\"a\":[1.0,{\"b\":null}]}", NULL},
	      {"{\"const\":{\"a\":1,\"b\":2}}", "{\"b\":2,\"a\":1}", NULL}, {"{\"const\":{\"a\":1}}", "{\"a\":1,\"b\":1}", "const"},
	      {"{\"const\":[1,2]}", "[2,1]", "const"}, {"{\"const\":null}", "null", NULL}, {"{\"const\":null}", "0", "const"},
	      {"{\"const\":\"a\\u0000b\"}", "\"a\\u0000b\"", NULL}, {"{\"const\":\"a\\u0000b\"}", "\"a\\u0000c\"", "const \"a\\u0000b\""},
	      {"{\"const\":false}", "[false]", "const"}, {"{\"enum\":[]}", "1", "enum"}, {"{\"enum\":[[],{},\"x\"]}", "{}", NULL},
	      {"{\"maxLength\":2}", "\"\\ud83d\\udca9\\ud83d\\udca9\"", NULL}, {"{\"minLength\":2}", "\"\\ud83d\\udca9\"", "minLength 2"},
	      {"{\"maxLength\":2.0}", "\"abc\"", "\"abc\" is longer than maxLength 2"}, {"{\"maxLength\":1e400}", "\"abc\"", NULL},
	      {"{\"uniqueItems\":true}", "[1,true,\"1\",[1],{\"a\":1},{\"a\":2}]", NULL},
	      {"{\"uniqueItems\":true}", "[3,1,2,1.0]", "the array has equal items, 1 and 3 (uniqueItems)"},
	      {"{\"uniqueItems\":true}", "[{\"a\":1,\"b\":2},{\"b\":2,\"a\":1}]", "0 and 1"},
	      {"{\"uniqueItems\":true}", "[[1],[true]]", NULL}, {"{\"uniqueItems\":false}", "[1,1]", NULL},
	      {"{\"format\":\"email\",\"contentEncoding\":\"base64\"}", "\"no\"", NULL});
}

static void test_patterns(void **state)
{
	JUDGE({"{\"pattern\":\"^a*$\"}", "\"aab\"", "\"aab\" does not match pattern \"^a*$\""},
	      {"{\"pattern\":\"a+\"}", "\"xxaayy\"", NULL}, {"{\"pattern\":\"^a$\"}", "\"a\\n\"", "pattern"},
	      {"{\"pattern\":\"^\\\\d+$\"}", "\"\\u09ea\"", "pattern"},
	      {"{\"pattern\":\"^\\\\w$\"}", "\"\\u00e9\"", "pattern"},
	      {"{\"pattern\":\"^\\\\s$\"}", "\"\\ufeff\"", NULL},
	      {"{\"pattern\":\"^\\\\S$\"}", "\"\\u2003\"", "pattern"},
	      {"{\"pattern\":\"^[^\\\\S]$\"}", "\"\\u2003\"", NULL},
	      {"{\"pattern\":\"^.$\"}", "\"\\u2028\"", "pattern"},
	      {"{\"pattern\":\"^.$\"}", "\"\\ud83d\\udca9\"", NULL},
	      {"{\"pattern\":\"^\\\\p{Letter}+$\"}", "\"\\u00e9a\"", NULL},
	      {"{\"pattern\":\"^\\\\p{Lu}$\"}", "\"a\"", "pattern"},
	      {"{\"pattern\":\"^\\\\p{Script=Greek}$\"}", "\"\\u03b1\"", NULL},
	      {"{\"pattern\":\"^\\\\cA\\\\v\\\\0$\"}", "\"\\u0001\\u000b\\u0000\"", NULL},
	      {"{\"pattern\":\"^\\\\ud83d\\\\udca9$\"}", "\"\\ud83d\\udca9\"", NULL},
	      {"{\"pattern\":\"^\\\\u{1f4a9}$\"}", "\"\\ud83d\\udca9\"", NULL},
	      {"{\"pattern\":\"^[[:alpha:]]$\"}", "\"a]\"", NULL}, {"{\"pattern\":\"^[^]$\"}", "\"x\"", NULL},
	      {"{\"pattern\":\"[]\"}", "\"x\"", "pattern"}, {"{\"pattern\":\"(?=s)a?s\"}", "\"s\"", NULL},
	      {"{\"pattern\":\"(?=s)\\\\ba{0}s\"}", "\"b s\"", NULL},
	      {"{\"pattern\":\"^[:a:]+[=b=][.c.]$\"}", "\"a:=.\"", NULL}, {"{\"pattern\":\"^[]*x$\"}", "\"x\"", NULL},
	      {"{\"pattern\":\"^[]{0}$\"}", "\"\"", NULL}, {"{\"pattern\":\"^[]+\"}", "\"x\"", "pattern"},
	      {"{\"pattern\":\"^a{,2}$\"}", "\"a{,2}\"", NULL}, {"{\"pattern\":\"^(?:a\\\\1(b))$\"}", "\"ab\"", NULL},
	      {"{\"pattern\":\"^[\\\\b]$\"}", "\"\\b\"", NULL}, {"{\"pattern\":\"^(?<n>a)\\\\k<n>$\"}", "\"aa\"", NULL},
	      {"{\"pattern\":\"(?<=a)b\"}", "\"ab\"", NULL}, {"{\"pattern\":\"^\\\\ufffd$\"}", "\"\\ud800\"", NULL},
	      {"{\"pattern\":\"\"}", "\"\"", NULL}, {"{\"pattern\":\"^$\"}", "\"\"", NULL},
	      {"{\"pattern\":\"x\"}", "\"\"", "pattern"},
	      {"{\"pattern\":\"\\u00e9$\"}", "\"aaaaaaaaaaaaaaaaa\\u00e9\\u00e9\\u00e9\"", NULL},
	      {"{\"pattern\":\"^a\\\\/b\\\\-c$\"}", "\"a/b-c\"", NULL});
}

static void test_arrays(void **state)
{
	JUDGE({"{\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"string\"}],\"items\":false}", "[1,\"a\"]", NULL},
	      {"{\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"string\"}],\"items\":false}", "[1,\"a\",3]", "schema: /2: 3 is not allowed by items"},
	      {"{\"prefixItems\":[{\"type\":\"integer\"}]}", "[]", NULL}, {"{\"prefixItems\":[{\"type\":\"integer\"}]}", "[\"x\"]", "schema: /0: \"x\""},
	      {"{\"items\":{\"items\":{\"minimum\":3}}}", "[[3],[4,2]]", "schema: /1/1: 2 is less than minimum 3"},
	      {"{\"contains\":{\"minimum\":5}}", "[1,2]", "has no item as contains wants one"}, {"{\"contains\":{\"minimum\":5}}", "[1,6]", NULL},
	      {"{\"contains\":false}", "[1]", "contains"}, {"{\"contains\":true}", "[]", "contains"}, {"{\"contains\":true}", "{}", NULL},
	      {"{\"contains\":{\"const\":1},\"minContains\":2}", "[1]", "has 1 items that contains counts, less than minContains 2"},
	      {"{\"contains\":{\"const\":1},\"minContains\":0}", "[]", NULL}, {"{\"contains\":{\"const\":1},\"maxContains\":1}", "[1,1]", "maxContains 1"},
	      {"{\"contains\":{\"const\":1},\"minContains\":0,\"maxContains\":0}", "[1]", "maxContains 0"},
	      {"{\"minContains\":5,\"maxContains\":0}", "[1]", NULL}, {"{\"minItems\":2}", "[1]", "has 1 items, less than minItems 2"},
	      {"{\"maxItems\":1}", "[1,2]", "has 2 items, more than maxItems 1"},
	      {"{\"contains\":{\"if\":false,\"else\":true}}", "[1]", NULL});
}

static void test_objects(void **state)
{
	JUDGE({"{\"properties\":{\"port\":{\"maximum\":65535}}}", "{\"port\":70000}", "schema: /port: 70000 is more than maximum 65535"},
	      {"{\"properties\":{\"a/b\":{\"properties\":{\"c~\":false}}}}", "{\"a/b\":{\"c~\":1}}", "schema: /a~1b/c~0: 1 is not allowed by properties"},
	      {"{\"required\":[\"a\",\"b\"]}", "{\"a\":1}", "schema: (root): the object lacks the key \"b\" (required)"},
	      {"{\"required\":[\"\\u0000\"]}", "{\"\\u0000\":1}", NULL}, {"{\"required\":[\"__proto__\",\"toString\"]}", "{}", "__proto__"},
	      {"{\"required\":[\"a\"]}", "[]", NULL}, {"{\"properties\":{\"a\":{}},\"additionalProperties\":false}", "{\"x\":1}", "/x: 1 is not allowed by additionalProperties"},
	      {"{\"patternProperties\":{\"^x\":{\"type\":\"string\"},\"y\":{\"minLength\":3}}}", "{\"xy\":\"ab\"}", "/xy: \"ab\" is shorter"},
	      {"{\"patternProperties\":{\"^x\":true},\"additionalProperties\":{\"type\":\"null\"}}", "{\"x1\":1,\"z\":2}", "/z: 2 is a number"},
	      {"{\"propertyNames\":{\"maxLength\":2}}", "{\"a\":{},\"long\":1}", "schema: (root): key \"long\" is longer than maxLength 2"},
	      {"{\"properties\":{\"o\":{\"propertyNames\":false}}}", "{\"o\":{\"k\":1}}", "schema: /o: key \"k\" is not allowed by propertyNames"},
	      {"{\"minProperties\":1}", "{}", "has 0 keys, less than minProperties 1"}, {"{\"maxProperties\":1}", "{\"a\":1,\"a\":2}", NULL},
	      {"{\"maxProperties\":1}", "{\"a\":1,\"b\":2}", "maxProperties 1"},
	      {"{\"dependentRequired\":{\"a\":[\"b\"]}}", "{\"a\":1}", "lacks the key \"b\" (dependentRequired)"},
	      {"{\"dependentRequired\":{\"a\":[\"b\"]}}", "{\"c\":1}", NULL},
	      {"{\"dependentSchemas\":{\"a\":{\"properties\":{\"b\":{\"type\":\"integer\"}}}}}", "{\"a\":1,\"b\":\"x\"}", "/b: \"x\""},
	      {"{\"dependentSchemas\":{\"a\":false}}", "{\"b\":1}", NULL}, {"{\"dependentSchemas\":{\"a\":false}}", "{\"a\":1}", "not allowed"},
	      {"{\"properties\":{\"a\":{\"type\":\"integer\"}}}", "{\"a\":\"x\",\"a\":1}", NULL});
}

static void test_combinations(void **state)
{
	JUDGE({"{\"allOf\":[{\"minimum\":1},{\"maximum\":3}]}", "4", "more than maximum 3"}, {"{\"anyOf\":[{\"type\":\"null\"},{\"minimum\":2}]}", "1", "any of the 2 schemas in anyOf"},
	      {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"null\"},{\"minimum\":2}]}", "3", "valid by schemas 0 and 2 in oneOf"},
	      {"{\"oneOf\":[{\"type\":\"integer\"},{\"minimum\":2}]}", "1.5", "any of the 2 schemas in oneOf"}, {"{\"oneOf\":[{\"type\":\"integer\"},{\"minimum\":2}]}", "2.5", NULL},
	      {"{\"oneOf\":[true,true]}", "1", "oneOf"}, {"{\"not\":{\"type\":\"integer\"}}", "1", "1 is valid by the schema in not"}, {"{\"not\":{\"not\":{}}}", "1", NULL},
	      {"{\"if\":{\"minimum\":5},\"then\":{\"multipleOf\":5},\"else\":{\"const\":1}}", "7", "multiple of 5"},
	      {"{\"if\":{\"minimum\":5},\"then\":{\"multipleOf\":5},\"else\":{\"const\":1}}", "2", "const 1"}, {"{\"then\":false,\"else\":false}", "1", NULL},
	      {"{\"if\":true,\"then\":false}", "1", "not allowed by then"});
}

static void test_unevaluated(void **state)
{
#define NO_MORE "\"unevaluatedProperties\":false"
	JUDGE({"{\"properties\":{\"a\":{}}," NO_MORE "}", "{\"a\":1,\"b\":2}", "/b: 2 is not allowed by unevaluatedProperties"},
	      {"{\"allOf\":[{\"properties\":{\"a\":{}}}],\"patternProperties\":{\"^b\":{}}," NO_MORE "}", "{\"a\":1,\"b\":2}", NULL},
	      {"{\"anyOf\":[{\"properties\":{\"a\":{\"const\":1}},\"required\":[\"a\"]},{\"properties\":{\"b\":true},\"required\":[\"b\"]}]," NO_MORE "}", "{\"a\":1,\"b\":2}", NULL},
	      {"{\"anyOf\":[{\"properties\":{\"a\":{\"const\":1}},\"required\":[\"a\"]},{\"properties\":{\"b\":true},\"required\":[\"b\"]}]," NO_MORE "}", "{\"a\":2,\"b\":2}", "/a: 2"},
	      {"{\"oneOf\":[{\"properties\":{\"a\":true},\"required\":[\"a\"]},{\"properties\":{\"b\":true},\"required\":[\"b\"]}]," NO_MORE "}", "{\"b\":1}", NULL},
	      {"{\"not\":{\"not\":{\"properties\":{\"a\":true}}}," NO_MORE "}", "{\"a\":1}", "/a: 1"},
	      {"{\"if\":{\"properties\":{\"k\":{\"const\":1}},\"required\":[\"k\"]},\"then\":{\"properties\":{\"a\":true}},\"else\":{\"properties\":{\"b\":true}}," NO_MORE "}", "{\"k\":1,\"a\":2}", NULL},
	      {"{\"if\":{\"properties\":{\"k\":{\"const\":1}},\"required\":[\"k\"]},\"then\":{\"properties\":{\"a\":true}},\"else\":{\"properties\":{\"b\":true}}," NO_MORE "}", "{\"k\":2,\"b\":2}", "/k: 2"},
	      {"{\"if\":{\"patternProperties\":{\"a\":true}}," NO_MORE "}", "{\"a\":1}", NULL},
	      {"{\"dependentSchemas\":{\"a\":{\"properties\":{\"a\":true,\"b\":true}}}," NO_MORE "}", "{\"a\":1,\"b\":1}", NULL},
	      {"{\"dependentSchemas\":{\"a\":{\"properties\":{\"b\":true}}}," NO_MORE "}", "{\"b\":1}", "/b"},
	      {"{\"$ref\":\"#/$defs/x\",\"$defs\":{\"x\":{\"properties\":{\"a\":true}}}," NO_MORE "}", "{\"a\":1}", NULL},
	      {"{\"allOf\":[{\"properties\":{\"a\":true}},{" NO_MORE "}]}", "{\"a\":1}", "/a"},
	      {"{\"allOf\":[{\"properties\":{\"a\":true}},{" NO_MORE "}]," NO_MORE "}", "{\"a\":1}", "/a"},
	      {"{\"allOf\":[{\"properties\":{\"a\":true}," NO_MORE "}]," NO_MORE "}", "{\"a\":1}", NULL},
	      {"{\"allOf\":[{\"unevaluatedProperties\":true}]," NO_MORE "}", "{\"a\":1}", NULL},
	      {"{\"allOf\":[{" NO_MORE "}],\"properties\":{\"a\":true}}", "{\"a\":1}", "/a"},
	      {"{\"properties\":{\"a\":{\"$ref\":\"#\"}}," NO_MORE "}", "{\"a\":{\"a\":{\"b\":1}}}", "/a/a/b: 1"},
	      {"{\"allOf\":[{\"additionalProperties\":true}]," NO_MORE "}", "{\"z\":1}", NULL},
	      {"{\"properties\":{\"a\":{\"properties\":{\"b\":true}}}," NO_MORE "}", "{\"a\":{},\"b\":1}", "/b"},
	      {"{\"unevaluatedProperties\":{\"type\":\"string\"},\"properties\":{\"a\":true}}", "{\"a\":1,\"b\":\"x\",\"c\":3}", "/c: 3 is a number"},
	      {"{\"prefixItems\":[true],\"unevaluatedItems\":false}", "[1,2]", "/1: 2 is not allowed by unevaluatedItems"},
	      {"{\"allOf\":[{\"prefixItems\":[true]},{\"prefixItems\":[true,{\"const\":2}]}],\"unevaluatedItems\":false}", "[1,2]", NULL},
	      {"{\"items\":true,\"unevaluatedItems\":false}", "[1,2]", NULL},
	      {"{\"contains\":{\"const\":2},\"unevaluatedItems\":{\"const\":1}}", "[1,2,1]", NULL},
	      {"{\"contains\":{\"const\":2},\"unevaluatedItems\":{\"const\":1}}", "[1,2,3]", "/2: 3"},
	      {"{\"allOf\":[{\"contains\":{\"multipleOf\":2}},{\"contains\":{\"multipleOf\":3}}],\"unevaluatedItems\":{\"multipleOf\":5}}", "[2,3,4,5,6]", NULL},
	      {"{\"allOf\":[{\"contains\":{\"multipleOf\":2}},{\"contains\":{\"multipleOf\":3}}],\"unevaluatedItems\":{\"multipleOf\":5}}", "[2,3,4,7,8]", "/3: 7"},
	      {"{\"contains\":{\"const\":2},\"minContains\":0,\"unevaluatedItems\":false}", "[2,2]", NULL},
	      {"{\"if\":{\"contains\":{\"const\":\"a\"}},\"then\":{\"if\":{\"contains\":{\"const\":\"b\"}}},\"unevaluatedItems\":false}", "[\"a\",\"b\",\"a\"]", NULL},
	      {"{\"anyOf\":[{\"prefixItems\":[true,{\"const\":1}]},{\"prefixItems\":[true,true,{\"const\":2}]}],\"unevaluatedItems\":false}", "[0,5,2]", NULL});
}

static void test_references(void **state)
{
	JUDGE({"{\"$defs\":{\"a~b/c%\":{\"type\":\"null\"}},\"$ref\":\"#/$defs/a~0b~1c%25\"}", "1", "null"},
	      {"{\"definitions\":{\"a\":{\"type\":\"null\"}},\"properties\":{\"x\":{\"$ref\":\"#/definitions/a\"}}}", "{\"x\":1}", "/x"},
	      {"{\"$ref\":\"#foo\",\"$defs\":{\"a\":{\"$anchor\":\"foo\",\"const\":1}}}", "2", "const"},
	      {"{\"$ref\":\"#foo\",\"$defs\":{\"a\":{\"$dynamicAnchor\":\"foo\",\"const\":1}}}", "2", "const"},
	      {"{\"$id\":\"http://x/root\",\"$ref\":\"http://x/nested#foo\",\"$defs\":{\"a\":{\"$id\":\"nested\",\"$defs\":{\"b\":{\"$anchor\":\"foo\",\"const\":1}}}}}", "2", "const"},
	      {"{\"$id\":\"http://x/base\",\"$ref\":\"child1#my\",\"$defs\":{\"a\":{\"$id\":\"child1\",\"allOf\":[{\"$id\":\"child2\",\"$anchor\":\"my\",\"type\":\"number\"},{\"$anchor\":\"my\",\"type\":\"string\"}]}}}", "1", "string"},
	      {"{\"$id\":\"http://x/a/b/c.json\",\"$ref\":\"../d.json\",\"$defs\":{\"d\":{\"$id\":\"/a/d.json\",\"const\":1}}}", "2", "const"},
	      {"{\"$id\":\"http://x/a/b/c.json\",\"$ref\":\"./../../x/./y/../d?q=1\",\"$defs\":{\"d\":{\"$id\":\"http://x/x/d?q=1\",\"const\":1}}}", "2", "const"},
	      {"{\"$id\":\"http://x/a\",\"$ref\":\"//y/z\",\"$defs\":{\"d\":{\"$id\":\"http://y/z\",\"const\":1}}}", "2", "const"},
	      {"{\"$id\":\"http://x\",\"$ref\":\"d\",\"$defs\":{\"d\":{\"$id\":\"http://x/d\",\"const\":1}}}", "2", "const"},
	      {"{\"$id\":\"urn:uuid:deadbeef\",\"$ref\":\"#/$defs/d\",\"$defs\":{\"d\":{\"const\":1}}}", "2", "const"},
	      {"{\"$ref\":\"urn:a:b#x\",\"$defs\":{\"d\":{\"$id\":\"urn:a:b\",\"$defs\":{\"e\":{\"$anchor\":\"x\",\"const\":1}}}}}", "2", "const"},
	      {"{\"$ref\":\"other.json\",\"$defs\":{\"d\":{\"$id\":\"other.json\",\"const\":1}}}", "2", "const"},
	      {"{\"$id\":\"\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"additionalProperties\":false}", "{\"a\":{\"b\":1}}", "/a/b"},
	      {"{\"unknown\":{\"x\":[{\"const\":1}]},\"$ref\":\"#/unknown/x/0\"}", "2", "const 1"},
	      {"{\"unknown\":{\"$id\":\"http://x/u\",\"const\":1},\"$ref\":\"http://x/real\",\"$defs\":{\"a\":{\"$id\":\"http://x/real\",\"const\":2}}}", "1", "const 2"},
	      {"{\"const\":{\"$ref\":\"#/no\"}}", "{\"$ref\":\"#/no\"}", NULL}, {"{\"default\":{\"$id\":\"http://x\",\"$ref\":\"#/no\"}}", "1", NULL},
	      {"{\"properties\":{\"$ref\":{\"type\":\"null\"}}}", "{\"$ref\":1}", "/$ref"},
	      {"{\"$defs\":{\"int\":{\"type\":\"integer\"}},\"allOf\":[{\"properties\":{\"f\":{\"$ref\":\"#/$defs/int\"}}},{\"additionalProperties\":{\"$ref\":\"#/$defs/int\"}}]}", "{\"f\":\"x\"}", "/f"},
	      {"{\"$schema\":\"http://json-schema.org/draft-07/schema#\",\"$ref\":\"#/definitions/a\",\"description\":\"d\",\"definitions\":{\"a\":{\"const\":1}}}", "2", "const"},
	      {"{\"allOf\":[{\"$ref\":\"#/allOf/1\"},{\"const\":1}]}", "2", "const"});
}

static void test_refused(void **state)
{
	static const char *const cases[][2] = {
		{"{", "line 1"}, {"[]", "schema: (root): a schema is an object, true or false"}, {"1", "true or false"},
		{"{\"minimum\":\"x\"}", "schema: /minimum: must be a number, not \"x\""},
		{"{\"properties\":{\"a\":{\"type\":\"strnig\"}}}", "schema: /properties/a/type: must be null, boolean"},
		{"{\"type\":[\"string\",\"string\"]}", "twice"}, {"{\"type\":[]}", "at least one"}, {"{\"type\":[1]}", "/type"},
		{"{\"required\":[1]}", "/required"}, {"{\"required\":\"a\"}", "/required"}, {"{\"required\":[\"a\",\"a\"]}", "twice"},
		{"{\"required\":true}", "array of strings"}, {"{\"enum\":1}", "/enum"}, {"{\"multipleOf\":0}", "above 0"},
		{"{\"multipleOf\":-0.5}", "above 0"}, {"{\"maxLength\":-1}", "0 or more"}, {"{\"maxLength\":1.5}", "0 or more"},
		{"{\"minItems\":\"1\"}", "0 or more"}, {"{\"uniqueItems\":1}", "true or false"}, {"{\"writeOnly\":1}", "true or false"},
		{"{\"title\":1}", "a string"}, {"{\"examples\":1}", "an array"}, {"{\"format\":[]}", "a string"},
		{"{\"pattern\":\"(\"}", "schema: /pattern: \"(\" is not a regular expression"}, {"{\"pattern\":1}", "a string"},
		{"{\"patternProperties\":{\"[\":{}}}", "schema: /patternProperties/[: \"[\""},
		{"{\"pattern\":\"(?R)\"}", "ECMA"}, {"{\"pattern\":\"(*UTF)a\"}", "ECMA"}, {"{\"pattern\":\"\\\\Aa\\\\Z\"}", "\\A is not ECMA-262's"},
		{"{\"pattern\":\"a**\"}", "nothing to repeat"}, {"{\"pattern\":\"a*+\"}", "nothing to repeat"}, {"{\"pattern\":\"*\"}", "nothing to repeat"},
		{"{\"pattern\":\"\\\\Ca\"}", "ECMA"}, {"{\"pattern\":\"\\\\u12\"}", "four"}, {"{\"pattern\":\"\\\\\"}", "ends with"}, {"{\"pattern\":\"a)\"}", "expression"},
		{"{\"properties\":[]}", "an object of schemas"}, {"{\"properties\":{\"a\":1}}", "schema: /properties/a: a schema is an object"},
		{"{\"allOf\":[]}", "at least one"}, {"{\"anyOf\":{}}", "at least one"}, {"{\"oneOf\":[1]}", "schema: /oneOf/0: a schema"},
		{"{\"not\":1}", "/not"}, {"{\"$defs\":{\"a\":{\"minimum\":\"x\"}}}", "/$defs/a/minimum"}, {"{\"dependentRequired\":{\"a\":[1]}}", "/dependentRequired/a"},
		{"{\"$ref\":\"#/no\"}", "$ref \"#/no\" leads to nothing"}, {"{\"$ref\":\"#no\"}", "leads to nothing"}, {"{\"$ref\":1}", "a string"},
		{"{\"$ref\":\"#/$defs/%zz\"}", "leads to nothing"}, {"{\"$ref\":\"#/$defs/~2\",\"$defs\":{\"~2\":{}}}", "leads to nothing"}, {"{\"x\":[{}],\"$ref\":\"#/x/00\"}", "nothing"},
		{"{\"x\":1,\"$ref\":\"#/x\"}", "schema: /x: a schema is"},
		{"{\"$ref\":\"http://example.com/a.json\"}", "remote references"}, {"{\"$ref\":\"other.json#/a\"}", "remote references"},
		{"{\"$ref\":\"https://json-schema.org/draft/2020-12/schema\"}", "remote references"},
		{"{\"$schema\":\"http://example.com/meta\"}", "schema: /$schema: \"http://example.com/meta\" is not known"}, {"{\"$schema\":1}", "a string"},
		{"{\"$id\":\"#foo\"}", "$anchor"}, {"{\"$id\":1}", "a string"}, {"{\"$anchor\":\"1a\"}", "a name"}, {"{\"$anchor\":\"#a\"}", "a name"},
		{"{\"$anchor\":\"a\",\"not\":{\"$anchor\":\"a\"}}", "same $id or $anchor"}, {"{\"$defs\":{\"a\":{\"$id\":\"x\"},\"b\":{\"$id\":\"x\"}}}", "same $id"},
		{"{\"$dynamicRef\":\"#a\"}", "$ref"}, {"{\"items\":[{}]}", "prefixItems"}, {"{\"additionalItems\":false}", "items, beside prefixItems"},
		{"{\"dependencies\":{}}", "dependentRequired and dependentSchemas"}, {"{\"$recursiveRef\":\"#\"}", "$dynamicRef"}, {"{\"$recursiveAnchor\":true}", "$dynamicAnchor"},
		{"{\"maximum\":5,\"exclusiveMaximum\":true}", "schema: /exclusiveMaximum: must be a number: 2020-12"},
		{"{\"minimum\":5,\"exclusiveMinimum\":false}", "in place of minimum"},
		{"{\"$schema\":\"http://json-schema.org/draft-04/schema#\",\"id\":\"x\"}", "$id"},
		{"{\"$schema\":\"http://json-schema.org/draft-03/schema#\",\"divisibleBy\":2}", "multipleOf"},
		{"{\"$schema\":\"http://json-schema.org/draft-07/schema#\",\"properties\":{\"a\":{\"$ref\":\"#\",\"minimum\":1}}}", "beside $ref"},
		{"{\"$ref\":\"#\"}", "loop"}, {"{\"$defs\":{\"a\":{\"$ref\":\"#/$defs/b\"},\"b\":{\"anyOf\":[{\"$ref\":\"#/$defs/a\"}]}}}", "loop"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		refuse(cases[i][0], cases[i][1]);
	schema_free(NULL);
	schema_free(compile("{\"id\":5,\"extends\":1,\"x-mine\":[],\"default\":{\"type\":1}}"));
	schema_free(compile("{\"$schema\":\"https://json-schema.org/draft/2019-09/schema#\",\"minimum\":1}"));
}

static void test_masked(void **state)
{
#define SECRET "\"properties\":{\"s\":{\"writeOnly\":true,\"maxLength\":3}}"
	JUDGE({"{" SECRET "}", "{\"s\":\"hunter2\"}", "schema: /s: *** is longer than maxLength 3"},
	      {"{" SECRET ",\"allOf\":[{\"properties\":{\"s\":{\"type\":\"null\"}}}]}", "{\"s\":\"abc\"}", "schema: /s: *** is a string"},
	      {"{\"allOf\":[{\"properties\":{\"s\":{\"type\":\"null\"}}},{" SECRET "}]}", "{\"s\":\"abc\"}", "schema: /s: *** is a string"},
	      {"{\"properties\":{\"s\":{\"$ref\":\"#/$defs/w\",\"const\":\"a\"}},\"$defs\":{\"w\":{\"writeOnly\":true}}}", "{\"s\":\"abc\"}", "schema: /s: *** is not what const says"},
	      {"{\"properties\":{\"s\":{\"writeOnly\":true,\"items\":{\"type\":\"null\"}}}}", "{\"s\":[1]}", "schema: /s/0: *** is a number"},
	      {"{\"properties\":{\"s\":{\"writeOnly\":true,\"additionalProperties\":false}}}", "{\"s\":{\"key\":1}}", "schema: /s/***: *** is not allowed"},
	      {"{\"properties\":{\"s\":{\"writeOnly\":true,\"properties\":{\"known\":false}}}}", "{\"s\":{\"known\":1}}", "schema: /s/known: *** is not"},
	      {"{\"properties\":{\"s\":{\"writeOnly\":true,\"propertyNames\":{\"maxLength\":1}}}}", "{\"s\":{\"key\":1}}", "schema: /s: key *** is longer"},
	      {"{" SECRET ",\"additionalProperties\":{\"type\":\"null\"}}", "{\"t\":\"abc\"}", "schema: /t: \"abc\" is a string"},
	      {"{" SECRET ",\"enum\":[]}", "{\"s\":\"hunter2\"}", "schema: (root): the object is not one of"},
	      {"{\"additionalProperties\":{\"writeOnly\":true,\"minimum\":5},\"properties\":{\"p\":{\"minimum\":5}}}", "{\"p\":1}", "/p: 1 is less"},
	      {"{\"additionalProperties\":{\"writeOnly\":true,\"minimum\":5},\"properties\":{\"p\":{\"minimum\":5}}}", "{\"q\":1}", "/q: *** is less"},
	      {"{\"patternProperties\":{\"^pw\":{\"writeOnly\":true,\"minimum\":5}}}", "{\"pw1\":1}", "/pw1: *** is less"},
	      {"{\"prefixItems\":[{\"writeOnly\":true},{\"minimum\":5}]}", "[1,2]", "/1: 2 is less"},
	      {"{\"writeOnly\":true,\"properties\":{\"p\":{\"minimum\":5}}}", "{\"p\":1}", "/p: *** is less"},
	      {"{\"properties\":{\"s\":{\"writeOnly\":false,\"maxLength\":3}}}", "{\"s\":\"hunter2\"}", "hunter2"});
}

static void test_long_words(void **state)
{
	struct schema *s = compile("{\"additionalProperties\":{\"additionalProperties\":{\"const\":\"x\"}}}");
	struct buf text = {0};
	struct reason why = {.text = ""};

	(void)state;
	buf_add_string(&text, "{\"");
	for (int i = 0; i < 5000; i++)
		buf_add_string(&text, "\xc3\xa9");
	buf_add_string(&text, "\":{\"k\\n\":\"");
	for (int i = 0; i < 5000; i++)
		buf_add_string(&text, "\xf0\x9f\x98\x80");
	buf_add_string(&text, "\"}}");
	assert_int_equal(schema_check(s, buf_slice(&text), &why), BUCKET_INVALID);
	assert_non_null(strstr(why.text, "/k\\u000a: \"\xf0\x9f\x98\x80"));
	assert_non_null(strstr(why.text, "is not const \"x\""));
	buf_release(&text);
	schema_free(s);
}

/* ---- hostile ---- */

static void repeat(struct buf *out, const char *text, unsigned times)
{
	while (times--)
		buf_add_string(out, text);
}

static void hostile(struct buf *schema, struct buf *value, const char *want)
{
	alarm(30);
	buf_add_byte(schema, 0);
	buf_add_byte(value, 0);
	judge((char *)schema->data, (char *)value->data, want);
	alarm(0);
	buf_clear(schema);
	buf_clear(value);
}

static void test_hostile_patterns(void **state)
{
	static const char *const patterns[] = {"^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "(a*)*c", "a*[bc]", "^a*a*a*a*[bc]",
					       "(?=(a+))a*b\\\\1", "(.*)(.*)(.*)(.*)(.*)[^a]x", "(x+x+)+y|a*[bc]"};
	struct buf schema = {0}, value = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(patterns) / sizeof(*patterns); i++) {
		buf_add_format(&schema, "{\"items\":{\"not\":{\"pattern\":\"%s\"}}}", patterns[i]);
		buf_add_string(&value, "[\"");
		repeat(&value, "a", 500000);
		buf_add_string(&value, "!\"]");
		hostile(&schema, &value, "too many steps");
		buf_add_format(&schema, "{\"items\":{\"not\":{\"pattern\":\"%s\"}}}", patterns[i]);
		buf_add_string(&value, "[\"q\"");
		repeat(&value, ",\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!\"", 10000);
		buf_add_string(&value, ",\"aa\"]");
		alarm(30);
		buf_add_byte(&schema, 0);
		buf_add_byte(&value, 0);
		struct schema *s = compile((char *)schema.data);
		schema_check(s, S((char *)value.data), NULL);
		schema_free(s);
		alarm(0);
		buf_clear(&schema);
		buf_clear(&value);
	}
	/* None of them is too much, all of them are. */
	buf_add_string(&schema, "{\"items\":{\"not\":{\"pattern\":\"a*[bc]\"}}}");
	buf_add_string(&value, "[\"q\"");
	for (int i = 0; i < 200; i++) {
		buf_add_string(&value, ",\"");
		repeat(&value, "a", 5000);
		buf_add_string(&value, "\"");
	}
	buf_add_string(&value, "]");
	hostile(&schema, &value, "too many steps");
	/* And what is long but harmless is judged. */
	buf_add_string(&schema, "{\"pattern\":\"^[A-Za-z0-9+/]*={0,2}$\"}");
	buf_add_byte(&value, '"');
	repeat(&value, "abcd", 250000);
	buf_add_string(&value, "==\"");
	hostile(&schema, &value, NULL);
	buf_release(&schema);
	buf_release(&value);
}

static void doubling(struct buf *schema, const char *keyword, const char *last, const char *rest)
{
	buf_add_string(schema, "{\"$defs\":{");
	for (int i = 0; i < 100; i++)
		buf_add_format(schema, "\"d%d\":{\"%s\":[{\"$ref\":\"#/$defs/d%d\"},{\"$ref\":\"#/$defs/d%d\"}]},", i, keyword, i + 1, i + 1);
	buf_add_format(schema, "\"d100\":%s},\"$ref\":\"#/$defs/d0\"%s}", last, rest);
}

static void test_hostile_schemas(void **state)
{
	static const char *const cases[][3] = {
		{"allOf", "{}", ""}, {"anyOf", "false", ""}, {"oneOf", "{\"type\":\"null\"}", ""}, {"anyOf", "{}", ",\"unevaluatedProperties\":false"}};
	struct buf schema = {0}, value = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		doubling(&schema, cases[i][0], cases[i][1], cases[i][2]);
		buf_add_string(&value, "{\"a\":1}");
		hostile(&schema, &value, "too many steps");
	}
	/* A chain of references that is no loop. */
	buf_add_string(&schema, "{\"$defs\":{");
	for (int i = 0; i < 5000; i++)
		buf_add_format(&schema, "\"d%d\":{\"$ref\":\"#/$defs/d%d\"},", i, i + 1);
	buf_add_string(&schema, "\"d5000\":true},\"$ref\":\"#/$defs/d0\"}");
	buf_add_string(&value, "1");
	hostile(&schema, &value, "more than 2048 schemas");
	/* The deepest text there is, through several schemas a level. */
	buf_add_string(&schema, "{\"items\":{\"allOf\":[{\"anyOf\":[{\"$ref\":\"#\"}]}]}}");
	repeat(&value, "[", 512);
	repeat(&value, "]", 512);
	hostile(&schema, &value, NULL);
	buf_add_string(&schema, "{\"items\":{\"allOf\":[{\"anyOf\":[{\"not\":{\"not\":{\"$ref\":\"#\"}}}]}]}}");
	repeat(&value, "[", 512);
	repeat(&value, "]", 512);
	hostile(&schema, &value, "more than 2048 schemas");
	repeat(&schema, "{\"not\":", 511);
	buf_add_string(&schema, "{\"type\":\"null\"}");
	repeat(&schema, "}", 511);
	buf_add_string(&value, "1");
	hostile(&schema, &value, NULL);
	buf_release(&schema);
	buf_release(&value);
}

static void test_hostile_values(void **state)
{
	struct buf schema = {0}, value = {0};

	(void)state;
	buf_add_string(&schema, "{\"uniqueItems\":true}");
	buf_add_string(&value, "[0");
	for (int i = 1; i < 100000; i++)
		buf_add_format(&value, ",[%d]", i);
	buf_add_string(&value, "]");
	hostile(&schema, &value, NULL);
	/* One that is long is not run over again for each that is short. */
	buf_add_string(&schema, "{\"uniqueItems\":true}");
	buf_add_string(&value, "[");
	repeat(&value, "1", 500000);
	for (int i = 0; i < 50000; i++)
		buf_add_format(&value, ",1%d", i);
	buf_add_string(&value, "]");
	hostile(&schema, &value, NULL);
	buf_add_string(&schema, "{\"multipleOf\":");
	repeat(&schema, "7", 200000);
	buf_add_string(&schema, "}");
	repeat(&value, "7", 400000);
	hostile(&schema, &value, "too many steps");
	buf_add_string(&schema, "{\"$defs\":{\"c\":{\"const\":[");
	repeat(&schema, "0,", 100000);
	buf_add_string(&schema, "1]}},\"anyOf\":[false");
	repeat(&schema, ",{\"$ref\":\"#/$defs/c\"}", 20000);
	buf_add_string(&schema, "]}");
	buf_add_string(&value, "[");
	repeat(&value, "0,", 100000);
	buf_add_string(&value, "0]");
	hostile(&schema, &value, "too many steps");
	buf_release(&schema);
	buf_release(&value);
}

/* ---- every allocation ---- */

static const char rich[] =
	"{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"$id\":\"http://x/y\",\"$defs\":{\"w\":{\"$id\":\"w\",\"$anchor\":\"a\",\"writeOnly\":true}},"
	"\"properties\":{\"s\":{\"$ref\":\"w#a\",\"maxLength\":4},\"n\":{\"multipleOf\":1234567890123456789012},\"u\":{\"uniqueItems\":true,\"enum\":[[1,2.5,3],1]},"
	"\"e\\u0041\":{\"pattern\":\"^(a|b)*\\\\s\"}},\"patternProperties\":{\"^p[0-9]\":{\"$ref\":\"#/unknown/t\"}},\"required\":[\"s\",\"n\"],"
	"\"unknown\":{\"t\":{\"type\":\"integer\"}},\"dependentRequired\":{\"s\":[\"n\"]},\"anyOf\":[{\"properties\":{\"s\":true}},{\"type\":\"null\"}],\"unevaluatedProperties\":false}";

static int compile_and_check(const char *value, struct reason *why)
{
	struct schema *s;
	int r = schema_compile(&s, S(rich), why);

	if (r)
		return r;
	r = schema_check(s, S(value), why);
	schema_free(s);
	return r;
}

static void test_allocations(void **state)
{
	static const struct {
		const char *value;
		int want;
	} cases[] = {
		{"{\"s\":\"abc\",\"n\":2469135780246913578024,\"u\":[1,2.5,3],\"eA\":\"ab \\ud800\",\"p1\":5}", 0},
		{"{\"s\":\"abcdefg\",\"n\":0}", BUCKET_INVALID},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct reason why = {.text = ""};
		unsigned nth = 1;
		bool reached = true;

		if (compile_and_check(cases[i].value, &why) != cases[i].want)
			fail_msg("%s: %s", cases[i].value, why.text);
		for (; reached; nth++) {
			int r;

			allocations = 0;
			allocation_fails_at = nth;
			r = compile_and_check(cases[i].value, &why);
			reached = allocations >= nth;
			allocation_fails_at = 0;
			if (r != (reached ? -ENOMEM : cases[i].want))
				fail_msg("allocation %u: %d %s", nth, r, why.text);
		}
		assert_true(nth > 40);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),		 cmocka_unit_test(test_multiples),
		cmocka_unit_test(test_types_and_values), cmocka_unit_test(test_patterns),
		cmocka_unit_test(test_arrays),		 cmocka_unit_test(test_objects),
		cmocka_unit_test(test_combinations),	 cmocka_unit_test(test_unevaluated),
		cmocka_unit_test(test_references),	 cmocka_unit_test(test_refused),
		cmocka_unit_test(test_masked),		 cmocka_unit_test(test_long_words),
		cmocka_unit_test(test_hostile_patterns), cmocka_unit_test(test_hostile_schemas),
		cmocka_unit_test(test_hostile_values),	 cmocka_unit_test(test_allocations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
