"""The machines with container engines: Debian 12 as it stands here, and the next Debian, each booted with systemd."""

import json

import network
from certificates import trust
from network import DEVELOPERS
from support.guest import Guest

# Engines' own networks, inside each machine. Docker's defaults are private ranges that a lab has no business in.
DAEMON = {"bip": "198.18.40.1/24", "default-address-pools": [{"base": "198.18.48.0/20", "size": 24}]}
# Where engines keep images.
IMAGES = ("/var/lib/docker", "/var/lib/containerd", "/var/lib/containers", "/var/tmp")

# podman must not ask for limits that the lab may not be able to give. It shares machines with Docker, whose rules drop
# what nobody lets through: podman's have to stand in the same table.
CONTAINERS = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
pids_limit = 0

[network]
default_subnet = "198.18.64.0/24"
firewall_driver = "iptables"
"""

# A machine may restart its dockerd as often as cases want.
OFTEN = "[Unit]\nStartLimitIntervalSec=0\n"
# However often other cases have restarted it lately.
RESTART = "systemctl reset-failed docker; systemctl restart docker"

RESOLVED = """\
[Resolve]
DNS={server}
FallbackDNS=
Domains=~.
"""


def boot(world, name, tree, host, **daemon):
    """A machine with container engines in the developers' network: resolves through pullgate, trusts the lab's authorities.

    `daemon` are further settings of its dockerd.
    """
    network.add_machine(name, DEVELOPERS, host)
    guest = Guest(world.folder, name, tree, name, scratch=IMAGES, engine=True)
    trust(guest.tree, *world.authorities)
    guest.write("/etc/resolv.conf", resolver(DEVELOPERS.gateway))
    guest.write("/etc/docker/daemon.json", json.dumps({**DAEMON, **daemon}))
    guest.write("/etc/containers/containers.conf", CONTAINERS)
    guest.boot()
    guest.must("systemctl start containerd docker")
    return guest


def resolver(address):
    """A resolv.conf that names one server."""
    return f"nameserver {address}\n"


def back_to_pullgate(guest):
    """The machine's own resolv.conf names pullgate again."""
    guest.must("systemctl stop systemd-resolved")
    guest.write("/etc/resolv.conf", resolver(DEVELOPERS.gateway))
    guest.must(RESTART)
