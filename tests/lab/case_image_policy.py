"""Whom the image policy is for, how it is tried out, where it learns of publishers, and what it tells beforehand."""

import json
import subprocess

import hub
import network
import steering
from network import CI, DEVELOPERS
from steering import ADDRESS, HUB_IMAGES, IMAGES, REGISTRIES, forget_badges
from support.cases import case, check, equal, wait_until
from wire import Connection

GROUPS = f"""
[[group]]
name = "developers"
clients = ["{DEVELOPERS.v4}.0/24", "{DEVELOPERS.v6}::/64"]
registries = ["*"]

[[group]]
name = "ci"
clients = ["{CI.v4}.0/24", "{CI.v6}::/64"]
registries = ["*"]

[[images]]
registry = "docker-hub"
groups = ["ci"]
community = "allow"
"""


def inspects(lab, machine, image):
    """Whether skopeo may look at an image of the Hub; its refusal has to be the gateway's."""
    done = lab.run(machine, f"skopeo inspect docker://docker.io/{image}")
    check(done.code == 0 or steering.DENIED in done.output, done.output)
    return done.code == 0


def logged(lab, machine, image):
    """What pullgate logged of an image for a machine, last."""
    find = lambda: [entry for entry in lab.entries(machine) if entry.get("image") == image]
    return wait_until(find, 2, f"{image} is logged")[0][-1]


@case
def images_of_two_groups(lab):
    """Each group has its own images: CI pulls what is anybody's and not what is official, developers the other way round."""
    steering.begin(lab)
    lab.pullgate.policy(IMAGES + GROUPS)
    developer, runner = lab.machine(DEVELOPERS), lab.machine(CI)
    seen = {machine: [inspects(lab, machine, image) for image in ("library/tiny:1", "foo/bar:1")] for machine in (developer, runner)}
    equal(seen, {developer: [True, False], runner: [False, True]})
    entry = logged(lab, developer, "foo/bar")
    equal((entry["verdict"], entry["group"], entry["action"], entry["name"]), ("deny", "developers", "pull", hub.REGISTRY))


@case
def clients_that_are_exempt(lab):
    """`exempt-clients`: what Docker calls owners. One machine may pull everything, its neighbour may not."""
    steering.begin(lab)
    owner, neighbour = lab.machine(families="4"), lab.machine(families="4")
    address = lab.addresses[owner][0]
    lab.pullgate.policy(IMAGES.replace('push = ["mycompany/*"]', f'push = ["mycompany/*"]\nexempt-clients = ["{address}/32"]'))
    equal([inspects(lab, machine, "foo/bar:1") for machine in (owner, neighbour)], [True, False])
    equal(inspects(lab, owner, "prom/experimental-tiny:1"), True, "what is denied to everybody")


@case
def images_under_audit(lab):
    """`mode = "audit"`: everything is pulled, and what would be denied is logged so."""
    steering.begin(lab)
    lab.pullgate.policy(IMAGES.replace('push = ["mycompany/*"]', 'push = ["mycompany/*"]\nmode = "audit"'))
    machine = lab.machine()
    equal([inspects(lab, machine, image) for image in ("library/tiny:1", "foo/bar:1", "prom/experimental-tiny:1")], [True, True, True])
    equal([logged(lab, machine, image)["verdict"] for image in ("library/tiny", "foo/bar", "prom/experimental-tiny")], ["allow", "audit", "audit"])


@case
def organizations_of_a_registry_json(lab):
    """Docker's own registry.json in the policy directory: its organizations are allowed, from the reload on and until it is gone."""
    steering.begin(lab)
    machine = lab.machine()
    path = lab.pullgate.policy_file.with_name("registry.json")
    equal(inspects(lab, machine, "foo/bar:1"), False)
    lab.defer(lambda: (path.unlink(missing_ok=True), lab.pullgate.reload()))
    path.write_text('{"allowedOrgs": ["foo"]}', encoding="utf-8")
    lab.pullgate.reload()
    equal(inspects(lab, machine, "foo/bar:1"), True)
    path.unlink()
    lab.pullgate.reload()
    equal(inspects(lab, machine, "foo/bar:1"), False)


