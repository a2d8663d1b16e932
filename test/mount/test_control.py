#!/usr/bin/python3
"""The control folders: info, metadata, schema, errors, previous.json, metrics."""
import ctypes
import errno
import json
import os
import re
import threading
import time

from harness import *

OTHER, EDITOR = Person(61005), Person(61006)
ACL = 'user.bucketfs.acl.'


def bucket(m, name='nightly'):
    os.mkdir(m / name)
    return m / name


def control(b, name):
    return f'{b}/.bucketfs/{name}'


def errors(b):
    return [json.loads(line) for line in read(control(b, 'errors')).splitlines()]


def test_not_listed_but_there():
    with Mount() as m:
        b = bucket(m)
        assert os.listdir(b) == ['data.json', 'files'] and os.listdir(m.point) == ['nightly']
        assert sorted(os.listdir(b + '/.bucketfs')) == ['errors', 'info.json', 'meta.json']
        assert sorted(os.listdir(m / '.bucketfs')) == ['config.json', 'errors', 'metrics', 'version']
        for what in (lambda: write(control(b, 'x'), ''), lambda: os.mkdir(control(b, 'x')), lambda: os.rmdir(b + '/.bucketfs'),
                     lambda: os.unlink(control(b, 'info.json')), lambda: write(control(b, 'info.json'), '{}'),
                     lambda: os.rename(control(b, 'info.json'), b + '/files/x'), lambda: write(m / '.bucketfs/version', 'x')):
            fails(errno.EPERM, what)
        sh('rm -r nightly; [ -z "$(ls)" ]', m.point)


