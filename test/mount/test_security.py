#!/usr/bin/python3
"""Attacks by ordinary users: nobody in, nothing lost."""
import errno
import json
import os
import time

from harness import *

OWNER, STRANGER, OTHER = Person(61001), Person(61002), Person(61003)
ACL = 'user.bucketfs.acl.'


def in_job(job, what, person=None):
    """A shell command in a job; its exit status and what it printed."""
    def run_it():
        r = subprocess.run([b'env', b'BUCKETFS_JOB=' + (job if isinstance(job, bytes) else job.encode()), b'bash', b'-c', what.encode()],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60 * SLOW)
        return r.returncode, r.stdout.decode(errors='replace')
    return person(run_it) if person else run_it()


def test_job_of_a_swapped_file():
    """A file that is begun anew by ftruncate keeps its job, and no freed memory takes that place."""
    with Mount() as m:
        os.mkdir(m / 'b')
        os.mkdir(m / 'secret')
        job = 'j' * 64
        stop = time.time() + 3 * SLOW
        while time.time() < stop:
            path = m / 'b/files/f'
            assert in_job(job, f'echo x > {path}')[0] == 0
            fd = os.open(path, os.O_WRONLY)
            write(m / 'secret/data.json', json.dumps({'token': 'SECRET' * 200}))
            os.ftruncate(fd, 0)
            os.write(fd, b'y')
            assert os.getxattr(path, 'user.bucketfs.job') == job.encode()
            os.close(fd)
            assert os.getxattr(path, 'user.bucketfs.job') == job.encode()
            os.unlink(path)


def test_unwritten_scoped_buckets_keep_settings():
    with Mount('device=h') as m:
        device = m / '@device'
        os.readlink(device)
        in_job('idle', f'readlink {m.point}/@job')
        for job in ('acl', 'limit', 'title', 'schema'):
            in_job(job, f'readlink {m.point}/@job')
        path = m / 'device.h'
        os.setxattr(path, ACL + 'read', b'owner')
        os.setxattr(m / 'job.h.u0.acl', ACL + 'edit', b'user:61001')
        os.setxattr(m / 'job.h.u0.limit', 'user.bucketfs.max_files', b'7')
        write(m / 'job.h.u0.title/.bucketfs/meta.json', '{"title": "kept"}')
        write(m / 'job.h.u0.schema/.bucketfs/schema.json', '{"type": "object"}')
        m.restart()
        assert wait_for(lambda: 'job.h.u0.idle' not in os.listdir(m.point), 10)
        write(m / '@device/data.json', '{"token": 1}')
        fails(errno.EACCES, STRANGER, read, m / '@device/data.json')
        assert os.getxattr(m / 'job.h.u0.acl', ACL + 'edit') == b'user:61001'
        assert os.getxattr(m / 'job.h.u0.limit', 'user.bucketfs.max_files') == b'7'
        assert json.loads(read(m / 'job.h.u0.title/.bucketfs/meta.json'))['title'] == 'kept'
        assert 'object' in read(m / 'job.h.u0.schema/.bucketfs/schema.json')


def test_job_buckets_of_one_user_are_bounded():
    """Unused ones make room; with as many as there may be that were written to, the next one is refused with a reason."""
    with Mount('device=h') as m:
        make = f'for i in $(seq $FROM $TO); do env BUCKETFS_JOB=j$i readlink {m.point}/@job || exit 9; done'

        def many(first, last):
            return sh(make, FROM=str(first), TO=str(last))
        OWNER(many, 1, 1000)
        assert OWNER(lambda: sh(f'env BUCKETFS_JOB=one_more cat {m.point}/@job/data.json', ok=False))
        assert 'as many as there may be' in OWNER(read, m / '.bucketfs/errors')
        # Others have their own bound.
        assert STRANGER(lambda: sh(f'env BUCKETFS_JOB=mine cat {m.point}/@job/data.json')) == '{}\n'
        began = time.time()
        m.restart()
        assert time.time() - began < 5 * SLOW
        assert wait_for(lambda: os.listdir(m.point) == [], 20)
        assert OWNER(lambda: sh(f'env BUCKETFS_JOB=one_more cat {m.point}/@job/data.json')) == '{}\n'


