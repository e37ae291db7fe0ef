"""What every case stands on: cases and their registry, the private machine they run in, and the pullgate under test."""

import dataclasses
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from clients import RCODES, dig, exchange, query
from upstream import Knot

ROOT = Path(__file__).resolve().parents[2]

# Loopback-only addresses of the private network namespace.
SERVER = "127.0.0.1"
UPSTREAM = "198.18.0.53"

CASES = []


@dataclasses.dataclass
class Case:
    """One named fact about the running program."""

    name: str
    title: str
    run: object
    seconds: int


class Failed(Exception):
    """What a case expected did not happen."""


def case(function=None, *, seconds=60):
    """Registers a function as a case: its name with dashes, the first line of its doc string as title."""

    def register(function):
        title = (function.__doc__ or "").strip().splitlines()[0]
        CASES.append(Case(function.__name__.replace("_", "-"), title, function, seconds))
        return function

    return register(function) if function else register


def load_cases(folder):
    """Imports every case_*.py, in name order."""
    sys.path.insert(0, str(folder))
    for path in sorted(folder.glob("case_*.py")):
        importlib.import_module(path.stem)
    return sys.modules["harness"].CASES


def check(condition, message):
    """Fails the case with `message` unless `condition` holds."""
    if not condition:
        raise Failed(message)


def equal(seen, wanted, what=""):
    """Fails the case unless both are equal."""
    if seen != wanted:
        raise Failed(f"{what + ': ' if what else ''}saw {seen!r}, wanted {wanted!r}")


def wait_until(probe, seconds, what):
    """Polls `probe` until it is true and returns (its value, how long it took); fails after `seconds`."""
    start = time.monotonic()
    while True:
        value = probe()
        elapsed = time.monotonic() - start
        if value:
            return value, elapsed
        if elapsed > seconds:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(0.01)


# ── the run ──


def run(cases, binary, logs):
    """Runs the cases one after another; returns the exit code."""
    signal.signal(signal.SIGALRM, on_alarm)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    make_machine()
    scratch = Path(tempfile.mkdtemp(prefix="pullgate-real-"))
    knot = Knot(scratch / "knot", UPSTREAM)
    failed = []
    try:
        knot.start()
        for number, each in enumerate(cases, 1):
            progress = f"[{number}/{len(cases)}]"
            if not run_case(each, binary, scratch / each.name, logs, progress, {os.getpid(), knot.process.pid}):
                failed.append(each.name)
    finally:
        knot.stop()
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"{len(cases) - len(failed)} passed, {len(failed)} failed")
    if failed:
        print(f"failed: {' '.join(failed)}\nlogs: {logs}")
    return 1 if failed else 0


def on_alarm(*_):
    raise Failed("the case did not end in time")


def run_case(each, binary, folder, logs, progress, keep):
    """Runs one case in a fresh folder; says how it went; keeps its folder if it failed."""
    start = time.monotonic()
    lab = Lab(binary, folder)
    signal.alarm(each.seconds)
    error = None
    try:
        each.run(lab)
    except Exception as caught:  # a case may fail in any way; the run goes on
        error = caught
        lab.note(traceback.format_exc())
    finally:
        signal.alarm(0)
        lab.close()
        end_leftovers(keep)
    taken = f"{time.monotonic() - start:.1f} s"
    print(f"{progress} {'FAIL' if error else 'ok  '} {each.name} ({taken})", flush=True)
    if error:
        print(indent(f"{each.title}\n{type(error).__name__}: {error}"), flush=True)
        print(indent(lab.last_words()), flush=True)
        shutil.copytree(folder, logs / each.name, dirs_exist_ok=True, ignore=only_text)
    shutil.rmtree(folder, ignore_errors=True)
    return not error


def end_leftovers(keep):
    """Kills what a case left running. The process namespace is ours alone, so nothing else can be hit."""
    if os.getpid() != 1:
        raise RuntimeError("not in a process namespace of its own")
    for pid in [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and int(entry) not in keep]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def only_text(folder, names):
    """What is not worth keeping of a failed case: sockets, FIFOs, copies of the binary."""
    return [name for name in names if name == "pullgate-bin" or not (Path(folder, name).is_file() or Path(folder, name).is_dir())]


def indent(text):
    return "\n".join(f"      {line}" for line in text.splitlines())


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


def sh(command, **keywords):
    """Runs a shell command that has to succeed."""
    done = subprocess.run(command, shell=True, text=True, capture_output=True, check=False, **keywords)
    if done.returncode:
        raise Failed(f"`{command}` ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


# ── what a case holds ──


class Lab:
    """One case's folder, and everything it started."""

    def __init__(self, binary, folder):
        self.binary = binary
        self.folder = folder
        self.policy = folder / "policy.d"
        self.policy.mkdir(parents=True)
        self.cleanups = []
        self.servers = []

    def note(self, text):
        """Adds to the case's own log."""
        with open(self.folder / "case.log", "a", encoding="utf-8") as log:
            log.write(text + "\n")

    def defer(self, action):
        """Has `action` called when the case ends, last one first."""
        self.cleanups.append(action)

    def close(self):
        while self.cleanups:
            try:
                self.cleanups.pop()()
            except Exception:  # one cleanup must not keep the next from running
                self.note(traceback.format_exc())

    def last_words(self):
        logs = list(dict.fromkeys(server.log for server in self.servers)) or [self.folder / "case.log"]
        return "\n".join("\n".join(path.read_text(errors="replace").splitlines()[-12:]) for path in logs if path.exists())

    def spawn(self, command, name=None, **keywords):
        """Starts a process that ends with the case; its output goes to NAME.log."""
        log = open(self.folder / f"{name or Path(command[0]).name}.log", "ab")  # closed with the process's own copy
        keywords.setdefault("stdout", log)
        process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL, **keywords)
        log.close()
        self.defer(lambda: end(process))
        return process

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


def end(process, patience=5):
    """Ends a process by its id: TERM, then KILL."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


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