def test_info():
    with Mount() as m:
        b = bucket(m)
        before = json.loads(read(control(b, 'info.json')))
        assert before['bucket']['id'] == 'nightly' and before['data'] == {} and before['files'] == []
        write(b + '/data.json', '{"n": 9007199254740993, "b": [1, {"c": null}]}')
        write(b + '/files/My File.txt', 'abc')
        os.makedirs(b + '/files/d/e')
        write(b + '/files/d/e/x', 'abcdef')
        held = open(b + '/files/unfinished', 'w')
        held.write('x' * 50000)
        held.flush()
        os.close(os.dup(held.fileno()))
        text = read(control(b, 'info.json'))
        info = json.loads(text)
        assert '"n": 9007199254740993' in text and info['data']['b'] == [1, {'c': None}]
        assert [(f['filename'], f['path'], f['size'], f['username']) for f in info['files']] == [
            ('my_file.txt', 'nightly/files/my_file.txt', 3, 'root'), ('x', 'nightly/files/d/e/x', 6, 'root')]
        assert info['files'][0]['id'] == os.stat(b + '/files/my_file.txt').st_ino & ((1 << 40) - 1)
        assert info['bucket']['revision'] > before['bucket']['revision']
        assert re.match(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$', info['bucket']['modified'])
        held.close()
        revision = json.loads(read(control(b, 'info.json')))['bucket']['revision']
        write(b + '/data.json', '{"n": 9007199254740993}')
        assert json.loads(read(control(b, 'info.json')))['bucket']['revision'] == revision


def test_info_has_what_was_closed():
    """The kernel tells of a release later than close(2) returns."""
    with Mount() as m:
        b = m / 'nightly'
        os.makedirs(b + '/files/sub')
        def sizes():
            return {f['path'][len('nightly/files/'):]: f['size'] for f in json.loads(read(control(b, 'info.json')))['files']}
        for i in range(1, 200):
            name = f'sub/n{i}' if i % 3 else 'again'
            write(f'{b}/files/{name}', 'x' * i)
            assert sizes().get(name) == i, (i, name)
        # Who is still at it is not waited for.
        with open(b + '/files/open', 'w') as h:
            h.write('half')
            h.flush()
            began = time.time()
            assert 'open' not in sizes() and time.time() - began < 0.09 * SLOW


def test_info_is_one_snapshot():
    """The two always change together in one merge."""
    with Mount() as m:
        b = bucket(m)
        write(b + '/data.json', '{"x": 0, "y": 0}')
        stop = m.folder + '/stop'

        def work(i):
            if i == 0:
                for n in range(300):
                    write(b + '/data.json', '{"x": %d, "y": %d}' % (n, n))
                write(stop, '')
            while not os.path.exists(stop):
                d = json.loads(read(control(b, 'info.json')))['data']
                assert d['x'] == d['y']
        parallel(3, work)


def test_meta():
    with Mount() as m:
        b = bucket(m)
        sh('''echo '{"title": "Nightly build", "notes": "a\\nb"}' > .bucketfs/meta.json''', b)
        assert json.loads(read(control(b, 'meta.json'))) == {'title': 'Nightly build', 'notes': 'a\nb', 'icon': '', 'enabled': True}
        for bad in ('{"titel": "x"}', '{"title": 1}', '{"enabled": 1}', '{"id": "x"}', '[1]', '{bad', '{"title": "x"} 1'):
            fails(errno.EINVAL, write, control(b, 'meta.json'), bad)
        fails(errno.EINVAL, write, control(b, 'meta.json'), '{"title":')
        assert json.loads(read(control(b, 'meta.json')))['title'] == 'Nightly build'
        assert '"titel"' in errors(b)[0]['reason']
        m.restart()
        assert json.loads(read(control(b, 'info.json')))['bucket']['title'] == 'Nightly build'
        fails(errno.EACCES, OTHER, write, control(b, 'meta.json'), '{"title": "x"}')
        assert json.loads(OTHER(read, control(b, 'meta.json')))['notes'] == 'a\nb'


def test_disabled_is_read_only():
    with Mount() as m:
        b = bucket(m)
        write(b + '/data.json', '{"a": 1}')
        write(b + '/files/x', 'x')
        held = open(b + '/data.json', 'w')
        held.write('{"b": 1}')
        tx = control(b, 'tx/t')
        os.mkdir(tx)
        write(tx + '/files/x', 'x')
        write(control(b, 'meta.json'), '{"enabled": false}')
        for what in (lambda: write(b + '/data.json', '{"a": 2}'), lambda: write(b + '/files/y', 'y'), lambda: os.unlink(b + '/files/x'),
                     lambda: os.unlink(b + '/data.json'), lambda: os.mkdir(b + '/files/d'),
                     lambda: os.setxattr(b + '/data.json', 'user.bucketfs.key.a', b'2'),
                     lambda: os.setxattr(b, ACL + 'edit', b'*'), held.close,
                     lambda: write(tx + '/data.json', '{"a": 2}'), lambda: write(tx + '/files/x', 'y'),
                     lambda: os.unlink(tx + '/files/x'), lambda: os.mkdir(control(b, 'tx/u')),
                     lambda: os.rename(tx, control(b, 'commit'))):
            fails(errno.EROFS, what)
            assert 'disabled' in json.loads(read(control(b, 'errors')).splitlines()[-1])['reason']
        assert read(b + '/files/x') == 'x'
        write(control(b, 'meta.json'), '{"enabled": true}')
        write(b + '/data.json', '{"a": 2}')


def test_schema():
    with Mount() as m:
        b = bucket(m)
        fails(errno.ENOENT, read, control(b, 'schema.json'))
        fails(errno.ENOENT, os.unlink, control(b, 'schema.json'))
        for bad in ('{"type": "strnig"}', '{"$ref": "https://example.com/s"}', '{"items": [{}]}', '{"pattern": "("}', '[]', '{'):
            fails(errno.EINVAL, write, control(b, 'schema.json'), bad)
        schema = '{"required": ["port"], "properties": {"port": {"type": "integer", "maximum": 65535}, "token": {"writeOnly": true, "maxLength": 3}}}'
        write(control(b, 'schema.json'), schema)  # a document never written is not judged
        assert read(control(b, 'schema.json')) == schema
        fails(errno.EINVAL, write, b + '/data.json', '{"host": "x"}')
        sh('echo \'{"port": 70000}\' > data.json', b, ok=False)
        write(b + '/data.json', '{"port": 80}')
        sh('echo \'{"port": 70000}\' > data.json', b, ok=False)
        fails(errno.EINVAL, os.setxattr, b + '/data.json', 'user.bucketfs.key.port', b'"x"')
        fails(errno.EINVAL, os.removexattr, b + '/data.json', 'user.bucketfs.key.port')
        fails(errno.EINVAL, write, b + '/data.json', '{"token": "secret"}')
        f = open(b + '/data.json', 'r+')
        f.truncate(0)
        f.write('{}')
        fails(errno.EINVAL, f.close)
        assert json.loads(read(b + '/data.json')) == {'port': 80}
        reasons = [e['reason'] for e in errors(b)]
        assert 'schema: /port: 70000 is more than maximum 65535' in reasons
        assert any('***' in r for r in reasons) and not any('secret' in r for r in reasons)
        fails(errno.EINVAL, write, control(b, 'schema.json'), '{"properties": {"port": {"maximum": 79}}}')
        fails(errno.EACCES, OTHER, write, control(b, 'schema.json'), '{}')
        os.setxattr(b, ACL + 'edit', b'user:61006')
        fails(errno.EACCES, EDITOR, write, control(b, 'schema.json'), '{}')
        fails(errno.EACCES, EDITOR, os.unlink, control(b, 'schema.json'))
        EDITOR(write, b + '/data.json', '{"port": 81}')
        m.restart()
        fails(errno.EINVAL, write, b + '/data.json', '{"port": 70000}')
        os.unlink(control(b, 'schema.json'))
        write(b + '/data.json', '{"port": 70000}')


def test_previous():
    with Mount() as m:
        b = bucket(m)
        fails(errno.ENOENT, read, control(b, 'previous.json'))
        write(b + '/data.json', '{"precious": 1}')
        write(m.folder + '/broken.json', '{broken')
        sh(f'mv {m.folder}/broken.json data.json', b, ok=False)
        assert json.loads(read(control(b, 'previous.json'))) == {'precious': 1}
        sh('cp .bucketfs/previous.json data.json', b)
        assert json.loads(read(b + '/data.json')) == {'precious': 1}
        m.restart()
        assert json.loads(read(control(b, 'previous.json'))) == {'precious': 1}
        os.unlink(control(b, 'previous.json'))
        fails(errno.ENOENT, read, control(b, 'previous.json'))


def test_errors():
    with Mount() as m:
        b = bucket(m)
        os.setxattr(b, ACL + 'edit', b'user:61006')
        fails(errno.EINVAL, write, b + '/data.json', '{"a": 1,\n  "b" 2}')
        fails(errno.EINVAL, EDITOR, write, b + '/data.json', '{bad')
        all_ = errors(b)
        assert [e['uid'] for e in all_] == [0, 61006]
        assert all_[0]['reason'] == "line 2, column 7: expected ':', found '2'"
        assert all_[0]['errno'] == 'EINVAL' and all_[0]['path'] == 'nightly/data.json' and 'python' in all_[0]['command']
        own = [json.loads(line) for line in EDITOR(read, control(b, 'errors')).splitlines()]
        assert [e['uid'] for e in own] == [61006]
        assert OTHER(read, control(b, 'errors')) == ''
        # By privilege, and outside any bucket: at the mount.
        fails(errno.EACCES, OTHER, write, b + '/data.json', '{"a": 1}')
        fails(errno.EINVAL, os.mkdir, m / 'Bad-Name')
        mine = [json.loads(line) for line in OTHER(read, m / '.bucketfs/errors').splitlines()]
        assert len(mine) == 1 and 'privilege to edit' in mine[0]['reason'] and mine[0]['path'] == 'nightly'
        assert any(e['path'] == 'Bad-Name' for e in map(json.loads, read(m / '.bucketfs/errors').splitlines()))
        # Bounded, and nobody's noise hides anybody else's reason.
        for i in range(300):
            fails(errno.EINVAL, EDITOR, write, b + '/data.json', '{%d' % i)
        all_ = errors(b)
        assert all_[0]['uid'] == 0 and len(all_) == 65 and "'2'" in all_[-1]['reason']
        assert [e['time'] for e in all_] == sorted(e['time'] for e in all_)


def test_every_refusal_has_a_reason():
    """Whatever can be provoked, but for what POSIX explains, leaves one line that a person understands."""
    with Mount('max_data_size=64k,max_files=40,collide=refuse') as m:
        os.setxattr(m.point, ACL + 'create', b'*')
        b = bucket(m)
        d, f, tx = b + '/data.json', b + '/files', control(b, 'tx')
        os.mkdir(f + '/folder')
        write(f + '/file', 'x')
        write(f + '/Spelled', 'x')
        write(d, '{"a": 1}')
        os.setxattr(b, ACL + 'edit', b'user:61006')
        bucket(m, 'other')
        os.mkdir(tx + '/t')
        write(tx + '/t/files/folder', 'x')
        os.mkdir(tx + '/busy')
        open_in_tx = open(tx + '/busy/files/x', 'w')
        huge = json.dumps({'x': 'y' * 300000})

        def limit(name, value, what):
            def run():
                os.setxattr(b, 'user.bucketfs.' + name, value)
                try:
                    what()
                finally:
                    os.removexattr(b, 'user.bucketfs.' + name)
            return run

        def handle(mode, what, path=d):
            def run():
                with open(path, mode, buffering=0) as h:
                    what(h)
            return run

        def stale(h):
            sh('echo \'{"a": 2}\' > data.json', b)
            h.truncate(0)
            h.seek(0)
            h.write(b'{"a": 3}')
            os.fsync(h.fileno())

        def stale_rename():
            write(d + '.tmp', '{"a": 4}')
            sh('echo \'{"a": 5}\' > data.json', b)
            os.rename(d + '.tmp', d)

        def many_scratch():
            for i in range(100):
                write(f'{d}.{i}', 'x')

        def lost(mode):
            h = open(bucket(m, 'lost') + '/data.json', mode)
            h.write('{"a": 1}')
            os.rmdir(m / 'lost')
            h.close()

        def exchange():
            assert libc.renameat2(-100, (f + '/file').encode(), -100, (f + '/folder').encode(), 2) == -1
            raise OSError(ctypes.get_errno(), '')

        table = [
            # A patch, an edit, and their limits.
            (errno.EINVAL, lambda: write(d, '{"a": }')),
            (errno.EINVAL, lambda: write(d, '{"a": 1')),
            (errno.EINVAL, lambda: write(d, '[1]')),
            (errno.EINVAL, lambda: write(d, b'\xff\xfe{')),
            (errno.EINVAL, lambda: write(d, '{"a":' * 600)),
            (errno.EINVAL, handle('wb', lambda h: os.pwrite(h.fileno(), b'{}', 5))),
            (errno.EINVAL, handle('wb', lambda h: h.truncate(5))),
            (errno.EINVAL, lambda: os.truncate(d, 3)),
            (errno.EINVAL, handle('r+b', lambda h: (h.write(b'['), os.fsync(h.fileno())))),
            (errno.EFBIG, lambda: write(d, huge)),
            (errno.EFBIG, handle('wb', lambda h: h.write(huge.encode()))),
            (errno.EFBIG, handle('w+b', lambda h: h.write(huge.encode()))),
            (errno.EFBIG, handle('w+b', lambda h: [h.write(b'{"a": 1}' + b' ' * 60000) for _ in range(5)])),
            (errno.EFBIG, handle('ab', lambda h: h.write(huge.encode()))),
            (errno.EFBIG, handle('r+b', lambda h: h.write(huge.encode()))),
            (errno.EFBIG, handle('r+b', lambda h: h.truncate(300000))),
            (errno.EFBIG, handle('r+b', lambda h: (h.write(huge[:100000].encode() + b'"}'), os.fsync(h.fileno())))),
            (errno.EFBIG, lambda: os.setxattr(d, 'user.bucketfs.key.k', b'"' + b'x' * 65530 + b'"')),
            (errno.EINVAL, lambda: os.setxattr(d, 'user.bucketfs.key.k', b'x')),
            (errno.EINVAL, lambda: os.setxattr(d, b'user.bucketfs.key.\xff', b'1')),
            (errno.ESTALE, handle('r+b', stale)),
            (errno.ESTALE, stale_rename),
            (errno.EFBIG, lambda: write(d + '.tmp', huge)),
            (errno.EFBIG, lambda: os.truncate(d + '.tmp', 300000)),
            (errno.EFBIG, handle('r+b', lambda h: h.truncate(300000), d + '.tmp')),
            (errno.EINVAL, lambda: (write(d + '.tmp', 'no'), os.rename(d + '.tmp', d))),
            (errno.EDQUOT, many_scratch),
            (errno.ENAMETOOLONG, lambda: os.rename(d + '.tmp', d + 'x' * 250)),
            # What a bucket is.
            (errno.EPERM, lambda: write(b + '/notes', 'x')),
            (errno.EPERM, lambda: os.mkdir(b + '/folder')),
            (errno.EPERM, lambda: os.rename(f + '/file', b + '/file')),
            (errno.EPERM, lambda: os.rename(d, b + '/elsewhere')),
            (errno.EPERM, lambda: os.rename(f, b + '/elsewhere')),
            (errno.EXDEV, lambda: os.rename(d, f + '/x')),
            (errno.EXDEV, lambda: os.rename(f + '/file', m / 'other/files/x')),
            (errno.EPERM, lambda: os.rename(b, m / 'renamed')),
            (errno.EPERM, lambda: write(m / 'x', 'x')),
            (errno.EINVAL, lambda: os.mkdir(m / 'No')),
            (errno.ENAMETOOLONG, lambda: os.mkdir(m / 'x' * 1 + 'x' * 300)),
            (errno.EPERM, lambda: os.symlink('x', b + '/x')),
            (errno.EPERM, lambda: os.symlink('x', m / 'x')),
            (errno.EPERM, lambda: os.link(f + '/file', f + '/x')),
            (errno.EPERM, lambda: os.mkfifo(f + '/x')),
            (errno.EPERM, lambda: os.mkfifo(b + '/x')),
            # files/
            (errno.ENAMETOOLONG, lambda: write(f + '/' + 'x' * 256, 'x')),
            (errno.EEXIST, lambda: write(f + '/SPELLED', 'x')),
            (errno.EEXIST, lambda: write(f + '/spelled', 'x')),
            (errno.EEXIST, lambda: os.rename(f + '/file', f + '/SPELLED')),
            (errno.EFBIG, limit('max_file_size', b'10', lambda: write(f + '/large', 'x' * 20))),
            (errno.EFBIG, limit('max_file_size', b'10', lambda: os.truncate(f + '/file', 20))),
            (errno.EDQUOT, limit('max_total_size', b'10', lambda: write(f + '/large', 'x' * 20))),
            (errno.EDQUOT, limit('max_files', b'2', lambda: write(f + '/more', 'x'))),
            (errno.EDQUOT, limit('max_files', b'2', lambda: os.mkdir(f + '/more'))),
            (errno.EPERM, limit('accepted_file_types', b'.csv', lambda: write(f + '/x.txt', 'x'))),
            (errno.EPERM, limit('accepted_file_types', b'.csv', lambda: os.rename(f + '/file', f + '/x.txt'))),
            (errno.EINVAL, exchange),
            (errno.EFBIG, limit('max_file_size', b'10', handle('r+b', lambda h: fallocate(h.fileno(), 1, 0, 20), f + '/file'))),
            (errno.EDQUOT, limit('max_total_size', b'10', lambda: os.symlink('x' * 20, f + '/link'))),
            (errno.EDQUOT, limit('max_files', b'2', lambda: os.symlink('x', f + '/link'))),
            (errno.EPERM, limit('accepted_file_types', b'.csv', lambda: os.symlink('x', f + '/link'))),
            (errno.EOPNOTSUPP, handle('r+b', lambda h: fallocate(h.fileno(), 0, 0, 1))),
            # Lists, limits, attributes.
            (errno.EINVAL, lambda: os.setxattr(b, ACL + 'read', b'user:nobody_of_this_name')),
            (errno.EINVAL, lambda: os.setxattr(b, ACL + 'read', b'people')),
            (errno.EINVAL, lambda: os.setxattr(b, ACL + 'create', b'*')),
            (errno.EINVAL, lambda: os.setxattr(b, 'user.bucketfs.max_files', b'many')),
            (errno.EINVAL, lambda: os.setxattr(b, 'user.bucketfs.nothing', b'1')),
            (errno.EINVAL, lambda: os.setxattr(b, 'user.bucketfs.delete', b'other')),
            (errno.EACCES, lambda: EDITOR(os.setxattr, b, 'user.bucketfs.delete', os.path.basename(b).encode())),
            (errno.EPERM, lambda: os.setxattr(f + '/file', 'user.bucketfs.name', b'1')),
            (errno.EPERM, lambda: os.removexattr(f + '/file', 'user.bucketfs.name')),
            (errno.EOPNOTSUPP, lambda: os.setxattr(f + '/file', 'security.x', b'1')),
            # .bucketfs
            (errno.EINVAL, lambda: write(control(b, 'meta.json'), '{"titel": "x"}')),
            (errno.EINVAL, lambda: write(control(b, 'meta.json'), '{"title": "x"')),
            (errno.EFBIG, lambda: write(control(b, 'meta.json'), ' ' * (5 << 20))),
            (errno.EFBIG, handle('wb', lambda h: h.truncate(5 << 20), control(b, 'meta.json'))),
            (errno.EINVAL, lambda: write(control(b, 'schema.json'), '{"type": "nonsense"}')),
            (errno.EINVAL, lambda: write(control(b, 'schema.json'), '{"required": ["none"]}')),
            (errno.EFBIG, lambda: write(control(b, 'schema.json'), '{"title": "%s"}' % ('x' * (2 << 20)))),
            (errno.EPERM, lambda: write(control(b, 'info.json'), 'x')),
            (errno.EPERM, lambda: os.chmod(control(b, 'info.json'), 0o600)),
            (errno.EPERM, lambda: os.unlink(control(b, 'info.json'))),
            (errno.EPERM, lambda: write(control(b, 'new'), 'x')),
            (errno.EPERM, lambda: os.mkdir(control(b, 'new'))),
            (errno.EPERM, lambda: os.rmdir(b + '/.bucketfs')),
            (errno.EPERM, lambda: os.rename(control(b, 'info.json'), f + '/x')),
            (errno.EPERM, lambda: write(m / '.bucketfs/version', 'x')),
            (errno.EPERM, lambda: write(m / '.bucketfs/new', 'x')),
            (errno.EPERM, lambda: os.mkdir(m / '.bucketfs/new')),
            # Transactions.
            (errno.EINVAL, lambda: os.mkdir(tx + '/a b')),
            (errno.EPERM, lambda: write(tx + '/x', 'x')),
            (errno.EPERM, lambda: os.rename(tx + '/t', f + '/t')),
            (errno.EISDIR, lambda: os.rename(tx + '/t', control(b, 'commit'))),
            (errno.EBUSY, lambda: os.rename(tx + '/busy', control(b, 'commit'))),
            (errno.EINVAL, lambda: write(tx + '/t/data.json', '{no')),
            (errno.ENAMETOOLONG, lambda: write(tx + '/t/files/' + 'x' * 256, 'x')),
            (errno.EPERM, lambda: os.mkdir(tx + '/t/.bucketfs/tx/u')),
            # Privileges, and what is gone.
            (errno.EACCES, lambda: OTHER(write, d, '{}')),
            (errno.EACCES, lambda: OTHER(write, f + '/x', 'x')),
            (errno.EACCES, lambda: EDITOR(os.rmdir, b)),
            (errno.EACCES, lambda: EDITOR(os.setxattr, b, ACL + 'read', b'*')),
            (errno.ESTALE, lambda: lost('w')),
            (errno.ESTALE, lambda: lost('r+')),
            (errno.ENOENT, lambda: os.stat(m / '@job/')),
        ]
        files = [control(b, 'errors'), m / '.bucketfs/errors']
        silent = []
        for number, (error, what) in enumerate(table):
            before = [read(path).splitlines() for path in files]
            try:
                fails(error, what)
            except AssertionError as e:
                raise AssertionError(f'number {number}, {errno.errorcode[error]}: {e}')
            after = [read(path).splitlines() for path in files]
            new = [json.loads(now[-1]) for was, now in zip(before, after) if now != was]
            new = [line for line in new if getattr(errno, line['errno'], 0) == error]
            if not new or len(new[-1]['reason']) < 15 or 'makes no sense' in new[-1]['reason']:
                silent.append((number, errno.errorcode[error], new))
        assert not silent, silent
        open_in_tx.close()


def fallocate(fd, mode, at, length):
    if libc.fallocate(fd, mode, ctypes.c_long(at), ctypes.c_long(length)):
        raise OSError(ctypes.get_errno(), '')


def test_metrics_and_config():
    with Mount('max_files=7') as m:
        b = bucket(m)
        write(b + '/files/x', 'abc')
        write(b + '/data.json', '{"a": 1}')
        fails(errno.EINVAL, write, b + '/data.json', '{bad')
        config = json.loads(read(m / '.bucketfs/config.json'))
        assert config['limits']['max_files'] == 7 and config['libfuse'].startswith('3.')
        assert read(m / '.bucketfs/version').startswith('bucketfs ')
        text = read(m / '.bucketfs/metrics')
        values = {}
        for line in text.splitlines():
            if not line.startswith('#'):
                name, value = line.rsplit(' ', 1)
                values[name] = float(value)
        assert values['bucketfs_buckets'] == 1 and values['bucketfs_files'] == 1 and values['bucketfs_file_bytes'] == 3
        assert values['bucketfs_merges_total'] == 1 and values['bucketfs_errors_total{operation="write"}'] == 1
        assert values['bucketfs_operation_seconds_count{operation="write"}'] == 3
        assert values['bucketfs_operation_seconds_bucket{operation="write",le="+Inf"}'] == 3
        assert values['bucketfs_bytes_total{direction="written"}'] == 3 + 8


def test_limits_of_a_bucket():
    with Mount('max_data_size=1000,reserve=0%') as m:
        b, other = bucket(m), bucket(m, 'other')
        limit = lambda name, value: os.setxattr(b, 'user.bucketfs.' + name, value)
        fails(errno.ENODATA, os.getxattr, b, 'user.bucketfs.max_files')
        limit('max_data_size', b'2k')
        assert os.getxattr(b, 'user.bucketfs.max_data_size') == b'2k'
        write(b + '/data.json', json.dumps({'a': 'x' * 1500}))
        fails(errno.EFBIG, write, other + '/data.json', json.dumps({'a': 'x' * 1500}))
        limit('max_files', b'2')
        limit('max_file_size', b'10')
        limit('max_total_size', b'15')
        limit('accepted_file_types', b'.txt,.csv')
        write(b + '/files/a.txt', 'x' * 10)
        fails(errno.EFBIG, write, b + '/files/b.txt', 'x' * 11)
        os.unlink(b + '/files/.b.txt.partial')
        fails(errno.EDQUOT, write, b + '/files/b.txt', 'x' * 6)
        os.unlink(b + '/files/.b.txt.partial')
        write(b + '/files/a.txt', 'y' * 9)  # what it replaces makes room
        fails(errno.EPERM, write, b + '/files/c.pdf', 'x')
        write(b + '/files/b.txt', 'x' * 5)
        fails(errno.EDQUOT, write, b + '/files/c.txt', '')
        for bad in (b'', b'x', b'-1', b'1MB'):
            fails(errno.EINVAL, limit, 'max_files', bad)
        fails(errno.EINVAL, limit, 'max_nonsense', b'1')
        fails(errno.EACCES, OTHER, limit, 'max_files', b'1')
        assert os.listxattr(b) == []
        m.restart()
        fails(errno.EDQUOT, write, b + '/files/c.txt', '')
        os.removexattr(b, 'user.bucketfs.max_files')
        fails(errno.ENODATA, os.removexattr, b, 'user.bucketfs.max_files')
        write(b + '/files/c.txt', '')
        assert 'audit: limit' in m.log_text()


def test_private_bucket():
    with Mount() as m:
        b = bucket(m)
        os.setxattr(b, ACL + 'read', b'')
        for name in ('info.json', 'meta.json', 'errors'):
            fails(errno.EACCES, OTHER, read, control(b, name))
        fails(errno.EACCES, OTHER, os.listdir, b + '/.bucketfs')
        fails(errno.EACCES, OTHER, os.stat, b + '/.bucketfs')
        os.setxattr(b, ACL + 'edit', b'user:61006')
        fails(errno.EACCES, EDITOR, read, control(b, 'info.json'))
        fails(errno.EINVAL, EDITOR, write, b + '/data.json', '{bad')
        assert 'expected' in EDITOR(read, control(b, 'errors'))


if __name__ == '__main__':
    run(tests_of(__name__))
