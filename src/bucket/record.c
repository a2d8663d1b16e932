#include "bucket/record.h"

#include <errno.h>
#include <stdlib.h>

#include "util/bytes.h"

/* Every record begins with its version; a reader refuses one that it does not know. */
enum { record_version = 1 };
/* Sections of a head: 1 and up are the privileges, this and up the limits. */
enum { tag_limit = 16, tag_unsettled = 32, tag_attributes = 33 };

int head_encode(const struct head *h, const struct acl *acl, const struct own_limits *own, struct buf *out)
{
	int r = buf_reserve(out, 96);

	if (r)
		return r;
	buf_add_byte(out, record_version);
	buf_add_byte(out, (unsigned char)(h->data_present | h->enabled << 1 | h->untouched << 2));
	bytes_add_32(out, h->owner);
	bytes_add_32(out, h->group);
	bytes_add_64(out, (uint64_t)h->created);
	bytes_add_64(out, (uint64_t)h->modified);
	bytes_add_64(out, (uint64_t)h->data_modified);
	bytes_add_64(out, (uint64_t)h->files_modified);
	bytes_add_64(out, h->data_keys);
	bytes_add_64(out, h->data_size);
	bytes_add_64(out, h->next_node);
	bytes_add_64(out, h->files);
	bytes_add_64(out, h->file_bytes);
	bytes_add_32(out, h->files_generation);
	bytes_add_32(out, h->making);
	/* Then sections: a tag, a length, that many bytes. Unknown ones would be a newer version's. */
	for (int i = 0; !r && i < PRIVILEGE_COUNT; i++) {
		if (!acl->list[i].set)
			continue;
		r = buf_add_byte(out, (unsigned char)(1 + i));
		if (!r)
			r = bytes_add_32(out, 4 + 5 * acl->list[i].count);
		if (!r)
			r = acl_list_encode(&acl->list[i], out);
	}
	for (int i = 0; !r && i < limits_own_count; i++) {
		if (!own->text[i])
			continue;
		r = buf_add_byte(out, (unsigned char)(tag_limit + i));
		if (!r)
			r = bytes_add_32(out, (uint32_t)strlen(own->text[i]));
		if (!r)
			r = buf_add_string(out, own->text[i]);
	}
	if (!r && h->unsettled) {
		r = buf_add_byte(out, tag_unsettled);
		if (!r)
			r = bytes_add_32(out, 4);
		if (!r)
			r = bytes_add_32(out, h->unsettled);
	}
	if (!r && h->attribute_bytes) {
		r = buf_add_byte(out, tag_attributes);
		if (!r)
			r = bytes_add_32(out, 8);
		if (!r)
			r = bytes_add_64(out, h->attribute_bytes);
	}
	return r;
}

void own_limits_release(struct own_limits *own)
{
	for (int i = 0; i < limits_own_count; i++)
		free(own->text[i]);
	*own = (struct own_limits){{NULL}};
}

static int decode_section(struct head *h, struct acl *acl, struct own_limits *own, unsigned tag, struct slice section)
{
	/* It is written only if it is not 0. */
	if (tag == tag_unsettled && section.len == 4 && !h->unsettled) {
		h->unsettled = bytes_get_le32(section.at);
		return h->unsettled ? 0 : -EIO;
	}
	if (tag == tag_attributes && section.len == 8 && !h->attribute_bytes) {
		h->attribute_bytes = bytes_get_le64(section.at);
		return h->attribute_bytes && h->attribute_bytes <= INT64_MAX ? 0 : -EIO;
	}
	if (tag >= 1 && tag <= PRIVILEGE_COUNT && !acl->list[tag - 1].set)
		return acl_list_decode(&acl->list[tag - 1], section);
	if (tag < tag_limit || tag >= tag_limit + limits_own_count || own->text[tag - tag_limit] || !section.len ||
	    memchr(section.at, 0, section.len))
		return -EIO;
	own->text[tag - tag_limit] = strndup(section.at, section.len);
	return own->text[tag - tag_limit] ? 0 : -ENOMEM;
}

static int decode_sections(struct head *h, struct acl *acl, struct own_limits *own, struct bytes_reader *r)
{
	int failed = 0;

	while (!failed && !r->bad && r->left) {
		unsigned tag = bytes_read_8(r);
		struct slice section = bytes_read(r, bytes_read_32(r));

		failed = r->bad ? -EIO : decode_section(h, acl, own, tag, section);
	}
	return failed;
}

