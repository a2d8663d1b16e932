#!/usr/bin/python3
"""Who may do what, with real users."""
import errno
import os
import stat
import time

from harness import *

OWNER, LISTED, PRIMARY, SUPPLEMENTARY, OTHER, ROOT = (
    Person(61001), Person(61002), Person(61003, 62001), Person(61004, 61004, [62007, 62001]), Person(61005, 61005, [62008]),
    Person(0))
PEOPLE = {'owner': OWNER, 'listed': LISTED, 'primary group': PRIMARY, 'supplementary group': SUPPLEMENTARY,
          'other': OTHER, 'root': ROOT}
LIST = b'user:61002,group:62001'
ALL = {'read', 'edit', 'delete', 'admin'}
ACL = 'user.bucketfs.acl.'


def set_acl(path, **lists):
    for privilege, text in lists.items():
        os.setxattr(path, ACL + privilege, text)


def read_some(path):
    with open(path, 'rb') as f:
        return f.read(10)


def append(path):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(fd, b'+')
    os.close(fd)


def edit(path):
    with open(path, 'r+') as f:
        text = f.read()
        f.seek(0)
        f.write(text)


def create(path):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(fd, b'new')
    os.fstat(fd)
    os.close(fd)


def truncate(path):
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))


# What is done, what it needs (any of the alternatives, each a set), where.
OPERATIONS = [
    ('stat bucket', [set()], lambda b: os.stat(b)),
    ('access of', [set()], lambda b: os.getxattr(b, 'user.bucketfs.access')),
    ('list bucket', [{'read'}], lambda b: os.listdir(b)),
    ('list files', [{'read'}], lambda b: os.listdir(b + '/files')),
    ('list folder', [{'read'}], lambda b: os.listdir(b + '/files/folder')),
    ('stat data.json', [{'read'}, {'edit'}], lambda b: os.stat(b + '/data.json')),
    ('stat files', [{'read'}, {'edit'}], lambda b: os.stat(b + '/files')),
    ('stat file', [{'read'}], lambda b: os.stat(b + '/files/file')),
    ('read data.json', [{'read'}], lambda b: read_some(b + '/data.json')),
    ('read file', [{'read'}], lambda b: read_some(b + '/files/file')),
    ('read large', [{'read'}], lambda b: read_some(b + '/files/large')),
    ('get key', [{'read'}], lambda b: os.getxattr(b + '/data.json', 'user.bucketfs.key.a')),
    ('get attribute', [{'read'}], lambda b: os.getxattr(b + '/files/file', 'user.x')),
    ('get given name', [{'read'}], lambda b: os.getxattr(b + '/files/file', 'user.bucketfs.name')),
    ('list attributes', [{'read'}], lambda b: os.listxattr(b + '/files/file')),
    ('get acl', [{'read'}], lambda b: os.getxattr(b, ACL + 'edit')),
    ('chdir', [{'read'}, {'edit'}], lambda b: os.chdir(b)),
    ('merge', [{'edit'}], lambda b: write(b + '/data.json', '{"a": 2}')),
    ('append a merge', [{'edit'}], lambda b: write_append(b + '/data.json')),
    ('edit data.json', [{'read', 'edit'}], lambda b: edit(b + '/data.json')),
    ('set key', [{'edit'}], lambda b: os.setxattr(b + '/data.json', 'user.bucketfs.key.b', b'1')),
    ('remove key', [{'edit'}], lambda b: os.removexattr(b + '/data.json', 'user.bucketfs.key.a')),
    ('remove data.json', [{'edit'}], lambda b: os.unlink(b + '/data.json')),
    ('create', [{'edit'}], lambda b: create(b + '/files/new')),
    ('create in folder', [{'edit'}], lambda b: create(b + '/files/folder/new')),
    ('overwrite', [{'edit'}], lambda b: truncate(b + '/files/file')),
    ('append', [{'edit'}], lambda b: append(b + '/files/file')),
    ('read and write', [{'read', 'edit'}], lambda b: edit(b + '/files/file')),
    ('truncate', [{'edit'}], lambda b: os.truncate(b + '/files/file', 1)),
    ('unlink', [{'edit'}], lambda b: os.unlink(b + '/files/file')),
    ('rename', [{'edit'}], lambda b: os.rename(b + '/files/file', b + '/files/renamed')),
    ('rename over', [{'edit'}], lambda b: os.rename(b + '/files/file', b + '/files/large')),
    ('mkdir', [{'edit'}], lambda b: os.mkdir(b + '/files/made')),
    ('rmdir', [{'edit'}], lambda b: os.rmdir(b + '/files/folder')),
    ('chmod', [{'edit'}], lambda b: os.chmod(b + '/files/file', 0o755)),
    ('utime', [{'edit'}], lambda b: os.utime(b + '/files/file')),
    ('utime data.json', [{'edit'}], lambda b: os.utime(b + '/data.json')),
    ('chmod bucket', [{'edit'}], lambda b: os.chmod(b, 0o700)),
    ('set attribute', [{'edit'}], lambda b: os.setxattr(b + '/files/file', 'user.y', b'1')),
    ('remove attribute', [{'edit'}], lambda b: os.removexattr(b + '/files/file', 'user.x')),
    ('set acl', [{'admin'}], lambda b: os.setxattr(b, ACL + 'edit', b'*')),
    ('remove acl', [{'admin'}], lambda b: os.removexattr(b, ACL + 'edit')),
    ('delete bucket', [{'delete'}], lambda b: os.rmdir(b)),
]


