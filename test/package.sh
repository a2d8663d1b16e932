#!/usr/bin/env bash
# The Debian package in a new Debian, which debootstrap makes in a folder: its dependencies are enough, what it installs works (the
# mount suite `data` with the installed programs, mount(8), a file of options, the unit in that Debian started as a container), and a
# purge leaves nothing but what others wrote. As root, with scripts/package done, and a Debian mirror that can be reached.
#   test/package.sh [FOLDER]      where the packages are: build-package
set -euo pipefail
cd "$(dirname "$0")/.."
packages=$(realpath "${1:-build-package}")

# All mounts below are in a mount namespace of its own, which ends with this script, however that ends.
if [ -z "${BUCKETFS_PACKAGE_ROOT:-}" ]; then
	BUCKETFS_PACKAGE_ROOT=$(mktemp -d)
	export BUCKETFS_PACKAGE_ROOT
	trap 'rm -rf --one-file-system "$BUCKETFS_PACKAGE_ROOT"' EXIT
	unshare --mount --propagation private "$0" "$packages"
	exit
fi
root=$BUCKETFS_PACKAGE_ROOT
chmod 755 "$root"
step() { echo "== $*"; }
fail() { echo "FAILED $*"; exit 1; }
inside() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"; }

step "a new Debian"
command -v debootstrap >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends debootstrap >/dev/null; }
mirror=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
	sed -n 's/^Debian|Debian|main|//p' | head -1)
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
[ -n "$mirror" ] || fail "no Debian mirror is configured here"
debootstrap --variant=minbase "$suite" "$root" "$mirror" >"$root.log" 2>&1 || { tail -n 20 "$root.log"; rm -f "$root.log"; fail "debootstrap"; }
rm -f "$root.log"
# How the mirror is reached may be written down here.
cp /etc/apt/apt.conf.d/*proxy* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
cp /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
mkdir "$root/source" "$root/packages"
connect() {
	mount --rbind /dev "$root/dev"
	mount -t proc proc "$root/proc"
	mount --bind . "$root/source"
	mount --bind "$packages" "$root/packages"
}
disconnect() {
	umount -R "$root/dev" "$root/proc" "$root/source" "$root/packages"
}
connect
inside apt-get update -qq

step "install it, with what it depends on and no more"
inside sh -c 'apt-get install -y -qq --no-install-recommends /packages/bucketfs_*.deb' >/dev/null
inside dpkg -L bucketfs | sort >"$root/tmp/files"
inside bucketfs --version
inside bucketctl --version
inside bucketctl check --help >/dev/null
# In place of a link that leads nowhere there would be a message of the shell's.
[ "$(inside readlink -f /sbin/mount.fuse.bucketfs)" = /usr/bin/bucketfs ] || fail "mount(8) does not find its helper"

step "mount it by mount(8), and by a file of options"
inside sh -euc '
	mkdir -p -m 700 /var/lib/bucketfs; mkdir -p /mnt/buckets
	mount -t fuse.bucketfs /var/lib/bucketfs /mnt/buckets -o nofail,max_files=5
	mkdir /mnt/buckets/nightly; echo "{\"build\": 1}" >/mnt/buckets/nightly/data.json
	bucketctl get /mnt/buckets/nightly build | grep -qx 1
	umount /mnt/buckets
	sed "s/^#max_files=.*/max_files=7/" /usr/share/doc/bucketfs/examples/example.conf >/etc/bucketfs/test.conf
	bucketfs -o config=test
	bucketctl limits show /mnt/buckets/nightly | grep -q "max_files.* 7"
	bucketctl get /mnt/buckets/nightly build | grep -qx 1
	umount /mnt/buckets
	bucketctl check --data /var/lib/bucketfs' || fail "a mount by the installed programs"

step "the mount suite, with the installed programs"
inside apt-get install -y -qq --no-install-recommends python3-minimal libpython3-stdlib acl attr jq rsync sqlite3 procps perl \
	vim-tiny nano moreutils emacs-nox ed fuse3 systemd systemd-sysv dbus >/dev/null
