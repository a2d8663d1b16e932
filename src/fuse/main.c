/* Wiring: from the command line to a mounted filesystem and back. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "bucket/file.h"
#include "bucket/scoped.h"
#include "bucket/transaction.h"
#include "bucket/version.h"
#include "fuse/caller.h"
#include "fuse/defer.h"
#include "fuse/frontend.h"
#include "fuse/later.h"
#include "fuse/metrics.h"
#include "fuse/names.h"
#include "fuse/notify.h"
#include "fuse/options.h"
#include "fuse/patience.h"
#include "fuse/place.h"
#include "fuse/ready.h"
#include "fuse/reload.h"
#include "fuse/ring.h"
#include "fuse/scrubber.h"
#include "fuse/settler.h"
#include "fuse/sync.h"
#include "fuse/worker.h"
#include "store/behind.h"
#include "store/cache.h"
#include "store/rocksdb.h"
#include "store/trace.h"
#include "util/background.h"
#include "util/log.h"
#include "version.h"

enum { drain_seconds = 10 };

/* ---- what the kernel is asked for ---- */

enum { background_max = 1024, late_max = 2 };

static void want(struct fuse_conn_info *conn, uint64_t capability, bool wanted)
{
#if FUSE_USE_VERSION >= FUSE_MAKE_VERSION(3, 18)
	if (wanted)
		fuse_set_feature_flag(conn, capability);
	else
		fuse_unset_feature_flag(conn, capability);
#else
	if (wanted)
		conn->want |= conn->capable & (unsigned)capability;
	else
		conn->want &= ~(unsigned)capability;
#endif
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct frontend *fe = userdata;

	want(conn, FUSE_CAP_ATOMIC_O_TRUNC, true);
	want(conn, FUSE_CAP_PARALLEL_DIROPS, true);
	want(conn, FUSE_CAP_READDIRPLUS, true);
	want(conn, FUSE_CAP_READDIRPLUS_AUTO, true);
	want(conn, FUSE_CAP_HANDLE_KILLPRIV, true);
	want(conn, FUSE_CAP_DONT_MASK, true);
	/* A handle leads to its file as long as there is one, for numbers are permanent: NFS needs that. */
	want(conn, FUSE_CAP_EXPORT_SUPPORT, true);
	/* Content changes through this mount alone, so the kernel need not guess from times and sizes. */
	want(conn, FUSE_CAP_AUTO_INVAL_DATA, false);
	want(conn, FUSE_CAP_EXPLICIT_INVAL_DATA, true);
#if HAVE_FUSE_URING
	want(conn, FUSE_CAP_HANDLE_KILLPRIV_V2, true);
	want(conn, FUSE_CAP_DIRECT_IO_ALLOW_MMAP, true);
	fe->io_uring &= fuse_get_feature_flag(conn, FUSE_CAP_OVER_IO_URING);
	/* A request that waits for long has one of a ring's places, of which there are ring_places for a CPU: some must
	 * be left, or nobody is served there. The classic channel has no such places. */
	if (fe->io_uring) {
		patience_limit(fe->patience, late_max);
		patience_limit(fe->publishing, late_max);
	}
	fe->direct_files = fuse_get_feature_flag(conn, FUSE_CAP_DIRECT_IO_ALLOW_MMAP);
	want(conn, FUSE_CAP_PASSTHROUGH, fe->passthrough);
	fe->passthrough &= fuse_get_feature_flag(conn, FUSE_CAP_PASSTHROUGH);
	/* The store may itself be on a filesystem that stands on another, such as a container's. */
	conn->max_backing_stack_depth = fe->store_is_stacked;
#endif
	conn->time_gran = 1;
	/* So many releases, and pieces read ahead, may be on their way before the kernel holds them back, and what comes after a
	 * close would be here before its release. */
	conn->max_background = background_max;
	notifier_begin(fe->notifier);
	log_info("FUSE protocol %u.%u, libfuse %s, %s", conn->proto_major, conn->proto_minor, fuse_pkgversion(),
		 fe->io_uring ? "io_uring" : "classic channel");
}

