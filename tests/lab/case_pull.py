"""Pulls and pushes by every engine: what is allowed works, what is forbidden ends at once and leaves no trace there."""

import re
import time

from clients import ENGINES, PROGRAMS, for_each, words
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
        saw_manifest(lab, client)
        lab.run(client.machine, client.forget)
    saw_blobs(lab, client)
    logged(lab, client, REGISTRY, verdict="allow", entry="lab", group="developers")
    logged(lab, client, CDN, verdict="allow", entry="lab", group="developers")
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
    wait_until(lambda: requests(lab, client, "registry", f"PUT /v2/{repository}/manifests/1"), 2, "the registry got the manifest")


def saw_manifest(lab, client):
    """The registry was asked for a manifest by this client."""
    wait_until(lambda: requests(lab, client, "registry", "/manifests/"), 2, "the registry was asked for the manifest")


def saw_blobs(lab, client):
    """Blobs came from the redirect host, and none from the registry itself."""
    wait_until(lambda: requests(lab, client, "cdn", "/blobs/"), 2, "the redirect host served a blob")
    direct = [line for line in requests(lab, client, "registry", '"GET .*/blobs/') if " 307 " not in line]
    equal(direct, [], "blobs that the registry served itself")


def requests(lab, client, server, pattern):
    """What a server's access log has of this client since the case began, as far as it matches."""
    return [line for line in lab.requests(server, GUESTS[client.machine]) if re.search(pattern, line)]


def logged(lab, client, name, **wanted):
    """pullgate logged a question of this client for the name with these values; returns the first such line."""
    find = lambda: lab.entries(GUESTS[client.machine], name=name, **wanted)
    return wait_until(find, 2, f"pullgate logged {name} {wanted}; it has {lab.entries(name=name)}")[0][0]


@for_each(ENGINES)
def forbidden_image_fails_at_once(lab, client):
    """A pull from a forbidden registry ends at once with the client's `no such host`; that registry never hears of it."""
    image = f"{FORBIDDEN}/{TINY}"
    fails_at_once(lab, client.machine, client.pull, client.denied, words(image, blob=lab.world.tiny.blob))
    untouched(lab)
    entry = logged(lab, client, FORBIDDEN, verdict="deny")
    equal((entry["group"], entry["reason"], entry["rule"], entry["rcode"]), ("developers", "not on the allowlist", None, "NXDOMAIN"))
    equal(lab.entries(name=FORBIDDEN, verdict="allow"), [], "allowed")


@for_each(PROGRAMS)
def forbidden_host_fails_at_once(lab, program):
    """Programs that pull no image hear the same, each in its own words."""
    fails_at_once(lab, program.machine, program.run, program.denied, {"host": FORBIDDEN})
    untouched(lab)
    logged(lab, program, FORBIDDEN, verdict="deny")


def fails_at_once(lab, machine, command, text, filling):
    """The command fails in its own words, soon."""
    start = time.monotonic()
    done = lab.run(machine, command.format_map(filling))
    taken = time.monotonic() - start
    says(done.output, text, {**filling, "resolver": DEVELOPERS.gateway})
    check(taken < AT_ONCE, f"it took {taken:.1f} s")


def says(output, text, filling):
    """The output has the text, filled in; `*` in it stands for anything within a line."""
    wanted = text.format_map(filling)
    pattern = ".*".join(re.escape(part) for part in wanted.split("*"))
    check(re.search(pattern, output), f"it does not say\n{wanted}\nbut\n{output}")


def untouched(lab):
    """The forbidden registry has not had a connection, let alone a request."""
    equal((lab.connections("forbidden"), lab.requests("forbidden")), (0, []), "connections and requests of the forbidden registry")


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
    entry = logged(lab, client, CDN, verdict="deny")
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
        check(requests(lab, client, "forbidden", "/manifests/"), f"the forbidden registry did not hear of {client.name}")
    equal(lab.entries(name=FORBIDDEN, verdict="allow"), [])


def resolve_by(lab, machine, address):
    """Changes a machine's resolver and waits until its dockerd, which looks at the file every five seconds, has seen it."""
    lab.world.guest(machine).write("/etc/resolv.conf", f"nameserver {address}\n")
    ask = f"docker pull unknown.lab.test/{TINY}"
    wait_until(lambda: f"on {address}:53" in lab.run(machine, ask).output, 10, f"dockerd on {machine} asks {address}")