def limit(path, name, value):
    os.setxattr(path, 'user.bucketfs.' + name, value)


def test_limits_of_the_mount_are_ceilings():
    with Mount('max_data_size=2k,max_file_size=1M,max_files=20,accepted_file_types=.csv:.gz,device=h') as m:
        os.mkdir(m / 'b')
        os.setxattr(m / 'b', ACL + 'admin', b'user:61001')
        for name, values in (('max_data_size', (b'0', b'4k')), ('max_file_size', (b'2M', b'0')), ('max_files', (b'21', b'0')),
                             ('accepted_file_types', (b'.txt', b'.csv,.txt', b''))):
            for value in values:
                fails(errno.EPERM, OWNER, limit, m / 'b', name, value)
        assert 'only its admins' in OWNER(read, m / 'b/.bucketfs/errors')
        for name, value in (('max_data_size', b'1k'), ('max_file_size', b'1M'), ('max_files', b'3'), ('accepted_file_types', b'.tar.gz'),
                            ('max_total_size', b'5M')):
            OWNER(limit, m / 'b', name, value)
            assert os.getxattr(m / 'b', 'user.bucketfs.' + name) == value
        # Anybody owns a bucket by @job.
        path = m / OWNER(lambda: sh(f'env BUCKETFS_JOB=x readlink {m.point}/@job')).strip()
        fails(errno.EPERM, OWNER, limit, path, 'max_files', b'100')
        fails(errno.EDQUOT, OWNER, lambda: [write(path + f'/files/{i}.csv', '') for i in range(30)])
        # The mount's admins may give more, and that stays.
        limit(m / 'b', 'max_files', b'30')
        limit(m / 'b', 'accepted_file_types', b'.txt')
        m.restart()
        assert os.getxattr(m / 'b', 'user.bucketfs.max_files') == b'30'
        for i in range(30):
            write(m / f'b/files/{i}.txt', '')
        fails(errno.EDQUOT, write, m / 'b/files/x.txt', '')
        # A bucket's own limit, set when the mount allowed as much, is lowered with the mount's.
        OWNER(limit, path, 'max_file_size', b'512k')
        m.unmount()
        m.options = m.options.replace('max_file_size=1M', 'max_file_size=100k')
        m.start()
        assert OWNER(os.getxattr, path, 'user.bucketfs.max_file_size') == b'102400'
        fails(errno.EFBIG, OWNER, write, path + '/files/0.csv', 'x' * 200000)


def test_a_transaction_is_bound_by_its_bucket():
    with Mount() as m:
        os.mkdir(m / 'b')
        os.setxattr(m / 'b', ACL + 'edit', b'user:61001')
        limit(m / 'b', 'max_file_size', b'100')
        limit(m / 'b', 'max_files', b'2')
        t = m / 'b/.bucketfs/tx/t'
        OWNER(os.mkdir, t)
        for name in ('max_files', 'max_file_size'):
            fails(errno.EPERM, OWNER, limit, t, name, b'1')
        fails(errno.EPERM, OWNER, os.setxattr, t, ACL + 'read', b'*')
        fails(errno.EPERM, OWNER, write, t + '/.bucketfs/schema.json', '{}')
        assert 'of its bucket' in OWNER(read, m / 'b/.bucketfs/errors')
        fails(errno.EFBIG, OWNER, write, t + '/files/large', 'x' * 101)
        OWNER(write, t + '/files/a', 'x')
        OWNER(os.rename, t, m / 'b/.bucketfs/commit')
        assert read(m / 'b/files/a') == 'x'


