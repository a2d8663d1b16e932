#!/usr/bin/python3
"""Four processes of three users make all kinds of system calls with odd arguments on one mount, beside a neighbour.

    BUCKETFS=build-asan/bucketfs test/fuzz/calls.py --seconds 60      # as root; the processes are calls.c
    … --only-channel io_uring --seed 4711                             # one channel, the same choices again

A run fails when a process sees a piece of the neighbour's secret, or when a request of the neighbour takes longer than
the bound. It fails when the daemon ends, leaves a sanitizer report or hangs a process, and when `bucketctl check` finds
something. It fails when the neighbour's data is not what it wrote last, or when a file that a process has written and
closed does not read back."""
import argparse
import glob
import json
import os
import pickle
import random
import secrets
import shutil
import signal
import struct
import subprocess
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, '../mount'))

import harness
from harness import BINARY, SLOW, Mount, Person, is_mounted, wait_for
from neighbour import BUCKET, USER, Neighbour, load

CTL = os.environ.get('CTL', BINARY[:-len('fs')] + 'ctl')
CHANNELS = {'io_uring': 'io_uring=on', 'classic': 'io_uring=off'}
SLOT_SIZE, SLOT_NOTES, NOTE_SIZE, SLOT_HEAD = 16384, 60, 256, 24  # as in calls.h
USERS = {20001: (20001, []), 20002: (20002, [30001, 30002]), 20003: (20003, [])}
PROCESSES = [20001, 20001, 20002, 20003]
HUNG = 20  # seconds after which a call is one that hangs
PIECE = 16
# Files get no longer than this, or the machine's disk would be full; --heavy knows more.
LIMITS = 'max_file_size=48M,max_total_size=200M,max_files=3000,device=fuzz,device_acl=user:20001+user:20002'
TERMINAL = sys.stdout.isatty()


def say(text, progress=False):
    if progress:
        if TERMINAL:
            print(f'\033[2K{text}\r', end='', flush=True)
    else:
        print(text, flush=True)


# ---- the mount ----

class Fuzzed(Mount):
    """A mount that is gone in every outcome: who hangs in it is set free by the end of its FUSE connection."""

    def abort(self):
        """Everybody who waits for an answer gets ECONNABORTED."""
        try:
            base = '/sys/fs/fuse/connections'
            if not os.path.isdir(f'{base}/{self.device}'):
                subprocess.run(['mount', '-t', 'fusectl', 'none', base], stderr=subprocess.DEVNULL, timeout=10)
            harness.write(f'{base}/{self.device}/abort', '1')
        except OSError:
            pass

    def start(self):
        super().start()
        # Not by stat: that would ask a daemon that may hang.
        with open('/proc/self/mountinfo') as f:
            lines = [line.split() for line in f]
        self.device = next(line[2].split(':')[1] for line in lines if line[4] == self.point)

    def close(self):
        """As Mount's, but whatever hangs is ended first, and the folder goes last."""
        if self.process and self.process.poll() is None and is_mounted(self.point):
            try:
                if subprocess.run(['umount', self.point], stderr=subprocess.DEVNULL, timeout=15).returncode == 0:
                    self.process.wait(timeout=15 * SLOW)
            except subprocess.TimeoutExpired:
                self.abort()
        super().close()


def bucket(m, name, data, **attributes):
    path = m / name
    os.mkdir(path)
    for key, value in attributes.items():
        os.setxattr(path, 'user.bucketfs.' + key.replace('_', '.', key.startswith('acl_')), value.encode())
    with open(path + '/data.json', 'w') as f:
        json.dump(data, f)


SCHEMA = {'type': 'object', 'maxProperties': 40, 'properties': {
    'k1': {'type': 'integer', 'maximum': 70000}, 'k2': {'maxLength': 5, 'writeOnly': True}, 'k3': {'uniqueItems': True},
    'k4': {'pattern': '^(a|b)*$'}}}