/* Whether the kernel's fuse module has io_uring switched on. */
static bool uring_enabled(void)
{
	FILE *file = fopen("/sys/module/fuse/parameters/enable_uring", "re");
	int c = file ? fgetc(file) : 'N';

	if (file)
		fclose(file);
	return c == 'Y' || c == '1';
}

static bool others_allowed(void)
{
	FILE *file = geteuid() == 0 ? NULL : fopen("/etc/fuse.conf", "re");
	char line[256];
	bool allowed = geteuid() == 0;

	while (file && !allowed && fgets(line, sizeof(line), file))
		allowed = strncmp(line, "user_allow_other", 16) == 0;
	if (file)
		fclose(file);
	return allowed;
}

static int session_options(struct options *o, bool *io_uring)
{
	char *name = NULL;
	int r = 0;

	*io_uring = false;
	/* The store's path is what mount and df show; a comma in it would end the option. */
	if (asprintf(&name, "fsname=%s,subtype=bucketfs", o->store) < 0)
		return -ENOMEM;
	for (char *c = name + 7; *c && c < name + 7 + strlen(o->store); c++)
		if (*c == ',' || *c == '\\')
			*c = '_';
	r = fuse_opt_add_arg(&o->args, "-o") || fuse_opt_add_arg(&o->args, name);
	if (!r && others_allowed())
		r = fuse_opt_add_arg(&o->args, "-o") || fuse_opt_add_arg(&o->args, "allow_other");
	if (!r && o->debug)
		r = fuse_opt_add_arg(&o->args, "-d");
#if HAVE_FUSE_URING
	char places[32];

#ifdef FUSE_RING_LOCK
	*io_uring = o->io_uring != URING_OFF && uring_enabled();
#else
	/* A reply from another thread can be lost (scripts/setup says why). */
	*io_uring = o->io_uring == URING_ON && uring_enabled();
#endif
	snprintf(places, sizeof(places), "io_uring_q_depth=%d", ring_places);
	if (!r && *io_uring)
		r = fuse_opt_add_arg(&o->args, "-o") || fuse_opt_add_arg(&o->args, "io_uring") || fuse_opt_add_arg(&o->args, "-o") ||
		    fuse_opt_add_arg(&o->args, places);
#endif
	free(name);
	if (!r && o->io_uring == URING_ON && !(HAVE_FUSE_URING && uring_enabled()))
		log_warning("io_uring is not available: echo Y > /sys/module/fuse/parameters/enable_uring, and build with "
			    "libfuse 3.18; going on without");
	return r ? -ENOMEM : 0;
}

/* Whether the folder's filesystem keeps its files in another one, so that passthrough has one more level to go. */
static bool is_stacked(const char *folder)
{
	enum { ecryptfs = 0xf15f };
	struct statfs fs;

	return statfs(folder, &fs) == 0 &&
	       (fs.f_type == OVERLAYFS_SUPER_MAGIC || fs.f_type == FUSE_SUPER_MAGIC || fs.f_type == ecryptfs);
}

/* ---- the life of a mount ---- */

struct mount {
	struct options *options;
	struct store *store;
	struct frontend fe;
	struct settler *settler;
	struct scrubber *scrubber;
	struct background *pruner;
	unsigned char boot[boot_size];
	struct ready *ready;
	int parent; /* the process that started this one waits there for the mount; -1: none does */
	bool signals, mounted;
	enum log_target log_target;
	unsigned waits; /* for another daemon to leave */
};

/* A mount that is gone here may live on in another mount namespace, a container's say, which got a copy of it. */
static bool has_copy(const struct mount *m, bool tell)
{
	char text[300];

	place_copy(m->options->store, text, sizeof(text));
	if (*text && tell)
		log_warning("store %s: %s", m->options->store, text);
	return *text;
}

