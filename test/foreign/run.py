#!/usr/bin/python3
"""Runs test suites that others have written on a mount: docs/foreign-suites.md names them and says what is skipped.

    run.py [--minutes N] [--seed S] [SUITE]...

Suites: pjdfstest, fsx, fsstress, stress-ng, fio, xfstests. As root, after test/foreign/setup; BUCKETFS names the binary.
The table `skips` has one line each, NAME<tab>REASON, and every reason is a sentence of the docs."""
import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, '..', '..')
sys.path.insert(0, os.path.join(HERE, '..', 'mount'))
import harness
import rules
from harness import BINARY, SLOW, Mount

CTL = os.path.abspath(os.environ.get('CTL', os.path.join(os.path.dirname(BINARY), 'bucketctl')))
OWN = os.path.join(ROOT, 'subprojects', 'foreign')
DOCS = os.path.join(ROOT, 'docs', 'foreign-suites.md')
# Without io_uring and passthrough another part of the kernel reads and writes.
OTHER = 'passthrough=off,io_uring=off'

options = None
passed = failed = 0


class Fault(Exception):
    """The finding of a suite; its text is shown."""


class Skip(Exception):
    pass


# ---- what is skipped ----

def read_table(path):
    with open(path) as f:
        rows = [line.rstrip('\n').split('\t') for line in f if line.strip() and not line.startswith('#')]
    return {row[0]: ' '.join(row[1:]) for row in rows}


def check_docs(skips):
    """Every reason is a sentence of the docs, and every name is there too."""
    if any(not reason.endswith('.') for reason in skips.values()):
        raise Fault('skips: a line is not NAME<tab>REASON, or its reason is no sentence')
    text = ' '.join(harness.read(DOCS).split())
    missing = [f'{name}: {reason}' for name, reason in skips.items() if reason not in text or f'`{name}`' not in text]
    if missing:
        raise Fault('not in docs/foreign-suites.md:\n' + '\n'.join(missing))


def skipped(name, reason):
    print(f'skipped {name}: {reason}', flush=True)


# ---- running something of others ----

def end_group(process):
    """Only its own group, which it leads: nothing that somebody else has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run(arguments, seconds, mount=None, cwd=None, env=None):
    """Its status and output; all its children are gone afterwards. A process that waits for a mount that hangs may hear no
    signal: then the daemon ends, which frees them."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=cwd,
                                   env={**os.environ, 'LC_ALL': 'C', **(env or {})}, start_new_session=True)
        late = False
        try:
            process.wait(timeout=seconds * SLOW)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            end_group(process)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                if mount and mount.process:
                    mount.process.kill()
                process.wait(timeout=20)
        size = out.seek(0, os.SEEK_END)
        out.seek(max(0, size - (1 << 20)))
        text = out.read().decode(errors='replace')
    if late:
        raise Fault(f'took more than {seconds * SLOW:.0f} s: {" ".join(arguments)}\n{text[-3000:]}')
    return process.returncode, text


def succeeds(*arguments, **more):
    status, text = run(*arguments, **more)
    if status:
        raise Fault(f'status {status}: {" ".join(arguments[0])}\n{text[-4000:]}')
    return text


def part(name, what, *arguments, **more):
    """One line: ok, FAILED with the output, or skipped. Its return value stands in the line."""
    global passed, failed
    began = time.time()
    try:
        note = what(*arguments, **more)
    except Skip as e:
        return skipped(name, e)
    except (Fault, AssertionError, OSError, subprocess.SubprocessError) as e:
        failed += 1
        print(f'FAILED {name}  {time.time() - began:.1f}s\n{e}', flush=True)
        return
    passed += 1
    print(f'ok     {name}{": " + note if note else ""}  {time.time() - began:.1f}s', flush=True)


