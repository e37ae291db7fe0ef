"""Real DNS clients and what they saw: dig and kdig, and a small asker of our own for packets that they cannot send."""

import ctypes
import dataclasses
import random
import re
import socket
import struct
import subprocess
import threading
import time

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "HTTPS": 65}
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
CLONE_NEWNET = 0x40000000
RCODES = {NOERROR: "NOERROR", FORMERR: "FORMERR", SERVFAIL: "SERVFAIL", NXDOMAIN: "NXDOMAIN", NOTIMP: "NOTIMP", REFUSED: "REFUSED"}


@dataclasses.dataclass
class Answer:
    """A response as dig printed it."""

    rcode: str = "TIMEOUT"
    flags: tuple = ()
    edns: bool = False
    udp: int = 0
    ede: list = dataclasses.field(default_factory=list)  # (code, text)
    question: str = ""
    answer: list = dataclasses.field(default_factory=list)  # Record
    authority: list = dataclasses.field(default_factory=list)
    additional: list = dataclasses.field(default_factory=list)
    size: int = 0
    time: int = 0  # milliseconds from question to answer
    raw: str = ""

    def data(self, kind=None):
        """The answer section's data of one type (or all), sorted."""
        return sorted(record.data for record in self.answer if kind in (None, record.type))

    def facts(self):
        """The answer section without TTLs, sorted: what two servers must agree on."""
        return sorted((record.name.lower(), record.type, record.data) for record in self.answer)


@dataclasses.dataclass(frozen=True)
class Record:
    name: str
    ttl: int
    type: str
    data: str


def dig(server, *question, port=53, netns=None, seconds=3, tries=1):
    """Asks with dig: `dig("127.0.0.1", "ghcr.io", "AAAA", "+tcp")`."""
    prefix = ["ip", "netns", "exec", netns] if netns else []
    command = [*prefix, "dig", f"@{server}", "-p", str(port), f"+time={seconds}", f"+tries={tries}", "+nosplit", *question]
    done = subprocess.run(command, text=True, capture_output=True, check=False, timeout=seconds * tries * 4 + 5)
    return parse(done.stdout)


def kdig(server, *question, port=53, seconds=3):
    """Asks with kdig; returns one Answer a response, in order of arrival."""
    command = ["kdig", f"@{server}", "-p", str(port), f"+time={seconds}", "+retry=0", *question]
    done = subprocess.run(command, text=True, capture_output=True, check=False, timeout=30)
    blocks = re.split(r"(?m)^(?=;; ->>HEADER<<-)", done.stdout)
    answers = [parse(block) for block in blocks[1:]]
    return answers or [Answer(raw=done.stdout + done.stderr)]


def parse(text):
    """Reads what dig or kdig prints."""
    answer = Answer(raw=text)
    section = None
    for line in text.splitlines():
        if header := re.match(r";; ->>HEADER<<- .*status: (\w+)", line):
            answer.rcode = header[1]
        elif flags := re.match(r";; [Ff]lags: ([a-z ]*);", line):
            answer.flags = tuple(flags[1].split())
        elif edns := re.match(r";\s?(?:; )?EDNS.*UDP(?: size)?: (\d+)", line, re.I) or re.match(r";; Version: \d+; flags:.*; UDP size: (\d+)", line):
            answer.edns, answer.udp = True, int(edns[1])
        elif ede := re.match(r";\s?;? ?EDE: (\d+) \([^)]*\)(?::? ?\(?'?(.*?)'?\)?)?$", line):
            answer.ede.append((int(ede[1]), ede[2] or ""))
        elif title := re.match(r";; (QUESTION|ANSWER|AUTHORITY|ADDITIONAL) SECTION:", line):
            section = title[1].lower()
        elif size := re.match(r";; (?:MSG SIZE\s+rcvd:|Received) (\d+)", line):
            answer.size = int(size[1])
        elif time_taken := re.match(r";; Query time: (\d+) msec", line):
            answer.time = int(time_taken[1])
        elif section == "question" and line.startswith(";") and not line.startswith(";;"):
            answer.question = line.lstrip("; ").split()[0]
        elif section and (record := re.match(r"([^\s;]\S*)\s+(\d+)\s+(?:IN|CH)\s+(\S+)\s+(.*)", line)):
            getattr(answer, section).append(Record(record[1], int(record[2]), record[3], record[4].strip()))
        elif not line:
            section = None
    return answer


# ── packets of our own ──


def query(name, kind="A", *, ident=None, flags=0x0100, edns=True, qclass=1):
    """A query's bytes."""
    number = TYPES[kind] if isinstance(kind, str) else kind
    ident = random.randrange(65536) if ident is None else ident
    header = struct.pack("!6H", ident, flags, 1, 0, 0, 1 if edns else 0)
    opt = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0) if edns else b""
    return header + encode(name) + struct.pack("!HH", number, qclass) + opt


