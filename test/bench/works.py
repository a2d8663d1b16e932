"""What is done, step by step. A group does some works side by side; what it measures is named in MEASURES.

A group function makes one repetition: each step on every system in turn, so that what disturbs meets all of them."""
import json
import os
import shutil
import subprocess
import time

FLOCK_LOOP = '''
cd "$1"
for ((i = 0; i < $2; i++)); do
	( flock 9; jq -c --argjson v $((i + $3)) '.k000007 = $v' data.json > data.tmp && mv data.tmp data.json ) 9> lock
done
'''
ECHO_LOOP = '''
cd "$1"
for ((i = 0; i < $2; i++)); do
	echo "{\\"k000007\\": $((i + $3))}" > data.json
done
'''


class Sizes:
    def __init__(self, quick):
        self.extras = 1 if quick else 2  # repetitions of what is for information only
        self.files = 2000 if quick else 10000
        self.data_files = 1000 if quick else 5000
        self.names = 10000 if quick else 100000
        self.folders = [100, 1000, 10000] if quick else [100, 1000, 10000, 100000]
        self.large = (128 << 20) if quick else (1 << 30)
        self.copies = 1 if quick else 3  # of it, in each repetition
        self.documents = ({20: 4000, 1000: 2000, 100000: 4000} if quick else
                          {20: 20000, 100: 5000, 1000: 5000, 10000: 5000, 100000: 20000})
        self.flock = {20: 30, 1000: 10, 100000: 1} if quick else {20: 60, 100: 20, 1000: 20, 10000: 6, 100000: 2}
        self.echo = 500 if quick else 3000
        self.synced = 2000 if quick else 10000
        self.slow_files = 50 if quick else 300
        self.store_files = 1000 if quick else 10000
        self.store_buckets = 10000 if quick else 100000


def document(keys):
    return json.dumps({f'k{i:06}': i for i in range(keys)})


# ---- small files ----

SMALL = ['create', 'read-first', 'read-again', 'rewrite', 'read-cold', 'stat', 'stat-warm', 'unlink']


def small_files(bench, repetition, threads):
    systems = bench.take(repetition, ['bucketfs', 'passthrough_ll', 'native'],
                         ['passthrough_ll_classic', 'passthrough_ll_always', 'passthrough_hp'])
    folders = {s: bench.get(s).fresh(f'small{threads}_{repetition}') for s in systems}
    count = bench.sizes.files

    def step(system, work, measure, *after):
        """after: what needs this one before it."""
        if not bench.wanted(measure, *after):
            return
        before = bench.get(system).times() if system == 'bucketfs' else None
        seconds, calling = bench.load_times(work, folders[system], '-n', count, '-t', threads)
        bench.record(system, measure, threads, repetition, count / seconds)
        if system == 'bucketfs':
            served, committed = (now - then for now, then in zip(bench.get(system).times(), before))
            bench.record(system, f'{measure}-calling', threads, repetition, count / calling)
            bench.record(system, f'{measure}-committed', threads, repetition, count / committed if committed else float('inf'))
            if served < seconds:
                bench.record(system, f'{measure}-rest', threads, repetition, count / (seconds - served))

    for s in systems:
        step(s, 'create', 'create', *SMALL)
    # Its folders stay to the end: see after_removal.
    systems = [s for s in systems if s != 'native']
    for s in systems:
        step(s, 'read', 'read-first', 'read-again', 'rewrite')
        step(s, 'read', 'read-again', 'rewrite')
        step(s, 'rewrite', 'rewrite')
    bench.drop_caches()
    for s in systems:
        step(s, 'read', 'read-cold')
    # One after the other, without the others in between: the peer's names are good for a second only, and what is
    # unlinked is to be known to the kernel.
    bench.drop_caches()
    for s in systems:
        step(s, 'stat', 'stat', 'stat-warm', 'unlink')
        step(s, 'stat', 'stat-warm')
        step(s, 'unlink', 'unlink')
    if bench.wanted('request'):
        count = 3 * bench.sizes.files
        computed = bench.get('bucketfs').time_computed()
        bench.load('request', folders['bucketfs'], '-n', count, '-t', threads)
        bench.record('bucketfs', 'request', threads, repetition, count / (bench.get('bucketfs').time_computed() - computed))
    if threads == 1 and bench.wanted('commit-create', 'commit-unlink'):
        made, removed = bench.commits(bench.sizes.files)
        bench.record('bucketfs', 'commit-create', 1, repetition, made)
        bench.record('bucketfs', 'commit-unlink', 1, repetition, removed)
    for s in systems:
        bench.discard(s, f'small{threads}_{repetition}')


