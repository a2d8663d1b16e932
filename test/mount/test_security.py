#!/usr/bin/python3
"""Attacks by ordinary users: nobody in, nothing lost."""
import errno
import json
import os
import re
import resource
import shutil
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
                # As the store marks what the mount's admins gave.
                fails(errno.EINVAL, OWNER, limit, m / 'b', name, b'+' + value)
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
        # None goes for what is refused all the same.
        os.unlink(f + '/whole0')
        killed_writer(f + '/f5', 10000)
        assert wait_for(lambda: '.f5.partial' in os.listdir(f), 10)
        with open(f + '/whole1', 'r+') as held:
            fails(errno.EDQUOT, os.ftruncate, held.fileno(), 2 << 20)
        assert '.f5.partial' in os.listdir(f)
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


# ---- documents ----

def other_merge(path, text):
    OTHER(write, path, text)


def test_saves_that_keep_a_backup():
    """Whatever moves data.json away first ends with the new document and the backup, and others' merges in between are kept."""
    with Mount() as m:
        b = m / 'b'
        os.mkdir(b)
        os.setxattr(b, ACL + 'edit', b'*')
        d = b + '/data.json'
        tools = {
            'sed': "sed -i.bak 's/: 1/: 9/' data.json",
            'perl': "perl -i.orig -pe 's/: 1/: 9/' data.json",
            'patch': "printf -- '--- data.json\n+++ data.json\n@@ -1,4 +1,4 @@\n {\n-  \"a\": 1,\n+  \"a\": 9,\n   \"b\": 2\n }\n' | patch -b data.json",
            'mv': 'sed "s/: 1/: 9/" data.json > /tmp/new.$$ && mv --backup=simple /tmp/new.$$ data.json',
            'cp': 'sed "s/: 1/: 9/" data.json > /tmp/new.$$ && mv data.json data.json.old && cp /tmp/new.$$ data.json; rm /tmp/new.$$',
            'two renames': 'sed "s/: 1/: 9/" data.json > data.json.new && mv data.json data.json.old && mv data.json.new data.json',
        }
        for name, command in tools.items():
            if name == 'patch' and not shutil.which('patch'):
                continue
            write(d + '.tmp', '{"a": 1, "b": 2}')
            os.rename(d + '.tmp', d)
            out = sh(command, cwd=b)
            assert json.loads(read(d)) == {'a': 9, 'b': 2}, (name, read(d), out)
            backups = [n for n in os.listdir(b) if n not in ('data.json', 'files')]
            assert len(backups) == 1 and json.loads(read(b + '/' + backups[0])) == {'a': 1, 'b': 2}, (name, backups)
            os.unlink(b + '/' + backups[0])
        # Step by step, with somebody else at every place in between.
        for way in ('rename', 'create'):
            write(d + '.tmp', '{"a": 1, "b": 2, "gone": 1}')
            os.rename(d + '.tmp', d)
            write(d + '.new', '{"a": 9, "b": 2}')
            other_merge(d, '{"first": 1}')
            os.rename(d, d + '.old')
            other_merge(d, '{"second": 2, "b": 3}')
            if way == 'rename':
                os.rename(d + '.new', d)
            else:
                write(d, '{"a": 9, "b": 2}')
            assert json.loads(read(d)) == {'a': 9, 'b': 3, 'first': 1, 'second': 2}, (way, read(d))
            assert json.loads(read(d + '.old')) == {'a': 1, 'b': 2, 'gone': 1, 'first': 1}
            os.unlink(d + '.old')
            os.path.exists(d + '.new') and os.unlink(d + '.new')


