"""A machine with Docker and, beside it, pullgate as a service; and the ways in which its programs ask for a name."""

import functools
import json

import network
from certificates import trust
from engines import CONTAINERS, DAEMON, IMAGES, OFTEN, resolver
from machines import BOOKWORM, TRIXIE
from network import DEVELOPERS
from support import service
from support.cases import case
from support.guest import Guest
from world import CDN, GOOGLE, PATH, REGISTRY, TINY, UPSTREAM

TREES = {"bookworm": BOOKWORM.tree, "trixie": TRIXIE.tree}
DOCKER0 = DAEMON["bip"].split("/")[0]
# An IPv6 network of Docker's, and its bridge's address.
NETWORK6, DOCKER6 = "fd18:40::/64", "fd18:40::1"
IMAGE = f"{REGISTRY}/{TINY}"
# What `setup docker` changes of the machine's.
FILES = ("/etc/resolv.conf", "/etc/docker/daemon.json")

# Ways of asking for a name; each ends with 0 if it resolves.
BUILD = r"printf 'FROM {{name}}/" + TINY + r"\n' | DOCKER_BUILDKIT={} docker build --pull --no-cache -"
PULLS = {
    "a pull": "docker pull {name}/" + TINY,
    "a FROM, classic": BUILD.format(0),
    "a FROM, BuildKit": BUILD.format(1),
}
PROGRAMS = {"the machine's programs": "getent hosts {name}"}
RUN_STEP = r"printf 'FROM " + IMAGE + r"\nRUN resolve-glibc {{name}}\n' | DOCKER_BUILDKIT={} docker build --no-cache -"
RUN_STEPS = {"a RUN step, classic": RUN_STEP.format(0), "a RUN step, BuildKit": RUN_STEP.format(1)}
DEFAULT_NETWORK = {
    "a container": f"docker run --rm {IMAGE} resolve-glibc {{name}}",
    "a container, musl": f"docker run --rm {IMAGE} resolve-musl {{name}}",
    **RUN_STEPS,
}
USER_NETWORK = {"a container on a user network": f"docker run --rm --network own {IMAGE} resolve-glibc {{name}}"}

SETTINGS = f"""\
[server]
listen = ["127.0.0.1:53", "{DOCKER0}:53", "[{DOCKER6}]:53"]
clients = ["127.0.0.0/8", "198.18.0.0/15", "fd18::/16", "10.88.0.0/16"]

[upstream]
servers = ["{UPSTREAM}"]
"""

POLICY = f"""\
version = 1

[[registry]]
name = "lab"
hosts = ["{REGISTRY}"]
redirects = ["{CDN}"]
private-addresses = true
"""


def for_each_debian(function):
    """Registers a function (lab, name of a Debian) as one case for each."""

    def bound(name):
        def run(lab):
            function(lab, name)

        run.__name__ = f"{function.__name__}_{name}"
        run.__doc__ = function.__doc__
        return run

    for name in TREES:
        case(seconds=180)(bound(name))
    return function


@functools.cache
def docker_host(world, name):
    """A machine with dockerd and pullgate as a service, all of whose resolvers are foreign; booted once."""
    machine = f"host-{name}"
    network.add_machine(machine, DEVELOPERS, number_of(name))
    guest = Guest(world.folder, machine, TREES[name](), machine, scratch=IMAGES, engine=True)
    trust(guest.tree, world.authority.certificate)
    guest.write("/etc/resolv.conf", resolver(GOOGLE))
    guest.write("/etc/docker/daemon.json", json.dumps({**DAEMON, "dns": [GOOGLE]}))
    guest.write("/etc/containers/containers.conf", CONTAINERS)
    guest.write("/etc/systemd/system/docker.service.d/often.conf", OFTEN)
    service.install(guest, world.pullgate.binary, SETTINGS, POLICY)
    guest.boot()
    world.ends.append(guest.power_off)
    guest.must("systemctl start containerd docker")
    return guest


def number_of(name):
    """The number of a Docker host's machine in the developers' network."""
    return 40 + list(TREES).index(name)


def give_back(host, given):
    """Puts files back as they were."""
    for path, text in given.items():
        host.write(path, text)
    host.must("systemctl restart docker")


def resolves(lab, run, ways, name):
    """Which ways of asking lead to the name's address."""
    found = []
    for way, command in ways.items():
        done = run(f"PATH={PATH}; {command.format(name=name)}")
        lab.note(f"{way}: {command.format(name=name)} -> {done.returncode}\n{done.stdout}{done.stderr}")
        if done.returncode == 0:
            found.append(way)
    return found


def prepare_engines(lab, machine):
    """The image that all containers are made of, and a network of one's own for each engine."""
    lab.defer(lambda: machine("; ".join(CLEAN_UP)))
    machine.must(" && ".join(PREPARE))


PREPARE = [
    f"docker pull --quiet {IMAGE}",
    f"podman pull --quiet {IMAGE}",
    "docker network create own",
    "podman network create --subnet 198.18.80.0/24 own",
]
CLEAN_UP = [
    "docker network rm own",
    "podman network rm own",
    "docker image prune --all --force",
    "docker builder prune --all --force",
    "podman rmi --all --force",
]
