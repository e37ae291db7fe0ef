"""The servers of the bench, each set up as an allowlist in front of the same upstream, with its fastest sensible settings."""

import contextlib
import dataclasses
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from names import NEW_SUFFIX

PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


@dataclasses.dataclass
class Running:
    """A server that answers."""

    process: subprocess.Popen
    port: int
    judges: bool = True
    folder: Path = None

    def pause(self):
        """Takes it off the processor until `resume`."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        """Ends it by its process id, TERM and then KILL, and removes its folder."""
        self.resume()
        stop(self.process)
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def start(name, folder, data, upstream, binaries, prefix, patience=20):
    """Writes the configuration of one server into a folder of its own and starts it; returns it when it answers.

    `prefix` are the words before its command; `patience` is in seconds.
    """
    own = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
    port = free_port()
    command = ALL[name].command(Setup(own, data, upstream.port, port, binaries))
    process = launch([*prefix, *command], port, own / "log", data.exact[0] if ALL[name].judges else None, patience)
    return Running(process, port, ALL[name].judges, own)


def start_upstream(folder, data, prefix):
    """An unbound that holds every allowed name, and answers anything below NEW_SUFFIX."""
    port = free_port()
    records = "".join(f'  local-data: "{name}. 86400 IN A 192.0.2.{index % 250 + 1}"\n' for index, name in enumerate(data.allowed))
    text = unbound_server(folder, port) + f"""\
  local-zone: "." static
  local-data: ". 3600 IN SOA ns.invalid. root.invalid. 1 3600 600 86400 300"
  local-zone: "{NEW_SUFFIX}." redirect
  local-data: "{NEW_SUFFIX}. 86400 IN A 192.0.2.250"
{records}remote-control:
  control-enable: no
"""
    path = write(folder / "upstream.conf", text)
    return Running(launch([*prefix, "unbound", "-d", "-c", path], port, folder / "upstream.log", data.exact[0]), port)


def launch(command, port, log, name, patience=20):
    """Starts a command; returns its process when it has an address for `name`, or without a name when it answers."""
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env={**os.environ, "PATH": PATH})
    deadline = time.monotonic() + patience
    while not answers(port, name):
        if process.poll() is not None or time.monotonic() > deadline:
            stop(process)
            raise RuntimeError(f"{' '.join(command)} does not answer:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)
    return process


def answers(port, name):
    """Whether an address comes back for `name`; for None, whether anything does."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in (name or "nowhere.example").split("."))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(0.5)
        udp.connect(("127.0.0.1", port))
        try:
            udp.send(b"\x12\x34\x01\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1")
            response = udp.recv(4096)
            return name is None or (response[3] & 15 == 0 and response[7] > 0)
        except OSError:
            return False


def stop(process):
    """Ends a server by its process id: TERM, then KILL."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port():
    """A port that is free for UDP and TCP at this moment."""
    while True:
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            with contextlib.suppress(OSError):  # somebody has it for UDP: another one, then
                udp.bind(tcp.getsockname())
                return tcp.getsockname()[1]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


# ── the servers ──


@dataclasses.dataclass
class Setup:
    """What the configuration of a server is made of."""

    folder: Path
    data: object
    upstream: int
    port: int
    binaries: dict


def pullgate(setup, queries="off", binary=None, more=""):
    policy = setup.folder / "policy.d"
    policy.mkdir()
    hosts = [*setup.data.exact, *(f"*.{suffix}" for suffix in setup.data.suffixes)]
    write(policy / "bench.toml", 'version = 1\n[[registry]]\nname = "bench"\nhosts = [\n' + "".join(f'  "{host}",\n' for host in hosts) + "]\n")
    path = write(setup.folder / "pullgate.toml", f"""\
[server]
listen = ["127.0.0.1:{setup.port}"]
[upstream]
servers = ["127.0.0.1:{setup.upstream}"]
[policy]
path = "{policy}"
state = "{setup.folder / "state"}"
[cache]
max-ttl = "1d"
[metrics]
listen = "127.0.0.1:0"
[log]
queries = "{queries}"
[control]
socket = "{setup.folder / "sock"}"
{more}""")
    return [str(binary or setup.binaries["pullgate"]), "serve", "--config", path]


def pullgate_logging(setup):
    return pullgate(setup, queries="denied")


def pullgate_watched(setup):
    """Everything that tells of questions, but what writes each of them out: the query log of all, and dnstap."""
    return pullgate(setup, queries="denied", more="""\