def test_a_refused_save_is_undone():
    with Mount() as m:
        b = m / 'b'
        os.mkdir(b)
        os.setxattr(b, ACL + 'edit', b'*')
        d = b + '/data.json'
        write(b + '/.bucketfs/schema.json', '{"properties": {"a": {"maximum": 5}}}')
        write(d, '{"a": 1, "b": 2}')
        write(d + '.new', '{"a": 9}')
        os.rename(d, d + '.old')
        other_merge(d, '{"c": 3}')
        fails(errno.EINVAL, os.rename, d + '.new', d)
        assert json.loads(read(d)) == {'a': 1, 'b': 2, 'c': 3} and json.loads(read(d + '.old')) == {'a': 1, 'b': 2}
        os.unlink(d + '.old')
        # Also if the new one was begun after that, and where the document is large.
        large = {f'key{i}': 'x' * 100 for i in range(2000)}
        large['a'] = 1
        write(d, json.dumps(large))
        whole = json.loads(read(d))
        os.rename(d, d + '.old')
        write(d + '.new', json.dumps({**whole, 'a': 9}))
        fails(errno.EINVAL, os.rename, d + '.new', d)
        assert json.loads(read(d)) == whole
        os.unlink(d + '.old')
        write(d + '.new', '{"a": 1, "b": 2, "c": 3}')
        os.rename(d + '.new', d)
        # Somebody changed the same key before it was moved away, and after that.
        for late in (False, True):
            write(d + '.new', '{"a": 2, "b": 2, "c": 3}')
            if late:
                os.rename(d, d + '.old')
            other_merge(d, '{"a": 3}')
            if not late:
                os.rename(d, d + '.old')
            fails(errno.ESTALE, os.rename, d + '.new', d)
            assert json.loads(read(d)) == {'a': 3, 'b': 2, 'c': 3}
            os.unlink(d + '.old')
            write(d, '{"a": 1}')


def test_a_tool_that_compares_sizes():
    """rclone removes what it takes for a bad copy, three times: the document stays, there and back."""
    with Mount() as m:
        b = m / 'b'
        os.mkdir(b)
        d = b + '/data.json'
        write(d, '{"kept": 1}')
        tool = m.folder + '/rclone'
        with open(tool, 'w') as f:
            f.write('#!/usr/bin/python3\nimport os, sys\ndst = sys.argv[1]\ntext = b\'{"new":2}\'\n'
                    'for i in range(3):\n  with open(dst, "wb") as f: f.write(text)\n'
                    '  if os.stat(dst).st_size != len(text):\n    try: os.unlink(dst)\n    except OSError: pass\n')
        os.chmod(tool, 0o755)
        sh(f'exec -a rclone {tool} {d}', cwd=m.folder)
        assert json.loads(read(d)) == {'kept': 1, 'new': 2}
        assert 'it stays' in read(b + '/.bucketfs/errors')
        os.unlink(d)
        if shutil.which('rclone'):
            write(d, '{"kept": 1}')
            os.mkdir(m.folder + '/there')
            write(m.folder + '/there/data.json', '{"new": 2}')
            sh(f'rclone copy {m.folder}/there/data.json {b}/ ; rclone copy {d} {m.folder}/back/', ok=None)
            assert json.loads(read(d)) == {'kept': 1, 'new': 2}
            assert json.loads(read(m.folder + '/back/data.json')) == {'kept': 1, 'new': 2}


