"""Who may use what: two networks with policies of their own behind one running server."""

from network import CI, DEVELOPERS
from support.cases import case, check, equal
from world import CI_ONLY, TINY

IMAGE = f"{CI_ONLY}/{TINY}"
PULLS = {
    "skopeo": f"skopeo copy --quiet docker://{IMAGE} dir:$(mktemp -d)",
    "podman": f"podman pull --quiet {IMAGE}",
    "buildah": f"buildah pull --quiet {IMAGE}",
}


@case
def ci_may_use_a_registry_that_developers_may_not(lab):
    """Two groups in one running server: CI pulls from its registry, developers hear `no such host`, and the log says why."""
    developer, runner = lab.machine(DEVELOPERS), lab.machine(CI)
    for program, pull in PULLS.items():
        denied = lab.run(developer, pull)
        check(f"lookup {CI_ONLY} on {DEVELOPERS.gateway}:53: no such host" in denied.output, f"{program}: {denied.output}")
        equal(lab.requests("ci-only", developer), [], f"requests of the developer's {program}")
        allowed = lab.run(runner, pull)
        equal(allowed.code, 0, f"exit of CI's {program} ({allowed.output})")
        equal(lab.run(runner, "podman rmi --all --force").code, 0)  # both machines keep images in one place
    lab.requested("ci-only", runner, "GET /v2/team/tiny/blobs/")
    verdict = lambda machine: [lab.logged(machine, CI_ONLY)[key] for key in ("verdict", "group", "reason")]
    equal(verdict(runner), ["allow", "ci", "allowed by registry `ci-only`"])
    equal(verdict(developer), ["deny", "developers", "not for this group: ci-only"])


@case
def a_group_is_changed_while_the_other_goes_on(lab):
    """The registry is taken from CI and given to developers by one reload: the next pull of either obeys."""
    developer, runner = lab.machine(DEVELOPERS), lab.machine(CI)
    exits = lambda: [lab.run(machine, PULLS["skopeo"]).code for machine in (developer, runner)]
    equal(exits(), [1, 0])
    policy = lab.pullgate.policy_file.read_text(encoding="utf-8")
    both, lab_alone = 'registries = ["lab", "ci-only"]', 'registries = ["lab"]'
    lab.pullgate.policy(policy.replace(both, "@").replace(lab_alone, both).replace("@", lab_alone))
    equal(exits(), [0, 1])
