#!/usr/bin/python3
"""bucketctl check: on a store that nobody holds, and beside a daemon under load. CTL names the binary."""
import ctypes
import errno
import json
import mmap
import os
import pty
import re
import shutil
import signal
import subprocess
import time

import test_mixed
from harness import *

CTL = os.path.abspath(os.environ.get('CTL', 'build/bucketctl'))
SECONDS = float(os.environ.get('BUCKETFS_MIXED', '6'))
STRANGER = Person(61007)


def check(*args, status=0):
    r = subprocess.run([CTL, 'check', *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       timeout=60 * SLOW)
    out, err = r.stdout.decode(), r.stderr.decode()
    assert r.returncode == status, f'check {args}: status {r.returncode}, expected {status}: {out}{err}'
    assert (status in (8, 16)) == bool(err), f'check {args}: stderr: {err}'
    return err if err else out


def everything(m):
    """A bucket with one of each, and some others."""
    b = m / 'nightly'
    os.mkdir(b)
    write(b + '/data.json', '{"build": 4711, "list": [1, 2, {"x": null}], "": 0}')
    write(b + '/data.json', '{"second": "merge"}')
    os.makedirs(b + '/files/sub/deeper')
    write(b + '/files/a.txt', 'hello')
    write(b + '/files/empty', '')
    write(b + '/files/Report (final).TXT', 'spelled')
    write(b + '/files/big.bin', os.urandom(700000))
    write(b + '/files/sub/deeper/large.bin', os.urandom(100000))
    write(b + '/files/sub/small', 'x' * 30000)
    for i in range(3):
        write(b + '/files/rewritten', os.urandom(50000 + i))
    with open(b + '/files/log', 'a') as f:
        f.write('line\n' * 20000)
    os.rename(b + '/files/sub/small', b + '/files/moved')
    sh('setfattr -n user.note -v "of a file" files/a.txt; setfattr -n user.bucketfs.acl.edit -v "*" .', b)
    write(b + '/.bucketfs/meta.json', '{"title": "T"}')
    write(b + '/.bucketfs/schema.json', '{"type": "object"}')
    sh('rm data.json; echo \'{"again": true}\' > data.json', b)
    for i in range(3):
        os.makedirs(f'{m.point}/other{i}/files/f')
        write(f'{m.point}/other{i}/files/f/x', str(i))
    sh('rm -r other2', m.point)
    os.mkdir(b + '/.bucketfs/tx/open')
    write(b + '/.bucketfs/tx/open/files/t', os.urandom(60000))
    os.mkdir(b + '/.bucketfs/tx/done')
    write(b + '/.bucketfs/tx/done/files/published', os.urandom(60000))
    sh('for i in $(seq 200); do mv .bucketfs/tx/done .bucketfs/commit 2>/dev/null && exit; sleep 0.01; done; exit 1', b)
    write(f'{m.point}/@device/data.json', '{"d": 1}')
    return b


def settle(m):
    """Until all contents have their checksums."""
    assert wait_for(lambda: json.loads(check('--json', '--data', m.store))['unsealed'] == 0, 20)


def blob_of(m, size):
    """The only content of that size."""
    found = [os.path.join(folder, n) for folder, _, names in os.walk(m.store + '/blobs') for n in names
             if os.path.getsize(os.path.join(folder, n)) == size]
    assert len(found) == 1, found
    return found[0]


def files_of(folder):
    return {os.path.relpath(os.path.join(base, n), folder): read(os.path.join(base, n), 'rb')
            for base, _, names in os.walk(folder) for n in names}


def test_everything():
    with Mount() as m:
        b = everything(m)
        for given in (m.store, m.point):
            assert check(given).endswith('nothing wrong\n')
            check('--data', given)
        settle(m)
        assert json.loads(check('--json', m.point))['live'] is True
        m.unmount()
        out = check('--data', m.store)
        assert re.fullmatch(r'4 buckets, 12 files, 1\.\d MiB: nothing wrong\n', out), out
        got = json.loads(check('--json', '--data', m.store))
        assert (got['buckets'], got['files'], got['live'], got['findings'], got['notes']) == (4, 12, False, [], []), got
        assert check('--repair', m.store) == check(m.store)
        m.start()
        assert read(b + '/files/a.txt') == 'hello' and json.loads(read(b + '/data.json')) == {'again': True}


def test_nothing_is_changed():
    with Mount() as m:
        everything(m)
        m.unmount()

        def state():
            return sorted((p, os.stat(p).st_size, os.stat(p).st_mtime_ns) for folder, _, names in os.walk(m.store)
                          for p in (os.path.join(folder, n) for n in names) if not p.endswith('/lock'))
        before = state()
        check('--data', m.store)
        assert state() == before
        m.start()


def test_leaves_nothing_behind():
    with Mount() as m:
        scratch = m.folder + '/tmp'
        os.mkdir(scratch)
        os.environ['TMPDIR'] = scratch
        try:
            check(m.point)
            assert os.listdir(scratch) == []
            os.environ['TMPDIR'] = m.folder + '/nowhere'
            check(m.point, status=8)
        finally:
            del os.environ['TMPDIR']


def test_under_load():
    """Eight processes do everything at once. What a check sees is one moment, and at every moment all agrees."""
    with Mount() as m:
        test_mixed.prepare(m)
        workers = [test_mixed.Worker(m, i) for i in range(test_mixed.PROCESSES)]
        load = os.fork()
        if not load:
            code = 1
            try:
                parallel(len(workers), lambda i: workers[i].run(SECONDS))
                code = 0
            finally:
                os._exit(code)
        checks, status = 0, (0, 0)
        while not status[0]:
            check(*(['--data'] if checks % 2 else []), m.point if checks % 3 else m.store)
            checks += 1
            status = os.waitpid(load, os.WNOHANG)
        assert status[1] == 0, 'the load itself failed'
        assert checks >= 3, f'only {checks} checks: that is no test'
        check('--data', m.store)
        m.unmount()
        check('--data', m.store)
        m.start()


def test_after_a_kill():
    with Mount() as m:
        test_mixed.prepare(m)
        workers = [test_mixed.Worker(m, i) for i in range(test_mixed.PROCESSES)]
        pids = []
        for w in workers:
            pids.append(os.fork())
            if not pids[-1]:
                for fd in (1, 2):
                    os.dup2(os.open('/dev/null', os.O_WRONLY), fd)
                try:
                    w.run(30)
                finally:
                    os._exit(0)
        time.sleep(2)
        m.kill()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        check('--data', m.store)
        m.start()
        sh('cat */files/* > /dev/null', m.point, ok=None)
        check('--data', m.store)
        m.unmount()
        check('--data', m.store)
        m.start()


def test_flipped_byte():
    with Mount() as m:
        b = everything(m)
        settle(m)
        before = files_of(b + '/files')
        m.unmount()
        blob = blob_of(m, 700000)
        with open(blob, 'r+b') as f:
            f.seek(300000)
            byte = f.read(1)
            f.seek(300000)
            f.write(bytes([byte[0] ^ 1]))
        check(m.store)
        out = check('--data', m.store, status=4)
        assert 'nightly/files/big.bin: its bytes are not what was written\n' in out and out.endswith('1 finding, 0 mended\n'), out
        got = json.loads(check('--data', '--json', m.store, status=4))
        assert [(f['bucket'], f['path'], f['kind'], f['mended']) for f in got['findings']] == [('nightly', 'files/big.bin', 'damaged', False)]
        m.start()
        # A daemon refuses to serve it, and the check beside the daemon says so as well.
        fails(errno.EIO, read, b + '/files/big.bin', 'rb')
        assert 'big.bin' in check('--data', m.point, status=4)
        m.unmount()
        out = check('--data', '--repair', m.store, status=1)
        assert 'nightly/files/big.bin: its bytes are not what was written (mended)\n' in out and out.splitlines()[-1].startswith('4 buckets, '), out
        check('--data', m.store)
        m.start()
        after = files_of(b + '/files')
        lost = after.pop('lost_found/big.bin')
        good = before.pop('big.bin')
        assert len(lost) == len(good) and [i for i in range(len(good)) if good[i] != lost[i]] == [300000]
        assert after == before
        assert json.loads(read(b + '/data.json')) == {'again': True}


def test_mapping_outlives_its_descriptor():
    """The kernel maps the content itself, and tells nobody what is written there or how long it lasts."""
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    with Mount() as m:
        f = m / 'nightly/files/x'
        os.mkdir(m / 'nightly')
        write(f, b'a' * 300000)
        settle(m)
        with open(f, 'rb') as reader, open(f, 'r+b') as writer:
            reader.read(10)
            # Python's own would keep a copy of the descriptor.
            at = libc.mmap(None, 300000, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, writer.fileno(), 0)
            mapped = (ctypes.c_char * 300000).from_address(at)
            mapped[0] = b'b'
        # The next one that seals would do it now, and then what is written would look like damage.
        time.sleep(4)
        mapped[100000] = b'c'
        check('--data', m.store)
        assert read(f, 'rb')[99999:100002] == b'aca'
        mapped[100000] = b'd'
        assert not libc.munmap(ctypes.c_void_p(at), ctypes.c_size_t(300000))
        settle(m)
        check('--data', m.store)
        m.restart()
        assert read(f, 'rb') == b'b' + b'a' * 99999 + b'd' + b'a' * 199999


def test_flipped_before_it_was_settled():
    """A content that was closed a moment before the daemon was killed has its checksums in its record only."""
    with Mount() as m:
        os.mkdir(m / 'nightly')
        f = m / 'nightly/files/x'
        for rewritten in (False, True):
            if rewritten:
                write(f, b'o' * 300000)
            write(f, b'x' * 300001)
            write(m / 'nightly/files/good', b'g' * 200000)
            m.kill()
            with open(blob_of(m, 300001), 'r+b') as blob:
                blob.seek(270000)
                blob.write(b'y')
            m.start()
            fails(errno.EIO, read, f, 'rb')
            assert 'nightly: x (file number' in m.log_text() and 'is damaged' in m.log_text()
            assert read(m / 'nightly/files/good', 'rb') == b'g' * 200000
            time.sleep(3)
            fails(errno.EIO, read, f, 'rb')
            assert 'nightly/files/x: its bytes are not what was written' in check('--data', m.store, status=4)
            os.unlink(f)


def test_checksums_after_a_kill():
    """A log that was open when the daemon was killed has no checksums: the next daemon makes them."""
    with Mount() as m:
        os.mkdir(m / 'nightly')
        f = m / 'nightly/files/log'
        write(f, b'o' * 400000)
        settle(m)
        fd = os.open(f, os.O_RDWR)
        os.pwrite(fd, b'new', 1000)
        os.fsync(fd)
        m.kill()
        fails(errno.ENOTCONN, os.close, fd)
        assert json.loads(check('--json', '--data', m.store))['unsealed'] == 1
        m.start()
        settle(m)
        m.unmount()
        with open(blob_of(m, 400000), 'r+b') as blob:
            blob.seek(300000)
            blob.write(b'x')
        m.start()
        fails(errno.EIO, read, f, 'rb')


def test_changed_in_place_and_killed():
    """What was written over since the last commit is no damage."""
    for again in (lambda fd: os.pwrite(fd, b'2' * 100, 50), lambda fd: os.ftruncate(fd, 60000), lambda fd: None):
        with Mount() as m:
            os.mkdir(m / 'nightly')
            f = m / 'nightly/files/x'
            write(f, b'o' * 100000)
            settle(m)
            fd = os.open(f, os.O_RDWR)
            os.pwrite(fd, b'1' * 100, 0)
            os.close(os.dup(fd))
            again(fd)
            m.kill()
            fails(errno.ENOTCONN, os.close, fd)
            m.start()
            data = read(f, 'rb')
            assert len(data) in (60000, 100000) and set(data[:150]) <= set(b'12o') and set(data[150:]) == set(b'o'), data[:200]
            assert 'damaged' not in m.log_text(), m.log_text()
            check('--data', m.store)
            m.unmount()
            check('--data', m.store)


def test_cut_and_gone():
    with Mount() as m:
        b = everything(m)
        settle(m)
        before = files_of(b + '/files')
        m.unmount()
        os.truncate(blob_of(m, 700000), 5)
        os.unlink(blob_of(m, 50002))
        out = check(m.store, status=4)
        assert 'nightly/files/big.bin: 5 of its 700000 bytes are there\n' in out, out
        assert 'nightly/files/rewritten: its content is gone\n' in out, out
        m.start()
        out = check(m.store, status=4)
        assert 'big.bin: 5 of its 700000' in out and 'rewritten: its content is gone' in out, out
        m.unmount()
        check('--repair', m.store, status=1)
        check('--data', m.store)
        m.start()
        after = files_of(b + '/files')
        assert after.pop('lost_found/big.bin') == before.pop('big.bin')[:5]
        before.pop('rewritten')
        assert after == before
        # What was repaired is a bucket like any other.
        write(b + '/files/big.bin', 'new')
        os.unlink(b + '/files/lost_found/big.bin')
        os.rmdir(b + '/files/lost_found')
        settle(m)


def test_lost_found_is_taken():
    with Mount() as m:
        os.makedirs(m / 'nightly/files/lost_found')
        write(m / 'nightly/files/lost_found/a', 'there already')
        write(m / 'nightly/files/a', 'a' * 40000)
        settle(m)
        m.unmount()
        os.truncate(blob_of(m, 40000), 3)
        check('--repair', m.store, status=1)
        m.start()
        names = sorted(os.listdir(m / 'nightly/files/lost_found'))
        assert names[0] == 'a' and re.fullmatch(r'a\.\d+', names[1]) and len(names) == 2, names
        assert read(m / 'nightly/files/lost_found/a') == 'there already'
        assert read(f'{m.point}/nightly/files/lost_found/{names[1]}') == 'aaa'


def test_damaged_file_is_removed_while_it_is_open():
    with Mount('passthrough=off') as m:
        os.mkdir(m / 'nightly')
        f = m / 'nightly/files/x'
        write(f, b'x' * 100000)
        settle(m)
        m.restart()  # so that nothing of it is in the page cache
        fd = os.open(f, os.O_RDONLY)
        os.unlink(blob_of(m, 100000))
        os.unlink(f)
        assert not os.path.exists(f)
        fails(errno.EIO, os.read, fd, 10)
        os.close(fd)
        write(f, b'y' * 100000)
        assert read(f, 'rb') == b'y' * 100000


def test_orphan():
    with Mount() as m:
        os.mkdir(m / 'nightly')
        m.unmount()
        orphan = m.store + '/blobs/ff'
        os.makedirs(orphan, exist_ok=True)
        orphan += '/00000000000fffff'
        write(orphan, 'nobody')
        out = check(m.store)
        assert 'note: blobs/ff/00000000000fffff belongs to no file\n' in out and out.endswith('nothing wrong\n'), out
        assert len(json.loads(check('--json', m.store))['notes']) == 1 and os.path.exists(orphan)
        check('--repair', m.store)
        assert not os.path.exists(orphan)
        m.start()


def test_lost_records():
    """Contents whose owners were in a damaged log are kept for the admin, by either way to go on."""
    for starts in (True, False):
        with Mount() as m:
            os.mkdir(m / 'nightly')
            for i in range(40):
                write(m / f'nightly/files/s{i}', b's' * 2000)
            large = [bytes([i]) * 100000 for i in range(8)]
            for i, data in enumerate(large):
                write(m / f'nightly/files/l{i}', data)
            sh(f'sync {m.point}/nightly/files/l7')
            m.kill()
            log = sorted(n for n in os.listdir(m.store + '/db') if n.endswith('.log'))[-1]
            with open(f'{m.store}/db/{log}', 'r+b') as f:
                f.seek(60000)
                f.write(b'damaged')
            assert 'accept_loss' in check('--data', m.store, status=8)
            if starts:
                m.options = ','.join(o for o in (m.options, 'accept_loss') if o)
                m.start()
                m.unmount()
            out = check('--repair', m.store, status=0 if starts else 1)
            kept = [read(f'{m.store}/lost+found/{n}', 'rb') for n in os.listdir(m.store + '/lost+found')]
            assert len(kept) >= 8 and all(k in large for k in kept) and out.count('lost+found') == len(kept), (out, len(kept))
            assert starts or re.search(r'\d+ acknowledged records were in the damaged log', out), out
            assert os.stat(m.store + '/lost+found').st_mode & 0o777 == 0o700
            m.start()
            assert read(m / 'nightly/files/s0', 'rb') == b's' * 2000
            assert not any(n.startswith('l') for n in os.listdir(m / 'nightly/files'))
            write(m / 'nightly/files/l0', large[0])
            assert read(m / 'nightly/files/l0', 'rb') == large[0]
            m.unmount()
            check('--data', m.store)


def test_statuses():
    with Mount() as m:
        for args in ((), ('--nonsense', m.store), (m.store, m.store)):
            check(*args, status=16)
        assert 'there is no store' in check(m.folder + '/nope', status=8)
        assert 'not a bucketfs store' in check('/usr', status=8)
        assert 'no store' in check(m.folder + '/tmp', status=8)
        err = check('--repair', m.store, status=8)
        assert 'in use' in err and m.point in err and err.count('\n') == 1, err
        assert 'in use' in check('--repair', m.point, status=8)
        assert subprocess.run([CTL, 'check', '--help'], stdout=subprocess.PIPE).stdout.startswith(b'usage: bucketctl check ')
        with open('/dev/full', 'w') as full:
            assert subprocess.run([CTL, 'check', m.store], stdout=full, stderr=subprocess.DEVNULL).returncode == 8


def test_without_its_program():
    """bucketctl says what is missing."""
    with Mount() as m:
        alone = m.folder + '/bucketctl'
        shutil.copy(CTL, alone)
        r = subprocess.run([alone, 'check', m.store], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert r.returncode == 8 and b'bucketctl-check' in r.stderr and b'No such file' in r.stderr, r


def test_not_root():
    with Mount() as m:
        def run():
            r = subprocess.run([CTL, 'check', m.store], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            return r.returncode, r.stderr.decode()
        status, err = STRANGER(run)
        assert status == 8 and 'ermission denied' in err, (status, err)
        m.unmount()
        status, err = STRANGER(run)
        assert status == 8 and 'ermission denied' in err, (status, err)
        m.start()


def test_no_daemon_meanwhile():
    """A daemon does not get a store that is being checked."""
    with Mount() as m:
        os.mkdir(m / 'nightly')
        write(m / 'nightly/files/big', os.urandom(80 << 20))
        m.unmount()
        p = subprocess.Popen([CTL, 'check', '--data', m.store], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert wait_for(lambda: 'bucketctl check' in read(m.store + '/lock'), 5)
        p.send_signal(signal.SIGSTOP)
        r = subprocess.run(m.arguments() + ['-f'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20 * SLOW)
        p.send_signal(signal.SIGCONT)
        if p.wait(timeout=20 * SLOW) == 0 and r.returncode == 0:
            raise AssertionError('both had it')
        assert b'in use' in r.stdout and b'bucketctl check' in r.stdout, r.stdout
        m.start()


def test_progress_on_a_terminal():
    with Mount() as m:
        os.mkdir(m / 'nightly')
        write(m / 'nightly/files/big', os.urandom(30 << 20))
        master, slave = pty.openpty()
        p = subprocess.Popen([CTL, 'check', '--data', m.store], stdout=subprocess.PIPE, stderr=slave)
        os.close(slave)
        seen = b''
        try:
            while piece := os.read(master, 65536):
                seen += piece
        except OSError:
            pass
        out = p.communicate()[0]
        assert p.returncode == 0 and b'check: ' in seen and b'%' in seen and seen.endswith(b'\033[K'), seen[-200:]
        assert out.endswith(b'nothing wrong\n') or b'no checksum' in out, out
        os.close(master)


def test_interrupted():
    with Mount() as m:
        os.mkdir(m / 'nightly')
        write(m / 'nightly/files/big', os.urandom(100 << 20))
        scratch = m.folder + '/tmp'
        os.mkdir(scratch)
        p = subprocess.Popen([CTL, 'check', '--data', m.store], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env={**os.environ, 'TMPDIR': scratch})
        assert wait_for(lambda: os.listdir(scratch), 5)
        p.send_signal(signal.SIGSTOP)
        p.send_signal(signal.SIGINT)
        p.send_signal(signal.SIGCONT)
        out, err = p.communicate(timeout=20 * SLOW)
        assert p.returncode == 8 and b'interrupted' in err and os.listdir(scratch) == [], (p.returncode, out, err)


if __name__ == '__main__':
    run(tests_of(__name__), 90 + 2 * SECONDS)