class Place:
    """A mount and a bucket in it that everybody may edit: without that the suites' other users could do nothing. At its end
    the daemon has ended by itself and without an error, and the store is whole."""

    def __init__(self, suite, more=''):
        self.suite, self.more = suite, more

    def __enter__(self):
        self.m = Mount(self.more)
        try:
            os.mkdir(self.m / 'suite')
            os.setxattr(self.m / 'suite', 'user.bucketfs.acl.edit', b'*')
        except BaseException:
            self.m.close()
            raise
        self.files, self.folders = self.m / 'suite/files', 0
        return self

    def folder(self, name):
        self.folders += 1
        path = os.path.join(self.files, f'{name}{self.folders}')
        os.mkdir(path)
        return path

    def remove(self, path):
        shutil.rmtree(path)
        if os.path.exists(path):
            raise Fault(f'{path} is there after it has been removed')

    def unmount(self):
        """A mount that another mount namespace has a copy of (some program made one meanwhile) goes on there: SIGTERM ends
        that as well."""
        if kept_elsewhere(self.m.point):
            self.m.process.terminate()
            self.m.reap()
        else:
            self.m.unmount()

    def __exit__(self, kind, *_):
        try:
            if kind is None or issubclass(kind, Exception):
                part(f'{self.suite}{" " + self.more if self.more else ""}: the end', self.end)
        finally:
            self.m.close()

    def end(self):
        if self.m.process is None or self.m.process.poll() is not None:
            raise Fault('the daemon is not there any more: ' + self.m.log_text()[-3000:])
        self.unmount()
        wrong = [line for line in self.m.log_text().splitlines() if ' error: ' in line or ' errno=5: ' in line]
        if wrong:
            raise Fault('the log has errors:\n' + '\n'.join(wrong[:10]))
        return succeeds([CTL, 'check', '--data', self.m.store], 120).strip().splitlines()[-1]


def kept_elsewhere(point):
    own = os.readlink('/proc/self/ns/mnt')
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            if os.readlink(f'/proc/{pid}/ns/mnt') != own and point in harness.read(f'/proc/{pid}/mounts'):
                return True
        except OSError:
            pass
    return False


def program(name):
    path = os.path.join(OWN, 'bin', name)
    if not os.path.exists(path):
        raise Skip(f'{path} is not there; test/foreign/setup gets it from Debian where Debian has it')
    return path


def share(seconds):
    """Of ten minutes, as much of those that were asked for."""
    return max(1.0, seconds * options.minutes / 10)


# ---- the suites ----

def suite_pjdfstest(skips):
    """The checks of POSIX calls. Checks that do not hold are compared with the rules of the design (rules.py), one by one."""
    checkout = os.environ.get('BUCKETFS_PJDFSTEST')
    source = checkout or os.path.join(OWN, 'fstest')
    if not os.path.isdir(os.path.join(source, 'tests')):
        return skipped('pjdfstest', 'it is not there; test/foreign/setup, or BUCKETFS_PJDFSTEST=a built checkout')
    used = set()
    with tempfile.TemporaryDirectory(prefix=harness.RUN) as work, Place('pjdfstest') as place:
        copy = os.path.join(work, 'suite')
        os.chmod(work, 0o755)
        shutil.copytree(source, copy, symlinks=True)
        if not checkout:
            shutil.copy(program('fstest'), os.path.join(copy, 'fstest'))
            with open(os.path.join(copy, 'tests', 'conf'), 'a') as f:
                f.write('fs="ext3"\n')
        with open(os.path.join(copy, 'tests', 'misc.sh'), 'a') as f:
            f.write(rules.TELL)
        for group in sorted(os.listdir(os.path.join(copy, 'tests'))):
            folder = os.path.join(copy, 'tests', group)
            if os.path.isdir(folder):
                part(f'pjdfstest {group}', pjd_group, place, folder, skips, used)
    for name in sorted(n for n in skips if n.startswith('pjdfstest ')):
        skipped(name, skips[name])
    # A rule that nothing needs any more would hide the next fault. Another version of the suite may need fewer.
    if not checkout:
        part('pjdfstest: each rule is needed', unused, {n for n in skips if n.startswith('pjdfstest ')} - used)


def unused(names):
    if names:
        raise Fault('nothing is skipped for: ' + ', '.join(sorted(names)))


