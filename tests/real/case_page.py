"""The page in a real browser: what it shows, how soon, whom it lets ask. Headless Chromium, on a machine without a network."""

import functools
import http.server
import os
import shutil
import threading
import time
from pathlib import Path

from harness import UPSTREAM, quote
from morning import Morning
from support import png
from support.browser import Browser
from support.cases import case, check, equal, sh
from support.dns import exchange, query

POLICY = """\
version = 1
[[registry]]
name = "r"
hosts = ["registry.example"]
"""
PAGE = "http://127.0.0.1:8053/"
SECTIONS = {"page": {"listen": '"127.0.0.1:8053"', "names": '["gate.corp.example"]'}}
# Headings that skip a level, in the order of the document.
HEADINGS = """(() => {
  const levels = [...document.querySelectorAll('h1, h2, h3')].filter((each) => each.offsetParent).map((each) => Number(each.tagName[1]));
  return levels.filter((level, at) => level > (levels[at - 1] ?? 0) + 1);
})()"""
# Texts that differ too little from what is behind them (WCAG 2.2, 1.4.3), each with its ratio.
CONTRASTS = """(() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => numbers(color).slice(0, 3).map((part) => part / 255).map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (each) => { for (; each; each = each.parentElement) { const found = getComputedStyle(each).backgroundColor; if ((numbers(found)[3] ?? 1) === 1) return found; } };
  const found = new Map();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const each = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !each.checkVisibility() || each.closest('.unseen, .skip, script, style')) continue;
    const [one, other] = [light(getComputedStyle(each).color), light(ground(each))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < 4.5) found.set(`${each.tagName}.${each.className}`, ratio);
  }
  return [...found];
})()"""


class Site(http.server.SimpleHTTPRequestHandler):
    """Another site, on the same machine."""

    def log_message(self, *_):
        """It has nothing to say."""


def opened(lab, **keywords):
    """A server with its page open in a browser, which has been told how things stand."""
    server = lab.serve(POLICY, sections=SECTIONS)
    browser = Browser(lab, **keywords)
    browser.open(PAGE)
    browser.wait("document.querySelector('#link').textContent === 'live' && document.querySelector('#state').textContent === 'ok'")
    return server, browser


def is_quiet(browser):
    """The console is empty, and nothing was asked of anybody but the page's own server."""
    equal(browser.complaints(), [])
    equal([url for url in browser.requests() if not url.startswith((PAGE, "data:"))], [])
    check({PAGE, f"{PAGE}events"} <= set(browser.requests()), browser.requests())


@case
def a_denial_is_on_the_page_within_a_second(lab):
    """A denied name is in the list within a second of its query, in the table with the lines to add, and the plots move."""
    server, browser = opened(lab)
    exchange(query("registry.example"), ("127.0.0.1", 53))
    asked = time.time() * 1000
    exchange(query("blobs.example"), ("127.0.0.1", 53))
    shown = browser.wait("document.querySelector('#recent').textContent.includes('blobs.example')")
    lab.note(f"shown {shown - asked:.0f} ms after its query")
    check(shown - asked < 1000, f"it took {shown - asked:.0f} ms")
    browser.wait("document.querySelector('#most pre')?.textContent === 'redirects = [\"blobs.example\"]'", 10)
    check("right after registry.example" in browser.run("document.querySelector('#most').textContent"), "the registry before it")
    check("10-test.toml:4" in browser.run("document.querySelector('#most .where').textContent"), "where the line goes")
    browser.wait("document.querySelector('#denied-plot').textContent.includes('peak 1')")
    browser.wait("document.querySelector('#servers').textContent.includes('answers')")
    check(browser.run("document.querySelector('#asked-plot path.line').getAttribute('d').includes('L')"), "a line is drawn")
    is_quiet(browser)
    equal(server.stop(), 0, "it stops while a browser listens")
    browser.wait("document.querySelector('#link').textContent.startsWith('connection lost')")
    server.start()
    browser.wait("document.querySelector('#link').textContent === 'live'", 10)


