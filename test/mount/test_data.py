#!/usr/bin/python3
"""data.json on a real mount."""
import ctypes
import errno
import glob
import json
import mmap
import os
import random
import select
import shutil
import signal
import subprocess
import time

from harness import *


def bucket(m, name='nightly'):
    os.mkdir(m / name)
    return m / name


def data(b):
    return json.loads(read(b + '/data.json'))


def fresh(b, text='{"kept": 1}'):
    if os.path.exists(b + '/data.json'):
        os.unlink(b + '/data.json')
    write(b + '/data.json', text)


def test_merge_by_shell():
    with Mount() as m:
        b = bucket(m)
        assert read(b + '/data.json') == '{}\n'
        sh('echo \'{"build": 4711, "ok": true}\' > data.json', b)
        sh('echo \'{"ok": false, "list": [1, {"a": null}]}\' > data.json', b)
        assert read(b + '/data.json') == '{\n  "build": 4711,\n  "list": [1,{"a":null}],\n  "ok": false\n}\n'
        assert sh('jq .build data.json', b) == '4711\n'
        assert os.stat(b + '/data.json').st_size == len(read(b + '/data.json'))
        sh('echo \'{"more": 1}\' >> data.json; printf \'{"a":1}\\n{"b":2}\' | tee data.json >/dev/null', b)
        assert data(b) == {'build': 4711, 'list': [1, {'a': None}], 'ok': False, 'more': 1, 'a': 1, 'b': 2}
        before = read(b + '/data.json')
        sh(': > data.json; true >> data.json; truncate -s 0 data.json', b)
        assert read(b + '/data.json') == before
        sh('jq -n \'{"from_jq": 1}\' > data.json; printf \'{"dd": 2}\' | dd of=data.json status=none', b)
        sh('printf \'{"cp": 3}\' > /tmp/bucketfs-$$.json; cp /tmp/bucketfs-$$.json data.json; rm /tmp/bucketfs-$$.json', b)
        assert [data(b)[k] for k in ('from_jq', 'dd', 'cp')] == [1, 2, 3]


def test_bad_writes_by_shell():
    with Mount() as m:
        b = bucket(m)
        fresh(b)
        before = read(b + '/data.json')
        sh("echo '{bad' > data.json", b, ok=False)
        sh("echo '{bad' | tee data.json >/dev/null", b, ok=False)
        sh("echo '[1]' >> data.json", b, ok=False)
        sh("printf '{\"a\":1}{bad' | dd of=data.json status=none", b, ok=False)
        sh("printf '{bad' > ../../bad.json; cp ../../bad.json data.json", b, ok=False)
        # Unfinished: only close can tell, and cp listens.
        sh("printf '{\"a\":' > ../../bad.json; cp ../../bad.json data.json", b, ok=False)
        sh("printf '{\"a\":' > data.json", b, ok=None)
        sh("truncate -s 5 data.json", b, ok=False)
        sh("printf '{\"a\":1}' | dd of=data.json bs=1 seek=3 status=none", b, ok=False)
        assert read(b + '/data.json') == before
        assert "line 1, column 2: expected '\"'" in m.log_text()


def test_children_do_not_poison():
    with Mount() as m:
        b = bucket(m)
        sh("{ printf '{\"a\":'; sleep 0.1; printf '1}'; } > data.json", b)
        sh("{ printf '{\"b\":'; /bin/true; (exit 0); printf '2'; ls >/dev/null; printf '}{\"c\":3}'; } >> data.json", b)
        sh("exec 3> data.json; printf '{\"d\":4}' >&3; ls > /dev/null; printf '{\"e\":' >&3; /bin/true; printf '5}' >&3; exec 3>&-", b)
        sh("(printf '{\"f\":'; /bin/sleep 0.1; printf '6}') > data.json", b)
        assert data(b) == {'a': 1, 'b': 2, 'c': 3, 'd': 4, 'e': 5, 'f': 6}
        # A complete object is there while the writer is still at it.
        sh("{ echo '{\"g\":7}'; /bin/true; jq -e .g data.json; } > data.json", b, ok=None)
        assert data(b)['g'] == 7


def test_flush_tells_the_opener_only():
    with Mount() as m:
        b = bucket(m)
        fd = os.open(b + '/data.json', os.O_WRONLY)
        os.write(fd, b'{"a":')
        pid = os.fork()
        if pid == 0:
            try:
                os.close(fd)
                os._exit(0)
            except OSError:
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
        fails(errno.EINVAL, os.close, os.dup(fd))
        os.write(fd, b'1}')
        os.close(fd)
        assert data(b) == {'a': 1}


