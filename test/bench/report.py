"""From values to what a person reads: the table, report.md, growth.svg."""
import math
import os
import re
import statistics
import subprocess

import rows

OURS = 'bucketfs'


class Facts:
    """What the machine and the set-up are. No path and no name of this machine."""

    def __init__(self, bench):
        uname = os.uname()
        self.kernel = f'{uname.sysname} {uname.release} {uname.machine}'
        self.cores = os.cpu_count()
        with open('/proc/cpuinfo') as f:
            self.cpu = next((line.split(':')[1].strip() for line in f if line.startswith('model name')), 'unknown')
        with open('/proc/meminfo') as f:
            self.memory = int(f.readline().split()[1]) >> 20
        self.disk = bench.systems.disk_type
        self.uring = bench.systems.uring_before is not None
        out = subprocess.run([os.path.join(bench.options.build, 'bucketfs'), '-V'], stdout=subprocess.PIPE, text=True).stdout
        self.version = ', '.join(line.strip() for line in out.splitlines() if line.strip())
        self.options = bench.systems.bucketfs_options()
        self.kinds = {name: system.kind for name, system in bench.systems.made.items()}
        self.why_not = dict(bench.systems.why_not)
        self.descriptors = bench.descriptors
        self.attribute_names = getattr(bench, 'attribute_names', {})
        self.load = os.getloadavg()[0]


# ---- numbers ----

def amount(value, unit):
    if unit == 's':
        return f'{value:.2f} s'
    if unit == 'B':
        return f'{value / (1 << 20):.0f} MiB'
    if unit == 'B/s':
        return f'{value / (1 << 20):,.0f} MiB/s'
    return f'{three_digits(value)}/s'


def three_digits(value):
    return f'{value:,.0f}' if value >= 100 else f'{value:.3g}'


def times(ratio):
    return f'{ratio:.0f}' if ratio >= 20 else f'{ratio:.2f}'


class Line:
    """A row at a number of threads, with what came of it."""

    def __init__(self, row, threads, bench, facts):
        self.row, self.threads, self.target = row, threads, row.target_at(threads)
        self.required = (self.target or row.at_most) is not None
        ours = bench.values.get((OURS, row.measure, threads), {})
        self.count = len(ours)
        self.ours = statistics.median(ours.values()) if ours else None
        self.peer = self.ratio = None
        self.met = None
        if row.at_most is not None:
            self.met = self.ours is not None and self.ours <= row.at_most
            return
        peer = bench.values.get((row.peer, row.peer_measure, row.peer_threads or threads), {})
        both = sorted(set(ours) & set(peer))
        if both:
            ratios = [ours[r] / peer[r] for r in both]
            self.count = len(both)
            self.peer = statistics.median(peer.values())
            self.ratio, self.low, self.high = statistics.median(ratios), min(ratios), max(ratios)
            self.met = None if self.target is None else self.ratio >= self.target

    def least(self, bench, facts):
        """What is possible at all: a sentence, or None. See rows.Least."""
        least = self.row.least

        def rate(measure, threads):
            return statistics.median(bench.values.get((OURS, measure, threads), {0: 0}).values())

        if not least or not self.peer:
            return None
        if least.same:
            best = rate(least.same, self.threads)
            what = 'the same without waiting for the disk'
        elif self.threads in least.rest:
            rates = [rate(f'{self.row.measure}-{what}', self.threads) for what in ('rest', 'committed')]
            if not all(rates):
                return None
            asking, committing = (1 / r for r in rates)
            best = 1 / (asking + committing)
            what = f'all but what the daemon does for it, {asking * 1e6:.1f} µs'
        else:
            rates = [rate(f'{self.row.measure}-calling', self.threads), rate('request', self.threads),
                     *(rate(c, 1) for c in least.commits)]
            if not all(rates):
                return None
            calling, serving, committing = 1 / rates[0], least.all / rates[1], sum(1 / r for r in rates[2:])
            processors = min(self.threads, facts.cores)
            best = processors / (calling + serving + committing)
            what = f'on {processors} processors, {calling * 1e6:.1f} µs of who calls, {serving * 1e6:.1f} µs for {least.all} ' \
                   f'request{"s" if least.all > 1 else ""} with nothing done in {"them" if least.all > 1 else "it"}'
        if not least.same and committing:
            what += f', and the store\'s commits, {committing * 1e6:.1f} µs'
        if not best:
            return None
        ratio = best / self.peer
        end = ', so that it cannot be reached here' if ratio < self.target else ''
        return f'{what}: {times(ratio)} at the most{end}'

    def peer_kind(self, facts):
        return facts.kinds.get(self.row.peer, self.row.peer)

    def cells(self, facts):
        row = self.row
        peer = self.peer_kind(facts)
        if row.peer_work:
            peer = row.peer_work if row.peer in (OURS, 'memory') else f'{peer} {row.peer_work}'
        if row.at_most is not None:
            wanted = f'≤ {amount(row.at_most, row.unit)}'
        else:
            wanted = '' if self.target is None else f'{self.target:g}'
        missing = self.required and (self.ours is None or (row.at_most is None and self.ratio is None))
        verdict = 'not run' if missing else {True: 'met', False: 'not met', None: ''}[self.met]
        beside = f'{amount(self.peer, row.unit)}, {peer}' if self.peer else f'not run: {peer}'
        return [row.work, str(self.threads), amount(self.ours, row.unit) if self.ours else '',
                '' if row.at_most is not None else beside,
                f'{times(self.ratio)} ({times(self.low)}..{times(self.high)})' if self.ratio else '', wanted, verdict]


