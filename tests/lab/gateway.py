"""The pullgate under test, on the gateway: its policy, its log, its life."""

import json
import os
import socket
import subprocess

import network
from support.cases import Failed, end, equal

LISTEN = [f"{net.gateway}:53" for net in (network.DEVELOPERS, network.CI)] + [f"[{net.gateway6}]:53" for net in (network.DEVELOPERS, network.CI)]

SETTINGS = """\
[server]
listen = {listen}
clients = ["127.0.0.0/8", "198.18.0.0/15", "fd18::/16"]

[upstream]
servers = ["{upstream}"]

[policy]
path = "{folder}/policy.d"
state = "{folder}/state"

[control]
socket = "{folder}/control.sock"

[log]
queries = "all"
format = "json"
{more}"""


class Pullgate:
    """`pullgate serve` on the gateway, as a process; `more` are further sections of its settings."""

    def __init__(self, binary, folder, upstream, more=""):
        self.binary = binary
        self.folder = folder
        self.policy_file = folder / "policy.d/10-lab.toml"
        self.socket = folder / "control.sock"
        self.settings = folder / "pullgate.toml"
        self.log = folder / "log"
        self.process = None
        self.policy_file.parent.mkdir(parents=True)
        self.settings.write_text(SETTINGS.format(listen=json.dumps(LISTEN), upstream=upstream, folder=folder, more=more), encoding="utf-8")

    def start(self, policy=None, seconds=10):
        """Starts it and waits until it says that it is ready, as systemd would."""
        if policy is not None:
            self.policy_file.write_text(policy, encoding="utf-8")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, open(self.log, "ab") as log:
            path = self.folder / "notify.sock"
            path.unlink(missing_ok=True)
            notify.bind(str(path))
            notify.settimeout(seconds)
            command = network.inside(network.GATEWAY, self.binary, "serve", "--config", self.settings)
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, "NOTIFY_SOCKET": str(path)})
            while b"READY=1" not in notify.recv(4096).split(b"\n"):
                pass

    def stop(self):
        if self.process:
            end(self.process)

    def kill(self):
        """Kills it as `kill -9` does."""
        self.process.kill()
        self.process.wait()

    def revive(self):
        """Starts it again if a case left it dead."""
        if self.process.poll() is not None:
            self.start()

    def policy(self, text):
        """Puts a policy in force."""
        if self.policy_file.read_text(encoding="utf-8") != text:
            self.policy_file.write_text(text, encoding="utf-8")
            self.reload()

    def reload(self):
        """Runs `pullgate reload`, which has to succeed."""
        done = self.command("reload")
        equal(done.returncode, 0, f"exit of reload ({done.stdout}{done.stderr})")

    def command(self, *arguments):
        """Runs a pullgate command against it, to its end."""
        command = network.inside(network.GATEWAY, self.binary, *arguments, "--socket", self.socket)
        return subprocess.run(command, text=True, capture_output=True, check=False, timeout=20)

    def check(self, *arguments):
        """Runs `pullgate check` with its settings."""
        command = network.inside(network.GATEWAY, self.binary, "check", *arguments, "--config", self.settings)
        return subprocess.run(command, text=True, capture_output=True, check=False, timeout=20)

    def status(self):
        """What `pullgate status --json` says."""
        return json.loads(self.command("status", "--json").stdout)

    def generation(self):
        """The number of the policy in force."""
        return self.status()["generation"]

    def entries(self, since=0, name=None):
        """What `pullgate log --json` says: entries with a number above `since`, oldest first; of a name, if it is given."""
        only = ["--name", name] if name else []
        entries = self.log_json("--limit", "10000", *only)
        return [entry for entry in entries if entry["id"] > since and entry["name"] == (name or entry["name"])]

    def mark(self):
        """The number of its newest log entry: what `entries` takes."""
        return max((entry["id"] for entry in self.log_json("--limit", "1")), default=0)

    def log_json(self, *options):
        done = self.command("log", "--json", *options)
        if done.returncode:
            raise Failed(f"pullgate log ended with {done.returncode}: {done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def set(self, old, new):
        """Starts it again with a line of its settings changed."""
        text = self.settings.read_text(encoding="utf-8")
        if old not in text:
            raise Failed(f"the settings have no `{old}`")
        self.configure(text.replace(old, new))

    def configure(self, settings):
        """Starts it again with these settings."""
        self.stop()
        self.settings.write_text(settings, encoding="utf-8")
        self.start()

    def lines(self):
        """Its own log: what it writes for people and machines, a JSON object a line."""
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]
