"""`pullgate setup redirect` where Docker is: on the gateway of a Docker VM, and on the Docker host itself, beside its rules.

Everything names 8.8.8.8, which knows every name: the machine's resolv.conf, daemon.json, `--dns`.
"""

import re
import subprocess

import network
from docker_host import (
    DOCKER0,
    DOCKER6,
    IMAGE,
    NETWORK6,
    PROGRAMS,
    PULLS,
    RUN_STEPS,
    TREES,
    docker_host,
    for_each_debian,
    number_of,
    prepare_engines,
    resolves,
)
from engines import resolver
from network import DEVELOPERS
from redirect import redirect
from support.cases import check, equal, wait_until
from support.guest import Guest
from world import FOREIGN6, FORBIDDEN, GOOGLE, REGISTRY, TINY, UPSTREAM

CLIENTS = ("--interface", "docker0", "--interface", "br-*", "--interface", "podman*", "--interface", "cni-podman*")

CONTAINERS_ASK = {
    "a container with --dns": f"docker run --rm --dns {GOOGLE} {IMAGE} resolve-glibc {{name}}",
    "a container, musl": f"docker run --rm --dns {GOOGLE} {IMAGE} resolve-musl {{name}}",
    "a container on a user network": f"docker run --rm --network own --dns {GOOGLE} {IMAGE} resolve-glibc {{name}}",
    "a container over TCP": f"docker run --rm --dns {GOOGLE} --dns-opt use-vc {IMAGE} resolve-glibc {{name}}",
    "a container of podman's": f"podman run --rm --dns {GOOGLE} {IMAGE} resolve-glibc {{name}}",
    "a container on a user network of podman's": f"podman run --rm --network own --dns {GOOGLE} {IMAGE} resolve-glibc {{name}}",
    **RUN_STEPS,
}
HOST_ASKS = {**PROGRAMS, "the engine": PULLS["a pull"]}

# ── a Docker VM behind the gateway ──


@for_each_debian
def redirect_holds_for_a_docker_vm(lab, name):
    """A VM with a static foreign resolver, its engine, its containers and RUN steps: all leak; redirected, none does."""
    machine = lab.world.guest(name)
    lab.defer(lambda: set_resolver(machine, DEVELOPERS.gateway))
    set_resolver(machine, GOOGLE)
    prepare_engines(lab, machine)
    everything = {**HOST_ASKS, **CONTAINERS_ASK}
    equal(resolves(lab, machine, everything, FORBIDDEN), list(everything), "not redirected")
    machine.must(f"docker rmi {FORBIDDEN}/{TINY}")
    redirect(lab, "--interface", DEVELOPERS.name)
    equal(resolves(lab, machine, everything, FORBIDDEN), [])
    equal(resolves(lab, machine, everything, REGISTRY), list(everything))


def set_resolver(machine, server):
    """Names a server in its resolv.conf. dockerd looks at the file again after seconds only, or when it is started."""
    machine.write("/etc/resolv.conf", resolver(server))
    machine.must("systemctl restart docker")


# ── pullgate on the Docker host ──


def redirect_on(lab, host, *arguments):
    """Sets the redirect up on a host as its administrator would; the case's end undoes it."""
    lab.defer(lambda: undo_on(host))
    lab.note(host.must(f"pullgate setup redirect {' '.join(map(repr, arguments))} --write --restart"))


def undo_on(host):
    host.must("pullgate setup redirect --undo --restart")


def tables(host, leave_out=r"table inet pullgate \{\n.*?^\}\n"):
    """What is in the kernel's tables, without counters and without pullgate's own."""
    return re.sub(leave_out, "", host.must("nft --stateless list ruleset"), flags=re.S | re.M)


@for_each_debian
def redirect_on_a_docker_host_holds_for_containers(lab, name):
    """pullgate beside Docker: containers, user networks and RUN steps leak; redirected, none does. The host is left alone."""
    host = docker_host(lab.world, name)
    prepare_engines(lab, host)
    equal(resolves(lab, host, CONTAINERS_ASK, FORBIDDEN), list(CONTAINERS_ASK), "not redirected")
    redirect_on(lab, host, *CLIENTS)
    equal(resolves(lab, host, CONTAINERS_ASK, FORBIDDEN), [])
    equal(resolves(lab, host, CONTAINERS_ASK, REGISTRY), list(CONTAINERS_ASK))
    finds_its_neighbour(lab, host, "docker")
    equal(resolves(lab, host, HOST_ASKS, FORBIDDEN), list(HOST_ASKS), "the host, without --local")
    host.must(f"docker rmi {FORBIDDEN}/{TINY}")
    check(FORBIDDEN in host.must("pullgate log --json"), "the log has no line of it")


