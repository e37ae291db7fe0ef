"""An HTTP proxy that carries connections, for whoever knows the password: what many sites have as their only way out.

Run as a program: `connect_proxy.py PORT USER:PASSWORD`. It prints a line for each request.
"""

import base64
import socket
import socketserver
import sys
import threading


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        method, target, _ = self.rfile.readline().decode().split()
        headers = {}
        while line := self.rfile.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        status = self.status(method, headers.get("proxy-authorization"))
        print(f"{self.client_address[0]} {method} {target} {status}", flush=True)
        self.wfile.write(f"HTTP/1.1 {status} whatever\r\n\r\n".encode())
        if status == 200:
            self.carry(target)

    def status(self, method, authorization):
        if method != "CONNECT":
            return 405
        return 200 if authorization == self.server.authorization else 407

    def carry(self, target):
        host, _, port = target.rpartition(":")
        with socket.create_connection((host, int(port))) as there:
            back = threading.Thread(target=pour, args=(there, self.connection))
            back.start()
            pour(self.connection, there)
            back.join()


def pour(source, sink):
    """Hands on everything, and then the end."""
    try:
        while data := source.recv(262144):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:  # one end is gone: the other end's thread sees it as well
        source.close()


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def main(port, login):
    server = Server(("", int(port)), Handler)
    server.authorization = f"Basic {base64.b64encode(login.encode()).decode()}"
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
