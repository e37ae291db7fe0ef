"""The lab: everything that all cases share, started once, and what one case holds of it."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import traceback
from functools import cached_property
from pathlib import Path

import engines
import hub
import images
import mirror
import network
import servers
import steering
from certificates import make_authority, trust
from gateway import Pullgate
from network import CI, DEVELOPERS, REGISTRIES
from support.cases import Failed, Stage, equal, run_cases, sh, wait_until
from support.tree import trixie_tree

REGISTRY, CDN, CI_ONLY, FORBIDDEN, MIRROR = (f"{name}.lab.test" for name in ("registry", "cdn", "ci", "forbidden", "mirror"))
# The machines with container engines, all in the developers' network, and their addresses there.
HOSTS = {"bookworm": 20, "trixie": 30, "trixie-store": 31}
GUESTS = {name: DEVELOPERS.hosts(number) for name, number in HOSTS.items()}
# Where the numbers of the machines begin that cases add.
FIRST_CLIENT = 100
# A bare system's: what the machine that runs the lab has installed by hand must not matter.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
UPSTREAM = "198.18.1.53"
# A resolver outside that knows everything and that nobody should ask, by its addresses: some are what Docker falls back to.
FOREIGN, FOREIGN6, GOOGLE, GOOGLE_TOO = "198.18.1.88", "fd18:1::53", "8.8.8.8", "8.8.4.4"
FOREIGN_MACHINE = "upstream"

TINY = "team/tiny:1"
LARGE = "team/large:1"
LARGE_MEGABYTES = 200
HUGE, BIG = "team/huge:1", "team/big:1"

# Where the lab keeps everything, and how much that may be: images above all, in the stores of several engines.
SCRATCH = Path("/run/lab")
SIZE = "12g"

# What every case begins with.
POLICY = f"""\
version = 1

[[registry]]
name = "lab"
hosts = ["{REGISTRY}"]
redirects = ["{CDN}"]
private-addresses = true

[[registry]]
name = "ci-only"
hosts = ["{CI_ONLY}"]
private-addresses = true

[[group]]
name = "developers"
clients = ["{DEVELOPERS.v4}.0/24", "{DEVELOPERS.v6}::/64"]
registries = ["lab"]

[[group]]
name = "ci"
clients = ["{CI.v4}.0/24", "{CI.v6}::/64"]
registries = ["lab", "ci-only"]
"""


def run(cases, binary, logs):
    """Runs the cases one after another in one lab; returns the exit code. The namespaces are this run's own."""
    make_machine()
    world = World(binary, SCRATCH / "world")
    try:
        world.start()
        return run_cases(cases, lambda folder: Lab(world, folder), SCRATCH, logs)
    finally:
        world.stop()


def make_machine():
    """Turns the fresh namespaces into a machine without any network, whose /etc, /run and containers are its own.

    All that the lab writes lies in memory that goes with the namespaces, however the run ends.
    """
    sh("ip link set lo up")
    sh("mount -t tmpfs tmpfs /run")
    SCRATCH.mkdir()
    sh(f"mount -t tmpfs -o size={SIZE} tmpfs {SCRATCH}")
    os.makedirs("/run/overlay/up")
    os.makedirs("/run/overlay/work")
    sh("mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/overlay/up,workdir=/run/overlay/work /etc")
    for path in ("/var/lib/containers", "/var/tmp"):
        os.makedirs(path, exist_ok=True)
        sh(f"mount -t tmpfs tmpfs {path}")
    Path("/etc/resolv.conf").unlink(missing_ok=True)
    Path("/etc/resolv.conf").touch()


@dataclasses.dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    code: int
    output: str


