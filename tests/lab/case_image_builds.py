"""Builds, tags all at once, compose, and whatever else asks for an image: the image policy holds for each."""

import dataclasses

import steering
from clients import DOCKERS, IMAGE_CLIENTS, Client, for_each
from golden import compare
from support.cases import case, check, equal, wait_until
from world import PATH

ALLOWED, DENIED = "docker.io/library/tiny", "docker.io/foo/bar"


@dataclasses.dataclass(frozen=True)
class Builder:
    """A way to build what a Dockerfile on its standard input says."""

    name: str
    client: Client
    build: str

    def command(self, dockerfile):
        return f"printf '{dockerfile}' | {self.build}"


def podman_build(client):
    return Builder(client.name, client, "podman build --quiet --no-cache --pull-always -f - /srv")


BUILDERS = [Builder(client.name, client, client.pull.split(" | ")[1]) for client in DOCKERS if " | " in client.pull]
BUILDERS += [podman_build(client) for client in IMAGE_CLIENTS if client.name.startswith("podman")]
BUILDKITS = [builder for builder in BUILDERS if "build" in builder.name.split("-")[-1] and "classic" not in builder.name]

STAGES = f"FROM {ALLOWED}:1 AS one\\nFROM docker.io/mycompany/app:1\\nCOPY --from=one /etc/passwd /one\\n"
DENIED_STAGES = {
    "the last stage": f"FROM {ALLOWED}:1 AS one\\nFROM {DENIED}:1\\nCOPY --from=one /etc/passwd /one\\n",
    "the first stage": f"FROM {DENIED}:1 AS one\\nFROM {ALLOWED}:1\\nCOPY --from=one /etc/passwd /one\\n",
    "an image to copy from": f"FROM {ALLOWED}:1\\nCOPY --from={DENIED}:1 /etc/passwd /one\\n",
}
# What podman 4.3 and skopeo 1.9 say of a list of tags, and of an image to copy from, that they may not have.
WITHOUT_TEXT = ("invalid status code from registry 403 (Forbidden)", "no stage or image found with that name")
SYNTAX = f"# syntax=docker.io/docker/dockerfile:1\\nFROM {ALLOWED}:1\\n"
BUILD_TOOLS = steering.IMAGES.replace('allow = ["prom/*"]', 'allow = ["prom/*", "@build-tools"]')


@for_each(BUILDERS)
def stages_of_a_build(lab, builder):
    """Every stage of a build needs an allowed image, and so does what is copied from: with allowed ones it works."""
    begin(lab, builder)
    equal(build(lab, builder, STAGES).code, 0, "exit of the build")
    denied = {place: build(lab, builder, dockerfile) for place, dockerfile in DENIED_STAGES.items()}
    refused(lab, denied)
    compare(f"stages/{builder.name}", denied)


@for_each(BUILDKITS)
def syntax_line_of_a_build(lab, builder):
    """`# syntax=` is a pull as well: denied with the text, and done with `@build-tools`. The image is none that could build."""
    begin(lab, builder)
    denied = build(lab, builder, SYNTAX)
    check(steering.DENIED in denied.output, denied.output)
    equal(steering.asked_of_the_registry(lab, "docker/dockerfile"), [])
    lab.pullgate.policy(BUILD_TOOLS)
    allowed = build(lab, builder, SYNTAX)
    check(steering.DENIED not in allowed.output, allowed.output)
    wait_until(lambda: [line for line in steering.asked_of_the_registry(lab, "docker/dockerfile") if "/blobs/" in line], 2, "it was pulled")
    compare(f"syntax/{builder.name}", {"docker/dockerfile:1": denied})


def begin(lab, builder):
    steering.begin(lab)
    lab.defer(lambda: lab.run(builder.client.machine, builder.client.forget))


def build(lab, builder, dockerfile):
    return lab.run(builder.client.machine, builder.command(dockerfile))