[page]
listen = "127.0.0.1:0"
[[signal]]
command = ["/bin/true"]
on = ["refused", "degraded", "upstream-down", "new-denied-name", "expiring"]
""")


def another_pullgate(path):
    """The same settings for another build, to be compared in the same rounds."""
    return Kind(lambda setup: pullgate(setup, binary=path))


def echo(setup):
    return [str(setup.binaries["echo"]), f"127.0.0.1:{setup.port}"]


def plain_hickory(setup):
    return [str(setup.binaries["plain_hickory"]), f"127.0.0.1:{setup.port}", f"127.0.0.1:{setup.upstream}", str(setup.data.files["allowlist"])]


def unbound_server(folder, port):
    return f"""\
server:
  interface: 127.0.0.1@{port}
  access-control: 127.0.0.0/8 allow
  num-threads: 1
  so-rcvbuf: 1m
  so-sndbuf: 1m
  do-ip6: no
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: ""
  use-syslog: no
  verbosity: 0
  do-daemonize: no
"""


def unbound_forwarder(setup, modules):
    return unbound_server(setup.folder, setup.port) + f"""\
  module-config: "{modules}"
  do-not-query-localhost: no
  minimal-responses: yes
  msg-cache-size: 64m
  rrset-cache-size: 128m
  outgoing-range: 8192
  num-queries-per-thread: 4096
  ede: yes
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@{setup.upstream}
remote-control:
  control-enable: no
"""


def unbound(setup):
    """With local zones, its fastest way, which opens everything below an exact name as well."""
    zones = "".join(f'  local-zone: "{name}." transparent\n' for name in [*setup.data.exact, *setup.data.suffixes])
    return ["unbound", "-d", "-c", write(setup.folder / "unbound.conf", unbound_forwarder(setup, "iterator") + f"""\
server:
  local-zone: "." static
  local-data: ". 300 IN SOA blocked.invalid. root.invalid. 1 3600 600 86400 300"
{zones}""")]


def unbound_rpz(setup):
    """With a response policy zone, which tells an exact name from those below it.

    A wildcard does not reach below a name that exists (RFC 4592 §4.3.2): every ancestor of an allowed name says for itself
    that it and what is below it are denied.
    """
    rules = {f"{name}": "rpz-passthru." for name in setup.data.exact} | {f"*.{suffix}": "rpz-passthru." for suffix in setup.data.suffixes}
    rules |= {f"*.{name}": "." for name in setup.data.exact} | {suffix: "." for suffix in setup.data.suffixes}
    for name in [*setup.data.exact, *setup.data.suffixes]:
        labels = name.split(".")
        for ancestor in (".".join(labels[index:]) for index in range(1, len(labels))):
            rules.setdefault(ancestor, ".")
            rules.setdefault(f"*.{ancestor}", ".")
    rules["*"] = "."
    zone = "$TTL 300\n@ SOA blocked.invalid. root.invalid. 1 3600 600 86400 300\n@ NS localhost.\n"
    path = write(setup.folder / "rpz.zone", zone + "".join(f"{name} CNAME {target}\n" for name, target in rules.items()))
    return ["unbound", "-d", "-c", write(setup.folder / "unbound.conf", unbound_forwarder(setup, "respip iterator") + f"""\
rpz:
  name: "rpz.invalid"
  zonefile: "{path}"
""")]


def dnsdist(setup, vector=1):
    exact = ",".join(f'"{name}"' for name in setup.data.exact)
    suffixes = ",".join(f'"{name}"' for name in setup.data.suffixes)
    many = f"setUDPMultipleMessagesVectorSize({vector})\n" if vector > 1 else ""
    return ["dnsdist", "--supervised", "--disable-syslog", "-C", write(setup.folder / f"dnsdist-{vector}.conf", f"""\
