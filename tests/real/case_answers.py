"""What a client sees in each case of the table of answers (ARCHITECTURE.md), asked with dig."""

import struct

from harness import SERVER, UPSTREAM
from support.cases import case, check, equal
from support.dns import FORMERR, NOERROR, REFUSED, dig, encode, exchange, query
from upstream import Fake, addresses

BLOCKED, FILTERED, PROHIBITED = 15, 17, 18

ALLOW = """\
version = 1
[[registry]]
name = "plain"
hosts = ["registry.example", "v6only.example", "empty.example", "long.example", "big.example", "dangling.example", "svc.example"]
[[registry]]
name = "chains"
hosts = ["chain.example"]
[[registry]]
name = "private"
hosts = ["private.example", "mixed.example", "local.example", "link.example", "shared.example", "mapped.example", "nat64.example", "ula.example", "hint.example", "zero.example"]
"""


def codes(answer):
    return [code for code, _ in answer.ede]


@case
def denied_name_is_nxdomain_with_blocked(lab):
    """A name on no list: NXDOMAIN, SOA with the short TTL, EDE 15 with the reason."""
    server = lab.serve(ALLOW)
    answer = server.dig("denied.example", "A")
    equal(answer.rcode, "NXDOMAIN")
    equal(codes(answer), [BLOCKED], answer.raw)
    check(answer.ede[0][1], f"the EDE has no text: {answer.raw}")
    soa = answer.authority[0]
    equal((soa.name, soa.type, soa.ttl), (".", "SOA", 10))
    check(soa.data.endswith(" 10"), f"the SOA's minimum is not blocked.ttl: {soa.data}")
    check("ra" in answer.flags and "aa" not in answer.flags and "ad" not in answer.flags, answer.flags)


@case
def denied_whatever_the_type(lab):
    """A denied name is NXDOMAIN for every record type, ANY too."""
    server = lab.serve(ALLOW)
    for kind in ("A", "AAAA", "TXT", "MX", "SRV", "HTTPS", "NS", "SOA", "CNAME", "PTR", "DS", "ANY", "TYPE65280"):
        answer = server.dig("denied.example", kind)
        equal((kind, answer.rcode, codes(answer)), (kind, "NXDOMAIN", [BLOCKED]))


@case
def blocked_ttl_is_the_setting(lab):
    """`blocked.ttl` is the SOA's TTL and minimum."""
    server = lab.serve(ALLOW, sections={"blocked": {"ttl": '"42s"'}})
    soa = server.dig("denied.example").authority[0]
    equal((soa.ttl, soa.data.split()[-1]), (42, "42"))


@case
def without_edns_no_edns_comes_back(lab):
    """EDE needs EDNS: a query without OPT gets NXDOMAIN and no OPT."""
    answer = lab.serve(ALLOW).dig("denied.example", "+noedns")
    equal((answer.rcode, answer.edns, answer.ede), ("NXDOMAIN", False, []))


@case
def look_alikes_are_denied(lab):
    """Children, parents and look-alikes of an exact name are denied."""
    server = lab.serve(ALLOW)
    for name in ("cdn.registry.example", "evilregistry.example", "registry.example.com", "example", r"registry\.example", r"registry.example\000", "registry.example.registry.example"):
        equal((name, server.dig(name).rcode), (name, "NXDOMAIN"))


@case
def a_wildcard_matches_below_only(lab):
    """`*.x` is what is below x, `.x` is x as well, a glob stays within its label."""
    hosts = '"*.registry.example", ".cdn.example", "*her.example"'
    server = lab.serve(f'version = 1\n[[registry]]\nname = "wild"\nhosts = [{hosts}]\n')
    for name, rcode in (("cdn.registry.example", "NOERROR"), ("deep.er.registry.example", "NOERROR"), ("registry.example", "NXDOMAIN"), ("evilregistry.example", "NXDOMAIN"), ("end.cdn.example", "NOERROR"), ("other.example", "NOERROR")):
        equal((name, server.dig(name).rcode), (name, rcode))


@case
def nothing_goes_upstream_for_a_denied_name(lab):
    """No packet about a denied name leaves, whatever the type or the transport."""
    with Fake(addresses("192.0.2.1")) as fake:
        server = lab.serve(ALLOW, upstream=(fake.address,))
        for name in ("denied.example", "a.b.c.denied.example", "example", "1.0.0.10.in-addr.arpa", r"registry.example\000.evil"):
            for options in (("A",), ("TXT",), ("ANY",), ("A", "+tcp")):
                equal(server.dig(name, *options).rcode, "NXDOMAIN", name)
        equal(server.dig("registry.example").data("A"), ["192.0.2.1"])
        equal(fake.names(), {"registry.example"})


