"""Machines that run pullgate as a service, under more than one systemd."""

import dataclasses
import json
from pathlib import Path

from gateway import LISTEN
from network import DEVELOPERS, GATEWAY
from support import service
from support.dns import dig
from support.guest import Guest
from support.tree import trixie_tree
from world import POLICY, UPSTREAM

# Like the settings of the process of the other cases, but where a service keeps things; it serves its own machine too.
SETTINGS = f"""\
[server]
listen = {json.dumps(["127.0.0.1:53", *LISTEN])}
clients = ["127.0.0.0/8", "198.18.0.0/15", "fd18::/16"]

[upstream]
servers = ["{UPSTREAM}"]

[log]
queries = "all"
format = "json"
"""

# The gateway is a client of its own pullgate.
OWN = POLICY.replace('clients = ["', 'clients = ["127.0.0.0/8", "', 1)

POLICY_FILE = "/etc/pullgate/policy.d/10-registries.toml"


@dataclasses.dataclass(frozen=True)
class System:
    """A Debian to boot."""

    name: str
    tree: object

    def guest(self, lab, name, netns, **options):
        """A machine of it, not booted yet, that ends with the case."""
        guest = Guest(lab.folder, name, self.tree(), netns, **options)
        lab.defer(guest.power_off)
        return guest


BOOKWORM = System("systemd-252", lambda: Path("/"))
TRIXIE = System("systemd-257", trixie_tree)
SYSTEMS = [BOOKWORM, TRIXIE]


class GatewayMachine:
    """The gateway as a machine of its own, with pullgate as a service in the place of the other cases' process."""

    def __init__(self, lab, system):
        self.lab = lab
        self.client = lab.machine()
        lab.pullgate.stop()
        lab.defer(lab.pullgate.start)
        self.guest = system.guest(lab, "warden", GATEWAY)
        lab.defer(lambda: self("journalctl --no-pager -u pullgate"))
        service.install(self.guest, lab.pullgate.binary, SETTINGS, OWN)
        self.guest.write("/etc/resolv.conf", "nameserver 127.0.0.1\n")

    def boot(self):
        self.guest.boot()
        return self

    def __call__(self, command, **keywords):
        """Runs a shell command on it."""
        done = self.guest(command, **keywords)
        self.lab.note(f"warden$ {command} -> {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def policy(self, text):
        """Writes its policy; nothing else."""
        self.guest.write(POLICY_FILE, text)

    def property(self, name):
        """A property of the service."""
        return self.guest.property("pullgate", name)

    def rcode(self, name, *options):
        """How it answers a developer."""
        return dig(DEVELOPERS.gateway, name, *options, netns=self.client, seconds=1).rcode
