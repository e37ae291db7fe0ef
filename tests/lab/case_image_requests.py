"""What no client sends: hosts that differ, two lengths for one body, paths of every shape. The registry hears nothing of it."""

import re

import steering
from golden import compare, compare_text
from steering import ADDRESS6, IMAGES, OWN
from support.cases import case, check, equal
from wire import Connection

# A repository that the policy has no word for. Whatever asks for it must not come to the registry.
SMUGGLED = "smuggled/image"
STRICT = IMAGES.replace('registry = "own"\nallow = ["**"]\npush = ["**"]', 'registry = "own"\nallow = ["team/**"]\npush = ["team/**"]')
INNER = f"GET /v2/{SMUGGLED}/manifests/1 HTTP/1.1\r\nHost: {OWN}\r\n\r\n"
CHUNKED_INNER = f"0\r\n\r\n{INNER}"
POST = f"POST /v2/team/tiny/blobs/uploads/ HTTP/1.1\r\nHost: {OWN}\r\n"
GET = f"GET /v2/team/tiny/manifests/1 HTTP/1.1\r\nHost: {OWN}\r\n"

ATTEMPTS = {
    "a length and chunks": f"{POST}Content-Length: {len(CHUNKED_INNER)}\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKED_INNER}",
    "chunks and a length": f"{POST}Transfer-Encoding: chunked\r\nContent-Length: {len(CHUNKED_INNER)}\r\n\r\n{CHUNKED_INNER}",
    "two lengths": f"{POST}Content-Length: 0\r\nContent-Length: {len(INNER)}\r\n\r\n{INNER}",
    "two lengths in one": f"{POST}Content-Length: 0, {len(INNER)}\r\n\r\n{INNER}",
    "a length with a sign": f"{POST}Content-Length: +0\r\n\r\n{INNER}",
    "a length in hexadecimal": f"{POST}Content-Length: 0x0\r\n\r\n{INNER}",
    "a length below zero": f"{POST}Content-Length: -1\r\n\r\n{INNER}",
    "a length beyond all bounds": f"{POST}Content-Length: 18446744073709551616\r\n\r\n{INNER}",
    "chunks by a blank before the colon": f"{POST}Transfer-Encoding : chunked\r\n\r\n{CHUNKED_INNER}",
    "chunks by a tab": f"{POST}Transfer-Encoding:\tchunked\r\nContent-Length: {len(CHUNKED_INNER)}\r\n\r\n{CHUNKED_INNER}",
    "chunks that are none": f"{POST}Transfer-Encoding: xchunked\r\n\r\n{CHUNKED_INNER}",
    "chunks before identity": f"{POST}Transfer-Encoding: chunked, identity\r\n\r\n{CHUNKED_INNER}",
    "chunks twice": f"{POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n{CHUNKED_INNER}",
    "chunks in HTTP/1.0": f"{POST.replace('HTTP/1.1', 'HTTP/1.0')}Transfer-Encoding: chunked\r\n\r\n{CHUNKED_INNER}",
    "a chunk with an extension of two lines": f"{POST}Transfer-Encoding: chunked\r\n\r\n0;x=\n\r\n\r\n{INNER}",
    "a chunk whose size has a sign": f"{POST}Transfer-Encoding: chunked\r\n\r\n-0\r\n\r\n{INNER}",
    "a chunk that is longer than it says": f"{POST}Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n{INNER}",
    "a chunk with a size beyond all bounds": f"{POST}Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n{INNER}",
    "a chunk that ends with a bare LF": f"{POST}Transfer-Encoding: chunked\r\n\r\n0\n\n{INNER}",
    "a header that is folded": f"{GET}X-One: two\r\n Transfer-Encoding: chunked\r\n\r\n{CHUNKED_INNER}",
    "a header without a colon": f"{GET}Nonsense\r\n\r\n",
    "a header with a bare CR": f"{GET}X-One: two\rTransfer-Encoding: chunked\r\n\r\n{CHUNKED_INNER}",
    "a header with a NUL": f"{GET}X-One: t\0wo\r\n\r\n",
    "a blank before the first header": f"GET /v2/team/tiny/manifests/1 HTTP/1.1\r\n Host: {OWN}\r\n\r\n",
    "lines that end with a bare LF": INNER.replace("\r\n", "\n"),
    "the whole URL": f"GET https://{OWN}/v2/{SMUGGLED}/manifests/1 HTTP/1.1\r\nHost: {OWN}\r\n\r\n",
    "the whole URL of another host": f"GET https://forbidden.lab.test/v2/{SMUGGLED}/manifests/1 HTTP/1.1\r\nHost: {OWN}\r\n\r\n",
    "the whole URL of what is allowed": f"GET https://{OWN}/v2/team/tiny/manifests/1?{SMUGGLED} HTTP/1.1\r\nHost: {OWN}\r\n\r\n",
    "a path that is a star": f"OPTIONS * HTTP/1.1\r\nHost: {OWN}\r\n\r\n",
    "CONNECT": f"CONNECT {OWN}:443 HTTP/1.1\r\nHost: {OWN}\r\n\r\n{INNER}",
    "no host": f"GET /v2/{SMUGGLED}/manifests/1 HTTP/1.1\r\n\r\n",
    "two hosts": f"{GET}Host: forbidden.lab.test\r\n\r\n",
    "another host": f"GET /v2/team/tiny/manifests/1?{SMUGGLED} HTTP/1.1\r\nHost: forbidden.lab.test\r\n\r\n",
    "another host that is steered": f"GET /v2/team/tiny/manifests/1?{SMUGGLED} HTTP/1.1\r\nHost: registry-1.docker.io\r\n\r\n",
    "a host that is an address": f"GET /v2/team/tiny/manifests/1?{SMUGGLED} HTTP/1.1\r\nHost: 198.18.1.12\r\n\r\n",
    "a host with another port": f"GET /v2/team/tiny/manifests/1?{SMUGGLED} HTTP/1.1\r\nHost: {OWN}:5000\r\n\r\n",
    "no version": f"GET /v2/{SMUGGLED}/manifests/1\r\n\r\n",
    "the version of another protocol": f"GET /v2/{SMUGGLED}/manifests/1 HTTP/2.0\r\nHost: {OWN}\r\n\r\n",
    "the preface of HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an upgrade to HTTP/2": f"{GET}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\n{INNER}",
    "an upgrade to WebSocket": f"{GET}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AA==\r\n\r\n{INNER}",
    "a blank in the path": f"GET /v2/{SMUGGLED}/manifests/1 /v2/team/tiny/manifests/1 HTTP/1.1\r\nHost: {OWN}\r\n\r\n",
    "a tab in the path": f"GET /v2/{SMUGGLED}\t/manifests/1 HTTP/1.1\r\nHost: {OWN}\r\n\r\n",
    "a second request behind the first": f"{GET}\r\n{INNER}",
    "a header of 300 KB": f"{GET}X-One: {'a' * 300_000}\r\n\r\n",
    "3,000 headers": f"{GET}{''.join(f'X-{number}: 1{chr(13)}{chr(10)}' for number in range(3000))}\r\n",
    "headers that a proxy takes away": f"{GET}Connection: host, authorization\r\nX-Forwarded-Host: forbidden.lab.test\r\nX-Original-URL: /v2/{SMUGGLED}/manifests/1\r\n\r\n",
}


