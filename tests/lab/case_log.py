"""What the log says, as a service's settings usually have it: denials alone."""

from support.cases import case, check, equal, wait_until
from world import CDN, FORBIDDEN, POLICY, REGISTRY


@case
def denials_alone_are_logged_with_their_pull(lab):
    """With `queries = "denied"`, allowed questions are in no log, and a denied one still names the registry before it."""
    usual, all_of_them = 'queries = "denied"', 'queries = "all"'
    lab.defer(lambda: lab.pullgate.set(usual, all_of_them))
    lab.pullgate.set(all_of_them, usual)
    lab.pullgate.policy(POLICY.replace(f'redirects = ["{CDN}"]\n', ""))
    lab.seen, written = 0, len(lab.pullgate.lines())
    client = lab.machine()
    image, _ = lab.image()
    check(lab.run(client, f"skopeo copy docker://{image}:1 dir:$(mktemp -d)").code, "the pull succeeded")
    check(lab.run(client, f"skopeo inspect docker://{FORBIDDEN}/team/tiny:1").code, "the forbidden registry answered")
    equal(lab.logged(client, CDN)["after"]["name"], REGISTRY)
    equal(lab.entries(name=REGISTRY), [])
    line = wait_until(lambda: about(lab, written, CDN), 2, "the line in the server's own log")[0][0]
    seen = {key: line.get(key) for key in ("message", "client", "group", "reason")} | {"after": line["after"]["name"]}
    equal(seen, {"message": "query denied", "client": lab.addresses[client][0], "group": "developers", "reason": "not on the allowlist", "after": REGISTRY})
    equal(about(lab, written, REGISTRY), [], "lines about an allowed name")
    equal(len(about(lab, written, FORBIDDEN)) in (1, 2), True, "one line for each record type at most")


def about(lab, written, name):
    """The lines of the server's own log about a name, since it had so many."""
    return [line for line in lab.pullgate.lines()[written:] if line.get("name") == name]
