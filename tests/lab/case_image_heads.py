"""Which answer to the HEAD of a denied manifest shows the reason best: each form there is, tried with each client.

The gateway answers 405: of the forms that show every client the text, the one that is also shortest in each.
"""

import network
from clients import IMAGE_CLIENTS, for_each, words
from denier import BLOBS, MANIFESTS, TEXT, repository
from golden import compare
from network import REGISTRIES
from servers import Program
from support.cases import check
from world import POLICY

HOST, TOKENS = "denier.lab.test", "tokens.lab.test"
PUSHERS = [client for client in IMAGE_CLIENTS if client.push and not client.name.startswith("skopeo")]
DENIER_POLICY = POLICY.replace('hosts = ["', f'hosts = ["{HOST}", "{TOKENS}", "', 1)
CHOSEN, CHOSEN_BLOB = "405", "404"


@for_each(IMAGE_CLIENTS)
def heads_of_denied_manifests(lab, client):
    """A denied pull, with each answer to HEAD: what the client prints. With 405 it prints the text, whatever the client."""
    begin(lab)
    pulls = {form: lab.run(client.machine, pull(client, form)) for form in MANIFESTS}
    check(TEXT in pulls[CHOSEN].output, pulls[CHOSEN].output)
    compare(f"heads/{client.name}", pulls)


@for_each(PUSHERS)
def heads_of_blobs_before_a_denied_push(lab, client):
    """A denied push, with each answer to the HEAD of its blobs: only 404 lets every client come to hear the text."""
    begin(lab)
    image, _ = lab.image()
    lab.defer(lambda: lab.run(client.machine, client.forget))
    lab.run(client.machine, client.pull.format_map(words(f"{image}:1")))
    filling = lambda form: words(f"{image}:1", pushed=f"{HOST}/{repository(CHOSEN, form)}:1")
    pushes = {form: lab.run(client.machine, client.push.format_map(filling(form))) for form in BLOBS}
    text = f"image access denied: push to {repository(CHOSEN, CHOSEN_BLOB)} not allowed"
    check(text in pushes[CHOSEN_BLOB].output, pushes[CHOSEN_BLOB].output)
    compare(f"heads/push-{client.name}", pushes)


def begin(lab):
    """Has the denier serve, and the policy allow it."""
    machine = network.add_machine("denier", REGISTRIES, 60)
    lab.defer(lambda: network.remove_machine(machine))
    program = Program(machine, lab.folder / "denier", "denier.py", *lab.world.authority.issue(HOST, TOKENS), HOST, TOKENS)
    program.start()
    lab.defer(program.stop)
    lab.pullgate.policy(DENIER_POLICY)


def pull(client, form):
    return client.pull.format_map(words(f"{HOST}/{repository(form)}:1"))
