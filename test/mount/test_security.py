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


if __name__ == '__main__':
    run(tests_of(__name__))
