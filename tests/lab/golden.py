"""Golden files: what clients are expected to print, a file for each client and topic in `golden/`.

A case that finds another text fails, and says which lines differ. `GOLDEN=write tests/lab/run …` writes the files anew.
"""

import difflib
import os
import re
from pathlib import Path

from support.cases import check

FOLDER = Path(__file__).parent / "golden"

# What differs from one run to the next, and what stands for it.
VARYING = [
    (r"\x1b\[[0-9;]*m", ""),
    (r"sha256:[0-9a-f]{64}", "sha256:…"),
    (r'time="[^"]*"', 'time="…"'),
    (r"^#\d+ ", "#… "),
    (r"\b198\.18\.\d+\.\d+:\d+->", "…->"),
    (r"^ ---> [0-9a-f]{12}$", " ---> …"),
]
# Lines that say how far something is, or that are a program's own log: in no certain order.
PROGRESS = re.compile(r'#… (?!ERROR)|Copying (blob|config) |time="…" level=(?!fatal)|elapsed: |\S+: +(waiting|resolving|done) +\|| *$')


def normal(output):
    """An output without what varies from one run to the next."""
    for pattern, instead in VARYING:
        output = re.sub(pattern, instead, output, flags=re.M)
    return "".join(f"{line.rstrip()}\n" for line in output.splitlines() if not PROGRESS.match(line))


def record(parts):
    """The text of a golden file: {title: how a command ended}."""
    return "\n".join(f"# {title}: exit {done.code}\n{normal(done.output)}" for title, done in parts.items())


def compare(name, parts):
    """Fails the case unless {title: how a command ended} is as the golden file says."""
    compare_text(name, record(parts))


def compare_text(name, seen):
    """Fails the case unless a text is as the golden file says."""
    path = FOLDER / f"{name}.txt"
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(seen, encoding="utf-8")
    wanted = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = difflib.unified_diff(wanted.splitlines(), seen.splitlines(), "wanted", "seen", lineterm="")
    check(seen == wanted, f"{path.name} differs\n" + "\n".join(lines))
