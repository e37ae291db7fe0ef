"""Certificate authorities, what they vouch for, and who trusts them."""

import dataclasses
import subprocess
from pathlib import Path

BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclasses.dataclass(frozen=True)
class Authority:
    """An authority's own certificate and key, and the folder for what it issues."""

    folder: Path
    certificate: Path
    key: Path

    def issue(self, host, *more):
        """Paths of a certificate and a key for one host, or for several, under the name of the first."""
        names = ",".join(f"DNS:{each}" for each in (host, *more))
        certificate, key = self.folder / f"{host}.crt", self.folder / f"{host}.key"
        vouching = ["-CA", self.certificate, "-CAkey", self.key, "-days", "2", "-addext", f"subjectAltName={names}"]
        openssl("req", "-x509", *NEW_KEY, "-keyout", key, "-out", certificate, "-subj", f"/CN={host}", *vouching, "-addext", "basicConstraints=critical,CA:FALSE")
        return certificate, key


def make_authority(folder):
    """A new one, in a folder of its own."""
    folder.mkdir(parents=True)
    made = Authority(folder, folder / "ca.crt", folder / "ca.key")
    openssl("req", "-x509", *NEW_KEY, "-keyout", made.key, "-out", made.certificate, "-days", "2", "-subj", "/CN=pullgate lab")
    return made


def trust(root, *certificates):
    """Adds authorities to the system's store of the tree at `root`: every client reads that one."""
    bundle = root / BUNDLE.relative_to("/")
    bundle.write_bytes(b"".join(path.read_bytes() for path in (bundle, *certificates)))


NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
