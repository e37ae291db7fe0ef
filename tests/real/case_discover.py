"""`pullgate discover` against a docker-registry with TLS that sends layers to another host."""

import hashlib
import json
import ssl
import subprocess
import sys
import urllib.request

from support.cases import case, check, equal, sh, wait_until

REGISTRY, LAYERS = "images.example", "layers.example"
REGISTRY_PORT, LAYERS_PORT = 5443, 5480
IMAGE = f"{REGISTRY}:{REGISTRY_PORT}/team/app:1"

POLICY = f"""\
version = 1
[[registry]]
name = "lab"
hosts = ["{REGISTRY}"]
private-addresses = true
"""


@case
def a_missing_host_is_found(lab):
    """discover names the host that layers come from, denied, exit 1; with its line added all is allowed, exit 0; --through sees what clients see."""
    start_registry(lab)
    server = lab.serve(POLICY)
    code, report = discover(lab, server)
    equal((code, verdicts(report)), (1, {REGISTRY: "allow", LAYERS: "deny"}))
    equal((report["judged_by"], report["end"]), ("server", None))
    added = report["add"][0]
    check(added["to"].startswith("registry `lab` ("), added)
    equal(added["toml"], f'redirects = ["{LAYERS}"]\n')

    text = server.command("discover", IMAGE, "--config", server.arguments[-1]).stdout
    check(f"to add to {added['to']}:" in text and added["toml"] in text, text)

    code, through = discover(lab, server, "--through")
    equal((code, verdicts(through)), (1, {REGISTRY: "allow", LAYERS: "deny"}))
    equal(through["hosts"][1]["answered"], ["its name has no address"])
    equal(through["end"], "no blob of it could be had")

    lab.write_policy(POLICY + added["toml"])
    server.reload()
    for options in ((), ("--through",)):
        code, report = discover(lab, server, *options)
        equal((code, verdicts(report), report["add"]), (0, {REGISTRY: "allow", LAYERS: "allow"}, []), options)
        equal(report["hosts"][1]["answered"], ["200"], "plain http, without ranges")


@case
def a_push_is_begun_and_cancelled(lab):
    """discover --push: an upload is begun where the registry says, and cancelled; no data of it is left."""
    start_registry(lab)
    code, report = discover(lab, lab.serve(POLICY), "--push")
    equal(code, 1)
    own = report["hosts"][0]
    check("upload" in own["steps"] and {"202", "204"} <= set(own["answered"]), own)
    equal([str(path) for path in lab.folder.glob("storage/**/_uploads/*/data")], [])


def discover(lab, server, *options):
    """Its exit code and report."""
    done = server.command("discover", IMAGE, "--json", "--config", server.arguments[-1], *options)
    check(done.stdout, done.stderr)
    return done.returncode, json.loads(done.stdout)


def verdicts(report):
    return {host["host"]: host["verdict"] for host in report["hosts"]}


def start_registry(lab):
    """A docker-registry with TLS that has the image, its authority in certs.d, and a web server for its blobs."""
    storage = lab.folder / "storage"
    storage.mkdir()
    certificate, key = lab.folder / "tls.crt", lab.folder / "tls.key"
    subject = f"-subj /CN={REGISTRY} -addext subjectAltName=DNS:{REGISTRY}"
    sh(f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 {subject} -keyout {key} -out {certificate}")
    sh(f"install -D {certificate} /etc/docker/certs.d/{REGISTRY}:{REGISTRY_PORT}/ca.crt")
    settings = lab.folder / "registry.yml"
    settings.write_text(CONFIGURATION.format(storage=storage, certificate=certificate, key=key), encoding="utf-8")
    lab.spawn(["docker-registry", "serve", str(settings)], "registry")
    lab.spawn([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(storage), str(LAYERS_PORT)], "layers")
    push(ssl.create_default_context(cafile=certificate))
    wait_until(lambda: subprocess.run(["curl", "-s", f"http://127.0.0.1:{LAYERS_PORT}/"], capture_output=True, check=False).returncode == 0, 5, "the layers' server")


def push(context):
    """Puts an image of one layer into the registry."""
    context.check_hostname = False
    base = f"https://127.0.0.1:{REGISTRY_PORT}/v2/team/app"

    def send(method, url, body=b"", kind="application/octet-stream"):
        request = urllib.request.Request(url, body, {"Content-Type": kind}, method=method)
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:
            return answer.headers

    def upload(content):
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        place = send("POST", f"{base}/blobs/uploads/")["Location"]
        send("PUT", f"{place}&digest={digest}", content)
        return {"digest": digest, "size": len(content)}

    wait_until(lambda: answers(send, f"{base}/tags/list"), 5, "the registry")
    kinds = [f"application/vnd.oci.image.{kind}" for kind in ("manifest.v1+json", "config.v1+json", "layer.v1.tar+gzip")]
    config = {"mediaType": kinds[1], **upload(b'{"os":"linux","architecture":"amd64"}')}
    layer = {"mediaType": kinds[2], **upload(b"a layer")}
    manifest = {"schemaVersion": 2, "mediaType": kinds[0], "config": config, "layers": [layer]}
    send("PUT", f"{base}/manifests/1", json.dumps(manifest).encode(), kinds[0])


def answers(send, url):
    """Whether somebody answers, whatever it is."""
    try:
        send("GET", url)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


CONFIGURATION = f"""\
version: 0.1
log: {{{{ level: warn }}}}
storage: {{{{ filesystem: {{{{ rootdirectory: {{storage}} }}}} }}}}
http: {{{{ addr: "127.0.0.1:{REGISTRY_PORT}", host: "https://{REGISTRY}:{REGISTRY_PORT}", tls: {{{{ certificate: {{certificate}}, key: {{key}} }}}} }}}}
middleware: {{{{ storage: [ {{{{ name: redirect, options: {{{{ baseurl: "http://{LAYERS}:{LAYERS_PORT}/" }}}} }}}} ] }}}}
"""