inside env PYTHONDONTWRITEBYTECODE=1 BUCKETFS=/usr/bin/bucketfs CTL=/usr/bin/bucketctl python3 /source/test/mount/test_data.py ||
	fail "the mount suite"

step "the unit"
out=$(inside systemd-analyze verify bucketfs@test.service 2>&1 | grep bucketfs | grep -v '(8)' || true)
[ -z "$out" ] || fail "the unit: $out"
cat >"$root/probe.sh" <<'EOT'
set -ex
trap 'echo "status $?"; journalctl -u "bucketfs@*" --no-pager | tail -n 40' EXIT
pid() { systemctl show -p MainPID --value bucketfs@test; }
systemctl start bucketfs@test
# It answers, and everybody sees the mount.
grep '/mnt/buckets fuse.bucketfs' /proc/mounts
[ "$(readlink /proc/$(pid)/ns/mnt)" = "$(readlink /proc/self/ns/mnt)" ]
echo '{"build": 2}' >/mnt/buckets/nightly/data.json
cp /bin/bash /mnt/buckets/nightly/files/ && cmp /bin/bash /mnt/buckets/nightly/files/bash
ls -l "$(env BUCKETFS_JOB=probe readlink -f /mnt/buckets/@job)"
# A reload, which is done within a second.
sed -i 's/^max_files=7/max_files=8/' /etc/bucketfs/test.conf
systemctl reload bucketfs@test
sleep 3
bucketctl limits show /mnt/buckets/nightly | grep 'max_files.* 8'
# A crash, and it is there again.
kill -9 "$(pid)"
sleep 4
systemctl is-active bucketfs@test
[ "$(bucketctl get /mnt/buckets/nightly build)" = 2 ]
systemctl stop bucketfs@test
[ "$(systemctl is-active bucketfs@test || true)" = inactive ]
if grep '/mnt/buckets' /proc/mounts; then exit 9; fi
# A file that is not there is a failure that is told.
if systemctl start bucketfs@missing; then exit 9; fi
EOT
cat >"$root/etc/systemd/system/probe.service" <<'EOT'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
StandardOutput=file:/probe.log
StandardError=file:/probe.log
ExecStart=/bin/bash /probe.sh
ExecStopPost=/bin/systemctl poweroff --force --force
[Install]
WantedBy=default.target
EOT
inside systemctl enable probe 2>/dev/null
disconnect
command -v systemd-nspawn >/dev/null || apt-get install -y -qq --no-install-recommends systemd-container >/dev/null
# Where no systemd runs, nobody gives the container a control group of its own; it needs one for its systemd.
own=(--register=no)
groups=()
if [ ! -d /run/systemd/system ]; then
	own+=(--keep-unit)
	for tree in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
		[ -e "$tree/cgroup.procs" ] || continue
		mkdir "$tree/${root##*/}"
		groups+=("$tree/${root##*/}")
	done
fi
(
	for group in "${groups[@]}"; do echo $BASHPID >"$group/cgroup.procs"; done
	exec timeout -k 10 240 systemd-nspawn "${own[@]}" --boot --directory="$root" --bind=/dev/fuse --capability=CAP_SYS_NICE \
		--console=read-only </dev/null >"$root/tmp/console" 2>&1
) || true
for group in "${groups[@]}"; do find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true; done
grep -qx 'status 0' "$root/probe.log" || {
	cat "$root/tmp/console" "$root/probe.log" 2>/dev/null | tail -n 90
	fail "the unit under systemd"
}
connect

step "purge it"
inside apt-get purge -y -qq bucketfs >/dev/null
while IFS= read -r path; do
	case $path in
	*bucketfs* | *bucketctl*) [ "$path" = /etc/bucketfs ] || [ ! -e "$root$path" ] || fail "$path is left" ;;
	esac
done <"$root/tmp/files"
[ -f "$root/etc/bucketfs/test.conf" ] && [ -d "$root/var/lib/bucketfs" ] || fail "something that others wrote is gone"
echo "ok"