def test_history():
    """The last ten documents that were removed or replaced whole, with their time and whose doing it was."""
    with Mount() as m:
        b = m / 'b'
        os.mkdir(b)
        os.setxattr(b, ACL + 'edit', b'user:61001')
        d, h = b + '/data.json', b + '/.bucketfs/history'
        assert os.listdir(h) == [] and 'history' not in os.listdir(b + '/.bucketfs')
        before = time.time()
        for i in range(12):
            write(d, json.dumps({'i': i, 'old': True}))
            if i % 2:
                OWNER(os.unlink, d)
            else:
                write(d + '.new', '{"whole": %d}' % i)
                os.rename(d + '.new', d)
                os.truncate(d, 0)
                os.unlink(d)
        assert 'history' in os.listdir(b + '/.bucketfs')
        names = sorted(os.listdir(h), key=lambda n: int(n[:-5]))
        assert len(names) == 10
        docs = [json.loads(read(h + '/' + n)) for n in names]
        assert docs[-1] == {'i': 11, 'old': True} and docs[-2] == {'whole': 10} and docs[-3] == {'i': 10, 'old': True}
        s = os.stat(h + '/' + names[-1])
        assert s.st_uid == 61001 and before <= s.st_mtime <= time.time() and s.st_size == len(read(h + '/' + names[-1]))
        assert os.stat(h + '/' + names[-2]).st_uid == 0
        assert json.loads(read(b + '/.bucketfs/previous.json')) == docs[-1]
        m.restart()
        assert sorted(os.listdir(h), key=lambda n: int(n[:-5])) == names
        # Readers may read, editors remove, and nobody writes.
        assert json.loads(OTHER(read, h + '/' + names[0])) == docs[0]
        fails(errno.EACCES, OTHER, os.unlink, h + '/' + names[0])
        fails(errno.EPERM, write, h + '/' + names[0], '{}')
        for name in ('1.json', '01.json', 'x', names[0] + '~', '99999999999999999999.json', '-1.json', 'meta.json'):
            fails(errno.ENOENT, os.stat, h + '/' + name)
            try:
                write(h + '/' + name, '{}')
                assert False, name
            except PermissionError:
                pass
        fails(errno.EPERM, os.mkdir, h + '/x')
        fails(errno.EPERM, os.rename, h + '/' + names[0], h + '/x')
        OWNER(os.unlink, h + '/' + names[-1])
        assert json.loads(read(b + '/.bucketfs/previous.json')) == docs[-2]
        os.unlink(b + '/.bucketfs/previous.json')
        assert sorted(os.listdir(h), key=lambda n: int(n[:-5])) == names[:-2]
        # Whoever may not read gets nothing of it.
        os.setxattr(b, ACL + 'read', b'owner')
        fails(errno.EACCES, OWNER, read, h + '/' + names[0])
        fails(errno.EACCES, OWNER, os.stat, h + '/' + names[0])
        fails(errno.EACCES, OWNER, os.listdir, h)
        # Bounded in bytes, but for the newest.
        os.setxattr(b, 'user.bucketfs.max_data_size', b'40M')
        for i in range(3):
            with open(d, 'w') as f:
                for part in range(10):
                    f.write('{"%d": "%s"}' % (part, 'x' * 1000000))
            os.unlink(d)
        assert len(os.listdir(h)) == 1
        # Nothing left of what it held, by any way, counts as replaced; a merge does not.
        write(d, '{"a": 1}')
        write(d, '{"a": 2}')
        assert len(os.listdir(h)) == 1
        with open(d, 'r+') as f:
            f.truncate(0)
            f.write('{"b": 1}')
        assert json.loads(read(b + '/.bucketfs/previous.json')) == {'a': 2}
        m.unmount()
        checked(m)


def test_privileges_are_judged_anew():
    """A commit and a new snapshot by a handle from before are refused once the privilege has ended."""
    with Mount() as m:
        b = m / 'b'
        os.mkdir(b)
        d = b + '/data.json'
        for flags in (os.O_RDWR, os.O_RDWR | os.O_TRUNC, os.O_WRONLY):
            os.setxattr(b, ACL + 'read', b'*')
            os.setxattr(b, ACL + 'edit', b'*')
            write(d, '{"open": 1}')
            r, w = os.pipe()
            r2, w2 = os.pipe()

            def attack():
                fd = os.open(d, flags)
                os.write(w, b'x')
                os.read(r2, 1)
                seen, refused = b'', 0
                try:
                    os.fsync(fd)
                except OSError as e:
                    refused += e.errno == errno.EACCES
                if flags & 3 == os.O_RDWR:
                    seen = os.pread(fd, 10000, 0)
                try:
                    os.ftruncate(fd, 0)
                except OSError:
                    pass
                os.write(fd, b'{"mine": 1}')
                try:
                    os.fsync(fd)
                except OSError as e:
                    refused += e.errno == errno.EACCES
                if flags & 3 == os.O_RDWR:
                    seen += os.pread(fd, 10000, 0)
                try:
                    os.close(fd)
                except OSError as e:
                    refused += e.errno == errno.EACCES
                return seen, refused
            pid = os.fork()
            if pid == 0:
                os.setgroups([])
                os.setresgid(61002, 61002, 61002)
                os.setresuid(61002, 61002, 61002)
                seen, refused = attack()
                os._exit(0 if b'SECRET' not in seen and refused >= 2 else 7)
            os.read(r, 1)
            os.setxattr(b, ACL + 'read', b'owner')
            os.setxattr(b, ACL + 'edit', b'owner')
            write(d, '{"token": "SECRET"}')
            os.write(w2, b'x')
            assert os.waitpid(pid, 0)[1] == 0, flags
            assert 'mine' not in read(d)


