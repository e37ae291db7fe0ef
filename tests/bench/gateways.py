"""The gateways of the bench and what stands behind them: the registry and the name server."""

import dataclasses
import hashlib
import json
import os
import re
import socket
import subprocess
import time
from pathlib import Path

from lab.certificates import make_authority
from servers import PATH, stop, write
from support import knot

# The inspected registry; one that is passed on; one that is passed on too, and does not encrypt.
INSPECTED, PASSED, OPAQUE = "inspected.example", "passed.example", "opaque.example"
REGISTRY, OPAQUE_REGISTRY, NAME_SERVER = "198.18.0.10", "198.18.0.11", "198.18.0.53"
# Where the gateway of pullgate is, and those of nginx for both jobs.
PULLGATE, NGINX_PASS, NGINX_INSPECT = "198.18.0.1", "198.18.0.2", "198.18.0.3"
ADDRESSES = [PULLGATE, NGINX_PASS, NGINX_INSPECT, REGISTRY, OPAQUE_REGISTRY, NAME_SERVER]

MANIFEST = "/v2/good/app/manifests/latest"
DENIED = "/v2/bad/app/manifests/latest"


class World:
    """The registry with its files, its certificates, and its names; all of it in memory."""

    def __init__(self, folder, size, prefix):
        self.folder, self.size = folder, size
        self.authority = make_authority(folder / "web")
        self.roots = folder / "roots.pem"
        self.files = folder / "registry"
        self.write_files()
        self.processes = [
            launch([*prefix, *self.nginx("registry", self.registry())], REGISTRY, folder / "registry.log"),
            launch([*prefix, str(Path(__file__).with_name("opaque.py")), OPAQUE_REGISTRY, str(self.blob)], OPAQUE_REGISTRY, folder / "opaque.log"),
            launch([*prefix, *self.names()], NAME_SERVER, folder / "names.log", port=53),
        ]
        self.trust([])

    def write_files(self):
        content = os.urandom(self.size)
        self.digest = hashlib.sha256(content).hexdigest()
        self.blob_path = f"/v2/good/app/blobs/sha256:{self.digest}"
        self.blob = self.files / self.blob_path[1:]
        self.manifest = json.dumps({"schemaVersion": 2, "config": {"digest": f"sha256:{self.digest}"}, "layers": [], "annotations": {"filling": "x" * 1500}})
        for path in (self.blob, self.files / MANIFEST[1:]):
            path.parent.mkdir(parents=True)
        self.blob.write_bytes(content)
        (self.files / MANIFEST[1:]).write_text(self.manifest, encoding="utf-8")

    def trust(self, certificates):
        """Makes the file of those whom clients trust: the registry's authority and these."""
        self.roots.write_bytes(b"".join(path.read_bytes() for path in [self.authority.certificate, *certificates]))

    def names(self):
        folder = self.folder / "names"
        folder.mkdir()
        records = "".join(f"{name}. A {address}\n" for name, address in ((INSPECTED, REGISTRY), (PASSED, REGISTRY), (OPAQUE, OPAQUE_REGISTRY)))
        zone = write(folder / "root.zone", f"$TTL 86400\n. SOA ns.invalid. root.invalid. 1 3600 600 86400 300\n. NS ns.invalid.\n{records}")
        return knot.configure(folder, zone, [NAME_SERVER])

    def nginx(self, name, text):
        """The command of an nginx with one worker."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        path = write(folder / "nginx.conf", NGINX.format(folder=folder) + text)
        return ["nginx", "-p", str(folder), "-c", path]

    def registry(self):
        servers = "".join(REGISTRY_SERVER.format(address=REGISTRY, name=name, files=self.files, **self.certificate(name)) for name in (INSPECTED, PASSED))
        return f"http {{\n{HTTP}{servers}}}\n"

    def certificate(self, name):
        certificate, key = self.authority.issue(name)
        return {"certificate": certificate, "key": key}

    def stop(self):
        for process in self.processes:
            stop(process)


def launch(command, address, log, port=443):
    """Starts a server and waits until it listens."""
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env={**os.environ, "PATH": PATH})
    deadline = time.monotonic() + 20
    while not listens(address, port):
        if process.poll() is not None or time.monotonic() > deadline:
            stop(process)
            raise RuntimeError(f"{' '.join(command)} does not listen:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)
    return process


def listens(address, port):
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


# ── the gateways ──


@dataclasses.dataclass
class Gateway:
    """A gateway that takes connections: the process that works, and where it is for each job."""

    process: subprocess.Popen
    pid: int
    addresses: dict

    def stop(self):
        stop(self.process)


def start_pullgate(world, binary, prefix):
    folder = world.folder / "pullgate"
    (folder / "policy.d").mkdir(parents=True, exist_ok=True)
    write(folder / "policy.d/bench.toml", POLICY)
    settings = write(folder / "pullgate.toml", SETTINGS.format(folder=folder, name_server=NAME_SERVER, address=PULLGATE, roots=world.authority.certificate))
    if not (folder / "ca").exists():
        subprocess.run([binary, "images", "ca", "init", "--config", settings], check=True, capture_output=True)
        world.trust((folder / "ca").glob("*.crt"))
    process = launch([*prefix, str(binary), "serve", "--config", settings], PULLGATE, folder / "log")
    return Gateway(process, process.pid, {"pass": PULLGATE, "inspect": PULLGATE})


def start_nginx(world, _binary, prefix, name="nginx", stream="", http=""):
    text = NGINX_GATEWAY.format(
        stream=stream, http=http, http_basics=HTTP, inspected=INSPECTED, passed=PASSED, opaque=OPAQUE, registry=REGISTRY, opaque_registry=OPAQUE_REGISTRY,
        pass_address=NGINX_PASS, inspect_address=NGINX_INSPECT, roots=world.authority.certificate, **world.certificate(INSPECTED))
    process = launch([*prefix, *world.nginx(name, text)], NGINX_INSPECT, world.folder / f"{name}.log")
    return Gateway(process, worker(process), {"pass": NGINX_PASS, "inspect": NGINX_INSPECT})


def worker(process):
    """The process id of the one worker, which comes a moment after the sockets."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
        if children:
            return int(children[0])
        time.sleep(0.01)
    stop(process)
    raise RuntimeError("nginx has no worker")


