#!/usr/bin/python3
"""Tools and other users of file systems take this for granted: links, what lost its name, space, handles."""
import ctypes
import errno
import multiprocessing
import os
import stat
import struct
import tarfile

from harness import *

ALICE, BOB = Person(61001), Person(61002)
ACL = 'user.bucketfs.acl.'
KEEP, PUNCH, ZERO = 1, 2, 0x10


def files(m, name='nightly'):
    os.makedirs(m / name, exist_ok=True)
    return m / (name + '/files')


def fallocate(fd, mode, at, size):
    if libc.fallocate(fd, mode, ctypes.c_long(at), ctypes.c_long(size)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


# ---- symbolic links ----

def test_links_are_kept():
    with Mount() as m:
        f = files(m)
        write(f + '/target', 'hello')
        for target in ('target', 'My Target', '/etc/hostname', '../../nowhere', 'ü', 'x' * 4095):
            os.symlink(target, f + '/Link')
            assert os.readlink(f + '/link') == target and os.readlink(f + '/LINK') == target
            assert os.lstat(f + '/link').st_size == len(target.encode())
            os.unlink(f + '/link')
        fails(errno.ENAMETOOLONG, os.symlink, 'x' * 4096, f + '/l')
        fails(errno.ENOENT, os.symlink, '', f + '/l')
        os.symlink('target', f + '/Link')
        assert read(f + '/link') == 'hello' and os.listdir(f) == ['target', 'link']
        fails(errno.EEXIST, os.symlink, 'other', f + '/link')
        with os.scandir(f) as entries:
            assert {e.name: e.is_symlink() for e in entries} == {'target': False, 'link': True}
        # Its own times and owner, not the target's.
        os.utime(f + '/link', ns=(5, 7_000_000_000), follow_symlinks=False)
        os.lchown(f + '/link', 61001, 61001)
        assert os.lstat(f + '/link').st_mtime_ns == 7_000_000_000 and os.stat(f + '/link').st_mtime_ns != 7_000_000_000
        fails(errno.ELOOP, os.open, f + '/link', os.O_RDONLY | os.O_NOFOLLOW)
        # Written through it, replaced, renamed, and over a file.
        write(f + '/link', 'through')
        assert read(f + '/target') == 'through'
        os.symlink('elsewhere', f + '/new')
        os.rename(f + '/new', f + '/link')
        assert os.readlink(f + '/link') == 'elsewhere' and sorted(os.listdir(f)) == ['link', 'target']
        write(f + '/file', 'a file')
        os.rename(f + '/file', f + '/link')
        assert read(f + '/link') == 'a file'
        os.symlink('target', f + '/l')
        os.rename(f + '/l', f + '/link')
        assert os.readlink(f + '/link') == 'target'
        os.mkdir(f + '/folder')
        fails(errno.EISDIR, os.rename, f + '/link', f + '/folder')
        fails(errno.ENOTDIR, os.rename, f + '/folder', f + '/link')
        # The kernel's cache for another spelling.
        assert os.readlink(f + '/LINK') == 'target'
        os.unlink(f + '/Link')
        fails(errno.ENOENT, os.readlink, f + '/LINK')
        fails(errno.EPERM, os.symlink, 'x', m / 'nightly/x')
        fails(errno.EPERM, os.symlink, 'x', m / 'x')
        os.symlink('kept', f + '/link')
        m.restart()
        assert os.readlink(f + '/link') == 'kept'
        m.process.kill()
        m.process.wait()
        subprocess.run(['umount', '-l', m.point])
        m.start()
        assert os.readlink(f + '/link') == 'kept'


def test_links_count_and_are_told():
    with Mount() as m:
        f, b = files(m), m / 'nightly'
        before = json_of(b)['files']
        os.symlink('a target', f + '/Link')
        write(f + '/tool', 'x')
        os.chmod(f + '/tool', 0o755)
        told = {x['filename']: x for x in json_of(b)['files']}
        assert before == [] and told['link']['link'] == 'a target' and told['link']['name'] == 'Link'
        assert told['link']['mode'] == '0777' and told['tool']['mode'] == '0755' and 'link' not in told['tool']
        os.setxattr(b, 'user.bucketfs.max_files', b'2')
        fails(errno.EDQUOT, os.symlink, 'x', f + '/more')
        os.removexattr(b, 'user.bucketfs.max_files')
        os.setxattr(b, 'user.bucketfs.accepted_file_types', b'.csv')
        fails(errno.EPERM, os.symlink, 'x', f + '/more')
        os.symlink('x', f + '/more.csv')
        os.removexattr(b, 'user.bucketfs.accepted_file_types')
        # In a transaction, over a file and over a link.
        tx = b + '/.bucketfs/tx/t'
        os.mkdir(tx)
        os.symlink('from tx', tx + '/files/tool')
        os.symlink('from tx', tx + '/files/Link')
        write(tx + '/files/more.csv', 'a file')
        os.rename(tx, b + '/.bucketfs/commit')
        assert os.readlink(f + '/tool') == 'from tx' == os.readlink(f + '/link') and read(f + '/more.csv') == 'a file'
        # A user without read is told of none; a user without edit makes none.
        fails(errno.EACCES, ALICE, os.symlink, 'x', f + '/x')
        os.setxattr(b, ACL + 'read', b'')
        fails(errno.EACCES, ALICE, os.readlink, f + '/link')


def json_of(b):
    import json
    return json.loads(read(b + '/.bucketfs/info.json'))


def test_links_off():
    with Mount() as m:
        f = files(m)
        os.symlink('/etc/hostname', f + '/link')
        m.unmount()
        m.options += ('' if not m.options else ',') + 'symlinks=off'
        m.start()
        fails(errno.EPERM, os.symlink, 'x', f + '/new')
        fails(errno.EPERM, os.readlink, f + '/link')
        fails(errno.EPERM, read, f + '/link')
        assert 'symlinks=off' in read(m / 'nightly/.bucketfs/errors')
        os.unlink(f + '/link')


TREE = '''mkdir -p bin lib/deep && echo 'echo ran' > bin/tool-1.2 && chmod 755 bin/tool-1.2 && ln -s tool-1.2 bin/tool &&
ln -s ../../bin/tool lib/deep/up && ln -s lib/deep everything && ln -s /nowhere/at/all dangling && echo text > lib/libx.so.1 &&
ln -s libx.so.1 lib/libx.so'''


def test_tools_copy_links():
    with Mount() as m:
        f, source = files(m), os.path.join(m.folder, 'source')
        os.mkdir(source)
        sh(TREE, source)
        sh(f'tar cf ../tree.tar . && (zip -qry ../tree.zip . || python3 -c "pass")', source)
        for name, command in (('tar', 'tar xf "$S/../tree.tar" -C "$D"'), ('cp', 'cp -a "$S/." "$D"'),
                              ('rsync', 'rsync -a "$S/" "$D"'), ('unzip', 'unzip -q "$S/../tree.zip" -d "$D"')):
            tool = command.split()[0]
            if not shutil.which(tool) or (tool == 'unzip' and not os.path.exists(source + '/../tree.zip')):
                print(f'  without {tool}: it is not installed')
                continue
            d = f + '/' + name
            os.mkdir(d)
            sh(command, S=source, D=d)
            sh(f'diff -r --no-dereference "{source}" "{d}"')
            assert sh(f'sh {d}/lib/deep/up') == 'ran\n' and os.readlink(d + '/dangling') == '/nowhere/at/all'
            # And out again.
            back = f'{m.folder}/back-{name}'
            sh(f'cp -a "{d}" "{back}" && diff -r --no-dereference "{source}" "{back}"')
        sh(f'python3 -m venv --without-pip "{f}/venv" && "{f}/venv/bin/python3" -c "print(1)"')
        sh(f'rm -r "{f}"/*')
        assert os.listdir(f) == []


# ---- what has lost its name ----

def test_folder_that_somebody_is_in():
    with Mount() as m:
        f = files(m)
        os.makedirs(f + '/a/b')
        here = os.open('/', os.O_RDONLY)
        try:
            for there, gone in ((f + '/a/b', [f + '/a/b']), (f + '/c', [f + '/c']),
                                (m / 'third/files', [m / 'third/files', m / 'third']), (m / 'other', [m / 'other'])):
                os.makedirs(there, exist_ok=True)
                os.chdir(there)
                for name in gone:
                    os.rmdir(name)
                assert os.listdir('.') == [] and stat.S_ISDIR(os.stat('.').st_mode)
                assert os.listxattr('.') == [] and os.statvfs('.').f_bsize
                fails(errno.ENODATA, os.getxattr, '.', 'security.selinux')
                for what in (lambda: os.stat('x'), lambda: open('x', 'w'), lambda: os.mkdir('x'), lambda: os.unlink('x'),
                             lambda: os.stat('x/y')):
                    fails(errno.ENOENT, what)
                # Something new by that name is another one.
                os.makedirs(there, exist_ok=True)
                assert os.stat('.').st_ino != os.stat(there).st_ino or there.endswith('files')
                os.chdir(here)
        finally:
            os.chdir(here)
            os.close(here)


def test_attributes_live_as_long_as_the_file_is_open():
    with Mount() as m:
        f = files(m)

        def replaced(path):
            write(path + '2', 'new')
            os.rename(path + '2', path)

        def rewritten(path):
            write(path, 'new')

        def bucket_gone(path):
            sh('rm -r nightly', m.point)

        for end in (os.unlink, replaced, rewritten, bucket_gone):
            files(m)
            path = f + '/file'
            write(path, 'x')
            os.setxattr(path, 'user.a', b'1')
            fd = os.open(path, os.O_RDWR)
            end(path)
            assert os.getxattr(fd, 'user.a') == b'1' and os.listxattr(fd) == ['user.a']
            os.setxattr(fd, 'user.b', b'2')
            os.setxattr(fd, 'user.a', b'3' * 60000)
            fails(errno.EEXIST, os.setxattr, fd, 'user.b', b'2', os.XATTR_CREATE)
            fails(errno.ENODATA, os.setxattr, fd, 'user.c', b'2', os.XATTR_REPLACE)
            os.removexattr(fd, 'user.b')
            fails(errno.ENODATA, os.removexattr, fd, 'user.b')
            assert os.listxattr(fd) == ['user.a'] and os.getxattr(fd, 'user.a') == b'3' * 60000
            # It is not memory without end.
            def fill():
                for i in range(1000):
                    os.setxattr(fd, f'user.{i}', b'x' * 60000)
            fails(errno.EDQUOT, fill)
            os.fchmod(fd, 0o755)
            os.utime(fd, ns=(1, 2))
            s = os.fstat(fd)
            assert s.st_nlink == 0 and s.st_mtime_ns == 2 and s.st_mode & 0o111
            os.close(fd)
            if end is not bucket_gone and end is not os.unlink:
                assert os.listxattr(path) == (['user.a'] if end is rewritten else [])
                os.unlink(path)


def test_by_name_while_it_is_replaced():
    """A file that was found is changed or told: never ESTALE."""
    with Mount() as m:
        f = files(m)
        path = f + '/r'
        write(path, '0')
        end = time.time() + 3
        calls = {'truncate': lambda: os.truncate(path, 3), 'truncate to nothing': lambda: os.truncate(path, 0),
                 'utime': lambda: os.utime(path, (1, 1)), 'chmod': lambda: os.chmod(path, 0o755), 'chown': lambda: os.chown(path, 0, 0),
                 'setxattr': lambda: os.setxattr(path, 'user.z', b'1'), 'getxattr': lambda: os.getxattr(path, 'user.bucketfs.name'),
                 'listxattr': lambda: os.listxattr(path), 'stat': lambda: os.stat(path), 'access': lambda: os.access(path, os.R_OK) or 1 / 0,
                 'open': lambda: os.close(os.open(path, os.O_RDONLY)), 'open to change': lambda: os.close(os.open(path, os.O_RDWR)),
                 'append': lambda: os.close(os.open(path, os.O_WRONLY | os.O_APPEND))}

        def replace(i):
            n = 0
            while time.time() < end:
                n += 1
                write(path if i else path + '2', 'x' * (n % 50000))
                if not i:
                    os.rename(path + '2', path)

        def call(i):
            if i < 2:
                return replace(i)
            name = list(calls)[i - 2]
            while time.time() < end:
                try:
                    calls[name]()
                except OSError as e:
                    raise AssertionError(f'{name}: {errno.errorcode[e.errno]}')

        parallel(2 + len(calls), call)


def test_xattrs_change_ctime():
    with Mount() as m:
        f = files(m)
        write(f + '/a', 'x')
        os.mkdir(f + '/d')
        fd = os.open(f + '/a', os.O_RDWR)
        for path, close in ((f + '/a', False), (f + '/a', True), (f + '/d', False)):
            if close:
                os.close(fd)
            times = [os.stat(path).st_ctime_ns]
            for what in (lambda: os.setxattr(path, 'user.q', b'1'), lambda: os.setxattr(path, 'user.q', b'2'),
                         lambda: os.removexattr(path, 'user.q')):
                time.sleep(0.002)
                what()
                times.append(os.stat(path).st_ctime_ns)
            assert times == sorted(set(times)), times


def handle_of(path):
    buffer = ctypes.create_string_buffer(8 + 128)
    struct.pack_into('I', buffer, 0, 128)
    assert libc.name_to_handle_at(-100, path.encode(), buffer, ctypes.byref(ctypes.c_int()), 0) == 0, os.strerror(ctypes.get_errno())
    return buffer


def open_handle(mount, handle, flags=os.O_RDONLY):
    fd = libc.open_by_handle_at(mount, handle, flags)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


def test_handles_survive_forgetting():
    """As NFS has them: the kernel asks for a node by its number."""
    with Mount() as m:
        f = files(m)
        os.makedirs(f + '/a/b')
        write(f + '/a/b/File', 'hello')
        write(m / 'nightly/data.json', '{"a": 1}')
        mount = os.open(m.point, os.O_RDONLY | os.O_DIRECTORY)
        paths = [m.point, m / 'nightly', f, f + '/a', f + '/a/b', f + '/a/b/file', m / 'nightly/data.json']
        handles = [handle_of(p) for p in paths]
        for p in paths:
            os.stat(p)
        write('/proc/sys/vm/drop_caches', '2')
        write('/proc/sys/vm/drop_caches', '3')
        for path, handle in zip(paths, handles):
            fd = open_handle(mount, handle)
            assert os.fstat(fd).st_ino == os.stat(path).st_ino, path
            os.close(fd)
        fd = open_handle(mount, handles[5], os.O_RDWR)
        os.write(fd, b'HE')
        os.close(fd)
        assert read(f + '/a/b/file') == 'HEllo'
        os.close(mount)
        m.restart()
        mount = os.open(m.point, os.O_RDONLY | os.O_DIRECTORY)
        fd = open_handle(mount, handles[5])
        assert os.read(fd, 10) == b'HEllo'
        os.close(fd)
        os.unlink(f + '/a/b/file')
        write('/proc/sys/vm/drop_caches', '2')
        fails(errno.ESTALE, open_handle, mount, handles[5])
        os.close(mount)


# ---- space ----

def test_blocks_of_what_is_there():
    """Between the last write and the close too: tar --sparse takes a file without blocks for a hole."""
    with Mount() as m:
        f = files(m)
        size = 3_000_000
        local = os.path.join(m.folder, 'local')
        write(local, os.urandom(size))

        def check(path, least):
            blocks = os.stat(path).st_blocks
            assert least * 0.99 <= blocks * 512 <= least * 1.3 + 65536, f'{path}: {blocks} blocks for {least} bytes'

        fd = os.open(f + '/a', os.O_RDWR | os.O_CREAT)
        for i in range(1, 31):
            os.write(fd, os.urandom(100_000))
            check(f + '/a', i * 100_000)
            check(f'/proc/self/fd/{fd}', i * 100_000)
        os.close(fd)
        check(f + '/a', size)
        with open(f + '/a', 'ab', buffering=0) as h:
            h.write(b'x' * size)
            check(f + '/a', 2 * size)
        check(f + '/a', 2 * size)
        fd = os.open(f + '/a', os.O_RDWR)
        os.ftruncate(fd, 1)
        assert os.stat(f + '/a').st_blocks <= 16
        os.close(fd)
        assert os.stat(f + '/a').st_blocks <= 16
        sh(f'''cp -p {local} cp; stat cp >/dev/null; cp {local} {m.folder}/moved; mv {m.folder}/moved mv; gzip -c {local} > gz
        tar cf - -C {m.folder} local | tar xf -; tar --sparse -cf {m.folder}/sparse.tar cp mv gz local
        mkdir {m.folder}/out; tar xf {m.folder}/sparse.tar -C {m.folder}/out
        for i in cp mv local; do cmp {local} {m.folder}/out/$i || exit 1; done; cmp gz {m.folder}/out/gz''', f)
        for name in ('cp', 'mv', 'local', 'gz'):
            check(f + '/' + name, os.stat(f + '/' + name).st_size)
        # A hole is one.
        with open(f + '/hole', 'wb') as h:
            h.seek(100 << 20)
            h.write(b'x')
            h.flush()
            assert os.stat(f + '/hole').st_blocks < 1000
        assert os.stat(f + '/hole').st_blocks < 1000


def test_fallocate():
    with Mount('max_file_size=64M') as m:
        f = files(m)
        for size in (100, 500_000):
            fd = os.open(f + f'/file{size}', os.O_RDWR | os.O_CREAT)
            fallocate(fd, KEEP, 0, 8 << 20)
            assert os.fstat(fd).st_size == 0
            if size > 32768:
                assert os.fstat(fd).st_blocks * 512 >= 8 << 20
            os.write(fd, b'x' * size)
            assert os.fstat(fd).st_size == size
            fallocate(fd, ZERO | KEEP, 10, 20)
            assert os.pread(fd, 32, 9) == b'x' + bytes(20) + b'x' * 11
            fallocate(fd, ZERO, size - 1, 100)
            assert os.fstat(fd).st_size == size + 99 and os.pread(fd, 200, size - 2) == b'x' + bytes(100)
            fallocate(fd, PUNCH | KEEP, 0, size)
            holes = os.fstat(fd).st_blocks
            fallocate(fd, 0, 0, size)
            if size > 32768:
                assert (os.fstat(fd).st_blocks - holes) * 512 >= size * 0.9
            assert os.pread(fd, size, 0) == bytes(size)
            fails(errno.EFBIG, fallocate, fd, KEEP, 0, 65 << 20)
            fails(errno.EFBIG, fallocate, fd, 0, 0, 65 << 20)
            os.close(fd)
            # Space past the end is given back with the last close, which the daemon hears of a moment later.
            assert os.stat(f + f'/file{size}').st_size == size + 99
            assert wait_for(lambda: os.stat(f + f'/file{size}').st_blocks * 512 < size + 300_000, 5)
        # An empty file that has space is one that another version may have to give way to.
        write(f + '/file', '')
        fd = os.open(f + '/file', os.O_RDWR)
        fallocate(fd, KEEP, 0, 300_000)
        os.fsync(fd)
        os.close(fd)
        write(f + '/file', b'x' * 300_000)
        with open(f + '/file', 'ab') as more:
            more.write(b'x')
        assert os.stat(f + '/file').st_size == 300_001 and 'error:' not in m.log_text(), m.log_text()
        fd = os.open(f + '/file100', os.O_RDONLY)
        fails(errno.EBADF, fallocate, fd, ZERO, 0, 10)
        os.close(fd)


def test_direct_writers_leave_no_old_pages():
    with Mount('passthrough=off') as m:
        f = files(m)
        for size in (4096, 8 << 20):
            path = f + f'/f{size}'
            write(path, b'0' * size)
            fd = os.open(path, os.O_RDWR | os.O_DIRECT)
            page = mmap_page(b'1')
            stop = time.time() + 0.5
            pid = os.fork()
            if pid == 0:
                while time.time() < stop:
                    read(path, 'rb')
                os._exit(0)
            while time.time() < stop:
                for at in range(0, min(size, 1 << 20), 4096):
                    os.pwrite(fd, page, at)
            os.waitpid(pid, 0)
            os.close(fd)
            assert read(path, 'rb')[:4096] == b'1' * 4096


def mmap_page(fill):
    import mmap
    page = mmap.mmap(-1, 4096)
    page.write(fill * 4096)
    return page


# ---- who may remove what ----

def test_delete_is_all_that_is_in_it():
    with Mount() as m:
        f, b = files(m), m / 'nightly'

        def fill():
            os.makedirs(b, exist_ok=True)
            os.setxattr(b, ACL + 'delete', b'user:61001')
            os.makedirs(f + '/a/b')
            write(f + '/a/b/c', 'x' * 100_000)
            os.symlink('x', f + '/a/l')
            write(b + '/data.json', '{"a": 1}')

        fill()
        fails(errno.EACCES, ALICE, write, b + '/data.json', '{"a": 2}')
        fails(errno.EACCES, ALICE, write, f + '/new', 'x')
        fails(errno.EACCES, ALICE, os.rename, f + '/a', f + '/z')
        fails(errno.EACCES, BOB, os.unlink, f + '/a/l')
        ALICE(sh, 'rm -r nightly', m.point)
        fails(errno.ENOENT, os.stat, b)
        fill()
        held = open(f + '/a/b/c')
        fails(errno.EINVAL, ALICE, os.setxattr, b, 'user.bucketfs.delete', b'nightl')
        fails(errno.EACCES, BOB, os.setxattr, b, 'user.bucketfs.delete', b'nightly')
        ALICE(os.setxattr, b, 'user.bucketfs.delete', b'nightly')
        fails(errno.ENOENT, os.stat, f + '/a/b/c')
        assert os.listdir(m.point) == [] and held.read() == 'x' * 100_000
        held.close()
        os.mkdir(b)
        assert os.listdir(f) == [] and read(b + '/data.json') == '{}\n'


def test_disabled_buckets_end_and_come_back():
    with Mount() as m:
        b = m / 'nightly'
        os.mkdir(b)
        for privilege, who in (('edit', '61001'), ('delete', '61002')):
            os.setxattr(b, ACL + privilege, b'user:' + who.encode())
        write(b + '/files/x', 'x')
        # An editor may disable, and enable again.
        ALICE(write, b + '/.bucketfs/meta.json', '{"enabled": false}')
        fails(errno.EROFS, ALICE, write, b + '/files/y', 'y')
        assert 'enable' in read(b + '/.bucketfs/errors').splitlines()[-1]
        assert 'refused: uid=61001' in m.log_text()
        for who in (lambda what, *a: what(*a), ALICE, BOB):
            fails(errno.EROFS, who, os.unlink, b + '/files/x')
        ALICE(write, b + '/.bucketfs/meta.json', '{"enabled": true}')
        ALICE(write, b + '/files/y', 'y')
        ALICE(write, b + '/.bucketfs/meta.json', '{"enabled": false}')
        fails(errno.EROFS, BOB, os.setxattr, b, 'user.bucketfs.delete', b'nightly')
        os.setxattr(b, 'user.bucketfs.delete', b'nightly')
        assert os.listdir(m.point) == []
        os.mkdir(b)
        write(b + '/.bucketfs/meta.json', '{"enabled": false}')
        os.rmdir(b)


if __name__ == '__main__':
    run(tests_of(__name__))
