#!/usr/bin/env python3
"""Errors of the disk: the mount goes on, refuses what it cannot keep, and takes changes again once the cause is gone."""
import ctypes
import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness
from harness import Mount, fails, is_mounted, read, running, tests_of, wait_for, write

FAULTS = os.path.abspath(os.environ.get('BUCKETFS_FAULTS', os.path.join(os.path.dirname(harness.BINARY), 'test', 'libfaults.so')))
CTL = os.path.abspath(os.environ.get('CTL', 'build/bucketctl'))
libc = ctypes.CDLL(None, use_errno=True)
AFTER = 6  # seconds after which a cause that is gone is forgotten


class Faulty(Mount):
    """A mount whose daemon's system calls fail as self.faults says."""

    def __init__(self, *args, **kw):
        self.faults = None
        super().__init__(*args, start=False, **kw)
        self.faults = os.path.join(self.folder, 'faults')
        self.start()

    def start(self):
        log = open(self.log, 'ab')
        env = {**os.environ, 'LD_PRELOAD': FAULTS, 'FAULTS': self.faults}
        self.process = subprocess.Popen(self.arguments() + ['-f'], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env)
        log.close()
        running.append(self.process.pid)
        wait_for(lambda: is_mounted(self.point) or self.process.poll() is not None, 20)
        if not is_mounted(self.point):
            raise AssertionError('no mount: ' + self.log_text())

    def fail(self, *lines):
        write(self.faults + '.new', '\n'.join(lines) + '\n')
        os.rename(self.faults + '.new', self.faults)

    def heal(self):
        self.fail('')

    def close(self):
        # The daemon must not have ended by itself.
        status = self.process.poll() if self.process else None
        text = self.log_text()[-1500:] if status else ''
        super().close()
        assert not status, f'the daemon ended with {status}: {text}'


class Disk:
    """A small filesystem of its own."""

    def __init__(self, megabytes=256, filesystem='ext4'):
        self.folder = harness.tempfile.mkdtemp(prefix=harness.RUN)
        self.image = os.path.join(self.folder, 'image')
        self.point = os.path.join(self.folder, 'disk')
        os.mkdir(self.point)
        with open(self.image, 'wb') as f:
            f.truncate(megabytes << 20)
        make = ['mkfs.ext4', '-q', '-F'] if filesystem == 'ext4' else ['mkfs.xfs', '-q', '-f']
        subprocess.run(make + [self.image], check=True, timeout=60)
        subprocess.run(['mount', '-o', 'loop', self.image, self.point], check=True, timeout=60)
        self.store = os.path.join(self.point, 'store')

    def fill(self):
        with open(os.path.join(self.point, 'fill'), 'ab', buffering=0) as f:
            for size in (1 << 20, 4096):
                try:
                    while True:
                        f.write(b'x' * size)
                except OSError as e:
                    assert e.errno == errno.ENOSPC
            try:
                os.fsync(f.fileno())
            except OSError:
                pass

    def empty(self):
        os.unlink(os.path.join(self.point, 'fill'))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for _ in range(50):
            if subprocess.run(['umount', self.point], stderr=subprocess.DEVNULL, timeout=60).returncode == 0:
                break
            time.sleep(0.1)
        else:
            subprocess.run(['umount', '-l', self.point], timeout=60)
        harness.shutil.rmtree(self.folder, ignore_errors=True)


def metric(m, name):
    for line in read(m / '.bucketfs/metrics').splitlines():
        if line.startswith(name + ' '):
            return float(line.split()[1])
    raise AssertionError(f'no metric {name}')


def works(m, key):
    try:
        write(m / 'b/data.json', json.dumps({key: 1}))
        return True
    except OSError:
        return False