setLocal("127.0.0.1:{setup.port}")
setACL({{"127.0.0.0/8"}})
setSecurityPollSuffix("")
{many}newServer({{address="127.0.0.1:{setup.upstream}", checkName="{setup.data.exact[0]}."}})
getPool(""):setCache(newPacketCache(400000, {{maxTTL=86400}}))
setMaxUDPOutstanding(65535)
exact = newDNSNameSet()
for _, name in ipairs({{{exact}}}) do exact:add(newDNSName(name)) end
below = newSuffixMatchNode()
for _, name in ipairs({{{suffixes}}}) do below:add(newDNSName(name)) end
addAction(NotRule(OrRule({{QNameSetRule(exact), SuffixMatchNodeRule(below)}})), SetNegativeAndSOAAction(true, ".", 300, "blocked.invalid.", "root.invalid.", 1, 3600, 600, 86400, 300))
""")]


def dnsdist_multi(setup):
    """Taking up to 64 datagrams with one system call, which it does not unless it is told to."""
    return dnsdist(setup, 64)


def dnsmasq(setup):
    """The largest cache that its manual allows; ports stay random (`query-port` would be faster, and easy to spoof)."""
    allowed = "".join(f"server=/{name}/127.0.0.1#{setup.upstream}\n" for name in [*setup.data.exact, *setup.data.suffixes])
    return ["dnsmasq", "-C", write(setup.folder / "dnsmasq.conf", f"""\
port={setup.port}
listen-address=127.0.0.1
bind-interfaces
no-resolv
no-hosts
no-poll
keep-in-foreground
user={pwd.getpwuid(os.geteuid()).pw_name}
pid-file
cache-size=10000
dns-forward-max=1000
address=/#/
{allowed}""")]


def knot_resolver(setup):
    """With its cache in memory, without the modules that ask for anything of their own."""
    allowed = ",".join(f"'{name}.'" for name in [*setup.data.exact, *setup.data.suffixes])
    return ["kresd", "-n", "-c", write(setup.folder / "kresd.conf", f"""\
net.listen('127.0.0.1', {setup.port}, {{ kind = 'dns' }})
log_level('crit')
modules.unload('detect_time_skew')
modules.unload('priming')
modules.unload('ta_signal_query')
modules.unload('ta_update')
trust_anchors.remove('.')
cache.open(200 * MB)
policy.add(policy.suffix(policy.STUB('127.0.0.1@{setup.upstream}'), policy.todnames({{{allowed}}})))
policy.add(policy.all(policy.DENY))
"""), str(setup.folder)]


@dataclasses.dataclass(frozen=True)
class Kind:
    """A server that can be measured."""

    command: Callable
    # What has to be installed, the command by which that is known, and the one that prints its version.
    package: str = None
    tool: str = None
    version: tuple = ()
    # Which of our own programs it is.
    builds: str = None
    # Whether it does the same as pullgate, and is what pullgate is compared with.
    peer: bool = False
    # Whether it answers as the allowlist says.
    judges: bool = True


def debian(command, package, tool, option):
    return Kind(command, package, tool, (tool, option), peer=True)


# By name; the order is that of `--help`.
ALL = {
    "pullgate": Kind(pullgate, builds="pullgate"),
    "pullgate-logging": Kind(pullgate_logging, builds="pullgate"),
    "pullgate-watched": Kind(pullgate_watched, builds="pullgate"),
    "echo": Kind(echo, builds="echo", judges=False),
    "plain-hickory": Kind(plain_hickory, builds="plain_hickory", peer=True),
    "unbound": debian(unbound, "unbound", "unbound", "-V"),
    "unbound-rpz": debian(unbound_rpz, "unbound", "unbound", "-V"),
    "dnsdist": debian(dnsdist, "dnsdist", "dnsdist", "--version"),
    "dnsdist-multi": debian(dnsdist_multi, "dnsdist", "dnsdist", "--version"),
    "dnsmasq": debian(dnsmasq, "dnsmasq-base", "dnsmasq", "--version"),
    "knot-resolver": debian(knot_resolver, "knot-resolver", "kresd", "--version"),
}


def packages(chosen):
    """{command: Debian package} of what these servers, and the upstream, need."""
    return {"unbound": "unbound"} | {ALL[name].tool: ALL[name].package for name in chosen if ALL[name].tool}


def versions(chosen):
    """{package: version} of what was compared."""
    found = {}
    for kind in (ALL[name] for name in chosen):
        if kind.version:
            output = subprocess.run(kind.version, capture_output=True, text=True, check=False, env={**os.environ, "PATH": PATH}).stdout
            number = re.search(r"\d+(\.\d+)+", output)
            found[kind.package] = number[0] if number else "?"
    if "plain-hickory" in chosen:
        lock = (Path(__file__).resolve().parents[2] / "Cargo.lock").read_text(encoding="utf-8")
        found["hickory-server"] = re.search(r'name = "hickory-server"\nversion = "([^"]+)"', lock)[1]
    return found
