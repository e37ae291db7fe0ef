"""`pullgate setup redirect`: whatever server a client names, pullgate answers. Each case shows first what leaks without it.

The rules stand on the gateway, or on a Docker host of their own that runs pullgate as a service.
"""

import json
import re

import network
import sockets
from network import CI, DEVELOPERS, GATEWAY
from redirect import ADDRESSES, load, redirect, undo
from support.cases import case, check, equal, wait_until
from support.suite import ROOT
from world import FORBIDDEN, FOREIGN, FOREIGN6, FOREIGN_MACHINE, GOOGLE, REGISTRY

LEAK, DENIED, ALLOWED, NOTHING = "NOERROR", "NXDOMAIN", "NOERROR", "no answer"
BOTH = ("+notcp", "+tcp")
# DNS over TLS and QUIC: their ports, and those of QUIC's drafts.
ENCRYPTED = [(sockets.TCP, 853), (sockets.UDP, 853), (sockets.UDP, 784), (sockets.UDP, 8853)]
# What a reset connection and a prohibited datagram are to a program.
REFUSED = {"ECONNREFUSED", "ECONNRESET", "EHOSTUNREACH", "EACCES"}
# More bytes than a packet holds.
FRAGMENTS = 3000


# ── asking ──


def ask(lab, machine, server, *options, name=FORBIDDEN):
    """How dig is answered, which believes the server alone that it asked: a response code, or that nothing came."""
    done = lab.run(machine, f"dig @{server} {name} +tries=1 +time=2 {' '.join(options)}")
    status = re.search(r"status: (\w+)", done.output)
    return status[1] if status else NOTHING


def heard(machine=FOREIGN_MACHINE):
    """How many datagrams and connections a machine has had, whether or not anybody listened: what leaks is among them."""
    counters = json.loads(network.run_in(machine, "nstat --json --ignore --noupdate --zeros"))["kernel"]
    return [counters[name] for name in ("UdpInDatagrams", "UdpNoPorts", "Udp6InDatagrams", "Udp6NoPorts", "TcpPassiveOpens")]


# ── a network behind the gateway ──


@case
def redirect_answers_for_any_server(lab):
    """UDP and TCP to foreign servers leak; redirected, they have pullgate's answers, and only allowed names resolve."""
    client = lab.machine(resolver=f"nameserver {FOREIGN}\n")
    for server in (FOREIGN, GOOGLE):
        for transport in BOTH:
            equal(ask(lab, client, server, transport), LEAK, f"{server} {transport}, not redirected")
    equal(lab.run(client, f"getent hosts {FORBIDDEN}").code, 0)
    redirect(lab, "--interface", DEVELOPERS.name)
    for server in (FOREIGN, GOOGLE):
        for transport in BOTH:
            equal(ask(lab, client, server, transport), DENIED, f"{server} {transport}")
            equal(ask(lab, client, server, transport, name=REGISTRY), ALLOWED, f"{server} {transport}")
    equal(lab.run(client, f"getent hosts {FORBIDDEN}").code, 2)
    equal(lab.run(client, f"getent hosts {REGISTRY}").code, 0)
    check(lab.entries(name=FORBIDDEN), "the log has no line of it")


@case
def redirect_keeps_the_address_that_was_asked(lab):
    """A client that takes answers from anybody has them from the server that it named; a question in fragments too."""
    client = lab.machine()
    for server in (FOREIGN, FOREIGN6):
        for padding in (0, FRAGMENTS):
            equal(sockets.ask_unconnected(client, server, FORBIDDEN, padding), (0, server), f"not redirected, {padding} bytes of padding")
    redirect(lab, "--interface", DEVELOPERS.name)
    for server in (FOREIGN, FOREIGN6):
        equal(sockets.ask_unconnected(client, server, FORBIDDEN), (3, server))
        equal(sockets.ask_unconnected(client, server, REGISTRY), (0, server))
        equal(sockets.ask_unconnected(client, server, FORBIDDEN, FRAGMENTS), (1, server), "longer than pullgate takes questions")


