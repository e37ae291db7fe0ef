"""What clients lack, learned from what they asked in vain, and from what a command asks while it is let through."""

import json
import subprocess
from pathlib import Path

from support.cases import case, check, equal, wait_until

POLICY = """\
version = 1
[[registry]]
name = "lab"
hosts = ["registry.example"]
[[group]]
name = "default"
registries = ["lab"]
"""
LAYERS = "layers.example"
RESOLV_CONF = Path("/etc/resolv.conf")


@case
def a_name_asked_for_after_a_registry_is_learned(lab):
    """dig asks the registry, then the host of its layers: learn names the host, the registry and its line; the file it writes allows it."""
    server = lab.serve(POLICY)
    for name in ("registry.example", LAYERS):
        server.dig(name)
    wait_until(lambda: learned(server)["proposals"], 5, "learned")
    (proposal,) = learned(server)["proposals"]
    equal((proposal["pattern"], proposal["group"], proposal["risk"], proposal["home"]["entry"]), (LAYERS, "default", "low", "lab"))
    file = lab.folder / "learned.toml"
    done = server.command("learn", "--output", str(file), "--config", server.arguments[-1])
    check(done.returncode == 0 and "registry `lab`" in done.stdout, done.stdout)
    equal(server.dig(LAYERS).rcode, "NXDOMAIN", "nothing is in force")
    file.rename(lab.policy / "20-learned.toml")
    server.reload()
    equal(server.dig(LAYERS).rcode, "NOERROR")


@case
def what_a_command_asks_is_let_through_and_named(lab):
    """`learn --run` with dig, through the host's resolver: the client is found out, the names resolve, and what was missing is named."""
    server = lab.serve(POLICY)
    before = RESOLV_CONF.read_text(encoding="utf-8")
    lab.defer(lambda: RESOLV_CONF.write_text(before, encoding="utf-8"))
    RESOLV_CONF.write_text("nameserver 127.0.0.1\n", encoding="utf-8")
    # No --config: everything behind `--` is the command's.
    command = ["learn", "--run", "--json", "--socket", str(server.socket), "--", "sh", "-c", f"dig +short registry.example; dig +short {LAYERS}"]
    done = lab.run(*command)
    equal(done.returncode, 0, done.stderr)
    printed, _, report = done.stdout.partition("{")
    check("192.0.2.1" in printed and printed.endswith("127.0.0.1\n"), printed)
    report = json.loads("{" + report)
    equal((report["run"]["client"], report["run"]["code"]), ("127.0.0.1", 0))
    equal([proposal["pattern"] for proposal in report["proposals"]], [LAYERS])
    equal(server.dig(LAYERS).rcode, "NXDOMAIN", "the audit is over")
    check("nothing is on top" in server.command("overlay").stdout, "no overlay is left")
    RESOLV_CONF.write_text(before, encoding="utf-8")
    done = subprocess.run([str(lab.binary), *command], text=True, capture_output=True, check=False, timeout=20)
    check(done.returncode == 69 and "--client" in done.stderr, (done.returncode, done.stderr))


@case
def a_candidate_is_held_against_what_was_asked(lab):
    """dig asks; `policy diff` of another folder names what of it would flip, for whom, how often, in text, JSON, Markdown and SARIF."""
    server = lab.serve(POLICY)
    for name in ("registry.example", "registry.example", LAYERS):
        server.dig(name)
    folder = lab.folder / "next"
    folder.mkdir()
    (folder / "a.toml").write_text(POLICY.replace("registry.example", LAYERS), encoding="utf-8")
    diff = lambda *options: server.command("policy", "diff", str(folder), *options, "--config", server.arguments[-1])
    done = diff()
    check(done.returncode == 1 and "2 names would be decided otherwise" in done.stdout, done.stdout + done.stderr)
    check("- registry.example: allow -> deny  group default  2 times by 127.0.0.1, last" in done.stdout, done.stdout)
    flips = {(flip["name"], flip["old"], flip["new"], flip["count"]) for flip in json.loads(diff("--json").stdout)["replay"]["flips"]}
    equal(flips, {("registry.example", "allow", "deny", 2), (LAYERS, "deny", "allow", 1)})
    check("| `registry.example` | `default` | allow | deny |" in diff("--format", "markdown").stdout, "markdown")
    check("would-be-missed" in diff("--format", "sarif").stdout, "sarif")
    equal(server.dig("registry.example").rcode, "NOERROR", "nothing changed")


def learned(server):
    """What `pullgate learn --json` says."""
    return json.loads(server.command("learn", "--json").stdout)
