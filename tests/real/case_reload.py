"""Policy edited by real tools while the server runs: in force within a second, nothing lost, nothing mixed."""

import os
import signal
import time

from support.cases import Failed, case, check, equal, sh, wait_until
from support.dns import Dnsperf, LoadClient

WITHIN = 1.0  # seconds from the start of the edit to the new answer
OLD, NEW = "other.example", "third.example"


def policy(lab, host):
    """One registry: registry.example, and `host`."""
    return lab.registry("r", ["registry.example", host])


def shows(server, host):
    """Whether dig sees the policy with `host` and not the other one."""
    other = NEW if host == OLD else OLD
    return server.dig(host).rcode == "NOERROR" and server.dig(other).rcode == "NXDOMAIN"


def flips(server, edit, host=NEW):
    """Makes an edit; `host` has to be in force within a second. Timed with packets of our own: on a busy machine dig
    may take longer than that to start. dig has the last word."""
    other = NEW if host == OLD else OLD
    start = time.monotonic()
    edit()
    wait_until(lambda: (server.rcode(host), server.rcode(other)) == ("NOERROR", "NXDOMAIN"), 5, f"{host} in force")
    taken = time.monotonic() - start
    server.lab.note(f"in force after {taken * 1000:.0f} ms")
    check(taken <= WITHIN, f"in force only after {taken:.2f} s")
    check(shows(server, host), f"dig does not see {host}")


def serve_old(lab):
    server = lab.serve(policy(lab, OLD))
    check(shows(server, OLD), "the first policy is in force")
    return server, lab.policy / "10-test.toml"


# ── one tool a case ──


@case
def edit_by_mv(lab):
    """A new file moved over the old one."""
    server, path = serve_old(lab)
    fresh = lab.folder / "fresh.toml"
    fresh.write_text(policy(lab, NEW), encoding="utf-8")
    flips(server, lambda: sh(f"mv {fresh} {path}"))


@case
def edit_by_cp(lab):
    """A new file copied over the old one: rewritten in place."""
    server, path = serve_old(lab)
    fresh = lab.folder / "fresh.toml"
    fresh.write_text(policy(lab, NEW), encoding="utf-8")
    flips(server, lambda: sh(f"cp {fresh} {path}"))


@case
def edit_by_sed(lab):
    """sed -i: a new file with the old name."""
    server, path = serve_old(lab)
    flips(server, lambda: sh(f"sed -i s/{OLD}/{NEW}/ {path}"))


@case
def edit_by_vim(lab):
    """vim: backup, rename, write, delete."""
    server, path = serve_old(lab)
    flips(server, lambda: sh(f"vim.tiny -u NONE --cmd 'set writebackup backupcopy=no' -es -c '%s/{OLD}/{NEW}/' -c wq {path}"))


@case
def edit_by_ed(lab):
    """ed: truncated and written in place."""
    server, path = serve_old(lab)
    flips(server, lambda: sh(f"printf 'g/{OLD}/s//{NEW}/\\nw\\nq\\n' | ed -s {path}"))


@case
def a_file_is_added_and_removed(lab):
    """A second file adds its registry; rm takes it away."""
    server = lab.serve(lab.registry("r", ["registry.example"]))
    extra = lab.policy / "20-more.toml"
    start = time.monotonic()
    extra.write_text(lab.registry("more", [NEW]), encoding="utf-8")
    wait_until(lambda: server.rcode(NEW) == "NOERROR", WITHIN, "the added file is in force")
    sh(f"rm {extra}")
    wait_until(lambda: server.rcode(NEW) == "NXDOMAIN", WITHIN, "the removed file is out of force")
    equal((server.dig(NEW).rcode, server.dig("registry.example").rcode), ("NXDOMAIN", "NOERROR"))
    server.lab.note(f"both within {time.monotonic() - start:.2f} s")


@case
def a_file_is_renamed_out_of_sight(lab):
    """mv x.toml x.toml.off: a file whose name does not end in .toml or .json is not policy."""
    server = lab.serve(lab.registry("r", ["registry.example"]))
    lab.write_policy(lab.registry("more", [NEW]), "20-more.toml")
    wait_until(lambda: server.rcode(NEW) == "NOERROR", WITHIN, "added")
    sh("mv 20-more.toml 20-more.toml.off", cwd=lab.policy)
    wait_until(lambda: server.rcode(NEW) == "NXDOMAIN", WITHIN, "switched off")


