/* What scripts/bench holds operations against: the commits of bucketfs without FUSE and without anything around them. Makes
 * COUNT files in a new store in FOLDER, a commit each, then removes them likewise; prints the seconds of both. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bucket/record.h"
#include "store/rocksdb.h"

enum { bucket = 1, first_node = 16, content = 4096, head_size = 120, record_size = 80 };

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int commit(struct store *s, size_t i, bool make, const unsigned char *bytes)
{
	struct store_batch batch = {0};
	char text[16];
	uint64_t node = first_node + i;
	int len = snprintf(text, sizeof(text), "f%06zu", i), r;
	struct key_buf child = key_child(3, node), name = key_name(3, slice_of(text, (size_t)len)), body = key_body(node);

	if (make) {
		store_batch_put(&batch, STORE_NODE, key_slice(&child), slice_of(bytes, record_size));
		store_batch_put(&batch, STORE_NODE, key_slice(&name), slice_of(&node, 5));
		store_batch_put(&batch, STORE_BODY, key_slice(&body), slice_of(bytes, content));
	} else {
		store_batch_delete(&batch, STORE_NODE, key_slice(&child));
		store_batch_delete(&batch, STORE_NODE, key_slice(&name));
		store_batch_delete(&batch, STORE_BODY, key_slice(&body));
	}
	r = store_commit(s, bucket, STORE_ANY_REVISION, slice_of(bytes, head_size), &batch, NULL);
	store_batch_release(&batch);
	return r;
}

int main(int argc, char **argv)
{
	unsigned char bytes[content];
	struct reason why = {.text = ""};
	struct store *s;
	size_t count = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
	int r;

	if (!count) {
		fprintf(stderr, "usage: commit FOLDER COUNT\n");
		return 2;
	}
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(i * 2654435761u >> 13);
	r = rocksdb_store_open(&s, argv[1], &(struct rocksdb_store_options){0}, &why);
	if (r) {
		fprintf(stderr, "commit: %s\n", why.text);
		return 1;
	}
	for (int make = 1; make >= 0 && !r; make--) {
		double began = now();

		for (size_t i = 0; i < count && !r; i++)
			r = commit(s, i, make, bytes);
		printf("%.6f\n", now() - began);
	}
	store_close(s);
	if (r)
		fprintf(stderr, "commit: error %d\n", r);
	return r ? 1 : 0;
}
