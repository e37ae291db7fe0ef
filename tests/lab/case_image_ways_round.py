"""Ways round the gateway, and what keeps it from being believed: mirrors, machines without its authority, names beyond it."""

import dataclasses
import json

import engines
import network
import steering
from certificates import BUNDLE, Authority
from clients import DOCKERS, IMAGE_CLIENTS, for_each, words
from golden import compare
from network import REGISTRIES
from servers import Program
from steering import IMAGES, OWN
from support.cases import case, check, equal
from world import GUESTS, REGISTRY, TINY

MIRROR = "http://mirror.lab.test"
DENIED, ALLOWED = "docker.io/foo/bar:1", "docker.io/library/tiny:1"


def pull(lab, client, image, before=""):
    return lab.run(client.machine, before + client.pull.format_map(words(image)))


# ── mirrors ──


@for_each([client for client in DOCKERS if client.name in ("docker-20", "docker-26", "docker-26-store")], seconds=90)
def mirror_that_a_user_configures(lab, client):
    """dockerd with a mirror of the user's own, whose name does not resolve: what is denied stays denied, what is allowed is pulled.

    With containerd's store it tells the first error that it met, that of the mirror.
    """
    steering.begin(lab)
    guest = lab.world.guest(client.machine)
    given = guest.read("/etc/docker/daemon.json")
    lab.defer(lambda: (guest.write("/etc/docker/daemon.json", given), guest.must(engines.RESTART)))
    lab.defer(lambda: lab.run(client.machine, client.forget))
    guest.write("/etc/docker/daemon.json", json.dumps({**json.loads(given), "registry-mirrors": [MIRROR]}))
    guest.must(engines.RESTART)
    denied = pull(lab, client, DENIED)
    check(denied.code, denied.output)
    equal(pull(lab, client, ALLOWED).code, 0)
    nothing_leaked(lab)
    compare(f"mirror/{client.name}", {DENIED: denied})


@for_each([client for client in IMAGE_CLIENTS if client.name in ("podman-4", "podman-5", "skopeo-1.18")])
def mirror_in_registries_conf(lab, client):
    """The same with the files of podman and its like."""
    steering.begin(lab)
    guest = lab.world.guest(client.machine)
    path = "/etc/containers/registries.conf.d/mirror.conf"
    lab.defer(lambda: guest.must(f"rm {path}"))
    lab.defer(lambda: lab.run(client.machine, client.forget))
    guest.write(path, f'[[registry]]\nlocation = "docker.io"\n[[registry.mirror]]\nlocation = "{MIRROR.removeprefix("http://")}"\ninsecure = true\n')
    check(steering.DENIED in pull(lab, client, DENIED).output, "what it says")
    equal(pull(lab, client, ALLOWED).code, 0)
    nothing_leaked(lab)


def nothing_leaked(lab):
    lab.untouched("mirror")
    equal(steering.asked_of_the_registry(lab, "foo/bar"), [], "what the registry heard")


# ── the authority ──

@dataclasses.dataclass(frozen=True)
class Machine:
    """One with container engines."""

    name: str


WEB = "/tmp/web.crt"
UNTRUSTED = "x509: certificate signed by unknown authority"
DROP_IN = "/etc/systemd/system/docker.service.d/trust.conf"


@for_each([Machine(name) for name in GUESTS], seconds=120)
def machine_without_the_authority(lab, machine):
    """Engines that do not have the authority refuse the gateway, what is allowed as well: nothing is pulled unseen."""
    steering.begin(lab)
    guest = lab.world.guest(machine.name)
    clients = [client for client in IMAGE_CLIENTS if client.machine == machine.name]
    guest.write(WEB, web_alone(lab))
    lab.defer(lambda: guest.must(f"rm -f {DROP_IN} {WEB}; systemctl daemon-reload; {engines.RESTART}"))
    guest.write(DROP_IN, f"[Service]\nEnvironment=SSL_CERT_FILE={WEB} SSL_CERT_DIR=/nowhere\n")
    guest.must(f"systemctl daemon-reload; {engines.RESTART}")
    trust = f"export SSL_CERT_FILE={WEB} SSL_CERT_DIR=/nowhere; "
    refused = {client.name: pull(lab, client, ALLOWED, trust) for client in clients}
    for name, done in refused.items():
        check(done.code and UNTRUSTED in done.output, f"{name}: {done.output}")
    equal(steering.asked_of_the_registry(lab, "library/tiny"), [], "what the registry heard")
    compare(f"untrusted/{machine.name}", refused)


