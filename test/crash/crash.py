#!/usr/bin/python3
"""Kills the daemon and cuts the power of its disk, and compares what is there afterwards with what was acknowledged.

    crash.py [--seconds N | --long HOURS] [--only KIND]... [--rounds N] [--seed S] [--bound SECONDS] [--keep]

Kinds: disk, kill, power-ext4, power-xfs, power-idle, faults, damage, sabotage. As root; BUCKETFS names the binary, CTL bucketctl, CRASH_DISK the disk (all from
build/ otherwise). A round is repeated with --only KIND --rounds 1 --seed ITS_SEED: the same load and choices, not the same
moment to a microsecond, so try a few times. A failed round's folder is kept and named."""
import argparse
import collections
import contextlib
import ctypes
import errno
import glob
import mmap
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'mount'))
import harness
from harness import BINARY, SLOW, Limit, libc, wait_for

import check
import load
from check import Violation
from system import Boot, Daemon, Disk, find_disk

CTL = os.path.abspath(os.environ.get('CTL', os.path.join(os.path.dirname(BINARY), 'bucketctl')))
PROCESSES = 4
SYNC_FILE_RANGE_WRITE = 2
TERMINAL = sys.stdout.isatty()
KEPT_AT_MOST = 12

# What a request may be refused with when the disk or memory fails.
REFUSED = (errno.EIO, errno.ENOSPC, errno.EMFILE, errno.ENOMEM, errno.EROFS, errno.ESTALE, errno.EBUSY)
CALLS = ('write', 'half', 'whole', 'sync', 'sync', 'allocate', 'open', 'look')
ERRORS = (errno.EIO, errno.ENOSPC, errno.EMFILE, errno.ENOMEM)

options = None