def sync(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_through(path, text):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        os.write(fd, text)
        os.fsync(fd)
    finally:
        os.close(fd)


def attempt(what, *args):
    """The errno, or 0."""
    try:
        what(*args)
    except OSError as e:
        return e.errno
    return 0


def prepared(m):
    os.mkdir(m / 'b')
    write(m / 'b/data.json', '{"before": 1}')
    write(m / 'b/files/small', 'small')
    write(m / 'b/files/large', b'l' * 200000)
    write(m / 'b/files/doomed', 'doomed')


def check(m, refused, taken):
    data = json.loads(read(m / 'b/data.json'))
    assert data['before'] == 1
    assert read(m / 'b/files/small') == 'small'
    assert read(m / 'b/files/large', 'rb') == b'l' * 200000
    for key in refused:
        assert key not in data, f'{key} was refused, and is there'
    for key in taken:
        assert key in data, f'{key} was taken, and is gone'


def survives(fault, expected):
    """A fault that begins and ends: refused, told, forgotten; and what was refused never comes back."""
    with Faulty() as m:
        prepared(m)
        refused, taken = set(), set()
        m.fail(*fault)
        for i in range(40):
            e = attempt(write, m / 'b/data.json', json.dumps({f'k{i}': i}))
            assert e in (0, expected), errno.errorcode.get(e, e)
            (refused if e else taken).add(f'k{i}')
            for call, args in ((write, (m / f'b/files/n{i}', 'new')), (write_through, (m / f'b/files/s{i}', b'new')),
                               (write_through, (m / 'b/files/big', b'b' * 300000)), (sync, (m / 'b/data.json',))):
                e = attempt(call, *args)
                assert e in (0, expected, errno.EIO), (call.__name__, errno.errorcode.get(e, e))
            check(m, (), ())
            time.sleep(0.05)
        assert refused, 'nothing failed: the fault is not where it should be'
        assert 'cannot write' in m.log_text(), m.log_text()
        assert 'the store cannot write to its disk at the moment' in read(m / 'b/.bucketfs/errors')
        assert metric(m, 'bucketfs_store_failures_total') >= 1
        m.heal()
        assert wait_for(lambda: works(m, 'after'), AFTER), m.log_text()[-2000:]
        assert metric(m, 'bucketfs_store_failed') == 0
        assert 'can write again' in m.log_text()
        taken.add('after')
        check(m, refused, taken)
        os.unlink(m / 'b/files/doomed')
        write_through(m / 'b/files/synced', b'synced')
        sync(m / 'b/data.json')
        m.unmount()
        m.start()
        check(m, refused, taken)
        assert read(m / 'b/files/synced') == 'synced' and not os.path.exists(m / 'b/files/doomed')
        m.kill()
        m.start()
        check(m, refused, taken)
        m.unmount()


def test_log_eio():
    survives(['write 5 .log'], errno.EIO)


def test_log_full():
    survives(['write 28 /db/'], errno.ENOSPC)


def test_sync_of_log():
    survives(['sync 5 .log'], errno.EIO)


def test_everything_of_rocksdb():
    survives(['write 5 /db/', 'sync 5 /db/', 'open 5 /db/', 'allocate 5 /db/'], errno.EIO)


def test_no_descriptors_for_tables():
    """A log that failed cannot be replaced as long as nothing can be opened."""
    survives(['write 5 .log', 'open 24 /db/'], errno.EIO)


def test_tables_fail():
    """The memtables cannot be written for a while, nor the list of the tables."""
    survives(['write 5 .log', 'write 5 .sst', 'write 5 MANIFEST', 'sync 5 .sst', 'sync 5 MANIFEST'], errno.EIO)


def test_random_faults():
    """Faults of every kind that come and go at once: nothing ends the daemon, and what was taken is there."""
    seed = int(os.environ.get('BUCKETFS_SEED', random.randrange(1 << 30)))
    print(f'seed {seed}', flush=True)
    r = random.Random(seed)
    with Faulty() as m:
        prepared(m)
        refused, taken = set(), set()
        for i in range(25):
            m.fail(*[f'{r.choice(["write", "sync", "open", "allocate"])} {r.choice([5, 28, 24, 12])} '
                     f'{r.choice([".log", ".sst", "MANIFEST", "/db/", "CURRENT", ".dbtmp"])}' for _ in range(r.randint(1, 3))])
            end = time.time() + r.random() * 0.6
            n = 0
            while time.time() < end:
                key = f'r{i}_{n}'
                n += 1
                e = attempt(write, m / 'b/data.json', json.dumps({key: i}))
                (refused if e else taken).add(key)
                attempt(write_through, m / f'b/files/f{n % 7}', b'x' * r.choice([10, 100000]))
                attempt(sync, m / 'b/data.json')
            if r.random() < 0.5:
                m.heal()
                assert wait_for(lambda: works(m, 'again'), AFTER), m.log_text()[-2000:]
        m.heal()
        assert wait_for(lambda: works(m, 'again'), AFTER), m.log_text()[-2000:]
        check(m, refused, taken)
        if r.random() < 0.5:
            m.unmount()
        else:
            m.kill()
        m.start()
        check(m, refused, taken)
        m.unmount()


def test_umount_while_failing():
    """The daemon ends in an orderly way, and what was taken before is there at the next start."""
    for fault in (['write 5 /db/'], ['write 28 /db/'], ['sync 5 /db/'], ['write 30 /db/', 'open 30 /db/', 'sync 30 /db/']):
        with Faulty() as m:
            prepared(m)
            m.fail(*fault)
            attempt(write, m / 'b/data.json', '{"x": 1}')
            attempt(sync, m / 'b/data.json')
            m.unmount()
            m.heal()
            m.start()
            check(m, (), ())
            m.unmount()


def test_full_disk():
    """Changes are refused with ENOSPC, removals work, and once there is room everything does."""
    with Disk() as disk, Faulty(store=disk.store) as m:
        prepared(m)
        assert wait_for(lambda: os.path.exists(disk.store + '/ballast'), 5), 'no ballast'
        for i in range(50):
            write(m / f'b/files/r{i}', 'x' * 20000)
        disk.fill()
        # RocksDB has taken room for its log in advance: use that up.
        taken, refused = set(), set()
        for i in range(20000):
            e = attempt(write, m / 'b/data.json', json.dumps({f'k{i % 100}': str(i) + 'x' * 8000}))
            if e:
                assert e == errno.ENOSPC, errno.errorcode[e]
                break
            taken.add(f'k{i % 100}')
        else:
            raise AssertionError('the disk never became full')
        assert "the store's ballast is given up" in m.log_text()
        for i in range(50):
            os.unlink(m / f'b/files/r{i}')
        check(m, (), taken)
        disk.fill()
        check(m, (), taken)
        disk.empty()
        assert wait_for(lambda: works(m, 'after'), AFTER), m.log_text()[-2000:]
        write_through(m / 'b/files/again', b'y' * 100000)
        m.unmount()
        m.start()
        check(m, refused, taken | {'after'})
        m.unmount()


def test_start_on_full_disk():
    """It starts, or says in one line that the disk is full; and starts once there is room."""
    for ballast, filesystem in ((True, 'ext4'), (True, 'xfs'), (False, 'ext4')):
        with Disk(400, filesystem) as disk, Faulty(store=disk.store) as m:
            prepared(m)
            assert wait_for(lambda: os.path.exists(disk.store + '/ballast'), 5) or not ballast, 'no ballast'
            m.unmount()
            if not ballast and os.path.exists(disk.store + '/ballast'):
                os.unlink(disk.store + '/ballast')
            disk.fill()
            before = len(m.log_text())
            try:
                m.start()
                started = True
            except AssertionError:
                started = False
                assert not ballast, m.log_text()[before:]
                assert m.process.wait(10) == 1, f'ended with {m.process.returncode}'
                m.process = None
                lines = [line for line in m.log_text()[before:].splitlines() if line]
                assert len(lines) == 1 and 'No space left' in lines[0], lines
            if started:
                check(m, (), ())
                # Once the ballast is gone, there is still the room that it has left.
                for _ in range(3 * ballast):
                    m.unmount()
                    m.start()
                    check(m, (), ())
                os.unlink(m / 'b/files/doomed')
                m.unmount()
            disk.empty()
            m.start()
            check(m, (), ())
            assert works(m, 'after')
            m.unmount()


def test_read_only_disk():
    """As ext4 does after an error of its own."""
    with Disk() as disk, Faulty(store=disk.store) as m:
        prepared(m)
        remount = lambda how: subprocess.run(['mount', '-o', 'remount,' + how, disk.point], timeout=60, stderr=subprocess.DEVNULL)
        m.fail('write 30 /store/', 'open 30 /store/db/', 'sync 30 /store/', 'allocate 30 /store/')
        for i in range(5):
            assert attempt(write, m / 'b/data.json', '{"x": 1}') == errno.EIO
            assert attempt(write_through, m / 'b/files/new', b'n' * 100000) in (errno.EIO, errno.EROFS)
            check(m, ('x',), ())
        m.heal()
        assert wait_for(lambda: works(m, 'after'), AFTER), m.log_text()[-2000:]
        check(m, ('x',), ('after',))
        m.unmount()
        # And a disk that is read-only at the start.
        assert remount('ro').returncode == 0
        try:
            m.start()
            raise AssertionError('it started on a read-only disk')
        except AssertionError as e:
            assert 'no mount' in str(e), e
        assert m.process.wait(10) == 1
        m.process = None
        assert remount('rw').returncode == 0
        m.start()
        check(m, ('x',), ('after',))
        m.unmount()


def test_removed_is_room_at_once():
    """A removed file leaves the disk a moment later, and the next writer is not refused for that."""
    with tempfile.TemporaryDirectory() as folder:
        disk = folder + '/disk'
        os.mkdir(disk)
        with open(folder + '/image', 'wb') as f:
            f.truncate(200 << 20)
        subprocess.run(['mkfs.ext4', '-q', '-F', folder + '/image'], check=True)
        subprocess.run(['mount', '-o', 'loop', folder + '/image', disk], check=True)
        try:
            with Mount(start=False) as m:
                m.store = disk + '/store'
                os.mkdir(m.store)
                m.start()
                os.mkdir(m / 'b')
                for i in range(4):
                    write(m / 'b/files/large', bytes(130 << 20))
                    os.unlink(m / 'b/files/large')
                    write(m / 'b/files/next', bytes(100 << 20))
                    os.unlink(m / 'b/files/next')
                m.unmount()
        finally:
            subprocess.run(['umount', '-l', disk], check=True)


class Small(Mount):
    """A mount whose daemon may have so many bytes of addresses."""
    limit = None

    def start(self):
        log = open(self.log, 'ab')
        limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (self.limit, self.limit))
        self.process = subprocess.Popen(self.arguments() + ['-f'], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                        preexec_fn=limit if self.limit else None)
        log.close()
        running.append(self.process.pid)
        wait_for(lambda: is_mounted(self.point) or self.process.poll() is not None, 20)
        if not is_mounted(self.point):
            raise AssertionError('no mount: ' + self.log_text())

    def most(self):
        """What it has had at once: a new heap of malloc's takes more than it keeps."""
        with open(f'/proc/{self.process.pid}/status') as f:
            return next(int(line.split()[1]) << 10 for line in f if line.startswith('VmPeak'))


