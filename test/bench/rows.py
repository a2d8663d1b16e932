"""The table. A row is one entry in ROWS; works.py says which group measures what."""


class Row:
    """Our measure beside a peer's, as a ratio of rates: bigger is better.

    name is for --only; measure (default: the name) is ours, peer_measure (default: the same) that of peer, a system of
    systems.py. target: at least this ratio, or {threads: ratio}; None is for information. at_most: our value is a time or
    a size and has no peer. where: only on this filesystem. least: what it costs at the least (Least)."""

    def __init__(self, name, work, peer=None, target=None, measure=None, peer_measure=None, threads=(1,), unit='/s',
                 at_most=None, where=None, peer_work='', peer_threads=None, least=None):
        self.name, self.work, self.peer, self.target, self.unit, self.at_most = name, work, peer, target, unit, at_most
        self.measure = measure or name
        self.peer_measure = peer_measure or self.measure
        self.threads, self.where, self.peer_work, self.peer_threads = threads, where, peer_work, peer_threads
        self.least = least

    def target_at(self, threads):
        return self.target[threads] if isinstance(self.target, dict) else self.target

    def measures(self):
        return {self.measure, self.peer_measure} | (self.least.measures() if self.least else set())


class Least:
    """What an operation costs with nothing done in its requests but the commits: nobody can be faster over this kernel, with
    this store. all: requests that the daemon serves for one, commits: what it commits, by the measures that bench_commit gives.
    With several threads it is what the processors have to do; rest: numbers of threads with which it is the time that it took,
    less what the daemon spent in all requests but for their commits: one, and where the kernel holds the folder's lock all the
    while, so that threads do not add up. same: another measure of ours that does less."""

    def __init__(self, all=0, commits=(), rest=(1,), same=None):
        self.all, self.commits, self.rest, self.same = all, commits, rest, same

    def measures(self):
        return {self.same} if self.same else {'request', *self.commits}


BOTH = (1, 4)
MAKING, REMOVING = 'commit-create', 'commit-unlink'
CREATE = Least(5, [MAKING])
LL, ALWAYS, CLASSIC, HP = 'passthrough_ll', 'passthrough_ll_always', 'passthrough_ll_classic', 'passthrough_hp'

ROWS = [
    # 4 KiB files in one folder
    Row('create', 'create + write + close', LL, 1.1, threads=BOTH, least=CREATE),
    Row('create', 'create + write + close', 'native', 2.0, threads=BOTH, where='ext4', least=CREATE),
    Row('rewrite', 'rewrite (O_TRUNC + write + close)', LL, 0.6, threads=BOTH,
        least=Least(8, [MAKING, REMOVING])),
    Row('read-first', 'open + read + close, first after it was made', LL, 2.0, threads=BOTH, least=Least(3)),
    Row('read-again', 'open + read + close, again', LL, 1.6, threads=BOTH, least=Least(2)),
    Row('stat', 'stat, not in the kernel yet', LL, 1.2, threads=BOTH, least=Least(1)),
    Row('unlink', 'unlink', LL, {1: 0.6, 4: 0.8}, threads=BOTH, least=Least(1, [REMOVING], rest=BOTH)),
    # folders
    Row('list', 'list the names of a folder', LL, 1.0),
    Row('list-attributes', 'list with attributes (readdir + stat)', LL, 1.0),
    # a large file
    Row('stream-cached', 'read a large file, cached', 'native', 0.9, unit='B/s'),
    Row('stream-cold', 'read a large file, cold', 'native', 0.9, unit='B/s'),
    Row('copy-in', 'write a large file (copied from tmpfs)', 'native', 0.8, unit='B/s'),
    # data.json
    Row('merge-shell', 'merge one key of 20, shell loop', 'memory', 100, peer_work='flock + jq + mv, tmpfs'),
    Row('merge-c', 'merge one key of 20, C loop', LL, 0.75, 'merge-20', 'beside-rewrite', peer_work='rewrite'),
    Row('merge-large', 'merge one key of 100,000', 'bucketfs', 0.9, 'merge-100000', 'merge-20', peer_work='20 keys'),
    Row('read-data', 'read data.json of 20 keys', LL, 1.0, peer_measure='beside-read', peer_work='read'),
    Row('setxattr', 'setxattr of one key', LL, 2.0, peer_measure='beside-create', peer_work='create'),
    Row('fsync-merge', 'fsync-ed merges, a bucket for each writer', 'native', 2.0, threads=(8,), peer_threads=1,
        peer_measure='fdatasync-append', peer_work='append 4 KiB + fdatasync, 1 writer', least=Least(same='unsynced-merge')),
    # a full store
    Row('full-mount', 'mount the full store, to the end of the first ls', unit='s', at_most=1.0),
    Row('full-rss', 'memory (RSS) after find over all of it', unit='B', at_most=256 << 20),
    Row('full-create', 'create + write + close in the full store', 'bucketfs', 0.9, peer_measure='empty-create',
        peer_work='in an empty store'),

    # For information
    Row('create-after-removal', 'create + write + close', 'native', measure='create', peer_measure='create-after-removal',
        where='ext4', peer_work='just after removing as many'),
    Row('read-cold', 'open + read + close, not in the kernel', LL, threads=BOTH),
    Row('stat-warm', 'stat again, at once', LL, threads=BOTH),
    Row('ls-l', 'ls -l', LL),
    Row('list', 'list the names of a folder', 'native'),
    Row('list-attributes', 'list with attributes (readdir + stat)', 'native'),
    Row('ls-l', 'ls -l', 'native'),
    Row('fsync-merge', 'fsync-ed merges, a bucket for each writer', 'native', threads=(8,), peer_threads=1,
        peer_measure='fdatasync', peer_work='overwrite 4 KiB + fdatasync, 1 writer'),
    Row('fsync-merge-one', 'fsync-ed merges, one bucket', 'native', threads=(8,), peer_threads=1,
        peer_measure='fdatasync-append', peer_work='append 4 KiB + fdatasync, 1 writer'),
    Row('fsync-merge', 'fsync-ed merges', 'native', peer_measure='fdatasync-append', peer_work='append 4 KiB + fdatasync'),
    *(Row(name, work, peer, threads=BOTH) for peer in (CLASSIC, ALWAYS, HP) for name, work in (
        ('create', 'create + write + close'), ('rewrite', 'rewrite (O_TRUNC + write + close)'),
        ('read-first', 'open + read + close, first after it was made'), ('read-again', 'open + read + close, again'),
        ('stat', 'stat, not in the kernel yet'), ('unlink', 'unlink'))),
    *(Row(name, work, 'passthrough_hp_disk', unit='B/s') for name, work in (
        ('stream-cached', 'read a large file, cached'), ('stream-cold', 'read a large file, cold'),
        ('copy-in', 'write a large file (copied from tmpfs)'))),
    Row('slow-create', 'create + write + close, few files', 'rclone'),
    Row('slow-read', 'open + read + close, few files', 'rclone'),
]

# Cost as work grows: measure -> (title, x axis, y axis, systems and what to call them, y in powers of ten)
GROWTH = {
    'merge-growth': ('Merging one key', 'keys in the document', 'µs a merge',
                     {'bucketfs': 'bucketfs', 'memory': 'flock + jq + mv'}, True),
    'list-growth': ('Listing a folder', 'names in the folder', 'µs a name',
                    {'bucketfs': 'bucketfs', 'passthrough_ll': 'passthrough_ll', 'native': None}, False),
    'create-growth': ('Creating 4 KiB files', 'files in the store', 'µs a file', {'bucketfs': 'bucketfs'}, False),
}
