"""What is measured: bucketfs, its peers, and the folders they lie on. Every mount is gone in every outcome.

A system gives folders for files (`fresh`) and takes them back (`discard`). `kind` is what the table calls it."""
import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time

URING = '/sys/module/fuse/parameters/enable_uring'
CONNECTIONS = '/sys/fs/fuse/connections'


class Unavailable(Exception):
    """Why a system cannot be measured here."""


def mounts():
    """Mount point to (minor device number, filesystem type). /proc says it without touching a mount that may hang."""
    found = {}
    with open('/proc/self/mountinfo') as f:
        for line in f:
            fields = line.split()
            point = fields[4].encode().decode('unicode_escape')
            found[point] = (int(fields[2].split(':')[1]), fields[fields.index('-') + 1])
    return found


def filesystem_of(path):
    path = os.path.realpath(path)
    return max((p, t) for p, (_, t) in mounts().items() if path == p or path.startswith(p.rstrip('/') + '/'))[1]


def ignore_errors(*command):
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=10)


class Native:
    """Plain folders of a filesystem."""

    def __init__(self, kind, folder):
        self.kind, self.folder = kind, folder
        os.makedirs(folder, exist_ok=True)

    def fresh(self, name):
        path = os.path.join(self.folder, name)
        os.makedirs(path)
        return path

    def discard(self, name):
        shutil.rmtree(os.path.join(self.folder, name))

    def rss(self):
        return 0


class Mounted(Native):
    """A FUSE daemon in the foreground, and its mount."""

    def __init__(self, kind, folder, command, uring=None, environment=None):
        self.kind, self.command, self.uring, self.environment = kind, command, uring, environment or {}
        self.folder = self.mount = folder
        self.process = None
        self.log = folder + '.log'
        os.makedirs(folder, exist_ok=True)
        self.start()

    def start(self):
        """Returns when the mount is there."""
        if self.uring:
            with contextlib.suppress(OSError), open(URING, 'w') as f:
                f.write('Y')  # somebody else may have put it back
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **self.environment})
        end = time.monotonic() + 20
        while self.mount not in mounts():
            if self.process.poll() is not None or time.monotonic() > end:
                with open(self.log, errors='replace') as log:
                    text = log.read().strip()
                self.stop()
                raise Unavailable(f'{self.kind} did not mount: {text[-300:]}')
            time.sleep(0.001)
        if self.uring and not self.rings():
            self.stop()
            raise Unavailable(f'{self.kind} came up without io_uring')

    def rings(self):
        """The first request has been answered, and the daemon has rings."""
        os.statvfs(self.mount)
        end = time.monotonic() + 2
        while time.monotonic() < end:
            for fd in os.listdir(f'/proc/{self.process.pid}/fd'):
                with contextlib.suppress(OSError):
                    if 'io_uring' in os.readlink(f'/proc/{self.process.pid}/fd/{fd}'):
                        return True
            time.sleep(0.01)
        return False

    def rss(self):
        with open(f'/proc/{self.process.pid}/status') as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith('VmRSS:'))

    def stop(self):
        """No mount and no daemon, whatever state they are in."""
        for lazily in ([], ['-l']):
            if self.mount in mounts():
                ignore_errors('umount', *lazily, self.mount)
        if self.process:
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None


class Bucketfs(Mounted):
    """Files go to a bucket's files/, and there are documents."""

    def times(self):
        """Seconds that the daemon has spent in requests so far, and those that its store took for commits."""
        with open(os.path.join(self.mount, '.bucketfs', 'metrics')) as f:
            lines = f.readlines()
        return [sum(float(line.split()[1]) for line in lines if line.startswith(name))
                for name in ('bucketfs_operation_seconds_sum', 'bucketfs_commit_seconds_sum')]

    def time_computed(self):
        """Seconds of a processor that the daemon's threads have had so far."""
        threads = f'/proc/{self.process.pid}/task'
        seconds = 0
        for thread in os.listdir(threads):
            with contextlib.suppress(OSError), open(f'{threads}/{thread}/schedstat') as f:
                seconds += int(f.read().split()[0]) / 1e9
        return seconds

    def fresh(self, name):
        os.mkdir(os.path.join(self.mount, name))
        return os.path.join(self.mount, name, 'files')

    def document(self, name, text):
        """A new bucket with this text as its data; its folder."""
        path = os.path.join(self.mount, name)
        os.mkdir(path)
        with open(os.path.join(path, 'data.json'), 'w') as f:
            f.write(text)
        return path


