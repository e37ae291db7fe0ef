"""What an administrator does with the gateway: runs it by itself, has hosts trust its authority, replaces that."""

import os
import shutil
import ssl

import network
import steering
from docker_host import FILES, TREES, docker_host, give_back
from engines import resolver
from network import DEVELOPERS, GATEWAY
from steering import ADDRESS, IMAGES, OWN
from support.cases import case, check, equal, wait_until
from support.dns import dig
from wire import Connection, certificate
from world import CDN, PATH, REGISTRY

MANIFEST = "/v2/team/tiny/tags/list"
FORBIDDEN_ALL = IMAGES.replace('registry = "own"\nallow = ["**"]\npush = ["**"]', 'registry = "own"')


@case(seconds=90)
def gateway_as_a_process_of_its_own(lab):
    """`separate = true`: the resolver steers, `pullgate gateway` serves; each goes on when the other is killed, and takes a new policy."""
    lab.pullgate.policy(IMAGES)
    machine = lab.machine()
    steering.configure(lab, "separate = true")
    equal(tries(machine), "nobody", "who answers while there is none")
    gateway = Separate(lab)
    equal(tries(machine), 200)
    lab.pullgate.policy(FORBIDDEN_ALL)
    gateway.reload()
    equal(tries(machine), 403)
    lab.pullgate.policy(IMAGES)
    gateway.reload()
    with Connection(machine, OWN) as connection:
        lab.pullgate.kill()
        equal((connection.ask("GET", MANIFEST)[0], tries(machine)), (200, 200), "without the resolver")
    lab.pullgate.start()
    gateway.process.kill()
    gateway.process.wait()
    equal(tries(machine), "nobody")
    answers = [dig(DEVELOPERS.gateway, name, netns=machine).data("A") for name in (OWN, REGISTRY, CDN)]
    equal(answers, [[ADDRESS], ["198.18.1.10"], ["198.18.1.11"]], "what the resolver answers without the gateway")


class Separate:
    """`pullgate gateway` beside `pullgate serve`."""

    def __init__(self, lab):
        self.lab = lab
        self.socket = lab.folder / "gateway.sock"
        state = lab.folder / "state"
        state.mkdir()
        command = network.inside(GATEWAY, lab.pullgate.binary, "gateway", "--config", lab.pullgate.settings, "--socket", self.socket)
        self.process = lab.spawn(command, "gateway", env={**os.environ, "STATE_DIRECTORY": str(state)})
        wait_until(lambda: network.run_in(GATEWAY, f"ss -Hltn 'src {ADDRESS} and sport = :443'").strip(), 10, "it listens")

    def reload(self):
        """Has it take the policy that there is."""
        network.run_in(GATEWAY, f"{self.lab.pullgate.binary} reload --socket {self.socket}")


def tries(machine):
    """The status that the registry's tags have, or who answers instead."""
    try:
        with Connection(machine, OWN) as connection:
            return connection.ask("GET", MANIFEST)[0]
    except ConnectionRefusedError:
        return "nobody"


# ── trust ──

IMAGE = "docker.io/library/tiny:1"
PULLS = {
    "Docker": f"docker pull --quiet {IMAGE}",
    "containerd": f"ctr images pull {IMAGE}",
    "podman": f"podman pull --quiet {IMAGE}",
}
CLEAN_UP = "docker image prune --all --force; ctr images rm --sync $(ctr images ls -q); podman rmi --all --force"


def for_each_debian(function):
    """Registers a function (lab, name of a Debian) as one case for each."""
    for name in TREES:
        run = lambda lab, name=name: function(lab, name)
        run.__name__, run.__doc__ = f"{function.__name__}_{name}", function.__doc__
        case(seconds=120)(run)
    return function


@for_each_debian
def host_that_setup_has_trust_the_authority(lab, name):
    """`setup ca --write --restart` on a host that knows the web's authorities only: its engines pull, and after `--undo` they do not."""
    steering.begin(lab)
    host = docker_host(lab.world, name)
    given = {path: host.read(path) for path in FILES}
    lab.defer(lambda: give_back(host, given))
    lab.defer(lambda: host(CLEAN_UP))
    host.write("/etc/resolv.conf", resolver(DEVELOPERS.gateway))
    host.must("systemctl restart docker")
    # What makes the bundle anew takes none over that is not from here.
    host.write("/usr/local/share/ca-certificates/web.crt", lab.world.authority.certificate.read_text(encoding="ascii"))
    host.write("/root/pullgate-ca.pem", lab.world.authorities[1].read_text(encoding="ascii"))
    equal(pulled(lab, host), [], "what is pulled before")
    lab.defer(lambda: host("pullgate setup ca --undo --restart --no-doctor"))
    lab.note(host.must("pullgate setup ca --ca /root/pullgate-ca.pem --write --restart --no-doctor"))
    equal(pulled(lab, host), list(PULLS), "what is pulled with it")
    host(CLEAN_UP)
    lab.note(host.must("pullgate setup ca --undo --restart --no-doctor"))
    equal(pulled(lab, host), [], "what is pulled after it is undone")


def pulled(lab, host):
    """Which engines pull the image; the others have to say that they do not know the authority."""
    found = []
    for engine, command in PULLS.items():
        done = host(f"PATH={PATH}; {command}")
        lab.note(f"{command} -> {done.returncode}\n{done.stdout}{done.stderr}")
        check(done.returncode == 0 or "x509: certificate signed by unknown authority" in done.stderr + done.stdout, done.stderr)
        found += [engine] if done.returncode == 0 else []
    return found


@case
def authority_is_rotated(lab):
    """A new authority signs nothing before its time; one that counts at once is used at once, and known to nobody yet."""
    lab.pullgate.policy(IMAGES)
    machine = lab.machine()
    folder = lab.pullgate.folder / "ca"
    shutil.copytree(folder, lab.folder / "kept")
    lab.defer(lambda: restore(lab, machine, folder))
    check(signs(machine), "the old one signs")
    rotate(lab)
    equal(len(list(folder.glob("*.crt"))), 2, "authorities")
    check(signs(machine), "the old one signs, though there is a new one")
    rotate(lab, "--overlap", "0s")
    wait_until(lambda: not signs(machine), 10, "the new one signs")


def rotate(lab, *options):
    command = " ".join(map(str, (lab.pullgate.binary, "images", "ca", "rotate", "--config", lab.pullgate.settings, *options)))
    lab.note(network.run_in(GATEWAY, command))


def signs(machine):
    """Whether the authority that machines trust has signed what they are shown."""
    try:
        return bool(certificate(machine, OWN))
    except ssl.SSLCertVerificationError:
        return False


def restore(lab, machine, folder):
    for path in folder.iterdir():
        path.unlink()
    shutil.copytree(lab.folder / "kept", folder, dirs_exist_ok=True)
    wait_until(lambda: signs(machine), 10, "the old one signs again")