def pjd_group(place, folder, skips, used):
    held = left = 0
    wrong = []
    for name in sorted(n for n in os.listdir(folder) if n.endswith('.t')):
        where = place.folder('pjd')
        _, text = run(['sh', os.path.join(folder, name)], 60, place.m, cwd=where)
        judge = rules.Judge()
        steps = rules.steps_of(text)
        plan = re.search(r'^1\.\.(\d+)', text, re.M)
        told = len(re.findall(r'^(?:not )?ok \d+', text, re.M))
        # A file that is for other systems says that all is well, and nothing else.
        if not plan or int(plan[1]) != told or steps and told != len(steps) or not steps and 'not ok' in text:
            wrong.append(f'{name}: {told} checks instead of {plan[1] if plan else "some"}: {text[-500:]}')
        for step in steps:
            rule = judge.rule(step)
            if step.good:
                held += 1
            elif rule and 'pjdfstest ' + rule in skips:
                used.add('pjdfstest ' + rule)
                left += 1
            else:
                wrong.append(f'{name} {step.line}')
        place.remove(where)
    if wrong:
        raise Fault('\n'.join(wrong))
    return f'{held} checks hold, {left} skipped'


# Reads, writes, maps, truncates, punches and reopens one file, and compares it with what it should be.
FSX = (('', ''), ('closes and opens', '-c 20'), ('drops the cache', '-f'), ('msync', '-y'), ('no maps', '-W -R'),
       ('pages', '-r 4096 -w 4096 -t 4096'), ('direct', '-Z -R -W -r 4096 -w 4096 -t 4096'),
       ('small', '-l 30000 -o 3000 -c 30'), ('large', '-l 8000000 -o 400000 -c 100'))


def suite_fsx(skips):
    if not options.here('fsx', 'fsx'):
        return
    for more in ('', OTHER):
        with Place('fsx', more) as place:
            for name, arguments in FSX:
                part(' '.join(('fsx', name, more)).strip().replace('  ', ' '), fsx, place, arguments)


def fsx(place, arguments):
    where, end, rounds = place.folder('fsx'), time.time() + share(4), 0
    with tempfile.TemporaryDirectory(prefix=harness.RUN) as logs:
        while rounds == 0 or time.time() < end:
            seed = options.seed + rounds
            text = succeeds([program('fsx'), '-q', '-N', '2000', '-S', str(seed), '-P', logs, *arguments.split(),
                             f'file{rounds}'], 60, mount=place.m, cwd=where)
            if 'A-OK' not in text:
                raise Fault(f'seed {seed}: {text[-3000:]}')
            rounds += 1
    place.remove(where)
    return f'{rounds * 2000} operations, seed {options.seed}'


def suite_fsstress(skips):
    if not options.here('fsstress', 'fsstress'):
        return
    for more in ('', OTHER):
        with Place('fsstress', more) as place:
            for name, arguments in (('', []), ('long names', ['-r']), ('writes', ['-w'])):
                part(' '.join(('fsstress', name, more)).strip().replace('  ', ' '), fsstress, place, arguments)


def fsstress(place, arguments):
    """Four processes call everything there is; it compares nothing, the end of the place does."""
    where, end, rounds = place.folder('fsstress'), time.time() + share(10), 0
    while rounds == 0 or time.time() < end:
        succeeds([program('fsstress'), '-d', where, '-p', '4', '-n', '1000', '-s', str(options.seed + rounds), *arguments],
                 120, mount=place.m)
        rounds += 1
        # Where something is left that cannot be listed and removed, this fails.
        place.remove(where)
        os.mkdir(where)
    place.remove(where)
    return f'{rounds * 4000} operations, seed {options.seed}'


# Beside its class "filesystem": what else works on files in its folder. Two io-uring remove each other's file, on any
# file system.
STRESSORS = {'aio': 2, 'aiol': 2, 'io-uring': 1, 'mmap': 2, 'msync': 2, 'msyncmany': 2, 'revio': 2, 'sendfile': 2}


def suite_stress_ng(skips):
    if not shutil.which('stress-ng'):
        return skipped('stress-ng', 'it is not there; test/foreign/setup installs it')
    listed = run(['stress-ng', '--class', 'filesystem?'], 20)[1].partition('stressors:')[2].split()
    with Place('stress-ng') as place:
        part('stress-ng: its list', lambda: None if len(listed) > 20 else broken('it names no class filesystem'))
        for name in sorted({*listed, *STRESSORS}):
            if 'stress-ng ' + name in skips:
                skipped('stress-ng ' + name, skips['stress-ng ' + name])
            else:
                part('stress-ng ' + name, stressor, place, name)