static const char *check_head(const struct head *h, unsigned flags)
{
	if (flags & ~7u)
		return "it has flags that nobody knows";
	if (!h->next_node || h->next_node >= NODE_END)
		return "the next number is none";
	if (h->data_size > INT64_MAX || h->file_bytes > INT64_MAX || h->files >= NODE_END || h->data_keys > h->data_size)
		return "it counts more than there can be";
	return NULL;
}

int head_decode(struct head *h, struct acl *acl, struct own_limits *own, struct slice record, const char **fault)
{
	struct bytes_reader r = bytes_reader_of(record);
	uint8_t version = bytes_read_8(&r), flags = bytes_read_8(&r);
	int failed = 0;

	*acl = (struct acl){0};
	*own = (struct own_limits){{NULL}};
	*h = (struct head){.data_present = flags & 1, .enabled = flags >> 1 & 1, .untouched = flags >> 2 & 1};
	h->owner = bytes_read_32(&r);
	h->group = bytes_read_32(&r);
	h->created = (int64_t)bytes_read_64(&r);
	h->modified = (int64_t)bytes_read_64(&r);
	h->data_modified = (int64_t)bytes_read_64(&r);
	h->files_modified = (int64_t)bytes_read_64(&r);
	h->data_keys = bytes_read_64(&r);
	h->data_size = bytes_read_64(&r);
	h->next_node = bytes_read_64(&r);
	h->files = bytes_read_64(&r);
	h->file_bytes = bytes_read_64(&r);
	h->files_generation = bytes_read_32(&r);
	h->making = bytes_read_32(&r);
	if (version != record_version)
		*fault = "it has another version";
	else if (r.bad)
		*fault = "it is cut short";
	else
		*fault = check_head(h, flags);
	if (!*fault) {
		failed = decode_sections(h, acl, own, &r);
		if (failed || r.bad)
			*fault = "a section of it is none, or is there twice";
	}
	if (*fault) {
		acl_release(acl);
		own_limits_release(own);
	}
	return !*fault ? 0 : failed ? failed : -EIO;
}

struct node node_without_names(const struct node *n)
{
	struct node copy = *n;

	copy.name = copy.given = copy.job = copy.target = slice_of(NULL, 0);
	return copy;
}

int node_encode(const struct node *n, struct buf *out)
{
	int r = buf_reserve(out, 80 + n->name.len + n->given.len + n->job.len + n->target.len);

	if (r)
		return r;
	buf_add_byte(out, record_version);
	buf_add_byte(out, n->kind);
	buf_add_byte(out, n->place);
	buf_add_byte(out, n->exec);
	buf_add_byte(out, n->has_attributes);
	bytes_add_32(out, n->uid);
	bytes_add_32(out, n->gid);
	bytes_add_64(out, (uint64_t)n->modified);
	bytes_add_64(out, (uint64_t)n->changed);
	bytes_add_64(out, (uint64_t)n->accessed);
	bytes_add_64(out, (uint64_t)n->created);
	bytes_add_64(out, n->size);
	bytes_add_64(out, n->blocks);
	bytes_add_64(out, n->content);
	buf_add_byte(out, (unsigned char)n->name.len);
	buf_add_slice(out, n->name);
	buf_add_byte(out, (unsigned char)n->given.len);
	buf_add_slice(out, n->given);
	buf_add_byte(out, (unsigned char)n->job.len);
	buf_add_slice(out, n->job);
	buf_add_slice(out, n->target);
	return 0;
}

/* Two names are one thing here: what was given, and what is stored for it. */
static const char *check_names(const struct node *n)
{
	char normal[name_max];
	size_t len;

	if (!n->name.len || n->name.len > name_max)
		return "it has no name";
	if (slice_equal(n->name, slice_str(".")) || slice_equal(n->name, slice_str("..")))
		return "its name is . or ..";
	if (name_normalise(n->name, normal, &len) || !slice_equal(n->name, slice_of(normal, len)))
		return "its name is in no stored form";
	if (n->given.len && (name_normalise(n->given, normal, &len) || !slice_equal(n->name, slice_of(normal, len)) ||
			     memchr(n->given.at, 0, n->given.len) || memchr(n->given.at, '/', n->given.len)))
		return "the name that it was given is another one";
	if (n->job.len > node_job_max || (n->job.len && memchr(n->job.at, 0, n->job.len)))
		return "its job has no name";
	return NULL;
}

static const char *check_link(const struct node *n)
{
	if (n->place != PLACE_NONE || n->content || n->exec)
		return "it is a link with a content or a mode";
	if (!n->target.len || n->target.len > link_target_max || n->target.len != n->size || memchr(n->target.at, 0, n->target.len))
		return "it is a link that leads nowhere";
	return check_names(n);
}