def make_buckets(m):
    """Public and private ones, a drop-box, one with limits and one with a schema. Users may open or close their own."""
    os.setxattr(m.point, 'user.bucketfs.acl.create', b'*')
    data = {f'k{i}': i for i in range(8)}
    bucket(m, 'pub0', data, acl_edit='*')
    Person(20001)(bucket, m, 'pub1', data)
    Person(20001)(os.setxattr, m / 'pub1', 'user.bucketfs.acl.edit', b'user:20001,group:30001')
    Person(20003)(bucket, m, 'drop0', data)
    for privilege, who in (('edit', b'*'), ('read', b'owner')):
        Person(20003)(os.setxattr, m / 'drop0', f'user.bucketfs.acl.{privilege}', who)
    bucket(m, 'lim0', {}, acl_edit='*', max_files='40', max_data_size='4096', max_file_size='100000',
            max_total_size='1M',
           accepted_file_types='.bin,.txt,.log')
    Person(20002, groups=[30001])(bucket, m, 'sch0', {'k1': 1})
    Person(20002)(os.setxattr, m / 'sch0', 'user.bucketfs.acl.edit', b'*')
    with open(m / 'sch0/.bucketfs/schema.json', 'w') as f:
        json.dump(SCHEMA, f)
    bucket(m, 'grp0', data, acl_read='group:30001', acl_edit='group:30002,user:20003')
    for uid in USERS:
        Person(uid)(bucket, m, f'own{uid}', data)
        Person(uid)(os.setxattr, m / f'own{uid}', 'user.bucketfs.acl.read', b'owner')


# ---- the processes ----

class Slots:
    """The notes of each process about its calls."""

    def __init__(self, path):
        with open(path, 'wb') as f:
            f.truncate(SLOT_SIZE * len(PROCESSES))
        os.chmod(path, 0o666)
        self.file = open(path, 'rb')

    def read(self, i):
        """When the current call began (0: there is none), how many there were, the operation, the last calls."""
        raw = os.pread(self.file.fileno(), SLOT_SIZE, i * SLOT_SIZE)
        began, calls, operation, following = struct.unpack_from('QQII', raw)
        notes = []
        for n in range(max(0, following - SLOT_NOTES), following):
            at = SLOT_HEAD + n % SLOT_NOTES * NOTE_SIZE
            notes.append(raw[at:at + NOTE_SIZE].split(b'\0')[0].decode(errors='backslashreplace'))
        return began / 1e9, calls, operation, notes

    def doing(self, took=0):
        """A line for each process: its call, or the last ones if none takes long."""
        lines = []
        for i in range(len(PROCESSES)):
            began, _, operation, notes = self.read(i)
            since = f'for {time.monotonic() - began:.2f} s' if began else 'ended'
            last = '; '.join(notes[-1:] if began else notes[-3:])
            lines.append(f'    process {i}, operation {operation}, {since}: {last}')
        return lines


def forked(what, *args):
    """what(*args) in a process of its own, which ends with ours."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        harness.libc.prctl(1, signal.SIGKILL)
        what(*args)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def neighbour_main(n, out, stop):
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    n.begin()
    with open(out + '.begun', 'w'):
        pass
    n.run(out, lambda: os.path.exists(stop))


def tidy(m, stop):
    """Root keeps the buckets usable: what is disabled is enabled, and a bucket with many files loses some."""
    rnd = random.Random(1)
    while not os.path.exists(stop):
        for name in ('pub0', 'pub1', 'drop0', 'lim0', 'sch0', 'grp0', '@device', *(f'own{uid}' for uid in USERS)):
            try:
                with open(f'{m.point}/{name}/.bucketfs/meta.json', 'w') as f:
                    f.write('{"enabled": true}')
                prune(f'{m.point}/{name}/files', rnd)
            except OSError:
                pass
        time.sleep(1)


def prune(folder, rnd):
    names = [n for n in os.listdir(folder) if not n.startswith('own_')]
    for n in names:
        if len(names) > 60 or rnd.randrange(20) == 0:
            path = f'{folder}/{n}'
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)


# ---- the secret ----

class Secret:
    """Any 16 bytes of it, in whatever a user can read."""

    def __init__(self, texts):
        self.pieces = [{t[i:i + PIECE] for i in range(len(t) - PIECE + 1)} for t in texts]

    def found(self, data):
        """Both, but for a job's name in the id of its bucket, which everybody may know."""
        for kind, pieces in enumerate(self.pieces):
            for p in pieces:
                at = data.find(p)
                while at >= 0:
                    if kind == 0 or b'u%d.' % USER not in data[max(0, at - 64):at]:
                        return data[max(0, at - 60):at + 40]
                    at = data.find(p, at + 1)
        return None


