/* The files of a bucket: creating, writing, renaming and removing in any order, on the memory store, beside a plain
 * list. While no writer has a file open, the folders list what the list has, with the same contents, after every
 * step. While one has, each writer reads back what it has written; when the last one has closed, the list is made
 * anew from what is there. In the end the same is there after another start, and when all of it is removed no
 * content is left in the store. */
#include "bucket/settle.h"
#include "fixture.h"
#include "fuzz.h"

enum { entries_max = 48, handles_max = 4, steps_max = 60, bytes_max = 40000, contents_max = 400 };

/* Two spellings of each. */
static const char *const given[][2] = {
    {"a", "A"}, {"b c", "B!C"}, {"d", "d"}, {".h", ".H"}, {"a.partial", "A.Partial"}, {"é", "_"}};
static const char *const stored[] = {"a", "b_c", "d", ".h", "a.partial", "_"};
enum { name_count = sizeof(stored) / sizeof(*stored) };

struct entry {
	uint64_t number, parent;
	bool folder;
	char name[64];
	struct buf bytes;
};

/* A writer or reader that stays. */
struct holder {
	struct file_open *h;
	struct buf bytes; /* what is in the file, if … */
	bool alone;       /* … nobody else writes to it */
};

struct state {
	struct fixture f;
	struct entry entries[entries_max];
	size_t count;
	struct holder holders[handles_max];
	uint64_t newest; /* the greatest number so far */
};

static void removed(struct state *s, struct entry *e)
{
	buf_release(&e->bytes);
	*e = s->entries[--s->count];
}

static struct entry *find(struct state *s, uint64_t parent, const char *name)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->entries[i].parent == parent && !strcmp(s->entries[i].name, name))
			return &s->entries[i];
	return NULL;
}

static struct entry *find_number(struct state *s, uint64_t number)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->entries[i].number == number)
			return &s->entries[i];
	return NULL;
}

static struct entry *add(struct state *s, uint64_t parent, const char *name, uint64_t number, bool folder)
{
	struct entry *e = &s->entries[s->count++];

	CLAIM(s->count <= entries_max && strlen(name) < sizeof(e->name));
	*e = (struct entry){.number = number, .parent = parent, .folder = folder};
	strcpy(e->name, name);
	return e;
}

static bool is_calm(const struct state *s)
{
	for (size_t i = 0; i < handles_max; i++)
		if (s->holders[i].h && s->holders[i].h->writes)
			return false;
	return true;
}

static bool is_empty(const struct state *s, uint64_t folder)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->entries[i].parent == folder)
			return false;
	return true;
}

/* ---- what is there ---- */

static int open_number(struct state *s, uint64_t number, unsigned flags, struct file_open **h)
{
	int r = tree_open(s->f.fs, s->f.b, &test_root, number, flags, TREE_CLOSED_NONE, h, NULL);

	/* A file that has just become a partial is to be looked up again. */
	if (r == BUCKET_GONE || r == BUCKET_REDIRECTED)
		r = tree_open(s->f.fs, s->f.b, &test_root, number, flags, TREE_CLOSED_NONE, h, NULL);
	return r;
}

static void read_file(struct file *f, struct buf *out)
{
	size_t len;

	CLAIM(!buf_resize(out, bytes_max * 2));
	CLAIM(!file_read(f, 0, out->data, out->len, &len));
	CLAIM(len < out->len);
	out->len = len;
}

static void read_number(struct state *s, uint64_t number, struct buf *out)
{
	struct file_open *h;

	CLAIM(!open_number(s, number, TREE_READ, &h));
	read_file(h->file, out);
	file_close(h, false);
}

struct listing {
	struct state *s;
	uint64_t parent;
	size_t seen;
	bool learns;
};

static int on_node(void *context, const struct node *n, const struct attr *attr)
{
	struct listing *l = context;
	struct entry *e;
	char name[name_max + 1];

	CLAIM(n->name.len <= name_max && n->parent == l->parent);
	memcpy(name, n->name.at, n->name.len);
	name[n->name.len] = 0;
	CLAIM(attr->inode == inode_of(l->s->f.b->number, n->number));
	e = find(l->s, l->parent, name);
	if (l->learns) {
		CLAIM(!e); /* one name, one file */
		e = add(l->s, l->parent, name, n->number, n->kind == NODE_FOLDER);
	}
	CLAIM(e && e->folder == (n->kind == NODE_FOLDER));
	CLAIM(e->number == n->number);
	l->seen++;
	return 0;
}

