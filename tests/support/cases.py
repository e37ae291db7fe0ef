"""What the suites in tests/real and tests/lab have in common: cases, how they are run one after another, what one holds."""

import dataclasses
import importlib
import shutil
import signal
import subprocess
import time
import traceback
from pathlib import Path

CASES = []


@dataclasses.dataclass
class Case:
    """One named fact about the running program."""

    name: str
    title: str
    run: object
    seconds: int


class Failed(Exception):
    """What a case expected did not happen."""


def case(function=None, *, seconds=60):
    """Registers a function as a case: its name with dashes, the first line of its doc string as title."""

    def register(function):
        title = (function.__doc__ or "").strip().splitlines()[0]
        CASES.append(Case(function.__name__.replace("_", "-"), title, function, seconds))
        return function

    return register(function) if function else register


def load_cases(folder):
    """Imports every case_*.py of a folder, in name order, and returns all cases."""
    for path in sorted(folder.glob("case_*.py")):
        importlib.import_module(path.stem)
    return CASES


def check(condition, message):
    """Fails the case with `message` unless `condition` holds."""
    if not condition:
        raise Failed(message)


def equal(seen, wanted, what=""):
    """Fails the case unless both are equal."""
    if seen != wanted:
        raise Failed(f"{what + ': ' if what else ''}saw {seen!r}, wanted {wanted!r}")


def wait_until(probe, seconds, what):
    """Polls `probe` until it is true and returns (its value, how long it took); fails after `seconds`."""
    start = time.monotonic()
    while True:
        value = probe()
        elapsed = time.monotonic() - start
        if value:
            return value, elapsed
        if elapsed > seconds:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(0.01)


def sh(command, **keywords):
    """Runs a shell command that has to succeed; returns what it printed."""
    done = subprocess.run(command, shell=True, text=True, capture_output=True, check=False, **keywords)
    if done.returncode:
        raise Failed(f"`{command}` ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


# ── the run ──


def run_cases(cases, open_stage, scratch, logs):
    """Runs the cases one after another, each with the `Stage` that `open_stage(folder)` makes; returns the exit code."""
    signal.signal(signal.SIGALRM, on_alarm)
    failed = {}
    for number, each in enumerate(cases, 1):
        if error := run_case(each, open_stage, scratch / each.name, logs, f"[{number}/{len(cases)}]"):
            failed[each.name] = error
    print(f"{len(cases) - len(failed)} passed, {len(failed)} failed")
    for name, error in failed.items():
        print(indent(f"failed: {name}: {error}"))
    if failed:
        print(f"logs: {logs}")
    return 1 if failed else 0


def on_alarm(*_):
    raise Failed("the case did not end in time")


def run_case(each, open_stage, folder, logs, progress):
    """Runs one case in a fresh folder; says how it went; keeps its folder if it failed, and returns why."""
    start = time.monotonic()
    folder.mkdir(parents=True)
    stage = open_stage(folder)
    error = None
    signal.alarm(each.seconds)
    try:
        each.run(stage)
    except Exception as caught:  # a case may fail in any way; the run goes on
        error = caught
        stage.note(traceback.format_exc())
    finally:
        signal.alarm(0)
        stage.close()
    taken = f"{time.monotonic() - start:.1f} s"
    print(f"{progress} {'FAIL' if error else 'ok  '} {each.name} ({taken})", flush=True)
    if error:
        print(indent(f"{each.title}\n{type(error).__name__}: {error}"), flush=True)
        print(indent(stage.last_words()), flush=True)
        shutil.copytree(folder, logs / each.name, dirs_exist_ok=True, ignore=only_text)
    shutil.rmtree(folder, ignore_errors=True)
    return error and f"{type(error).__name__}: {error}"


def only_text(folder, names):
    """What is not worth keeping of a failed case: sockets, FIFOs, copies of the binary."""
    return [name for name in names if name == "pullgate-bin" or not (Path(folder, name).is_file() or Path(folder, name).is_dir())]


def indent(text):
    return "\n".join(f"      {line}" for line in text.splitlines())


# ── what a case holds ──


class Stage:
    """One case's folder, and everything it started."""

    def __init__(self, folder):
        self.folder = folder
        self.cleanups = []

    def note(self, text):
        """Adds to the case's own log."""
        with open(self.folder / "case.log", "a", encoding="utf-8") as log:
            log.write(text + "\n")

    def defer(self, action):
        """Has `action` called when the case ends, last one first."""
        self.cleanups.append(action)

    def close(self):
        """Ends what the case started."""
        while self.cleanups:
            try:
                self.cleanups.pop()()
            except Exception:  # one cleanup must not keep the next from running
                self.note(traceback.format_exc())

    def logs(self):
        """The logs that say most about a failure."""
        return [self.folder / "case.log"]

    def last_words(self):
        """The ends of those logs."""
        return "\n".join("\n".join(path.read_text(errors="replace").splitlines()[-12:]) for path in self.logs() if path.exists())

    def spawn(self, command, name=None, **keywords):
        """Starts a process that ends with the case; its output goes to NAME.log."""
        log = open(self.folder / f"{name or Path(command[0]).name}.log", "ab")  # closed with the process's own copy
        keywords.setdefault("stdout", log)
        process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL, **keywords)
        log.close()
        self.defer(lambda: end(process))
        return process


def end(process, patience=5):
    """Ends a process by its id: TERM, then KILL."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
