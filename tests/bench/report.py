"""What a run found, as Markdown tables."""

import datetime
import platform
import statistics
from pathlib import Path

import goals
import servers

LOADS = {"common": "at {rate} kq/s, half of what the slowest of {pacemakers} answered", "own": "at half of what each server answered itself"}


def throughput(records, options):
    """A row a server, sorted by the first mix: for each mix CPU µs a query, its ratio to the base's, and queries a second."""
    head = ["server"] + [title for mix in options.mixes for title in (f"{mix}: CPU µs/query", f"× {options.base}", "kq/s")] + ["MiB", "MiB at most"]
    rows = []
    for name in measured(records, options, options.mixes[0], goals.CPU):
        cells = [name]
        for mix in options.mixes:
            rate = [record["queries_per_second"] / 1000 for record in records if (record["server"], record["mix"]) == (name, mix)]
            cells += [*value_and_ratio(records, name, options.base, mix, goals.CPU, 2), f"{statistics.median(rate):.0f}" if rate else ""]
        rows.append([*cells, *(spread(memory, 0) for memory in resident(records, name))])
    return markdown(head, rows)


def resident(records, name):
    """MiB resident after the first and at most after any measurement of a round, in each round."""
    rounds = {}
    for record in records:
        if record["server"] == name:
            rounds.setdefault(record["round"], []).append(record["rss_kib"] / 1024)
    return [found[0] for found in rounds.values()], [max(found) for found in rounds.values()]


def latency(latencies, load, options):
    """The same for the percentiles of the latency at one load."""
    records = [record for record in latencies if record["load"] == load]
    head = ["server", "kq/s"] + [title for percentile in goals.PERCENTILES for title in (f"{percentile} µs", f"× {options.base}")]
    rows = []
    for name in measured(records, options, "mixed", goals.P50):
        rate = [record["rate"] / 1000 for record in records if record["server"] == name]
        cells = [name, f"{statistics.median(rate):.0f}"]
        for percentile in goals.PERCENTILES:
            cells += value_and_ratio(records, name, options.base, "mixed", percentile, 0)
        rows.append(cells)
    return markdown(head, rows)


def measured(records, options, mix, measure):
    """The servers of which there is something, the best first."""
    order = {name: statistics.median(goals.values(records, name, mix, measure).values() or [float("inf")]) for name in {record["server"] for record in records}}
    return sorted((name for name in options.servers if name in order), key=order.get)


def value_and_ratio(records, name, base, mix, measure, digits):
    found = list(goals.values(records, name, mix, measure).values())
    return [spread(found, digits) if found else "void", spread(goals.ratios(records, name, base, mix, measure), 2)]


def spread(found, digits):
    """Median, least and most."""
    if not found:
        return "–"
    middle, least, most = (f"{value:.{digits}f}" for value in (statistics.median(found), min(found), max(found)))
    return middle if least == most else f"{middle} ({least}–{most})"


def markdown(head, rows):
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def footer(facts, options):
    versions = ", ".join(f"{package} {version}" for package, version in facts["versions"].items())
    return (
        f"Median (least–most) of {options.rounds} rounds, {options.seconds:g} s a measurement; × is taken within a round. One core each for server and "
        f"generator. {facts['date']}, {facts['cpu']}, Linux {facts['kernel']}; {versions or 'no other server'}."
    )


def machine(chosen):
    model = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if line.startswith("model name")]
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": (model or [platform.processor()])[0],
        "kernel": platform.release(),
        "versions": servers.versions(chosen),
    }
