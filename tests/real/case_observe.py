"""What operators read with other programs: metrics and alerts with promtool, dnstap with its own readers, a rotated log."""

import json
import re
import signal
import subprocess
from pathlib import Path

from support.cases import case, check, equal, sh, wait_until

POLICY = """\
version = 1
[[registry]]
name = "r"
hosts = ["registry.example", "*.cdn.example"]
"""
CONFIG = Path(__file__).resolve().parents[2] / "config"
METRICS = {"metrics": {"listen": '"127.0.0.1:9153"'}}


@case
def promtool_takes_metrics_and_alerts(lab):
    """`promtool check metrics` has nothing to say about what is served, `check rules` takes the shipped alerts."""
    server = lab.serve(POLICY, sections=METRICS)
    for name in ("registry.example", "denied.example", "denied.example"):
        server.dig(name)
    text = sh("curl -sS --max-time 5 http://127.0.0.1:9153/metrics")
    done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False)
    equal((done.returncode, done.stdout + done.stderr), (0, ""))
    check(re.search(r'(?m)^pullgate_denied_total\{group="",reason="unlisted"\} 2$', text), text)
    check("SUCCESS" in sh(f"promtool check rules {CONFIG / 'prometheus/pullgate.rules.yml'}"), "rules")


@case
def dnstap_is_read_by_its_own_tools(lab):
    """fstrm_capture takes the stream on a Unix socket, dnstap-ldns reads queries and answers from it."""
    path, captured = lab.folder / "dnstap.sock", lab.folder / "captured.fstrm"
    capture = lab.spawn(["fstrm_capture", "-t", "protobuf:dnstap.Dnstap", "-u", str(path), "-w", str(captured)], "fstrm_capture")
    wait_until(path.exists, 5, "fstrm_capture listens")
    server = lab.serve(POLICY, sections={**METRICS, "dnstap": {"socket": f'"{path}"', "identity": '"lab"'}})
    metric = lambda name: sh("curl -sS --max-time 5 http://127.0.0.1:9153/metrics").split(f"\n{name} ")[1].split("\n")[0]
    wait_until(lambda: metric("pullgate_dnstap_connected") == "1", 5, "connected")
    server.dig("registry.example")
    server.dig("denied.example", "AAAA", "+tcp")
    wait_until(lambda: metric("pullgate_dnstap_sent_total") == "4", 5, "sent")
    server.stop()
    capture.send_signal(signal.SIGTERM)
    capture.wait(10)
    lines = sh(f"dnstap-ldns -r {captured} -q").splitlines()
    shown = [" ".join(line.split()[2:]) for line in lines]
    equal(len(lines), 4, lines)
    for kind, protocol, name in (("CQ", "UDP", "registry.example"), ("CR", "UDP", "registry.example"), ("CQ", "TCP", "denied.example"), ("CR", "TCP", "denied.example")):
        check(any(kind in line and protocol in line and name in line for line in shown), (kind, protocol, name, lines))
    whole = sh(f"dnstap-ldns -r {captured} -y")
    check('identity: "lab"' in whole and "NXDOMAIN" in whole, whole)


@case
def a_rotated_log_goes_on_in_a_new_file(lab):
    """`[log] file`: renamed, then SIGHUP or a reload, as logrotate does it: lines after that are in a new file."""
    log = lab.folder / "queries.log"
    server = lab.serve(POLICY, sections={"log": {"queries": '"all"', "format": '"json"', "file": f'"{log}"'}})
    server.dig("registry.example")
    wait_until(lambda: log.stat().st_size > 0, 5, "logged")
    rotate(server, log, "1", lambda: server.signal(signal.SIGHUP))
    rotate(server, log, "2", lambda: server.command("reload"))
    check("query denied" not in server.output(), "the lines are in the file alone")


def rotate(server, log, number, tell):
    """Renames the log and tells the server, whose next line is in a new file."""
    name, names = f"denied{number}.example", lambda path: [json.loads(line)["name"] for line in path.read_text().splitlines()]
    old = log.with_suffix(f".{number}")
    log.rename(old)
    tell()
    wait_until(lambda: server.dig(name).rcode == "NXDOMAIN" and log.exists() and name in names(log), 5, "a new file")
    check(set(names(log)) == {name} and names(old)[-1] != "", (names(old), names(log)))
