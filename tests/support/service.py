"""pullgate as a service of a guest, installed from the repository's own files by the README's own commands."""

import re
import shutil

from support.suite import ROOT

# Where the guest has the repository.
SOURCE = "/root/pullgate"


def install(guest, binary, settings, policy):
    """Installs and enables it in a guest that is not booted yet; then puts `settings` and `policy` in place."""
    for folder in ("systemd", "config"):
        shutil.copytree(ROOT / folder, guest.place(f"{SOURCE}/{folder}"))
    guest.place(f"{SOURCE}/target/release").mkdir(parents=True)
    shutil.copy(binary, guest.place(f"{SOURCE}/target/release/pullgate"))
    guest.must(f"cd {SOURCE} && set -e\n{commands()}")
    guest.write("/etc/pullgate/pullgate.toml", settings)
    guest.write("/etc/pullgate/policy.d/10-registries.toml", policy)


def commands():
    """The commands of the README's section "As a service", for root, with the program built already, started by the boot."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^## As a service\n+```sh\n(.*?)^```", readme, re.M | re.S)[1]
    return block.replace("cargo build --release\n", "").replace("sudo ", "").replace(" --now", "")
