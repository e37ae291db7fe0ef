"""The clients: how each pulls, pushes and forgets an image, and what it prints when a name is denied.

Commands and texts are filled in with what `words` gives for an image reference.
"""

import dataclasses
import re

from support.cases import case, check

NO_SUCH_HOST = "dial tcp: lookup {host} on {resolver}:53: no such host"
NO_REDIRECT = "dial tcp: lookup {redirect} on {resolver}:53: no such host"


@dataclasses.dataclass(frozen=True)
class Client:
    """One way to an image, on one machine."""

    name: str
    machine: str
    pull: str
    denied: str  # what a pull prints whose registry is denied
    redirect_denied: str  # what a pull prints whose registry is allowed, but not where it keeps its blobs
    forget: str = "true"
    push: str = ""  # what was just pulled, as `{pushed}`
    login: str = ""  # at the Hub, as `{user}` with `{password}`; "" if pulls and pushes take `--user`
    logout: str = "true"


def words(image, **more):
    """What commands and texts name: `registry.lab.test/team/tiny:1` and its parts; `{reference}` is its tag or digest."""
    host, repository, reference = re.fullmatch(r"([^/]+)/([^:@]+)[:@](.+)", image).groups()
    return {"image": image, "host": host, "repository": repository, "reference": reference, **more}


def for_each(clients, seconds=60):
    """Registers a function (lab, client) as one case for each client; the client's name follows the function's."""

    def register(function):
        for client in clients:
            case(seconds=seconds)(bound(function, client))
        return function

    return register


def bound(function, client):
    def run(lab):
        function(lab, client)

    run.__name__ = f"{function.__name__}_{client.name}"
    run.__doc__ = function.__doc__
    return run


def says(output, text, filling):
    """The output has the text, filled in; `*` in it stands for anything within a line."""
    wanted = text.format_map(filling)
    pattern = ".*".join(re.escape(part) for part in wanted.split("*"))
    check(re.search(pattern, output), f"it does not say\n{wanted}\nbut\n{output}")


# ── Docker ──

LOGIN = " --username {user} --password {password}"
FORGET_DOCKER = "docker image prune --all --force; docker builder prune --all --force"
PUSH_DOCKER = "docker tag {image} {pushed} && docker push --quiet {pushed}"
BUILD = r"printf 'FROM {image}\nRUN true\n' | "
OPEN = "httpReadSeeker: failed open: "
HEAD = 'failed to do request: Head "https://{host}/v2/{repository}/manifests/{reference}": ' + NO_SUCH_HOST
GET_BLOB = 'Get "https://{redirect}/docker/registry/v2/blobs/sha256/*/data": ' + NO_REDIRECT


def docker(name, machine, pull, denied, redirect_denied, push=""):
    return Client(name, machine, pull, denied, redirect_denied, FORGET_DOCKER, push, "docker login" + LOGIN, "docker logout")


PULL = "docker pull --quiet {image}"
PULL_DENIED = 'Error response from daemon: Get "https://{host}/v2/": ' + NO_SUCH_HOST
PULL_NO_REDIRECT = "error pulling image configuration: download failed after attempts=6: " + NO_REDIRECT
CLASSIC = BUILD + "DOCKER_BUILDKIT=0 docker build --pull --no-cache --quiet -"
CLASSIC_DENIED = 'Get "https://{host}/v2/": ' + NO_SUCH_HOST
BUILDKIT = BUILD + "DOCKER_BUILDKIT=1 docker build --pull --no-cache --quiet -"
BUILDKIT_DENIED = "failed to solve with frontend dockerfile.v0: failed to create LLB definition: " + HEAD
BUILDKIT_NO_REDIRECT = OPEN + "failed to do request: " + GET_BLOB
BUILDX = BUILD + "docker buildx build --pull --no-cache --quiet -"
BUILDX_DENIED = "ERROR: failed to solve: {image}: failed to resolve source metadata for {image}: " + HEAD
STORE_DENIED = 'Error response from daemon: failed to resolve reference "{image}": ' + HEAD
STORE_NO_REDIRECT = "failed to copy: " + OPEN + "failed to do request: " + GET_BLOB

DOCKERS = [
    docker("docker-20", "bookworm", PULL, PULL_DENIED, PULL_NO_REDIRECT, PUSH_DOCKER),
    docker("docker-20-classic-build", "bookworm", CLASSIC, CLASSIC_DENIED, PULL_NO_REDIRECT),
    docker("docker-20-buildkit", "bookworm", BUILDKIT, BUILDKIT_DENIED, BUILDKIT_NO_REDIRECT),
    docker("docker-26", "trixie", PULL, PULL_DENIED, PULL_NO_REDIRECT, PUSH_DOCKER),
    docker("docker-26-classic-build", "trixie", CLASSIC, CLASSIC_DENIED, PULL_NO_REDIRECT),
    docker("docker-26-buildx", "trixie", BUILDX, BUILDX_DENIED, BUILDKIT_NO_REDIRECT),
    docker("docker-26-store", "trixie-store", PULL, STORE_DENIED, STORE_NO_REDIRECT, PUSH_DOCKER),
    docker("docker-26-store-buildx", "trixie-store", BUILDX, BUILDX_DENIED, BUILDKIT_NO_REDIRECT),
]

