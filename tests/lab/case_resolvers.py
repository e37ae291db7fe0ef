"""Clients whose way to pullgate is an unusual one, and programs inside containers."""

import dataclasses

from clients import FORGET_DOCKER, for_each
from engines import RESOLVED, RESTART, back_to_pullgate
from network import DEVELOPERS
from support.cases import case, check, equal
from world import CDN, FORBIDDEN, REGISTRY, TINY

ALLOWED, DENIED = f"{REGISTRY}/{TINY}", f"{FORBIDDEN}/{TINY}"
INSPECT = "skopeo inspect docker://{image}"


def pulls_as_allowed(lab, machine, resolver):
    """skopeo (Go's own resolver) and curl (glibc's) reach the registry and its blobs, and hear `no such host` of the forbidden one."""
    done = lab.run(machine, INSPECT.format(image=ALLOWED))
    equal(done.code, 0, f"exit of skopeo ({done.output})")
    done = lab.run(machine, f"curl -sSfL https://{REGISTRY}/v2/team/tiny/blobs/{lab.world.tiny.blob} -o /dev/null")
    equal(done.code, 0, f"exit of curl ({done.output})")
    done = lab.run(machine, INSPECT.format(image=DENIED))
    check(f"lookup {FORBIDDEN} on {resolver}:53: no such host" in done.output, done.output)
    done = lab.run(machine, f"curl -sSf https://{FORBIDDEN}/v2/")
    equal(done.output.strip(), f"curl: (6) Could not resolve host: {FORBIDDEN}")
    lab.requested("registry", machine, "/manifests/")
    lab.requested("cdn", machine, "/blobs/")
    lab.untouched("forbidden")
    for name, verdict in ((REGISTRY, "allow"), (CDN, "allow"), (FORBIDDEN, "deny")):
        equal({(entry["verdict"], entry["group"]) for entry in lab.entries(machine, name=name)}, {(verdict, "developers")}, name)


@case
def an_ipv6_only_client_is_served(lab):
    """A client without any IPv4 asks over IPv6, is known by its address there, and pulls over IPv6."""
    machine = lab.machine(families="6")
    pulls_as_allowed(lab, machine, f"[{DEVELOPERS.gateway6}]")
    v6 = lab.addresses[machine][1]
    equal({entry["client"] for entry in lab.entries(machine)}, {v6})
    check(all(v6 in line for line in lab.requests("registry", machine)), "not over IPv6")


@case
def a_client_that_asks_over_tcp_alone_is_served(lab):
    """resolv.conf's `use-vc`, with UDP closed as well: every question comes over TCP."""
    machine = lab.machine(resolver=f"nameserver {DEVELOPERS.gateway}\noptions use-vc\n")
    equal(lab.run(machine, "nft 'add table ip only; add chain ip only out { type filter hook output priority 0; }; add rule ip only out udp dport 53 drop'").code, 0)
    pulls_as_allowed(lab, machine, DEVELOPERS.gateway)
    equal({entry["transport"] for entry in lab.entries(machine)}, {"tcp"})


@case
def a_search_domain_opens_nothing(lab):
    """With `search`, short names of allowed hosts resolve; a denied name stays denied with every suffix, and is named as typed."""
    machine = lab.machine(resolver=f"nameserver {DEVELOPERS.gateway}\nsearch lab.test corp.test\n")
    pulls_as_allowed(lab, machine, DEVELOPERS.gateway)
    check(f"{'198.18.1.10'} " in lab.run(machine, "getent ahostsv4 registry").output, "the short name does not resolve")
    equal(lab.run(machine, "getent ahosts forbidden").code, 2)
    equal(lab.entries(machine, name=f"{FORBIDDEN}.corp.test", verdict="allow"), [])
    lab.logged(machine, f"{FORBIDDEN}.corp.test", verdict="deny")


