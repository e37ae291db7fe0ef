"""The closed network: one namespace a machine, bridges in the gateway, and no way out.

    developers 198.18.10.0/24 fd18:10::/64 ─┐
                                            ├─ gateway ─ registries 198.18.1.0/24 fd18:1::/64
    ci         198.18.20.0/24 fd18:20::/64 ─┘

The addresses are the benchmarking and unique-local ranges. The root namespace has no link to any of these.
"""

import dataclasses
import shutil
import subprocess
from pathlib import Path

from support.cases import sh

GATEWAY = "gateway"
RESOLV_CONF = Path("/etc/resolv.conf")


@dataclasses.dataclass(frozen=True)
class Net:
    """A bridge in the gateway, and the gateway's own addresses on it."""

    name: str
    v4: str
    v6: str

    @property
    def gateway(self):
        return f"{self.v4}.1"

    @property
    def gateway6(self):
        return f"{self.v6}::1"

    def hosts(self, number):
        """The addresses of a machine by its number."""
        return f"{self.v4}.{number}", f"{self.v6}::{number}"


DEVELOPERS = Net("developers", "198.18.10", "fd18:10")
CI = Net("ci", "198.18.20", "fd18:20")
REGISTRIES = Net("registries", "198.18.1", "fd18:1")


def make_gateway():
    """The gateway with its three bridges; it forwards between them."""
    add_namespace(GATEWAY)
    run_in(GATEWAY, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    for net in (DEVELOPERS, CI, REGISTRIES):
        sh(f"ip -n {GATEWAY} link add {net.name} address {mac(net.gateway)} type bridge")
        sh(f"ip -n {GATEWAY} addr add {net.gateway}/24 dev {net.name}")
        sh(f"ip -n {GATEWAY} addr add {net.gateway6}/64 dev {net.name} nodad")
        sh(f"ip -n {GATEWAY} link set {net.name} up")
    # Where bridges pass packets through netfilter, a redirect to a local socket never arrives.
    run_in(GATEWAY, "sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0")


def add_machine(name, net, number, *, families="46", resolver=None, more=()):
    """A namespace with one link to `net`, a default route over the gateway, and `more` addresses; `resolver` is its resolv.conf."""
    add_namespace(name)
    v4, v6 = net.hosts(number)
    sh(f"ip link add {link(name)} netns {GATEWAY} type veth peer name eth0 address {mac(v4)} netns {name}")
    sh(f"ip -n {GATEWAY} link set {link(name)} master {net.name} up")
    sh(f"ip -n {name} link set eth0 up")
    if "4" in families:
        sh(f"ip -n {name} addr add {v4}/24 dev eth0")
        sh(f"ip -n {name} route add default via {net.gateway}")
    if "6" in families:
        sh(f"ip -n {name} addr add {v6}/64 dev eth0 nodad")
        sh(f"ip -n {name} -6 route add default via {net.gateway6}")
    for address in more:
        sh(f"ip -n {name} addr add {address}/32 dev eth0")
        sh(f"ip -n {GATEWAY} route add {address} via {v4}")
    if resolver is not None:
        set_resolver(name, resolver)
    return name


def add_namespace(name):
    sh(f"ip netns add {name}")
    sh(f"ip -n {name} link set lo up")


def remove_machine(name):
    """Removes a namespace that a case added. Its link first, unless its other end is gone: a namespace takes its time to go."""
    sh(f"ip -n {GATEWAY} link del {link(name)} 2> /dev/null || true")
    sh(f"ip netns del {name}")
    shutil.rmtree(Path("/etc/netns", name), ignore_errors=True)


def mac(address):
    """The link address that always goes with an IPv4 address. Neighbours remember it for a while when a machine is replaced by
    another, or when a bridge, left to itself, takes over that of a new port."""
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def link(name):
    """The gateway's end of a machine's link. Names differ at their ends, and a link's is short."""
    return f"{name[-12:]}-up"


def set_resolver(name, text):
    """What programs run in the namespace see as /etc/resolv.conf."""
    folder = Path("/etc/netns", name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "resolv.conf").write_text(text, encoding="utf-8")


def inside(name, *command):
    """The command line that runs `command` in the namespace."""
    return ["ip", "netns", "exec", name, *map(str, command)]


def run_in(name, command, *, seconds=60, environment=None):
    """Runs a shell command that has to succeed in the namespace; returns what it printed."""
    done = subprocess.run(inside(name, "sh", "-c", command), text=True, capture_output=True, check=False, timeout=seconds, env=environment)
    if done.returncode:
        raise RuntimeError(f"`{command}` in {name} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def connections(name):
    """How many TCP connections the machine has accepted so far."""
    lines = [line.split() for line in run_in(name, "cat /proc/net/snmp").splitlines() if line.startswith("Tcp:")]
    return int(dict(zip(*lines))["PassiveOpens"])