static bool holder_leaves(void *context, const char *holder)
{
	const char *at = strstr(holder, "mounted at ");
	struct mount *m = context;

	/* After umount returns, its daemon still has to close the store; mostly that takes less than a second. */
	return at && !place_is_mounted(at + 11) && !(++m->waits % 50 == 0 && has_copy(m, false));
}

static void holder_stays(void *context)
{
	has_copy(context, true);
}

static void trace_line(void *context, const char *text)
{
	(void)context;
	log_line(LOG_LEVEL_INFO, "%s", text);
}

static int open_store(struct mount *m, struct reason *why)
{
	char holder[4200];
	struct rocksdb_store_options options = {.holder = holder, .holder_leaves = holder_leaves,
		.holder_stays = holder_stays, .context = m,
		.boot = m->boot, .accept_loss = m->options->accept_loss};
	struct store *decorated;
	int r;

	boot_read(m->boot);
	snprintf(holder, sizeof(holder), "process %d, mounted at %s", getpid(), m->options->mountpoint);
	r = rocksdb_store_open(&m->store, m->options->store, &options, why);
	if (!r)
		r = behind_store_open(&decorated, m->store, behind_least);
	if (!r)
		m->store = decorated;
	if (!r)
		r = cache_store_open(&decorated, m->store, STORE_NODE);
	if (!r)
		m->store = decorated;
	if (!r && m->options->trace) {
		r = trace_store_open(&decorated, m->store, trace_line, NULL);
		if (!r)
			m->store = decorated;
	}
	return r;
}

/* Descriptors for the store, the mount and the log: RocksDB opens tables and logs in the middle of commits, and must
 * never lack one. */
enum { files_reserved = 400 };

/* As many files as the system lets us have open, less what is reserved; for small limits half of them. */
static size_t files_max(void)
{
	struct rlimit limit;
	size_t files;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return 0;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		getrlimit(RLIMIT_NOFILE, &limit);
	files = limit.rlim_cur == RLIM_INFINITY ? 1u << 20 : (size_t)limit.rlim_cur;
	return files > 2 * files_reserved ? files - files_reserved : files / 2;
}

/* An eighth of what there is: the store has caches of its own, and the machine has its jobs. */
static size_t memory_max(void)
{
	const uint64_t least = 64 << 20, most = 4ULL << 30;
	uint64_t all = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE), part;
	struct rlimit limit;

	if (!getrlimit(RLIMIT_AS, &limit) && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < all)
		all = limit.rlim_cur;
	part = all / 8;
	return (size_t)(part < least ? least : part > most ? most : part);
}

/* The first use of @device and @job would say it, to a job at night. No reason to be down: a name may be known later. */
static void warn_of_scoped(const struct frontend *fe, const struct acl_names *names)
{
	struct acl_list list = {0};
	struct reason why = {.text = ""};
	struct stat st;

	if (fe->device_acl && acl_list_parse(&list, slice_str(fe->device_acl), names, &why))
		log_warning("device_acl: %s: @device cannot be made", why.text);
	acl_list_release(&list);
	if (fe->job_schema && (stat(fe->job_schema, &st) || !S_ISDIR(st.st_mode)))
		log_warning("job_schema: there is no folder %s: new @job buckets get no schema", fe->job_schema);
}

static int open_fs(struct mount *m, struct reason *why)
{
	struct fs_options options = {
		.limits = m->options->limits,
		.names = &names_system,
		.clock = clock_system,
		.mount_uid = getuid(),
		.squash_root = m->options->squash_root,
		.collide_refuse = m->options->collide_refuse,
		.symlinks_off = !m->options->symlinks,
		.memory_max = memory_max(),
		.files_max = files_max(),
		.may_take_long = worker_may_take_long,
		.is_abandoned = defer_is_abandoned,
		.pause = worker_pause,
	};
	int r;

	memcpy(options.boot, m->boot, sizeof(options.boot));
	if (gethostname(options.server, sizeof(options.server) - 1))
		options.server[0] = 0;
	warn_of_scoped(&m->fe, options.names);
	r = fs_open(&m->fe.fs, m->store, &options);
	if (!r)
		r = scoped_device_name(m->fe.fs, m->options->device, m->fe.fs->options.device);
	if (!r)
		r = transaction_recover(m->fe.fs);
	if (r)
		reason_set(why, "store %s: %s: it may be damaged; restore it from a backup", m->options->store, strerror(-r));
	return r;
}

