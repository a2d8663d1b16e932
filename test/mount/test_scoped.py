#!/usr/bin/python3
"""@device and @job: every caller's own."""
import errno
import json
import os
import socket

from harness import *

ALICE, BOB = Person(61001), Person(61002)


def in_job(job, what, person=None, variable='BUCKETFS_JOB'):
    """A shell command in a job, as the scheduler starts it."""
    def run():
        r = subprocess.run(['env', f'{variable}={job}', 'bash', '-c', what], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
        return r.returncode, r.stdout.decode()
    return person(run) if person else run()


def test_device():
    with Mount('device=web01') as m:
        assert os.readlink(m / '@device') == 'device.web01'
        assert read(m / '@device/data.json') == '{}\n' and os.listdir(m / '@device') == ['data.json', 'files']
        write(m / '@device/data.json', '{"a": 1}')
        assert json.loads(read(m / 'device.web01/data.json')) == {'a': 1}
        # It may hold credentials: whoever is to have it is named, at the start or later.
        fails(errno.EACCES, ALICE, read, m / '@device/data.json')
        fails(errno.EACCES, ALICE, write, m / '@device/data.json', '{"a": 2}')
        assert 'device_acl' in json.loads(ALICE(read, m / '.bucketfs/errors').splitlines()[-1])['reason']
        os.setxattr(m / 'device.web01', 'user.bucketfs.acl.read', b'*')
        assert json.loads(ALICE(read, m / '@device/data.json')) == {'a': 1}
        fails(errno.EACCES, ALICE, write, m / '@device/data.json', '{"a": 2}')
        fails(errno.EINVAL, os.mkdir, m / 'device.web02')
        assert os.listdir(m.point) == ['device.web01']
    with Mount('device=Web.02,device_acl=user:61001+group:61009') as m:
        assert os.readlink(m / '@device') == 'device.%57eb%2e02'
        ALICE(write, m / '@device/data.json', '{"a": 2}')
        fails(errno.EACCES, BOB, read, m / '@device/data.json')
    with Mount('device=x,device_acl=*') as m:
        BOB(write, m / '@device/data.json', '{"a": 2}')
        assert json.loads(ALICE(read, m / '@device/data.json')) == {'a': 2}
    with Mount() as m:
        name = os.readlink(m / '@device')
        assert name.startswith('device.') and socket.gethostname().lower()[:3] in name


def test_job():
    with Mount('device=web01') as m:
        d = m / '@job'
        assert in_job('nightly', f'readlink {d}')[1] == 'job.web01.u0.nightly\n'
        assert in_job('nightly', f'echo \'{{"n": 1}}\' > {d}/data.json; cp /etc/hostname {d}/files/; cat {d}/data.json')[0] == 0
        assert in_job('nightly', f'jq .n {d}/data.json', ALICE)[0] != 0 or in_job('nightly', f'cat {d}/data.json', ALICE)[1] == '{}\n'
        assert in_job('nightly', f'echo \'{{"n": 2}}\' > {d}/data.json && jq .n {d}/data.json', ALICE) == (0, '2\n')
        assert in_job('nightly', f'jq .n {d}/data.json') == (0, '1\n')
        assert in_job('weekly', f'cat {d}/data.json') == (0, '{}\n')
        assert in_job('nightly', f'cat {m.point}/job.web01.u61001.nightly/data.json', BOB)[0] != 0
        assert json.loads(read(m / 'job.web01.u61001.nightly/data.json')) == {'n': 2}
        # Names that could be taken for others.
        ids = {in_job(j, f'readlink {d}')[1] for j in ('a.b', 'a%2eb', 'a b', 'A', 'a', 'a/b', 'ü', 'x' * 300, 'x' * 301)}
        assert len(ids) == 9 and all(len(i) <= 201 for i in ids)
        m.restart()
        assert in_job('nightly', f'jq .n {d}/data.json', ALICE) == (0, '2\n')
        used = ['job.web01.u0.nightly', 'job.web01.u61001.nightly']
        assert wait_for(lambda: sorted(os.listdir(m.point)) == used, 10)  # the rest is pruned


def test_outside_a_job():
    with Mount() as m:
        fails(errno.ENOENT, os.readlink, m / '@job')
        fails(errno.ENOENT, open, m / '@job/data.json')
        assert sh(f'unset BUCKETFS_JOB; export BUCKETFS_JOB=late; cat < {m.point}/@job/data.json', ok=False)
        line = json.loads(read(m / '.bucketfs/errors').splitlines()[-1])
        assert line['path'] == '@job' and line['errno'] == 'ENOENT' and 'env BUCKETFS_JOB=' in line['reason']
        fails(errno.ENOENT, os.stat, m / '@nothing')


def test_job_options():
    with Mount(start=False) as m:
        schemas = m.folder + '/schemas'
        os.mkdir(schemas)
        write(schemas + '/nightly.json', '{"properties": {"n": {"maximum": 5}}}')
        m.options += ('' if not m.options else ',') + f'job_env=RD_JOB:CI_JOB,job_schema={schemas},device=h'
        m.start()
        d = m / '@job'
        assert in_job('nightly', f'readlink {d}')[0] != 0
        assert in_job('nightly', f'readlink {d}', variable='CI_JOB')[1] == 'job.h.u0.nightly\n'
        assert in_job('nightly', f'echo \'{{"n": 6}}\' > {d}/data.json', variable='RD_JOB')[0] != 0
        assert in_job('nightly', f'echo \'{{"n": 5}}\' > {d}/data.json', variable='RD_JOB')[0] == 0
        assert in_job('other', f'echo \'{{"n": 6}}\' > {d}/data.json', variable='RD_JOB')[0] == 0


def test_parallel_first_use():
    with Mount('device=h') as m:
        def first(i):
            for n in range(20):
                status, out = in_job(f'j{n}', f'echo \'{{"k{i}": {n}}}\' > {m.point}/@job/data.json')
                assert status == 0, out
        parallel(6, first)
        for n in range(20):
            assert json.loads(read(m / f'job.h.u0.j{n}/data.json')) == {f'k{i}': n for i in range(6)}


if __name__ == '__main__':
    run(tests_of(__name__))
