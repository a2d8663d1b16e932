/* Records. Any bytes: whatever a decoder accepts is encoded to something that it decodes to the same. And the other
 * way round: what is put together from choices is decoded to itself. The first byte says which kind of record. */
#include <errno.h>

#include "bucket/document.h"
#include "bucket/record.h"
#include "fuzz.h"
#include "util/bytes.h"
#include "util/checksum.h"

static bool same_list(const struct acl_list *a, const struct acl_list *b)
{
	for (uint32_t i = 0; i < a->count && i < b->count; i++)
		if (a->principals[i].kind != b->principals[i].kind || a->principals[i].id != b->principals[i].id)
			return false;
	return a->set == b->set && a->count == b->count;
}

/* ---- heads ---- */

static bool same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static void check_head(const struct head *h, const struct acl *acl, const struct own_limits *own)
{
	struct buf record = {0};
	struct own_limits own_again;
	const char *fault = NULL;
	struct acl acl_again;
	struct head again;

	CLAIM(!head_encode(h, acl, own, &record));
	CLAIM(!head_decode(&again, &acl_again, &own_again, buf_slice(&record), &fault));
	CLAIM(again.owner == h->owner && again.group == h->group && again.data_present == h->data_present);
	CLAIM(again.enabled == h->enabled && again.created == h->created && again.modified == h->modified);
	CLAIM(again.data_modified == h->data_modified && again.files_modified == h->files_modified);
	CLAIM(again.data_keys == h->data_keys && again.data_size == h->data_size && again.next_node == h->next_node);
	CLAIM(again.files == h->files && again.file_bytes == h->file_bytes &&
	      again.files_generation == h->files_generation);
	CLAIM(again.making == h->making && again.unsettled == h->unsettled);
	for (int i = 0; i < PRIVILEGE_COUNT; i++)
		CLAIM(same_list(&acl->list[i], &acl_again.list[i]));
	for (int i = 0; i < limits_own_count; i++)
		CLAIM(same_text(own->text[i], own_again.text[i]));
	/* A record that ends early is either refused or has lost whole sections. */
	for (size_t len = 0; len < record.len; len += 1 + len / 8) {
		struct slice cut = slice_of(record.data, len);

		acl_release(&acl_again);
		own_limits_release(&own_again);
		fault = NULL;
		if (head_decode(&again, &acl_again, &own_again, cut, &fault)) {
			CLAIM(fault);
			acl_again = (struct acl){0};
			own_again = (struct own_limits){{NULL}};
		}
	}
	acl_release(&acl_again);
	own_limits_release(&own_again);
	buf_release(&record);
}

static void any_head(struct slice record)
{
	struct own_limits own;
	const char *fault = NULL;
	struct acl acl;
	struct head h;
	int r = head_decode(&h, &acl, &own, record, &fault);

	CLAIM(!r == !fault && (!r || r == -EIO));
	if (r)
		return;
	check_head(&h, &acl, &own);
	acl_release(&acl);
	own_limits_release(&own);
}

static void choose_list(struct choices *c, struct acl_list *list)
{
	unsigned how = choose(c, 6);

	*list = (struct acl_list){.set = how > 0, .count = how > 1 ? how - 1 : 0};
	list->principals = list->count ? calloc(list->count, sizeof(*list->principals)) : NULL;
	for (uint32_t i = 0; i < list->count; i++)
		list->principals[i] = (struct principal){(uint8_t)choose(c, PRINCIPAL_GROUP + 1), (uint32_t)choose_number(c)};
}

static void made_head(struct choices *c)
{
	struct head h = {.owner = (uint32_t)choose_number(c), .group = (uint32_t)choose_number(c)};
	struct own_limits own = {{NULL}};
	struct acl acl = {0};

	h.data_present = choose(c, 2);
	h.enabled = choose(c, 2);
	h.created = (int64_t)choose_number(c);
	h.modified = (int64_t)choose_number(c);
	h.data_modified = (int64_t)choose_number(c);
	h.files_modified = (int64_t)choose_number(c);
	h.data_size = choose_number(c) & INT64_MAX;
	h.data_keys = h.data_size ? choose_number(c) % h.data_size : 0;
	h.next_node = 1 + choose_number(c) % (NODE_END - 1);
	h.files = choose_number(c) % NODE_END;
	h.file_bytes = choose_number(c) & INT64_MAX;
	h.files_generation = (uint32_t)choose_number(c);
	h.making = (uint32_t)choose_number(c);
	h.unsettled = (uint32_t)choose_number(c);
	for (int i = 0; i < PRIVILEGE_COUNT; i++)
		choose_list(c, &acl.list[i]);
	for (int i = 0; i < limits_own_count; i++) {
		struct slice text = choose_bytes(c, 20);

		own.text[i] = text.len && *(const char *)text.at ? strndup(text.at, text.len) : NULL;
		bytes_free(text);
	}
	check_head(&h, &acl, &own);
	acl_release(&acl);
	own_limits_release(&own);
}

