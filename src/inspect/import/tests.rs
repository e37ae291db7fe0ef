//! What is made of each kind of file, what is refused, and that no text brings the reader down.

use std::fmt::Write;
use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::policy::compile::{Options, load};

/// The policy that is drafted from one file, without its comments and empty lines.
fn policy(path: &str, text: &str) -> String {
    let imported = imported(&[(path, text)], &[]);
    code(&imported.draft.to_string())
}

fn imported(files: &[(&str, &str)], organizations: &[&str]) -> Imported {
    let sources: Vec<Source> = files.iter().map(|(path, text)| Source::new(path, *text)).collect();
    let organizations: Vec<String> = organizations.iter().map(|name| (*name).to_owned()).collect();
    import(&sources, None, &organizations).unwrap_or_else(|faults| panic!("{}", shown(&faults)))
}

fn faults(path: &str, text: &str) -> String {
    shown(&import(&[Source::new(path, text)], None, &[]).expect_err("a fault"))
}

fn shown(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().fold(String::new(), |mut text, diagnostic| {
        writeln!(text, "{diagnostic}").unwrap();
        text
    })
}

/// What a policy for a machine with a gateway is warned of, or refused for.
fn lint(policy: &str) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    let options = Options { has_gateway: true, ..Options::default() };
    load(vec![Source::new("a.toml", policy)], &options, SystemTime::UNIX_EPOCH).map(|compiled| compiled.warnings)
}

