/* Arguments: names, paths, offsets, sizes, JSON, schemas, attributes. Most are sensible, because an operation that
 * never succeeds reaches little. The others are odd. */
#include "calls.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { TEXTS = 8, TEXT_SIZE = 9000 };

static char *text(void)
{
	static char texts[TEXTS][TEXT_SIZE];
	static unsigned next;
	char *t = texts[next++ % TEXTS];

	*t = 0;
	return t;
}

const char *make_spelled(const char *from)
{
	char *out = text();
	size_t n = 0;

	for (; *from && n < 150; from++)
		n += snprintf(out + n, TEXT_SIZE - n, (unsigned char)*from < 32 || (unsigned char)*from > 126 ? "\\x%02x" : "%c",
			(unsigned char)*from);
	if (*from)
		snprintf(out + n, TEXT_SIZE - n, "…");
	return out;
}

/* ---- names ---- */

static const char *const special[] = {"data.json", "data.json.tmp", "data.json~", ".data.json.swp", "4913", ".bucketfs",
	"files",
	"@job", "@device", ".", "..", "...", ".f1.bin.partial", "lost_found", "commit", "tx", "info.json", "-rf", "f1.bin/",
	"%s%n",
	"f1.bin\n", "\x1b[2J", "\x01\x02", "\xff\xfe", "\xe6\x97", "caf\xc3\xa9.txt", "日本語.txt", "日", "\"}{", "*", "_", "__",
	"a:b"};

static const char *make_long(void)
{
	static const unsigned lengths[] = {237, 238, 254, 255, 255, 256, 300, 4095};
	static const char *const bits[] = {"n", "N", "é", "\xff", "日"};
	const char *bit = PICK(bits);
	size_t length = PICK(lengths), n = strlen(bit);
	char *out = text();

	for (size_t i = 0; i < length; i++)
		out[i] = bit[i % n];
	snprintf(out + length - (length > 2), 4, "%u", pick(3));
	out[length] = 0;
	return out;
}

const char *make_name(void)
{
	char *out = text();
	unsigned n = pick(6);

	switch (pick(20)) {
	case 0: return PICK(special);
	case 1: return chance(3) ? make_long() : PICK(special);
	case 2: snprintf(out, TEXT_SIZE, "F%u.Bin", n); break;
	case 3: snprintf(out, TEXT_SIZE, "f%u\xc3\xa9.bin", n); break;
	case 4: snprintf(out, TEXT_SIZE, "log%u.log", n % 3); break;
	case 5: snprintf(out, TEXT_SIZE, ".f%u.bin.partial", n); break;
	case 6: case 7: case 8: snprintf(out, TEXT_SIZE, "d%u", n % 2); break;
	case 9: snprintf(out, TEXT_SIZE, "f%u.txt", n); break;
	default: snprintf(out, TEXT_SIZE, "f%u.bin", n); break;
	}
	return out;
}

const char *make_bucket(void)
{
	static const char *const ids[] = {"pub0", "pub0", "pub0", "pub1", "pub1", "drop0", "drop0", "lim0", "lim0", "sch0",
		"sch0",
		"grp0", "@device", "@device", "@job", "@job", "neighbour", "neighbour", "own", "own", "own", "own"};
	char *out = text();

	switch (pick(12)) {
	case 0: snprintf(out, TEXT_SIZE, "fz%u", pick(5)); return out;
	case 1:
		if (chance(4))
			return chance(2) ? make_name() : ".bucketfs";
		snprintf(out, TEXT_SIZE, "fz%u", pick(5));
		return out;
	default: {
		const char *id = PICK(ids);

		if (strcmp(id, "own") != 0)
			return id;
		/* Mostly its own. */
		snprintf(out, TEXT_SIZE, "own%u", chance(4) ? 20001 + pick(3) : options.uid);
		return out;
	}
	}
}

/* ---- paths ---- */

static size_t add(char *out, size_t n, const char *part)
{
	int more = n < TEXT_SIZE ? snprintf(out + n, TEXT_SIZE - n, "/%s", part) : 0;

	return n + more < TEXT_SIZE ? n + more : TEXT_SIZE - 1;
}

static size_t add_inside(char *out, size_t n, unsigned depth)
{
	while (depth--) {
		char folder[8];

		snprintf(folder, sizeof folder, "d%u", pick(2));
		n = add(out, n, folder);
	}
	return add(out, n, make_name());
}