@case
def redirect_holds_for_an_ipv6_only_client(lab):
    """Over IPv6 too; and a question to the gateway's link-local address, as routers announce it."""
    client = lab.machine(families="6", resolver=f"nameserver {FOREIGN6}\n")
    for transport in BOTH:
        equal(ask(lab, client, FOREIGN6, transport), LEAK, transport)
    redirect(lab, "--interface", DEVELOPERS.name)
    router = re.search(r"fe80::\S+(?=/)", network.run_in(GATEWAY, f"ip -6 addr show dev {DEVELOPERS.name} scope link"))[0]
    for transport in BOTH:
        for server in (FOREIGN6, f"{router}%eth0"):
            equal(ask(lab, client, server, transport), DENIED, f"{server} {transport}")
            equal(ask(lab, client, server, transport, name=REGISTRY), ALLOWED, f"{server} {transport}")
    equal(lab.run(client, f"getent hosts {FORBIDDEN}").code, 2)


@case
def redirect_finds_pullgate_on_another_port(lab):
    """Another resolver has port 53 of pullgate's address: pullgate answers on its own port, and the other one nobody."""
    client, address = lab.machine(), f"{DEVELOPERS.v4}.2"
    network.run_in(GATEWAY, f"ip addr add {address}/32 dev lo")
    lab.defer(lambda: network.run_in(GATEWAY, f"ip addr del {address}/32 dev lo"))
    serve_on(lab, f"{address}:5300")
    other_resolver(lab, address)
    remember_connections(lab)
    talk = converse(lab, client, address)
    equal(talk.ask(), [0, 0], "the other resolver, not redirected")
    redirect(lab, "--clients", f"{DEVELOPERS.v4}.0/24", "--port", "5300", addresses=("--address", address))
    goes_nowhere(talk)
    for server in (address, FOREIGN):
        for transport in BOTH:
            equal(ask(lab, client, server, transport), DENIED, f"{server} {transport}")
            equal(ask(lab, client, server, transport, name=REGISTRY), ALLOWED, f"{server} {transport}")
    equal(ask(lab, GATEWAY, address, "-b", DEVELOPERS.gateway), LEAK, "the gateway's own programs, though their address is in the range")


def serve_on(lab, listen, machine=GATEWAY):
    """A second pullgate, with the same policy, and no gateway."""
    text = lab.pullgate.settings.read_text(encoding="utf-8").partition("[gateway]")[0]
    text = re.sub(r"listen = .*", f'listen = ["{listen}"]', text).replace("control.sock", "second.sock").replace("/state", "/second")
    settings = lab.folder / "second.toml"
    settings.write_text(text, encoding="utf-8")
    lab.spawn(network.inside(machine, lab.pullgate.binary, "serve", "--config", settings), "second")
    wait_until(lambda: network.run_in(machine, f"ss -Hltn src {listen}"), 10, f"pullgate listens on {listen}")


def other_resolver(lab, address):
    """A resolver on the gateway that knows everything."""
    forward = f"dnsmasq -k -C /dev/null -z -a {address} -R -S {FOREIGN} --user=root --pid-file="
    lab.spawn(network.inside(GATEWAY, *forward.split()), "other")
    wait_until(lambda: network.run_in(GATEWAY, f"ss -Hltn src {address}:53"), 10, "the other resolver listens")


@case
def redirect_of_ranges_leaves_others_alone(lab):
    """`--clients` means those addresses, `--except` takes some out, everybody else is not redirected."""
    within, without, spared = lab.machine(CI), lab.machine(DEVELOPERS), lab.machine(CI)
    ranges = ("--clients", f"{CI.v4}.0/24", "--clients", f"{CI.v6}::/64")
    for client in (within, without, spared):
        equal(ask(lab, client, FOREIGN), LEAK, client)
    redirect(lab, *ranges, "--except", f"{CI.v4}.{address_of(spared)}", "--except", f"{CI.v6}::{address_of(spared)}")
    for server in (FOREIGN, FOREIGN6):
        equal(ask(lab, within, server), DENIED, server)
        equal(ask(lab, without, server), LEAK, server)
        equal(ask(lab, spared, server), LEAK, server)