def sweep(point, secret, limit):
    """Everything that this user finds by walking; a list of the places that show a piece of the secret."""
    end, bad = time.monotonic() + limit, []

    def look(where, data):
        piece = secret.found(data)
        if piece:
            bad.append(f'{where}: {piece!r}')

    def attributes(path):
        for name in ('user.bucketfs.name', 'user.bucketfs.job', 'user.bucketfs.username', 'user.bucketfs.server',
                'user.bucketfs.id'):
            try:
                look(f'{name} of {path}', os.getxattr(path, name, follow_symlinks=False))
            except OSError:
                pass
        try:
            for name in os.listxattr(path, follow_symlinks=False):
                look(f'an attribute of {path}', os.fsencode(name))
                look(f'{name} of {path}', os.getxattr(path, name, follow_symlinks=False))
        except OSError:
            pass

    def walk(path):
        if time.monotonic() > end:
            return
        attributes(path)
        try:
            if os.path.islink(path):
                look('a link', os.readlink(os.fsencode(path)))
            elif os.path.isdir(path):
                names = os.listdir(os.fsencode(path))
                for name in names:
                    look('a name in ' + path, name)
                for name in names + [b'.bucketfs'] * (os.path.dirname(path) in (point, os.path.dirname(point))):
                    walk(f'{path}/{os.fsdecode(name)}')
                if os.path.basename(path) == '.bucketfs':
                    for name in ('info.json', 'meta.json', 'schema.json', 'errors', 'previous.json', 'metrics',
                            'config.json'):
                        walk(f'{path}/{name}')
            else:
                with open(path, 'rb') as f:
                    look(path, f.read(64 << 20))
        except OSError:
            pass

    walk(point)
    for name in ('@job', '@device'):
        walk(f'{point}/{name}/.')
    return bad


# ---- a run ----