class Round:
    """One round, its folder and what it found."""

    def __init__(self, kind, seed, boot):
        self.kind, self.seed, self.boot = kind, seed, boot
        self.rnd = random.Random(seed)
        self.violations, self.note = [], ''
        self.folder = tempfile.mkdtemp(prefix=harness.RUN + 'crash-')
        self.daemon = self.disk = self.memory = None
        self.workers = []
        self.stop = mmap.mmap(-1, 4096)

    def wrong(self, kind, text):
        self.violations.append(Violation(kind, text))

    # ---- the parts ----

    def begin_load(self, seconds, quiet=False, varied=True, tolerated=()):
        self.stop[0] = 0
        if not quiet:
            for b in load.BUCKETS + (load.REVISIONS,):
                os.mkdir(f'{self.daemon.point}/{b}')
        self.workers = load.start(self.daemon.point, self.folder, self.seed, self.stop, seconds, PROCESSES, quiet, varied,
                                  tolerated)

    def end_load(self, limit=10):
        """The workers end by themselves when the mount has ended."""
        self.stop[0] = 1
        end = time.monotonic() + limit * SLOW
        while self.workers and time.monotonic() < end:
            self.workers = [p for p in self.workers if os.waitpid(p, os.WNOHANG)[0] == 0]
            time.sleep(0.005)
        if self.workers:
            self.wrong('hung', f'{len(self.workers)} processes did not end with the mount')
            self.kill_workers()
            self.reap_workers()

    def start_daemon(self):
        try:
            self.daemon.start()
            return True
        except AssertionError as e:
            self.wrong('start', f'the daemon does not start: {str(e)[-600:]}')
            return False

    @contextlib.contextmanager
    def recovering(self):
        """The next crash comes while the daemon recovers from the last one."""
        p = subprocess.Popen(self.daemon.arguments() + ['-f'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        try:
            time.sleep(self.rnd.random() * 0.12)
            yield
        finally:
            p.kill()
            p.wait()
            subprocess.run(['umount', '-l', self.daemon.point], stderr=subprocess.DEVNULL, timeout=30)

    def compare(self, moment, died):
        """What is there, against what was written down; then another start, which changes nothing."""
        history = check.History(self.folder, moment)
        snapshot = check.Snapshot(self.daemon.point)
        found = check.check(history, snapshot, died) + check.check_not_listed(self.daemon.point, history, snapshot)
        self.note = f'{history.count()} operations, {len(snapshot.partials)} partials'
        self.violations += found
        self.log_is_clean()
        self.nothing_is_refused()
        self.daemon.unmount()
        self.fsck()
        self.boot.next()
        if not self.start_daemon():
            return
        self.violations += check.Snapshot(self.daemon.point).same_as(snapshot)
        if self.rnd.randrange(3) == 0:
            for b in load.BUCKETS:
                self.violations += check.check_counts(self.daemon.point, b)

    def log_is_clean(self):
        with open(self.daemon.log, errors='replace') as f:
            f.seek(self.daemon.log_from)
            for line in f:
                if 'error: ' in line or 'Assertion' in line or 'terminate called' in line:
                    self.wrong('log', line.strip())

    def nothing_is_refused(self):
        """Nobody has asked for anything since the start. What a crash has made of a file may be told."""
        point = self.daemon.point
        for path in [f'{point}/.bucketfs/errors'] + [f'{point}/{b}/.bucketfs/errors' for b in os.listdir(point)]:
            with open(path) as f:
                for line in f:
                    if not any(word in line for word in ('partial', 'power', 'crash', 'killed')):
                        self.wrong('errors', f'{os.path.relpath(path, point)}: {line.strip()}')

    def fsck(self):
        """bucketctl check, where there is one."""
        if has_check():
            r = subprocess.run([CTL, 'check', self.daemon.store, '--data'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               stdin=subprocess.DEVNULL, timeout=60 * SLOW)
            if r.returncode:
                self.wrong('check', f'bucketctl check: {r.returncode}: {r.stdout.decode(errors="replace")[-600:]}')

    def empty(self):
        """When everything is removed, nothing is left in blobs/ a little later."""
        point = self.daemon.point
        for b in os.listdir(point):
            shutil.rmtree(f'{point}/{b}/files', ignore_errors=True)
            try:
                os.unlink(f'{point}/{b}/data.json')
            except FileNotFoundError:
                pass
            try:
                os.rmdir(f'{point}/{b}')
            except OSError as e:
                self.wrong('count', f'{b} has been emptied: {e}; in it {os.listdir(f"{point}/{b}/files")[:5]}')
                subprocess.run(['rm', '-rf', f'{point}/{b}'], timeout=60 * SLOW, stderr=subprocess.DEVNULL)
        if not wait_for(lambda: not check.blobs(self.daemon.store), options.orphans):
            left = check.blobs(self.daemon.store)
            self.wrong('orphan', f'{len(left)} contents are left in blobs/ of an empty store: {left[:4]}')
        self.daemon.unmount()
        self.fsck()

    def write_back(self, seconds):
        """What the kernel does now and then by itself: contents and logs go to the disk, in any order, and nothing flushes."""
        end = time.monotonic() + seconds
        often = self.rnd.randrange(2)
        while time.monotonic() < end:
            time.sleep(min(self.rnd.random() * 0.03, max(0, end - time.monotonic())))
            if often:
                files = glob.glob(self.daemon.store + '/blobs/*/*') + glob.glob(self.daemon.store + '/db/*.log')
                for path in self.rnd.sample(files, min(len(files), 6)):
                    try:
                        fd = os.open(path, os.O_RDONLY)
                    except FileNotFoundError:
                        continue
                    libc.sync_file_range(fd, ctypes.c_long(0), ctypes.c_long(0), SYNC_FILE_RANGE_WRITE)
                    os.close(fd)

    # ---- the kinds ----

    def kill(self, damage=None, change=None):
        self.daemon = Daemon(store=self.folder + '/store', start=False)
        if not self.start_daemon():
            return
        self.begin_load(20)
        # In some, contents have been settled.
        time.sleep(self.rnd.uniform(2.4, 4) if self.rnd.randrange(8) == 0 else self.rnd.uniform(0.15, 0.8))
        died = time.monotonic()
        self.daemon.end()
        self.end_load()
        if damage:
            damage(self)
        elif self.rnd.randrange(4) == 0:
            with self.recovering():
                pass
        if self.start_daemon():
            if change:
                change(self)
            # Acknowledged is what returned; the kill comes at its own moment after that.
            self.compare(check.Moment(False, died, float('inf'), 0), died)
            if not damage and not change:
                self.empty()

    # ---- errors that come and go ----

    def faults(self, begin, end):
        """While the load goes on a cause of errors comes, stays for some time, and goes, a few times over. Then everything works
        again, and what was acknowledged is there: at once, and after the daemon has ended in whichever way."""
        self.daemon = self.daemon or Daemon(start=False)
        if not self.start_daemon():
            return
        self.begin_load(60, tolerated=REFUSED)
        for _ in range(self.rnd.randrange(1, 4)):
            time.sleep(self.rnd.uniform(0.05, 0.5))
            begin(self)
            time.sleep(self.rnd.choice((0.02, 0.2, 1)) * self.rnd.random())
            end(self)
        if not wait_for(self.works, 10):
            self.wrong('stuck', 'the cause of the errors is gone, and nothing can be written')
        if self.daemon.process.poll() is not None:
            return self.wrong('ended', f'the daemon ended by itself: {self.daemon.process.poll()}: {self.daemon.log_text()[-600:]}')
        time.sleep(self.rnd.uniform(0, 0.5))
        if self.rnd.randrange(2):
            self.end_load()
            died = time.monotonic()
            self.daemon.unmount()
        else:
            died = time.monotonic()
            self.daemon.end()
            self.end_load()
        self.daemon.faulty = False
        if self.start_daemon():
            self.compare(check.Moment(False, died, float('inf'), 0), died)
            self.empty()

    def works(self):
        try:
            for b in load.BUCKETS:
                harness.write(f'{self.daemon.point}/{b}/data.json', '{"again": true}')
                harness.write(f'{self.daemon.point}/{b}/files/again', 'x' * 100000)
            for b in load.BUCKETS:
                os.unlink(f'{self.daemon.point}/{b}/files/again')
                os.removexattr(f'{self.daemon.point}/{b}/data.json', 'user.bucketfs.key.again')
            return True
        except OSError:
            return False

    def system_calls(self):
        self.daemon = Daemon(start=False)
        self.daemon.faulty = True
        files = ('.log', '.sst', 'MANIFEST', '/db/', '/blobs/', '/store/')
        self.faults(lambda r: r.daemon.fail(*[f'{r.rnd.choice(CALLS)} {r.rnd.choice(ERRORS)} {r.rnd.choice(files)}'
                                              for _ in range(r.rnd.randrange(1, 4))]),
                    lambda r: r.daemon.fail())

    def full_disk(self):
        self.memory = tempfile.mkdtemp(prefix=harness.RUN + 'crash-', dir='/tmp')
        size = self.rnd.choice((160, 300))
        subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}m', 'none', self.memory], check=True, timeout=30)
        try:
            os.mkdir(self.memory + '/store')
            self.daemon = Daemon(store=self.memory + '/store', start=False)
            self.faults(lambda r: r.fill(), lambda r: os.unlink(r.memory + '/fill'))
        finally:
            self.daemon.end()
            self.kill_workers()
            self.reap_workers()
            if self.violations:
                subprocess.run(['cp', '-a', self.memory, self.folder + '/disk'], timeout=60)
            subprocess.run(['umount', '-l', self.memory], timeout=30)

    def fill(self):
        with open(self.memory + '/fill', 'wb', buffering=0) as f:
            try:
                while True:
                    f.write(bytes(1 << 20))
            except OSError:
                pass

    def short_memory(self):
        def limit(r, most):
            resource.prlimit(r.daemon.process.pid, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))

        def size(r):
            with open(f'/proc/{r.daemon.process.pid}/status') as f:
                return next(int(line.split()[1]) << 10 for line in f if line.startswith('VmSize'))

        self.faults(lambda r: limit(r, size(r) + (r.rnd.choice((0, 1, 4, 20)) << 20)), lambda r: limit(r, resource.RLIM_INFINITY))

    # ---- damage ----

    def damage(self):
        """Bits, a block or the end of any file of the store are other than they were. The start is refused with a line that says so, or
        whoever reads gets what was written, an error, or nothing; before repair and after."""
        self.daemon = Daemon(start=False)
        if not self.start_daemon():
            return
        self.begin_load(20)
        time.sleep(self.rnd.uniform(0.2, 1))
        if self.rnd.randrange(2):
            self.end_load()
            self.daemon.unmount()
        else:
            self.daemon.end()
            self.end_load()
        did = [self.change_something() for _ in range(self.rnd.choice((1, 1, 1, 3)))]
        self.note = ', '.join(did)
        self.boot.next() if self.rnd.randrange(2) else None
        self.read_what_is_there()
        r = subprocess.run([CTL, 'check', self.daemon.store, '--data', '--repair'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           stdin=subprocess.DEVNULL, timeout=60 * SLOW)
        if r.returncode not in (0, 1, 4, 5, 8):
            self.wrong('check', f'bucketctl check --repair: {r.returncode}: {r.stdout.decode(errors="replace")[-600:]}')
        self.read_what_is_there()

    def change_something(self):
        files = [p for p in glob.glob(self.daemon.store + '/**', recursive=True) if os.path.isfile(p) and os.path.getsize(p)]
        path = self.rnd.choice([p for p in files if ('/blobs/' in p) == bool(self.rnd.randrange(2))] or files)
        size = os.path.getsize(path)
        with open(path, 'rb') as f:
            size = len(f.read().rstrip(b'\0')) or size
        at, how = self.rnd.randrange(size), self.rnd.choice(('bit', 'bit', 'block', 'end'))
        with open(path, 'r+b') as f:
            if how == 'bit':
                f.seek(at)
                byte = f.read(1)
                f.seek(at)
                f.write(bytes([byte[0] ^ 1 << self.rnd.randrange(8)]))
            elif how == 'block':
                f.seek(at // 4096 * 4096)
                f.write(bytes(min(4096, size - at // 4096 * 4096)))
            else:
                f.truncate(at)
        return f'{how} {at} of {os.path.relpath(path, self.daemon.store)} ({size})'

    def read_what_is_there(self):
        try:
            self.daemon.start()
        except AssertionError as e:
            status = self.daemon.process.wait(timeout=30)
            self.daemon.process = None
            lines = self.daemon.log_text()[self.daemon.log_from:].strip().splitlines()
            if status != 1 or not lines or not any(word in lines[-1] for word in ('damaged', 'not a bucketfs store', 'format')):
                self.wrong('start', f'{self.note}: ended with {status}: {str(e)[-600:]}')
            return
        for v in check.Snapshot(self.daemon.point).violations:
            if v.kind not in ('read', 'count', 'data'):
                self.violations.append(v)
        for path, data in self.seen(check.Snapshot(self.daemon.point)):
            if isinstance(data, check.Bad) and data.kind != 'read':
                self.wrong('bytes', f'{self.note}: {path} is {data}')
        if self.daemon.process.poll() is not None:
            return self.wrong('ended', f'{self.note}: the daemon ended by itself: {self.daemon.process.poll()}: {self.daemon.log_text()[-600:]}')
        self.daemon.unmount()

    @staticmethod
    def seen(snapshot):
        """Whole files. Those that are changed in place have cells of several versions, and lost_found has what is left of a damaged one."""
        return [(p, v) for p, v in snapshot.there.items()
                if not re.match(r'w\w+_g\d$', os.path.basename(p)) and '/lost_found/' not in p]

    def new_disk(self, filesystem):
        self.memory = tempfile.mkdtemp(prefix=harness.RUN + 'crash-', dir='/dev/shm' if os.path.isdir('/dev/shm') else None)
        self.disk = Disk(filesystem, self.memory, self.rnd)

    def probe(self, filesystem):
        """The disk itself, without bucketfs: a flush reaches it, and what was not flushed is gone."""
        self.new_disk(filesystem)
        self.disk.start(3000)
        for name in ('synced', 'loose'):
            for i in range(20):
                with open(f'{self.disk.target}/{name}{i}', 'wb') as f:
                    f.write(b'.' * 5000)
                    f.flush()
                    if name == 'synced':
                        os.fsync(f.fileno())
        self.disk.command('cut drop 1')
        self.disk.stop()
        self.disk.start(0)
        there = os.listdir(self.disk.target)
        synced = [n for n in there if n.startswith('synced') and harness.read(f'{self.disk.target}/{n}') == '.' * 5000]
        loose = [n for n in there if n.startswith('loose') and os.path.getsize(f'{self.disk.target}/{n}')]
        if len(synced) != 20 or len(loose) == 20:
            self.wrong('disk', f'of 20 files each {len(synced)} that were synced are there, and {len(loose)} that were not')

    def power(self, filesystem, lie=False, idle=False):
        self.new_disk(filesystem)
        # With a queue ext4 writes down lengths before their bytes.
        self.disk.start(self.rnd.choice((0, 3000, 20000, 20000)))
        os.mkdir(self.disk.target + '/store')
        self.daemon = Daemon(store=self.disk.target + '/store', start=False)
        if not self.start_daemon():
            return
        self.begin_load(60, varied=not lie)
        if lie:
            self.disk.command('lie')
        self.write_back(0.6 if idle else self.rnd.uniform(2.4, 5) if self.rnd.randrange(6) == 0 else self.rnd.uniform(0.6 if lie else 0.3, 2.2))
        if idle:
            # What has contents in files of their own is synced soon; merges after that bring no such thing with them.
            self.end_load()
            time.sleep(3.5)
            self.begin_load(0.2, quiet=True)
            time.sleep(0.2)
            self.end_load()
            time.sleep(options.bound + 0.7)
        mode = 'drop' if lie or idle else self.rnd.choice(('drop', 'keep', 'random', 'random', 'reorder'))
        began, ended, report = self.cut(mode)
        self.end_load()
        self.disk.stop()
        # What a failed round began its recovery with.
        subprocess.run(['cp', '--sparse=always', self.disk.image, self.memory + '/image.cut'], check=True, timeout=60)
        if not lie and not idle and self.rnd.randrange(4) == 0:
            self.cut_while_recovering()
        self.boot.next()
        self.disk.start(0)
        if self.start_daemon():
            self.compare(check.Moment(True, began, ended, options.bound), began)
            self.note += f', {mode} {report["survived"]} of {report["survived"] + report["lost"]} blocks, ' \
                f'{report["flushes"]} flushes, {self.disk.options}'
            if not lie:
                self.empty()

    def cut(self, mode):
        """The power goes; the daemon is killed. Between which two times."""
        began = time.monotonic()
        self.disk.command(f'cut {mode} {self.seed}')
        ended = time.monotonic()
        report = self.disk.report()
        self.daemon.end()
        return began, ended, report

    def cut_while_recovering(self):
        self.boot.next()
        self.disk.start(self.rnd.choice((0, 3000)))
        with self.recovering():
            self.disk.command(f'cut {self.rnd.choice(("drop", "random", "reorder"))} {self.seed + 1}')
        self.disk.stop()

    # ---- its end ----

    def close(self):
        """In every outcome: no process, no mount, no device. One step that fails does not keep the next from being tried."""
        for step in (self.kill_workers, self.daemon and self.daemon.end, self.reap_workers, self.disk and self.disk.stop):
            try:
                if step:
                    step()
            except Exception:
                self.wrong('machine', traceback.format_exc())

    def kill_workers(self):
        for p in self.workers:
            os.kill(p, signal.SIGKILL)  # it is our child and not waited for yet, so nobody else has its number

    def reap_workers(self):
        while self.workers:
            os.waitpid(self.workers.pop(), 0)

    def remove(self):
        for folder in (self.folder, self.memory, self.daemon and self.daemon.folder):
            if folder:
                shutil.rmtree(folder, ignore_errors=True)

    def keep(self):
        """Everything about it in one folder."""
        with open(self.folder + '/violations', 'w') as f:
            f.writelines(f'{v}\n' for v in self.violations)
        for folder, name in ((self.memory, 'disk'), (self.daemon and self.daemon.folder, 'mount')):
            if folder and os.path.isdir(folder):
                if os.path.exists(folder + '/image.cut'):
                    os.unlink(folder + '/image')
                subprocess.run(['cp', '-a', '--sparse=always', folder, f'{self.folder}/{name}'], timeout=120)
                shutil.rmtree(folder, ignore_errors=True)


_has_check = []


def has_check():
    if not _has_check:
        _has_check.append(os.path.exists(CTL) and subprocess.run([CTL, 'check', '--help'], stdout=subprocess.DEVNULL,
                                                                  stderr=subprocess.DEVNULL, timeout=30).returncode == 0)
    return _has_check[0]


# ---- sabotage: what must be found ----

def cut_log(r):
    """The middle of RocksDB's log is its end."""
    logs = [f'{r.daemon.store}/db/{n}' for n in os.listdir(r.daemon.store + '/db') if n.endswith('.log')]
    log = max(logs, key=os.path.getmtime)
    with open(log, 'r+b') as f:
        used = len(f.read().rstrip(b'\0'))
        f.truncate(used // 2)


def blank_blob(r):
    """The bytes of a content that was never touched again become NULs."""
    for path in check.blobs(r.daemon.store):
        with open(path, 'r+b') as f:
            data = f.read()
            if data[:30].rstrip().endswith(b'_base'):
                f.seek(0)
                f.write(bytes(len(data)))
                return
    raise AssertionError('there is no content of a base file')


def change_mount(r):
    """A little of each kind is wrong: one file after the other, each by the mount itself."""
    f = r.daemon.point + '/b1/files/'
    with open(f + 'w1_g0', 'r+b') as h:
        h.truncate(64 * 600)
    with open(f + 'w1_base', 'r+b') as h:
        h.seek(6400)
        h.write(bytes(64))
    shutil.copy(r.daemon.point + '/b0/files/w2_base', f + 'w3_base')
    shutil.copy(f + 'w3_base', f + '.w1_e9.partial')
    with open(f + 'w9_stray', 'w') as h:
        h.write('x' * 100)
    os.unlink(f + 'w3_t0')
    with open(r.daemon.point + '/b1/data.json', 'w') as h:
        h.write('{"stray": 1}')


CHANGED = (('w1_g0', 'lost NUL boundary'), ('w1_base', 'NUL'), ('w3_base', 'torn lost unclosed foreign'), ('.w1_e9.partial', 'partial'),
           ('w9_stray', 'foreign'), ('w3.t0 w3_t0', 'lost torn'), ('@b1/stray', 'foreign'))


def changes_seen(violations):
    return all(any(v.kind in kinds.split() and any(n in v.text for n in names.split()) for v in violations) for names, kinds in CHANGED)


def names(*parts):
    """A violation that names one of these; what the daemon is known to get wrong by itself elsewhere proves nothing."""
    return lambda violations: any(p in v.text for p in parts for v in violations)


def lost(violations):
    return any(v.kind == 'start' or v.kind == 'lost' and not re.match(r'w\d+\.[hr]\d', v.text) for v in violations)


KINDS = collections.OrderedDict([
    ('disk-ext4', lambda r: r.probe('ext4')),
    ('disk-xfs', lambda r: r.probe('xfs')),
    ('kill', lambda r: r.kill()),
    ('power-ext4', lambda r: r.power('ext4')),
    ('power-xfs', lambda r: r.power('xfs')),
    ('power-idle', lambda r: r.power(r.rnd.choice(('ext4', 'xfs')), idle=True)),
    ('faults-calls', lambda r: r.system_calls()),
    ('faults-full', lambda r: r.full_disk()),
    ('faults-memory', lambda r: r.short_memory()),
    ('damage', lambda r: r.damage()),
    ('sabotage-lie', lambda r: r.power(r.rnd.choice(('ext4', 'xfs')), lie=True)),
    ('sabotage-log', lambda r: r.kill(cut_log)),
    ('sabotage-blob', lambda r: r.kill(blank_blob)),
    ('sabotage-mount', lambda r: r.kill(change=change_mount)),
])
# Whether what was done to the store was seen.
SEEN = {'sabotage-lie': lost, 'sabotage-log': lost, 'sabotage-blob': names('_base'),
        'sabotage-mount': changes_seen}
SHARE = {'disk-ext4': 0.1, 'disk-xfs': 0.1, 'kill': 30, 'power-ext4': 30, 'power-xfs': 30, 'power-idle': 5,
         'faults-calls': 12, 'faults-full': 5, 'faults-memory': 5, 'damage': 10, 'sabotage-lie': 2, 'sabotage-log': 1, 'sabotage-blob': 1,
         'sabotage-mount': 1}


class Tally:
    def __init__(self):
        self.rounds = self.bad = 0
        self.seconds = 0.0
        self.first = self.last = None
        self.kinds = collections.Counter()


def stop(*_):
    raise Limit('took too long')


def run_round(kind, seed, boot):
    """The round, ended and cleaned up. What it found is in it."""
    r = Round(kind, seed, boot)
    limit = (60 + options.bound) * SLOW
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(int(limit))
    # Who waits for a mount that hangs hears no signal; ending the daemon frees them.
    guard = threading.Timer(limit + 5, lambda: r.daemon and r.daemon.process and r.daemon.process.kill())
    guard.daemon = True
    guard.start()
    boot.rnd.seed(seed)
    boot.next()
    try:
        KINDS[kind](r)
    except Exception:
        r.wrong('machine', traceback.format_exc())
    except BaseException:
        signal.alarm(0)
        r.close()
        r.remove()
        raise
    finally:
        signal.alarm(0)
        r.close()
        guard.cancel()
    return r


def say(text, progress=False):
    if progress:
        if TERMINAL:
            print(f'\033[2K{text}', end='\r', flush=True)
        return
    print(('\033[2K' if TERMINAL else '') + text, flush=True)


def finished(r, tally, seconds, kept):
    """Counts a round and tells of it if it failed."""
    found = collections.Counter(v.kind for v in r.violations)
    bad = bool(r.violations)
    if r.kind in SEEN:
        bad = not SEEN[r.kind](r.violations) or 'machine' in found
        if bad:
            r.wrong('blind', 'the sabotage has not been seen')
    tally.rounds += 1
    tally.seconds += seconds
    tally.first = r.seed if tally.first is None else tally.first
    tally.last = r.seed
    if options.verbose and not TERMINAL:
        say(f'{r.kind} seed {r.seed}: {len(r.violations)} violations, {seconds:.1f} s; {r.note}')
    if not bad and not options.keep:
        r.remove()
        return True
    r.keep()
    if not bad:
        say(f'{r.kind} seed {r.seed}: ok; kept in {r.folder}')
        return True
    tally.bad += 1
    tally.kinds.update({v.kind for v in r.violations})
    say(f'{r.kind} seed {r.seed}: {len(r.violations)} violations ({", ".join(f"{k} {n}" for k, n in sorted(found.items()))}); '
        f'{r.note}')
    seen = collections.Counter()
    for v in r.violations:
        seen[v.kind] += 1
        if seen[v.kind] <= 2:
            say('    ' + str(v)[:900].replace('\n', '\n    '))
    again = f'{os.path.relpath(__file__)} --only {r.kind} --rounds 1 --seed {r.seed}'
    if kept[0] < KEPT_AT_MOST:
        kept[0] += 1
        say(f'    again: {again}    kept: {r.folder}')
    else:
        say(f'    again: {again}')
        shutil.rmtree(r.folder, ignore_errors=True)
    return False


def kinds_of(names):
    out = [k for k in KINDS if not names or any(k == n or k.startswith(n + '-') for n in names)]
    unknown = [n for n in names if not any(k == n or k.startswith(n + '-') for k in KINDS)]
    if unknown or not out:
        sys.exit(f'no such kind: {unknown}; there are {", ".join(KINDS)}')
    return out


def run_all(kinds, boot):
    tallies = {k: Tally() for k in kinds}
    began, kept, number = time.monotonic(), [0], 0
    while True:
        now = time.monotonic() - began
        left = [k for k in kinds if tallies[k].rounds < (options.rounds or 1)] if options.rounds else \
            [k for k in kinds if not tallies[k].rounds] or (kinds if now < options.seconds else [])
        if not left:
            break
        # Whose turn it is: who has had the least of its share.
        kind = min(left, key=lambda k: (tallies[k].seconds + 0.001 * (tallies[k].rounds + 1)) / SHARE[k])
        seed = options.seed + (tallies[kind].rounds if options.rounds else number)
        number += 1
        say(f'== {kind} seed {seed}, {now:.0f} s', progress=True)
        start = time.monotonic()
        r = run_round(kind, seed, boot)
        finished(r, tallies[kind], time.monotonic() - start, kept)
        if TERMINAL:
            say(f'{kind} seed {seed}: {len(r.violations)} violations, {time.monotonic() - start:.1f} s; {r.note}')
    return tallies


def main():
    global options
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--seconds', type=float, default=120, help='how long, about')
    p.add_argument('--long', type=float, metavar='HOURS')
    p.add_argument('--only', action='append', default=[], metavar='KIND')
    p.add_argument('--rounds', type=int, help='of each kind, however long they take')
    p.add_argument('--seed', type=int, default=None)
    p.add_argument('--bound', type=float, default=6, help='seconds after which everything acknowledged survives a loss of power')
    p.add_argument('--orphans', type=float, default=5, help='seconds after which nothing is left in blobs/ of an empty store')
    p.add_argument('--verbose', action='store_true', help='a line for every round, in a pipe as well')
    p.add_argument('--keep', action='store_true', help='keep the folder of every round')
    options = p.parse_args()
    if options.long:
        options.seconds = options.long * 3600
    if options.seed is None:
        options.seed = int(time.time()) % 1000000 * 1000
    kinds = kinds_of(options.only)
    find_disk()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = tempfile.mkdtemp(prefix=harness.RUN + 'boot-')
    try:
        boot = Boot(folder)
        tallies = run_all(kinds, boot)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for kind, t in tallies.items():
        text = f'crash_{kind.replace("-", "_")}  {t.seconds:.1f}s, {t.rounds} rounds, seeds {t.first}-{t.last}'
        if t.bad:
            text += f', {t.bad} failed: ' + ', '.join(f'{k} in {n}' for k, n in t.kinds.most_common())
        print(('FAILED ' if t.bad else 'ok     ') + text)
    failed = sum(bool(t.bad) for t in tallies.values())
    print(f'{len(tallies) - failed} passed, {failed} failed', flush=True)
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
