"""Proxies on either side: a site whose only way out is one, and engines that must name one."""

import engines
import network
import steering
from clients import IMAGE_CLIENTS, words
from golden import compare
from network import DEVELOPERS, GATEWAY, REGISTRIES
from servers import Program
from sockets import TCP, make
from steering import IMAGES, OWN, PASSED, configure
from support.cases import case, check, equal, wait_until
from wire import context
from world import TINY, UPSTREAM

LOGIN = "lab:p@ss"
PORT = 3128
PARENT = f"http://lab:p%40ss@{REGISTRIES.v4}.66:{PORT}"
CONNECT = f"{DEVELOPERS.gateway}:{PORT}"
# Nothing leaves the gateway for a registry but by the proxy.
ONLY_WAY = (
    "add table inet lab; add chain inet lab out { type filter hook output priority 0; }; "
    f"add rule inet lab out tcp dport 443 ip daddr {REGISTRIES.v4}.0/24 reject with tcp reset; "
    f"add rule inet lab out tcp dport 443 ip6 daddr {REGISTRIES.v6}::/64 reject with tcp reset"
)
DOCKER = next(client for client in IMAGE_CLIENTS if client.name == "docker-26")
STORE = next(client for client in IMAGE_CLIENTS if client.name == "docker-26-store")
DROP_IN = "/etc/systemd/system/docker.service.d/proxy.conf"
ENVIRONMENT = "[Service]\nEnvironment=HTTPS_PROXY=http://{proxy} HTTP_PROXY=http://{proxy}\n"


def pull(lab, client, image):
    return lab.run(client.machine, client.pull.format_map(words(image)))


# ── the way out ──


@case(seconds=90)
def parent_proxy_is_the_only_way_out(lab):
    """`parent`: whatever goes to a registry, and the question for a badge, goes through the proxy, with its password."""
    steering.begin(lab)
    steering.forget_badges(lab)
    proxy = parent(lab)
    lab.defer(lambda: lab.run(DOCKER.machine, DOCKER.forget))
    for image in ("docker.io/library/tiny:1", "docker.io/bitnami/tiny:2", f"{PASSED}/{TINY}", f"{OWN}/{TINY}"):
        equal((pull(lab, DOCKER, image).code, image), (0, image))
    carried = {line.split()[2] for line in proxy.requests() if line.endswith(" 200")}
    wanted = {f"{host}:443" for host in ("registry-1.docker.io", "hub.docker.com", PASSED, OWN)}
    check(carried >= wanted, f"the proxy carried {carried}, and not {wanted - carried}")
    denied = pull(lab, DOCKER, "docker.io/foo/bar:1")
    check(steering.DENIED in denied.output, denied.output)


@case(seconds=90)
def parent_proxy_that_refuses(lab):
    """A proxy that wants another password, or is gone: a pull fails with what the gateway knows, and never goes another way."""
    steering.begin(lab)
    proxy = parent(lab, "lab:another")
    failed = {"a password that is wrong": pull(lab, DOCKER, "docker.io/library/tiny:1")}
    proxy.stop()
    failed["a proxy that is gone"] = pull(lab, DOCKER, "docker.io/library/tiny:1")
    for what, done in failed.items():
        check(done.code, f"{what}: {done.output}")
    equal(steering.asked_of_the_registry(lab, "library/tiny"), [])
    compare("parent", failed)


def parent(lab, login=LOGIN):
    """Starts the proxy, closes every other way, and tells the gateway of it."""
    machine = network.add_machine("proxy", REGISTRIES, 66, resolver=engines.resolver(UPSTREAM))
    lab.defer(lambda: network.remove_machine(machine))
    proxy = Program(machine, lab.folder / "proxy", "connect_proxy.py", PORT, login, port=PORT)
    proxy.start()
    lab.defer(proxy.stop)
    network.run_in(GATEWAY, f"nft '{ONLY_WAY}'")
    lab.defer(lambda: network.run_in(GATEWAY, "nft delete table inet lab"))
    configure(lab, f'parent = "{PARENT}"')
    return proxy