def write_append(path):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(fd, b'{"c": 3}')
    os.close(fd)


def build(m, name, privilege):
    """A bucket of the owner's with one privilege given to LIST and the others to nobody."""
    b = m / name
    if not os.path.exists(b):
        OWNER(os.mkdir, b)
    if not os.path.exists(b + '/data.json') or read(b + '/data.json') != '{\n  "a": 1\n}\n':
        if os.path.exists(b + '/data.json'):
            os.unlink(b + '/data.json')
        write(b + '/data.json', '{"a": 1}')
    for n in ('new', 'renamed', 'folder/new'):
        if os.path.exists(f'{b}/files/{n}'):
            os.unlink(f'{b}/files/{n}')
    if os.path.exists(b + '/files/made'):
        os.rmdir(b + '/files/made')
    if not os.path.exists(b + '/files/folder'):
        OWNER(os.mkdir, b + '/files/folder')
    write(b + '/files/file', b'{"text": 1}')
    os.setxattr(b + '/files/file', 'user.x', b'1')
    if not os.path.exists(b + '/files/large') or os.stat(b + '/files/large').st_size != 100000:
        write(b + '/files/large', bytes(100000))
    set_acl(b, **{p: LIST if p == privilege else b'' for p in ALL})
    return b


def empty(b):
    sh(f'rm -r {b}/data.json {b}/files; true', ok=None)


def warm(b):
    sh(f'ls -lR {b}; cat {b}/data.json {b}/files/* > /dev/null; true', ok=None)


def expected(person, privilege, needs):
    if person in ('owner', 'root') or (privilege == 'admin' and person != 'other'):
        has = ALL
    else:
        has = {privilege} if person != 'other' else set()
    return any(need <= has for need in needs)


def matrix(m, cold):
    wrong = []
    for privilege in ('none', 'read', 'edit', 'delete', 'admin'):
        for name, needs, operation in OPERATIONS:
            for person, who in PEOPLE.items():
                b = build(m, 'matrix', privilege)
                if name == 'delete bucket':
                    empty(b)
                if cold:
                    with open('/proc/sys/vm/drop_caches', 'w') as f:
                        f.write('2')
                else:
                    warm(b)
                try:
                    who(operation, b)
                    got = 0
                except OSError as e:
                    got = e.errno
                want = 0 if expected(person, privilege, needs) else errno.EACCES
                if got != want:
                    wrong.append(f'{name}, privilege {privilege}, {person}: {errno.errorcode.get(got, got)} '
                                 f'instead of {errno.errorcode.get(want, want)}')
    assert not wrong, f'{len(wrong)} cells differ:\n' + '\n'.join(wrong[:40])


def everybody_may_create(m):
    set_acl(m.point, create=b'*')
    return m


def test_matrix_warm():
    with Mount() as m:
        matrix(everybody_may_create(m), cold=False)


def test_matrix_cold():
    with Mount() as m:
        matrix(everybody_may_create(m), cold=True)


