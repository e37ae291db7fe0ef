"""A small system tree of the newer Debian, for guests: made once, kept in the build folder."""

import hashlib
import shutil
import subprocess

from support.suite import target

SUITE = "trixie"

PACKAGES = [
    "aardvark-dns",
    "bind9-dnsutils",
    "buildah",
    "ca-certificates",
    "containerd",
    "curl",
    "dbus",
    "docker-buildx",
    "docker-cli",
    "docker-compose",
    "docker.io",
    "iproute2",
    "iptables",
    "iputils-ping",
    "netavark",
    "nftables",
    "passt",
    "podman",
    "procps",
    "python3-minimal",
    "runc",
    "skopeo",
    "systemd",
    "systemd-resolved",
    "systemd-sysv",
]


def trixie_tree():
    """The folder of the tree; makes it first if there is none yet or if the package list has changed."""
    folder = target() / "lab"
    digest = hashlib.sha256(" ".join([SUITE, *PACKAGES]).encode()).hexdigest()[:12]
    tree = folder / f"{SUITE}-{digest}"
    if not tree.exists():
        for old in folder.glob(f"{SUITE}-*"):
            shutil.rmtree(old)
        make(tree)
    return tree.resolve()


def make(tree):
    """Has mmdebstrap make the tree, beside its place first: what stands there is always whole."""
    unfinished = tree.with_suffix(".unfinished")
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    print(f"making a tree of Debian {SUITE} in {tree}", flush=True)
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(unfinished)]
    subprocess.run([*command, f"deb {mirror()} {SUITE} main"], check=True)
    unfinished.rename(tree)


def mirror():
    """The package mirror that this machine itself uses."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Component: main"]
    addresses = subprocess.run(command, text=True, capture_output=True, check=True).stdout.split()
    return next(address for address in addresses if "security" not in address)


if __name__ == "__main__":
    print(trixie_tree())