@case
def json_policy_reloads_as_well(lab):
    """A .json file is policy like a .toml file."""
    server, path = serve_old(lab)
    text = '{"version": 1, "registry": [{"name": "r", "hosts": ["registry.example", "%s"]}]}' % NEW

    def edit():
        (lab.policy / "10-test.json").write_text(text, encoding="utf-8")
        path.unlink()

    flips(server, edit)


@case
def a_configmap_is_swapped(lab):
    """Kubernetes: the files are links through `..data`, which is swapped by a rename, three times."""
    config_map(lab, "one", OLD)
    sh("ln -s ..data/10-test.toml 10-test.toml", cwd=lab.policy)
    server = lab.serve()
    check(shows(server, OLD), "the first policy is in force")
    for name, host in (("two", NEW), ("three", OLD), ("four", NEW)):
        flips(server, lambda name=name, host=host: config_map(lab, name, host), host)


def config_map(lab, name, host):
    """Writes a folder `..name` and turns the link `..data` to it, as the kubelet does."""
    (lab.policy / f"..{name}").mkdir()
    (lab.policy / f"..{name}" / "10-test.toml").write_text(policy(lab, host), encoding="utf-8")
    sh(f"ln -sfn ..{name} ..data_tmp && mv -T ..data_tmp ..data", cwd=lab.policy)


@case
def the_policy_path_is_a_swapped_link(lab):
    """`policy.path` itself a link, turned with ln -sfn."""
    for name, host in (("blue", OLD), ("green", NEW)):
        (lab.folder / name).mkdir()
        (lab.folder / name / "10-test.toml").write_text(policy(lab, host), encoding="utf-8")
    lab.policy.rmdir()
    sh("ln -s blue policy.d", cwd=lab.folder)
    server = lab.serve()
    check(shows(server, OLD), "blue")
    flips(server, lambda: sh("ln -sfn green policy.d", cwd=lab.folder))
    flips(server, lambda: sh("ln -sfn blue policy.d", cwd=lab.folder), OLD)


@case
def the_directory_is_replaced(lab):
    """The whole directory moved away and another moved in, then edited in its new place."""
    server, path = serve_old(lab)
    fresh = lab.folder / "fresh.d"
    fresh.mkdir()
    (fresh / "10-test.toml").write_text(policy(lab, NEW), encoding="utf-8")
    flips(server, lambda: sh(f"mv {lab.policy} {lab.folder}/old.d && mv {fresh} {lab.policy}"))
    flips(server, lambda: sh(f"sed -i s/{NEW}/{OLD}/ {path}"), OLD)


# ── edits that must change nothing ──


def refused(server, path_word=None):
    """Waits until status is degraded; the old policy is still in force, and the reload command says no."""
    wait_until(lambda: server.status()["state"] == "degraded", 3, "degraded")
    check(shows(server, OLD), "the old policy is in force")
    status = server.command("status")
    equal(status.returncode, 1, "exit of status")
    done = server.command("reload")
    equal(done.returncode, 78, f"exit of reload ({done.stdout}{done.stderr})")
    check(path_word is None or path_word in done.stdout + done.stderr, f"reload does not name {path_word}: {done.stdout}{done.stderr}")
    check(shows(server, OLD), "still")


def recovers(server, edit, host=NEW):
    """After a good edit the policy is in force and the state is ok again."""
    flips(server, edit, host)
    equal(server.status()["state"], "ok")
    equal(server.command("status").returncode, 0)


@case
def a_broken_edit_changes_nothing(lab):
    """A fault: old policy in force, status degraded (exit 1), reload exits 78 with file, line and column, and a hint."""
    server, path = serve_old(lab)
    before = server.generation()
    path.write_text(policy(lab, NEW).replace("hosts", "hsots"), encoding="utf-8")
    refused(server, "10-test.toml:4:1")
    equal(server.generation(), before)
    faults = server.status()["faults"]
    check(any((fault["line"], fault["column"]) == (4, 1) and "did you mean `hosts`" in fault["hint"] for fault in faults), faults)
    recovers(server, lambda: path.write_text(policy(lab, NEW), encoding="utf-8"))