const char *node_check(const struct node *n)
{
	if (n->number < NODE_FIRST || n->number >= NODE_END)
		return "its number is none";
	if (n->parent == n->number)
		return "it is in itself";
	if (n->parent != NODE_FILES && (n->parent < NODE_FIRST || n->parent >= NODE_END))
		return "its folder's number is none";
	if (n->kind != NODE_FILE && n->kind != NODE_FOLDER && n->kind != NODE_LINK)
		return "it is no file, no folder and no link";
	if (n->kind == NODE_LINK)
		return check_link(n);
	if (n->place > PLACE_CONTENT)
		return "its content is at a place that nobody knows";
	if (n->exec & ~0111u)
		return "its mode is none";
	if (n->place == PLACE_NONE && n->size)
		return "it has a size and no place";
	/* A content that is let go by one file would be another's. */
	if ((n->place == PLACE_CONTENT) != (n->content != 0))
		return n->content ? "it has a content and is at another place" : "the number of its content is none";
	if (n->size > INT64_MAX)
		return "it has a size that no file can have";
	if (n->kind == NODE_FOLDER && n->place != PLACE_NONE)
		return "it is a folder with a content";
	return check_names(n);
}

const char *node_decode(struct node *n, struct slice record)
{
	struct bytes_reader r = bytes_reader_of(record);
	uint8_t version = bytes_read_8(&r), has_attributes;

	n->kind = bytes_read_8(&r);
	n->place = bytes_read_8(&r);
	n->exec = bytes_read_8(&r);
	has_attributes = bytes_read_8(&r);
	n->has_attributes = has_attributes;
	n->uid = bytes_read_32(&r);
	n->gid = bytes_read_32(&r);
	n->modified = (int64_t)bytes_read_64(&r);
	n->changed = (int64_t)bytes_read_64(&r);
	n->accessed = (int64_t)bytes_read_64(&r);
	n->created = (int64_t)bytes_read_64(&r);
	n->size = bytes_read_64(&r);
	n->blocks = bytes_read_64(&r);
	n->content = bytes_read_64(&r);
	n->name = bytes_read(&r, bytes_read_8(&r));
	n->given = bytes_read(&r, bytes_read_8(&r));
	n->job = bytes_read(&r, bytes_read_8(&r));
	n->target = slice_of(NULL, 0);
	if (n->kind == NODE_LINK && n->size <= link_target_max)
		n->target = bytes_read(&r, n->size);
	if (version != record_version)
		return "it has another version";
	if (r.bad || r.left)
		return r.bad ? "it is cut short" : "it is too long";
	return has_attributes > 1 ? "it has flags that nobody knows" : node_check(n);
}

/* Only a damaged record has a name that is too long for a key. */
static struct slice fitting(struct slice name)
{
	return slice_of(name.at, name.len > name_max ? name_max : name.len);
}

static struct key_buf key_of(char tag, struct slice name)
{
	struct key_buf k;

	name = fitting(name);
	k.len = 1 + name.len;
	k.bytes[0] = (unsigned char)tag;
	if (name.len)
		memcpy(k.bytes + 1, name.at, name.len);
	return k;
}

static struct key_buf key_of_node(char tag, uint64_t node, struct slice name)
{
	struct key_buf k;

	name = fitting(name);
	k.len = 6 + name.len;
	k.bytes[0] = (unsigned char)tag;
	bytes_put_be40(k.bytes + 1, node);
	if (name.len)
		memcpy(k.bytes + 6, name.at, name.len);
	return k;
}

struct key_buf key_bucket_name(struct slice name)
{
	return key_of('B', name);
}

static struct key_buf key_of_bucket(char tag, uint32_t number)
{
	unsigned char raw[4];

	bytes_put_be32(raw, number);
	return key_of(tag, slice_of(raw, sizeof(raw)));
}

struct key_buf key_bucket_number(uint32_t number)
{
	return key_of_bucket('N', number);
}

struct key_buf key_bucket_erased(uint32_t number)
{
	return key_of_bucket('G', number);
}

uint32_t key_bucket_number_of(struct slice key)
{
	return key.len == 5 ? bytes_get_be32((const unsigned char *)key.at + 1) : 0;
}

struct key_buf key_attribute(uint64_t node, struct slice name)
{
	return key_of_node('X', node, name);
}

void attribute_totals_encode(const struct attribute_totals *t, unsigned char value[attribute_totals_len])
{
	bytes_put_le64(value, t->list_bytes);
	bytes_put_le64(value + 8, t->bytes);
}

