"""The shipped unit under a real systemd: the machine's own, booted in a container over a copy-on-write view of /."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from clients import dig
from harness import ROOT, UPSTREAM, Failed, add_namespace, case, check, equal, sh, wait_until

UNIT = ROOT / "systemd/pullgate.service"


@case
def the_unit_is_valid_and_confined(lab):
    """systemd-analyze has nothing to say about the unit, and its exposure is 1.5 or less."""
    unit = lab.folder / "pullgate.service"
    unit.write_text(UNIT.read_text(encoding="utf-8").replace("/usr/bin/pullgate", str(lab.binary)), encoding="utf-8")
    verify = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], text=True, capture_output=True, check=False)
    equal((verify.returncode, verify.stdout + verify.stderr), (0, ""))
    score = sh(f"systemd-analyze security --offline=true --no-pager {UNIT}").splitlines()[-1]
    exposure = float(re.search(r"(\d+\.\d)", score)[1])
    check(exposure <= 1.5, score)


class Guest:
    """A machine of its own: systemd over an overlay of /, in a network namespace with a link to ours."""

    ADDRESS, GATEWAY = "198.18.3.20", "198.18.3.1"

    def __init__(self, lab):
        self.lab = lab
        self.root = Path("/tmp/pullgate-real-machine") / "guest"
        shutil.rmtree(self.root, ignore_errors=True)
        for part in ("up", "work", "root"):
            (self.root / part).mkdir(parents=True)
        self.tree = self.root / "root"
        sh(f"mount -t overlay overlay -o lowerdir=/,upperdir={self.root}/up,workdir={self.root}/work {self.tree}")
        lab.defer(lambda: sh(f"umount -l {self.tree}"))
        self.leader = None

    def install(self, policy):
        """Puts binary, unit, user and configuration where the unit's comment says."""
        shutil.copy(self.lab.binary, self.tree / "usr/bin/pullgate")
        shutil.copy(UNIT, self.tree / "etc/systemd/system/pullgate.service")
        (self.tree / "etc/sysusers.d").mkdir(exist_ok=True)
        for path in (ROOT / "systemd/sysusers.d").iterdir():
            shutil.copy(path, self.tree / "etc/sysusers.d")
        (self.tree / "etc/pullgate/policy.d").mkdir(parents=True)
        self.policy = self.tree / "etc/pullgate/policy.d/10-test.toml"
        self.policy.write_text(policy, encoding="utf-8")
        settings = f'[server]\nlisten = ["{self.ADDRESS}:53"]\nclients = ["127.0.0.0/8", "198.18.0.0/15"]\n[upstream]\nservers = ["{UPSTREAM}"]\n'
        (self.tree / "etc/pullgate/pullgate.toml").write_text(settings, encoding="utf-8")

    def boot(self):
        namespace = add_namespace(self.lab, "guest", f"{self.ADDRESS}/24", f"{self.GATEWAY}/24")
        sh(f"ip -n {namespace} route add default via {self.GATEWAY}")
        environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--machine=pullgate-real", "-D", str(self.tree)]
        command += [f"--network-namespace-path=/run/netns/{namespace}", "--resolv-conf=off", "--console=pipe", "--kill-signal=SIGRTMIN+3"]
        self.nspawn = self.lab.spawn([*command, "--boot", "systemd.unit=basic.target"], "nspawn", env=environment)
        self.lab.defer(self.power_off)
        wait_until(self.is_up, 30, "the guest is up")

    def is_up(self):
        """Whether the guest's init has started everything; finds it first, since nspawn has passing children as well."""
        children = Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children").read_text().split()
        self.leader = int(children[-1]) if children else 0
        return self("systemctl is-system-running").stdout.strip() in ("running", "degraded")

    def __call__(self, command):
        """Runs a shell command in the guest."""
        enter = ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C"]
        done = subprocess.run([*enter, "sh", "-c", command], text=True, capture_output=True, check=False, timeout=60)
        self.lab.note(f"guest$ {command} -> {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def power_off(self):
        self("journalctl --no-pager -u pullgate")
        self("systemctl poweroff")
        self.nspawn.wait(20)

    def property(self, name):
        return self(f"systemctl show -P {name} pullgate").stdout.strip()

    def dig(self, name, *options):
        return dig(self.ADDRESS, name, *options)


def start(lab):
    guest = Guest(lab)
    guest.install(lab.registry("r", ["registry.example"]))
    guest.boot()
    equal(guest("systemd-sysusers && systemctl daemon-reload").returncode, 0, "installing")
    done = guest("systemctl start pullgate")
    if done.returncode:
        raise Failed(guest("systemctl status pullgate --no-pager; journalctl -u pullgate --no-pager").stdout)
    return guest


@case(seconds=120)
def the_unit_serves_confined(lab):
    """systemctl start returns when it answers; it runs as its own user with one capability and a filter on system calls."""
    guest = start(lab)
    equal((guest.dig("registry.example").rcode, guest.dig("denied.example").rcode), ("NOERROR", "NXDOMAIN"))
    equal(guest.dig("registry.example", "+tcp").rcode, "NOERROR")
    status = dict(line.split(":\t", 1) for line in guest(f"cat /proc/{guest.property('MainPID')}/status").stdout.splitlines() if ":\t" in line)
    equal((status["CapEff"], status["CapBnd"], status["NoNewPrivs"], status["Seccomp"]), ("0000000000000400", "0000000000000400", "1", "2"))
    check(status["Uid"].split()[0] != "0", "it runs as root")
    equal(guest("pullgate status").returncode, 0, "status through the control socket")
    equal(guest("stat -c %a /run/pullgate/control.sock").stdout.strip(), "660")
    check("denied.example" in guest("journalctl -u pullgate --no-pager").stdout, "the denial is not in the journal")


@case(seconds=120)
def systemctl_reload_tells_the_truth(lab):
    """systemctl reload applies a good policy; on a refused one it fails, the journal says why, the old one serves on."""
    guest = start(lab)
    guest.policy.write_text(lab.registry("r", ["other.example"]), encoding="utf-8")
    equal(guest("systemctl reload pullgate").returncode, 0)
    equal((guest.dig("other.example").rcode, guest.dig("registry.example").rcode), ("NOERROR", "NXDOMAIN"))
    guest.policy.write_text("version = 1\n[[registry]]\nnam = 3\n", encoding="utf-8")
    done = guest("systemctl reload pullgate")
    check(done.returncode != 0, "systemctl reload succeeded on a refused policy")
    journal = guest("journalctl -u pullgate --no-pager").stdout
    check("10-test.toml:3:1" in journal, f"the journal does not name the place:\n{journal}")
    equal((guest.property("ActiveState"), guest.dig("other.example").rcode), ("active", "NOERROR"))
    equal(guest("pullgate status").returncode, 1, "degraded")
    guest.policy.write_text(lab.registry("r", ["third.example"]), encoding="utf-8")
    wait_until(lambda: guest.dig("third.example").rcode == "NOERROR", 3, "healed without a command")


@case(seconds=120)
def systemd_restarts_what_dies_or_hangs(lab):
    """kill -9: back within a second or so; SIGSTOP: the watchdog notices and restarts it; stop ends it cleanly."""
    guest = start(lab)
    guest(f"kill -9 {guest.property('MainPID')}")
    wait_until(lambda: guest.dig("registry.example", "+time=1").rcode == "NOERROR", 3, "back after kill -9")
    before = guest.property("MainPID")
    guest(f"kill -{int(signal.SIGSTOP)} {before}")
    wait_until(lambda: guest.property("MainPID") not in (before, "0"), 25, "the watchdog restarted it")
    wait_until(lambda: guest.dig("registry.example", "+time=1").rcode == "NOERROR", 5, "back after the watchdog")
    check("watchdog" in guest("journalctl -u pullgate --no-pager").stdout.lower(), "not by the watchdog")
    equal(guest("systemctl stop pullgate").returncode, 0)
    equal((guest.property("ActiveState"), guest.property("Result")), ("inactive", "success"))
    equal(guest("systemctl start pullgate && systemctl is-active pullgate").stdout.strip(), "active")
