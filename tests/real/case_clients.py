"""Programs that know nothing of DNS servers: glibc's resolver and curl in network namespaces; client networks and groups."""

import json

from harness import add_namespace, in_namespace
from support.cases import case, check, equal, sh
from support.dns import dig

ALLOW = 'version = 1\n[[registry]]\nname = "r"\nhosts = ["registry.example", "v6only.example", "chain.example"]\n'
EVERYONE = {"clients": '["127.0.0.0/8", "198.18.0.0/15", "fd18::/16"]'}


def glibc(namespace, name, database="ahostsv4"):
    """What glibc's resolver finds; "" and its exit code if nothing."""
    done = in_namespace(namespace, "getent", database, name)
    return sorted({line.split()[0] for line in done.stdout.splitlines()}), done.returncode


@case
def glibc_resolves_what_is_allowed(lab):
    """getent in a namespace with its own resolv.conf: allowed names resolve, denied ones fail at once."""
    guest = add_namespace(lab, "guest", "198.18.1.20/24", "198.18.1.1/24", "nameserver 198.18.1.1\n")
    lab.serve(ALLOW, listen=("198.18.1.1:53",), sections={"server": EVERYONE})
    equal(glibc(guest, "registry.example"), (["192.0.2.1", "192.0.2.2"], 0))
    equal(glibc(guest, "v6only.example", "ahostsv6"), (["2001:db8::6"], 0))
    equal(glibc(guest, "chain.example"), (["192.0.2.30"], 0))
    equal(glibc(guest, "denied.example"), ([], 2))


@case
def a_second_nameserver_is_not_asked(lab):
    """A denial is NXDOMAIN, so glibc does not go on to the next nameserver, where the name would resolve."""
    guest = add_namespace(lab, "guest", "198.18.1.20/24", "198.18.1.1/24", "nameserver 198.18.1.1\nnameserver 198.18.0.53\n")
    in_namespace(guest, "ip", "route", "add", "default", "via", "198.18.1.1")
    lab.serve(ALLOW, listen=("198.18.1.1:53",), sections={"server": EVERYONE})
    equal(dig("198.18.0.53", "other.example", netns=guest).rcode, "NOERROR", "the second nameserver works")
    equal(glibc(guest, "other.example"), ([], 2))


@case
def search_domains_do_no_harm(lab):
    """`search corp.example`: an allowed name resolves, and the searched form of a denied one is denied as well."""
    guest = add_namespace(lab, "guest", "198.18.1.20/24", "198.18.1.1/24", "nameserver 198.18.1.1\nsearch corp.example example\noptions ndots:5\n")
    lab.serve(ALLOW, listen=("198.18.1.1:53",), sections={"server": EVERYONE})
    equal(glibc(guest, "registry.example")[1], 0)
    equal(glibc(guest, "registry")[0], ["192.0.2.1", "192.0.2.2"], "by search")
    equal(glibc(guest, "other"), ([], 2))


@case
def curl_says_what_users_will_see(lab):
    """curl: a denied name is `Could not resolve host`, an allowed one gets as far as connecting."""
    guest = add_namespace(lab, "guest", "198.18.1.20/24", "198.18.1.1/24", "nameserver 198.18.1.1\n")
    lab.serve(ALLOW, listen=("198.18.1.1:53",), sections={"server": EVERYONE})
    denied = in_namespace(guest, "curl", "-sS", "--max-time", "5", "http://denied.example/")
    equal(denied.returncode, 6)
    check("Could not resolve host: denied.example" in denied.stderr, denied.stderr)
    equal(in_namespace(guest, "curl", "-sS", "--max-time", "5", "http://registry.example/").returncode, 7, "no route to a documentation address")


@case
def outside_networks_are_refused(lab):
    """A client outside `server.clients` gets REFUSED with EDE 18 over UDP and TCP, for allowed names as well."""
    guest = add_namespace(lab, "guest", "198.18.1.20/24", "198.18.1.1/24")
    lab.serve(ALLOW, listen=("198.18.1.1:53", "127.0.0.1:53"))  # the default clients: loopback and private ranges
    for options in ((), ("+tcp",)):
        answer = dig("198.18.1.1", "registry.example", *options, netns=guest)
        equal((answer.rcode, [code for code, _ in answer.ede]), ("REFUSED", [18]))
    equal(dig("127.0.0.1", "registry.example").rcode, "NOERROR")


GROUPS = """\
version = 1
[[registry]]
name = "shared"
hosts = ["registry.example"]
[[registry]]
name = "nexus"
hosts = ["other.example"]
[[group]]
name = "ci"
clients = ["198.18.1.0/24", "fd18:1::/64"]
registries = ["*"]
[[group]]
name = "kiosk"
clients = ["198.18.1.77/32"]
registries = []
[[group]]
name = "default"
registries = ["shared"]
"""


@case
def groups_by_client_address(lab):
    """The longest matching range decides the group, over IPv4 and IPv6; the denial names the other group's entry."""
    guest = add_namespace(lab, "guest", "198.18.1.20/24", "198.18.1.1/24")
    for address in ("198.18.1.77/24", "fd18:1::20/64"):
        in_namespace(guest, "ip", "addr", "add", address, "dev", "guest0", *(["nodad"] if ":" in address else []))
    sh("ip addr add fd18:1::1/64 dev guest1 nodad")
    other = add_namespace(lab, "other", "198.18.2.20/24", "198.18.2.1/24")
    server = lab.serve(GROUPS, listen=("198.18.1.1:53", "198.18.2.1:53", "[fd18:1::1]:53"), sections={"server": EVERYONE})
    equal(dig("198.18.1.1", "other.example", netns=guest).rcode, "NOERROR", "ci")
    equal(dig("fd18:1::1", "other.example", netns=guest).rcode, "NOERROR", "ci over IPv6")
    equal(dig("198.18.1.1", "registry.example", "-b", "198.18.1.77", netns=guest).rcode, "NXDOMAIN", "kiosk")
    equal(dig("198.18.2.1", "registry.example", netns=other).rcode, "NOERROR", "default")
    answer = dig("198.18.2.1", "other.example", netns=other)
    equal((answer.rcode, answer.ede[0][0]), ("NXDOMAIN", 15), "default has no nexus")
    verdict = json.loads(server.check("other.example", "--client", "198.18.2.20", "--json").stdout)[0]
    equal((verdict["verdict"], verdict["group"]), ("deny", "default"))


@case
def groups_by_listener(lab):
    """`listen`: whoever asks on that address is in the group, whatever his own address."""
    guest = add_namespace(lab, "guest", "198.18.1.20/24", "198.18.1.1/24")
    sh("ip addr add 198.18.1.2/24 dev guest1")
    policy = GROUPS.replace('clients = ["198.18.1.0/24", "fd18:1::/64"]', 'listen = ["198.18.1.2:53"]')
    lab.serve(policy, listen=("198.18.1.1:53", "198.18.1.2:53"), sections={"server": EVERYONE})
    for options in ((), ("+tcp",)):
        equal(dig("198.18.1.2", "other.example", *options, netns=guest).rcode, "NOERROR", "ci by listener")
        equal(dig("198.18.1.1", "other.example", *options, netns=guest).rcode, "NXDOMAIN", "default")