def load(m, i, seconds):
    """One of many that do everything at once. Nothing but ENOMEM may go wrong."""
    r = random.Random(i)
    end = time.time() + seconds
    while time.time() < end:
        k = r.random()
        try:
            if k < .4:
                write(m / 'b/data.json', json.dumps({f'k{r.randrange(25)}': r.choice('ab') * r.choice([100, 30000])}))
            elif k < .6:
                write(m / f'b/files/s{i}_{r.randrange(300)}', b'x' * r.randrange(30000))
            elif k < .7:
                write(m / f'b/files/l{i}_{r.randrange(5)}', b'z' * 300000)
            elif k < .8:
                os.listdir(m / 'b/files')
            elif k < .9:
                read(m / 'b/data.json')
            else:
                read(m / f'b/files/s{i}_{r.randrange(300)}', 'rb')
        except OSError as e:
            assert e.errno in (errno.ENOMEM, errno.ENOENT, errno.ESTALE), errno.errorcode[e.errno]


def test_short_of_memory():
    """At the edge of RLIMIT_AS: requests are refused with ENOMEM, nothing ends the daemon, and it goes on afterwards."""
    if 'asan' in harness.BINARY or 'tsan' in harness.BINARY:
        return
    with Small() as m:
        prepared(m)
        time.sleep(0.5)  # until all threads have begun
        most = m.most()
    short = 0
    for edge in (-80, -50, -35, -20, 0, 10):
        with Small(start=False) as m:
            m.limit = most + (edge << 20)
            try:
                m.start()
            except AssertionError:
                assert edge < 10, m.log_text()
                assert m.process.wait(10) == 1, f'ended with {m.process.returncode}: {m.log_text()}'
                m.process = None
                assert len(m.log_text().splitlines()) == 1, m.log_text()
                continue
            prepared(m)
            harness.parallel(8, lambda i: load(m, i, 4))
            assert m.process.poll() is None, f'the daemon ended with {m.process.poll()}: {m.log_text()[-2000:]}'
            assert wait_for(lambda: works(m, 'after'), AFTER), m.log_text()[-2000:]
            check(m, (), ('after',))
            short += 'memory is short' in m.log_text()
            m.unmount()
            m.limit = None
            m.start()
            check(m, (), ('after',))
            m.unmount()
    assert short, 'memory was never short: the limits are too wide'


