"""The control socket with curl, and the commands that go through it."""

import json
import re
import socket
import stat
import subprocess
import threading
import time

from support.cases import case, check, equal, sh, wait_until

POLICY = """\
version = 1
[[registry]]
name = "r"
hosts = ["registry.example", "*.cdn.example"]
[[deny]]
hosts = ["bad.cdn.example"]
reason = "see SEC-7"
"""


@case
def curl_reads_status_and_policy(lab):
    """GET /v1/status and /v1/policy: JSON with state, generation, digest, listeners, rules; the socket is 0660."""
    server = lab.serve(POLICY)
    code, body = server.control("/v1/status")
    status = json.loads(body)
    equal((code, status["state"], status["faults"]), (200, "ok", []))
    for key in ("generation", "digest", "since", "listen", "rules"):
        check(key in status, f"no {key} in {status}")
    code, body = server.control("/v1/policy")
    equal(code, 200)
    check("*.cdn.example" in body, body)
    equal(stat.S_IMODE(server.socket.stat().st_mode), 0o660)


@case
def curl_reloads(lab):
    """POST /v1/reload: 200 applied, 200 unchanged, 422 refused with path, line, column, message; GET is not a reload."""
    server = lab.serve(POLICY)
    equal(json.loads(server.control("/v1/reload", "-X", "POST")[1])["result"], "unchanged")
    path = lab.write_policy(POLICY.replace("registry.example", "other.example"))
    code, body = server.control("/v1/reload", "-X", "POST")
    check((code, json.loads(body)["result"]) in ((200, "applied"), (200, "unchanged")), body)
    equal((server.dig("other.example").rcode, server.dig("registry.example").rcode), ("NOERROR", "NXDOMAIN"))
    path.write_text(POLICY.replace("reason", "raeson"), encoding="utf-8")
    code, body = server.control("/v1/reload", "-X", "POST")
    fault = json.loads(body)["faults"][0]
    equal((code, json.loads(body)["result"], fault["line"], fault["column"]), (422, "refused", 7, 1))
    check(fault["path"].endswith("10-test.toml") and "reason" in str(fault), fault)
    equal(server.control("/v1/reload")[0], 405)


@case
def curl_checks_a_name(lab):
    """GET /v1/check: the verdict with its rule, file and line."""
    server = lab.serve(POLICY)
    check_name = lambda name: json.loads(server.control(f"/v1/check?name={name}&client=127.0.0.1&type=A")[1])
    allowed = check_name("a.cdn.example")
    equal((allowed["verdict"], allowed["entry"], allowed["rule"]["pattern"], allowed["rule"]["line"]), ("allow", "r", "*.cdn.example", 4))
    denied = check_name("bad.cdn.example")
    equal((denied["verdict"], denied["rule"]["line"]), ("deny", 6))
    equal((check_name("nowhere.example")["verdict"], check_name("nowhere.example")["rule"]), ("deny", None))
    equal(server.control("/v1/check")[0], 400, "no name")
    equal(server.control("/v1/check?name=a..b")[0], 400, "no such name")
    equal(server.control("/v1/nothing")[0], 404)


@case
def check_agrees_with_dns(lab):
    """`pullgate check` by settings or by policy folder, and dig, agree on every name; exit 0 allowed, 1 denied."""
    server = lab.serve(POLICY)
    for name, rcode in (("registry.example", "NOERROR"), ("end.cdn.example", "NOERROR"), ("bad.cdn.example", "NXDOMAIN"), ("cdn.example", "NXDOMAIN"), ("denied.example", "NXDOMAIN")):
        wanted = 0 if rcode == "NOERROR" else 1
        equal((name, server.dig(name).rcode), (name, rcode))
        equal((name, server.check(name).returncode), (name, wanted))
        equal((name, lab.run("check", name, "--policy", str(lab.policy)).returncode), (name, wanted), "by folder")
    text = lab.run("check", "bad.cdn.example", "--policy", str(lab.policy)).stdout
    check("10-test.toml:6" in text and "SEC-7" in text, text)


@case
def the_log_tells_who_was_denied(lab):
    """A denied query is logged with client, name, type and reason; `pullgate log` and /v1/log show it; junk is escaped."""
    server = lab.serve(POLICY)
    server.dig("denied.example", "AAAA")
    server.dig(r"a\010b\027[31m.example", "A")
    wait_until(lambda: "denied.example" in server.command("log").stdout, 3, "in the log command")
    text = server.command("log").stdout + server.output()
    for words in ("127.0.0.1", "denied.example", "AAAA"):
        check(words in text, f"{words!r} is not in the log:\n{text}")
    check("\x1b[31m" not in text, "an escape sequence from a query name reached the log")
    check(r"a\010b\027[31m.example" in server.control("/v1/log")[1].replace("\\\\", "\\"), "the odd name is not in /v1/log")


