"""The load of a round: processes that do everything at once and write down, outside of the mount, what was acknowledged.

A record is a line of JSON in the process's own file; all times are those of the monotonic clock:

    ["S", time, n, region, change]   operation n of a region begins: from now on its outcome may be there.
    ["E", time, n]                   the call that acknowledges it has returned 0
    ["D", time, n]                   and a later fsync of it has, too
    ["P", time, n, path, spec]       fsync has returned 0, and close has not been called yet
    ["O", time, path]                somebody begins to write a file of this name
    ["b", time, n]                   a log: close or fsync of what it is by now begins
    ["F", time, path]                what somebody wrote of this name has failed, and whatever was open is closed
    ["R", n, revision]               the revision of the bucket after operation n
    ["X", time, operation, error]    the process ended with this

A region is a set of names and keys that one process changes; its operations have an order. A change maps a path to what is
there afterwards: [name, version, size] of a content, "dir", a value (of a key or an xattr), or null; or it is
{"mv": [from, to]}, or {"log": path, "do": [what, first cell, cells, version]}."""
import ctypes
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback

from content import CELL, LARGE, content, spec

PR_SET_PDEATHSIG = 1
KEEP_SIZE, PUNCH_HOLE = 1, 2
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
BUCKETS = ('b0', 'b1')
HOWS = ('trunc', 'trunc', 'ftruncate', 'length', 'fallocate', 'seek', 'w+', 'twice')  # what comes before the bytes
REVISIONS = 'revisions'  # the bucket of one process that only merges


def fallocate(fd, mode, at, size):
    if libc.fallocate(fd, mode, at, size):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def write_whole(fd, data, at=None):
    """Where the kernel has some of it and was refused the rest, it says how much that is."""
    n = os.write(fd, data) if at is None else os.pwrite(fd, data, at)
    if n != len(data):
        raise OSError(errno.ENOSPC, f'{n} of {len(data)} bytes were written')


class Log:
    """A file that is changed in place, as its cells' versions; 0 is a hole."""

    def __init__(self, path, name, keep_open):
        self.path, self.name, self.keep_open = path, name, keep_open
        self.length = self.n = 0
        self.fd = None


