"""What a mount shows after a crash, against what its load wrote down.

`History` reads the records (load.py says which). `Snapshot` is what is there. `check` compares them and returns the
violations: each a kind, for counting, and a sentence."""
import errno
import json
import os

from content import CELL, EMPTY, LARGE, Bad, cells, describe, identify, is_large, strange


class Violation:
    def __init__(self, kind, text):
        self.kind, self.text = kind, text

    def __str__(self):
        return f'{self.kind}: {self.text}'


class Moment:
    """What a crash promises. kill: everything acknowledged. power: what was fsynced, or is older than `bound` seconds."""

    def __init__(self, power, began, ended, bound):
        self.power, self.began, self.ended, self.bound = power, began, ended, bound

    def keeps(self, acknowledged, durable):
        """An operation that was acknowledged and made durable then must be there."""
        if not self.power:
            return acknowledged is not None
        return (durable is not None and durable < self.began) or \
            (acknowledged is not None and acknowledged < self.began - self.bound)

    def may_keep(self, started):
        return started <= self.ended


class Operation:
    def __init__(self, n, started, change):
        self.n, self.started, self.change = n, started, change
        self.acknowledged = self.durable = self.boundary = None

    def __repr__(self):
        def at(t):
            return '-' if t is None else f'{t:.4f}'
        return f'operation {self.n} {self.change} (began {at(self.started)}, acknowledged {at(self.acknowledged)}, fsynced {at(self.durable)})'


def as_spec(value):
    return tuple(value) if isinstance(value, list) else value


class History:
    def __init__(self, folder, moment):
        self.moment = moment
        self.regions = {}  # name: operations
        self.opened = {}  # path: how often somebody began to write it
        self.failed = set()  # paths: a call failed, and what had been written was closed
        self.synced_open = []  # fsynced, and not closed
        self.revisions = []
        self.errors = []
        for name in sorted(os.listdir(folder)):
            if name.startswith('worker'):
                with open(f'{folder}/{name}') as f:
                    self.read(name, [json.loads(line) for line in f if line.endswith('\n')])

    def read(self, worker, records):
        operations = {}
        for what, *rest in records:
            if what == 'S':
                started, n, region, change = rest
                operations[n] = Operation(n, started, change)
                self.regions.setdefault(region, []).append(operations[n])
            elif what == 'E':
                operations[rest[1]].acknowledged = rest[0]
            elif what == 'D' and operations[rest[1]].durable is None:
                operations[rest[1]].durable = rest[0]
            elif what == 'b':
                operations[rest[1]].boundary = rest[0]
            elif what == 'O':
                self.opened[rest[1]] = self.opened.get(rest[1], 0) + 1
            elif what == 'F':
                self.failed.add(rest[1])
            elif what == 'P':
                self.synced_open.append((rest[0], operations[rest[1]], rest[2], as_spec(rest[3])))
            elif what == 'R':
                self.revisions.append((rest[0], rest[1], operations[rest[0]]))
            elif what == 'X':
                self.errors.append((rest[0], f'{worker}: {rest[1]}: {rest[2]}'))

    def count(self):
        return sum(len(ops) for ops in self.regions.values())


