"""Audit: a name that enforcement would deny comes back exactly as the upstream has it, and is counted."""

import json

from harness import UPSTREAM
from support.cases import case, check, equal
from support.dns import dig

QUESTIONS = [
    ("registry.example", "A"), ("registry.example", "AAAA"), ("registry.example", "TXT"), ("registry.example", "MX"), ("registry.example", "HTTPS"),
    ("_ldap._tcp.dc.corp.example", "SRV"), ("dc1.corp.example", "A"), ("corp.example", "MX"), ("corp.example", "TXT"), ("corp.example", "CAA"),
    ("1.0.0.10.in-addr.arpa", "PTR"), ("host.corp.example", "SSHFP"), ("private.example", "A"), ("mixed.example", "A"), ("local.example", "A"),
    ("hint.example", "HTTPS"), ("mapped.example", "AAAA"), ("chain.example", "A"), ("big.example", "A"), ("empty.example", "A"), ("nowhere.example", "A"),
]
ONE = 'version = 1\n[[registry]]\nname = "r"\nhosts = ["third.example"]\n'


def compare(server):
    """Asks every question here and upstream; rcode and records have to be the same."""
    for name, kind in QUESTIONS:
        for _ in ("fresh", "cached"):
            seen, wanted = server.dig(name, kind), dig(UPSTREAM, name, kind)
            equal((name, kind, seen.rcode, seen.facts()), (name, kind, wanted.rcode, wanted.facts()))
            equal((name, kind, seen.ede), (name, kind, []))


@case
def an_audited_policy_leaves_answers_alone(lab):
    """`[policy] mode = "audit"`: SRV, TXT, PTR, MX, private addresses and all, record for record."""
    compare(lab.serve(ONE, sections={"policy": {"mode": '"audit"'}}))


@case
def an_audited_group_leaves_answers_alone(lab):
    """A group under audit gets everything; another group is held to the policy."""
    groups = '[[group]]\nname = "trial"\nclients = ["127.0.0.1/32"]\nregistries = []\nmode = "audit"\n[[group]]\nname = "default"\nregistries = ["*"]\n'
    server = lab.serve(ONE + groups)
    compare(server)
    equal(server.dig("registry.example", "-b", "127.0.0.9").rcode, "NXDOMAIN")


@case
def a_registry_on_trial_resolves(lab):
    """`mode = "audit"` on a registry: its names resolve whole, and count as would-deny; the rest is denied."""
    trial = '[[registry]]\nname = "trial"\nhosts = ["mixed.example", ".corp.example"]\nmode = "audit"\n'
    server = lab.serve(ONE + trial)
    for name, kind in (("mixed.example", "A"), ("_ldap._tcp.dc.corp.example", "SRV"), ("dc1.corp.example", "A")):
        equal(server.dig(name, kind).facts(), dig(UPSTREAM, name, kind).facts(), name)
    equal(server.dig("registry.example").rcode, "NXDOMAIN")
    done = server.check("mixed.example", "--json")
    equal(done.returncode, 0)
    check('"audit"' in done.stdout, done.stdout)


@case
def a_deny_is_not_softened_by_audit(lab):
    """A `[[deny]]` is NXDOMAIN under audit as well."""
    server = lab.serve(ONE + '[[deny]]\nhosts = ["other.example"]\n', sections={"policy": {"mode": '"audit"'}})
    equal(server.dig("other.example").rcode, "NXDOMAIN")
    equal(server.dig("registry.example").rcode, "NOERROR")


@case
def unlisted_may_be_forwarded(lab):
    """`unlisted = "forward"`: ordinary names resolve, registries of the catalogue that are not allowed do not."""
    group = '[[group]]\nname = "default"\nregistries = ["*"]\nunlisted = "forward"\n'
    server = lab.serve(ONE + group)
    equal(server.dig("other.example").rcode, "NOERROR")
    equal(server.dig("ghcr.io").rcode, "NXDOMAIN")
    equal(json.loads(server.command("status", "--json").stdout)["state"], "ok")
