#include "bucket/version_internal.h"

#include "bucket/redirect.h"
#include "bucket/tree.h"

/* ---- finding ---- */

/* The first version of a name but one. With b->lock held. */
static struct file *find_version(struct bucket *b, uint64_t parent, struct slice name, const struct file *but)
{
	struct file *f = NULL;

	while ((f = tree_next_making(b, parent, name, f)))
		if (f != but && f->version && !file_is_overtaken(f))
			return f;
	return NULL;
}

/* Whether it was closed so lately that its release may be on its way. */
static bool may_be_released(const struct file_open *h, int64_t now)
{
	return now - h->closed_last < (h->closes == 1 ? version_wait : version_wait_shared);
}

/* Whether all who write have closed it before that moment, and their releases are here or may be on their way. With b->lock
 * held. */
static bool is_closing(struct fs *fs, const struct file *f, int64_t before)
{
	int64_t now = fs_moment(fs), moment = before < 0 ? -before : before;
	bool any = f->settling && f->settling <= moment;

	for (const struct file_open *h = f->handles; h; h = h->next) {
		int64_t at = __atomic_load_n(&h->closed, __ATOMIC_RELAXED);

		/* Readers keep nothing from being published, but where nobody else was ever there. */
		if (!h->writes && (f->writers || f->settling))
			continue;
		if (!at || at > moment)
			return false;
		if (!__atomic_load_n(&h->received, __ATOMIC_RELAXED) && (before < 0 || !may_be_released(h, now)))
			return false;
		any = true;
	}
	return any;
}

/* Of what will take the name or, if it is new and not whole, lose it. With b->lock held. */
static bool is_one_closing(struct fs *fs, struct bucket *b, uint64_t parent, struct slice name, int64_t before)
{
	struct file *f = NULL;

	while ((f = tree_next_making(b, parent, name, f)))
		if ((f->version || file_is(&f->killed) || file_is(&f->failed)) && !file_is_overtaken(f) &&
		    is_closing(fs, f, before))
			return true;
	return false;
}

struct closing {
	struct fs *fs;
	uint64_t parent; /* 0: any */
	int64_t before;
	struct slice partial; /* only what this is the partial of; empty: whatever it is */
};

static bool has_partial(const struct file *f, struct slice partial)
{
	char name[name_max];

	return slice_equal(slice_of(name, version_partial_name(f->node.name, name)), partial);
}

static int closing_in(void *context, struct table_node *node)
{
	const struct closing *c = context;
	const struct file *f = container_of(node, struct file, by_name);

	return (!c->parent || f->node.parent == c->parent) && !file_is_overtaken(f) && is_closing(c->fs, f, c->before) &&
	       (!c->partial.len || has_partial(f, c->partial));
}

bool version_is_closing(struct fs *fs, struct bucket *b, uint64_t parent, int64_t before)
{
	struct closing c = {fs, parent, before, slice_of(NULL, 0)};

	return b->making.count && table_each(&b->making, closing_in, &c);
}

/* Whether the release of a file may bring this partial. With b->lock held. */
static bool is_partial_closing(struct fs *fs, struct bucket *b, uint64_t parent, struct slice name, int64_t before)
{
	struct closing c = {fs, parent, before, name};

	return version_is_partial(name) && table_each(&b->making, closing_in, &c);
}

int version_wait_for_new(struct file *f, int64_t closed)
{
	bool asked_again = closed != TREE_CLOSED_ANY;
	struct file_open *h;
	int r = 0;

	if (!file_is(&f->unlisted)) {
		bool lost = asked_again && closed != TREE_CLOSED_NONE &&
			    (file_is(&f->unlinked) || redirect_lost_name(f->fs, f->inode));

		return lost ? BUCKET_GONE : 0;
	}
	if (file_is(&f->version) || !file_is(&f->written))
		return 0;
	bucket_lock(f->b);
	for (h = f->handles; h && !h->held; h = h->next)
		;
	if (is_closing(f->fs, f, h ? tree_closed_received(closed) : closed))
		r = BUCKET_WAIT;
	else if (asked_again)
		for (h = f->handles; h; h = h->next)
			h->held |= __atomic_load_n(&h->closed, __ATOMIC_RELAXED) != 0;
	bucket_unlock(f->b);
	return r;
}