@case
def a_denied_image_is_on_the_page_as_itself(lab):
    """What the gateway refuses is in both lists with its repository, and the line to write; its registry's name is not."""
    gateway, folder = UPSTREAM, lab.folder / "ca"
    keys = {"address": quote(gateway), "ca": quote(folder), "upstream-ca": quote(lab.folder / "roots.pem")}
    sections = {**SECTIONS, "gateway": keys, "server": {"clients": quote([f"{gateway}/32", "127.0.0.0/8"])}}
    lab.write_policy(POLICY + 'path = "inspect"\n[[images]]\nregistry = "r"\nallow = ["team/*"]\n')
    settings = lab.folder / "ca.toml"
    settings.write_text(lab.settings(sections=sections), encoding="utf-8")
    equal(lab.run("images", "ca", "init", "--config", str(settings)).returncode, 0, "exit of ca init")
    certificate = shutil.copy(next(folder.glob("*.crt")), lab.folder / "roots.pem")
    lab.serve(sections=sections)
    browser = Browser(lab)
    browser.open(PAGE)
    browser.wait("document.querySelector('#link').textContent === 'live'")
    fetch = f"curl -s -o /dev/null -w '%{{http_code}}' --cacert {certificate} --resolve registry.example:443:{gateway}"
    equal(sh(f"{fetch} https://registry.example/v2/other/app/manifests/1"), "403")
    browser.wait("document.querySelector('#recent').textContent.includes('registry.example/other/app')")
    browser.wait("document.querySelector('#most').textContent.includes('registry.example/other/app')", 10)
    row = browser.run("document.querySelector('#most tbody').innerText")
    check('allow = ["other/app"]' in row and "10-test.toml:6" in row, row)
    equal(browser.run("document.querySelectorAll('#most tbody tr').length"), 1, "denied things")
    is_quiet(browser)


@case
def the_page_is_used_without_a_mouse_and_on_a_phone(lab):
    """Tab reaches the skip link and the search box; Enter asks; every field and table has its name; 360 pixels are enough."""
    server, browser = opened(lab)
    focus = "document.activeElement.id || document.activeElement.className"
    reached = [browser.press("Tab") or browser.run(focus) for _ in range(4)]
    equal(reached[:2], ["skip", "ask-name"])
    browser.run("document.querySelector('#ask-name').focus()")
    browser.type("quay.io")
    browser.press("Enter")
    browser.wait("document.querySelector('#answer .verdict')")
    answer = browser.run("document.querySelector('#answer').innerText")
    check(answer.startswith("deny quay.io") and 'preset = "quay-io"' in answer, answer)
    browser.run("document.querySelector('#ask-name').value = 'registry.example'; document.querySelector('#ask-client').value = '192.0.2.1'")
    browser.press("Enter")
    browser.wait("document.querySelector('#answer .verdict')?.textContent.startsWith('allow registry.example')")
    check("10-test.toml:4" in browser.run("document.querySelector('#answer').innerText"), "the rule's place")
    server.dig(r"\060img\032src=x\032onerror=alert\0401\041\062.example")
    server.dig("a-name-that-is-rather-long-for-a-small-window.of-some-region.blobs.example")
    browser.wait("document.querySelector('#recent').textContent.includes('onerror')")
    equal(browser.run("document.querySelectorAll('img').length"), 0)
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node.get("ignored")]
    equal([role for role in roles if role[0] in ("textbox", "button", "link", "table") and not role[1] and role[0] != "table"], [], "without a name")
    check({"main", "banner", "contentinfo"} <= {role for role, _ in roles}, roles)
    equal(browser.run(HEADINGS), [])
    for scheme in ("light", "dark"):
        browser.scheme(scheme)
        equal(browser.run(CONTRASTS), [], scheme)
    browser.size(360, 740)
    equal(browser.run("document.documentElement.scrollWidth"), 360)
    is_quiet(browser)