def test_out_of_the_box():
    with Mount() as m:
        os.mkdir(m / 'b')
        fails(errno.EACCES, OTHER, os.mkdir, m / 'c')
        write(m / 'b/files/x', 'x')
        assert OTHER(read, m / 'b/files/x') == 'x'
        fails(errno.EACCES, OTHER, write, m / 'b/files/y', 'y')
        assert OTHER(os.getxattr, m / 'b', 'user.bucketfs.access') == b'read'
        assert OTHER(os.getxattr, m.point, 'user.bucketfs.access') == b'read'
        assert os.getxattr(m.point, 'user.bucketfs.access') == b'create,read,edit,delete,admin'
        assert stat.S_IMODE(os.stat(m / 'b').st_mode) == 0o755
        assert 'denied: uid=61005' in m.log_text() and 'audit: create: uid=0' in m.log_text()


def test_create_and_inheritance():
    with Mount() as m:
        fails(errno.EACCES, OTHER, os.setxattr, m.point, ACL + 'create', b'*')
        set_acl(m.point, create=b'group:62001')
        for who, may in ((PRIMARY, True), (SUPPLEMENTARY, True), (OTHER, False)):
            name = m / f'by_{who.uid}'
            if may:
                who(os.mkdir, name)
                assert os.stat(name).st_uid == who.uid
            else:
                fails(errno.EACCES, who, os.mkdir, name)
        b = m / 'by_61003'
        assert PRIMARY(os.getxattr, b, 'user.bucketfs.access') == b'read,edit,delete,admin'
        fails(errno.EACCES, OTHER, write, b + '/data.json', '{}')
        set_acl(m.point, edit=b'user:61005')
        OTHER(write, b + '/data.json', '{"a": 1}')
        PRIMARY(os.setxattr, b, ACL + 'edit', b'')
        fails(errno.EACCES, OTHER, write, b + '/data.json', '{"a": 2}')
        PRIMARY(os.removexattr, b, ACL + 'edit')
        OTHER(write, b + '/data.json', '{"a": 3}')
        fails(errno.ENODATA, os.getxattr, b, ACL + 'edit')
        fails(errno.ENODATA, os.removexattr, b, ACL + 'edit')
        set_acl(m.point, edit=b'owner', read=b'owner')
        fails(errno.EACCES, OTHER, os.listdir, b)
        assert PRIMARY(os.listdir, b) == ['data.json', 'files']
        os.chown(b, 61005, 61005)  # accepted, and changes nothing
        fails(errno.EACCES, OTHER, os.listdir, b)
        assert os.stat(b).st_uid == 61003
        m.restart()
        fails(errno.EACCES, OTHER, os.listdir, b)
        assert PRIMARY(os.listdir, b) == ['data.json', 'files']


def test_syntax_and_names():
    with Mount() as m:
        os.mkdir(m / 'b')
        for bad in (b'alice', b'user:', b'user:no_such_user_here', b'group:no_such_group', b'user:0,', b'**', b'user:0;user:1'):
            fails(errno.EINVAL, os.setxattr, m / 'b', ACL + 'edit', bad)
        fails(errno.EINVAL, os.setxattr, m / 'b', ACL + 'create', b'*')
        fails(errno.EINVAL, os.setxattr, m / 'b', ACL + 'fly', b'*')
        fails(errno.EINVAL, os.setxattr, m / 'b/files', ACL + 'edit', b'*')
        set_acl(m / 'b', edit=b'user:0, group:daemon , user:61234,owner,*')
        assert os.getxattr(m / 'b', ACL + 'edit') == b'user:root,group:daemon,user:61234,owner,*'
        set_acl(m / 'b', edit=b'')
        assert os.getxattr(m / 'b', ACL + 'edit') == b''
        assert sh(f'getfattr --only-values -n user.bucketfs.acl.edit {m / "b"} 2>/dev/null') == ''
        assert os.listxattr(m / 'b') == []
        assert 'there is no user "no_such_user_here"' in m.log_text()


