"""UDP sizes, TCP, IPv6, DoT and DoH, as dig, kdig and curl use them."""

import os
import socket
import subprocess
import threading
import time

from harness import SERVER, UPSTREAM
from support.cases import case, check, equal, sh
from support.dns import dig, exchange, kdig, over_tcp, query, read_tcp
from upstream import Fake, addresses

HOSTS = ["registry.example", "other.example", "big.example", "third.example"]


@case
def a_big_answer_is_cut_and_comes_over_tcp(lab):
    """An answer that does not fit: TC within the client's size, and the whole over TCP."""
    server = lab.serve(lab.registry("r", HOSTS))
    for options, limit in (((), 1232), (("+bufsize=4096",), 1232), (("+bufsize=600",), 600), (("+noedns",), 512)):
        answer = server.dig("big.example", "A", "+notcp", "+ignore", *options)
        check("tc" in answer.flags, f"no TC with {options}")
        check(answer.size <= limit, f"{answer.size} bytes with {options}")
        check("malformed" not in answer.raw.lower() and "extra" not in answer.raw.lower(), answer.raw)
    equal(server.dig("big.example", "A").facts(), dig(UPSTREAM, "big.example", "A").facts(), "dig's own TCP retry")
    equal(len(kdig(SERVER, "big.example", "A")[-1].answer), 100, "kdig's own TCP retry")


@case
def many_questions_on_one_connection(lab):
    """kdig +tcp +keepopen asks several questions on one connection."""
    lab.serve(lab.registry("r", HOSTS))
    answers = kdig(SERVER, "+tcp", "+keepopen", "registry.example", "A", "other.example", "AAAA", "denied.example", "A")
    equal([answer.rcode for answer in answers], ["NOERROR", "NOERROR", "NXDOMAIN"])
    equal(answers[1].data("AAAA"), ["2001:db8::5"])


@case
def pipelined_answers_overtake(lab):
    """Pipelined TCP: a slow question does not hold up the ones behind it (RFC 7766)."""
    gate = threading.Event()

    def slow_for_registry(packet):
        if b"egistry" in packet.lower():
            gate.wait(1.5)
        return addresses("192.0.2.9")(packet)

    with Fake(slow_for_registry) as fake:
        lab.serve(lab.registry("r", HOSTS), upstream=(fake.address,))
        with socket.create_connection((SERVER, 53), timeout=5) as stream:
            stream.sendall(over_tcp(query("registry.example", ident=1)) + over_tcp(query("other.example", ident=2)) + over_tcp(query("denied.example", ident=3)))
            order = [read_tcp(stream)[1] for _ in range(2)]
            gate.set()
            order.append(read_tcp(stream)[1])
        equal((sorted(order[:2]), order[2]), ([2, 3], 1), "order of the answers")


@case
def a_split_message_is_put_together(lab):
    """A TCP question that arrives byte by byte is answered."""
    lab.serve(lab.registry("r", HOSTS))
    with socket.create_connection((SERVER, 53), timeout=5) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in over_tcp(query("registry.example", ident=7)):
            stream.send(bytes([byte]))
        equal(read_tcp(stream)[1], 7)


@case
def idle_connections_are_closed(lab):
    """A connection that says nothing, or half a message, is closed within seconds; the others are served meanwhile."""
    server = lab.serve(lab.registry("r", HOSTS))
    start = time.monotonic()
    silent = [socket.create_connection((SERVER, 53), timeout=20) for _ in range(30)]
    half = socket.create_connection((SERVER, 53), timeout=20)
    half.sendall(over_tcp(query("registry.example"))[:9])
    equal(server.dig("registry.example", "+tcp").rcode, "NOERROR", "while others idle")
    for stream in [*silent, half]:
        with stream:
            equal(stream.recv(1), b"", "closed")
    check(time.monotonic() - start < 15, f"closed only after {time.monotonic() - start:.1f} s")


@case
def a_client_that_never_reads_is_cut_off(lab):
    """Questions without end on connections whose answers nobody reads: cut off within seconds; others are served."""
    server = lab.serve(lab.registry("r", HOSTS))
    streams = [socket.create_connection((SERVER, 53), timeout=20) for _ in range(5)]
    start = time.monotonic()
    for stream in streams:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stream.setblocking(False)
    unsent = dict.fromkeys(streams, b"")
    while unsent and time.monotonic() - start < 25:
        unsent = {stream: rest for stream, data in unsent.items() if (rest := send_some(stream, data)) is not None}
        for options in ((), ("+tcp",)):
            equal(server.dig("registry.example", *options).rcode, "NOERROR", "meanwhile")
    equal(len(unsent), 0, "connections still open after 25 s")


def send_some(stream, data):
    """Sends what fits of whole questions; returns what did not, or None when the other side is gone."""
    data = data or over_tcp(query("big.example")) * 50
    try:
        return data[stream.send(data) :]
    except BlockingIOError:
        return data
    except OSError:
        return None


@case
def ipv6_listeners_serve(lab):
    """A listener on ::1 answers over UDP and TCP."""
    lab.serve(lab.registry("r", HOSTS), listen=("[::1]:53",))
    for options in ((), ("+tcp",)):
        equal(dig("::1", "registry.example", "AAAA", *options).data(), ["2001:db8::1"])


