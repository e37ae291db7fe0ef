"""The server whose costs are measured, its upstream, its load, and its memory."""

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import rig
import servers

# What the upstream answers with four addresses, whatever stands in front.
UPSTREAM_ZONES = ("cached.example", "docker.io")


class Bench:
    """One run: a folder, an upstream that answers everything asked here, and servers in front of it, one at a time."""

    def __init__(self, folder, binaries):
        self.folder, self.binaries = folder, binaries
        self.upstream_port = servers.free_port()
        self.upstream = self._start_upstream()

    def stop(self):
        servers.stop(self.upstream)

    @contextlib.contextmanager
    def serving(self, name, policy, cache_entries=100_000):
        """A server over the folder `policy`, started but not waited for."""
        server = Server(self, name, policy, cache_entries)
        try:
            yield server
        finally:
            servers.stop(server.process)

    def _start_upstream(self):
        zones = "".join(f'  local-zone: "{zone}." redirect\n' + "".join(f'  local-data: "{zone}. 86400 IN A 192.0.2.{last}"\n' for last in range(1, 5)) for zone in UPSTREAM_ZONES)
        text = servers.unbound_server(self.folder, self.upstream_port) + f'  local-zone: "." static\n{zones}remote-control:\n  control-enable: no\n'
        path = servers.write(self.folder / "upstream.conf", text)
        return servers.launch([*rig.pinned(rig.GENERATOR_CORE), "unbound", "-d", "-c", path], self.upstream_port, self.folder / "upstream.log", UPSTREAM_ZONES[0])


class Server:
    """A pullgate, pinned to its core with all its threads."""

    def __init__(self, bench, name, policy, cache_entries):
        self.bench, self.name = bench, name
        self.port, self.metrics = servers.free_port(), servers.free_port()
        self.settings = servers.write(bench.folder / f"{name}.toml", f"""\
[server]
listen = ["127.0.0.1:{self.port}"]
[upstream]
servers = ["127.0.0.1:{bench.upstream_port}"]
[policy]
path = "{policy}"
state = "{bench.folder / name}-state"
[cache]
entries = {cache_entries}
max-ttl = "1d"
[metrics]
listen = "127.0.0.1:{self.metrics}"
[control]
socket = "{bench.folder / name}.sock"
""")
        self.log = bench.folder / f"{name}.log"
        command = ["taskset", "-c", rig.SERVER_CORE, str(bench.binaries["pullgate"]), "serve", "--config", self.settings]
        with open(self.log, "wb") as output:
            self.began = time.monotonic()
            self.process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True)
        prefer(self.process.pid)

    def first_answer(self, name, rcode=0, patience=60):
        """Asks until `name` is answered with `rcode`; returns the seconds since the server was started."""
        question = query(name)
        while time.monotonic() < self.began + patience:
            if answered(self.port, question, rcode):
                return time.monotonic() - self.began
            if self.process.poll() is not None:
                break
        raise RuntimeError(f"{self.name} does not answer:\n{self.log.read_text(errors='replace')[-2000:]}")

    def memory(self):
        """Resident KiB: in all, in pages of its own, and with shared pages counted by share."""
        fields = [line.split() for line in Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()[1:]]
        kib = {field[0].rstrip(":"): int(field[1]) for field in fields}
        return {"rss": kib["Rss"], "anonymous": kib["Anonymous"], "pss": kib["Pss"], "peak": self._peak()}

    def metric(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=10) as response:
            lines = response.read().decode().splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))

    def ask(self, questions, *, seconds, count=None, rate=None, window=128):
        """Runs the load generator over one list of questions; returns its report."""
        return report_of(self.begin_asking(questions, seconds=seconds, count=count, rate=rate, window=window))

    def begin_asking(self, questions, *, seconds, count=None, rate=None, window=128):
        """Starts the load generator over one list of questions."""
        command = [*rig.pinned(rig.GENERATOR_CORE), str(self.bench.binaries["loadgen"]), "--server", f"127.0.0.1:{self.port}", "--questions", str(questions)]
        command += ["--seconds", str(seconds), "--window", str(window), "--batch", "32", "--pid", str(self.process.pid)]
        command += ["--count", str(count)] if count else []
        command += ["--rate", str(rate)] if rate else []
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def reload(self):
        """Has the policy taken anew, as `pullgate reload` does but without a process that would take time from what is measured.

        Returns the seconds it took.
        """
        began = time.monotonic()
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(120)
            control.connect(str(self.bench.folder / f"{self.name}.sock"))
            control.sendall(b"POST /v1/reload HTTP/1.1\r\nHost: pullgate\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            response = b"".join(iter(lambda: control.recv(65536), b""))
        # "unchanged": the server has noticed the files by itself, and taken them before it was told.
        if b'"applied"' not in response and b'"unchanged"' not in response:
            raise RuntimeError(f"the policy was not applied: {response.decode(errors='replace')}")
        return time.monotonic() - began

    def _peak(self):
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def prefer(session):
    """Gives a session as a whole more of its core than others have; its threads share that as they would otherwise."""
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):  # a kernel without groups by session
            Path(f"/proc/{session}/autogroup").write_text("-20")


def report_of(asking):
    output, _ = asking.communicate(timeout=120)
    if asking.returncode != 0:
        raise RuntimeError("the load generator failed")
    return json.loads(output)


def query(name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"\x12\x34\x01\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"


def answered(port, question, rcode, patience=1.0):
    """Sends a question; whether the right answer comes. A port that is closed still says so at once."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(patience)
        udp.connect(("127.0.0.1", port))
        try:
            udp.send(question)
            response = udp.recv(4096)
        except OSError:
            time.sleep(0.0005)
            return False
        return response[3] & 15 == rcode and (rcode != 0 or response[7] > 0)
