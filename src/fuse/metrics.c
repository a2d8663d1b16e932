#include "fuse/metrics.h"

#include <string.h>

#include "bucket/transaction.h"
#include "util/clock.h"

/* Upper bounds in microseconds; one more for what is above. */
static const unsigned bounds[] = {10, 25, 50, 100, 250, 500, 1000, 2500, 10000, 100000, 1000000};
enum { bound_count = sizeof(bounds) / sizeof(*bounds), kind_count = 48 };

static struct kind {
	const char *name;
	uint64_t count, errors, nanoseconds;
	uint64_t below[bound_count + 1];
} kinds[kind_count];

static uint64_t bytes_read, bytes_written;

/* Names are literals, nearly always the same ones, so that the pointer decides; a second literal of the same text gets
 * the same place by its text. The last place takes what there is no room for. */
static struct kind *kind_of(const char *name)
{
	for (size_t i = 0; i < kind_count - 1; i++) {
		const char *known = __atomic_load_n(&kinds[i].name, __ATOMIC_ACQUIRE);

		if (!known && __atomic_compare_exchange_n(&kinds[i].name, &known, name, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return &kinds[i];
		if (known == name || strcmp(known, name) == 0)
			return &kinds[i];
	}
	__atomic_store_n(&kinds[kind_count - 1].name, "other", __ATOMIC_RELEASE);
	return &kinds[kind_count - 1];
}

static void add(uint64_t *counter, uint64_t n)
{
	__atomic_add_fetch(counter, n, __ATOMIC_RELAXED);
}

/* Not of one moment with the others, but not half of a number either. */
static uint64_t get(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

void metrics_count(const char *name, int result, int64_t began)
{
	struct kind *k = kind_of(name);
	uint64_t ns = (uint64_t)(clock_monotonic() - began);
	size_t i = 0;

	while (i < bound_count && ns > bounds[i] * 1000ULL)
		i++;
	add(&k->below[i], 1);
	add(&k->count, 1);
	add(&k->nanoseconds, ns);
	/* Looking for what is not there is no error. */
	if (result && result != BUCKET_ABSENT && result != BUCKET_NO_ATTRIBUTE && result != BUCKET_REDIRECTED)
		add(&k->errors, 1);
}

uint64_t metrics_requests(void)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < kind_count; i++)
		sum += get(&kinds[i].count);
	return sum;
}

void metrics_bytes(bool written, uint64_t bytes)
{
	add(written ? &bytes_written : &bytes_read, bytes);
}

static int add_kind(const struct kind *k, struct buf *out)
{
	uint64_t sum = 0;
	int r = 0;

	for (size_t i = 0; !r && i <= bound_count; i++) {
		sum += get(&k->below[i]);
		if (i < bound_count)
			r = buf_add_format(out, "bucketfs_operation_seconds_bucket{operation=\"%s\",le=\"%g\"} %llu\n", k->name,
					   bounds[i] / 1e6, (unsigned long long)sum);
		else
			r = buf_add_format(out, "bucketfs_operation_seconds_bucket{operation=\"%s\",le=\"+Inf\"} %llu\n", k->name,
					   (unsigned long long)sum);
	}
	if (!r)
		r = buf_add_format(out,
				   "bucketfs_operation_seconds_sum{operation=\"%s\"} %.9f\n"
				   "bucketfs_operation_seconds_count{operation=\"%s\"} %llu\n",
				   k->name, (double)get(&k->nanoseconds) / 1e9, k->name, (unsigned long long)sum);
	return r;
}

struct totals {
	struct fs *fs;
	const struct caller *who;
	uint64_t buckets, files, bytes, keys;
};

static int add_totals(void *context, uint32_t number, struct slice name)
{
	struct totals *t = context;
	struct bucket *b;

	if (transaction_is_id(name))
		return 0;
	if (bucket_get(t->fs, number, &b))
		return 0;
	t->buckets++;
	/* How much is in a bucket is told to those who may read it. */
	if (!bucket_may(t->fs, b, t->who, PRIVILEGE_READ)) {
		bucket_put(t->fs, b);
		return 0;
	}
	t->files += __atomic_load_n(&b->shown.files, __ATOMIC_RELAXED);
	t->bytes += __atomic_load_n(&b->shown.file_bytes, __ATOMIC_RELAXED);
	t->keys += __atomic_load_n(&b->shown.data_keys, __ATOMIC_RELAXED);
	bucket_put(t->fs, b);
	return 0;
}

static int gauge(struct buf *out, const char *name, const char *help, uint64_t value)
{
	return buf_add_format(out, "# HELP %s %s\n# TYPE %s gauge\n%s %llu\n", name, help, name, name,
			      (unsigned long long)value);
}

static int add_gauges(struct frontend *fe, const struct caller *who, struct buf *out)
{
	struct totals t = {.fs = fe->fs, .who = who};
	struct store_statistics s = {0};
	uint64_t handles = 0;
	int r = bucket_list(fe->fs, 0, add_totals, &t);

	if (!r)
		r = store_statistics(fe->fs->store, &s);
	pthread_mutex_lock(&fe->lock);
	for (struct handle *h = fe->handles; h; h = h->next)
		handles++;
	pthread_mutex_unlock(&fe->lock);
	if (!r)
		r = gauge(out, "bucketfs_buckets", "Buckets.", t.buckets);
	if (!r)
		r = gauge(out, "bucketfs_files", "Files and folders in all buckets that you may read.", t.files);
	if (!r)
		r = gauge(out, "bucketfs_file_bytes", "Bytes of all files in buckets that you may read.", t.bytes);
	if (!r)
		r = gauge(out, "bucketfs_data_keys", "Keys of all documents that you may read.", t.keys);
	if (!r)
		r = gauge(out, "bucketfs_open_handles", "Open files.", handles);
	if (!r)
		r = gauge(out, "bucketfs_store_record_bytes", "Bytes of the records on the disk.", s.record_bytes);
	if (!r)
		r = gauge(out, "bucketfs_store_memory_bytes", "Memory that the store uses for caches and buffers.", s.memory_bytes);
	if (!r)
		r = gauge(out, "bucketfs_store_failed", "1 while the store cannot write and changes are refused, else 0.", s.refusal != 0);
	if (!r)
		r = buf_add_format(out,
				   "# HELP bucketfs_store_failures_total How often the store became unable to write.\n"
				   "# TYPE bucketfs_store_failures_total counter\nbucketfs_store_failures_total %llu\n",
				   (unsigned long long)s.failures);
	return r ? r : buf_add_format(out,
				      "# HELP bucketfs_commit_seconds How long commits took in the store, without the disk.\n"
				      "# TYPE bucketfs_commit_seconds summary\n"
				      "bucketfs_commit_seconds_sum %.9f\nbucketfs_commit_seconds_count %llu\n",
				      (double)s.commit_ns / 1e9, (unsigned long long)s.commits);
}

int metrics_text(struct frontend *fe, const struct caller *who, struct buf *out)
{
	int r = buf_add_string(out, "# HELP bucketfs_operation_seconds How long operations took.\n"
				    "# TYPE bucketfs_operation_seconds histogram\n");

	for (size_t i = 0; !r && i < kind_count; i++)
		if (__atomic_load_n(&kinds[i].name, __ATOMIC_ACQUIRE))
			r = add_kind(&kinds[i], out);
	if (!r)
		r = buf_add_string(out, "# HELP bucketfs_errors_total Operations that were refused or failed.\n"
					"# TYPE bucketfs_errors_total counter\n");
	for (size_t i = 0; !r && i < kind_count; i++)
		if (__atomic_load_n(&kinds[i].name, __ATOMIC_ACQUIRE))
			r = buf_add_format(out, "bucketfs_errors_total{operation=\"%s\"} %llu\n", kinds[i].name,
					   (unsigned long long)get(&kinds[i].errors));
	if (!r)
		r = buf_add_format(out,
				   "# HELP bucketfs_bytes_total Bytes read and written.\n# TYPE bucketfs_bytes_total counter\n"
				   "bucketfs_bytes_total{direction=\"read\"} %llu\nbucketfs_bytes_total{direction=\"written\"} %llu\n"
				   "# HELP bucketfs_merges_total Merges that changed a document.\n# TYPE bucketfs_merges_total counter\n"
				   "bucketfs_merges_total %llu\n"
				   "# HELP bucketfs_name_collisions_total Files that replaced one of another given name.\n"
				   "# TYPE bucketfs_name_collisions_total counter\nbucketfs_name_collisions_total %llu\n"
				   "# HELP bucketfs_scrub_damaged_total Contents that the scrub found damaged.\n"
				   "# TYPE bucketfs_scrub_damaged_total counter\nbucketfs_scrub_damaged_total %llu\n",
				   (unsigned long long)get(&bytes_read), (unsigned long long)get(&bytes_written),
				   (unsigned long long)get(&fe->fs->merges),
				   (unsigned long long)get(&fe->fs->collisions), (unsigned long long)get(&fe->fs->scrub_damaged));
	return r ? r : add_gauges(fe, who, out);
}