@case
def the_root_is_nodata(lab):
    """The root is never NXDOMAIN: clients and caches would take everything below for gone."""
    answer = lab.serve(ALLOW).dig(".", "NS")
    equal((answer.rcode, answer.answer), ("NOERROR", []))


@case
def an_ancestor_may_be_nodata(lab):
    """`blocked.ancestors = "nodata"`: the parent of an allowed name is NODATA instead of NXDOMAIN."""
    server = lab.serve(ALLOW, sections={"blocked": {"ancestors": '"nodata"'}})
    answer = server.dig("example", "A")
    equal((answer.rcode, answer.answer), ("NOERROR", []))
    equal(server.dig("denied.example").rcode, "NXDOMAIN")


@case
def an_allowed_name_has_the_upstreams_answer(lab):
    """Allowed: every address, AAAA and HTTPS as the upstream gave them; the name in the client's own case."""
    server = lab.serve(ALLOW)
    for kind in ("A", "AAAA", "HTTPS", "CNAME"):
        equal(server.dig("registry.example", kind).facts(), dig(UPSTREAM, "registry.example", kind).facts(), kind)
    equal(server.dig("v6only.example", "AAAA").data(), ["2001:db8::6"])
    mixed = server.dig("ReGiStRy.ExAmPlE", "A")
    equal(mixed.question, "ReGiStRy.ExAmPlE.")
    equal({record.name for record in mixed.answer}, {"ReGiStRy.ExAmPlE."})


@case
def a_chain_comes_whole(lab):
    """A CNAME chain is relayed whole, although only its first name is on the list."""
    answer = lab.serve(ALLOW).dig("chain.example", "A")
    equal(answer.facts(), dig(UPSTREAM, "chain.example", "A").facts())
    equal([record.type for record in answer.answer], ["CNAME", "CNAME", "A"])


@case
def an_inspected_chain_needs_every_name(lab):
    """`cname = "inspect"`: a target that is not allowed makes the name NXDOMAIN; an allowed one lets it through."""
    lab.registry("chains", ["chain.example"])
    server = lab.serve(lab.registry("chains", ["chain.example", "step.chain.example"], 'cname = "inspect"'))
    answer = server.dig("chain.example")
    equal((answer.rcode, codes(answer)), ("NXDOMAIN", [BLOCKED]))
    lab.write_policy(lab.registry("chains", ["chain.example", "step.chain.example", "end.cdn.example"], 'cname = "inspect"'))
    server.reload()
    equal(server.dig("chain.example").data("A"), ["192.0.2.30"])


@case
def a_deny_reaches_into_chains(lab):
    """A `[[deny]]` holds for the targets of a trusted chain and of an HTTPS alias."""
    server = lab.serve(ALLOW + '[[deny]]\nhosts = ["*.cdn.example"]\nreason = "see SEC-7"\n')
    for name, kind in (("chain.example", "A"), ("chain.example", "AAAA"), ("svc.example", "HTTPS")):
        answer = server.dig(name, kind)
        equal((name, answer.rcode, codes(answer)), (name, "NXDOMAIN", [BLOCKED]))


@case
def a_deny_beats_an_allow_and_says_why(lab):
    """A `[[deny]]` beats the registry that allows the name; its reason is in the EDE text."""
    server = lab.serve(ALLOW + '[[deny]]\nhosts = ["registry.example"]\nreason = "see SEC-7"\n')
    answer = server.dig("registry.example")
    equal((answer.rcode, codes(answer)), ("NXDOMAIN", [BLOCKED]))
    check("SEC-7" in answer.ede[0][1], f"the reason is not in {answer.ede}")


@case
def a_type_off_the_list_is_filtered(lab):
    """An allowed name asked for a type that is not in `record-types`: NODATA with EDE 17."""
    server = lab.serve(ALLOW)
    for kind in ("TXT", "MX", "SRV", "NULL"):
        answer = server.dig("registry.example", kind)
        equal((kind, answer.rcode, answer.answer, codes(answer)), (kind, "NOERROR", [], [FILTERED]))
        equal(answer.authority[0].type, "SOA")


