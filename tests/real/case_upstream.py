"""Upstreams that are dead, silent, failing or lying: every allowed question is answered, in time, and nothing false."""

import random
import socket
import struct
import threading
import time

from harness import SERVER, UPSTREAM
from support.cases import case, check, equal, sh, wait_until
from support.dns import NOERROR, decode, dig, encode, exchange, query
from upstream import Fake, addresses, failing, garbage, respond, silent

BAD = "198.18.0.66"
MANY = 'version = 1\n[[registry]]\nname = "r"\nhosts = [".registry.example", "other.example", "third.example"]\n'
ROUTED = 'version = 1\n[[registry]]\nname = "r"\nhosts = [".registry.example", "other.example", ".corp.example"]\n'


def survives(lab, what):
    """With a bad upstream before a good one: every question answered right, the first within half a second or so."""
    server = lab.serve(MANY, upstream=(BAD, UPSTREAM))
    times = []
    for number, name in enumerate(["registry.example", "cdn.registry.example", "deep.er.registry.example", "other.example", "third.example", "mail.registry.example"] * 2):
        start = time.monotonic()
        response = exchange(query(name, "A" if number < 6 else "AAAA"), (SERVER, 53), 3)
        times.append(time.monotonic() - start)
        check(response is not None and response[3] & 15 == NOERROR, f"{what}: {name} was answered {response!r}")
    lab.note(f"{what}: {[round(each * 1000) for each in times]} ms")
    check(times[0] < 0.6, f"{what}: the first answer took {times[0]:.2f} s")
    check(sorted(times)[len(times) // 2] < 0.1, f"{what}: the bad upstream goes on costing time: {times}")
    equal(server.status()["state"], "ok")


@case
def first_upstream_is_dead(lab):
    """Nothing listens at the first upstream: ICMP says so, the second answers."""
    sh(f"ip addr replace {BAD}/32 dev lo")
    survives(lab, "dead")


@case
def first_upstream_is_silent(lab):
    """The first upstream never answers."""
    with Fake(silent):
        survives(lab, "silent")


@case
def first_upstream_is_blackholed(lab):
    """There is no way to the first upstream at all."""
    sh(f"ip addr del {BAD}/32 dev lo; true")
    sh(f"ip route replace blackhole {BAD}/32")
    lab.defer(lambda: sh(f"ip route del blackhole {BAD}/32"))
    survives(lab, "blackholed")


@case
def first_upstream_says_servfail(lab):
    """The first upstream answers SERVFAIL at once."""
    with Fake(failing(2)):
        survives(lab, "SERVFAIL")


@case
def first_upstream_says_refused(lab):
    """The first upstream answers REFUSED at once."""
    with Fake(failing(5)):
        survives(lab, "REFUSED")


@case
def first_upstream_sends_garbage(lab):
    """The first upstream sends bytes that are no DNS."""
    with Fake(garbage):
        survives(lab, "garbage")


@case
def first_upstream_flaps(lab):
    """The first upstream is good and silent in turns, half a second each."""
    knot = lambda packet: [exchange(packet, (UPSTREAM, 53))]
    with Fake(lambda packet: knot(packet) if int(time.monotonic() * 2) % 2 else []):
        lab.serve(MANY, upstream=(BAD, UPSTREAM), sections={"cache": {"max-ttl": '"1s"'}})
        deadline = time.monotonic() + 5
        number = 0
        while time.monotonic() < deadline:
            response = exchange(query("registry.example", "A" if number % 2 else "AAAA"), (SERVER, 53), 3)
            check(response is not None and response[3] & 15 == NOERROR, f"answered {response!r}")
            number += 1
            time.sleep(0.02)


@case
def a_recovered_upstream_is_used_again(lab):
    """The only upstream dies and comes back: SERVFAIL meanwhile, right answers soon after."""
    server = lab.serve(MANY, upstream=(BAD,))
    sh(f"ip addr replace {BAD}/32 dev lo")
    equal(server.dig("registry.example").rcode, "SERVFAIL")
    with Fake(addresses("192.0.2.7")):
        wait_until(lambda: server.dig("registry.example").rcode == "NOERROR", 10, "used again")


@case
def no_upstream_at_all(lab):
    """All upstreams silent: SERVFAIL with EDE 22 within the deadline, few packets, denied names unaffected; repeats at once."""
    with Fake(silent) as fake:
        server = lab.serve(MANY, upstream=(fake.address,))
        start = time.monotonic()
        answer = server.dig("registry.example", seconds=4)
        taken = time.monotonic() - start
        equal((answer.rcode, [code for code, _ in answer.ede][:1]), ("SERVFAIL", [22]), answer.raw)
        check(taken < 2.4, f"it took {taken:.2f} s")
        check(len(fake.asked) <= 6, f"{len(fake.asked)} packets upstream")
        asked = len(fake.asked)
        start = time.monotonic()
        equal(server.dig("registry.example", seconds=4).rcode, "SERVFAIL")
        check(time.monotonic() - start < 0.3 and len(fake.asked) == asked, "the failure is not remembered (RFC 9520)")
        equal(server.dig("denied.example").rcode, "NXDOMAIN")


@case
def a_failing_upstream_is_told_apart(lab):
    """The only upstream answers SERVFAIL: SERVFAIL with EDE 23 at once."""
    with Fake(failing(2)) as fake:
        server = lab.serve(MANY, upstream=(fake.address,))
        start = time.monotonic()
        answer = server.dig("registry.example")
        equal((answer.rcode, [code for code, _ in answer.ede][:1]), ("SERVFAIL", [23]), answer.raw)
        check(time.monotonic() - start < 2.4, "it took too long")
        check(len(fake.asked) <= 6, f"{len(fake.asked)} packets upstream")


@case
def stale_answers_bridge_an_outage(lab):
    """The upstream falls silent: a known name is answered from the cache past its TTL with EDE 3, unless it was revoked."""
    answer_or_not = {"up": True}
    fake_address = addresses("192.0.2.7", "192.0.2.8", ttl=1)
    with Fake(lambda packet: fake_address(packet) if answer_or_not["up"] else []) as fake:
        server = lab.serve(MANY, upstream=(fake.address,))
        equal(server.dig("registry.example").data(), ["192.0.2.7", "192.0.2.8"])
        equal(server.dig("other.example").rcode, "NOERROR")
        answer_or_not["up"] = False
        answer, _ = wait_until(lambda: (seen := server.dig("registry.example", seconds=4)).ede and seen, 8, "a stale answer")
        equal((answer.rcode, answer.data(), [code for code, _ in answer.ede]), ("NOERROR", ["192.0.2.7", "192.0.2.8"], [3]))
        lab.write_policy(lab.registry("r", ["other.example"]))
        server.reload()
        equal(server.dig("registry.example").rcode, "NXDOMAIN", "revoked: the stale answer is not served")


@case
def equal_questions_are_asked_once(lab):
    """A hundred clients ask the same uncached name at once: one question goes upstream, all are answered."""
    slow = addresses("192.0.2.9")
    with Fake(lambda packet: (time.sleep(0.15), slow(packet))[1]) as fake:
        lab.serve(MANY, upstream=(fake.address,))
        results = []
        threads = [threading.Thread(target=lambda: results.append(exchange(query("registry.example"), (SERVER, 53), 3))) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        equal(sum(response is not None and response[3] & 15 == NOERROR for response in results), 100)
        equal(len(fake.asked), 1, "questions upstream")


def record(name, kind, ttl, data):
    """A resource record's bytes, its owner written out."""
    return encode(name) + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def answered(packet, records):
    """A response to `packet` with these records as its answer section."""
    _, at = decode(packet)
    return packet[:2] + struct.pack("!5H", 0x8180, 1, len(records), 0, 0) + packet[12 : at + 4] + b"".join(records)


@case
def strange_records_are_not_believed(lab):
    """Records that the question did not ask for, or that no chain leads to, never reach the client."""

    def lie(packet):
        name, _ = decode(packet)
        good = record(name, 1, 60, socket.inet_aton("192.0.2.7"))
        other = record("bank.example", 1, 60, socket.inet_aton("192.0.2.66"))
        wrong_type = record(name, 16, 60, b"\x04evil")
        return [answered(packet, [other, good, wrong_type])]

    with Fake(lie) as fake:
        server = lab.serve(MANY, upstream=(fake.address,))
        for _ in ("fresh", "cached"):
            equal(server.dig("registry.example").facts(), [("registry.example.", "A", "192.0.2.7")])


@case
def a_forged_answer_is_ignored(lab):
    """Wrong id, wrong question or junk before the truth: the truth is taken."""

    def forge(packet):
        wrong_id = bytes([packet[0] ^ 0xFF]) + packet[1:]
        wrong_name = packet[:12] + encode("evil.example") + packet[decode(packet)[1] :]
        lie = [(1, 60, socket.inet_aton("192.0.2.66"))]
        return [respond(wrong_id, lie), respond(wrong_name, lie), b"\0", b"\xff" * 12, packet, *addresses("192.0.2.7")(packet)]

    with Fake(forge) as fake:
        server = lab.serve(MANY, upstream=(fake.address,))
        for name in ("registry.example", "other.example", "a.registry.example"):
            equal(server.dig(name).data(), ["192.0.2.7"])


@case
def questions_upstream_cannot_be_guessed(lab):
    """Ids are spread out, each question's port is one of a few random ones, and the letters' case is mixed (0x20)."""
    ports = []

    class Listening(Fake):
        def answer(self, packet, client):
            ports.append(client[1])
            super().answer(packet, client)

    with Listening(addresses("192.0.2.7")) as fake:
        lab.serve(MANY, upstream=(fake.address,))
        for number in range(200):
            exchange(query(f"name{number}.registry.example"), (SERVER, 53))
        ids = {packet[:2] for _, _, packet in fake.asked}
        mixed = [packet for _, _, packet in fake.asked if packet[12:30] != packet[12:30].lower()]
    check(len(set(ports)) >= 8, f"{len(set(ports))} source ports in 200 questions")
    check(max(ports) - min(ports) > 5000, f"source ports from {min(ports)} to {max(ports)}")
    changes = sum(port != before for before, port in zip(ports, ports[1:]))
    check(changes >= 100, f"the source port changed {changes} times in 200 questions")
    check(len(ids) >= 190, f"{len(ids)} ids in 200 questions")
    check(len(mixed) >= 190, f"{len(mixed)} of 200 names in mixed case")


@case
def routes_split_the_horizon(lab):
    """`[[upstream.route]]`: its domains go to its servers only, private addresses included; the rest does not."""
    with Fake(addresses("10.0.0.99")) as fake:
        route = f'\n[[upstream.route]]\ndomains = ["corp.example"]\nservers = ["{fake.address}"]\n'
        server = lab.serve(ROUTED, tail=route)
        equal(server.dig("intranet.corp.example").data(), ["10.0.0.99"])
        equal(server.dig("registry.example").data(), ["192.0.2.1", "192.0.2.2"])
        equal(fake.names(), {"intranet.corp.example"})


@case
def a_service_has_its_own_servers(lab):
    """A `[[service]]` with `servers`: its names go there, any type, private addresses included."""
    service = f'[[service]]\nname = "corp"\nnames = [".corp.example", ".10.in-addr.arpa"]\nservers = ["{UPSTREAM}"]\ntypes = "any"\nprivate-addresses = true\n'
    with Fake(addresses("192.0.2.7")) as fake:
        server = lab.serve(MANY + service, upstream=(fake.address,))
        for name, kind in (("dc1.corp.example", "A"), ("_ldap._tcp.dc.corp.example", "SRV"), ("corp.example", "MX"), ("1.0.0.10.in-addr.arpa", "PTR")):
            equal(server.dig(name, kind).facts(), dig(UPSTREAM, name, kind).facts(), name)
        equal(server.dig("registry.example").data(), ["192.0.2.7"])
        equal(fake.names(), {"registry.example"})


@case(seconds=90)
def few_descriptors_are_no_disaster(lab):
    """With 64 descriptors and more connections than that: cached, fresh and denied names are answered, without spinning."""
    path = lab.write_policy(MANY)
    server = lab.serve(wait=False)
    server.process = lab.spawn(["prlimit", "--nofile=64:64", str(lab.binary), *server.arguments], "pullgate")
    wait_until(lambda: server.dig("registry.example").rcode == "NOERROR", 5, f"running on {path}")
    held = []
    for _ in range(90):
        stream = socket.socket()
        stream.settimeout(0.2)
        try:
            stream.connect((SERVER, 53))
        except OSError:
            pass
        held.append(stream)
    before, start = cpu_seconds(server.process.pid), time.monotonic()
    for name, rcode in (("registry.example", "NOERROR"), ("denied.example", "NXDOMAIN"), ("cdn.registry.example", "NOERROR"), ("deep.er.registry.example", "NOERROR")):
        equal((name, server.dig(name).rcode), (name, rcode))
    time.sleep(max(0.0, 2 - (time.monotonic() - start)))  # the measured span, not a wait for anything
    used = cpu_seconds(server.process.pid) - before
    check(used < 0.2, f"{used:.2f} s of CPU in two idle seconds")
    for stream in held:
        stream.close()
    wait_until(lambda: server.dig("registry.example", "+tcp").rcode == "NOERROR", 8, "TCP again")


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat", encoding="utf-8").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@case
def it_never_asks_itself(lab):
    """An upstream that is one of the listeners is a settings fault, or left out: no loop."""
    lab.write_policy(MANY)
    server = lab.serve(wait=False, upstream=(SERVER, UPSTREAM)).launch()
    wait_until(lambda: server.process.poll() is not None or server.dig("registry.example").rcode != "TIMEOUT", 5, "a decision")
    if server.process.poll() is None:
        equal(server.dig("registry.example").rcode, "NOERROR")
    else:
        equal(server.process.poll(), 78, server.output())


@case
def a_lossy_path_loses_no_question(lab):
    """Every third packet to and from the upstream lost: every question is answered all the same."""
    chance = random.Random(7)
    knot = lambda packet: [exchange(packet, (UPSTREAM, 53))] if chance.random() > 0.33 else []
    with Fake(knot) as fake:
        lab.serve(MANY, upstream=(fake.address,))
        worst = 0.0
        for number in range(60):
            name = ["registry.example", "other.example", "third.example"][number % 3]
            start = time.monotonic()
            response = exchange(query(name if number < 3 else f"x{number}.registry.example"), (SERVER, 53), 4)
            worst = max(worst, time.monotonic() - start)
            check(response is not None and response[3] & 15 in (0, 3), f"question {number} was answered {response!r}")
        lab.note(f"worst {worst * 1000:.0f} ms")
