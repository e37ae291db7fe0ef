"""Start, stop, kill, and starts that meet a faulty policy; ports that are taken; what is shipped, run for real."""

import json
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from harness import ROOT, SERVER
from support.cases import Failed, case, check, equal, sh, wait_until
from support.dns import LoadClient, dig, exchange, over_tcp, query, read_tcp
from upstream import Fake, addresses


@case
def it_is_ready_when_it_says_so(lab):
    """READY=1 comes after the sockets are bound and the policy compiled: the first question is answered, ten times."""
    lab.write_policy(lab.registry("r", ["registry.example"]))
    server = lab.serve()
    for _ in range(10):
        check(exchange(query("registry.example"), (SERVER, 53)) is not None, "no answer right after READY=1")
        with socket.create_connection((SERVER, 53), timeout=2) as stream:
            stream.sendall(over_tcp(query("denied.example")))
            equal(read_tcp(stream)[3] & 15, 3)
        server.stop()
        server.start()


@case
def sigterm_answers_what_is_in_flight(lab):
    """SIGTERM: the question that waits for its upstream is answered, then the server ends with 0 within seconds."""
    slow = lambda packet: (time.sleep(0.7), addresses("192.0.2.9")(packet))[1]
    with Fake(slow) as fake:
        server = lab.serve(lab.registry("r", ["registry.example"]), upstream=(fake.address,))
        client = lab.spawn(["dig", f"@{SERVER}", "registry.example", "+tries=1", "+time=4", "+short"], "dig", stdout=subprocess.PIPE, text=True)
        wait_until(lambda: fake.asked, 2, "asked upstream")
        start = time.monotonic()
        equal(server.stop(), 0, "exit")
        check(time.monotonic() - start < 5, "it took too long to stop")
        equal(client.communicate(timeout=5)[0].strip(), "192.0.2.9")


@case
def kill_and_restart(lab):
    """kill -9 under load, ten times: it starts again at once, with nothing left behind that stops it."""
    server = lab.serve(lab.registry("r", ["registry.example"]))
    with LoadClient(["registry.example", "denied.example"], patience=0.2) as client:
        for _ in range(10):
            server.kill()
            start = time.monotonic()
            server.start()
            equal(server.rcode("registry.example"), "NOERROR")
            check(time.monotonic() - start < 2, "a slow start")
        seen = client.finish()
    equal({each.rcode for each in seen} - {None, 0, 3}, set())
    equal(server.status()["state"], "ok")


@case
def a_start_on_a_faulty_policy_is_degraded(lab):
    """With a faulty policy it starts from the last good one, says degraded, and recovers by an edit alone."""
    server = lab.serve(lab.registry("r", ["registry.example"]))
    server.stop()
    path = lab.write_policy("version = 1\n[[registry]]\nnam = 3\n")
    server.start()
    equal(server.status()["state"], "degraded")
    equal(server.command("status").returncode, 1)
    equal((server.dig("registry.example").rcode, server.dig("denied.example").rcode), ("NOERROR", "NXDOMAIN"))
    equal(server.command("reload").returncode, 78)
    path.write_text(lab.registry("r", ["other.example"]), encoding="utf-8")
    wait_until(lambda: server.rcode("other.example") == "NOERROR", 1, "recovered")
    equal((server.status()["state"], server.dig("registry.example").rcode), ("ok", "NXDOMAIN"))


@case
def a_first_start_on_a_faulty_policy_denies_everything(lab):
    """Without a last good policy: everything is denied, the state says deny-all, and an edit heals it."""
    server = lab.serve("version = 1\n[[registry]]\nnam = 3\n")
    equal(server.status()["state"], "deny-all")
    equal(server.command("status").returncode, 1)
    equal(server.dig("registry.example").rcode, "NXDOMAIN")
    check("10-test.toml:3:1" in server.output(), "the log does not name the fault's place")
    lab.write_policy(lab.registry("r", ["registry.example"]))
    wait_until(lambda: server.rcode("registry.example") == "NOERROR", 1, "healed")
    equal(server.status()["state"], "ok")


@case
def a_start_without_a_policy_directory_denies_everything(lab):
    """No directory at all: deny-all; when it appears it is taken."""
    lab.policy.rmdir()
    server = lab.serve()
    equal((server.status()["state"], server.dig("registry.example").rcode), ("deny-all", "NXDOMAIN"))
    lab.policy.mkdir()
    lab.write_policy(lab.registry("r", ["registry.example"]))
    wait_until(lambda: server.dig("registry.example").rcode == "NOERROR", 2.5, "taken")


@case
def faulty_settings_end_it_with_78(lab):
    """An unknown key in the settings: exit 78, with place, quotation and hint."""
    lab.write_policy(lab.registry("r", ["registry.example"]))
    server = lab.serve(wait=False, tail="\n[blocked]\nttll = \"10s\"\n").launch()
    equal(server.process.wait(5), 78)
    number = (lab.folder / "pullgate.toml").read_text().splitlines().index('ttll = "10s"') + 1
    for words in (f"pullgate.toml:{number}:1", "ttll", "did you mean", "ttl"):
        check(words in server.output(), f"{words!r} is not in\n{server.output()}")


