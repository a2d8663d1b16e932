#!/usr/bin/env bash
# `meson install` puts all that there is into the prefix, and nothing else anywhere: asked of meson's list for two prefixes, and
# seen in what it really installs of a build. Uses its argument, a build folder, and makes another that it only configures.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
fail() { echo "$*"; failed=1; }

# Installed files, from the prefix on. The folder of units is the one that is asked for.
wanted() { # units
	cat <<-EOT
		bin/bucketctl
		bin/bucketctl-check
		bin/bucketfs
		$1/bucketfs@.service
		sbin/mount.fuse.bucketfs
		share/bash-completion/completions/bucketctl
		share/bash-completion/completions/bucketfs
		share/bash-completion/completions/mount.fuse.bucketfs
		share/doc/bucketfs/examples/example.conf
		share/man/man1/bucketctl-check.1
		share/man/man1/bucketctl.1
		share/man/man8/bucketfs.8
		share/man/man8/mount.fuse.bucketfs.8
	EOT
}
listed() { # build folder
	# Of the links that lead to one name the list has one only.
	meson introspect "$1" --installed | python3 -c 'import json, sys; print(*json.load(sys.stdin).values(), sep="\n")' |
		grep -v '/completions/bucketctl$\|/completions/mount\.fuse\.bucketfs$'
}
same() { # what, file with paths, file with those that are wanted
	diff <(sort "$2") <(sort "$3") >"$work/diff" || fail "$1: (<: too much, >: missing)"$'\n'"$(cat "$work/diff")"
}

# Configured is enough to know what would be installed.
for prefix in "$work/prefix" /usr; do
	folder=$work/build${prefix##*/}
	meson setup "$folder" --prefix="$prefix" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
	listed "$folder" >"$work/listed"
	wanted lib/systemd/system | sed -e '/completions\/[^b]/d' -e '/completions\/bucketctl/d' -e "s|^|$prefix/|" >"$work/wanted"
	same "prefix $prefix" "$work/listed" "$work/wanted"
done
meson configure "$work/buildusr" -Dunits=/lib/systemd/system >/dev/null
meson setup --reconfigure "$work/buildusr" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
listed "$work/buildusr" | grep -qx '/lib/systemd/system/bucketfs@.service' || fail "the option units does not say where units go"

# Installed, with all that an install script may do beside the list.
prefix=$(meson introspect "$build" --buildoptions | python3 -c 'import json, sys
print(*(o["value"] for o in json.load(sys.stdin) if o["name"] == "prefix"))')
DESTDIR=$work/root meson install -C "$build" --no-rebuild >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
(cd "$work/root" && find . ! -type d | sed 's|^\.||') >"$work/installed"
wanted lib/systemd/system | sed "s|^|$prefix/|" >"$work/wanted"
same "installed" "$work/installed" "$work/wanted"
root=$work/root$prefix
[ "$(readlink -f "$root/sbin/mount.fuse.bucketfs")" = "$root/bin/bucketfs" ] || fail "the mount helper does not lead to bucketfs"
grep -qx "ExecStart=$prefix/bin/bucketfs -f -o config=%i" "$root/lib/systemd/system/bucketfs@.service" ||
	fail "the unit does not start the bucketfs of its prefix"
"$root/bin/bucketfs" --version >/dev/null || fail "bucketfs does not start"
for page in 'bucketfs' 'mount.fuse.bucketfs' 'bucketctl' 'bucketctl-check'; do
	[ ! -x /usr/bin/man ] || MANPATH=$root/share/man man -P cat "$page" 2>&1 | grep -q '^NAME' || fail "man $page shows nothing"
done
if [ -x /usr/bin/systemd-analyze ]; then
	# Without the manual, which systemd would look for on the system; the program is where the prefix will be.
	sed -e '/^Documentation=/d' -e "s|$prefix/bin|$root/bin|" "$root/lib/systemd/system/bucketfs@.service" >"$work/bucketfs@test.service"
	out=$(systemd-analyze verify "$work/bucketfs@test.service" 2>&1 | grep bucketfs || true)
	[ -z "$out" ] || fail "the unit: $out"
fi
exit $failed
