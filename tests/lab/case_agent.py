"""A policy agent on the gateway writes policies while clients ask: verdicts follow at once, and no question is lost."""

import dataclasses
import shutil
from pathlib import Path

from clients import for_each
from machines import TRIXIE, GatewayMachine
from network import DEVELOPERS
from support.cases import check, equal, wait_until
from support.dns import NOERROR, NXDOMAIN, LoadClient
from world import FORBIDDEN, REGISTRY

SCRIPT = Path(__file__).parent / "policy-agent"
FOLDER = "/etc/pullgate/policy.d"
TURNS = 12

# What the agent writes: beside the gateway's own policy, a denial that comes and goes.
DENY = 'version = 1\n[[deny]]\nhosts = ["swing.lab.test"]\nreason = "the agent says so"\n'
ALLOW = 'version = 1\n[[service]]\nname = "swing"\nnames = ["swing.lab.test"]\ngroups = ["developers"]\nprivate-addresses = true\n'


@dataclasses.dataclass(frozen=True)
class Agent:
    """How it writes, and how it has that applied."""

    name: str
    way: str
    apply: str


AGENTS = [
    Agent("rename-and-reload", "rename", "pullgate reload"),
    Agent("links-and-systemctl", "links", "systemctl reload pullgate"),
    Agent("links-alone", "links", "true"),
]


@for_each(AGENTS)
def policy_agent_is_obeyed(lab, agent):
    """Written by rename or by swapping a link, a policy is in force within a second; an asker never misses an answer."""
    gateway = GatewayMachine(lab, TRIXIE)
    shutil.copy(SCRIPT, gateway.guest.place("/usr/local/bin/policy-agent"))
    gateway.boot()
    with LoadClient([REGISTRY, FORBIDDEN], (DEVELOPERS.gateway, 53), netns=gateway.client) as asker:
        for turn in range(TURNS):
            policy, wanted = (DENY, "NXDOMAIN") if turn % 2 else (ALLOW, "NOERROR")
            equal(gateway(f"policy-agent {agent.way} {FOLDER} {agent.apply}", input=policy).returncode, 0, "exit of the agent")
            wait_until(lambda: gateway.rcode("swing.lab.test") == wanted, 1, f"{wanted} in turn {turn}")
    lost_nothing(asker)


def lost_nothing(asker):
    """What was allowed throughout always had its address, what was denied never."""
    allowed = [seen for seen in asker.seen if seen.name == REGISTRY]
    denied = [seen for seen in asker.seen if seen.name == FORBIDDEN]
    check(len(allowed) > 50, f"only {len(allowed)} questions")
    equal({(seen.rcode, seen.records) for seen in allowed}, {(NOERROR, (("A", "198.18.1.10"),))}, "answers for what is allowed")
    equal({(seen.rcode, seen.records) for seen in denied}, {(NXDOMAIN, ())}, "answers for what is denied")
