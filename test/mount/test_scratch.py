#!/usr/bin/python3
"""Saving data.json the way careful programs do: a temporary file beside it, and a rename."""
import errno
import json
import os
import pty
import select
import shutil
import tempfile
import time

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
        # By what is in it: the time of a document is when it was changed last, whatever the file it came from says.
        sh(f'rsync -a {m.folder}/data.json data.json && rsync -ac --stats {m.folder}/data.json . | grep -q "files transferred: 0"', b)
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
        # By content, as above.
        assert sh('rsync -ac --stats nightly/ copy/ | grep "files transferred"', m.point).strip().endswith(': 0')


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


class Terminal:
    """A program in a terminal of its own, and a person who reads and types."""

    def __init__(self, *arguments, cwd):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.environ.update(TERM='xterm', LC_ALL='C.UTF-8', HOME='/nonexistent')
            os.execvp(arguments[0], arguments)
        self.seen = b''

    def expect(self, *texts):
        """Waits until one of them has been shown since the last key; which."""
        end = time.time() + 20 * SLOW
        while time.time() < end:
            for text in texts:
                if text.encode() in self.seen:
                    return text
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536)
                except OSError:
                    break
        raise AssertionError(f'{texts}: not shown, but {self.seen[-1500:]}')

    def type(self, keys):
        self.seen = b''
        os.write(self.fd, keys.encode())

    def end(self, keys):
        """Types what ends it."""
        self.type(keys)
        try:
            while os.read(self.fd, 65536):
                pass
        except OSError:
            pass
        os.close(self.fd)
        assert os.waitpid(self.pid, 0)[1] == 0


def merge(b, text):
    """By somebody else; the time differs from the last one in its seconds, which is all that some editors look at."""
    time.sleep(1.1)
    sh(f"echo '{text}' > data.json", b)


def nano_saves(t, keys):
    t.type(keys + '\x0f')
    t.expect('to Write')
    t.type('\r')
    if t.expect('Wrote', 'changed on disk', 'on disk has changed', 'rror writing') not in ('Wrote', 'rror writing'):
        t.type('y')
    return t.expect('Wrote', 'rror writing') == 'Wrote'


def test_nano():
    with Mount() as m:
        b = bucket(m)
        for options in [], ['-B']:  # with a backup, for which it reads data.json again
            os.unlink(b + '/data.json')
            write(b + '/data.json', '{"gone": 1, "kept": 2, "changed": 3}')
            t = Terminal('nano', '--ignorercfiles', *options, 'data.json', cwd=b)
            t.expect('Read 5 lines', 'Help')
            merge(b, '{"other": 6}')
            assert nano_saves(t, '\x0e\x05\x02\x084\x0e\x0b')  # down, end, left, backspace, 4, down, cut the line
            assert data(b) == {'kept': 2, 'changed': 4, 'other': 6}, data(b)
            assert nano_saves(t, '\x10\x05\x02\x085')  # up, end, left, backspace, 5
            assert os.path.exists(b + '/data.json~') == bool(options)
            assert data(b) == {'kept': 2, 'changed': 5, 'other': 6}, data(b)
            if not options:
                merge(b, '{"changed": 9}')
                assert not nano_saves(t, '\x086')  # backspace, 6
                assert data(b)['changed'] == 9 and 'changed' in last_reason(b)
            t.end('\x18n')


def last_reason(b):
    return json.loads(read(b + '/.bucketfs/errors').splitlines()[-1])['reason']


def test_sponge():
    with Mount() as m:
        b = bucket(m)
        sh("jq 'del(.gone) | .changed = 4' data.json | sponge data.json", b)
        assert data(b) == {'kept': 2, 'changed': 4}, data(b)
        # Meanwhile somebody else.
        sh("""jq '.changed = 5 | del(.kept)' data.json | (sleep 0.5; echo '{"other": 6}' > data.json; exec sponge data.json)""", b)
        assert data(b) == {'changed': 5, 'other': 6}, data(b)
        out = sh("""jq '.changed = 7' data.json | (sleep 0.5; echo '{"changed": 6}' > data.json; exec sponge data.json)""", b, ok=False)
        assert 'Stale' in out and 'changed' in last_reason(b), out
        assert data(b) == {'changed': 6, 'other': 6}, data(b)
        # By way of a redirection, a function, and other programs.
        sh("""drop() { jq "del(.$1)" < data.json; }; drop other | env sponge data.json""", b)
        assert data(b) == {'changed': 6}, data(b)