/// The lines of a policy without comments, runs of blanks as one.
fn code(policy: &str) -> String {
    let code = policy.lines().map(|line| line.split('#').next().unwrap_or_default());
    let words = code.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    words.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

const HUB_INSPECTED: &str = "version = 1\n[[registry]]\npreset = \"docker-hub\"\npath = \"inspect\"\n";

/// An `[[images]]` that was drafted, in a policy of Docker Hub alone.
fn images(mode: &str, [official, verified, sponsored, community]: [&str; 4], lists: [&str; 3]) -> String {
    let [organizations, allow, push] = lists.map(|items| {
        let items: Vec<String> = items.split_whitespace().map(|item| format!("\n\"{item}\",")).collect();
        if items.is_empty() { "[]".to_owned() } else { format!("[{}\n]", items.concat()) }
    });
    format!(
        "{HUB_INSPECTED}[[images]]\nregistry = \"docker-hub\"\nmode = \"{mode}\"\nofficial = \"{official}\"\n\
         verified-publishers = \"{verified}\"\nsponsored-oss = \"{sponsored}\"\ncommunity = \"{community}\"\n\
         organizations = {organizations}\nallow = {allow}\npush = {push}"
    )
}

#[test]
fn a_registry_json_names_organizations() {
    assert_eq!(
        policy("registry.json", r#"{"allowedOrgs": ["myorg", "other-org"]}"#),
        images("enforce", ["allow", "allow", "deny", "deny"], ["myorg other-org", "", "myorg/* other-org/*"])
    );
}

#[test]
fn settings_of_the_hub_say_which_categories_are_allowed_and_the_organization_comes_from_the_command_line() {
    let text = r#"{"restricted_images": {"enabled": true, "allow_official_images": true, "allow_verified_publishers": false}}"#;
    let imported = imported(&[("settings.json", text)], &["myorg"]);
    assert_eq!(
        code(&imported.draft.to_string()),
        images("enforce", ["allow", "deny", "deny", "deny"], ["myorg", "", "myorg/*"])
    );
    assert_eq!(shown(&imported.warnings), "");
}

#[test]
fn settings_without_an_organization_are_warned_of_since_its_images_would_be_denied() {
    let text =
        r#"{"restricted_images": {"enabled": true, "allow_official_images": true, "allow_verified_publishers": true}}"#;
    let warnings = shown(&imported(&[("settings.json", text)], &[]).warnings);
    assert!(
        warnings.contains("warning: whose settings these are") && warnings.contains("--organization"),
        "{warnings}"
    );
}

#[test]
fn what_is_off_at_docker_denies_nothing_here() {
    let text = r#"{"restricted_images": {"enabled": false, "allow_official_images": true, "allow_verified_publishers": true}}"#;
    let policy = imported(&[("settings.json", text)], &["myorg"]).draft.to_string();
    assert!(code(&policy).contains("mode = \"audit\""), "{policy}");
    assert!(policy.contains("# settings.json:1: Image Access Management is off"), "{policy}");
}

#[test]
fn registry_access_of_the_api_becomes_registries() {
    let text = r#"{"enabled": true, "standard_registries": [{"id": "DockerHub", "allowed": false}],
        "custom_registries": [{"address": "https://ghcr.io", "friendly_name": "GitHub", "allowed": true}]}"#;
    assert_eq!(policy("ram.json", text), "version = 1\n[[registry]]\npreset = \"ghcr\"");
}

const TERRAFORM: &str = r#"
locals {
  org = "my-organization"
}

resource "docker_org_setting_registry_access_management" "example" {
  org_name = local.org
  enabled  = true
  custom_registries = toset([
    { address = "registry.example.com", friendly_name = "Example Registry", allowed = true },
    { address = "another-registry.example.com", friendly_name = "Another Registry", allowed = false },
    { address = "https://123456789012.dkr.ecr.eu-west-1.amazonaws.com/", friendly_name = "AWS", allowed = true },
    { address = "contoso.azurecr.io:443", friendly_name = "Azure", allowed = true },
    { address = "auth.docker.io", friendly_name = "Tokens", allowed = true },
    { address = "10.1.2.3:5000", friendly_name = "Old", allowed = true },
  ])
  standard_registry_docker_hub = {
    allowed = true
  }
}

resource "docker_org_setting_image_access_management" "example" {
  org_name                  = docker_org_setting_registry_access_management.example.org_name
  enabled                   = true
  allow_official_images     = true
  allow_verified_publishers = var.verified
}

resource "docker_org_setting_namespace" "example" {
  org_name                       = local.org
  disable_public_repositories    = false
  disable_push_member_namespaces = true
  repository_allowlist_enabled   = true
}

resource "docker_org_setting_image_access_allowlist" "example" {
  org_name     = docker_org_setting_namespace.example.org_name
  repositories = ["prom/prometheus", "alpine"]
}
"#;

#[test]
fn a_terraform_configuration_becomes_a_policy_with_every_line_explained() {
    let imported = imported(&[("main.tf", TERRAFORM)], &[]);
    let policy = imported.draft.to_string();
    let expected = r#"
version = 1

# main.tf:18: Docker Hub
# main.tf:14: auth.docker.io (Tokens): one of the hosts of this preset
[[registry]]
preset = "docker-hub"
path   = "inspect"   # so that [[images]] decides; the settings need a [gateway]

# main.tf:12: https://123456789012.dkr.ecr.eu-west-1.amazonaws.com/ (AWS)
[[registry]]
preset = "ecr-private"
values = { account = "123456789012", region = "eu-west-1" }

# main.tf:10: registry.example.com (Example Registry)
# where it sends downloads is not known: `pullgate log` shows what is denied right after it; write those names as `redirects`
[[registry]]
name   = "example-registry"
hosts  = ["registry.example.com"]

# main.tf:13: contoso.azurecr.io:443 (Azure)
# its downloads come from other hosts, which the preset knows: preset = "acr", values = { registry = "contoso", region = "…" }
[[registry]]
name   = "azure"
hosts  = ["contoso.azurecr.io"]

# main.tf:32: members push to the organization only
[[images]]
registry            = "docker-hub"
mode                = "enforce"
official            = "allow"   # main.tf:25
verified-publishers = "deny"   # main.tf:26: `var.verified` is not known here
sponsored-oss       = "deny"   # community images to Docker
community           = "deny"
organizations       = [
    "my-organization",   # main.tf:23
]
allow               = [
    "prom/prometheus",   # main.tf:38
    "library/alpine",   # main.tf:38
]
push                = [
    "my-organization/*",   # main.tf:23
]
"#;
    assert!(policy.contains(expected.trim_start()), "{policy}");
    assert!(policy.contains("#   main.tf:11: another-registry.example.com: not allowed\n"), "{policy}");
    assert!(policy.contains("#   main.tf:15: 10.1.2.3:5000: an address, which no name leads to"), "{policy}");
    let warnings = shown(&imported.warnings);
    assert!(warnings.contains("main.tf:26:31: warning: `var.verified` is not known here"), "{warnings}");
    assert_eq!(imported.warnings.len(), 1, "{warnings}");
    let lint = lint(&policy).unwrap_or_else(|faults| panic!("{}", shown(&faults)));
    assert!(lint.iter().all(|warning| warning.message.contains("build")), "{}", shown(&lint));
}

#[test]
fn terraform_in_json_says_the_same() {
    let text = r#"{"resource": {"docker_org_setting_image_access_management": {"iam": [{
        "org_name": "myorg", "enabled": "true", "allow_official_images": true, "allow_verified_publishers": "${var.v}"}]},
        "docker_org_team": {"other": {"name": "x"}}}}"#;
    assert_eq!(
        policy("main.tf.json", text),
        images("enforce", ["allow", "deny", "deny", "deny"], ["myorg", "", "myorg/*"])
    );
}

