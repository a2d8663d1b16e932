"""scripts/bench: runs the groups of works.py, shows the rows of rows.py."""
import argparse
import collections
import os
import shutil
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import report  # noqa: E402
import rows  # noqa: E402
import systems  # noqa: E402
import works  # noqa: E402

STEP_LIMIT = 240  # seconds: what takes longer hangs
FEWER_AFTER = 400  # seconds: on a slow machine, three repetitions of what is left must do


class Failed(Exception):
    pass


class Bench:
    """What the works use: systems, sizes, the load, and where results go."""

    def __init__(self, options, everything):
        self.systems, self.options = everything, options
        self.sizes = works.Sizes(options.quick)
        self.needed = {m for row in options.rows for m in row.measures()} | set(options.growth)
        self.values = collections.defaultdict(dict)  # (system, measure, threads) -> repetition -> rate
        self.began = time.monotonic()
        self.descriptors = everything.descriptors

    def wanted(self, *measures):
        return any(m in self.needed for m in measures)

    def get(self, name):
        return self.systems.get(name)

    def take(self, repetition, names, extras=()):
        """Those that can run, in another order each time; extras take part in the first repetitions."""
        asked = {row.peer for row in self.options.rows}
        if repetition < self.sizes.extras:
            names = names + [e for e in extras if e in asked]
        for name in ('bucketfs', 'full', 'empty'):
            if name in names and not self.get(name):
                raise Failed(self.systems.why_not[name])
        names = [n for n in names if self.get(n)]
        turn = repetition % len(names)
        return names[turn:] + names[:turn]

    def step(self):
        self.systems.watchdog_limit = time.monotonic() + STEP_LIMIT

    def run(self, command):
        self.step()
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise Failed(f'{" ".join(command[:3])[:300]}: {done.stderr.strip()[-500:]}')
        return done.stdout

    def load(self, work, folder, *arguments):
        """Seconds that it took."""
        return self.load_times(work, folder, *arguments)[0]

    def load_times(self, work, folder, *arguments):
        """And seconds of a processor that the load itself did."""
        binary = os.path.join(self.options.build, 'test', 'bench_load')
        return [float(seconds) for seconds in self.run([binary, work, folder, *(str(a) for a in arguments)]).split()]

    def commits(self, count):
        """Commits a second that make a file and that remove one, in a store of their own without FUSE."""
        folder = os.path.join(self.systems.work, 'commits')
        os.mkdir(folder)
        try:
            binary = os.path.join(self.options.build, 'test', 'bench_commit')
            return [count / float(seconds) for seconds in self.run([binary, folder, str(count)]).split()]
        finally:
            shutil.rmtree(folder)

    def shell(self, script, *arguments):
        timed = f'began=$EPOCHREALTIME\n{script}\necho "$began $EPOCHREALTIME"'
        began, ended = self.run(['bash', '-c', timed, 'bash', *(str(a) for a in arguments)]).split()
        return float(ended) - float(began)

    def record(self, system, measure, threads, repetition, value):
        self.values[system, measure, threads][repetition] = value

    def discard(self, system, name):
        self.step()
        folder = os.path.join(self.get(system).folder, name)
        if system != 'native':  # at the end: see works.after_removal
            self.remove(folder)

    def remove(self, folder):
        self.step()
        self.run(['rm', '-r', folder])

    def drop_caches(self, warm=True):
        self.step()
        self.systems.drop_caches(warm)

    def progress(self, text):
        self.step()
        if sys.stderr.isatty():
            sys.stderr.write(f'\r\033[K{time.monotonic() - self.began:4.0f} s  {text}')
            sys.stderr.flush()

    def run_group(self, group):
        if group.prepare:
            self.progress(group.title)
            group.prepare(self)
        repetitions = min(self.options.repetitions, group.repetitions or self.options.repetitions)
        for repetition in range(repetitions):
            if repetition >= 3 and not self.options.repetitions_asked and time.monotonic() - self.began > FEWER_AFTER:
                break
            for threads in group.threads or (None,):
                of = f'{group.title}, {repetition + 1} of {repetitions}'
                self.progress(of if threads is None else f'{of}, {threads} thread{"s" if threads > 1 else ""}')
                group.function(self, repetition, *([threads] if threads else []))
        if group.finish:
            group.finish(self)

    def run_all(self):
        self.spent = {}
        for group in works.GROUPS:
            if self.wanted(*group.measures):
                began = time.monotonic()
                self.run_group(group)
                self.spent[group.title] = time.monotonic() - began
        self.seconds = time.monotonic() - self.began
        if sys.stderr.isatty():
            sys.stderr.write('\r\033[K')


def parse(arguments):
    p = argparse.ArgumentParser(prog='scripts/bench', description='Measures bucketfs beside its peers.')
    p.add_argument('--quick', action='store_true', help='a tenth of the files, under a minute: a first look, no verdict')
    p.add_argument('--only', metavar='ROW,...', help='these rows and series (see --list)')
    p.add_argument('--list', action='store_true', help='the names for --only')
    p.add_argument('--repetitions', type=int, metavar='N', help='of each measurement (5; --quick: 2)')
    p.add_argument('--store', default='/var/tmp', metavar='DIR', help='where the store and the native peer lie (/var/tmp)')
    p.add_argument('--report', metavar='DIR', help='where report.md and growth.svg go '
                   '(bench, and nowhere with --quick or --only)')
    p.add_argument('--no-report', '--keep-report', action='store_true', help='print the table and write nothing')
    p.add_argument('--build', default='build-bench', help=argparse.SUPPRESS)
    o = p.parse_args(arguments)
    names = {row.name: None for row in rows.ROWS} | dict.fromkeys(rows.GROWTH)
    if o.list:
        print('\n'.join(names))
        sys.exit(0)
    only = o.only.split(',') if o.only else list(names)
    for unknown in set(only) - set(names):
        p.error(f'there is no row {unknown}; --list shows them')
    o.rows = [row for row in rows.ROWS if row.name in only]
    o.growth = [g for g in rows.GROWTH if g in only]
    o.repetitions_asked = o.repetitions is not None
    o.repetitions = o.repetitions if o.repetitions_asked else 2 if o.quick else 5
    if not (o.report or o.quick or o.only):
        o.report = os.path.join(ROOT, 'bench')
    if o.no_report:
        o.report = None
    if o.repetitions < 1:
        p.error('at least one repetition')
    o.build = os.path.abspath(o.build)
    return o


def interrupted(number, frame):
    raise KeyboardInterrupt


def main():
    options = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGHUP, interrupted)
    if options.report:
        os.makedirs(options.report, exist_ok=True)
    everything = systems.Systems(ROOT, options.build, options.store)
    try:
        bench = Bench(options, everything)
        bench.run_all()
        facts = report.Facts(bench)
    except (Failed, OSError, subprocess.SubprocessError) as e:
        print(f'\nbench: {e}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nbench: interrupted', file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        everything.close()
    lines = report.lines(bench, facts)
    print(report.table(bench, facts, lines))
    if options.report:
        report.write(bench, facts, lines, options.report, os.path.join(ROOT, 'bench', 'limits.md'))
    return 0


if __name__ == '__main__':
    sys.exit(main())