@case
def every_fault_is_named_at_once(lab):
    """Faults in two files: reload prints all of them, each with its place and the line quoted."""
    server, path = serve_old(lab)
    path.write_text(policy(lab, "https://ghcr.io") + 'colour = "red"\n', encoding="utf-8")
    lab.write_policy('version = 1\n[[registry]]\npreset = "docker-hbu"\n', "20-more.toml")
    refused(server)
    done = server.command("reload")
    for words in ("10-test.toml:4:", "10-test.toml:6:", "20-more.toml:3:", "docker-hub", "write `ghcr.io`"):
        check(words in done.stdout + done.stderr, f"{words!r} is not in\n{done.stdout}{done.stderr}")


@case
def a_truncated_file_changes_nothing(lab):
    """truncate -s 0: an empty file is a fault."""
    server, path = serve_old(lab)
    sh(f"truncate -s 0 {path}")
    refused(server)
    recovers(server, lambda: path.write_text(policy(lab, NEW), encoding="utf-8"))


@case
def a_half_written_file_changes_nothing(lab):
    """A file written in two halves: never anything but the old or the new policy, without an answer between."""
    server, path = serve_old(lab)
    text = policy(lab, NEW)
    half = len(text) // 2
    with LoadClient(["registry.example"]) as client, open(path, "w", encoding="utf-8") as file:
        file.write(text[:half])
        file.flush()
        wait_until(lambda: server.status()["state"] == "degraded", 3, "degraded")
        check(shows(server, OLD), "the old policy is in force")
        file.write(text[half:])
        flips(server, file.flush)
        seen = client.finish()
    equal({(each.rcode, len(each.records)) for each in seen}, {(0, 2)})


@case
def a_deleted_directory_changes_nothing(lab):
    """rm -rf of the policy directory: the old policy stays, and the directory is taken up again when it is back."""
    server, path = serve_old(lab)
    sh(f"rm -rf {lab.policy}")
    refused(server)

    def restore():
        lab.policy.mkdir()
        path.write_text(policy(lab, NEW), encoding="utf-8")

    recovers(server, restore)


@case
def an_emptied_directory_changes_nothing(lab):
    """The last file removed: an empty directory is a fault, not a policy that denies everything."""
    server, path = serve_old(lab)
    sh(f"rm {path}")
    refused(server)
    recovers(server, lambda: path.write_text(policy(lab, NEW), encoding="utf-8"))


@case
def odd_files_do_not_hang_it(lab):
    """A dangling link, a FIFO, a socket and binary bytes named *.toml: refused each; a folder is passed over."""
    server, path = serve_old(lab)
    odd = lab.policy / "20-odd.toml"
    bind = f"import socket; socket.socket(socket.AF_UNIX).bind('{odd}')"
    for make in (f"ln -s /nowhere {odd}", f"mkfifo {odd}", f'python3 -c "{bind}"', f"head -c 4096 /dev/urandom > {odd}"):
        sh(make)
        refused(server)
        sh(f"rm -rf {odd}")
        wait_until(lambda: server.status()["state"] == "ok", 3, f"ok again after {make}")
    odd.mkdir()
    server.reload()
    recovers(server, lambda: path.write_text(policy(lab, NEW), encoding="utf-8"))


@case
def an_unreadable_file_changes_nothing(lab):
    """A file that the server may not read (it runs without privileges here): refused, and named."""
    path = lab.write_policy(policy(lab, OLD))
    server = lab.serve(wait=False, listen=("127.0.0.1:5353",))
    copy = lab.folder / "pullgate-bin"
    sh(f"cp {lab.binary} {copy} && chmod -R a+rwX {lab.folder} && chmod a+rx {lab.folder.parent}")
    server.process = lab.spawn(["setpriv", "--reuid", "65534", "--clear-groups", str(copy), *server.arguments], "pullgate")
    wait_until(lambda: server.command("status").returncode == 0, 5, "running")
    sh(f"chmod 000 {path}")
    wait_until(lambda: (server.command("reload").returncode, server.command("status").returncode) == (78, 1), 5, "refused")
    check(path.name in server.command("reload").stdout + server.command("reload").stderr, "the file is not named")
    sh(f"chmod 644 {path}")
    wait_until(lambda: server.status()["state"] == "ok", 3, "ok again")


