#!/usr/bin/python3
"""Asks Python about numbers: how they compare, whether they are integers, and which are multiples of which.

  compare_decimal.py PROGRAM [--seed N] [--count N]     PROGRAM is answer_decimal
"""
import argparse, random, re, subprocess, sys


def digits(r, most):
    kind = r.randrange(6)
    if kind == 0:
        return '0'
    if kind == 1:
        return str(r.choice([1, 2, 5, 8, 10, 25, 125, 1024]))
    if kind == 2:
        return str(2 ** r.randrange(1, 70)) if r.randrange(2) else str(5 ** r.randrange(1, 40))
    if kind == 3:
        return '9' * r.randrange(1, 40)
    text = ''.join(r.choice('0012345678999') for _ in range(r.randrange(1, most)))
    return text.lstrip('0') or '0'


def number(r):
    text = r.choice(['', '', '-']) + digits(r, 60 if r.randrange(4) == 0 else 12)
    if r.randrange(2):
        text += '.' + ''.join(r.choice('0001234599') for _ in range(r.randrange(1, 30 if r.randrange(4) == 0 else 6)))
    if r.randrange(2):
        exponent = r.choice([r.randrange(4), r.randrange(30), r.randrange(400), 10 ** 17 + r.randrange(9),
                             10 ** 18 - r.randrange(40), 10 ** 18 + r.randrange(9), 10 ** 19 - r.randrange(9),
                             10 ** 30 + r.randrange(5)])
        text += r.choice('eE') + r.choice(['', '+', '-']) + r.choice(['', '', '00']) + str(exponent)
    return text


def related(r, text):
    """Another number, often one that is near the first, the same in another form, or a part of it."""
    n, e = parse(text)
    kind = r.randrange(8)
    if kind == 0:
        return f'{n}00e{e - 2}'
    if kind == 1:
        return f'{n + r.choice([-1, 1])}e{e}'
    if kind == 2:
        return f'{n * 10 + r.randrange(10)}e{e - 1}'
    if kind == 3:
        return f'{n}e{e + r.choice([-1, 1])}'
    if kind == 4 and n:
        for factor in (2, 3, 5, 7, 9, 11, 16, 125, 999):
            if n % factor == 0:
                return f'{n // factor}e{e - r.randrange(3)}'
    return number(r)


def parse(text):
    """As an integer and a power of ten, both of any size."""
    sign, whole, fraction, exponent = re.fullmatch(r'(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?', text).groups()
    fraction = fraction or ''
    return int(sign + '1') * int(whole + fraction), int(exponent or 0) - len(fraction)


def normal(n, e):
    """Without zeros at the end."""
    while n and n % 10 == 0:
        n, e = n // 10, e + 1
    return (n, e) if n else (0, 0)


def compare(a, b):
    (n, e), (m, f) = a, b
    sign, other = (n > 0) - (n < 0), (m > 0) - (m < 0)
    if sign != other or not sign:
        return (sign > other) - (sign < other)
    n, m = abs(n), abs(m)
    size, other = len(str(n)) + e, len(str(m)) + f
    if size == other:
        # The same number of digits before the point: as many digits behind it make them integers.
        longer = max(len(str(n)), len(str(m)))
        size, other = n * 10 ** (longer - len(str(n))), m * 10 ** (longer - len(str(m)))
    return sign * ((size > other) - (size < other))


def is_multiple(a, b):
    (n, e), (m, f) = a, b
    if not n:
        return True
    k = e - f
    # n has no zero at its end, so what is divided by ten is no integer.
    return k >= 0 and abs(n) * pow(10, k, abs(m)) % abs(m) == 0


def expected(first, second):
    a, b = normal(*parse(first)), normal(*parse(second))
    integer = a[1] >= 0
    count = 0
    if integer and a[0] > 0:
        count = min(a[0] * 10 ** a[1], 2 ** 64 - 1) if a[1] < 30 else 2 ** 64 - 1
    return [str(compare(a, b)), str(int(integer)), str(count), str(int(is_multiple(a, b))) if b[0] else '-']


def main():
    p = argparse.ArgumentParser()
    p.add_argument('program')
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--count', type=int, default=8000)
    args = p.parse_args()
    r = random.Random(args.seed)
    pairs = []
    for _ in range(args.count):
        first = number(r)
        pairs.append((first, related(r, first)) if r.randrange(2) else (related(r, first), first))
    out = subprocess.run([args.program], input=''.join(f'{a} {b}\n' for a, b in pairs), stdout=subprocess.PIPE,
                         text=True, timeout=120, check=True).stdout.splitlines()
    bad = abs(len(out) - len(pairs))
    known = 0
    for (a, b), line in zip(pairs, out):
        got, want = line.split(), expected(a, b)
        # The program does not answer if that would take too long.
        known += got[3] != '-'
        if got[:3] != want[:3] or got[3] not in (want[3], '-'):
            bad += 1
            if bad <= 5:
                print(f'{a} and {b}: {" ".join(got)}, but Python says {" ".join(want)}')
    if known < args.count // 2:
        print(f'only {known} of {args.count} answers about multiples')
        bad += 1
    if bad:
        print(f'{bad} of {args.count} pairs are wrong; seed {args.seed}')
    sys.exit(bad != 0)


if __name__ == '__main__':
    main()
