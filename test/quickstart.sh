#!/usr/bin/env bash
# scripts/quickstart mounts, and what it says to try can be tried as it stands there. As root; builds in build/.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
chmod 755 "$work"
uring=/sys/module/fuse/parameters/enable_uring
was=$(cat $uring 2>/dev/null || true)
leave() {
	umount -l "$work/mnt" 2>/dev/null || true
	# The daemon closes the store after the mount has ended.
	for ((i = 0; i < 100; i++)); do
		pgrep -f "bucketfs $work/store" >/dev/null || break
		sleep 0.1
	done
	rm -rf --one-file-system "$work"
	# quickstart switches it on.
	[ "$was" != N ] || echo N >$uring
}
trap leave EXIT
scripts/quickstart "$work/mnt" "$work/store" >"$work/said"
cat "$work/said"
sed -n '/^Try:/,$s/^  //p' "$work/said" >"$work/try"
[ "$(wc -l <"$work/try")" -ge 5 ]
bash -euxc ". $work/try" >"$work/out" 2>&1 || { cat "$work/out"; exit 1; }
cat "$work/out"
grep -q '"ok": false' "$work/out" && grep -q '"ok": true' "$work/out" && grep -q my_services_all_.txt "$work/out"
# The last line ends the mount.
if grep -q " $work/mnt " /proc/mounts; then
	exit 1
fi
