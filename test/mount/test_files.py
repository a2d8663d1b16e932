#!/usr/bin/python3
"""files/ on a real mount."""
import errno
import fcntl
import hashlib
import mmap
import os
import random
import stat
import subprocess
import time

from harness import *


def files(m, name='nightly'):
    os.mkdir(m / name)
    return m / name + '/files'


def test_names():
    with Mount() as m:
        f = files(m)
        write(f + '/My Report (Final).PDF', 'x')
        assert os.listdir(f) == ['my_report_final_.pdf']
        assert read(f + '/my_report_final_.pdf') == 'x'
        assert read(f + '/MY?REPORT?FINAL?.pdf') == 'x'
        assert os.getxattr(f + '/my_report_final_.pdf', 'user.bucketfs.name') == b'My Report (Final).PDF'
        write(f + '/日本語.txt', 'y')
        assert sorted(os.listdir(f)) == ['_.txt', 'my_report_final_.pdf']
        assert sh('echo files/my*.{pdf,txt}', m / 'nightly') == 'files/my_report_final_.pdf files/my*.txt\n'
        fails(errno.ENAMETOOLONG, write, f + '/' + 'a' * 256, '')
        write(f + '/' + 'a' * 255, '')
        os.mkdir(f + '/Sub Folder')
        write(f + '/sub folder/File A', '1')
        assert read(f + '/sub_folder/file_a') == '1'
        assert sorted(os.listdir(f + '/SUB FOLDER')) == ['file_a']


def test_other_spellings_and_caches():
    """What is changed by one spelling is seen at once by the other, though the kernel keeps names."""
    with Mount() as m:
        f = files(m)
        for i in range(100):
            fails(errno.ENOENT, os.stat, f'{f}/a_{i}')
            write(f'{f}/A {i}', 'x')
            assert os.stat(f'{f}/a_{i}').st_size == 1
            os.unlink(f'{f}/A {i}')
            fails(errno.ENOENT, os.stat, f'{f}/a_{i}')
            os.mkdir(f'{f}/A {i}')
            assert os.path.isdir(f'{f}/a_{i}')
            os.rmdir(f'{f}/A {i}')
            fails(errno.ENOENT, os.stat, f'{f}/a_{i}')
            write(f'{f}/b_{i}', 'b')
            os.stat(f'{f}/b_{i}')
            os.rename(f'{f}/B {i}', f'{f}/C {i}')
            fails(errno.ENOENT, os.stat, f'{f}/b_{i}')
            assert read(f'{f}/c_{i}') == 'b'


def test_content_of_all_sizes():
    with Mount() as m:
        f = files(m)
        rnd = random.Random(1)
        want = {}
        for size in [0, 1, 4095, 4096, 4097, 32767, 32768, 32769, 65536, 131072, 1 << 20, (1 << 20) + 1, 5_000_000]:
            want[f's{size}'] = rnd.randbytes(size)
            write(f'{f}/s{size}', want[f's{size}'])
        for _ in range(2):
            for name, bytes_ in want.items():
                assert read(f'{f}/{name}', 'rb') == bytes_, name
                assert os.stat(f'{f}/{name}').st_size == len(bytes_)
            m.restart()
        assert not [n for n in os.listdir(f) if n not in want]


