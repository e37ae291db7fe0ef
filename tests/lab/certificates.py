"""A certificate authority for one run, and what it vouches for."""

import subprocess
from pathlib import Path

BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


class Authority:
    """Keys and certificates in a folder; `certificate` is the authority's own."""

    def __init__(self, folder):
        folder.mkdir(parents=True)
        self.folder = folder
        self.certificate = folder / "ca.crt"
        self.key = folder / "ca.key"
        openssl("req", "-x509", *NEW_KEY, "-keyout", self.key, "-out", self.certificate, "-days", "2", "-subj", "/CN=pullgate lab")

    def issue(self, host, *more):
        """Paths of a certificate and a key for one host, or for several, under the name of the first."""
        names = ",".join(f"DNS:{each}" for each in (host, *more))
        certificate, key = self.folder / f"{host}.crt", self.folder / f"{host}.key"
        vouching = ["-CA", self.certificate, "-CAkey", self.key, "-days", "2", "-addext", f"subjectAltName={names}"]
        openssl("req", "-x509", *NEW_KEY, "-keyout", key, "-out", certificate, "-subj", f"/CN={host}", *vouching, "-addext", "basicConstraints=critical,CA:FALSE")
        return certificate, key


def trust(root, *certificates):
    """Adds authorities to the system's store of the tree at `root`: every client reads that one."""
    bundle = root / BUNDLE.relative_to("/")
    bundle.write_bytes(b"".join(path.read_bytes() for path in (bundle, *certificates)))


NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
