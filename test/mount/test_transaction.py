#!/usr/bin/python3
"""Several files and a patch at once."""
import errno
import json
import os
import threading

from harness import *

ALICE = Person(61001)


def setup(m):
    b = m / 'nightly'
    os.mkdir(b)
    write(b + '/data.json', '{"old": 1}')
    write(b + '/files/replaced', 'old')
    write(b + '/files/kept', 'kept')
    os.mkdir(b + '/files/folder')
    write(b + '/files/folder/in', 'in')
    return b, b + '/.bucketfs/tx/t1', b + '/.bucketfs/commit'


def fill(t):
    os.mkdir(t)
    write(t + '/data.json', '{"new": 2}')
    write(t + '/files/Replaced', 'new')
    write(t + '/files/large', bytes(100000))
    os.makedirs(t + '/files/folder/sub')
    write(t + '/files/folder/sub/x', 'x')
    os.setxattr(t + '/files/large', 'user.colour', b'red')


def state(b):
    return (json.loads(read(b + '/data.json')), sorted(os.path.join(r[len(b) + 7:], n) for r, d, f in os.walk(b + '/files') for n in d + f))


OLD = ({'old': 1}, ['folder', 'folder/in', 'kept', 'replaced'])


def test_commit():
    with Mount() as m:
        b, t, commit = setup(m)
        fill(t)
        assert state(b) == OLD and os.listdir(m.point) == ['nightly'] and os.listdir(b + '/.bucketfs/tx') == ['t1']
        reader = open(b + '/files/replaced')
        held = open(t + '/files/open', 'w')
        held.write('x')
        fails(errno.EBUSY, os.rename, t, commit)
        held.close()
        sh('mv .bucketfs/tx/t1 .bucketfs/commit', b)
        assert reader.read() == 'old'
        reader.close()
        want = ({'old': 1, 'new': 2}, ['folder', 'folder/in', 'folder/sub', 'folder/sub/x', 'kept', 'large', 'open', 'replaced'])
        assert state(b) == want, state(b)
        assert read(b + '/files/replaced') == 'new' and read(b + '/files/large', 'rb') == bytes(100000)
        assert os.getxattr(b + '/files/large', 'user.colour') == b'red'
        assert os.listdir(b + '/.bucketfs/tx') == []
        fails(errno.ENOENT, os.stat, commit)
        fails(errno.ENOENT, os.stat, t)
        info = json.loads(read(b + '/.bucketfs/info.json'))
        assert sum(f['size'] for f in info['files']) == 3 + 4 + 2 + 100000 + 1 + 1
        m.restart()
        assert state(b) == want and read(b + '/files/large', 'rb') == bytes(100000)
        sh('rm -r nightly', m.point)
        m.unmount()
        assert sum(len(n) for _, _, n in os.walk(m.store + '/blobs')) == 0
        m.start()


def test_open_when_it_ends():
    """A reader of a transaction goes on reading it when it is published, and a writer writing when the bucket goes."""
    with Mount('passthrough=off') as m:
        b, t, commit = setup(m)
        fill(t)
        small, large = os.open(t + '/files/Replaced', os.O_RDONLY), os.open(t + '/files/large', os.O_RDONLY)
        os.rename(t, commit)
        for i in range(2):
            assert os.pread(small, 10, 0) == b'new' and os.pread(large, 200000, 0) == bytes(100000)
            # By way of the transaction nobody can change what the bucket has now.
            fails(errno.ESTALE, os.truncate, f'/proc/self/fd/{large}', 10)
            sh('rm nightly/files/large nightly/files/replaced' if i == 0 else 'true', m.point)
        os.close(small)
        os.close(large)
        os.mkdir(t)
        writer = os.open(t + '/files/w', os.O_RDWR | os.O_CREAT)
        os.write(writer, bytes(50000))
        sh('rm -r nightly/files/*; rm nightly/data.json; rmdir nightly', m.point)
        os.write(writer, b'more')
        os.fsync(writer)
        assert os.pread(writer, 10, 50000) == b'more'
        os.close(writer)
        time.sleep(0.1)
        assert 'is missing' not in m.log_text() and 'could not be' not in m.log_text(), m.log_text()


def test_all_or_nothing():
    with Mount('reserve=0%') as m:
        b, t, commit = setup(m)
        fill(t)
        write(b + '/.bucketfs/schema.json', '{"properties": {"new": {"maximum": 1}}}')
        fails(errno.EINVAL, os.rename, t, commit)
        os.unlink(b + '/.bucketfs/schema.json')
        for limit, value, error in (('max_files', b'5', errno.EDQUOT), ('max_total_size', b'1000', errno.EDQUOT),
                                    ('max_file_size', b'1000', errno.EFBIG), ('accepted_file_types', b'.txt', errno.EPERM)):
            os.setxattr(b, 'user.bucketfs.' + limit, value)
            fails(error, os.rename, t, commit)
            os.removexattr(b, 'user.bucketfs.' + limit)
        write(t + '/files/kept', '')
        os.unlink(t + '/files/kept')
        os.mkdir(t + '/files/kept')
        fails(errno.ENOTDIR, os.rename, t, commit)
        os.rmdir(t + '/files/kept')
        assert state(b) == OLD
        assert json.loads(read(b + '/.bucketfs/errors').splitlines()[0])['reason'].startswith('schema: /new: 2')
        os.rename(t, commit)
        assert state(b)[0] == {'old': 1, 'new': 2}