@case
def upstream_negatives_are_relayed(lab):
    """What does not exist upstream: NODATA and NXDOMAIN with its SOA, and no EDE of ours."""
    server = lab.serve(lab.registry("all", [".example"]))
    for name, kind, rcode in (("empty.example", "A", "NOERROR"), ("nowhere.example", "A", "NXDOMAIN"), ("dangling.example", "A", "NXDOMAIN")):
        answer = server.dig(name, kind)
        equal((name, answer.rcode, answer.ede), (name, rcode, []))
        equal(answer.authority[0].type, "SOA", name)
    equal(server.dig("dangling.example").data("CNAME"), ["nowhere.example."])


@case
def ttls_are_capped(lab):
    """No TTL leaves above `cache.max-ttl`."""
    server = lab.serve(ALLOW, sections={"cache": {"max-ttl": '"100s"'}})
    check(server.dig("long.example").answer[0].ttl <= 100, "fresh")
    check(server.dig("long.example").answer[0].ttl <= 100, "from the cache")


@case
def private_addresses_are_removed(lab):
    """Private, loopback, link-local, shared, mapped and NAT64 forms go; nothing left is NODATA with EDE 15."""
    server = lab.serve(ALLOW)
    names = [("private", "A"), ("local", "A"), ("link", "A"), ("shared", "A"), ("zero", "A"), ("mapped", "AAAA"), ("nat64", "AAAA"), ("ula", "AAAA")]
    for name, kind in names:
        for _ in ("fresh", "cached"):
            answer = server.dig(f"{name}.example", kind)
            equal((name, answer.rcode, answer.answer, codes(answer)), (name, "NOERROR", [], [BLOCKED]))
    equal(server.dig("mixed.example").data("A"), ["192.0.2.40"])
    check("10.1.2.3" not in server.dig("hint.example", "HTTPS").raw, "a private address in an HTTPS hint")


@case
def private_addresses_where_permitted(lab):
    """`private-addresses = true` lets them through, for that registry only."""
    server = lab.serve(lab.registry("inside", ["private.example", "hint.example"], "private-addresses = true") + '[[registry]]\nname = "outside"\nhosts = ["mixed.example"]\n')
    equal(server.dig("private.example").data("A"), ["10.1.2.3"])
    check("10.1.2.3" in server.dig("hint.example", "HTTPS").raw, "the hint")
    equal(server.dig("mixed.example").data("A"), ["192.0.2.40"])


@case
def static_names_are_answered_here(lab):
    """`[static]` names are answered from the settings, always allowed, and never asked upstream."""
    with Fake(addresses("192.0.2.1")) as fake:
        static = '\n[static]\n"host.docker.internal" = ["172.17.0.1", "fd00::1"]\n'
        server = lab.serve(ALLOW, upstream=(fake.address,), tail=static)
        equal(server.dig("host.docker.internal", "A").data(), ["172.17.0.1"])
        equal(server.dig("host.docker.internal", "AAAA").data(), ["fd00::1"])
        equal(server.dig("host.docker.internal", "TXT").answer, [])
        equal(fake.names(), set())


@case
def localhost_is_local(lab):
    """`localhost` is answered here (RFC 6761)."""
    server = lab.serve(ALLOW)
    equal(server.dig("localhost", "A").data(), ["127.0.0.1"])
    equal(server.dig("localhost", "AAAA").data(), ["::1"])


@case
def any_is_minimal(lab):
    """ANY for an allowed name: a minimal answer (RFC 8482)."""
    answer = lab.serve(ALLOW).dig("registry.example", "ANY", "+notcp")
    equal(answer.rcode, "NOERROR")
    check(len(answer.answer) <= 1, f"ANY is not minimal: {answer.raw}")


@case
def what_is_no_plain_question_is_turned_away(lab):
    """Zone transfers and other classes: REFUSED; other opcodes: NOTIMP; EDNS version 1: BADVERS."""
    server = lab.serve(ALLOW)
    equal(exchange(query("registry.example", 251), (SERVER, 53))[3] & 15, REFUSED, "IXFR")
    equal(server.dig("registry.example", "-c", "CH", "-t", "TXT").rcode, "REFUSED")
    equal(server.dig("version.bind", "-c", "CH", "-t", "TXT").rcode, "REFUSED")
    equal(server.dig("registry.example", "-c", "ANY", "-t", "A").rcode, "REFUSED")
    equal(server.dig("registry.example", "+opcode=STATUS").rcode, "NOTIMP")
    equal(server.dig("registry.example", "+opcode=UPDATE").rcode, "NOTIMP")
    equal(server.dig("registry.example", "+opcode=NOTIFY").rcode, "NOTIMP")
    equal(server.dig("registry.example", "+edns=1", "+noednsnegotiation").rcode, "BADVERS")
    transfer = server.dig("registry.example", "AXFR", "+tcp")
    check("Transfer failed" in transfer.raw or transfer.rcode == "REFUSED", transfer.raw)


