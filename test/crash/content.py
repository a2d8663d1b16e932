"""Contents that say of each 64 bytes whose they are, which version and which block: a NUL, a mixture or a byte of
another file cannot pass for a whole one."""

CELL = 64
LARGE = 32768  # up to here a content lives in a record, beyond in a file of its own
EMPTY = ('', 0, 0)
_MOST = 1 << 20
_IDENTITY = 42
_TEMPLATE = b''.join(b'@' * _IDENTITY + b' b%010d' % i + b' ' * 9 + b'\n' for i in range(_MOST // CELL))


def identity(name, version):
    return b'%-30s v%010d' % (name.encode(), version)


def content(name, version, size, at=0):
    """`size` bytes of it from cell `at` on."""
    assert len(name) <= 30 and '@' not in name and 0 <= size <= _MOST
    data = _TEMPLATE[at * CELL:at * CELL + (size + CELL - 1) // CELL * CELL]
    return data.replace(b'@' * _IDENTITY, identity(name, version))[:size]


def spec(name, version, size):
    """What a content is, in a word."""
    return (name, version, size) if size else EMPTY


def is_large(s):
    return s is not None and isinstance(s, tuple) and s[2] > LARGE


class Bad:
    """A content that no writer has written."""

    def __init__(self, kind, text):
        self.kind, self.text = kind, text

    def __repr__(self):
        return f'<{self.kind}: {self.text}>'


def cells(data):
    """(name, version) of each cell in its place; None for NULs; Bad for anything else."""
    out = []
    for i in range(0, len(data), CELL):
        c = data[i:i + CELL]
        if not c.strip(b'\0'):
            out.append(None)
            continue
        if len(c) < _IDENTITY and out and isinstance(out[-1], tuple) and content(*out[-1], len(c), i // CELL) == c:
            out.append(out[-1])
            continue
        try:
            who = (c[:30].decode().rstrip(), int(c[32:42]))
            if content(*who, len(c), i // CELL) != c:
                raise ValueError
            out.append(who)
        except (ValueError, UnicodeDecodeError, AssertionError):
            out.append(Bad('foreign', f'cell {i // CELL}: {c[:64]!r}'))
    return out


def strange(data, name):
    """The first cell that has anything but bytes of this file, in any version, and NULs; or None. For what was not finished."""
    digits = b'0123456789\0'
    for i in range(0, len(data), CELL):
        c = data[i:i + CELL]
        want = content(name, 0, len(c), i // CELL)
        if c != want and not all(b in (0, w) or 32 <= at < _IDENTITY and b in digits for at, (b, w) in enumerate(zip(c, want))):
            return f'cell {i // CELL}: {c!r}'
    return None


def describe(data):
    """For people: which cells are there, in runs."""
    runs = []
    for i, c in enumerate(cells(data)):
        if runs and runs[-1][2] == repr(c):
            runs[-1][1] = i
        else:
            runs.append([i, i, repr(c)])
    return f'{len(data)} bytes: ' + ', '.join(f'{a}-{b} {c}' for a, b, c in runs[:8]) + (' …' if len(runs) > 8 else '')


def identify(data):
    """The spec of a content, or Bad."""
    if not data:
        return EMPTY
    head = data[:CELL]
    try:
        s = (head[:30].decode().rstrip(), int(head[32:42]), len(data))
        if content(*s) == data:
            return s
    except (ValueError, UnicodeDecodeError, AssertionError):
        pass
    if b'\0' in data:
        return Bad('NUL', describe(data))
    if any(isinstance(c, Bad) for c in cells(data)):
        return Bad('foreign', describe(data))
    return Bad('mixture', describe(data))