def refused(lab, denied):
    """All of these heard the text, but for what shows none whatever it is told; the registry never heard of the image."""
    for what, done in denied.items():
        says = any(text in done.output for text in (steering.DENIED, *WITHOUT_TEXT))
        check(done.code and says, f"{what}: exit {done.code}, and it says\n{done.output}")
    equal(steering.asked_of_the_registry(lab, "foo/bar"), [], "what the registry heard")


# ── all tags ──

ALL_TAGS = {
    "docker": ("docker pull --quiet --all-tags", "docker images --format '{{.Tag}}' " + ALLOWED.removeprefix("docker.io/library/")),
    "podman": ("podman pull --quiet --all-tags", "podman images --format '{{.Tag}}' " + ALLOWED),
}
TAGGERS = [client for client in IMAGE_CLIENTS if client.name in ("docker-20", "docker-26", "docker-26-store", "podman-4", "podman-5")]


@for_each(TAGGERS)
def all_tags_at_once(lab, client):
    """`--all-tags` of an allowed repository brings all of them, of a denied one the text."""
    steering.begin(lab)
    lab.defer(lambda: lab.run(client.machine, client.forget))
    pull, images = ALL_TAGS[client.name.split("-")[0]]
    allowed = lab.run(client.machine, f"{pull} {ALLOWED}")
    equal(allowed.code, 0, allowed.output)
    equal(sorted(lab.run(client.machine, images).output.split()), ["1", "2", "3"], "tags")
    denied = lab.run(client.machine, f"{pull} {DENIED}")
    refused(lab, {"all tags": denied})
    compare(f"all-tags/{client.name}", {"all tags": denied})


# ── compose ──

COMPOSE = """\
services:
  allowed: {{ image: {allowed}:1, command: sleep 60 }}
  denied: {{ image: {denied}:1 }}
"""


@case(seconds=90)
def compose_pulls_what_is_allowed(lab):
    """`docker compose` starts a service whose image is allowed; one whose is not, it says so, and that it may not."""
    steering.begin(lab)
    guest = lab.world.trixie
    guest.write("/tmp/compose/compose.yaml", COMPOSE.format(allowed=ALLOWED, denied=DENIED))
    compose = f"PATH={PATH}; cd /tmp/compose && docker compose --progress plain"
    lab.defer(lambda: guest(f"{compose} down --timeout 0; docker image prune --all --force"))
    up = lambda service: lab.run("trixie", f"{compose} up --detach --quiet-pull {service}")
    allowed = up("allowed")
    equal(allowed.code, 0, allowed.output)
    denied = {command: lab.run("trixie", f"{compose} {command}") for command in ("pull denied", "up --detach denied", "pull --quiet")}
    refused(lab, denied)
    compare("compose", denied)


# ── others ──

OTHERS = [
    ("bookworm", f"docker run --rm {DENIED}:1 true"),
    ("trixie", f"docker run --rm {DENIED}:1 true"),
    ("trixie", f"docker create {DENIED}:1 true"),
    ("trixie", f"docker manifest inspect {DENIED}:1"),
    ("trixie", f"docker buildx imagetools inspect {DENIED}:1"),
    ("trixie-store", f"docker run --rm {DENIED}:1 true"),
    ("bookworm", f"podman run --rm {DENIED}:1 true"),
    ("trixie", f"podman run --rm {DENIED}:1 true"),
    ("trixie", f"podman manifest inspect {DENIED}:1"),
    ("trixie", f"buildah from {DENIED}:1"),
    ("bookworm", f"skopeo inspect docker://{DENIED}:1"),
    ("trixie", f"skopeo inspect docker://{DENIED}:1"),
    ("bookworm", f"skopeo list-tags docker://{DENIED}"),
    ("trixie", f"skopeo list-tags docker://{DENIED}"),
    ("trixie", f"skopeo sync --src docker --dest dir {DENIED} /tmp/synced"),
]


@case(seconds=90)
def commands_that_ask_for_an_image(lab):
    """Commands that pull on the way, or only look: each says the text, and the registry hears of none."""
    steering.begin(lab)
    denied = {f"{machine}: {command}": lab.run(machine, command) for machine, command in OTHERS}
    compare("commands", denied)
    refused(lab, denied)