def test_posix_writes():
    """A random walk of writes, truncations and appends, side by side with the native filesystem."""
    with Mount() as m:
        f = files(m)
        rnd = random.Random(7)
        for n, largest in enumerate([3000, 60000, 300000]):
            ours, native = f'{f}/walk{n}', f'{m.folder}/walk{n}'
            write(ours, '')
            write(native, '')
            for step in range(150):
                fds = [os.open(p, os.O_RDWR) for p in (ours, native)]
                for _ in range(rnd.randrange(4)):
                    at, data = rnd.randrange(largest), rnd.randbytes(rnd.randrange(largest // 3))
                    op = rnd.randrange(6)
                    for fd in fds:
                        if op < 3:
                            os.pwrite(fd, data, at)
                        elif op == 3:
                            os.ftruncate(fd, at)
                        elif op == 4:
                            os.posix_fallocate(fd, at, len(data) + 1)
                        else:
                            os.lseek(fd, 0, os.SEEK_END)
                            os.write(fd, data[:100])
                got = [os.pread(fd, 1 << 20, 0) for fd in fds]
                for fd in fds:
                    os.close(fd)
                assert got[0] == got[1], (largest, step)
                assert os.stat(ours).st_size == os.stat(native).st_size
            if largest == 60000:
                m.restart()
                assert read(ours, 'rb') == read(native, 'rb')


def test_append_is_a_log():
    with Mount() as m:
        f = files(m)
        fd = os.open(f + '/log', os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        assert os.listdir(f) == ['log']

        def writer(i):
            with open(f + '/log', 'a') as out:
                for n in range(200):
                    out.write(f'{i} {n}\n')
                    out.flush()
        parallel(4, writer)
        os.close(fd)
        lines = read(f + '/log').splitlines()
        assert sorted(lines) == sorted(f'{i} {n}' for i in range(4) for n in range(200))


def test_unlink_rename_while_open():
    with Mount() as m:
        f = files(m)
        for size in (100, 100000):
            write(f + '/a', b'a' * size)
            write(f + '/b', b'b' * size)
            with open(f + '/a', 'r+b') as a, open(f + '/b', 'rb') as b:
                os.unlink(f + '/a')
                fails(errno.ENOENT, os.stat, f + '/a')
                assert a.read() == b'a' * size
                a.seek(0)
                a.write(b'A')
                a.seek(0)
                assert a.read(2) == b'Aa'
                assert os.fstat(a.fileno()).st_size == size
                write(f + '/c', b'c' * size)
                os.rename(f + '/c', f + '/b')
                assert b.read() == b'b' * size
                assert read(f + '/b', 'rb') == b'c' * size
            os.unlink(f + '/b')
            assert os.listdir(f) == []
        write(f + '/x', 'x')
        os.mkdir(f + '/d')
        fails(errno.EISDIR, os.rename, f + '/x', f + '/d')
        fails(errno.ENOTDIR, os.rename, f + '/d', f + '/x')
        os.mkdir(f + '/d/e')
        fails(errno.EINVAL, os.rename, f + '/d', f + '/d/e/f')
        write(f + '/d/e/y', 'y')
        os.mkdir(f + '/g')
        fails(errno.ENOTEMPTY, os.rename, f + '/g', f + '/d')
        os.rename(f + '/d', f + '/g')
        assert read(f + '/g/e/y') == 'y'
        RENAME_NOREPLACE, RENAME_EXCHANGE, at = 1, 2, -100
        assert libc.renameat2(at, (f + '/x').encode(), at, (f + '/g').encode(), RENAME_NOREPLACE) == -1
        assert libc.renameat2(at, (f + '/x').encode(), at, (f + '/z').encode(), RENAME_NOREPLACE) == 0
        assert libc.renameat2(at, (f + '/z').encode(), at, (f + '/g').encode(), RENAME_EXCHANGE) == -1
        fails(errno.EPERM, os.rename, m / 'nightly', m / 'other')
        os.mkdir(m / 'second')
        fails(errno.EXDEV, os.rename, f + '/z', m / 'second/files/z')
        sh('mv nightly/files/z nightly/files/g second/files/', m.point)
        assert read(m / 'second/files/g/e/y') == 'y' and os.listdir(f) == []


def test_mmap_holes_space():
    with Mount() as m:
        f = files(m)
        write(f + '/m', b'x' * 100000)
        with open(f + '/m', 'r+b') as h:
            with mmap.mmap(h.fileno(), 0) as mm:
                mm[50000:50005] = b'hello'
                h.close()
        assert read(f + '/m', 'rb')[49999:50006] == b'xhellox'
        write(f + '/small', b'y' * 100)
        with open(f + '/small', 'r+b') as h:
            mm = mmap.mmap(h.fileno(), 0)
            mm[0:3] = b'abc'
        mm.close()
        assert wait_for(lambda: read(f + '/small', 'rb')[:4] == b'abcy', 5)
        with open(f + '/sparse', 'wb') as h:
            h.truncate(100 << 20)
            h.seek(50 << 20)
            h.write(b'data')
        st = os.stat(f + '/sparse')
        assert st.st_size == 100 << 20 and st.st_blocks * 512 < 1 << 20
        fd = os.open(f + '/sparse', os.O_RDWR)
        at = os.lseek(fd, 0, os.SEEK_DATA)
        assert 0 < at <= 50 << 20
        fails(errno.ENXIO, os.lseek, fd, (50 << 20) + 4096, os.SEEK_DATA)
        assert libc.fallocate(fd, 3, ctypes.c_long(50 << 20), ctypes.c_long(4096)) == 0
        assert os.pread(fd, 4, 50 << 20) == bytes(4)
        os.close(fd)
        write(f + '/dense', os.urandom(1 << 20))
        assert abs(os.stat(f + '/dense').st_blocks * 512 - (1 << 20)) < 1 << 17
        assert int(sh('du -s --block-size=1 dense | cut -f1', f)) >= 1 << 20
        assert os.statvfs(f).f_blocks * os.statvfs(f).f_frsize > 1 << 30
        assert os.statvfs(f).f_namemax == 255


def test_attributes():
    with Mount() as m:
        f = files(m)
        write(f + '/a', 'x')
        ino = os.stat(f + '/a').st_ino
        os.utime(f + '/a', ns=(1_500_000_000_123_456_789, 1_400_000_000_987_654_321))
        os.chmod(f + '/a', 0o755)
        os.chown(f + '/a', 1234, 1234)
        os.setxattr(f + '/a', 'user.colour', b'red')
        os.setxattr(f + '/a', 'user.empty', b'')
        fails(errno.EEXIST, os.setxattr, f + '/a', 'user.colour', b'blue', os.XATTR_CREATE)
        fails(errno.E2BIG, os.setxattr, f + '/a', 'user.big', b'x' * 65537)
        assert 'not supported' in sh('setfacl -m u:5:r a', f, ok=False)
        fails(errno.EINVAL, os.setxattr, f + '/a', 'user.bucketfs.nonsense', b'x')
        m.restart()
        st = os.stat(f + '/a')
        assert st.st_ino == ino and st.st_mtime_ns == 1_400_000_000_987_654_321
        assert st.st_atime_ns == 1_500_000_000_123_456_789
        assert stat.S_IMODE(st.st_mode) == 0o755 and st.st_uid == 0
        assert os.getxattr(f + '/a', 'user.colour') == b'red' and sorted(os.listxattr(f + '/a')) == ['user.colour', 'user.empty']
        os.chmod(f + '/a', 0o600)
        assert stat.S_IMODE(os.stat(f + '/a').st_mode) == 0o644  # the ACL decides
        os.unlink(f + '/a')
        write(f + '/a', 'y')
        assert os.stat(f + '/a').st_ino != ino and os.listxattr(f + '/a') == []
        before = os.stat(f + '/a').st_mtime_ns
        time.sleep(0.02)
        with open(f + '/a', 'a') as h:
            h.write('z')
        assert os.stat(f + '/a').st_mtime_ns > before
        with open(f + '/new', 'w') as h:
            h.write('x')
            h.flush()
            os.utime(h.fileno(), ns=(1, 2_000_000_000))
        assert os.stat(f + '/new').st_mtime_ns == 2_000_000_000
        fd = os.open(f + '/umask', os.O_CREAT | os.O_WRONLY, 0o777)
        os.close(fd)
        assert stat.S_IMODE(os.stat(f + '/umask').st_mode) == 0o755
        for what in (lambda: os.link(f + '/a', f + '/l'), lambda: os.mkfifo(f + '/l')):
            fails(errno.EPERM, what)
        os.mknod(f + '/node', 0o644 | stat.S_IFREG)
        assert 'node' in os.listdir(f)


def test_append_and_mapping():
    """Pages of a mapping go back to where they were, whatever the flags of the descriptor."""
    with Mount() as m:
        f = files(m)
        for size in (8192, 100000):
            write(f + '/a', b'x' * size)
            fd = os.open(f + '/a', os.O_RDWR | os.O_APPEND)
            mm = mmap.mmap(fd, 4096)
            mm[0:5] = b'HELLO'
            mm.flush()
            mm.close()
            os.close(fd)
            m.restart()
            data = read(f + '/a', 'rb')
            assert len(data) == size and data[:6] == b'HELLOx'
        write(f + '/b', '0123456789')
        fd = os.open(f + '/b', os.O_RDWR | os.O_APPEND)
        fcntl.fcntl(fd, fcntl.F_SETFL, 0)
        os.pwrite(fd, b'AB', 0)
        os.close(fd)
        assert read(f + '/b') == 'AB23456789'


def test_times_of_folders():
    with Mount() as m:
        f = files(m)
        os.mkdir(f + '/d')
        for change in (lambda: write(f + '/d/x', 'x'), lambda: os.rename(f + '/d/x', f + '/d/y'), lambda: os.mkdir(f + '/d/e'),
                       lambda: os.rename(f + '/d/y', f + '/d/e/y'), lambda: os.unlink(f + '/d/e/y')):
            before = os.stat(f + '/d').st_mtime_ns + os.stat(f + '/d/e').st_mtime_ns if os.path.exists(f + '/d/e') else os.stat(f + '/d').st_mtime_ns
            time.sleep(0.01)
            change()
            after = os.stat(f + '/d').st_mtime_ns + (os.stat(f + '/d/e').st_mtime_ns if os.path.exists(f + '/d/e') else 0)
            assert after > before
        os.utime(f + '/d', (2e10, -2e10))  # beyond what 64 bits of nanoseconds hold: the nearest there is
        assert os.stat(f + '/d').st_atime > 9e9 and os.stat(f + '/d').st_mtime < -9e9


def test_store_is_private():
    with Mount() as m:
        f = files(m)
        write(f + '/secret', 'text' * 100)
        write(m / 'nightly/data.json', '{"secret": 1}')
        bad = []
        for root, dirs, names in os.walk(m.store):
            for n in dirs + names:
                st = os.stat(os.path.join(root, n))
                # A folder that nobody can enter hides what is below.
                if st.st_mode & 0o077 and (root == m.store):
                    bad.append(n)
        assert not bad, bad


def test_locks():
    with Mount() as m:
        f = files(m)
        write(f + '/lock', '')
        with open(f + '/lock', 'w') as h:
            fcntl.flock(h, fcntl.LOCK_EX)
            with open(f + '/lock') as other:
                fails(errno.EWOULDBLOCK, fcntl.flock, other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with open(f + '/lock', 'w') as h:
            fcntl.lockf(h, fcntl.LOCK_EX, 10)

            def other(_):
                with open(f + '/lock', 'w') as o:
                    fails(errno.EAGAIN, fcntl.lockf, o, fcntl.LOCK_EX | fcntl.LOCK_NB, 10)
                    fcntl.lockf(o, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 10)
            parallel(1, other)
        sh('echo 0 > files/n; for i in $(seq 8); do (for j in $(seq 10); do flock files/lock '
           'bash -c \'echo $(($(cat files/n) + 1)) > files/n\'; done) & done; wait; [ "$(cat files/n)" = 80 ]', m / 'nightly')


def test_many_and_listing():
    with Mount() as m:
        f = files(m)
        count = 5000
        for i in range(count):
            os.close(os.open(f'{f}/f{i:05}', os.O_CREAT | os.O_WRONLY))
        assert sorted(os.listdir(f)) == [f'f{i:05}' for i in range(count)]
        assert int(sh('ls -l | wc -l', f)) == count + 1
        # Removing while listing misses nobody and meets nobody twice.
        seen = []
        for e in os.scandir(f):
            seen.append(e.name)
            os.unlink(e.path)
            if len(seen) % 100 == 0:
                write(f'{f}/new{len(seen)}', '')
        assert len(seen) == len(set(seen)) and {f'f{i:05}' for i in range(count)} <= set(seen)
        sh('rm -rf nightly', m.point)
        assert os.listdir(m.point) == []


def test_removing_buckets():
    with Mount() as m:
        f = files(m)
        os.rmdir(m / 'nightly')
        for id_ in ('Nightly', 'a-b', 'a.b', 'ä', 'a b'):
            fails(errno.EINVAL, os.mkdir, m / id_)
        fails(errno.EPERM, write, m / 'file', 'x')
        fails(errno.ENOENT, os.stat, m / 'Nightly')
        os.mkdir(m / 'nightly')
        fails(errno.EEXIST, os.mkdir, m / 'nightly')
        write(m / 'nightly/data.json', '{"a": 1}')
        fails(errno.ENOTEMPTY, os.rmdir, m / 'nightly')
        os.unlink(m / 'nightly/data.json')
        write(f + '/x', 'x')
        fails(errno.ENOTEMPTY, os.rmdir, m / 'nightly')
        fails(errno.ENOTEMPTY, os.rmdir, f)
        os.unlink(f + '/x')
        os.rmdir(f)
        write(f + '/y', 'y')  # files/ is always there
        assert read(f + '/y') == 'y'
        os.rename(f + '/y', f + '/z')
        sh('rm -r nightly && mkdir nightly && ls nightly', m.point)
        assert os.listdir(f) == []
        held = open(f + '/open', 'w')
        os.rmdir(m / 'nightly')
        held.write('x')
        held.close()
        os.mkdir(m / 'nightly')
        assert os.listdir(f) == []


def test_limits():
    with Mount('max_file_size=1M,max_files=5,max_total_size=2M,accepted_file_types=.bin:.txt,reserve=0%') as m:
        f = files(m)
        fails(errno.EFBIG, write, f + '/a.bin', bytes((1 << 20) + 1))
        assert os.listdir(f) == ['.a.bin.partial']
        os.unlink(f + '/.a.bin.partial')
        write(f + '/a.bin', bytes(1 << 20))
        write(f + '/b.bin', bytes(1 << 20))
        fails(errno.EDQUOT, write, f + '/c.bin', 'x')
        os.unlink(f + '/.c.bin.partial')
        fails(errno.EPERM, write, f + '/c.pdf', 'x')
        fails(errno.EPERM, os.rename, f + '/a.bin', f + '/a.pdf')
        os.mkdir(f + '/d')
        os.mkdir(f + '/e')
        os.mkdir(f + '/e2')
        fails(errno.EDQUOT, os.mkdir, f + '/g')
        os.rmdir(f + '/e2')
        os.unlink(f + '/a.bin')
        write(f + '/c.bin', bytes(1 << 20))
    with Mount('reserve=99%') as m:
        f = files(m)
        fails(errno.ENOSPC, write, f + '/a', 'x')
        write(m / 'nightly/data.json', '{"a": 1}')
        assert 'kept for data.json' in m.log_text()


def test_close_survives_kill():
    with Mount() as m:
        f = files(m)
        want = {}
        for i in range(300):
            data = os.urandom(random.Random(i).choice([0, 10, 5000, 40000, 200000]))
            write(f'{f}/f{i}', data)
            want[f'f{i}'] = data
            if i % 3 == 0:
                os.rename(f'{f}/f{i}', f'{f}/r{i}')
                want[f'r{i}'] = want.pop(f'f{i}')
            if i % 7 == 0:
                name = sorted(want)[0]
                os.unlink(f'{f}/{name}')
                del want[name]
        held = open(f + '/never_closed', 'wb')
        held.write(b'x' * 100000)
        held.flush()
        m.kill()
        m.start()
        assert sorted(os.listdir(f)) == sorted(want)
        for name, data in want.items():
            assert read(f'{f}/{name}', 'rb') == data, name
        try:
            held.close()
        except OSError:
            pass
        # What nobody owns is gone from the store as well.
        blobs = sum(len(n) for _, _, n in os.walk(m.store + '/blobs'))
        assert wait_for(lambda: sum(len(n) for _, _, n in os.walk(m.store + '/blobs')) ==
                        sum(len(d) > 32768 for d in want.values()), 10), blobs


def test_tools():
    with Mount() as m:
        f = files(m)
        b = m / 'nightly'
        src = m.folder + '/src'
        os.makedirs(src + '/sub/deeper')
        rnd = random.Random(3)
        for name in ('a.txt', 'b.bin', 'sub/c', 'sub/deeper/d'):
            write(f'{src}/{name}', rnd.randbytes(rnd.randrange(100000)))
        os.chmod(src + '/a.txt', 0o755)
        sh(f'cp -r {src} files/copy && diff -r {src} files/copy', b)
        sh(f'cp -a {src} files/archive && diff -r {src} files/archive', b)
        assert os.stat(f + '/archive/a.txt').st_mtime_ns == os.stat(src + '/a.txt').st_mtime_ns
        sh(f'tar c -C {src} . | tar x -C files/ && diff -r {src}/sub files/sub', b)
        sh(f'mkdir files/rsync && rsync -a {src}/ files/rsync/ && diff -r {src} files/rsync', b)
        assert sh(f'rsync -a --stats {src}/ files/rsync/ | grep "files transferred"', b).strip().endswith(': 0')
        sh(f'install -m 755 {src}/a.txt files/installed && test -x files/installed', b)
        assert int(sh('find files -type f | wc -l', b)) == 17
        sh('sort -o files/sorted files/copy/a.txt && sort -o files/sorted files/sorted', b)
        sh('find files -name "d" -delete; du -s files; ls -lR files > /dev/null', b)
        sh('echo one > files/s; sed -i s/one/two/ files/s; grep two files/s', b)
        sh('sqlite3 files/db.sqlite "create table t(a); insert into t values (1),(2);" && '
           'sqlite3 files/db.sqlite "pragma journal_mode=wal; insert into t values (3);" && '
           '[ "$(sqlite3 files/db.sqlite "select sum(a) from t")" = 6 ]', b)
        sh('printf "int main(void){return 0;}" > files/main.c && printf "main: main.c\\n\\tcc -o main main.c\\n" > files/makefile '
           '&& make -C files && files/main && make -C files | grep "up to date"', b)
        sh('git --version >/dev/null 2>&1 || exit 0; true', b)
        write(b + '/data.json', '{"a": 1, "b": [2]}')
        sh('mkdir new && cp -r nightly/. new/ && diff -r nightly new && cp -a nightly/. new/', m.point)
        assert read(m / 'new/data.json') == read(b + '/data.json')
        sh('head -c 3000000 /dev/urandom > files/big && cp files/big files/big2 && cmp files/big files/big2 && '
           'dd if=files/big of=files/big3 bs=64k status=none && cmp files/big files/big3', b)
        sh('rm -r nightly new && [ -z "$(ls)" ]', m.point)


if __name__ == '__main__':
    run(tests_of(__name__))
