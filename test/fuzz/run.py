#!/usr/bin/python3
"""Runs the fuzz targets, each for a while, from the kept corpus; then asks Python and bash. One line for each.

  run.py [--seconds N] [--only TARGET]... [--build DIR] [--seed N] [--keep]

An input that fails is kept below DIR/fuzz, and the line before the verdict says where. DIR/test/fuzz/fuzz_TARGET FILE
runs it again. Mend the fault, then put the input into test/fuzz/corpus/TARGET. --keep adds the new inputs to the kept
corpus and drops those that reach nothing more: at most 60 small files a target stay.
"""
import argparse, os, shutil, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
# The longest input that is tried, in bytes.
TARGETS = {'json': 1200, 'document': 200, 'tree': 200, 'schema': 600, 'pattern': 200, 'decimal': 200, 'acl': 400,
           'limits': 200, 'name': 400, 'uri': 200, 'record': 400, 'glob': 120, 'store': 100}
# Programs that another one is compared with.
COMPARED = {'decimal': ('compare_decimal.py', 'answer_decimal', 'decimal against Python'),
            'glob': ('compare_glob.py', 'answer_glob', 'glob against bash')}
KEPT_FILES, KEPT_BYTES = 60, 1200
passed = failed = 0


def say(text):
    if sys.stdout.isatty():
        print(f'\033[2K== {text}', end='\r', flush=True)


def verdict(name, good, output=''):
    global passed, failed
    if not good:
        print('\n'.join(output.splitlines()[-60:]))
    passed, failed = passed + good, failed + (not good)
    print(f"{'ok    ' if good else 'FAILED'} fuzz {name}", flush=True)


def run(command, limit):
    """Its status and what it said; it does not outlive the limit."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=limit)
    except subprocess.TimeoutExpired as e:
        return -1, (e.stdout or b'').decode(errors='replace') + f'\n{command[0]}: not done after {limit} seconds'
    return done.returncode, done.stdout.decode(errors='replace')


def environment():
    # Only the first report of a target counts, and it is to end it.
    os.environ.setdefault('UBSAN_OPTIONS', 'print_stacktrace=1')


def fuzz(args, target, found):
    kept, results = f'{HERE}/corpus/{target}', f'{args.build}/fuzz'
    os.makedirs(results, exist_ok=True)
    command = [f'{args.build}/test/fuzz/fuzz_{target}', f'-seed={args.seed}', f'-max_len={TARGETS[target]}',
               f'-max_total_time={args.seconds}', '-timeout=20', '-rss_limit_mb=2048', '-verbosity=0',
               f'-artifact_prefix={results}/{target}-']
    if os.path.exists(f'{HERE}/{target}.dict'):
        command.append(f'-dict={HERE}/{target}.dict')
    before = set(os.listdir(results))
    status, output = run(command + [found] + [d for d in [kept] if os.path.isdir(d)], args.seconds + 120)
    for new in sorted(set(os.listdir(results)) - before):
        output += f'\nthe input is {results}/{new}'
    verdict(target, status == 0, output)
    return status == 0


def compare(args, target):
    """With more seconds it asks about more, from one seed to the next."""
    script, program, name = COMPARED[target]
    began, seed = time.monotonic(), args.seed
    while True:
        status, output = run([f'{HERE}/{script}', f'{args.build}/test/fuzz/{program}', '--seed', str(seed)], 120)
        seed += 1
        if status or time.monotonic() - began + 2 > args.seconds:
            break
    verdict(name, status == 0, output)


def features(control):
    """What each file of a merge reaches, from libFuzzer's notes about it: "FT number feature feature …"."""
    with open(control) as f:
        lines = f.read().split('\n')
    count = int(lines[0])
    files, reached = lines[2:2 + count], [set() for _ in range(count)]
    for line in lines[2 + count:]:
        words = line.split()
        if words and words[0] == 'FT':
            reached[int(words[1])] = set(words[2:])
    return list(zip(files, reached))


def keep(args, target, found):
    """The kept corpus becomes the files that reach most, of those that are kept and those that were found."""
    kept = f'{HERE}/corpus/{target}'
    os.makedirs(kept, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        os.mkdir(f'{work}/out')
        status, output = run([f'{args.build}/test/fuzz/fuzz_{target}', '-merge=1',
                              f'-merge_control_file={work}/control', '-timeout=20', f'{work}/out', kept, found], 600)
        if status:
            return verdict(f'{target}: keep', False, output)
        files = [(f, r) for f, r in features(f'{work}/control') if os.path.getsize(f) <= KEPT_BYTES]
        # Files with a name of somebody's choice stay: an input that once failed, or a beginning.
        chosen = [f for f, _ in files if os.path.dirname(f) == kept and '-' in os.path.basename(f)]
        reached = set().union(*[r for f, r in files if f in chosen])
        while len(chosen) < KEPT_FILES and files:
            best, gain = max(files, key=lambda f: (len(f[1] - reached), -os.path.getsize(f[0])))
            if not gain - reached:
                break
            chosen.append(best)
            reached |= gain
        for f in chosen:
            shutil.copy(f, f'{work}/{os.path.basename(f)}')
        for f in os.listdir(kept):
            os.unlink(f'{kept}/{f}')
        for f in chosen:
            shutil.copy(f'{work}/{os.path.basename(f)}', kept)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--seconds', type=int, default=4, help='for each target')
    p.add_argument('--only', action='append', choices=TARGETS, help='may be given several times')
    p.add_argument('--build', default='build-fuzz')
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--keep', action='store_true')
    args = p.parse_args()
    args.seconds = max(args.seconds, 1)  # 0 would be without end
    args.build = os.path.abspath(args.build)
    environment()
    for target in args.only or TARGETS:
        say(f'fuzz {target}')
        with tempfile.TemporaryDirectory(prefix='fuzz-') as found:
            good = fuzz(args, target, found)
            if good and args.keep:
                keep(args, target, found)
        if target in COMPARED:
            say(f'fuzz {COMPARED[target][2]}')
            compare(args, target)
    print(f'{passed} passed, {failed} failed')
    sys.exit(failed != 0)


if __name__ == '__main__':
    main()
