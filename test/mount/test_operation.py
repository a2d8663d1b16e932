#!/usr/bin/python3
"""Starting, stopping and being in the way."""
import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

from harness import *

CYCLES = int(os.environ.get('BUCKETFS_CYCLES', '200'))


def attempt(*arguments):
    """Runs bucketfs; its status and the one line that it says."""
    r = subprocess.run([BINARY, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=40 * SLOW)
    text = r.stderr.decode()
    return r.returncode, text


def refused(words, *arguments):
    status, text = attempt(*arguments)
    assert status == 1, (status, text)
    assert text.startswith('bucketfs: ') and text.count('\n') == 1, text
    for w in words.split('|'):
        assert w in text, (w, text)


def processes():
    """Our daemons, by the path of this very binary; without touching what may hang."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            if os.readlink(f'/proc/{pid}/exe') == os.path.realpath(BINARY):
                found.append(int(pid))
        except OSError:
            pass
    return found


def test_refusals_in_one_line():
    with Mount() as m:
        empty = m.folder + '/empty'
        os.mkdir(empty)
        refused('in use|process', m.store, empty)
        refused('already', empty, m.point)
        refused('No such file|mkdir', m.folder + '/nostore', empty)
        refused('No such file', empty, m.folder + '/nomount')
        write(m.folder + '/plain', '')
        refused('not a folder', empty, m.folder + '/plain')
        os.makedirs(m.folder + '/outer/store')
        refused('inside the mount point', m.folder + '/outer/store', m.folder + '/outer')
        os.makedirs(m.folder + '/st/mnt')
        refused('inside the store', m.folder + '/st', m.folder + '/st/mnt')
        os.mkdir(m.folder + '/other')
        write(m.folder + '/other/photo.jpg', '')
        refused('not a bucketfs store', m.folder + '/other', empty)
        newer = m.folder + '/newer'
        os.mkdir(newer)
        write(newer + '/format', 'bucketfs store 99\n')
        refused('newer', newer, empty)
        refused('usage')
        refused('usage', 'onlyone')
        refused('usage', 'a', 'b', 'c')
        refused('unknown option', '--frobnicate', 'a', 'b')
        refused('no such value', empty, m.folder + '/outer', '-o', 'io_uring=maybe')
        refused('not a number or size', empty, m.folder + '/outer', '-o', 'max_data_size=huge')
        status, text = attempt(empty, m.folder + '/outer', '-o', 'frobnicate')
        assert status == 1 and 'frobnicate' in text, text
        assert not os.path.exists(empty + '/format')


def test_damaged_store():
    with Mount() as m:
        os.mkdir(m / 'b')
        m.unmount()
        os.unlink(m.store + '/db/CURRENT')
        refused('damaged|backup', m.store, m.point)


def test_help_and_version():
    out = subprocess.run([BINARY, '--help'], stdout=subprocess.PIPE, check=True).stdout.decode()
    assert 'usage: bucketfs STORE MOUNTPOINT' in out
    for option in ('max_data_size', 'max_file_size', 'max_files', 'max_total_size', 'accepted_file_types', 'reserve',
                   'root=squash', 'sync', 'io_uring', 'give_way', 'log='):
        assert option in out, option
    out = subprocess.run([BINARY, '--version'], stdout=subprocess.PIPE, check=True).stdout.decode()
    assert re.match(r'bucketfs \d+\.\d+\.\d+ \(store format 2, libfuse 3\.\d+', out), out


def test_background_and_cycles():
    """Mounted when the command returns, gone when umount has returned and a moment has passed; the next mount waits for
    the last daemon to leave."""
    with Mount(start=False) as m:
        for i in range(CYCLES):
            status, text = attempt(*m.arguments()[1:])
            assert status == 0, text
            assert is_mounted(m.point)
            if i == 0:
                os.mkdir(m / 'b')
            write(m / f'b/files/f{i % 10}', str(i))
            write(m / 'b/data.json', '{"i": %d}' % i)
            subprocess.run(['umount', m.point], check=True, timeout=20)
        attempt(*m.arguments()[1:])
        assert read(m / 'b/data.json') == '{\n  "i": %d\n}\n' % (CYCLES - 1)
        subprocess.run(['umount', m.point], check=True, timeout=20)
        assert wait_for(lambda: not processes(), 20), processes()


def test_dead_mount_is_cleaned_up():
    with Mount() as m:
        os.mkdir(m / 'b')
        m.process.kill()
        m.process.wait()
        # ENOTCONN, or ECONNABORTED for who was the first to notice.
        assert 'Transport endpoint' in sh(f'stat {m.point}; stat {m.point}', ok=None)
        status, text = attempt(*m.arguments()[1:])
        assert status == 0, text
        assert 'cleaned up' in text
        assert os.listdir(m.point) == ['b']
        with open('/proc/self/mounts') as f:
            assert sum(m.point in line for line in f) == 1
        subprocess.run(['umount', m.point], check=True, timeout=20)
        m.process = None
        assert wait_for(lambda: not processes(), 20)


def test_sigterm_drains():
    with Mount() as m:
        os.mkdir(m / 'b')
        held = open(m / 'b/files/Held File', 'wb')
        held.write(b'x' * 100000)
        held.flush()
        synced = open(m / 'b/files/synced', 'wb')
        synced.write(b'y' * 100000)
        synced.flush()
        os.fsync(synced.fileno())
        m.process.send_signal(signal.SIGTERM)
        m.reap()
        assert not is_mounted(m.point)
        assert 'still open at the end: b/files' in m.log_text() and 'held_file' in m.log_text()
        for h in (held, synced):
            try:
                h.close()
            except OSError:
                pass
        m.start()
        # What was not closed is not taken for a finished file; what was synced last is as good as closed.
        assert sorted(os.listdir(m / 'b/files')) == ['.held_file.partial', 'synced']
        assert read(m / 'b/files/.held_file.partial', 'rb') == b'x' * 100000
        assert read(m / 'b/files/synced', 'rb') == b'y' * 100000


def test_sigterm_answers_who_waits_for_the_disk():
    """The answer comes from another thread than received the question, and libfuse frees the question at the end."""
    def sync_on(folder):
        try:
            while True:
                with open(folder + '/data.json', 'w') as f:
                    f.write(json.dumps({str(os.getpid()): time.time()}))
                    os.fsync(f.fileno())
        finally:
            os._exit(0)

    with Mount() as m:
        for i in range(6):
            os.mkdir(m / f'b{i}')
            writers = []
            for _ in range(6):
                pid = os.fork()
                if pid == 0:
                    sync_on(m / f'b{i}')
                writers.append(pid)
            time.sleep(0.15)
            m.process.send_signal(signal.SIGTERM)
            m.reap()
            for pid in writers:
                assert wait_for(lambda: os.waitpid(pid, os.WNOHANG)[0], 20)
            m.start()
            assert json.loads(read(m / f'b{i}/data.json'))


def ring_policies(m):
    """CPU to the scheduling policy of its ring's thread: 0 is a thread's own, 5 gives way (sched(7))."""
    found = {}
    for thread in os.listdir(f'/proc/{m.process.pid}/task'):
        with open(f'/proc/{m.process.pid}/task/{thread}/stat') as f:
            name, rest = f.read().split('(', 1)[1].rsplit(')', 1)
        if name.startswith('fuse-ring-'):
            found[int(name[10:])] = int(rest.split()[38])
    return found


def gives_way(m):
    return json.loads(read(m / '.bucketfs/config.json'))['give_way']


@contextlib.contextmanager
def busy(cpu, what):
    """A process that does it on this CPU all the time."""
    pid = os.fork()
    if pid == 0:
        try:
            os.sched_setaffinity(0, {cpu})
            while True:
                what()
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_systemd_is_told_when_it_answers():
    """As a unit of Type=notify has it: NOTIFY_SOCKET, in the foreground and in the background."""
    with Mount(start=False) as m:
        path = m.folder + '/notify'
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(path)
            told.settimeout(20 * SLOW)
            for address in (path, '@' + path):
                if address[0] == '@':
                    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                    told.bind('\0' + path)
                    told.settimeout(20 * SLOW)
                with open(m.log, 'ab') as log:
                    m.process = subprocess.Popen(m.arguments() + ['-f'], stdout=log, stderr=log, env={**os.environ, 'NOTIFY_SOCKET': address})
                assert told.recv(100) == b'READY=1'
                # At once, by whoever was told.
                os.makedirs(m / 'nightly', exist_ok=True)
                m.unmount()
                assert told.recv(100) == b'STOPPING=1'
            told.close()
        # A socket that nobody reads is no reason to fail.
        with open(m.log, 'ab') as log:
            subprocess.run(m.arguments(), check=True, timeout=60, stderr=log, env={**os.environ, 'NOTIFY_SOCKET': m.folder + '/none'})
        os.stat(m / 'nightly')
        subprocess.run(['umount', m.point], check=True, timeout=30)
        assert wait_for(lambda: not any(m.point in read(f'/proc/{p}/cmdline') for p in processes()), 15)


def play_automount(point, store, ready):
    """As systemd's automount unit does it: the kernel asks for the mount when somebody looks, and lets one process group by."""
    os.setpgid(0, 0)
    asked, kernel = os.pipe()
    libc.mount(b'test', point.encode(), b'autofs', 0, f'fd={kernel},pgrp={os.getpgrp()},minproto=5,maxproto=5,direct'.encode())
    os.close(kernel)
    control = os.open(point, os.O_RDONLY | os.O_DIRECTORY)
    os.write(ready, b'x')
    packet = os.read(asked, 4096)
    kind, token = struct.unpack_from('iI', packet, 4)
    assert kind == 5, kind  # missing, direct
    status = subprocess.run([BINARY, store, point], timeout=30 * SLOW, stderr=subprocess.DEVNULL).returncode
    fcntl.ioctl(control, 0x9361 if status else 0x9360, token)
    os._exit(status)


def test_automount():
    with Mount(start=False) as m:
        told, ready = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                play_automount(m.point, m.store, ready)
            finally:
                os._exit(1)
        try:
            assert os.read(told, 1) == b'x'
            # The first process that looks waits for the mount, and then sees what is in it.
            r = subprocess.run(['timeout', '25', 'sh', '-c', 'mkdir "$0/nightly" && ls "$0"', m.point], stdout=subprocess.PIPE, timeout=40 * SLOW)
            assert (r.returncode, r.stdout) == (0, b'nightly\n'), r
            assert wait_for(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, 20)
            pid = 0
        finally:
            subprocess.run(['umount', '-l', m.point], stderr=subprocess.DEVNULL)
            if pid:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            for fd in (told, ready):
                os.close(fd)
            subprocess.run(['umount', '-l', m.point], stderr=subprocess.DEVNULL)
        assert wait_for(lambda: not any(m.point in read(f'/proc/{p}/cmdline') for p in processes()), 15)


def test_config_file_and_sighup():
    with Mount(start=False) as m:
        config, log = m.folder + '/test.conf', m.folder + '/own.log'
        base = f'# places\nstore={m.store}\n  mountpoint={m.point}\n\nlog={log}\nlog_level=warning\n'
        write(config, base + 'max_files=3\n')
        with open(m.log, 'ab') as out:
            m.process = subprocess.Popen([BINARY, '-o', ','.join(o for o in (OPTIONS, 'config=' + config) if o), '-f'], stdout=out, stderr=out,
                                         stdin=subprocess.DEVNULL)
        assert wait_for(lambda: is_mounted(m.point), 20)
        limit = lambda: json.loads(read(m / '.bucketfs/config.json'))['limits']['max_files']
        assert limit() == 3
        os.mkdir(m / 'nightly')
        for i in range(3):
            write(m / f'nightly/files/{i}', 'x')
        fails(errno.EDQUOT, write, m / 'nightly/files/more', 'x')
        held = open(m / 'nightly/files/0')
        # More files, and more lines in another log, without an end of the mount.
        os.rename(log, log + '.1')
        write(config, base.replace('warning', 'info') + 'max_files=5\n')
        m.process.send_signal(signal.SIGHUP)
        assert wait_for(lambda: limit() == 5, 10)
        write(m / 'nightly/files/more', 'x')
        os.mkdir(m / 'second')
        assert wait_for(lambda: 'bucket=second' in read(log), 5)
        assert re.match(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z bucketfs: ', read(log)), read(log)
        # A mistake changes nothing, and is told.
        write(config, base + 'max_files=many\n')
        m.process.send_signal(signal.SIGHUP)
        assert wait_for(lambda: 'line 7 is wrong' in read(log), 10) and limit() == 5
        assert held.read() == 'x'
        held.close()
        m.unmount()
        refused('no such file|nothing.conf'.replace('no such', 'No such'), '-o', 'config=nothing')
        write(config, 'config=' + config)
        refused_many(1, 'lead to one another', '-o', 'config=' + config)


def refused_many(status, words, *arguments):
    got, text = attempt(*arguments)
    assert got == status and words in text, (got, text)


def test_options_that_nobody_knows():
    with Mount(start=False) as m:
        refused('unknown option|nonsense=3', m.store, m.point, '-o', 'nonsense=3')
        refused('log=relative', m.store, m.point, '-o', 'log=relative')
        refused('log=/nowhere/at/all|No such file', m.store, m.point, '-o', 'log=/nowhere/at/all')


def test_words_of_mount():
    """mount(8) hands -n, -s, -v and -t on to its helpers."""
    with Mount(start=False) as m:
        with open(m.log, 'ab') as log:
            m.process = subprocess.Popen(m.arguments() + ['-f', '-n', '-s', '-v', '-t', 'fuse.bucketfs'], stdout=log, stderr=log)
        assert wait_for(lambda: is_mounted(m.point), 20), m.log_text()
        m.unmount()


def test_mount_over_something():
    with Mount(start=False) as m:
        write(m.point + '/a job wrote this', 'x')
        m.start()
        assert 'is not empty' in m.log_text()
        m.unmount()
        os.unlink(m.point + '/a job wrote this')
        m.start()
        assert m.log_text().count('is not empty') == 1


def test_words_at_the_start_are_in_the_log_too():
    with Mount('device_acl=user:nosuch_one,job_schema=/nowhere/at/all', start=False) as m:
        write(m.point + '/hidden', 'x')
        m.options += f',log={m.folder}/own'
        m.start()
        os.listdir(m.point)
        for words in ('is not empty', 'there is no user "nosuch_one": @device cannot be made', 'there is no folder /nowhere/at/all'):
            assert m.log_text().count(words) == 1 and read(m.folder + '/own').count(words) == 1, (words, m.log_text(), read(m.folder + '/own'))
        r = subprocess.run([os.environ.get('CTL', 'build/bucketctl'), 'get', m / '@device'], capture_output=True, text=True)
        assert r.returncode == 3 and 'there is no user "nosuch_one"' in r.stderr, r


def test_another_namespace_holds_the_store():
    """A container that was made while it was mounted has a copy of the mount: it is named."""
    with Mount() as m:
        copy = subprocess.Popen(['unshare', '-m', '--propagation', 'private', 'sleep', '100'])
        try:
            assert wait_for(lambda: os.readlink(f'/proc/{copy.pid}/ns/mnt') != os.readlink('/proc/self/ns/mnt'), 5)
            subprocess.run(['umount', m.point], check=True, timeout=30)
            status, text = attempt(*m.arguments()[1:])
            assert status == 1 and f'process {copy.pid}' in text and 'in use' in text, text
        finally:
            copy.kill()
            copy.wait()
        m.reap()


def test_contents_that_are_gone():
    with Mount() as m:
        os.mkdir(m / 'nightly')
        for i in range(3):
            write(m / f'nightly/files/{i}', os.urandom(100_000))
        write(m / 'nightly/files/small', 'small')
        m.unmount()
        shutil.rmtree(m.store + '/blobs')
        m.start()
        assert '3 of 3 contents' in m.log_text() and 'bucketctl check' in m.log_text()
        fails(errno.EIO, read, m / 'nightly/files/1', 'rb')
        told = json.loads(read(m / 'nightly/.bucketfs/errors').splitlines()[-1])
        assert told['path'] == 'nightly/files/1' and 'is missing from the store' in told['reason'], told
        assert read(m / 'nightly/files/small') == 'small'
        write(m / 'nightly/files/1', 'again')
        os.unlink(m / 'nightly/files/2')
        assert read(m / 'nightly/files/1') == 'again'


def test_rings_give_way_and_do_not_starve():
    with Mount('give_way=off') as m:
        assert not gives_way(m)
    with Mount() as m:
        cpus = sorted(os.sched_getaffinity(0))[:2]
        if not gives_way(m) or SLOW > 1:
            return  # a sanitizer is too slow for what counts as much
        for name in ('a', 'b'):
            os.mkdir(m / name)
            write(m / name + '/files/f', '')
        assert set(ring_policies(m).values()) == {0}
        with busy(cpus[0], lambda: os.utime(m / 'a/files/f')):
            assert wait_for(lambda: 5 in ring_policies(m).values(), 40), 'nobody gave way'
            # Whoever computes on the other CPU does not keep those beside it from their files.
            with busy(cpus[1], lambda: None), busy(cpus[1], lambda: write(m / 'b/files/f', 'x')):
                assert wait_for(lambda: [ring_policies(m)[c] for c in cpus] == [5, 0], 40), 'a ring starves'
        assert wait_for(lambda: set(ring_policies(m).values()) == {0}, 20)


def test_mount_helper_and_fstab_options():
    """mount -t fuse.bucketfs, as fstab would have it: mount.fuse3 looks for bucketfs in PATH."""
    with Mount(start=False) as m:
        path = os.path.dirname(BINARY) + ':' + os.environ['PATH']
        helper = '/sbin/mount.fuse.bucketfs'
        # mount(8) empties PATH for its helpers; a link where it looks, as an installed bucketfs has.
        link = '/usr/local/bin/bucketfs'
        had = os.path.lexists(link)
        if not had:
            os.symlink(BINARY, link)
        try:
            subprocess.run(['mount', '-t', 'fuse.bucketfs', m.store, m.point, '-o',
                            'rw,nosuid,nodev,noatime,_netdev,nofail,x-systemd.automount,max_files=3,accepted_file_types=.a:.b'],
                           check=True, env={**os.environ, 'PATH': path}, timeout=30)
            with open('/proc/self/mounts') as f:
                line = next(l for l in f if m.point in l)
            assert line.split()[0] == m.store and line.split()[2] == 'fuse.bucketfs' and 'nosuid' in line, line
            os.mkdir(m / 'b')
            fails(errno.EPERM, write, m / 'b/files/x.c', '')
            fails(errno.EINVAL, lambda: os.mkdir(m / 'B'))
            subprocess.run(['umount', m.point], check=True, timeout=20)
            assert wait_for(lambda: not processes(), 20)
        finally:
            if not had:
                os.unlink(link)


def test_read_only():
    with Mount() as m:
        os.mkdir(m / 'b')
        m.unmount()
        m.options += ',ro' if m.options else 'ro'
        m.start()
        fails(errno.EROFS, write, m / 'b/data.json', '{}')
        assert read(m / 'b/data.json') == '{}\n'


def test_sync_option_and_fsync():
    with Mount('sync') as m:
        os.mkdir(m / 'b')
        write(m / 'b/data.json', '{"a": 1}')
        write(m / 'b/files/x', b'x' * 100000)
        sh("{ printf '{\"b\":'; sleep 0.1; printf '1}'; } > data.json", m / 'b')
        fails(errno.EINVAL, write, m / 'b/data.json', '{"a":')
        with open(m / 'b/files/y', 'wb') as f:
            f.write(b'y')
            f.flush()
            os.fsync(f.fileno())
            assert 'y' not in os.listdir(m / 'b/files')
        with open(m / 'b/files/z', 'w+b') as f:
            f.write(b'z')
            f.flush()
            os.fsync(f.fileno())
            assert sorted(os.listdir(m / 'b/files')) == ['x', 'y', 'z']  # as a database has it
        for p in (m / 'b/files', m / 'b', m.point):
            fd = os.open(p, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
        sh('sync data.json files/x', m / 'b')

        def syncer(i):
            for n in range(10):
                fd = os.open(m / f'b/data.json', os.O_WRONLY)
                os.write(fd, b'{"s%d": %d}' % (i, n))
                os.fsync(fd)
                os.close(fd)
        parallel(8, syncer)
        assert all(f'"s{i}": 9' in read(m / 'b/data.json') for i in range(8))


def test_trace_and_log():
    with Mount('trace,log_level=debug') as m:
        os.mkdir(m / 'b')
        assert 'store: commit bucket=0 result=0' in m.log_text()


def test_hostile_names_in_log():
    with Mount() as m:
        os.mkdir(m / 'b')
        fails(errno.EPERM, write, m / 'b/x\nbucketfs: audit: forged', '')
        fails(errno.EINVAL, os.setxattr, m / 'b', 'user.bucketfs.acl.edit', b'user:a\nbucketfs: audit: forged')
        assert '\nbucketfs: audit: forged' not in m.log_text()


def test_mixed_load_then_everything_is_there():
    """Eight processes, all operations, then a restart: counters and content agree."""
    steps = 150 if SLOW == 1 else 50
    with Mount() as m:
        for i in range(3):
            os.mkdir(m / f'b{i}')

        def work(i):
            import random
            rnd = random.Random(i)
            for n in range(steps):
                b = m / f'b{rnd.randrange(3)}'
                name = f'{b}/files/{rnd.choice("abcdefgh")}{rnd.randrange(4)}'
                try:
                    op = rnd.randrange(12)
                    if op < 3:
                        write(name, rnd.randbytes(rnd.choice([10, 1000, 40000, 200000])))
                    elif op == 3:
                        read(name, 'rb')
                    elif op == 4:
                        os.unlink(name)
                    elif op == 5:
                        os.rename(name, f'{b}/files/R {rnd.randrange(8)}')
                    elif op == 6:
                        os.mkdir(name + 'd')
                    elif op == 7:
                        os.rmdir(name + 'd')
                    elif op == 8:
                        write(b + '/data.json', '{"k%d_%d": %d}' % (i, n, n))
                    elif op == 9:
                        list(os.scandir(b + '/files'))
                    elif op == 10:
                        with open(name, 'ab') as f:
                            f.write(b'+')
                    else:
                        os.truncate(name, rnd.randrange(100000))
                except OSError as e:
                    assert e.errno in (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.ENOTDIR, errno.ESTALE), e
        parallel(8, work)

        def picture():
            out = {}
            for i in range(3):
                out[i] = read(m / f'b{i}/data.json')
                for root, dirs, names in os.walk(m / f'b{i}/files'):
                    for n in names:
                        out[os.path.join(root, n)] = (read(os.path.join(root, n), 'rb'), os.stat(os.path.join(root, n)).st_ino)
                    for d in dirs:
                        out[os.path.join(root, d)] = None
            return out
        before = picture()
        m.restart()
        assert picture() == before
        sh('rm -r b0 b1 b2', m.point)
        m.unmount()
        assert sum(len(n) for _, _, n in os.walk(m.store + '/blobs')) == 0
        m.start()


def test_nothing_is_left():
    assert not processes(), processes()
    with open('/proc/self/mounts') as f:
        assert not [l for l in f if RUN in l]


if __name__ == '__main__':
    run(tests_of(__name__))