def test_staging_files_are_their_makers():
    with Mount() as m:
        b = m / 'b'
        os.mkdir(b)
        os.setxattr(b, ACL + 'edit', b'*')
        path = b + '/data.json.mine'
        OWNER(write, path, 'SECRET' * 10)
        # By an old descriptor of a file that is gone, after the bucket was forgotten.
        write(b + '/data.json.tmp', 'old')
        old = os.open(b + '/data.json.tmp', os.O_PATH)
        os.unlink(b + '/data.json.tmp')
        for i in range(4200):
            os.mkdir(m / f'x{i}')
        write(b + '/data.json.new', 'new')
        proc = f'/proc/self/fd/{old}'
        fails(errno.ESTALE, os.stat, proc)
        fails(errno.ESTALE, os.truncate, proc, 0)
        assert read(b + '/data.json.new') == 'new'
        # By a descriptor that was handed over.
        fd = OWNER_FD(path)
        try:
            def other():
                for what in (lambda: os.stat(f'/proc/self/fd/{fd}'), lambda: os.truncate(f'/proc/self/fd/{fd}', 0),
                             lambda: os.open(f'/proc/self/fd/{fd}', os.O_RDONLY)):
                    try:
                        what()
                        return False
                    except OSError:
                        pass
                return True
            assert STRANGER(other)
        finally:
            os.close(fd)
        assert OWNER(read, path) == 'SECRET' * 10


def OWNER_FD(path):
    """An O_PATH descriptor that the owner has opened, in this process."""
    import socket
    a, b = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        os.setresgid(61001, 61001, 61001)
        os.setresuid(61001, 61001, 61001)
        socket.send_fds(a, [b'x'], [os.open(path, os.O_PATH)])
        os._exit(0)
    _, fds, _, _ = socket.recv_fds(b, 1, 1)
    os.waitpid(pid, 0)
    return fds[0]


def test_root_squash_owns_nothing():
    with Mount('device=h') as m:
        os.mkdir(m / 'b')
        os.readlink(m / '@device')
        os.setxattr(m.point, ACL + 'create', b'*')
        m.unmount()
        m.options += ',root=squash'
        m.start()
        for path, may in ((m / 'b', b'read'), (m / '@device/', b'')):
            assert os.getxattr(path, 'user.bucketfs.access') == may
            fails(errno.EACCES, os.setxattr, path, ACL + 'edit', b'*')
            fails(errno.EACCES, write, path + '/data.json', '{"a": 1}')
        OWNER(os.mkdir, m / 'mine')
        OWNER(os.setxattr, m / 'mine', ACL + 'edit', b'user:0')
        write(m / 'mine/data.json', '{"a": 1}')


# ---- what is told to whom ----

def metric(text, name):
    return int(re.search(rf'^bucketfs_{name} (\d+)$', text, re.M).group(1))


def test_metrics_tell_nothing_of_private_buckets():
    with Mount() as m:
        for name in ('public', 'private'):
            os.mkdir(m / name)
            write(m / name + '/files/f', 'x' * 1000)
            write(m / name + '/data.json', '{"a": 1, "b": 2}')
        os.setxattr(m / 'private', ACL + 'read', b'owner')
        text = STRANGER(read, m / '.bucketfs/metrics')
        assert [metric(text, n) for n in ('buckets', 'files', 'file_bytes', 'data_keys')] == [2, 1, 1000, 2]
        text = read(m / '.bucketfs/metrics')
        assert [metric(text, n) for n in ('buckets', 'files', 'file_bytes', 'data_keys')] == [2, 2, 2000, 4]