bool attribute_totals_decode(struct attribute_totals *t, struct slice value)
{
	if (value.len != attribute_totals_len)
		return false;
	t->list_bytes = bytes_get_le64(value.at);
	t->bytes = bytes_get_le64((const unsigned char *)value.at + 8);
	return t->list_bytes <= INT64_MAX && t->bytes <= INT64_MAX;
}

void attribute_totals_add(struct attribute_totals *t, struct slice name, size_t value_len, int sign)
{
	enum { shown_with = 6 }; /* "user." and a NUL */

	t->list_bytes += (uint64_t)sign * (name.len + shown_with);
	t->bytes += (uint64_t)sign * (name.len + value_len);
}

struct key_buf key_child(uint64_t parent, uint64_t node)
{
	unsigned char raw[5];

	bytes_put_be40(raw, node);
	return key_of_node('C', parent, slice_of(raw, sizeof(raw)));
}

uint64_t key_parent_node_of(struct slice key)
{
	return key_making_node_of(key);
}

uint64_t key_child_node_of(struct slice key)
{
	return key.len == 11 ? bytes_get_be40((const unsigned char *)key.at + 6) : 0;
}

uint64_t key_child_parent_of(struct slice key)
{
	return key.len == 11 ? bytes_get_be40((const unsigned char *)key.at + 1) : 0;
}

struct key_buf key_name(uint64_t parent, struct slice name)
{
	return key_of_node('D', parent, name);
}

struct key_buf key_parent(uint64_t node)
{
	return key_of_node('P', node, slice_of(NULL, 0));
}

struct key_buf key_making(uint64_t node)
{
	return key_of_node('V', node, slice_of(NULL, 0));
}

uint64_t key_making_node_of(struct slice key)
{
	return key.len == 6 ? bytes_get_be40((const unsigned char *)key.at + 1) : 0;
}

struct key_buf key_unsettled(uint64_t node)
{
	return key_of_node('U', node, slice_of(NULL, 0));
}

uint64_t key_unsettled_node_of(struct slice key)
{
	return key_making_node_of(key);
}

struct key_buf key_transaction(uint32_t number)
{
	return key_of_bucket('T', number);
}

struct key_buf key_body(uint64_t node)
{
	return key_of_node('I', node, slice_of(NULL, 0));
}

int origin_encode(const struct origin *o, struct buf *out)
{
	int r = buf_reserve(out, 32 + o->name.len);

	if (r)
		return r;
	buf_add_byte(out, record_version);
	bytes_add_32(out, o->owner);
	bytes_add_32(out, o->group);
	bytes_add_64(out, (uint64_t)o->created);
	buf_add_slice(out, o->name);
	return 0;
}

/* Whatever its kind, an id is shown in paths. */
static bool is_id(struct slice id)
{
	const unsigned char *at = id.at;

	for (size_t i = 0; i < id.len; i++)
		if (at[i] <= ' ' || at[i] > '~' || at[i] == '/')
			return false;
	return id.len && id.len <= name_max && *at != '.';
}

const char *origin_decode(struct origin *o, struct slice record)
{
	struct bytes_reader r = bytes_reader_of(record);
	uint8_t version = bytes_read_8(&r);

	o->owner = bytes_read_32(&r);
	o->group = bytes_read_32(&r);
	o->created = (int64_t)bytes_read_64(&r);
	o->name = slice_of(r.at, r.left);
	if (version != record_version)
		return "it has another version";
	if (r.bad)
		return "it is cut short";
	return is_id(o->name) ? NULL : "its id is none";
}

/* State, folder, turn, and the turn of what it was overtaken by. */
void making_encode(const struct making_record *m, unsigned char value[making_len])
{
	value[0] = m->state;
	bytes_put_be40(value + 1, m->parent);
	bytes_put_be40(value + 6, m->turn);
	bytes_put_be40(value + 11, m->by);
}

bool making_decode(struct making_record *m, struct slice key, struct slice value)
{
	const unsigned char *at = value.at;

	/* The shorter ones are older. */
	if (key.len != 6 || value.len > making_len || value.len < 6 || (value.len - 6) % 5)
		return false;
	*m = (struct making_record){.number = key_making_node_of(key), .parent = bytes_get_be40(at + 1), .state = at[0]};
	if (value.len > 6)
		m->turn = bytes_get_be40(at + 6);
	if (value.len > 11)
		m->by = bytes_get_be40(at + 11);
	return m->state >= MARK_CANDIDATE && m->state <= MARK_OVERTAKEN;
}

/* Bits of a record's flags. Records of older versions end after the fallback. */
enum { flag_falls_back = 1, flag_checks = 2, flag_kept = 4 };

