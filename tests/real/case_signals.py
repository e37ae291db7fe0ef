"""What people are told by themselves: a webhook that hears of a broken policy and of an upstream that is down."""

import http.server
import json
import queue
import threading

from support.cases import case, check, equal, wait_until
from upstream import Fake, addresses

POLICY = """\
version = 1
[[registry]]
name = "r"
hosts = ["registry.example", "*.cdn.example"]
"""


class Webhook:
    """Takes what is posted to it."""

    def __init__(self, lab):
        told = self.told = queue.Queue()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        lab.defer(server.shutdown)

    def signal(self):
        return f'[[signal]]\nurl = "http://127.0.0.1:{self.port}/hook"\n'

    def next(self, seconds=10):
        """Kind, status and the whole of the next message."""
        told = self.told.get(timeout=seconds)
        return told["kind"], told["status"], told


@case
def a_broken_policy_is_told_with_its_line(lab):
    """A refused policy reaches a webhook once, with file and line; that it is mended, too."""
    webhook = Webhook(lab)
    server = lab.serve(POLICY, tail=webhook.signal())
    path = lab.write_policy(POLICY + "[[regsitry]]\n")
    kind, status, told = webhook.next()
    equal((kind, status), ("refused", "firing"))
    fault = told["details"]["faults"][0]
    equal((fault["path"], fault["line"]), (str(path), 5))
    check("unknown key `regsitry`" in told["summary"] and str(path) in told["summary"], told["summary"])
    equal(lab.run("reload", server=server).returncode, 78)
    lab.write_policy(POLICY)
    equal(webhook.next()[:2], ("refused", "resolved"))
    check(webhook.told.empty(), "more than one message")


@case(seconds=60)
def an_upstream_that_is_down_is_told_and_so_is_its_return(lab):
    """All servers silent for some seconds while clients ask: one message; one answers again: `resolved`."""
    webhook, asked = Webhook(lab), iter(range(1000))
    with Fake(addresses("192.0.2.1")) as fake:
        address = fake.address
        server = lab.serve(POLICY, upstream=(address,), tail=webhook.signal())
        equal(server.dig("registry.example").rcode, "NOERROR")
    ask = lambda: server.dig(f"a{next(asked)}.cdn.example").rcode
    wait_until(lambda: ask() == "SERVFAIL" and not webhook.told.empty(), 30, "told")
    kind, status, told = webhook.next()
    equal((kind, status), ("upstream-down", "firing"))
    check(address.split(":")[0] in told["summary"], told["summary"])
    with Fake(addresses("192.0.2.1")):
        wait_until(lambda: ask() == "NOERROR", 30, "back")
        equal(webhook.next()[:2], ("upstream-down", "resolved"))
    check(webhook.told.empty(), "more than one message")