def logs(store):
    return sorted(os.path.join(store, 'db', n) for n in os.listdir(store + '/db') if n.endswith('.log'))


def flip(path, at):
    with open(path, 'r+b') as f:
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 1 << random.randrange(8)]))


def digest(folder):
    return {n: read(os.path.join(folder, n), 'rb') for n in os.listdir(folder) if n.endswith('.log')}


def refused_start(m):
    """It does not start, and says why in one line, which this gives."""
    before = len(m.log_text())
    try:
        m.start()
    except AssertionError:
        assert m.process.wait(20) == 1, f'ended with {m.process.returncode}: {m.log_text()[before:]}'
        m.process = None
        lines = m.log_text()[before:].splitlines()
        assert len(lines) == 1, lines
        return lines[0]
    raise AssertionError('it started')


def test_synced_within_seconds():
    """What was committed without fsync is on the disk a few seconds later, and an idle store leaves the disk alone."""
    with Faulty() as m:
        prepared(m)
        number = lambda: int.from_bytes(read(m.store + '/synced', 'rb')[:8], 'little')
        wait_for(lambda: False, 4.5)
        for i in range(2):
            before = number()
            write(m / 'b/data.json', json.dumps({f'k{i}': 1}))
            assert wait_for(lambda: number() > before, 5), 'not synced after 5 seconds'
        # A sync that fails would be told.
        m.fail('sync 5 .log')
        time.sleep(5)
        assert 'cannot write' not in m.log_text(), m.log_text()
        m.heal()
        m.unmount()


