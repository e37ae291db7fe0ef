"""`pullgate setup` as root, on files and disks that go wrong: nothing is lost, half-written or followed out of a tree."""

import json
import os
import subprocess
from pathlib import Path

from support.cases import case, check, equal, sh

ORIGINALS = {
    "etc/docker/daemon.json": '{\n    "debug": true,\n    "log-opts": {"max-size": "10m"}\n}\n',
    "etc/resolv.conf": "# by hand\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch corp.example\n",
    "etc/pullgate/pullgate.toml": '[server]\nlisten = ["127.0.0.1"] # here\n',
    "lib/systemd/system/docker.service": "[Service]\nExecStart=/usr/sbin/dockerd -H fd://\n",
    "usr/bin/dockerd": "",
}
RECORDS = "var/lib/pullgate-setup"
SCOPES = (("docker",), ("docker", "--scope", "engine"), ("resolv-conf",))


class Tree:
    """The files of a machine that does not run, and `setup` on them."""

    def __init__(self, lab, name="tree"):
        self.lab = lab
        self.folder = lab.folder / name
        for path, text in ORIGINALS.items():
            self.write(path, text)

    def write(self, path, text):
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")

    def command(self, *arguments):
        return [str(self.lab.binary), "setup", "--root", str(self.folder), "--no-doctor", *arguments]

    def setup(self, *arguments, before=()):
        return subprocess.run([*before, *self.command(*arguments)], text=True, capture_output=True, timeout=30, check=False)

    def works(self, *arguments):
        done = self.setup(*arguments)
        equal(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def files(self):
        """Every file but the records: its text, or what it links to, with its permissions."""
        found = {}
        for folder, _, names in os.walk(self.folder):
            for path in (Path(folder, name) for name in names):
                text = os.readlink(path) if path.is_symlink() else path.read_text(encoding="utf-8")
                found[str(path.relative_to(self.folder))] = (text, path.lstat().st_mode)
        return {path: state for path, state in found.items() if not path.startswith(RECORDS)}


@case
def a_setup_killed_at_any_rename_can_be_undone(lab):
    """SIGKILL at each rename of a write in turn: the undo restores every byte, and so does one after a second try."""
    for target in SCOPES:
        for again in (False, True):
            number = 1
            while killed_at(lab, target, number, again):
                number += 1
            check(number > 2, f"{target}: never killed")


def killed_at(lab, target, number, again):
    """Whether a setup was still writing at that rename, and was killed there; in any case it is undone."""
    tree = Tree(lab, f"{'-'.join(target)}-{number}-{again}")
    before = tree.files()
    tree.works(*target, "--write", "--address", "198.18.0.1")
    inject = f"inject=rename,renameat,renameat2:signal=SIGKILL:when={number}"
    done = tree.setup(*target, "--write", "--address", "198.18.0.2", before=("strace", "-f", "-o", "/dev/null", "-e", inject))
    if again:
        tree.works(*target, "--write", "--address", "198.18.0.3")
    tree.works(target[0], "--undo")
    after = {path: state for path, state in tree.files().items() if not path.endswith(".pullgate")}
    equal(after, before, f"killed at rename {number}")
    return done.returncode != 0


@case
def a_full_disk_loses_nothing(lab):
    """On a file system that is filled to the last kilobytes, a write is taken back, or recorded and undone with more room."""
    disk = lab.folder / "disk"
    disk.mkdir()
    sh(f"mount -t tmpfs -o size=256k tmpfs {disk}")
    lab.defer(lambda: sh(f"umount {disk}"))
    tree = Tree(lab, "disk/tree")
    before, refused = tree.files(), 0
    filler = disk / "filler"
    for free in range(0, 64, 4):
        fill(filler, free * 1024)
        done = tree.setup("docker", "--write")
        refused += done.returncode != 0
        if done.returncode:
            equal(done.returncode, 74, done.stderr)
            check("No space" in done.stderr or "once there is room" in done.stderr, done.stderr)
        filler.unlink()
        tree.works("docker", "--undo")
        equal(tree.files(), before, f"{free} KiB free")
    check(refused, "never full")


def fill(path, free):
    """Fills a file system but for so many bytes."""
    space = os.statvfs(path.parent)
    path.write_bytes(b"x" * max(0, space.f_bavail * space.f_frsize - free))


@case
def a_file_system_that_is_read_only_is_said_to_be(lab):
    """Nothing is written, and the exit code is 74."""
    tree = Tree(lab)
    sh(f"mount --bind {tree.folder} {tree.folder} && mount -o remount,bind,ro {tree.folder}")
    lab.defer(lambda: sh(f"umount {tree.folder}"))
    done = tree.setup("docker", "--write")
    equal(done.returncode, 74)
    check("Read-only file system" in done.stderr, done.stderr)


@case
def a_resolv_conf_that_is_mounted_over_is_named_as_such(lab):
    """As in a container: what is bound over a file cannot be replaced; all else is taken back, and it is said what to do."""
    tree = Tree(lab)
    before = tree.files()
    place = tree.folder / "etc/resolv.conf"
    sh(f"mount --bind {place} {place}")
    lab.defer(lambda: sh(f"umount {place}"))
    done = tree.setup("docker", "--write")
    equal(done.returncode, 74)
    check("mounted over it" in done.stderr and "--dns" in done.stderr, done.stderr)
    equal(tree.files(), before)


@case
def two_at_a_time_do_not_mix(lab):
    """Eight writes at once, each with an address of its own: one is in force whole, and the undo restores every byte."""
    tree = Tree(lab)
    before = tree.files()
    for _ in range(5):
        writers = [tree.command("docker", "--write", "--address", f"198.18.0.{number}") for number in range(1, 9)]
        ends = [process.wait(timeout=30) for process in [subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for line in writers]]
        check(set(ends) <= {0, 78} and 0 in ends, ends)
        address = json.loads((tree.folder / "etc/docker/daemon.json").read_text())["dns"]
        check(f"nameserver {address[0]}\n" in (tree.folder / "etc/resolv.conf").read_text(), address)
        tree.works("docker", "--undo")
        equal(tree.files(), before)


@case
def what_others_may_have_recorded_is_not_written_back(lab):
    """A record or a folder of another user's, or one that others may write, is refused; what root made is private."""
    tree = Tree(lab)
    tree.works("docker", "--write")
    written = tree.files()
    folder = tree.folder / RECORDS
    record = folder / "docker.json"
    equal([path.stat().st_mode & 0o777 for path in (folder, record)], [0o700, 0o600])
    for path, spoil, mend in (
        (record, "chown nobody", "chown root"),
        (record, "chmod o+w", "chmod o-w"),
        (folder, "chown nobody", "chown root"),
        (folder, "chmod g+w", "chmod g-w"),
    ):
        sh(f"{spoil} {path}")
        done = tree.setup("docker", "--undo", "--force")
        equal(done.returncode, 78, f"{spoil}: {done.stderr}")
        equal(tree.files(), written)
        sh(f"{mend} {path}")
    tree.works("docker", "--undo")


@case
def what_setup_writes_can_be_read_whatever_the_umask(lab):
    """With umask 077, as hardened servers have it, the service still reads the servers that were kept for it."""
    tree = Tree(lab)
    for path in ("etc/pullgate/pullgate.toml", "etc/pullgate"):
        place = tree.folder / path
        place.unlink() if place.is_file() else place.rmdir()
    done = tree.setup("resolv-conf", "--write", "--address", "198.18.0.1", before=("sh", "-c", 'umask 077; exec "$@"', "sh"))
    equal(done.returncode, 0, done.stderr)
    modes = [(tree.folder / path).stat().st_mode & 0o777 for path in ("etc/pullgate", "etc/pullgate/resolv.conf", "etc/resolv.conf")]
    equal(modes, [0o755, 0o644, 0o644])


@case
def links_lead_nowhere_out_of_a_tree(lab):
    """Absolute links, `..` and chains too long to follow, at a file and on the way to it: the file outside stays as it is."""
    outside = lab.folder / "outside"
    outside.mkdir()
    (outside / "daemon.json").write_text("{}")
    for name, target in (("folder", str(outside)), ("above", "../" * 30 + str(outside)), ("chain", "/1")):
        tree = Tree(lab, name)
        (tree.folder / "etc/docker/daemon.json").unlink()
        (tree.folder / "etc/docker").rmdir()
        (tree.folder / "etc/docker").symlink_to(target)
        for number in range(1, 41):
            (tree.folder / str(number)).symlink_to(f"/{number + 1}")
        (tree.folder / "41").symlink_to(outside)
        tree.setup("docker", "--write")
        equal((outside / "daemon.json").read_text(), "{}", name)
        equal(os.listdir(outside), ["daemon.json"], name)


@case
def no_text_of_a_file_becomes_a_command(lab):
    """A data-root with quotes, `$(…)` and line feeds is one word of the script that starts Docker, and of no other line."""
    tree = Tree(lab)
    root = "/data'; touch /tmp/pullgate-injected; '\n$(touch /tmp/pullgate-injected)\n    {binds}\n"
    tree.write("etc/docker/daemon.json", json.dumps({"data-root": root}))
    tree.works("docker", "--scope", "engine", "--write")
    script = tree.folder / "etc/pullgate/services/docker/start"
    tools = lab.folder / "tools"
    tools.mkdir()
    for tool in ("mkdir", "mountpoint", "mount", "unshare"):
        (tools / tool).write_text(f'#!/bin/sh\nprintf "%s|" "$@" >> {lab.folder}/seen\n')
        (tools / tool).chmod(0o755)
    subprocess.run(["sh", script], env={"PATH": f"{tools}:{os.environ['PATH']}"}, check=True)
    check(not Path("/tmp/pullgate-injected").exists(), script.read_text())
    equal((lab.folder / "seen").read_text().split("|")[:2], ["-p", root])


@case
def a_file_that_is_no_text_or_no_settings_is_refused_as_it_is(lab):
    """BOM, NUL, other encodings, a key twice, what is too large, folders, pipes: exit 78, a reason, and nothing is touched."""
    for number, content in enumerate(UNUSABLE):
        tree = Tree(lab, f"unusable-{number}")
        place = tree.folder / "etc/docker/daemon.json"
        place.write_bytes(content)
        done = tree.setup("docker", "--write")
        equal((done.returncode, place.read_bytes()), (78, content), str(content[:20]))
        check("daemon.json" in done.stderr, done.stderr)
        check(not (tree.folder / RECORDS / "docker.json").exists(), "recorded")
    for make in ("mkdir", "mkfifo"):
        tree = Tree(lab, make)
        place = tree.folder / "etc/docker/daemon.json"
        place.unlink()
        sh(f"{make} {place}")
        equal(tree.setup("docker", "--write").returncode, 78, make)


UNUSABLE = (
    b"\xef\xbb\xbf{}",
    b'{"debug": true}\0',
    '{"a": "ü"}'.encode("latin-1"),
    "{}".encode("utf-16"),
    b'{"dns": ["192.0.2.1"], "dns": ["192.0.2.2"]}',
    b'{"a": "' + b"x" * 1024 * 1024 + b'"}',
    b'{"debug": true,}',
    b"// mine\n{}",
    b"[]",
)


@case
def settings_keep_what_stands_beside_the_key(lab):
    """CRLF, tabs, no last line feed, `dns` as a text, escapes, large numbers: only `dns` changes, and an undo restores every byte."""
    for number, content in enumerate(USABLE):
        tree = Tree(lab, f"usable-{number}")
        place = tree.folder / "etc/docker/daemon.json"
        place.write_bytes(content)
        tree.works("docker", "--write")
        after = json.loads(place.read_bytes())
        equal(after.pop("dns"), ["172.17.0.1"])
        before = json.loads(content or b"{}")
        before.pop("dns", None)
        equal(after, before)
        tree.works("docker", "--undo")
        equal(place.read_bytes(), content)


USABLE = (
    b"",
    b"{}",
    b'{\r\n\t"debug": true,\r\n\t"dns": "192.0.2.1"\r\n}\r\n',
    b'{"dns": [], "a": 12345678901234567890123, "b": 1.10}',
    b'{"d\\u006es": ["192.0.2.1"], "a\\"b\\\\": "\\u00e9\\ud83d\\ude00"}',
    b'{"dns": null, "x": {"dns": ["192.0.2.1"]}}',
)


@case
def what_is_new_in_a_home_is_its_users(lab):
    """Root sets up a user's BuildKit: folders and files made for it belong to the user, and the undo takes them away."""
    tree = Tree(lab)
    tree.write("usr/bin/buildkitd", "")
    tree.write("home/me/.docker/config.json", "{}")
    sh(f"chown -R nobody {tree.folder}/home/me")
    tree.write("usr/libexec/docker/cli-plugins/docker-buildx", "")
    tree.works("buildkit", "--home", "/home/me", "--address", "172.17.0.1", "--write")
    made = tree.folder / "home/me/.docker/buildx"
    equal({path.owner() for path in (made, made / "buildkitd.default.toml")}, {"nobody"})
    equal((tree.folder / "etc/buildkit/buildkitd.toml").owner(), "root")
    tree.works("buildkit", "--undo")
    check(not made.exists(), "left there")


@case
def what_a_file_says_does_not_reach_the_terminal_raw(lab):
    """Escape sequences in a resolv.conf are shown as such, so that a plan cannot hide what it shows."""
    tree = Tree(lab)
    tree.write("etc/resolv.conf", "nameserver 192.0.2.1\n# \x1b[2J\x1b]0;owned\x07\n")
    shown = tree.works("resolv-conf")
    check("\x1b" not in shown and "\\u{1b}[2J" in shown, shown)


@case
def two_targets_that_change_the_same_files_are_undone_in_turn(lab):
    """docker and resolv-conf both change resolv.conf: the earlier one's undo names the later one; in the end all is as before."""
    for first, second in (("docker", "resolv-conf"), ("resolv-conf", "docker")):
        tree = Tree(lab, first)
        before = tree.files()
        tree.works(first, "--write", "--address", "198.18.0.1")
        tree.works(second, "--write", "--address", "198.18.0.2")
        both = tree.files()
        refused = tree.setup(first, "--undo")
        equal(refused.returncode, 78)
        check(f"pullgate setup {second} --undo" in refused.stderr, refused.stderr)
        equal(tree.files(), both)
        tree.works(second, "--undo")
        tree.works(first, "--undo")
        equal(tree.files(), before)
        check("nothing to undo" in tree.works(first, "--undo"), "undone twice")
