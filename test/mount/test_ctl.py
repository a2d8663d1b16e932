#!/usr/bin/python3
"""bucketctl on a real mount. CTL names the binary."""
import errno
import json
import os
import pty
import random
import re
import shutil
import signal
import subprocess
import tempfile
import termios
import threading
import time

from harness import *

CTL = os.path.abspath(os.environ.get('CTL', 'build/bucketctl'))
OTHER = Person(61007)


class Result:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err


def ctl(*args, status=0, cwd=None, stdin='', **env):
    """Runs bucketctl; its exit status must be that, and a failure comes with a reason."""
    r = subprocess.run([CTL, *args], cwd=cwd, input=stdin if isinstance(stdin, bytes) else stdin.encode(), timeout=60 * SLOW,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, 'LC_ALL': 'C.UTF-8', **env})
    out, err = r.stdout.decode(errors='replace'), r.stderr.decode(errors='replace')
    assert r.returncode == status, f'{args}: status {r.returncode}, expected {status}: {out}{err}'
    assert status == 0 or err, f'{args}: failed without a reason'
    return Result(r.returncode, out, err)


def bucket(m, name='nightly'):
    os.mkdir(m / name)
    return m / name


def data(b):
    return json.loads(read(b + '/data.json'))


def has(b, name):
    """Whether this build has the control file; a note if not, and the rest of the test is left out."""
    if os.path.exists(f'{b}/.bucketfs/{name}'):
        return True
    print(f'note: skipped from here: no .bucketfs/{name} in this build', flush=True)
    return False


def tree(folder):
    found = {}
    for base, _, names in os.walk(folder):
        for n in names:
            p = os.path.join(base, n)
            found[os.path.relpath(p, folder)] = read(p)
    return found


def fill(folder, names):
    for n in names:
        os.makedirs(os.path.dirname(os.path.join(folder, n)), exist_ok=True)
        write(os.path.join(folder, n), 'content of ' + n)


COMMANDS = 'get set unset edit fetch store wait info list create update delete empty history undo acl limits schema cp rm why check'.split()


def test_help():
    assert all(c in ctl('--help').out for c in COMMANDS)
    for c in COMMANDS:
        out = ctl(c, '--help').out
        assert out.startswith(f'usage: bucketctl {c}') and '--json' in out, c
        ctl(c, '--no-such-option', status=16 if c == 'check' else 2)
    ctl(status=2)
    ctl('nonsense', status=2)
    ctl('set', status=2)
    assert ctl('--version').out.startswith('bucketctl ')


def test_places():
    with Mount() as m:
        b = bucket(m)
        write(b + '/data.json', '{"a": 1}')
        os.makedirs(b + '/files/sub')
        write(b + '/files/sub/x', '')
        for path in (b, b + '/', b + '/files', b + '/files/sub/x', b + '/data.json', b + '/files/not/there', f'{b}/../nightly'):
            assert ctl('get', path, 'a').out == '1\n', path
        for cwd in (b, b + '/files/sub'):
            assert ctl('get', 'a', cwd=cwd).out == ctl('get', '.', 'a', cwd=cwd).out == '1\n'
        assert ctl('get', 'nightly', 'a', cwd=m.point).out == '1\n'
        os.symlink(b, m.folder + '/link')
        assert ctl('get', m.folder + '/link', 'a').out == '1\n'
        for path in ('nope', m / 'nope', m / 'nope/files/x', './nope'):
            ctl('get', path, 'a', status=3, cwd=m.point)
        ctl('get', m.point, status=1)
        for path in ('/', '/tmp', '/nowhere/at/all', m.folder, '/proc/self'):
            assert 'not in a mount of bucketfs' in ctl('get', path, status=1).err, path
        ctl('delete', '-r', b + '/files', status=1)
        assert os.path.exists(b + '/files/sub/x')


def test_get():
    with Mount() as m:
        b = bucket(m)
        assert ctl('get', b).out == '{}\n'
        write(b + '/data.json', '{"n": 9007199254740993, "s": "a\\u00e9\\n", "o": {"x": [1, 2]}, "": 0}')
        assert ctl('get', b).out == read(b + '/data.json')
        assert ctl('get', b, 's', 'n').out == '"a\\u00e9\\n"\n9007199254740993\n'
        assert ctl('get', '-r', b, 's').out == 'aé\n\n'
        assert ctl('get', b, '').out == '0\n'
        assert json.loads(ctl('get', '--json', b, 'o', 'n').out) == {'o': {'x': [1, 2]}, 'n': 9007199254740993}
        r = ctl('get', b, 'n', 'nope', status=1)
        assert r.out == '' and 'nope' in r.err
        os.unlink(b + '/data.json')
        assert ctl('get', b).out == '{}\n'


def test_set():
    with Mount() as m:
        b = bucket(m)
        out = ctl('set', b, 'a=1.10', 's=hello world', 't=true', 'o={"x": [1, 2]}', 'e=', 'eq=x=y', '{"a2": 1e400, "b": -0}').out
        assert out == read(b + '/data.json')
        assert out == ('{\n  "a": 1.10,\n  "a2": 1e400,\n  "b": -0,\n  "e": "",\n  "eq": "x=y",\n  "o": {"x":[1,2]},\n'
                       '  "s": "hello world",\n  "t": true\n}\n')
        assert data(b)['t'] is True
        ctl('set', '--string', b, 't=true', 'a=1')
        assert data(b)['t'] == 'true' and data(b)['a'] == '1'
        # Secrets by file and standard input.
        write(m.folder + '/secret', 's3cr"et\n')
        assert json.loads(ctl('set', b, f'file=@{m.folder}/secret', 'in=@-', stdin='from stdin\n').out)['file'] == 's3cr"et'
        assert data(b)['in'] == 'from stdin'
        ctl('set', b, '-', stdin='{"k": 1}{"k": 2}')
        assert data(b)['k'] == 2
        before = read(b + '/data.json')
        for bad in ('{"k":', '[1]', 'novalue', '{"k":1}x', 'f=@/nowhere', '{bad'):
            ctl('set', b, 'first=1', bad, status=2 if bad in ('[1]', 'novalue') else 1)
        ctl('set', b, '-', stdin='{"k":', status=1)
        assert read(b + '/data.json') == before
        assert json.loads(ctl('set', '--replace', b, 'only=1').out) == data(b) == {'only': 1}
        assert ctl('set', '-q', b, 'x=1').out == ''


def test_refused_with_the_reason():
    with Mount('max_data_size=500') as m:
        b = bucket(m)
        r = ctl('set', b, 'a=' + 'x' * 600, status=1)
        assert data(b) == {}
        if has(b, 'errors'):
            reason = json.loads(read(b + '/.bucketfs/errors').splitlines()[-1])['reason']
            assert reason and reason in r.err, (reason, r.err)
            shown = ctl('why', b).out
            assert reason in shown and 'bucketctl' in shown, shown
            assert json.loads(ctl('why', '--json', b + '/data.json').out)[-1]['reason'] == reason
            assert ctl('why', '--json', b + '/files').out == '[]\n'


def test_set_is_atomic():
    """What it prints is what its own merge made: nobody prints a state without their own keys, or half of another's."""
    with Mount() as m:
        b = bucket(m)

        def work(i):
            for n in range(20):
                d = json.loads(ctl('set', b, f'a{i}={n}', f'b{i}={n}').out)
                assert d[f'a{i}'] == n and all(d[f'a{k}'] == d[f'b{k}'] for k in range(4) if f'a{k}' in d), d
        parallel(4, work)


def test_unset():
    with Mount() as m:
        b = bucket(m)
        write(b + '/data.json', '{"a": 1, "b": 1.10, "c": 3}')
        assert ctl('unset', b, 'a', 'c', 'nope').out == '{\n  "b": 1.10\n}\n' == read(b + '/data.json')
        write(b + '/data.json', json.dumps({f'k{i}': i for i in range(40)}))

        def work(i):
            for n in range(10):
                ctl('unset', b, f'k{i * 10 + n}')
                ctl('set', b, f'new{i}={n}')
        parallel(4, work)
        assert data(b) == {'b': 1.10, 'new0': 9, 'new1': 9, 'new2': 9, 'new3': 9}
        # Somebody else is faster, again and again.
        stop = m.folder + '/stop'

        def quarrel(i):
            n = 0
            while i and not os.path.exists(stop):
                n += 1
                write(b + '/data.json', '{"x": %d}' % n)
                time.sleep(0.0002)
            try:
                for n in range(0 if i else 50):
                    ctl('unset', b, 'x')
                    ctl('set', '--replace', b, 'y=1')
            finally:
                i or write(stop, '')
        parallel(2, quarrel)


