/* The part of the local backend that needs RocksDB's C++ interface (rocksdb_disk.h): RocksDB's view of the disk.
 *
 * RocksDB calls an error of write(2) "fatal" unless the file system says that it may be tried again, and after a fatal
 * error DB::Resume() does nothing. Here every error of writing may be tried again: Resume() begins a new log and writes
 * the memtables to tables, and the memtables hold exactly the commits that succeeded. "No space left" is reported as
 * any other error, because RocksDB has a poller of its own for it, and the store has its own already
 * (rocksdb_health.c).
 *
 * A full disk must not fail a log all the same. It fills when a log needs new blocks, which is mostly when a memtable
 * is full, too. A table that is to be written just then and has not been begun is forgotten by RocksDB 7.8 after an
 * error (BackgroundFlush returns before it takes the request from its queue), and Resume() waits for it for ever. So a
 * log has its blocks before it is written to, from the store's ballast if need be. */
#include "store/rocksdb_disk.h"

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/listener.h>
#include <rocksdb/options.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <memory>
#include <new>

/* As in RocksDB's own c.cc: the C interface has no access to what these hold. */
struct rocksdb_t {
	rocksdb::DB *rep;
};
struct rocksdb_options_t {
	rocksdb::Options rep;
};
struct rocksdb_column_family_handle_t {
	rocksdb::ColumnFamilyHandle *rep;
};

namespace {

using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

IOStatus again(IOStatus s)
{
	if (s.ok() || !s.IsIOError())
		return s;
	if (s.subcode() == rocksdb::Status::SubCode::kNoSpace) {
		const char *text = s.getState();

		s = IOStatus::IOError(text ? text : "No space left on device");
	}
	s.SetRetryable(true);
	return s;
}

struct Room {
	rocks_disk_room *make;
	void *context;
};

class File : public rocksdb::FSWritableFileOwnerWrapper {
public:
	File(std::unique_ptr<FSWritableFile> &&target, const std::string &name, const Room &room)
		: FSWritableFileOwnerWrapper(std::move(target)), name_(name), room_(room),
		  is_log_(name.size() > 4 && name.compare(name.size() - 4, 4, ".log") == 0)
	{
	}
	/* RocksDB takes room in advance here. On a disk that is nearly full a log would take all that is left, and no table could be
	 * written any more: ext4 keeps what it has allocated before it says that there is not enough. */
	void PrepareWrite(size_t at, size_t len, const IOOptions &o, IODebugContext *d) override
	{
		size_t block, taken;
		uint64_t free = 0;

		GetPreallocationStatus(&block, &taken);
		if (block && (at + len + block - 1) / block > taken &&
		    (!rocksdb::FileSystem::Default()->GetFreeSpace(name_, o, &free, d).ok() || free < 4 * block)) {
			if (is_log_)
				take_room(at, len, o, d);
			return;
		}
		FSWritableFileOwnerWrapper::PrepareWrite(at, len, o, d);
	}
	IOStatus Append(const rocksdb::Slice &data, const IOOptions &o, IODebugContext *d) override
	{
		return ended(FSWritableFileOwnerWrapper::Append(data, o, d), o, d);
	}
	IOStatus Append(const rocksdb::Slice &data, const IOOptions &o, const rocksdb::DataVerificationInfo &v,
			IODebugContext *d) override
	{
		return ended(FSWritableFileOwnerWrapper::Append(data, o, v, d), o, d);
	}
	IOStatus PositionedAppend(const rocksdb::Slice &data, uint64_t at, const IOOptions &o, IODebugContext *d) override
	{
		return again(FSWritableFileOwnerWrapper::PositionedAppend(data, at, o, d));
	}
	IOStatus PositionedAppend(const rocksdb::Slice &data, uint64_t at, const IOOptions &o,
				  const rocksdb::DataVerificationInfo &v, IODebugContext *d) override
	{
		return again(FSWritableFileOwnerWrapper::PositionedAppend(data, at, o, v, d));
	}
	IOStatus Truncate(uint64_t size, const IOOptions &o, IODebugContext *d) override
	{
		return again(FSWritableFileOwnerWrapper::Truncate(size, o, d));
	}
	IOStatus Close(const IOOptions &o, IODebugContext *d) override { return again(FSWritableFileOwnerWrapper::Close(o, d)); }
	IOStatus Flush(const IOOptions &o, IODebugContext *d) override
	{
		IOStatus s = again(FSWritableFileOwnerWrapper::Flush(o, d));

		/* After each record of a log. */
		if (s.ok())
			whole_ = GetFileSize(o, d);
		return s;
	}
	IOStatus Sync(const IOOptions &o, IODebugContext *d) override { return again(FSWritableFileOwnerWrapper::Sync(o, d)); }
	IOStatus Fsync(const IOOptions &o, IODebugContext *d) override { return again(FSWritableFileOwnerWrapper::Fsync(o, d)); }
	IOStatus RangeSync(uint64_t at, uint64_t len, const IOOptions &o, IODebugContext *d) override
	{
		return again(FSWritableFileOwnerWrapper::RangeSync(at, len, o, d));
	}
	IOStatus Allocate(uint64_t at, uint64_t len, const IOOptions &o, IODebugContext *d) override
	{
		return again(FSWritableFileOwnerWrapper::Allocate(at, len, o, d));
	}

private:
	/* A full disk takes a part of a record. RocksDB never writes to this log again; but if the process is killed
	 * before all memtables are in tables, the next start takes the part for damage, and refuses to open tables that
	 * are newer. */
	IOStatus ended(IOStatus s, const IOOptions &o, IODebugContext *d)
	{
		if (is_log_ && !s.ok())
			FSWritableFileOwnerWrapper::Truncate(whole_, o, d).PermitUncheckedError();
		return again(s);
	}
	static bool is_full(const IOStatus &s)
	{
		return s.IsNoSpace() || (s.IsIOError() && s.ToString().find(strerror(EDQUOT)) != std::string::npos);
	}
	/* Not more than needed: see PrepareWrite. */
	void take_room(size_t at, size_t len, const IOOptions &o, IODebugContext *d)
	{
		const size_t some = 64 << 10;
		size_t end = at + std::max(len, some);

		if (at + len <= allocated_)
			return;
		if (!is_full(allocate(at, end, o, d)) || !is_full(allocate(at, at + len, o, d)))
			return;
		room_.make(room_.context);
		allocate(at, end, o, d);
	}
	IOStatus allocate(size_t at, size_t end, const IOOptions &o, IODebugContext *d)
	{
		IOStatus s = FSWritableFileOwnerWrapper::Allocate(at, end - at, o, d);

		if (s.ok())
			allocated_ = end;
		return s;
	}