/* ---- nodes ---- */

static void check_node(const struct node *n)
{
	struct node again = {.number = n->number, .parent = n->parent};
	struct buf record = {0};

	CLAIM(!node_check(n));
	CLAIM(!node_encode(n, &record));
	CLAIM(!node_decode(&again, buf_slice(&record)));
	CLAIM(again.kind == n->kind && again.place == n->place && again.exec == n->exec);
	CLAIM(again.has_attributes == n->has_attributes && again.uid == n->uid && again.gid == n->gid);
	CLAIM(again.modified == n->modified && again.changed == n->changed && again.accessed == n->accessed);
	CLAIM(again.created == n->created && again.size == n->size && again.blocks == n->blocks &&
	      again.content == n->content);
	CLAIM(slice_equal(again.name, n->name) && slice_equal(again.given, n->given) && slice_equal(again.job, n->job));
	CLAIM(slice_equal(again.target, n->target));
	for (size_t len = 0; len < record.len; len++)
		CLAIM(node_decode(&again, slice_of(record.data, len)));
	buf_release(&record);
}

static void any_node(struct slice record)
{
	struct node n = {.number = NODE_FIRST + 1, .parent = NODE_FIRST};

	if (!node_decode(&n, record))
		check_node(&n);
}

static void made_node(struct choices *c)
{
	struct node n = {.number = choose_number(c), .parent = choose_number(c)};
	struct slice given = choose_bytes(c, name_max), job = choose_bytes(c, 80), target = choose_bytes(c, 300);
	char normal[name_max];
	struct buf record = {0};
	struct node again = {.number = n.number, .parent = n.parent};
	size_t len = 0;

	n.kind = (uint8_t)choose(c, 5);
	n.place = (uint8_t)choose(c, 4);
	n.exec = (uint8_t)choose_byte(c);
	n.has_attributes = choose(c, 2);
	n.uid = (uint32_t)choose_number(c);
	n.gid = (uint32_t)choose_number(c);
	n.modified = (int64_t)choose_number(c);
	n.changed = (int64_t)choose_number(c);
	n.accessed = (int64_t)choose_number(c);
	n.created = (int64_t)choose_number(c);
	n.size = choose_number(c);
	n.blocks = choose_number(c);
	n.content = choose(c, 2) ? choose_number(c) : 0;
	name_normalise(given, normal, &len);
	n.name = slice_of(normal, len);
	n.given = choose(c, 2) ? given : slice_of(NULL, 0);
	n.job = job;
	if (n.kind == NODE_LINK && choose(c, 4)) {
		n.target = target;
		n.size = target.len;
	}
	/* A decoder says the same of a record as node_check does of the node. */
	CLAIM(!node_encode(&n, &record));
	CLAIM(!node_decode(&again, buf_slice(&record)) == !node_check(&n));
	if (!node_check(&n))
		check_node(&n);
	buf_release(&record);
	bytes_free(given);
	bytes_free(job);
	bytes_free(target);
}

/* ---- origins ---- */

static void check_origin(const struct origin *o)
{
	struct buf record = {0};
	struct origin again;

	CLAIM(!origin_encode(o, &record));
	CLAIM(!origin_decode(&again, buf_slice(&record)));
	CLAIM(again.owner == o->owner && again.group == o->group && again.created == o->created);
	CLAIM(slice_equal(again.name, o->name));
	buf_release(&record);
}

static void any_origin(struct slice record)
{
	struct origin o;

	if (!origin_decode(&o, record))
		check_origin(&o);
}

static void made_origin(struct choices *c)
{
	struct origin o = {(uint32_t)choose_number(c), (uint32_t)choose_number(c), (int64_t)choose_number(c), {0}};
	struct slice name = choose_bytes(c, name_max);

	o.name = name_is_bucket_id(name) ? name : slice_str("tx.1.u0.x");
	check_origin(&o);
	bytes_free(name);
}

/* ---- files that are not published ---- */

