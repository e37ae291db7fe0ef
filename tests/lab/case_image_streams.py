"""What flows through the gateway: layers that are cut off and resumed, reloads and kills meanwhile, and how little it keeps of them."""

import hashlib
import re

import network
import steering
from clients import IMAGE_CLIENTS, for_each, words
from network import GATEWAY
from steering import ADDRESS, IMAGES, OWN
from support.cases import case, check, end, equal, wait_until
from wire import Connection
from world import BIG, HUGE, PATH

# Of each kind of program that downloads, one.
PULLERS = [client for client in IMAGE_CLIENTS if client.name in ("docker-26", "containerd-1.7", "podman-5")]
# How much of the layer has passed when something happens to it.
BEGUN = 50_000_000
# What the gateway may hold, whatever passes.
MEGABYTES = 60


@for_each(PULLERS, seconds=120)
def layer_is_resumed_when_its_connection_is_cut(lab, client):
    """The connection is cut in the middle of a layer, of 1 GB for one client: what has come is kept, and the rest is asked for by Range."""
    name = HUGE if client.name == "podman-5" else BIG
    image = lab.world.huge if name == HUGE else lab.world.big
    pull = begin_pull(lab, client, name)
    network.run_in(GATEWAY, f"ss -K sport = 443 dst {lab.addresses[client.machine][0]}")
    ends_well(lab, client, pull, name)
    resumed(lab, client, image)


@for_each(PULLERS, seconds=120)
def gateway_is_killed_during_a_pull(lab, client):
    """kill -9 in the middle of a layer: nothing comes round the gateway, and the pull goes on where it was once it is back."""
    image = lab.world.big
    pull = begin_pull(lab, client, BIG)
    lab.pullgate.kill()
    check(lab.run(client.machine, f"curl -sS --resolve {OWN}:443:{ADDRESS} https://{OWN}/v2/").code, "somebody answers")
    lab.pullgate.start()
    ends_well(lab, client, pull, BIG)
    resumed(lab, client, image)


@for_each(PULLERS[:2], seconds=120)
def policy_changes_during_a_pull(lab, client):
    """The policy forbids the image in the middle of its layer: what flows goes on to its end, the next request is denied."""
    lab.world.big
    pull = begin_pull(lab, client, BIG)
    lab.pullgate.policy(IMAGES.replace('allow = ["**"]', 'allow = ["**"]\ndeny = ["team/big"]'))
    denied = lab.run(client.machine, f"curl -sS https://{OWN}/v2/team/big/manifests/1")
    check(steering.DENIED in denied.output, denied.output)
    equal(pull.poll(), None, "how the pull has ended already")
    output = pull.communicate(timeout=60)[0]
    equal(pull.returncode, 0, output)


def begin_pull(lab, client, image):
    """Starts a pull of the image, and waits until some of its layer has come."""
    lab.pullgate.policy(IMAGES)
    lab.run(client.machine, "true")  # which boots it, if nobody has
    pull = lab.world.guest(client.machine).start(f"PATH={PATH}; {command(client, image)}")
    lab.defer(lambda: lab.run(client.machine, client.forget))
    lab.defer(lambda: end(pull))
    wait_until(lambda: passed(client.machine) > BEGUN or pull.poll() is not None, 30, "some of the layer has come")
    equal(pull.poll(), None, "how the pull has ended already")
    return pull


def command(client, image):
    return client.pull.format_map(words(f"{OWN}/{image}"))


def passed(machine):
    """How much has come to a machine from the gateway, by its connections that are open."""
    shown = network.run_in(machine, f"ss -Htin state established dst {ADDRESS}")
    return sum(int(each) for each in re.findall(r"bytes_received:(\d+)", shown))


def ends_well(lab, client, pull, image):
    """The pull succeeds; of clients that give up, when it is tried again."""
    output = pull.communicate(timeout=60)[0]
    lab.note(f"{client.name}: {pull.returncode}\n{output}")
    if pull.returncode:
        done = lab.run(client.machine, command(client, image))
        equal(done.code, 0, done.output)


def resumed(lab, client, image):
    """The registry was asked for a part of the layer, and sent no more than the whole and a little.

    `ctr` gives up, and keeps what it has until the next collection: tried again it goes on from there, or from the beginning.
    """
    if client.name.startswith("containerd"):
        return
    wait_until(lambda: lab.requests("ci-only", pattern=f'/blobs/{image.blob} HTTP/1.1" 206 '), 2, "a part was asked for")
    sent = sum(int(line.split('" ')[1].split()[1]) for line in lab.requests("ci-only", pattern=f'"GET .*/blobs/{image.blob} HTTP/1.1" 20'))
    check(sent < 1.5 * image.size, f"the registry sent {sent} bytes of {image.size}")


# ── memory ──


@case(seconds=120)
def push_of_2_gb_leaves_no_trace_in_memory(lab):
    """2 GB are pushed through the gateway in one request, as fast as it goes; it never holds more than 60 MB."""
    lab.pullgate.policy(IMAGES)
    machine = lab.machine(families="4")
    forget_memory(lab)
    with Connection(machine, OWN) as registry:
        status, headers = registry.ask("POST", "/v2/team/pushed/blobs/uploads/", body=[])
        equal(status, 202)
        digest = hashlib.sha256()
        status, headers = registry.ask("PATCH", path_of(headers["location"]), body=zeros(2000, digest))
        equal(status, 202)
        place = path_of(headers["location"])
        status, headers = registry.ask("PUT", f"{place}{'&' if '?' in place else '?'}digest=sha256:{digest.hexdigest()}", body=[])
        equal(status, 201)
    peak = memory(lab)
    lab.note(f"at most {peak:.1f} MB")
    check(peak < MEGABYTES, f"the gateway held {peak:.1f} MB")
    lab.requested("ci-only", None, "PATCH /v2/team/pushed/blobs/uploads/")


@case(seconds=120)
def pulls_at_once_leave_no_trace_in_memory(lab):
    """20 clients read 100 MB each at once, and one begins and does not go on: the gateway waits for each, and never holds more than 60 MB."""
    lab.pullgate.policy(IMAGES)
    blob = lab.world.huge.blob
    machine = lab.machine(families="4")
    forget_memory(lab)
    with Connection(machine, OWN) as idle:
        idle.send(f"GET /v2/team/huge/blobs/{blob} HTTP/1.1\r\nHost: {OWN}\r\n\r\n")
        command = f"curl -sS -r 0-99999999 -o /dev/null https://{OWN}/v2/team/huge/blobs/{blob}"
        done = lab.run(machine, f"for i in $(seq 20); do {command} & done; wait", seconds=100)
        equal((done.code, done.output.count("curl:")), (0, 0), done.output)
    peak = memory(lab)
    lab.note(f"at most {peak:.1f} MB")
    check(peak < MEGABYTES, f"the gateway held {peak:.1f} MB")


def zeros(megabytes, digest):
    block = bytes(1_000_000)
    for _ in range(megabytes):
        digest.update(block)
        yield block


def path_of(location):
    """The path and query of an absolute or relative URL."""
    return re.sub(r"^https?://[^/]+", "", location)


def forget_memory(lab):
    """Has the kernel count anew what the process has held at most."""
    with open(f"/proc/{lab.pullgate.process.pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def memory(lab):
    """What the process has held at most, in megabytes."""
    with open(f"/proc/{lab.pullgate.process.pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1]) / 1000