def test_corpus():
    """Every document of the corpus as the value of a key, and byte for byte back."""
    def compact(raw):
        out, inside, skip = bytearray(), False, False
        for c in raw:
            if inside or c not in b' \t\r\n':
                out.append(c)
            if skip:
                skip = False
            elif inside and c == 0x5c:
                skip = True
            elif c == 0x22:
                inside = not inside
        return bytes(out)
    with Mount() as m:
        b = bucket(m)
        files = sorted(glob.glob(ASSETS + '/json/*.json'))
        assert len(files) > 100
        for path in files:
            raw = read(path, 'rb')
            fresh(b)
            before = read(b + '/data.json', 'rb')
            name = os.path.basename(path)
            if name.startswith('accept-'):
                write(b + '/data.json', b'{"k":' + raw + b'}')
                assert os.getxattr(b + '/data.json', 'user.bucketfs.key.k') == compact(raw), name
                assert compact(read(b + '/data.json', 'rb')) == b'{"k":' + compact(raw) + b',"kept":1}', name
            else:
                fails(errno.EINVAL, write, b + '/data.json', b'{"k":' + raw + b'}')
                assert read(b + '/data.json', 'rb') == before, name
            subprocess.run(['true'])


def test_edit():
    with Mount() as m:
        b = bucket(m)
        fresh(b, '{"gone": 1, "kept": 2, "changed": 3}')
        with open(b + '/data.json', 'r+') as f:
            d = json.load(f)
            del d['gone']
            d['changed'], d['new'] = 4, 5
            write(b + '/data.json', '{"other": 6}')
            f.seek(0)
            f.truncate()
            json.dump(d, f)
        assert data(b) == {'kept': 2, 'changed': 4, 'new': 5, 'other': 6}

        f = open(b + '/data.json', 'r+')
        d = json.load(f)
        d['changed'] = 9
        write(b + '/data.json', '{"changed": 8}')
        f.seek(0)
        f.truncate()
        json.dump(d, f)
        fails(errno.ESTALE, f.close)
        assert data(b)['changed'] == 8

        f = open(b + '/data.json', 'r+')
        f.seek(0)
        f.truncate()
        f.write('{"half":')
        f.flush()
        os.close(os.dup(f.fileno())) if False else None
        f.write('1}')
        f.close()
        assert data(b) == {'half': 1}


def test_fsync_shows_merged():
    with Mount() as m:
        b = bucket(m)
        fresh(b)
        with open(b + '/data.json', 'w+') as f:
            f.write('{"a": 1}')
            f.flush()
            f.seek(0)
            assert f.read() == '{"a": 1}'
            os.fsync(f.fileno())
            f.seek(0)
            assert json.load(f) == {'a': 1, 'kept': 1}
        with open(b + '/data.json', 'a+') as f:
            f.write('{"b": 2}')
        assert data(b) == {'a': 1, 'b': 2, 'kept': 1}


def test_snapshot_and_mmap():
    with Mount() as m:
        b = bucket(m)
        write(b + '/data.json', json.dumps({f'k{i:05}': 'x' * 50 for i in range(5000)}))
        whole = read(b + '/data.json')
        with open(b + '/data.json') as f:
            start = f.read(1000)
            write(b + '/data.json', '{"k00000": "changed", "zzz": 1}')
            assert start + f.read() == whole
        with open(b + '/data.json', 'rb') as f:
            assert mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)[:].decode() == read(b + '/data.json')


def by_sendfile(f):
    r, w = os.pipe()
    try:
        return os.read(r, os.sendfile(w, f.fileno(), 0, 60000))
    finally:
        os.close(r)
        os.close(w)


def mapped(f):
    with mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as pages:
        return pages[:]


