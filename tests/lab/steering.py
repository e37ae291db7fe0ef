"""The image gateway in the lab: where it is, its settings, its authority, and the policy that its cases begin with."""

import subprocess

import hub
import network
from network import GATEWAY
from support.cases import Failed

# Its own addresses, on the gateway.
ADDRESS, ADDRESS6 = "198.18.3.1", "fd18:3::1"
# A registry that serves its blobs itself, so that they pass through as well, and one that is only passed on.
OWN, PASSED = "ci.lab.test", "forbidden.lab.test"
DENIED = "image access denied: "

SECTION = f"""
[gateway]
address = ["{ADDRESS}", "{ADDRESS6}"]
ca = "{{folder}}/ca"
upstream-ca = "{{roots}}"
"""

REGISTRIES = f"""\
version = 1

[[registry]]
name = "lab"
hosts = ["registry.lab.test"]
redirects = ["cdn.lab.test"]
private-addresses = true

[[registry]]
preset = "docker-hub"
include = ["api"]
path = "inspect"
private-addresses = true

[[registry]]
name = "own"
hosts = ["{OWN}"]
path = "inspect"
private-addresses = true

[[registry]]
name = "paths"
hosts = ["paths.lab.test"]
path = "inspect"
private-addresses = true

[[registry]]
name = "passed"
hosts = ["{PASSED}"]
path = "pass"
private-addresses = true

[[images]]
registry = "own"
allow = ["**"]
push = ["**"]

[[images]]
registry = "paths"
mode = "audit"
"""

HUB_IMAGES = """
[[images]]
registry = "docker-hub"
official = "allow"
verified-publishers = "allow"
sponsored-oss = "deny"
community = "deny"
organizations = ["mycompany"]
allow = ["prom/*"]
deny = ["prom/experimental-*"]
push = ["mycompany/*"]
"""

IMAGES = REGISTRIES + HUB_IMAGES


def make_addresses():
    """Gives the gateway the addresses that names are steered to."""
    network.run_in(GATEWAY, f"ip addr add {ADDRESS}/32 dev lo && ip addr add {ADDRESS6}/128 dev lo")


def make_authority(pullgate):
    """Makes the gateway's authority, for what the policy steers; returns its certificate."""
    pullgate.policy_file.write_text(IMAGES, encoding="utf-8")
    command = network.inside(GATEWAY, pullgate.binary, "images", "ca", "init", "--config", pullgate.settings)
    done = subprocess.run(command, text=True, capture_output=True, check=False, timeout=20)
    if done.returncode:
        raise Failed(f"`images ca init` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return next((pullgate.folder / "ca").glob("*.crt"))


def configure(lab, line):
    """Has the gateway run with one more line of settings, to the end of the case."""
    lab.pullgate.set("[gateway]\n", f"[gateway]\n{line}\n")
    lab.defer(lambda: lab.pullgate.set(f"[gateway]\n{line}\n", "[gateway]\n"))


def forget_badges(lab):
    """Has the gateway begin with nothing known of any namespace."""
    lab.pullgate.stop()
    for path in (lab.pullgate.folder / "state").glob("*badge*"):
        path.unlink()
    lab.pullgate.start()


def begin(lab):
    """Has a case begin with the fake Hub and the policy for its images."""
    if hub.MACHINE not in lab.before:
        lab.world.hub
        lab.look_at(hub.MACHINE)
    lab.pullgate.policy(IMAGES)


def asked_of_the_registry(lab, repository):
    """What came to the Hub's registry about a repository."""
    return [line for line in lab.requests("hub", pattern=f"/v2/{repository}/") if line.startswith((hub.REGISTRY, hub.INDEX))]