def editor(m, text):
    path = m.folder + '/editor'
    write(path, '#!/bin/bash\n' + text)
    os.chmod(path, 0o755)
    return path


def test_edit():
    with Mount() as m:
        b = bucket(m)
        write(b + '/data.json', '{"a": 1, "gone": 2, "n": 9007199254740993}')
        # Others may change other keys meanwhile.
        e = editor(m, f'sed -i -e s/1,/5,/ -e /gone/d "$1"; echo \'{{"other": 1}}\' > {b}/data.json\n')
        assert json.loads(ctl('edit', '--json', b, EDITOR=e, TMPDIR=m.folder).out) == data(b)
        assert data(b) == {'a': 5, 'n': 9007199254740993, 'other': 1}
        # The same key: a conflict, shown.
        e = editor(m, f'sed -i s/5,/6,/ "$1"; echo \'{{"a": 7}}\' > {b}/data.json\n')
        r = ctl('edit', b, status=1, EDITOR=e, TMPDIR=m.folder)
        assert data(b)['a'] == 7 and all(x in r.err for x in ('"a"', '5', '6', '7')), r.err
        kept = [f for f in os.listdir(m.folder) if f.startswith('bucketctl-')]
        assert len(kept) == 1 and '"a": 6' in read(m.folder + '/' + kept[0])
        assert os.stat(m.folder + '/' + kept[0]).st_mode & 0o77 == 0
        before = read(b + '/data.json')
        ctl('edit', b, status=1, EDITOR=editor(m, 'echo "{bad" > "$1"'), TMPDIR=m.folder)
        ctl('edit', b, status=1, EDITOR=editor(m, 'echo "{}" > "$1"; exit 3'), TMPDIR=m.folder)
        ctl('edit', b, EDITOR=editor(m, 'true'))
        assert read(b + '/data.json') == before
        # With arguments.
        ctl('edit', b, EDITOR='sed -i s/7,/8,/')
        assert data(b)['a'] == 8
        if not has(b, 'meta.json'):
            return
        write(b + '/.bucketfs/schema.json', '{"properties": {"a": {"maximum": 10}}}')
        assert 'maximum 10' in ctl('edit', b, status=1, EDITOR='sed -i s/8,/80,/', TMPDIR=m.folder).err
        assert data(b)['a'] == 8


NAMES = ['a.csv', 'b.csv', 'report_1.pdf', 'report_x.txt', 'report_.log', '.hidden', '.h.csv', 'a_b.csv', 'ab', 'aab', 'b',
         'top.log', 'foo.c', 'bar.c', 'foo.h', '1', '01', '2', '10', 'a-b', '-x', 'sub/a.csv', 'sub/x.log', 'sub/deep/y.log',
         '.dot/z.log', 'sub/.z.log', 'sub2/a.csv', 'sub/deep/er/q.log']
PATTERNS = ['*', '*.csv', 'report_*.{pdf,txt}', '**/*.log', '**', 'sub/**', '**/deep/*', '[ab]*', '[!a]*', '[^a]*',
            '!(*.csv)', '!(a*|b*)', '@(a|b).csv', '+(a)b', '?(a)b', '*(a)b', '*.!(csv)', '{a,b}.csv', '{1..3}', '{01..10}',
            '{a..c}*', '{a}', '{}', 'a{,b}', '*/*.csv', '**/', '.*', '.*.csv', '**/.z.log', '.dot/*', '*/', 'foo.?', 'foo.[ch]',
            '{foo,bar}.c', '**/**/*.log', '!(sub)/*', '@(sub|sub2)/*.csv', '[[:digit:]]*', '\\*', '[]a]*', '[a', '!(!(*.csv))',
            '*(*.csv|*.log)', '!(.*)', '@(.h.csv|a.csv)', '?(.)hidden', '!(foo)*', '**.log', 'su**/x.log', '{sub,sub2}/**',
            '**/!(*.log)', '[a-c].csv', '{10..1}', '{1..10..3}', '\\{a\\}', '?.csv', '+(a|b)', '{a,b,c{1,2}}*', '{sub/,}a.csv',
            '!(*.csv|*.log|report*)', '@(.x|?)hidden', '+(.x|*)', '-*', 'nothing', '**/sub/*',
            '*(x).h*', '?(x|\\.)hidden', '@(a|.h)*', '**?[.]c', '*?[.]?']


def bash_glob(folder, pattern):
    out = subprocess.run(['bash', '-O', 'globstar', '-O', 'extglob', '-O', 'nullglob', '-c',
                          f'for f in {pattern}; do [ ! -f "$f" ] || printf "%s\\0" "$f"; done'], cwd=folder, check=True,
                         stdout=subprocess.PIPE, timeout=20, env={**os.environ, 'LC_ALL': 'C.UTF-8'}).stdout
    return sorted({os.path.normpath(x) for x in out.decode().split('\0') if x})


def test_patterns_as_bash_has_them():
    with Mount() as m:
        b = bucket(m)
        src = m.folder + '/src'
        extra = ['A.csv', 'a b.csv', 'é.csv', '日本', 'a*b', 'x{y}.csv', '[a]', 'n\nl'] + NAMES
        fill(src, extra)
        os.symlink('a.csv', src + '/link.csv')
        for p in PATTERNS + ['é*', '?.csv', 'x\\{y\\}.csv', 'a\\*b', '*[*]*', '??', '[[:upper:]]*']:
            r = subprocess.run([CTL, 'store', '-n', '--json', '-g', p, b, src], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env={**os.environ, 'LC_ALL': 'C.UTF-8'}, timeout=20)
            if r.returncode:
                assert b'would both be stored' in r.stderr, (p, r.stderr)
                continue
            got = [f['path'] for f in json.loads(r.stdout)['files']]
            assert got == bash_glob(src, p), (p, got, bash_glob(src, p))
        # A name that is no UTF-8.
        open(os.fsencode(m.folder) + b'/src/lat\xe9.xyz', 'w').close()
        assert len(ctl('store', '-n', '-g', '*.xyz', b, src).out.splitlines()) == 1
        ctl('store', '-n', '-g', '{1..99999999}', b, src, status=2)
        assert data(b) == {} and os.listdir(b + '/files') == []


def test_fetch():
    with Mount() as m:
        b, out = bucket(m), m.folder + '/out'
        fill(b + '/files', NAMES)
        write(b + '/data.json', '{"a": 1.10, "b": {"x": 1}}')
        write(m.folder + '/into.json', '{"a": 0, "mine": 1}')
        # What needs no control files.
        ctl('fetch', m / 'nope', '--data', m.folder + '/into.json', out, status=3)
        assert not os.path.exists(out) and read(m.folder + '/into.json') == '{"a": 0, "mine": 1}'
        ctl('fetch', b, '--sync', 'data', '--data', m.folder + '/into.json')
        assert read(m.folder + '/into.json') == '{\n  "a": 1.10,\n  "b": {"x":1},\n  "mine": 1\n}\n'
        assert ctl('fetch', b, '--sync', 'data', '--data', '-').out == read(b + '/data.json')
        for bad in (['--sync', 'x', out], ['--sync', 'data', out], [], ['--sync', 'files', '--data', 'x', out]):
            ctl('fetch', b, *bad, status=2)
        write(m.folder + '/bad.json', '[1]')
        ctl('fetch', b, '--data', m.folder + '/bad.json', out, status=1)
        assert not os.path.exists(out)
        if not has(b, 'info.json'):
            return
        for p in PATTERNS:
            with tempfile.TemporaryDirectory(dir=m.folder) as to:
                r = ctl('fetch', b, '--glob', p, to + '/x/y')
                assert r.out == '' and all('left out' in line or 'no file matches' in line for line in r.err.splitlines()), r.err
                want = bash_glob(b + '/files', p)
                assert sorted(tree(to + '/x/y')) == want, (p, want)
                assert all(read(f'{to}/x/y/{n}') == 'content of ' + n for n in want)
        os.mkdir(out)
        write(out + '/a.csv', 'old')
        write(out + '/kept', 'kept')
        r = json.loads(ctl('fetch', '--json', b, '--sync', 'data_and_files', '--data', m.folder + '/new.json', out).out)
        assert r['revision'] == json.loads(read(b + '/.bucketfs/info.json'))['bucket']['revision'] and r['data'] is True
        assert read(out + '/a.csv') == 'content of a.csv' and read(out + '/kept') == 'kept'
        assert json.loads(read(m.folder + '/new.json')) == data(b)
        assert not [n for n in os.listdir(out) if n.startswith('.bucketctl')]
        os.unlink(out + '/b.csv')
        os.mkdir(out + '/b.csv')
        write(out + '/a.csv', 'old')
        assert 'b.csv' in ctl('fetch', b, out, status=1).err
        assert read(out + '/a.csv') == 'old'
        # Holes and modes.
        with open(b + '/files/sparse', 'wb') as f:
            f.seek(50_000_000)
            f.write(b'x')
            os.fchmod(f.fileno(), 0o755)
        ctl('fetch', b, '--glob', 'sparse', m.folder + '/sparse')
        st = os.stat(m.folder + '/sparse/sparse')
        assert st.st_size == 50_000_001 and st.st_mode & 0o100 and st.st_blocks * 512 < 10_000_000
        assert read(m.folder + '/sparse/sparse', 'rb')[-1:] == b'x'