def stressor(place, name):
    where, seconds = place.folder('stress'), max(1, int(share(2)))
    # Its io-uring looks for what it has by a path that must be relative.
    text = succeeds(['stress-ng', '--' + name, str(STRESSORS.get(name, 2)), '--timeout', f'{seconds}s', '--verify',
                     '--seed', str(options.seed), '--temp-path', '.'], seconds + 60, mount=place.m, cwd=where)
    if re.search(r'skipping|not supported|No stress workers', text):
        raise Fault('it did nothing, and skips has no reason: ' + text[-1000:])
    left = os.listdir(where)
    if left:
        raise Fault(f'{left[0]} is left')
    place.remove(where)


FIO_ENGINES = ('sync', 'psync', 'pvsync', 'pvsync2', 'libaio', 'io_uring', 'posixaio', 'mmap')


def suite_fio(skips):
    if not shutil.which('fio'):
        return skipped('fio', 'it is not there; test/foreign/setup installs it')
    for more in ('', OTHER):
        with Place('fio', more) as place:
            for engine in FIO_ENGINES:
                for direct in (0, 1):
                    name = f'fio {engine} direct={direct}'
                    if name in skips:
                        if not more:
                            skipped(name, skips[name])
                    else:
                        part(f'{name} {more}'.strip(), fio, place, engine, direct)


def fio(place, engine, direct):
    """Each block has its checksum: compared as it is written, and once more by another daemon."""
    where = place.folder('fio')
    size = int(share(6))
    common = ['--thread', f'--directory={where}', f'--size={size}m', f'--ioengine={engine}', f'--direct={direct}',
              '--iodepth=8', f'--randseed={options.seed}', '--verify=crc32c', '--verify_fatal=1', '--verify_state_save=0',
              '--fallocate=none']
    kinds = {'write': ['--rw=write', '--bs=64k'], 'mixed': ['--rw=randrw', '--bs=4k', '--verify_backlog=64'],
             'odd': ['--rw=randwrite', '--bsrange=4k-48k' if direct else '--bsrange=512-48k', '--bs_unaligned=1'],
             'two': ['--rw=randwrite', '--bs=16k', '--numjobs=2']}
    if direct:
        kinds['odd'].remove('--bs_unaligned=1')
    limit = 60 + size
    for name, more in kinds.items():
        succeeds(['fio', f'--name={name}', *common, *more, '--do_verify=1'], limit, mount=place.m)
    place.unmount()
    place.m.start()
    for name in ('write', 'two'):
        succeeds(['fio', f'--name={name}', *common, *kinds[name], '--verify_only=1'], limit, mount=place.m)
    place.remove(where)


def suite_xfstests(skips):
    """In a mount namespace of its own, so that a helper for its mounts can be laid over /usr/sbin there and only there."""
    checkout = os.environ.get('BUCKETFS_XFSTESTS')
    if not checkout:
        return skipped('xfstests', skips['xfstests'])
    with tempfile.TemporaryDirectory(prefix=harness.RUN) as work:
        try:
            xfstests(checkout, work, skips)
        finally:
            # A daemon ends with the last mount of its store, and the namespace was the last place that had it.
            end = time.time() + 20
            while time.time() < end and any(daemons_of(work)):
                time.sleep(0.1)
            for pid in daemons_of(work):
                os.kill(pid, signal.SIGKILL)


def daemons_of(folder):
    """Those whose store is in a folder that we made."""
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/cmdline', 'rb') as f:
                words = f.read().split(b'\0')
        except OSError:
            continue
        if len(words) > 1 and words[0] == BINARY.encode() and words[1].startswith(folder.encode() + b'/'):
            yield int(pid)