@case
def port_zero_is_one_port_for_both(lab):
    """`listen = ["127.0.0.1:0"]` takes one free port for UDP and TCP, and status tells which."""
    server = lab.serve(lab.registry("r", HOSTS), listen=(f"{SERVER}:0",))
    ports = {int(listener["address"].rpartition(":")[2]) for listener in server.status()["listen"]}
    equal(len(ports), 1, f"one port for UDP and TCP, in {ports}")
    port = ports.pop()
    for options in ((), ("+tcp",)):
        equal(dig(SERVER, "registry.example", *options, port=port).rcode, "NOERROR")


@case
def answers_come_from_the_address_asked(lab):
    """A wildcard listener answers from the address that was asked, so that connected clients hear it."""
    lab.serve(lab.registry("r", HOSTS), listen=("0.0.0.0:5353",))
    for address in ("127.0.0.1", "127.9.9.9", "172.17.0.1"):
        check(exchange(query("registry.example"), (address, 5353)) is not None, f"no answer from {address}")


def certificate(lab):
    """A self-signed certificate for dns.example; returns the paths of certificate and key."""
    sh(f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=dns.example -addext subjectAltName=DNS:dns.example,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE -keyout {lab.folder}/tls.key -out {lab.folder}/tls.crt")
    return f"{lab.folder}/tls.crt", f"{lab.folder}/tls.key"


def serve_encrypted(lab):
    crt, key = certificate(lab)
    tls = {"server.tls": {"certificate": f'"{crt}"', "key": f'"{key}"', "dot": '["127.0.0.1:853"]', "doh": '["127.0.0.1:443"]'}}
    lab.serve(lab.registry("r", HOSTS), sections=tls)
    return crt


@case
def dot_serves_kdig(lab):
    """DNS over TLS: kdig +tls with a checked certificate; allowed, denied, big."""
    crt = serve_encrypted(lab)
    tls = ("+tls", f"+tls-ca={crt}", "+tls-hostname=dns.example")
    answers = kdig(SERVER, *tls, "+keepopen", "registry.example", "A", "denied.example", "A", "big.example", "A", port=853)
    equal([answer.rcode for answer in answers], ["NOERROR", "NXDOMAIN", "NOERROR"], answers[0].raw)
    equal(answers[1].ede[0][0], 15)
    equal(len(answers[2].answer), 100)


@case
def doh_serves_kdig_and_curl(lab):
    """DNS over HTTPS: kdig by POST and GET; curl resolves with it; an allowed, a denied and a big name."""
    crt = serve_encrypted(lab)
    tls = (f"+tls-ca={crt}", "+tls-hostname=dns.example")
    for method in ("+https=dns.example/dns-query", "+https-get=dns.example/dns-query"):
        for name, rcode, count in (("registry.example", "NOERROR", 2), ("denied.example", "NXDOMAIN", 0), ("big.example", "NOERROR", 100)):
            answer = kdig(SERVER, method, *tls, name, "A", port=443)[0]
            equal((method, name, answer.rcode, len(answer.answer)), (method, name, rcode, count), answer.raw)
    allowed = curl_over_doh("http://registry.example/")
    check(allowed.returncode == 7 and "192.0.2.1" in allowed.stderr, f"curl could not resolve an allowed name: {allowed.stderr}")
    denied = curl_over_doh("http://denied.example/")
    check(denied.returncode == 6 and "192.0.2." not in denied.stderr, f"curl on a denied name: {denied.stderr}")


def curl_over_doh(url):
    """Has curl resolve by DoH; there is no way to the address that it then tries."""
    command = ["curl", "-sSv", "--max-time", "10", "--doh-url", "https://127.0.0.1/dns-query", "--doh-insecure", url]
    return subprocess.run(command, text=True, capture_output=True, check=False)


@case
def encrypted_upstreams_resolve(lab):
    """Upstreams over TLS and HTTPS (another pullgate): allowed names resolve; a certificate of nobody known: SERVFAIL."""
    crt, key = certificate(lab)
    tls = {"certificate": f'"{crt}"', "key": f'"{key}"', "dot": '["127.0.0.2:853"]', "doh": '["127.0.0.2:443"]'}
    apart = {"policy": {"state": f'"{lab.folder}/upstream-state"'}, "control": {"socket": f'"{lab.folder}/upstream.sock"'}}
    lab.serve(lab.registry("r", HOSTS), name="upstream", listen=("127.0.0.2:53",), sections={"server.tls": tls, **apart})
    for upstream in ("tls://127.0.0.2#dns.example", "https://127.0.0.2/dns-query#dns.example"):
        for trusted, rcode in ((False, "SERVFAIL"), (True, "NOERROR")):
            os.environ["SSL_CERT_FILE"] = crt if trusted else "/etc/ssl/certs/ca-certificates.crt"
            lab.defer(lambda: os.environ.pop("SSL_CERT_FILE", None))
            server = lab.serve(upstream=(upstream,), name="asking")
            equal((upstream, trusted, server.dig("registry.example", seconds=5).rcode), (upstream, trusted, rcode))
            equal(len(server.dig("big.example", seconds=5).answer), 100 if trusted else 0)
            server.stop()
