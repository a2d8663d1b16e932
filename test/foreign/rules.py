"""The checks of pjdfstest that bucketfs does not meet by design. Each rule has a name, and its reason stands in `skips`.

A check is a call, what should come of it and what did. Many a check builds on one before it: where that was skipped, the
names in it are not as the suite thinks, until they have been made anew."""
import re

# Laid over the suite's own functions, which tell a number only.
TELL = r'''
expect()
{
	e="${1}"
	shift
	r=`${fstest} $* 2>/dev/null | tail -1`
	if echo "${r}" | grep -Eq '^'${e}'$'; then word="ok"; else word="not ok"; fi
	echo "${word} ${ntest} - $* :: expected ${e} got ${r}${todomsg:+ # TODO ${todomsg}}"
	todomsg=""
	ntest=`expr $ntest + 1`
}
test_check()
{
	if [ $* ]; then word="ok"; else word="not ok"; fi
	echo "${word} ${ntest} - check $* :: expected true got false${todomsg:+ # TODO ${todomsg}}"
	todomsg=""
	ntest=`expr $ntest + 1`
}
'''
LINE = re.compile(r'^((not )?ok \d+ - (.*) :: expected (\S+) got ?(.*?))( # TODO.*)?$')
# Of each call, which of its words are names.
NAMES = {'link': (0, 1), 'symlink': (1,), 'rename': (0, 1)}
MAKES = {'create': 0, 'mkdir': 0, 'open': 0, 'symlink': 1, 'rename': 1, 'bind': 0}


class Step:
    def __init__(self, match):
        self.line, no, call, self.want, self.got, todo = match.groups()
        self.good = not no or bool(todo)
        words = call.split()
        self.masked, self.other = '-U' in words, '-u' in words  # under a umask, by another user
        while words and words[0].startswith('-') and words[0] != '-1':
            words = words[2:] if words[0] in ('-u', '-g', '-U') else words[1:]
        self.call, self.words = (words[0], words[1:]) if words else ('', [])
        self.names = [self.words[i] for i in NAMES.get(self.call, (0,)) if i < len(self.words)]
        if self.call == 'check':
            self.names = []


def steps_of(text):
    return [Step(m) for m in map(LINE.match, text.splitlines()) if m]


def attributes_of(step):
    """The attributes asked for, wanted and found; None where it is no answer of attributes."""
    if step.call not in ('stat', 'lstat') or len(step.words) < 2:
        return None
    if step.want.isupper() or step.got.isupper():
        return None
    fields, want, got = step.words[1].split(','), step.want.split(','), step.got.split(',')
    return list(zip(fields, want, got)) if len(fields) == len(want) == len(got) else None


class Judge:
    """Goes through the checks of one file, in their order."""

    def __init__(self):
        self.odd = set()      # names that are not what the suite thinks
        self.linked = set()   # names that it thinks have links
        self.masked = set()   # names made under a umask
        self.before = False   # whether the step before was skipped
        self.allowed = False  # whether somebody was allowed what the suite wants refused

    def rule(self, step):
        """The name of the rule by which a check that failed is skipped, or None."""
        name = None if step.good else self.why(step)
        if step.masked:
            self.masked.update(step.names)
        if step.good:
            if step.call == 'rename' and step.got == '0' and step.words[0] in self.linked:
                self.linked.add(step.words[1])
            made = MAKES.get(step.call)
            if made is not None and step.got == '0' and made < len(step.words):
                # The file that was moved there may be odd itself.
                if step.call == 'rename' and step.words[0] in self.odd:
                    self.odd.add(step.words[1])
                else:
                    self.odd.discard(step.words[made])
        elif name and name not in ('modes', 'owners', 'links-count'):
            self.odd.update(step.names[1:] if step.call == 'link' and name == 'links' else step.names)
        # A time is compared after what should have changed it, or not.
        if not (step.call == 'check' and step.good):
            self.before = name not in (None, 'modes')
        return 'links' if name == 'links-count' else name

    def why(self, step):
        # Refusals by the kernel itself come first: too long, not there, no folder, a loop.
        if step.call == 'link' and step.got == 'EPERM' and step.want in ('0', 'EACCES', 'EEXIST', 'EMLINK'):
            self.linked.update(step.names)
            return 'links'
        if step.call in ('mkfifo', 'mknod', 'bind') and step.got == 'EPERM' and step.want in ('0', 'EACCES', 'EEXIST'):
            return 'devices'
        attributes = attributes_of(step)
        if attributes:
            return self.why_attributes(step, attributes)
        if step.other and step.got == '0' and set(step.want.split('|')) <= {'EACCES', 'EPERM'}:
            self.allowed = True
            return 'permissions'
        if step.call == 'check':
            return 'follows' if self.before else None
        for name in step.names:
            if any(name == n or name.startswith(n + '/') for n in self.odd):
                return 'follows'
        # A folder holds what should not be in it (some files work in it, by short names), or lacks what should.
        if step.call == 'rmdir' and step.got == 'ENOTEMPTY' and self.allowed:
            return 'follows'
        if 'ENOTEMPTY' in step.want and any(n.startswith(name + '/') for name in step.names for n in self.odd):
            return 'follows'
        return None

    def why_attributes(self, step, attributes):
        reason = None
        # By what was to be another name of it, it may have been changed.
        if step.words[0] in self.linked and any(f == 'nlink' and w != g for f, w, g in attributes):
            return 'links-count'
        for field, want, got in attributes:
            if want == got:
                continue
            if step.words[0] in self.odd:
                return 'follows'
            if field == 'mode':
                # Of a file's mode the execute bits are kept; a folder shows all.
                if got not in ('0777', f'{0o666 | int(want, 8) & 0o111:04o}') and step.words[0] not in self.masked:
                    return None
                reason = reason or 'modes'
            elif field in ('uid', 'gid'):
                reason = 'owners'
            else:
                return None
        return reason
