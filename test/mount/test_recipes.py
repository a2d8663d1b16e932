#!/usr/bin/python3
"""The recipes and the first screen of README.md, as they stand."""
import json
import os
import re
import shutil

from harness import *

README = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'README.md')


def test_recipes():
    blocks = re.findall(r'```sh\n(.*?)```', read(README), re.S)
    assert len(blocks) >= 7
    with Mount() as m:
        for block in blocks:
            if 'node -e' in block and not shutil.which('node'):
                print('no node: left out')
                continue
            sh('set -e\n' + block.replace('/tmp/', m.folder + '/').replace('/mnt/buckets', m.point))


def test_first_screen():
    text = read(README)
    lines = text[text.index('    B='):].split('\n\n')[0]
    with Mount() as m:
        out = sh('set -e\n' + lines.replace('/tmp/', m.folder + '/').replace('/mnt/buckets', m.point))
        assert out == '4711\n', out
        assert os.listdir(m / 'nightly/files') == ['report_final_.txt']


# The lines of README's table of ways to write data.json, as a command: $T is the text, $L a folder with it in new.json.
WAYS = {
    '`echo > data.json`': 'echo "$T" > data.json',
    '`printf >> data.json`': 'printf %s "$T" >> data.json',
    '`cat > data.json`': 'cat $L/new.json > data.json',
    '`cp FILE data.json`': 'cp $L/new.json data.json',
    '`jq > data.json`': 'jq . $L/new.json > data.json',
    '`jq > new.json && mv new.json data.json`': 'jq . $L/new.json > new.json && mv new.json data.json',
    '`tee data.json`': 'tee data.json < $L/new.json > /dev/null',
    '`dd of=data.json`': 'dd if=$L/new.json of=data.json status=none',
    '`awk > data.json`': "awk '{print > \"data.json\"}' $L/new.json",
    '`curl -o data.json`': 'curl -s -o data.json file://$L/new.json',
    '`sponge data.json`': 'sponge data.json < $L/new.json',
    '`setfattr -n user.bucketfs.key.a`': 'setfattr -n user.bucketfs.key.a -v "${V-1}" data.json',
    'Python `with open`': "python3 -c 'import os\nwith open(\"data.json\", \"w\") as f: f.write(os.environ[\"T\"])'",
    'Python `open` without `with` or `close`': "python3 -c 'import os\nf = open(\"data.json\", \"w\"); f.write(os.environ[\"T\"])'",
    'Node `writeFileSync`': "node -e 'require(\"fs\").writeFileSync(\"data.json\", process.env.T)'",
    'Perl `print` and `close or die`': "perl -e 'open(F, \">\", \"data.json\") or die; print F $ENV{T}; close F or die $!'",
    'Perl `print` without `close`': "perl -e 'open(F, \">\", \"data.json\") or die; print F $ENV{T}'",
    '`rsync --inplace`': 'rsync --inplace $L/d/data.json ./',
    '`tar x --overwrite`': 'tar xf $L/new.tar --overwrite',
    '`rsync`': 'rsync $L/d/data.json ./',
    '`sed -i`': 'sed -i "s/.*/$T/" data.json',
    '`install FILE data.json`': 'install -m 644 $L/new.json data.json',
    '`mv FILE data.json`, from elsewhere': 'cp $L/new.json $L/moved.json; mv $L/moved.json data.json',
    '`tar x`': 'tar xf $L/new.tar',
    '`unzip -o`': 'unzip -oq $L/new.zip </dev/null',
}


def write_by(way, b, local, text):
    """The exit status, and the data afterwards: None if there are no keys."""
    os.makedirs(local + '/d', exist_ok=True)
    for name in ('/new.json', '/d/data.json'):
        write(local + name, text)
    os.utime(local + '/d/data.json', (1, 1))
    sh('tar cf new.tar -C d data.json; rm -f new.zip; cd d; if type zip >/dev/null 2>&1; then zip -q ../new.zip data.json; fi', local)
    if os.path.exists(b + '/data.json'):
        os.unlink(b + '/data.json')
    write(b + '/data.json', '{"keep": 1, "a": 0}')
    env = {**os.environ, 'T': text, 'L': local, 'LC_ALL': 'C.UTF-8'}
    if text != '{"a": 1}':
        env['V'] = text
    r = subprocess.run(['bash', '-c', WAYS[way]], cwd=b, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30 * SLOW)
    keys = json.loads(read(b + '/data.json')) if os.path.exists(b + '/data.json') else {}
    return r.returncode, keys


def test_ways_to_write():
    """README's table, line by line: whether each merges or replaces, and whether a refusal is noticed."""
    table = re.findall(r'^\| (.*?) \| (merges|replaces) \| (noticed|not noticed) \|', read(README), re.M)
    assert [row[0] for row in table] == list(WAYS), set(WAYS) ^ {row[0] for row in table}
    with Mount() as m:
        b, local = m / 'nightly', m.folder + '/local'
        os.mkdir(b)
        for way, does, refusal in table:
            program = WAYS[way].split()[0]
            if not shutil.which(program) or (program == 'unzip' and not shutil.which('zip')):
                print(f'  without {program}: it is not installed')
                continue
            status, keys = write_by(way, b, local, '{"a": 1}')
            assert status == 0 and keys == ({'keep': 1, 'a': 1} if does == 'merges' else {'a': 1}), (way, status, keys)
            status, keys = write_by(way, b, local, '{"a": }')
            assert (status != 0) == (refusal == 'noticed'), (way, status)
            # The old document stays, or undo brings it back.
            assert keys in ({'keep': 1, 'a': 0}, {}), (way, keys)
            if not keys:
                assert json.loads(read(b + '/.bucketfs/previous.json')) == {'keep': 1, 'a': 0}, way


def test_tables_name_every_option():
    text = read(README)
    options = subprocess.run([BINARY, '--help'], stdout=subprocess.PIPE, check=True).stdout.decode()
    for option in re.findall(r'-o ([a-z_]+)', options):
        assert f'`{option}' in text, option


if __name__ == '__main__':
    run(tests_of(__name__))
