"""What stands on the registries' side: a DNS server that knows everything, registries, and what nginx serves."""

import subprocess
import sys
from pathlib import Path

import network
from support.cases import end, wait_until
from support.knot import configure

ZONE = Path(__file__).parent / "lab.zone"


class Service:
    """A process on a machine of the network, with a log."""

    def __init__(self, machine, folder):
        self.machine = machine
        self.folder = folder
        self.log = folder / "log"
        self.process = None
        folder.mkdir(parents=True)

    def launch(self, *command, port):
        """Starts it and waits until it listens."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(network.inside(self.machine, *command), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_until(lambda: self.listens(port), 20, f"{self.machine} listens on {port}")

    def listens(self, port):
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.machine} ended:\n{self.log.read_text(errors='replace')}")
        return network.run_in(self.machine, f"ss -Hltn 'sport = :{port}'").strip()

    def stop(self):
        if self.process:
            end(self.process)


class Knot(Service):
    """A knotd that serves `lab.zone`, or another, as the whole of the DNS, on all of its machine's addresses."""

    def __init__(self, machine, folder, zone=ZONE):
        super().__init__(machine, folder)
        self.zone = zone

    def start(self):
        self.launch(*configure(self.folder, self.zone, ["0.0.0.0", "::"]), port=53)


class Program(Service):
    """A server of the lab's own, beside this file; its output is its access log: one line a request."""

    def __init__(self, machine, folder, file, *arguments, port=443):
        super().__init__(machine, folder)
        self.command = (sys.executable, Path(__file__).with_name(file), *arguments)
        self.port = port

    def start(self):
        self.launch(*self.command, port=self.port)

    def requests(self):
        return self.log.read_text(errors="replace").splitlines()


class Registry(Service):
    """A docker-registry over TLS; with `blobs_at`, it sends blob downloads there."""

    def __init__(self, machine, folder, host, authority, blobs_at=None, log="{ level: warn }"):
        super().__init__(machine, folder)
        self.host = host
        self.level = log
        self.storage = folder / "storage"
        self.tls = authority.issue(host)
        self.blobs_at = blobs_at

    def start(self):
        certificate, key = self.tls
        text = REGISTRY.format(storage=self.storage, certificate=certificate, key=key, log=self.level)
        if self.blobs_at:
            text += REDIRECT.format(host=self.blobs_at)
        path = self.folder / "registry.yml"
        path.write_text(text, encoding="utf-8")
        self.launch("docker-registry", "serve", path, port=443)

    def requests(self):
        """Its access log: one line a request."""
        return [line for line in self.log.read_text(errors="replace").splitlines() if " - - [" in line]


class Nginx(Service):
    """An nginx with these `server` blocks."""

    def __init__(self, machine, folder, port, *blocks):
        super().__init__(machine, folder)
        self.port = port
        self.servers = "\n    ".join(f"server {{ {block} }}" for block in blocks)
        self.access = folder / "access"

    def start(self):
        path = self.folder / "nginx.conf"
        path.write_text(NGINX.format(folder=self.folder, servers=self.servers), encoding="utf-8")
        self.launch("nginx", "-c", path, port=self.port)

    def requests(self):
        """Its access log: one line a request, with its host first."""
        return self.access.read_text(errors="replace").splitlines() if self.access.exists() else []


def blob_store(folder, host, authority, storage):
    """The second host of a registry: its storage behind nginx; blobs beyond some megabytes take their time."""
    certificate, key = authority.issue(host)
    tls = f"ssl_certificate {certificate}; ssl_certificate_key {key};"
    slow = "limit_rate_after 10m; limit_rate 20m;"
    return Nginx("cdn", folder, 443, f"listen 443 ssl; listen [::]:443 ssl; server_name {host}; root {storage}; {tls} {slow}")


def mirror(folder, host, files):
    """A package mirror, over plain HTTP as most of them."""
    return Nginx("mirror", folder, 80, f"listen 80; listen [::]:80; server_name {host}; root {files};")


# Engines keep connections open from one pull to the next, and ask for no name then. So that every case sees what is asked
# in it, these servers close each connection.
REGISTRY = """\
version: 0.1
log: {log}
storage: {{ filesystem: {{ rootdirectory: {storage} }} }}
http: {{ addr: ":443", tls: {{ certificate: {certificate}, key: {key} }}, headers: {{ Connection: [close] }} }}
"""

REDIRECT = """\
middleware: {{ storage: [ {{ name: redirect, options: {{ baseurl: "https://{host}/" }} }} ] }}
"""

NGINX = """\
daemon off; master_process off; user root; worker_processes 1; error_log {folder}/error; pid {folder}/pid;
events {{ worker_connections 256; }}
http {{
    log_format line '$host $remote_addr "$request" $status $body_bytes_sent "$http_range"';
    access_log {folder}/access line; keepalive_timeout 0; default_type application/octet-stream;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    {servers}
}}
"""