# ── the others, each in the version of either Debian ──

PINGING = 'initializing source docker://{image}: pinging container registry {host}: Get "https://{host}/v2/": ' + NO_SUCH_HOST
QUOTED_GET_BLOB = GET_BLOB.replace('"', r"\"")


def ctr(name, machine):
    return Client(
        name,
        machine,
        pull="ctr images pull {image}",
        denied='ctr: failed to resolve reference "{image}": ' + HEAD,
        redirect_denied="ctr: failed to copy: " + OPEN + "failed to do request: " + GET_BLOB,
        forget="ctr images rm --sync $(ctr images ls -q)",
        push="ctr images tag {image} {pushed} && ctr images push {pushed}",
    )


def podman(name, machine, program):
    return Client(
        name,
        machine,
        pull=f"{program} pull --quiet {{image}}",
        denied="Error: " + PINGING,
        redirect_denied="Error: parsing image configuration: " + GET_BLOB,
        forget=f"{program} rmi --all --force",
        push=f"{program} tag {{image}} {{pushed}} && {program} push {{pushed}}",
        login=f"{program} login{LOGIN} docker.io",
        logout=f"{program} logout docker.io",
    )


def skopeo(name, machine):
    return Client(
        name,
        machine,
        pull="skopeo copy docker://{image} dir:/tmp/image",
        denied='level=fatal msg="' + PINGING.replace('"', r"\"") + '"',
        redirect_denied='level=fatal msg="reading blob sha256:*: ' + QUOTED_GET_BLOB + '"',
        forget="rm -rf /tmp/image",
        push="skopeo copy dir:/tmp/image docker://{pushed}",
        login=f"skopeo login{LOGIN} docker.io",
        logout="skopeo logout docker.io",
    )


CURL = Client(
    "curl",
    "bookworm",
    pull="curl -sSfL -H 'Accept: application/vnd.oci.image.manifest.v1+json' https://{host}/v2/{repository}/manifests/{reference}"
    " && curl -sSfL -o /dev/null https://{host}/v2/{repository}/blobs/{blob}",
    denied="curl: (6) Could not resolve host: {host}",
    redirect_denied="curl: (6) Could not resolve host: {redirect}",
)

ENGINES = [
    *DOCKERS,
    ctr("containerd-1.6", "bookworm"),
    ctr("containerd-1.7", "trixie"),
    podman("podman-4", "bookworm", "podman"),
    podman("podman-5", "trixie", "podman"),
    podman("buildah-1.28", "bookworm", "buildah"),
    podman("buildah-1.39", "trixie", "buildah"),
    skopeo("skopeo-1.9", "bookworm"),
    skopeo("skopeo-1.18", "trixie"),
    CURL,
]
# Those that know what an image is.
IMAGE_CLIENTS = [client for client in ENGINES if client is not CURL]


# ── programs that ask for no image ──


@dataclasses.dataclass(frozen=True)
class Program:
    """Something else that reaches for a host, and what it prints when the name is denied."""

    name: str
    machine: str
    run: str
    denied: str


APT_OPTIONS = "-o Acquire::Retries=0 -o Dir::Etc::SourceList=/tmp/lab.list -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists=/tmp/lists"
APT = (
    r"printf 'deb [trusted=yes] http://{host}/ ./\n' > /tmp/lab.list; mkdir -p /tmp/lists/partial; "
    f"apt-get update {APT_OPTIONS}"
)
PYTHON = "python3 -c 'import urllib.request as web; web.urlopen(\"https://{host}/\")'"

PROGRAMS = [
    Program("curl", "bookworm", "curl -sSf https://{host}/", "curl: (6) Could not resolve host: {host}"),
    Program("git", "bookworm", "git ls-remote https://{host}/x.git", "fatal: unable to access 'https://{host}/x.git/': Could not resolve host: {host}"),
    Program("apt-2.6", "bookworm", APT, "Could not resolve '{host}'"),
    Program("apt-3.0", "trixie", APT, "Could not resolve '{host}'"),
    Program("python", "bookworm", PYTHON, "[Errno -2] Name or service not known"),
    Program("getent", "trixie", "getent ahosts {host} || echo getent ended with $?", "getent ended with 2"),
]