/* The message of libfuse about options that it does not know, which comes in pieces. */
static char refusal[300];

static void keep_refusal(enum fuse_log_level level, const char *format, va_list args)
{
	size_t len = strlen(refusal);

	if (level <= FUSE_LOG_ERR)
		vsnprintf(refusal + len, sizeof(refusal) - len, format, args);
}

/* libfuse speaks where we do. */
static void log_libfuse(enum fuse_log_level level, const char *format, va_list args)
{
	char text[1000];

	vsnprintf(text, sizeof(text), format, args);
	text[strcspn(text, "\n")] = 0;
	log_line(level <= FUSE_LOG_ERR	    ? LOG_LEVEL_ERROR :
		 level == FUSE_LOG_WARNING ? LOG_LEVEL_WARNING :
		 level <= FUSE_LOG_INFO	    ? LOG_LEVEL_INFO :
					      LOG_LEVEL_DEBUG, "%s", text);
}

/* Before the store is touched, for libfuse may not like the options. */
static int make_session(struct mount *m, struct reason *why)
{
	struct frontend *fe = &m->fe;
	struct fuse_lowlevel_ops ops = defer_ops;
	int r = session_options(m->options, &fe->io_uring);

	ops.init = op_init;
	fe->passthrough = m->options->passthrough == 0;
	fe->store_is_stacked = is_stacked(m->options->store);
	fe->sync_on_close = m->options->sync;
	fe->job_env = caller_job_variables = m->options->job_env;
	fe->job_schema = m->options->job_schema;
	fe->editors = m->options->editors;
	fe->device_acl = m->options->device_acl;
	for (char *c = m->options->device_acl; c && *c; c++)
		if (*c == '+')
			*c = ',';
	pthread_mutex_init(&fe->lock, NULL);
	if (r)
		return r;
	fuse_set_log_func(keep_refusal);
	fe->session = fuse_session_new(&m->options->args, &ops, sizeof(ops), fe);
	fuse_set_log_func(log_libfuse);
	if (fe->session)
		return 0;
	refusal[strcspn(refusal, "\n")] = 0;
	reason_set(why, "%s; see bucketfs --help", *refusal ? refusal : "libfuse refuses these options");
	return -EINVAL;
}

static void name_lost(void *context, uint64_t parent_inode, struct slice name)
{
	struct frontend *fe = context;

	notifier_spelled(fe->notifier, parent_inode, name, true);
}

static void names_lost(void *context, uint32_t bucket)
{
	struct frontend *fe = context;

	notifier_names_lost(fe->notifier, fe->fs, bucket);
}

/* If the end takes longer than it may, something hangs: leave all the same. What was acknowledged is in the store's
 * log, and a store is opened after a crash like after anything else. */
static void drain_too_long(int signal)
{
	static const char text[] = "bucketfs: error: leaving did not end within its time: ended it\n";

	(void)signal;
	if (write(2, text, sizeof(text) - 1) < 0)
		_exit(1);
	_exit(1);
}

/* From the first sign of the end; also called by a signal's handler. */
static void leave_in_time(void)
{
	static bool leaving;

	if (__atomic_exchange_n(&leaving, true, __ATOMIC_SEQ_CST))
		return;
	signal(SIGALRM, drain_too_long);
	alarm(drain_seconds);
}

static struct fuse_session *session_to_end;

