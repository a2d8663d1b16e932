#!/usr/bin/python3
"""Asks bash about patterns for files: random ones, over a folder of random names, with globstar, extglob and nullglob.

  compare_glob.py PROGRAM [--seed N] [--count N]     PROGRAM is answer_glob
"""
import argparse, os, random, re, subprocess, sys, tempfile

LETTERS = 'aabbc.1-_'
# A pattern that bash itself cannot read says nothing.
BASH = '''shopt -s globstar extglob nullglob
while IFS= read -r pattern; do
	eval "for f in $pattern; do [ ! -f \\"\\$f\\" ] || printf '%s\\t' \\"\\$f\\"; done" 2>/dev/null || printf '?'
	echo
done'''
BRACES = '''set -f
while IFS= read -r pattern; do
	eval "for f in $pattern; do printf '%s\\t' \\"\\$f\\"; done" 2>/dev/null || printf '?'
	echo
done'''


def name(r):
    return ''.join(r.choice(LETTERS) for _ in range(r.randrange(1, 6)))


def paths(r):
    found = {}
    for _ in range(80):
        parts = [name(r) for _ in range(r.choice([1, 1, 1, 2, 2, 3]))]
        if any(p.strip('.') == '' for p in parts):
            continue
        # A name is a file or a folder.
        if any('/'.join(parts[:n]) in found for n in range(1, len(parts))) or '/'.join(parts) in found:
            continue
        if any(f.startswith('/'.join(parts) + '/') for f in found):
            continue
        found['/'.join(parts)] = True
    return sorted(found)


def sequence(r):
    kind = r.randrange(4)
    ends = [chr(r.randrange(97, 103)) for _ in range(2)] if kind == 0 else \
        [r.choice(['01', '-02', '+3', '007', '0', '-0']) for _ in range(2)] if kind == 1 else \
        [str(r.randrange(-5, 12)) for _ in range(2)]
    if r.randrange(3) == 0:
        ends.append(r.choice(['1', '2', '-3', '0', 'x', '02']))
    if r.randrange(8) == 0:
        ends[1] = r.choice(['', 'a', 'ab', '1a', '-'])
    return '{' + '..'.join(ends) + '}'


def braces(r, depth=0):
    """Braces in pairs: of others bash makes something else now and then. Few, for they multiply."""
    text = ''
    for _ in range(r.randrange(0 if depth else 1, 4)):
        kind = r.randrange(8)
        if kind < 4 or depth > 2:
            text += r.choice(['a', 'b', 'x.', '1', '-', '\\,', '\\a', 'ab'])
        elif kind == 4:
            text += sequence(r)
        else:
            text += '{' + ','.join(braces(r, depth + 1) for _ in range(r.randrange(1, 4))) + '}'
    return braces(r) if not depth and (text.count('{') > 4 or not text) else text


def char_class(r):
    inner = r.choice(['a', 'ab', 'a-c', '.', '1_', '-a', 'a-', '[:alpha:]', '[:digit:]a'])
    return '[' + r.choice(['', '', '!', '^']) + inner + ']'


def plain(r):
    return ''.join(r.choice('aabbc.1-_') for _ in range(r.randrange(1, 3)))


def piece(r, depth):
    kind = r.randrange(14)
    if kind < 5:
        return plain(r)
    if kind < 7:
        return '*'
    if kind == 7:
        return '?'
    if kind == 8:
        return char_class(r)
    if kind == 9:
        return '\\' + r.choice('ab*?[]{},')
    if kind < 12 and depth < 3:
        return '{' + ','.join(part(r, depth + 1) for _ in range(r.randrange(1, 4))) + '}'
    if depth:
        return 'b'
    return r.choice('?*+@!') + '(' + '|'.join(plain(r) for _ in range(r.randrange(1, 3))) + ')'


def part(r, depth):
    return ''.join(piece(r, depth) for _ in range(r.randrange(0 if depth else 1, 5)))