@case
def json_log_lines_are_json(lab):
    """`[log] format = "json"`: every line parses, odd names and all."""
    server = lab.serve(POLICY, sections={"log": {"format": '"json"', "queries": '"all"'}})
    for name in ("registry.example", "denied.example", r"quote\".example", r"nul\000.example", r"\010newline.example", r"\255\254.example"):
        server.dig(name)
    wait_until(lambda: "newline" in server.output(), 3, "logged")
    for line in server.output().splitlines():
        json.loads(line)


@case
def a_loop_in_a_client_does_not_fill_the_disk(lab):
    """50,000 denied queries in a burst: the log stays small, and says that it left lines out."""
    server = lab.serve(POLICY)
    names = lab.folder / "names.txt"
    names.write_text("".join(f"n{number}.denied.example A\n" for number in range(1000)), encoding="utf-8")
    sh(f"dnsperf -s 127.0.0.1 -d {names} -n 50 -c 4 -q 64")
    wait_until(lambda: server.log.stat().st_size > 0, 3, "something is logged")
    check(server.log.stat().st_size < 2_000_000, f"{server.log.stat().st_size} bytes of log")
    equal(server.dig("registry.example").rcode, "NOERROR")


@case
def one_request_does_not_stall_another(lab):
    """Half requests, a huge one and idle connections: status still answers at once; with a flood of them, in seconds."""
    server = lab.serve(POLICY)
    held = idle_connections(server, 16)
    start = time.monotonic()
    equal(server.control("/v1/status")[0], 200)
    check(time.monotonic() - start < 0.5, "status waited for the others")
    held += idle_connections(server, 200)
    equal(server.control("/v1/status")[0], 200, "during a flood")
    huge = lab.folder / "huge"
    huge.write_bytes(b"x" * 10_000_000)
    command = ["curl", "-sS", "--max-time", "10", "--unix-socket", str(server.socket), "--data-binary", f"@{huge}", "-o", "/dev/null", "-w", "%{http_code}", "http://localhost/v1/reload"]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    check(done.stdout in ("413", "400", "000", "200"), done.stdout)
    equal(server.dig("registry.example").rcode, "NOERROR")
    for connection in held:
        connection.close()
    equal(server.control("/v1/status")[0], 200)


def idle_connections(server, count):
    """Connections to the control socket that say nothing, or half a request."""
    held = []
    for number in range(count):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(0.2)
        try:
            connection.connect(str(server.socket))
            if number % 2:
                connection.sendall(b"POST /v1/reload HTTP/1.1\r\nContent-Le")
        except OSError:
            pass
        held.append(connection)
    return held


@case
def events_stream_to_curl(lab):
    """GET /v1/events: a denied query arrives as a server-sent event while curl listens."""
    server = lab.serve(POLICY)
    curl = lab.spawn(["curl", "-sSN", "--max-time", "15", "--unix-socket", str(server.socket), "http://localhost/v1/events"], "curl-events")
    seen = lab.folder / "curl-events.log"

    def asked_and_seen():
        server.dig("denied.example")
        return "denied.example" in seen.read_text(errors="replace")

    wait_until(asked_and_seen, 5, "the event")
    check(re.search(r"(?m)^data: ?\{", seen.read_text()), seen.read_text())
    equal(curl.poll(), None, "the stream stays open")


@case
def commands_say_when_nobody_is_there(lab):
    """status and reload without a server: exit 69 and a word about it."""
    for command in ("status", "reload"):
        done = lab.run(command, "--socket", str(lab.folder / "nobody.sock"))
        equal((command, done.returncode), (command, 69))
        check(done.stderr.strip(), f"{command} says nothing")


@case
def concurrent_reloads_are_one_path(lab):
    """Eight reload commands at once while the file changes: all succeed, and the last content is in force."""
    server = lab.serve(POLICY)
    path = lab.write_policy(POLICY.replace("registry.example", "other.example"))
    codes = []
    threads = [threading.Thread(target=lambda: codes.append(server.command("reload").returncode)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(codes, [0] * 8)
    equal(server.dig("other.example").rcode, "NOERROR", path)


@case
def metrics_are_scraped_by_curl(lab):
    """`[metrics] listen`: counters move, and no name of a query is in them."""
    server = lab.serve(POLICY, sections={"metrics": {"listen": '"127.0.0.1:9153"'}})
    for _ in range(3):
        server.dig("denied.example")
    text = sh("curl -sS --max-time 5 http://127.0.0.1:9153/metrics")
    check(re.search(r"(?m)^pullgate_\w+", text), text)
    check("denied.example" not in text, "a query name in the metrics")