static size_t list(struct state *s, uint64_t folder, bool learns)
{
	struct listing l = {s, folder, 0, learns};

	CLAIM(!tree_list(s->f.fs, s->f.b, folder, 0, TREE_CLOSED_NONE, on_node, &l));
	return l.seen;
}

static void check_entry(struct state *s, struct entry *e, uint64_t *bytes)
{
	struct buf got = {0};
	struct attr attr;

	CLAIM(!tree_attr(s->f.fs, s->f.b, &test_root, e->number, &attr));
	CLAIM(!lookup(&s->f, e->parent, e->name, &attr) && attr.inode == inode_of(s->f.b->number, e->number));
	if (e->folder)
		return;
	CLAIM(attr.size == e->bytes.len);
	read_number(s, e->number, &got);
	CLAIM(slice_equal(buf_slice(&got), buf_slice(&e->bytes)));
	*bytes += got.len;
	buf_release(&got);
}

static void check_calm(struct state *s)
{
	size_t seen = list(s, NODE_FILES, false);
	uint64_t bytes = 0;

	for (size_t i = 0; i < s->count; i++) {
		check_entry(s, &s->entries[i], &bytes);
		if (s->entries[i].folder)
			seen += list(s, s->entries[i].number, false);
	}
	CLAIM(seen == s->count);
	CLAIM(s->f.b->head.files == s->count && s->f.b->making.count == 0);
	/* A write through a handle that was closed without a flush is committed when the last reader has closed the
	 * file as well. */
	CLAIM(s->f.b->head.file_bytes + (uint64_t)s->f.b->pending_bytes == bytes);
	for (size_t i = 0; i < handles_max; i++)
		if (s->holders[i].h)
			return;
	CLAIM(s->f.b->pending_bytes == 0);
}

/* The list is what the folders say. */
static void learn(struct state *s)
{
	while (s->count)
		removed(s, &s->entries[0]);
	list(s, NODE_FILES, true);
	for (size_t i = 0; i < s->count; i++) {
		if (s->entries[i].folder)
			list(s, s->entries[i].number, true);
		else
			read_number(s, s->entries[i].number, &s->entries[i].bytes);
		if (s->entries[i].number > s->newest)
			s->newest = s->entries[i].number;
	}
}

static void check_holders(struct state *s)
{
	for (size_t i = 0; i < handles_max; i++) {
		struct holder *o = &s->holders[i];
		struct buf got = {0};

		if (!o->h || !o->alone)
			continue;
		read_file(o->h->file, &got);
		CLAIM(slice_equal(buf_slice(&got), buf_slice(&o->bytes)));
		buf_release(&got);
	}
}

/* ---- choices ---- */

static uint64_t choose_folder(struct state *s, struct choices *c)
{
	uint64_t folders[entries_max + 1] = {NODE_FILES};
	unsigned count = 1;

	for (size_t i = 0; i < s->count; i++)
		if (s->entries[i].folder)
			folders[count++] = s->entries[i].number;
	return folders[choose(c, count)];
}

static struct entry *choose_file(struct state *s, struct choices *c)
{
	struct entry *files[entries_max];
	unsigned count = 0;

	for (size_t i = 0; i < s->count; i++)
		if (!s->entries[i].folder)
			files[count++] = &s->entries[i];
	return count ? files[choose(c, count)] : NULL;
}

static struct holder *choose_holder(struct state *s, struct choices *c)
{
	struct holder *o = &s->holders[choose(c, handles_max)];

	return o->h ? o : NULL;
}

/* Somebody writes to a file by another way. */
static void not_alone(struct state *s)
{
	for (size_t i = 0; i < handles_max; i++)
		s->holders[i].alone = false;
}

/* A piece of writing, and where; none is not written, for the kernel does not pass on a write of no bytes. Now and
 * then more than what a record holds. */
static struct slice choose_piece(struct choices *c, uint64_t *at)
{
	static char bytes[bytes_max / 2];
	unsigned way = choose(c, 8);
	size_t len = way == 0 ? 0 : way == 1 ? sizeof(bytes) : 1 + choose(c, 30);