@case
def a_broken_policy_is_on_the_page_until_it_is_mended(lab):
    """The banner has the fault with its line as soon as the policy is broken, and is gone when it is mended."""
    server, browser = opened(lab)
    hidden = "document.querySelector('#trouble').hidden"
    check(browser.run(hidden), "no trouble at first")
    lab.write_policy(POLICY.replace('"registry.example"', '"https://registry.example"'))
    browser.wait(f"!{hidden}")
    shown = browser.run("document.querySelector('#trouble').innerText")
    for words in ("degraded", "10-test.toml:4:10", 'hosts = ["https://registry.example"]', "^^^", "hint"):
        check(words in shown, f"{words!r} is not in {shown}")
    check(browser.run("document.title") == "pullgate: degraded", "the title says so too")
    lab.write_policy(POLICY.replace("registry.example", "other.example"))
    browser.wait(f"{hidden} && document.querySelector('#in-force').textContent.startsWith('generation 2')")
    server.command("allow", "cdn.example", "--for", "1h", "--ticket", "SEC-1", "--reason", "a pull")
    browser.wait("document.querySelector('#ending').textContent.includes('cdn.example')")
    is_quiet(browser)


@case
def other_sites_cannot_ask_the_page(lab):
    """A name rebound to this machine is refused, and another site's script gets nothing; the page's own names are let in."""
    lab.serve(POLICY, sections=SECTIONS)
    for host, code in (("127.0.0.1:8053", 200), ("gate.corp.example", 200), ("evil.example:8053", 421), ("", 421)):
        equal((host, sh(f"curl -s -o /dev/null -w '%{{http_code}}' -H 'Host: {host}' {PAGE}")), (host, str(code)))
    folder = lab.folder / "site"
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html><title>another site</title>", encoding="utf-8")
    handler = functools.partial(Site, directory=str(folder))
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 8054), handler)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    lab.defer(site.shutdown)
    browser = Browser(lab, more=["--host-resolver-rules=MAP evil.example 127.0.0.1, MAP gate.corp.example 127.0.0.1"])
    browser.open("http://evil.example:8053/")
    check("This page answers to its address" in browser.run("document.body.innerText"), "a rebound name")
    browser.open("http://gate.corp.example:8053/")
    browser.wait("document.querySelector('#link')?.textContent === 'live'")
    browser.open("http://evil.example:8054/")
    for script in ("fetch('http://127.0.0.1:8053/check?name=a')", "fetch('http://127.0.0.1:8053/', {method: 'POST'})"):
        equal(browser.run(f"{script}.then(() => 'answered', () => 'refused')"), "refused", script)
    framed = "new Promise(done => {const f = document.createElement('iframe'); f.onload = () => done('loaded'); f.src = 'http://127.0.0.1:8053/'; document.body.append(f)})"
    browser.run(framed)
    check(any("frame" in text or "403" in text for text in browser.complaints()), browser.complaints())


def the_page_as_people_will_see_it(lab):
    """Screenshots of a busy morning, in light and dark: a day's history, five minutes of questions, a policy with an end."""
    folder = Path(os.environ["SCREENSHOTS"])
    morning = Morning(lab)
    morning.pass_a_day()
    server = morning.serve()
    morning.ask_for(310)
    for arguments in morning.CHANGES:
        equal(server.command(*arguments).returncode, 0, arguments)
    browser = Browser(lab)
    browser.size(1280, 900)
    going_on = threading.Thread(target=morning.ask_for, args=(12,))
    going_on.start()
    browser.open(morning.PAGE)
    browser.wait("Number(document.querySelector('#asked-plot strong')?.textContent) > 9", 10)
    browser.wait("document.querySelector('#most pre') && document.querySelector('#unused').children.length")
    browser.size(1280, browser.run("document.documentElement.scrollHeight"))
    for scheme in ("light", "dark"):
        browser.scheme(scheme)
        browser.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        browser.screenshot(folder / f"page-{scheme}.png")
    going_on.join()
    for picture in folder.glob("page-*.png"):
        picture.write_bytes(png.small(picture.read_bytes()))


if "SCREENSHOTS" in os.environ:
    case(the_page_as_people_will_see_it, seconds=900)