def test_size_and_text_are_of_one_revision():
    """Whatever others merge: fstat, read, sendfile and a mapping of one descriptor belong together; the name shows what is now."""
    with Mount() as m:
        b = bucket(m)
        path = b + '/data.json'
        write(path, json.dumps({'pad': 'x' * 20000}))
        for text in ('{"pad": "y"}', json.dumps({'pad': 'z' * 9000}), '{"pad": null}'):
            with open(path, 'rb', buffering=0) as f, open(path, 'rb', buffering=0) as late:
                before = os.fstat(f.fileno())
                pages = mmap.mmap(late.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
                write(path, text)
                now = os.stat(path)
                assert now.st_size == len(read(path, 'rb')) != before.st_size and now.st_mtime_ns > before.st_mtime_ns
                assert now.st_ino == before.st_ino and now.st_nlink == 1
                for other in (f, late):
                    after = os.fstat(other.fileno())
                    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
                assert by_sendfile(f) == mapped(f) == pages[:] == f.read(before.st_size + 1) == read(f'/proc/self/fd/{f.fileno()}', 'rb')
                assert len(mapped(f)) == before.st_size and os.lseek(f.fileno(), 0, os.SEEK_END) == before.st_size
                pages.close()
        # Opened by its inode, which is no reader's: what is now.
        held = os.open(path, os.O_PATH)
        write(path, '{"pad": "now"}')
        assert read(f'/proc/self/fd/{held}') == read(path)
        os.close(held)
        with open(path, 'r+') as f:
            f.write('{"pad": 1, "more": 2}')
            f.truncate()
            assert os.fstat(f.fileno()).st_size == 21 != os.stat(b).st_size
        assert json.loads(read(path)) == {'pad': 1, 'more': 2}


def test_quiet_readers():
    """After a quiet time readers share the inode of those who write, and these wait for them, but not for long."""
    with Mount() as m:
        b = bucket(m)
        path = b + '/data.json'
        write(path, json.dumps({'pad': 'x' * 20000}))
        time.sleep(1)
        out = m.folder + '/copy'
        with open(path, 'rb', buffering=0) as f:
            before = os.fstat(f.fileno()).st_size
            other = subprocess.Popen(['sh', '-c', f'echo \'{{"pad": "y"}}\' > {path}'])
            assert by_sendfile(f) == f.read()
            began = time.time()
            assert other.wait(30) == 0
            assert time.time() - began < 0.5 * SLOW
            assert os.fstat(f.fileno()).st_size == before
            os.lseek(f.fileno(), 0, 0)
            assert len(f.read()) == before
        # A shell that reads it and writes it does not wait for itself.
        time.sleep(1)
        sh(f'tr y z < {path} > {path}')
        assert 'z' in read(path)


def test_locks_of_the_document():
    """A lock on data.json is one lock, also while the document is being changed: flock, shells, and whoever can write."""
    with Mount() as m:
        b = bucket(m)
        write(b + '/data.json', '{"n": 0, "m": 0}')
        add = 'n=$(jq .{0} data.json); echo "{{\\"{0}\\": $((n + 1))}}" > data.json'
        parallel(4, lambda i: [sh(f"flock data.json sh -c '{add.format('n')}'", cwd=b) for _ in range(10)])
        parallel(4, lambda i: [sh(f"exec 9< data.json; flock 9; {add.format('m')}", cwd=b) for _ in range(10)])
        assert json.loads(read(b + '/data.json')) == {'n': 40, 'm': 40}, read(b + '/data.json')


def test_no_errors_beside_changes():
    """Readers of a document that comes and goes find it or not, and nothing else."""
    with Mount() as m:
        b = bucket(m)
        path = b + '/data.json'
        write(path, '{"a": 1}')
        child = os.fork()
        if child == 0:
            try:
                while True:
                    write(path, '{"a": 1}')
                    os.unlink(path)
            finally:
                os._exit(1)
        try:
            end, found = time.time() + 2, 0
            while time.time() < end:
                try:
                    found += read(path).startswith('{')
                except FileNotFoundError:
                    pass
            assert found
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        # By a descriptor and large: there is no name to find another inode by.
        write(path, json.dumps({'pad': 'x' * 300000}))
        held = os.open(path, os.O_PATH)
        for i in range(20):
            write(path, '{"i": %d}' % i)
            assert len(read(f'/proc/self/fd/{held}')) > 300000
        os.close(held)


def test_poll_by_name_with_an_open_descriptor():
    with Mount() as m:
        b = bucket(m)
        path = b + '/data.json'
        write(path, '{"a": 1}')
        time.sleep(1)
        with open(path):
            sh(f'echo \'{{"a": "longer"}}\' > {path}')
            assert wait_for(lambda: os.stat(path).st_size == len(read(path)), 4)


def watch(path):
    """A descriptor that becomes readable when the file is closed after writing."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_CLOEXEC)
    assert libc.inotify_add_watch(fd, path.encode(), 0x8) > 0
    return fd


def test_copies_and_watchers_beside_merges():
    """Tools that copy by size never take half a document, and a watcher of the file itself hears of every merge."""
    with Mount() as m:
        b = bucket(m)
        path, out = b + '/data.json', m.folder + '/copy'
        write(path, '{"n": 0}')
        watcher = watch(path)
        merger = os.fork()
        if merger == 0:
            try:
                for n in range(1, 10 ** 9):
                    write(path, json.dumps({'n': n, 'pad': 'x' * random.choice([10, 300, 3000, 30000])}))
                    time.sleep(random.random() * 0.003)
            finally:
                os._exit(1)
        def rsync():
            subprocess.run(['rsync', '-aI', path, out], check=True)
        def tar():
            subprocess.run(['tar', '-C', b, '-cf', out + '.tar', 'data.json'], check=True)
            subprocess.run(['tar', '-C', m.folder, '-xf', out + '.tar', '--transform=s/.*/copy/'], check=True)
        def by_python():
            shutil.copyfile(path, out)
        def by_mapping():
            with open(path, 'rb') as f:
                write(out, mapped(f))
        def by_size():
            with open(path, 'rb', buffering=0) as f:
                size = os.fstat(f.fileno()).st_size
                time.sleep(0.002)
                write(out, f.read(size))
        try:
            for copy in (rsync, tar, by_python, by_mapping, by_size):
                end, count = time.time() + 1.2, 0
                while time.time() < end:
                    copy()
                    try:
                        json.loads(read(out))
                    except ValueError:
                        raise AssertionError(f'{copy.__name__}: half a document after {count}: {len(read(out))} bytes')
                    count += 1
        finally:
            os.kill(merger, signal.SIGKILL)
            os.waitpid(merger, 0)
        # Each merge wakes the watcher, though readers come and go, and one of them stays.
        with open(path) as held:
            for n in range(200):
                while select.select([watcher], [], [], 0)[0]:
                    os.read(watcher, 65536)
                with open(path) as f:
                    f.read(10)
                    subprocess.run(['sh', '-c', f'echo \'{{"m": {n}}}\' > {path}'], check=True) if n % 20 == 0 else write(path, f'{{"m": {n}}}')
                    assert select.select([watcher], [], [], 5 * SLOW)[0], n
            assert held.read().startswith('{')
        os.close(watcher)


def test_remove_and_replace():
    with Mount() as m:
        b = bucket(m)
        fresh(b)
        assert sorted(os.listdir(b)) == ['data.json', 'files']
        os.unlink(b + '/data.json')
        assert os.listdir(b) == ['files']
        fails(errno.ENOENT, open, b + '/data.json')
        fails(errno.ENOENT, os.unlink, b + '/data.json')
        fresh(b)
        write(m.folder + '/new.json', '{"only": 1}')
        sh(f'mv {m.folder}/new.json data.json', b)
        assert data(b) == {'only': 1}
        os.unlink(b + '/data.json')
        sh('touch data.json', b)
        assert read(b + '/data.json') == '{}\n'
        fails(errno.EEXIST, os.open, b + '/data.json', os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        fails(errno.EPERM, write, b + '/other.txt', 'x')
        fails(errno.EPERM, os.mkdir, b + '/folder')
        fails(errno.EPERM, os.rename, b + '/data.json', b + '/old.json')
        fails(errno.EXDEV, os.rename, b + '/data.json', b + '/files/data.json')
        fails(errno.ENOTDIR, os.rmdir, b + '/data.json')


def test_text_is_kept():
    with Mount() as m:
        b = bucket(m)
        text = '{"a":9007199254740993,"b":12345678901234567890,"c":1.10,"d":1e400,"e":-0,"\\u0066":"\\u00e9","g":"é/\\/"}'
        write(b + '/data.json', text)
        assert read(b + '/data.json').replace('\n', '').replace('  ', '').replace(': ', ':') == text
        assert os.getxattr(b + '/data.json', 'user.bucketfs.key.f') == b'"\\u00e9"'
        m.restart()
        assert read(b + '/data.json').replace('\n', '').replace('  ', '').replace(': ', ':') == text


def test_keys_as_xattrs():
    with Mount() as m:
        b = bucket(m)
        d, k = b + '/data.json', 'user.bucketfs.key.'
        fails(errno.ENODATA, os.getxattr, d, k + 'a')
        os.setxattr(d, k + 'a', b' {"x": [1, 2]}\n')
        assert os.getxattr(d, k + 'a') == b'{"x":[1,2]}'
        fails(errno.EEXIST, os.setxattr, d, k + 'a', b'1', os.XATTR_CREATE)
        fails(errno.ENODATA, os.setxattr, d, k + 'b', b'1', os.XATTR_REPLACE)
        fails(errno.EINVAL, os.setxattr, d, k + 'a', b'{"x":')
        fails(errno.EINVAL, os.setxattr, d, k + 'a', b'1,"b":2')
        fails(errno.EINVAL, os.setxattr, d, k + 'a', b'')
        os.setxattr(d, k + 'a', b'"s"', os.XATTR_REPLACE)
        os.setxattr(d, k + 'with space.and/slash', b'1')
        assert data(b) == {'a': 's', 'with space.and/slash': 1}
        os.removexattr(d, k + 'a')
        fails(errno.ENODATA, os.removexattr, d, k + 'a')
        assert data(b) == {'with space.and/slash': 1}
        assert os.listxattr(d) == []
        os.setxattr(d, 'user.mine', b'1')
        assert os.listxattr(d) == ['user.mine']
        assert sh('getfattr -d -m - data.json', b).count('bucketfs') == 0


def test_limit_and_times():
    with Mount('max_data_size=1000') as m:
        b = bucket(m)
        fails(errno.EFBIG, write, b + '/data.json', json.dumps({'a': 'x' * 1000}))
        assert read(b + '/data.json') == '{}\n'
        write(b + '/data.json', json.dumps({'a': 'x' * 900}))
        before = os.stat(b + '/data.json')
        fails(errno.EFBIG, write, b + '/data.json', json.dumps({'b': 'x' * 900}))
        time.sleep(0.02)
        write(b + '/data.json', json.dumps({'a': 'x' * 900}))
        after = os.stat(b + '/data.json')
        assert before.st_mtime_ns == after.st_mtime_ns and before.st_size == after.st_size
        write(b + '/data.json', '{"a": 1}')
        assert os.stat(b + '/data.json').st_mtime_ns > before.st_mtime_ns
        os.utime(b + '/data.json', ns=(5, 7_000_000_001))
        assert os.stat(b + '/data.json').st_mtime_ns == 7_000_000_001
        os.chmod(b + '/data.json', 0o600)
        os.chown(b + '/data.json', 5, 5)
        assert os.stat(b + '/data.json').st_uid == 0


def merge_storm(m, merges, on_merge=lambda i, n: None, readers=True):
    b = bucket(m)
    stop = m.folder + '/stop'
    watcher = os.fork() if readers else 0
    if readers and watcher == 0:
        code = 0
        while not os.path.exists(stop):
            try:
                d = data(b)
                assert all(v == [int(k[1:].split('_')[0]), k] for k, v in d.items())
            except OSError:
                pass
            except BaseException:
                import traceback
                traceback.print_exc()
                code = 1
                break
        os._exit(code)

    def writer(i):
        for n in range(merges // 8):
            key = f'k{i}_{n}'
            try:
                with open(b + '/data.json', 'w') as f:
                    f.write(json.dumps({key: [i, key]}))
            except OSError as e:
                if not on_merge(i, -1):
                    raise
                return
            on_merge(i, n)
    try:
        parallel(8, writer)
    finally:
        write(stop, '')
        if readers:
            status = os.waitpid(watcher, 0)[1]
    if readers:
        assert status == 0, 'a reader saw something that is not a whole document'
    return b


def test_ten_thousand_merges():
    merges = 10000 if SLOW == 1 else 2000
    with Mount() as m:
        b = merge_storm(m, merges)
        assert len(data(b)) == merges
        m.restart()
        d = data(b)
        assert len(d) == merges and all(v[1] == k for k, v in d.items())


def test_merges_survive_kill():
    with Mount() as m:
        counts = [os.path.join(m.folder, f'count{i}') for i in range(8)]
        killer = os.fork()
        if killer == 0:
            wait_for(lambda: os.path.exists(counts[0]) and os.path.getsize(counts[0]) > 2, 20)
            time.sleep(0.3)
            os.kill(m.process.pid, 9)
            os._exit(0)

        def note(i, n):
            if n >= 0:
                write(counts[i], str(n))
            return True
        b = merge_storm(m, 80000, note, readers=False)
        os.waitpid(killer, 0)
        m.kill()
        m.start()
        d = data(b)
        total = 0
        for i in range(8):
            last = int(read(counts[i]) or 0) if os.path.exists(counts[i]) else -1
            total += last + 1
            for n in range(last + 1):
                assert f'k{i}_{n}' in d, f'acknowledged merge {i}_{n} is lost'
        assert total > 100 and total <= len(d) <= total + 8, (total, len(d))


def test_counter_by_compare_and_set():
    increments = 200 if SLOW == 1 else 40
    with Mount() as m:
        b = bucket(m)
        write(b + '/data.json', '{"n": 0}')

        def increment(_):
            for _ in range(increments):
                while True:
                    f = open(b + '/data.json', 'r+')
                    d = json.load(f)
                    d['n'] += 1
                    f.seek(0)
                    f.truncate()
                    json.dump(d, f)
                    try:
                        f.close()
                        break
                    except OSError as e:
                        assert e.errno == errno.ESTALE
        parallel(8, increment)
        assert data(b)['n'] == 8 * increments


if __name__ == '__main__':
    run(tests_of(__name__))
