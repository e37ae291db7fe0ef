"""The figures: each a function of the bench and the options that returns its rows, each with a goal, and what was measured."""

import json
import os
import re
import statistics
import subprocess
import threading
import time
from pathlib import Path

import costs_server
import servers

ROOT = Path(__file__).resolve().parents[2]


def idle(bench, _):
    policy = folder(bench, "idle-policy.d")
    write_policy(policy, "idle", [f"host{index}.domain{index % 7}.example" for index in range(99)] + ["*.cached.example"])
    with bench.serving("idle", policy) as server:
        server.first_answer("a.cached.example")
        time.sleep(1)
        memory = server.memory()
    value = f"{mib(memory['rss'])} MiB ({mib(memory['anonymous'])} of its own, the rest pages of files)"
    return {"memory": memory, "rows": [row("resident idle, 100 rules", value, "under 12 MB", memory["rss"] * 1024 < 12e6)]}


def rules(_, options):
    command = ["cargo", "bench", "--locked", "--bench", "matcher"]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    numbers = next([int(word) for word in re.findall(r"\d+", line)] for line in output.splitlines() if line.lstrip().startswith("1000000 "))
    _, parse, compile_, size, *_ = numbers
    return {"output": output, "rows": [
        row("bytes a rule beyond the text, 1,000,000 rules", str(size), "at most 40", size <= 40),
        row("compiling 1,000,000 rules, parsed", f"{compile_} ms (parsing {parse} ms)", "under 1 s", compile_ < 1000),
    ]}


