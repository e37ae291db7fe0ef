"""A scene that looks like a day's work, for screenshots: some teams, their pulls, a policy that lacks a few hosts."""

import datetime
import math
import random
import socket
import time
from pathlib import Path

from harness import UPSTREAM
from support.cases import equal, sh
from support.dns import query


class Morning:
    """A resolver for a few teams, some of whose registries send downloads to hosts that nobody listed."""

    PAGE = "http://127.0.0.1:8053/"
    ADDRESS = "10.20.0.53"
    POLICY = {
        "10-registries.toml": """\
version = 1

[[registry]]
preset = "docker-hub"

[[registry]]
preset = "ghcr"

[[registry]]
name  = "company-nexus"
hosts = ["nexus.corp.example"]

[[registry]]
name    = "partner"
hosts   = ["registry.partner.example"]
expires = {end}
owner   = "platform"
ticket  = "SEC-118"
groups  = ["ci"]
""",
        "20-groups.toml": """\
version = 1

[[group]]
name       = "ci"
clients    = ["10.20.0.0/16"]
registries = ["docker-hub", "ghcr", "company-nexus"]

[[group]]
name       = "payments"
clients    = ["10.30.0.0/16"]
registries = ["docker-hub", "company-nexus"]
mode       = "audit"
""",
    }
    CHANGES = [
        ("allow", "mirror.gcr.io", "--group", "ci", "--for", "2h", "--ticket", "INC-2041", "--reason", "the release waits"),
        ("block", "*.untrusted.example", "--ticket", "SEC-131"),
    ]
    # Who asks for what: (client, registry first, then what it sends them to, how often).
    PULLS = [
        ("10.20.4.17", ["registry-1.docker.io", "auth.docker.io", "production.cloudfront.docker.com"], 9),
        ("10.20.4.18", ["ghcr.io", "pkg-containers.githubusercontent.com"], 5),
        ("10.30.1.6", ["registry-1.docker.io", "auth.docker.io", "production.cloudflare.docker.com"], 3),
        ("10.20.5.3", ["nexus.corp.example", "corp-layers.s3.eu-west-1.amazonaws.com"], 1.2),
        ("10.20.7.2", ["quay.io"], 0.8),
        ("10.20.4.18", ["telemetry.build-tool.example"], 0.35),
        ("10.30.1.6", ["registry.gitlab.com"], 0.5),
        ("10.20.9.40", ["registry.k8s.io"], 0.3),
        ("192.0.2.77", ["ghcr.io"], 0.1),
    ]

    def __init__(self, lab):
        self.lab = lab
        self.policy = Path("/etc/pullgate/policy.d")
        self.policy.mkdir(parents=True, exist_ok=True)
        end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=9, hours=4)
        for file, text in self.POLICY.items():
            (self.policy / file).write_text(text.replace("{end}", f"{end:%Y-%m-%dT18:00:00Z}"), encoding="utf-8")
        for client in {self.ADDRESS, *(client for client, _, _ in self.PULLS)}:
            sh(f"ip addr replace {client}/32 dev lo")
        self.random = random.Random(8053)
        self.started = time.monotonic()

    def settings(self):
        sections = {"page": {}, "policy": {"path": '"/etc/pullgate/policy.d"'}, "server": {"clients": '["0.0.0.0/0"]'}}
        return {"listen": (f"{self.ADDRESS}:53",), "upstream": (UPSTREAM, "198.18.0.54"), "sections": sections}

    def serve(self):
        return self.lab.serve(**self.settings())

    def pass_a_day(self):
        """A server in each of the last hours, by a clock that is set back, so that there is a history."""
        binary = self.lab.binary
        library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
        for hours in range(23, 0, -1):
            faked = self.lab.folder / f"{hours}-hours-ago"
            faked.write_text(f'#!/bin/sh\nFAKETIME=-{hours}h LD_PRELOAD={library} exec "{binary}" "$@"\n', encoding="utf-8")
            faked.chmod(0o755)
            self.lab.binary = faked
            server = self.serve()
            working_hours = 8 <= (datetime.datetime.now() - datetime.timedelta(hours=hours)).hour <= 18
            for client, names, often in self.PULLS:
                for _ in range(round(often * self.random.uniform(12, 30) * (4 if working_hours else 1))):
                    self.pull(client, names)
            equal(server.stop(), 0)
        self.lab.binary = binary

    def ask_for(self, seconds):
        """Pulls of all, in waves, for so long."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            wave = 1 + 0.6 * math.sin((now - self.started) / 21) + (1.5 if (now - self.started) % 97 < 9 else 0)
            for client, names, often in self.PULLS:
                if self.random.random() < often * wave / 25:
                    self.pull(client, names)
            time.sleep(0.1)

    def pull(self, client, names):
        for name in names:
            for kind in (1, 28):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                    asking.bind((client, 0))
                    asking.settimeout(2)
                    asking.sendto(query(name, kind), (self.ADDRESS, 53))
                    asking.recv(4096)