static void check_making(const struct making_record *m)
{
	struct key_buf key = key_making(m->number);
	unsigned char value[making_len];
	struct making_record again;

	making_encode(m, value);
	CLAIM(making_decode(&again, key_slice(&key), slice_of(value, sizeof(value))));
	CLAIM(again.number == m->number && again.parent == m->parent && again.turn == m->turn && again.by == m->by);
	CLAIM(again.state == m->state);
}

static void any_making(struct slice record)
{
	struct making_record m;
	size_t key_len = record.len < 6 ? record.len : 6;

	if (making_decode(&m, slice_of(record.at, key_len),
			  slice_of((const char *)record.at + key_len, record.len - key_len)))
		check_making(&m);
}

static void made_making(struct choices *c)
{
	struct making_record m = {.number = choose_number(c) & INODE_NODE_MASK,
				  .parent = choose_number(c) & INODE_NODE_MASK};

	m.turn = choose_number(c) & INODE_NODE_MASK;
	m.by = choose_number(c) & INODE_NODE_MASK;
	m.state = (unsigned char)(MARK_CANDIDATE + choose(c, 3));
	check_making(&m);
}

/* ---- contents that the disk may not have yet ---- */

static void check_unsettled(const struct unsettled_record *u)
{
	const struct node *f = &u->fallback;
	struct buf record = {0};
	struct unsettled_record again;

	CLAIM(!unsettled_encode(u, &record));
	CLAIM(unsettled_decode(&again, buf_slice(&record)));
	CLAIM(again.content == u->content && again.safe == u->safe && again.turn == u->turn && again.since == u->since);
	CLAIM(again.falls_back == u->falls_back && again.kept == u->kept);
	CLAIM(again.fallback.place == f->place && again.fallback.number == f->number && again.fallback.size == f->size);
	CLAIM(again.fallback.blocks == f->blocks && again.fallback.content == f->content &&
	      again.fallback.modified == f->modified);
	CLAIM(slice_equal(again.boot, u->boot) && slice_equal(again.checks, u->checks));
	buf_release(&record);
}

static void any_unsettled(struct slice record)
{
	struct unsettled_record u;

	if (unsettled_decode(&u, record))
		check_unsettled(&u);
}

static void made_unsettled(struct choices *c)
{
	unsigned char boot[boot_size];
	struct unsettled_record u = {.content = 1 + choose_number(c) % INT64_MAX, .boot = {boot, sizeof(boot)}};
	struct slice checks = choose_bytes(c, 60);

	memset(boot, choose_byte(c), sizeof(boot));
	u.kept = choose(c, 2);
	u.falls_back = choose(c, 2);
	if (u.falls_back) {
		u.fallback.place = (uint8_t)choose(c, 3);
		u.fallback.number = NODE_FIRST + choose_number(c) % 1000000;
		u.fallback.size = u.fallback.place == PLACE_NONE ? 0 : choose_number(c) % INT64_MAX;
		u.fallback.blocks = choose_number(c);
		u.fallback.content = u.fallback.place == PLACE_CONTENT ? u.content + 1 : 0;
		u.fallback.modified = (int64_t)choose_number(c);
	}
	u.checks = checks;
	if (checks.len) {
		u.safe = choose_number(c);
		u.since = (int64_t)choose_number(c);
		u.turn = choose_number(c);
	}
	check_unsettled(&u);
	bytes_free(checks);
}

/* ---- members of a document ---- */

static void check_member(const struct member_view *m)
{
	struct buf record = {0}, scratch = {0};
	struct member_view again;

	CLAIM(!document_encode(&record, m->key, m->text, m->value));
	CLAIM(!document_decode(m->key, buf_slice(&record), &scratch, &again));
	CLAIM(slice_equal(m->key, again.key) && slice_equal(m->text, again.text) && slice_equal(m->value, again.value));
	buf_release(&record);
	buf_release(&scratch);
}

static void any_member(struct slice record)
{
	struct buf scratch = {0};
	struct member_view m;
	size_t key_len = record.len ? *(const uint8_t *)record.at % 8u : 0;

	key_len = key_len < record.len ? key_len : record.len;
	if (!document_decode(slice_of(record.at, key_len),
			     slice_of((const char *)record.at + key_len, record.len - key_len), &scratch, &m))
		check_member(&m);
	buf_release(&scratch);
}