class Run:
    def __init__(self, channel, seed):
        self.channel, self.seed = channel, seed
        self.faults = []
        self.calls = 0
        self.stuck = False
        self.summary = ''

    def fault(self, text):
        self.faults.append(text)

    def prepare(self):
        m = self.m
        self.shared = m.folder + '/shared'
        self.stop = self.shared + '/stop'
        os.mkdir(self.shared)
        os.chmod(self.shared, 0o1777)
        self.texts = [secrets.token_hex(32), secrets.token_hex(32)]
        for name, text in zip(('secret', 'job'), self.texts):
            harness.write(f'{self.shared}/{name}', text)
        self.slots = Slots(self.shared + '/state')
        # Users cannot reach the folder that it was built in.
        self.program = m.folder + '/calls'
        shutil.copy(find_program(), self.program)
        os.chmod(self.program, 0o755)
        make_buckets(m)

    def start_neighbour(self):
        self.out = self.shared + '/neighbour'
        argument = (self.m.point, self.shared, self.seed, self.texts[0], self.texts[1], options.bound * SLOW)
        # A process of its own, because a job is what a process was begun with. It reads its arguments from a pipe.
        self.neighbour = subprocess.Popen([sys.executable, os.path.abspath(__file__), '--neighbour'],
                stdin=subprocess.PIPE,
                                          env={**os.environ, 'BUCKETFS_JOB': self.texts[1]})
        self.neighbour.stdin.write(pickle.dumps((argument, self.out, self.stop)))
        self.neighbour.stdin.close()
        if not wait_for(lambda: os.path.exists(self.out + '.begun') or self.neighbour.poll() is not None,
                20) or self.neighbour.poll():
            raise AssertionError('the neighbour could not begin')

    def start_processes(self):
        self.processes = []
        environment = {**os.environ, 'BUCKETFS_JOB': 'fuzz', 'ASAN_OPTIONS': os.environ.get('ASAN_OPTIONS',
                '') + ':detect_leaks=0'}
        for i, uid in enumerate(PROCESSES):
            gid, groups = USERS[uid]
            arguments = [self.program, self.m.point, str(self.seed), str(i),
                    f'{uid}:{gid}:{",".join(map(str, groups))}',
                         str(options.seconds), self.shared] + ['heavy'] * options.heavy + ['trace'] * options.trace
            # The neighbour is measured, not the machine: it comes first where both want a CPU.
            self.processes.append(subprocess.Popen(arguments, stdin=subprocess.DEVNULL, env=environment,
                    preexec_fn=lambda: os.nice(5)))

    def hung(self):
        """A call that goes on for too long."""
        for i in range(len(PROCESSES)):
            began, _, operation, notes = self.slots.read(i)
            if began and time.monotonic() - began > HUNG * SLOW:
                note = notes[-1] if notes else '?'
                return f'process {i}, operation {operation}: {note} takes over {HUNG * SLOW:.0f} s'
        return None

    def watch(self):
        end = time.monotonic() + options.seconds + 30 * SLOW
        while any(p.poll() is None for p in self.processes):
            time.sleep(0.2)
            self.calls = sum(self.slots.read(i)[1] for i in range(len(PROCESSES)))
            say(f'== {self.channel}, seed {self.seed}: {self.calls} calls', progress=True)
            hung = self.hung()
            if self.m.process.poll() is not None:
                raise AssertionError(f'the daemon ended with {self.m.process.returncode}')
            if hung or time.monotonic() > end:
                self.stuck = True
                raise AssertionError(hung or 'the processes do not end')
            if self.neighbour.poll() is not None and not os.path.exists(self.out):
                raise AssertionError('the neighbour ended')
        for i, p in enumerate(self.processes):
            if p.returncode:
                self.fault(f'process {i} ended with {p.returncode}')

    def finish_neighbour(self):
        harness.write(self.stop, '')
        try:
            self.neighbour.wait(timeout=HUNG * SLOW)
        except subprocess.TimeoutExpired:
            raise AssertionError('the neighbour hangs') from None
        self.known = load(self.out)
        times, (longest, name) = self.known['times'], self.known['longest']
        over = sum(t > options.bound * SLOW for t in times)
        if times:
            self.summary = f'neighbour {len(times)} requests, longest {longest:.3f} s ({name}), ' \
                           f'99.9% {times[int(len(times) * 0.999)]:.3f} s, {over} over {options.bound * SLOW:g} s, ' \
                           f'outside {self.known["control"]:.3f} s'
        if self.known['error']:
            self.fault('neighbour: ' + self.known['error'])
        if over:
            self.fault(f'{over} requests over the bound\n' + '\n'.join(self.known['slow'][:6]))

    def check_neighbour(self, when):
        n = Neighbour(self.m.point, self.shared, 0, *self.texts, 1, None)
        n.document, n.files = self.known['document'], self.known['files']
        try:
            Person(USER)(limited, 60, n.check)
        except (OSError, AssertionError) as e:
            self.fault(f'{when}: the neighbour\'s data: {e}')

    def sweep_all(self):
        secret = Secret([t.encode() for t in self.texts])
        for uid, (gid, groups) in USERS.items():
            for place in Person(uid, gid, groups)(limited, 60, sweep, self.m.point, secret, 15 * SLOW)[:5]:
                self.fault(f'user {uid} sees a piece of the secret: {place}')

    def end_daemon(self, what):
        began = time.monotonic()
        for _ in range(200):
            if subprocess.run(['umount', self.m.point], stderr=subprocess.DEVNULL, timeout=15 * SLOW).returncode == 0:
                break
            time.sleep(0.05)
        else:
            raise AssertionError(f'{what}: umount says busy')
        status = self.m.process.wait(timeout=max(1, 15 * SLOW - (time.monotonic() - began)))
        self.m.process = None
        if status:
            self.fault(f'{what}: the daemon ended with {status}')

    def check_store(self):
        if not os.path.exists(CTL):
            return
        r = subprocess.run([CTL, 'check', '--data', self.m.store], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                timeout=300 * SLOW)
        if r.returncode:
            self.fault(f'bucketctl check: {r.returncode}: ' + r.stdout.decode(errors='replace')[-3000:])

    def spoil(self):
        """A fault that the machine must see."""
        kind = options.sabotage
        if kind == 'secret':
            os.setxattr(f'{self.m.point}/{BUCKET}', 'user.bucketfs.acl.read', b'*')
        elif kind == 'slow':
            os.kill(self.m.process.pid, signal.SIGSTOP)
            time.sleep(1.5 * options.bound * SLOW)
            os.kill(self.m.process.pid, signal.SIGCONT)
        elif kind == 'data':
            os.setxattr(f'{self.m.point}/{BUCKET}/data.json', 'user.bucketfs.key.first', b'0')
        elif kind == 'own':
            for name in glob.glob(f'{self.m.point}/pub0/files/own_*'):
                harness.write(name, 'other bytes')
        elif kind == 'hang':
            os.kill(self.m.process.pid, signal.SIGSTOP)
        elif kind == 'kill':
            self.m.process.kill()

    def collect(self):
        for path in glob.glob(self.shared + '/faults-*'):
            with open(path, errors='backslashreplace') as f:
                for line in f.read().splitlines()[:8]:
                    self.fault(f'process {path[-1]}, {line}')
        # The disk is sound, so the daemon has no reason for an error, nor for an EIO.
        errors = [line for line in self.m.log_text().splitlines()
                  if (' error: ' in line or ' errno=5: ' in line) and 'more lines of one user' not in line]
        for line in list(dict.fromkeys(errors))[:5]:
            self.fault('the log says: ' + line[:300])
        for path in glob.glob(self.m.folder + '/report*'):
            with open(path, errors='replace') as f:
                self.fault('sanitizer: ' + f.read()[:6000])

    def steps(self):
        self.prepare()
        self.start_neighbour()
        self.tidier = forked(tidy, self.m, self.stop)
        self.start_processes()
        if options.sabotage:
            time.sleep(options.seconds / 2)
            self.spoil()
        self.watch()
        self.finish_neighbour()
        os.waitpid(self.tidier, 0)
        self.tidier = 0
        self.check_neighbour('at the end')
        self.sweep_all()
        self.end_daemon('umount')
        self.check_store()
        self.m.start()
        self.check_neighbour('after a remount')
        self.end_daemon('umount of the second mount')

    def end_all(self):
        """In every outcome. Whoever waits for the daemon ends once the connection has."""
        if self.m.process:
            self.hints()
        pids = [p.pid for p in self.processes + ([self.neighbour] if self.neighbour else []) if p.poll() is None] + \
            ([self.tidier] if self.tidier else [])
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        if pids and self.m.process:
            self.m.abort()
        everybody = self.processes + ([self.neighbour] if self.neighbour else [])
        # A daemon that is stopped, or hangs with a request that it has received, keeps the others until it ends.
        if not wait_for(lambda: all(p.poll() is not None for p in everybody), 5) and self.m.process:
            self.m.process.kill()
        for p in everybody:
            p.wait(timeout=30)
        if self.tidier:
            os.waitpid(self.tidier, 0)

    def keep(self):
        """The folder without the mount; the daemon may be changing it."""
        folder = f'{options.keep_failed or "."}/calls-{self.channel}-{self.seed}'
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        subprocess.run(['cp', '-r', *(f'{self.m.folder}/{n}' for n in ('store', 'log', 'shared')), folder],
                stderr=subprocess.DEVNULL)

    def hints(self):
        """Keeps the traces of a fault for its reader: the last calls, and where each process waits."""
        self.tail = self.slots_tail() if self.slots else []
        if self.stuck:
            for p in self.processes + [self.neighbour]:
                self.tail += stacks(p.pid)
            self.tail += threads_of(self.m.process.pid)

    def slots_tail(self):
        lines = []
        for i in range(len(PROCESSES)):
            _, calls, operation, notes = self.slots.read(i)
            lines.append(f'  process {i} (user {PROCESSES[i]}): {calls} calls, operation {operation}; the last ones:')
            lines += [f'    {n}'.replace(self.m.point, '') for n in notes[-8:]]
        return lines

    def go(self):
        self.processes, self.neighbour, self.tidier, self.slots, self.tail = [], None, 0, None, []
        reports = {k: os.environ.get(k) for k in ('ASAN_OPTIONS', 'UBSAN_OPTIONS')}
        self.m = Fuzzed(f'{CHANNELS[self.channel]},{LIMITS}', start=False)
        log = ''
        try:
            for key, usual in (('ASAN_OPTIONS', 'use_sigaltstack=0'), ('UBSAN_OPTIONS', 'print_stacktrace=1')):
                os.environ[key] = f'{reports[key] or usual}:log_path={self.m.folder}/report-{key[:4]}'
            self.m.start()
            self.steps()
        except (OSError, AssertionError, subprocess.SubprocessError, EOFError) as e:
            self.fault(f'{type(e).__name__}: {e}')
            self.fault(''.join(traceback.format_exc(limit=-3)))
        finally:
            try:
                self.end_all()
                if os.path.isdir(self.m.folder + '/shared'):
                    self.collect()
                log = self.m.log_text()
                if options.keep or self.faults and options.keep_failed:
                    self.keep()
            finally:
                self.m.close()
                for key, value in reports.items():
                    os.environ.pop(key, None)
                    if value is not None:
                        os.environ[key] = value
        if self.faults:
            for f in self.faults:
                say('  ' + f.replace(self.m.point, ''))
            say('\n'.join(self.tail or self.slots_tail()))
            say('  the log of the daemon ends with:')
            say('\n'.join('    ' + line[:300] for line in log.splitlines()[-15:]))
        return not self.faults