/* As libfuse's own, and the time begins to count. */
static void end_session(int signal)
{
	(void)signal;
	leave_in_time();
	fuse_session_exit(session_to_end);
}

static void reread(int signal)
{
	(void)signal;
	reload_request();
}

static const int end_signals[] = {SIGINT, SIGTERM};

/* `attended`: somebody sits before the terminal that SIGHUP comes from. */
static int handle_signals(struct fuse_session *session, bool attended)
{
	const struct sigaction action = {.sa_handler = end_session};
	const struct sigaction hangup = {.sa_handler = attended ? end_session : reread, .sa_flags = SA_RESTART};

	if (fuse_set_signal_handlers(session))
		return -1;
	session_to_end = session;
	for (size_t i = 0; i < sizeof(end_signals) / sizeof(*end_signals); i++)
		if (sigaction(end_signals[i], &action, NULL))
			return -1;
	if (sigaction(SIGHUP, &hangup, NULL))
		return -1;
	return 0;
}

/* The end has begun, and takes as long as it may. */
static void ignore_signals(struct fuse_session *session)
{
	fuse_remove_signal_handlers(session);
	for (size_t i = 0; i < sizeof(end_signals) / sizeof(*end_signals); i++)
		signal(end_signals[i], SIG_IGN);
	signal(SIGHUP, SIG_IGN);
}

/* libfuse frees a ring's requests when its threads have ended, and some may be our own threads' to answer. */
static void ring_ends(void *context)
{
	struct mount *m = context;

	if (fuse_session_exited(m->fe.session))
		leave_in_time();
	/* A slow request may become a patient one, and a patient one a job for the others. */
	workers_drain(m->fe.workers);
	patience_drain(m->fe.patience);
	patience_drain(m->fe.publishing);
	workers_drain(m->fe.workers);
	/* A job of the disk's may become one for them, and come back. */
	later_drain(m->fe.disk);
	workers_drain(m->fe.workers);
	later_drain(m->fe.disk);
}

/* Each second. The session may have ended while one of its threads hangs, and then nobody else begins to count. */
static void review(void *context)
{
	struct frontend *fe = context;

	if (fuse_session_exited(fe->session))
		leave_in_time();
	handle_review(fe);
	idle_second(&fe->idle, metrics_requests());
	reload_if_asked(fe->fs);
}

static bool go_on_pruning(void *context)
{
	return background_sleep(context, 0);
}

/* Removes scoped buckets that nobody has used. It takes a while where there are many, so the mount does not wait for
 * it. */
static void prune(struct background *g, void *context)
{
	if (scoped_prune(context, go_on_pruning, g))
		log_warning("scoped buckets that nobody has used could not all be removed");
}

static int start_session(struct mount *m, struct reason *why)
{
	struct frontend *fe = &m->fe;
	int r = notifier_new(&fe->notifier, fe->session);

	if (r)
		return r;
	/* Before there is any thread that may call them. */
	fe->fs->options.context = fe;
	fe->fs->options.name_lost = name_lost;
	fe->fs->options.names_lost = names_lost;
	r = rings_new(&fe->rings, fe->io_uring && m->options->give_way == 0, ring_ends, m);
	if (!r)
		r = later_new(&fe->disk, "disk", sync_finish, fe);
	if (!r)
		r = workers_new(&fe->workers);
	if (!r)
		r = patience_new(&fe->patience, "patience", version_wait_shared, version_wait);
	if (!r)
		r = settler_new(&m->settler, fe->fs, review, fe);
	if (!r)
		r = scrubber_new(&m->scrubber, fe->fs, m->options->scrub);
	if (!r)
		r = background_new(&m->pruner, "prune", prune, fe->fs);
	if (!r)
		r = patience_new(&fe->publishing, "publish", version_wait_shared, version_wait / 2);
	if (r)
		return r;
	if (handle_signals(fe->session, m->options->foreground && isatty(2))) {
		reason_set(why, "cannot handle signals");
		return -EINVAL;
	}
	m->signals = true;
	if (fuse_session_mount(fe->session, m->options->mountpoint)) {
		reason_set(why, "cannot mount at %s (is /dev/fuse there, and are you root?)", m->options->mountpoint);
		return -EPERM;
	}
	m->mounted = true;
	return 0;
}