def test_abandon_and_names():
    with Mount() as m:
        b, t, commit = setup(m)
        fill(t)
        fails(errno.EEXIST, os.mkdir, t)
        fails(errno.ENOTEMPTY, os.rmdir, t)
        fails(errno.EINVAL, os.mkdir, b + '/.bucketfs/tx/a b')
        fails(errno.EACCES, ALICE, os.mkdir, b + '/.bucketfs/tx/hers')
        os.setxattr(b, 'user.bucketfs.acl.edit', b'user:61001')
        ALICE(os.mkdir, b + '/.bucketfs/tx/t1')  # of her own
        assert ALICE(os.listdir, b + '/.bucketfs/tx/t1/files') == [] and len(os.listdir(t + '/files')) == 3
        ALICE(write, b + '/.bucketfs/tx/t1/files/hers', 'x')
        ALICE(os.rename, b + '/.bucketfs/tx/t1', commit)
        assert read(b + '/files/hers') == 'x'
        fails(errno.EPERM, os.rename, t, b + '/files/x')
        fails(errno.EPERM, os.rename, t, m / 'bucket')
        m.restart()
        assert os.listdir(b + '/.bucketfs/tx') == ['t1'] and read(t + '/files/replaced') == 'new'
        sh('rm -r .bucketfs/tx/t1', b)
        assert os.listdir(b + '/.bucketfs/tx') == [] and state(b)[1] == sorted(OLD[1] + ['hers'])


def test_publishing_keeps_nobody_waiting():
    """While transactions wait for a file to be closed, the name service is asked all the same."""
    with Mount() as m:
        b, _, commit = setup(m)
        names = [f'{b}/.bucketfs/tx/t{i}' for i in range(6)]
        for name in names:
            os.mkdir(name)
        held = [open(name + '/files/open', 'w') for name in names]
        os.setxattr(b, 'user.bucketfs.acl.edit', b'user:daemon')
        end = time.time() + 2

        def publish(i):
            while time.time() < end:
                fails(errno.EBUSY, os.rename, names[i], commit)

        threads = [threading.Thread(target=publish, args=(i,)) for i in range(6)]
        for t in threads:
            t.start()
        asked = 0
        while time.time() < end:
            assert os.getxattr(b, 'user.bucketfs.acl.edit') == b'user:daemon'
            asked += 1
        for t in threads:
            t.join()
        assert asked * SLOW > 200, asked
        for h in held:
            h.close()
        for name in names:
            os.rename(name, commit)


def test_published_when_released():
    """The last file is closed while publishing waits for that: it goes on at once."""
    with Mount() as m:
        b, t, commit = setup(m)
        taken = []
        for i in range(40):
            os.mkdir(t)
            f = open(t + '/files/f', 'w')
            f.write(str(i))
            closer = threading.Timer(0.003, f.close)
            closer.start()
            began = time.time()
            try:
                os.rename(t, commit)
            except OSError as e:  # it took the closer too long
                assert e.errno == errno.EBUSY
                closer.join()
                os.rename(t, commit)
            taken.append(time.time() - began)
            closer.join()
            assert read(b + '/files/f') == str(i)
        assert sorted(taken)[20] < 0.015 * SLOW, taken


def test_how_many():
    with Mount() as m:
        b, t, commit = setup(m)
        for i in range(100):
            os.mkdir(f'{b}/.bucketfs/tx/n{i}')
        fails(errno.EDQUOT, os.mkdir, t)
        assert 'as many as there may be' in json.loads(read(b + '/.bucketfs/errors').splitlines()[-1])['reason']
        os.rename(b + '/.bucketfs/tx/n5', commit)
        os.mkdir(t)


def test_killed():
    """At whatever moment: all of it or nothing of it."""
    with Mount() as m:
        b, t, commit = setup(m)
        new = None
        for i in range(6):
            if not os.path.exists(t):
                os.mkdir(t)
            for n in range(50):
                write(f'{t}/files/f{n}', f'{i}' * 40000)
            write(t + '/data.json', '{"i": %d}' % i)
            killer = os.fork()
            if killer == 0:
                time.sleep(0.0005 * i)
                os.kill(m.process.pid, 9)
                os._exit(0)
            try:
                os.rename(t, commit)
            except OSError:
                pass
            os.waitpid(killer, 0)
            m.kill()
            m.start()
            got = json.loads(read(b + '/data.json')).get('i')
            texts = {read(f'{b}/files/f{n}') for n in range(50) if os.path.exists(f'{b}/files/f{n}')}
            assert texts == (set() if got is None else {f'{got}' * 40000}), (i, got, len(texts))
        sh('rm -rf nightly/.bucketfs/tx/t1; rm -r nightly', m.point)
        m.unmount()
        assert sum(len(n) for _, _, n in os.walk(m.store + '/blobs')) == 0
        m.start()


if __name__ == '__main__':
    run(tests_of(__name__))
