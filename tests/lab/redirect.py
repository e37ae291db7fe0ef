"""`pullgate setup redirect` on the gateway, as its administrator would run it."""

import subprocess

import network
from network import DEVELOPERS, GATEWAY
from support.cases import equal

RULES = "/etc/pullgate/redirect.nft"
ADDRESSES = ("--address", DEVELOPERS.gateway, "--address", DEVELOPERS.gateway6)


def redirect(lab, *clients, addresses=ADDRESSES):
    """Sets up the redirect on the gateway and loads its rules; the case's end takes them away."""
    setup(lab, *clients, *addresses, "--write")
    lab.defer(lambda: undo(lab))
    load()
    # The kernel tells one client of a few unreachable ports a second; cases ask faster.
    network.run_in(GATEWAY, "sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0")


def setup(lab, *arguments):
    """Runs `pullgate setup redirect` on the gateway."""
    command = network.inside(GATEWAY, lab.pullgate.binary, "setup", "redirect", *arguments, "--config", lab.pullgate.settings)
    done = subprocess.run(command, text=True, capture_output=True, check=False, timeout=20)
    lab.note(f"setup redirect {arguments} -> {done.returncode}\n{done.stdout}{done.stderr}")
    equal(done.returncode, 0, done.stderr)


def load():
    """What the unit runs at its start and at its reload."""
    network.run_in(GATEWAY, f"nft -f {RULES}")


def undo(lab):
    """What `--undo --restart` does, but for systemd; a second time, nothing."""
    setup(lab, "--undo")
    network.run_in(GATEWAY, "nft 'add table inet pullgate; delete table inet pullgate'")
