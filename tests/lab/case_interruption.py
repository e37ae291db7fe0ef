"""While images are being pulled: the policy changes, pullgate is killed. The pulls end well, and nothing leaks meanwhile."""

import network
from clients import ENGINES, words
from machines import BOOKWORM, GatewayMachine
from network import DEVELOPERS
from support.cases import case, check, end, equal, wait_until
from support.dns import NXDOMAIN, LoadClient
from world import CI_ONLY, FORBIDDEN, LARGE, PATH, POLICY, REGISTRY, TINY

# Two versions of dockerd, and an engine that is none.
PULLERS = [engine for engine in ENGINES if engine.name in ("docker-20", "docker-26", "podman-5")]

# The developers' registry is taken from them, and they get another.
SWAPPED = POLICY.replace('registries = ["lab"]', 'registries = ["ci-only"]')

KILLS = 3


@case(seconds=120)
def policy_changes_during_pulls(lab):
    """Pulls of 200 MB go on and end well when the policy forbids their registry; the next new name obeys the new policy."""
    pulls = begin_pulls(lab)
    lab.pullgate.policy(SWAPPED)
    for client in PULLERS:
        denied = lab.run(client.machine, client.pull.format_map(words(f"{REGISTRY}/{TINY}")))
        check(denied.code and "no such host" in denied.output, f"{client.name} still reaches {REGISTRY}: {denied.output}")
        allowed = lab.run(client.machine, client.pull.format_map(words(f"{CI_ONLY}/{TINY}")))
        equal(allowed.code, 0, f"{client.name} pulls from {CI_ONLY}: {allowed.output}")
    still_running(pulls)
    end_well(lab, pulls)


@case(seconds=120)
def pullgate_is_killed_during_pulls(lab):
    """kill -9 again and again: systemd restarts it, a loop of forbidden questions never gets an address, the pulls end well."""
    gateway = GatewayMachine(lab, BOOKWORM).boot()
    pulls = begin_pulls(lab)
    with LoadClient([FORBIDDEN], (DEVELOPERS.gateway, 53), pause=0, patience=0.1, netns=gateway.client) as asker:
        for _ in range(KILLS):
            gateway(f"kill -9 {gateway.property('MainPID')}")
            wait_until(lambda: gateway.rcode(REGISTRY) == "NOERROR", 5, "it serves again")
    still_running(pulls)
    equal(gateway.property("NRestarts"), str(KILLS))
    nothing_resolved(lab, asker.seen)
    end_well(lab, pulls)


def begin_pulls(lab):
    """Starts a pull of the large image by every puller, and waits until its data flow."""
    lab.world.large
    pulls = {}
    for client in PULLERS:
        command = client.pull.format_map(words(f"{REGISTRY}/{LARGE}"))
        pulls[client] = lab.world.guest(client.machine).start(f"PATH={PATH}; {command}")
        lab.defer(lambda client=client: lab.run(client.machine, client.forget))
        lab.defer(lambda client=client: end(pulls[client]))
    wait_until(lambda: flowing() >= len(PULLERS), 30, f"all pulls have begun; {flowing()} have")
    return pulls


def flowing():
    """How many connections have had some megabytes from the redirect host."""
    sent = network.run_in("cdn", "ss -Htin state established '( sport = :443 )' | grep -o 'bytes_acked:[0-9]*' || true").split()
    return sum(int(each.split(":")[1]) > 5_000_000 for each in sent)


def still_running(pulls):
    """What was tried meanwhile was tried meanwhile."""
    equal([client.name for client, pull in pulls.items() if pull.poll() is not None], [], "pulls that have ended already")


def end_well(lab, pulls):
    """Every pull succeeds, and the image is whole: the machine has it under its digest."""
    for client, pull in pulls.items():
        output = pull.communicate(timeout=60)[0]
        lab.note(f"{client.name} pulled: {output}")
        equal(pull.returncode, 0, f"exit of {client.name} ({output})")


def nothing_resolved(lab, seen):
    """Every question was answered with NXDOMAIN or not at all, and there were both kinds."""
    answered = [each for each in seen if each.rcode is not None]
    lost = len(seen) - len(answered)
    lab.note(f"{len(seen)} questions, {lost} of them without an answer")
    equal({(each.rcode, each.records) for each in answered}, {(NXDOMAIN, ())}, "answers for a forbidden name")
    check(lost, "it was never away: the case shows nothing")
