"""`path = "pass"`: names are steered, connections are passed on by their server name, and nothing is decrypted."""

import select
import socket
import ssl

from clients import IMAGE_CLIENTS, for_each, words
from network import CI, DEVELOPERS
from sockets import TCP, make
from steering import ADDRESS, ADDRESS6, IMAGES, OWN, PASSED, configure
from support.cases import case, check, equal, wait_until
from support.dns import dig
from wire import Connection, certificate, context
from world import FORBIDDEN, REGISTRY, TINY

PULLERS = [client for client in IMAGE_CLIENTS if client.name in ("docker-20", "docker-26-store", "containerd-1.7", "podman-5", "skopeo-1.9")]
HOUR = 30
# Names that no connection may be passed on to, and why.
REFUSED = {
    "mirror.lab.test": "it is on no list",
    "nowhere.lab.test": "there is none",
    "localhost": "it is the gateway itself",
    "198.18.1.13": "it is no name",
}


@for_each(PULLERS)
def pull_is_passed_on(lab, client):
    """The name is answered with the gateway's address, and a pull goes through it: it sees the registry's own certificate."""
    lab.pullgate.policy(IMAGES)
    lab.defer(lambda: lab.run(client.machine, client.forget))
    done = lab.run(client.machine, client.pull.format_map(words(f"{PASSED}/{TINY}")))
    equal(done.code, 0, done.output)
    requests = wait_until(lambda: lab.requests("forbidden", pattern="/blobs/"), 2, "it was pulled")[0]
    equal([line for line in requests if not line.startswith(("198.18.1.1 ", "fd18:1::1 "))], [], "requests that did not come from the gateway")


@case
def steered_names_are_answered_by_the_gateways_addresses(lab):
    """A and AAAA are the gateway's, HTTPS and SVCB have no data, the TTL is 30 s; what is not steered has its own address."""
    lab.pullgate.policy(IMAGES)
    machine = lab.machine()
    for name in (PASSED, OWN, "registry-1.docker.io", "index.docker.io"):
        ask = lambda kind, name=name: dig(DEVELOPERS.gateway, name, kind, netns=machine)
        equal((ask("A").data("A"), ask("AAAA").data("AAAA")), ([ADDRESS], [ADDRESS6]), name)
        equal({record.ttl for record in ask("A").answer}, {HOUR}, "TTL")
        for kind in ("HTTPS", "SVCB"):
            equal((ask(kind).rcode, ask(kind).answer), ("NOERROR", []), f"{name} {kind}")
    for name, address in ((REGISTRY, "198.18.1.10"), ("auth.docker.io", "198.18.1.61")):
        equal(dig(DEVELOPERS.gateway, name, netns=machine).data("A"), [address], name)


@case
def registry_is_seen_as_it_is(lab):
    """Passed on, the certificate is the registry's; inspected, it is the gateway's, for a few days, and offers HTTP/1.1 alone."""
    lab.pullgate.policy(IMAGES)
    machine = lab.machine()
    issuer = lambda name: dict(part[0] for part in certificate(machine, name)["issuer"])["commonName"]
    equal(issuer(PASSED), "pullgate lab")
    check(issuer(OWN).startswith("pullgate image gateway"), issuer(OWN))
    offering = context()
    offering.set_alpn_protocols(["h2", "http/1.1"])
    with make(machine, ADDRESS, TCP) as client:
        client.connect((ADDRESS, 443))
        with offering.wrap_socket(client, server_hostname=OWN) as tls:
            equal(tls.selected_alpn_protocol(), "http/1.1")


@case
def server_name_that_is_not_allowed(lab):
    """A connection for a name that the policy does not allow, or for none, is refused before anybody hears of it."""
    lab.pullgate.policy(IMAGES)
    machine = lab.machine()
    for name, why in REFUSED.items():
        refused(machine, name, why)
    refused(machine, None, "it says no name")
    lab.untouched("mirror")
    lab.untouched("forbidden")
    equal(lab.entries(machine, name="mirror.lab.test")[-1]["verdict"], "deny")


@case
def server_name_of_another_group(lab):
    """The server name is judged for the client: one that developers may not have is refused to them, and passed on for CI."""
    ci_only = f'clients = ["{CI.v4}.0/24", "{CI.v6}::/64"]\nregistries = ["*"]'
    developers = f'clients = ["{DEVELOPERS.v4}.0/24", "{DEVELOPERS.v6}::/64"]\nregistries = ["lab"]'
    lab.pullgate.policy(f'{IMAGES}\n[[group]]\nname = "ci"\n{ci_only}\n\n[[group]]\nname = "developers"\n{developers}\n')
    developer, runner = lab.machine(DEVELOPERS), lab.machine(CI)
    refused(developer, PASSED, "it is another group's")
    lab.untouched("forbidden")
    with Connection(runner, PASSED) as connection:
        equal(connection.ask("GET", "/v2/")[0], 200)


