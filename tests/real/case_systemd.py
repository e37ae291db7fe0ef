"""The shipped unit under a real systemd: the machine's own, booted in a container over a copy-on-write view of /."""

import re
import signal
import subprocess

from harness import UPSTREAM, add_namespace
from support import service
from support.cases import Failed, case, check, equal, sh, wait_until
from support.dns import dig
from support.guest import Guest
from support.suite import ROOT

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


class Machine:
    """A guest with pullgate as a service, booted from this machine's own system."""

    ADDRESS, GATEWAY = "198.18.3.20", "198.18.3.1"

    def __init__(self, lab):
        namespace = add_namespace(lab, "guest", f"{self.ADDRESS}/24", f"{self.GATEWAY}/24")
        sh(f"ip -n {namespace} route add default via {self.GATEWAY}")
        self.lab = lab
        self.guest = Guest(lab.folder, "guest", "/", namespace)
        lab.defer(self.close)
        self.policy = self.guest.place("/etc/pullgate/policy.d/10-registries.toml")

    def close(self):
        self("journalctl --no-pager -u pullgate")
        self.guest.power_off()

    def install(self, policy):
        """Installs it as the README says, with this policy."""
        settings = f'[server]\nlisten = ["{self.ADDRESS}:53"]\nclients = ["127.0.0.0/8", "198.18.0.0/15"]\n[upstream]\nservers = ["{UPSTREAM}"]\n'
        service.install(self.guest, self.lab.binary, settings, policy)

    def __call__(self, command):
        """Runs a shell command in the guest."""
        done = self.guest(command)
        self.lab.note(f"guest$ {command} -> {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def property(self, name):
        return self.guest.property("pullgate", name)

    def dig(self, name, *options):
        return dig(self.ADDRESS, name, *options)


def start(lab):
    machine = Machine(lab)
    machine.install(lab.registry("r", ["registry.example"]))
    machine.guest.boot()
    if machine("systemctl is-active pullgate").returncode:
        raise Failed(machine("systemctl status pullgate --no-pager; journalctl -u pullgate --no-pager").stdout)
    return machine


@case(seconds=120)
def the_unit_serves_confined(lab):
    """systemctl start returns when it answers; it runs as its own user with one capability and a filter on system calls."""
    machine = start(lab)
    equal((machine.dig("registry.example").rcode, machine.dig("denied.example").rcode), ("NOERROR", "NXDOMAIN"))
    equal(machine.dig("registry.example", "+tcp").rcode, "NOERROR")
    status = dict(line.split(":\t", 1) for line in machine(f"cat /proc/{machine.property('MainPID')}/status").stdout.splitlines() if ":\t" in line)
    equal((status["CapEff"], status["CapBnd"], status["NoNewPrivs"], status["Seccomp"]), ("0000000000000400", "0000000000000400", "1", "2"))
    check(status["Uid"].split()[0] != "0", "it runs as root")
    equal(machine("pullgate status").returncode, 0, "status through the control socket")
    equal(machine("stat -c %a /run/pullgate/control.sock").stdout.strip(), "660")
    check("denied.example" in machine("journalctl -u pullgate --no-pager").stdout, "the denial is not in the journal")


@case(seconds=120)
def systemctl_reload_tells_the_truth(lab):
    """systemctl reload applies a good policy; on a refused one it fails, the journal says why, the old one serves on."""
    machine = start(lab)
    machine.policy.write_text(lab.registry("r", ["other.example"]), encoding="utf-8")
    equal(machine("systemctl reload pullgate").returncode, 0)
    equal((machine.dig("other.example").rcode, machine.dig("registry.example").rcode), ("NOERROR", "NXDOMAIN"))
    machine.policy.write_text("version = 1\n[[registry]]\nnam = 3\n", encoding="utf-8")
    done = machine("systemctl reload pullgate")
    check(done.returncode != 0, "systemctl reload succeeded on a refused policy")
    journal = machine("journalctl -u pullgate --no-pager").stdout
    check("10-registries.toml:3:1" in journal, f"the journal does not name the place:\n{journal}")
    equal((machine.property("ActiveState"), machine.dig("other.example").rcode), ("active", "NOERROR"))
    equal(machine("pullgate status").returncode, 1, "degraded")
    machine.policy.write_text(lab.registry("r", ["third.example"]), encoding="utf-8")
    wait_until(lambda: machine.dig("third.example").rcode == "NOERROR", 3, "healed without a command")


@case(seconds=120)
def systemd_restarts_what_dies_or_hangs(lab):
    """kill -9: back within a second or so; SIGSTOP: the watchdog notices and restarts it; stop ends it cleanly."""
    machine = start(lab)
    machine(f"kill -9 {machine.property('MainPID')}")
    wait_until(lambda: machine.dig("registry.example", "+time=1").rcode == "NOERROR", 3, "back after kill -9")
    before = machine.property("MainPID")
    machine(f"kill -{int(signal.SIGSTOP)} {before}")
    wait_until(lambda: machine.property("MainPID") not in (before, "0"), 25, "the watchdog restarted it")
    wait_until(lambda: machine.dig("registry.example", "+time=1").rcode == "NOERROR", 5, "back after the watchdog")
    check("watchdog" in machine("journalctl -u pullgate --no-pager").stdout.lower(), "not by the watchdog")
    equal(machine("systemctl stop pullgate").returncode, 0)
    equal((machine.property("ActiveState"), machine.property("Result")), ("inactive", "success"))
    equal(machine("systemctl start pullgate && systemctl is-active pullgate").stdout.strip(), "active")