	memset(bytes, 'a' + (int)choose(c, 26), sizeof(bytes));
	*at = choose(c, 4) ? choose(c, 20) : choose(c, 2) ? sizeof(bytes) : file_inline_max - 3;
	return slice_of(bytes, len);
}

static int write_piece(struct file_open *h, uint64_t at, bool append, struct slice piece)
{
	return piece.len ? file_write(h, at, append, piece, NULL) : 0;
}

static void written(struct buf *bytes, uint64_t at, struct slice piece)
{
	if (piece.len)
		CLAIM(!buf_write_at(bytes, (size_t)at, piece.at, piece.len));
}

/* ---- steps ---- */

static void step_put(struct state *s, struct choices *c)
{
	uint64_t parent = choose_folder(s, c), at;
	unsigned which = choose(c, name_count);
	struct entry *e = find(s, parent, stored[which]);
	struct slice piece = choose_piece(c, &at);
	struct file_open *h;
	bool calm = is_calm(s), canonical;
	uint64_t number;
	int r;

	if (!e && s->count > entries_max - 12)
		return;
	r = tree_create(s->f.fs, s->f.b, &test_root, parent, S(given[which][choose(c, 2)]), 0644,
			TREE_WRITE | TREE_TRUNCATE, &h, &canonical, NULL);
	if (calm)
		CLAIM(r == (e && e->folder ? BUCKET_IS_FOLDER : 0));
	if (r)
		return;
	number = h->file->node.number;
	if (calm && !e) {
		CLAIM(number > s->newest);
		e = add(s, parent, stored[which], number, false);
	}
	if (number > s->newest)
		s->newest = number;
	r = write_piece(h, at, false, piece);
	CLAIM(!calm || !r);
	r = file_flush(h, FILE_CLOSER_DONE);
	CLAIM(!calm || !r);
	file_close(h, false);
	if (!calm) {
		not_alone(s);
		return;
	}
	buf_clear(&e->bytes);
	written(&e->bytes, at, piece);
	/* A replacement may have a number of its own. */
	e->number = number_of(&s->f, parent, stored[which]);
}

static void step_mkdir(struct state *s, struct choices *c)
{
	uint64_t parent = choose_folder(s, c), number;
	unsigned which = choose(c, name_count);
	bool canonical, there = find(s, parent, stored[which]) != NULL;
	int r;

	if (s->count > entries_max - 12)
		return;
	r = tree_mkdir(s->f.fs, s->f.b, &test_root, parent, S(given[which][choose(c, 2)]), &number, &canonical, NULL);
	CLAIM(!is_calm(s) || r == (there ? BUCKET_EXISTS : 0));
	if (r)
		return;
	CLAIM(number > s->newest);
	s->newest = number;
	if (is_calm(s))
		add(s, parent, stored[which], number, true);
}

static void step_unlink(struct state *s, struct choices *c)
{
	uint64_t parent = choose_folder(s, c);
	unsigned which = choose(c, name_count);
	struct entry *e = find(s, parent, stored[which]);
	bool folder = choose(c, 2);
	int want = !e ? BUCKET_ABSENT : e->folder && !folder ? BUCKET_IS_FOLDER : !e->folder && folder ? BUCKET_NOT_FOLDER :
		   folder && !is_empty(s, e->number) ? BUCKET_NOT_EMPTY : 0;
	int r = unlink_name(&s->f, parent, given[which][choose(c, 2)], folder);

	if (!is_calm(s))
		return;
	CLAIM(r == want);
	if (!r)
		removed(s, e);
}

/* Whether a folder is within another, or is it. */
static bool is_within(struct state *s, uint64_t folder, uint64_t outer)
{
	while (folder != outer && folder != NODE_FILES)
		folder = find_number(s, folder)->parent;
	return folder == outer;
}

static void step_rename(struct state *s, struct choices *c)
{
	uint64_t parent = choose_folder(s, c), to = choose_folder(s, c);
	unsigned which = choose(c, name_count), other = choose(c, name_count);
	struct entry *e = find(s, parent, stored[which]), *there = find(s, to, stored[other]);
	bool no_replace = choose(c, 4) == 0 && e != there, canonical, good;
	int r = tree_rename(s->f.fs, s->f.b, &test_root, parent, S(given[which][choose(c, 2)]), to,
			    S(given[other][choose(c, 2)]), no_replace, TREE_CLOSED_NONE, &canonical, NULL);

	if (!is_calm(s))
		return;
	good = e && !(e->folder && is_within(s, to, e->number)) && !(there && no_replace);
	if (good && there && there != e)
		good = e->folder == there->folder && !(there->folder && !is_empty(s, there->number));
	CLAIM(!r == good);
	if (r || e == there)
		return;
	if (there) {
		uint64_t number = e->number;

		removed(s, there);
		e = find_number(s, number);
	}
	e->parent = to;
	strcpy(e->name, stored[other]);
}