int version_wait_for_rename(struct file *f, int64_t closed)
{
	bool failed = file_is(&f->failed);
	int r;

	if (!file_is(&f->killed) && !failed)
		return 0;
	bucket_lock(f->b);
	r = is_closing(f->fs, f, closed) ? BUCKET_WAIT : failed ? BUCKET_BUSY : 0;
	bucket_unlock(f->b);
	return r;
}

/* A version goes by the name that its maker gives it. BUCKET_EXISTS if that collides and may not. */
static int take_name(struct fs *fs, struct bucket *b, const struct caller *who, struct file *f, struct slice given)
{
	struct slice kept = slice_equal(given, f->node.name) ? slice_of(NULL, 0) : given;
	int r = file_is(&f->written) ? 0 : tree_collision(fs, b, who, &f->node, given, NULL);

	if (r || slice_equal(given, f->node.name))
		return r;
	memcpy(f->given, kept.at, kept.len);
	f->node.given.len = kept.len;
	f->respelled = true;
	return 0;
}

int version_lookup(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t parent, struct slice name,
		   struct slice given, int64_t closed, bool *several, struct file **f)
{
	struct file *version = b->making.count ? find_version(b, parent, name, NULL) : NULL;

	*f = redirect_find(fs, b, who->pid, parent, name);
	*several = version || *f;
	if (*f && (*f)->version) {
		/* By its own name the kernel may know the old one, and would not ask. */
		if (!slice_equal(name, given) && !(*f)->spelled) {
			(*f)->spelled = true;
			bucket_name_lost((*f)->fs, b, parent, name);
		}
		if (take_name(fs, b, who, *f, given))
			redirect_refuse(fs, who->pid);
		return 0;
	}
	if (*f && fs->options.collide_refuse && tree_collision(fs, b, who, &(*f)->node, given, NULL))
		redirect_refuse(fs, who->pid);
	if (!*f && b->making.count &&
	    (is_one_closing(fs, b, parent, name, closed) || is_partial_closing(fs, b, parent, name, closed)))
		return BUCKET_WAIT;
	return 0;
}

/* ---- beginning ---- */

/* Counted as if it had replaced the old one already: what it replaces makes room for it. */
static void credit(struct file *version, const struct file *old)
{
	int64_t size = (int64_t)old->stored.size;

	if (old->unlisted)
		return;
	file_count(version, -size);
}

/* A version of what `f` is, with its mode, owner and spelling. */
static int make_version(struct file *f, const struct caller *who, struct file **out)
{
	char job[node_job_max];
	size_t job_len = who->job ? who->job(who, job, sizeof(job)) : 0;
	struct bucket *b = f->b;
	struct node old, node;
	int r;

	file_node(f, &old);
	bucket_lock(b);
	if (f->unlinked || b->dead) {
		bucket_unlock(b);
		return BUCKET_GONE;
	}
	node = (struct node){
		.number = b->head.next_node++,
		.parent = f->node.parent,
		.kind = NODE_FILE,
		.exec = old.exec,
		.uid = old.uid,
		.gid = old.gid,
		.accessed = old.accessed,
		.created = old.created,
		.name = f->node.name,
		.given = f->node.given,
		.job = slice_of(job, job_len),
	};
	node.modified = node.changed = fs_now(f->fs);
	r = file_new(f->fs, b, &node, FILE_VERSION, out);
	if (!r)
		credit(*out, f);
	bucket_unlock(b);
	return r;
}

/* Whether something that was closed before now is about to take the name: then an empty file that is truncated comes after that. */
static bool has_closed_rival(struct file *f)
{
	struct file *other = NULL;
	bool has = false;

	bucket_lock(f->b);
	while (f->b->making.count && !has && (other = tree_next_making(f->b, f->node.parent, f->node.name, other)))
		has = other != f && (file_is(&other->candidate) || file_is(&other->closed)) && !file_is_overtaken(other);
	bucket_unlock(f->b);
	return has;
}

/* What an open that replaces the content gets: NULL for `f` itself. */
static int begin_version(struct file *f, const struct caller *who, unsigned *flags, struct file **out)
{
	struct node node;
	bool written;

	*out = NULL;
	file_node(f, &node);
	written = file_is(&f->written);
	if (!file_is(&f->unlisted) && node.size == 0 && !has_closed_rival(f)) {
		/* Most locks look like this. It becomes a version when something is written. */
		*flags = (*flags & ~(unsigned)TREE_TRUNCATE) | TREE_REPLACE;
		return 0;
	}
	/* Two processes that open a new lock must get one file. But if its opener has closed it for good while another process has
	 * it, the empty file was acknowledged: the first write then publishes it and begins a version. */
	if (file_is(&f->unlisted) && !written) {
		if (file_is(&f->closed) && !file_is(&f->killed))
			*flags = (*flags & ~(unsigned)TREE_TRUNCATE) | TREE_REPLACE;
		return 0;
	}
	return make_version(f, who, out);
}

