#!/usr/bin/python3
"""The man pages and the completion know what the programs say with --help, and nothing else.

    test/papers.py BUCKETFS BUCKETCTL      both as built; needs no mount and no privilege"""
import os
import re
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..')
BUCKETFS, BUCKETCTL = sys.argv[1:3]
failures = []


def equal(what, got, wanted):
    got, wanted = set(got), set(wanted)
    for side, items in (('has what --help has not', got - wanted), ('lacks', wanted - got)):
        if items:
            failures.append(f'{what} {side}: ' + ' '.join(sorted(map(str, items))))
    assert wanted, f'{what}: --help says nothing: its form is another one, and this test compares nothing'


def say(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode()


def text(path):
    with open(os.path.join(ROOT, path)) as f:
        return f.read()


# ---- what --help says ----

def mount_options():
    """As they are spelled: `sync`, `collide=replace|refuse`, `max_files=NUMBER`."""
    return re.findall(r'^  -o (\S+)', say(BUCKETFS, '--help'), re.M)


def mount_flags():
    flags = re.findall(r'^  (-[^o,\s])(?:, (--\S+))?  ', say(BUCKETFS, '--help'), re.M)
    return [f for pair in flags for f in pair if f]


def commands():
    return re.findall(r'^  ([a-z]+) +[a-z]', say(BUCKETCTL, '--help'), re.M)


def options(command):
    """(long name, letter or '', what its value is called or '')."""
    found = re.findall(r'^  (?:-(\w),|   ) --([a-z-]+)(?: ([A-Z]\S*))?', say(BUCKETCTL, command, '--help'), re.M)
    return [(name, letter, value) for letter, name, value in found if name != 'help']


def forms(command):
    """The words that its forms begin with, such as `show` and `grant`."""
    return re.findall(r'bucketctl %s ([a-z]+)\b' % command, say(BUCKETCTL, command, '--help').split('\n\n')[0])


# ---- what the man pages say ----

def section(page, macro, name):
    """From a heading to the next one of its kind."""
    found = re.search(r'^\.%s %s\n(.*?)(?=^\.S[hs] |\Z)' % (macro, name), page, re.M | re.S)
    return found.group(1) if found else ''


def man_mount_options(page):
    for line in re.findall(r'^\.It (Cm .*)', page, re.M):
        yield re.sub(r'\b(?:Cm|Ar)\b', '', line.replace('Ns', '')).replace(' ', '')


def man_options(page, command):
    for line in re.findall(r'^\.It (Fl .*)', section(page, 'Ss', command), re.M):
        m = re.fullmatch(r'(?:Fl (\w) , )?Fl -([a-z-]+)(?: Ar (\S+))?', line)
        assert m, f'bucketctl.1, {command}: {line}'
        yield m.group(2), m.group(1) or '', m.group(3) or ''


def test_man_bucketfs():
    page = text('man/bucketfs.8')
    equal('bucketfs.8', man_mount_options(page), mount_options())
    flags = [f for line in re.findall(r'^\.It (Fl .*)', page, re.M) for f in line.replace('Fl ', '-').split(' , ')]
    equal('bucketfs.8', flags, mount_flags())


def test_man_bucketctl():
    page = text('man/bucketctl.1')
    known = re.search(r'^\.Sh COMMANDS\n(.*?)(?=^\.Sh )', page, re.M | re.S).group(1)
    equal('bucketctl.1', [c for c in re.findall(r'^\.Ss (\S+)$', known, re.M) if c.islower()], commands())
    for command in commands():
        equal(f'bucketctl.1, {command},', [*man_options(page, command), 'help'], [*options(command), 'help'])
        said = re.findall(r'^\.D1 Nm Cm %s Cm ([a-z]+)' % command, section(page, 'Ss', command), re.M)
        equal(f'bucketctl.1, {command},', [*said, 'forms'], [*forms(command), 'forms'])


def test_man_status():
    """The exit statuses that --help has."""
    page = section(text('man/bucketctl.1'), 'Sh', 'EXIT STATUS')
    said = re.search(r'Exit status: (.*?);', say(BUCKETCTL, '--help'), re.S).group(1)
    check = re.search(r'Exit status, as fsck has it: (.*?)\n\n', say(BUCKETCTL, 'check', '--help'), re.S).group(1)
    numbers = re.compile(r'\b\d+\b')
    parts = page.split('.Cm check')
    equal('bucketctl.1, exit status', re.findall(r'^\.It (\d+)', parts[0], re.M), numbers.findall(said))
    equal('bucketctl.1, exit status of check', re.findall(r'^\.It (\d+)', parts[1], re.M), numbers.findall(check))


# ---- what the completion offers ----

def offered(*words):
    """For the last of these words, which the cursor is behind."""
    script = '''compopt() { :; }; source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); "_$1"; printf '%s\\n' "${COMPREPLY[@]}"'''
    return say('bash', '-c', script, os.path.join(ROOT, 'completion/bucketfs.bash'), *words).split()


def test_completion_bucketfs():
    usual = re.search(r'such as ([a-z, ]+)\.', say(BUCKETFS, '--help')).group(1).split(', ')
    equal('completion of bucketfs -o', offered('bucketfs', '-o', ''),
          [o.split('=')[0] + '=' * ('=' in o) for o in mount_options()] + usual)
    equal('completion of bucketfs', offered('bucketfs', '-'), ['-o', *mount_flags()])
    for option in mount_options():
        name, _, values = option.partition('=')
        words = [v for v in values.split('|') if v.islower()]
        if words:
            equal(f'completion of bucketfs -o {name}=', offered('bucketfs', '-o', name, '='), words)
            equal(f'completion of bucketfs -o {name}=', offered('bucketfs', '-o', 'ro,' + name, '=', words[-1]), words[-1:])
    equal('completion of a second option', offered('bucketfs', '-o', 'io_uring', '=', 'on,sync,max_t'), ['on,sync,max_total_size='])


def test_completion_bucketctl():
    equal('completion of bucketctl', offered('bucketctl', ''), [*commands(), 'help', '-h', '--help', '-V', '--version'])
    equal('completion of bucketctl help', offered('bucketctl', 'help', ''), [*commands(), 'help'])
    for command in commands():
        wanted = ['-h', '--help']
        for name, letter, _ in options(command):
            wanted += ['--' + name, *(['-' + letter] if letter else [])]
        equal(f'completion of bucketctl {command}', offered('bucketctl', command, '-'), wanted)
        if forms(command):
            equal(f'completion of bucketctl {command}', offered('bucketctl', command, ''), forms(command))
        # An option that takes a value is followed by that, every other one by what would come without it.
        for name, letter, value in options(command):
            for option in ['--' + name, *(['-' + letter] if letter else [])]:
                is_known = subprocess.run(['bash', '-c', 'compopt() { :; }; source "$0"; _bucketctl_value "$@"',
                                           os.path.join(ROOT, 'completion/bucketfs.bash'), option, command, '']).returncode == 0
                if is_known != bool(value):
                    failures.append(f'completion of bucketctl {command} {option}: it takes ' + ('a value' if value else 'none'))
    equal('completion of --sync', offered('bucketctl', 'fetch', '--sync', '=', 'd'), ['data', 'data_and_files'])


for test in [f for name, f in list(globals().items()) if name.startswith('test_')]:
    before = len(failures)
    test()
    print('ok    ' if len(failures) == before else 'FAILED', test.__name__)
for failure in failures:
    print(failure)
sys.exit(1 if failures else 0)