@case
def a_touch_is_no_reload(lab):
    """touch, chmod and a rewrite with the same bytes: no new generation; reload says unchanged."""
    server, path = serve_old(lab)
    before = server.generation()
    sh(f"touch {path} && chmod 600 {path} && cp {path} {lab.folder}/same && cp {lab.folder}/same {path}")
    code, body = server.control("/v1/reload", "-X", "POST")
    equal((code, '"unchanged"' in body), (200, True), body)
    equal(server.generation(), before)


# ── the other ways to ask for a reload ──


@case
def sighup_reloads(lab):
    """SIGHUP takes the same path as an event; a broken policy is reported, not obeyed."""
    server, path = serve_old(lab)
    path.write_text(policy(lab, NEW), encoding="utf-8")
    server.signal(signal.SIGHUP)
    wait_until(lambda: server.rcode(NEW) == "NOERROR", WITHIN, "in force")
    path.write_text("version = \n", encoding="utf-8")
    server.signal(signal.SIGHUP)
    wait_until(lambda: server.status()["state"] == "degraded", 3, "degraded")
    check(shows(server, NEW), "the last good policy")
    equal(server.process.poll(), None, "alive")


@case
def reload_is_in_force_when_it_returns(lab):
    """`pullgate reload` returns when the new policy answers: no waiting, twenty times."""
    server, path = serve_old(lab)
    for turn in range(20):
        host = NEW if turn % 2 == 0 else OLD
        path.write_text(policy(lab, host), encoding="utf-8")
        server.reload()
        check(shows(server, host), f"turn {turn}")


@case
def polling_finds_what_events_miss(lab):
    """With inotify refused by the kernel the contents are compared: in force within 2.5 s all the same."""
    path = lab.write_policy(policy(lab, OLD))
    server = lab.serve(wait=False)
    inject = ["-e", "trace=inotify_init1,inotify_init", "-e", "inject=inotify_init1,inotify_init:error=EMFILE"]
    server.process = lab.spawn(["strace", "-f", "-qq", "-o", str(lab.folder / "strace.log"), *inject, str(lab.binary), *server.arguments], "pullgate")
    wait_until(lambda: shows(server, OLD), 10, "running")
    path.write_text(policy(lab, NEW), encoding="utf-8")
    _, taken = wait_until(lambda: server.rcode(NEW) == "NOERROR", 4, "in force")
    check(taken <= 2.7, f"in force only after {taken:.1f} s")


@case
def an_expiry_takes_effect(lab):
    """`expires` passing while the server runs: the name is denied within a second, without any edit."""
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3))
    extra = f'[[registry]]\nname = "guest"\nhosts = ["{NEW}"]\nexpires = {soon}\nowner = "platform"\nticket = "SEC-118"\n'
    server = lab.serve(lab.registry("r", ["registry.example"]) + extra)
    digest = server.status()["digest"]
    equal(server.dig(NEW).rcode, "NOERROR", "before")
    _, taken = wait_until(lambda: server.rcode(NEW) == "NXDOMAIN", 6, "expired")
    check(taken <= 4.2, f"expired only after {taken:.1f} s")
    equal(server.dig("registry.example").rcode, "NOERROR")
    check(server.status()["digest"] != digest, "the digest is that of the effective policy")


# ── under load ──


@case(seconds=60)
def edits_flip_while_dnsperf_loses_nothing(lab):
    """The README's promise: ten edits flip a name within a second each while dnsperf runs without a lost query."""
    server, path = serve_old(lab)
    dnsperf = Dnsperf(lab, ["registry.example", "denied.example"], seconds=15, rate=5000)
    for turn in range(10):
        host = NEW if turn % 2 == 0 else OLD
        flips(server, lambda host=host: path.write_text(policy(lab, host), encoding="utf-8"), host)
    counts = dnsperf.finish()
    lab.note(str(counts))
    equal(counts["lost"], 0, "lost")
    equal(set(counts["rcodes"]), {"NOERROR", "NXDOMAIN"})
    check(abs(counts["rcodes"]["NOERROR"] - counts["rcodes"]["NXDOMAIN"]) <= 1, counts)


