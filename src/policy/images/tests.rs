//! Which images whom is allowed, as tables of facts, and a naive twin.

use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::diagnostic::Source;
use crate::policy::compile::{Options, load};
use crate::policy::judge::{Asker, Permit, Verdict};

const HUB: &str = "[[registry]]\npreset = \"docker-hub\"\npath = \"inspect\"\n";
const GHCR: &str = "[[registry]]\npreset = \"ghcr\"\npath = \"inspect\"\n";
/// The example of the documents.
const IAM: &str = r#"
[[images]]
registry            = "docker-hub"
official            = "allow"
verified-publishers = "allow"
sponsored-oss       = "deny"
community           = "deny"
publishers          = { verified = ["bitnami"], sponsored = ["grafana"] }
organizations       = ["mycompany"]
allow               = ["prom/*", "testcontainers/ryuk", "@build-tools"]
deny                = ["prom/experimental-*", "mycompany/secret", "library/evil"]
push                = ["mycompany/*", "foo/pushed"]
exempt-clients      = ["10.0.9.0/28"]
"#;

fn snapshot(policy: &str) -> Snapshot {
    with_files(&[("p.toml", format!("version = 1\n{policy}"))], Mode::Enforce)
}

fn with_files(files: &[(&str, String)], mode: Mode) -> Snapshot {
    let sources = files.iter().map(|(path, text)| Source::new(*path, text.as_str())).collect();
    let options = Options { has_gateway: true, mode, ..Options::default() };
    let compiled = load(sources, &options, SystemTime::UNIX_EPOCH);
    compiled.unwrap_or_else(|faults| panic!("{}", faults.first().unwrap())).snapshot
}

/// The images of the registry that is asked at `host`, for a client.
fn rules<'s>(snapshot: &'s Snapshot, host: &str, client: &str) -> ImageRules<'s> {
    let (name, client): (crate::name::DomainName, IpAddr) = (host.parse().unwrap(), client.parse().unwrap());
    let judgement = snapshot.judge(&Asker { client, listener: None }, name.as_name());
    let Verdict::Allow(Permit::Rule(rule)) = judgement.verdict else { panic!("{host}: {}", judgement.verdict) };
    snapshot.image_rules(rule, judgement.group, Some(client))
}

fn told(verdict: ImageVerdict<'_>) -> String {
    match verdict {
        ImageVerdict::Allow(permit) => format!("allow {}", permit.word()),
        ImageVerdict::Deny(denial) => format!("deny {}", denial.word()),
        ImageVerdict::Audit(denial) => format!("audit {}", denial.word()),
        ImageVerdict::NeedsBadge => "needs badge".to_owned(),
    }
}

fn hub_verdict(snapshot: &Snapshot, client: &str, name: &str, access: Access, badge: Option<Badge>) -> String {
    let repository = name.parse().unwrap();
    told(rules(snapshot, "registry-1.docker.io", client).judge(&repository, access, badge))
}

fn pull(snapshot: &Snapshot, name: &str, badge: Option<Badge>) -> String {
    hub_verdict(snapshot, "10.0.0.1", name, Access::Pull, badge)
}

const VERIFIED: Option<Badge> = Some(Badge::VerifiedPublisher);
const SPONSORED: Option<Badge> = Some(Badge::SponsoredOss);
const UNBADGED: Option<Badge> = Some(Badge::Unbadged);