@case
def redirect_refuses_dot_and_doq(lab):
    """DNS over TLS and QUIC to a foreign server: reached without the rules, refused at once with them."""
    client = lab.machine()
    equal([tried(client, FOREIGN_MACHINE, server) for server in (FOREIGN, FOREIGN6)], [["reached"] * 4] * 2, "not redirected")
    redirect(lab, "--interface", DEVELOPERS.name)
    before = heard()
    for server in (FOREIGN, FOREIGN6):
        refused = tried(client, FOREIGN_MACHINE, server)
        check(set(refused) <= REFUSED, refused)
    equal(heard(), before, "what arrived")
    equal(tried(client, GATEWAY, DEVELOPERS.gateway), ["reached"] * 4, "of pullgate itself, which may offer them")
    refused = tried(client, GATEWAY, CI.gateway)
    check(set(refused) <= REFUSED, f"of another address of the gateway: {refused}")


def tried(client, machine, server):
    """What a client makes of a server's ports for DNS over TLS and QUIC, all of which are open."""
    found = []
    for kind, port in ENCRYPTED:
        with sockets.listen(machine, server, kind, port) as listener:
            found.append(sockets.reach(client, server, kind, port, listener))
    return found


@case
def redirect_ends_older_conversations(lab):
    """A client that asked before the rules came does not go on: its old sockets are refused, new ones reach pullgate."""
    client = lab.machine()
    remember_connections(lab)
    talk = converse(lab, client, FOREIGN)
    equal(talk.ask(), [0, 0], "not redirected")
    redirect(lab, "--interface", DEVELOPERS.name)
    before = heard()
    goes_nowhere(talk)
    equal(heard(), before, "what arrived")
    equal(ask(lab, client, FOREIGN), DENIED)


@case
def redirect_without_pullgate_leaks_nothing(lab):
    """With pullgate killed, clients are told at once that nobody answers; no packet of theirs goes out."""
    client = lab.machine()
    equal(ask(lab, client, FOREIGN), LEAK)
    redirect(lab, "--interface", DEVELOPERS.name)
    lab.pullgate.kill()
    lab.defer(lab.pullgate.start)
    before = heard()
    for server in (FOREIGN, FOREIGN6):
        for transport in BOTH:
            equal(ask(lab, client, server, transport), NOTHING, f"{server} {transport}")
        for kind in (sockets.TCP, sockets.UDP):
            equal(sockets.reach(client, server, kind, 53), "ECONNREFUSED", f"{server} {kind.name}")
    equal(heard(), before, "what arrived")


@case
def redirect_refuses_a_family_without_an_address(lab):
    """Where pullgate has no IPv6 address, questions over IPv6 go nowhere instead of out."""
    client = lab.machine()
    equal(ask(lab, client, FOREIGN6), LEAK)
    redirect(lab, "--interface", DEVELOPERS.name, addresses=ADDRESSES[:2])
    before = heard()
    for kind in (sockets.TCP, sockets.UDP):
        check(sockets.reach(client, FOREIGN6, kind, 53) in REFUSED, f"{kind.name} over IPv6 is not refused")
    equal(heard(), before, "what arrived")
    equal(ask(lab, client, FOREIGN), DENIED)


@case
def redirect_rules_in_the_documents_are_rules(lab):
    """The examples that the program's own tests compare with are what this machine's nft takes."""
    examples = sorted((ROOT / "src/inspect/setup/redirect/examples").glob("*.nft"))
    check(examples, "there are no examples")
    for path in examples:
        network.run_in(GATEWAY, f"nft --check --file {path}")