def test_patch_stays_a_patch():
    """Who writes some keys means these, whatever was read before or beside it, and by whom."""
    all_keys = {'gone': 1, 'kept': 2, 'changed': 3, 'a': 1}
    scripts = ["""cat data.json > /dev/null; echo '{"a": 1}' | sponge data.json""",
               """(while :; do jq . data.json | cat; done > /dev/null & reader=$!
                   sleep 0.2; echo '{"a": 1}' | sponge data.json; kill $reader)""",
               """n=$(jq .gone data.json); echo "{\\"a\\": $n}" | sponge data.json""",
               """echo '{"a": 1}' | sponge -a data.json""",
               """jq '{a: .gone}' data.json | sponge -a data.json""",
               """jq '{a: .gone}' data.json > data.json""",
               """printf 'r data.json\\nq\\n' | ed -s; echo '{"a": 1}' > data.json""",
               """python3 -c 'if 1:
                      import json
                      n = json.load(open("data.json"))["gone"]
                      with open("data.json", "w") as f:
                          json.dump({"a": n}, f)'"""]
    with Mount() as m:
        b = bucket(m)
        for script in scripts:
            os.unlink(b + '/data.json')
            write(b + '/data.json', '{"gone": 1, "kept": 2, "changed": 3}')
            sh(script, b)
            assert data(b) == all_keys, (script, data(b))


EMACS = """
(find-file "data.json")
(shell-command "echo '{\\"other\\": 6}' > data.json")
(set-visited-file-modtime)  ; "changed on disk; really edit the buffer?" "yes"
(goto-char (point-min)) (search-forward "gone") (beginning-of-line) (kill-line 1)
(goto-char (point-min)) (search-forward "3") (replace-match "4")
(save-buffer)
(shell-command "echo '{\\"more\\": 8}' > data.json")
(set-visited-file-modtime)
(goto-char (point-min)) (search-forward "4") (replace-match "5")
(save-buffer)
"""


def test_emacs():
    if not shutil.which('emacs'):
        return print('       emacs is not installed')
    with Mount() as m:
        b = bucket(m)
        # In place; by a backup that data.json is renamed to; by one that it is copied to.
        for settings in '(setq make-backup-files nil)', '(setq backup-enable-predicate (lambda (name) t))', \
                '(setq backup-enable-predicate (lambda (name) t) backup-by-copying t)':
            os.unlink(b + '/data.json')
            write(b + '/data.json', '{"gone": 1, "kept": 2, "changed": 3}')
            write(m.folder + '/edit.el', settings + EMACS)
            sh(f'emacs -Q --batch -l {m.folder}/edit.el', b)
            assert data(b) == {'kept': 2, 'changed': 5, 'other': 6, 'more': 8}, (settings, data(b))
            for name in os.listdir(b):
                if name not in ('data.json', 'files'):
                    assert name == 'data.json~' and 'nil' not in settings
                    os.unlink(b + '/' + name)


def test_closed_and_not_released():
    """A lock or a backup that is closed makes no editor of who has made it, though a child has it open still."""
    with Mount() as m:
        b = bucket(m)
        swap = os.open(b + '/.#data.json', os.O_RDWR | os.O_CREAT | os.O_EXCL)
        child = subprocess.Popen(['sleep', '60'], pass_fds=[swap])
        try:
            # What a child closes is still open here.
            subprocess.run(['true'], pass_fds=[swap])
            # And so is what was closed as a copy, when it is used again.
            os.close(os.dup(swap))
            os.write(swap, b'x')
            write(b + '/data.json', '{"kept": 2, "changed": 4}')
            assert data(b) == {'kept': 2, 'changed': 4}
            os.close(swap)
            write(b + '/data.json', '{"changed": 5}')
            assert data(b) == {'kept': 2, 'changed': 5}
        finally:
            child.kill()
            child.wait()


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