/* Whether somebody may read stderr to its end, which is not before this process ends. */
static bool is_read_to_the_end(void)
{
	struct stat st;

	return fstat(2, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
}

/* From here on only the log speaks: before the first request is served. */
static enum log_target open_log(const struct mount *m)
{
	const struct options *o = m->options;
	enum log_target target = options_log_target(o);
	int r = log_open(target, o->log, (enum log_level)o->log_level);
	const char *where = target == LOG_TARGET_FILE ? o->log : "/dev/log";

	if (!r)
		return target;
	if (m->parent < 0 || !is_read_to_the_end()) {
		log_warning("the log cannot go to %s (%s): it goes to stderr", where, strerror(-r));
		return LOG_TARGET_STDERR;
	}
	log_warning("the log cannot go to %s (%s), and stderr is a pipe: there is no log; log=FILE or -f makes one", where, strerror(-r));
	log_open(LOG_TARGET_NONE, NULL, LOG_LEVEL_ERROR);
	return LOG_TARGET_NONE;
}

/* The mount answers. The process that started the daemon may go. */
static void detach(void *context)
{
	const struct mount *m = context;
	int null;

	log_info("store %s mounted at %s", m->options->store, m->options->mountpoint);
	if (m->parent < 0)
		return;
	/* The terminal may go away, and whoever reads from it or writes to it is somebody else. */
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; fd < 3; fd++)
		if (fd < 2 || m->log_target != LOG_TARGET_STDERR)
			dup2(null, fd);
	if (null > 2)
		close(null);
	setsid();
}

/* The kernel lets everybody go who still waits for an answer. Threads of ours may be about to give one: so the number is not
 * free before they have ended, or the answer would land in whatever file the store has opened meanwhile. */
static void disconnect(struct fuse_session *session)
{
	struct pollfd connection = {.fd = fuse_session_fd(session)};
	int null;

	/* After umount it is so already, and libfuse should still see that: it would unmount once more, and complain. */
	if (poll(&connection, 1, 0) == 1 && connection.revents & POLLERR)
		return;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup3(null, fuse_session_fd(session), O_CLOEXEC) < 0)
		log_warning("who waits for an answer waits until the mount has ended");
	if (null >= 0)
		close(null);
}

static void stop(struct mount *m)
{
	struct frontend *fe = &m->fe;

	leave_in_time();
	if (fe->session && m->mounted)
		disconnect(fe->session);
	ready_free(m->ready);
	workers_drain(fe->workers);
	patience_drain(fe->patience);
	patience_drain(fe->publishing);
	workers_drain(fe->workers);
	later_drain(fe->disk);
	workers_drain(fe->workers);
	later_free(fe->disk);
	patience_free(fe->patience);
	patience_free(fe->publishing);
	workers_free(fe->workers);
	if (fe->session && m->mounted)
		fuse_session_unmount(fe->session);
	handle_drain(fe);
	background_free(m->pruner);
	scrubber_free(m->scrubber);
	settler_free(m->settler);
	if (fe->fs)
		file_end_again(fe->fs, true);
	notifier_free(fe->notifier);
	if (m->signals)
		ignore_signals(fe->session);
	if (fe->session)
		fuse_session_destroy(fe->session);
	rings_free(fe->rings);
	if (fe->fs) {
		fe->fs->options.name_lost = NULL;
		fe->fs->options.names_lost = NULL;
	}
	fs_close(fe->fs);
	if (m->store && store_sync(m->store))
		log_error("the last commits are not on the disk yet");
	store_close(m->store);
	alarm(0);
}