# xfstests mounts by itself, and works in the root of a mount, where bucketfs has buckets only: its mounts are those of the
# files/ of one. The whole mount is not seen any more when it has been bound: it ends with the part. The daemon before may
# hold the store a moment longer.
HELPER = '''#!/bin/sh
set -e
mkdir -p "$1" "$1.whole"
tries=0
until {binary} "$1" "$1.whole" -o "max_file_size=0{options}"; do
	tries=$((tries + 1))
	[ $tries -lt 50 ]
	sleep 0.2
done
mkdir -p "$1.whole/suite"
setfattr -n user.bucketfs.acl.edit -v '*' "$1.whole/suite"
mount --bind "$1.whole/suite/files" "$2"
umount -l "$1.whole"
'''

XFSTESTS = '''set -e
mount --make-rprivate /
mkdir -p {work}/upper {work}/over {work}/results
mount -t tmpfs tmpfs {work}/over
mkdir {work}/over/upper {work}/over/work
mount -t overlay overlay -o lowerdir=/usr/sbin,upperdir={work}/over/upper,workdir={work}/over/work /usr/sbin
cp {work}/helper /usr/sbin/mount.fuse.bucketfs
chmod 755 /usr/sbin/mount.fuse.bucketfs
mount -t fuse.bucketfs {work}/test {work}/mnt-test
cd {checkout}
exec ./check -E {work}/exclude {arguments}
'''


def xfstests(checkout, work, skips):
    for name in ('mnt-test', 'mnt-scratch', 'test', 'scratch'):
        os.mkdir(os.path.join(work, name))
    more = ',' + harness.OPTIONS if harness.OPTIONS else ''
    harness.write(os.path.join(work, 'helper'), HELPER.format(binary=BINARY, options=more))
    names = [n.split(' ')[1] for n in skips if n.startswith('xfstests ')]
    harness.write(os.path.join(work, 'exclude'), ''.join(n + '\n' for n in names))
    for name in names:
        skipped('xfstests ' + name, skips['xfstests ' + name])
    env = {'FSTYP': 'fuse', 'FUSE_SUBTYP': '.bucketfs', 'TEST_DEV': f'{work}/test', 'TEST_DIR': f'{work}/mnt-test',
           'SCRATCH_DEV': f'{work}/scratch', 'SCRATCH_MNT': f'{work}/mnt-scratch', 'RESULT_BASE': f'{work}/results'}
    script = XFSTESTS.format(work=work, checkout=os.path.abspath(checkout),
                             arguments=os.environ.get('BUCKETFS_XFSTESTS_ARGUMENTS', '-g generic/quick'))
    before = failed
    status, text = run(['unshare', '--mount', 'bash', '-c', script], max(600, options.minutes * 60), env=env)
    results = re.findall(r'^(generic/\d+)\b(.*(?:\n[ \t]+.*)*)', text, re.M)
    for name, rest in results:
        if '[not run]' in rest or '[expunged]' in rest:
            continue
        part('xfstests ' + name, verdict, rest)
    if not results or status and failed == before:
        part('xfstests', broken, f'check ended with {status}: {text[-3000:]}')


def broken(text):
    raise Fault(text)


def verdict(rest):
    if 'mismatch' in rest or 'failed' in rest or 'no qualified output' in rest or 'dumped core' in rest:
        raise Fault(rest.strip())


SUITES = {'pjdfstest': suite_pjdfstest, 'fsx': suite_fsx, 'fsstress': suite_fsstress, 'stress-ng': suite_stress_ng,
          'fio': suite_fio, 'xfstests': suite_xfstests}


def here(suite, name):
    try:
        program(name)
    except Skip as e:
        return skipped(suite, e)
    return True


def main():
    global options
    parser = argparse.ArgumentParser()
    parser.add_argument('--minutes', type=float, default=10)
    parser.add_argument('--seed', type=int, default=int(time.time()) % 1000000)
    parser.add_argument('suites', nargs='*', choices=[[], *SUITES], metavar='SUITE')
    options = parser.parse_args()
    options.here = here
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    skips = read_table(os.path.join(HERE, 'skips'))
    part('skips: each reason is in the docs', check_docs, skips)
    for name, suite in SUITES.items():
        if not options.suites or name in options.suites:
            suite(skips)
    print(f'{passed} passed, {failed} failed', flush=True)
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