class World:
    """The network, its servers, and pullgate on the gateway."""

    def __init__(self, binary, folder):
        self.folder = folder
        folder.mkdir(parents=True)
        self.authority = make_authority(folder / "ca")
        self.upstream = servers.Knot("upstream", folder / "upstream")
        registry = servers.Registry("registry", folder / "registry", REGISTRY, self.authority, blobs_at=CDN)
        # By the names of their machines.
        self.web = {
            "registry": registry,
            "cdn": servers.blob_store(folder / "cdn", CDN, self.authority, registry.storage),
            "ci-only": servers.Registry("ci-only", folder / "ci-only", CI_ONLY, self.authority),
            "forbidden": servers.Registry("forbidden", folder / "forbidden", FORBIDDEN, self.authority),
            "mirror": servers.mirror(folder / "mirror", MIRROR, folder / "packages"),
        }
        section = steering.SECTION.format(folder=folder / "pullgate", roots=self.authority.certificate)
        self.pullgate = Pullgate(binary, folder / "pullgate", UPSTREAM, section)
        self.ends = []

    def start(self):
        """Builds the network, starts the servers, fills the registries."""
        network.make_gateway()
        steering.make_addresses()
        self.authorities = (self.authority.certificate, steering.make_authority(self.pullgate))
        trust(Path("/"), *self.authorities)
        network.add_machine(FOREIGN_MACHINE, REGISTRIES, 53, more=[FOREIGN, GOOGLE, GOOGLE_TOO])
        for number, machine in enumerate(self.web, 10):
            network.add_machine(machine, REGISTRIES, number, resolver=engines.resolver(UPSTREAM))
        mirror.make(self.folder / "packages")
        for server in (self.upstream, *self.web.values()):
            self.begin(server)
        self.tiny = images.tiny(self.folder / "tiny")
        for host in (REGISTRY, CI_ONLY, FORBIDDEN):
            self.fill(self.folder / "tiny", host, TINY)
        self.begin(self.pullgate, POLICY)

    def begin(self, service, *arguments):
        service.start(*arguments)
        self.ends.append(service.stop)

    def stop(self):
        """Ends everything, last one first."""
        while self.ends:
            try:
                self.ends.pop()()
            except Exception:  # what cannot be ended in order dies with the namespaces
                traceback.print_exc()

    def fill(self, folder, host, image):
        """Pushes an image that was built in `folder`, around pullgate."""
        command = f"skopeo copy --quiet --insecure-policy oci:{folder}/layout:image docker://{host}/{image}"
        network.run_in("registry", command, seconds=120)

    @cached_property
    def bookworm(self):
        """Debian 12, whose files are this machine's own, with dockerd 20.10; booted by whoever first asks for it."""
        return self.boot("bookworm", Path("/"))

    @cached_property
    def trixie(self):
        """The next Debian, with dockerd 26."""
        return self.boot("trixie", trixie_tree())

    @cached_property
    def trixie_store(self):
        """The same, whose dockerd keeps its images with containerd."""
        return self.boot("trixie-store", trixie_tree(), features={"containerd-snapshotter": True})

    def boot(self, name, tree, **daemon):
        guest = engines.boot(self, name, tree, HOSTS[name], **daemon)
        self.ends.append(guest.power_off)
        return guest

    def guest(self, name):
        """The machine with container engines of that name."""
        return getattr(self, name.replace("-", "_"))

    @cached_property
    def hub(self):
        """The fake Hub, with all its repositories; set up by whoever first asks for it."""
        server = hub.Hub(self.folder / "hub", self.authority)
        network.add_machine(hub.MACHINE, REGISTRIES, hub.NUMBER, resolver=engines.resolver(UPSTREAM))
        self.begin(server)
        for repository, tags in hub.REPOSITORIES.items():
            for tag in tags:
                hub.fill(self.folder / "tiny", repository, tag)
        self.web[hub.MACHINE] = server
        return server

    @cached_property
    def large(self):
        """The digest of the image that takes seconds to pull; pushed by whoever first asks for it."""
        digest = images.large(self.folder / "large", LARGE_MEGABYTES)
        self.fill(self.folder / "large", REGISTRY, LARGE)
        shutil.rmtree(self.folder / "large")
        return digest

    @cached_property
    def huge(self):
        """The image with a layer of 1 GB, in a registry that serves its blobs itself; pushed by whoever first asks for it."""
        return self.fill_with_zeros(HUGE, 1000)

    @cached_property
    def big(self):
        """The same with a layer of 300 MB."""
        return self.fill_with_zeros(BIG, 300)

    def fill_with_zeros(self, name, megabytes):
        image = images.huge(self.folder / "huge", megabytes)
        self.fill(self.folder / "huge", CI_ONLY, name)
        shutil.rmtree(self.folder / "huge")
        return image


