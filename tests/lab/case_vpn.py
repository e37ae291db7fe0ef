"""A VPN comes and goes on a machine that runs pullgate: the upstream `system` follows, and never names pullgate itself."""

import json
import re
import time

import network
import servers
from machines import TRIXIE
from network import DEVELOPERS
from support import service
from support.cases import case, check, equal, sh, wait_until
from support.dns import dig
from support.suite import ROOT
from world import FORBIDDEN, REGISTRY, UPSTREAM

LAPTOP, OFFICE = "laptop", "office"
TUNNEL, OFFICE_END = "198.18.30.2", "198.18.30.1"

# What the office's own resolver knows: the answers tell who was asked.
ZONE = """\
$ORIGIN .
$TTL 30
@                   SOA ns.office.test. root.office.test. 1 3600 600 86400 30
@                   NS  ns.office.test.
ns.office.test.     A   198.18.30.1
*.corp.test.        A   198.18.30.80
*.home.lab.test.    A   198.18.30.90
"""
HOME, CORP, ABROAD = "198.18.1.10", "198.18.30.80", "198.18.30.90"

POLICY = """\
version = 1

[[service]]
name = "everything here"
names = [".lab.test", ".corp.test"]
private-addresses = true

[[deny]]
hosts = ["forbidden.lab.test"]
"""

SETTINGS = """\
[server]
listen = ["127.0.0.1:53", "198.18.10.60:53"]

[upstream]
servers = ["system"]

[log]
queries = "all"
format = "json"
"""

# What systemd-networkd is told of the two links.
HOME_NETWORK = f"[Match]\nName=eth0\n[Network]\nDNS={UPSTREAM}\nKeepConfiguration=yes\n"
VPN = f"[Match]\nName=vpn0\n[Network]\nDNS={OFFICE_END}\nDomains=~corp.test\nKeepConfiguration=yes\n"

# How soon a change must be followed.
SOON = 2


class Laptop:
    """A machine with pullgate as a service and `system` as its upstream, and an office that a tunnel may lead to."""

    def __init__(self, lab):
        self.lab = lab
        self.asked = 0
        network.add_machine(LAPTOP, DEVELOPERS, 60)
        lab.defer(lambda: network.remove_machine(LAPTOP))
        self.open_office()
        self.guest = TRIXIE.guest(lab, LAPTOP, LAPTOP, engine=True)
        lab.defer(lambda: lab.note(self.guest("journalctl --no-pager -u pullgate -u systemd-resolved -u systemd-networkd").stdout))
        service.install(self.guest, lab.pullgate.binary, SETTINGS, POLICY)

    def open_office(self):
        """The far end of the tunnel: a resolver of its own."""
        network.add_namespace(OFFICE)
        self.lab.defer(lambda: network.remove_machine(OFFICE))
        zone = self.lab.folder / "office.zone"
        zone.write_text(ZONE, encoding="utf-8")
        resolver = servers.Knot(OFFICE, self.lab.folder / "office", zone)
        resolver.start()
        self.lab.defer(resolver.stop)

    def boot_with_resolved(self):
        """Boots it with systemd-resolved between its programs and the network's own resolver."""
        self.guest.must("ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf")
        self.guest.must("systemctl enable systemd-resolved")
        self.guest.boot()
        self.guest.must(f"resolvectl dns eth0 {UPSTREAM}")

    def connect(self):
        """The VPN comes: a link to the office."""
        sh(f"ip link add vpn0 netns {LAPTOP} type veth peer name tunnel netns {OFFICE}")
        sh(f"ip -n {OFFICE} addr add {OFFICE_END}/24 dev tunnel && ip -n {OFFICE} link set tunnel up")
        sh(f"ip -n {LAPTOP} addr add {TUNNEL}/24 dev vpn0 && ip -n {LAPTOP} link set vpn0 up")

    def disconnect(self):
        """The VPN goes."""
        sh(f"ip -n {LAPTOP} link del vpn0")

    def asks(self, host, address):
        """A name below `host` that nobody has asked for before has this address, soon."""
        wait_until(lambda: self.answer(host) == [address], SOON, f"a name below {host} has {address}; it has {self.answer(host)}")

    def answer(self, host):
        self.asked += 1
        return dig("127.0.0.1", f"host-{self.asked}.{host}", netns=LAPTOP, seconds=1).data("A")

    def keeps(self, host, address):
        """Names below `host` have this address, and go on having it for as long as a change may take."""
        end = time.monotonic() + SOON
        while time.monotonic() < end:
            equal(self.answer(host), [address], f"a name below {host}")
            time.sleep(0.1)

    def nameservers(self):
        return re.findall(r"^nameserver (\S+)", self.guest.read("/etc/resolv.conf"), re.M)

    def stayed_itself(self):
        """It is the process that the boot started, and has never asked itself: no name was asked for twice."""
        equal((self.guest.property("pullgate", "ActiveState"), self.guest.property("pullgate", "NRestarts")), ("active", "0"))
        lines = self.guest("journalctl --no-pager -o cat -u pullgate").stdout.splitlines()
        names = [json.loads(line).get("name", "") for line in lines if line.startswith("{")]
        ours = [name for name in names if name.startswith("host-")]
        check(len(ours) > 3, f"its log has only {len(ours)} of the questions")
        equal(sorted({name for name in ours if ours.count(name) > 1}), [], "asked more than once")


