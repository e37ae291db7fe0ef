"""Upstream servers: Knot DNS with one zone that holds everything, and small fakes that misbehave on purpose."""

import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

from support.dns import decode, dig
from support.knot import configure

ZONE = Path(__file__).parent / "root.zone"


class Knot:
    """A knotd that serves `root.zone` as the whole of the DNS."""

    def __init__(self, folder, address):
        self.folder, self.address, self.process = folder, address, None

    def start(self):
        self.folder.mkdir(parents=True)
        log = open(self.folder / "knot.log", "wb")  # closed with the process's own copy
        self.process = subprocess.Popen(configure(self.folder, ZONE, [self.address]), stdout=log, stderr=log)
        log.close()
        deadline = time.monotonic() + 15
        while dig(self.address, "registry.example", "A", seconds=1).rcode != "NOERROR":
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"knotd does not serve its zone:\n{(self.folder / 'knot.log').read_text()}")

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(10)


class Fake(threading.Thread):
    """A UDP upstream that answers each query with what `respond(packet)` yields, and remembers what it was asked."""

    def __init__(self, respond, address="198.18.0.66"):
        super().__init__(daemon=True)
        subprocess.run(["ip", "addr", "replace", f"{address}/32", "dev", "lo"], check=True)
        self.respond = respond
        self.address = address
        self.asked = []  # (name, type, packet)
        self.stopping = False
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        """Stops answering; its port is closed from then on."""
        self.stopping = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wake:
            wake.sendto(b"", (self.address, 53))
        self.join()
        self.socket.close()

    def run(self):
        while True:
            packet, client = self.socket.recvfrom(65535)
            if self.stopping:
                return
            name, at = decode(packet)
            self.asked.append((name, struct.unpack_from("!H", packet, at)[0], packet))
            threading.Thread(target=self.answer, args=(packet, client), daemon=True).start()

    def answer(self, packet, client):
        """Sends the responses, from a thread of its own: a slow one holds up nobody, and when all is over it is not missed."""
        for response in self.respond(packet):
            try:
                self.socket.sendto(response, client)
            except OSError:
                if not self.stopping:
                    raise

    def names(self):
        """The names it was asked, each once."""
        return {name for name, _, _ in self.asked}


def silent(_packet):
    """No answer at all."""
    return []


def failing(rcode):
    """Answers every query with a response code and nothing else."""
    return lambda packet: [respond(packet, [], rcode)]


def garbage(_packet):
    """Bytes that are no DNS message."""
    return [b"\xff" * 40, b"", b"\0" * 11]


def addresses(*texts, ttl=60):
    """Answers every A query with these addresses, and every other type with nothing."""

    def answer(packet):
        _, at = decode(packet)
        if packet[at : at + 2] != b"\0\x01":
            return [respond(packet, [])]
        return [respond(packet, [(1, ttl, socket.inet_aton(text)) for text in texts])]

    return answer


def respond(packet, records, rcode=0):
    """A response to `packet`: its question, and `records` of (type, ttl, data) owned by the question's name."""
    _, at = decode(packet)
    header = packet[:2] + struct.pack("!5H", 0x8180 | rcode, 1, len(records), 0, 0)
    body = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data for kind, ttl, data in records)
    return header + packet[12 : at + 4] + body