# ── the way in ──


@case(seconds=120)
def engine_that_names_a_proxy(lab):
    """`connect`: dockerd knows no resolver, and HTTPS_PROXY is the gateway: hosts and images are judged as they are without."""
    steering.begin(lab)
    configure(lab, f'connect = ["{CONNECT}"]')
    denied = {}
    for client in (DOCKER, STORE):
        guest = lab.world.guest(client.machine)
        lab.defer(lambda guest=guest: back(guest))
        guest.write(DROP_IN, ENVIRONMENT.format(proxy=CONNECT))
        guest.write("/etc/resolv.conf", engines.resolver("127.0.0.1"))
        guest.must(f"systemctl daemon-reload; {engines.RESTART}")
        lab.look_at("hub")
        for image in ("docker.io/library/tiny:1", f"{PASSED}/{TINY}"):
            done = pull(lab, client, image)
            equal(done.code, 0, done.output)
        for image in ("docker.io/foo/bar:1", "mirror.lab.test/team/tiny:1"):
            denied[f"{client.name}, {image}"] = done = pull(lab, client, image)
            check(done.code, done.output)
        check(steering.DENIED in denied[f"{client.name}, docker.io/foo/bar:1"].output, str(denied))
        lab.run(client.machine, client.forget)
    lab.untouched("mirror")
    equal(steering.asked_of_the_registry(lab, "foo/bar"), [])
    compare("connect", denied)


def back(guest):
    """The machine is as the others again."""
    guest.must(f"rm -f {DROP_IN}; systemctl daemon-reload")
    guest.write("/etc/resolv.conf", engines.resolver(DEVELOPERS.gateway))
    guest.must(engines.RESTART)


# What is asked of the listener, and the status that it has for it.
ASKED = {
    f"CONNECT {OWN}:443": 200,
    "CONNECT auth.docker.io:443": 200,
    "CONNECT mirror.lab.test:443": 403,
    "CONNECT nowhere.lab.test:443": 403,
    "CONNECT 198.18.1.13:443": 403,
    "CONNECT [fd18:1::13]:443": 403,
    "CONNECT 127.0.0.1:443": 403,
    f"CONNECT {OWN}:22": 403,
    f"GET http://{OWN}/v2/": 403,
}


@case
def what_the_connect_listener_takes(lab):
    """CONNECT to allowed names alone, and to no address; behind it the server name has to be the same."""
    lab.pullgate.policy(IMAGES)
    configure(lab, f'connect = ["{CONNECT}"]')
    machine = lab.machine()
    for request, wanted in ASKED.items():
        with connect(machine, request) as client:
            status = int(client.recv(4096).split()[1])
        check(status == wanted or (wanted == 403 and status in (400, 403, 405)), f"{request}: {status}")
    lab.untouched("mirror")
    lab.untouched("forbidden")
    for host, name, ends in ((OWN, OWN, True), (PASSED, PASSED, True), (OWN, PASSED, False), (PASSED, OWN, False), (PASSED, "mirror.lab.test", False)):
        equal(handshake(machine, host, name), ends, f"CONNECT {host}, server name {name}")
    wait_until(lambda: lab.connections("forbidden") == 1, 2, "one connection was passed on")


def connect(machine, request):
    """A connection to the listener that has sent this."""
    client = make(machine, DEVELOPERS.gateway, TCP)
    client.settimeout(10)
    client.connect((DEVELOPERS.gateway, PORT))
    client.sendall(f"{request} HTTP/1.1\r\nHost: {request.split()[1]}\r\n\r\n".encode())
    return client


def handshake(machine, host, name):
    """Whether TLS for `name` comes about behind a CONNECT to `host`."""
    with connect(machine, f"CONNECT {host}:443") as client:
        equal(int(client.recv(4096).split()[1]), 200)
        try:
            context().wrap_socket(client, server_hostname=name).close()
        except OSError:
            return False
        return True