# ── publishers ──


def asked(lab, namespace):
    """How often the Hub's API was asked about a namespace."""
    return len([line for line in lab.requests("hub", pattern=f"/v2/orgs/{namespace}/") if line.startswith(hub.API)])


@case
def badge_is_asked_for_once(lab):
    """The Hub is asked of a namespace once, whoever pulls, and of none that the policy decides without."""
    steering.begin(lab)
    forget_badges(lab)
    machines = [lab.machine(), lab.machine()]
    for machine in machines:
        for image in ("bitnami/tiny:1", "bitnami/tiny:2", "library/tiny:1", "mycompany/app:1", "prom/tiny:1", "prom/experimental-tiny:1"):
            equal(inspects(lab, machine, image), "experimental" not in image, image)
    equal({name: asked(lab, name) for name in ("bitnami", "library", "mycompany", "prom")}, {"bitnami": 1, "library": 0, "mycompany": 0, "prom": 0})


@case
def publishers_that_the_policy_lists(lab):
    """`publishers` wins over the Hub, and with `badges = "off"` nobody is asked at all."""
    steering.begin(lab)
    forget_badges(lab)
    machine = lab.machine()
    listed = HUB_IMAGES.replace("official =", 'badges = "off"\npublishers = { verified = ["foo"], sponsored = ["prom"] }\nofficial =')
    lab.pullgate.policy(REGISTRIES + listed)
    equal([inspects(lab, machine, image) for image in ("foo/bar:1", "bitnami/tiny:1", "grafana/tiny:1")], [True, False, False])
    equal(lab.requests("hub", pattern=f"^{hub.API} "), [], "what the Hub was asked")


@case
def badges_outlive_the_hubs_api(lab):
    """The API is away and pullgate is started again: who was verified still is, of whom nothing is known is anybody."""
    steering.begin(lab)
    forget_badges(lab)
    machine = lab.machine()
    equal(inspects(lab, machine, "bitnami/tiny:1"), True)
    lab.world.hub.api.stop()
    lab.defer(lab.world.hub.api.start)
    lab.pullgate.stop()
    lab.pullgate.start()
    # Tokens come from the same program: what is asked of the registry without any is denied before, or asks for one.
    status = lambda image: lab.run(machine, f"curl -sS -o /dev/null -w '%{{http_code}}' https://{hub.REGISTRY}/v2/{image}/manifests/1").output
    equal((status("bitnami/tiny"), status("grafana/tiny")), ("401", "403"))


# ── beforehand ──

CHECKS = [
    (["docker.io/library/tiny:1"], 0, "official"),
    (["docker.io/foo/bar@sha256:" + 64 * "0"], 1, "community images not allowed"),
    (["docker.io/mycompany/app:1", "--push"], 0, "push"),
    (["docker.io/library/tiny:1", "--push"], 1, "push to library/tiny not allowed"),
    (["docker.io/prom/experimental-tiny:1"], 1, "deny"),
]


@case
def check_answers_for_images(lab):
    """`pullgate check` says of an image what a pull or a push would hear, and where the policy says so."""
    lab.pullgate.policy(IMAGES)
    for arguments, code, text in CHECKS:
        done = lab.pullgate.check(*arguments)
        lab.note(f"check {arguments} -> {done.returncode}\n{done.stdout}{done.stderr}")
        equal(done.returncode, code, f"{arguments}: {done.stdout}{done.stderr}")
        check(text in done.stdout and "10-lab.toml" in done.stdout, f"{arguments}: {done.stdout}")


@case
def image_policy_on_the_wire_is_hot(lab):
    """A change of the image policy holds for the very next request, on a connection that is open already."""
    steering.begin(lab)
    with Connection(lab.machine(), hub.REGISTRY, ADDRESS) as connection:
        ask = lambda: connection.ask("GET", "/v2/foo/bar/manifests/1")[0]
        equal(ask(), 403)
        lab.pullgate.policy(IMAGES.replace('community = "deny"', 'community = "allow"'))
        equal(ask(), 401)
        lab.pullgate.policy(IMAGES)
        equal(ask(), 403)


