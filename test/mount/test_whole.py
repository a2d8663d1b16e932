#!/usr/bin/python3
"""Whole or not at all: nobody takes a half-written file for a finished one."""
import errno
import fcntl
import glob
import hashlib
import mmap
import os
import random
import signal
import subprocess
import tempfile
import time

from harness import *


def files(m, name='nightly'):
    os.mkdir(m / name)
    return m / name + '/files'


def whole(size, seed):
    """A content that says itself whether it is whole: its hash stands at its end."""
    body = random.Random(seed).randbytes(size)
    return body + hashlib.sha256(body).digest()


def is_whole(data):
    return len(data) >= 32 and hashlib.sha256(data[:-32]).digest() == data[-32:]


def test_listed_when_closed():
    with Mount() as m:
        f = files(m)
        with open(f + '/a', 'wb') as h:
            h.write(b'x' * 50000)
            h.flush()
            assert os.listdir(f) == []
            assert read(f + '/a', 'rb') == b'x' * 50000  # by name it is there
            fails(errno.EEXIST, os.open, f + '/a', os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        assert os.listdir(f) == ['a']
        sh('{ echo 1; /bin/true; ls files; /bin/true; echo 2; } > files/b; [ "$(cat files/b)" = "$(printf "1\\na\\n2")" ]', m / 'nightly')
        sh('dash -c "{ echo 1; ls; echo 2; } > c"; grep -q c c && exit 1; true', f)
        sh('exec 3> new; echo part >&3; ls | grep new && exit 1; exec 3>&-; ls | grep -q new', f)
        sh('for i in $(seq 200); do echo $i > n$i; [ -e n$i ] && ls | grep -qx n$i || exit 1; done', f)
        for i in range(300):
            write(f'{f}/p{i}', 'x')
            assert f'p{i}' in os.listdir(f)


def test_new_version_beside_the_old():
    with Mount() as m:
        f = files(m)
        for size in (100, 100000):
            old, new = b'o' * size, b'n' * (size // 2 + 7)
            write(f + '/a', old)
            os.chmod(f + '/a', 0o755)
            os.setxattr(f + '/a', 'user.colour', b'red')
            reader = open(f + '/a', 'rb')
            mapped = mmap.mmap(reader.fileno(), 0, prot=mmap.PROT_READ)
            with open(f + '/a', 'wb') as h:
                h.write(new)
                h.flush()
                assert read(f + '/a', 'rb') == old
                assert os.stat(f + '/a').st_size == size
                assert os.listdir(f) == ['a']
            assert read(f + '/a', 'rb') == new and os.stat(f + '/a').st_size == len(new)
            assert mapped[:] == old and reader.read() == old and os.fstat(reader.fileno()).st_nlink == 0
            assert os.stat(f + '/a').st_mode & 0o111 and os.getxattr(f + '/a', 'user.colour') == b'red'
            reader.close()
            mapped.close()
            os.unlink(f + '/a')
        write(f + '/a', 'old')
        sh(': > files/a; [ -e files/a ] && [ ! -s files/a ]', m / 'nightly')
        write(f + '/a', 'old')
        sh('{ echo 1; cat files/a; echo 2; } > files/A', m / 'nightly')  # by another spelling
        assert read(f + '/a') == '1\nold2\n'
        os.truncate(f + '/a', 2)
        assert read(f + '/a') == '1\n'
        m.restart()
        assert read(f + '/a') == '1\n' and os.listdir(f) == ['a']


def test_where_it_comes_from():
    with Mount() as m:
        f = files(m)
        sh('env BUCKETFS_JOB=nightly cp /etc/hostname files/A', m / 'nightly')
        get = lambda name: os.getxattr(f + '/a', 'user.bucketfs.' + name).decode()
        assert (get('job'), get('username'), get('name'), get('id')) == ('nightly', 'root', 'A', str(os.stat(f + '/a').st_ino & ((1 << 40) - 1)))
        assert get('server') == os.uname().nodename
        sh('env BUCKETFS_JOB=weekly cp /etc/hostname files/a', m / 'nightly')
        assert get('job') == 'weekly'
        write(f + '/b', 'x')
        fails(errno.ENODATA, os.getxattr, f + '/b', 'user.bucketfs.job')
        fails(errno.EPERM, os.setxattr, f + '/b', 'user.bucketfs.job', b'x')


def test_collisions():
    with Mount() as m:
        f = files(m)
        write(f + '/日', 'sun')
        write(f + '/中', 'middle')
        assert os.listdir(f) == ['_'] and read(f + '/_') == 'middle'
        assert os.getxattr(f + '/_', 'user.bucketfs.name').decode() == '中'
        assert 'are both stored as _' in m.log_text() and '日' in read(m / 'nightly/.bucketfs/errors')
        write(f + '/other', 'x')
        os.rename(f + '/other', f + '/国')
        assert read(f + '/_') == 'x'
        assert 'bucketfs_name_collisions_total 2\n' in read(m / '.bucketfs/metrics')
    with Mount('collide=refuse') as m:
        f = files(m)
        write(f + '/日', 'sun')
        fails(errno.EEXIST, write, f + '/中', 'middle')
        assert 'refused: uid=0' in m.log_text() and 'are both stored as' in m.log_text(), m.log_text()
        write(f + '/other', 'x')
        fails(errno.EEXIST, os.rename, f + '/other', f + '/国')
        write(f + '/日', 'again')
        # The name that is listed is another one as well; it leads to the file for readers, and for who removes it.
        fails(errno.EEXIST, write, f + '/_', 'and again')
        assert read(f + '/_') == 'again'
        for mode in ('w', 'w+', 'r+', 'a'):
            for name in ('/_', '/国'):
                fails(errno.EEXIST, open, f + name, mode)
            open(f + '/日', mode).close()
        # The same the other way round, with an empty file, a link, and a transaction.
        write(f + '/plain', '')
        fails(errno.EEXIST, write, f + '/Plain', 'x')
        fails(errno.EEXIST, os.symlink, 'x', f + '/Plain')
        os.mkdir(m / 'nightly/.bucketfs/tx/t')
        write(m / 'nightly/.bucketfs/tx/t/files/PLAIN', 'x')
        fails(errno.EEXIST, os.rename, m / 'nightly/.bucketfs/tx/t', m / 'nightly/.bucketfs/commit')
        assert read(f + '/plain') == ''
        os.unlink(f + '/_')
        write(f + '/_', 'new')


def test_two_writers_of_one_name():
    with Mount() as m:
        f = files(m)
        # Who closes later comes later: often, for the kernel tells of it in any order.
        for first in (True, False) * 100:
            a = open(f + '/n', 'wb')
            a.write(b'a' * 100000)
            a.flush()
            b = open(f + '/n', 'wb')
            b.write(b'b' * 50000)
            b.flush()
            for h in ((a, b) if first else (b, a)):
                h.close()
            assert read(f + '/n', 'rb') == (b'b' * 50000 if first else b'a' * 100000)
        with open(f + '/n', 'wb') as a:
            a.write(b'new ')
            a.flush()
            with open(f + '/n', 'ab') as b:  # joins the version in the making
                b.write(b'appended')
            assert read(f + '/n', 'rb') == b'a' * 100000
        assert read(f + '/n', 'rb') == b'new appended'


def test_in_place():
    with Mount() as m:
        f = files(m)
        write(f + '/a', 'x' * 100)
        ino = os.stat(f + '/a').st_ino
        with open(f + '/a', 'r+') as h:
            h.write('yy')
            h.flush()
            assert read(f + '/a').startswith('yyx')
        with open(f + '/a', 'w+') as h:
            h.write('zz')
            h.flush()
            assert read(f + '/a') == 'zz'
        with open(f + '/a', 'a') as h:
            h.write('+')
            h.flush()
            assert read(f + '/a') == 'zz+'
        assert os.stat(f + '/a').st_ino == ino


def test_ftruncate_before_writing():
    """Node's copyFile, and whoever opens the file by its descriptor."""
    with Mount() as m:
        f = files(m)
        old = b'o' * 100000
        write(f + '/a', old)
        fd = os.open(f + '/a', os.O_WRONLY)
        os.ftruncate(fd, 0)
        os.write(fd, b'new')
        assert read(f + '/a', 'rb') == old
        os.close(fd)
        assert read(f + '/a', 'rb') == b'new'
        fd = os.open(f + '/a', os.O_RDONLY)
        sh(f'echo by descriptor > /proc/{os.getpid()}/fd/{fd}')
        os.close(fd)
        assert read(f + '/a') == 'by descriptor\n' and os.listdir(f) == ['a']


def test_truncated_while_being_made():
    """By a descriptor, as `-o /dev/stdout` does it: nothing has the name yet, so there is nothing to keep."""
    with Mount() as m:
        f = files(m)
        fd = os.open(f + '/a', os.O_WRONLY | os.O_CREAT)
        os.write(fd, b'begun')
        again = os.open(f'/proc/self/fd/{fd}', os.O_WRONLY | os.O_TRUNC)
        assert os.fstat(fd).st_size == 0
        os.write(again, b'new')
        os.close(again)
        os.close(fd)
        assert read(f + '/a', 'rb') == b'new' and os.listdir(f) == ['a']


def test_locks_meet():
    with Mount() as m:
        f = files(m)
        n = m / 'nightly'
        for lock in ('9> files/lock', '9>> files/lock', '9<> files/lock'):
            sh('echo 0 > files/n; for i in 1 2 3 4 5 6 7 8; do (for j in 1 2 3 4 5; do ( flock 9; x=$(cat files/n); '
               f'echo $((x + 1)) > files/n ) {lock}; done) & done; wait; [ "$(cat files/n)" = 40 ]', n)


def test_closed_and_not_released():
    """What close(2) has promised holds for whoever comes next, though the kernel tells the daemon of the release later."""
    with Mount() as m:
        f = files(m)
        for i in range(150):
            d, n = f'{f}/{i}', f'{f}/{i}/n'
            os.mkdir(d)
            write(n, 'whole')
            with open(n, 'a') as h:
                assert os.listdir(d) == ['n']
                h.write('.')
            write(d + '/t', 'whole')
            os.truncate(d + '/t', 1)
            assert sorted(os.listdir(d)) == ['n', 't']
            write(d + '/u', 'whole')
            os.truncate(d + '/u', 1)
            os.unlink(n)
            os.unlink(d + '/t')
            fails(errno.ENOTEMPTY, os.rmdir, d)
            assert read(d + '/u') == 'w'


def kill_writer(path, text, hold=0.0):
    """Leaves a writer's half behind, which a child of it has open for so many seconds more, until it is killed as well."""
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.write(fd, text)
        if os.fork() == 0:
            os.close(told)
            time.sleep(hold)
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(told, b'.')
        time.sleep(60)
        os._exit(0)
    os.close(told)
    os.read(ready, 1)
    os.close(ready)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_name_of_a_killed_writer():
    """Nobody meets by its name what is about to become the partial, whatever the kernel remembers of it."""
    with Mount() as m:
        f = files(m)
        for i in range(80):
            n, partial = f'{f}/n{i}', f'{f}/.n{i}.partial'
            assert not os.path.exists(partial)
            kill_writer(n, b'half', 0.01 if i % 8 < 4 else 0)
            if i % 4 == 0:
                with open(n, 'a') as h:
                    h.write('more')
                assert read(n) == 'more'
            elif i % 4 == 1:
                fails(errno.ENOENT, open, n)
            elif i % 4 == 2:
                fails(errno.ENOENT, open, n, 'r+')
            else:
                try:
                    os.rename(n, n + 'moved')
                    raise AssertionError('half a file was renamed')
                except OSError as e:
                    assert e.errno in (errno.ENOENT, errno.EBUSY), e
            assert read(partial) == 'half'


def test_renamed_beside_a_killed_child():
    """Whose child was killed with the file open may go on with it: what they rename is theirs to judge."""
    with Mount() as m:
        f = files(m)
        sh('exec 3> t.tmp; echo head >&3; timeout -s KILL 0.05 sleep 9; mv t.tmp t; echo tail >&3', f)
        assert read(f + '/t') == 'head\ntail\n'
        sh('exec 3> u.tmp; echo head >&3; sleep 9 & kill $!; wait; echo tail >&3; mv u.tmp u', f)
        assert read(f + '/u') == 'head\ntail\n' and sorted(os.listdir(f)) == ['t', 'u']


def test_killed_writers_leave_partials():
    with Mount() as m:
        f = files(m)
        write(f + '/old', 'old')
        ready = m.folder + '/ready'
        for name in ('new', 'old'):
            p = subprocess.Popen(['/usr/bin/python3', '-c', f'''
import time
h = open({f + "/" + name!r}, "wb")
h.write(b"half" * 10000)
h.flush()
open({ready!r}, "w").close()
time.sleep(60)'''])
            assert wait_for(lambda: os.path.exists(ready), 10)
            os.unlink(ready)
            p.kill()
            p.wait()
        assert wait_for(lambda: sorted(os.listdir(f)) == ['.new.partial', '.old.partial', 'old'], 5), os.listdir(f)
        assert read(f + '/old') == 'old' and read(f + '/.old.partial', 'rb') == b'half' * 10000
        fails(errno.ENOENT, open, f + '/new')
        assert sh('echo files/*', m / 'nightly') == 'files/old\n'
        # A clean exit with a failing status is a clean close.
        sh('echo x > files/failed; exit 3', m / 'nightly', ok=False)
        assert read(f + '/failed') == 'x\n'
        sh('bash -c "echo y > files/sub; kill -9 \\$\\$"; true', m / 'nightly', ok=None)
        assert 'did not finish' in m.log_text()
        m.restart()
        assert read(f + '/.new.partial', 'rb') == b'half' * 10000


def test_full_disk_leaves_partials():
    with Mount('max_file_size=1M') as m:
        f = files(m)
        write(f + '/a', 'old')
        sh('head -c 2000000 /dev/zero > files/a', m / 'nightly', ok=False)
        sh('cp /dev/zero files/b', m / 'nightly', ok=False)
        assert read(f + '/a') == 'old' and sorted(os.listdir(f)) == ['.a.partial', '.b.partial', 'a']


def test_daemon_killed():
    """What was flushed last is published, what was being written is a partial, what was closed is whole."""
    with Mount() as m:
        f = files(m)
        for n in ('rewritten', 'half', 'flushed', 'kept'):
            write(f'{f}/{n}', whole(50000, n))
        write(f + '/rewritten', whole(70000, 2))
        held = []
        for n in ('half', 'new_half'):
            h = open(f'{f}/{n}', 'wb')
            h.write(b'x' * 40000)
            h.flush()
            os.close(os.dup(h.fileno()))  # a child's exit
            h.write(b'y' * 40000)
            h.flush()
            held.append(h)
        for n in ('flushed', 'new_flushed'):
            h = open(f'{f}/{n}', 'wb')
            h.write(whole(60000, 3))
            h.flush()
            os.close(os.dup(h.fileno()))
            held.append(h)
        m.kill()
        m.start()
        assert sorted(os.listdir(f)) == ['.half.partial', '.new_half.partial', 'flushed', 'half', 'kept', 'new_flushed', 'rewritten']
        for n, size in (('rewritten', 70032), ('half', 50032), ('flushed', 60032), ('new_flushed', 60032), ('kept', 50032)):
            data = read(f'{f}/{n}', 'rb')
            assert len(data) == size and is_whole(data), n
        for h in held:
            try:
                h.close()
            except OSError:
                pass
        sh('rm -r nightly', m.point)
        m.unmount()
        assert sum(len(n) for _, _, n in os.walk(m.store + '/blobs')) == 0
        m.start()


def test_power_loss():
    """What the disk did not have in whole when the power went is what it was before; what was synced is there."""
    boot = '/proc/sys/kernel/random/boot_id'
    with Mount() as m:
        f = files(m)
        for n in ('replaced', 'renamed', 'small', 'synced'):
            write(f'{f}/{n}', whole(100 if n == 'small' else 90000, n))
        sh(f'sync {f}/*')
        for n in ('replaced', 'small', 'synced', 'new', 'whole'):
            write(f'{f}/{n}', whole(120000, n + '2'))
        write(f'{f}/temp', whole(120000, 9))
        os.rename(f'{f}/temp', f'{f}/renamed')
        sh(f'sync {f}/synced')
        m.kill()
        blobs = [os.path.join(d, n) for d, _, names in os.walk(m.store + '/blobs') for n in names]
        torn = 0
        for b in blobs:
            data = read(b, 'rb')
            if data in [whole(120000, s) for s in ('replaced2', 'small2', 'new2', 9)]:
                os.truncate(b, 65536)
                torn += 1
        assert torn == 4
        write(m.folder + '/boot', '01234567-89ab-cdef-0123-456789abcdef\n')
        subprocess.run(['mount', '--bind', m.folder + '/boot', boot], check=True)
        try:
            m.start()
        finally:
            subprocess.run(['umount', '-l', boot], check=True)
        assert read(f'{f}/replaced', 'rb') == whole(90000, 'replaced')
        assert read(f'{f}/small', 'rb') == whole(100, 'small')
        assert read(f'{f}/renamed', 'rb') == whole(90000, 'renamed')
        assert read(f'{f}/synced', 'rb') == whole(120000, 'synced2')
        assert read(f'{f}/whole', 'rb') == whole(120000, 'whole2')
        assert sorted(os.listdir(f)) == ['.new.partial', 'renamed', 'replaced', 'small', 'synced', 'whole']
        sh('rm -r nightly', m.point)
        m.unmount()
        assert sum(len(n) for _, _, n in os.walk(m.store + '/blobs')) == 0
        m.start()


def test_everybody_comes_after_a_crash():
    """What a crash left is made up for once, whoever comes first by whatever way."""
    with Mount() as m:
        held = []
        folders = [files(m, f'b{i}') for i in range(12)]
        for f in folders:
            for n in range(10):
                write(f'{f}/f{n}', whole(50000, n))
                held.append(open(f'{f}/f{n}', 'wb'))
                held[-1].write(whole(60000, n))
                held[-1].flush()
                os.close(os.dup(held[-1].fileno()))
        for _ in range(3):
            m.kill()
            m.start()

            def work(i):
                if i == 0:
                    read(m / '.bucketfs/metrics')
                for f in folders if i == 2 else reversed(folders):
                    for name in os.listdir(f):
                        assert is_whole(read(f'{f}/{name}', 'rb'))
            parallel(4, work)
            assert 'somebody else' not in m.log_text()
            # Where it took more than a second, it was noticed that a copy of the descriptor is open, and there is a partial.
            for f in folders:
                assert sorted(n for n in os.listdir(f) if not n.startswith('.')) == sorted(f'f{n}' for n in range(10))
            for f in folders:
                held.append(open(f + '/f1', 'wb'))
                held[-1].write(whole(70000, 1))
                held[-1].flush()
                os.close(os.dup(held[-1].fileno()))
        for h in held:
            fails_to(h.close)


def test_killed_writers_and_readers():
    """Writers of one name killed at random moments, readers all the while. BUCKETFS_WRITERS=1000x10M for more of it."""
    writers, size = (150, 2 << 20) if SLOW == 1 else (30, 1 << 20)
    if 'BUCKETFS_WRITERS' in os.environ:
        writers, size = (int(x) for x in os.environ['BUCKETFS_WRITERS'].replace('M', '000000').split('x'))
    with Mount() as m:
        f = files(m)
        stop = m.folder + '/stop'

        def read_all(_):
            rnd = random.Random(os.getpid())
            while not os.path.exists(stop):
                for n in os.listdir(f):
                    if n.startswith('.'):
                        continue
                    try:
                        with open(f'{f}/{n}', 'rb') as h:
                            if rnd.randrange(2):
                                with mmap.mmap(h.fileno(), 0, prot=mmap.PROT_READ) as mm:
                                    data = mm[:]
                            else:
                                data = h.read()
                    except FileNotFoundError:
                        continue
                    assert is_whole(data), (n, len(data))

        def kill_them():
            rnd = random.Random(5)
            running = []
            for i in range(writers):
                source = f'{m.folder}/source{i % 7}'
                write(source, whole(size + rnd.randrange(size), i))
                running.append((subprocess.Popen(['cp', source, f'{f}/f{i % 4}']), time.time() + rnd.random() * 0.02))
                while len(running) > 3:
                    for p, at in running:
                        if time.time() > at:
                            p.kill()
                    running = [(p, at) for p, at in running if p.poll() is None]
            for p, _ in running:
                p.wait()
            write(stop, '')

        parallel(4, lambda i: read_all(i) if i else kill_them())
        for n in os.listdir(f):
            assert n.startswith('.') or is_whole(read(f'{f}/{n}', 'rb')), n


def test_many_replace_one_small_file():
    """Nobody is told ESTALE, and nobody reads a mixture, however often the inode is another one by the time it is opened."""
    with Mount() as m:
        f = files(m)
        write(f + '/x', b'1' * 1001)
        end = time.time() + (3 if SLOW == 1 else 6)

        def work(i):
            while time.time() < end:
                if i < 3:
                    fd = os.open(f + '/x', os.O_WRONLY | os.O_TRUNC | (os.O_CREAT if i else 0), 0o644)
                    assert os.write(fd, b'%d' % i * (1000 + i)) == 1000 + i
                    os.close(fd)
                else:
                    data = read(f + '/x', 'rb')
                    assert len(set(data)) == 1 and len(data) == 1000 + int(data[:1]), (len(data), set(data))

        parallel(6, work)


def test_written_while_read_by_the_kernel():
    """While a large file is open for reading, every way of opening it works, and readers see what is written in place."""
    with Mount() as m:
        f = files(m)
        for how in ('a', 'ab by number', 'r+', 'rb', 'swapped', 'removed'):
            write(f + '/x', b'x' * 50000)
            with open(f + '/x', 'rb', buffering=0) as reader:
                assert reader.read(10) == b'x' * 10
                number = f'/proc/self/fd/{reader.fileno()}'
                if how == 'a':
                    write_at_end(f + '/x')
                elif how == 'ab by number':
                    write_at_end(number)
                elif how == 'r+':
                    with open(f + '/x', 'r+b') as h:
                        h.seek(0, 2)
                        h.write(b'more')
                elif how == 'rb':
                    with open(f + '/x', 'rb') as h, mmap.mmap(h.fileno(), 0, prot=mmap.PROT_READ) as mapped:
                        assert mapped[:] == b'x' * 50000
                    continue
                else:
                    if how == 'removed':
                        os.unlink(f + '/x')
                    fd = os.open(number, os.O_WRONLY | os.O_TRUNC)
                    os.write(fd, b'n' * 60000)
                    os.close(fd)
                    assert read(number, 'rb') == b'n' * 60000
                    continue
                assert os.pread(reader.fileno(), 100, 49999) == b'xmore' and read(f + '/x', 'rb') == b'x' * 50000 + b'more', how


def test_emptied_while_read_by_the_kernel():
    """What has no bytes any more, and a content in the store all the same, is replaced as a whole too."""
    with Mount() as m:
        f = files(m)
        for reopen in (False, True):
            write(f + '/x', b'x' * 50000)
            with open(f + '/x', 'rb', buffering=0) as reader:
                assert reader.read(10) == b'x' * 10
                os.truncate(f + '/x', 0)
                if not reopen:
                    write(f + '/x', b'n' * 60000)
                    assert read(f + '/x', 'rb') == b'n' * 60000
            if reopen:
                assert wait_for(lambda: 'bucketfs_open_handles 0\n' in read(m / '.bucketfs/metrics'), 5)
                write(f + '/x', b'n' * 60000)
            assert read(f + '/x', 'rb') == b'n' * 60000
            m.restart()
            assert read(f + '/x', 'rb') == b'n' * 60000


def test_closed_and_replaced():
    """What was closed before something else took its name or removed it does not come back."""
    with Mount() as m:
        f = files(m)
        for i in range(100):
            write(f + '/x', 'old')
            write(f + '/new', 'new')
            write(f + '/x', 'closed')
            os.rename(f + '/new', f + '/x')
            assert read(f + '/x') == 'new', i
            write(f + '/x', 'closed')
            os.unlink(f + '/x')
            assert os.listdir(f) == [], i


def test_seen_at_once_by_any_name():
    """What was closed is what the next look finds, also where the kernel has the name from before."""
    with Mount() as m:
        f = files(m)
        for i in range(100):
            content = 'newer%d' % i
            write(f + '/my_file', 'old')
            assert read(f + '/my_file') == 'old' and os.stat(f + '/my_file').st_size == 3
            write(f + '/My File', content)
            assert os.stat(f + '/my_file').st_size == len(content), i
            write(f + '/my_file', 'old')
            assert read(f + '/my_file') == 'old'
            write(f + '/My File', content)
            with open(f + '/my_file', 'a') as h:
                h.write('+')
            assert read(f + '/my_file') == content + '+', i
            # Moved there while it is being made.
            version = open(f + '/my_file', 'w')
            version.write(content)
            version.flush()
            write(f + '/moved', 'moved')
            os.stat(f + '/moved')
            os.rename(f + '/moved', f + '/my_file')
            assert read(f + '/my_file') == 'moved', i
            version.close()
            assert os.stat(f + '/my_file').st_size == len(content) and read(f + '/my_file') == content, i


def write_at_end(path):
    with open(path, 'ab') as h:
        h.write(b'more')


def test_opened_and_removed_at_once():
    """Whoever opens with O_CREAT gets a file, whether or not it is removed at the same moment."""
    with Mount() as m:
        f = files(m)
        end = time.time() + 1

        def work(i):
            while time.time() < end:
                if i == 0:
                    fd = os.open(f + '/x', os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
                    os.write(fd, b'x')
                    os.close(fd)
                else:
                    fails_to(os.unlink, f + '/x')
        parallel(2, work)


def test_own_output_by_its_other_names():
    """/dev/stdout is opened by the inode, not by the name: there is nothing to look up again."""
    with Mount() as m:
        f = files(m)
        native = m.folder + '/native'
        os.mkdir(native)
        for script in ('{ echo one; echo two >> /dev/stdout; } > out', '{ echo one; echo two >> /dev/stdout; } >> log',
                       '{ echo longer than it; echo again > /dev/stdout; } > out', 'echo x | tee /dev/fd/3 3> t > /dev/null',
                       'exec 4> o; echo 1 >&4; echo 2 > /proc/self/fd/4; cat < /proc/self/fd/4 > back; echo 3 >&4'):
            for _ in range(2):
                sh(script, f)
                sh(script, native)
                sh(f'diff -r {native} {f}')


def killed_between(m, script, mark):
    """The daemon is killed when the script says so on its standard error; then it is started again."""
    shell = subprocess.Popen(['bash', '-c', script], stderr=subprocess.PIPE, stdin=subprocess.PIPE, start_new_session=True)
    assert shell.stderr.readline() == mark + b'\n'
    time.sleep(1.5 if mark == b'late' else 0.05)
    m.kill()
    os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()
    shell.stderr.close()
    shell.stdin.close()
    m.start()


def test_killed_between_two_writers_of_one_file():
    """A child that ends has closed nothing for its parent, and a copy of a descriptor nothing for the other one."""
    with Mount() as m:
        f = files(m)
        for i, (script, kept) in enumerate((
                ('{ /bin/echo one; echo mid >&2; read x; echo two; } > %s', 'one\n'),
                ('{ echo one >&3; /bin/true; echo mid >&2; read x; echo two >&3; } 3> %s', 'one\n'),
                ('{ echo one >&3; echo late >&2; read x; echo two >&3; } 3> %s', 'one\n'),
                ('{ echo mid >&2; read x; echo two; } > %s', None))):
            for new in (False, True):
                name = f'{"new" if new else "old"}{i}'
                if not new:
                    write(f'{f}/{name}', 'what was there')
                killed_between(m, script % f'{f}/{name}', b'late' if 'late' in script else b'mid')
                assert not os.path.exists(f'{f}/{name}') if new else read(f'{f}/{name}') == 'what was there', script
                partial = f'{f}/.{name}.partial'
                assert read(partial) == kept if kept else not os.path.exists(partial), script


def test_killed_after_a_close():
    """What a shell has closed is there: a file of two writers, and one with nothing in it."""
    with Mount() as m:
        f = files(m)
        for i in range(6):
            write(f'{f}/old{i}', 'what was there')
            sh(f': > old{i}; : > empty{i}; {{ /bin/echo one; /bin/echo two; }} > both{i}; {{ echo 1 >&3; /bin/echo 2 >&3; }} 3> copied{i}', f)
            m.kill()
            m.start()
            assert read(f'{f}/old{i}') == read(f'{f}/empty{i}') == ''
            assert read(f'{f}/both{i}') == 'one\ntwo\n' and read(f'{f}/copied{i}') == '1\n2\n'


def test_damaged_content_is_no_other_content():
    """A flipped bit, a content cut short: EIO with a reason, in whatever way it is read, and the other files go on."""
    with Mount() as m:
        f = files(m)
        for name in ('flipped', 'cut', 'good'):
            write(f'{f}/{name}', 'x' * 1000000)
        m.unmount()
        blobs = [b for b in glob.glob(m.store + '/blobs/*/*') if os.path.getsize(b) == 1000000]
        assert len(blobs) == 3
        with open(blobs[0], 'r+b') as b:
            b.seek(600000)
            b.write(b'y')
        os.truncate(blobs[1], 999999)
        m.start()
        bad = [n for n in ('flipped', 'cut', 'good') if fails_to(read, f'{f}/{n}', 'rb')]
        assert len(bad) == 2, bad
        for name in bad:
            fails(errno.EIO, read, f'{f}/{name}', 'rb')
            assert subprocess.run(['cp', f'{f}/{name}', m.folder + '/copy'], stderr=subprocess.DEVNULL).returncode
        reasons = read(m / 'nightly/.bucketfs/errors')
        assert 'damaged' in reasons, reasons
        # Replaced, it is as good as any.
        for name in bad:
            write(f'{f}/{name}', 'z' * 1000000)
        m.restart()
        for name in bad:
            assert read(f'{f}/{name}') == 'z' * 1000000


def test_scrub_finds_what_nobody_reads():
    """A content that went bad after it was written: a pass tells of it, and from then on nobody gets it."""
    with Mount(options='scrub=1') as m:
        f = files(m)
        for name in ('bad', 'good'):
            write(f'{f}/{name}', 'x' * 700000)
        time.sleep(3.5)  # sealed by then
        m.restart()
        assert wait_for(lambda: 'all contents were read, 0 of them are damaged' in m.log_text(), 20)
        assert read(f'{f}/bad') == 'x' * 700000
        blob = [b for b in glob.glob(m.store + '/blobs/*/*') if os.path.getsize(b) == 700000][0]
        with open(blob, 'r+b') as b:
            b.seek(300000)
            b.write(b'y')
        m.restart()
        assert wait_for(lambda: 'all contents were read, 1 of them are damaged' in m.log_text(), 20)
        metrics = read(m / '.bucketfs/metrics')
        assert 'bucketfs_scrub_damaged_total 1' in metrics
        assert sum(bool(fails_to(read, f'{f}/{n}', 'rb')) for n in ('bad', 'good')) == 1
        assert 'is damaged: its content is not what was written' in m.log_text()


def test_length_of_an_empty_file_before_its_bytes():
    """Opened with truncation while it is empty, it gets a length first, by ftruncate or fallocate: nobody sees that before it is closed."""
    with Mount() as m:
        f = files(m) + '/x'
        for how in (os.ftruncate, lambda fd, size: os.posix_fallocate(fd, 0, size)):
            write(f, '')
            fd = os.open(f, os.O_WRONLY | os.O_TRUNC)
            how(fd, 100000)
            assert os.path.getsize(f) == 0 and read(f, 'rb') == b''
            os.write(fd, b'x' * 100000)
            assert read(f, 'rb') == b''
            os.close(fd)
            assert read(f, 'rb') == b'x' * 100000
        # As Node copies a file.
        write(f, '')
        fd = os.open(f, os.O_WRONLY)
        os.ftruncate(fd, 0)
        os.write(fd, b'y' * 1000)
        assert read(f, 'rb') == b''
        os.close(fd)
        assert read(f, 'rb') == b'y' * 1000


def test_store_on_a_full_disk():
    """The filesystem below is full, not only a limit reached: what was there stays, nothing half-written gets a name."""
    store = tempfile.mkdtemp(prefix='bucketfs-full')
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=80m', 'none', store], check=True)
    try:
        with Mount(store=store, options='reserve=0') as m:
            f = files(m)
            kept = whole(1 << 20, 0)
            for i in range(4):
                write(f'{f}/f{i}', kept)
            failed = 0
            for n in range(200):
                try:
                    with open(f'{f}/f{n % 4 if n % 2 else f"new{n}"}', 'wb', buffering=0) as h:
                        for part in range(8):
                            h.write(whole(1 << 20, n)[part << 17:(part + 1) << 17] if part < 7 else whole(1 << 20, n)[7 << 17:])
                except OSError as e:
                    assert e.errno == errno.ENOSPC, e
                    failed += 1
                for name in os.listdir(f) if n % 5 == 0 else ():
                    assert name.startswith('.') or is_whole(read(f'{f}/{name}', 'rb')), name
            assert failed
            sh(f'rm -f {f}/fnew* {f}/.*.partial {f}/f3')
            assert wait_for(lambda: not fails_to(write, f + '/again', kept), 10)
            assert read(f + '/again', 'rb') == kept
            m.restart()
            for name in os.listdir(f):
                assert name.startswith('.') or is_whole(read(f'{f}/{name}', 'rb')), name
            write(m / 'nightly/data.json', '{"still": "works"}')
    finally:
        subprocess.run(['umount', '-l', store])
        os.rmdir(store)


def fails_to(what, *args):
    try:
        what(*args)
    except OSError:
        return True
    return False


def test_replaced_again_and_again():
    """Readers by read, mmap and sendfile, a writer that replaces by truncation: one version, whole, every time."""
    for options in ('passthrough=auto', 'passthrough=off'):
        replaced_again_and_again(options)


def replaced_again_and_again(options):
    rounds = 40 if SLOW == 1 else 8
    with Mount(options) as m:
        f = files(m)
        write(f + '/x', whole(3 << 20, 0))
        stop = m.folder + '/stop'

        def reader(i):
            if i == 4:
                for n in range(rounds):
                    data = whole((1 << 20) + random.Random(n).randrange(4 << 20), n)
                    write(m.folder + '/source', data)
                    if n % 3 == 0:
                        write(f + '/x', data)
                    elif n % 3 == 1:
                        sh(f'cp {m.folder}/source {f}/x')
                    else:
                        sh(f'cat {m.folder}/source > {f}/X')
                write(stop, '')
                return
            while not os.path.exists(stop):
                with open(f + '/x', 'rb') as h:
                    if i == 0:
                        data = h.read()
                    elif i == 1:
                        with mmap.mmap(h.fileno(), 0, prot=mmap.PROT_READ) as mm:
                            data = mm[:]
                    elif i == 2:
                        with open(f'{m.folder}/out', 'w+b') as out:
                            while os.sendfile(out.fileno(), h.fileno(), None, 1 << 20):
                                pass
                            out.seek(0)
                            data = out.read()
                    else:
                        data = b''.join(iter(lambda: h.read(100000), b''))
                assert is_whole(data), len(data)
        parallel(5, reader)


if __name__ == '__main__':
    run(tests_of(__name__))
