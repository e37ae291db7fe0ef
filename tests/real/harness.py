"""What the cases of this suite stand on: the private machine they run in, and the pullgate under test."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from support.cases import Failed, Stage, equal, run_cases, sh
from support.dns import RCODES, dig, exchange, query
from support.suite import ROOT
from upstream import Knot

# Loopback-only addresses of the private network namespace.
SERVER = "127.0.0.1"
UPSTREAM = "198.18.0.53"

# ── the run ──


def run(cases, binary, logs):
    """Runs the cases one after another; returns the exit code."""
    make_machine()
    scratch = Path(tempfile.mkdtemp(prefix="pullgate-real-"))
    knot = Knot(scratch / "knot", UPSTREAM)
    try:
        knot.start()
        keep = {os.getpid(), knot.process.pid}
        return run_cases(cases, lambda folder: Lab(binary, folder, keep), scratch, logs)
    finally:
        knot.stop()
        shutil.rmtree(scratch, ignore_errors=True)


def end_leftovers(keep):
    """Kills what a case left running. The process namespace is ours alone, so nothing else can be hit."""
    if os.getpid() != 1:
        raise RuntimeError("not in a process namespace of its own")
    for pid in [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and int(entry) not in keep]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def make_machine():
    """Turns the fresh namespaces into a small machine: loopback up, private /etc, /run and /var/lib, our resolver file."""
    sh("ip link set lo up")
    sh(f"ip addr add {UPSTREAM}/32 dev lo")
    sh("ip addr add 172.17.0.1/32 dev lo")
    base = "/tmp/pullgate-real-machine"
    os.makedirs(base, exist_ok=True)
    sh(f"mount -t tmpfs tmpfs {base}")
    for path in ("/etc", "/var/lib"):
        upper = base + "/" + path.strip("/").replace("/", "-")
        os.makedirs(f"{upper}/up")
        os.makedirs(f"{upper}/work")
        sh(f"mount -t overlay overlay -o lowerdir={path},upperdir={upper}/up,workdir={upper}/work {path}")
    sh("mount -t tmpfs tmpfs /run")
    os.makedirs("/etc/netns", exist_ok=True)
    resolv_conf = Path("/etc/resolv.conf")
    resolv_conf.unlink(missing_ok=True)
    resolv_conf.write_text(f"nameserver {UPSTREAM}\n", encoding="utf-8")


# ── what a case holds ──


class Lab(Stage):
    """A case's folder, its policy directory, and the servers it started."""

    def __init__(self, binary, folder, keep):
        super().__init__(folder)
        self.binary = binary
        self.keep = keep
        self.policy = folder / "policy.d"
        self.policy.mkdir()
        self.servers = []

    def close(self):
        """Ends what the case started, and every process that it left behind."""
        super().close()
        end_leftovers(self.keep)

    def logs(self):
        """What its servers said, or what it noted itself."""
        return list(dict.fromkeys(server.log for server in self.servers)) or super().logs()

    def write_policy(self, text, file="10-test.toml"):
        """Writes one policy file in place."""
        path = self.policy / file
        path.write_text(text, encoding="utf-8")
        return path

    def registry(self, name, hosts, extra=""):
        """A policy of one registry, as text."""
        quoted = ", ".join(f'"{host}"' for host in hosts)
        return f'version = 1\n[[registry]]\nname = "{name}"\nhosts = [{quoted}]\n{extra}\n'

    def settings(self, listen=(f"{SERVER}:53",), upstream=(UPSTREAM,), sections=None):
        """The text of a settings file: the given listeners and upstreams, and `sections` as {name: lines}."""
        sections = {name: dict(lines) for name, lines in (sections or {}).items()}
        defaults = {
            "server": {"listen": quote(listen)},
            "upstream": {"servers": quote(upstream)},
            "policy": {"path": quote(self.policy), "state": quote(self.folder / "state")},
            "control": {"socket": quote(self.folder / "control.sock")},
        }
        for name, lines in defaults.items():
            sections[name] = {**lines, **sections.get(name, {})}
        return "\n".join(f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items()) for name, lines in sections.items())

    def serve(self, policy=None, *, netns=None, tail="", wait=True, name="pullgate", **settings):
        """Starts `pullgate serve` and waits until it reports itself ready."""
        if policy is not None:
            self.write_policy(policy)
        path = self.folder / f"{name}.toml"
        path.write_text(self.settings(**settings) + tail, encoding="utf-8")
        server = Server(self, name, ["serve", "--config", str(path)], self.folder / "control.sock", netns)
        return server.start() if wait else server

    def run(self, *arguments, server=None, stdin=None):
        """Runs a pullgate command to its end, against `server`'s control socket if one is given."""
        tail = ["--socket", str(server.socket)] if server else []
        done = subprocess.run([str(self.binary), *arguments, *tail], text=True, capture_output=True, check=False, timeout=20, input=stdin)
        self.note(f"$ pullgate {' '.join(arguments)} -> {done.returncode}\n{done.stdout}{done.stderr}")
        return done


