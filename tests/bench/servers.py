"""The servers of the bench, each set up as an allowlist in front of the same upstream, with its fastest sensible settings."""

import dataclasses
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

from names import NEW_SUFFIX

PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


@dataclasses.dataclass
class Running:
    """A server that answers."""

    process: subprocess.Popen
    port: int


def start(name, folder, data, upstream, binaries, prefix):
    """Writes the configuration of one server and starts it; returns it when it answers."""
    port = free_port()
    command = ALL[name](Setup(folder, data, upstream.port, port, binaries))
    return launch(command, prefix, port, folder / f"{name}.log", data.exact[0])


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
    return launch(["unbound", "-d", "-c", path], prefix, port, folder / "upstream.log", data.exact[0])


def launch(command, prefix, port, log, name):
    with open(log, "wb") as output:
        process = subprocess.Popen([*prefix, *command], stdout=output, stderr=output, stdin=subprocess.DEVNULL, env={**os.environ, "PATH": PATH})
    deadline = time.monotonic() + 20
    while not answers(port, name):
        if process.poll() is not None or time.monotonic() > deadline:
            stop(process)
            raise RuntimeError(f"{' '.join(command)} does not answer:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)
    return Running(process, port)


def answers(port, name):
    """Whether an address comes back for `name`."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(0.5)
        udp.connect(("127.0.0.1", port))
        try:
            udp.send(b"\x12\x34\x01\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1")
            response = udp.recv(4096)
            return response[3] & 15 == 0 and response[7] > 0
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
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
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


def pullgate(setup, queries="off", name="pullgate"):
    policy = setup.folder / f"{name}-policy.d"
    policy.mkdir(exist_ok=True)
    hosts = [*setup.data.exact, *(f"*.{suffix}" for suffix in setup.data.suffixes)]
    write(policy / "bench.toml", 'version = 1\n[[registry]]\nname = "bench"\nhosts = [\n' + "".join(f'  "{host}",\n' for host in hosts) + "]\n")
    path = write(setup.folder / f"{name}.toml", f"""\
[server]
listen = ["127.0.0.1:{setup.port}"]
[upstream]
servers = ["127.0.0.1:{setup.upstream}"]
[policy]
path = "{policy}"
state = "{setup.folder / name}-state"
[cache]
max-ttl = "1d"
[log]
queries = "{queries}"
[control]
socket = "{setup.folder / name}.sock"
""")
    return [str(setup.binaries["pullgate"]), "serve", "--config", path]


def pullgate_logging(setup):
    return pullgate(setup, "denied", "pullgate-logging")


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


def unbound(setup):
    zones = "".join(f'  local-zone: "{name}." transparent\n' for name in [*setup.data.exact, *setup.data.suffixes])
    return ["unbound", "-d", "-c", write(setup.folder / "unbound.conf", unbound_server(setup.folder, setup.port) + f"""\
  module-config: "iterator"
  do-not-query-localhost: no
  minimal-responses: yes
  msg-cache-size: 64m
  rrset-cache-size: 128m
  outgoing-range: 8192
  num-queries-per-thread: 4096
  ede: yes
  local-zone: "." static
  local-data: ". 300 IN SOA blocked.invalid. root.invalid. 1 3600 600 86400 300"
{zones}forward-zone:
  name: "."
  forward-addr: 127.0.0.1@{setup.upstream}
remote-control:
  control-enable: no
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


def dnsdist_vector(setup):
    return dnsdist(setup, 64)


# By name; the order is that of `--help`.
ALL = {
    "pullgate": pullgate,
    "pullgate-logging": pullgate_logging,
    "plain-hickory": plain_hickory,
    "unbound": unbound,
    "dnsdist": dnsdist,
    "dnsdist-vector-64": dnsdist_vector,
}


def versions():
    """What was compared, in words."""
    found = []
    for command in (["unbound", "-V"], ["dnsdist", "--version"]):
        if shutil.which(command[0], path=PATH):
            text = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": PATH}).stdout
            number = re.search(r"\d+\.\d+\.\d+", text)
            found.append(f"{command[0]} {number[0] if number else '?'}")
    lock = (Path(__file__).resolve().parents[2] / "Cargo.lock").read_text(encoding="utf-8")
    hickory = re.search(r'name = "hickory-server"\nversion = "([^"]+)"', lock)
    return ", ".join([*found, f"hickory-server {hickory[1] if hickory else '?'}"])