const char *make_path(void)
{
	static const char *const controls[] = {"info.json", "meta.json", "schema.json", "errors", "previous.json", "tx",
		"commit",
		"history", "history/1", "history/7", "nothing", "version", "config.json", "metrics"};
	static const char *const scratch[] = {"data.json.tmp", "data.json~", "4913", ".data.json.swp", "data.json.new",
		"sedA1b2C3",
		".#data.json", "data.json.bak"};
	char *out = text();
	size_t n = snprintf(out, TEXT_SIZE, "%s", options.mount);
	char id[4];

	n = add(out, n, make_bucket());
	switch (pick(24)) {
	case 0: return out;
	case 1: case 2: case 3: add(out, n, "data.json"); break;
	case 4: add(out, n, PICK(scratch)); break;
	case 5: add(out, n, "files"); break;
	case 6: add(out, n, ".bucketfs"); break;
	case 7: case 8:
		n = add(out, n, ".bucketfs");
		add(out, n, PICK(controls));
		break;
	case 9: case 10:
		n = add(out, n, ".bucketfs/tx");
		snprintf(id, sizeof id, "t%u", pick(4));
		n = add(out, n, id);
		if (chance(4))
			break;
		if (chance(2)) {
			n = add(out, n, "files");
			add_inside(out, n, chance(4));
		} else {
			add(out, n, chance(3) ? make_name() : "data.json");
		}
		break;
	case 11: add(out, n, make_name()); break;
	case 12: /* up and down again, and slashes */
		n = add(out, n, "files//./..");
		add(out, n, chance(2) ? "data.json" : make_name());
		break;
	default:
		n = add(out, n, "files");
		add_inside(out, n, chance(4) ? 1 + pick(3) : 0);
		break;
	}
	return out;
}

/* ---- numbers ---- */

int64_t make_offset(void)
{
	static const int64_t odd[] = {0, 1, 511, 4095, 4096, 32767, 32768, 32769, 65536, 262143, 262144, 1 << 20,
		(1ll << 31) - 1,
		1ll << 31, 1ll << 32, 1ll << 40, INT64_MAX - 1, INT64_MAX, -1, INT64_MIN};

	return chance(2) ? PICK(odd) : (int64_t)pick(200000);
}

/* For files that get this length. The largest would take the disk, or memory, of who runs this. */
int64_t make_size(void)
{
	static const int64_t odd[] = {0, 0, 1, 4096, 32768, 32769, 100000, 1 << 20, 4 << 20, 1ll << 40, INT64_MAX, -1,
		INT64_MIN};
	static const int64_t heavy[] = {1 << 30, (1ll << 31) - 1, 1ll << 31, 1ll << 32};

	if (options.heavy && chance(8))
		return PICK(heavy);
	return chance(2) ? PICK(odd) : (int64_t)pick(100000);
}

size_t make_length(void)
{
	static const size_t odd[] = {0, 1, 2, 4095, 4096, 4097, 32768, 32769, 65536, 131072, 262144, BUFFER_SIZE};

	return chance(3) ? PICK(odd) : pick(chance(3) ? 100000 : 3000);
}

size_t make_bytes(size_t size)
{
	uint64_t v = draw();

	if (size > BUFFER_SIZE)
		size = BUFFER_SIZE;
	for (size_t i = 0; i + 8 <= size; i += 8, v = v * 6364136223846793005 + 1442695040888963407)
		memcpy(buffer + i, &v, 8);
	return size;
}

/* ---- JSON ---- */

static size_t put(size_t at, const char *what)
{
	size_t n = strlen(what);

	if (at + n > BUFFER_SIZE / 2)
		return at;
	memcpy(buffer + at, what, n);
	return at + n;
}

static size_t put_key(size_t at)
{
	char key[40];
	static const char *const odd[] = {"\"\"", "\"\\u0061\"", "\"\\ud83d\\ude00\"", "\"\xc3\xa9\"", "\"a\\u0000b\"",
		"\"/~0\"",
		"\"__proto__\"", "\"a\xff\"", "\"\\ud83d\"", "\"\\n\""};

	if (chance(10))
		return put(at, PICK(odd));
	snprintf(key, sizeof key, "\"k%u\"", pick(20));
	return put(at, key);
}