@case(seconds=90)
def vpn_of_a_machine_with_resolved(lab):
    """systemd-resolved before pullgate: it boots before its network, and follows a VPN that has a domain of its own."""
    laptop = Laptop(lab)
    shipped = (ROOT / "systemd/resolved.conf.d/pullgate.conf").read_text(encoding="utf-8")
    laptop.guest.write("/etc/systemd/resolved.conf.d/pullgate.conf", shipped)
    laptop.guest.write("/etc/systemd/network/20-vpn0.network", VPN)
    laptop.guest.must("ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf")
    laptop.guest.must("systemctl enable systemd-networkd systemd-resolved")
    laptop.guest.boot()
    equal(laptop.answer("home.lab.test"), [], "without a network")
    laptop.guest.write("/etc/systemd/network/10-eth0.network", HOME_NETWORK)
    laptop.guest.must("networkctl reload")
    laptop.asks("home.lab.test", HOME)
    laptop.asks("corp.test", HOME)
    laptop.connect()
    laptop.asks("corp.test", CORP)
    laptop.asks("home.lab.test", HOME)
    through_resolved = laptop.guest.must("resolvectl query --legend=no through-resolved.corp.test")
    check(CORP in through_resolved, f"the machine's own programs see {through_resolved}")
    laptop.disconnect()
    laptop.asks("corp.test", HOME)
    laptop.stayed_itself()


@case(seconds=90)
def vpn_that_tells_resolved(lab):
    """A VPN client that sets its link's servers over D-Bus: they are asked while the link is there, and not after."""
    laptop = Laptop(lab)
    laptop.boot_with_resolved()
    laptop.asks("home.lab.test", HOME)
    laptop.connect()
    laptop.guest.must(f"resolvectl dns vpn0 {OFFICE_END} && resolvectl domain vpn0 '~.' && resolvectl dns eth0 ''")
    laptop.asks("home.lab.test", ABROAD)
    laptop.disconnect()
    laptop.guest.must(f"resolvectl dns eth0 {UPSTREAM}")
    laptop.asks("home.lab.test", HOME)
    laptop.stayed_itself()


@case(seconds=90)
def resolved_is_set_up_and_given_back(lab):
    """`setup resolved`: programs that ask systemd-resolved hear pullgate's answers, and after --undo the network's again."""
    laptop = Laptop(lab)
    laptop.boot_with_resolved()
    programs = ("resolvectl query --legend=no", "getent ahosts")
    for program in programs:
        laptop.guest.must(f"{program} {FORBIDDEN}")
    laptop.guest.must("pullgate setup resolved --write --restart")
    for program in programs:
        check(laptop.guest(f"{program} {FORBIDDEN}").returncode != 0, f"{program} still finds {FORBIDDEN}")
        laptop.guest.must(f"{program} {REGISTRY}")
    laptop.asks("home.lab.test", HOME)
    laptop.guest.must("pullgate setup resolved --undo --restart")
    for program in programs:
        laptop.guest.must(f"{program} {FORBIDDEN}")


@case(seconds=90)
def vpn_that_writes_resolv_conf(lab):
    """A VPN's script replaces resolv.conf, which named pullgate, and puts it back: whoever else is named there is asked."""
    laptop = Laptop(lab)
    laptop.guest.write("/etc/resolv.conf", f"nameserver {UPSTREAM}\n")
    laptop.guest.boot()
    laptop.asks("home.lab.test", HOME)
    laptop.guest.must("pullgate setup resolv-conf --write")
    equal(laptop.nameservers(), ["127.0.0.1"], "resolv.conf after setup")
    laptop.asks("home.lab.test", HOME)
    laptop.connect()
    laptop.guest.must(f"cp /etc/resolv.conf /root/before && echo nameserver {OFFICE_END} > /root/new && mv /root/new /etc/resolv.conf")
    laptop.asks("home.lab.test", ABROAD)
    laptop.guest.must("mv /root/before /etc/resolv.conf")
    laptop.disconnect()
    laptop.asks("home.lab.test", HOME)
    laptop.guest.must("rm /etc/pullgate/resolv.conf; echo nameserver 198.18.10.60 > /etc/resolv.conf")
    laptop.keeps("home.lab.test", HOME)
    laptop.stayed_itself()