def start_nginx_buffers(world, binary, prefix):
    return start_nginx(world, binary, prefix, "nginx-64k", "proxy_buffer_size 64k;", "proxy_buffer_size 64k; proxy_buffers 8 64k;")


# By name; the first is what the others are compared with.
ALL = {"pullgate": start_pullgate, "nginx": start_nginx, "nginx-64k": start_nginx_buffers}


def versions(binary):
    """What was compared, in words."""
    ours = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    text = subprocess.run(["nginx", "-V"], capture_output=True, text=True, check=True, env={**os.environ, "PATH": PATH}).stderr
    return f"{ours}, nginx {re.search(r'nginx/([0-9.]+)', text)[1]} with OpenSSL {re.search(r'OpenSSL ([0-9.]+)', text)[1]}"


POLICY = f"""\
version = 1
[[registry]]
name = "inspected"
hosts = ["{INSPECTED}"]
path = "inspect"
private-addresses = true
[[registry]]
name = "passed"
hosts = ["{PASSED}", "{OPAQUE}"]
path = "pass"
private-addresses = true
[[images]]
registry = "inspected"
allow = ["good/*"]
"""

SETTINGS = """\
[server]
listen = ["127.0.0.1:5300"]
clients = ["127.0.0.0/8", "198.18.0.0/15"]
workers = 1
[upstream]
servers = ["{name_server}"]
[policy]
path = "{folder}/policy.d"
state = "{folder}/state"
[gateway]
address = "{address}"
ca = "{folder}/ca"
upstream-ca = "{roots}"
[control]
socket = "{folder}/control.sock"
"""

NGINX = """\
daemon off;
user root;
worker_processes 1;
pid {folder}/pid;
error_log stderr warn;
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
events {{ worker_connections 1024; }}
"""

HTTP = """\
access_log off;
keepalive_requests 1000000;
ssl_protocols TLSv1.2 TLSv1.3;
"""

REGISTRY_SERVER = """\
server {{
  listen {address}:443 ssl;
  server_name {name};
  ssl_certificate {certificate};
  ssl_certificate_key {key};
  ssl_session_cache shared:SSL:10m;
  root {files};
  add_header x-cipher $ssl_cipher;
}}
"""

# The stream part is that of the documentation of ngx_stream_ssl_preread_module, the other one that of
# ngx_http_proxy_module and of `keepalive` in ngx_http_upstream_module.
NGINX_GATEWAY = """\
stream {{
  map $ssl_preread_server_name $registry {{
    {passed} {registry}:443;
    {opaque} {opaque_registry}:443;
  }}
  server {{
    listen {pass_address}:443;
    ssl_preread on;
    proxy_pass $registry;
    {stream}
  }}
}}
http {{
  {http_basics}
  upstream registry {{
    server {registry}:443;
    keepalive 32;
  }}
  server {{
    listen {inspect_address}:443 ssl;
    server_name {inspected};
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_session_cache shared:SSL:10m;
    location /v2/ {{
      proxy_pass https://registry;
      proxy_http_version 1.1;
      proxy_set_header Host {inspected};
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_ssl_protocols TLSv1.2 TLSv1.3;
      proxy_ssl_server_name on;
      proxy_ssl_name {inspected};
      proxy_ssl_verify on;
      proxy_ssl_trusted_certificate {roots};
      proxy_ssl_session_reuse on;
      {http}
    }}
  }}
}}
"""