def test_moved_back():
    """A copy that was made of data.json, or that was data.json, comes back whole."""
    with Mount() as m:
        b = bucket(m, '{"a": 1, "b": 2}')
        d = b + '/data.json'
        both, more = {'a': 1, 'b': 2}, {'a': 1, 'b': 2, 'c': 3}
        for steps, expected in (
                (f'mv {d} {d}.bak; mv {d}.bak {d}', both),
                (f'mv {d} {d}.bak; setpriv --reuid=61002 --regid=61002 --clear-groups sh -c \'echo "{{\\"c\\": 3}}" > {d}\'; mv {d}.bak {d}', more),
                (f'mv {d} {d}.bak; echo \'{{"c": 3}}\' > {d}; mv {d}.bak {d}', more),
                (f'mv {d} {d}.bak; echo \'{{"c\' > {d}.new; mv {d}.new {d} && exit 1; rm {d}.new; cat {d} && rm {d}.bak', both),
                (f'cp {d} {d}.bak; rm {d}; mv {d}.bak {d}', both)):
            os.setxattr(b, 'user.bucketfs.acl.edit', b'*')
            sh(f'set -e; {steps.replace("; ", chr(10))}' if ' && exit' not in steps else steps)
            assert json.loads(read(d)) == expected, (steps, read(d))
            for key in set(expected) - set(both):
                os.removexattr(d, f'user.bucketfs.key.{key}')
            assert sorted(os.listdir(b)) == ['data.json', 'files'], os.listdir(b)


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


def test_new_document_by_any_name():
    """Most people type this: jq … data.json > new.json && mv new.json data.json."""
    with Mount() as m:
        b = bucket(m)
        for name in ('new.json', 'tmp', 'out.tmp', 'data.new', 'temp'):
            write(b + '/data.json', '{"n": 1, "gone": 1}')
            sh(f'jq "del(.gone) | .n = 2" data.json > {name} && mv {name} data.json', b)
            assert data(b)['n'] == 2 and 'gone' not in data(b), name
        # It is an edit: what others changed meanwhile stays, and what both changed is refused.
        write(b + '/data.json', '{"n": 1, "others": 1}')
        sh('jq ".n = 2" data.json > new.json; echo \'{"others": 2}\' > data.json; mv new.json data.json', b)
        assert (data(b)['n'], data(b)['others']) == (2, 2)
        sh('jq ".n = 3" data.json > new.json; echo \'{"n": 4}\' > data.json; mv new.json data.json', b, ok=False)
        assert data(b)['n'] == 4
        sh('echo "{" > new.json; mv new.json data.json', b, ok=False)
        os.unlink(b + '/new.json')
        with open(b + '/py.json', 'w') as h:
            json.dump({'n': 5}, h)
        os.replace(b + '/py.json', b + '/data.json')
        assert data(b) == {'n': 5}
        # The names of files stay what they are.
        for name in ('notes.txt', 'report.csv', '.hidden.json', 'json'):
            fails(errno.EPERM, write, b + '/' + name, 'x')


def test_what_was_meant_for_files_gets_there():
    """By such a name somebody may mean a file as well: it is not lost. (After a minute, too: test/unit/test_tree.c.)"""
    with Mount() as m:
        b = bucket(m)
        local = m.folder + '/Report.json'
        write(local, '{"a": 1}')
        sh(f'cp {local} .', b)
        write(b + '/gone.json', 'x')
        os.unlink(b + '/gone.json')
        write(b + '/files/taken.json', 'first')
        write(b + '/taken.json', 'second')
        m.restart()
        assert sorted(os.listdir(b)) == ['data.json', 'files'] and sorted(os.listdir(b + '/files')) == ['.taken.json.partial', 'report.json', 'taken.json']
        assert read(b + '/files/report.json') == '{"a": 1}' and read(b + '/files/taken.json') == 'first'
        assert read(b + '/files/.taken.json.partial') == 'second'
        assert 'it is files/report.json now' in m.log_text().replace('Report', 'report')


def test_schema_and_errors():
    with Mount() as m:
        b = bucket(m)
        write(b + '/.bucketfs/schema.json', '{"required": ["kept"]}')
        fails(errno.EINVAL, save, b, lambda d: d.pop('kept'))
        assert data(b)['kept'] == 2
        assert 'schema' in json.loads(read(b + '/.bucketfs/errors').splitlines()[-1])['reason']


if __name__ == '__main__':
    run(tests_of(__name__))