@case(seconds=90)
def requests_that_are_two_things_at_once(lab):
    """Request smuggling: every request that two servers may read differently is refused, or means one thing. The registry hears of no second."""
    lab.pullgate.policy(STRICT)
    machine = lab.machine()
    said = {}
    for what, text in ATTEMPTS.items():
        lab.look_at("ci-only")
        said[what] = answers(machine, text)
        heard = lab.requests("ci-only", pattern="smuggled|forbidden")
        equal(heard, [], f"what the registry heard by {what}, which was answered {said[what]}")
    compare_text("requests", "".join(f"{what}: {shown(statuses)}\n" for what, statuses in said.items()))


def shown(statuses):
    """What a golden file has for them. Of an answer to more than is read, the client may only see that it is cut off."""
    return " ".join(map(str, statuses)) if statuses not in ([], [431]) else "431, or closed"


def answers(machine, text, host=OWN):
    """The status codes that are heard until the connection is closed; 200 comes last if it is good for another request."""
    with Connection(machine, host) as connection:
        found = []
        try:
            connection.send(f"{text}GET /v2/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
            connection.tls.settimeout(1)
            while answer := connection.answers.read1(1_000_000):
                found.append(answer)
        except OSError:  # closed under our hands, or waiting for more
            pass
        return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", b"".join(found))]


# ── hosts ──


@case
def host_and_server_name_are_one(lab):
    """SNI and Host have to be the same steered name: else 421. Fronting ends there, over IPv6 as well."""
    lab.pullgate.policy(IMAGES)
    machine = lab.machine()
    for address in (steering.ADDRESS, ADDRESS6):
        with Connection(machine, OWN, address) as connection:
            equal(connection.ask("GET", "/v2/")[0], 200)
        for other in ("registry-1.docker.io", "forbidden.lab.test", "registry.lab.test", "nowhere.lab.test"):
            with Connection(machine, OWN, address) as connection:
                connection.host = other
                equal(connection.ask("GET", "/v2/")[0], 421, other)
    lab.untouched("forbidden")


# ── endpoints ──


@case
def only_what_the_specification_knows(lab):
    """Endpoints beyond those of a registry are denied; the catalogue and the search are what the policy makes of them."""
    steering.begin(lab)
    lab.pullgate.policy(STRICT)
    machine = lab.machine()

    def status(method, path, host=OWN):
        with Connection(machine, host) as connection:
            return connection.ask(method, path)[0]

    for method, path in UNKNOWN:
        check(status(method, path) in (400, 403, 404, 405), f"{method} {path}")
    equal((status("GET", "/v2/"), status("GET", "/v2")), (200, 200), "the ping")
    equal(lab.requests("ci-only", pattern="_catalog|_oci|/v1/|metrics|debug|PUT|DELETE"), [], "what the registry heard")
    equal((status("GET", "/v1/search?q=bar", "index.docker.io"), status("GET", "/v2/_catalog")), (403, 403))
    lab.pullgate.policy(STRICT.replace('registry = "own"', 'registry = "own"\ncatalog = "allow"').replace('official =', 'search = "allow"\nofficial ='))
    equal((status("GET", "/v1/search?q=bar", "index.docker.io"), status("GET", "/v2/_catalog?n=5")), (200, 200))
    lab.requested("ci-only", None, r"/v2/_catalog\?n=5")


UNKNOWN = [
    ("GET", "/"),
    ("GET", "/metrics"),
    ("GET", "/debug/pprof/"),
    ("GET", "/v1/repositories/team/tiny/images"),
    ("GET", "/v2/_catalog"),
    ("GET", "/v2/_oci/ext/discover"),
    ("GET", "/v2/team/tiny"),
    ("GET", "/v2/team/tiny/"),
    ("GET", "/v2/team/tiny/other/1"),
    ("PUT", "/v2/"),
    ("DELETE", f"/v2/{SMUGGLED}/manifests/1"),
    ("TRACE", "/v2/team/tiny/manifests/1"),
    ("PROPFIND", "/v2/team/tiny/manifests/1"),
]


@case
def search_by_docker(lab):
    """`docker search` is denied, which it tells by the status alone, and finds what there is when the policy allows it."""
    steering.begin(lab)
    search = lambda: lab.run("bookworm", "docker search bar")
    denied = search()
    check(denied.code, denied.output)
    lab.pullgate.policy(IMAGES.replace('official =', 'search = "allow"\nofficial ='))
    allowed = search()
    check(allowed.code == 0 and "found by the search" in allowed.output, allowed.output)
    compare("search", {"docker search bar": denied})