class Snapshot:
    """All that a mount shows: files, folders and keys as a region has them, partials, and what is wrong by itself."""

    def __init__(self, point):
        self.there, self.data, self.partials, self.violations = {}, {}, {}, []
        for bucket in sorted(os.listdir(point)):
            self.read_bucket(point, bucket)

    def wrong(self, kind, text):
        self.violations.append(Violation(kind, text))

    def read_bucket(self, point, bucket):
        try:
            with open(f'{point}/{bucket}/data.json') as f:
                for key, value in json.load(f).items():
                    self.there[f'@{bucket}/{key}'] = value
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as e:
            self.wrong('data', f'{bucket}/data.json: {e}')
        listed = {}
        for folder, folders, files in os.walk(f'{point}/{bucket}/files'):
            for name in folders:
                self.there[os.path.relpath(f'{folder}/{name}', point) + '/'] = 'dir'
            for name in files:
                path = os.path.relpath(f'{folder}/{name}', point)
                listed[path] = self.read_file(point, path, name)
        self.check_info(point, bucket, listed)

    def read_file(self, point, path, name):
        try:
            size = os.stat(f'{point}/{path}').st_size
            with open(f'{point}/{path}', 'rb') as f:
                data = f.read()
        except OSError as e:
            self.wrong('read', f'{path}: {e}')
            if not name.endswith('.partial'):
                self.there[path] = Bad('read', str(e))
            return -1
        if len(data) != size:
            self.wrong('size', f'{path}: stat says {size}, and there are {len(data)} bytes')
        if name.startswith('.') and name.endswith('.partial'):
            self.partials[path] = data
        else:
            self.data[path] = data
            self.there[path] = identify(data)
        if name.endswith('_x'):
            try:
                self.there[path + '#'] = int(os.getxattr(f'{point}/{path}', 'user.tag'))
            except OSError as e:
                if e.errno != errno.ENODATA:
                    self.wrong('read', f'{path}: user.tag: {e}')
        return size

    def check_info(self, point, bucket, listed):
        try:
            with open(f'{point}/{bucket}/.bucketfs/info.json') as f:
                info = json.load(f)
        except (OSError, ValueError) as e:
            return self.wrong('count', f'{bucket}: info.json: {e}')
        told = {f['path']: f['size'] for f in info['files']}
        if told != listed or len(info['files']) != len(listed):
            self.wrong('count', f'{bucket}: info.json and ls differ: {sorted(set(told.items()) ^ set(listed.items()))[:6]}')
        self.there[f'!{bucket}'] = info['bucket']['revision']

    def same_as(self, other):
        """What a start changes that comes later, without a crash: nothing."""
        out = []
        for mine, theirs, what in ((self.there, other.there, ''), (self.data, other.data, 'the bytes of '),
                                   (self.partials, other.partials, 'the partial ')):
            for path in sorted(set(mine) | set(theirs)):
                a, b = mine.get(path), theirs.get(path)
                if a != b and not path.startswith('!') and not (isinstance(a, Bad) and isinstance(b, Bad)):
                    if isinstance(a, bytes):
                        a = describe(a)
                    if isinstance(b, bytes):
                        b = describe(b)
                    out.append(Violation('restart', f'{what}{path} was {a} and is {b} after another start'))
        return out


class Region:
    """One region's operations replayed: which of its states are there?"""

    def __init__(self, name, operations, history):
        self.name, self.moment = name, history.moment
        self.operations = [o for o in operations if self.moment.may_keep(o.started)]
        # The first state that may be there is the last one that must.
        self.least = 0
        for i, o in enumerate(self.operations, 1):
            if self.moment.keeps(o.acknowledged, o.durable):
                self.least = i
        self.kept = self.contents_that_are_kept()
        self.paths = set()
        self.failed = history.failed

    def contents_that_are_kept(self):
        now, kept = {}, set()
        for o in self.operations:
            if 'mv' in o.change:
                old, new = o.change['mv']
                if not old.endswith('/'):
                    now[new] = now.pop(old)
                changed = {now.get(new)}
            else:
                now.update((p, as_spec(v)) for p, v in o.change.items())
                changed = {as_spec(v) for v in o.change.values()}
            if self.moment.keeps(o.acknowledged, o.durable):
                kept |= changed
        return kept

    def states(self):
        """Yields what is there after each operation, from none on: path → (specs that may be there, may be missing)."""
        state = {}
        yield state
        for o in self.operations:
            state = dict(state)
            if 'mv' in o.change:
                self.move(state, *o.change['mv'])
            else:
                for path, value in o.change.items():
                    self.put(state, path, as_spec(value))
            yield state

    def put(self, state, path, value, also=frozenset()):
        self.paths.add(path)
        if value is None:
            state.pop(path, None)
            return
        if self.moment.power and is_large(value) and value not in self.kept:
            # The power may go before its bytes are on the disk: then it is what it was before, or nothing.
            before, missing = state.get(path, (frozenset(), True))
            state[path] = (frozenset({value}) | before | also, missing)
        else:
            state[path] = (frozenset({value}), False)

    def move(self, state, old, new):
        if not old.endswith('/'):
            specs, _ = state.pop(old)
            if len(specs) == 1:
                self.put(state, new, next(iter(specs)))
            else:
                before, missing = state.get(new, (frozenset(), True))
                self.paths.add(new)
                state[new] = (specs | before, missing)
            return
        for path in [p for p in state if p.startswith(old)]:
            state[new + path[len(old):]] = state.pop(path)
            self.paths.add(new + path[len(old):])

    def fits(self, state, there):
        """What does not fit: paths."""
        bad = []
        for path in self.paths:
            specs, missing = state.get(path, (frozenset(), True))
            now = there.get(path)
            # What failed may have been another call than a write; then it was closed with nothing in it.
            if now == EMPTY and path in self.failed:
                continue
            if not (missing if now is None else isinstance(now, (str, int, tuple)) and now in specs):
                bad.append(path)
        return bad

    def check(self, there):
        """(violations, first and last operation count that fits)"""
        states = list(self.states())
        bad = {i: self.fits(s, there) for i, s in enumerate(states)}
        fitting = [i for i in range(self.least, len(states)) if not bad[i]]
        if fitting:
            return [], fitting[0], fitting[-1]
        return [self.explain(states, bad, there)], None, None

    def explain(self, states, bad, there):
        for path in sorted(self.paths):
            if isinstance(there.get(path), Bad):
                b = there[path]
                return Violation(b.kind, f'{path} is {b.text}; {self.last_known(path)}')
        for path in sorted(bad[self.least]):
            if path in there and isinstance(there[path], tuple) and there[path] not in self.closed():
                return Violation('unclosed', f'{path} is {there[path]}, and no writer has closed that; {self.last_known(path)}')
        earlier = [i for i in range(self.least) if not bad[i]]
        least = self.operations[self.least - 1] if self.least else None
        shown = {p: there.get(p) for p in sorted(bad[self.least])[:4]}
        if earlier:
            return Violation('lost', f'{self.name} is as of operation {earlier[-1] and self.operations[earlier[-1] - 1]}, '
                             f'without {least}: {shown}')
        last = sorted(bad[len(states) - 1])[:4]
        lost = self.least and all(there.get(p) is None for p in bad[self.least])
        return Violation('lost' if lost else 'torn', f'{self.name}: no moment has {({p: there.get(p) for p in last})} or {shown}; '
                         f'the last that must be there is {least}, the last of all {self.operations[-1] if self.operations else None}')

    def closed(self):
        return {as_spec(v) for o in self.operations for v in o.change.values()}

    def last_known(self, path):
        about = [o for o in self.operations if path in o.change or path in o.change.get('mv', ())]
        return 'its last: ' + '; '.join(map(repr, about[-3:]))