HEADINGS = ['work', 'threads', 'bucketfs', 'peer', 'ratio (min..max)', 'target', 'verdict']


def lines(bench, facts):
    """Rows that were asked for and that apply here."""
    return [Line(row, t, bench, facts) for row in bench.options.rows for t in row.threads
            if not (row.where and row.where != facts.disk)]


def compact(all_lines, facts):
    """For information: one line for a work, one column for a peer; what compares different works stays as it is."""
    others = [line for line in all_lines if not line.required]
    plain = [line for line in others if not line.row.peer_work]
    peers = list(dict.fromkeys(facts.kinds.get(line.row.peer, line.row.peer) for line in plain))
    table = {}
    for line in plain:
        cells = line.cells(facts)
        if line.ratio:
            found = table.setdefault((cells[0], cells[1], cells[2]), {})
            found[facts.kinds[line.row.peer]] = f'{times(line.ratio)} × {amount(line.peer, line.row.unit)}'
    first = [HEADINGS[:3] + peers] + [[*key] + [found.get(p, '') for p in peers] for key, found in table.items()]
    second = [HEADINGS[:5]] + [line.cells(facts)[:5] for line in others if line.row.peer_work]
    return [t for t in (first, second) if len(t) > 1]


def tally(all_lines):
    required = [line for line in all_lines if line.required]
    met = sum(line.met is True for line in required)
    return f'{met} of {len(required)} targets met'


# ---- the table on a terminal ----

def aligned(cells):
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    right = (1, 2)
    out = ['  '.join(c.rjust(w) if n in right else c.ljust(w) for n, (c, w) in enumerate(zip(row, widths))).rstrip()
           for row in cells]
    return [out[0], '-' * max(map(len, out)), *out[1:]]


def table(bench, facts, all_lines):
    out = []
    required = [line.cells(facts) for line in all_lines if line.required]
    if required:
        out += aligned([HEADINGS] + required)
    for cells in compact(all_lines, facts):
        out += ['', *aligned(cells)]
    for measure, series in growth(bench).items():
        out += ['', f'{rows.GROWTH[measure][0]}, {rows.GROWTH[measure][2]}', *aligned(growth_cells(measure, series, facts))]
    out += ['', *(f'not run: {name}: {reason}' for name, reason in facts.why_not.items())]
    quick = '--quick: few files and few repetitions, so the ratios say little; ' if bench.options.quick else ''
    out.append(f'{quick}{tally(all_lines)}, {bench.seconds:.0f} s: ' +
               ', '.join(f'{title} {seconds:.0f}' for title, seconds in bench.spent.items()))
    return '\n'.join(out)


