"""The command line of a suite: which cases, which tools, the program to build, and namespaces of its own to run in."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from support.cases import load_cases

ROOT = Path(__file__).resolve().parents[2]


def main(script, description, tools, run, prepare=lambda: None, folders=None):
    """Runs the suite whose command is `script` and returns its exit code.

    `tools` is {command: Debian package}. `run(cases, binary, logs)` is called in network, mount and process namespaces
    of its own, which die with it; `prepare()` before, where there is a network still. `folders` is {option: help} for
    what cases may write elsewhere; they find such a folder in the environment, under the option's name in capitals.
    """
    script = Path(script).resolve()
    options = arguments(description, f"target/{script.parent.name}-logs", folders or {})
    for option in folders or {}:
        if folder := getattr(options, option):
            os.environ[option.upper()] = str(Path(folder).resolve())
    cases = load_cases(script.parent)
    chosen = [case for case in cases if not options.case or any(word in case.name for word in options.case)]
    if options.list:
        for case in chosen:
            print(f"{case.name:48} {case.title}")
        return 0
    if options.packages:
        print(*sorted(set(tools.values())))
        return 0
    if not chosen:
        sys.exit("no such case; --list shows them")
    if options.inside:
        interruptible()
        return run(chosen, Path(options.inside), Path(options.logs))
    require_root_and_tools(tools)
    binary = Path(os.environ.get("PULLGATE") or build()).resolve()
    prepare()
    logs = Path(options.logs).resolve()
    shutil.rmtree(logs, ignore_errors=True)
    return enter_namespaces(script, [*options.case, "--logs", str(logs), "--inside", str(binary)])


def arguments(description, logs, folders):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", help="words; a case runs if its name contains one of them")
    parser.add_argument("--list", action="store_true", help="show the cases and end")
    parser.add_argument("--packages", action="store_true", help="show the Debian packages it needs and end")
    parser.add_argument("--logs", default=str(ROOT / logs), help="where the logs of failed cases are kept")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    for option, explanation in folders.items():
        parser.add_argument(f"--{option}", metavar="FOLDER", help=explanation)
    return parser.parse_args()


def require_root_and_tools(tools):
    if os.geteuid() != 0:
        sys.exit("it needs root: it makes namespaces of its own")
    missing = sorted({package for tool, package in tools.items() if not shutil.which(tool, path=search_path())})
    if missing:
        sys.exit(f"missing tools; install them with: apt-get install --no-install-recommends {' '.join(missing)}")


def search_path():
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def target():
    """The folder that builds go to."""
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def build():
    subprocess.run(["cargo", "build", "--release", "--locked", "--bin", "pullgate"], cwd=ROOT, check=True)
    return target() / "release/pullgate"


def enter_namespaces(script, rest):
    """Runs the script again in namespaces of its own; all of its processes die with the inner one.

    Interrupted or told to end, the inner one ends what it has begun, and this one waits for it.
    """
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    environment = {**os.environ, "PATH": search_path(), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen([*unshare, sys.executable, str(script), *rest], env=environment) as outer:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: tell_child(outer, signal.SIGTERM))
        return outer.wait()


def tell_child(process, number):
    """Sends a signal to the child of a process: unshare hands on none."""
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split():
        os.kill(int(child), number)


def interruptible():
    """Has a signal to end go the way of an exception, once: what ends then is not interrupted again."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)


def interrupted(*_):
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(130)