static size_t put_value(size_t at, unsigned depth)
{
	static const char *const plain[] = {"0", "-0", "1", "1.10", "1e400", "12345678901234567890", "9007199254740993",
		"true", "false",
		"null", "\"\"", "\"text\"", "\"\\u0000\"", "\"\xe6\x97\xa5\"", "\"2026-01-01T00:00:00Z\"", "1E-99999",
		"\"\\ud83d\\ude00\""};
	static const char *const wrong[] = {"01", "1.", ".5", "+1", "NaN", "nul", "\"", "'a'", "\"\x01\"", "\"\\x\"", "[1,]",
		"{,}", "]",
		"\xef\xbb\xbf{}", "\"\\ud800\"", "1e", "--1", "/* */1", "\"\xff\"", "\"\xc0\x80\""};
	unsigned n = pick(5);

	if (chance(150))
		return put(at, PICK(wrong));
	if (!depth || chance(2))
		return put(at, PICK(plain));
	if (chance(40)) { /* deep, or long */
		unsigned deep = chance(2) ? 520 : pick(520);

		for (unsigned i = 0; i < deep; i++)
			at = put(at, "[");
		for (unsigned i = 0; i < deep; i++)
			at = put(at, "]");
		return at;
	}
	if (chance(40)) {
		at = put(at, "\"");
		for (unsigned i = pick(4000); i; i--)
			at = put(at, "long text ");
		return put(at, "\"");
	}
	bool object = chance(2);
	at = put(at, object ? "{" : "[");
	for (unsigned i = 0; i < n; i++) {
		at = put(at, i ? ", " : "");
		if (object) {
			at = put_key(at);
			at = put(at, ":");
		}
		at = put_value(at, depth - 1);
	}
	return put(at, object ? "}" : "]");
}

/* Bytes go, come, or become others. */
static size_t mutate(size_t size)
{
	for (unsigned n = 1 + pick(3); n && size > 2; n--) {
		size_t at = pick(size);

		switch (pick(4)) {
		case 0: buffer[at] = (char)draw(); break;
		case 1: size = at + 1; break;
		case 2:
			memmove(buffer + at, buffer + at + 1, size - at - 1);
			size--;
			break;
		default:
			memmove(buffer + at + 1, buffer + at, size - at);
			buffer[at] = "{}[]\",:\\0e-\0 \n"[pick(14)];
			size++;
			break;
		}
	}
	return size;
}

static size_t put_object(size_t at, unsigned keys)
{
	static const char *const meta[] = {"\"title\"", "\"enabled\"", "\"icon\"", "\"notes\"", "\"id\"", "\"created\"",
		"\"revision\""};
	bool fields = chance(6);

	at = put(at, "{");
	for (unsigned i = 0; i < keys; i++) {
		at = put(at, i ? ",\n" : "");
		at = fields ? put(at, PICK(meta)) : put_key(at);
		at = put(at, ": ");
		at = put_value(at, 4);
	}
	return put(at, "}\n");
}

size_t make_json(void)
{
	unsigned keys = chance(20) ? pick(options.heavy ? 100000 : 400) : pick(6);
	size_t n = 0;

	if (chance(30))
		n = put(0, chance(2) ? "\xef\xbb\xbf" : "\xff\xfe{\0}\0");
	n = chance(20) ? put_value(n, 5) : put_object(n, keys);
	while (chance(6))
		n = put_object(n, pick(4));
	return chance(5) ? mutate(n) : n;
}

static size_t put_schema(size_t at, unsigned depth)
{
	static const char *const plain[] = {"true", "{}", "{\"type\": \"integer\"}", "{\"type\": [\"string\", \"null\"]}",
		"{\"minimum\": 3, \"multipleOf\": 1e-7}", "{\"maxLength\": 5}", "{\"enum\": [1, \"a\", {\"b\": []}]}",
		"{\"const\": 1.0}",
		"{\"uniqueItems\": true}", "{\"writeOnly\": true, \"maxLength\": 3}", "{\"format\": \"date-time\"}",
		"{\"$ref\": \"#\"}",
		"{\"$ref\": \"#/$defs/a\"}", "{\"pattern\": \"^[a-z]+$\"}", "{\"unevaluatedProperties\": false}",
		"{\"minProperties\": 1}"};
	static const char *const dear[] = {"{\"pattern\": \"(a+)+$\"}", "{\"pattern\": \"^(\\\\w*)*\\\\1$\"}",
		"{\"multipleOf\": 1e-300}",
		"{\"uniqueItems\": true, \"items\": {\"uniqueItems\": true}}", "{\"patternProperties\": {\".*.*.*x\": false}}"};
	static const char *const wrong[] = {"false", "{\"type\": \"nothing\"}", "{\"$ref\": \"#/nowhere\"}",
		"{\"pattern\": \"(\"}",
		"{\"minimum\": \"3\"}", "[]", "{\"$ref\": \"http://x/y\"}", "{\"$dynamicRef\": \"#a\"}", "{\"maxLength\": -1}"};
	static const char *const lists[] = {"allOf", "anyOf", "oneOf", "prefixItems"};
	static const char *const ones[] = {"not", "items", "contains", "additionalProperties", "propertyNames", "if", "then",
		"else"};

	if (chance(options.heavy ? 8 : 30))
		return put(at, PICK(dear));
	if (chance(25))
		return put(at, PICK(wrong));
	if (!depth || chance(3))
		return put(at, PICK(plain));
	switch (pick(3)) {
	case 0:
		at = put(put(put(at, "{\""), PICK(lists)), "\": [");
		for (unsigned i = 0, n = 1 + pick(4); i < n; i++)
			at = put_schema(put(at, i ? ", " : ""), depth - 1);
		return put(at, "]}");
	case 1:
		at = put(put(put(at, "{\""), PICK(ones)), "\": ");
		return put(put_schema(at, depth - 1), "}");
	default:
		at = put(at, "{\"properties\": {");
		for (unsigned i = 0, n = 1 + pick(4); i < n; i++) {
			at = put_key(put(at, i ? ", " : ""));
			at = put_schema(put(at, ": "), depth - 1);
		}
		return put(at, "}, \"$defs\": {\"a\": {\"type\": \"string\"}}}");
	}
}