static struct file *version_to_append(struct file *f)
{
	struct file *version = NULL;

	bucket_lock(f->b);
	if (!f->unlisted && f->b->making.count && !f->unlinked)
		version = find_version(f->b, f->node.parent, f->node.name, f);
	/* One that its maker is still on the way to is nothing yet: who closes it first would publish it with nothing in it. */
	if (version)
		version = version->writers ? file_find(f->fs, version->inode) : NULL;
	bucket_unlock(f->b);
	return version;
}

/* In place, with the old content moved away; what is only being made is truncated. */
static int replace_here(struct file *f, unsigned *flags, struct reason *why)
{
	int r = 0;

	pthread_rwlock_wrlock(&f->lock);
	if (!file_is(&f->unlisted)) {
		r = version_swap(f, why);
	} else {
		r = f->candidate ? version_mark(f) : 0;
		if (!r)
			r = file_clear_locked(f, why);
	}
	pthread_rwlock_unlock(&f->lock);
	*flags &= ~(unsigned)TREE_TRUNCATE;
	return r;
}

/* Who was redirected has come. Meanwhile it may have been published, and then it is replaced like any other. */
static int join(struct file *f, unsigned *flags, struct reason *why)
{
	struct node node;

	if (file_is(&f->unlisted) || !(*flags & TREE_TRUNCATE))
		return 0;
	file_node(f, &node);
	/* Removed in between: it was opened a moment before, as long as nobody else reads what is in it. */
	if (file_is(&f->unlinked))
		return node.size ? BUCKET_GONE : 0;
	if (node.size)
		return replace_here(f, flags, why);
	*flags = (*flags & ~(unsigned)TREE_TRUNCATE) | TREE_REPLACE;
	return 0;
}

static bool only_writes(unsigned flags)
{
	return flags & TREE_WRITE && !(flags & TREE_READ);
}

/* From this file to another, or to what the next look-up finds. Takes the reference on `to` over. */
static int redirect(struct file *f, const struct caller *who, unsigned wants, struct file *to)
{
	struct redirect new = {.thread = who->pid, .from = f->inode, .wants = wants, .to = to};
	int r;

	bucket_lock(f->b);
	new.names[0] = redirect_name(f->b, f->node.parent, f->node.name);
	bucket_unlock(f->b);
	new.names[1] = redirect_lost_name(f->fs, f->inode);
	r = redirect_add(f->fs, &new);
	return r ? r : BUCKET_REDIRECTED;
}

/* Nobody finds somebody else's version by its name. Who opens one comes too late, or wants something else than whom it was
 * made for, or comes from /proc/self/fd: then looking at the name again does not happen, and at the second time it is theirs. */
static int strayed(struct file *f, const struct caller *who, const struct redirect *redirected, unsigned flags)
{
	if (!file_is(&f->version) || who->pid == 0)
		return 0;
	if (redirected && redirected->wants == flags &&
	    (redirected->to == f || (redirected->from == f->inode && !redirected->to)))
		return 0;
	return redirect(f, who, flags, NULL);
}

/* Whether this has become the partial, and who opens it may have looked its old name up before that: they find out when they
 * look again. */
static bool lost_name(struct file *f, const struct caller *who, const struct redirect *redirected)
{
	return file_is(&f->partial) && who->pid && !(redirected && redirected->from == f->inode) &&
	       redirect_lost_name(f->fs, f->inode);
}

/* With collide=refuse: by which of its names a file is to be written is known when its thread looks that up once more. */
static bool must_be_named(const struct file *f, unsigned wants)
{
	return f->fs->options.collide_refuse && wants & (TREE_WRITE | TREE_TRUNCATE) && !file_is(&f->unlinked);
}

/* `redirected`: what this thread was told before, or NULL. */
static int choose(struct file *f, const struct caller *who, const struct redirect *redirected, unsigned *flags,
		  struct reason *why)
{
	unsigned wants = *flags;
	bool elsewhere = only_writes(wants) && wants & (TREE_TRUNCATE | TREE_APPEND);
	struct file *version = NULL;
	int r;

