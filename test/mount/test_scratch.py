#!/usr/bin/python3
"""Saving data.json the way careful programs do: a temporary file beside it, and a rename."""
import errno
import json
import os
import shutil
import tempfile

from harness import *

OTHER = Person(61005)


def bucket(m, text='{"gone": 1, "kept": 2, "changed": 3}'):
    os.mkdir(m / 'nightly')
    b = m / 'nightly'
    write(b + '/data.json', text)
    return b


def data(b):
    return json.loads(read(b + '/data.json'))


def previous(b):
    return json.loads(read(b + '/.bucketfs/previous.json'))


def save(b, change, meanwhile=None):
    """Python's tempfile and os.replace."""
    with open(b + '/data.json') as f:
        d = json.load(f)
    change(d)
    with tempfile.NamedTemporaryFile('w', dir=b, delete=False) as f:
        json.dump(d, f)
    if meanwhile:
        write(b + '/data.json', meanwhile)
    os.replace(f.name, b + '/data.json')


def test_python():
    with Mount() as m:
        b = bucket(m)

        def change(d):
            del d['gone']
            d['changed'], d['new'] = 4, 5
        save(b, change, '{"other": 6}')
        assert data(b) == {'kept': 2, 'changed': 4, 'new': 5, 'other': 6}
        assert previous(b) == {'gone': 1, 'kept': 2, 'changed': 3, 'other': 6}
        fails(errno.ESTALE, save, b, lambda d: d.update(kept=9), '{"kept": 7}')
        assert data(b)['kept'] == 7
        left = [n for n in os.listdir(b) if n not in ('data.json', 'files')]
        assert len(left) == 1  # the failed one is still there, for its owner
        os.unlink(f'{b}/{left[0]}')
        assert sorted(os.listdir(b)) == ['data.json', 'files']


def test_shell_tools():
    with Mount() as m:
        b = bucket(m)
        sh("sed -i 's/\"changed\": 3/\"changed\": 30/; /\"gone\"/d; s/\"kept\": 2,/\"kept\": 2/' data.json", b)
        assert data(b) == {'kept': 2, 'changed': 30}, data(b)
        sh("perl -i -pe 's/30/31/' data.json", b)
        sh("jq 'del(.kept) | .more = [1]' data.json > data.json.tmp && mv data.json.tmp data.json", b)
        assert data(b) == {'changed': 31, 'more': [1]} and previous(b) == {'kept': 2, 'changed': 31}
        write(m.folder + '/data.json', '{\n  "rsynced": true\n}\n')
        sh(f'rsync -a {m.folder}/data.json data.json && rsync -a --stats {m.folder}/data.json . | grep -q "files transferred: 0"', b)
        assert data(b) == {'rsynced': True}
        assert sorted(os.listdir(b)) == ['data.json', 'files']
        sh("echo '{broken' > data.json.new && mv data.json.new data.json", b, ok=False)
        assert data(b) == {'rsynced': True} and os.path.exists(b + '/data.json.new')
        sh('mv -n data.json.new data.json; cp data.json data.json.copy && mv data.json.copy data.json.copy2 && rm data.json.copy2 data.json.new', b)


def test_whole_bucket_by_rsync():
    with Mount() as m:
        b = bucket(m)
        write(b + '/files/x', 'x')
        os.mkdir(m / 'copy')
        sh('rsync -a nightly/ copy/ && diff -r nightly copy', m.point)
        assert sh('rsync -a --stats nightly/ copy/ | grep "files transferred"', m.point).strip().endswith(': 0')


