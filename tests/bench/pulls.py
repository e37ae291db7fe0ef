#!/usr/bin/env python3
"""What clients of a registry do, as one process that prints what it took, in JSON.

    pulls.py blobs …      so many blobs over so many parallel streams, each on a connection of its own
    pulls.py requests …   small requests one after another, each on a connection of its own or all on one
    pulls.py crowd …      many pulls at once, first by slow readers, then at full speed: the server's memory

Once a request for a blob is sent, what comes is thrown away in the kernel (MSG_TRUNC, tcp(7)): neither copied nor
decrypted, so that the client costs next to nothing beside the server it measures. What comes is checked elsewhere.
"""

import argparse
import json
import selectors
import socket
import ssl
import statistics
import sys
import time
from pathlib import Path

PIECE = 1 << 20


def main():
    options = arguments()
    print(json.dumps({"blobs": blobs, "requests": requests, "crowd": crowd}[options.what](options)))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["blobs", "requests", "crowd"])
    parser.add_argument("--address", required=True, help="where the server is, on port 443")
    parser.add_argument("--name", required=True, help="of the registry")
    parser.add_argument("--path", required=True, help="of the request")
    parser.add_argument("--size", type=int, default=0, help="of the blob: less is a fault")
    parser.add_argument("--roots", required=True, help="whose certificates are trusted, a PEM file")
    parser.add_argument("--pid", type=int, required=True, help="the server's process")
    parser.add_argument("--opaque", action="store_true", help="the registry sends its bytes after the first message, without a handshake")
    parser.add_argument("--blobs", type=int, default=1)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--count", type=int, default=100, help="of requests")
    parser.add_argument("--kept", action="store_true", help="all requests on one connection")
    parser.add_argument("--seconds", type=float, default=2, help="of each part of the crowd's pulls")
    return parser.parse_args()


# ── connections ──


def trusting(options):
    context = ssl.create_default_context(cafile=options.roots)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def connect(options):
    connection = socket.create_connection((options.address, 443), timeout=20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def pull(options, context):
    """A connection on which a blob has been asked for, as a plain socket that does not block."""
    connection = connect(options)
    if options.opaque:
        connection.sendall(first_message(context, options.name))
    else:
        connection = context.wrap_socket(connection, server_hostname=options.name)
        connection.sendall(request(options, "close"))
    plain = socket.socket(fileno=connection.detach())
    plain.setblocking(False)
    return plain


def first_message(context, name):
    """The ClientHello that a handshake would begin with."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without a server")


def request(options, connection):
    return f"GET {options.path} HTTP/1.1\r\nHost: {options.name}\r\nConnection: {connection}\r\n\r\n".encode()


# ── blobs ──


def blobs(options):
    context = trusting(options)
    started, cpu = time.monotonic(), cpu_seconds(options.pid)
    received = pull_all(options, context)
    cpu, seconds = cpu_seconds(options.pid) - cpu, time.monotonic() - started
    return {"bytes": received, "seconds": seconds, "server_cpu_seconds": cpu}


def pull_all(options, context):
    """Pulls every blob to its end; returns how many bytes came."""
    selector = selectors.DefaultSelector()
    waiting, buffer, received = options.blobs, bytearray(PIECE), 0
    for _ in range(min(options.streams, options.blobs)):
        selector.register(pull(options, context), selectors.EVENT_READ, [0])
        waiting -= 1
    while selector.get_map():
        for key, _ in selector.select():
            count = key.fileobj.recv_into(buffer, PIECE, socket.MSG_TRUNC)
            key.data[0] += count
            if count:
                continue
            selector.unregister(key.fileobj)
            key.fileobj.close()
            received += whole(key.data[0], options.size)
            if waiting:
                selector.register(pull(options, context), selectors.EVENT_READ, [0])
                waiting -= 1
    return received


def whole(count, size):
    if count < size:
        sys.exit(f"a blob of {size} bytes ended after {count}")
    return size


# ── requests ──


def requests(options):
    context = trusting(options)
    latencies = []
    kept = shaken(options, context) if options.kept else None
    for _ in range(3 if kept else 0):
        answer(kept, request(options, "keep-alive"))
    cpu = cpu_seconds(options.pid)
    for _ in range(options.count):
        began = time.perf_counter()
        if kept:
            answer(kept, request(options, "keep-alive"))
        else:
            with shaken(options, context) as connection:
                answer(connection, request(options, "close"))
        latencies.append(time.perf_counter() - began)
    cpu = cpu_seconds(options.pid) - cpu
    return {"median": statistics.median(latencies), "p99": statistics.quantiles(latencies, n=100)[98], "server_cpu_seconds": cpu / options.count}


def shaken(options, context):
    return context.wrap_socket(connect(options), server_hostname=options.name)


def answer(connection, message):
    """Sends a request and reads its response, which has a length."""
    connection.sendall(message)
    received = b""
    while True:
        piece = connection.recv(65536)
        received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if not piece or (length and len(body) >= int(length[0].split(b":")[1])):
            break
    if not head.startswith(b"HTTP/1.1 200 "):
        sys.exit(f"an answer that is none: {head[:200]!r}")


# ── crowd ──


def crowd(options):
    context = trusting(options)
    Path(f"/proc/{options.pid}/clear_refs").write_text("5", encoding="ascii")  # the peak is one from now on
    connections = [pull(options, context) for _ in range(options.streams)]
    slow = read_some(connections, options.seconds, piece=16 << 10, pause=0.05)
    resident = memory(options.pid, "VmRSS")
    read_some(connections, options.seconds, piece=PIECE, pause=0)
    report = {"resident_slow": resident, "resident": memory(options.pid, "VmRSS"), "peak": memory(options.pid, "VmHWM"), "pulling": slow}
    for connection in connections:
        connection.close()
    return report


def read_some(connections, seconds, piece, pause):
    """Reads from all of them in turns for a while; returns from how many something came."""
    buffer, until, alive = bytearray(piece), time.monotonic() + seconds, set()
    while time.monotonic() < until:
        for connection in connections:
            try:
                if connection.recv_into(buffer, piece, socket.MSG_TRUNC):
                    alive.add(connection)
            except BlockingIOError:
                pass
        time.sleep(pause)
    return len(alive)


# ── the server's process ──


def cpu_seconds(pid):
    """What all threads of a process have used, those that ended too (the kernel's clock id of a process, clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def memory(pid, key):
    """KiB, by /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


if __name__ == "__main__":
    main()
