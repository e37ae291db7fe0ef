"""`pullgate setup docker --scope engine`: what Docker pulls is restricted, and nothing else on the machine is."""

import json

from docker_host import DEFAULT_NETWORK, FILES, IMAGE, PROGRAMS, PULLS, USER_NETWORK, docker_host, for_each_debian, give_back, prepare_engines, resolves
from engines import DAEMON, resolver
from support.cases import case, check, equal, wait_until
from world import FORBIDDEN, GOOGLE, REGISTRY, TINY

OTHERS_ASK = {**PROGRAMS, **DEFAULT_NETWORK, **USER_NETWORK, "podman": "podman pull {name}/" + TINY}
LEFT_BEHIND = "find /etc/systemd/system /etc/pullgate -path '*docker*pullgate*' -o -name 'pullgate-docker*' -o -path '*/services/*'"


@for_each_debian
def engine_only_restricts_what_docker_pulls(lab, name):
    """Pulls and FROMs of a forbidden registry fail; host, containers, RUN steps and podman resolve as before; --undo restores."""
    host = ordinary_host(lab, name)
    prepare_engines(lab, host)
    before = files(host)
    leaks(lab, host, PULLS, "before")
    leaks(lab, host, OTHERS_ASK, "before")
    said = host.must("pullgate setup docker --scope engine --write --restart")
    lab.defer(lambda: host("pullgate setup docker --undo --restart"))
    lab.note(said)
    restricted(lab, host)
    for hole in ("Docker in Docker", "podman"):
        check(hole in said, f"setup does not name a hole: {hole}\n{said}")
    host.must("pullgate setup docker --undo --restart")
    equal(files(host), before, "the files after --undo")
    equal(host.must(LEFT_BEHIND), "", "files left behind")
    leaks(lab, host, PULLS, "undone")


@case(seconds=120)
def engine_only_outlives_a_new_resolv_conf(lab):
    """A DHCP client replaces resolv.conf, Docker is restarted: the engine stays restricted, the rest follows the new file."""
    host = ordinary_host(lab, "trixie")
    prepare_engines(lab, host)
    host.must("pullgate setup docker --scope engine --write --restart")
    lab.defer(lambda: host("pullgate setup docker --undo --restart"))
    host.must("echo 'nameserver 8.8.4.4' > /etc/resolv.conf.new && mv /etc/resolv.conf.new /etc/resolv.conf")
    wait_until(lambda: not resolves(lab, host, PULLS, FORBIDDEN), 10, "the engine is restricted again")
    restricted(lab, host)
    host.must("systemctl restart docker")
    restricted(lab, host)


@case(seconds=120)
def engine_only_beside_resolved(lab):
    """On a host whose resolv.conf is systemd-resolved's: the same, and containers that share a network still find it."""
    host = ordinary_host(lab, "trixie")
    prepare_engines(lab, host)
    lab.defer(lambda: host("rm /etc/resolv.conf; systemctl stop systemd-resolved; rm -r /run/systemd/resolve"))
    host.must("systemctl start systemd-resolved && ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf")
    host.must(f"resolvectl dns eth0 {GOOGLE} && resolvectl domain eth0 '~.' && systemctl restart docker")
    leaks(lab, host, PULLS, "before")
    lab.defer(lambda: host("pullgate setup docker --undo --restart"))
    host.must("pullgate setup docker --scope engine --write --restart")
    restricted(lab, host)
    share = f"docker run --rm --detach --name first {IMAGE} sleep 60 && docker run --rm --network container:first {IMAGE} resolve-glibc {REGISTRY}"
    host.must(f"{share}; code=$?; docker rm --force first; exit $code")


def ordinary_host(lab, name):
    """A machine with Docker that asks a resolver which knows every name, with pullgate beside it that nobody asks."""
    host = docker_host(lab.world, name)
    given = {path: host.read(path) for path in FILES}
    lab.defer(lambda: give_back(host, given))
    host.write("/etc/resolv.conf", resolver(GOOGLE))
    host.write("/etc/docker/daemon.json", json.dumps(DAEMON))
    host.must("systemctl restart docker")
    return host


def files(host):
    return {path: host.read(path) for path in FILES}


def restricted(lab, host):
    """The engine reaches what is allowed and nothing else; everybody else reaches everything."""
    equal(resolves(lab, host, PULLS, FORBIDDEN), [], "the engine, a forbidden registry")
    equal(resolves(lab, host, PULLS, REGISTRY), list(PULLS), "the engine, an allowed one")
    leaks(lab, host, OTHERS_ASK, "set up")


def leaks(lab, host, ways, when):
    """All of these reach the forbidden registry; what they bring home is taken away again."""
    equal(resolves(lab, host, ways, FORBIDDEN), list(ways), f"the forbidden registry, {when}")
    host(f"docker rmi --force {FORBIDDEN}/{TINY}; podman rmi --force {FORBIDDEN}/{TINY}")
