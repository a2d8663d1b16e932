#!/usr/bin/python3
"""Eight processes do everything at once on one mount, and each checks what it sees while the others go on.

BUCKETFS_MIXED=SECONDS for a long run, BUCKETFS_SEED=N for another one than the usual."""
import contextlib
import ctypes
import errno
import fcntl
import hashlib
import json
import mmap
import os
import pickle
import random
import shutil
import signal
import tempfile
import time
import traceback

from harness import *

SECONDS = float(os.environ.get('BUCKETFS_MIXED', '8'))
SEED = int(os.environ.get('BUCKETFS_SEED', '1'))
PROCESSES = 8
SHARED = ('shared0', 'shared1')
WHOLE = 6  # files that are replaced and never removed
SLOTS, SLOT = ('slots_small.bin', 'slots_large.bin', 'slots_mapped.bin'), (700, 9000, 8192)
FOREIGN = Person(61007)
ACL = 'user.bucketfs.acl.'
KEY = 'user.bucketfs.key.'

GONE = (errno.ENOENT, errno.ESTALE)  # what meets something that somebody else deletes meanwhile


@contextlib.contextmanager
def may(*numbers):
    """These errors and no others."""
    try:
        yield
    except OSError as e:
        if e.errno not in numbers:
            raise


def retry(number, what, seconds=20):
    """what(), again as long as it fails with this errno."""
    end = time.time() + seconds * SLOW
    while True:
        try:
            return what()
        except OSError as e:
            if e.errno != number or time.time() > end:
                raise


def whole(rnd):
    """A content that says itself whether it is whole: small ones live in a record, large ones are read by the kernel."""
    size = rnd.choice((rnd.randrange(3000), rnd.randrange(32700, 32900), rnd.randrange(33000, 250000)))
    body = rnd.randbytes(size)
    return body + hashlib.sha256(body).digest()


def check_whole(data, how):
    assert len(data) >= 32 and hashlib.sha256(data[:-32]).digest() == data[-32:], f'{how}: {len(data)} bytes that are not whole'


def metrics(m):
    values = {}
    for line in read(m / '.bucketfs/metrics').splitlines():
        if not line.startswith('#'):
            name, value = line.rsplit(' ', 1)
            values[name] = float(value)
    return values


def patch_of(data, **values):
    write(data, json.dumps(values))