int unsettled_encode(const struct unsettled_record *u, struct buf *out)
{
	const struct node *f = &u->fallback;
	int r = buf_add_slice(out, u->boot);

	if (!r)
		r = bytes_add_64(out, u->content);
	if (!r)
		r = buf_add_byte(out, (unsigned char)((u->falls_back ? flag_falls_back : 0) | (u->checks.len ? flag_checks : 0) |
						     (u->kept ? flag_kept : 0)));
	if (!r && u->falls_back) {
		r = buf_add_byte(out, f->place);
		for (int i = 0; !r && i < 5; i++)
			r = bytes_add_64(out, (const uint64_t[]){f->number, f->size, f->blocks, f->content, (uint64_t)f->modified}[i]);
	}
	if (!r && u->checks.len) {
		r = bytes_add_64(out, u->safe);
		if (!r)
			r = bytes_add_64(out, (uint64_t)u->since);
		if (!r)
			r = bytes_add_64(out, u->turn);
		if (!r)
			r = buf_add_slice(out, u->checks);
	}
	return r;
}

bool unsettled_decode(struct unsettled_record *u, struct slice record)
{
	struct bytes_reader r = bytes_reader_of(record);
	struct node *f = &u->fallback;
	uint8_t flags;

	*u = (struct unsettled_record){.boot = bytes_read(&r, boot_size)};
	u->content = bytes_read_64(&r);
	flags = bytes_read_8(&r);
	u->falls_back = flags & flag_falls_back;
	u->kept = flags & flag_kept;
	if (u->falls_back) {
		f->place = bytes_read_8(&r);
		f->number = bytes_read_64(&r);
		f->size = bytes_read_64(&r);
		f->blocks = bytes_read_64(&r);
		f->content = bytes_read_64(&r);
		f->modified = (int64_t)bytes_read_64(&r);
	}
	if (flags & flag_checks) {
		u->safe = bytes_read_64(&r);
		u->since = (int64_t)bytes_read_64(&r);
		u->turn = bytes_read_64(&r);
	}
	if (r.bad || !u->content || flags > (flag_falls_back | flag_checks | flag_kept) || (r.left != 0) != !!(flags & flag_checks))
		return false;
	/* As node_check has it: an empty file may have a content too, with space that was allocated beyond its end. */
	if (u->falls_back && (f->place > PLACE_CONTENT || (f->place == PLACE_NONE && f->size) || (f->place == PLACE_CONTENT && !f->content)))
		return false;
	u->checks = slice_of(r.at, r.left);
	return true;
}

/* ---- kept documents ---- */

struct key_buf key_history(void)
{
	return key_of('H', slice_of(NULL, 0));
}

struct key_buf key_previous(void)
{
	return key_of('Q', slice_of(NULL, 0));
}

struct key_buf key_history_text(uint64_t revision)
{
	unsigned char raw[8];

	bytes_put_be32(raw, (uint32_t)(revision >> 32));
	bytes_put_be32(raw + 4, (uint32_t)revision);
	return key_of('H', slice_of(raw, sizeof(raw)));
}

uint64_t key_history_revision_of(struct slice key)
{
	const unsigned char *raw = (const unsigned char *)key.at + 1;

	return (uint64_t)bytes_get_be32(raw) << 32 | bytes_get_be32(raw + 4);
}

int history_encode(const struct history_entry *entries, size_t count, struct buf *out)
{
	int r = buf_add_byte(out, record_version);

	for (size_t i = 0; !r && i < count; i++) {
		r = bytes_add_64(out, entries[i].revision);
		if (!r)
			r = bytes_add_64(out, entries[i].size);
		if (!r)
			r = bytes_add_64(out, (uint64_t)entries[i].time);
		if (!r)
			r = bytes_add_32(out, entries[i].uid);
	}
	return r;
}

bool history_decode(struct history_entry entries[history_max], size_t *count, struct slice record)
{
	struct bytes_reader r = bytes_reader_of(record);
	size_t n = 0;

	if (bytes_read_8(&r) != record_version)
		return false;
	while (r.left && !r.bad && n < history_max) {
		struct history_entry *e = &entries[n];

		e->revision = bytes_read_64(&r);
		e->size = bytes_read_64(&r);
		e->time = (int64_t)bytes_read_64(&r);
		e->uid = bytes_read_32(&r);
		if (r.bad || e->revision >= HISTORY_NODE || (n && e->revision <= entries[n - 1].revision))
			return false;
		n++;
	}
	*count = n;
	return !r.bad && !r.left;
}