static void step_truncate(struct state *s, struct choices *c)
{
	struct entry *e = choose_file(s, c);
	uint64_t size = choose(c, 3) ? choose(c, 50) : file_inline_max + choose(c, 3);
	int r;

	if (!e)
		return;
	r = tree_truncate(s->f.fs, s->f.b, &test_root, e->number, size, TREE_CLOSED_NONE, NULL);
	if (is_calm(s)) {
		CLAIM(!r);
		CLAIM(!buf_resize(&e->bytes, (size_t)size));
	}
	not_alone(s);
}

static void step_change(struct state *s, struct choices *c)
{
	struct entry *e = choose_file(s, c);
	bool append = choose(c, 4) == 0;
	struct file_open *h;
	uint64_t at;
	struct slice piece = choose_piece(c, &at);
	int r;

	if (!e)
		return;
	r = open_number(s, e->number, TREE_READ | TREE_WRITE | (append ? TREE_APPEND : 0), &h);
	CLAIM(!is_calm(s) || !r);
	not_alone(s);
	if (r)
		return;
	r = write_piece(h, at, append, piece);
	CLAIM(!is_calm(s) || !r);
	r = choose(c, 4) ? file_flush(h, FILE_CLOSER_DONE) : 0;
	CLAIM(!is_calm(s) || !r);
	file_close(h, false);
	if (is_calm(s) && e->bytes.len + piece.len < bytes_max)
		written(&e->bytes, append ? e->bytes.len : at, piece);
	else if (is_calm(s))
		read_number(s, e->number, &e->bytes);
}

static void step_open(struct state *s, struct choices *c)
{
	struct holder *o = &s->holders[choose(c, handles_max)];
	uint64_t parent = choose_folder(s, c);
	unsigned which = choose(c, name_count);
	unsigned flags = TREE_WRITE | (choose(c, 2) ? TREE_TRUNCATE : 0) | (choose(c, 2) ? TREE_READ : 0) |
			 (choose(c, 8) ? 0 : TREE_EXCLUSIVE);
	bool canonical;

	if (o->h || s->count > entries_max - 12)
		return;
	if (tree_create(s->f.fs, s->f.b, &test_root, parent, S(given[which][choose(c, 2)]), 0644, flags, &o->h,
			&canonical, NULL)) {
		o->h = NULL;
		return;
	}
	buf_clear(&o->bytes);
	read_file(o->h->file, &o->bytes);
	o->alone = true;
	for (size_t i = 0; i < handles_max; i++)
		if (&s->holders[i] != o && s->holders[i].h && s->holders[i].h->file == o->h->file)
			o->alone = s->holders[i].alone = false;
	if (o->h->file->node.number > s->newest)
		s->newest = o->h->file->node.number;
}

/* A reader that stays: files are replaced and removed under it. */
static void step_hold(struct state *s, struct choices *c)
{
	struct holder *o = &s->holders[choose(c, handles_max)];
	struct entry *e = choose_file(s, c);

	if (o->h || !e || open_number(s, e->number, TREE_READ, &o->h))
		return;
	buf_clear(&o->bytes);
	read_file(o->h->file, &o->bytes);
	/* Changes in place reach it; only a removal or a replacement does not. */
	o->alone = false;
}

static void step_write(struct state *s, struct choices *c)
{
	struct holder *o = choose_holder(s, c);
	uint64_t at;
	struct slice piece = choose_piece(c, &at);

	if (!o || !o->h->writes)
		return;
	/* A write may change the file under its other holders, or begin a new one. */
	for (size_t i = 0; i < handles_max; i++)
		if (&s->holders[i] != o && s->holders[i].h && s->holders[i].h->file == o->h->file)
			o->alone = s->holders[i].alone = false;
	if (choose(c, 8) == 0) {
		if (!file_truncate_open(o->h, at, NULL))
			CLAIM(!buf_resize(&o->bytes, (size_t)at));
		return;
	}
	if (write_piece(o->h, at, false, piece))
		o->alone = false;
	else
		written(&o->bytes, at, piece);
}