@case
def client_that_the_resolver_does_not_serve(lab):
    """The gateway is for the clients of the resolver: whoever else connects is closed off, whatever name it says."""
    lab.pullgate.policy(IMAGES)
    clients = '["127.0.0.0/8", "198.18.0.0/15", "fd18::/16"]'
    few = f'["127.0.0.0/8", "{DEVELOPERS.v4}.0/24"]'
    lab.pullgate.set(clients, few)
    lab.defer(lambda: lab.pullgate.set(few, clients))
    developer, stranger = lab.machine(DEVELOPERS), lab.machine(CI)
    with Connection(developer, OWN) as connection:
        equal(connection.ask("GET", "/v2/")[0], 200)
    for name in (OWN, PASSED):
        refused(stranger, name, "its client is a stranger")
    lab.untouched("forbidden")


def refused(machine, name, why):
    """A handshake for the name fails, soon."""
    with make(machine, ADDRESS, TCP) as client:
        client.connect((ADDRESS, 443))
        try:
            context(verify=False).wrap_socket(client, server_hostname=name).close()
        except (ssl.SSLError, ConnectionError) as error:
            check(not isinstance(error, TimeoutError), f"{name}: nobody answers")
            return
    check(False, f"a connection for {name} is passed on, though {why}")


@case
def client_hello_in_pieces(lab):
    """A ClientHello may come byte by byte, or as many small records, or be one of 60 KB: it is read, and the connection passed on."""
    lab.pullgate.policy(IMAGES)
    machine = lab.machine()
    for pieces in (bytewise, small_records):
        for name in (PASSED, OWN):
            shaken(machine, name, pieces)


def bytewise(hello):
    """A flight, each byte a packet of its own."""
    return [hello[at : at + 1] for at in range(len(hello))]


def small_records(hello):
    """The first record of a flight as records of eight bytes (RFC 8446 §5.1), all in one packet."""
    head, length = hello[:3], int.from_bytes(hello[3:5], "big")
    body, rest = hello[5 : 5 + length], hello[5 + length :]
    parts = [body[at : at + 8] for at in range(0, len(body), 8)]
    return [b"".join(head + len(part).to_bytes(2, "big") + part for part in parts) + rest]


def shaken(machine, name, pieces):
    """A handshake whose first flight is sent in these pieces ends well, and the registry answers."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context().wrap_bio(incoming, outgoing, server_hostname=name)
    with make(machine, ADDRESS, TCP) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.connect((ADDRESS, 443))
        first = True
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                flight = outgoing.read()
                for piece in pieces(flight) if first else [flight]:
                    client.sendall(piece)
                first = False
                data = client.recv(65536)
                check(data, f"{pieces.__name__}: the connection for {name} was closed")
                incoming.write(data)
        tls.write(f"GET /v2/ HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        client.sendall(outgoing.read())
        incoming.write(client.recv(65536))
        answer = b""
        while b"\r\n" not in answer:
            try:
                answer += tls.read(65536)
            except ssl.SSLWantReadError:
                incoming.write(client.recv(65536))
        check(answer.startswith(b"HTTP/1.1 200 "), answer)


@case
def client_that_takes_all_it_may_have(lab):
    """One client opens connections and says nothing: beyond its share they are closed, and its neighbour is served meanwhile."""
    lab.pullgate.policy(IMAGES)
    configure(lab, "connections = 100\nconnections-per-client = 20")
    greedy, neighbour = lab.machine(families="4"), lab.machine(families="4")
    silent = [make(greedy, ADDRESS, TCP) for _ in range(60)]
    lab.defer(lambda: [client.close() for client in silent])
    for client in silent:
        client.connect((ADDRESS, 443))
    closed = lambda: len(select.select(silent, [], [], 0)[0])
    wait_until(lambda: closed() == 40, 5, f"40 of 60 are closed; {closed()} are")
    with Connection(neighbour, OWN) as connection:
        equal(connection.ask("GET", "/v2/")[0], 200)


@case
def what_is_no_client_hello(lab):
    """Plain HTTP, garbage, half of a hello: closed, and nobody hears of it."""
    lab.pullgate.policy(IMAGES)
    machine = lab.machine()
    for what in (f"GET /v2/ HTTP/1.1\r\nHost: {PASSED}\r\n\r\n".encode(), b"\x16\x03\x01\xff\xff" + bytes(100), b"\0" * 5000, b"SSH-2.0-lab\r\n"):
        with make(machine, ADDRESS, TCP) as client:
            client.connect((ADDRESS, 443))
            client.settimeout(5)
            try:
                client.sendall(what)
                client.shutdown(socket.SHUT_WR)
                while client.recv(65536):
                    pass
            except TimeoutError:
                raise
            except OSError:  # closed before we were done
                pass
    lab.untouched("forbidden")


@case
def fronting_passes_where_nothing_is_read(lab):
    """What `pass` cannot see: the Host behind an allowed server name. The registry itself has to refuse it; `inspect` does."""
    lab.pullgate.policy(IMAGES)
    with Connection(lab.machine(), PASSED) as connection:
        connection.host = FORBIDDEN.replace("forbidden", "other")
        equal(connection.ask("GET", "/v2/")[0], 200)
    lab.requested("forbidden", None, "GET /v2/")