@case
def what_was_wanted_of_images_is_kept_and_replayed(lab):
    """Refused images are in history, stats and roll-out, keys that nobody needed in `policy unused`, and a change tells which images it opens."""
    steering.begin(lab)
    audited = IMAGES + GROUPS.replace("\n[[images]]", 'mode = "audit"\n\n[[images]]')
    lab.pullgate.policy(audited.replace('push = ["mycompany/*"]', 'push = ["mycompany/*", "nobody/needs-this"]'))
    host, developer, runner = hub.REGISTRY, lab.machine(DEVELOPERS), lab.machine(CI)
    with Connection(developer, host, ADDRESS) as connection:
        for repository, status in (("foo/kept", 403), ("foo/kept", 403), ("library/tiny", 401)):
            equal((repository, connection.ask("GET", f"/v2/{repository}/manifests/1")[0]), (repository, status))
    with Connection(runner, host, ADDRESS) as connection:
        equal(connection.ask("GET", "/v2/library/kept/manifests/1")[0], 401, "official images are denied to CI, and let through by audit")

    rows = [row for row in json_lines(lab, "log", "--json", "--since", "1h", "--denied", "--name", host) if row.get("image", {}).get("repository") == "foo/kept"]
    seen = [(row["group"], row["reason"], row["rule"]["pattern"], row["count"]) for row in rows if row["client"] in lab.addresses[developer]]
    equal(seen, [("developers", "community", 'community = "deny"', 2)])
    check(f"{host}/foo/kept  community" in lab.pullgate.command("stats", "--name", host, "--top", "1000").stdout, "the image is not in stats")

    unused = [rule["pattern"] for rule in json_lines(lab, "policy", "unused", "--json")[0]["rules"] if rule["kind"] == "images"]
    check('push = "nobody/needs-this"' in unused and 'community = "deny"' not in unused, unused)
    groups = {group["group"]: group for group in json_lines(lab, "rollout", "--json")[0]["groups"]}
    lacked = [image["name"] for image in groups["ci"]["images"]]
    check(f"{host}/library/kept" in lacked, lacked)

    learned = {image["image"]: image["line"] for image in json_lines(lab, "learn", "--since", "1h", "--json")[0]["images"]}
    equal([learned.get(f"{host}/{repository}") for repository in ("foo/kept", "library/kept")], ['allow = ["foo/kept"]', 'allow = ["library/kept"]'])

    candidate = lab.folder / "next"
    candidate.mkdir()
    (candidate / "10-lab.toml").write_text(audited.replace('allow = ["prom/*"]', 'allow = ["prom/*", "foo/kept"]'), encoding="utf-8")
    flips = json_lines(lab, "policy", "diff", str(candidate), "--json")[0]["replay"]["flips"]
    opened = [(flip["image"]["repository"], flip["old"], flip["new"], flip["rule"]["pattern"]) for flip in flips if flip.get("image")]
    equal(opened, [("foo/kept", "deny", "allow", 'allow = "foo/kept"')])


@case
def what_a_command_lacks_of_images_is_let_through_and_named(lab):
    """`learn --run`: for the time of a command one client is under audit at the gateway as well, and the line for its image is told."""
    steering.begin(lab)
    client = lab.machine(families="4")
    fetch = network.inside(client, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code} ", f"https://{hub.REGISTRY}/v2/foo/run/manifests/1")
    denied = subprocess.run(fetch, text=True, capture_output=True, check=False, timeout=30).stdout
    address, socket = lab.addresses[client][0], lab.pullgate.socket
    learn = network.inside(network.GATEWAY, lab.pullgate.binary, "learn", "--json", "--socket", socket, "--client", address, "--run", "--", *fetch)
    told = subprocess.run(learn, text=True, capture_output=True, check=False, timeout=30)
    status, report = told.stdout.split(" ", 1)
    equal((denied, status), ("403 ", "401"), told.stderr)
    equal([image["line"] for image in json.loads(report)["images"] if image["image"].endswith("/foo/run")], ['allow = ["foo/run"]'])


def json_lines(lab, *arguments):
    """What a command prints as JSON: one document, or one a line."""
    text = lab.pullgate.command(*arguments).stdout
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:]
    return found