#[test]
fn the_first_row_that_holds_decides_a_pull() {
    let snapshot = snapshot(&format!("{HUB}{IAM}"));
    for (name, badge, verdict) in [
        ("prom/experimental-x", VERIFIED, "deny listed"),
        ("mycompany/secret", None, "deny listed"),
        ("library/evil", None, "deny listed"),
        ("foo/pushed", None, "allow push"),
        ("mycompany/app", None, "allow push"),
        ("prom/prometheus", None, "allow allow"),
        ("testcontainers/ryuk", UNBADGED, "allow allow"),
        ("moby/buildkit", None, "allow allow"),
        ("library/nginx", None, "allow official"),
        ("bitnami/redis", None, "allow verified-publisher"),
        ("bitnami/redis", UNBADGED, "allow verified-publisher"),
        ("grafana/grafana", None, "deny sponsored-oss"),
        ("grafana/grafana", VERIFIED, "deny sponsored-oss"),
        ("elastic/elasticsearch", VERIFIED, "allow verified-publisher"),
        ("elastic/elasticsearch", SPONSORED, "deny sponsored-oss"),
        ("elastic/elasticsearch", UNBADGED, "deny community"),
        ("elastic/elasticsearch", None, "needs badge"),
        ("nginx", None, "deny community"),
        ("libraryx/nginx", UNBADGED, "deny community"),
    ] {
        assert_eq!(pull(&snapshot, name, badge), verdict, "{name} {badge:?}");
    }
}

#[test]
fn a_push_needs_the_push_list_and_nothing_but_a_deny_stops_it_there() {
    let snapshot = snapshot(&format!("{HUB}{IAM}"));
    for (name, verdict) in [
        ("mycompany/app", "allow push"),
        ("foo/pushed", "allow push"),
        ("mycompany/secret", "deny listed"),
        ("library/nginx", "deny push"),
        ("prom/prometheus", "deny push"),
        ("foo/bar", "deny push"),
    ] {
        assert_eq!(hub_verdict(&snapshot, "10.0.0.1", name, Access::Push, None), verdict, "{name}");
    }
}

#[test]
fn an_exempt_client_may_do_everything() {
    let snapshot = snapshot(&format!("{HUB}{IAM}"));
    for client in ["10.0.9.1", "::ffff:10.0.9.15"] {
        for access in [Access::Pull, Access::Push] {
            assert_eq!(hub_verdict(&snapshot, client, "mycompany/secret", access, None), "allow exempt");
        }
        assert_eq!(
            told(rules(&snapshot, "registry-1.docker.io", client).judge_listing(Listing::Catalog)),
            "allow exempt"
        );
    }
    assert_eq!(hub_verdict(&snapshot, "10.0.9.16", "mycompany/secret", Access::Pull, None), "deny listed");
}

#[test]
fn what_is_not_written_is_denied() {
    let snapshot = snapshot(&format!("{HUB}[[images]]\nregistry = \"docker-hub\"\n"));
    for (name, verdict) in [("library/nginx", "deny official"), ("foo/bar", "deny community")] {
        assert_eq!(pull(&snapshot, name, None), verdict, "no badge would change it");
    }
    let rules = rules(&snapshot, "registry-1.docker.io", "10.0.0.1");
    assert_eq!(told(rules.judge_listing(Listing::Catalog)), "deny catalog");
    assert_eq!(told(rules.judge_listing(Listing::Search)), "deny search");
}

#[test]
fn lists_of_repositories_may_be_had_where_the_table_says() {
    let text = "[[images]]\nregistry = \"docker-hub\"\ncatalog = \"allow\"\nsearch = \"allow\"\n";
    let snapshot = snapshot(&format!("{HUB}{text}"));
    let rules = rules(&snapshot, "registry-1.docker.io", "10.0.0.1");
    assert_eq!(told(rules.judge_listing(Listing::Catalog)), "allow catalog");
    assert_eq!(told(rules.judge_listing(Listing::Search)), "allow search");
}

#[test]
fn a_badge_is_asked_for_only_where_it_decides() {
    let categories = |verified: &str, sponsored: &str, community: &str, more: &str| {
        let text = format!(
            "{HUB}[[images]]\nregistry = \"docker-hub\"\nverified-publishers = {verified:?}\nsponsored-oss = {sponsored:?}\ncommunity = {community:?}\n{more}"
        );
        let snapshot = snapshot(&text);
        let looks_up = rules(&snapshot, "registry-1.docker.io", "10.0.0.1").looks_up_badges();
        (pull(&snapshot, "foo/bar", None), looks_up)
    };
    assert_eq!(categories("allow", "deny", "deny", ""), ("needs badge".into(), true));
    assert_eq!(categories("deny", "allow", "deny", ""), ("needs badge".into(), true));
    assert_eq!(categories("allow", "allow", "allow", ""), ("allow community".into(), true));
    assert_eq!(categories("deny", "deny", "deny", ""), ("deny community".into(), true));
    assert_eq!(categories("allow", "allow", "deny", "badges = \"off\"\n"), ("deny community".into(), false));
}