static void made_member(struct choices *c)
{
	struct slice value = choose_bytes(c, 30), raw = choose_bytes(c, 30);
	struct buf text = {0}, key = {0};
	struct member_view m = {.value = value.len ? value : slice_str("1")};

	/* A key with escapes that nobody needs. */
	CLAIM(!buf_add_byte(&text, '"'));
	for (size_t i = 0; i < raw.len; i++)
		CLAIM(!buf_add_format(&text, choose(c, 2) ? "\\u%04x" : "\\u%04X", ((const uint8_t *)raw.at)[i] * 257u));
	CLAIM(!buf_add_byte(&text, '"'));
	CLAIM(!json_unquote(buf_slice(&text), &key));
	m.key = buf_slice(&key);
	m.text = buf_slice(&text);
	check_member(&m);
	buf_release(&text);
	buf_release(&key);
	bytes_free(value);
	bytes_free(raw);
}

/* ---- lists of principals and of checksums ---- */

static void any_list(struct slice record)
{
	struct acl_list list, again;
	struct buf out = {0};

	if (acl_list_decode(&list, record))
		return;
	CLAIM(!acl_list_encode(&list, &out));
	CLAIM(slice_equal(buf_slice(&out), record));
	CLAIM(!acl_list_decode(&again, buf_slice(&out)) && same_list(&list, &again));
	acl_list_release(&list);
	acl_list_release(&again);
	buf_release(&out);
}

static void check_sums(const struct checksum_list *list)
{
	struct checksum_list again;
	struct buf out = {0};

	CLAIM(!checksum_list_encode(list, &out));
	CLAIM(!checksum_list_decode(&again, buf_slice(&out)));
	CLAIM(again.size == list->size && again.first == list->first && again.count == list->count);
	CLAIM(!memcmp(again.sums, list->sums, list->count * sizeof(*list->sums)));
	CLAIM(again.first + again.count == checksum_pieces(again.size));
	checksum_list_release(&again);
	buf_release(&out);
}

static void any_sums(struct slice record)
{
	struct checksum_list list;

	if (checksum_list_decode(&list, record))
		return;
	check_sums(&list);
	checksum_list_release(&list);
}

static void made_sums(struct choices *c)
{
	uint64_t sums[64], pieces = choose(c, 64), first = pieces ? choose(c, (unsigned)pieces + 1) : 0;
	struct checksum_list list = {
	    .size = pieces * checksum_piece, .first = first, .sums = sums, .count = (size_t)(pieces - first)};

	if (pieces)
		list.size -= choose_number(c) % checksum_piece;
	for (size_t i = 0; i < list.count; i++)
		sums[i] = i && choose(c, 2) ? sums[i - 1] : choose_number(c);
	check_sums(&list);
}

/* ---- keys ---- */

static void made_keys(struct choices *c)
{
	uint64_t node = choose_number(c) & INODE_NODE_MASK, parent = choose_number(c) & INODE_NODE_MASK;
	uint64_t other = choose_number(c) & INODE_NODE_MASK;
	struct key_buf child = key_child(parent, node), next = key_child(parent, other), making = key_making(node);
	struct key_buf unsettled = key_unsettled(node), up = key_parent(node), number = key_bucket_number((uint32_t)parent);
	struct slice name = choose_bytes(c, 255);
	struct key_buf named = key_name(parent, name), attribute = key_attribute(node, name), id = key_bucket_name(name);

	CLAIM(key_child_node_of(key_slice(&child)) == node && key_child_parent_of(key_slice(&child)) == parent);
	/* The order of keys is the order of numbers. */
	CLAIM((slice_compare(key_slice(&child), key_slice(&next)) < 0) == (node < other));
	CLAIM(key_making_node_of(key_slice(&making)) == node && key_unsettled_node_of(key_slice(&unsettled)) == node);
	CLAIM(key_parent_node_of(key_slice(&up)) == node);
	CLAIM(key_bucket_number_of(key_slice(&number)) == (uint32_t)parent);
	CLAIM(named.len == 6 + name.len && attribute.len == 6 + name.len && id.len == 1 + name.len);
	bytes_free(name);
}

static void (*const any[])(struct slice record) = {any_head,      any_node,   any_origin, any_making,
						   any_unsettled, any_member, any_list,   any_sums};
static void (*const made[])(struct choices *c) = {made_head,      made_node,   made_origin, made_making,
						  made_unsettled, made_member, made_keys,   made_sums};
enum { kinds = sizeof(any) / sizeof(*any) };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct choices c = choices_of(data, size);
	unsigned kind = choose(&c, kinds * 2);
	uint8_t *copy;

	if (kind >= kinds) {
		made[kind - kinds](&c);
		return 0;
	}
	copy = malloc(c.left ? c.left : 1);
	CLAIM(copy);
	if (c.left)
		memcpy(copy, c.at, c.left);
	any[kind](slice_of(copy, c.left));
	free(copy);
	return 0;
}