class Worker:
    def __init__(self, point, folder, number, seed, stop, quiet, varied, tolerated=()):
        self.point, self.folder, self.number, self.stop, self.quiet = point, folder, number, stop, quiet
        self.rnd = random.Random(seed * 100 + number)
        whole_round = random.Random(seed)
        self.theme = whole_round.randrange(32)
        # Every fsync empties the cache of the disk, whoever asks for it: in some rounds hardly anybody does.
        self.seldom = whole_round.choice((1, 5, 40))
        if not varied:
            self.theme, self.seldom = None, 1
        # And some ways to write lead the daemon to sync, too.
        self.hows = whole_round.choice((HOWS, HOWS, ('trunc',), ('trunc', 'seek'), ('trunc', 'fallocate')))
        # Truncated and read as well, a file is changed in place: then a write that fails leaves what there is.
        self.hows = tuple(h for h in self.hows if not tolerated or h != 'w+')
        self.bucket = BUCKETS[number % len(BUCKETS)]
        self.out = os.open(f'{folder}/worker{number}', os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.n = self.failures = 0
        self.tolerated = tolerated
        self.filling = None  # the file that was opened last to be filled
        self.begin_anew()

    def begin_anew(self):
        """With names and keys that nobody has used. Of an operation that failed it is not known what is there of it."""
        self.id = f'{self.number}x{self.failures}' if self.failures else f'{self.number}'
        self.held = []  # processes that have a file open
        self.part = None  # a file of which the first part is written
        self.folder_now = None
        self.files_there = {}
        self.logs = [Log(self.name(f'g{i}'), f'w{self.id}_g{i}', i % 2 == 0) for i in range(3)]

    def failed(self):
        self.failures += 1
        self.note('F', time.monotonic(), self.filling)
        while self.held:
            process = self.held.pop()
            process.stdin.close()
            process.wait()
        # Whatever it had open.
        os.closerange(self.own_descriptors, self.own_descriptors + 64)
        self.begin_anew()

    # ---- what is written down ----

    def note(self, *record):
        os.write(self.out, json.dumps(record).encode() + b'\n')

    def begins(self, region, change):
        self.n += 1
        self.note('S', time.monotonic(), self.n, f'w{self.id}.{region}', change)
        return self.n

    def acknowledged(self, n, durable=False):
        now = time.monotonic()
        self.note('E', now, n)
        if durable:
            self.note('D', now, n)

    # ---- names ----

    def name(self, name):
        """Of a file of this process, below the mount."""
        return f'{self.bucket}/files/w{self.id}_{name}'

    def at(self, path):
        return f'{self.point}/{path}'

    def version(self):
        self.n += 1
        return self.n

    def size(self, large=None):
        if large is None:
            large = self.rnd.randrange(3) == 0
        if large:
            return self.rnd.choice((self.rnd.randrange(LARGE + 1, LARGE + 9000), self.rnd.randrange(50000, 300000)))
        return self.rnd.choice((self.rnd.randrange(64, 3000), self.rnd.randrange(3000, LARGE + 1), LARGE))

    def syncs(self, one_in):
        return self.rnd.randrange(one_in * self.seldom) == 0

    def pause(self):
        if self.rnd.randrange(6) == 0:
            time.sleep(self.rnd.random() * 0.006)

    # ---- whole files ----

    def write_all(self, fd, data):
        piece = self.rnd.choice((len(data), 4096, 30000, 131072)) or 1
        for i in range(0, len(data), piece):
            write_whole(fd, data[i:i + piece], i)
            if piece > 20000:
                self.pause()

    def write_shuffled(self, fd, data):
        piece = self.rnd.choice((4096, 10000, 40000))
        places = list(range(0, len(data), piece))
        self.rnd.shuffle(places)
        for i in places:
            write_whole(fd, data[i:i + piece], i)

    def fill(self, path, data, how):
        """Opens and writes; the descriptor, not closed."""
        self.note('O', time.monotonic(), path)
        self.filling = path
        if how == 'ftruncate':
            fd = os.open(self.at(path), os.O_WRONLY | os.O_CREAT)
            os.ftruncate(fd, 0)
        else:
            fd = os.open(self.at(path), (os.O_RDWR if how == 'w+' else os.O_WRONLY) | os.O_CREAT | os.O_TRUNC)
        if how == 'twice' and data:
            # Goes back to the beginning and writes all of it once more.
            self.write_all(fd, content(os.path.basename(path), self.version(), self.rnd.randrange(1, len(data) + 1)))
        if how == 'length':
            os.ftruncate(fd, len(data))
        elif how == 'fallocate' and data:
            fallocate(fd, 0, 0, len(data))
        if how == 'seek':
            self.write_shuffled(fd, data)
        else:
            self.write_all(fd, data)
        self.pause()
        return fd

    def finish(self, fd, region, change, path=None, s=None, sync=None):
        """fsync or not, and close."""
        if sync is None:
            sync = self.syncs(4)
        n = self.begins(region, change)
        if sync:
            os.fsync(fd)
            if path:
                self.note('P', time.monotonic(), n, path, s)
            self.pause()
        os.close(fd)
        self.acknowledged(n, sync)
        return n

    def rewrite(self, path, region, size=None, how=None, sync=None, large=None, again=True):
        size = self.size(large) if size is None else size
        how = how or self.rnd.choice(self.hows)
        s = spec(os.path.basename(path), self.version(), size)
        fd = self.fill(path, content(*s) if size else b'', how)
        n = self.finish(fd, region, {path: s}, path, s, sync)
        if again and self.syncs(12):
            self.sync_again(path, n)
        self.files_there[path] = s

    def sync_again(self, path, n):
        """What `sync FILE` does."""
        fd = os.open(self.at(path), os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        self.note('D', time.monotonic(), n)

    def do_small(self):
        name = f's{self.rnd.randrange(4)}'
        self.rewrite(self.name(name), name, large=False)
    do_small.weight = 20

    def do_large(self):
        name = f'l{self.rnd.randrange(4)}'
        self.rewrite(self.name(name), name, large=True)
    do_large.weight = 20

    def do_any(self):
        """Now small, now large, now gone."""
        name = f'm{self.rnd.randrange(3)}'
        path = self.name(name)
        if path in self.files_there and self.rnd.randrange(3) == 0:
            self.unlink(path, name)
        else:
            self.rewrite(path, name)
    do_any.weight = 20

    def do_new(self):
        """A name that was never there."""
        name = f'n{self.version()}'
        self.rewrite(self.name(name), name)
        if self.rnd.randrange(2):
            self.unlink(self.name(name), name)
    do_new.weight = 20

    def unlink(self, path, region):
        n = self.begins(region, {path: None})
        os.unlink(self.at(path))
        self.acknowledged(n)
        self.files_there.pop(path, None)

    def do_empty(self):
        """`: > FILE`, new and over an old version; sometimes it stays open for a while."""
        name = f'e{self.rnd.randrange(3)}'
        path = self.name(name)
        if path in self.files_there and self.rnd.randrange(3) == 0:
            return self.unlink(path, name)
        if path in self.files_there and self.files_there[path][2] == 0:
            return self.rewrite(path, name)
        self.rewrite(path, name, size=0, how='trunc')
    do_empty.weight = 15

    def do_replace(self):
        """A temporary file and rename."""
        name = f't{self.rnd.randrange(2)}'
        temporary = self.name(name + '.tmp')
        self.rewrite(temporary, name)
        n = self.begins(name, {'mv': [temporary, self.name(name)]})
        os.rename(self.at(temporary), self.at(self.name(name)))
        self.acknowledged(n)
        if self.syncs(4):
            self.sync_again(self.name(name), n)
    do_replace.weight = 12

    def do_held(self):
        """Closed, and another process has it open: the daemon hears of the close and of no release."""
        name = f'h{self.rnd.randrange(3)}'
        path = self.name(name)
        size = self.size(self.rnd.randrange(4) > 0) if self.rnd.randrange(5) else 0
        s = spec(os.path.basename(path), self.version(), size)
        # With truncation: what is opened without is the file that has the name, which another held one may be about to take.
        fd = self.fill(path, content(*s) if size else b'', 'trunc')
        self.held.append(self.spawn(['cat'], pass_fds=[fd], stdin=subprocess.PIPE))
        self.finish(fd, name, {path: s}, path, s)
        if len(self.held) > 3:
            self.let_go(self.held.pop(self.rnd.randrange(3)))
    do_held.weight = 6

    def do_synced_before(self):
        """Written and fsynced; then all of it is written once more through the same descriptor."""
        name = f'y{self.rnd.randrange(2)}'
        path = self.name(name)
        first = spec(os.path.basename(path), self.version(), self.size())
        s = spec(os.path.basename(path), self.version(), first[2] + self.rnd.randrange(50000))
        fd = self.fill(path, content(*first), 'trunc')
        # fsync makes it one that a crash may publish, until it is written to again.
        self.begins(name, {path: first})
        os.fsync(fd)
        self.write_all(fd, content(*s))
        self.finish(fd, name, {path: s}, path, s)
    do_synced_before.weight = 5

    def do_parts(self):
        """The second part comes more than two seconds after the first, which has been flushed and is on the disk by then."""
        if self.part and self.part[0] < time.monotonic():
            _, fd, name, path, s, rest, at = self.part
            self.part = None
            write_whole(fd, rest, at)
            self.finish(fd, name, {path: s}, path, s)
        elif not self.part:
            name = f'p{self.rnd.randrange(2)}'
            path = self.name(name)
            s = spec(os.path.basename(path), self.version(), self.size(True))
            half = self.rnd.randrange(1, s[2] // CELL) * CELL
            data = content(*s)
            fd = self.fill(path, data[:half], 'trunc')
            # A copy of the descriptor is closed: only a second later it is known that this was not the last one.
            self.begins(name, {path: spec(*s[:2], half)})
            os.close(os.dup(fd))
            self.part = (time.monotonic() + 2.2, fd, name, path, s, data[half:], half)
    do_parts.weight = 10

    def spawn(self, command, **how):
        """A child process closes what it has inherited when it becomes another program: a flush of every log."""
        for log in self.logs:
            if log.fd is not None:
                self.note('b', time.monotonic(), log.n)
        return subprocess.Popen(command, **how)

    @staticmethod
    def let_go(process):
        process.stdin.close()  # and it exits: a signal would make it a writer that was killed
        process.wait()

    def do_group(self):
        """`{ a && b; } > FILE`: between a and b a flush has come, of a; sometimes the shell is killed there."""
        name = f'r{self.rnd.randrange(2)}'
        path = self.name(name)
        s = spec(os.path.basename(path), self.version(), self.size(self.rnd.randrange(3) == 0))
        data = content(*s)
        half = len(data) // 2
        for part, piece in (('a', data[:half]), ('b', data[half:])):
            with open(f'{self.folder}/{part}{self.number}', 'wb') as f:
                f.write(piece)
        self.note('O', time.monotonic(), path)
        self.filling = path
        n = None
        if self.tolerated:
            # If the end of a is told of an error, the shell goes no further, and closes the file with what a wrote.
            self.begins(name, {path: spec(*s[:2], half)})
            n = self.begins(name, {path: s})
        shell = self.spawn(['sh', '-c', '{ cat "$1" && echo mid >&2 && read -r x && cat "$2"; } > "$3" && echo end >&2', 'sh',
                                  f'{self.folder}/a{self.number}', f'{self.folder}/b{self.number}', self.at(path)],
                                 stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        self.held.append(shell)
        self.hear(shell, b'mid\n')
        time.sleep(self.rnd.random() * 0.02)
        if self.rnd.randrange(5) == 0:
            shell.kill()
        else:
            n = n or self.begins(name, {path: s})
            shell.stdin.write(b'\n')
            shell.stdin.flush()
            self.hear(shell, b'end\n')
            # The shell does not tell of a close that failed: the mount had to be there after it.
            os.stat(self.at(path))
            self.acknowledged(n)
        self.held.remove(shell)
        shell.stdin.close()
        shell.stderr.close()
        shell.wait()
    do_group.weight = 6

    @staticmethod
    def hear(shell, what):
        line = shell.stderr.readline()
        if line != what:
            raise OSError(errno.ENOTCONN if b'onnect' in line or b'abort' in line else errno.EIO, f'the shell says {line!r}')

    # ---- folders, attributes, transactions ----

    def do_folder(self):
        """A folder with a small and a large file is made, filled, renamed and removed."""
        now = self.folder_now
        step = 0 if not now else self.rnd.randrange(1, 6)
        if step == 0:
            path = self.name(f'd{self.version()}')
            n = self.begins('folder', {path + '/': 'dir'})
            os.mkdir(self.at(path))
            self.acknowledged(n)
            self.folder_now = path
        elif step in (1, 2):
            self.rewrite(f'{now}/w{self.id}_{"ab"[step - 1]}', 'folder', large=step == 2)
        elif step < 5:
            path = self.name(f'd{self.version()}')
            n = self.begins('folder', {'mv': [now + '/', path + '/']})
            os.rename(self.at(now), self.at(path))
            self.acknowledged(n)
            self.folder_now = path
        else:
            for name in sorted(os.listdir(self.at(now))):
                if not name.endswith('.partial'):
                    self.unlink(f'{now}/{name}', 'folder')
            n = self.begins('folder', {now + '/': None})
            os.rmdir(self.at(now))
            self.acknowledged(n)
            self.folder_now = None
    do_folder.weight = 15

    def do_attribute(self):
        path = self.name('x')
        if path not in self.files_there:
            self.rewrite(path, 'x', large=False)
        v = self.version()
        n = self.begins('attribute', {path + '#': v})
        os.setxattr(self.at(path), 'user.tag', b'%d' % v)
        self.acknowledged(n)
    do_attribute.weight = 8

    def do_transaction(self):
        """Two files and a key at once."""
        v = self.version()
        tx = self.at(f'{self.bucket}/.bucketfs/tx/w{self.id}_{v}')
        os.mkdir(tx)
        change = {f'@{self.bucket}/t{self.id}': v}
        for name, large in (('ts', False), ('tl', True)):
            s = spec(os.path.basename(self.name(name)), v, self.size(large))
            with open(f'{tx}/files/w{self.id}_{name}', 'wb') as f:
                f.write(content(*s))
                f.flush()
                if self.syncs(6):
                    os.fsync(f.fileno())
            change[self.name(name)] = s
        with open(tx + '/data.json', 'w') as f:
            f.write(json.dumps({f't{self.id}': v}))
        if self.rnd.randrange(6) == 0:
            self.spawn(['rm', '-r', tx], stderr=subprocess.DEVNULL).wait()
            return
        n = self.begins('transaction', change)
        os.rename(tx, self.at(f'{self.bucket}/.bucketfs/commit'))
        self.acknowledged(n)
    do_transaction.weight = 6

    # ---- data.json ----

    def merge(self, bucket, region, keys, sync=False):
        fd = os.open(self.at(f'{bucket}/data.json'), os.O_WRONLY | os.O_TRUNC | os.O_CREAT)
        v = self.version()
        write_whole(fd, json.dumps({k: v for k in keys}).encode())
        return self.finish(fd, region, {f'@{bucket}/{k}': v for k in keys}, sync=sync)

    def do_merge(self):
        for _ in range(self.rnd.randrange(1, 4)):
            self.merge(self.bucket, 'merge', (f'a{self.id}', f'z{self.id}'), self.syncs(8))
    do_merge.weight = 30

    def do_key(self):
        v = self.version()
        n = self.begins('key', {f'@{self.bucket}/k{self.id}': v})
        os.setxattr(self.at(f'{self.bucket}/data.json'), f'user.bucketfs.key.k{self.id}', b'%d' % v)
        self.acknowledged(n)
    do_key.weight = 8

    def do_revision(self):
        """Which revision each merge has made."""
        n = self.merge(REVISIONS, 'revision', ('n',), self.syncs(20))
        with open(self.at(f'{REVISIONS}/.bucketfs/info.json')) as f:
            self.note('R', n, json.load(f)['bucket']['revision'])

    def do_quiet(self):
        self.merge(self.bucket, 'merge', (f'a{self.id}', f'z{self.id}'), False)
        name = f's{self.rnd.randrange(4)}'
        self.rewrite(self.name(name), name, how='trunc', sync=False, large=False, again=False)
        time.sleep(0.01)

    # ---- logs ----

    def open_log(self, log):
        if log.fd is None:
            log.fd = os.open(self.at(log.path), os.O_RDWR | os.O_CREAT | os.O_APPEND)
        return log.fd

    def log_change(self, log, what, first, count):
        log.n = self.begins(os.path.basename(log.path), {'log': log.path, 'do': [what, first, count, self.version()]})
        return log.n

    def append(self, log, count):
        fd = self.open_log(log)
        n = self.log_change(log, 'append', log.length, count)
        data = content(log.name, self.n - 1, count * CELL, log.length)
        write_whole(fd, data)
        log.length += count
        return n

    def change_log(self, log):
        """Cut, lengthened, or a hole punched into it, by a descriptor that does not append."""
        what = self.rnd.choice(('cut', 'punch', 'lengthen', 'overwrite'))
        if what == 'lengthen':
            first, count = log.length, self.rnd.randrange(1, 100)
        else:
            first = self.rnd.randrange(log.length)
            count = min(self.rnd.randrange(1, 300), log.length - first)
        if what == 'cut':
            first = max(first, log.length - 200)
            count = log.length - first
        fd = os.open(self.at(log.path), os.O_RDWR)
        n = self.log_change(log, what, first, count)
        if what == 'cut':
            os.ftruncate(fd, first * CELL)
            log.length = first
        elif what == 'lengthen':
            os.ftruncate(fd, (first + count) * CELL)
            log.length += count
        elif what == 'punch':
            fallocate(fd, KEEP_SIZE | PUNCH_HOLE, first * CELL, count * CELL)
        else:
            write_whole(fd, content(log.name, self.n - 1, count * CELL, first), first * CELL)
        return fd, n

    def log_boundary(self, log, fd, n, sync, close):
        self.note('b', time.monotonic(), n)
        if sync:
            os.fsync(fd)
            self.note('D', time.monotonic(), n)
        if close:
            os.close(fd)
        if sync or close:
            self.note('E', time.monotonic(), n)

    def do_log(self):
        log = self.rnd.choice(self.logs)
        if log.length * CELL > 260000:
            most = 1
        else:
            most = self.rnd.choice((3, 40, 400))
        sync = self.syncs(5)
        if log.length and self.rnd.randrange(5) == 0:
            fd, n = self.change_log(log)
            self.log_boundary(log, fd, n, sync, True)
            return
        for _ in range(self.rnd.randrange(1, 4)):
            n = self.append(log, self.rnd.randrange(1, most + 1))
        close = not log.keep_open or self.rnd.randrange(8) == 0
        if sync or close:
            fd = log.fd
            self.log_boundary(log, fd, n, sync, close)
            if close:
                log.fd = None
    do_log.weight = 30

    # ---- all of it ----

    def setup(self):
        """What is there from the beginning, and on the disk."""
        if self.number == 0:
            self.merge(REVISIONS, 'revision', ('n',), True)
        if self.quiet or self.number == 0:
            return
        for name, large in (('base', True), ('s0', False), ('l0', True), ('l1', True), ('m0', True), ('h0', True), ('r0', False),
                            ('t0', True), ('e0', False)):
            self.rewrite(self.name(name), name, how='trunc', sync=True, large=large)
        for log in self.logs[:2]:
            n = self.append(log, 700 if log.keep_open else 300)
            self.log_boundary(log, log.fd, n, True, not log.keep_open)
            if not log.keep_open:
                log.fd = None

    def run(self, seconds):
        operations = [getattr(self, name) for name in sorted(dir(self)) if name.startswith('do_')]
        weights = [o.weight if hasattr(o, 'weight') else 0 for o in operations]
        if self.theme is not None and self.theme < len(operations):
            # Half of the rounds do mostly one thing: then the crash comes in the middle of it.
            weights[self.theme] *= 15
        if self.number == 0:
            operations, weights = [self.do_revision], [1]
        if self.quiet:
            operations, weights = [self.do_quiet], [1]
        end = time.monotonic() + seconds
        self.own_descriptors = max(map(int, os.listdir('/proc/self/fd'))) + 1
        while time.monotonic() < end and not self.stop[0]:
            self.doing = self.rnd.choices(operations, weights)[0].__name__
            try:
                getattr(self, self.doing)()
            except OSError as e:
                if e.errno not in self.tolerated:
                    raise
                self.failed()
                time.sleep(0.01)
            if self.number == 0:
                time.sleep(0.001)
        for log in self.logs:
            if log.fd is not None:
                self.log_boundary(log, log.fd, log.n, False, True)
        if self.part:
            self.part = (0,) + self.part[1:]
            self.do_parts()
        while self.held:
            self.let_go(self.held.pop())


def work(point, folder, number, seed, stop, ready, seconds, quiet, varied, tolerated):
    """In a process of its own. The end of the mount ends it."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    worker = Worker(point, folder, number, seed, stop, quiet, varied, tolerated)
    worker.doing = 'setup'
    try:
        worker.setup()
        os.write(ready, b'.')
        worker.run(seconds)
    except OSError as e:
        worker.note('X', time.monotonic(), worker.doing, f'{errno.errorcode.get(e.errno, e.errno)} {e}')
    except BaseException as e:
        worker.note('X', 0, worker.doing, repr(e) + ' ' + traceback.format_exc())
    finally:
        for p in worker.held:
            p.kill()
        for p in worker.held:
            p.wait()


def start(point, folder, seed, stop, seconds, processes, quiet=False, varied=True, tolerated=()):
    """The workers' process ids, once each has made what is there from the beginning. `quiet`: one more, that only merges and
    writes small files and syncs nothing. Not `varied`: every kind of operation has its usual share. An operation may fail
    with an errno that is `tolerated`."""
    hear, ready = os.pipe()
    pids = []
    # The first one counts revisions, which a merge of unknown outcome would spoil.
    numbers = [processes] if quiet else range(bool(tolerated), processes + bool(tolerated))
    processes = len(numbers)
    for i in numbers:
        pid = os.fork()
        if pid == 0:
            try:
                os.close(hear)
                signal.alarm(0)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                work(point, folder, i, seed, stop, ready, seconds, quiet, varied, tolerated)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(0)
        pids.append(pid)
    os.close(ready)
    got = b''
    while len(got) < processes:
        more = os.read(hear, processes)
        if not more:
            break
        got += more
    os.close(hear)
    return pids