def encode(name):
    """A name in wire form."""
    labels = [label.encode() for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def decode(packet, at=12):
    """The name at `at`, lower-cased, and the offset after it."""
    labels, end, hops = [], None, 0
    while packet[at]:
        if packet[at] & 0xC0:
            end = end or at + 2
            at = struct.unpack_from("!H", packet, at)[0] & 0x3FFF
            hops += 1
            if hops > 20:
                raise ValueError("a compression loop")
        else:
            labels.append(packet[at + 1 : at + 1 + packet[at]].decode("latin-1").lower())
            at += 1 + packet[at]
    return ".".join(labels), end or at + 1


def answer_records(packet):
    """The answer section as a sorted tuple of (type, data), addresses as text, names as text."""
    count = struct.unpack_from("!H", packet, 6)[0]
    _, at = decode(packet)
    at += 4
    records = []
    for _ in range(count):
        _, at = decode(packet, at)
        kind, _, _, length = struct.unpack_from("!HHIH", packet, at)
        at += 10
        if kind == 1:
            records.append(("A", socket.inet_ntoa(packet[at : at + 4])))
        elif kind == 5:
            records.append(("CNAME", decode(packet, at)[0]))
        at += length
    return tuple(sorted(records))


def exchange(packet, address, seconds=1.0):
    """Sends one datagram; returns the response's bytes, or None if none came."""
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(seconds)
        udp.connect(address)
        udp.send(packet)
        try:
            return udp.recv(65535)
        except (TimeoutError, ConnectionRefusedError):
            return None


def over_tcp(packet):
    """The packet as a TCP stream carries it."""
    return struct.pack("!H", len(packet)) + packet


def read_tcp(stream):
    """One message from a TCP stream; None at its end."""
    length = read_exactly(stream, 2)
    return read_exactly(stream, struct.unpack("!H", length)[0]) if length else None


def read_exactly(stream, count):
    data = b""
    while len(data) < count:
        part = stream.recv(count - len(data))
        if not part:
            return None
        data += part
    return data


@dataclasses.dataclass
class Seen:
    """One exchange of a LoadClient: when asked, when answered, what came (None: nothing)."""

    name: str
    asked: float
    answered: float
    rcode: int | None
    records: tuple = ()


class LoadClient(threading.Thread):
    """Asks the same names over and over at a steady pace until stopped, and remembers every answer."""

    def __init__(self, names, address=("127.0.0.1", 53), pause=0.004, patience=2.0, netns=None):
        super().__init__(daemon=True)
        self.names, self.address, self.pause, self.patience, self.netns = names, address, pause, patience, netns
        self.seen = []
        self.ending = threading.Event()

    def run(self):
        index = 0
        if self.netns:
            enter_namespace(self.netns)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(self.patience)
            udp.connect(self.address)
            while not self.ending.wait(self.pause):
                self.seen.append(self.ask(udp, self.names[index % len(self.names)]))
                index += 1

    def ask(self, udp, name):
        packet = query(name)
        asked = time.monotonic()
        try:
            udp.send(packet)
            while True:
                response = udp.recv(65535)
                if response[:2] == packet[:2]:
                    break
        except (TimeoutError, ConnectionRefusedError):
            return Seen(name, asked, time.monotonic(), None)
        return Seen(name, asked, time.monotonic(), response[3] & 15, answer_records(response))

    def finish(self):
        """Stops asking and returns what it saw."""
        self.ending.set()
        self.join()
        return self.seen

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.finish()


def enter_namespace(name):
    """Moves the calling thread, and no other, into a network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{name}", "rb") as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter the namespace {name}")


class Dnsperf:
    """dnsperf in the background; `finish` returns its counts."""

    def __init__(self, lab, names, seconds, rate=1000, clients=4, server="127.0.0.1"):
        path = lab.folder / "dnsperf.txt"
        path.write_text("".join(f"{name} A\n" for name in names), encoding="utf-8")
        command = ["dnsperf", "-s", server, "-d", str(path), "-l", str(seconds), "-Q", str(rate), "-c", str(clients), "-t", "3", "-e"]
        self.process = lab.spawn(command, "dnsperf", stdout=subprocess.PIPE, text=True)

    def finish(self):
        """Waits for its end; returns {"sent", "completed", "lost", "rcodes"}."""
        text = self.process.communicate(timeout=120)[0]
        counts = {key: int(re.search(rf"Queries {key}:\s+(\d+)", text)[1]) for key in ("sent", "completed", "lost")}
        codes = re.search(r"Response codes:\s+(.*)", text)[1]
        return {**counts, "rcodes": {code: int(count) for code, count in re.findall(r"(\w+) (\d+)", codes)}}