def test_fetch_is_one_revision():
    """Many files and a key always change together in one transaction, so a fetch must never see them differ."""
    with Mount() as m:
        b, src, names = bucket(m), m.folder + '/src', [f'f{i:03}' for i in range(150)]
        if not has(b, 'tx'):
            return
        stop = m.folder + '/stop'

        def version(n):
            os.makedirs(src, exist_ok=True)
            for name in names:
                write(f'{src}/{name}', f'{n:06}' * 10)
            ctl('store', b, '--data', '-', src, stdin=json.dumps({'n': n}))
        version(0)

        def work(i):
            if i == 0:
                try:
                    for n in range(1, 40):
                        version(n)
                        time.sleep(0.05)
                finally:
                    write(stop, '')
            else:
                while not os.path.exists(stop):
                    to = f'{m.folder}/out{i}'
                    r = subprocess.run([CTL, 'fetch', b, '--data', to + '.json', to], stderr=subprocess.PIPE)
                    if r.returncode:
                        assert b'kept changing' in r.stderr, r.stderr
                        continue
                    seen = {read(f'{to}/{x}') for x in names} | {'%06d' % json.loads(read(to + '.json'))['n'] * 10}
                    assert len(seen) == 1, seen
        parallel(3, work)


def test_fetch_gives_up_politely():
    with Mount() as m:
        b = bucket(m)
        if not has(b, 'info.json'):
            return
        write(b + '/files/busy', 'x' * 100)
        stop = m.folder + '/stop'
        pid = os.fork()
        if pid == 0:
            n = 0
            while not os.path.exists(stop):
                n += 1
                write(b + '/files/busy', 'y' * (n % 1000 + 1))
            os._exit(0)
        try:
            r = subprocess.run([CTL, 'fetch', b, m.folder + '/out'], stderr=subprocess.PIPE, timeout=60 * SLOW)
            assert r.returncode == 0 or b'kept changing' in r.stderr, r.stderr
            assert r.returncode != 0 or len(set(read(m.folder + '/out/busy'))) == 1
            assert not [n for n in os.listdir(m.folder + '/out') if n.startswith('.')]
        finally:
            write(stop, '')
            os.waitpid(pid, 0)


def test_store():
    with Mount('max_file_size=100000,max_files=40,max_total_size=300000,max_data_size=2000') as m:
        b, src = bucket(m), m.folder + '/src'
        fill(src, NAMES + ['My Report (Final).PDF'])
        os.mkfifo(src + '/fifo.csv')
        ctl('store', m / 'nope', src, status=3)
        ctl('store', b, m.folder + '/nowhere', status=1)
        write(m.folder + '/bad.json', '{"a":')
        ctl('store', b, '--data', m.folder + '/bad.json', src, status=1)
        write(src + '/clash', '1')
        write(src + '/CLASH', '2')
        assert 'would both be stored as clash' in ctl('store', b, '--glob', '[cC]*', src, status=1).err
        os.unlink(src + '/CLASH')
        assert os.listdir(b + '/files') == []
        if not has(b, 'tx'):
            return
        r = ctl('store', b, '--glob', '**', '--data', '-', src, stdin='{"n": 1.10}')
        assert 'left out' in r.err  # the FIFO
        want = {n: 'content of ' + n for n in NAMES if not n.startswith('.') and '/.' not in n}
        assert tree(b + '/files') == {**want, 'clash': '1', 'my_report_final_.pdf': 'content of My Report (Final).PDF'}
        assert os.getxattr(b + '/files/my_report_final_.pdf', 'user.bucketfs.name') == b'My Report (Final).PDF'
        assert read(b + '/data.json') == '{\n  "n": 1.10\n}\n'
        # All or nothing: limits that we know, and those that only the commit knows.
        before, listed = tree(b + '/files'), os.listdir(b + '/.bucketfs/tx')
        bad = m.folder + '/bad'
        fill(bad, ['a.csv', 'z'])
        write(bad + '/big', 'x' * 100001)
        assert 'max_file_size' in ctl('store', b, bad, status=1).err
        os.unlink(bad + '/big')
        assert 'max_data_size' in ctl('store', b, '--data', '-', bad, stdin=json.dumps({'x': 'y' * 3000}), status=1).err
        fill(bad, [f'many{i}' for i in range(40)])
        assert 'max_files' in ctl('store', b, bad, status=1).err
        for i in range(4):
            write(f'{bad}/many{i}', 'x' * 90000)
        assert 'max_total_size' in ctl('store', b, '--glob', 'many[0-3]', bad, status=1).err
        # We know it before anything is begun.
        assert 'max_total_size' in ctl('store', '-n', b, '--glob', 'many[0-3]', bad, status=1).err
        assert 'max_files' in ctl('store', '-n', b, bad, status=1).err
        ctl('limits', 'set', b, 'accepted_file_types=.csv')
        assert '.csv' in ctl('store', b, bad, status=1).err
        ctl('limits', 'set', b, 'accepted_file_types=inherit')
        write(b + '/.bucketfs/schema.json', '{"properties": {"n": {"maximum": 10}}}')
        r = ctl('store', b, '--glob', '{a.csv,z}', '--data', '-', bad, stdin='{"n": 70000}', status=1)
        assert 'maximum 10' in r.err, r.err
        assert tree(b + '/files') == before and data(b) == {'n': 1.10} and os.listdir(b + '/.bucketfs/tx') == listed
        # Rewriting counts the difference only.
        assert json.loads(ctl('store', '--json', b, '--glob', '{a.csv,z}', bad).out)['files'] == [
            {'path': 'a.csv', 'size': 16}, {'path': 'z', 'size': 12}]
        assert ctl('store', '--sync', 'data', '--data', '-', b, stdin='{"n": 2}').out == '' and data(b)['n'] == 2


def test_store_is_interrupted():
    with Mount() as m:
        b, src = bucket(m), m.folder + '/src'
        if not has(b, 'tx'):
            return
        fill(src, [f'f{i}' for i in range(2000)])
        p = subprocess.Popen([CTL, 'store', b, src], stderr=subprocess.PIPE)
        time.sleep(0.05)
        p.send_signal(signal.SIGTERM)
        err = p.communicate(timeout=60 * SLOW)[1]
        assert p.returncode == 0 or (p.returncode == 1 and b'interrupted' in err) or p.returncode == -signal.SIGTERM, (p.returncode, err)
        assert len(os.listdir(b + '/files')) in (0, 2000)
        if p.returncode != -signal.SIGTERM:
            assert os.listdir(b + '/.bucketfs/tx') == []


def test_progress_on_a_terminal():
    with Mount() as m:
        b = bucket(m)
        if not has(b, 'tx'):
            return
        fill(m.folder + '/src', ['a', 'b'])
        ours, theirs = pty.openpty()
        r = subprocess.run([CTL, 'store', b, m.folder + '/src'], stderr=theirs, stdout=subprocess.PIPE, timeout=60)
        os.close(theirs)
        assert r.returncode == 0 and b'store: 0 of 2 files' in os.read(ours, 10000)
        os.close(ours)