def test_a_drop_box_is_told_no_more():
    """Whoever may edit and not read hears what is wrong with the request, and nothing of what is stored."""
    with Mount('max_files=3') as m:
        b = m / 'b'
        os.mkdir(b)
        write(b + '/data.json', '{"hidden_key": 12345}')
        write(b + '/files/Hidden Name', 'x')
        write(b + '/.bucketfs/schema.json', '{"properties": {"hidden_key": {"maximum": 50000}}, "maxProperties": 3}')
        os.setxattr(b, ACL + 'read', b'owner')
        os.setxattr(b, ACL + 'edit', b'*')
        os.setxattr(b, 'user.bucketfs.max_data_size', b'777')

        def attempts():
            for text in ('{"hidden_key": 99999}', '{"a": "%s"}' % ('x' * 5000), '{"a": 1, "b": 2, "c": 3}', '{"a": 1,}'):
                try:
                    write(b + '/data.json', text)
                except OSError:
                    pass
            for name in ('hidden name', 'x', 'y', 'z'):
                try:
                    write(b + '/files/' + name, 'y')
                except OSError:
                    pass
            return read(b + '/.bucketfs/errors')
        text = STRANGER(attempts)
        assert 'line 1, column 9' in text, text
        reasons = ' '.join(json.loads(line)['reason'] for line in text.splitlines())
        for secret in ('hidden_key', '50000', '777', 'maxProperties', 'Hidden'):
            assert secret not in reasons, reasons
        assert '50000' in read(b + '/.bucketfs/errors') or 'no more' in reasons


def test_sizes_by_old_descriptors():
    """An O_PATH descriptor from before shows nothing of data.json after the privilege has ended, whatever others do with it."""
    with Mount() as m:
        b = m / 'b'
        os.mkdir(b)
        write(b + '/data.json', '{"a": 1}')
        fd = os.open(b + '/data.json', os.O_PATH)
        file = os.open(b + '/files', os.O_PATH)
        os.setxattr(b, ACL + 'read', b'user:61001')
        write(b + '/data.json', '{"a": "%s"}' % ('x' * 1000))
        with open(b + '/data.json') as held:
            def look():
                out = []
                for f in (fd, file):
                    try:
                        s = os.stat(f'/proc/self/fd/{f}')
                        out.append((s.st_size, s.st_mtime))
                    except PermissionError:
                        out.append(None)
                return out
            assert STRANGER(look) == [None, None], STRANGER(look)
            os.setxattr(b, ACL + 'edit', b'*')
            assert STRANGER(look)[0] is None
            assert OWNER(look)[0][0] == os.stat(b + '/data.json').st_size > 1000
        os.close(fd)
        os.close(file)


def test_size_of_an_old_descriptor():
    """Whoever may not read any more is shown by fstat what they have read, and nothing of what came after."""
    with Mount() as m:
        b = m / 'b'
        os.mkdir(b)
        os.setxattr(b, ACL + 'edit', b'*')
        for quiet in (False, True):
            write(b + '/data.json', '{"a": 1}')
            if quiet:
                time.sleep(1)
            r, w = os.pipe()
            done, go = os.pipe()
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    os.setresuid(*[STRANGER.uid] * 3)
                    f = os.open(b + '/data.json', os.O_RDONLY)
                    before = os.fstat(f)
                    os.write(w, b'x')
                    os.read(done, 1)
                    after = os.fstat(f)
                    code = 0 if (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns) else 2
                finally:
                    os._exit(code)
            os.read(r, 1)
            os.setxattr(b, ACL + 'read', b'user:61001')
            write(b + '/data.json', '{"a": "%s"}' % ('x' * 1000))
            os.write(go, b'x')
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, quiet
            os.removexattr(b, ACL + 'read')
            for fd in (r, w, done, go):
                os.close(fd)


