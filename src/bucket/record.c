#include "bucket/record.h"

#include <errno.h>
#include <stdlib.h>

#include "util/bytes.h"

/* Every record begins with its version; a reader refuses one that it does not know. */
enum { record_version = 1 };
/* Sections of a head: 1 and up are the privileges, this and up the limits. */
enum { tag_limit = 16, tag_unsettled = 32 };

int head_encode(const struct head *h, const struct acl *acl, const struct own_limits *own, struct buf *out)
{
	int r = buf_reserve(out, 96);

	if (r)
		return r;
	buf_add_byte(out, record_version);
	buf_add_byte(out, (unsigned char)(h->data_present | h->enabled << 1));
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
	if (tag == tag_unsettled && section.len == 4) {
		h->unsettled = bytes_get_le32(section.at);
		return 0;
	}
	if (tag >= 1 && tag <= PRIVILEGE_COUNT)
		return acl_list_decode(&acl->list[tag - 1], section);
	if (tag < tag_limit || tag >= tag_limit + limits_own_count || own->text[tag - tag_limit])
		return -EIO;
	own->text[tag - tag_limit] = strndup(section.at, section.len);
	return own->text[tag - tag_limit] ? 0 : -ENOMEM;
}

int head_decode(struct head *h, struct acl *acl, struct own_limits *own, struct slice record)
{
	struct bytes_reader r = bytes_reader_of(record);
	uint8_t flags;

	*acl = (struct acl){0};
	*own = (struct own_limits){{NULL}};
	if (bytes_read_8(&r) != record_version)
		return -EIO;
	flags = bytes_read_8(&r);
	*h = (struct head){.data_present = flags & 1, .enabled = flags >> 1 & 1};
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
	while (!r.bad && r.left) {
		unsigned tag = bytes_read_8(&r);
		struct slice section = bytes_read(&r, bytes_read_32(&r));
		int failed = decode_section(h, acl, own, tag, section);

		if (failed) {
			acl_release(acl);
			own_limits_release(own);
			return failed;
		}
	}
	if (r.bad) {
		acl_release(acl);
		own_limits_release(own);
	}
	return r.bad ? -EIO : 0;
}

int node_encode(const struct node *n, struct buf *out)
{
	int r = buf_reserve(out, 80 + n->name.len + n->given.len + n->job.len);

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
	return 0;
}

bool node_decode(struct node *n, struct slice record)
{
	struct bytes_reader r = bytes_reader_of(record);

	if (bytes_read_8(&r) != record_version)
		return false;
	n->kind = bytes_read_8(&r);
	n->place = bytes_read_8(&r);
	n->exec = bytes_read_8(&r);
	n->has_attributes = bytes_read_8(&r);
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
	return !r.bad && r.left == 0;
}

static struct key_buf key_of(char tag, struct slice name)
{
	struct key_buf k = {.len = 1 + name.len};

	k.bytes[0] = (unsigned char)tag;
	if (name.len)
		memcpy(k.bytes + 1, name.at, name.len);
	return k;
}

static struct key_buf key_of_node(char tag, uint64_t node, struct slice name)
{
	struct key_buf k = {.len = 6 + name.len};

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

struct key_buf key_child(uint64_t parent, uint64_t node)
{
	unsigned char raw[5];

	bytes_put_be40(raw, node);
	return key_of_node('C', parent, slice_of(raw, sizeof(raw)));
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

bool origin_decode(struct origin *o, struct slice record)
{
	struct bytes_reader r = bytes_reader_of(record);

	if (bytes_read_8(&r) != record_version)
		return false;
	o->owner = bytes_read_32(&r);
	o->group = bytes_read_32(&r);
	o->created = (int64_t)bytes_read_64(&r);
	o->name = slice_of(r.at, r.left);
	return !r.bad && r.left;
}