@case
def redirect_touches_no_other_table(lab):
    """Loaded, loaded again, undone: what iptables and others have put into the kernel stays byte for byte the same."""
    lab.defer(lambda: network.run_in(GATEWAY, "nft flush ruleset"))
    for command in OTHER_RULES:
        network.run_in(GATEWAY, command)
    before = tables()
    redirect(lab, "--interface", DEVELOPERS.name)
    equal(ask(lab, lab.machine(), DEVELOPERS.gateway), DENIED, "ahead of a translation of Docker's")
    equal(tables(), before, "loaded")
    ours = network.run_in(GATEWAY, "nft --stateless list table inet pullgate")
    load()
    equal(tables(), before, "loaded again")
    equal(network.run_in(GATEWAY, "nft --stateless list table inet pullgate"), ours, "pullgate's own, loaded again")
    undo(lab)
    equal(network.run_in(GATEWAY, "nft --stateless list ruleset"), before, "undone")


# Docker's, with a container that publishes port 53, and somebody's own.
OTHER_RULES = [
    "iptables-nft -t nat -N DOCKER && iptables-nft -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
    f"iptables-nft -t nat -A DOCKER -p udp --dport 53 -j DNAT --to-destination {FOREIGN}:53",
    "nft 'table inet other { set s { type ipv4_addr; elements = { 192.0.2.1 }; }; chain prerouting { type nat hook prerouting priority dstnat; }; }'",
]


def tables():
    """What is in the gateway's tables, without counters and without pullgate's own."""
    return re.sub(r"table inet pullgate \{\n.*?^\}\n", "", network.run_in(GATEWAY, "nft --stateless list ruleset"), flags=re.S | re.M)


@case
def redirect_reaches_neighbours_if_bridges_call_the_firewall(lab):
    """What a neighbour on the same bridge is asked is redirected where br_netfilter is on, as Docker sets it."""
    client, neighbour = lab.machine(), lab.machine()
    switch = "sysctl -qw net.bridge.bridge-nf-call-iptables={0} net.bridge.bridge-nf-call-ip6tables={0}"
    redirect(lab, "--interface", DEVELOPERS.name)
    to = f"{DEVELOPERS.v4}.{address_of(neighbour)}"
    equal(ask(lab, client, to), NOTHING)
    lab.defer(lambda: network.run_in(GATEWAY, switch.format(0)))
    network.run_in(GATEWAY, switch.format(1))
    equal(ask(lab, client, to), DENIED)


@case
def redirect_may_lead_to_another_machine(lab):
    """pullgate on a machine behind the gateway, one of the clients by its address: it is spared, the other networks ask it."""
    client, other = lab.machine(), lab.machine(CI)
    address = f"{CI.v4}.{address_of(other)}"
    serve_on(lab, f"{address}:53", other)
    equal(ask(lab, client, FOREIGN), LEAK)
    redirect(lab, "--clients", f"{DEVELOPERS.v4}.0/24", "--clients", f"{CI.v4}.0/24", addresses=("--address", address))
    for transport in BOTH:
        equal(ask(lab, client, FOREIGN, transport), DENIED, transport)
        equal(ask(lab, client, FOREIGN, transport, name=REGISTRY), ALLOWED, transport)


def address_of(machine):
    """The last part of a machine's addresses."""
    return re.search(r"\.(\d+)/24", network.run_in(machine, "ip -4 addr show dev eth0"))[1]


def remember_connections(lab):
    """Has the gateway's kernel know conversations from before the rules, as a machine with Docker or a firewall does."""
    network.run_in(GATEWAY, "nft 'table inet other { chain forward { type filter hook forward priority filter; ct state invalid drop; }; }'")
    lab.defer(lambda: network.run_in(GATEWAY, "nft delete table inet other"))


def converse(lab, client, server):
    """A conversation that lasts until the case ends."""
    talk = sockets.Conversation(client, server, FORBIDDEN)
    lab.defer(talk.close)
    return talk


def goes_nowhere(talk):
    """A lasting conversation has no answer any more, over UDP and over TCP."""
    answers = talk.ask()
    check(set(answers) <= REFUSED, answers)
