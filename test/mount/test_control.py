#!/usr/bin/python3
"""The control folders: info, metadata, schema, errors, previous.json, metrics."""
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
                     lambda: os.unlink(b + '/data.json'), lambda: os.mkdir(b + '/files/d'), lambda: os.rmdir(b),
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
