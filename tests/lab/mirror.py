"""A package mirror of one package, made with Debian's own tools."""

import subprocess

CONTROL = """\
Package: lab-package
Version: 1.0
Architecture: all
Maintainer: The lab <root@lab.test>
Description: a package that a mirror needs to have
"""

RELEASE = """\
Suite: lab
Codename: lab
Components: main
Architectures: amd64 all
"""


def make(folder):
    """Writes the mirror's files: `deb [trusted=yes] http://mirror.lab.test/ ./` reads them."""
    control = folder / "build/DEBIAN/control"
    control.parent.mkdir(parents=True)
    control.write_text(CONTROL, encoding="utf-8")
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", folder / "build", folder / "lab-package.deb"], check=True, capture_output=True)
    packages = subprocess.run(["dpkg-scanpackages", "--multiversion", "."], cwd=folder, check=True, capture_output=True).stdout
    (folder / "Packages").write_bytes(packages)
    (folder / "Release").write_text(RELEASE, encoding="utf-8")
