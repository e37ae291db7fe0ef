"""A whole machine or network behind pullgate: what is no registry goes on working, by services that the policy names."""

from clients import APT, APT_OPTIONS
from support.cases import case, check, equal
from world import FORBIDDEN, MIRROR, POLICY, TINY

SERVICES = f"""
[[service]]
name = "packages"
names = [".{MIRROR}", "_http._tcp.{MIRROR}"]
types = "any"
private-addresses = true

[[service]]
name = "time"
names = ["ntp.lab.test"]

[[service]]
name = "reverse"
names = [".198.in-addr.arpa"]
types = ["PTR"]

[[service]]
name = "corp"
names = [".corp.test", ".10.in-addr.arpa"]
types = "any"
private-addresses = true
"""

WHOLE = POLICY.replace("registries = [", 'services = ["*"]\nregistries = [') + SERVICES

UPDATE = f"{APT} && apt-cache policy lab-package {APT_OPTIONS}"


@case
def a_whole_machine_works_and_forbidden_registries_do_not(lab):
    """With services for a mirror and a corporate zone, apt, reverse, SRV and NTP names work; a forbidden registry does not."""
    lab.pullgate.policy(WHOLE)
    for machine in ("bookworm", "trixie"):
        updates(lab, machine)
        for question, answer in LOOKUPS.items():
            done = lab.run(machine, question)
            check(answer in done.output, f"{machine}: {question} says {done.output}")
        denied = lab.run(machine, f"docker pull --quiet {FORBIDDEN}/{TINY}")
        check("no such host" in denied.output, denied.output)
        equal(lab.logged(machine, FORBIDDEN)["verdict"], "deny")
    lab.untouched("forbidden")


LOOKUPS = {
    "getent hosts 198.18.1.10": "registry.lab.test",
    "getent hosts 10.1.2.3": "wiki.corp.test",
    "getent ahostsv4 ntp.lab.test": "198.18.1.15",
    "getent ahostsv4 wiki.corp.test": "10.1.2.3",
    f"dig +short SRV _http._tcp.{MIRROR}": f"0 0 80 {MIRROR}.",
    "dig +short SRV _ldap._tcp.dc.corp.test": "0 100 389 dc1.corp.test.",
}


def updates(lab, machine):
    """apt reads the mirror's list, and knows its package then."""
    done = lab.run(machine, UPDATE.format(host=MIRROR))
    equal(done.code, 0, f"exit of apt-get ({done.output})")
    check("Candidate: 1.0" in done.output, done.output)
    lab.requested("mirror", machine, "GET /./Packages")
    equal(lab.logged(machine, MIRROR)["entry"], "packages")


@case
def without_the_services_the_same_machine_hears_no(lab):
    """Without those services every one of these names is denied: it is they that make them work."""
    machine = "bookworm"
    done = lab.run(machine, UPDATE.format(host=MIRROR))
    check(f"Could not resolve '{MIRROR}'" in done.output, done.output)
    for question, answer in LOOKUPS.items():
        check(answer not in lab.run(machine, question).output, f"{question} was answered")
    equal(lab.requests("mirror", machine), [])
    for name in (MIRROR, "10.1.18.198.in-addr.arpa", "ntp.lab.test", "_ldap._tcp.dc.corp.test"):
        equal(lab.logged(machine, name)["verdict"], "deny", name)
