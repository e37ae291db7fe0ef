"""`pullgate doctor` from where clients stand: it finds what is open, and is content where nothing is.

Every case shows a bad state with the check that tells of it, and a good one. Doctor is told whom to try, since only the lab's
own servers can be reached.
"""

import base64
import dataclasses
import json
import socket
import subprocess
import time
from pathlib import Path

import network
from clients import FORGET_DOCKER
from docker_host import docker_host, for_each_debian
from engines import DAEMON, RESOLVED, RESTART, back_to_pullgate, resolver
from network import CI, DEVELOPERS
from redirect import redirect
from support.cases import case, check, end, equal, wait_until
from world import CI_ONLY, FORBIDDEN, FOREIGN, FOREIGN_MACHINE, GOOGLE, REGISTRY, TINY

IMAGE = f"{REGISTRY}/{TINY}"
# What doctor is told to try, and nobody outside.
NAMES = f"--allowed {REGISTRY} --denied {FORBIDDEN}"
OPTIONS = f"--json {NAMES} --foreign {FOREIGN}"
NOBODY = "setpriv --reuid nobody --regid nogroup --clear-groups"
# The rules of a firewall that lets no question to anybody but pullgate out.
CLOSED = (
    "add table inet closed; add chain inet closed out { type filter hook output priority 0; }; "
    f"add rule inet closed out ip daddr {FOREIGN} reject"
)


@dataclasses.dataclass(frozen=True)
class Report:
    """What doctor said."""

    code: int
    place: str
    findings: list
    unseen: list

    def finds(self, check_name, severity, words):
        """There is a finding of this check, of this severity, whose title has the words; returns it."""
        found = [each for each in self.findings if each["check"] == check_name and each["severity"] == severity and words in each["title"]]
        check(found, f"no {severity} of `{check_name}` says `{words}`:\n{self}")
        check(self.code == (1 if severity in ("warning", "problem") else self.code), f"it ended with {self.code}")
        return found[0]

    def is_content(self):
        """Nothing above a note, and exit code 0."""
        equal(self.open(), [], f"above a note, in {self}")
        equal(self.code, 0, f"exit code of {self}")

    def open(self):
        """What is above a note."""
        return [f"{each['check']}: {each['title']}" for each in self.findings if each["severity"] in ("warning", "problem")]

    def does_not_see(self, words):
        """It says that it could not see something."""
        check(any(words in each for each in self.unseen), f"nothing unseen says `{words}`: {self.unseen}")

    def __str__(self):
        return "\n".join(f"{each['severity']} {each['check']}: {each['title']}" for each in self.findings)


def told(code, text):
    """The report in doctor's JSON."""
    try:
        report = json.loads(text)
    except json.JSONDecodeError:
        check(False, f"doctor ended with {code} and said {text}")
    return Report(code, report["place"], report["findings"], report["unseen"])


def examined(lab, machine, options=OPTIONS):
    """What doctor says on a client's machine."""
    done = lab.run(machine, f"{lab.pullgate.binary} doctor {options} 2>&1")
    return told(done.code, done.output)


def examined_on(lab, host, options=OPTIONS, user="", program="pullgate"):
    """What doctor says on a machine with services of its own."""
    done = host(f"{user} {program} doctor {options}")
    lab.note(f"doctor {options} -> {done.returncode}\n{done.stdout}{done.stderr}")
    return told(done.returncode, done.stdout)


def closed(lab, resolver_text=None, net=DEVELOPERS):
    """A client behind a firewall: no way to other resolvers."""
    client = lab.machine(net, resolver=resolver_text)
    equal(lab.run(client, f"nft '{CLOSED}'").code, 0)
    return client


# ── clients without an engine ──


@case
def doctor_knows_a_clients_group(lab):
    """In the CI network the CI registry resolves and doctor is content; asked as a developer for the same name it is not."""
    options = f"--json --allowed {CI_ONLY} --denied {FORBIDDEN} --foreign {FOREIGN}"
    report = examined(lab, closed(lab, net=CI), options)
    report.is_content()
    report.finds("resolver", "ok", "group ci")
    denied = examined(lab, closed(lab), options).finds("allowed", "problem", f"{CI_ONLY} does not resolve on {DEVELOPERS.gateway}")
    check(f"pullgate check {CI_ONLY} --client" in denied["fix"], denied)


