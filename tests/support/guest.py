"""Guests: machines of their own with systemd, booted by systemd-nspawn from a copy-on-write view of a tree.

A guest shares the kernel and nothing else: it has a network namespace (which must have no way out of the lab), a
process tree, users and services of its own. What it writes is gone when it is powered off.
"""

import errno
import hashlib
import os
import shlex
import signal
import subprocess
import tempfile
from pathlib import Path

from support.cases import Failed, sh, wait_until

# What dockerd and podman need beyond what nspawn gives: networks, mounts, packet sockets, device rules; keyrings.
ENGINE = [
    "--capability=CAP_NET_ADMIN,CAP_SYS_ADMIN,CAP_BPF,CAP_NET_RAW",
    "--system-call-filter=add_key keyctl bpf",
]


class Guest:
    """A machine booted from an overlay over `tree` in the network namespace `netns`.

    `binds` are folders of this machine (or (folder, path in the guest)) that it sees, `scratch` are paths that are
    folders on the disk under `folder`: images of container engines, which lie on no overlay. `engine` lets it run one.
    """

    def __init__(self, folder, name, tree, netns, *, binds=(), scratch=(), engine=False):
        self.name = name
        self.source = Path(tree)
        self.netns = netns
        self.folder = Path(folder) / name
        self.layers = self.folder / "layers"
        self.tree = self.layers / "root"
        self.console = self.folder / "console.log"
        self.binds = [each if isinstance(each, tuple) else (each, each) for each in binds]
        self.scratch = scratch
        self.engine = engine
        self.nspawn = None
        self.leader = None
        self.cgroup = None
        self.mount()
        self.name_itself()

    # ── its files ──

    def mount(self):
        """Lays the copy-on-write view. The upper layer is in memory: the disk may be an overlay itself."""
        self.layers.mkdir(parents=True)
        sh(f"mount -t tmpfs -o mode=755 tmpfs {self.layers}")
        for part in ("up", "work", "root"):
            (self.layers / part).mkdir()
        options = f"lowerdir={self.source},upperdir={self.layers}/up,workdir={self.layers}/work"
        sh(f"mount -t overlay overlay -o {options} {self.tree}")
        self.forget_services()

    def forget_services(self):
        """Starts with the services of a bare system: what is enabled on the machine it is a view of is not its own."""
        for folder in (self.tree / "etc/systemd/system").glob("*.wants"):
            for link in folder.iterdir():
                link.unlink()

    def name_itself(self):
        """Gives it a host name and a machine id of its own; with none, systemd would enable everything there is."""
        self.write("/etc/hostname", f"{self.name}\n")
        self.write("/etc/machine-id", hashlib.md5(self.name.encode()).hexdigest() + "\n")

    def place(self, path):
        """Where a path of the guest is seen from here. Only before it boots: a running guest has mounts of its own."""
        return self.tree / str(path).lstrip("/")

    def write(self, path, text):
        """Writes a file, and the folders above it; a link in its place is replaced."""
        script = 'mkdir -p "$(dirname "$1")" && if [ -L "$1" ]; then rm "$1"; fi && cat > "$1"'
        done = subprocess.run([*self.enter(), "sh", "-c", script, "sh", str(path)], input=text, text=True, capture_output=True, check=False)
        if done.returncode:
            raise Failed(f"{self.name}: writing {path}: {done.stderr.strip()}")

    def read(self, path):
        """The text of a file."""
        done = self(f"cat {shlex.quote(str(path))}")
        if done.returncode:
            raise Failed(f"{self.name}: {done.stderr.strip()}")
        return done.stdout

    # ── its life ──

    def boot(self, seconds=60):
        """Boots it and waits until its init has started everything."""
        environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}
        self.cgroup = Path(tempfile.mkdtemp(prefix=f"pullgate-{self.name}-", dir=hierarchies(["cgroup2"])[0]))
        with open(self.console, "ab") as log:
            self.nspawn = subprocess.Popen([*within(self.cgroup), *self.command()], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        wait_until(self.is_up, seconds, f"{self.name} is up")
        return self

    def command(self):
        """The command line of nspawn."""
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--machine={self.name}", "-D", str(self.tree)]
        command += [f"--network-namespace-path=/run/netns/{self.netns}", "--resolv-conf=off", "--console=pipe", "--kill-signal=SIGRTMIN+3"]
        command += [f"--bind={here}:{there}" for here, there in self.binds]
        command += [f"--bind={self.disk(path)}:{path}" for path in self.scratch]
        return [*command, *(ENGINE if self.engine else []), "--boot"]

    def disk(self, path):
        """The folder on the disk that the guest has at `path`."""
        folder = self.folder / "disk" / path.strip("/").replace("/", "-")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def is_up(self):
        """Whether the guest's init has started everything; finds it first, since nspawn has passing children as well."""
        if self.nspawn.poll() is not None:
            raise Failed(f"{self.name} did not boot:\n{self.console.read_text(errors='replace')[-2000:]}")
        children = Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children").read_text().split()
        if not children or not (self.cgroup / "payload/init.scope").exists():
            return False
        self.leader = int(children[-1])
        return self("systemctl is-system-running").stdout.strip() in ("running", "degraded")

    def power_off(self):
        """Powers it off, or kills it if it does not obey, and takes its files away."""
        if self.nspawn and self.nspawn.poll() is None:
            self.end_nspawn()
        self.leader = None
        self.remove_cgroup()
        sh(f"umount -l {self.tree} && umount -l {self.layers}")
        self.layers.rmdir()

    def end_nspawn(self):
        """Powers off and waits. Without its init nothing of a guest lives on; without nspawn alone, the rest would."""
        try:
            if self.leader:
                self("systemctl poweroff")
            self.nspawn.wait(20 if self.leader else 0)
        except subprocess.TimeoutExpired:
            if self.leader:
                os.kill(self.leader, signal.SIGKILL)
            self.nspawn.kill()
            self.nspawn.wait()

    def remove_cgroup(self):
        """Takes away the control groups that nspawn and the guest's systemd have made; what has entered them from here ends first."""
        for hierarchy in hierarchies() if self.cgroup else ():
            for folder, _, _ in os.walk(hierarchy / self.cgroup.name, topdown=False):
                wait_until(lambda folder=folder: removed(folder), 5, f"{folder} is empty")

    # ── commands in it ──

    def enter(self):
        """What runs the command behind it in the guest, so that it ends with the guest; before it boots, in its tree."""
        if not self.leader:
            return ["env", "SYSTEMD_OFFLINE=1", "chroot", str(self.tree)]
        return [*within(self.cgroup / "payload/init.scope"), "nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"]

    def __call__(self, command, seconds=60, **keywords):
        """Runs a shell command in the guest to its end."""
        return subprocess.run([*self.enter(), "sh", "-c", command], text=True, capture_output=True, check=False, timeout=seconds, **keywords)

    def must(self, command, seconds=60):
        """Runs a shell command that has to succeed; returns what it printed."""
        done = self(command, seconds)
        if done.returncode:
            raise Failed(f"{self.name}: `{command}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self, command, **keywords):
        """Starts a shell command in the guest and returns its process."""
        keywords = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **keywords}
        return subprocess.Popen([*self.enter(), "sh", "-c", command], stdin=subprocess.DEVNULL, **keywords)

    def property(self, unit, name):
        """One property of a unit, as `systemctl show` prints it."""
        return self(f"systemctl show -P {name} {unit}").stdout.strip()


def hierarchies(kinds=("cgroup", "cgroup2")):
    """Where this machine has its control groups. Beside those of version 2 nspawn makes the same for systemd's of version 1."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(place) for _, place, kind, *_ in mounts if kind in kinds]


def removed(folder):
    """Removes a control group, unless a process is still about to leave it."""
    try:
        os.rmdir(folder)
    except OSError as error:
        return error.errno != errno.EBUSY
    return True


def within(cgroup):
    """What runs the command behind it in a control group. Every guest has its own: nspawn would give them all the same."""
    return ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(cgroup)]