def punch(fd, at, length):
    if libc.fallocate(fd, 3, ctypes.c_long(at), ctypes.c_long(length)):
        raise OSError(ctypes.get_errno(), 'fallocate')


def test_waiting_for_the_disk_holds_up_nobody_else():
    """A change of bytes that must be on the disk first waits for it: that request only, whichever thread has received it."""
    with Faulty() as m:
        prepared(m)
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        try:
            changes = [lambda fd: os.pwrite(fd, b'new', 1000), lambda fd: os.ftruncate(fd, 150000),
                       lambda fd: punch(fd, 4096, 8192)]
            for i, change in enumerate(changes):
                f = m / f'b/files/in_place{i}'
                write(f, b'o' * 200000)
                m.fail('long 1 /blobs/')
                fd = os.open(f, os.O_RDWR)
                done = []
                thread = threading.Thread(target=lambda: (change(fd), done.append(1)))
                thread.start()
                time.sleep(0.1)
                for n in range(50):
                    write(m / 'b/data.json', json.dumps({'n': n}))
                    write(m / f'b/files/other{n % 3}', b'x' * 40000)
                    os.stat(m / f'b/files/other{n % 3}')
                assert not done, 'it did not wait'
                m.heal()
                thread.join(30)
                assert done
                os.close(fd)
        finally:
            os.sched_setaffinity(0, range(os.cpu_count()))
        assert read(m / 'b/files/in_place0', 'rb') == b'o' * 1000 + b'new' + b'o' * 198997
        assert os.path.getsize(m / 'b/files/in_place1') == 150000
        assert read(m / 'b/files/in_place2', 'rb') == b'o' * 4096 + bytes(8192) + b'o' * (200000 - 12288)
        m.unmount()


