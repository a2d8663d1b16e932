"""The boot, the disk and the daemon of a round. All of them end with the process that began them, also after kill -9."""
import ctypes
import json
import os
import random
import subprocess
import sys
import time

from harness import BINARY, SLOW, Mount, is_mounted, libc, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
BOOT_ID = '/proc/sys/kernel/random/boot_id'
DISK_SIZE = 768 << 20
FAULTS = os.path.abspath(os.environ.get('BUCKETFS_FAULTS', os.path.join(os.path.dirname(BINARY), 'test/libfaults.so')))
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 0x20000, 0x1000, 0x4000, 1 << 18, 2


def find_disk():
    places = [os.environ.get('CRASH_DISK'), os.path.join(os.path.dirname(BINARY), 'test/crash-disk'),
              os.path.join(HERE, '../../build/test/crash-disk')]
    for p in places:
        if p and os.path.exists(p):
            return os.path.abspath(p)
    sys.exit('crash-disk is not built: ninja -C build test/crash-disk')


def mount_of_ours(source, target, flags):
    if libc.mount(source.encode(), target.encode(), None, ctypes.c_ulong(flags), None):
        raise OSError(ctypes.get_errno(), f'mount {target}: {os.strerror(ctypes.get_errno())}')


class Boot:
    """Which boot of the system the daemon believes this is. Every mount of this process is in a namespace of its own, and so
    is a file of ours over the kernel's boot id: whatever happens, they end with the last process in it."""

    def __init__(self, folder):
        self.file = folder + '/boot_id'
        self.rnd = random.Random()
        self.next()
        if libc.unshare(CLONE_NEWNS):
            sys.exit('no mount namespace of our own: run this as root')
        mount_of_ours('none', '/', MS_REC | MS_PRIVATE)
        # Whoever unmounts one of these waits for its daemon, which would live as long as our copy.
        with open('/proc/self/mounts') as f:
            for line in f:
                if line.split()[2].startswith('fuse'):
                    libc.umount2(line.split()[1].encode(), MNT_DETACH)
        mount_of_ours(self.file, BOOT_ID, MS_BIND)

    def next(self):
        h = '%032x' % self.rnd.getrandbits(128)
        with open(self.file, 'w') as f:
            f.write(f'{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}\n')


class Daemon(Mount):
    """A mount whose daemon ends when this process does. Its system calls may fail as test/lib/faults.c says."""
    faulty = False

    def arguments(self):
        faults = ['env', f'LD_PRELOAD={FAULTS}', f'FAULTS={self.folder}/faults'] if self.faulty else []
        return ['setpriv', '--pdeathsig', 'KILL'] + faults + super().arguments()

    def fail(self, *lines):
        with open(self.folder + '/faults.new', 'w') as f:
            f.write('\n'.join(lines) + '\n')
        os.rename(self.folder + '/faults.new', self.folder + '/faults')

    def start(self):
        self.log_from = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        super().start()

    def end(self):
        """kill -9, and whatever the mount then is, it goes."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
        subprocess.run(['umount', '-l', self.point], stderr=subprocess.DEVNULL, timeout=30)


class Disk:
    """A filesystem on a disk whose power can be cut."""

    def __init__(self, kind, folder, rnd):
        self.kind, self.folder, self.process = kind, folder, None
        self.image, self.point, self.target = folder + '/image', folder + '/disk', folder + '/fs'
        os.mkdir(self.point)
        os.mkdir(self.target)
        with open(self.image, 'wb') as f:
            f.truncate(DISK_SIZE)
        if kind == 'ext4':
            make = ['mkfs.ext4', '-q', '-F', '-E', 'nodiscard,lazy_itable_init=0,lazy_journal_init=0', '-N', '16384']
            self.options = rnd.choice(('defaults', 'commit=1'))
        else:
            make = ['mkfs.xfs', '-q', '-f', '-K']
            self.options = 'defaults'
        subprocess.run(make + [self.image], check=True, timeout=60, stdout=subprocess.DEVNULL)

    def start(self, delay):
        self.process = subprocess.Popen([find_disk(), self.image, str(DISK_SIZE), self.point, str(delay)], stdin=subprocess.DEVNULL)
        if not wait_for(lambda: is_mounted(self.point), 10):
            raise AssertionError('crash-disk does not start')
        loop = subprocess.run(['losetup', '--find', '--show', '--direct-io=on', self.point + '/disk'], check=True, timeout=30,
                              stdout=subprocess.PIPE).stdout.decode().strip()
        try:
            r = subprocess.run(['mount', '-t', self.kind, '-o', self.options, loop, self.target], timeout=60, stderr=subprocess.PIPE)
            if r.returncode:
                told = subprocess.run(['dmesg'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30).stdout
                raise AssertionError('\n'.join([r.stderr.decode()] + told.decode(errors='replace').splitlines()[-12:]))
        finally:
            # It goes with its last user.
            subprocess.run(['losetup', '-d', loop], check=True, timeout=30)

    def command(self, text):
        with open(self.point + '/control', 'w') as f:
            f.write(text)

    def report(self):
        with open(self.point + '/control') as f:
            return json.load(f)

    def stop(self):
        if not self.process:
            return
        for point in (self.target, self.point):
            for _ in range(100):
                if not is_mounted(point) or subprocess.run(['umount', point], stderr=subprocess.DEVNULL, timeout=60).returncode == 0:
                    break
                time.sleep(0.05)
            else:
                subprocess.run(['umount', '-l', point], stderr=subprocess.DEVNULL, timeout=30)
        try:
            self.process.wait(timeout=10 * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None