# ---- how cost grows ----

def growth(bench):
    """measure -> system -> [(size, microseconds)]"""
    found = {}
    for measure in bench.options.growth:
        for system in rows.GROWTH[measure][3]:
            points = sorted((size, 1e6 / statistics.median(v.values()))
                            for (s, m, size), v in bench.values.items() if (s, m) == (system, measure))
            if points:
                found.setdefault(measure, {})[system] = points
    return found


def growth_cells(measure, series, facts):
    _, x, _, names, _ = rows.GROWTH[measure]
    points = sorted({p for s in series.values() for p, _ in s})
    cells = [[x] + [f'{p:,}' for p in points]]
    for system, found in series.items():
        at = dict(found)
        cells.append([names[system] or facts.disk] + [three_digits(at[p]) if p in at else '' for p in points])
    return cells


# ---- report.md ----

def markdown_table(cells):
    out = ['| ' + ' | '.join(row) + ' |' for row in cells]
    return [out[0], '|' + '---|' * len(cells[0]), *out[1:]]


HOW = '''
- All in one run, {repetitions} repetitions, the systems in turn, in another order each time. Figures are medians; the
  ratio is the median of the ratios of each repetition, with the smallest and the largest. It is our rate by the peer's:
  more is better.
- {files:,} files of 4 KiB in one folder, a fresh folder for each repetition. The large file has {large} MiB and is read and
  written in pieces of 128 KiB. Folders to list have {names:,} names.{fewer}
- bucketfs: `-o {options}`, its store on {disk}. It and the peers run over {ring}.
- passthrough_ll: libfuse's example, from the same source as the library that we use, over tmpfs, with its own defaults
  (names and attributes are good for a second, pages until the next open) and as many threads as libfuse starts. At every
  lookup it searches a list of all files that the kernel knows. "classic" is the same without io_uring; "cache=always" keeps
  names, attributes and pages for a day, as bucketfs does.
- passthrough_hp: over tmpfs, and for the large file over the disk, where it has the kernel read and write the file itself.
  It keeps names for a day and finds files by a hash table.
- {disk} itself: a new folder each time, and nothing of it is removed before the end, for creating files just after as many
  were removed from the disk is several times slower there; that is among what is for information.
- "first after it was made": the kernel has what creating the files has left in it; "again" is at once after that, and
  rewrite at once after "again".
- "not in the kernel", "cold" and listings: the kernel has just dropped all names, attributes and pages. For all but the large
  file and the mount of the full store our records are then read into memory again, for the peer's tmpfs is in memory too.
  unlink comes at once after stat, so that the kernel knows the names.
- What a merge, a setxattr and a read of data.json are compared with is measured right beside it.
- flock + jq + mv is on tmpfs: `( flock 9; jq … data.json > data.tmp && mv data.tmp data.json ) 9> lock`; ours is
  `echo … > data.json`; both are loops in one bash.
- What fdatasync costs depends on what is synced: appending, as every log does, syncs the new size as well, overwriting does
  not. The target is held against appending; the other is for information. The writers have a bucket each, for the kernel
  lets one process fsync a file at a time, so that in one bucket there is nothing to group.
- The full store has {full_files:,} files of 4 KiB in 100 buckets, and {empty:,} empty buckets. It is mounted with nothing of
  it in memory.
- Where a figure was not reached stands what it would be at the most, measured in the same run. With one thread, and for unlink,
  where the kernel lets one at a time into the folder, that is the time that it took, less what the daemon spent in all requests
  but for the store's commits in them (RocksDB's own `Write`), both by its metrics. With several threads it is everything that a
  processor has to do: what the caller did of it in that run, what the daemon takes for as many requests in which nothing is
  done (a getxattr that is answered at once), and the commits as they are without FUSE.
- The large file is copied and read three times in each repetition, of which the fastest counts, for ours and for the peers
  alike, and before that as much memory is touched, so that the kernel has it to give: on a virtual machine the host may have taken
  it back, and giving it again takes up to two thirds of the speed of one or the other.
- What has no target has fewer repetitions.
- s3fs and its like need a server, so they are not here; `rclone mount` of a local folder (--vfs-cache-mode writes) is.
'''

