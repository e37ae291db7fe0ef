"""A registry that denies every image, in each of the forms that an answer to HEAD can have: what do clients make of them?

Run as a program: `denier.py CERTIFICATE KEY HOST TOKENS`. A HEAD has no body that could carry a text. The repository's name says which
form is wanted: `team/405.404` has its manifests answered with `405`, and its blobs with `404`. All else is denied the way the
distribution specification describes. Tokens are given to everybody.
"""

import dataclasses
import json
import re
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT = "image access denied: community images not allowed"
PUSH_TEXT = "image access denied: push to {repository} not allowed"
DIGEST = "sha256:" + 63 * "0" + "1"
INDEX = "application/vnd.oci.image.index.v1+json"


@dataclasses.dataclass(frozen=True)
class Form:
    """An answer to HEAD; a reason that is not given is the standard's."""

    status: int
    reason: str | None = None
    headers: tuple = ()

    def fields(self, reference):
        """Its headers, for a manifest by tag or by digest."""
        digest = reference if ":" in reference else DIGEST
        return [(name, value.format(digest=digest)) for name, value in self.headers]


FOUND = (("Content-Type", INDEX), ("Content-Length", "1024"))
# Denied manifests. What the names stand for is what is measured.
MANIFESTS = {
    "405": Form(405, TEXT, (("Allow", "GET"), ("Content-Length", "0"))),
    "200": Form(200, None, (*FOUND, ("Docker-Content-Digest", "{digest}"))),
    "200-without-digest": Form(200, None, FOUND),
    "403": Form(403, TEXT, (("Content-Length", "0"),)),
    "403-forbidden": Form(403, None, (("Content-Length", "0"),)),
}
# Blobs that a push asks for, before it begins.
BLOBS = {"404": Form(404, None, (("Content-Length", "0"),)), "403": Form(403, TEXT, (("Content-Length", "0"),))}
REPOSITORY = re.compile(rf"/v2/(?P<name>.*?(?P<manifests>{'|'.join(sorted(MANIFESTS, reverse=True))})\.(?P<blobs>40[34]))/(?P<rest>.*)")


def repository(manifests, blobs="404"):
    """The repository whose HEADs have these forms."""
    return f"team/{manifests}.{blobs}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except OSError:  # clients that have heard enough of one denial do not wait for the next
            self.close_connection = True

    def do_HEAD(self):
        found = REPOSITORY.match(self.path)
        if not found:
            return self.deny(TEXT)
        kind, _, reference = found["rest"].partition("/")
        form = (MANIFESTS if kind == "manifests" else BLOBS)[found[kind]]
        self.answer(form.status, form.reason, form.fields(reference))

    def do_GET(self):
        host, _, _ = self.headers["Host"].partition(":")
        if host == self.server.tokens:
            self.answer_json(200, None, {"token": "t", "access_token": "t", "expires_in": 300})
        elif self.path != "/v2/":
            self.deny(TEXT)
        elif "Authorization" in self.headers:
            self.answer_json(200, None, {})
        else:
            realm = f'Bearer realm="https://{self.server.tokens}/token",service="{self.server.host}"'
            self.answer_json(401, None, errors("UNAUTHORIZED", "authentication required"), ("WWW-Authenticate", realm))

    def do_POST(self):
        found = REPOSITORY.match(self.path)
        self.deny(PUSH_TEXT.format(repository=found["name"] if found else self.path))

    do_PUT = do_PATCH = do_DELETE = do_POST

    def deny(self, text):
        self.answer_json(403, text, errors("DENIED", text), ("Warning", f'299 - "{text}"'))

    def answer_json(self, status, reason, value, *headers):
        body = b"" if self.command == "HEAD" else json.dumps(value).encode()
        self.answer(status, reason, [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers], body)

    def answer(self, status, reason, headers, body=b""):
        self.send_response(status, reason)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, text, *values):
        print(f"{self.client_address[0]} {text % values}\n", end="", flush=True)


def errors(code, message):
    return {"errors": [{"code": code, "message": message}]}


def main(certificate, key, host, tokens):
    server = ThreadingHTTPServer(("", 443), Handler)
    server.host, server.tokens = host, tokens
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