static int serve(struct mount *m)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	int r;

	if (!config)
		return -ENOMEM;
	fuse_loop_cfg_set_max_threads(config, 16);
	fuse_loop_cfg_set_idle_threads(config, 16);
	r = fuse_session_loop_mt(m->fe.session, config);
	fuse_loop_cfg_destroy(config);
	log_info("leaving %s", m->options->mountpoint);
	return r < 0 ? r : 0;
}

/* `parent`: as in struct mount. */
static int run(struct options *o, int parent)
{
	struct mount m = {.options = o, .parent = parent};
	struct reason why = {.text = ""};
	int r = make_session(&m, &why);

	if (!r)
		r = open_store(&m, &why);
	if (!r)
		r = open_fs(&m, &why);
	if (!r)
		r = start_session(&m, &why);
	if (!r)
		m.log_target = open_log(&m);
	if (!r)
		r = ready_new(&m.ready, o->mountpoint, parent, detach, &m);
	if (r) {
		fprintf(stderr, "bucketfs: %s\n", *why.text ? why.text : strerror(-r));
	} else {
		r = serve(&m);
	}
	ready_notify("STOPPING=1");
	stop(&m);
	return r ? 1 : 0;
}

/* The parent waits until the mount is there, so that whoever started it can go on to use it. RocksDB has threads of its
 * own: everything is made in the child. */
static int run_in_background(struct options *o)
{
	int pipes[2];
	char byte;
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC)) {
		perror("bucketfs: pipe");
		return 1;
	}
	pid = fork();
	if (pid < 0) {
		perror("bucketfs: fork");
		return 1;
	}
	if (pid) {
		close(pipes[1]);
		return read(pipes[0], &byte, 1) == 1 ? 0 : 1;
	}
	close(pipes[0]);
	/* It stays in its process group until it is mounted: an automount lets only its own group by (autofs), and would wait for
	 * this mount whenever another process looks at the mount point. */
	return run(o, pipes[1]);
}

/* The store's tables are searched all over: in huge pages that is a tenth faster, and memory that is given back and taken
 * again costs more than keeping it. Each arena of malloc's takes 64 MiB of addresses, which a limit on them (RLIMIT_AS) counts: two are
 * as fast as eight. A commit takes some 15 µs, and so long a thread should look whether a bucket's lock is
 * free before it sleeps. All must be said before the program starts (GNU C library manual, "Tunables"). */
static void tune(char **argv)
{
	static const char name[] = "GLIBC_TUNABLES";
	char self[4096];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (len <= 0 || getenv(name) || setenv(name, "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=67108864:"
					 "glibc.malloc.trim_threshold=134217728:glibc.malloc.arena_max=2:glibc.pthread.mutex_spin_count=1000", 1))
		return;
	/* By its own path, which is what the process is called by. */
	self[len] = 0;
	execv(self, argv);
}

int main(int argc, char **argv)
{
	struct options o;
	struct reason why;
	int r;

	tune(argv);
	r = options_parse(&o, argc, argv);
	reload_begin(argc, argv);

	if (r) {
		options_release(&o);
		return 1;
	}
	if (o.help) {
		options_help();
	} else if (o.version) {
		printf("bucketfs %s (store format %d, libfuse %s)\n", BUCKETFS_VERSION, rocksdb_store_format,
		       fuse_pkgversion());
	} else {
		signal(SIGPIPE, SIG_IGN);
		/* What is in the store is for nobody else's eyes. */
		umask(077);
		/* Until the mount is there, whoever started it is listening. */
		log_open(LOG_TARGET_STDERR, NULL, LOG_LEVEL_WARNING);
		if (options_check_log(&o, &why) || place_prepare(&o.store, &o.mountpoint, &why)) {
			fprintf(stderr, "bucketfs: %s\n", why.text);
			r = 1;
		} else if (chdir("/")) {
			r = 1;
		} else {
			r = o.foreground ? run(&o, -1) : run_in_background(&o);
		}
	}
	options_release(&o);
	return r;
}
