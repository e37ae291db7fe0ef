"""Pulls and pushes by every engine: what is allowed works, what is forbidden ends at once and leaves no trace there."""

import time

from clients import ENGINES, PROGRAMS, for_each, says, words
from network import DEVELOPERS
from support.cases import case, check, equal, wait_until
from world import CDN, FORBIDDEN, GUESTS, POLICY, REGISTRY, TINY, UPSTREAM

# How long a denied name may hold anybody up.
AT_ONCE = 2


@for_each(ENGINES)
def allowed_image_pulls(lab, client):
    """An allowed image pulls by tag and by digest, its blobs through the redirect host, and a push works."""
    repository, image = lab.image()
    for reference in (f"{repository}:1", f"{repository}@{image.digest}"):
        pull(lab, client, reference, image.blob)
        lab.requested("registry", client.machine, "/manifests/")
        lab.run(client.machine, client.forget)
    saw_blobs(lab, client)
    lab.logged(client.machine, REGISTRY, verdict="allow", entry="lab", group="developers")
    lab.logged(client.machine, CDN, verdict="allow", entry="lab", group="developers")
    if client.push:
        push(lab, client, f"{repository}:1", image.blob)


def pull(lab, client, image, blob):
    """Pulls; it has to succeed."""
    done = lab.run(client.machine, client.pull.format_map(words(image, blob=blob)))
    equal(done.code, 0, f"exit of the pull ({done.output})")


def push(lab, client, image, blob):
    """Pushes what it pulls, under a name of its own."""
    lab.defer(lambda: lab.run(client.machine, client.forget))
    pull(lab, client, image, blob)
    repository = f"team/pushed-by-{client.name}"
    done = lab.run(client.machine, client.push.format_map(words(image, pushed=f"{REGISTRY}/{repository}:1")))
    equal(done.code, 0, f"exit of the push ({done.output})")
    lab.requested("registry", client.machine, f"PUT /v2/{repository}/manifests/1")


def saw_blobs(lab, client):
    """Blobs came from the redirect host, and none from the registry itself."""
    lab.requested("cdn", client.machine, "/blobs/")
    direct = [line for line in lab.requests("registry", client.machine, '"GET .*/blobs/') if " 307 " not in line]
    equal(direct, [], "blobs that the registry served itself")


@for_each(ENGINES)
def forbidden_image_fails_at_once(lab, client):
    """A pull from a forbidden registry ends at once with the client's `no such host`; that registry never hears of it."""
    image = f"{FORBIDDEN}/{TINY}"
    fails_at_once(lab, client.machine, client.pull, client.denied, words(image, blob=lab.world.tiny.blob))
    lab.untouched("forbidden")
    entry = lab.logged(client.machine, FORBIDDEN, verdict="deny")
    equal((entry["group"], entry["reason"], entry["rule"], entry["rcode"]), ("developers", "not on the allowlist", None, "NXDOMAIN"))
    equal(lab.entries(name=FORBIDDEN, verdict="allow"), [], "allowed")


@for_each(PROGRAMS)
def forbidden_host_fails_at_once(lab, program):
    """Programs that pull no image hear the same, each in its own words."""
    fails_at_once(lab, program.machine, program.run, program.denied, {"host": FORBIDDEN})
    lab.untouched("forbidden")
    lab.logged(program.machine, FORBIDDEN, verdict="deny")


def fails_at_once(lab, machine, command, text, filling):
    """The command fails in its own words, soon."""
    lab.run(machine, "true")  # which boots it, if nobody has
    start = time.monotonic()
    done = lab.run(machine, command.format_map(filling))
    taken = time.monotonic() - start
    says(done.output, text, {**filling, "resolver": DEVELOPERS.gateway})
    check(taken < AT_ONCE, f"it took {taken:.1f} s")


@for_each(ENGINES)
def missing_redirect_host_is_named(lab, client):
    """The redirect host is not in the policy: the pull names it, and `log` and `check` name the registry and the line to add."""
    repository, image = lab.image()
    lab.pullgate.policy(POLICY.replace(f'redirects = ["{CDN}"]\n', ""))
    filling = words(f"{repository}:1", blob=image.blob, redirect=CDN, resolver=DEVELOPERS.gateway)
    lab.defer(lambda: lab.run(client.machine, client.forget))
    done = lab.run(client.machine, client.pull.format_map(filling))
    check(done.code != 0, "the pull succeeded")
    says(done.output, client.redirect_denied, filling)
    entry = lab.logged(client.machine, CDN, verdict="deny")
    equal((entry["after"]["name"], entry["after"]["registry"]), (REGISTRY, "lab"))
    line = f'add to registry `lab` ({lab.pullgate.policy_file}:5): redirects = ["{CDN}"]'
    asked = f"asked: by {entry['client']} at {entry['at'][:10]}"
    for text, parts in (
        (lab.pullgate.command("log", "--name", CDN).stdout, [f"after {REGISTRY}", line]),
        (lab.pullgate.check(CDN, "--client", entry["client"]).stdout, [f"right after {REGISTRY}", line, asked]),
    ):
        check(all(part in text for part in parts), f"it does not say {parts} but\n{text}")


@case(seconds=120)
def forbidden_image_pulls_without_pullgate(lab):
    """The same pulls succeed when the clients ask the upstream resolver: a leak would show."""
    for machine in GUESTS:
        resolve_by(lab, machine, UPSTREAM)
        lab.defer(lambda machine=machine: resolve_by(lab, machine, DEVELOPERS.gateway))
    for client in ENGINES:
        command = client.pull.format_map(words(f"{FORBIDDEN}/{TINY}", blob=lab.world.tiny.blob))
        lab.defer(lambda client=client: lab.run(client.machine, client.forget))
        wait_until(lambda: lab.run(client.machine, command).code == 0, 10, f"{client.name} reaches the forbidden registry")
        lab.requested("forbidden", client.machine, "/manifests/|/blobs/")
    equal(lab.entries(name=FORBIDDEN, verdict="allow"), [])


def resolve_by(lab, machine, address):
    """Changes a machine's resolver and waits until its dockerd, which looks at the file every five seconds, has seen it."""
    lab.world.guest(machine).write("/etc/resolv.conf", f"nameserver {address}\n")
    ask = f"docker pull unknown.lab.test/{TINY}"
    wait_until(lambda: f"on {address}:53" in lab.run(machine, ask).output, 10, f"dockerd on {machine} asks {address}")
