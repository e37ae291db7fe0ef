"""The test data: names, the allowlist and the lists of questions, the same on every machine."""

import dataclasses
import random
from pathlib import Path

# What is asked. "new" are allowed names that no cache can hold: one upstream exchange each.
MIXES = ("denied", "allowed", "mixed", "new")

HOSTS = ["registry-1", "auth", "index", "cdn", "production", "storage", "blob", "api"]
STRANGERS = ["www", "api", "mail", "cdn", "img", "a.b", "static", "telemetry", "events"]
SUFFIXES = [f"pkg{index}.registry{index % 5}.example" for index in range(20)]
NEW_SUFFIX = "always-new.example"
NEW_COUNT = 200_000


@dataclasses.dataclass
class Data:
    """Where the lists are, and what the configurations of the servers need."""

    exact: list
    suffixes: list
    allowed: list
    files: dict
    new_suffix: str = NEW_SUFFIX
    new_count: int = NEW_COUNT


def write(folder):
    """Writes the lists of questions and the allowlist; returns the Data."""
    source = random.Random(20261120)
    exact = [f"{source.choice(HOSTS)}.r{index}.exact{index % 40}.example" for index in range(1000)]
    below = [f"{source.choice(HOSTS)}{index}.{suffix}" for suffix in SUFFIXES for index in range(50)]
    allowed = exact + below
    denied = strangers(source, 100_000, set(allowed))
    mixed = [f"{source.choice(allowed)} A NOERROR" if index % 2 else f"{name} A NXDOMAIN" for index, name in enumerate(denied)]
    source.shuffle(mixed)
    lists = {
        "warm": [f"{name} A NOERROR" for name in allowed],
        "allowed": [f"{source.choice(allowed)} A NOERROR" for _ in range(50_000)],
        "denied": [f"{name} A NXDOMAIN" for name in denied],
        "mixed": mixed,
        "new": [f"m{number:08d}.{NEW_SUFFIX} A NOERROR" for number in source.sample(range(10**8), NEW_COUNT)],
    }
    files = {mix: Path(folder, f"{mix}.txt") for mix in lists}
    for mix, lines in lists.items():
        files[mix].write_text("\n".join(lines) + "\n", encoding="utf-8")
    suffixes = [*SUFFIXES, NEW_SUFFIX]
    files["allowlist"] = Path(folder, "allowlist.txt")
    files["allowlist"].write_text("\n".join([*exact, *(f"*.{suffix}" for suffix in suffixes)]) + "\n", encoding="utf-8")
    return Data(exact, suffixes, allowed, files)


def strangers(source, count, taken):
    """Distinct names that nothing allows; every tenth looks like an allowed suffix and is none.

    Children of exact names are left out: unbound's local-zone would let them through.
    """
    found = {}
    while len(found) < count:
        if source.random() < 0.1:
            name = f"a{source.randrange(10**6)}.evil-{source.choice(SUFFIXES)}"
        else:
            name = f"{source.choice(STRANGERS)}.host{source.randrange(10**6)}.{source.choice(['com', 'net', 'org', 'io', 'dev', 'co.uk'])}"
        if name not in taken:
            found[name] = None
    return list(found)
