"""The gateway and docker-registry read every path alike: whatever comes through is about the repository that was judged."""

import json
import random
import time

import network
from network import REGISTRIES
from servers import Registry
from steering import IMAGES
from support.cases import case, check, equal, wait_until
from wire import Connection

HOST = "paths.lab.test"
PATHS = 2000
# Events that are logged in a second, with room to spare.
A_SECOND = 300
NAMES = [
    *("a", "b", "library", "a.b", "a_b", "a__b", "a___b", "a-b", "a--b", "a---b", "0", "a" * 100),
    *("-a", "a-", ".a", "a.", "_a", "a..b", "a.-b", "A", "aB", "ü", "a~b", "a;b", "a:b", "a@b", "a+b", "a b", "a!b", "~", ":", "@"),
    *("", ".", "..", "...", "%2e", "%2e%2e", "%2E", "%2f", "a%2fb", "a%2Fb", "%61", "%00", "%", "%zz", "%c3%bc", "%252f", "a%20b", "\\", "a\\b"),
    *("manifests", "blobs", "uploads", "tags", "list", "referrers", "v1", "v2", "_catalog", "token", "manifests:1", "blobs%2fuploads"),
]
DIGEST = f"sha256:{64 * '0'}"
ENDS = [
    *("/manifests/1", "/manifests/latest", f"/manifests/{DIGEST}", f"/manifests/{DIGEST[:-1]}", "/manifests/", "/manifests", "/manifests/a/b", "/manifests/1/", "//manifests/1"),
    *("/manifests//1", "/manifests/.", "/manifests/..", "/manifests/%2e%2e", "/manifests/1%2f2", "/manifests/ü", "/manifests/-1", "/manifests/" + 129 * "a"),
    *(f"/blobs/{DIGEST}", "/blobs/sha256:00", "/blobs/sha512:" + 128 * "0", "/blobs/1", "/blobs/uploads/", "/blobs/uploads", "/blobs/uploads/abc", "/blobs/uploads/a/b"),
    *("/tags/list", "/tags/list/", "/tags/list?n=1", "/tags/", "/tags", "/tags/1", f"/referrers/{DIGEST}", "/referrers/", "/_catalog", "", "/", "/manifests/1?a=b", "/manifests/1#a"),
]
BEGINS = [*["/v2/"] * 30, "/v2", "//v2/", "/v2//", "/V2/", "/v2/./", "/v2/../v2/", "/%762/", "/v1/../v2/", "/v2%2f", "/a/../v2/", "/./v2/", "v2/"]


@case(seconds=120)
def odd_paths_mean_the_same_to_both(lab):
    """2,000 odd paths: those that come through, docker-registry takes for the repository that the gateway logged; the rest is refused."""
    log = registry_with_log(lab)
    lab.pullgate.policy(IMAGES)  # nothing of this registry is allowed, and all of it passes: it is audited
    machine = lab.machine(families="4")
    for at in range(0, PATHS, A_SECOND):
        begun = time.monotonic()
        send(machine, odd_paths()[at : at + A_SECOND], at)
        wait_until(lambda begun=begun: time.monotonic() > begun + 1, 2, "another second")
    came = taken(log)
    named = [each for each in came if each[1]]
    judged = [entry["image"] for entry in lab.entries(machine, name=HOST) if entry.get("image") and entry["verdict"] == "audit"]
    lab.note(f"{len(came)} paths came through, {len(named)} of them to a repository; {len(judged)} were judged")
    check(len(named) > PATHS / 20, "next to none came through: the case shows nothing")
    differ = [(path, there, here) for (path, there), here in zip(came, judged) if there not in (here, "")]
    equal(differ[:5], [], "paths, with what docker-registry and the gateway took for the repository")
    equal(len(judged), len(came), "how many were judged, and came through")


def registry_with_log(lab):
    """Starts a registry that logs what it takes for the repository; returns its log."""
    machine = network.add_machine("paths", REGISTRIES, 67)
    lab.defer(lambda: network.remove_machine(machine))
    registry = Registry(machine, lab.folder / "registry", HOST, lab.world.authority, log="{ level: debug, formatter: json }")
    registry.start()
    lab.defer(registry.stop)
    return registry.log


def odd_paths():
    """The same each time."""
    chance = random.Random(1)
    name = lambda: "/".join(chance.choices(NAMES, [6] * 12 + [1] * (len(NAMES) - 12), k=chance.choice((1, 1, 2, 2, 2, 3, 4))))
    made = {}
    while len(made) < PATHS:
        made[chance.choice(BEGINS) + name() + chance.choice(ENDS)] = None
    return list(made)


def send(machine, paths, number):
    """Asks for each, by its number as user agent, over as few connections as the gateway allows."""
    connection = None
    for at, path in enumerate(paths, number):
        try:
            connection = connection or Connection(machine, HOST)
            connection.ask("GET", path.encode().decode("latin-1"), User_Agent=f"probe-{at}")
        except (OSError, IndexError, ValueError):  # closed instead of answered
            connection = None


def taken(log):
    """[(path, repository or "")] of what has come to docker-registry, in order, but for the lists of all repositories and the ping."""
    found = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        if line.startswith("{"):
            entry = json.loads(line)
            agent, name = entry.get("http.request.useragent", ""), entry.get("vars.name", "")
        else:
            agent, name = line.rstrip('"').rpartition('"')[2], ""
        if agent.startswith("probe-"):
            number = int(agent.removeprefix("probe-"))
            found[number] = found.get(number) or name
    paths = odd_paths()
    return [(paths[number], name) for number, name in sorted(found.items()) if paths[number].rstrip("/") not in ("/v2", "/v2/_catalog")]