	std::string name_;
	Room room_;
	bool is_log_;
	size_t allocated_ = 0;
	uint64_t whole_ = 0; /* bytes, up to the end of the last record */
};

class Folder : public rocksdb::FSDirectoryWrapper {
public:
	explicit Folder(std::unique_ptr<rocksdb::FSDirectory> &&target) : FSDirectoryWrapper(std::move(target)) {}
	IOStatus Fsync(const IOOptions &o, IODebugContext *d) override { return again(FSDirectoryWrapper::Fsync(o, d)); }
	IOStatus FsyncWithDirOptions(const IOOptions &o, IODebugContext *d, const rocksdb::DirFsyncOptions &f) override
	{
		return again(FSDirectoryWrapper::FsyncWithDirOptions(o, d, f));
	}
};

class Files : public rocksdb::FileSystemWrapper {
public:
	explicit Files(const Room &room) : FileSystemWrapper(rocksdb::FileSystem::Default()), room_(room) {}
	const char *Name() const override { return "bucketfs"; }

	IOStatus NewWritableFile(const std::string &name, const rocksdb::FileOptions &f, std::unique_ptr<FSWritableFile> *out,
				 IODebugContext *d) override
	{
		return wrap(FileSystemWrapper::NewWritableFile(name, f, out, d), name, out);
	}
	IOStatus ReopenWritableFile(const std::string &name, const rocksdb::FileOptions &f, std::unique_ptr<FSWritableFile> *out,
				    IODebugContext *d) override
	{
		return wrap(FileSystemWrapper::ReopenWritableFile(name, f, out, d), name, out);
	}
	IOStatus ReuseWritableFile(const std::string &name, const std::string &old, const rocksdb::FileOptions &f,
				   std::unique_ptr<FSWritableFile> *out, IODebugContext *d) override
	{
		return wrap(FileSystemWrapper::ReuseWritableFile(name, old, f, out, d), name, out);
	}
	IOStatus NewDirectory(const std::string &name, const IOOptions &o, std::unique_ptr<rocksdb::FSDirectory> *out,
			      IODebugContext *d) override
	{
		IOStatus s = again(FileSystemWrapper::NewDirectory(name, o, out, d));

		if (s.ok())
			out->reset(new Folder(std::move(*out)));
		return s;
	}
	IOStatus RenameFile(const std::string &from, const std::string &to, const IOOptions &o, IODebugContext *d) override
	{
		return again(FileSystemWrapper::RenameFile(from, to, o, d));
	}
	IOStatus DeleteFile(const std::string &name, const IOOptions &o, IODebugContext *d) override
	{
		return again(FileSystemWrapper::DeleteFile(name, o, d));
	}

private:
	IOStatus wrap(IOStatus s, const std::string &name, std::unique_ptr<FSWritableFile> *out)
	{
		s = again(s);
		if (s.ok())
			out->reset(new File(std::move(*out), name, room_));
		return s;
	}