	if (lost_name(f, who, redirected))
		return redirect(f, who, wants, NULL);
	r = strayed(f, who, redirected, wants);
	if (r)
		return r;
	if (redirected && redirected->to == f)
		return elsewhere ? join(f, flags, why) : 0;
	/* Opened by something else than its name, so that looking again did not help; or not known by its thread. */
	if ((redirected && redirected->from == f->inode) || who->pid == 0)
		return elsewhere && wants & TREE_TRUNCATE && !file_is(&f->version) ? replace_here(f, flags, why) : 0;
	if (elsewhere && wants & TREE_TRUNCATE)
		r = begin_version(f, who, flags, &version);
	else if (elsewhere)
		version = version_to_append(f);
	if (!r && !version && must_be_named(f, wants))
		version = file_share(f);
	return r || !version ? r : redirect(f, who, wants, version);
}

int version_choose(struct file *f, const struct caller *who, unsigned *flags, int64_t closed, struct reason *why)
{
	/* Who gets a version of it needs nothing of it; who reads a new one wants it whole. */
	bool replaces = only_writes(*flags) && *flags & TREE_TRUNCATE && who->pid;
	bool waits = *flags & TREE_WRITE ? !replaces : file_is(&f->killed) || file_is(&f->failed);
	struct redirect *redirected;
	int r = waits ? version_wait_for_new(f, closed) : 0;

	if (r)
		return r;
	redirected = redirect_take(f->fs, who->pid);
	if (redirected && redirected->refused && redirected->wants == *flags)
		r = BUCKET_EXISTS;
	else
		r = choose(f, who, redirected, flags, why);
	redirect_free(redirected);
	return r;
}

/* ---- who comes too late ----
 *
 * Between a look-up and the open that follows, the file may have been replaced, or moved to another name: the inode is dead,
 * or its version is not what the name finds. The kernel looks again, once. That time nobody may be faster, so what is found
 * is held until it is opened. */

void version_note_lost(struct fs *fs, const struct bucket *b, const struct node *n)
{
	redirect_note_lost(fs, inode_of(b->number, n->number), redirect_name(b, n->parent, n->name));
}

void version_missed(struct fs *fs, const struct caller *who, uint64_t inode, unsigned flags)
{
	struct redirect new = {.thread = who->pid, .from = inode, .wants = flags};

	new.names[0] = redirect_lost_name(fs, inode);
	if (who->pid && new.names[0])
		redirect_add(fs, &new);
}

bool version_has_missed(struct fs *fs, const struct bucket *b, const struct caller *who, uint64_t parent, struct slice name,
			unsigned *wants)
{
	return redirect_is(fs, b, who->pid, parent, name, wants);
}

void version_found_nothing(struct fs *fs, const struct caller *who)
{
	redirect_free(redirect_take(fs, who->pid));
}

int version_hold(struct file **f, const struct caller *who, unsigned wants)
{
	struct file *version = NULL;
	int r = 0;

	if (only_writes(wants) && wants & TREE_TRUNCATE)
		r = begin_version(*f, who, &wants, &version);
	else if (only_writes(wants) && wants & TREE_APPEND)
		version = version_to_append(*f);
	if (r || version)
		file_put(*f);
	if (version)
		*f = version;
	if (!r)
		redirect_hold((*f)->fs, who->pid, *f);
	return r;
}

int version_replace(struct file **f, const struct caller *who, struct slice given, unsigned *flags, struct reason *why)
{
	struct file *version = NULL;
	int r = 0;

	if (*flags & TREE_TRUNCATE || ((*f)->fs->options.collide_refuse && *flags & TREE_WRITE)) {
		bucket_lock((*f)->b);
		r = tree_collision((*f)->fs, (*f)->b, who, &(*f)->node, given, why);
		bucket_unlock((*f)->b);
		if (r) {
			file_put(*f);
			return r;
		}
	}
	if (only_writes(*flags) && *flags & TREE_TRUNCATE)
		r = begin_version(*f, who, flags, &version);
	else if (only_writes(*flags) && *flags & TREE_APPEND)
		version = version_to_append(*f);
	if (r || version)
		file_put(*f);
	if (version)
		*f = version;
	return r;
}