@case
def doctor_names_a_client_outside_the_served_networks(lab):
    """Refused by `server.clients`: doctor says by which address, and the line it gives takes the client in."""
    client = closed(lab)
    everybody = 'clients = ["127.0.0.0/8", "198.18.0.0/15", "fd18::/16"]'
    few = f'clients = ["127.0.0.0/8", "{CI.v4}.0/24"]'
    lab.pullgate.set(everybody, few)
    lab.defer(lambda: lab.pullgate.set(more, everybody))
    address = lab.addresses[client][0]
    more = few.replace("]", f', "{address}"]')
    found = examined(lab, client).finds("resolver", "problem", f"is pullgate, and refuses {address}")
    check(f'"{address}"]' in found["fix"], found)
    lab.pullgate.set(few, more)
    examined(lab, client).is_content()


@case
def doctor_finds_other_resolvers_open_and_redirected(lab):
    """Port 53 and DNS over TLS of a foreign resolver are open; after `setup redirect` questions come to pullgate and TLS is closed."""
    client = lab.machine()
    stand_for_tls(lab)
    report = examined(lab, client)
    found = report.finds("port-53", "problem", f"port 53 of {FOREIGN} is open, and {FORBIDDEN} resolves there")
    check("pullgate setup redirect" in found["fix"], found)
    report.finds("dns-over-tls", "warning", f"DNS over TLS (port 853) to {FOREIGN} is open")
    redirect(lab, "--interface", DEVELOPERS.name)
    report = examined(lab, client)
    report.is_content()
    report.finds("port-53", "ok", f"questions to {FOREIGN} come to pullgate")
    report.finds("dns-over-tls", "ok", "closed")