def quote(value):
    """A TOML string or array of strings."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(quote(each) for each in value) + "]"
    return json.dumps(str(value))


class Server:
    """A running `pullgate serve`."""

    def __init__(self, lab, name, arguments, socket_path, netns=None):
        self.lab = lab
        self.log = lab.folder / f"{name}.log"
        self.name = name
        self.arguments = arguments
        self.socket = socket_path
        self.netns = netns
        self.process = None
        lab.servers.append(self)

    def start(self, seconds=10):
        """Starts it and waits for READY=1 on a notify socket, as systemd would."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            path = self.lab.folder / f"notify-{len(self.lab.cleanups)}.sock"
            notify.bind(str(path))
            notify.settimeout(0.05)
            self.launch({"NOTIFY_SOCKET": str(path)})
            self.await_ready(notify, seconds)
        return self

    def launch(self, environment=None):
        """Starts it without waiting for anything."""
        prefix = ["ip", "netns", "exec", self.netns] if self.netns else []
        command = [*prefix, str(self.lab.binary), *self.arguments]
        self.process = self.lab.spawn(command, self.name, env={**os.environ, **(environment or {})})
        return self

    def await_ready(self, notify, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if b"READY=1" in notify.recv(4096).split(b"\n"):
                    return
            except TimeoutError:
                pass
            if self.process.poll() is not None:
                raise Failed(f"pullgate ended with {self.process.returncode} before it was ready")
        raise Failed(f"pullgate was not ready within {seconds} s")

    def stop(self, patience=5):
        """Stops it with SIGTERM and returns its exit code."""
        self.process.terminate()
        return self.process.wait(patience)

    def kill(self):
        """Kills it as `kill -9` does."""
        self.process.kill()
        self.process.wait()

    def signal(self, number):
        self.process.send_signal(number)

    def output(self):
        """Everything it has said so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def dig(self, *question, **keywords):
        """Asks it with dig."""
        start = time.monotonic()
        answer = dig(SERVER, *question, **keywords)
        taken = time.monotonic() - start
        if taken > 0.2:
            self.lab.note(f"slow: dig {' '.join(question)} took {taken * 1000:.0f} ms, {answer.time} ms of it for the answer")
        return answer

    def rcode(self, name):
        """The response code for A of a name, asked without starting a process: for what is timed."""
        response = exchange(query(name), (SERVER, 53))
        return RCODES.get(response[3] & 15) if response else None

    def command(self, *arguments):
        """Runs a pullgate command against it."""
        return self.lab.run(*arguments, server=self)

    def check(self, *arguments):
        """Runs `pullgate check` with its settings."""
        return self.lab.run("check", *arguments, "--config", self.arguments[-1])

    def status(self):
        """What `pullgate status --json` says."""
        return json.loads(self.command("status", "--json").stdout)

    def generation(self):
        return self.status()["generation"]

    def reload(self):
        """Runs `pullgate reload`, which has to succeed."""
        done = self.command("reload")
        equal(done.returncode, 0, f"exit of reload ({done.stdout}{done.stderr})")

    def control(self, path, *options):
        """Asks the control API with curl; returns (HTTP status, body)."""
        command = ["curl", "-sS", "--max-time", "10", "--unix-socket", str(self.socket), "-w", "\n%{http_code}", *options, f"http://localhost{path}"]
        done = subprocess.run(command, text=True, capture_output=True, check=False)
        equal(done.returncode, 0, f"exit of curl ({done.stderr})")
        body, _, code = done.stdout.rpartition("\n")
        return int(code), body


# ── network namespaces ──


def add_namespace(lab, name, address, gateway, resolver=None):
    """A namespace with a link to ours: `address` there, `gateway` here, and its own resolv.conf if one is given."""
    inside, outside = f"{name}0", f"{name}1"
    sh(f"ip netns add {name}")
    lab.defer(lambda: sh(f"ip netns del {name}"))
    sh(f"ip link add {outside} type veth peer name {inside} netns {name}")
    lab.defer(lambda: sh(f"ip link del {outside}"))
    sh(f"ip -n {name} link set lo up")
    for side, where, prefix in ((address, inside, f"-n {name}"), (gateway, outside, "")):
        nodad = "nodad" if ":" in side else ""
        sh(f"ip {prefix} addr add {side} dev {where} {nodad}")
        sh(f"ip {prefix} link set {where} up")
    if resolver:
        folder = Path("/etc/netns", name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "resolv.conf").write_text(resolver, encoding="utf-8")
    return name


def in_namespace(name, *command, **keywords):
    """Runs a command to its end in a namespace."""
    return subprocess.run(["ip", "netns", "exec", name, *command], text=True, capture_output=True, check=False, timeout=30, **keywords)
