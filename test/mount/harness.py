"""What the tests on a real mount share: a mount that is gone in every outcome, other people, and a runner.

Run as root with the Debian python3 and nothing else. BUCKETFS names the binary."""
import ctypes
import errno
import fcntl
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

BINARY = os.path.abspath(os.environ.get('BUCKETFS', 'build/bucketfs'))
OPTIONS = os.environ.get('BUCKETFS_OPTIONS', '')
# Marks the mounts of one run of the tests.
RUN = 'bucketfs-test-' + os.environ.get('BUCKETFS_RUN', str(os.getpid())) + '-'
SLOW = float(os.environ.get('BUCKETFS_SLOW', '1'))  # sanitizers: allow more time
ASSETS = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'assets')

running = []  # daemons of this process
libc = ctypes.CDLL(None, use_errno=True)


class Mount:
    """A store and its mount in a folder of their own."""

    def __init__(self, options='', store=None, start=True):
        self.folder = tempfile.mkdtemp(prefix=RUN)
        os.chmod(self.folder, 0o755)
        self.store = store or os.path.join(self.folder, 'store')
        self.point = os.path.join(self.folder, 'mnt')
        self.log = os.path.join(self.folder, 'log')
        os.makedirs(self.store, exist_ok=True)
        os.mkdir(self.point)
        self.options = ','.join(o for o in (OPTIONS, options) if o)
        self.process = None
        if start:
            self.start()

    def arguments(self):
        return [BINARY, self.store, self.point] + (['-o', self.options] if self.options else [])

    def start(self):
        log = open(self.log, 'ab')
        self.process = subprocess.Popen(self.arguments() + ['-f'], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        log.close()
        running.append(self.process.pid)
        wait_for(lambda: is_mounted(self.point) or self.process.poll() is not None, 20)
        if not is_mounted(self.point):
            raise AssertionError('no mount: ' + self.log_text())

    def log_text(self):
        with open(self.log, errors='replace') as f:
            return f.read()

    def unmount(self):
        """umount, and wait for the daemon. Its exit status must be 0."""
        for _ in range(100):
            if subprocess.run(['umount', self.point], stderr=subprocess.DEVNULL, timeout=30).returncode == 0:
                break
            time.sleep(0.05)
        else:
            raise AssertionError('umount: busy')
        self.reap()
        assert 'umount:' not in self.log_text(), self.log_text()[-1000:]

    def reap(self, status=0):
        got = self.process.wait(timeout=30 * SLOW)
        self.process = None
        assert got == status, f'the daemon ended with {got}: {self.log_text()[-3000:]}'

    def restart(self):
        self.unmount()
        self.start()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None
        subprocess.run(['umount', '-l', self.point], stderr=subprocess.DEVNULL)

    def close(self):
        """In every outcome: no mount, no daemon, no folder."""
        subprocess.run(['umount', '-l', self.point], stderr=subprocess.DEVNULL)
        if self.process:
            try:
                self.process.wait(timeout=10 * SLOW)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        text = self.log_text() if os.path.exists(self.log) else ''
        shutil.rmtree(self.folder, ignore_errors=True)
        if 'Sanitizer' in text or 'runtime error' in text:
            raise AssertionError('sanitizer: ' + text[-6000:])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __truediv__(self, name):
        return os.path.join(self.point, name)


def is_mounted(point):
    with open('/proc/self/mounts') as f:
        return any(line.split()[1] == point for line in f)


def wait_for(what, seconds):
    end = time.time() + seconds * SLOW
    while time.time() < end:
        if what():
            return True
        time.sleep(0.005)
    return False


def read(path, mode='r'):
    with open(path, mode) as f:
        return f.read()


def write(path, text):
    with open(path, 'wb') as f:
        f.write(text if isinstance(text, bytes) else text.encode())


def sh(script, cwd=None, ok=True, **env):
    """A bash script as a job would have it; its output. ok=None: whatever the status."""
    r = subprocess.run(['bash', '-c', script], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       stdin=subprocess.DEVNULL, timeout=120 * SLOW, env={**os.environ, 'LC_ALL': 'C.UTF-8', **env})
    out = r.stdout.decode(errors='replace')
    if ok is not None:
        assert (r.returncode == 0) == ok, f'{script!r}: status {r.returncode}: {out}'
    return out


def fails(number, what, *args, **kw):
    """The call fails with this errno and no other."""
    try:
        what(*args, **kw)
    except OSError as e:
        assert e.errno == number, f'errno {errno.errorcode.get(e.errno)}, expected {errno.errorcode[number]}'
        return
    raise AssertionError(f'succeeded, expected {errno.errorcode[number]}')


def run_as(uid, gid, groups, what, *args):
    """what(*args) in a process of that user; its result, or the OSError it raised."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(r)
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            try:
                result = (True, what(*args))
            except OSError as e:
                result = (False, e.errno)
            os.write(w, pickle.dumps(result))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(w)
    with os.fdopen(r, 'rb') as f:
        data = f.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0 and data, f'the other user\'s process ended with {status}'
    good, value = pickle.loads(data)
    if good:
        return value
    raise OSError(value, os.strerror(value))


class Person:
    def __init__(self, uid, gid=None, groups=()):
        self.uid, self.gid, self.groups = uid, uid if gid is None else gid, list(groups)

    def __call__(self, what, *args):
        return run_as(self.uid, self.gid, self.groups, what, *args)


def parallel(count, what):
    """what(i) in `count` processes at once; all must succeed."""
    pids = []
    for i in range(count):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                what(i)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        pids.append(pid)
    bad = [p for p in pids if os.waitpid(p, 0)[1] != 0]
    assert not bad, f'{len(bad)} of {count} processes failed'


def end_daemons():
    for pid in running:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


class Limit(Exception):
    pass


def run(tests, seconds=90):
    """Runs the test functions whose names are given on the command line, or all; prints a line each and a count."""
    def stop(*_):
        raise Limit(f'took more than {seconds * SLOW:.0f} s')
    signal.signal(signal.SIGALRM, stop)
    chosen = [t for t in tests if not sys.argv[1:] or t.__name__ in sys.argv[1:]]
    passed = failed = 0
    for t in chosen:
        began = time.time()
        signal.alarm(int(seconds * SLOW))
        # Who waits for a mount that hangs hears no signal; ending the daemon frees them.
        guard = threading.Timer(seconds * SLOW + 5, end_daemons)
        guard.daemon = True
        guard.start()
        try:
            t()
            passed += 1
            print(f'ok     {t.__name__}  {time.time() - began:.1f}s', flush=True)
        except (Exception, SystemExit):
            failed += 1
            print(f'FAILED {t.__name__}  {time.time() - began:.1f}s', flush=True)
            traceback.print_exc()
        finally:
            signal.alarm(0)
            guard.cancel()
    print(f'{passed} passed, {failed} failed', flush=True)
    sys.exit(1 if failed else 0)


def tests_of(module):
    return [v for k, v in vars(sys.modules[module]).items() if k.startswith('test_') and callable(v)]
