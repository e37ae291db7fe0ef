"""Headless Chromium, driven by its DevTools protocol over a pipe: no port, no driver, no package of Python's."""

import base64
import fcntl
import json
import os
import select
import time

from support.cases import Failed

# Keys that a page may be operated with, as the protocol wants them: (key, code, number, text).
KEYS = {"Tab": ("Tab", "Tab", 9, ""), "Enter": ("Enter", "Enter", 13, "\r")}
QUIET = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --no-default-browser-check --disable-extensions "
    "--disable-background-networking --disable-component-update --disable-default-apps --disable-sync --disable-domain-reliability "
    "--disable-features=OptimizationHints,MediaRouter,Translate,DialMediaRouteProvider --metrics-recording-only --hide-scrollbars --disable-lcd-text"
).split()


def above(least, descriptor):
    """The same descriptor with a number above `least`."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD, least + 1)
    os.close(descriptor)
    return moved


class Browser:
    """A browser with one tab, its profile in the case's folder."""

    def __init__(self, lab, size=(1280, 900), more=()):
        (command_in, self.out), (self.into, answer_out) = os.pipe(), os.pipe()
        pipes = {3: above(9, command_in), 4: above(9, answer_out)}
        profile = lab.folder / "browser"
        command = ["chromium", *QUIET, f"--window-size={size[0]},{size[1]}", "--remote-debugging-pipe", *more, f"--user-data-dir={profile}", "about:blank"]
        # The protocol's pipe is at descriptors 3 and 4, whatever those are here: a shell puts it there.
        moves = " ".join(f"{wanted}{'<' if wanted == 3 else '>'}&{have}" for wanted, have in pipes.items())
        home = {**os.environ, "HOME": str(lab.folder)}
        lab.spawn(["bash", "-c", f'exec "$@" {moves}', "bash", *command], "chromium", env=home, pass_fds=tuple(pipes.values()))
        for end in pipes.values():
            os.close(end)
        self.buffer, self.events, self.number, self.session = b"", [], 0, None
        self.wait_for_tab()
        for domain in ("Page", "Runtime", "Network", "Log", "DOM", "Accessibility"):
            self.call(f"{domain}.enable")

    def wait_for_tab(self):
        tab = next(each for each in self.call("Target.getTargets")["targetInfos"] if each["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=tab["targetId"], flatten=True)["sessionId"]

    def call(self, method, seconds=20, **parameters):
        """Calls a method of the protocol and returns its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + seconds
        while True:
            answer = self.read(deadline, method)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise Failed(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def read(self, deadline, what):
        """The next message from the browser."""
        while b"\0" not in self.buffer:
            if not select.select([self.into], [], [], max(0, deadline - time.monotonic()))[0]:
                raise Failed(f"the browser does not answer to {what}")
            read = os.read(self.into, 1 << 20)
            if not read:
                raise Failed(f"the browser ended at {what}")
            self.buffer += read
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def open(self, address):
        """Loads a page and waits until it is whole."""
        begun = len(self.events)
        reached = self.call("Page.navigate", url=address)
        if "errorText" in reached:
            raise Failed(f"{address}: {reached['errorText']}")
        deadline = time.monotonic() + 20
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events[begun:]):
            self.events.append(self.read(deadline, f"the load of {address}"))

    def run(self, script, seconds=20):
        """The value of an expression in the page, awaited if it is a promise."""
        result = self.call("Runtime.evaluate", seconds, expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise Failed(f"{script}: {result['exceptionDetails'].get('exception', {}).get('description')}")
        return result["result"].get("value")

    def wait(self, condition, seconds=5):
        """Waits in the page until a condition holds after some change of the document; returns when that was, in Unix time in ms."""
        script = f"""new Promise((done, fail) => {{
            const look = () => ({condition}) && (watcher.disconnect(), done(Date.now()));
            const watcher = new MutationObserver(look);
            watcher.observe(document, {{subtree: true, childList: true, attributes: true, characterData: true}});
            setTimeout(() => fail(new Error('not within {seconds} s')), {seconds * 1000});
            look();
        }})"""
        return self.run(script, seconds + 5)

    def press(self, key):
        """Presses a key as a person does."""
        name, code, number, text = KEYS[key]
        common = {"key": name, "code": code, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **common, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text):
        """Types text into what is focused."""
        self.call("Input.insertText", text=text)

    def scheme(self, name):
        """Has the page believe that the person likes `light` or `dark`."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def size(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self, path, **clip):
        """Writes what is shown as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png", **clip)["data"]))

    def complaints(self):
        """What the console has: errors, warnings, exceptions, what a policy kept from loading."""
        self.run("0")
        found = []
        for event in self.events:
            method, parameters = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(parameters["exceptionDetails"].get("exception", {}).get("description") or parameters["exceptionDetails"]["text"])
            elif method == "Runtime.consoleAPICalled":
                found.append(f"console.{parameters['type']}: {parameters['args']}")
            elif method == "Log.entryAdded":
                found.append(f"{parameters['entry']['level']}: {parameters['entry']['text']} {parameters['entry'].get('url', '')}")
        return found

    def requests(self):
        """The URL of every request that it made for the page."""
        return [event["params"]["request"]["url"] for event in self.events if event.get("method") == "Network.requestWillBeSent"]