def test_everything_written_is_json():
    """Names of jobs, programs and files may be any bytes; what comes out is UTF-8 and JSON."""
    with Mount('device=h') as m:
        b = m / 'b'
        os.mkdir(b)
        os.setxattr(b, ACL + 'edit', b'*')
        jobs = [b'\xff\xfe', 'ü'.encode() * 60, b'a' + 'ü'.encode() * 60, b'\xe2\x82', b'\x1b[31m', b'"\\\n', '\u202e'.encode()]
        for i, job in enumerate(jobs):
            code, out = in_job(job, f'echo x > {b}/files/f{i}; cat {m.point}/@job/data.json')
            assert code == 0, out
        info = json.loads(read(b + '/.bucketfs/info.json', 'rb').decode('utf-8'))
        assert len(info['files']) == len(jobs)
        assert info['files'][1]['job'] == 'ü' * 32 and info['files'][2]['job'] == 'a' + 'ü' * 31
        assert os.getxattr(b + '/files/f2', 'user.bucketfs.job') == b'a' + 'ü'.encode() * 31
        # A program with such a name, and files of such names, in errors and in the log.
        program = os.path.join(m.folder.encode(), b'p\x1b[2J\xff\xe2')
        shutil.copy('/bin/mkdir', program)
        subprocess.run([program, b + '/x'], stderr=subprocess.DEVNULL)
        for name in (b'\xff', b'\x1b]0;x\x07', '\u2028'.encode(), b'\x9b31m'):
            try:
                os.mkdir(b.encode() + b'/' + name)
            except OSError:
                pass
            try:
                os.open(m.point.encode() + b'/' + name, os.O_CREAT | os.O_WRONLY)
            except OSError:
                pass
        for path in (b + '/.bucketfs/errors', m / '.bucketfs/errors'):
            for line in read(path, 'rb').decode('utf-8').split('\n')[:-1]:
                json.loads(line)
        with open(m.log, 'rb') as f:
            log = f.read()
        assert not any(c < 32 and c != 10 for c in log) and b'\x7f' not in log and b'\x9b' not in log, log[-2000:]
        log.decode('utf-8')


def test_audit_lines_are_bounded():
    with Mount() as m:
        os.mkdir(m / 'b')
        os.setxattr(m / 'b', ACL + 'admin', b'user:61001')

        def many():
            for i in range(2000):
                os.setxattr(m / 'b', ACL + 'edit', b'user:%d' % i)
        OWNER(many)
        assert m.log_text().count('audit: acl') < 500
        time.sleep(1.1)
        OWNER(os.setxattr, m / 'b', ACL + 'edit', b'*')
        assert 'were dropped' in m.log_text()


# ---- one user must not stop the others ----