def pattern(r):
    parts = [r.choice(['**', '*']) if r.randrange(3) == 0 else part(r, 0) for _ in range(r.choice([1, 1, 1, 2, 2, 3]))]
    if r.randrange(5) == 0:
        parts[-1] = r.choice(['.', '?(a).', '*(b|c).', '@(.|a)', '?(a|.)', '+(.a|b)', '*?[.]']) + \
            r.choice(['*', '*b', '?', '[a-c]', ''])
    text = '/'.join(parts)
    # Braces multiply, and bash searches the folders once for each pattern that they make.
    return pattern(r) if differs(text) or '..' in text or text.count('{') + text.count('**') > 2 else text


def differs(text):
    """fnmatch is known to see alternatives otherwise that stand right behind an asterisk or a question mark."""
    return bool(re.search(r'[*?)}{,][?*+@!]\(', text))


def ask_bash(script, patterns, folder):
    """For each pattern a list, or None where bash cannot read it."""
    out = subprocess.run(['bash', '-c', script], input=''.join(q + '\n' for q in patterns), stdout=subprocess.PIPE,
                         text=True, cwd=folder, timeout=240, check=True,
                         env={**os.environ, 'LC_ALL': 'C.UTF-8'}).stdout.splitlines()
    assert len(out) == len(patterns)
    return [None if line.endswith('?') else [w for w in line.split('\t') if w] for line in out]


def ask(program, names, patterns):
    """For each pattern what its braces stand for and what it matches, or None for too many."""
    text = ''.join(n + '\n' for n in names) + '\n' + ''.join(q + '\n' for q in patterns)
    out = subprocess.run([program], input=text, stdout=subprocess.PIPE, text=True, timeout=120, check=True,
                         env={**os.environ, 'LC_ALL': 'C.UTF-8'}).stdout.splitlines()
    assert len(out) == 2 * len(patterns)
    answers = []
    for braces_line, matches in zip(out[::2], out[1::2]):
        if braces_line == 'too many':
            answers.append((None, None))
        else:
            answers.append(([re.sub(r'\\(.)', r'\1', w) for w in braces_line.split('\t') if w],
                            sorted(names[int(n)] for n in matches.split())))
    return answers


def compare(patterns, ours, theirs):
    """How many are wrong, and how many both know."""
    bad = known = 0
    for q, got, want in zip(patterns, ours, theirs):
        if got is None or want is None:
            continue
        known += 1
        if got != want:
            bad += 1
            if bad <= 5:
                print(f'{q}: {got}, but bash has {want}')
    if known < len(patterns) // 2:
        print(f'only {known} of {len(patterns)} patterns were compared')
        bad += 1
    return bad


def main():
    p = argparse.ArgumentParser()
    p.add_argument('program')
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--count', type=int, default=1000)
    args = p.parse_args()
    r = random.Random(args.seed)
    names = paths(r)
    patterns = [pattern(r) for _ in range(args.count)]
    only_braces = [braces(r) for _ in range(args.count)]
    with tempfile.TemporaryDirectory(prefix='compare-glob-') as folder:
        for n in names:
            os.makedirs(os.path.dirname(f'{folder}/{n}'), exist_ok=True)
            open(f'{folder}/{n}', 'w').close()
        found = ask_bash(BASH, patterns, folder)
        expanded = ask_bash(BRACES, only_braces, folder)
    # An absolute pattern, which an empty alternative can make, matches nothing here, and nothing is above the folder.
    found = [f and sorted({os.path.normpath(n) for n in f if not n.startswith(('/', '../'))}) for f in found]
    bad = compare(patterns, [m for _, m in ask(args.program, names, patterns)], found)
    bad += compare(only_braces, [b for b, _ in ask(args.program, names, only_braces)], expanded)
    if bad:
        print(f'{bad} of {2 * args.count} patterns are wrong; seed {args.seed}')
    sys.exit(bad != 0)


if __name__ == '__main__':
    main()
