"""Audit is inert: for one recorded list of questions nothing changes but the count of what would be denied."""

from network import DEVELOPERS
from support.cases import case, check, equal, wait_until
from support.dns import dig
from world import POLICY, UPSTREAM

# What a machine of the lab asks on a long day: names of every kind, allowed ones, forbidden ones, and none.
QUESTIONS = [line.split() for line in """\
registry.lab.test A
registry.lab.test AAAA
registry.lab.test HTTPS
registry.lab.test TXT
registry.lab.test MX
cdn.lab.test A
ci.lab.test A
forbidden.lab.test A
forbidden.lab.test AAAA
forbidden.lab.test HTTPS
forbidden.lab.test TXT
forbidden.lab.test MX
_https._tcp.forbidden.lab.test SRV
alias.lab.test A
alias.lab.test CNAME
chain.lab.test A
chain.lab.test AAAA
chain.lab.test CNAME
dangling.lab.test A
mirror.lab.test A
_http._tcp.mirror.lab.test SRV
ntp.lab.test A
10.1.18.198.in-addr.arpa PTR
14.1.18.198.in-addr.arpa PTR
99.1.18.198.in-addr.arpa PTR
3.2.1.10.in-addr.arpa PTR
wiki.corp.test A
wiki.corp.test AAAA
git.corp.test A
_ldap._tcp.dc.corp.test SRV
dc1.corp.test A
private.lab.test A
loopback.lab.test A
link-local.lab.test A
ula.lab.test AAAA
mapped.lab.test AAAA
hint.lab.test HTTPS
text.lab.test TXT
caa.lab.test CAA
empty.lab.test A
nowhere.lab.test A
nowhere.lab.test AAAA
xregistry.lab.test A
REGISTRY.lab.test A
Forbidden.LAB.test A
test NS
lab.test SOA
lab.test A
""".splitlines()]


@case(seconds=120)
def audit_is_inert(lab):
    """Under audit every answer of a recorded list is the upstream's, record for record; would-deny counts what enforce denies."""
    client = lab.machine()
    lab.pullgate.policy(audited(POLICY))
    for transport in ("+notcp", "+tcp"):
        for name, kind in QUESTIONS:
            seen, wanted = ask(client, DEVELOPERS.gateway, name, kind, transport), ask(client, UPSTREAM, name, kind, transport)
            equal((name, kind, seen.rcode, seen.facts()), (name, kind, wanted.rcode, wanted.facts()))
            equal((name, kind, seen.ede), (name, kind, []), "an extended error")
    would_deny = count(lab, client, 2 * len(QUESTIONS), "audit")
    lab.pullgate.policy(POLICY)
    answers = [ask(client, DEVELOPERS.gateway, name, kind, transport) for transport in ("+notcp", "+tcp") for name, kind in QUESTIONS]
    equal(would_deny, count(lab, client, 4 * len(QUESTIONS), "deny"), "names that audit counts and enforce denies")
    denied = sum(any(code == 15 for code, _ in answer.ede) for answer in answers)
    check(denied >= len(would_deny) > 20, f"{denied} answers of {len(answers)} denied, {len(would_deny)} counted")


def audited(policy):
    """The policy with its groups under audit."""
    return policy.replace("[[group]]\n", '[[group]]\nmode = "audit"\n')


def ask(client, server, name, kind, transport):
    """Asks from the client's machine, with the spelling of the list."""
    return dig(server, name, kind, transport, netns=client)


def count(lab, client, logged, verdict):
    """What pullgate logged with this verdict, once it has logged so many questions of the client: names, types and transports."""
    wait_until(lambda: len(lab.entries(client)) >= logged, 5, f"{logged} questions in the log")
    return sorted((entry["name"], entry["type"], entry["transport"]) for entry in lab.entries(client, verdict=verdict))