@case
def broken_packets_are_formerr_or_dropped(lab):
    """Two questions, two OPT records, a cut name: FORMERR; a response or a scrap: no answer at all."""
    lab.serve(ALLOW)
    plain = query("registry.example", edns=False)
    opt = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)
    question = encode("registry.example") + struct.pack("!HH", 1, 1)
    header = lambda counts, flags=0x0100: struct.pack("!6H", 4711, flags, *counts)
    for what, packet in {
        "two questions": header((2, 0, 0, 0)) + question * 2,
        "no question": header((0, 0, 0, 0)),
        "two OPT": header((1, 0, 0, 2)) + question + opt * 2,
        "cut": plain[:-6],
        "a pointer as name": header((1, 0, 0, 0)) + b"\xc0\x0c\0\1\0\1",
    }.items():
        response = exchange(packet, (SERVER, 53))
        check(response is not None and response[3] & 15 == FORMERR, f"{what}: {response!r}")
        check(len(response) <= len(packet) + 11, f"{what}: the answer is larger than the question")
    for what, packet in {"a response": header((1, 0, 0, 0), 0x8180) + question, "11 bytes": plain[:11], "1 byte": b"\0", "nothing": b""}.items():
        equal(exchange(packet, (SERVER, 53), 0.3), None, what)
    equal(exchange(plain, (SERVER, 53))[3] & 15, NOERROR, "the server is alive")


@case
def cookies_are_answered(lab):
    """A client cookie comes back with a server cookie (RFC 7873), and the pair is taken next time."""
    server = lab.serve(ALLOW)
    first = server.dig("registry.example", "+cookie=0123456789abcdef")
    line = next((line for line in first.raw.splitlines() if "COOKIE:" in line), "")
    cookie = line.split("COOKIE:")[-1].split()[0] if line else ""
    check(cookie.startswith("0123456789abcdef") and 32 <= len(cookie) <= 80, f"no server cookie: {line!r}")
    equal(server.dig("registry.example", f"+cookie={cookie}").rcode, "NOERROR")
    check("COOKIE" not in server.dig("registry.example", "+nocookie").raw, "a cookie that nobody sent")


@case
def client_options_stay_here(lab):
    """Client subnet, cookies and AD are the client's business: nothing of it goes upstream, AD does not come back."""
    with Fake(addresses("192.0.2.1")) as fake:
        server = lab.serve(ALLOW, upstream=(fake.address,))
        answer = server.dig("registry.example", "+subnet=203.0.113.0/24", "+cookie=0123456789abcdef", "+adflag", "+nsid")
        equal(answer.rcode, "NOERROR")
        check("ad" not in answer.flags, "AD without validation")
        packet = fake.asked[0][2]
        check(b"\xcb\x00\x71" not in packet, "the client's subnet went upstream")
        check(b"\x01\x23\x45\x67\x89\xab\xcd\xef" not in packet, "the client's cookie went upstream")


@case
def why_is_told_in_a_txt(lab):
    """`dig TXT why.NAME.pullgate`: verdict, reason, rule and whom to ask, one string a fact; nothing of it goes upstream."""
    with Fake(addresses("192.0.2.1")) as fake:
        server = lab.serve(ALLOW, upstream=(fake.address,), sections={"blocked": {"contact": '"platform team, #registries"'}})
        told = lambda name, *options: server.dig("TXT", name, *options).data("TXT")[0]
        denied = told("why.quay.io.pullgate.")
        for fact in ("verdict=deny", "name=quay.io", "client=127.0.0.1", "reason=catalogue", "registry=quay-io", "ask=platform team, #registries"):
            check(f'"{fact}"' in denied, denied)
        allowed = told("why.registry.example.pullgate.", "+tcp")
        check('"verdict=allow"' in allowed and '"rule=registry.example at 10-test.toml:4"' in allowed, allowed)
        check('"near=registry.example"' in told("why.regsitry.example.pullgate."), "the rule that was meant")
        check('"usage=dig TXT why.quay.io.pullgate"' in told("why.pullgate."), "how to ask")
        address = server.dig("why.quay.io.pullgate.", "A")
        equal((address.rcode, address.answer), ("NOERROR", []))
        equal(fake.asked, [])
        equal(server.dig("other.pullgate.").rcode, "NXDOMAIN")