# Two policies, made so that an answer of both would show. mix.example is a CNAME to target.mix.example, which has a
# private and a public address.
#   A: mix.example is inspected, its target allowed, private addresses permitted  -> CNAME, private, public
#   B: mix.example is trusted, its target not on the list, none permitted         -> CNAME, public
# Judged by A with the target looked up in B: NXDOMAIN. With B's addresses and A's target, or the other way round: the
# denied name's EDE and the target's own answer tell which policy it was.
POLICY_A = """\
version = 1
[[registry]]
name = "mix"
hosts = ["mix.example", "target.mix.example"]
cname = "inspect"
private-addresses = true
[[registry]]
name = "steady"
hosts = ["registry.example"]
"""
POLICY_B = """\
version = 1
[[registry]]
name = "mix"
hosts = ["mix.example"]
[[registry]]
name = "steady"
hosts = ["registry.example"]
"""
CHAIN = ("CNAME", "target.mix.example")
PUBLIC, PRIVATE = ("A", "192.0.2.90"), ("A", "10.9.9.9")
ANSWERS = {
    "A": {"mix.example": (0, (PRIVATE, PUBLIC, CHAIN)), "target.mix.example": (0, (PRIVATE, PUBLIC))},
    "B": {"mix.example": (0, (PUBLIC, CHAIN)), "target.mix.example": (3, ())},
}
RELOADS = 200


@case(seconds=240)
def two_hundred_reloads_lose_and_mix_nothing(lab):
    """200 reloads under load from dnsperf and four clients: no query lost, no answer of two policies, none out of date."""
    path = lab.write_policy(POLICY_A)
    server = lab.serve()
    clients = [LoadClient(["mix.example", "target.mix.example", "registry.example", "denied.example"][turn:] + ["mix.example"]) for turn in range(4)]
    for client in clients:
        client.start()
    dnsperf = Dnsperf(lab, ["registry.example", "denied.example", "mix.example"], seconds=200, rate=2000)
    epochs = [("A", 0.0, time.monotonic())]  # policy, when its edit began, when it was in force
    try:
        for turn in range(RELOADS):
            name = "B" if turn % 2 == 0 else "A"
            epochs.append(edit(server, path, name, by_event=turn % 10 == 9))
    finally:
        seen = [each for client in clients for each in client.finish()]
    dnsperf.process.send_signal(signal.SIGINT)
    counts = dnsperf.finish()
    lab.note(f"{len(seen)} answers to own clients, dnsperf {counts}")
    equal(sum(each.rcode is None for each in seen), 0, "lost by own clients")
    check(counts["lost"] == 0 and counts["completed"] > 1000, f"dnsperf: {counts}")
    check(len(seen) > 2000, f"only {len(seen)} answers: that is no load")
    judge_epochs(seen, epochs)
    equal(server.status()["state"], "ok")
    equal(server.process.poll(), None, "alive")


def edit(server, path, name, by_event):
    """Puts a policy in force, by `reload` or by leaving it to the file event; returns its epoch."""
    began = time.monotonic()
    fresh = path.with_name(".fresh")
    fresh.write_text(POLICY_A if name == "A" else POLICY_B, encoding="utf-8")
    os.replace(fresh, path)
    if by_event:
        wanted = "NOERROR" if name == "A" else "NXDOMAIN"
        wait_until(lambda: server.rcode("target.mix.example") == wanted, WITHIN, f"policy {name} by file event")
    else:
        server.reload()
    return name, began, time.monotonic()


def judge_epochs(seen, epochs):
    """Every answer is one policy's whole answer, and of a policy that was in force while it was asked."""
    steady = {"registry.example": (0, (("A", "192.0.2.1"), ("A", "192.0.2.2"))), "denied.example": (3, ())}
    for each in seen:
        answer = (each.rcode, each.records)
        if each.name in steady:
            equal(answer, steady[each.name], each.name)
            continue
        policies = {name for name in "AB" if ANSWERS[name][each.name] == answer}
        check(policies, f"{each.name} was answered with {answer}, which is neither policy's")
        if not policies & possible(each, epochs):
            raise Failed(f"{each.name} was answered by policy {policies}, out of its time")


def possible(each, epochs):
    """The policies that may have answered a question asked and answered at these times."""
    names = set()
    for index, (name, began, _) in enumerate(epochs):
        replaced = epochs[index + 1][2] if index + 1 < len(epochs) else float("inf")
        if began <= each.answered and each.asked <= replaced:
            names.add(name)
    return names