def test_attributes_count():
    with Mount('max_file_size=100k,max_data_size=10k') as m:
        os.mkdir(m / 'b')
        write(m / 'b/files/f', 'x')
        f = m / 'b/files/f'
        # As many names as listxattr can show.
        made = 0
        try:
            while made < 70000:
                os.setxattr(f, f'user.{made:0200d}', b'')
                made += 1
        except OSError as e:
            assert e.errno == errno.EDQUOT, e
        assert 300 <= made == len(os.listxattr(f)) <= 65536 // 206
        for i in range(made):
            os.removexattr(f, f'user.{i:0200d}')
        assert os.listxattr(f) == []
        os.setxattr(f, 'user.a', b'x' * 60000)
        fails(errno.EFBIG, os.setxattr, f, 'user.b', b'x' * 60000)
        fails(errno.EFBIG, os.setxattr, m / 'b/data.json', 'user.b', b'x' * 20000)
        fails(errno.EFBIG, os.setxattr, m / 'b', 'user.b', b'x' * 20000)
        # And against the sum of the bucket, together with files.
        limit(m / 'b', 'max_total_size', b'100000')
        fails(errno.EDQUOT, write, m / 'b/files/g', 'x' * 50000)
        os.setxattr(f, 'user.a', b'x' * 10)
        write(m / 'b/files/g', 'x' * 50000)
        fails(errno.EDQUOT, os.setxattr, f, 'user.a', b'x' * 60000)
        # They go with the file, and with a rewrite they stay.
        write(f, 'y')
        assert os.getxattr(f, 'user.a') == b'x' * 10
        os.unlink(f)
        write(f, 'z' * 49000)
        m.unmount()
        checked(m)


def checked(m):
    """What bucketctl check says of the store."""
    r = subprocess.run([os.path.join(os.path.dirname(BINARY), 'bucketctl'), 'check', m.store], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, timeout=120 * SLOW)
    assert r.returncode == 0, r.stdout.decode()
    m.start()


def killed_writer(path, size):
    """Leaves a partial."""
    pid = os.fork()
    if pid == 0:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        os.write(fd, b'x' * size)
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)


def test_partials_give_way():
    with Mount('max_files=6,max_total_size=1M,reserve=0%') as m:
        os.mkdir(m / 'b')
        f = m / 'b/files'
        for i in range(5):
            killed_writer(f + f'/f{i}', 10000)
        assert wait_for(lambda: len(os.listdir(f)) == 5, 10), os.listdir(f)
        for i in range(4):
            write(f + f'/whole{i}', 'x')
        # The oldest went first.
        assert sorted(n for n in os.listdir(f) if n.endswith('.partial')) == ['.f3.partial', '.f4.partial']
        with open(f + '/.f3.partial') as held:
            write(f + '/whole4', 'x')
            fails(errno.EDQUOT, write, f + '/whole5', 'x')
            assert held.read(1) == 'x'
        # In bytes as well, and for a transaction.
        for name in os.listdir(f):
            os.unlink(f + '/' + name)
        killed_writer(f + '/large', 900000)
        assert wait_for(lambda: os.listdir(f) == ['.large.partial'], 10)
        t = m / 'b/.bucketfs/tx/t'
        os.mkdir(t)
        write(t + '/files/new', 'x' * 500000)
        os.rename(t, m / 'b/.bucketfs/commit')
        assert os.listdir(f) == ['new']
        killed_writer(f + '/large', 500000)
        assert wait_for(lambda: len(os.listdir(f)) == 2, 10)
        write(f + '/another', 'x' * 400000)
        assert sorted(os.listdir(f)) == ['another', 'new']
        m.unmount()
        checked(m)


def test_publishing_nested_folders():
    """2,600 folders in one another took 8 s, and everybody waited."""
    with Mount() as m:
        os.mkdir(m / 'b')
        t = m / 'b/.bucketfs/tx/t'
        os.mkdir(t)
        for i in range(20):
            os.makedirs(t + f'/files/{i}' + '/d' * 130)
        began = time.time()
        os.rename(t, m / 'b/.bucketfs/commit')
        assert time.time() - began < 2 * SLOW
        assert os.path.isdir(m / 'b/files/19' + '/d' * 130)


if __name__ == '__main__':
    run(tests_of(__name__))
