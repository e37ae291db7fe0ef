"""What stands beside the registry of the fake Hub: tokens, the badges of namespaces, the search.

Run as a program: `hub_api.py PORT KEY CERTIFICATE`. It speaks plain HTTP, behind nginx. Tokens are signed with the key, and the
registry believes those that the certificate vouches for. Everybody may pull what is public; whoever logs in may pull and push
everything, so that only the gateway can be what denied it.
"""

import base64
import json
import subprocess
import sys
import time
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ISSUER, SERVICE = "auth.docker.io", "registry.docker.io"
USERS = {"lab": "secret"}
PRIVATE = ("mycompany/private",)
BADGES = {"bitnami": "verified_publisher", "grafana": "open_source", "mycompany": "", "prom": ""}
# Namespaces of people, not of organizations.
PEOPLE = ("foo", "lab")
# A namespace that the API has trouble with.
TROUBLED = "troubled"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path == "/token":
            self.token(urllib.parse.parse_qs(query), self.basic())
        elif path.startswith("/v2/orgs/"):
            self.organization(path.split("/")[3])
        elif path.startswith("/v2/users/"):
            name = path.split("/")[3]
            self.answer(*((200, {"username": name}) if name in PEOPLE else NOT_FOUND))
        elif path in ("/v1/_ping", "/v1/search"):
            self.answer(200, {"query": query, "num_results": 1, "results": [SEARCHED]})
        else:
            self.answer(*NOT_FOUND)

    def do_POST(self):
        """The token endpoint's other form, of OAuth 2."""
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.token(form, tuple(form.get(key, [""])[0] for key in ("username", "password")))

    def basic(self):
        """The user and the password of the request, if it has them."""
        kind, _, encoded = self.headers.get("Authorization", "").partition(" ")
        return tuple(base64.b64decode(encoded).decode().split(":", 1)) if kind == "Basic" else None

    def token(self, query, login):
        if login and USERS.get(login[0]) != login[1]:
            return self.answer(401, {"details": "incorrect username or password"})
        scopes = [scope for each in query.get("scope", []) for scope in each.split()]
        token = self.server.sign(claims(login, [granted(scope, login) for scope in scopes]))
        self.answer(200, {"token": token, "access_token": token, "expires_in": LIFETIME, "issued_at": now_as_text()})

    def organization(self, name):
        if name == TROUBLED:
            self.answer(500, {"message": "internal error"})
        elif name in BADGES:
            self.answer(200, {"orgname": name, "badge": BADGES[name]})
        elif name in PEOPLE:
            self.answer(301, {}, ("Location", f"https://hub.docker.com/v2/users/{name}/"))
        else:
            self.answer(*NOT_FOUND)

    def answer(self, status, value, *headers):
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, text in (("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers):
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """nginx has a log."""


def granted(scope, login):
    """What a scope as asked for, `repository:foo/bar:pull,push`, comes to."""
    kind, name, actions = scope.split(":")
    may = {"pull", "push"} if login else {"pull"} - ({"pull"} if name in PRIVATE else set())
    return {"type": kind, "name": name, "actions": sorted(may & set(actions.split(",")))}


def claims(login, access):
    now = int(time.time())
    times = {"iat": now, "nbf": now - 10, "exp": now + LIFETIME}
    return {"iss": ISSUER, "sub": login[0] if login else "", "aud": SERVICE, "jti": uuid.uuid4().hex, "access": access, **times}


def now_as_text():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Signer:
    """Signs tokens with a key of RSA, and says in each which certificate vouches for it."""

    def __init__(self, key, certificate):
        self.key = key
        with open(certificate, encoding="ascii") as file:
            self.header = {"typ": "JWT", "alg": "RS256", "x5c": ["".join(file.read().split("-----")[2].split())]}

    def __call__(self, payload):
        text = b".".join(encoded(json.dumps(part).encode()) for part in (self.header, payload))
        done = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=text, capture_output=True, check=True)
        return b".".join((text, encoded(done.stdout))).decode()


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


NOT_FOUND = (404, {"message": "object not found"})
SEARCHED = {"name": "foo/bar", "description": "found by the search", "star_count": 1, "is_official": False}
LIFETIME = 300


def main(port, key, certificate):
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    server.sign = Signer(key, certificate)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
