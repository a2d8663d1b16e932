#include "bucketfs/store.h"

#include "util/bytes.h"

/* An operation: kind, space, key length, value length, key, value; adopt, drop and seal carry the number as the key. */
enum { op_header = 10 };

static void add(struct store_batch *batch, enum store_op_kind kind, enum store_space space, struct slice key,
		struct slice value)
{
	unsigned char header[op_header] = {(unsigned char)kind, (unsigned char)space};

	if (batch->error)
		return;
	bytes_put_le32(header + 2, (uint32_t)key.len);
	bytes_put_le32(header + 6, (uint32_t)value.len);
	batch->error = buf_reserve(&batch->ops, op_header + key.len + value.len);
	if (batch->error)
		return;
	buf_add(&batch->ops, header, op_header);
	buf_add_slice(&batch->ops, key);
	buf_add_slice(&batch->ops, value);
}

void store_batch_put(struct store_batch *batch, enum store_space space, struct slice key, struct slice value)
{
	add(batch, STORE_OP_PUT, space, key, value);
}

void store_batch_delete(struct store_batch *batch, enum store_space space, struct slice key)
{
	add(batch, STORE_OP_DELETE, space, key, slice_of(NULL, 0));
}

static void add_content(struct store_batch *batch, enum store_op_kind kind, uint64_t content, struct slice value)
{
	unsigned char raw[8];

	bytes_put_le64(raw, content);
	add(batch, kind, STORE_META, slice_of(raw, sizeof(raw)), value);
}

void store_batch_adopt(struct store_batch *batch, uint64_t content)
{
	add_content(batch, STORE_OP_ADOPT, content, slice_of(NULL, 0));
}

void store_batch_drop(struct store_batch *batch, uint64_t content)
{
	add_content(batch, STORE_OP_DROP, content, slice_of(NULL, 0));
}

void store_batch_seal(struct store_batch *batch, uint64_t content, struct slice checksums)
{
	add_content(batch, STORE_OP_SEAL, content, checksums);
}

void store_batch_clear(struct store_batch *batch)
{
	buf_clear(&batch->ops);
	batch->error = 0;
}

void store_batch_release(struct store_batch *batch)
{
	buf_release(&batch->ops);
	batch->error = 0;
}

bool store_batch_next(const struct store_batch *batch, size_t *at, struct store_op *op)
{
	const unsigned char *raw;

	if (*at >= batch->ops.len)
		return false;
	raw = batch->ops.data + *at;
	op->kind = (enum store_op_kind)raw[0];
	op->space = (enum store_space)raw[1];
	op->key = slice_of(raw + op_header, bytes_get_le32(raw + 2));
	op->value = slice_of(raw + op_header + op->key.len, bytes_get_le32(raw + 6));
	op->content = op->kind >= STORE_OP_ADOPT ? bytes_get_le64(op->key.at) : 0;
	*at += op_header + op->key.len + op->value.len;
	return true;
}