class Systems:
    """Makes systems when they are asked for, in temporary folders, and ends them all."""

    def __init__(self, root, build, store):
        self.root, self.build = root, build
        self.work = tempfile.mkdtemp(prefix='bucketfs-bench-', dir=store)
        os.chmod(self.work, 0o755)
        self.made, self.why_not, self.running = {}, {}, []
        self.disk_type = filesystem_of(self.work)
        self.own_fusectl = False
        self.watchdog_limit, self.watchdog_over = None, threading.Event()
        self.raise_limit()
        self.uring_before = self.read_uring()
        self.uring = self.uring_before is not None and self.peer_binary('passthrough_ll') is not None
        self.memory = os.path.join(self.work, 'tmpfs')
        os.mkdir(self.memory)
        try:
            subprocess.run(['mount', '-t', 'tmpfs', '-o', 'mode=755', 'bench', self.memory], check=True)
            if not os.path.ismount(CONNECTIONS):
                ignore_errors('mount', '-t', 'fusectl', 'none', CONNECTIONS)
                self.own_fusectl = os.path.ismount(CONNECTIONS)
            threading.Thread(target=self.watch, daemon=True).start()
        except BaseException:
            self.close()
            raise

    # ---- what there is ----

    def get(self, name):
        """The system of that name, or None where it cannot run; why_not then has the reason."""
        if name not in self.made and name not in self.why_not:
            try:
                self.made[name] = getattr(self, 'make_' + name)()
            except Unavailable as e:
                self.why_not[name] = str(e)
        return self.made.get(name)

    def make_bucketfs(self, name='bucketfs'):
        store = os.path.join(self.work, name + '-store')
        os.makedirs(store, exist_ok=True)
        command = [os.path.join(self.build, 'bucketfs'), store, os.path.join(self.work, name), '-f',
                   '-o', self.bucketfs_options()]
        system = self.run(Bucketfs, 'bucketfs', name, command, self.uring_before is not None)
        system.store = store
        return system

    def make_empty(self):
        return self.make_bucketfs('empty')

    def make_full(self):
        return self.make_bucketfs('full')

    def bucketfs_options(self):
        uring = 'on' if self.uring_before is not None else 'auto'
        return f'io_uring={uring},max_data_size=0,max_files=0,max_file_size=0,log_level=warning'

    def make_native(self):
        return Native(self.disk_type, os.path.join(self.work, 'native'))

    def make_memory(self):
        return Native('tmpfs', os.path.join(self.memory, 'plain'))

    def make_passthrough_ll(self):
        return self.passthrough_ll('passthrough_ll', self.uring, '')

    def make_passthrough_ll_always(self):
        return self.passthrough_ll('passthrough_ll cache=always', self.uring, ',cache=always')

    def make_passthrough_ll_classic(self):
        if not self.uring:
            raise Unavailable('it is the peer already: this kernel has no FUSE over io_uring')
        return self.passthrough_ll('passthrough_ll classic', False, '')

    def passthrough_ll(self, kind, uring, options):
        name = kind.replace(' ', '-').replace('=', '-')
        source = os.path.join(self.memory, name)
        os.mkdir(source)
        options = f'source={source}{",io_uring" if uring else ""}{options}'
        command = [self.need('passthrough_ll'), '-f', '-o', options, os.path.join(self.work, name)]
        system = self.run(Mounted, kind, name, command, uring)
        system.source = source
        return system

    def make_passthrough_hp(self):
        source = os.path.join(self.memory, 'hp')
        os.mkdir(source)
        return self.passthrough_hp('passthrough_hp', 'passthrough_hp', source)

    def make_passthrough_hp_disk(self):
        source = os.path.join(self.work, 'hp-disk')
        os.mkdir(source)
        return self.passthrough_hp('passthrough_hp', 'passthrough_hp_disk', source)

    def passthrough_hp(self, kind, name, source):
        options = ['-o', 'io_uring'] if self.uring else []
        command = [self.need('passthrough_hp'), '--foreground', *options, source, os.path.join(self.work, name)]
        return self.run(Mounted, kind, name, command, self.uring)

    def make_rclone(self):
        binary = shutil.which('rclone')
        if not binary:
            raise Unavailable('the package rclone could not be installed')
        source = os.path.join(self.memory, 'rclone')
        os.mkdir(source)
        private = os.path.join(self.work, 'rclone-home')
        command = [binary, 'mount', source, os.path.join(self.work, 'rclone'), '--vfs-cache-mode', 'writes',
                   '--config', os.path.join(private, 'none.conf'), '--cache-dir', os.path.join(self.memory, 'rclone-cache')]
        os.mkdir(private)
        return self.run(Mounted, 'rclone mount', 'rclone', command, False, HOME=private)

    def run(self, what, kind, name, command, uring, **environment):
        system = what(kind, os.path.join(self.work, name), command, uring, environment)
        self.running.append(system)
        return system

    def peer_binary(self, name):
        path = os.path.join(self.build, 'peers', 'example', name)
        return path if os.access(path, os.X_OK) else None

    def need(self, name):
        path = self.peer_binary(name)
        if not path:
            raise Unavailable("libfuse's source is not in subprojects/fuse3, for the system's own is new enough")
        return path

    # ---- the machine ----

    def read_uring(self):
        try:
            with open(URING) as f:
                return f.read().strip()
        except OSError:
            return None

    def raise_limit(self):
        """passthrough_ll and _hp hold a descriptor for each name that the kernel knows."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        for wanted in (400000, hard):
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
                break
        self.descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    def drop_caches(self, warm=True):
        """The kernel forgets names, attributes and pages. warm: the store is in memory again, as a tmpfs always is."""
        os.sync()
        with open('/proc/sys/vm/drop_caches', 'w') as f:
            f.write('3')
        for system in self.running if warm else []:
            store = getattr(system, 'store', None)
            for folder, _, names in os.walk(os.path.join(store, 'db')) if store else []:
                for name in names:
                    with contextlib.suppress(OSError), open(os.path.join(folder, name), 'rb', buffering=0) as f:
                        while f.read(1 << 20):
                            pass
        time.sleep(0.1)  # the forgets are being read

    # ---- the end ----

    def watch(self):
        """A step that takes too long hangs: its mounts are broken, so that it fails instead."""
        while not self.watchdog_over.wait(1):
            limit = self.watchdog_limit
            if limit and time.monotonic() > limit:
                print('\nbench: a step hangs; its mounts are broken', file=sys.stderr)
                self.break_mounts()
                self.watchdog_limit = None

    def break_mounts(self):
        """Ends the daemons as well: what io_uring has handed to one that stands still, an abort does not take back."""
        ours = {m: minor for m, (minor, _) in mounts().items() if any(s.mount == m for s in self.running)}
        for minor in ours.values():
            with contextlib.suppress(OSError), open(f'{CONNECTIONS}/{minor}/abort', 'w') as f:
                f.write('1')
        for system in self.running:
            if system.process and system.process.poll() is None:
                system.process.kill()

    def close(self):
        self.watchdog_limit = time.monotonic() + 60
        for system in self.running:
            system.stop()
        self.watchdog_over.set()
        if os.path.ismount(self.memory):
            ignore_errors('umount', self.memory)
            ignore_errors('umount', '-l', self.memory)
        if self.own_fusectl:
            ignore_errors('umount', CONNECTIONS)
        if self.uring_before:
            with contextlib.suppress(OSError), open(URING, 'w') as f:
                f.write(self.uring_before)
        left = [m for m in mounts() if m.startswith(self.work + '/')]
        if left:
            print(f'bench: still mounted, so the folder is left: {left}')
        else:
            shutil.rmtree(self.work, ignore_errors=True)
