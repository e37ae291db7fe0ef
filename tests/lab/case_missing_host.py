"""The morning after: a pull fails because a host is missing in the policy. The README's walk-through is what this case saw."""

import re
import shutil
from pathlib import Path

import images
from clients import FORGET_DOCKER
from golden import compare_text, normal
from network import GATEWAY
from support.cases import case, check, equal, sh, wait_until
from world import CDN, GUESTS, POLICY, REGISTRY

MACHINE = "trixie"
REPOSITORY = "team/app:1"
IMAGE = f"{REGISTRY}/{REPOSITORY}"
LINE = f'redirects = ["{CDN}"]\n'
# What the gateway's settings have on top; the lab's begin with `[server]`.
METRICS, PAGE = "127.0.0.1:9153", "127.0.0.1:8053"
SECTIONS = f"""\
[metrics]
listen = "{METRICS}"

[page]
listen = "{PAGE}"

[blocked]
contact = "platform team, #registries"

"""
# Where a service has its policy, and where an administrator writes the next one.
FOLDER, CANDIDATE = Path("/etc/pullgate/policy.d"), Path("/etc/pullgate/policy.next")
CLIENT = GUESTS[MACHINE][0]
# What no two runs have in common, and what stands for it: moments, how often, and which of two questions came last.
VARYING = [
    (r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "2026-11-28T09:30:00Z"),
    (r"20\d\d-\d\d-\d\d \d\d:\d\d( to 20\d\d-\d\d-\d\d \d\d:\d\d)?", "2026-11-28 09:30"),
    (r"\d+ times by", "14 times by"),
    (r"of \d+ questions", "of 45 questions"),
    (r"(?<=\} )\d+$", "4"),
    (r"(?<=\.test) AAAA ", " A "),
]


class Transcript:
    """Commands as somebody types them, and what they print."""

    def __init__(self, lab):
        self.lab = lab
        self.texts = []

    def run(self, machine, command):
        """Runs a command; `pullgate` is the lab's."""
        pullgate = self.lab.pullgate
        done = self.lab.run(machine, re.sub(r"^pullgate", f"{pullgate.binary} --config {pullgate.settings}", command))
        output = done.output
        for pattern, instead in VARYING:
            output = re.sub(pattern, instead, output, flags=re.M)
        self.texts.append(f"$ {command}\n{normal(output)}")
        return done.code, output


@case(seconds=120)
def missing_host_is_found_and_added(lab):
    """A pull fails at the host of its layers; log, TXT answer, page, discover and learn each name it; with its line the image pulls."""
    prepare(lab)
    seen = Transcript(lab)
    client, gateway = (lambda command, machine=machine: seen.run(machine, command) for machine in (MACHINE, GATEWAY))
    code, output = client(f"docker pull --quiet {IMAGE}")
    check(code and f"lookup {CDN} on " in output, "the pull did not fail at the missing host")

    for code, output in (
        gateway(f"pullgate log --name {CDN} --limit 1"),
        client(f"dig +short TXT why.{CDN}.pullgate"),
        gateway(f"curl -s 'http://{PAGE}/check?name={CDN}&client={CLIENT}'"),
        gateway(f"pullgate discover {IMAGE} --client {CLIENT}"),
        gateway("pullgate learn --since 1h"),
    ):
        check(CDN in output and "redirects" in output.replace("registry `lab`", "redirects"), f"the line is missing: {output}")

    add_line(CANDIDATE / lab.pullgate.policy_file.name)
    equal(gateway(f"pullgate policy diff {CANDIDATE}")[0], 1, "exit of the diff")
    before = lab.pullgate.generation()
    add_line(FOLDER / lab.pullgate.policy_file.name)
    wait_until(lambda: lab.pullgate.generation() > before, 10, "the changed file is in force")
    denied = metric(lab, "pullgate_denied_total")
    equal(client(f"docker pull --quiet {IMAGE}")[0], 0, "exit of the pull")
    gateway(f"curl -s http://{METRICS}/metrics | grep 'rule_hits_total.*{CDN}'")
    equal(metric(lab, "pullgate_denied_total"), denied, "denied questions after the change")
    compare_text("missing-host", "\n".join(seen.texts))


def prepare(lab):
    """The image is there; the policy, where a service has it, lacks the host of its layers; metrics and page are on, and
    the history is new."""
    settings = lab.pullgate.settings.read_text(encoding="utf-8")
    own, state = str(lab.pullgate.policy_file.parent), str(lab.pullgate.folder / "state")
    lab.defer(lambda: lab.pullgate.configure(settings))
    for folder in (FOLDER, CANDIDATE):
        folder.mkdir(parents=True)
        lab.defer(folder.rmdir)
    sh(f"mount --bind {own} {FOLDER}")
    lab.defer(lambda: sh(f"umount {FOLDER}"))
    lab.pullgate.policy(POLICY.replace(LINE, ""))
    changed = settings.replace(own, str(FOLDER)).replace(state, str(lab.folder / "state"))
    lab.pullgate.configure(changed.replace("[control]\n", SECTIONS + "[control]\n"))
    shutil.copy(lab.pullgate.policy_file, CANDIDATE)
    lab.defer((CANDIDATE / lab.pullgate.policy_file.name).unlink)
    images.derived(lab.world.folder / "tiny", lab.folder / "image", "app")
    lab.world.fill(lab.folder / "image", REGISTRY, REPOSITORY)
    shutil.rmtree(lab.folder / "image")
    lab.defer(lambda: lab.run(MACHINE, FORGET_DOCKER))


def add_line(file):
    """Adds the missing host to the registry in a policy file."""
    text = file.read_text(encoding="utf-8")
    host = f'hosts = ["{REGISTRY}"]\n'
    file.write_text(text.replace(host, host + LINE), encoding="utf-8")


def metric(lab, name):
    """The sum of a metric's samples."""
    text = lab.run(GATEWAY, f"curl -s http://{METRICS}/metrics").output
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + "{"))
