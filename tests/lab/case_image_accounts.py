"""Accounts: what is private is pulled after a login, the gateway knows no password, and pushes go where the policy lets them."""

import hub
import network
import steering
from clients import IMAGE_CLIENTS, for_each, words
from golden import compare
from support.cases import case, check, equal, wait_until

PUSHERS = [client for client in IMAGE_CLIENTS if client.push]
PRIVATE = "docker.io/mycompany/private:1"
WITH_USER = f" --user {hub.USER}:{hub.PASSWORD} "


@for_each(IMAGE_CLIENTS)
def private_image_is_pulled_after_a_login(lab, client):
    """Without a login the Hub refuses it, in its own words; with one it is pulled. The gateway never sees the password."""
    steering.begin(lab)
    lab.defer(lambda: lab.run(client.machine, client.forget))
    pull = client.pull.format_map(words(PRIVATE))
    refused = lab.run(client.machine, pull)
    check(refused.code and steering.DENIED not in refused.output, refused.output)
    done = lab.run(client.machine, logged_in(lab, client, pull))
    equal(done.code, 0, done.output)
    wait_until(lambda: lab.requests("hub", pattern=f"^{hub.REGISTRY} .*/v2/mycompany/private/manifests/1 HTTP/1.1\" 200"), 2, "it was pulled")


@for_each(PUSHERS)
def pushes_go_where_they_may(lab, client):
    """A push to a repository of the list is done; to any other it is denied with the text, also where pulls are allowed."""
    steering.begin(lab)
    lab.defer(lambda: lab.run(client.machine, client.forget))
    image = "docker.io/library/tiny:1"
    equal(lab.run(client.machine, client.pull.format_map(words(image))).code, 0, "exit of the pull")
    push = lambda to: lab.run(client.machine, logged_in(lab, client, client.push.format_map(words(image, pushed=f"docker.io/{to}:1"))))
    own = f"mycompany/pushed-by-{client.name}"
    done = push(own)
    equal(done.code, 0, done.output)
    wait_until(lambda: lab.requests("hub", pattern=f"PUT /v2/{own}/manifests/1 HTTP/1.1\" 201"), 2, "it was pushed")
    denied = {to: push(to) for to in ("foo/pushed", "library/pushed")}
    for to, each in denied.items():
        check(each.code and f"{steering.DENIED}push to {to} not allowed" in each.output, each.output)
        changes = [line for line in steering.asked_of_the_registry(lab, to) if '"HEAD ' not in line and '"GET ' not in line]
        equal(changes, [], "what the registry was asked to change")
    compare(f"push/{client.name}", denied)


def logged_in(lab, client, command):
    """The command, by somebody who has logged in at the Hub."""
    if not client.login:
        return command.replace("ctr images pull ", f"ctr images pull{WITH_USER}").replace("ctr images push ", f"ctr images push{WITH_USER}")
    lab.defer(lambda: lab.run(client.machine, client.logout))
    done = lab.run(client.machine, client.login.format(user=hub.USER, password=hub.PASSWORD))
    equal(done.code, 0, f"exit of the login ({done.output})")
    return command


# ── mounts ──

REBASERS = [client for client in PUSHERS if client.name in ("docker-20", "docker-26", "docker-26-store", "podman-5")]


@for_each(REBASERS)
def layers_of_a_denied_image_are_pushed_anew(lab, client):
    """Who has an image from before it was denied may push it to a repository of the list: no layer is mounted from where it was."""
    steering.begin(lab)
    lab.pullgate.policy(steering.IMAGES.replace('community = "deny"', 'community = "allow"'))
    lab.run(client.machine, client.forget)
    lab.defer(lambda: lab.run(client.machine, client.forget))
    image, own = "docker.io/foo/bar:1", f"mycompany/rebased-by-{client.name}"
    equal(lab.run(client.machine, client.pull.format_map(words(image))).code, 0, "exit of the pull")
    lab.pullgate.policy(steering.IMAGES)
    done = lab.run(client.machine, logged_in(lab, client, client.push.format_map(words(image, pushed=f"docker.io/{own}:1"))))
    equal(done.code, 0, done.output)
    wait_until(lambda: lab.requests("hub", pattern=f'"POST /v2/{own}/blobs/uploads/'), 2, "it was uploaded")
    equal(lab.requests("hub", pattern="from=foo"), [], "what the registry was asked to mount")


SOURCES = {
    "library/tiny": ["from=library/tiny", "from=library%2Ftiny"],
    "foo/bar": ["from=foo/bar", "from=foo%2Fbar", "from=%66oo/bar", "from=foo/bar&from=library/tiny", "from=foo/bar;from=library/tiny"],
}


@case
def mounts_need_the_right_to_pull_their_source(lab):
    """A push may mount a blob of a repository that may be pulled; of a denied one it has to upload it."""
    steering.begin(lab)
    machine = lab.machine()
    mount = lambda to, source: lab.run(machine, f"{token(to)}{curl(f'-X POST', f'{to}/blobs/uploads/?mount={lab.world.tiny.blob}&{source}')}").output
    for source in SOURCES["library/tiny"]:
        equal(mount(f"mycompany/mounted-{len(source)}", source)[-3:], "201", source)
    for number, source in enumerate(SOURCES["foo/bar"]):
        to = f"mycompany/not-mounted-{number}"
        answer = mount(to, source)
        check(answer[-3:] in ("202", "400", "403"), f"{source}: {answer}")
        has = lab.run(machine, f"{token(to)}{curl('-I', f'{to}/blobs/{lab.world.tiny.blob}')}").output
        equal(has[-3:], "404", f"whether {to} has the blob now, by {source}")
    mounts = [line for line in lab.requests("hub", pattern="mount=") if "foo" in line]
    equal(mounts, [], "what the registry was asked to mount")


@case
def upload_at_a_registry_that_thinks_itself_plain(lab):
    """A registry that says `Location: http://…` of itself: the upload goes on over TLS, through the gateway. Nothing is sent in the clear."""
    steering.begin(lab)
    begin_upload = token("mycompany/plain") + curl("-X POST -D -", "mycompany/plain/blobs/uploads/").replace(hub.REGISTRY, hub.INDEX)
    location = lambda answer: next(line.split(": ", 1)[1] for line in answer.splitlines() if line.lower().startswith("location: "))
    check(location(network.run_in(hub.MACHINE, begin_upload)).startswith(f"http://{hub.INDEX}/"), "what the registry itself says")
    location = location(lab.run(lab.machine(), begin_upload).output)
    check(location.startswith((f"https://{hub.INDEX}/v2/mycompany/plain/", "/v2/mycompany/plain/")), location)


def token(repository):
    """The shell's words that put a token for the repository, and for pulling all that the case has, into `$token`."""
    scopes = [f"repository:{repository}:pull,push", "repository:library/tiny:pull", "repository:foo/bar:pull"]
    url = f"https://{hub.TOKENS}/token?service=registry.docker.io&" + "&".join(f"scope={scope}" for scope in scopes)
    return f"token=$(curl -sS -u {hub.USER}:{hub.PASSWORD} '{url}' | grep -o '\"token\": \"[^\"]*' | cut -d '\"' -f 4); "


def curl(options, path):
    return f"curl -sS -o /dev/null -w '%{{http_code}}' {options} -H \"Authorization: Bearer $token\" 'https://{hub.REGISTRY}/v2/{path}'"