FEWER = ''' Listing with
  attributes, passthrough_ll gets {names:,} names instead: it keeps a descriptor for each and may have {descriptors:,} here.
  That favours it, because of its list.'''


def how(bench, facts):
    sizes = bench.sizes
    names = facts.attribute_names.get('passthrough_ll', sizes.names)
    return HOW.strip().format(
        repetitions=bench.options.repetitions, files=sizes.files, large=sizes.large >> 20, names=sizes.names,
        fewer=FEWER.format(names=names, descriptors=facts.descriptors) if names < sizes.names else '',
        options=facts.options, disk=facts.disk, full_files=100 * sizes.store_files, empty=sizes.store_buckets - 100,
        ring='FUSE over io_uring' if facts.uring else 'the classic channel: this kernel has no FUSE over io_uring')


def report_text(bench, facts, all_lines, limits):
    quick = ' --quick: few files, few repetitions, a first look only' if bench.options.quick else ''
    out = ['# How fast bucketfs is', '', f'Written by `scripts/bench`{quick}.', '']
    out += markdown_table([
        ['machine', ''], ['kernel', facts.kernel], ['processor', f'{facts.cores} × {facts.cpu}'],
        ['memory', f'{facts.memory} GiB'], ['under the store', facts.disk], ['versions', facts.version]])
    out += ['', f'**{tally(all_lines)}**, in {bench.seconds:.0f} seconds.', '']
    out += markdown_table([HEADINGS] + [line.cells(facts) for line in all_lines if line.required])
    if growth(bench):
        out += ['', '## How cost grows', '', '![How cost grows](growth.svg)', '']
    for measure, series in growth(bench).items():
        out += [f'{rows.GROWTH[measure][0]}, {rows.GROWTH[measure][2]}:', '']
        out += [*markdown_table(growth_cells(measure, series, facts)), '']
    out += ['## For information', '', 'Beside other peers: how many times the rate of each.', '']
    for cells in compact(all_lines, facts):
        out += [*markdown_table(cells), '']
    out += ['## How it was measured', '', how(bench, facts)]
    if facts.why_not:
        out += ['', '## Peers that did not run', '', *(f'- {name}: {reason}' for name, reason in facts.why_not.items())]
    not_met = [line for line in all_lines if line.required and not line.met]
    if not_met:
        out += ['', '## Where a figure was not reached', '']
        for line in not_met:
            c = line.cells(facts)
            threads = f', {c[1]} threads' if line.threads > 1 else ''
            got = f'{c[4]} of {c[5]}, {c[2]} beside {c[3]}' if line.ratio else f'{c[2] or "not run"}, {c[5]}'
            least = line.least(bench, facts)
            out.append(f'- {c[0]}{threads}: {got}' + (f'. {least[0].upper()}{least[1:]}.' if least else ''))
        if limits:
            out += ['', limits.strip()]
    return '\n'.join(out) + '\n'


# ---- growth.svg ----

WIDTH, HEIGHT, GAP = 320, 300, 10
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 62, 46
COLOURS = ['#1f6feb', '#c2410c', '#57606a']


def nice(value):
    """The next 1, 2 or 5 at or above value."""
    power = 10 ** math.floor(math.log10(value))
    return next(n * power for n in (1, 2, 5, 10) if n * power >= value * 0.999)