#[test]
fn the_states_of_terraform_have_the_values() {
    let attributes = r#"{"id": "x", "org_name": "myorg", "enabled": true, "allow_official_images": false, "allow_verified_publishers": true}"#;
    let resource = r#""mode": "managed", "type": "docker_org_setting_image_access_management", "name": "iam""#;
    let shown = format!(
        r#"{{"format_version": "1.0", "values": {{"root_module": {{"child_modules": [{{"resources": [{{{resource}, "values": {attributes}}}]}}]}}}}}}"#
    );
    let plan = shown.replace("\"values\": {\"root_module\"", "\"planned_values\": {\"root_module\"");
    let state = format!(
        r#"{{"version": 4, "terraform_version": "1.9.0", "resources": [{{{resource}, "instances": [{{"attributes": {attributes}}}]}},
        {{"mode": "data", "type": "docker_org", "name": "o", "instances": []}}]}}"#
    );
    for text in [shown, plan, state] {
        assert_eq!(
            policy("state.json", &text),
            images("enforce", ["deny", "allow", "deny", "deny"], ["myorg", "", "myorg/*"]),
            "{text}"
        );
    }
}

#[test]
fn namespace_access_alone_restricts_pushes_and_no_pull() {
    let text = "resource \"docker_org_setting_namespace\" \"n\" {\n  org_name = \"myorg\"\n  \
                disable_push_member_namespaces = true\n}\n";
    assert_eq!(policy("n.tf", text), images("enforce", ["allow"; 4], ["myorg", "", "myorg/*"]));
}

#[test]
fn an_allowlist_that_is_off_allows_nothing() {
    let text = TERRAFORM.replace("repository_allowlist_enabled   = true", "repository_allowlist_enabled   = false");
    let policy = imported(&[("main.tf", &text)], &[]).draft.to_string();
    assert!(code(&policy).contains("allow = []"), "{policy}");
    assert!(policy.contains("#   main.tf:38: prom/prometheus: the allowlist is off"), "{policy}");
}

#[test]
fn settings_of_images_are_dropped_when_the_hub_may_not_be_reached() {
    let text = TERRAFORM.replace("allowed = true\n  }", "allowed = false\n  }");
    let imported = imported(&[("main.tf", &text)], &[]);
    let policy = code(&imported.draft.to_string());
    assert!(!policy.contains("docker-hub") && !policy.contains("[[images]]"), "{policy}");
    assert!(shown(&imported.warnings).contains("settings for images of Docker Hub, which may not be reached"));
}