def test_vim():
    vim = shutil.which('vim') or shutil.which('vim.tiny') or shutil.which('vi')
    with Mount() as m:
        b = bucket(m)
        # With its swap file; in place, or by a backup and a new one.
        sh(f"TERM=dumb {vim} -N -u NONE -i NONE -es -c 'set swapfile directory=. writebackup' -c 'g/gone/d' "
           f"-c '%s/: 3/: 33/' -c '%s/2,/2/e' -c 'wq' data.json", b, ok=None)
        assert data(b) == {'kept': 2, 'changed': 33} or data(b) == {'changed': 33, 'kept': 2}, data(b)
        for copy in ('yes', 'no'):
            sh(f"TERM=dumb {vim} -N -u NONE -i NONE -es -c 'set swapfile directory=. backup backupdir=. backupcopy={copy}' "
               f"-c '%s/33/34/e' -c 'wq' data.json", b, ok=None)
            assert data(b)['changed'] == 34, (copy, data(b))
        assert set(os.listdir(b)) - {'data.json~'} == {'data.json', 'files'}, os.listdir(b)


def test_moved_away():
    """As emacs does: the old one to data.json~, a new one in its place."""
    with Mount() as m:
        b = bucket(m)
        swap = os.open(b + '/.data.json.swp', os.O_RDWR | os.O_CREAT | os.O_EXCL)  # when it was read
        sh("echo '{\"other\": 6}' > data.json", b)  # somebody else
        os.rename(b + '/data.json', b + '/data.json~')
        fails(errno.ENOENT, open, b + '/data.json')
        assert json.loads(read(b + '/data.json~'))['gone'] == 1
        f = open(b + '/data.json', 'w')
        assert data(b)['gone'] == 1  # until it is committed the old one is there
        f.write('{"kept": 2, "changed": 33}')
        f.close()
        assert data(b) == {'kept': 2, 'changed': 33, 'other': 6}
        os.unlink(b + '/data.json~')
        os.close(swap)
        os.unlink(b + '/.data.json.swp')
        fails(errno.EPERM, os.rename, b + '/data.json', b + '/elsewhere')
        fails(errno.EXDEV, os.rename, b + '/data.json', b + '/files/x')


def test_whose():
    with Mount() as m:
        b = bucket(m)
        os.setxattr(b, 'user.bucketfs.acl.edit', b'user:61005')
        write(b + '/data.json.tmp', 'mine')
        assert OTHER(os.listdir, b) == ['data.json', 'files']
        fails(errno.ENOENT, OTHER, open, b + '/data.json.tmp')
        OTHER(write, b + '/data.json.tmp', 'theirs')
        assert read(b + '/data.json.tmp') == 'mine' and OTHER(read, b + '/data.json.tmp') == 'theirs'
        st, ds = os.stat(b + '/data.json.tmp'), os.stat(b + '/data.json')
        assert (st.st_uid, st.st_mode) == (ds.st_uid, ds.st_mode) and st.st_size == 4
        os.chmod(b + '/data.json.tmp', 0o600)
        os.utime(b + '/data.json.tmp')
        fails(errno.EPERM, write, b + '/notes.txt', 'x')
        fails(errno.EPERM, os.mkdir, b + '/data.json.d')
        fails(errno.EPERM, os.symlink, 'x', b + '/data.json.l')
        fails(errno.EFBIG, lambda: os.truncate(b + '/data.json.tmp', 1 << 30))
        held = open(b + '/data.json.held', 'w+')
        os.unlink(b + '/data.json.held')
        held.write('still')
        held.seek(0)
        assert held.read() == 'still'
        held.close()
        sh('rm data.json && rm -r files && rmdir ../nightly', b)
        os.mkdir(b)
        assert os.listdir(b) == ['data.json', 'files']
        write(b + '/data.json.tmp', 'x')
        m.restart()
        assert os.listdir(b) == ['data.json', 'files']


def test_schema_and_errors():
    with Mount() as m:
        b = bucket(m)
        write(b + '/.bucketfs/schema.json', '{"required": ["kept"]}')
        fails(errno.EINVAL, save, b, lambda d: d.pop('kept'))
        assert data(b)['kept'] == 2
        assert 'schema' in json.loads(read(b + '/.bucketfs/errors').splitlines()[-1])['reason']


if __name__ == '__main__':
    run(tests_of(__name__))