@case(seconds=90)
def a_client_behind_systemd_resolved_is_served(lab):
    """A machine whose programs ask systemd-resolved: engines say `on 127.0.0.53`, and containers get pullgate's own address."""
    machine, guest = "trixie", lab.world.trixie
    guest.write("/etc/systemd/resolved.conf", RESOLVED.format(server=DEVELOPERS.gateway))
    lab.defer(lambda: back_to_pullgate(guest))
    guest.must("systemctl start systemd-resolved && ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf")
    guest.must(RESTART)  # dockerd looks only once whether resolved is in between
    pulls_as_allowed(lab, machine, "127.0.0.53")
    denied = lab.run(machine, f"docker pull {DENIED}")
    check(f"lookup {FORBIDDEN} on 127.0.0.53:53: no such host" in denied.output, denied.output)
    lab.defer(lambda: lab.run(machine, "docker image prune --all --force"))
    inside = lab.run(machine, f"docker run --rm {ALLOWED} cat /etc/resolv.conf")
    check(f"nameserver {DEVELOPERS.gateway}" in inside.output, inside.output)


# ── in containers ──

# Each with a resolver of its own: how it is run, and what it prints when the name is denied.
PROGRAMS = {
    "musl": ("resolve-musl {host}", "{host}: Name does not resolve"),
    "glibc": ("resolve-glibc {host}", "{host}: Name or service not known"),
    "nslookup": ("nslookup {host}", "** server can't find {host}: NXDOMAIN"),
    "wget": ("wget -q -O - http://{host}/", "wget: bad address '{host}'"),
}


@dataclasses.dataclass(frozen=True)
class Runner:
    """What runs containers, or builds images in them, on one machine."""

    name: str
    machine: str
    command: str
    forget: str

    @property
    def user_resolver(self):
        """What its user networks have as resolver: Docker's own, or podman's on the network's own address."""
        return "127.0.0.11" if self.command == "docker" else ""


FORGET_PODMAN = "podman rmi --all --force"
RUNNERS = [
    Runner("docker-20", "bookworm", "docker", FORGET_DOCKER),
    Runner("docker-26", "trixie", "docker", FORGET_DOCKER),
    Runner("docker-26-store", "trixie-store", "docker", FORGET_DOCKER),
    Runner("podman-4", "bookworm", "podman", FORGET_PODMAN),
    Runner("podman-5", "trixie", "podman", FORGET_PODMAN),
]


@for_each(RUNNERS)
def containers_resolve_what_is_allowed(lab, runner):
    """musl, glibc and busybox in a container on the default network: allowed names resolve, others do not."""
    resolves_in_containers(lab, runner, "", DEVELOPERS.gateway)


@for_each(RUNNERS)
def containers_on_a_user_network_resolve_what_is_allowed(lab, runner):
    """The same on a network of the user's, where Docker puts its own resolver, 127.0.0.11, in between."""
    equal(lab.run(runner.machine, f"{runner.command} network create lab").code, 0, "exit of network create")
    lab.defer(lambda: lab.run(runner.machine, f"{runner.command} network rm --force lab || {runner.command} network rm lab"))
    resolves_in_containers(lab, runner, "--network lab", runner.user_resolver)


def resolves_in_containers(lab, runner, network, resolver):
    lab.defer(lambda: lab.run(runner.machine, runner.forget))
    steps = ["cat /etc/resolv.conf", f"resolve-musl {REGISTRY}", f"resolve-glibc {REGISTRY}", f"nslookup {REGISTRY}"]
    steps += [command.format(host=FORBIDDEN) for command, _ in PROGRAMS.values()]
    done = lab.run(runner.machine, f"{runner.command} run --rm {network} {ALLOWED} sh -c '{'; '.join(steps)}' 2>&1")
    check(f"nameserver {resolver}" in done.output, f"another resolver: {done.output}")
    equal(done.output.count("198.18.1.10"), 3, f"allowed names: {done.output}")
    for program, (_, text) in PROGRAMS.items():
        check(text.format(host=FORBIDDEN) in done.output, f"{program} prints {done.output}")
    lab.untouched("forbidden")
    equal(lab.logged(runner.machine, FORBIDDEN)["verdict"], "deny")