@for_each_debian
def redirect_on_a_docker_host_holds_over_ipv6(lab, name):
    """A container on an IPv6 network of Docker's that asks a foreign server over IPv6: it leaks; redirected, it does not."""
    host = docker_host(lab.world, name)
    prepare_engines(lab, host)
    lab.defer(lambda: host("docker network rm six"))
    host.must(f"docker network create --ipv6 --subnet {NETWORK6} --gateway {DOCKER6} --subnet 198.18.81.0/24 six")
    host.must("sysctl -qw net.ipv6.conf.all.forwarding=1")
    network.run_in(network.GATEWAY, f"ip -6 route replace {NETWORK6} via {DEVELOPERS.hosts(number_of(name))[1]}")
    asks = {"over IPv6": f"docker run --rm --network six {IMAGE} nslookup {{name}} {FOREIGN6}"}
    equal(resolves(lab, host, asks, FORBIDDEN), list(asks), "not redirected")
    redirect_on(lab, host, *CLIENTS, "--address", DOCKER0, "--address", DOCKER6)
    equal(resolves(lab, host, asks, FORBIDDEN), [])
    equal(resolves(lab, host, asks, REGISTRY), list(asks))


def finds_its_neighbour(lab, host, engine):
    """Containers of a user network still find each other by name: the engine answers that itself."""
    lab.defer(lambda: host(f"{engine} kill neighbour"))
    host.must(f"{engine} run --detach --rm --name neighbour --network own {IMAGE} sleep 60")
    host.must(f"{engine} run --rm --network own {IMAGE} resolve-glibc neighbour")


@for_each_debian
def redirect_local_holds_for_the_host_but_not_for_pullgate(lab, name):
    """`--local`: the host's programs, its engine and podman's resolver are redirected; pullgate's own questions reach its upstream."""
    host = docker_host(lab.world, name)
    prepare_engines(lab, host)
    asks = {**HOST_ASKS, "podman's resolver": f"podman run --rm --network own {IMAGE} resolve-glibc {{name}}"}
    equal(resolves(lab, host, asks, FORBIDDEN), list(asks), "not redirected")
    host.must(f"docker rmi {FORBIDDEN}/{TINY}")
    redirect_on(lab, host, "--local")
    equal(resolves(lab, host, asks, FORBIDDEN), [])
    equal(resolves(lab, host, asks, REGISTRY), list(asks))
    finds_its_neighbour(lab, host, "podman")
    for server in (GOOGLE, UPSTREAM, "127.0.0.53", "127.0.0.1"):
        for transport in ("+notcp", "+tcp"):
            for asked, status in ((FORBIDDEN, "NXDOMAIN"), (REGISTRY, "NOERROR")):
                # More than once: a port is refused that a conversation from before the rules still holds.
                answer = host.must(f"dig @{server} {asked} {transport} +tries=3 +time=2")
                check(f"status: {status}" in answer, f"{server} {transport}: {answer}")


@for_each_debian
def redirect_leaves_dockers_tables_alone(lab, name):
    """Set up, loaded again, undone: Docker's tables stay byte for byte the same; a restart of Docker changes nothing of ours."""
    host = docker_host(lab.world, name)
    prepare_engines(lab, host)
    before = tables(host)
    check("DOCKER" in before, before)
    redirect_on(lab, host, *CLIENTS)
    equal(tables(host), before, "set up")
    host.must("systemctl reload pullgate-redirect")
    equal(tables(host), before, "loaded again")
    ours = host.must("nft --stateless list table inet pullgate")
    host.must("systemctl restart docker")
    equal(host.must("nft --stateless list table inet pullgate"), ours, "Docker restarted")
    equal(resolves(lab, host, CONTAINERS_ASK, FORBIDDEN), [])
    before = tables(host)  # podman's first container adds rules of podman's own
    undo_on(host)
    equal(host.must("nft --stateless list ruleset"), before, "undone")
    equal(host.must("ls -A /etc/systemd/system/sysinit.target.wants"), "", "left behind")


@for_each_debian
def redirect_is_in_force_from_boot_and_after_the_firewall(lab, name):
    """Written into an image with `--root`, it is there before the network is; nftables.service empties all tables, and it is there again."""
    machine = f"boot-{name}"
    network.add_machine(machine, DEVELOPERS, 50)
    lab.defer(lambda: network.remove_machine(machine))
    guest = Guest(lab.folder, machine, TREES[name](), machine, engine=True)
    lab.defer(guest.power_off)
    setup = [lab.pullgate.binary, "setup", "redirect", *CLIENTS, "--address", DOCKER0, "--root", guest.tree, "--write"]
    done = subprocess.run([str(word) for word in setup], text=True, capture_output=True, check=False)
    equal(done.returncode, 0, done.stderr)
    guest.must("systemctl enable nftables.service")
    guest.boot()
    in_force = lambda: "table inet pullgate" in guest.must("nft list tables")
    check(in_force(), "the table is not there after the boot")
    loaded, network_at = (int(guest.property(unit, "ActiveEnterTimestampMonotonic")) for unit in ("pullgate-redirect.service", "network-pre.target"))
    check(0 < loaded < network_at, f"loaded at {loaded}, the network begins at {network_at}")
    for action in ("reload", "restart"):
        guest.must("nft add table inet witness")
        guest.must(f"systemctl {action} nftables")
        wait_until(in_force, 5, f"the table is there after {action}")
        check("witness" not in guest.must("nft list tables"), "nftables.service has not emptied the tables")
    guest.must("nft flush ruleset && systemctl reload pullgate-redirect")
    check(in_force(), "reloaded after a flush by hand")
    guest.must("systemctl stop pullgate-redirect")
    check(not in_force(), "stopped")
