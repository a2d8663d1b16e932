/* What MOUNT/.bucketfs/ holds: version, config.json, metrics, errors. */
#include "bucket/json.h"
#include "bucket/refusal.h"
#include "fuse/control_file.h"
#include "fuse/metrics.h"
#include "fuse/ring.h"
#include "version.h"

static int config_text(struct frontend *fe, struct buf *out)
{
	struct limits limits, *l = &limits;
	int r;

	fs_limits(fe->fs, l);
	r = buf_add_format(out,
			       "{\n  \"version\": \"%s\",\n  \"libfuse\": \"%s\",\n  \"io_uring\": %s,\n  \"passthrough\": %s,\n  \"give_way\": %s,\n"
			       "  \"sync\": %s,\n  \"root_squash\": %s,\n  \"limits\": {\n    \"max_data_size\": %llu,\n"
			       "    \"max_file_size\": %llu,\n    \"max_files\": %llu,\n    \"max_total_size\": %llu,\n"
			       "    \"reserve_percent\": %u.%u,\n    \"accepted_file_types\": ",
			       BUCKETFS_VERSION, fuse_pkgversion(), rings_are_used(fe->rings) ? "true" : "false",
			       fe->passthrough && !fe->passthrough_failed ? "true" : "false",
			       rings_give_way(fe->rings) ? "true" : "false",
			       fe->sync_on_close ? "true" : "false", fe->fs->options.squash_root ? "true" : "false",
			       (unsigned long long)l->max_data_size, (unsigned long long)l->max_file_size,
			       (unsigned long long)l->max_files, (unsigned long long)l->max_total_size,
			       l->reserve_permille / 10, l->reserve_permille % 10);

	if (!r)
		r = json_quote(slice_str(l->accepted_file_types), out);
	return r ? r : buf_add_string(out, "\n  }\n}\n");
}

int about_text(struct frontend *fe, const struct caller *who, uint64_t node, struct buf *out)
{
	switch (node) {
	case NODE_ROOT_VERSION:
		return buf_add_format(out, "bucketfs %s, libfuse %s\n", BUCKETFS_VERSION, fuse_pkgversion());
	case NODE_ROOT_CONFIG:
		return config_text(fe, out);
	case NODE_ROOT_METRICS:
		return metrics_text(fe, who, out);
	default:
		return refusals_show(fe->fs->refusals, 0, who->uid, bucket_may(fe->fs, fe->fs->root, who, PRIVILEGE_ADMIN), out);
	}
}