#[test]
fn two_addresses_of_one_preset_with_other_values_are_two_registries() {
    let text = r#"{"enabled": true, "custom_registries": [
        {"address": "111111111111.dkr.ecr.eu-west-1.amazonaws.com", "allowed": true},
        {"address": "222222222222.dkr.ecr.us-east-1.amazonaws.com", "friendly_name": "", "allowed": true},
        {"address": "docker.io", "allowed": true}, {"address": "index.docker.io", "allowed": true}]}"#;
    let policy = policy("ram.json", text);
    assert!(policy.contains("preset = \"ecr-private\"\nname = \"ecr-private-2\"\nvalues"), "{policy}");
    assert!(policy.ends_with("preset = \"docker-hub\"\nhosts = [\"index.docker.io\"]"), "{policy}");
}

#[test]
fn several_files_are_one_policy_and_have_to_agree() {
    let settings =
        r#"{"restricted_images": {"enabled": true, "allow_official_images": true, "allow_verified_publishers": true}}"#;
    let both = imported(&[("registry.json", r#"{"allowedOrgs": ["myorg"]}"#), ("settings.json", settings)], &[]);
    assert_eq!(
        code(&both.draft.to_string()),
        images("enforce", ["allow", "allow", "deny", "deny"], ["myorg", "", "myorg/*"])
    );
    let other = settings.replace("\"enabled\": true", "\"enabled\": false");
    let sources = [Source::new("a.json", settings), Source::new("b.json", other)];
    let faults = shown(&import(&sources, None, &[]).expect_err("they differ"));
    assert!(faults.contains("b.json:1:23: other settings than those at a.json:1"), "{faults}");
}

#[test]
fn every_fault_is_told_with_its_place() {
    assert_eq!(
        faults("registry.json", "{\"allowedOrgs\": [\"My Org\", 7]}"),
        "registry.json:1:28: expected a string, found a number\n  1 | {\"allowedOrgs\": [\"My Org\", 7]}\n    |                            ^\n  hint: write a string\n"
    );
    for (path, text, wanted) in [
        ("r.json", r#"{"allowedOrgs": ["My Org"]}"#, "r.json:1:18: `My Org` is no name of an organization"),
        ("r.json", r#"{"allowedOrgs": "#, "r.json:1:17"),
        ("r.json", "", "r.json:1:1: an empty file"),
        ("r.json", r#"{"message": "access denied"}"#, "an error of Docker Hub"),
        ("r.json", r#"{"other": 1}"#, "not known what this file is"),
        (
            "s.json",
            r#"{"restricted_images": {"enabled": 1}}"#,
            "s.json:1:35: expected `true` or `false`, found a number",
        ),
        ("s.json", r#"{"restricted_images": {"enabled": true}}"#, "`allow_official_images` is missing"),
        ("a.tf", "resource {\n  a = \n}", "a.tf:2:"),
        ("a.tf", "variable \"x\" {}", "a.tf: nothing here says which images or registries may be used"),
        (
            "r.json",
            r#"{"enabled": true, "custom_registries": [{"address": "*.com", "allowed": true}]}"#,
            "r.json:1:53: ",
        ),
        (
            "r.json",
            r#"{"enabled": true, "custom_registries": [{"address": "a.example", "allowed": true}, {"address": "A.example", "allowed": false}]}"#,
            "`a.example` is allowed in one place and not in another",
        ),
    ] {
        let faults = faults(path, text);
        assert!(faults.contains(wanted), "{text}: {faults}");
    }
}

#[test]
fn what_a_count_of_zero_makes_is_not_there() {
    let text =
        "resource \"docker_org_setting_namespace\" \"n\" {\n  count = 0\n  disable_push_member_namespaces = true\n}";
    assert!(faults("n.tf", text).contains("nothing here says"));
}

#[test]
fn a_configuration_that_multiplies_itself_comes_to_an_end() {
    let mut text = String::from("locals {\n  a0 = [\"x\", \"x\"]\n");
    for number in 1..30 {
        let items = vec![format!("local.a{}", number - 1); 2000].join(", ");
        writeln!(text, "  a{number} = [{items}]").unwrap();
    }
    text.push_str("}\nresource \"docker_org_setting_image_access_allowlist\" \"l\" {\n  repositories = local.a29\n}\n");
    assert!(import(&[Source::new("a.tf", text)], None, &[]).is_err());
}

#[test]
fn names_that_hold_line_ends_stay_in_their_comments() {
    let text = r#"{"enabled": true, "custom_registries": [{"address": "a.example", "friendly_name": "x\n[[registry]]\u2028y", "allowed": true}]}"#;
    let drafted = imported(&[("a\nb.json", text)], &[]).draft.to_string();
    assert!(drafted.contains("# a\\nb.json:1: a.example (x\\n[[registry]]\\u{2028}y)"), "{drafted}");
    assert_eq!(code(&drafted), "version = 1\n[[registry]]\nname = \"x-registry-y\"\nhosts = [\"a.example\"]");
}

#[test]
fn a_registry_whose_name_has_no_letter_is_called_one() {
    let text = r#"{"enabled": true, "custom_registries": [{"address": "-", "friendly_name": "?", "allowed": true}]}"#;
    assert!(policy("a.json", text).ends_with("name = \"registry\"\nhosts = [\"-\"]"));
}

/// Texts that get far: words of the formats between arbitrary ones.
fn fragments() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("resource \"docker_org_setting_registry_access_management\" \"x\" {\n".to_owned()),
        Just("resource \"docker_org_setting_image_access_allowlist\" \"x\" {\n".to_owned()),
        Just("enabled = true\n".to_owned()),
        Just("custom_registries = [{address = \"a.example\", allowed = true}]\n".to_owned()),
        Just("standard_registry_docker_hub = {allowed = true}\n".to_owned()),
        Just("repositories = [\"a/b\", local.x, \"${x}\"]\n".to_owned()),
        Just("locals {\n x = local.x\n}\n".to_owned()),
        Just("}\n".to_owned()),
        Just(r#"{"allowedOrgs": ["#.to_owned()),
        Just(r#"{"resource": {"docker_org_setting_namespace": {"x": "#.to_owned()),
        Just(r#""custom_registries": [{"address": "ghcr.io", "allowed": true}], "#.to_owned()),
        Just(r#""enabled": true, "#.to_owned()),
        Just("]}".to_owned()),
        "\\PC{0,12}",
        "[\\[\\]{}\",:=$#<\\n]{1,4}",
    ];
    proptest::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_what_is_drafted_is_a_policy(text in fragments(), address in "\\PC{0,30}", called in "\\PC{0,12}") {
        let registry = serde_json::json!({"enabled": true, "standard_registries": [{"id": "DockerHub", "allowed": true}],
            "custom_registries": [{"address": address, "friendly_name": called, "allowed": true}]});
        for text in [text, registry.to_string()] {
            let sources = [Source::new("any", text)];
            for from in [None, Some(Kind::RegistryJson), Some(Kind::OrganizationSettings), Some(Kind::Terraform)] {
                match import(&sources, from, &[]) {
                    Ok(imported) => {
                        let policy = imported.draft.to_string();
                        prop_assert!(policy.parse::<toml::Table>().is_ok(), "{}", policy);
                        let faults = lint(&policy).err().unwrap_or_default();
                        let is_empty = imported.draft.registries.is_empty();
                        prop_assert!(is_empty || faults.is_empty(), "{}\n{}", policy, shown(&faults));
                        shown(&imported.warnings);
                    }
                    Err(faults) => prop_assert!(faults.iter().any(Diagnostic::is_fault)),
                }
            }
        }
    }
}
