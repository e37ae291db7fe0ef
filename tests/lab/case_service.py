"""pullgate as a service of the gateway, installed from the repository's own files, under two versions of systemd."""

import re
import signal
import subprocess
from pathlib import Path

from clients import for_each
from machines import OWN, SYSTEMS, GatewayMachine
from support.cases import check, equal, wait_until
from world import CI_ONLY, FORBIDDEN, REGISTRY

# A service that needs names as soon as it starts, ordered as systemd.special(7) asks such services to be.
EARLY = """\
[Unit]
After=nss-lookup.target

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'getent ahostsv4 {registry} > /root/early-answer'

[Install]
WantedBy=multi-user.target
"""

# What the probe must be denied in the unit, and how (a word for each systemd); and what it must be able to do.
CONFINED = {
    "write-etc": "EROFS",
    "write-own-policy": "EROFS EACCES",
    "write-usr": "EROFS",
    "write-var-lib": "EROFS",
    "see-root-home": "EACCES",
    "see-home": "EACCES",
    "see-other-processes": "ENOENT",
    "read-kernel-log": "ENOENT",
    "change-kernel": "ENOENT",
    "init-module": "EPERM",
    "finit-module": "EPERM",
    "mount": "EPERM",
    "ptrace": "EPERM",
    "user-namespace": "EPERM",
    "network-namespace": "EPERM",
    "packet-socket": "EAFNOSUPPORT",
    "raw-socket": "EPERM",
    "write-and-execute": "EPERM EACCES",
    "run-a-shell": "EACCES",
    "become-root": "EPERM",
    "set-the-clock": "EPERM",
    "set-host-name": "EPERM",
    "raise-priority": "EPERM",
    "read-policy": "ok",
    "write-state": "ok",
    "write-runtime": "ok",
    "bind-low-port": "ok",
}

# What it can do as root of the same machine, so that it is the unit that denies it.
FREE = ["write-etc", "write-usr", "see-home", "see-root-home", "see-other-processes", "packet-socket", "user-namespace"]
FREE += ["ptrace", "run-a-shell", "write-and-execute", "become-root", "raise-priority"]

PROBE = Path(__file__).parent / "probe.c"


@for_each(SYSTEMS)
def service_starts_before_its_clients(lab, system):
    """Installed and enabled by the README's commands, it is there at boot before whoever needs names, and serves."""
    gateway = GatewayMachine(lab, system)
    gateway.guest.write("/etc/systemd/system/early.service", EARLY.format(registry=REGISTRY))
    gateway.guest.must("systemctl enable early")
    gateway.boot()
    check("198.18.1.10" in gateway.guest.read("/root/early-answer"), "the machine's own first question was not answered")
    equal((gateway.rcode(REGISTRY), gateway.rcode(REGISTRY, "+tcp"), gateway.rcode(FORBIDDEN)), ("NOERROR", "NOERROR", "NXDOMAIN"))
    equal(gateway("pullgate status").returncode, 0, "status through the control socket")
    equal(gateway("stat -c '%a %G' /run/pullgate/control.sock").stdout.strip(), "660 pullgate")
    check(FORBIDDEN in gateway("journalctl -u pullgate --no-pager").stdout, "the denial is not in the journal")
    equal(gateway("systemctl stop pullgate").returncode, 0)
    equal((gateway.property("ActiveState"), gateway.property("Result")), ("inactive", "success"))


@for_each(SYSTEMS)
def service_reload_tells_the_truth(lab, system):
    """systemctl reload applies a good policy; on a refused one it fails, the journal says why, the old one serves on."""
    gateway = GatewayMachine(lab, system).boot()
    gateway.policy(OWN.replace(REGISTRY, CI_ONLY, 1))
    equal(gateway("systemctl reload pullgate").returncode, 0)
    equal((gateway.rcode(CI_ONLY), gateway.rcode(REGISTRY)), ("NOERROR", "NXDOMAIN"))
    gateway.policy("version = 1\n[[registry]]\nnam = 3\n")
    check(gateway("systemctl reload pullgate").returncode != 0, "systemctl reload succeeded on a refused policy")
    journal = gateway("journalctl -u pullgate --no-pager").stdout
    check("10-registries.toml:3:1" in journal, f"the journal does not name the place:\n{journal}")
    equal((gateway.property("ActiveState"), gateway.rcode(CI_ONLY), gateway.rcode(REGISTRY)), ("active", "NOERROR", "NXDOMAIN"))
    equal(gateway("pullgate status").returncode, 1, "degraded")
    gateway.policy(OWN)
    wait_until(lambda: gateway.rcode(REGISTRY) == "NOERROR", 3, "healed without a command")


@for_each(SYSTEMS, seconds=90)
def service_comes_back(lab, system):
    """kill -9: back within a second or two; SIGSTOP: the watchdog notices, and it is started again."""
    gateway = GatewayMachine(lab, system)
    gateway.guest.write("/etc/systemd/system/pullgate.service.d/patience.conf", "[Service]\nWatchdogSec=2s\n")
    gateway.boot()
    gateway(f"kill -9 {gateway.property('MainPID')}")
    wait_until(lambda: gateway.rcode(REGISTRY) == "NOERROR", 3, "back after kill -9")
    stopped = gateway.property("MainPID")
    gateway(f"kill -{int(signal.SIGSTOP)} {stopped}")
    wait_until(lambda: gateway.property("MainPID") not in (stopped, "0"), 15, "the watchdog restarted it")
    wait_until(lambda: gateway.rcode(REGISTRY) == "NOERROR", 5, "back after the watchdog")
    check("watchdog" in gateway("journalctl -u pullgate --no-pager").stdout.lower(), "not by the watchdog")
    equal(gateway.property("NRestarts"), "2")


@for_each(SYSTEMS)
def service_sandbox_is_in_force(lab, system):
    """A probe started by the very unit fails to write, to see homes, to load a module, to leave; outside of it, it does not."""
    gateway = GatewayMachine(lab, system)
    compile_probe(gateway.guest.place("/root/probe"))
    gateway.guest.write("/root/secret", "a secret\n")
    gateway.guest.write("/home/user/secret", "a secret\n")
    gateway.boot()
    equal(privileges(gateway), {"CapEff": "0000000000000400", "CapBnd": "0000000000000400", "NoNewPrivs": "1", "Seccomp": "2"})
    outside = outcomes(gateway("/root/probe").stdout)
    gateway("systemctl stop pullgate; cp /root/probe /usr/bin/pullgate; journalctl --rotate")
    gateway("systemctl start pullgate")
    equal(gateway.property("ExecMainStatus"), "64", "the probe's exit code")
    inside = outcomes(gateway("journalctl -u pullgate -o cat --no-pager").stdout)
    lab.note(f"outside: {outside}\ninside: {inside}")
    for name, wanted in CONFINED.items():
        check(inside.get(name) in wanted.split(), f"in the unit, {name}: saw {inside.get(name)}, wanted {wanted}")
    for name in FREE:
        equal(outside.get(name), "ok", f"outside of the unit, {name}")


def privileges(gateway):
    """What the kernel says of the running service."""
    status = gateway.guest.read(f"/proc/{gateway.property('MainPID')}/status")
    return dict(re.findall(r"^(CapEff|CapBnd|NoNewPrivs|Seccomp):\s+(\w+)$", status, re.M))


def compile_probe(place):
    subprocess.run(["gcc", "-Wall", "-static", "-o", place, PROBE], check=True)


def outcomes(text):
    """What a probe printed, as {attempt: outcome}."""
    return dict(re.findall(r"^([a-z-]+) (ok|E[A-Z0-9]+)$", text, re.M))