def test_depth_of_folders():
    """A bound, and whatever walks a tree works up to it."""
    with Mount() as m:
        b = m / 'b'
        os.mkdir(b)

        def chain(top, count):
            """Folders in one another; how many could be made."""
            fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
            for made in range(count):
                try:
                    os.mkdir('d', dir_fd=fd)
                except OSError as e:
                    assert e.errno == errno.ENAMETOOLONG, e
                    os.close(fd)
                    return made
                new = os.open('d', os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = new
            f = os.open('deep', os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
            os.close(f)
            os.close(fd)
            return count
        assert chain(b + '/files', 4200) == 4096
        os.mkdir(b + '/files/other')
        assert chain(b + '/files/other', 3000) == 3000
        assert 'deep in one another' in read(b + '/.bucketfs/errors')
        # What is moved is measured with what is in it.
        os.mkdir(b + '/files/third')
        assert chain(b + '/files/third', 1000) == 1000
        fd = os.open(b + '/files/other', os.O_RDONLY | os.O_DIRECTORY)
        for _ in range(500):
            new = os.open('d', os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = new
        os.rename(b + '/files/third', 'third', dst_dir_fd=fd)
        fails(errno.ENAMETOOLONG, os.rename, b + '/files/d', 'd2', dst_dir_fd=fd)
        os.close(fd)
        info = json.loads(read(b + '/.bucketfs/info.json'))
        assert sorted(len(f['path'].split('/')) for f in info['files']) == [3 + 1 + 500 + 1 + 1000, 3 + 1 + 3000], [len(f['path']) for f in info['files']]
        ctl = os.path.join(os.path.dirname(BINARY), 'bucketctl')
        out = subprocess.run([ctl, 'info', b], stdout=subprocess.PIPE, timeout=60 * SLOW)
        assert out.returncode == 0 and b'deep' in out.stdout
        out = subprocess.run([ctl, 'fetch', '--dry-run', '--glob', '**/deep', b, m.folder + '/out'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60 * SLOW)
        assert out.returncode == 0, out.stdout
        out = subprocess.run([ctl, 'empty', b], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120 * SLOW)
        assert out.returncode == 0 and os.listdir(b + '/files') == [], out.stdout


def test_partials_whose_name_is_a_folders():
    """A file that cannot have its name ends somewhere, and `errors` says where."""
    with Mount() as m:
        b = m / 'b'
        os.mkdir(b)
        f = b + '/files'
        os.makedirs(f + '/.name.partial/x')
        os.makedirs(f + '/.name.2.partial/x')
        killed_writer(f + '/name', 1000)
        assert wait_for(lambda: os.path.exists(f + '/.name.3.partial'), 5), os.listdir(f)
        assert read(f + '/.name.3.partial') == 'x' * 1000
        assert 'kept as .name.3.partial' in read(b + '/.bucketfs/errors')


def test_other_spellings_cost_the_others_nothing():
    """Somebody who renames by other spellings all the time does not end the names that the kernel knows for everybody else."""
    with Mount() as m:
        os.mkdir(m / 'mine')
        os.mkdir(m / 'theirs')
        for i in range(200):
            write(m / f'mine/files/known{i}', 'x')
        known = [m / f'mine/files/known{i}' for i in range(200)]

        def lookups():
            text = read(m / '.bucketfs/metrics')
            return int(re.search(r'operation_seconds_count\{operation="lookup"\} (\d+)', text).group(1))

        def asked():
            """How many of 200 names the kernel asked for."""
            before = lookups()
            for path in known:
                os.stat(path)
            return lookups() - before
        asked()
        quiet = asked()
        f = m / 'theirs/files/'
        for i in range(60):
            write(f + 'Other Name', 'x')
            os.rename(f + 'Other Name', f + 'One Name')
        busy = 0
        for _ in range(10):
            write(f + 'Other Name', 'x')
            os.rename(f + 'Other Name', f + 'One Name')
            busy += asked() > quiet + 100
            fails(errno.ENOENT, os.stat, f + 'Other Name')
        assert busy < 5, busy


class LimitedMount(Mount):
    """With a limit on the daemon's descriptors."""
    files = 1024

    def arguments(self):
        return ['prlimit', f'--nofile={self.files // 2}:{self.files}'] + super().arguments()


def hold_open(paths, ready, done):
    """Opens and reads all of them; how many that were."""
    held = []
    for path in paths:
        try:
            fd = os.open(path, os.O_RDONLY)
        except OSError as e:
            if e.errno == errno.EDQUOT:
                break
            raise
        os.read(fd, 10)
        held.append(fd)
    os.write(ready, b'%d ' % len(held))
    os.read(done, 1)
    return len(held)


def test_descriptors():
    """One user opens all that can be opened: the others go on, the store as well, and the user is told why."""
    with LimitedMount() as m:
        os.mkdir(m / 'b')
        os.setxattr(m / 'b', ACL + 'edit', b'*')
        paths = [m / f'b/files/f{i}' for i in range(700)]
        for path in paths:
            write(path, 'x' * 40000)
        r, w = os.pipe()
        r2, w2 = os.pipe()
        pids = []
        for person in (OWNER, STRANGER, OTHER):
            pid = os.fork()
            if pid == 0:
                resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
                os.setgroups([])
                os.setresgid(person.uid, person.uid, person.uid)
                os.setresuid(person.uid, person.uid, person.uid)
                hold_open(paths, w, r2)
                os._exit(0)
            pids.append(pid)
        counts = b''
        while counts.count(b' ') < 3:
            counts += os.read(r, 100)
        counts = [int(c) for c in counts.split()]
        assert max(counts) <= 320 and sum(counts) <= 640, counts
        # They are told why, and merges need no descriptor.
        assert 'files open' in ''.join(person(read, m / 'b/.bucketfs/errors') for person in (OWNER, STRANGER, OTHER))
        OWNER(write, m / 'b/data.json', '{"b": 1}')
        for pid in pids:
            os.write(w2, b'x')
        for pid in pids:
            os.waitpid(pid, 0)
        # Enough for many new logs and tables of the store.
        for i in range(3000):
            write(m / 'b/files/small', os.urandom(30000))
        write(m / 'b/data.json', '{"a": 1}')
        for path in paths:
            assert len(read(path)) == 40000
        assert 'cannot write' not in m.log_text(), m.log_text()[-3000:]


def test_descriptors_come_back():
    """The store needs one and gets none: what comes meanwhile is refused, and everything works when there are some again."""
    with LimitedMount() as m:
        os.mkdir(m / 'b')
        write(m / 'b/data.json', '{"a": 1}')
        used = len(os.listdir(f'/proc/{m.process.pid}/fd'))
        resource.prlimit(m.process.pid, resource.RLIMIT_NOFILE, (used, 1024))
        acknowledged = {}
        failed = 0
        for i in range(6000):
            try:
                write(m / f'b/files/f{i % 50}', b'%d' % i + b'x' * 30000)
                acknowledged[i % 50] = i
            except OSError:
                failed += 1
                acknowledged.pop(i % 50, None)
                if failed > 50:
                    break
        resource.prlimit(m.process.pid, resource.RLIMIT_NOFILE, (1024, 1024))

        def works():
            try:
                write(m / 'b/data.json', '{"a": 2}')
                write(m / 'b/files/large', 'x' * 100000)
                return True
            except OSError:
                return False
        assert wait_for(works, 20), m.log_text()[-3000:]
        for i in range(3000):
            write(m / f'b/files/g{i % 50}', 'x' * 30000)
        for i, n in acknowledged.items():
            assert read(m / f'b/files/f{i}').startswith(str(n) + 'x'), i
        print(f'note: {failed} writes were refused')


def memory_of(pid):
    with open(f'/proc/{pid}/status') as f:
        return int(re.search(r'VmRSS:\s+(\d+)', f.read()).group(1)) << 10


def test_memory():
    """Staging files, patches and snapshots count; one user's share leaves room for the others, and is given back."""
    with Mount('max_data_size=0') as m:
        os.mkdir(m / 'b')
        os.setxattr(m / 'b', ACL + 'edit', b'*')
        before = memory_of(m.process.pid)

        def attack():
            refused = 0
            for i in range(64):
                fd = os.open(m / f'b/data.json.{i}', os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
                try:
                    os.ftruncate(fd, 1 << 30)
                except OSError as e:
                    assert e.errno in (errno.EDQUOT, errno.ENOMEM), e
                    refused += 1
            held = []
            for i in range(40):
                fd = os.open(m / 'b/data.json', os.O_WRONLY | os.O_TRUNC)
                held.append(fd)
                try:
                    os.write(fd, b'{"a": "')
                    for _ in range(64):
                        os.write(fd, b'x' * (1 << 20))
                except OSError as e:
                    assert e.errno in (errno.EDQUOT, errno.ENOMEM), e
                    refused += 1
            return refused
        assert STRANGER(attack) > 60
        assert memory_of(m.process.pid) - before < 3 << 30
        # The others have room meanwhile: the staging files are still there.
        OWNER(write, m / 'b/data.json', json.dumps({'x': 'y' * 5000000}))
        OWNER(write, m / 'b/data.json.tmp', json.dumps({'x': 'z' * 5000000}))
        OWNER(os.rename, m / 'b/data.json.tmp', m / 'b/data.json')
        assert 'of memory' in STRANGER(read, m / 'b/.bucketfs/errors')

        def clean():
            for i in range(64):
                os.unlink(m / f'b/data.json.{i}')
        STRANGER(clean)
        fd = None

        def again():
            fd = os.open(m / 'b/data.json.again', os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            os.ftruncate(fd, 50 << 20)
            os.close(fd)
        STRANGER(again)


def test_close_by_execve():
    """A descriptor that execve closes: the kernel holds a lock of the process then that must not be waited for."""
    with Mount() as m:
        os.mkdir(m / 'b')
        script = ("import os, sys\nf = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_TRUNC)\nif sys.argv[2] != '0': os.write(f, b'x')\n"
                  "g = os.dup(f)\nif sys.argv[2] == '2': os.close(g)\nos.execvp('true', ['true'])")
        write(m / 'b/files/there', 'old')
        for name in ('new', 'there'):
            for mode in '012':
                children = [subprocess.Popen([sys.executable, '-c', script, m / 'b/files/' + name, mode]) for _ in range(4)]
                for child in children:
                    assert child.wait(timeout=10 * SLOW) == 0
        # A child that goes on with its parent's descriptor, while the parent becomes another program.
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                fd = os.open(m / 'b/files/shared', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.write(fd, b'y')
                if os.fork() == 0:
                    os.close(fd)
                    os._exit(0)
                os.execvp('true', ['true'])
            assert wait_for(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, 10)
        write(m / 'b/data.json', '{"a": 1}')


if __name__ == '__main__':
    run(tests_of(__name__))