class Worker:
    """One of the processes. What it alone changes it remembers, and what the mount shows of that must be the same."""

    def __init__(self, m, number):
        self.m, self.number = m, number
        self.rnd = random.Random(SEED * 1000 + number)
        self.mine = {b: {} for b in SHARED}  # keys of shared documents that only this process changes
        self.raised = dict.fromkeys(SHARED, 0)  # what it added to the counters
        self.locked = 0  # and to the one in a file
        self.lines = dict.fromkeys(SHARED, 0)  # in the logs
        self.slots = {}
        self.model = bytearray()  # what is in its own file
        self.attributes = {}
        self.document = {}  # its own bucket
        self.n = 0
        self.done = {}
        self.own = m / f'own{number}'
        os.mkdir(self.own)
        self.walk = f'{m.point}/shared0/files/walk_{number}.dat'
        write(self.walk, b'')

    def next(self):
        self.n += 1
        return self.n

    def bucket(self):
        return self.rnd.choice(SHARED)

    def data(self, b):
        return f'{self.m.point}/{b}/data.json'

    def file(self, name, b=None):
        return f'{self.m.point}/{b or self.bucket()}/files/{name}'

    def whole_name(self):
        """One of them, in one of its spellings."""
        return self.rnd.choice(('whole_%d.bin', 'whole_%d.bin', 'Whole %d.bin', 'WHOLE?%d.BIN')) % self.rnd.randrange(WHOLE)

    def run(self, seconds):
        operations = [getattr(self, name) for name in sorted(dir(self)) if name.startswith('do_')]
        weights = [getattr(o, 'weight', 10) for o in operations]
        end = time.time() + seconds
        last = None
        signal.alarm(int(seconds + 60 * SLOW))
        try:
            while time.time() < end:
                last = self.rnd.choices(operations, weights)[0]
                last()
                self.done[last.__name__] = self.done.get(last.__name__, 0) + 1
        except BaseException:
            print(f'process {self.number}, seed {SEED}, after {sum(self.done.values())} operations, in {last and last.__name__}:', flush=True)
            raise
        with open(f'{self.m.folder}/worker{self.number}', 'wb') as f:
            pickle.dump({k: v for k, v in vars(self).items() if k not in ('m', 'rnd')}, f)

    # ---- data.json ----

    def check_mine(self, b, shown):
        prefix = f'p{self.number}_'
        got = {k: v for k, v in shown.items() if k.startswith(prefix)}
        assert got == self.mine[b], f'{b}: own keys are {got}, not {self.mine[b]}'

    def own_key(self):
        return f'p{self.number}_{self.rnd.randrange(12)}'

    def do_merge(self):
        b, n = self.bucket(), self.next()
        change = {self.own_key(): n, 'last': [self.number, n]}
        text = json.dumps(change)
        how = self.rnd.randrange(4)
        if how == 0:
            text = json.dumps({k: 'overwritten' for k in change}) + text
        with open(self.data(b), 'a' if how == 1 else 'w') as f:
            half = self.rnd.randrange(len(text))
            f.write(text[:half])
            if how == 2:
                f.flush()
            f.write(text[half:])
            if how == 3:
                f.flush()
                os.fsync(f.fileno())
        change.pop('last')
        self.mine[b].update(change)
        if self.rnd.randrange(2):
            self.check_mine(b, json.loads(read(self.data(b))))
    do_merge.weight = 30

    def do_read(self):
        b = self.bucket()
        self.check_mine(b, json.loads(read(self.data(b))))

    @contextlib.contextmanager
    def deleting(self, b, how=fcntl.LOCK_SH):
        """Not while others make a temporary file: a key that came and went meanwhile they would bring back."""
        with open(f'{self.m.folder}/deleting-{b}', 'a') as f:
            fcntl.flock(f, how)
            yield

    def do_keys(self):
        b, key, n = self.bucket(), self.own_key(), self.next()
        if self.rnd.randrange(4) == 0 and key in self.mine[b]:
            with self.deleting(b):
                os.removexattr(self.data(b), KEY + key)
            del self.mine[b][key]
            fails(errno.ENODATA, os.getxattr, self.data(b), KEY + key)
            return
        os.setxattr(self.data(b), KEY + key, b'%d' % n)
        self.mine[b][key] = n
        assert os.getxattr(self.data(b), KEY + key) == b'%d' % n
        self.check_mine(b, json.loads(read(self.data(b))))

    def edit(self, b, change):
        """r+, again when somebody was faster."""
        def attempt():
            with open(self.data(b), 'r+') as f:
                d = json.load(f)
                change(d)
                f.seek(0)
                f.truncate()
                json.dump(d, f)
        retry(errno.ESTALE, attempt)

    def do_count(self):
        b = self.bucket()
        self.edit(b, lambda d: d.update(counter=d['counter'] + 1))
        self.raised[b] += 1

    def do_edit_mine(self):
        """Deletes a key, and fsync in the middle; no conflict, for nobody else has these keys."""
        b, key, n = self.bucket(), self.own_key(), self.next()
        with self.deleting(b), open(self.data(b), 'r+') as f:
            d = json.load(f)
            self.check_mine(b, d)
            d.pop(key, None)
            d[f'p{self.number}_edited'] = n
            f.seek(0)
            f.truncate()
            json.dump(d, f)
            if n % 2:
                f.flush()
                os.fsync(f.fileno())
        self.mine[b].pop(key, None)
        self.mine[b][f'p{self.number}_edited'] = n

    def do_scratch(self):
        """A temporary file and os.replace. It comes first, for what counts is the document as it was at that moment."""
        b, key, n = self.bucket(), self.own_key(), self.next()

        def attempt():
            fd, name = tempfile.mkstemp(dir=f'{self.m.point}/{b}')
            try:
                with os.fdopen(fd, 'w') as f:
                    d = json.loads(read(self.data(b)))
                    d[key] = n
                    json.dump(d, f)
                os.replace(name, self.data(b))
            except OSError:
                os.unlink(name)
                raise
        with self.deleting(b, fcntl.LOCK_EX):
            retry(errno.ESTALE, attempt)
        self.mine[b][key] = n
        self.check_mine(b, json.loads(read(self.data(b))))

    def do_refused(self):
        fails(errno.EINVAL, write, self.data(self.bucket()), '{"broken": }')
        assert 'line 1' in read(f'{self.m.point}/{SHARED[0]}/.bucketfs/errors') + read(f'{self.m.point}/{SHARED[1]}/.bucketfs/errors')
    do_refused.weight = 2

    def do_own_document(self):
        """Nobody else is here: the whole document is known, so it can be removed and replaced."""
        data, n = self.own + '/data.json', self.next()
        how = self.rnd.randrange(6)
        if how == 0 and self.document:
            os.unlink(data)
            fails(errno.ENOENT, os.stat, data)
            assert json.loads(read(self.own + '/.bucketfs/previous.json')) == self.document
            patch_of(data, n=n)
            self.document = {'n': n}
        elif how == 1:
            with tempfile.NamedTemporaryFile('w', dir=self.own, delete=False) as f:
                json.dump({'n': n, 'replaced': True}, f)
            os.replace(f.name, data)
            self.document = {'n': n, 'replaced': True}
        elif how == 2:
            schema = self.own + '/.bucketfs/schema.json'
            write(schema, '{"properties": {"n": {"type": "integer"}, "label": {"maxLength": 5}}}')
            fails(errno.EINVAL, patch_of, data, label='too long')
            patch_of(data, label='right')
            os.unlink(schema)
            self.document['label'] = 'right'
        elif how == 3:
            write(self.own + '/.bucketfs/meta.json', '{"title": "number %d"}' % n)
            assert json.loads(read(self.own + '/.bucketfs/meta.json'))['title'] == f'number {n}'
        else:
            patch_of(data, **{f'k{n % 40}': 'x' * self.rnd.randrange(2000)}, n=n)
            self.document = json.loads(read(data)) if how == 4 else {**self.document, **json.loads(read(data))}
            assert self.document['n'] == n
        assert json.loads(read(data)) == self.document if os.path.exists(data) else not self.document

    def do_shell(self):
        data, n = self.own + '/data.json', self.next()
        patch_of(data, shell=0, sponge=0)
        sh(f"sed -i 's/\"shell\": 0/\"shell\": {n}/' data.json; jq '.sponge = {n}' data.json | sponge data.json", self.own)
        self.document.update(shell=n, sponge=n)
        assert json.loads(read(data)) == self.document
    do_shell.weight = 1

    # ---- files that are whole at any time ----

    def do_rewrite(self):
        path, content = self.file(self.whole_name()), whole(self.rnd)
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC | self.rnd.choice((0, os.O_CREAT)), 0o644)
        try:
            at = 0
            while at < len(content):
                at += os.write(fd, content[at:at + self.rnd.choice((1000, 50000, 1 << 20))])
                if self.rnd.randrange(10) == 0:
                    os.close(os.dup(fd))
            if self.rnd.randrange(8) == 0:
                os.fsync(fd)
        finally:
            os.close(fd)
    do_rewrite.weight = 20

    def do_rename_over(self):
        b = self.bucket()
        temporary = self.file(f'Temporary {self.number}', b)
        write(temporary, whole(self.rnd))
        os.rename(temporary, self.file(self.whole_name(), b))
        fails(errno.ENOENT, os.stat, temporary)

    def do_kill_a_writer(self):
        """Half a content is never seen under the name, and never listed."""
        new, content = self.rnd.randrange(2), whole(self.rnd)
        path = self.file(f'killed_{self.number}' if new else self.whole_name())
        pid = os.fork()
        if pid == 0:
            try:
                fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CREAT)
                os.write(fd, content[:len(content) // 3])
                if self.rnd.randrange(2):
                    os.close(os.dup(fd))
                os.write(fd, content[len(content) // 3:len(content) // 2])
            finally:
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        if new:
            assert os.path.basename(path) not in os.listdir(os.path.dirname(path))
        else:
            check_whole(read(path, 'rb'), 'after a killed writer')
    do_kill_a_writer.weight = 4

    def do_read_whole(self):
        path = self.file(self.whole_name())
        how = self.rnd.randrange(5)
        with open(path, 'rb', buffering=0) as f:
            if how == 0:
                data = f.readall()
            elif how == 1:
                data = b''.join(iter(lambda: f.read(self.rnd.randrange(1, 60000)), b''))
            elif how == 2:
                with mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as mapped:
                    data = mapped[:]
            elif how == 3:
                with tempfile.TemporaryFile(dir=self.m.folder) as out:
                    while os.sendfile(out.fileno(), f.fileno(), None, 1 << 20):
                        pass
                    out.seek(0)
                    data = out.read()
            else:
                size = os.fstat(f.fileno()).st_size
                data = b''.join(os.pread(f.fileno(), 30000, at) for at in range(0, size, 30000))
        check_whole(data, ('read', 'pieces', 'mmap', 'sendfile', 'pread')[how])
    do_read_whole.weight = 40

    def do_copy(self):
        """Within the store: what was open stays what it was."""
        b = self.bucket()
        name = f'copy_{self.number}.bin'
        with open(self.file(self.whole_name(), b), 'rb') as source, open(self.file(name, b), 'wb') as target:
            size = os.fstat(source.fileno()).st_size
            while size:
                got = os.copy_file_range(source.fileno(), target.fileno(), size)
                assert got
                size -= got
        check_whole(read(self.file(name, b), 'rb'), 'copy_file_range')

    # ---- files that come and go ----

    def do_come_and_go(self):
        """Names that everybody makes, renames and removes."""
        b = self.bucket()
        name = lambda: self.file(self.rnd.choice(('loose_%d', 'Loose %d')) % self.rnd.randrange(8), b)
        content = self.rnd.randbytes(self.rnd.choice((10, 2000, 40000)))
        how = self.rnd.randrange(6)
        if how == 0:
            with may(errno.EEXIST):
                with open(name(), 'xb', buffering=0) as f:
                    f.write(content)
                    os.close(os.dup(f.fileno()))  # as a child's exit does: the store has it as it is now
                    f.write(content)
        elif how == 1:
            with may(*GONE):
                os.unlink(name())
        elif how == 2:
            with may(*GONE):
                os.rename(name(), name())
        elif how == 3:
            with may(*GONE), open(name(), 'rb') as f:
                f.read()
        elif how == 4:
            with may(*GONE):
                os.truncate(name(), self.rnd.randrange(50000))
        else:
            # Removed between the kernel's two attempts to open it: rare, and said to be so.
            with may(errno.ESTALE):
                write(name(), content)
    do_come_and_go.weight = 30

    def do_unlink_while_open(self):
        path, content = self.file(f'passing_{self.number}'), self.rnd.randbytes(self.rnd.choice((100, 70000)))
        write(path, content)
        with open(path, 'r+b', buffering=0) as f:
            os.unlink(path)
            fails(errno.ENOENT, os.stat, path)
            assert f.readall() == content and os.fstat(f.fileno()).st_nlink == 0
            os.pwrite(f.fileno(), b'!', 5)
            assert os.pread(f.fileno(), 1, 5) == b'!'

    def do_folders(self):
        b = self.bucket()
        folder = self.file(f'folder_{self.rnd.randrange(3)}', b)
        how = self.rnd.randrange(6)
        if how == 0:
            with may(errno.EEXIST):
                os.mkdir(folder)
        elif how == 1:
            with may(errno.ENOTEMPTY, *GONE):
                os.rmdir(folder)
        elif how == 2:
            with may(errno.ENOTEMPTY, errno.EEXIST, *GONE):
                os.rename(folder, self.file(f'Folder {self.rnd.randrange(3)}', b))
        elif how == 3:
            with may(*GONE):
                os.unlink(f'{folder}/in{self.rnd.randrange(3)}')
        elif how == 4:
            with may(*GONE):
                os.rename(f'{folder}/in{self.rnd.randrange(3)}', self.file(f'loose_{self.rnd.randrange(8)}', b))
        else:
            with may(*GONE):
                write(f'{folder}/in{self.rnd.randrange(3)}', self.rnd.randbytes(self.rnd.choice((10, 40000))))
    do_folders.weight = 20

    def do_list(self):
        b = self.bucket()
        names = []
        with os.scandir(f'{self.m.point}/{b}/files') as entries:
            for e in entries:
                names.append(e.name)
                with may(*GONE):
                    e.stat()
        for name in [f'whole_{i}.bin' for i in range(WHOLE)] + list(SLOTS) + ['log.txt']:
            assert names.count(name) == 1, f'{name} is {names.count(name)} times in {sorted(names)}'

    # ---- files that are changed in place ----

    def do_append(self):
        b = self.bucket()
        with open(self.file('log.txt', b), 'a') as f:
            for _ in range(self.rnd.randrange(1, 5)):
                f.write(f'{self.number} {self.lines[b]}\n')
                self.lines[b] += 1
    do_append.weight = 20

    def do_follow(self):
        """What others append comes in whole lines, and one's own are all there."""
        b = self.bucket()
        with open(self.file('log.txt', b), 'rb', buffering=0) as f:
            if self.rnd.randrange(2):
                self.do_append()
            text = f.readall().decode()
        own = [int(line.split()[1]) for line in text.splitlines() if line.startswith(f'{self.number} ')]
        assert text.endswith('\n') or not text, f'the log ends with {text[-20:]!r}'
        assert own == list(range(self.lines[b])), f'{b}: own lines are {own[-5:]} of {self.lines[b]}'

    def do_slots(self):
        """Each has a place of its own in a file that all write to."""
        b, which = self.bucket(), self.rnd.randrange(len(SLOTS))
        size, content = SLOT[which], self.rnd.randbytes(SLOT[which])
        at = self.number * size
        with open(self.file(SLOTS[which], b), 'r+b', buffering=0) as f:
            assert os.pread(f.fileno(), size, at) == self.slots.get((b, which), bytes(size)), f'{SLOTS[which]} in {b}'
            if SLOTS[which] == 'slots_mapped.bin' and self.rnd.randrange(2):
                with mmap.mmap(f.fileno(), 0) as mapped:
                    mapped[at:at + size] = content
                    if self.rnd.randrange(2):
                        mapped.flush()
            else:
                os.pwrite(f.fileno(), content, at)
            self.slots[b, which] = content
            assert os.pread(f.fileno(), size, at) == content

    def do_walk(self):
        """Its own file, which must be what the same changes make of a bytearray."""
        largest, model = self.rnd.choice((3000, 40000, 120000)), self.model
        with open(self.rnd.choice((self.walk, self.walk.upper().replace(self.m.point.upper() + '/SHARED0/FILES', os.path.dirname(self.walk)))),
                  'r+b', buffering=0) as f:
            for _ in range(self.rnd.randrange(1, 4)):
                how, at, content = self.rnd.randrange(6), self.rnd.randrange(largest), self.rnd.randbytes(self.rnd.randrange(1, largest // 3))
                if how < 2:
                    os.pwrite(f.fileno(), content, at)
                    model.extend(bytes(max(0, at - len(model))))
                    model[at:at + len(content)] = content
                elif how == 2:
                    os.ftruncate(f.fileno(), at)
                    model[at:] = bytes(max(0, at - len(model)))
                elif how == 3:
                    os.posix_fallocate(f.fileno(), at, len(content))
                    model.extend(bytes(max(0, at + len(content) - len(model))))
                elif how == 4:
                    assert libc.fallocate(f.fileno(), 3, ctypes.c_long(at), ctypes.c_long(len(content))) == 0
                    end = min(len(model), at + len(content))
                    model[at:end] = bytes(max(0, end - at))
                else:
                    with may(errno.ENXIO):
                        assert os.lseek(f.fileno(), at, os.SEEK_DATA) >= at
            if self.rnd.randrange(4) == 0:
                os.fsync(f.fileno())
        if self.rnd.randrange(4) == 0:
            os.truncate(self.walk, largest // 2)
            model[largest // 2:] = bytes(max(0, largest // 2 - len(model)))
        assert os.stat(self.walk).st_size == len(model) and read(self.walk, 'rb') == model, 'the walk has gone elsewhere'

    def do_attributes(self):
        name, value = f'user.colour{self.rnd.randrange(3)}', self.rnd.randbytes(self.rnd.randrange(200))
        if name in self.attributes and self.rnd.randrange(3) == 0:
            os.removexattr(self.walk, name)
            del self.attributes[name]
        else:
            os.setxattr(self.walk, name, value)
            self.attributes[name] = value
        assert {n: os.getxattr(self.walk, n) for n in os.listxattr(self.walk)} == self.attributes
        os.chmod(self.walk, self.rnd.choice((0o644, 0o755)))
        os.utime(self.walk, ns=(1, self.next()))
        assert os.stat(self.walk).st_mtime_ns == self.n

    def do_locked_count(self):
        with open(self.file('locked.txt', SHARED[0]), 'r+') as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            n = int(f.read())
            f.seek(0)
            f.write(str(n + 1))
            f.flush()
            fcntl.flock(f, fcntl.LOCK_UN)
        self.locked += 1

    # ---- transactions ----

    def do_transaction(self):
        b, n = self.bucket(), self.next()
        t = f'{self.m.point}/{b}/.bucketfs/tx/t{self.number}'
        names = [f'tx_{self.number}_{k}.txt' for k in 'ab']
        keys = {f'p{self.number}_tx{k}': n for k in 'ab'}
        os.mkdir(t)
        patch_of(t + '/data.json', **keys)
        write(f'{t}/files/{names[0]}', str(n) * self.rnd.choice((1, 20000)))
        write(f'{t}/files/{names[1].upper()}', str(n))
        if self.rnd.randrange(4) == 0:
            shutil.rmtree(t)
            return
        retry(errno.EBUSY, lambda: os.rename(t, f'{self.m.point}/{b}/.bucketfs/commit'))
        self.mine[b].update(keys)
        assert [int(read(self.file(name, b))[:len(str(n))]) for name in names] == [n, n]
        self.check_mine(b, json.loads(read(self.data(b))))

    # ---- buckets, who may do what, and what is said of it all ----

    def do_buckets(self):
        """Buckets that everybody makes and removes, with all that is in them."""
        b = self.m / f'brief{self.rnd.randrange(3)}'
        how = self.rnd.randrange(5)
        if how == 0:
            with may(errno.EEXIST):
                os.mkdir(b)
        elif how == 1:
            with may(*GONE):
                patch_of(b + '/data.json', n=self.next())
        elif how == 2:
            with may(*GONE):
                write(f'{b}/files/f{self.rnd.randrange(3)}', self.rnd.randbytes(self.rnd.choice((10, 40000))))
        elif how == 3:
            with may(errno.ENOTEMPTY, *GONE):
                os.rmdir(b)
        else:
            sh(f'rm -rf {b}', ok=None)

    def do_access(self):
        """Somebody else is inside while the lists change."""
        b, n = self.m / 'guarded', self.next()
        set_ = lambda privilege, text: os.setxattr(b, ACL + privilege, text)
        how = self.rnd.randrange(7)
        if how == 0:
            with may(errno.EROFS):
                set_('read', self.rnd.choice((b'', b'*', b'user:61007')))
        elif how == 1:
            with may(errno.EROFS):
                set_('edit', self.rnd.choice((b'', b'user:61007', b'group:61007,user:61008')))
        elif how == 2:
            with may(errno.ENODATA, errno.EROFS):
                os.removexattr(b, ACL + 'read')
        elif how == 3:
            write(b + '/.bucketfs/meta.json', json.dumps({'enabled': bool(self.rnd.randrange(4))}))
        else:
            def inside():
                with open(b + '/files/held', 'rb') as held:
                    for _ in range(5):
                        with may(errno.EACCES, errno.EROFS):
                            patch_of(b + '/data.json', foreign=n)
                        with may(errno.EACCES, errno.EROFS):
                            write(f'{b}/files/foreign', str(n))
                        with may(errno.EACCES):
                            assert json.loads(read(b + '/data.json'))['kept'] == 1
                        with may(errno.EACCES):
                            assert 'held' in os.listdir(b + '/files')
                        with may(errno.EACCES):
                            os.stat(b + '/files/held')
                        with may(errno.EACCES):
                            assert os.pread(held.fileno(), 100, 0) == b'held'
                return os.getxattr(b, 'user.bucketfs.access').decode()
            with may(errno.EACCES):
                FOREIGN(inside)
    do_access.weight = 6

    def do_limits(self):
        """Generous ones: nothing is refused."""
        path, name = f'{self.m.point}/{self.bucket()}', self.rnd.choice(('max_data_size', 'max_file_size', 'max_files', 'max_total_size'))
        if self.rnd.randrange(2):
            os.setxattr(path, 'user.bucketfs.' + name, b'%dM' % self.rnd.randrange(100, 200))
        else:
            with may(errno.ENODATA):
                os.removexattr(path, 'user.bucketfs.' + name)
    do_limits.weight = 3

    def do_info(self):
        """One snapshot: of what a transaction changed, all or nothing."""
        b = self.bucket()
        info = json.loads(read(f'{self.m.point}/{b}/.bucketfs/info.json'))
        self.check_mine(b, info['data'])
        for i in range(PROCESSES):
            assert info['data'].get(f'p{i}_txa') == info['data'].get(f'p{i}_txb'), f'half of a transaction of {i}'
        assert {f'whole_{i}.bin' for i in range(WHOLE)} <= {f['filename'] for f in info['files']}

    def do_about(self):
        values = metrics(self.m)
        assert values['bucketfs_buckets'] >= PROCESSES + len(SHARED) + 1
        assert json.loads(read(self.m / '.bucketfs/config.json'))['limits']['max_files']
        json.loads(read(f'{self.m.point}/{self.bucket()}/.bucketfs/meta.json'))
        for line in read(self.m / '.bucketfs/errors').splitlines():
            json.loads(line)
        assert os.statvfs(self.m.point).f_blocks and set(SHARED) <= set(os.listdir(self.m.point))
        fd = os.open(f'{self.m.point}/{self.bucket()}/files', os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
    do_about.weight = 5


def prepare(m):
    rnd = random.Random(SEED)
    for b in SHARED:
        os.mkdir(m / b)
        patch_of(f'{m.point}/{b}/data.json', counter=0)
        for i in range(WHOLE):
            write(f'{m.point}/{b}/files/whole_{i}.bin', whole(rnd))
        for name, size in zip(SLOTS, SLOT):
            write(f'{m.point}/{b}/files/{name}', bytes(size * PROCESSES))
        write(f'{m.point}/{b}/files/log.txt', '')
        write(f'{m.point}/{b}/files/locked.txt', '0')
    os.mkdir(m / 'guarded')
    patch_of(m / 'guarded/data.json', kept=1)
    write(m / 'guarded/files/held', 'held')


def counts(m):
    """Buckets, files and folders, bytes and keys: as the tree shows them, and as info.json and metrics do."""
    shown, told = [0, 0, 0, 0], [0, 0]
    for b in os.listdir(m.point):
        top = m / b + '/files'
        shown[0] += 1
        shown[3] += len(json.loads(read(m / b + '/data.json'))) if os.path.exists(m / b + '/data.json') else 0
        paths = {}
        for folder, folders, names in os.walk(top):
            shown[1] += len(folders) + len(names)
            for name in names:
                path = os.path.join(folder, name)
                size = os.stat(path).st_size
                assert len(read(path, 'rb')) == size, f'{path}: its size is not {size}'
                paths[path] = size
        listed = {os.path.join(m.point, f['path']): f['size'] for f in json.loads(read(m / b + '/.bucketfs/info.json'))['files']}
        assert listed == paths, f'info.json of {b}: {set(listed.items()) ^ set(paths.items())}'
        shown[2] += sum(paths.values())
    values = metrics(m)
    told = [values['bucketfs_' + name] for name in ('buckets', 'files', 'file_bytes', 'data_keys')]
    return shown, told


def check_end(m, workers):
    # What was closed last may not be released yet.
    assert wait_for(lambda: metrics(m)['bucketfs_open_handles'] == 0, 10), 'handles stay open'
    shown, told = counts(m)
    assert shown == told, f'buckets, files, bytes and keys are {shown}, in the metrics {told}'
    for b in SHARED:
        d = json.loads(read(f'{m.point}/{b}/data.json'))
        assert d['counter'] == sum(w['raised'][b] for w in workers), f'{b}: the counter is {d["counter"]}, not {[w["raised"][b] for w in workers]}'
        assert {k: v for k, v in d.items() if k not in ('counter', 'last')} == {k: v for w in workers for k, v in w['mine'][b].items()}
        for i in range(WHOLE):
            check_whole(read(f'{m.point}/{b}/files/whole_{i}.bin', 'rb'), 'at the end')
        lines = read(f'{m.point}/{b}/files/log.txt').splitlines()
        for w in workers:
            own = [line for line in lines if line.startswith(f'{w["number"]} ')]
            assert own == [f'{w["number"]} {n}' for n in range(w['lines'][b])], f'{b}: lines of the log are missing'
        assert len(lines) == sum(w['lines'][b] for w in workers)
        for which, name in enumerate(SLOTS):
            content = read(f'{m.point}/{b}/files/{name}', 'rb')
            for w in workers:
                at = w['number'] * SLOT[which]
                assert content[at:at + SLOT[which]] == w['slots'].get((b, which), bytes(SLOT[which])), f'{name} in {b}'
    assert int(read(f'{m.point}/{SHARED[0]}/files/locked.txt')) == sum(w['locked'] for w in workers)
    for w in workers:
        assert read(w['walk'], 'rb') == w['model'] and set(os.listxattr(w['walk'])) == set(w['attributes'])
        data = w['own'] + '/data.json'
        assert (json.loads(read(data)) if os.path.exists(data) else {}) == w['document']


def test_mixed_load():
    with Mount() as m:
        prepare(m)
        workers = [Worker(m, i) for i in range(PROCESSES)]
        parallel(PROCESSES, lambda i: workers[i].run(SECONDS))
        workers = []
        for i in range(PROCESSES):
            with open(f'{m.folder}/worker{i}', 'rb') as f:
                workers.append(pickle.load(f))
        if 'BUCKETFS_MIXED' in os.environ:
            total = {}
            for w in workers:
                for name, n in w['done'].items():
                    total[name] = total.get(name, 0) + n
            print(sum(total.values()), 'operations:', ', '.join(f'{n} {name[3:]}' for name, n in sorted(total.items())), flush=True)
        write(m / 'guarded/.bucketfs/meta.json', '{"enabled": true}')
        check_end(m, workers)
        m.restart()
        check_end(m, workers)
        sh('rm -r *', m.point)
        m.unmount()
        left = [os.path.join(folder, name) for folder, _, names in os.walk(m.store + '/blobs') for name in names]
        assert not left, f'contents that nobody has: {left}'
        m.start()


if __name__ == '__main__':
    run(tests_of(__name__), 90 + SECONDS)
