"""Which images may be pulled: each category allowed and denied, by tag and by digest, with every client."""

import hub
import steering
from clients import IMAGE_CLIENTS, for_each, words
from golden import compare
from support.cases import check, equal, wait_until

# By category, as the policy has it that cases begin with.
ALLOWED = ["library/tiny", "bitnami/tiny", "mycompany/app", "prom/tiny"]
DENIED = ["grafana/tiny", "foo/bar", "prom/experimental-tiny", "troubled/tiny"]
# A digest that is in no store: dockerd asks for nothing that it still has.
NOWHERE = "sha256:" + 64 * "1"
# The same the other way round. What organizations have is always allowed; a deny is one.
REVERSED = steering.IMAGES
for word in ("official", "verified-publishers"):
    REVERSED = REVERSED.replace(f'{word} = "allow"', f'{word} = "deny"')
for word in ("sponsored-oss", "community"):
    REVERSED = REVERSED.replace(f'{word} = "deny"', f'{word} = "allow"')
REVERSED_ALLOWED = ["grafana/tiny", "foo/bar", "mycompany/app"]
REVERSED_DENIED = ["library/tiny", "bitnami/tiny", "prom/experimental-tiny"]


@for_each(IMAGE_CLIENTS, seconds=120)
def images_by_category(lab, client):
    """Official, verified, of an organization, listed: pulled. Sponsored, community, denied, of unknown badge: the client's own words."""
    steering.begin(lab)
    lab.defer(lambda: lab.run(client.machine, client.forget))
    pulls(lab, client, [f"{name}:1" for name in ALLOWED] + [f"library/tiny@{lab.world.tiny.digest}"])
    lab.run(client.machine, client.forget)  # some ask for nothing that they have under the same digest
    denied = refuses(lab, client, [f"{name}:1" for name in DENIED] + [f"foo/bar@{NOWHERE}"])
    lab.pullgate.policy(REVERSED)
    pulls(lab, client, [f"{name}:1" for name in REVERSED_ALLOWED])
    lab.look_at(hub.MACHINE)
    lab.run(client.machine, client.forget)
    denied |= refuses(lab, client, [f"{name}:1" for name in REVERSED_DENIED])
    compare(f"denied/{client.name}", denied)


def pull(lab, client, image):
    return lab.run(client.machine, client.pull.format_map(words(f"docker.io/{image}")))


def pulls(lab, client, images):
    """Each of the images is pulled."""
    for image in images:
        done = pull(lab, client, image)
        equal(done.code, 0, f"exit of the pull of {image} ({done.output})")
        repository = image.replace("@", ":").split(":")[0]
        wait_until(lambda repository=repository: steering.asked_of_the_registry(lab, repository), 2, f"the Hub was asked for {image}")


def refuses(lab, client, images):
    """None of the images is pulled, and the registry never hears of any; returns what the client printed."""
    denied = {image.replace(NOWHERE, "sha256:…"): pull(lab, client, image) for image in images}
    for image, done in denied.items():
        check(done.code and steering.DENIED in done.output, f"{image}: exit {done.code}, and it says\n{done.output}")
        repository = image.replace("@", ":").split(":")[0]
        equal(steering.asked_of_the_registry(lab, repository), [], f"what the registry heard of {image}")
    return denied
