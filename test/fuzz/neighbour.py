"""The neighbour of the fuzzing processes. It keeps a secret everywhere in its own bucket and measures its requests.

The model is what the bucket must hold: a document, files and their attributes. The neighbour alone changes it."""
import errno
import json
import os
import pickle
import random
import time

USER = 20009
BUCKET = 'neighbour'
FILES = 6
KEYS = 12


class Neighbour:
    def __init__(self, point, folder, seed, secret, job, bound, doing):
        self.point, self.folder, self.secret, self.job = point, folder, secret, job
        self.bound, self.doing = bound, doing
        self.rnd = random.Random(seed)
        self.bucket = f'{point}/{BUCKET}'
        self.document, self.files, self.times = {}, {}, {}
        self.slow = []  # lines about requests over the bound
        self.control = 0.0  # the longest that the same took outside of the mount
        self.n = 0

    # ---- measured requests ----

    def request(self, name, what, *args):
        began = time.monotonic()
        result = what(*args)
        took = time.monotonic() - began
        self.times.setdefault(name, []).append(took)
        if took > self.bound and len(self.slow) < 20:
            self.slow.append(f'{name} took {took:.2f} s; meanwhile:\n' + '\n'.join(self.doing(took)))
        return result

    def stat(self):
        os.stat(f'{self.bucket}/data.json')

    def ls(self):
        return os.listdir(f'{self.bucket}/files')

    def merge(self, key, value):
        with open(f'{self.bucket}/data.json', 'w') as f:
            json.dump({key: value}, f)

    def read(self):
        with open(f'{self.bucket}/data.json', 'rb') as f:
            return f.read()

    def small(self, data):
        path = f'{self.bucket}/files/tmp_{self.secret}'
        self.write(path, data)
        os.unlink(path)

    def move(self, name):
        """To another folder: of these the kernel lets only one at a time be made on a mount, whoever makes it."""
        os.rename(f'{self.bucket}/files/{name}', f'{self.bucket}/files/sub/{name}')

    def write(self, path, data):
        with open(path, 'wb') as f:
            f.write(data)

    def outside(self):
        """The same on the disk itself: when this takes long the machine has no time, or its disk has none."""
        began = time.monotonic()
        path = f'{self.folder}/control'
        self.write(path, bytes(4096))
        os.unlink(path)
        self.control = max(self.control, time.monotonic() - began)

    # ---- the secret, everywhere ----

    def content(self, size):
        return (self.secret.encode() + self.rnd.randbytes(64)) * (size // 128) + self.rnd.randbytes(size % 128)

    def hide(self):
        """Writes the secret into values, keys, names, attributes, and texts that are refused."""
        n = self.rnd.randrange(KEYS)
        key = f'k{n}_{self.secret}'
        value = [self.secret, self.n]
        self.n += 1
        self.request('merge a key', self.merge, key, value)
        self.document[key] = value
        name = f'f{self.rnd.randrange(FILES)}_{self.secret}.bin'
        data = self.content(self.rnd.randrange(300, 30000))
        self.write(f'{self.bucket}/files/{name}', data)
        os.setxattr(f'{self.bucket}/files/{name}', f'user.{self.secret}', self.secret.encode())
        self.files[name] = data
        # Each of these is refused, and `errors` says so to the neighbour only.
        for refused in (lambda: self.write(f'{self.bucket}/data.json', f'{{"{self.secret}": }}'.encode()),
                        lambda: os.rename(f'{self.bucket}/files/{name}', f'{self.bucket}/{self.secret}'),
                        lambda: os.setxattr(f'{self.bucket}', 'user.bucketfs.acl.edit', self.secret.encode()),
                        lambda: os.mkdir(f'{self.bucket}/.bucketfs/tx/{self.secret}/{self.secret}/x'),
                        lambda: os.mkdir(f'{self.point}/@device/{self.secret}')):
            try:
                refused()
            except OSError:
                pass
        self.leave(name)
        self.write(f'{self.point}/@job/data.json', json.dumps({f'job_{self.secret}': self.secret}).encode())

    def leave(self, name):
        """The secret where nobody sees it, or not any more: a transaction, a temporary file, a removed file."""
        kind = self.rnd.randrange(5)
        if kind == 0:
            self.write(f'{self.bucket}/data.json.tmp', json.dumps(self.document).encode())
            os.rename(f'{self.bucket}/data.json.tmp', f'{self.bucket}/data.json')
        elif kind == 1:
            top = f'{self.bucket}/.bucketfs/tx/{self.secret}'
            os.mkdir(top)
            data = self.content(self.rnd.randrange(100000))
            self.write(f'{top}/files/{name}', data)
            os.rename(top, f'{self.bucket}/.bucketfs/commit')
            self.files[name] = data
        elif kind == 2:
            os.unlink(f'{self.bucket}/data.json')
            self.write(f'{self.bucket}/data.json', json.dumps(self.document).encode())
        elif kind == 3:
            with open(f'{self.bucket}/files/gone_{self.secret}', 'wb') as f:
                f.write(self.content(70000))
                os.unlink(f.name)
                f.write(self.content(5000))
        else:
            with open(f'{self.bucket}/files/{name}', 'ab') as f:
                f.write(self.secret.encode())
            self.files[name] += self.secret.encode()

    def round(self):
        self.request('stat', self.stat)
        self.request('ls', self.ls)
        self.request('read data.json', self.read)
        self.request('write and unlink 4 KiB', self.small, self.content(4096))
        self.outside()
        if self.rnd.randrange(4) == 0:
            self.write(f'{self.bucket}/files/move_{self.secret}', b'')
            self.request('rename into another folder', self.move, f'move_{self.secret}')
            os.unlink(f'{self.bucket}/files/sub/move_{self.secret}')
        if self.rnd.randrange(4) == 0:
            self.hide()
        if self.rnd.randrange(8) == 0:
            data = self.content(102400)
            name = f'large_{self.secret}.bin'
            self.request('write 100 KiB', self.write, f'{self.bucket}/files/{name}', data)
            self.files[name] = data
        if self.rnd.randrange(16) == 0:
            self.check()

    # ---- the model, compared ----

    def check(self):
        document = json.loads(self.read())
        if document != self.document:
            raise AssertionError(f'its data.json has {len(document)} keys, not as it wrote them')
        listed = sorted(self.ls())
        known = sorted([*self.files, 'sub'])
        if listed != known:
            raise AssertionError(f'its files are {listed}, not {known}')
        for name, data in self.files.items():
            with open(f'{self.bucket}/files/{name}', 'rb') as f:
                got = f.read()
            if got != data:
                raise AssertionError(f'its {name} has {len(got)} bytes, not the {len(data)} that it wrote')

    def begin(self):
        os.mkdir(self.bucket)
        for privilege in ('read', 'edit'):
            os.setxattr(self.bucket, f'user.bucketfs.acl.{privilege}', f'user:{USER}'.encode())
        self.merge('first', self.secret)
        self.document['first'] = self.secret
        os.mkdir(f'{self.bucket}/files/sub')
        self.hide()

    def result(self, error=None):
        times = sorted(t for all_of in self.times.values() for t in all_of)
        return {'times': times, 'slow': self.slow, 'control': self.control, 'error': error, 'document': self.document,
                'files': self.files,
                'longest': max(((max(t), name) for name, t in self.times.items()), default=(0, 'none'))}

    def run(self, out, stopped):
        """As long as nobody says stop; then what it knows is in the file OUT."""
        error = None
        try:
            while not stopped():
                self.round()
                time.sleep(0.002)
            self.check()
        except (OSError, AssertionError, ValueError) as e:
            error = f'{type(e).__name__}: {e}' + (f' ({errno.errorcode.get(e.errno)})' if isinstance(e,
                    OSError) else '')
        with open(out + '.new', 'wb') as f:
            pickle.dump(self.result(error), f)
        os.rename(out + '.new', out)


def load(out):
    """A neighbour that only checks, from what an earlier one has written down."""
    with open(out, 'rb') as f:
        return pickle.load(f)