def stand_for_tls(lab):
    """The foreign resolver takes DNS over TLS as well; a handshake is all that doctor wants of it."""
    certificate, key = lab.world.authority.issue("dns.lab.test")
    command = ["openssl", "s_server", "-quiet", "-accept", f"{FOREIGN}:853", "-cert", certificate, "-key", key]
    server = subprocess.Popen(network.inside(FOREIGN_MACHINE, *command), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lab.defer(lambda: end(server))
    wait_until(lambda: network.run_in(FOREIGN_MACHINE, "ss -Hltn 'sport = :853'").strip(), 5, "TLS is served")


@case
def doctor_finds_a_second_name_server(lab):
    """A foreign server beside pullgate is told with what it leaks; pullgate's two addresses side by side are fine."""
    report = examined(lab, lab.machine(resolver=f"nameserver {DEVELOPERS.gateway}\nnameserver {FOREIGN}\n"))
    report.finds("nameservers", "problem", f"names 2 servers: {DEVELOPERS.gateway}, {FOREIGN}")
    report.finds("resolver", "problem", f"{FOREIGN} (resolv.conf) is not pullgate, and resolves {FORBIDDEN}")
    examined(lab, closed(lab, f"nameserver {DEVELOPERS.gateway}\nnameserver {DEVELOPERS.gateway6}\n")).is_content()


@case
def doctor_finds_a_registry_in_etc_hosts(lab):
    """An entry for the forbidden registry goes past every name server: doctor names the file and the line."""
    client = closed(lab)
    hosts = Path("/etc/netns", client, "hosts")
    hosts.write_text(f"127.0.0.1 localhost\n198.18.1.13 {FORBIDDEN}\n", encoding="utf-8")
    found = examined(lab, client).finds("system", "problem", f"{FORBIDDEN} is 198.18.1.13 to programs")
    check("/etc/hosts" in found["fix"], found)
    hosts.write_text("127.0.0.1 localhost\n198.18.1.13 quay.io\n", encoding="utf-8")
    found = examined(lab, client).finds("hosts", "problem", "quay.io")
    check("/etc/hosts:2" in found["title"] + found["fix"], found)
    hosts.write_text("127.0.0.1 localhost\n", encoding="utf-8")
    examined(lab, client).is_content()


NETPLAN = "network:\n  ethernets:\n    eth0:\n      nameservers:\n        addresses: [{}]\n"


@case
def doctor_finds_a_static_server_in_the_tree_of_an_image(lab):
    """`--root`: an image whose netplan names 8.8.8.8 is told with file and line; with pullgate there, doctor is content. Nobody is asked."""
    tree = lab.folder / "tree"
    (tree / "etc/netplan").mkdir(parents=True)
    (tree / "etc/resolv.conf").write_text(resolver(DEVELOPERS.gateway), encoding="utf-8")
    plan = tree / "etc/netplan/50-cloud-init.yaml"
    client = lab.machine()
    for server, is_fine in ((GOOGLE, False), (DEVELOPERS.gateway, True)):
        plan.write_text(NETPLAN.format(server), encoding="utf-8")
        report = examined(lab, client, f"--json --root {tree}")
        report.does_not_see("these are the files of a machine that is not running here")
        if is_fine:
            report.is_content()
        else:
            report.finds("fixed-servers", "warning", f"/etc/netplan/50-cloud-init.yaml:5 names the server {GOOGLE}")
    equal(lab.entries(client), [])


# ── where nobody answers ──

# How long doctor may take at most: a few rounds of questions, the system's own resolver three times as long, an engine ten seconds.
SECONDS = 20
MANY = "".join(f"nameserver 198.18.{number // 250}.{number % 250 + 1}\n" for number in range(10_000))
HOLE = "add table inet hole; add chain inet hole out { type filter hook output priority 0; }; add rule inet hole out oif eth0 drop"


@case
def doctor_ends_in_time_when_nothing_answers(lab):
    """Ten thousand servers, every packet dropped, an engine that takes connections and says nothing: doctor ends, and says so."""
    client = lab.machine(resolver=MANY)
    equal(lab.run(client, f"nft '{HOLE}'").code, 0)
    engine = lab.folder / "silent.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(engine))
        silent.listen()
        start = time.monotonic()
        done = lab.run(client, f"DOCKER_HOST=unix://{engine} {lab.pullgate.binary} doctor {OPTIONS} 2>&1")
        took = time.monotonic() - start
    report = told(done.code, done.output)
    report.finds("resolver", "problem", "does not answer")
    report.does_not_see(f"the engine at {engine} did not answer")
    check(took < SECONDS, f"it took {took:.0f} s")


# ── Docker hosts ──


@for_each_debian
def doctor_on_a_docker_host(lab, name):
    """A host whose resolvers are foreign: root and nobody are told the same, nobody also what he may not see. Set up, both are content."""
    host = ordinary_host(lab, name)
    host.must(f"nft '{CLOSED}'")
    lab.defer(lambda: host("nft delete table inet closed"))
    root, nobody = examined_on(lab, host), examined_on(lab, host, user=NOBODY)
    for report in (root, nobody):
        report.finds("resolver", "problem", f"{GOOGLE} (resolv.conf) is not pullgate, and resolves {FORBIDDEN}")
        report.finds("containers", "problem", f"will ask {GOOGLE}")
        report.finds("pulls", "problem", f"Docker's own pulls ask {GOOGLE}")
    nobody.does_not_see("/run/docker.sock may only be used by root and its group")
    set_up(lab, host)
    examined_on(lab, host).is_content()
    nobody = examined_on(lab, host, user=NOBODY)
    nobody.is_content()
    nobody.does_not_see("/run/docker.sock")


@for_each_debian
def doctor_on_a_host_whose_engine_alone_is_restricted(lab, name):
    """`setup docker --scope engine`: the host's own resolver is foreign and stays so, and doctor is content; undone, it is not."""
    host = ordinary_host(lab, name)
    lab.defer(lambda: host("pullgate setup docker --undo --restart"))
    host.must("pullgate setup docker --scope engine --write --restart")
    for user in ("", NOBODY):
        report = examined_on(lab, host, user=user)
        report.is_content()
        report.finds("pulls", "note", "the engine alone is restricted")
    host.must("pullgate setup docker --undo --restart")
    examined_on(lab, host).finds("resolver", "problem", f"{GOOGLE} (resolv.conf) is not pullgate")


DROP_IN = "/etc/systemd/system/docker.service.d/proxy.conf"
PROXY = "[Service]\nEnvironment=HTTPS_PROXY=http://user:secret@proxy.lab.test:3128\n"
BUILDKITD = base64.b64encode(b'[dns]\n  nameservers = ["8.8.8.8"]\n').decode()
BUILDER = {"Name": "own", "Driver": "docker-container", "Nodes": [{"Name": "own0", "Endpoint": "unix:///var/run/docker.sock", "Files": {"buildkitd.toml": BUILDKITD}}]}


@for_each_debian
def doctor_finds_what_else_an_engine_asks(lab, name):
    """A proxy in docker.service's drop-in, a mirror that is allowed nowhere, a builder with servers of its own: each is told, and gone again."""
    host = ordinary_host(lab, name)
    host.must(f"nft '{CLOSED}'")
    lab.defer(lambda: host("nft delete table inet closed"))
    set_up(lab, host)
    daemon = "/etc/docker/daemon.json"
    mirrors = {**json.loads(host.read(daemon)), "registry-mirrors": [f"https://{FORBIDDEN}"]}
    for path, text, (check_name, severity, words) in (
        (DROP_IN, PROXY, ("proxies", "problem", "proxy.lab.test:3128")),
        (daemon, json.dumps(mirrors), ("mirrors", "warning", f"mirror https://{FORBIDDEN}")),
        ("/root/.docker/buildx/instances/own", json.dumps(BUILDER), ("builders", "problem", "builder own (docker-container), by its buildkitd.toml, asks 8.8.8.8")),
    ):
        before = host(f"cat {path}").stdout
        host.write(path, text)
        report = examined_on(lab, host, "--json --no-foreign " + NAMES)
        report.finds(check_name, severity, words)
        check("secret" not in json.dumps(report.findings), "the proxy's password is told")
        host.must(f"rm {path}")
        if before:
            host.write(path, before)
        examined_on(lab, host).is_content()


def ordinary_host(lab, name):
    """A machine with Docker and pullgate, all of whose resolvers are foreign; as it was when the case ends."""
    host = docker_host(lab.world, name)
    files = {path: host.read(path) for path in ("/etc/resolv.conf", "/etc/docker/daemon.json")}
    lab.defer(lambda: give_back(host, files))
    host.write("/etc/resolv.conf", resolver(GOOGLE))
    host.write("/etc/docker/daemon.json", json.dumps({**DAEMON, "dns": [GOOGLE]}))
    host.must(RESTART)
    return host


def give_back(host, files):
    for path, text in files.items():
        host.write(path, text)
    host.must(RESTART)


def set_up(lab, host):
    """Everything on the host asks pullgate, podman too."""
    lab.defer(lambda: host("pullgate setup podman --undo; pullgate setup docker --undo --restart"))
    host.must("pullgate setup docker --write --restart && pullgate setup podman --write")
    host.must(RESTART)


# ── in containers ──

# The program, and the libraries that it is linked with, in an image that has only its own.
MOUNTS = "-v /root/doctor:/doctor:ro -v /usr/lib:/usr/lib:ro -v /usr/lib:/lib:ro -v /usr/lib64:/lib64:ro"


def give_program(lab, guest):
    """Puts the program into a machine that has engines and no pullgate."""
    with open(lab.pullgate.binary, "rb") as program:
        subprocess.run([*guest.enter(), "sh", "-c", "cat > /root/doctor && chmod 755 /root/doctor"], stdin=program, check=True)


@for_each_debian
def doctor_in_a_container(lab, name):
    """On the default bridge and on a user network doctor is content; a container with `--dns` of its own is told, and a server behind 127.0.0.11."""
    guest = lab.world.guest(name)
    give_program(lab, guest)
    lab.defer(lambda: lab.run(name, f"docker network rm own; {FORGET_DOCKER}; rm /root/doctor"))
    guest.must(f"docker pull --quiet {IMAGE} && docker network create own")
    inside = lambda options: lab.run(name, f"docker run --rm {options} {MOUNTS} {IMAGE} /doctor doctor --json --no-foreign {NAMES} 2>&1")
    for network_options, names in (("", DEVELOPERS.gateway), ("--network own", "127.0.0.11")):
        done = inside(network_options)
        report = told(done.code, done.output)
        report.is_content()
        equal(report.place, "container (docker)")
        report.finds("nameservers", "ok", f"names one server, {names}")
        done = inside(f"{network_options} --dns {FOREIGN}")
        found = told(done.code, done.output).finds("resolver", "problem", f"(resolv.conf) is not pullgate, and resolves {FORBIDDEN}")
        check("pullgate setup docker" in found["fix"], found)
    if name == "trixie":
        # dockerd 26 notes in the file whom 127.0.0.11 asks.
        told(done.code, done.output).finds("resolver", "problem", f"{FOREIGN} (behind Docker's 127.0.0.11) is not pullgate")


# ── behind systemd-resolved ──

COMPILED_IN = f"[Resolve]\nDNS={DEVELOPERS.gateway}\nDomains=~.\n"


@case(seconds=90)
def doctor_behind_systemd_resolved(lab):
    """Fall-back servers that are compiled in are told; emptied, doctor is content with whoever stands behind 127.0.0.53."""
    guest = lab.world.trixie
    give_program(lab, guest)
    lab.defer(lambda: back_to_pullgate(guest))
    lab.defer(lambda: guest("rm /etc/systemd/resolved.conf /root/doctor"))
    examine = lambda: examined_on(lab, guest, f"--json --no-foreign {NAMES}", program="/root/doctor")
    guest.write("/etc/systemd/resolved.conf", COMPILED_IN)
    guest.must("systemctl restart systemd-resolved && ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf")
    guest.must(RESTART)
    examine().finds("resolved", "warning", "fall-back servers that are compiled in")
    guest.write("/etc/systemd/resolved.conf", RESOLVED.format(server=DEVELOPERS.gateway))
    guest.must("systemctl restart systemd-resolved")
    report = examine()
    report.is_content()
    report.finds("resolver", "ok", f"{DEVELOPERS.gateway} (behind systemd-resolved) is pullgate")
