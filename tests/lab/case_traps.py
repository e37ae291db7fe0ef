"""Ways round the filter that nobody means to take: what leaks without us, that `doctor` finds it, that `setup` closes it."""

import dataclasses
import json
from itertools import product

from clients import for_each
from docker_host import DEFAULT_NETWORK, DOCKER0, FILES, PROGRAMS, PULLS, TREES, USER_NETWORK, docker_host, give_back, prepare_engines, resolves
from engines import DAEMON, resolver
from support.cases import check, equal
from world import FORBIDDEN, GOOGLE, REGISTRY, TINY

EVERYTHING = {**PROGRAMS, **PULLS, **DEFAULT_NETWORK, **USER_NETWORK}
# Without pullgate each of these may take seconds to give up.
FEW = {way: EVERYTHING[way] for way in ("the machine's programs", "a pull", "a container")}


@dataclasses.dataclass(frozen=True)
class Trap:
    """What a machine's files say, which questions then go past pullgate, and the check of `doctor` that tells."""

    name: str
    resolv_conf: str
    dns: tuple
    leaks: dict
    check: str
    says: str
    asks: dict = dataclasses.field(default_factory=lambda: EVERYTHING)
    without_pullgate: bool = False
    debian: str = ""


TRAPS = [
    Trap("loopback-nameserver", "nameserver 127.0.0.1\n", (), DEFAULT_NETWORK, "containers", "will ask 8.8.8.8"),
    Trap("second-nameserver", f"nameserver {DOCKER0}\nnameserver {GOOGLE}\n", (), FEW, "nameservers", "names 2 servers", FEW, True),
    Trap("dns-of-daemon-json-alone", resolver(GOOGLE), (DOCKER0,), {**PROGRAMS, **PULLS}, "pulls", "Docker's own pulls ask 8.8.8.8"),
    Trap("missing-resolv-conf", "", (), {**DEFAULT_NETWORK, **USER_NETWORK}, "containers", "will ask 8.8.8.8"),
]
# Each on the newer Debian; the first, which nobody sees coming, on both.
ON_DEBIAN = [dataclasses.replace(trap, name=f"{trap.name}-{debian}", debian=debian) for trap, debian in product(TRAPS, TREES)]
ON_DEBIAN = [trap for trap in ON_DEBIAN if trap.debian == "trixie" or trap.name.startswith("loopback")]


@for_each(ON_DEBIAN, seconds=120)
def trap(lab, trap):
    """The forbidden registry is reached; doctor says how; setup closes it, and doctor is content."""
    host = docker_host(lab.world, trap.debian)
    given = {path: host.read(path) for path in FILES}
    prepare_engines(lab, host)
    lab.defer(lambda: give_back(host, given))
    fall_into(host, trap)
    equal(asks(lab, host, trap, FORBIDDEN), list(trap.leaks), "what reaches the forbidden registry")
    finds(lab, host, trap)
    lab.defer(lambda: host("pullgate setup podman --undo; pullgate setup docker --undo --restart"))
    host.must("pullgate setup docker --write --restart && pullgate setup podman --write")
    # dockerd looks for a new resolv.conf every five seconds only, and BuildKit remembers what it pulled.
    host.must("systemctl restart docker")
    equal(asks(lab, host, trap, FORBIDDEN), [], "what reaches the forbidden registry after setup")
    equal(resolves(lab, host, EVERYTHING, REGISTRY), list(EVERYTHING), "what reaches the allowed one")
    is_content(lab, host)


def fall_into(host, trap):
    """Puts the trap's files in place, as an administrator in good faith would."""
    if trap.resolv_conf:
        host.write("/etc/resolv.conf", trap.resolv_conf)
    else:
        host.must("rm /etc/resolv.conf")
    host.write("/etc/docker/daemon.json", json.dumps({**DAEMON, "dns": trap.dns}))
    host.must("systemctl restart docker")


def asks(lab, host, trap, name):
    """Which ways of asking lead to the name; of some traps while pullgate is stopped."""
    if trap.without_pullgate:
        host.must("systemctl stop pullgate")
    found = resolves(lab, host, trap.asks, name)
    host.must("systemctl start pullgate")
    host(f"docker rmi --force {FORBIDDEN}/{TINY}")
    return found


def finds(lab, host, trap):
    """doctor has a problem to tell, in the right check, with a command that mends it."""
    code, findings = doctor(lab, host)
    equal(code, 1, "exit of doctor")
    told = [each for each in findings if each["check"] == trap.check and each["severity"] == "problem"]
    check(any(trap.says in each["title"] for each in told), f"doctor does not say `{trap.says}` in `{trap.check}`: {told}")
    check(all("pullgate setup docker" in each["fix"] or "pullgate setup resolv-conf" in each["fix"] for each in told), f"no fix: {told}")


def is_content(lab, host):
    """doctor has nothing to tell above a note."""
    code, findings = doctor(lab, host)
    left = [each["title"] for each in findings if each["severity"] not in ("ok", "note")]
    equal((code, left), (0, []), "exit of doctor, and what it says")


def doctor(lab, host):
    """doctor's exit code and findings. It is told what to try; other resolvers are another matter (`setup redirect`)."""
    done = host(f"pullgate doctor --json --no-foreign --allowed {REGISTRY} --denied {FORBIDDEN}")
    lab.note(f"doctor -> {done.returncode}\n{done.stdout}{done.stderr}")
    return done.returncode, json.loads(done.stdout)["findings"]