	Room room_;
};

/* RocksDB's own log. Its usual one is a writer like all the others: once the disk has refused a line, the next line ends the
 * process (an assertion in writable_file_writer.h). A line that cannot be written here is lost. */
class Log : public rocksdb::Logger {
public:
	explicit Log(int fd) : Logger(rocksdb::InfoLogLevel::WARN_LEVEL), fd_(fd) {}
	~Log() override { close(fd_); }
	using Logger::Logv;
	void Logv(const char *format, va_list values) override
	{
		char line[1024];
		time_t now = time(nullptr);
		struct tm tm;
		size_t len = strftime(line, sizeof(line), "%Y-%m-%d %H:%M:%S ", gmtime_r(&now, &tm));
		int n = vsnprintf(line + len, sizeof(line) - len - 1, format, values);

		if (n < 0)
			return;
		len = std::min(len + static_cast<size_t>(n), sizeof(line) - 2);
		if (line[len - 1] != '\n')
			line[len++] = '\n';
		if (lseek(fd_, 0, SEEK_END) > log_size && ftruncate(fd_, 0))
			return;
		if (write(fd_, line, len) < 0)
			return;
	}

private:
	enum { log_size = 4 << 20 };
	int fd_;
};

class Listener : public rocksdb::EventListener {
public:
	Listener(rocks_disk_failed *failed, void *context) : failed_(failed), context_(context) {}
	const char *Name() const override { return "bucketfs"; }

	void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status *status) override
	{
		/* A compaction that failed is begun again by RocksDB; commits do not need it. */
		bool goes_on = reason == rocksdb::BackgroundErrorReason::kCompaction && status->IsIOError();

		/* RocksDB's own error for a log that had failed is "fatal" too. */
		if (status->IsIOError() && status->severity() == rocksdb::Status::Severity::kFatalError)
			*status = rocksdb::Status(*status, rocksdb::Status::Severity::kHardError);
		failed_(context_, status->ToString().c_str(), goes_on);
	}
	void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status, bool *automatic) override { *automatic = false; }

private:
	rocks_disk_failed *failed_;
	void *context_;
};

} // namespace

struct rocks_disk {
	std::unique_ptr<rocksdb::Env> env;
	std::shared_ptr<Listener> listener;
	std::shared_ptr<Log> log;
};

extern "C" struct rocks_disk *rocks_disk_new(int folder_fd, rocks_disk_failed *failed, rocks_disk_room *room, void *context)
{
	int fd = openat(folder_fd, "db/LOG", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	/* A disk that nothing can be made on: then nobody reads the log either. */
	if (fd < 0)
		fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	try {
		std::unique_ptr<rocks_disk> disk(new rocks_disk);

		disk->env = rocksdb::NewCompositeEnv(std::make_shared<Files>(Room{room, context}));
		disk->listener = std::make_shared<Listener>(failed, context);
		disk->log = std::make_shared<Log>(fd);
		return disk.release();
	} catch (const std::bad_alloc &) {
		return nullptr;
	}
}

extern "C" void rocks_disk_use(struct rocks_disk *disk, rocksdb_options_t *options)
{
	options->rep.env = disk->env.get();
	options->rep.listeners.push_back(disk->listener);
	options->rep.info_log = disk->log;
	/* The store tries again, not RocksDB: it knows when there is room. */
	options->rep.max_bgerror_resume_count = 0;
}

extern "C" void rocks_disk_resume(rocksdb_t *db, char **error)
{
	rocksdb::Status s = db->rep->Resume();

	if (!s.ok())
		*error = strdup(s.ToString().c_str());
}

extern "C" void rocks_disk_flush(rocksdb_t *db, rocksdb_column_family_handle_t *family, char **error)
{
	rocksdb::FlushOptions options;
	rocksdb::Status s;

	options.allow_write_stall = true;
	s = db->rep->Flush(options, family->rep);
	if (!s.ok())
		*error = strdup(s.ToString().c_str());
}

extern "C" void rocks_disk_free(struct rocks_disk *disk)
{
	delete disk;
}