#[test]
fn another_registry_has_lists_and_namespaces_and_no_categories() {
    let text = "[[images]]\nregistry = \"ghcr\"\nallow = [\"mycompany/**\"]\norganizations = [\"partner\"]\n";
    let snapshot = snapshot(&format!("{GHCR}{text}"));
    let rules = rules(&snapshot, "ghcr.io", "10.0.0.1");
    assert!(!rules.looks_up_badges());
    for (name, verdict) in [
        ("mycompany/a/b/c", "allow allow"),
        ("partner/x", "allow organization"),
        ("partner/x/y", "allow organization"),
        ("partner", "deny unlisted"),
        ("library/nginx", "deny unlisted"),
    ] {
        let repository = name.parse().unwrap();
        assert_eq!(told(rules.judge(&repository, Access::Pull, None)), verdict, "{name}");
        assert_eq!(rules.category(&repository, None), None);
    }
}

#[test]
fn the_table_that_names_the_group_wins_and_a_group_without_one_has_no_images() {
    let groups = r#"
        [[group]]
        name = "ci"
        clients = ["10.1.0.0/16"]
        registries = ["docker-hub"]
        [[group]]
        name = "dev"
        clients = ["10.2.0.0/16"]
        registries = ["docker-hub"]
        inherits = "ci"
        [[images]]
        registry = "docker-hub"
        groups = ["ci"]
        allow = ["ci/tool"]
    "#;
    let everyone = "[[images]]\nregistry = \"docker-hub\"\nofficial = \"allow\"\n";
    let verdict = |text: &str, client: &str, name: &str| {
        hub_verdict(&snapshot(&format!("{HUB}{text}")), client, name, Access::Pull, None)
    };
    let both = format!("{groups}{everyone}");
    assert_eq!(verdict(&both, "10.1.0.1", "ci/tool"), "allow allow");
    assert_eq!(verdict(&both, "10.1.0.1", "library/nginx"), "deny official");
    assert_eq!(verdict(&both, "10.2.0.1", "library/nginx"), "allow official");
    assert_eq!(verdict(groups, "10.2.0.1", "library/nginx"), "deny no-images", "tables are not inherited");
}

#[test]
fn under_audit_every_denial_is_an_audit() {
    let grouped = "[[group]]\nname = \"ci\"\nclients = [\"10.0.0.0/8\"]\nregistries = [\"docker-hub\"]\n";
    let table = "[[images]]\nregistry = \"docker-hub\"\ndeny = [\"foo/evil\"]\n";
    for text in [
        format!("{HUB}{table}mode = \"audit\"\n"),
        format!("{HUB}{grouped}mode = \"audit\"\n{table}"),
        format!("{HUB}{grouped}mode = \"audit\"\n{table}mode = \"enforce\"\n"),
    ] {
        let snapshot = snapshot(&text);
        for (name, verdict) in [("foo/bar", "audit community"), ("foo/evil", "audit listed")] {
            assert_eq!(pull(&snapshot, name, None), verdict, "{text}");
        }
    }
    let audited = with_files(&[("p.toml", format!("version = 1\n{HUB}{table}"))], Mode::Audit);
    assert_eq!(pull(&audited, "foo/bar", None), "audit community");
}