def cache(bench, _):
    policy = folder(bench, "cache-policy.d")
    write_policy(policy, "cache", ["*.cached.example"])
    questions = write_questions(bench, "cached", [f"host{number}.site{number % 1000}.cached.example A NOERROR" for number in range(CACHED)])
    # Entries spread over the cache's parts by hash; with some room every one of them is kept.
    with bench.serving("cache", policy, cache_entries=CACHED * 6 // 5) as server:
        server.first_answer("a.cached.example")
        time.sleep(1)
        before = server.memory()
        while (kept := server.metric("pullgate_cache_entries")) < CACHED:
            report = server.ask(questions, seconds=30, count=CACHED, window=64)
            if report["wrong"]:
                raise RuntimeError(f"wrong answers: {report}")
        after = server.memory()
    value = f"{mib(after['rss'])} MiB ({mib(before['rss'])} before; {(after['rss'] - before['rss']) * 1024 / kept:.0f} bytes an answer)"
    return {"before": before, "after": after, "entries": kept, "rows": [row("resident with 100,000 cached answers", value, "under 60 MB", after["rss"] * 1024 < 60e6)]}


def start(bench, options):
    allowed, denied = [], []
    for number in range(options.starts):
        for times, name, rcode in ((allowed, "registry-1.docker.io", 0), (denied, "no.example", 3)):
            with bench.serving("start", ROOT / "config/policy.d") as server:
                times.append(server.first_answer(name, rcode) * 1000)
    value = f"{statistics.median(allowed):.1f} ms ({min(allowed):.1f}–{max(allowed):.1f}); a denial {statistics.median(denied):.1f} ms ({min(denied):.1f}–{max(denied):.1f})"
    return {"allowed_ms": allowed, "denied_ms": denied, "rows": [row(f"exec to the first answer, median of {options.starts}", value, "within 50 ms", statistics.median(allowed) <= 50)]}


def reload(bench, options):
    policy = folder(bench, "reload-policy.d")
    big = BigPolicy(bench.folder, policy, options.rules)
    names = [f"host{number}.cached.example A NOERROR" for number in range(1000)]
    questions = write_questions(bench, "reload", [line for number in range(50_000) for line in (names[number % 1000], f"www.site{number}.denied.example A NXDOMAIN")])
    with bench.serving("reload", policy) as server:
        server.first_answer("a.cached.example")
        server.ask(questions, seconds=3)
        quiet = reload_times(big, server, 3)
        idle_memory = server.memory()
        full = server.ask(questions, seconds=options.seconds)
        with reloads(big, server) as done:
            loaded = server.ask(questions, seconds=options.seconds)
        loaded["reloads"] = list(done)
        rounds = [paced_round(big, server, questions, options, full["right"] / full["seconds"] / 2) for _ in range(options.rounds)]
        memory = server.memory()
    return {"quiet_seconds": quiet, "full": full, "full_reloading": loaded, "rounds": rounds, "memory": [idle_memory, memory], "rows": reload_rows(options, quiet, full, loaded, rounds, memory)}


def paced_round(big, server, questions, options, rate):
    """Latencies at `rate`, without and with reloads going on."""
    quiet = server.ask(questions, seconds=options.seconds, rate=int(rate))
    with reloads(big, server) as done:
        busy = server.ask(questions, seconds=options.seconds, rate=int(rate))
    return {"rate": rate, "quiet": quiet, "reloading": busy, "reloads": list(done)}


def reload_rows(options, quiet, full, loaded, rounds, memory):
    lost = loaded["lost"] + loaded["wrong"]
    ratio = statistics.median(latency(one, "reloading") / latency(one, "quiet") for one in rounds)
    tails = [statistics.median(latency(one, part) for one in rounds) for part in ("quiet", "reloading")]
    times = [seconds for one in rounds for seconds in one["reloads"]]
    return [
        row(f"lost or wrong answers at full rate during reloads of {options.rules:,} rules", f"{lost} of {loaded['right']} ({loaded['right'] / loaded['seconds'] / 1000:.0f} kq/s, {full['right'] / full['seconds'] / 1000:.0f} without)", "none", lost == 0),
        row("the same in an open loop, at half of that rate", f"{share_lost(rounds, 'reloading')} with reloads, {share_lost(rounds, 'quiet')} without", "–", True),
        row("p99.9 at half of the full rate, with reloads", f"{ratio:.2f} times ({tails[1]:.0f} µs beside {tails[0]:.0f} µs)", "at most 2 times", ratio <= 2),
        row(f"a reload of {options.rules:,} rules, parsing included", f"{statistics.median(quiet):.1f} s idle, {statistics.median(times):.1f} s at half of the full rate; peak {mib(memory['peak'])} MiB", "–", True),
    ]


def share_lost(rounds, part):
    """How much is lost by clients who do not wait: of what comes while the machine stands still, some finds no room."""
    lost, right = (sum(one[part][count] for one in rounds) for count in ("lost", "right"))
    return f"{lost} of {lost + right}"


def latency(one, part):
    """The time that 999 of 1,000 answers took at most, in µs."""
    return one[part]["latency_us"]["p99.9"]


class reloads:
    """Reloads one after another, each of another policy, for as long as the block lasts; the seconds each took."""

    def __init__(self, big, server):
        self.big, self.server = big, server
        self.done, self.error = [], None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def __enter__(self):
        self.thread.start()
        return self.done

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        if self.error:
            raise self.error

    def _run(self):
        try:
            while not self.over.is_set():
                self.done += reload_times(self.big, self.server, 1)
        except Exception as error:  # told to the block that waits
            self.error = error


def reload_times(big, server, count):
    times = []
    for _ in range(count):
        big.turn()
        times.append(server.reload())
    return times


class BigPolicy:
    """Two policies that differ in one rule, of which a link names the one in force."""

    def __init__(self, parent, policy, count):
        self.link, self.files, self.turns = policy / "rules.toml", [], 0
        for version in range(2):
            hosts = [f"host{number}.domain{number % 99_991}.example{number % 97}.test" for number in range(count - 2)]
            write_policy(policy, "named", ["*.cached.example"])
            path = parent / f"rules-{version}.toml"
            path.write_text(policy_text("many", [*hosts, f"version{version}.example.test"]), encoding="utf-8")
            self.files.append(path)
        self.turn()

    def turn(self):
        """Puts the other policy in the place of the one in force; the server is told by `reload`, if it has not seen it."""
        fresh = self.link.with_name(".rules.new")
        os.symlink(self.files[self.turns % 2], fresh)
        os.replace(fresh, self.link)
        self.turns += 1


def folder(bench, name):
    path = bench.folder / name
    path.mkdir()
    return path


def write_policy(policy, name, hosts):
    servers.write(policy / f"{name}.toml", policy_text(name, hosts))


def policy_text(name, hosts):
    return f'version = 1\n[[registry]]\nname = "{name}"\nhosts = [\n' + "".join(f'  "{host}",\n' for host in hosts) + "]\n"


def write_questions(bench, name, lines):
    return servers.write(bench.folder / f"{name}.txt", "\n".join(lines) + "\n")


def row(what, value, goal, met):
    return {"what": what, "value": value, "goal": goal, "met": met}


def mib(kib):
    return f"{kib / 1024:.1f}"


CACHED = 100_000

# By name; the order is that of `--help`.
ALL = {"idle": idle, "rules": rules, "cache": cache, "start": start, "reload": reload}
