"""What measures: our own programs, the cores that they are pinned to, the upstream, and the load generator."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import names
import servers

ROOT = Path(__file__).resolve().parents[2]
SERVER_CORE, GENERATOR_CORE = "0", "1"


def require_tools(chosen, more=()):
    """Ends the program if something is missing that these servers or `more`, as {command: package}, need."""
    tools = servers.packages(chosen) | {"taskset": "util-linux"} | dict(more)
    missing = sorted({package for tool, package in tools.items() if not shutil.which(tool, path=servers.PATH)})
    if missing:
        sys.exit(f"missing tools; install them with: apt-get install --no-install-recommends {' '.join(missing)}")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two cores are needed: one for the server, one for the generator")


def build(chosen):
    """Our own programs that are needed, {name: path}: from the environment (PULLGATE, LOADGEN, ECHO, PLAIN_HICKORY), or built."""
    needed = {"loadgen", *(servers.ALL[name].builds for name in chosen)} - {None}
    found = {name: Path(os.environ[name.upper()]).resolve() for name in needed if os.environ.get(name.upper())}
    rest = sorted(needed - set(found))
    for name in rest:
        # One at a time: built beside an example, the program has all that the examples want of its dependencies.
        kind = "--bin" if name == "pullgate" else "--example"
        subprocess.run(["cargo", "build", "--release", "--locked", kind, name], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    return found | {name: target / name if name == "pullgate" else target / "examples" / name for name in rest}


def folder():
    """A folder for everything that is written, in memory where there is some: no disk is to be measured."""
    return tempfile.TemporaryDirectory(prefix="pullgate-bench-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)


def pinned(core):
    """The words before a command that pin it to a core, and as root give it real-time priority."""
    realtime = ["chrt", "-f", "10"] if os.geteuid() == 0 else []
    return [*realtime, "taskset", "-c", core]


class Rig:
    """The test data and the upstream; servers are started and asked here."""

    def __init__(self, folder, binaries):
        self.folder, self.binaries = Path(folder), binaries
        self.data = names.write(self.folder)
        self.upstream = servers.start_upstream(self.folder, self.data, pinned(GENERATOR_CORE))

    def start(self, name, before=(), patience=20):
        """A server on its core, with the words `before` its command."""
        return servers.start(name, self.folder, self.data, self.upstream, self.binaries, [*pinned(SERVER_CORE), *before], patience)

    def warm(self, server):
        """Asks for every allowed name, so that all are in the cache."""
        for _ in range(3):
            self.ask(server, "warm", seconds=5, count=len(self.data.allowed), window=32, batch=8)

    def require_right(self, name, server):
        """Every allowed name resolves, and so many denied ones do not; else the comparison would be one of faults."""
        for mix, count in (("warm", len(self.data.allowed)), ("denied", 2000)):
            result = self.ask(server, mix, seconds=5, count=count, window=32, batch=8)
            if result["right"] != result["sent"]:
                sys.exit(f"{name} does not answer {mix} questions right: {result}")

    def ask(self, server, mix, *, seconds, count=None, window=128, batch=32, rate=None):
        """Runs the load generator over one list of questions; returns its report."""
        command = [*pinned(GENERATOR_CORE), str(self.binaries["loadgen"]), "--server", f"127.0.0.1:{server.port}", "--questions", str(self.data.files[mix])]
        command += ["--seconds", str(seconds), "--window", str(window), "--batch", str(batch), "--pid", str(server.process.pid)]
        command += ["--count", str(count or (self.data.new_count if mix == "new" else 2**63))]
        command += ["--rate", str(rate)] if rate else []
        command += [] if server.judges else ["--any-rcode"]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=90).stdout)

    def stop(self):
        self.upstream.stop()
