#!/usr/bin/env python3
"""A registry's host as somebody sees it who passes bytes on: after the first message of a client come those of a file.

    opaque.py ADDRESS FILE

sendfile(2) sends them, uncopied and not encrypted, so that this side costs next to nothing beside the server between.
"""

import os
import socket
import sys
import threading


def main():
    address, path = sys.argv[1:]
    file = os.open(path, os.O_RDONLY)
    size = os.fstat(file).st_size
    with socket.create_server((address, 443), backlog=256) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=send, args=(connection, file, size), daemon=True).start()


def send(connection, file, size):
    with connection:
        try:
            connection.recv(16384)
            sent = 0
            while sent < size:
                sent += os.sendfile(connection.fileno(), file, sent, size - sent)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
        except OSError:
            pass  # the client has had enough


if __name__ == "__main__":
    main()