class LogRegion:
    """A file that is changed in place. Each cell is one that was there since what must be there; its length is one at which
    it was closed or fsynced."""

    def __init__(self, name, operations, history):
        self.name, self.moment = name, history.moment
        self.operations = [o for o in operations if self.moment.may_keep(o.started)]
        self.path = operations[0].change['log']
        self.paths = {self.path}
        self.least = 0
        for i, o in enumerate(self.operations, 1):
            if self.moment.keeps(o.acknowledged, o.durable):
                self.least = i

    @staticmethod
    def apply(now, change):
        """What an operation makes of the cells; the places that it touches."""
        what, first, count, version = change['do']
        if what == 'cut':
            del now[first:]
            return range(0)
        value = 0 if what in ('lengthen', 'punch') else version
        for i in range(first, first + count):
            if i < len(now):
                now[i] = value
            else:
                now.append(value)
        return range(first, first + count)

    def check(self, snapshot):
        data = snapshot.data.get(self.path)
        now, lengths = [], set()
        for o in self.operations[:self.least]:
            self.apply(now, o.change)
        must = list(now)
        if data is None:
            if self.least:
                return [Violation('lost', f'{self.path} is gone; it had {len(must)} cells after {self.operations[self.least - 1]}')]
            return []
        found = cells(data)
        name = os.path.basename(self.path)
        versions = [0 if c is None else c[1] if not isinstance(c, Bad) and c[0] == name else -1 for c in found]
        lengths.add(len(now))
        wrong = {i for i, v in enumerate(versions) if i >= len(now) or now[i] != v}
        for o in self.operations[self.least:]:
            before = len(now)
            for i in self.apply(now, o.change):
                if i in wrong and now[i] == versions[i]:
                    wrong.discard(i)
            if not self.moment.power and o.acknowledged is None:
                # A write is whole when it returns.
                lengths.update(range(min(before, len(now)), max(before, len(now)) + 1))
            # A close of any descriptor commits all that was written before it, and ftruncate commits a file that becomes shorter: so
            # the end of every operation may be the end of the log. The middle of none may.
            lengths.add(len(now))
            if before * CELL <= LARGE < len(now) * CELL:
                lengths.add(before)  # it has moved from its record to a file of its own
        last = f'; it was {len(must)} cells, after {self.operations[self.least - 1] if self.least else None}'
        if wrong:
            nuls = [i for i in wrong if versions[i] == 0]
            synced = [i for i in nuls if i < len(must) and must[i]]
            kind = 'NUL over what was kept' if synced else 'NUL' if nuls else 'foreign' if any(versions[i] == -1 for i in wrong) else 'lost'
            return [Violation(kind, f'{self.path}: {len(wrong)} cells, {min(wrong)}-{max(wrong)}, are not what they were: '
                              f'{describe(data)}{last}')]
        if len(data) % CELL or len(versions) not in lengths:
            short = len(versions) < min(lengths)
            return [Violation('lost' if short else 'boundary', f'{self.path} has {len(data)} bytes, {len(data) / CELL} cells, not one of '
                              f'{sorted(lengths)[:10]} cells{last}')]
        return []


