#include "bucket/gone.h"

#include <errno.h>
#include <stdlib.h>

#include "bucket/attribute_bag.h"

/* A node is at the place that its number gives it, until another one comes there: numbers are given one after the other. */
enum { file_places = 1024, folder_places = 16384 };
/* Of attributes that are kept for one. A file that is open keeps more itself (struct file). */
enum { attributes_max = 4096 };

struct gone_file {
	uint64_t inode;
	struct node node;      /* without names */
	struct buf names;      /* given, job and a link's target, one behind the other, of these lengths: */
	size_t given_len, job_len, target_len;
	struct buf attributes;
};

struct gone_folder {
	uint64_t inode, parent;
	uint32_t uid, gid;
	int64_t modified, changed;
};

struct gone {
	pthread_mutex_t lock; /* innermost */
	struct gone_file files[file_places];
	struct gone_folder *folders; /* NULL until one is removed */
};

int gone_new(struct gone **out)
{
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	pthread_mutex_init(&(*out)->lock, NULL);
	return 0;
}

static void clear(struct gone_file *f)
{
	buf_release(&f->names);
	buf_release(&f->attributes);
	*f = (struct gone_file){0};
}

void gone_free(struct gone *g)
{
	if (!g)
		return;
	for (size_t i = 0; i < file_places; i++)
		clear(&g->files[i]);
	free(g->folders);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

static void add_folder(struct gone *g, uint64_t inode, const struct node *n)
{
	if (!g->folders)
		g->folders = calloc(folder_places, sizeof(*g->folders));
	if (g->folders)
		g->folders[inode % folder_places] = (struct gone_folder){inode, n->parent, n->uid, n->gid, n->modified, n->changed};
}

static void add_file(struct gone *g, uint64_t inode, const struct node *n, const struct buf *attributes)
{
	struct gone_file *f = &g->files[inode % file_places];
	int r;

	clear(f);
	f->node = node_without_names(n);
	f->given_len = n->given.len;
	f->job_len = n->job.len;
	f->target_len = n->target.len;
	r = buf_add_slice(&f->names, n->given);
	if (!r)
		r = buf_add_slice(&f->names, n->job);
	if (!r)
		r = buf_add_slice(&f->names, n->target);
	if (!r && attributes->len <= attributes_max)
		r = buf_add_slice(&f->attributes, buf_slice(attributes));
	if (r)
		clear(f);
	else
		f->inode = inode;
}

void gone_add(struct fs *fs, const struct bucket *b, const struct node *n, const struct buf *attributes)
{
	struct gone *g = fs->gone;

	pthread_mutex_lock(&g->lock);
	if (n->kind == NODE_FOLDER)
		add_folder(g, inode_of(b->number, n->number), n);
	else
		add_file(g, inode_of(b->number, n->number), n, attributes);
	pthread_mutex_unlock(&g->lock);
}

/* With g->lock held. NULL: it is not remembered. */
static struct gone_file *file_of(struct gone *g, uint64_t inode)
{
	struct gone_file *f = &g->files[inode % file_places];

	return f->inode == inode ? f : NULL;
}

static struct gone_folder *folder_of(struct gone *g, uint64_t inode)
{
	struct gone_folder *f = g->folders ? &g->folders[inode % folder_places] : NULL;

	return f && f->inode == inode ? f : NULL;
}

static int copy_file(const struct gone_file *f, struct found *out)
{
	const unsigned char *at;

	buf_clear(&out->record);
	if (buf_add_slice(&out->record, buf_slice(&f->names)))
		return -ENOMEM;
	at = out->record.data;
	out->node = f->node;
	out->node.given = slice_of(at, f->given_len);
	out->node.job = slice_of(at + f->given_len, f->job_len);
	out->node.target = slice_of(at + f->given_len + f->job_len, f->target_len);
	return 0;
}

int gone_find(struct fs *fs, uint64_t inode, struct found *out)
{
	struct gone *g = fs->gone;
	const struct gone_folder *folder;
	const struct gone_file *file;
	int r = 0;

	pthread_mutex_lock(&g->lock);
	file = file_of(g, inode);
	folder = folder_of(g, inode);
	if (file)
		r = copy_file(file, out);
	else if (folder)
		out->node = (struct node){.number = inode & INODE_NODE_MASK,
					  .parent = folder->parent,
					  .kind = NODE_FOLDER,
					  .uid = folder->uid,
					  .gid = folder->gid,
					  .modified = folder->modified,
					  .changed = folder->changed,
					  .accessed = folder->modified};
	else
		r = BUCKET_GONE;
	pthread_mutex_unlock(&g->lock);
	return r;
}

int gone_change(struct fs *fs, uint64_t inode, const struct tree_change *change, const uint64_t *size)
{
	struct gone *g = fs->gone;
	struct gone_folder *folder;
	struct gone_file *file;

	pthread_mutex_lock(&g->lock);
	file = file_of(g, inode);
	folder = folder_of(g, inode);
	if (file && change)
		tree_apply(&file->node, change, fs_now(fs));
	if (file && size)
		file->node.size = *size;
	if (folder && change && change->modified)
		folder->modified = *change->modified;
	pthread_mutex_unlock(&g->lock);
	return file || folder ? 0 : BUCKET_GONE;
}

int gone_attribute_get(struct fs *fs, uint64_t inode, struct slice name, struct buf *value)
{
	struct gone_file *f;
	int r;

	pthread_mutex_lock(&fs->gone->lock);
	f = file_of(fs->gone, inode);
	r = f ? attribute_bag_get(&f->attributes, name, value) : BUCKET_GONE;
	pthread_mutex_unlock(&fs->gone->lock);
	return r;
}

int gone_attribute_set(struct fs *fs, uint64_t inode, struct slice name, struct slice value, bool create, bool replace)
{
	struct gone_file *f;
	int r;

	pthread_mutex_lock(&fs->gone->lock);
	f = file_of(fs->gone, inode);
	r = !f ? BUCKET_GONE : attribute_bag_set(&f->attributes, name, value, create, replace);
	/* Nobody can look at it any more, unless it does so at once. */
	if (f && f->attributes.len > attributes_max)
		buf_release(&f->attributes);
	pthread_mutex_unlock(&fs->gone->lock);
	return r;
}

int gone_attribute_remove(struct fs *fs, uint64_t inode, struct slice name)
{
	struct gone_file *f;
	int r;

	pthread_mutex_lock(&fs->gone->lock);
	f = file_of(fs->gone, inode);
	r = f ? attribute_bag_remove(&f->attributes, name) : BUCKET_GONE;
	pthread_mutex_unlock(&fs->gone->lock);
	return r;
}

int gone_attribute_list(struct fs *fs, uint64_t inode, struct buf *names)
{
	struct gone_file *f;
	int r;

	pthread_mutex_lock(&fs->gone->lock);
	f = file_of(fs->gone, inode);
	r = f ? attribute_bag_list(&f->attributes, names) : BUCKET_GONE;
	pthread_mutex_unlock(&fs->gone->lock);
	return r;
}