def short(value):
    for size, letter in ((1e6, 'M'), (1e3, 'k')):
        if value >= size:
            return f'{value / size:g}{letter}'
    return f'{value:g}'


def ticks(values, logarithmic):
    """Where the axis begins and ends, and its ticks."""
    if logarithmic:
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        high += low == high
        return low, high, [(e, 10 ** e) for e in range(low, high + 1)]
    step = nice(max(values) / 5)
    count = math.ceil(max(values) / step)
    return 0, count * step, [(i * step, i * step) for i in range(count + 1)]


def panel(left, measure, series, facts):
    title, x_title, y_title, names, y_log = rows.GROWTH[measure]
    x_log = min(x for points in series.values() for x, _ in points) > 0
    x_low, x_high, x_ticks = ticks([x for p in series.values() for x, _ in p], x_log)
    y_low, y_high, y_ticks = ticks([y for p in series.values() for _, y in p], y_log)

    def at_x(v):
        return left + LEFT + ((math.log10(v) if x_log else v) - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def at_y(v):
        return HEIGHT - BOTTOM - ((math.log10(v) if y_log else v) - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    begin, end, floor = left + LEFT, left + WIDTH - RIGHT, HEIGHT - BOTTOM
    out = [f'<text x="{begin}" y="20" class="title">{title}</text>']
    for _, v in y_ticks:
        out.append(f'<path d="M{begin} {at_y(v):.1f}H{end}" class="grid"/>')
        out.append(f'<text x="{begin - 6}" y="{at_y(v) + 4:.1f}" text-anchor="end">{short(v)}</text>')
    for _, v in x_ticks:
        out.append(f'<path d="M{at_x(v):.1f} {floor}v4" class="axis"/>')
        out.append(f'<text x="{at_x(v):.1f}" y="{floor + 17}" text-anchor="middle">{short(v)}</text>')
    out.append(f'<path d="M{begin} {TOP}V{floor}H{end}" class="axis"/>')
    out.append(f'<text x="{(begin + end) / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">{x_title}</text>')
    turned = f'translate({left + 14} {(TOP + floor) / 2:.0f}) rotate(-90)'
    out.append(f'<text transform="{turned}" text-anchor="middle">{y_title}</text>')
    legend = left + LEFT
    for colour, (system, points) in zip(COLOURS, series.items()):
        path = ' '.join(f'{at_x(x):.1f},{at_y(y):.1f}' for x, y in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3" fill="{colour}"/>' for x, y in points]
        out.append(f'<circle cx="{legend + 4}" cy="38" r="4" fill="{colour}"/>')
        name = names[system] or facts.disk
        out.append(f'<text x="{legend + 12}" y="42">{name}</text>')
        legend += 24 + round(6.4 * len(name))
    return out


def chart(bench, facts):
    found = growth(bench)
    width = len(found) * (WIDTH + GAP)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" viewBox="0 0 {width} {HEIGHT}" '
           'font-family="sans-serif" font-size="12" fill="#24292f">',
           '<style>.title{font-size:14px;font-weight:bold}.grid{stroke:#d8dee4}.axis{stroke:#57606a;fill:none}</style>',
           f'<rect width="{width}" height="{HEIGHT}" fill="white"/>']
    for i, (measure, series) in enumerate(found.items()):
        out += panel(i * (WIDTH + GAP), measure, series, facts)
    return '\n'.join(out + ['</svg>']) + '\n'


def write(bench, facts, all_lines, folder, limits_path):
    """limits_path: what people have written about the rows that were not met; its heading is left out."""
    limits = ''
    if os.path.exists(limits_path):
        with open(limits_path) as f:
            limits = re.sub(r'\A#[^\n]*\n', '', f.read())
    with open(os.path.join(folder, 'report.md'), 'w') as f:
        f.write(report_text(bench, facts, all_lines, limits))
    if growth(bench):
        with open(os.path.join(folder, 'growth.svg'), 'w') as f:
            f.write(chart(bench, facts))
