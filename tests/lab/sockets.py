"""Sockets on other machines of the network, used from here: what a packet meets belongs to the machine that a socket was made on."""

import errno
import select
import socket
import struct
from concurrent.futures import ThreadPoolExecutor

from support.dns import enter_namespace, over_tcp, query

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
PATIENCE = 2
OPT, PADDING = 41, 12


def make(machine, address, kind):
    """A socket on a machine for an address of either family."""

    def enter_and_make():
        enter_namespace(machine)
        return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)

    with ThreadPoolExecutor(1) as thread:
        made = thread.submit(enter_and_make).result()
    made.settimeout(PATIENCE)
    return made


def listen(machine, address, kind, port):
    """A socket that takes what comes to a port."""
    server = make(machine, address, kind)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    if kind == TCP:
        server.listen()
    return server


def reach(machine, address, kind, port, server=None):
    """What a client on a machine makes of a port: "reached", the name of the error, or "nothing".

    TCP is reached when it is connected; a datagram when it arrives at the socket `server`.
    """
    with make(machine, address, kind) as client:
        try:
            client.connect((address, port))
            if kind == UDP:
                client.send(b"hello")
                ready, _, _ = select.select([client, *([server] if server else [])], [], [], PATIENCE)
                if client in ready:
                    client.recv(512)
                elif not ready:
                    return "nothing"
                else:
                    server.recv(512)
            return "reached"
        except TimeoutError:
            return "nothing"
        except OSError as error:
            return errno.errorcode[error.errno]


def ask_unconnected(machine, address, name, padding=0):
    """Asks from a socket that takes answers from anybody: the response code, and who answered."""
    padded = struct.pack("!BHHIHHH", 0, OPT, 4096, 0, padding + 4, PADDING, padding) + bytes(padding)
    question = query(name, edns=False)
    with make(machine, address, UDP) as client:
        client.sendto(question[:10] + b"\0\1" + question[12:] + padded, (address, 53))
        answer, by = client.recvfrom(4096)
        return answer[3] & 15, by[0]


class Conversation:
    """A client that goes on asking a server for a name from the same two sockets."""

    def __init__(self, machine, address, name):
        self.question = query(name)
        self.udp, self.tcp = (make(machine, address, kind) for kind in (UDP, TCP))
        for each in (self.udp, self.tcp):
            each.connect((address, 53))

    def ask(self):
        """The response codes over UDP and over TCP, or the names of errors."""
        return [say(self.udp, self.question, 0), say(self.tcp, over_tcp(self.question), 2)]

    def close(self):
        self.udp.close()
        self.tcp.close()


def say(client, packet, header):
    """The response code to a packet, behind a header of so many bytes; or the name of the error."""
    try:
        client.send(packet)
        return client.recv(4096)[header + 3] & 15
    except TimeoutError:
        return "nothing"
    except OSError as error:
        return errno.errorcode[error.errno]