def test_restricting_hides_at_once():
    """What another user's look has put into the kernel's caches is not shown to those who lose the privilege."""
    with Mount() as m:
        b = m / 'b'
        os.mkdir(b)
        os.mkdir(b + '/files/d')
        for n in ('files/x', 'files/d/y', 'data.json'):
            write(f'{b}/{n}', '{"secret": 12345}')
        warm(b)
        os.stat(b + '/files/d/y')
        r, w = os.pipe()
        r2, w2 = os.pipe()

        def inside():
            os.chdir(b + '/files/d')
            held = open('y')
            os.stat('y')
            os.write(w, b'x')
            os.read(r2, 1)
            for what in (lambda: os.stat('y'), lambda: os.listdir('.'), lambda: os.stat('.'), lambda: open('y'),
                         lambda: os.stat('..'), lambda: os.stat('../x')):
                fails(errno.EACCES, what)
            return held.read()  # open is open
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                assert OTHER(inside) == '{"secret": 12345}'
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.read(r, 1)
        set_acl(b, read=b'user:61002')
        for what in (lambda: os.stat(b + '/files/x'), lambda: os.stat(b + '/files/d/y'), lambda: os.stat(b + '/data.json'),
                     lambda: os.listdir(b), lambda: open(b + '/files/x'), lambda: os.access(b + '/files/x', os.F_OK) or os.stat(b + '/files')):
            fails(errno.EACCES, OTHER, what)
        os.write(w2, b'x')
        assert os.waitpid(pid, 0)[1] == 0
        st = OTHER(os.stat, b)
        assert (st.st_size, st.st_mtime, st.st_ctime, st.st_uid) == (0, 0, 0, 0)
        assert OTHER(os.listdir, m.point) == ['b']
        # The same after those who may have looked again.
        warm(b)
        assert LISTED(read, b + '/files/d/y') == '{"secret": 12345}'
        warm(b)
        fails(errno.EACCES, OTHER, os.stat, b + '/files/d/y')
        assert OTHER(os.stat, b).st_mtime == 0
        assert sh(f'ls -l {m.point}; ls -lR {b} | grep -c secret', ok=None)


def test_revoking_takes_effect_at_next_open():
    with Mount() as m:
        b = m / 'b'
        os.mkdir(b)
        set_acl(b, edit=b'user:61005')
        OTHER(create, b + '/files/x')
        OTHER(write, b + '/data.json', '{"a": 1}')
        set_acl(b, edit=b'')
        for what in (lambda: append(b + '/files/x'), lambda: write(b + '/data.json', '{"a": 2}'), lambda: os.unlink(b + '/files/x'),
                     lambda: create(b + '/files/z')):
            fails(errno.EACCES, OTHER, what)


def test_drop_box():
    with Mount() as m:
        b = m / 'box'
        os.mkdir(b)
        set_acl(b, read=b'', edit=b'*')
        write(b + '/files/mine', 'private')
        script = f'''cd {b} || exit 1
            echo hello > files/letter && cp /etc/hostname files/ && echo '{{"x": 1}}' > data.json && cp files/letter /dev/null 2>/dev/null && exit 2
            ls . 2>/dev/null && exit 3; ls files 2>/dev/null && exit 4; cat data.json 2>/dev/null && exit 5
            cat files/mine 2>/dev/null && exit 6; stat files/mine 2>/dev/null && exit 7
            mkdir files/d && echo x > files/d/x && rm files/letter && exit 0; exit 8'''
        r, w = os.pipe()
        OTHER(lambda: subprocess.run(['bash', '-c', script], check=True, stderr=subprocess.STDOUT) and None)
        assert sorted(os.listdir(b + '/files')) == ['d', 'hostname', 'mine']
        assert read(b + '/files/mine') == 'private' and '"x": 1' in read(b + '/data.json')


def test_root_squash():
    with Mount('root=squash') as m:
        fails(errno.EACCES, os.mkdir, m / 'b')
        assert os.getxattr(m.point, 'user.bucketfs.access') == b'read'


def test_many_supplementary_groups():
    many = Person(61006, 61006, list(range(63000, 63000 + 2000)) + [62001])
    with Mount() as m:
        os.mkdir(m / 'b')
        set_acl(m / 'b', read=b'group:62001')
        assert many(os.listdir, m / 'b') == ['data.json', 'files']
        fails(errno.EACCES, Person(61006, 61006, list(range(63000, 65000))), os.listdir, m / 'b')


if __name__ == '__main__':
    run(tests_of(__name__))