def check_partials(history, snapshot, regions):
    """One is there only if its writer had not closed, or the power went before its bytes were on the disk."""
    finished, soft = {}, set()
    for region in regions:
        for o in region.operations:
            for path, value in o.change.items():
                if isinstance(value, (list, tuple)) and path not in ('log', 'mv', 'do'):
                    if o.acknowledged is not None:
                        finished[path] = finished.get(path, 0) + 1
                    # Of a group the log may end with what its first command has left.
                    if history.moment.power and as_spec(value) not in region.kept and (
                            is_large(as_spec(value)) or os.path.basename(path)[2:4] == '_r'):
                        soft.add(os.path.basename(path))
    unfinished = {os.path.basename(p) for p, n in history.opened.items() if n > finished.get(p, 0)}
    logs = {os.path.basename(r.path) for r in regions if isinstance(r, LogRegion) and not r.least}
    out = []
    for path, data in snapshot.partials.items():
        name = os.path.basename(path)[1:-len('.partial')]
        if name not in unfinished | soft | logs and not moved_from(regions, name, unfinished | soft):
            out.append(Violation('partial', f'{path} is there, and every writer had closed: {describe(data)}'))
        # A temporary file takes what is in it along when it is renamed.
        if strange(data, name) and strange(data, name + '.tmp'):
            out.append(Violation('foreign', f'{path}: {strange(data, name)}'))
    return out


def moved_from(regions, name, names):
    """A file that got this name by a rename, and may be unfinished."""
    return any(os.path.basename(o.change['mv'][1]) == name and os.path.basename(o.change['mv'][0]) in names
               for r in regions for o in r.operations if 'mv' in o.change)


def check_one_moment(fitting):
    """Of all merges, names and small files, whatever was acknowledged before one that is there began is there as well."""
    latest = earliest = None
    for region, first, last in fitting:
        if first:
            o = region.operations[first - 1]
            if latest is None or o.started > latest[0]:
                latest = (o.started, region.name, o)
        if last < len(region.operations):
            o = region.operations[last]
            if o.acknowledged is not None and (earliest is None or o.acknowledged < earliest[0]):
                earliest = (o.acknowledged, region.name, o)
    if latest and earliest and earliest[0] < latest[0]:
        return [Violation('moment', f'{latest[1]}: {latest[2]} is there, and {earliest[1]}: {earliest[2]} from before it is not')]
    return []


def check_revision(history, snapshot):
    now, n = snapshot.there.get('!revisions'), snapshot.there.get('@revisions/n')
    known = [(revision, next(iter(o.change.values()))) for _, revision, o in history.revisions if revision is not None]
    if now is None or n is None or not known:
        return []
    for revision, value in known:
        if (revision <= now) != (value <= n):
            return [Violation('revision', f'revision {now} has merge {n}, and merge {value} made revision {revision}')]
    return []


def check_synced_open(history, snapshot):
    """fsync had returned 0 and close had not been called: the bytes are there, under the name or as the partial."""
    out = []
    for when, o, path, s in history.synced_open:
        if o.acknowledged is not None and o.acknowledged < history.moment.ended or s == EMPTY:
            continue
        if when >= history.moment.began:
            continue
        folder, name = os.path.split(path)
        partial = snapshot.partials.get(f'{folder}/.{name}.partial')
        if snapshot.there.get(path) != s and (partial is None or identify(partial) != s):
            moved = [p for p, v in snapshot.there.items() if v == s]
            if not moved:
                out.append(Violation('lost', f'{path}: {s} was fsynced, and neither the file ({snapshot.there.get(path)}) nor the '
                                     f'partial ({partial and describe(partial)}) has it'))
    return out