def test_no_descriptors_to_sync():
    """A sync for which there is no descriptor fails, and has lost nothing: changes are taken."""
    with Faulty() as m:
        prepared(m)
        m.fail('look 24 /db')
        assert attempt(sync, m / 'b/data.json') == errno.EMFILE
        assert works(m, 'during')
        m.heal()
        sync(m / 'b/data.json')
        assert 'cannot write' not in m.log_text(), m.log_text()
        check(m, (), ('during',))
        m.unmount()


def contents(store):
    return {name for _, _, names in os.walk(store + '/blobs') for name in names}


def test_damaged_log():
    """A bit that has changed in what was synced is noticed, wherever it is; nothing is changed by that."""
    with Faulty() as m:
        prepared(m)
        for i in range(60):
            write(m / 'b/data.json', json.dumps({f'k{i}': 'v' * 500}))
        sync(m / 'b/data.json')
        m.kill()
        log, = logs(m.store)
        good = read(log, 'rb')
        size = len(good.rstrip(b'\0'))
        assert size > 30000
        for at in [0, 3, 5, 6, 7, size // 2, size - 600] + [random.randrange(size - 600) for _ in range(23)]:
            flip(log, at)
            before = digest(m.store + '/db')
            line = refused_start(m)
            assert 'is damaged' in line and 'accept_loss' in line and os.path.basename(log) in line, (at, line)
            assert digest(m.store + '/db') == before, 'the refused start has changed the log'
            write(log, good)
        # As it was it starts; and what is damaged does if its owner says so, from then on without.
        m.start()
        check(m, (), ('k0', 'k59'))
        m.kill()
        m.start()
        for i in range(60):
            write(m / 'b/data.json', json.dumps({f'l{i}': 'v' * 500}))
        write(m / 'b/files/late', b'l' * 100000)
        sync(m / 'b/files/late')
        m.kill()
        log = logs(m.store)[-1]
        there = contents(m.store)
        flip(log, len(read(log, 'rb').rstrip(b'\0')) // 2)
        assert 'accept_loss' in refused_start(m)
        options = m.options
        m.options = ','.join(o for o in (options, 'accept_loss') if o)
        m.start()
        check(m, ('l59',), ('k59',))
        assert 'are lost' in m.log_text()
        # What it was is not known any more, but its bytes may be all that is left; and its number is not given out again.
        for i in range(20):
            write(m / f'b/files/large{i}', b'm' * 100000)
            assert read(m / f'b/files/large{i}', 'rb') == b'm' * 100000
        assert there <= contents(m.store)
        m.kill()
        m.options = options
        m.start()
        check(m, ('l59',), ('k59',))
        assert wait_for(lambda: m.log_text().count('mounted at') >= 3, 5)
        m.unmount()
        assert there <= contents(m.store), 'contents were removed'


def test_damaged_log_of_this_boot():
    """What a killed daemon had acknowledged was in the log, synced or not. What it was writing when it was killed may end anywhere."""
    with Faulty() as m:
        prepared(m)
        sync(m / 'b/data.json')
        log, = logs(m.store)
        synced = len(read(log, 'rb').rstrip(b'\0'))
        for i in range(80):
            write(m / 'b/data.json', json.dumps({f'k{i}': 'v' * (500 if i < 79 else 100000)}))
        m.kill()
        good = read(log, 'rb')
        end = len(good.rstrip(b'\0'))
        assert end > synced + 140000
        for at in [synced + 3, synced + 5, end - 100] + [random.randrange(synced, end - 100) for _ in range(15)]:
            flip(log, at)
            line = refused_start(m)
            assert 'is damaged' in line and 'accept_loss' in line and os.path.basename(log) in line, (at, line)
            r = subprocess.run([CTL, 'check', m.store], capture_output=True, text=True)
            assert r.returncode == 8 and 'is damaged' in r.stderr, (at, r)
            write(log, good)
        with open(log, 'r+b') as f:
            f.seek(end // 2)
            f.write(b'\0' * 3000)
        assert 'is damaged' in refused_start(m)
        # The write of the last record was cut off.
        write(log, good[:end - random.randrange(1, 100000)])
        m.start()
        check(m, ('k79',), ('k78',))
        m.unmount()


def test_torn_log():
    """What was not synced may be cut off, or be missing in the middle, as after a loss of power: it starts with what was before."""
    with Faulty() as m:
        prepared(m)
        sync(m / 'b/data.json')
        log, = logs(m.store)
        synced = len(read(log, 'rb').rstrip(b'\0'))
        taken = []
        for i in range(40):
            write(m / 'b/data.json', json.dumps({f'k{i}': 'v' * 500}))
        m.kill()
        whole = read(log, 'rb')
        end = len(whole.rstrip(b'\0'))
        with open(log, 'r+b') as f:
            f.seek(synced + (end - synced) // 2)
            f.write(b'\0' * 1000)
        os.unlink(m.store + '/boot')  # as if that had been another one
        m.start()
        check(m, ('k39',), taken)
        m.unmount()
        m.start()
        check(m, ('k39',), taken)
        assert works(m, 'after')
        m.kill()
        m.start()
        check(m, ('k39',), ['after'])
        m.unmount()


def test_damaged_files():
    """Bits changed in any file of RocksDB's: it does not start, or tells the reader, and never ends by itself."""
    with Faulty() as m:
        prepared(m)
        for i in range(300):
            write(m / f'b/files/f{i}', 'x' * 3000)
        m.unmount()
        saved = m.store + '.saved'
        harness.shutil.copytree(m.store, saved)
        names = [n for n in os.listdir(m.store + '/db') if n.split('-')[0] in ('CURRENT', 'MANIFEST', 'OPTIONS', 'IDENTITY') or n.endswith('.sst')]
        seen = errors = 0
        for n in names:
            for _ in range(30 if not n.endswith('.sst') else 12):
                path = os.path.join(m.store, 'db', n)
                size = os.path.getsize(path)
                if not size:
                    break
                flip(path, random.randrange(size))
                before = len(m.log_text())
                try:
                    m.start()
                except AssertionError:
                    assert m.process.wait(20) == 1, f'{n}: ended with {m.process.returncode}: {m.log_text()[before:]}'
                    m.process = None
                    # What RocksDB says of it, and what to do.
                    lines = m.log_text()[before:].splitlines()
                    assert len(lines) <= 2 and 'backup' in lines[-1], lines
                    seen += 1
                else:
                    for i in range(0, 300, 7):
                        e = attempt(lambda: read(m / f'b/files/f{i}'))
                        assert e in (0, errno.EIO), errno.errorcode[e]
                        errors += e != 0
                    e = attempt(os.listdir, m / 'b/files')
                    assert e in (0, errno.EIO), errno.errorcode[e]
                    attempt(write, m / 'b/data.json', '{"x": 1}')
                    m.unmount()
                harness.shutil.rmtree(m.store)
                harness.shutil.copytree(saved, m.store)
        print(f'{seen} refused starts, {errors} refused reads', flush=True)
        assert seen and errors
        harness.shutil.rmtree(saved)


if __name__ == '__main__':
    harness.run(tests_of(__name__), 120)