static void step_flush(struct state *s, struct choices *c)
{
	struct holder *o = choose_holder(s, c);

	if (o)
		file_flush(o->h, (enum file_closer)(FILE_CLOSER_DONE + choose(c, 3)));
}

static void let_go(struct state *s, struct holder *o, bool flush)
{
	if (!o->h)
		return;
	if (flush)
		file_flush(o->h, FILE_CLOSER_DONE);
	file_close(o->h, false);
	o->h = NULL;
	if (is_calm(s))
		learn(s);
}

static void reopen(struct state *s)
{
	struct fixture *f = &s->f;

	for (size_t i = 0; i < handles_max; i++)
		if (s->holders[i].h)
			return;
	file_end_again(f->fs, false);
	CLAIM(f->fs->files.count == 0);
	bucket_put(f->fs, f->b);
	fs_close(f->fs);
	CLAIM(!test_fs_open(f->store, &f->fs));
	CLAIM(!bucket_lookup(f->fs, S("nightly"), &f->b));
}

static void step_set(struct state *s, struct choices *c)
{
	struct entry *e = choose_file(s, c);
	uint32_t mode = choose(c, 2) ? 0755 : 0600;
	struct tree_change change = {.mode = &mode};
	int r = e ? tree_set(s->f.fs, s->f.b, &test_root, e->number, &change) : 0;

	CLAIM(!is_calm(s) || !r);
}

static void step(struct state *s, struct choices *c)
{
	struct holder *o;

	switch (choose(c, 20)) {
	case 0:
	case 1:
	case 2:
		step_put(s, c);
		break;
	case 3:
		step_mkdir(s, c);
		break;
	case 4:
	case 5:
		step_unlink(s, c);
		break;
	case 6:
	case 7:
	case 8:
		step_rename(s, c);
		break;
	case 9:
		step_truncate(s, c);
		break;
	case 10:
	case 11:
		step_change(s, c);
		break;
	case 12:
		step_open(s, c);
		break;
	case 13:
		step_hold(s, c);
		break;
	case 14:
	case 15:
		step_write(s, c);
		break;
	case 16:
		step_flush(s, c);
		break;
	case 17:
		o = choose_holder(s, c);
		if (o)
			let_go(s, o, choose(c, 4));
		break;
	case 18:
		choose(c, 2) ? reopen(s) : settle_due(s->f.fs, INT64_MAX);
		break;
	default:
		step_set(s, c);
	}
}

/* The last ones first: a folder's number is smaller than those of what was made in it, but not of what was moved
 * there. */
static void remove_all(struct state *s)
{
	while (s->count) {
		size_t was = s->count;

		for (size_t i = s->count; i--;) {
			struct entry *e = &s->entries[i];

			if (e->folder && !is_empty(s, e->number))
				continue;
			CLAIM(!unlink_name(&s->f, e->parent, e->name, e->folder));
			removed(s, e);
		}
		CLAIM(s->count < was);
	}
}

static void check_end(struct state *s)
{
	struct store_content *content;

	for (size_t i = 0; i < handles_max; i++) {
		let_go(s, &s->holders[i], true);
		buf_release(&s->holders[i].bytes);
	}
	check_calm(s);
	reopen(s);
	check_calm(s);
	remove_all(s);
	check_calm(s);
	settle_due(s->f.fs, INT64_MAX);
	CLAIM(!bucket_remove(s->f.fs, &test_root, S("nightly")));
	bucket_put(s->f.fs, s->f.b);
	fs_close(s->f.fs);
	for (uint64_t number = 1; number < contents_max; number++)
		CLAIM(store_content_open(s->f.store, number, &content) == STORE_ABSENT);
	store_close(s->f.store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct choices c = choices_of(data, size);
	struct state s = {.newest = NODE_FIRST - 1};

	CLAIM(!memory_store_open(&s.f.store) && !fixture_open(&s.f));
	for (unsigned n = 0; n < steps_max && c.left; n++) {
		step(&s, &c);
		check_holders(&s);
		if (is_calm(&s))
			check_calm(&s);
	}
	check_end(&s);
	return 0;
}