def web_alone(lab):
    """The system's bundle without the gateway's authority."""
    own = lab.world.authorities[1].read_text(encoding="ascii")
    bundle = BUNDLE.read_text(encoding="ascii")
    check(own in bundle, "the authority is in the bundle")
    return bundle.replace(own, "")


@case
def authority_speaks_for_its_names_alone(lab):
    """A certificate for another name, signed with the authority's own key, is refused: what is stolen is worth little."""
    machine = network.add_machine("denier", REGISTRIES, 60)
    lab.defer(lambda: network.remove_machine(machine))
    own = lab.world.authorities[1]
    stolen = Authority(lab.folder, own, own.with_suffix(".key"))
    names = ("denier.lab.test", "tokens.lab.test")
    server = Program(machine, lab.folder / "denier", "denier.py", *stolen.issue(*names), *names)
    server.start()
    lab.defer(server.stop)
    lab.pullgate.policy(IMAGES.replace(f'hosts = ["{REGISTRY}"]', f'hosts = ["{REGISTRY}", "denier.lab.test"]'))
    said = {command: lab.run("trixie", command) for command in ("curl -sS https://denier.lab.test/v2/", "skopeo inspect docker://denier.lab.test/foo/bar")}
    for command, done in said.items():
        check(done.code and ("permitted" in done.output or "constraint" in done.output), f"{command}: {done.output}")
    compare("constraints", said)


@case
def registry_that_cannot_prove_its_name(lab):
    """What stands in a registry's place is believed by the web's authorities alone: not by the gateway's own, not for another name."""
    lab.pullgate.policy(IMAGES)
    machine, host = network.add_machine("paths", REGISTRIES, 67), "paths.lab.test"
    lab.defer(lambda: network.remove_machine(machine))
    folders = [lab.folder / name for name in ("own", "other", "right")]
    for folder in folders:
        folder.mkdir()
    own, web = lab.world.authorities[1], lab.world.authority
    pairs = {
        "its own authority": Authority(folders[0], own, own.with_suffix(".key")).issue(host),
        "a certificate for another name": Authority(folders[1], web.certificate, web.key).issue("other.lab.test"),
        "the right one": Authority(folders[2], web.certificate, web.key).issue(host),
    }
    seen = {}
    for what, pair in pairs.items():
        server = Program(machine, lab.folder / what.replace(" ", "-"), "denier.py", *pair, host, "tokens.lab.test")
        server.start()
        lab.defer(server.stop)
        seen[what] = lab.run("trixie", f"curl -sS https://{host}/v2/").output
        server.stop()
    check("authentication required" in seen.pop("the right one"), str(seen))
    for what, answer in seen.items():
        check("authentication required" not in answer and "cannot reach the registry" in answer, f"{what}: {answer}")


@case
def name_that_the_authority_does_not_cover(lab):
    """A registry that is inspected before the authority has been made for it: refused, not passed on, and the log says why."""
    lab.pullgate.policy(IMAGES.replace('redirects = ["cdn.lab.test"]\n', 'redirects = ["cdn.lab.test"]\npath = "inspect"\n') + '\n[[images]]\nregistry = "lab"\nallow = ["**"]\n')
    done = lab.run("trixie", f"skopeo inspect docker://{REGISTRY}/{TINY}")
    check(done.code, done.output)
    lab.untouched("registry")
    compare("not-covered", {"skopeo inspect": done})