# ── in builds ──

STEPS = r"printf 'FROM {image}\nRUN {run}\n' | "
BUILDERS = [
    Runner("docker-20-classic", "bookworm", STEPS + "DOCKER_BUILDKIT=0 docker build --no-cache -", FORGET_DOCKER),
    Runner("docker-20-buildkit", "bookworm", STEPS + "DOCKER_BUILDKIT=1 docker build --no-cache --progress=plain -", FORGET_DOCKER),
    Runner("docker-26-classic", "trixie", STEPS + "DOCKER_BUILDKIT=0 docker build --no-cache -", FORGET_DOCKER),
    Runner("docker-26-buildx", "trixie", STEPS + "docker buildx build --no-cache --progress=plain -", FORGET_DOCKER),
    Runner("docker-26-store-buildx", "trixie-store", STEPS + "docker buildx build --no-cache --progress=plain -", FORGET_DOCKER),
    Runner("buildah-1.28", "bookworm", STEPS + "buildah bud --no-cache -f - .", FORGET_PODMAN),
    Runner("podman-5", "trixie", STEPS + "podman build --no-cache -f - .", FORGET_PODMAN),
]


@for_each(BUILDERS)
def a_run_step_resolves_what_is_allowed(lab, builder):
    """A RUN step resolves the registry and not the forbidden one; a build that reaches for that fails."""
    lab.defer(lambda: lab.run(builder.machine, builder.forget))
    build = lambda step: lab.run(builder.machine, "cd /tmp; " + builder.command.format(image=ALLOWED, run=step))
    done = build(f"resolve-musl {REGISTRY} && resolve-glibc {REGISTRY}")
    equal((done.code, done.output.count(f"{REGISTRY}: 198.18.1.10") >= 2), (0, True), done.output)
    done = build(f"resolve-musl {FORBIDDEN}; resolve-glibc {FORBIDDEN}")
    check(done.code != 0, f"the build succeeded: {done.output}")
    for libc in ("musl", "glibc"):
        check(PROGRAMS[libc][1].format(host=FORBIDDEN) in done.output, f"{libc} prints {done.output}")
    lab.untouched("forbidden")
    equal(lab.logged(builder.machine, FORBIDDEN)["verdict"], "deny")


# ── a builder of its own ──

BUILDER = "docker buildx rm lab; docker buildx create --name lab --driver docker-container {options} && timeout 5 docker buildx inspect --bootstrap lab"


@case
def a_buildx_builder_starts_from_an_allowed_image_only(lab):
    """buildx' docker-container driver: the image it starts from is pulled by the policy like any other."""
    machine = "trixie"
    lab.defer(lambda: lab.run(machine, f"docker buildx rm --force lab; {FORGET_DOCKER}"))
    for options, host in (("", "registry-1.docker.io"), (f"--driver-opt image={DENIED}", FORBIDDEN)):
        done = lab.run(machine, BUILDER.format(options=options))
        wanted = f'ERROR: Error response from daemon: Get "https://{host}/v2/": dial tcp: lookup {host} on {DEVELOPERS.gateway}:53: no such host'
        check(done.code != 0 and wanted in done.output, f"{options}: {done.output}")
        equal(lab.logged(machine, host)["verdict"], "deny")
    done = lab.run(machine, BUILDER.format(options=f"--driver-opt image={ALLOWED}"))
    check(f"pulling image {ALLOWED}" in done.output and "no such host" not in done.output, done.output)
    lab.requested("registry", machine, "/manifests/")
    # No package has a buildkitd to put in that image. What it would pull by is the resolver of its container.
    resolver = lab.run(machine, "cat $(docker inspect --format '{{.ResolvConfPath}}' buildx_buildkit_lab0)").output
    check(f"nameserver {DEVELOPERS.gateway}" in resolver, f"the builder's resolver: {resolver}")
    lab.untouched("forbidden")