@case
def a_taken_port_names_its_owner(lab):
    """Port in use, by TCP or by UDP: exit 69, and the message names the process that has it."""
    lab.write_policy(lab.registry("r", ["registry.example"]))
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as squatter:
            squatter.bind((SERVER, 53))
            if kind == socket.SOCK_STREAM:
                squatter.listen()
            server = lab.serve(wait=False, name=f"pullgate-{int(kind)}").launch()
            equal(server.process.wait(5), 69, server.output())
            check("127.0.0.1:53" in server.output(), server.output())
            check("python3" in server.output(), f"the owner is not named: {server.output()}")


@case
def two_of_us_do_not_share_a_socket(lab):
    """A second server with the same addresses ends with 69 and leaves the first one's control socket alone."""
    first = lab.serve(lab.registry("r", ["registry.example"]))
    second = lab.serve(wait=False, name="second").launch()
    equal(second.process.wait(5), 69, second.output())
    check("pullgate" in second.output(), second.output())
    equal((first.status()["state"], first.dig("registry.example").rcode), ("ok", "NOERROR"))


# ── as shipped ──


@case
def the_shipped_settings_and_policy_run(lab):
    """config/pullgate.toml and the example policy where a package puts them: Docker Hub resolves, the rest does not."""
    shutil.copytree(ROOT / "config", "/etc/pullgate", ignore=shutil.ignore_patterns("presets"))
    lab.defer(lambda: shutil.rmtree("/etc/pullgate"))
    lab.defer(lambda: shutil.rmtree("/var/lib/pullgate", ignore_errors=True))
    Path("/run/pullgate").mkdir(exist_ok=True)
    server = lab.serve(wait=False)
    server.arguments = ["serve", "--config", "/etc/pullgate/pullgate.toml"]
    server.socket = Path("/run/pullgate/control.sock")
    server.start()
    listens = [str(each) for each in server.status()["listen"]]
    check(any("127.0.0.1" in each for each in listens), listens)
    equal(server.dig("registry-1.docker.io").data(), ["192.0.2.10"])
    answer = server.dig("evilregistry.example")
    equal((answer.rcode, answer.ede[0][0]), ("NXDOMAIN", 15))
    equal(lab.run("policy", "lint", "/etc/pullgate/policy.d").returncode, 0)


@case
def every_example_policy_lints_clean(lab):
    """Whatever config/ ships as policy, commented parts aside, has no fault."""
    folders = {path.parent for pattern in ("*.toml", "*.json") for path in (ROOT / "config").rglob(pattern) if "policy" in path.parent.name}
    check(folders, "no example policy in config/")
    for folder in sorted(folders):
        done = lab.run("policy", "lint", str(folder))
        equal(done.returncode, 0, f"{folder}: {done.stdout}{done.stderr}")


@case
def without_settings_it_serves_docker_hub(lab):
    """`pullgate` alone: 127.0.0.1:5300, the docker-hub preset, the system's upstream; it prints the dig line to try."""
    server = lab.serve(wait=False)
    server.arguments = []
    server.socket = Path("/run/pullgate/control.sock")
    lab.defer(lambda: shutil.rmtree("/var/lib/pullgate", ignore_errors=True))
    server.start()
    equal(dig(SERVER, "registry-1.docker.io", port=5300).data(), ["192.0.2.10"])
    equal(dig(SERVER, "ghcr.io", port=5300).rcode, "NXDOMAIN")
    line = re.search(r"dig .*5300.*", server.output())
    if not line:
        raise Failed(f"no dig line in\n{server.output()}")
    check(sh(line[0].strip().strip("`")), "the dig line it prints does not work")


@case
def the_system_upstream_is_followed_live(lab):
    """`servers = ["system"]`: /etc/resolv.conf rewritten while it runs is followed, and never its own address."""
    resolv_conf = Path("/etc/resolv.conf")
    before = resolv_conf.read_text(encoding="utf-8")
    lab.defer(lambda: resolv_conf.write_text(before, encoding="utf-8"))
    with Fake(addresses("192.0.2.201")) as fake:
        server = lab.serve(lab.registry("r", [".registry.example", "other.example"]), upstream=("system",))
        equal(server.dig("cdn.registry.example").data(), ["192.0.2.3"])
        resolv_conf.write_text(f"nameserver {SERVER}\nnameserver {fake.address}\n", encoding="utf-8")
        names = (f"fresh{number}.registry.example" for number in range(10**6))
        wait_until(lambda: server.dig(next(names)).data() == ["192.0.2.201"], 5, "the new upstream is used")


@case
def signals_do_not_confuse_it(lab):
    """A hundred SIGHUPs at once and a SIGPIPE: one server, still answering."""
    server = lab.serve(lab.registry("r", ["registry.example"]))
    for _ in range(100):
        server.signal(signal.SIGHUP)
    server.signal(signal.SIGPIPE)
    equal((server.dig("registry.example").rcode, server.status()["state"]), ("NOERROR", "ok"))
    equal(json.loads(server.command("status", "--json").stdout)["generation"], server.generation())