def check_errors(history, died):
    """No operation fails before the crash; and no fsync that begins on a dead disk returns 0."""
    out = [Violation('failed', text) for when, text in history.errors if when < died]
    if history.moment.power:
        for name, operations in history.regions.items():
            for o in operations:
                if o.durable is not None and o.started > history.moment.ended:
                    out.append(Violation('fsync', f'{name}: fsync returned 0 on a disk without power: {o}'))
                    break
    return out


def check(history, snapshot, died):
    out = list(snapshot.violations) + check_errors(history, died)
    regions, fitting, known = [], [], set()
    for name, operations in sorted(history.regions.items()):
        is_log = 'log' in operations[0].change
        region = (LogRegion if is_log else Region)(name, operations, history)
        regions.append(region)
        if is_log:
            out += region.check(snapshot)
        else:
            violations, first, last = region.check(snapshot.there)
            out += violations
            if not violations:
                fitting.append((region, first, last))
        known |= region.paths
    for path in sorted(snapshot.there):
        if path in history.failed and snapshot.there[path] == EMPTY:
            continue
        if path in history.opened and path not in known:
            out.append(Violation('unclosed', f'{path} ({snapshot.there[path]}) is there, and no writer has closed it'))
        elif path not in known and not path.startswith('!'):
            out.append(Violation('foreign', f'{path} ({snapshot.there[path]}) is there, and nobody made it'))
    return out + check_partials(history, snapshot, regions) + check_one_moment(fitting) + check_revision(history, snapshot) + \
        check_synced_open(history, snapshot)


def check_not_listed(point, history, snapshot):
    """What is not listed is not there by its name either."""
    out = []
    for path in history.opened:
        if path not in snapshot.there:
            try:
                os.stat(f'{point}/{path}')
                out.append(Violation('hidden', f'{path} can be found and is not listed'))
            except FileNotFoundError:
                pass
            except OSError as e:
                out.append(Violation('hidden', f'{path}: {e}'))
    return out


def attribute_bytes(path):
    """Names and values count as well."""
    return sum(len(name) - 5 + len(os.getxattr(path, name)) for name in os.listxattr(path))


def check_counts(point, bucket):
    """What the bucket is counted to hold is what it holds: its limits end where they should."""
    b, files, size, held = f'{point}/{bucket}', 0, 0, []
    for folder, folders, names in os.walk(b + '/files'):
        files += len(folders) + len(names)
        size += sum(os.stat(f'{folder}/{n}').st_size for n in names)
        # A partial would give way, unless somebody has it open.
        held += [os.open(f'{folder}/{n}', os.O_RDONLY) for n in names if n.endswith('.partial')]
        size += sum(attribute_bytes(f'{folder}/{n}') for n in folders + names)
    size += sum(attribute_bytes(path) for path in (b, b + '/files', b + '/data.json') if os.path.exists(path))
    out = []
    for limit, value, first in (('max_files', files + 2, 1), ('max_total_size', size + 1000, 1000)):
        os.setxattr(b, f'user.bucketfs.{limit}', b'%d' % value)
        try:
            with open(b + '/files/count1', 'wb') as f:
                f.write(b'.' * first)
            with open(b + '/files/count2', 'wb') as f:
                f.write(b'.')
                f.flush()
            if limit == 'max_files':
                with open(b + '/files/count3', 'wb'):
                    pass
            out.append(Violation('count', f'{bucket}: {files} files and {size} bytes, and {limit}={value} allows one more'))
        except OSError as e:
            there = sorted(n for n in os.listdir(b + '/files') if n.startswith('count'))
            whole = ['count1', 'count2'] if limit == 'max_files' else ['count1']
            if e.errno != errno.EDQUOT or [n for n in whole if n not in there]:
                out.append(Violation('count', f'{bucket}: {files} files and {size} bytes, {limit}={value} says {e}; there are {there}'))
        os.removexattr(b, f'user.bucketfs.{limit}')
        for n in os.listdir(b + '/files'):
            if n.lstrip('.').startswith('count'):
                os.unlink(f'{b}/files/{n}')
    for fd in held:
        os.close(fd)
    return out


def blobs(store):
    return sorted(os.path.join(folder, n) for folder, _, names in os.walk(store + '/blobs') for n in names)