def wait_while(args, what, status=0):
    """Starts a wait, does `what` once it sleeps; how long it took from then."""
    p = subprocess.Popen([CTL, 'wait', *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(0.3 * SLOW)
    assert p.poll() is None, p.communicate()
    began = time.time()
    what()
    out, err = p.communicate(timeout=30 * SLOW)
    assert p.returncode == status, (args, p.returncode, out, err)
    return time.time() - began


def test_wait():
    with Mount() as m:
        b = bucket(m)
        f = b + '/files/'
        t = ['--timeout', '20']
        write(b + '/data.json', '{"there": 1}')
        ctl('wait', b, '--key', 'there')
        ctl('wait', b, '--key', 'there=1.0', '--timeout', '0')
        assert json.loads(ctl('wait', b, '--key', 'there', '--json').out) == {'key': 'there', 'value': 1}
        began = time.time()
        ctl('wait', b, '--key', 'there=2', '--timeout', '0.3', status=124)
        assert 0.25 < time.time() - began < 5 * SLOW
        ctl('wait', b, '--file', '*.csv', '--timeout', '0.1', status=124)
        ctl('wait', m / 'nope', '--timeout', '1', status=3)
        ctl('wait', b, '--timeout', 'x', status=2)
        quick = 2 * SLOW
        assert wait_while([b, '--key', 'build=4711', *t], lambda: write(b + '/data.json', '{"build": 4711}')) < quick
        assert wait_while([b, '--key', 'x', *t], lambda: os.setxattr(b + '/data.json', 'user.bucketfs.key.x', b'1')) < quick
        assert wait_while([b, '--key', 's=text', *t], lambda: ctl('set', b, 's=text')) < quick
        assert wait_while([b, '--file', '*.csv', *t], lambda: sh('cp /etc/passwd files/p.csv', b)) < quick
        assert wait_while([b, '--file', 'moved', *t], lambda: os.rename(f + 'p.csv', f + 'moved')) < quick

        def deep():
            os.makedirs(f + 'one/two')
            time.sleep(0.1)
            write(f + 'one/two/x.log', '')
        assert wait_while([b, '--file', '**/*.log', *t], deep) < quick

        # A file counts when it is listed, not when it is opened.
        def slow():
            with open(f + 'slow.txt', 'w') as h:
                h.write('x')
                h.flush()
                time.sleep(0.7)
        assert 0.65 < wait_while([b, '--file', 'slow.txt', *t], slow) < quick + 1
        assert wait_while([b, '--key', 'k', '--file', 'm', *t], lambda: (write(b + '/data.json', '{"k": 1}'), write(f + 'm', ''))) < quick
        assert wait_while([b, *t], lambda: write(b + '/data.json', '{"any": 1}')) < quick
        assert wait_while([b, '--key', 'never', *t], lambda: sh('rm -r nightly', m.point), status=3) < quick


def test_wait_does_not_poll():
    """While nothing happens it does not run: no context switches."""
    with Mount() as m:
        b = bucket(m)
        p = subprocess.Popen([CTL, 'wait', b, '--key', 'x', '--timeout', '30'])

        def switches():
            return [int(line.split()[1]) for line in read(f'/proc/{p.pid}/status').splitlines() if 'ctxt_switches' in line]
        time.sleep(0.5 * SLOW)
        before = switches()
        time.sleep(1.5)
        assert switches() == before
        write(b + '/data.json', '{"x": 1}')
        assert p.wait(timeout=10 * SLOW) == 0


def test_create_list_delete():
    with Mount() as m:
        assert ctl('create', m / 'nightly').out == 'nightly\n'
        assert ctl('create', 'second', cwd=m.point).out == 'second\n'
        assert ctl('create', 'third', cwd=m / 'nightly/files').out == 'third\n'
        made = ctl('create', '--in', m.point).out.strip()
        assert os.path.isdir(m / made) and made != ctl('create', cwd=m.point).out.strip()
        assert json.loads(ctl('create', '--json', '--in', m.point, 'fourth').out) == {'id': 'fourth', 'path': m / 'fourth'}
        assert 'already' in ctl('create', m / 'nightly', status=1).err
        for bad in ('Bad', 'a-b', 'ä', 'a.b'):
            ctl('create', m / bad, status=1)
        ctl('create', m / 'nightly/files/x', status=1)
        ctl('create', '/tmp/x', status=1)
        denied = OTHER(lambda: ctl('create', m / 'denied', status=1).err)
        assert not has(m.point, 'errors') or 'to create a bucket' in denied, denied
        ids = [x['id'] for x in json.loads(ctl('list', '--json', m.point).out)]
        assert ids == sorted(os.listdir(m.point)) and len(ids) == 6
        assert [line.split()[0] for line in ctl('list', cwd=m / 'nightly').out.splitlines()] == ids
        ctl('delete', m / 'second')
        write(m / 'nightly/files/x', '')
        os.makedirs(m / 'nightly/files/d/e')
        write(m / 'nightly/data.json', '{"a": 1}')
        assert '-r' in ctl('delete', m / 'nightly', status=1).err
        ctl('delete', '-r', m / 'nightly')
        assert not os.path.exists(m / 'nightly')
        ctl('delete', m / 'nightly', status=3)


def test_transfers_say_what_they_leave_out():
    with Mount() as m:
        b, src, out = bucket(m), m.folder + '/src', m.folder + '/out'
        os.makedirs(src + '/sub')
        os.makedirs(src + '/.hidden')
        fill(src, ['a.csv', 'b.txt', '.env', 'sub/c', '.hidden/d'])
        err = ctl('store', b, src).err
        assert '1 sub-folder is left out' in err and '2 names begin with a dot' in err
        assert sorted(os.listdir(b + '/files')) == ['a.csv', 'b.txt']
        for pattern, words in (('*.zip', 'no file matches'), ('*', 'left out'), ('**', 'dot')):
            assert words in ctl('store', '--strict', '-g', pattern, b, src, status=1).err
            assert sorted(os.listdir(b + '/files')) == ['a.csv', 'b.txt']
        assert ctl('store', '-g', '{**,**/.*,.*/**}', b, src).err == ''
        err = ctl('fetch', b, out).err
        assert 'sub-folder is left out' in err and 'begin' in err
        assert sorted(os.listdir(out)) == ['a.csv', 'b.txt']
        assert 'no file matches *.zip' in ctl('fetch', b, out, '-g', '*.zip').err
        ctl('fetch', '--strict', b, out + '2', status=1)
        assert not os.path.exists(out + '2')
        ctl('fetch', '--strict', b, out + '2', '-g', '{**,**/.*,.*/**}')
        assert sorted(tree(out + '2')) == ['.env', '.hidden/d', 'a.csv', 'b.txt', 'sub/c']


def test_patterns_of_schedulers():
    """Where bash has no meaning for it, as the schedulers' library has it."""
    with Mount() as m:
        b = bucket(m)
        fill(b + '/files', ['a.csv', 'b.csv', 'a.txt', 'sub/x.csv', '.env'])
        for pattern, want in (('!*.csv', ['.env', 'a.txt', 'sub/x.csv']), ('(a|b).csv', ['a.csv', 'b.csv']), ('a.csv|*.txt', ['a.csv', 'a.txt']),
                              ('', ['a.csv', 'a.txt', 'b.csv']), ('!(a*)', ['b.csv']), ('!!*.txt', ['a.txt']), ('sub/(x|y).csv', ['sub/x.csv']),
                              ('[(|)]*', []), ('@(a|b).txt', ['a.txt']), ('\\(a\\|b\\)', []), ('{a,b}.csv|.env', ['.env', 'a.csv', 'b.csv'])):
            got = sorted(ctl('fetch', '-n', '-g', pattern, b, m.folder + '/x').out.split())
            assert got == want, (pattern, got)


def test_links_are_transferred_as_links():
    with Mount() as m:
        b, src, out = bucket(m), m.folder + '/src', m.folder + '/out'
        secret = m.folder + '/secret'
        write(secret, 'secret')
        os.makedirs(src + '/sub')
        write(src + '/file', 'file')
        os.symlink('file', src + '/link')
        os.symlink(secret, src + '/outside')
        os.symlink('/etc', src + '/folder')
        os.symlink('../file', src + '/sub/up')
        ctl('store', '-g', '**', b, src)
        assert os.readlink(b + '/files/outside') == secret and os.readlink(b + '/files/folder') == '/etc'
        ctl('fetch', '-g', '**', b, out)
        assert sorted(os.listdir(out)) == ['file', 'folder', 'link', 'outside', 'sub']
        assert os.readlink(out + '/link') == 'file' and os.readlink(out + '/sub/up') == '../file'
        # Again, over what is there; and what a link stands in the way of is not written through it.
        ctl('fetch', '-g', '**', b, out)
        os.unlink(b + '/files/folder')
        fill(b + '/files', ['folder/passwd'])
        assert 'symbolic link' in ctl('fetch', '-g', '**', b, out, status=1).err
        assert os.readlink(out + '/folder') == '/etc' and 'content of' not in read('/etc/passwd')
        # Contents, for those that want them.
        ctl('store', '-L', '-g', 'outside', b, src)
        assert not os.path.islink(b + '/files/outside') and read(b + '/files/outside') == 'secret'


def test_cp_and_rm():
    with Mount() as m:
        b, out = bucket(m), m.folder + '/out'
        os.mkdir(out)
        fill(m.folder, ['One.txt', 'two.csv'])
        ctl('cp', m.folder + '/One.txt', m.folder + '/two.csv', b)
        assert sorted(os.listdir(b + '/files')) == ['one.txt', 'two.csv']
        ctl('cp', m.folder + '/One.txt', b + '/files/deep/er/renamed')
        ctl('cp', m.folder + '/One.txt', b + '/files/deep/')
        assert read(b + '/files/deep/er/renamed') == 'content of One.txt' == read(b + '/files/deep/one.txt')
        # All or none.
        ctl('cp', m.folder + '/two.csv', m.folder + '/none', b + '/files/deep/', status=1)
        ctl('cp', m.folder, b, status=1)
        assert sorted(os.listdir(b + '/files/deep')) == ['er', 'one.txt']
        os.setxattr(b, 'user.bucketfs.max_file_size', b'5')
        ctl('cp', m.folder + '/One.txt', b, status=1)
        os.removexattr(b, 'user.bucketfs.max_file_size')
        ctl('cp', b + '/files/one.txt', b + '/files/two.csv', out)
        ctl('cp', b + '/files/one.txt', out + '/other')
        assert tree(out) == {'one.txt': 'content of One.txt', 'other': 'content of One.txt', 'two.csv': 'content of two.csv'}
        ctl('cp', m.folder + '/One.txt', out, status=1)
        assert 'no such file' in ctl('rm', b, 'ONE.TXT', 'none', 'files/two.csv', status=1).err
        assert os.listdir(b + '/files') == ['deep']
        assert '-r' in ctl('rm', b, 'deep', status=1).err
        for bad in ('..', '../data.json', '/etc/passwd', '', 'deep/..', '.'):
            ctl('rm', '-r', b, bad, status=1)
        ctl('rm', '-rf', b, 'deep', 'none')
        assert os.listdir(b + '/files') == [] and data(b) == {}


def test_what_is_no_value():
    with Mount() as m:
        b = bucket(m)
        for bad in ('k={"a":', 'k=[1', 'k="x', 'k={a: 1}'):
            assert '--string' in ctl('set', b, bad, status=1).err
        ctl('set', b, '=1', status=2)
        assert data(b) == {}
        ctl('set', '-s', b, 'k={"a":')
        ctl('set', b, 'n=1.2.3', 't=plain text', '{"": 1}')
        assert data(b) == {'k': '{"a":', 'n': '1.2.3', 't': 'plain text', '': 1}


def test_no_document():
    """One that was removed reads as {}."""
    with Mount() as m:
        b = bucket(m)
        for command in (('get', b), ('unset', b, 'k'), ('empty', b), ('set', b, '{}'), ('fetch', '--sync', 'data', '--data', '-', b)):
            write(b + '/data.json', '{"a": 1}')
            os.unlink(b + '/data.json')
            out = ctl(*command).out
            assert not out or json.loads(out) == {}, (command, out)
        os.unlink(b + '/data.json') if os.path.exists(b + '/data.json') else None
        shown = m.folder + '/shown'
        ctl('edit', b, EDITOR=f'sh -c \'cp "$1" {shown}; echo "{{\\"b\\": 2}}" > "$1"\' --')
        assert json.loads(read(shown)) == {} and data(b) == {'b': 2}
        os.unlink(b + '/data.json')
        ctl('get', b, 'k', status=1)
        assert json.loads(ctl('info', '--json', b).out)['data'] == {}


def test_json_for_what_fails():
    with Mount() as m:
        b = bucket(m)
        for args, status in ((('set', '--json', b, 'k=[1'), 1), (('get', '--json', m / 'none'), 3), (('get', '--json', b, 'k'), 1),
                             (('set', '--json', b), 2), (('limits', 'set', b, 'none=1', '--json'), 2)):
            lines = ctl(*args, status=status).err.splitlines()
            told = [json.loads(line) for line in lines]
            assert told and all(x['command'] == args[0] and x['error'] for x in told), lines
        os.setxattr(b, 'user.bucketfs.max_data_size', b'10')
        told = json.loads(ctl('set', '--json', b, 'k=12345678901234567890', status=1).err)
        assert told['errno'] == 'EFBIG' and 'max_data_size' in told['error']
        assert 'BUCKETFS_JOB' in ctl('get', m / '@job', status=3).err


def test_lists_and_limits_tell_what_there_is():
    with Mount() as m:
        ctl('create', m / 'nightly', '--data', '{"a": 1}', '--title', 'T')
        ctl('create', m / 'second', '--data', '-', stdin='{"b": 2}')
        write(m.folder + '/third.json', '{"c": 3}')
        ctl('create', m / 'third', '--data', '@' + m.folder + '/third.json')
        assert [data(m / n) for n in ('nightly', 'second', 'third')] == [{'a': 1}, {'b': 2}, {'c': 3}]
        for bad in ('{"a":', '[1]', 'x', '@/nowhere'):
            ctl('create', m / 'bad', '--data', bad, status=2 if bad in ('[1]', 'x') else 1)
        assert not os.path.exists(m / 'bad')
        write(m / 'nightly/files/x', 'x' * 1000)
        row = json.loads(ctl('list', '--json', m.point).out)[0]
        assert (row['owner'], row['keys'], row['files'], row['file_bytes'], row['title']) == ('root', 1, 1, 1000, 'T')
        assert row['revision'] > 0 and row['created'] <= row['modified'][:19] + '.999Z'
        line = ctl('list', '-l', m.point).out.splitlines()[1].split()
        assert line[:2] == ['nightly', 'root'] and line[3:5] == ['1', '1']
        shown = json.loads(ctl('limits', 'show', '--json', m / 'nightly').out)
        assert shown['max_files']['used'] == 1 and shown['max_total_size']['used'] == 1000 and 'used' not in shown['max_file_size']
        assert 'used 1000' in ctl('limits', 'show', m / 'nightly').out
        # To whoever may not read it nothing is told.
        os.setxattr(m / 'nightly', 'user.bucketfs.acl.read', b'')
        row = OTHER(lambda: json.loads(ctl('list', '--json', m.point).out))[0]
        assert 'owner' not in row and 'files' not in row


def test_empty():
    with Mount() as m:
        b = bucket(m)

        def again():
            os.makedirs(b + '/files/d/e', exist_ok=True)
            fill(b + '/files', ['a', 'd/b', 'd/e/c'])
            write(b + '/data.json', '{"a": 1}')
        again()
        ctl('empty', '--data', b)
        assert data(b) == {} and os.path.exists(b + '/files/d/e/c')
        again()
        ctl('empty', '--files', b)
        assert data(b) == {'a': 1} and os.listdir(b + '/files') == []
        again()
        ctl('empty', b)
        assert data(b) == {} and os.listdir(b + '/files') == []


def test_info_and_update():
    with Mount() as m:
        b = bucket(m)
        if not has(b, 'meta.json') or not has(b, 'info.json'):
            return
        write(b + '/data.json', '{"lone": "\\ud800", "n": 9007199254740993}')
        fill(b + '/files', ['a', 'd/b'])
        assert ctl('info', '--json', b).out == read(b + '/.bucketfs/info.json')
        out = ctl('info', cwd=b + '/files').out
        assert 'd/b' in out and '2 keys' in out and 'nightly' in out
        ctl('update', b, status=2)
        ctl('update', b, '--enable', '--disable', status=2)
        meta = json.loads(ctl('update', '--json', b, '--title', 'Nächtlich "x"', '--notes', 'n\n2').out)
        assert meta['title'] == 'Nächtlich "x"' and meta['notes'] == 'n\n2' == json.loads(read(b + '/.bucketfs/meta.json'))['notes']
        assert 'Nächtlich' in ctl('list', m.point).out
        ctl('update', b, '--disable')
        fails(errno.EROFS, write, b + '/data.json', '{"a": 1}')
        assert 'disabled' in ctl('set', b, 'a=1', status=1).err
        ctl('update', b, '--enable')
        ctl('set', b, 'a=1')
        assert ctl('create', '--title', 'T', m / 'titled').out == 'titled\n'
        assert json.loads(read(m / 'titled/.bucketfs/meta.json'))['title'] == 'T'


def test_acl():
    with Mount() as m:
        b = bucket(m)
        acl = 'user.bucketfs.acl.'
        fails(errno.EACCES, OTHER, write, b + '/data.json', '{"a": 1}')
        ctl('acl', 'grant', b, 'edit', f'user:{OTHER.uid}', 'user:daemon')
        OTHER(write, b + '/data.json', '{"a": 1}')
        ctl('acl', 'grant', b, 'edit', 'user:1', 'owner')  # daemon is 1
        assert os.getxattr(b, acl + 'edit').decode() == f'user:{OTHER.uid},user:daemon,owner'
        ctl('acl', 'revoke', b, 'edit', f'user:{OTHER.uid}')
        fails(errno.EACCES, OTHER, write, b + '/data.json', '{"a": 2}')
        shown = json.loads(ctl('acl', 'show', '--json', b).out)
        assert shown['edit'] == {'list': 'user:daemon,owner', 'inherited': False}
        assert shown['read'] == {'list': '*', 'inherited': True} and 'admin' in shown['access']
        assert 'user:daemon' in ctl('acl', 'show', cwd=b).out
        # Granting on top of what is inherited keeps that.
        ctl('acl', 'grant', m.point, 'delete', 'user:daemon')
        ctl('acl', 'grant', b, 'delete', 'user:bin')
        assert os.getxattr(b, acl + 'delete') == b'user:daemon,user:bin'
        assert 'everybody' in ctl('acl', 'revoke', b, 'read', 'user:bin').err
        ctl('acl', 'revoke', b, 'read', '*')
        fails(errno.EACCES, OTHER, read, b + '/data.json')
        ctl('acl', 'inherit', b, 'read')
        OTHER(read, b + '/data.json')
        ctl('acl', 'grant', m.point, 'create', '*')
        assert json.loads(ctl('acl', 'show', '--json', m.point).out)['create']['list'] == '*'
        for bad in (['grant', b, 'fly', '*'], ['grant', b, 'edit'], ['nonsense', b], []):
            ctl('acl', *bad, status=2)
        ctl('acl', 'grant', b, 'edit', 'user:nobody_at_all', status=1)
        ctl('acl', 'grant', m / 'nope', 'edit', '*', status=3)


def test_drop_box():
    """Edit without read: set and store do their work blindly."""
    with Mount() as m:
        b, src = bucket(m), m.folder + '/src'
        fill(src, ['x.csv'])
        ctl('acl', 'revoke', b, 'read', '*')
        ctl('acl', 'grant', b, 'edit', f'user:{OTHER.uid}')
        assert OTHER(lambda: ctl('set', b, 'a=1').out) == ''
        assert data(b) == {'a': 1}
        assert 'read' in OTHER(lambda: ctl('get', b, status=1).err)
        OTHER(lambda: ctl('fetch', b, '/tmp/bucketctl-nowhere', status=1).err)
        assert not os.path.exists('/tmp/bucketctl-nowhere')
        if has(b, 'tx'):
            OTHER(lambda: ctl('store', b, src).out)
            assert tree(b + '/files') == {'x.csv': 'content of x.csv'}


def test_limits():
    with Mount('max_files=50') as m:
        b = bucket(m)
        ctl('limits', 'set', b, 'nonsense=1', status=2)
        ctl('limits', 'set', b, 'max_files', status=2)
        ctl('limits', 'set', b, 'max_files=abc', status=1)
        if not has(b, 'info.json'):
            return
        ctl('limits', 'set', b, 'max_data_size=2k', 'accepted_file_types=.csv,.pdf')
        shown = json.loads(ctl('limits', 'show', '--json', b).out)
        assert shown['max_data_size'] == {'value': 2048, 'from': 'bucket', 'used': 3}
        assert shown['accepted_file_types'] == {'value': '.csv,.pdf', 'from': 'bucket'}
        if os.path.exists(m / '.bucketfs/config.json') and 'limits' in json.loads(read(m / '.bucketfs/config.json')):
            assert shown['max_files'] == {'value': 50, 'from': 'mount', 'used': 0}, shown
        assert '2048' in ctl('limits', 'show', b).out
        fails(errno.EFBIG, write, b + '/data.json', json.dumps({'a': 'x' * 3000}))
        fails(errno.EPERM, write, b + '/files/x.txt', '')
        ctl('limits', 'set', b, 'max_data_size=inherit', 'accepted_file_types=inherit')
        write(b + '/data.json', json.dumps({'a': 'x' * 3000}))
        write(b + '/files/x.txt', '')


def test_schema():
    with Mount() as m:
        b, good, bad = bucket(m), m.folder + '/good.json', m.folder + '/bad.json'
        write(good, '{"properties": {"port": {"maximum": 65535}}}')
        write(bad, '{"type": "nonsense"}')
        write(b + '/data.json', '{"port": 80}')
        ctl('schema', 'check', good)
        assert '/type' in ctl('schema', 'check', bad, status=1).err
        ctl('schema', 'check', b, good)
        write(m.folder + '/tight.json', '{"properties": {"port": {"maximum": 79}}}')
        assert 'maximum 79' in ctl('schema', 'check', b, m.folder + '/tight.json', status=1).err
        assert 'maximum 65535' in ctl('schema', 'check', b, good, '--data', '-', stdin='{"port": 70000}', status=1).err
        if not has(b, 'meta.json'):
            return
        ctl('schema', 'show', b, status=1)
        ctl('schema', 'check', b, status=1)
        ctl('schema', 'set', b, good)
        assert json.loads(ctl('schema', 'show', b).out) == json.loads(read(good))
        ctl('schema', 'check', b)
        assert 'maximum 65535' in ctl('set', b, 'port=70000', status=1).err
        for s in (bad, m.folder + '/tight.json'):
            ctl('schema', 'set', b, s, status=1)
        assert json.loads(ctl('schema', 'show', b).out) == json.loads(read(good))
        ctl('schema', 'remove', b)
        ctl('schema', 'remove', b)
        ctl('set', b, 'port=70000')

# Sequences that make a terminal do something, or show text in another order than it has.
HOSTILE = 'a\x1b[31m\x07\x08\r\x7f\x9b31m\u061c\u200e\u202e\u2028\u2066\nz'
SHOWN = r'a\u001b[31m\u0007\u0008\u000d\u007f\u009b31m\u061c\u200e\u202e\u2028\u2066\nz'
RAW = b'b\x1b]0;t\x07\x9b31m\xff\xc3'  # and bytes that are no UTF-8
RAW_SHOWN = r'b\u001b]0;t\u0007\x9b31m\xff\xc3'


def clean(out):
    """The output, in which nothing may be that commands a terminal."""
    text = out.decode()  # strictly
    found = re.search('[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]', text)
    assert not found, repr(text)
    return text


def piped(*args, status=0, **kw):
    """Output and messages of a bucketctl that writes into pipes, as bytes."""
    r = subprocess.run([CTL, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                       timeout=60 * SLOW, **kw)
    assert r.returncode == status, (args, r)
    return r.stdout, r.stderr


def on_terminal(*args, status=0, **kw):
    """All that a bucketctl writes to its terminal, less the sequence by which it takes its own line of progress away. The
    terminal adds nothing: no carriage return before a line break."""
    ours, theirs = pty.openpty()
    mode = termios.tcgetattr(theirs)
    mode[1] &= ~termios.OPOST
    termios.tcsetattr(theirs, termios.TCSANOW, mode)
    got = []

    def collect():
        try:
            while part := os.read(ours, 65536):
                got.append(part)
        except OSError:  # EIO: nobody has the other end any more
            pass
    reader = threading.Thread(target=collect)
    reader.start()
    try:
        r = subprocess.run([CTL, *args], stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL,
                           timeout=60 * SLOW, **kw)
    finally:
        os.close(theirs)
        reader.join()
        os.close(ours)
    assert r.returncode == status, (args, r, got)
    return b''.join(got).replace(b'\r\x1b[K', b'')


def test_messages_escape_the_command_line():
    with Mount() as m:
        b = bucket(m)
        for args, status in (
                ([HOSTILE], 2),
                (['get', '--' + HOSTILE], 2),
                (['get', m.point + '/' + HOSTILE], 3),
                (['get', m.folder + '/' + HOSTILE], 1),
                (['get', b, HOSTILE], 1),
                (['list', '/tmp/' + HOSTILE], 1),
                (['list', m.point + '/' + HOSTILE], 3),
                (['why', m.point + '/' + HOSTILE], 3),
                (['cp', m.log, m.point + '/' + HOSTILE], 3),
                (['cp', m.point + '/' + HOSTILE, m.folder], 3),
                (['cp', m.folder + '/' + HOSTILE, m.folder], 1),
                (['list', m.point, HOSTILE], 2),
                (['set', b, HOSTILE], 2),
                (['set', b, 'k=@/' + HOSTILE], 1),
                (['fetch', b, '--sync', HOSTILE, m.folder], 2),
                (['fetch', b, m.log + '/' + HOSTILE], 1),
                (['store', b, m.folder + '/' + HOSTILE], 1),
                (['store', b, m.folder, '--glob', HOSTILE + '{1..99999}'], 2),
                (['wait', b, '--timeout', HOSTILE], 2),
                (['wait', m.point + '/' + HOSTILE], 3),
                (['create', '--in', m.point, HOSTILE], 1),
                (['create', m.point + '/' + HOSTILE], 1),
                (['update', m.point + '/' + HOSTILE], 3),
                (['delete', b + '/' + HOSTILE], 1),
                (['empty', b + '/' + HOSTILE], 1),
                (['acl', HOSTILE], 2),
                (['acl', 'grant', b, HOSTILE, '*'], 2),
                (['acl', 'grant', b, 'edit', 'user:' + HOSTILE], 1),
                (['limits', HOSTILE], 2),
                (['limits', 'set', b, HOSTILE], 2),
                (['limits', 'set', b, HOSTILE + '=1'], 2),
                (['schema', HOSTILE], 2),
                (['schema', 'set', b, HOSTILE], 1),
                (['why', '/' + HOSTILE], 1),
                (['check', '/' + HOSTILE], 8),
                (['check', '--' + HOSTILE, '/'], 16)):
            said = clean(piped(*args, status=status)[1])
            assert SHOWN in said, (args, said)
            assert clean(on_terminal(*args, status=status)) == said, args
        for args in (['set', b, '{"a": \x1b[31m'], ['set', b, '{"a": \x9b31m'], ['set', b, '{"\x1b[31m": 1}']):
            clean(piped(*args, status=1)[1])
        for args, status in (
                ([RAW], 2),
                ([b'get', b'--' + RAW], 2),
                ([b'get', b'/' + RAW], 1),
                ([b'set', b.encode(), RAW], 2),
                ([b'store', b.encode(), b'/' + RAW], 1),
                ([b'acl', RAW], 2),
                ([b'check', b'/' + RAW], 8)):
            said = clean(piped(*args, status=status)[1])
            assert RAW_SHOWN in said, (args, said)
        assert r'-\x9b' in clean(piped(b'get', b'-\x9b', status=2)[1])


def test_tables_escape_names_and_titles():
    with Mount() as m:
        b = bucket(m)
        if not has(b, 'meta.json') or not has(b, 'info.json'):
            return
        fields = {'title': 't' + HOSTILE, 'icon': 'i' + HOSTILE, 'notes': 'n' + HOSTILE}
        write(b + '/.bucketfs/meta.json', json.dumps(fields))
        meta = json.loads(read(b + '/.bucketfs/meta.json'))
        for run in (lambda *a: piped(*a)[0], on_terminal):
            assert all(x + SHOWN in clean(run('info', b)) for x in 'tin')
            assert 't' + SHOWN in clean(run('list', m.point))
        # Programs get what is there; on a terminal it is the same JSON in other words.
        assert json.loads(piped('list', '--json', m.point)[0])[0]['title'] == meta['title']
        assert piped('info', '--json', b)[0] == read(b + '/.bucketfs/info.json', 'rb')
        assert piped('update', '--json', '--icon', 'i', b)[0] == read(b + '/.bucketfs/meta.json', 'rb')
        for args in (('list', '--json', m.point), ('info', '--json', b), ('update', '--json', '--icon', 'i', b)):
            plain = json.loads(piped(*args)[0])
            assert json.loads(clean(on_terminal(*args))) == plain, args


def test_values_are_escaped_on_a_terminal_only():
    with Mount() as m:
        b = bucket(m)
        keys = {'k' + HOSTILE: 'v' + HOSTILE, 'nul': 'x\0y', 'lines': 'one\n\ttwo\nthree\r\n'}
        write(b + '/data.json', json.dumps(keys, ensure_ascii=False))
        text = read(b + '/data.json', 'rb')
        assert b'\x7f' in text and '\u202e'.encode() in text
        for args in (['get', b], ['get', '--json', b, *keys], ['set', b, '{}'], ['unset', b, 'none'],
                     ['fetch', b, '--sync', 'data', '--data', '-'], ['edit', '--json', b]):
            assert piped(*args, env={**os.environ, 'EDITOR': 'true'})[0] == text, args
            shown = clean(on_terminal(*args, env={**os.environ, 'EDITOR': 'true'}))
            assert json.loads(shown) == keys and r'\u007f\u009b31m\u061c\u200e\u202e\u2028\u2066\nz' in shown, shown
        name = 'k' + HOSTILE
        assert piped('get', '-r', b, name)[0] == ('v' + HOSTILE + '\n').encode()
        # Line breaks of a value are its own.
        assert clean(on_terminal('get', '-r', b, name)) == 'v' + SHOWN.replace(r'\n', '\n') + '\n'
        assert piped('get', '-r', b, 'nul')[0] == b'x\0y\n'
        assert clean(on_terminal('get', '-r', b, 'nul')) == 'x\\u0000y\n'
        assert clean(on_terminal('get', '-r', b, 'lines')) == 'one\n\ttwo\nthree\\u000d\n\n'
        assert json.loads(clean(on_terminal('get', b, name))) == 'v' + HOSTILE
        assert json.loads(clean(on_terminal('wait', '--json', b, '--key', name)))['key'] == name
        # A conflict shows keys and values.
        write(m.folder + '/editor.py', f'''import json, sys
mine = {{k: v + "mine\\x9b" for k, v in json.load(open(sys.argv[1])).items()}}
json.dump(mine, open(sys.argv[1], "w"), ensure_ascii=False)
theirs = {{k: v + "\\u202etheirs" + "ü" * 200 for k, v in mine.items()}}
json.dump(theirs, open("{b}/data.json", "w"), ensure_ascii=False)
''')
        env = {**os.environ, 'EDITOR': f'/usr/bin/python3 {m.folder}/editor.py', 'TMPDIR': m.folder}
        said = clean(piped('edit', b, status=1, env=env)[1])
        assert 'theirs' in said and 'mine\\u009b' in said and '\\u202etheirs' in said, said
        assert '\\xc3' not in said, said  # a long value is cut between two characters


def test_names_of_files_are_escaped():
    with Mount() as m:
        b = bucket(m)
        if not has(b, 'tx'):
            return
        source = m.folder.encode() + b'/s\x1b[1m'
        os.mkdir(source)
        names = [HOSTILE.encode(), RAW]
        for n in names:
            write(source + b'/' + n, n)
        out, said = piped('store', '--dry-run', b, source)
        assert out == b''.join(n + b'\n' for n in sorted(names)) and not said
        assert clean(on_terminal('store', '--dry-run', b, source)) == f'{SHOWN}\n{RAW_SHOWN}\n'
        listed = json.loads(clean(on_terminal('store', '--dry-run', '--json', '--glob', 'a*', b, source)))
        assert listed['files'][0]['path'] == HOSTILE
        same = source + b'/' + HOSTILE.encode().replace(b'\x07', b'\x06')
        write(same, '')
        said = clean(piped('store', b, source, status=1)[1])
        assert 'would both be stored as' in said and SHOWN in said, said
        os.unlink(same)
        ctl('limits', 'set', b, 'accepted_file_types=.csv')
        assert RAW_SHOWN in clean(piped('store', '--glob', 'b*', b, source, status=1)[1])
        ctl('limits', 'set', b, 'accepted_file_types=inherit')
        clean(on_terminal('store', b, source))
        # The folder that is fetched to.
        into = m.folder.encode() + b'/i\x1b[1m'
        os.makedirs(into + b'/' + os.listdir(b + '/files')[0].encode())
        assert r'i\u001b[1m/' in clean(piped('fetch', b, into, status=1)[1])


def test_schema_messages_are_escaped():
    with Mount() as m:
        b = bucket(m)
        if not has(b, 'meta.json'):
            return
        schema = m.folder + '/schema\x1b[1m.json'
        rules = {'properties': {HOSTILE: {'const': 'w' + HOSTILE}}, 'additionalProperties': False}
        write(schema, json.dumps(rules))
        write(m.folder + '/bad.json', json.dumps({'properties': {HOSTILE: {'type': HOSTILE}}}))
        write(m.folder + '/data.json', json.dumps({HOSTILE: 1}))
        assert r'\u001b[31m' in clean(piped('schema', 'set', b, m.folder + '/bad.json', status=1)[1])
        assert r'schema\u001b[1m.json' in clean(piped('schema', 'check', b, schema, '--data', schema, status=1)[1])
        said = clean(piped('schema', 'check', b, schema, '--data', m.folder + '/data.json', status=1)[1])
        assert r'\u001b[31m' in said, said
        ctl('schema', 'set', b, schema)
        assert piped('schema', 'show', b)[0] == read(b + '/.bucketfs/schema.json', 'rb')
        assert json.loads(clean(on_terminal('schema', 'show', b))) == json.loads(read(schema))
        # The mount gives the reason, and keeps it.
        said = clean(piped('set', b, json.dumps({HOSTILE: 1}), status=1)[1])
        assert r'\u001b[31m' in said, said
        for run in (lambda *a: piped(*a)[0], on_terminal):
            assert r'\u001b[31m' in clean(run('why', b))


def test_why_escapes_commands():
    with Mount() as m:
        b = bucket(m)
        if not has(b, 'errors'):
            return
        os.chmod(m.folder, 0o755)
        for name in (b'\x1b[31mx\x9b', '\x9b2J\u202e'.encode()):
            program = m.folder.encode() + b'/' + name
            shutil.copy('/bin/mkdir', program)
            # By somebody else, who may not.
            OTHER(lambda: subprocess.run([program, b + '/files/d'], stderr=subprocess.DEVNULL, timeout=60))
        for run in (lambda *a: piped(*a)[0], on_terminal):
            shown = clean(run('why', b))
            assert r'\u001b[31mx' in shown and r'\u009b2J\u202e' in shown, shown
        commands = [x['command'] for x in json.loads(piped('why', '--json', b)[0])]
        assert commands[0].startswith('\x1b[31mx') and commands[1] == '\x9b2J\u202e', commands
        assert [x['command'] for x in json.loads(clean(on_terminal('why', '--json', b)))] == commands


def test_control_files_need_not_be_utf8():
    """Older daemons wrote names of jobs and commands as they were; a title may have half a surrogate pair."""
    with Mount() as m:
        b = bucket(m)
        if not has(b, 'meta.json') or not has(b, 'info.json') or not has(b, 'errors'):
            return
        write(b + '/.bucketfs/meta.json', r'{"title": "lone \ud800, \\ud800, \ud83d\ude00", "notes": "n"}')
        for args in (['info', b], ['list', m.point]):
            assert 'lone \ufffd, \\ud800, \U0001f600' in clean(piped(*args)[0]), args
        write(b + '/data.json', '{"lone": "\\ud800"}')
        write(b + '/files/a', 'text')
        fakes = {
            'info.json': read(b + '/.bucketfs/info.json', 'rb').replace(b'"n"', b'"job \xff\x9b31m\xe2\x82 \x7f"'),
            'meta.json': b'{"title": "t\x9b31m\xff", "enabled": true}',
            'errors': b'{"time": "t\xff\x9b", "uid": 1, "pid": 1, "command": "c\xff\x9b\x7f\\u001b", '
                      b'"path": "nightly", "errno": "E\x9b", "reason": "r\xff\\u009b"}\n',
        }
        mounted = []
        try:
            for name, text in fakes.items():
                write(m.folder + '/' + name, text)
                path = f'{b}/.bucketfs/{name}'
                subprocess.run(['mount', '--bind', m.folder + '/' + name, path], check=True, timeout=30)
                mounted.append(path)
            shown = clean(piped('info', b)[0])
            assert 'job \ufffd\ufffd31m\ufffd\ufffd \\u007f' in shown and '  a' in shown, shown
            assert json.loads(piped('info', '--json', b)[0])['data'] == {'lone': '\ud800'}
            assert 't\ufffd31m\ufffd' in clean(piped('list', m.point)[0])
            assert json.loads(piped('list', '--json', m.point)[0])[0]['title'] == 't\ufffd31m\ufffd'
            shown = clean(piped('why', b)[0])
            for text in ('t\ufffd\ufffd', 'c\ufffd\ufffd\\u007f\\u001b', 'r\ufffd\\u009b'):
                assert text in shown, shown
            assert json.loads(piped('why', '--json', b)[0])[0]['command'] == 'c\ufffd\ufffd\x7f\x1b'
            ctl('fetch', '--data', m.folder + '/fetched.json', b, m.folder + '/fetched')
            assert read(m.folder + '/fetched/a') == 'text'
            assert json.loads(read(m.folder + '/fetched.json')) == {'lone': '\ud800'}
            ctl('store', '--dry-run', b, m.folder + '/fetched')
        finally:
            for path in mounted:
                subprocess.run(['umount', path], check=True, timeout=30)


def test_completion():
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../completion/bucketfs.bash')
    ask = '''compopt() { :; }; PATH=$(dirname "$CTL"):$PATH; source "$SCRIPT"
        t() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); "_$1"; echo "${COMPREPLY[*]}"; }
        t bucketctl sc; t bucketctl fetch --sync d; t bucketctl fetch --g; t bucketctl acl grant x e; t bucketctl get "$B" bu
        t bucketfs -o sync,max_t; t bucketfs -o io_uring = o'''
    with Mount() as m:
        b = bucket(m)
        write(b + '/data.json', '{"build": 1, "other": 2}')
        assert sh(ask, SCRIPT=script, CTL=CTL, B=b).splitlines() == [
            'schema', 'data data_and_files', '--glob', 'edit', 'build', 'sync,max_total_size=', 'on off']


def test_history_and_undo():
    with Mount() as m:
        b = bucket(m)
        assert 'no document' in ctl('history', b).out and ctl('undo', b, status=1).err
        write(b + '/data.json', '{"a": 1, "b": 2}')
        os.unlink(b + '/data.json')
        write(b + '/data.json', '{"c": 3}')
        ctl('empty', '--data', b)
        listed = json.loads(ctl('history', '--json', b).out)
        assert [e['uid'] for e in listed] == [0, 0] and listed[0]['revision'] > listed[1]['revision']
        lines = ctl('history', b).out.splitlines()
        assert len(lines) == 2 and 'root' in lines[0] and str(listed[0]['revision']) in lines[0]
        assert json.loads(ctl('history', b, str(listed[1]['revision'])).out) == {'a': 1, 'b': 2}
        ctl('history', b, '77', status=1)
        ctl('history', b, 'x', status=2)
        # What was emptied last comes back; then an older one, and then that again.
        ctl('undo', b)
        assert data(b) == {'c': 3}
        ctl('undo', b, str(listed[1]['revision']))
        assert data(b) == {'a': 1, 'b': 2}
        ctl('undo', b)
        assert data(b) == {'c': 3}
        ctl('undo', b, '77', status=1)
        fails(errno.EACCES, OTHER, open, b + '/data.json', 'r+')
        assert OTHER(lambda: ctl('undo', b, status=1)).err
        assert os.listdir(b) == ['data.json', 'files']


if __name__ == '__main__':
    run(tests_of(__name__))
