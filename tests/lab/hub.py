"""The fake Hub: docker-registry behind the names of Docker's, as the Hub answers.

The registry asks for tokens of another host (401 first) and sends blob downloads to a third; manifests carry the headers of
the rate limit; the API tells badges. All of it has one address, as what stands behind one CDN.
"""

import network
from certificates import openssl
from hub_api import ISSUER, SERVICE, USERS
from servers import Nginx, Program, Service

MACHINE, NUMBER = "hub", 61
REGISTRY, INDEX, TOKENS, API = "registry-1.docker.io", "index.docker.io", "auth.docker.io", "hub.docker.com"
BLOBS = "production.cloudflare.docker.com"
NAMES = (REGISTRY, INDEX, TOKENS, API, BLOBS)
USER, PASSWORD = next(iter(USERS.items()))

# What there is, by repository: its tags.
REPOSITORIES = {
    "library/tiny": ("1", "2", "3"),
    "bitnami/tiny": ("1", "2"),
    "grafana/tiny": ("1",),
    "mycompany/app": ("1",),
    "mycompany/private": ("1",),
    "prom/tiny": ("1",),
    "prom/experimental-tiny": ("1",),
    "docker/dockerfile": ("1",),
    "foo/bar": ("1", "2"),
    "troubled/tiny": ("1",),
}


class Hub:
    """Its three servers on one machine."""

    def __init__(self, folder, authority):
        folder.mkdir(parents=True)
        self.folder = folder
        self.key, self.certificate = folder / "tokens.key", folder / "tokens.crt"
        self.registry = HubRegistry(MACHINE, folder / "registry", self.certificate)
        self.api = Program(MACHINE, folder / "api", "hub_api.py", API_PORT, self.key, self.certificate, port=API_PORT)
        self.front = Nginx(MACHINE, folder / "front", 443, *blocks(authority.issue(REGISTRY, *NAMES), self.registry.storage))

    def start(self):
        arguments = ("-newkey", "rsa:2048", "-nodes", "-keyout", self.key, "-out", self.certificate)
        openssl("req", "-x509", *arguments, "-days", "2", "-subj", "/CN=the tokens of the fake Hub")
        for server in (self.registry, self.api, self.front):
            server.start()

    def stop(self):
        for server in (self.front, self.api, self.registry):
            server.stop()

    def requests(self):
        """Its access log, one line a request: host, client, request, status, bytes, and the `Range`."""
        return self.front.requests()


def fill(folder, repository, tag):
    """Pushes the image that was built in `folder`, around pullgate."""
    there = f"docker://docker.io/{repository}:{tag}"
    network.run_in(MACHINE, f"skopeo copy --quiet --insecure-policy --dest-creds {USER}:{PASSWORD} oci:{folder}/layout:image {there}")


class HubRegistry(Service):
    """The docker-registry behind nginx."""

    def __init__(self, machine, folder, certificate):
        super().__init__(machine, folder)
        self.storage = folder / "storage"
        self.certificate = certificate

    def start(self):
        path = self.folder / "registry.yml"
        values = {"port": REGISTRY_PORT, "storage": self.storage, "blobs": BLOBS, "certificate": self.certificate}
        path.write_text(CONFIGURATION.format(**values, tokens=TOKENS, service=SERVICE, issuer=ISSUER), encoding="utf-8")
        self.launch("docker-registry", "serve", path, port=REGISTRY_PORT)


def blocks(tls, storage):
    """nginx's `server` blocks: each name with what answers it."""
    certificate, key = tls
    listen = f"listen 443 ssl; listen [::]:443 ssl; ssl_certificate {certificate}; ssl_certificate_key {key}; client_max_body_size 0;"
    to = lambda port: f"proxy_pass http://127.0.0.1:{port}; {PROXY}"
    registry = f"location / {{ {to(REGISTRY_PORT)} }} location ~ /manifests/ {{ {to(REGISTRY_PORT)} {LIMITS} }}"
    return [
        f"{listen} {KNOWS_TLS} server_name {REGISTRY}; {registry}",
        # By this name the registry is not told that it is reached over TLS, as some are not.
        f"{listen} {HEADERS} server_name {INDEX}; {registry} location /v1/ {{ {to(API_PORT)} }}",
        f"{listen} {HEADERS} server_name {TOKENS} {API}; location / {{ {to(API_PORT)} }}",
        f"{listen} server_name {BLOBS}; root {storage};",
    ]


REGISTRY_PORT, API_PORT = 5000, 8000
PROXY = "proxy_http_version 1.1; proxy_buffering off; proxy_request_buffering off;"
HEADERS = "proxy_set_header Host $host;"
KNOWS_TLS = f"{HEADERS} proxy_set_header X-Forwarded-Proto https;"
LIMITS = "".join(
    f'add_header {name} "{value}" always; '
    for name, value in (("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "99;w=21600"), ("docker-ratelimit-source", "$remote_addr"))
)
CONFIGURATION = """\
version: 0.1
log: {{ level: warn }}
storage: {{ filesystem: {{ rootdirectory: {storage} }}, delete: {{ enabled: true }} }}
http: {{ addr: "127.0.0.1:{port}" }}
auth: {{ token: {{ realm: "https://{tokens}/token", service: "{service}", issuer: "{issuer}", rootcertbundle: {certificate} }} }}
middleware: {{ storage: [ {{ name: redirect, options: {{ baseurl: "https://{blobs}/" }} }} ] }}
"""
