"""Container images made from nothing but this machine's own files, as OCI layouts that skopeo pushes."""

import dataclasses
import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
from pathlib import Path

SOURCE = Path(__file__).parent / "resolve.c"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
APPLETS = ("sh", "cat", "ls", "sleep", "nslookup", "wget", "true", "echo")
# What a program that is linked with glibc needs, and what images call the processor.
ARCHITECTURE, LOADER, LIBC = {
    "x86_64": ("amd64", "lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu/libc.so.6"),
    "aarch64": ("arm64", "lib/ld-linux-aarch64.so.1", "lib/aarch64-linux-gnu/libc.so.6"),
}[platform.machine()]


@dataclasses.dataclass(frozen=True)
class Image:
    """What one needs to know of an image to ask for it: the digests of its manifest and of its last layer, and that one's size."""

    digest: str
    blob: str
    size: int


class Layout:
    """An OCI image layout in a folder, one image under the tag `image`."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "blobs/sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}', encoding="utf-8")

    def build(self, layers, command=("/bin/sh",)):
        """Writes the image of these uncompressed layers; returns its digests."""
        blobs = [self.add(gzip.compress(layer, 0, mtime=0), LAYER) for layer in layers]
        return self.finish(blobs, [digest(layer) for layer in layers], command)

    def finish(self, layers, ids, command=("/bin/sh",)):
        """Writes the image of these layers, by their descriptors and by what they unpack to; returns its digests."""
        config = {"architecture": ARCHITECTURE, "os": "linux", "config": {"Cmd": command}, "rootfs": {"type": "layers", "diff_ids": ids}}
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.add(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
            "layers": layers,
        }
        entry = self.add(json.dumps(manifest).encode(), manifest["mediaType"])
        index = {"schemaVersion": 2, "manifests": [{**entry, "annotations": {"org.opencontainers.image.ref.name": "image"}}]}
        (self.folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
        return Image(entry["digest"], layers[-1]["digest"], layers[-1]["size"])

    def add(self, data, media_type):
        """Adds a blob; returns its descriptor."""
        name = digest(data)
        (self.folder / "blobs/sha256" / name.removeprefix("sha256:")).write_bytes(data)
        return {"mediaType": media_type, "digest": name, "size": len(data)}

    def take(self, path, sha256):
        """Adds the file of a layer by moving it there; returns its descriptor."""
        name, size = sha256.hexdigest(), path.stat().st_size
        path.rename(self.folder / "blobs/sha256" / name)
        return {"mediaType": LAYER, "digest": f"sha256:{name}", "size": size}


def tiny(folder):
    """A small image: busybox, and one program that resolves a name, built for glibc and for musl."""
    return Layout(folder / "layout").build([tar_of(small_tree(folder / "tree"))])


def derived(base, folder, text):
    """The small image built in `base` with a layer of its own over it: a file that says `text`, unlike any other's."""
    layer = folder / "layer"
    layer.mkdir(parents=True)
    (layer / "text").write_text(text, encoding="utf-8")
    return Layout(folder / "layout").build([tar_of(base / "tree"), tar_of(layer)])


def large(folder, megabytes):
    """The small image with a layer of random bytes over it."""
    random = folder / "random"
    random.mkdir(parents=True)
    (random / "data").write_bytes(os.urandom(megabytes * 1_000_000))
    return Layout(folder / "layout").build([tar_of(small_tree(folder / "tree")), tar_of(random)])


def huge(folder, megabytes):
    """An image with one layer of so many megabytes, as they are: nothing in it can be pressed."""
    layout = Layout(folder / "layout")
    path = folder / "layer"
    path.parent.mkdir(parents=True, exist_ok=True)
    whole, pressed = hashlib.sha256(), hashlib.sha256()
    with open(path, "wb") as file, gzip.GzipFile(fileobj=Tee(file, pressed), mode="wb", compresslevel=0, mtime=0, filename="") as layer:
        for part in huge_tar(megabytes):
            whole.update(part)
            layer.write(part)
    return layout.finish([layout.take(path, pressed)], [f"sha256:{whole.hexdigest()}"])


def huge_tar(megabytes):
    """The parts of a tar of one file of zeros."""
    entry = tarfile.TarInfo("data")
    entry.size = megabytes * 1_000_000
    yield entry.tobuf()
    block = bytes(1_000_000)
    for _ in range(megabytes):
        yield block
    yield bytes(-entry.size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)


class Tee:
    """A file that is written, and what is written digested."""

    def __init__(self, file, digest):
        self.file, self.digest = file, digest

    def write(self, data):
        self.digest.update(data)
        return self.file.write(data)

    def flush(self):
        self.file.flush()


def small_tree(tree):
    for part in ("bin", "etc", "tmp", Path(LOADER).parent, Path(LIBC).parent):
        (tree / part).mkdir(parents=True, exist_ok=True)
    shutil.copy(shutil.which("busybox"), tree / "bin/busybox")
    for applet in APPLETS:
        (tree / "bin" / applet).symlink_to("busybox")
    compile_for("musl-gcc", "-static", tree / "bin/resolve-musl")
    compile_for("gcc", "-O1", tree / "bin/resolve-glibc")
    for library in (LOADER, LIBC):
        shutil.copy(Path("/") / library, tree / library)
    (tree / "etc/nsswitch.conf").write_text("hosts: files dns\n", encoding="utf-8")
    (tree / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n", encoding="utf-8")
    return tree


def compile_for(compiler, option, program):
    subprocess.run([compiler, option, "-o", program, SOURCE], check=True)


def tar_of(tree):
    """A folder as an uncompressed tar, owned by root."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(tree.rglob("*")):
            archive.add(path, path.relative_to(tree), recursive=False, filter=owned_by_root)
    return packed.getvalue()


def owned_by_root(entry):
    entry.uid = entry.gid = 0
    return entry


def digest(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
