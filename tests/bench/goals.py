"""What pullgate is to reach beside its peers, and whether a run shows it."""

import dataclasses
import statistics

import servers

# Of those that do the same and are in the run, the one beside which pullgate looks worst, by ratios within a round.
BEST_PEER = "the best peer"
# What is compared, by its key in a measurement.
CPU, P50, P99, P999 = "cpu_us_per_query", "p50", "p99", "p99.9"
PERCENTILES = (P50, P99, P999)


@dataclasses.dataclass(frozen=True)
class Goal:
    """A ratio that is not to be exceeded."""

    work: str
    measure: str
    against: str
    reach: float


GOALS = (
    Goal("denied", CPU, BEST_PEER, 0.87),
    Goal("allowed", CPU, BEST_PEER, 0.87),
    Goal("mixed", CPU, BEST_PEER, 0.85),
    Goal("denied", CPU, "echo", 1.08),
    Goal("allowed", CPU, "echo", 1.12),
    Goal("new", CPU, "unbound", 0.40),
    Goal("new", CPU, "dnsdist", 1.0),
    *(Goal("mixed", percentile, peer, 1.0) for peer in ("unbound", "dnsdist") for percentile in PERCENTILES),
)


def judge(records, server="pullgate"):
    """Each goal with its ratios in this run: median, least and most of those within a round. As dictionaries."""
    return [outcome(goal, records, server) for goal in GOALS]


def outcome(goal, records, server):
    against = best_peer(records, server, goal) if goal.against == BEST_PEER else goal.against
    found = ratios(records, server, against, goal.work, goal.measure)
    result = dataclasses.asdict(goal) | {"compared_with": against, "rounds": len(found)}
    if found:
        median = statistics.median(found)
        result |= {"ratio": median, "least": min(found), "most": max(found), "met": median <= goal.reach}
    return result


def best_peer(records, server, goal):
    peers = (name for name, kind in servers.ALL.items() if kind.peer)
    found = {name: ratios(records, server, name, goal.work, goal.measure) for name in peers}
    medians = {name: statistics.median(each) for name, each in found.items() if each}
    return max(medians, key=medians.get, default=None)


def values(records, server, work, measure):
    """{round: value} of what was measured of a server."""
    return {record["round"]: record[measure] for record in records if (record["server"], record["mix"]) == (server, work) and measure in record}


def ratios(records, server, base, work, measure):
    """How many times the base's value the server's is, in each round that has both."""
    mine, theirs = values(records, server, work, measure), values(records, base, work, measure)
    return [mine[number] / theirs[number] for number in mine if number in theirs]


def table(outcomes):
    """The goals in Markdown."""
    lines = ["| goal | at most | here: median of the ratios within a round (min–max) | |", "|---|---|---|---|"]
    for goal in outcomes:
        what = f"{goal['work']}, CPU time" if goal["measure"] == CPU else f"{goal['work']}, {goal['measure']} latency"
        against = goal["against"] if goal["compared_with"] in (goal["against"], None) else f"{goal['against']}, {goal['compared_with']}"
        measured = f"{goal['ratio']:.3f} ({goal['least']:.2f}–{goal['most']:.2f})" if "ratio" in goal else "not measured"
        sign = ("✓" if goal["met"] else "✗") if "met" in goal else "–"
        lines.append(f"| {what}, beside {against} | {goal['reach']:.2f} | {measured} | {sign} |")
    return "\n".join(lines)