#[test]
fn organizations_of_dockers_own_file_are_allowed_on_the_hub_alone() {
    let tables =
        format!("version = 1\n{HUB}{GHCR}[[images]]\nregistry = \"docker-hub\"\n[[images]]\nregistry = \"ghcr\"\n");
    let files = [("p.toml", tables), ("policy.d/registry.json", r#"{"allowedOrgs": ["MyCompany"]}"#.to_owned())];
    let snapshot = with_files(&files, Mode::Enforce);
    assert_eq!(pull(&snapshot, "mycompany/app", None), "allow organization");
    let name = "mycompany/app".parse().unwrap();
    let hub = rules(&snapshot, "registry-1.docker.io", "10.0.0.1").judge(&name, Access::Pull, None);
    assert_eq!(
        (hub.key().unwrap().to_string(), hub.key().unwrap().place().to_string()),
        ("allowedOrgs = \"mycompany\"".into(), "policy.d/registry.json:1:18".into())
    );
    assert_eq!(told(rules(&snapshot, "ghcr.io", "10.0.0.1").judge(&name, Access::Pull, None)), "deny unlisted");
}

#[test]
fn a_verdict_says_why_and_where_that_is_written() {
    let snapshot = snapshot(&format!("{HUB}{IAM}"));
    let rules = rules(&snapshot, "registry-1.docker.io", "10.0.0.1");
    let denial = |name: &str, access, badge| {
        let repository = name.parse().unwrap();
        let ImageVerdict::Deny(denial) = rules.judge(&repository, access, badge) else {
            panic!("{name} is not denied")
        };
        (denial.to_string(), denial.key().unwrap().to_string(), denial.place().unwrap().line)
    };
    let fact = |reason: &str, key: &str, line| (reason.to_owned(), key.to_owned(), line);
    assert_eq!(
        denial("foo/bar", Access::Pull, UNBADGED),
        fact("community images not allowed", "community = \"deny\"", 11)
    );
    assert_eq!(
        denial("prom/experimental-x", Access::Pull, None),
        fact("prom/experimental-x is denied", "deny = \"prom/experimental-*\"", 15)
    );
    assert_eq!(
        denial("foo/bar", Access::Push, None),
        fact("push to foo/bar not allowed", "[[images]] of docker-hub", 6)
    );
    let repository = "moby/buildkit".parse().unwrap();
    let ImageVerdict::Allow(permit) = rules.judge(&repository, Access::Pull, None) else { panic!("denied") };
    assert_eq!(
        (permit.to_string(), permit.key().to_string(), permit.place().unwrap().line),
        ("the repository is allowed".into(), "allow = \"@build-tools\"".into(), 14)
    );
    assert_eq!(rules.registry(), "docker-hub");
}

#[test]
fn the_category_is_told_as_far_as_it_is_known() {
    let snapshot = snapshot(&format!("{HUB}{IAM}"));
    let rules = rules(&snapshot, "registry-1.docker.io", "10.0.0.1");
    for (name, badge, category) in [
        ("library/nginx", None, Some(Category::Official)),
        ("bitnami/redis", None, Some(Category::VerifiedPublisher)),
        ("foo/bar", SPONSORED, Some(Category::SponsoredOss)),
        ("foo/bar", UNBADGED, Some(Category::Community)),
        ("foo/bar", None, None),
    ] {
        assert_eq!(rules.category(&name.parse().unwrap(), badge), category, "{name}");
    }
}

#[test]
fn a_rule_of_another_snapshot_allows_no_image() {
    let (old, new) = (snapshot(&format!("{HUB}{IAM}")), snapshot(&format!("{HUB}{IAM}")));
    let name: crate::name::DomainName = "registry-1.docker.io".parse().unwrap();
    let Verdict::Allow(Permit::Rule(rule)) = old.judge_as(None, name.as_name()).verdict else { panic!() };
    let repository = "library/nginx".parse().unwrap();
    let verdict = new.image_rules(rule, None, Some("10.0.0.1".parse().unwrap())).judge(&repository, Access::Pull, None);
    assert_eq!(told(verdict), "deny no-images");
}

// ── the naive twin ──

/// A table as a few lists, and the rows of the module comment as they are written there.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "as many as the table has")]
struct Naive {
    official: bool,
    verified: bool,
    sponsored: bool,
    community: bool,
    organizations: Vec<String>,
    allow: Vec<String>,
    deny: Vec<String>,
    push: Vec<String>,
    publishers: Vec<String>,
    lookup: bool,
    audit: bool,
}

impl Naive {
    fn text(&self) -> String {
        let word = |allowed| if allowed { "allow" } else { "deny" };
        let (badges, mode) = (if self.lookup { "lookup" } else { "off" }, if self.audit { "audit" } else { "enforce" });
        format!(
            "{HUB}[[images]]\nregistry = \"docker-hub\"\nofficial = {:?}\nverified-publishers = {:?}\nsponsored-oss = {:?}\n\
             community = {:?}\norganizations = {:?}\nallow = {:?}\ndeny = {:?}\npush = {:?}\n\
             publishers = {{ verified = {:?} }}\nbadges = {badges:?}\nmode = {mode:?}\n",
            word(self.official),
            word(self.verified),
            word(self.sponsored),
            word(self.community),
            self.organizations,
            self.allow,
            self.deny,
            self.push,
            self.publishers
        )
    }

    fn judge(&self, name: &str, access: Access, badge: Option<Badge>) -> &'static str {
        let on = |list: &[String]| {
            let repository: Repository = name.parse().unwrap();
            list.iter().any(|pattern| RepositoryPattern::parse(pattern).unwrap().matches(&repository))
        };
        let namespace = name.split('/').next().unwrap();
        let allowed = if on(&self.deny) {
            false
        } else if on(&self.push) {
            true
        } else if access == Access::Push {
            false
        } else if on(&self.allow) || self.organizations.iter().any(|own| own == namespace) {
            true
        } else if namespace == "library" {
            self.official
        } else {
            let badge = match badge {
                _ if self.publishers.iter().any(|own| own == namespace) => Some(Badge::VerifiedPublisher),
                _ if !self.lookup => Some(Badge::Unbadged),
                badge => badge,
            };
            match badge {
                Some(Badge::VerifiedPublisher) => self.verified,
                Some(Badge::SponsoredOss) => self.sponsored,
                Some(Badge::Unbadged) => self.community,
                None if self.verified == self.community && self.sponsored == self.community => self.community,
                None => return "needs badge",
            }
        };
        match (allowed, self.audit) {
            (true, _) => "allow",
            (false, true) => "audit",
            (false, false) => "deny",
        }
    }
}

fn naive() -> impl Strategy<Value = Naive> {
    let patterns = || {
        let pattern = prop::sample::select(vec!["a/x", "a/*", "b/**", "*/y", "library/*", "**", "a/x*"]);
        prop::collection::vec(pattern.prop_map(str::to_owned), 0..3)
    };
    let names = || prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned), 0..2);
    let lists = (patterns(), patterns(), patterns(), names(), names());
    let (flags, more) = (any::<[bool; 4]>(), any::<[bool; 2]>());
    (flags, more, lists).prop_map(|(flags, more, (allow, deny, push, organizations, publishers))| {
        let [official, verified, sponsored, community] = flags;
        let [lookup, audit] = more;
        Naive { official, verified, sponsored, community, organizations, allow, deny, push, publishers, lookup, audit }
    })
}

proptest! {
    #[test]
    fn images_are_judged_as_the_rows_say(
        naive in naive(),
        name in "(library|a|b|c|d)/(x|y|xx)",
        access in prop::sample::select(vec![Access::Pull, Access::Push]),
        badge in prop::sample::select(vec![None, VERIFIED, SPONSORED, UNBADGED]),
    ) {
        let snapshot = snapshot(&naive.text());
        let told = hub_verdict(&snapshot, "10.0.0.1", &name, access, badge);
        let word = if told == "needs badge" { told.as_str() } else { told.split(' ').next().unwrap() };
        prop_assert_eq!(word, naive.judge(&name, access, badge), "{}", told);
    }
}
