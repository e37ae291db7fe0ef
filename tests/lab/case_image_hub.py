"""The fake Hub is as the Hub: what the cases of the image gateway stand on."""

import hub
from support.cases import case, check
from world import POLICY

# The Hub without any gateway.
DIRECT = POLICY.replace('registries = ["lab"]', 'registries = ["lab", "docker-hub"]') + """
[[registry]]
preset = "docker-hub"
include = ["web"]
private-addresses = true
"""
ACCEPT = "-H 'Accept: application/vnd.oci.image.manifest.v1+json'"
MANIFEST = f"https://{hub.REGISTRY}/v2/{{}}/manifests/1"

# URLs, by repository; options for the token and for the request; what the answer has.
ANSWERS = [
    (MANIFEST, "foo/bar", None, "", ["401", f'realm="https://{hub.TOKENS}/token",service="registry.docker.io",scope="repository:foo/bar:pull"']),
    (MANIFEST, "foo/bar", "", ACCEPT, ["200", "ratelimit-limit: 100;w=21600", "docker-ratelimit-source: "]),
    (f"https://{hub.REGISTRY}/v2/{{}}/blobs/BLOB", "foo/bar", "", "", ["307", f"Location: https://{hub.BLOBS}/"]),
    (MANIFEST, "mycompany/private", "", ACCEPT, ["401", 'error="insufficient_scope"']),
    (MANIFEST, "mycompany/private", f"-u {hub.USER}:{hub.PASSWORD}", ACCEPT, ["200"]),
    (f"https://{hub.API}/v2/orgs/{{}}/", "bitnami", None, "", ["200", '"badge": "verified_publisher"']),
    (f"https://{hub.API}/v2/orgs/{{}}/", "grafana", None, "", ["200", '"badge": "open_source"']),
    (f"https://{hub.API}/v2/orgs/{{}}/", "foo", None, "", ["301", f"Location: https://{hub.API}/v2/users/foo/"]),
    (f"https://{hub.API}/v2/orgs/{{}}/", "nobody", None, "", ["404"]),
]


@case
def the_fake_hub_answers_as_the_hub(lab):
    """401 with a realm on another host, tokens by scope, blobs elsewhere, headers of the rate limit, badges."""
    lab.world.hub
    lab.pullgate.policy(DIRECT)
    machine = lab.machine()
    for url, repository, login, options, parts in ANSWERS:
        url = url.format(repository).replace("BLOB", lab.world.tiny.blob)
        answer = lab.run(machine, f"{token(repository, login)}curl -sSi {options} -H \"Authorization: $token\" '{url}'").output
        check(all(part in answer for part in parts), f"{url}: no {parts} in {answer}")


def token(repository, login):
    """The shell's words that put a token for pulling into `$token`; with None, nothing."""
    url = f"https://{hub.TOKENS}/token?service=registry.docker.io&scope=repository:{repository}:pull"
    get = f"curl -sS {login} '{url}' | grep -o '\"token\": \"[^\"]*' | cut -d '\"' -f 4"
    return f'token="Bearer $({get})"; ' if login is not None else ""