class Lab(Stage):
    """One case's view of the lab: it begins with the usual policy, and knows what was logged since."""

    def __init__(self, world, folder):
        super().__init__(folder)
        self.world = world
        self.pullgate = world.pullgate
        self.pullgate.revive()
        self.pullgate.policy(POLICY)
        self.addresses = dict(GUESTS)
        self.seen = self.pullgate.mark()
        self.before = {}
        self.connections_before = {}
        self.look_at(*world.web)

    def close(self):
        super().close()
        try:
            lines = [f"{json.dumps(entry)}\n" for entry in self.entries()]
            (self.folder / "pullgate.log").write_text("".join(lines), encoding="utf-8")
        except (Failed, OSError, subprocess.SubprocessError) as error:
            self.note(f"pullgate: {error}")

    # ── what clients do ──

    def image(self):
        """A new image in the registry, that no client has any part of but the base; its reference without tag, and the image."""
        repository = f"team/{self.folder.name}"
        image = images.derived(self.world.folder / "tiny", self.folder / "image", self.folder.name)
        self.world.fill(self.folder / "image", REGISTRY, f"{repository}:1")
        shutil.rmtree(self.folder / "image")
        return f"{REGISTRY}/{repository}", image

    def machine(self, net=DEVELOPERS, *, families="46", resolver=None):
        """A client's namespace of the case's own in `net`, asking pullgate unless `resolver` (a resolv.conf) says else."""
        number = FIRST_CLIENT + len(self.addresses)
        name = f"client{number}"
        resolver = resolver or engines.resolver(net.gateway if "4" in families else net.gateway6)
        network.add_machine(name, net, number, families=families, resolver=resolver)
        self.defer(lambda: network.remove_machine(name))
        self.addresses[name] = net.hosts(number)
        return name

    def run(self, machine, command, seconds=60):
        """Runs a shell command to its end, on a machine with engines or in a namespace; its output is both streams'."""
        enter = self.world.guest(machine).enter() if machine in GUESTS else network.inside(machine)
        command = f"PATH={PATH}; exec 2>&1; {command}"
        done = subprocess.run([*enter, "sh", "-c", command], text=True, stdout=subprocess.PIPE, check=False, timeout=seconds)
        self.note(f"{machine}$ {command} -> {done.returncode}\n{done.stdout}")
        return Done(done.returncode, done.stdout)

    # ── what servers saw ──

    def look_at(self, *servers):
        """Has what these servers saw count from now on."""
        self.before |= {name: len(self.world.web[name].requests()) for name in servers}
        self.connections_before |= {name: network.connections(name) for name in servers}

    def requests(self, server, machine=None, pattern=""):
        """What a web server's access log has since the case began, as far as it matches; of one machine, if it is given."""
        lines = [line for line in self.world.web[server].requests()[self.before[server] :] if re.search(pattern, line)]
        return [line for line in lines if machine is None or set(line.split()) & set(self.addresses[machine])]

    def connections(self, server):
        """How many connections a web server's machine has accepted since the case began."""
        return network.connections(server) - self.connections_before[server]

    def entries(self, machine=None, **wanted):
        """What pullgate logged since the case began, as far as the entries have these values; of one machine, if it is given."""
        entries = self.pullgate.entries(self.seen, wanted.get("name"))
        entries = [entry for entry in entries if machine is None or entry["client"] in self.addresses[machine]]
        return [entry for entry in entries if all(entry[key] == value for key, value in wanted.items())]

    def logged(self, machine, name, **wanted):
        """The first question of the machine for the name that pullgate logged with these values; there has to be one."""
        find = lambda: self.entries(machine, name=name, **wanted)
        return wait_until(find, 2, f"pullgate logged {name} {wanted} of {machine}")[0][0]

    def requested(self, server, machine, pattern):
        """A web server's log gets a request of the machine that matches."""
        wait_until(lambda: self.requests(server, machine, pattern), 2, f"{server} was asked {pattern} by {machine}")

    def untouched(self, server):
        """A server has not had a connection, let alone a request."""
        equal((self.connections(server), self.requests(server)), (0, []), f"connections and requests of {server}")
