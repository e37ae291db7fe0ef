"""TLS and HTTP by hand, from any machine: for requests of a kind that no client makes."""

import ssl

from sockets import TCP, make
from steering import ADDRESS

PATIENCE = 30


def context(*, verify=True):
    """What a client of this machine's trust believes; without `verify`, anybody."""
    made = ssl.create_default_context()
    if not verify:
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def certificate(machine, name, address=ADDRESS):
    """The certificate that a machine is shown for a name, as Python has it."""
    with Connection(machine, name, address) as connection:
        return connection.tls.getpeercert()


class Connection:
    """A connection to an inspected registry from a machine, for requests of a kind that no client makes."""

    def __init__(self, machine, host, address=ADDRESS, sni=None):
        self.host = host
        self.socket = make(machine, address, TCP)
        self.socket.settimeout(PATIENCE)
        self.socket.connect((address, 443))
        self.tls = context().wrap_socket(self.socket, server_hostname=sni or host)
        self.answers = self.tls.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.answers.close()
        self.tls.close()

    def send(self, text):
        self.tls.sendall(text.encode("latin-1") if isinstance(text, str) else text)

    def ask(self, method, path, body=None, **headers):
        """Sends a request, its body in chunks; returns the answer's status and headers, by their names in lower case."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
        if body is not None:
            lines += ["Transfer-Encoding: chunked"] if body else ["Content-Length: 0"]
        self.send("\r\n".join([*lines, "", ""]))
        if body:
            for chunk in body:
                self.send(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            self.send("0\r\n\r\n")
        return self.answer()

    def answer(self):
        """Reads one answer; returns its status and headers; its body is left out."""
        status = int(self.answers.readline().split()[1])
        headers = {}
        while line := self.answers.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        self.body = self.answers.read(int(headers.get("content-length", "0")))
        return status, headers