size_t make_schema(void)
{
	size_t n = put_schema(0, 4);

	return chance(6) ? mutate(n) : n;
}

/* ---- attributes ---- */

const char *make_attribute(void)
{
	static const char *const known[] = {"user.bucketfs.acl.read", "user.bucketfs.acl.edit", "user.bucketfs.acl.delete",
		"user.bucketfs.acl.admin", "user.bucketfs.acl.create", "user.bucketfs.access", "user.bucketfs.id",
		"user.bucketfs.name",
		"user.bucketfs.username", "user.bucketfs.job", "user.bucketfs.server", "user.bucketfs.max_files",
		"user.bucketfs.max_data_size", "user.bucketfs.max_file_size", "user.bucketfs.max_total_size",
		"user.bucketfs.accepted_file_types", "user.bucketfs.", "user.bucketfs", "user.bucketfs.nothing", "user.bucketfs.key.",
		"user.bucketfs.acl.", "user.bucketfs.acl.nothing"};
	static const char *const odd[] = {"system.posix_acl_access", "system.posix_acl_default", "security.selinux",
		"security.capability",
		"security.x", "trusted.x", "trusted.overlay.opaque", "", "user.", "user", "x", "system.nfs4_acl", "user.\xff\xfe",
		"user.a\nb",
		"os2.x", "user.mime_type", "user.com.apple"};
	char *out = text();

	switch (pick(8)) {
	case 0: case 1: return PICK(known);
	case 2: return PICK(odd);
	case 3: case 4: snprintf(out, TEXT_SIZE, "user.bucketfs.key.k%u", pick(20)); return out;
	case 5: {
		size_t n = snprintf(out, TEXT_SIZE, chance(2) ? "user.bucketfs.key." : "user.");

		snprintf(out + n, TEXT_SIZE - n, "%s", make_name());
		return out;
	}
	default: snprintf(out, TEXT_SIZE, "user.a%u", pick(10)); return out;
	}
}

size_t make_value(const char *attribute)
{
	static const char *const lists[] = {"*", "", "owner", "user:20001", "user:20002,user:20003", "group:30001",
		"user:root,group:30002",
		"*,owner", "user:", "user:nobody", "user:nothere", "user:-1", "user:4294967295", "group:99999999999", ",", "owner,",
		"* ",
		"user:20001\n", "\xff", "all"};
	static const char *const limits[] = {"0", "1", "40", "4096", "64k", "1M", "2G", "-1", "1e3", "99999999999999999999",
		"1T", " 1",
		".csv,.pdf", ".bin,.txt,.dat", ".", ","};
	static const char *const texts[] = {"1", "\"x\"", "{\"a\": [1, 2]}", "[", "", "null", "1 2", "{}\n", "\"\\ud800\""};
	const char *chosen;

	if (chance(8))
		return make_bytes(chance(2) ? pick(300) : pick(65537));
	if (strstr(attribute, ".acl."))
		chosen = PICK(lists);
	else if (strstr(attribute, ".max_") || strstr(attribute, "_types"))
		chosen = PICK(limits);
	else if (chance(3))
		return make_json();
	else
		chosen = PICK(texts);
	memcpy(buffer, chosen, strlen(chosen));
	return strlen(chosen);
}

int make_flags(void)
{
	static const int access_modes[] = {O_RDONLY, O_RDONLY, O_WRONLY, O_WRONLY, O_RDWR, O_RDWR, O_RDWR | O_WRONLY};
	static const int more[] = {O_CREAT, O_CREAT, O_CREAT, O_EXCL, O_TRUNC, O_TRUNC, O_APPEND, O_APPEND, O_DIRECT,
		O_NOFOLLOW, O_PATH,
		O_DIRECTORY, O_TMPFILE, O_SYNC, O_DSYNC, O_NONBLOCK, O_NOATIME, O_ASYNC, O_NOCTTY, O_LARGEFILE};
	int flags = PICK(access_modes);

	for (unsigned n = pick(4); n; n--)
		flags |= PICK(more);
	return flags | O_CLOEXEC * chance(2);
}