# ---- listings ----

def prepare_listing(bench):
    """Folders of all sizes, once: looking does not change them. The peer's are made below it."""
    bench.list_folders = {}
    peer_names = min(bench.sizes.names, bench.descriptors - 4000)
    for system in [s for s in ('bucketfs', 'passthrough_ll', 'native') if bench.get(s)]:
        for size in {*bench.sizes.folders, bench.sizes.names, peer_names}:
            path = bench.get(system).fresh(f'list_{size}')
            below = path if system != 'passthrough_ll' else os.path.join(bench.get(system).source, f'list_{size}')
            bench.load('create', below, '-n', size, '-s', 16, '-t', 2)
            bench.list_folders[system, size] = path
    bench.attribute_names = {'passthrough_ll': peer_names}


def listing(bench, repetition):
    systems = bench.take(repetition, ['bucketfs', 'passthrough_ll', 'native'])

    def ls(folder, size):
        began = time.monotonic()
        subprocess.run(['ls', '-l', folder], stdout=subprocess.DEVNULL, check=True, env={**os.environ, 'LC_ALL': 'C'})
        return time.monotonic() - began

    def load(work):
        return lambda folder, size: bench.load(work, folder, '-n', size)

    for measure, one in (('list', load('list')), ('list-attributes', load('list-attributes')), ('ls-l', ls)):
        if bench.wanted(measure):
            bench.drop_caches()
            for s in systems:
                size = bench.sizes.names if measure == 'list' else bench.attribute_names.get(s, bench.sizes.names)
                bench.record(s, measure, 1, repetition, size / one(bench.list_folders[s, size], size))
    if repetition < bench.sizes.extras and bench.wanted('list-growth'):
        bench.drop_caches()
        for size in bench.sizes.folders:
            rounds = max(1, 1000 // size)
            for s in systems:
                seconds = sum(bench.load('list', bench.list_folders[s, size], '-n', size) for _ in range(rounds)) / rounds
                bench.record(s, 'list-growth', size, repetition, size / seconds)


# ---- data.json ----

def data(bench, repetition):
    systems = bench.take(repetition, ['bucketfs', 'passthrough_ll'])
    for s in systems:
        if s == 'bucketfs':
            own_data(bench, repetition)
        else:
            peer_data(bench, repetition)
    if bench.wanted('merge-shell', 'merge-growth'):
        for s in bench.take(repetition, ['bucketfs', 'memory']):
            shell_merges(bench, s, repetition)


def own_data(bench, repetition):
    system, sizes = bench.get('bucketfs'), bench.sizes
    ends = [min(sizes.documents), max(sizes.documents)]
    between = [k for k in sizes.documents if k not in ends]
    if repetition >= sizes.extras or not bench.wanted('merge-growth'):
        between = []
    # The two that are compared one right after the other; what removing costs is for later.
    order = ends[::-1 if repetition % 2 else 1] + between
    folders = {keys: system.document(f'data_{keys}_{repetition}', document(keys)) for keys in order}
    for keys in order:
        count = sizes.documents[keys]
        rate = count / bench.load('merge', folders[keys], '-n', count, '-k', keys)
        bench.record('bucketfs', f'merge-{keys}', 1, repetition, rate)
        bench.record('bucketfs', 'merge-growth', keys, repetition, rate)
    for work in ('read-data', 'setxattr'):
        count = sizes.documents[20]
        bench.record('bucketfs', work, 1, repetition, count / bench.load(work, folders[20], '-n', count))
    for folder in folders.values():
        bench.remove(folder)


def peer_data(bench, repetition):
    """What a merge, a read and a setxattr are compared with."""
    folder = bench.get('passthrough_ll').fresh(f'data_{repetition}')
    count = bench.sizes.data_files
    for work, measure in (('create', 'beside-create'), ('read', 'beside-read'), ('rewrite', 'beside-rewrite')):
        bench.record('passthrough_ll', measure, 1, repetition, count / bench.load(work, folder, '-n', count))
    bench.discard('passthrough_ll', f'data_{repetition}')


def shell_merges(bench, system, repetition):
    if system == 'bucketfs':
        folder = bench.get(system).document(f'shell_{repetition}', document(20))
        seconds = bench.shell(ECHO_LOOP, folder, bench.sizes.echo, repetition * 1000000)
        bench.record(system, 'merge-shell', 1, repetition, bench.sizes.echo / seconds)
        bench.remove(folder)
        return
    for keys, count in bench.sizes.flock.items():
        if keys > 20 and (repetition >= bench.sizes.extras or not bench.wanted('merge-growth')):
            continue
        folder = bench.get(system).fresh(f'shell_{keys}_{repetition}')
        with open(os.path.join(folder, 'data.json'), 'w') as f:
            f.write(document(keys))
        seconds = bench.shell(FLOCK_LOOP, folder, count, repetition * 1000000)
        if keys == 20:
            bench.record(system, 'merge-shell', 1, repetition, count / seconds)
        bench.record(system, 'merge-growth', keys, repetition, count / seconds)
        bench.discard(system, f'shell_{keys}_{repetition}')


# ---- the disk ----

def paced(bench, work, folder, most, *arguments):
    """The rate of what may be slow: as many as take about a second."""
    few = most // 20
    seconds = bench.load(work, folder, '-n', few, *arguments)
    count = max(few, min(most, int(few / seconds)))
    return count / bench.load(work, folder, '-n', count, *arguments)


def synced(bench, repetition):
    for s in bench.take(repetition, ['bucketfs', 'native']):
        if s == 'bucketfs':
            synced_merges(bench, repetition)
            continue
        folder = bench.get(s).fresh(f'synced_{repetition}')
        for work in ('fdatasync', 'fdatasync-append'):
            bench.record(s, work, 1, repetition, paced(bench, work, folder, bench.sizes.synced))
        bench.discard(s, f'synced_{repetition}')


def synced_merges(bench, repetition):
    """By 8 writers with a bucket each, by 8 in one bucket, where the kernel lets only one fsync a file at a time, by one."""
    folders = [bench.get('bucketfs').document(f'synced_{repetition}_{i}', document(20)) for i in range(8)]
    for measure, threads, folder, arguments in (('fsync-merge', 8, folders[0][:-1], ['-e']),
                                                ('fsync-merge-one', 8, folders[0], []), ('fsync-merge', 1, folders[0], [])):
        rate = paced(bench, 'fsync-merge', folder, bench.sizes.synced, '-t', threads, *arguments)
        bench.record('bucketfs', measure, threads, repetition, rate)
    # The same but for the disk.
    rate = paced(bench, 'merge', folders[0][:-1], bench.sizes.synced, '-t', 8, '-e')
    bench.record('bucketfs', 'unsynced-merge', 8, repetition, rate)
    for folder in folders:
        bench.remove(folder)


# ---- one large file ----

def prepare_large(bench):
    bench.source = os.path.join(bench.get('memory').folder, 'source')
    with open(bench.source, 'wb') as f:
        block = os.urandom(1 << 20)
        for _ in range(bench.sizes.large >> 20):
            f.write(block)


def finish_large(bench):
    os.unlink(bench.source)


def large(bench, repetition):
    systems = bench.take(repetition, ['bucketfs', 'native'], ['passthrough_hp_disk'])
    size = bench.sizes.large

    def step(system, work, measure, folder, *arguments):
        """The fastest of the copies counts: what a host takes away from a virtual machine can only make it slower."""
        rate = size / bench.load(work, folder, '-s', size, *arguments)
        bench.record(system, measure, 1, repetition, max(rate, bench.values[system, measure, 1].get(repetition, 0)))

    def touch_memory():
        """What the kernel hands out next must be there: a host gives a virtual machine its memory as it is touched."""
        with open(bench.source + '.touched', 'wb') as f:
            for _ in range((size + (size >> 1)) >> 20):
                f.write(bytes(1 << 20))
        os.unlink(bench.source + '.touched')

    for copy in range(bench.sizes.copies):
        folders = {s: bench.get(s).fresh(f'large_{repetition}_{copy}') for s in systems}
        order = systems[::-1] if copy % 2 else systems
        for s in order:
            touch_memory()
            step(s, 'copy-in', 'copy-in', folders[s], '-f', bench.source)
            os.sync()  # or the next one would wait for this one's pages
        if bench.wanted('stream-cold', 'stream-cached'):
            bench.drop_caches(warm=False)
            for s in order:
                touch_memory()
                step(s, 'stream-read', 'stream-cold', folders[s])
                step(s, 'stream-read', 'stream-cached', folders[s])
        for s in systems:
            os.unlink(os.path.join(folders[s], 'large'))
            bench.discard(s, f'large_{repetition}_{copy}')
        os.sync()


# ---- a store with a lot in it ----

def prepare_full_store(bench):
    """100 buckets with files, all others empty; on the way, what creating costs at that size."""
    full = bench.get('full')
    sizes = bench.sizes
    for i in range(100):
        bench.progress(f'filling a store: {i} %')
        folder = full.fresh(f'bucket{i}')
        sample = i in (0, 3, 10, 30, 60, 99)
        seconds = bench.load('create', folder, '-n', sizes.store_files, '-t', 1 if sample else 2)
        if sample:
            bench.record('bucketfs', 'create-growth', i * sizes.store_files, 0, sizes.store_files / seconds)
    for i in range(100, sizes.store_buckets):
        os.mkdir(os.path.join(full.mount, f'bucket{i}'))


def full_store(bench, repetition):
    full = bench.get('full')
    if bench.wanted('full-mount'):
        full.stop()
        bench.drop_caches(warm=False)
        began = time.monotonic()
        full.start()
        subprocess.run(['ls', full.mount], stdout=subprocess.DEVNULL, check=True)
        bench.record('bucketfs', 'full-mount', 1, repetition, time.monotonic() - began)
    if repetition == 0 and bench.wanted('full-rss'):
        subprocess.run(['find', full.mount, '-name', 'x'], stdout=subprocess.DEVNULL, check=True)
        bench.record('bucketfs', 'full-rss', 1, 0, full.rss())
    if bench.wanted('full-create'):
        for which in bench.take(repetition, ['full', 'empty']):
            folder = bench.get(which).fresh(f'create_{repetition}')
            seconds = bench.load('create', folder, '-n', bench.sizes.files)
            bench.record('bucketfs', which + '-create', 1, repetition, bench.sizes.files / seconds)
            bench.remove(os.path.dirname(folder))


def finish_full_store(bench):
    bench.get('full').stop()
    shutil.rmtree(bench.get('full').store)


# ---- slow peers ----

def slow_peers(bench, repetition):
    systems = bench.take(repetition, ['bucketfs', 'rclone'])
    count = bench.sizes.slow_files
    for s in systems if 'rclone' in systems else []:
        folder = bench.get(s).fresh(f'slow_{repetition}')
        bench.record(s, 'slow-create', 1, repetition, count / bench.load('create', folder, '-n', count))
        bench.record(s, 'slow-read', 1, repetition, count / bench.load('read', folder, '-n', count))
        bench.load('unlink', folder, '-n', count)
        bench.discard(s, f'slow_{repetition}')


# ---- the disk just after a removal ----

def after_removal(bench, repetition):
    """Files that had reached the disk are removed: what that leaves to do (journal, discard) slows down who comes next."""
    native, count = bench.get('native'), bench.sizes.files
    for which in ('removed', 'next'):
        folder = native.fresh(f'{which}_{repetition}')
        seconds = bench.load('create', folder, '-n', count)
        os.sync()
        bench.remove(folder)
    bench.record('native', 'create-after-removal', 1, repetition, count / seconds)


class Group:
    def __init__(self, title, function, measures, prepare=None, finish=None, threads=None, repetitions=None):
        self.title, self.function, self.measures = title, function, measures
        self.prepare, self.finish, self.threads, self.repetitions = prepare, finish, threads, repetitions


GROUPS = [
    Group('small files', small_files, SMALL, threads=(1, 4)),
    Group('data.json', data, ['merge-20', 'merge-100000', 'merge-shell', 'merge-growth', 'read-data', 'setxattr']),
    Group('syncs', synced, ['fsync-merge', 'fsync-merge-one']),
    Group('listings', listing, ['list', 'list-attributes', 'ls-l', 'list-growth'], prepare_listing),
    Group('one large file', large, ['copy-in', 'stream-cold', 'stream-cached'], prepare_large, finish_large),
    Group('slow peers', slow_peers, ['slow-create', 'slow-read'], repetitions=3),
    Group('a full store', full_store, ['full-mount', 'full-rss', 'full-create', 'create-growth'], prepare_full_store,
          finish_full_store),
    Group('after a removal', after_removal, ['create-after-removal'], repetitions=1),
]