def stacks(pid):
    """Where in the kernel a process waits, and its children."""
    lines = []
    try:
        # A process that hangs in an execve keeps every reader of its stack waiting, too.
        text = subprocess.run(['timeout', '-s', 'KILL', '2', 'cat', f'/proc/{pid}/stack'], stdout=subprocess.PIPE,
                timeout=10).stdout.decode()
        calls = [line.split()[1].split('+')[0] for line in text.splitlines()]
        calls = calls or ['(its stack cannot be read: an execve)']
        with open(f'/proc/{pid}/comm') as f:
            lines.append(f'  process number {pid}, {f.read().strip()}, waits in: ' + ' '.join(calls))
        with open(f'/proc/{pid}/task/{pid}/children') as f:
            for child in f.read().split():
                lines += stacks(int(child))
    except (OSError, subprocess.SubprocessError):
        pass
    return lines


def threads_of(pid):
    """Where in the kernel the daemon's threads wait, unless for something to do."""
    stack = '$(timeout -s KILL 1 cat $t/stack | head -n 6 | tr "\\n" " ")'
    script = f'for t in /proc/{pid}/task/*; do echo "$(cat $t/comm): {stack}"; done'
    try:
        r = subprocess.run(['sh', '-c', script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                stdin=subprocess.DEVNULL, timeout=120)
        return ['  thread ' + line for line in r.stdout.decode(errors='replace').splitlines() if 'futex' not in line]
    except (OSError, subprocess.SubprocessError):
        return []


def limited(seconds, what, *args):
    signal.alarm(int(seconds * SLOW))
    return what(*args)


def find_program():
    for p in (os.path.join(os.path.dirname(BINARY), 'test/calls'), os.path.join(HERE, '../../build/test/calls')):
        if os.path.exists(p):
            return p
    sys.exit('calls is not built: ninja -C build test/calls')


def neighbour_program():
    """The neighbour's own process: see start_neighbour."""
    (point, folder, seed, secret, job, bound), out, stop = pickle.load(sys.stdin.buffer)
    harness.libc.prctl(1, signal.SIGKILL)
    slots = Slots.__new__(Slots)
    slots.file = open(folder + '/state', 'rb')
    neighbour_main(Neighbour(point, folder, seed, secret, job, bound, slots.doing), out, stop)


def main():
    global options
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--seconds', type=float, default=60, help='of each channel')
    p.add_argument('--seed', type=int, default=None)
    p.add_argument('--only-channel', choices=sorted(CHANNELS))
    p.add_argument('--bound', type=float, default=0.5, help='seconds for a request; BUCKETFS_SLOW multiplies it')
    p.add_argument('--heavy', action='store_true', help='with what is known to take long')
    p.add_argument('--keep', action='store_true', help='keep the folder of the run')
    p.add_argument('--keep-failed', metavar='FOLDER', help='keep store, log and notes of a run that failed there')
    p.add_argument('--sabotage', choices=('secret', 'slow', 'data', 'own', 'hang', 'kill'),
            help='a fault that the run must see')
    p.add_argument('--trace', action='store_true', help='with --keep: every call, in the file trace-N of each process')
    p.add_argument('--neighbour', action='store_true', help=argparse.SUPPRESS)
    options = p.parse_args()
    if options.neighbour:
        neighbour_program()
        return
    seed = int(time.time()) % 1000000 if options.seed is None else options.seed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    passed = failed = 0
    for channel in [options.only_channel] if options.only_channel else CHANNELS:
        began = time.monotonic()
        r = Run(channel, seed)
        good = r.go()
        passed, failed = passed + good, failed + (not good)
        took = time.monotonic() - began
        verdict = 'ok     ' if good else 'FAILED '
        say(f'{verdict}calls: {channel}  {took:.1f}s, seed {seed}, {r.calls} calls; {r.summary}')
    say(f'{passed} passed, {failed} failed')
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
