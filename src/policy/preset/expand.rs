//! From a preset and what a policy asks of it to the patterns that are allowed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Confidence, Form, Placeholder, Preset, PresetHost, Purpose, UNCERTAIN};
use crate::policy::pattern::{Pattern, PatternFault};

/// What a policy entry gets from a preset.
#[derive(Debug)]
pub struct Expansion<'p> {
    /// Each pattern once, with the host it comes from, in the preset's order.
    pub hosts: Vec<(Pattern, &'p PresetHost)>,
    /// What the administrator should know.
    pub warnings: Vec<Warning>,
}

/// Why a preset cannot be used as written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What is wrong.
    pub subject: Subject,
    /// How it is wrong.
    pub message: String,
    /// What would do.
    pub hint: String,
}

/// Something that works, but perhaps not as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What it is about.
    pub subject: Subject,
    /// Of which kind.
    pub kind: WarningKind,
    /// What was seen.
    pub message: String,
    /// What would be better.
    pub hint: String,
}

/// The part of a policy entry that a fault or a warning is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `preset`.
    Preset,
    /// The word of `include` with this index.
    Include(usize),
    /// This key of `values`.
    Key(String),
    /// The value with this index under this key of `values`.
    Value(String, usize),
}

/// The kinds of warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarningKind {
    /// The hosts that a pull needs are not known well enough to be on.
    Uncertain,
    /// A host that is on can be somebody else's (`accept-shared-suffix` silences it).
    SharedSuffix,
    /// Nothing came of something that was asked for.
    NoEffect,
}

impl Preset {
    /// The patterns of this preset for `include` and `values` as a policy gives them; several values under one key
    /// multiply. Faults are all reported at once.
    ///
    /// # Errors
    /// An unknown word or key, a value that does not fit, a value that is needed and missing.
    pub fn expand<'p>(
        &'p self,
        include: &[&str],
        values: &BTreeMap<&str, Vec<&str>>,
    ) -> Result<Expansion<'p>, Vec<Fault>> {
        let mut faults = Vec::new();
        let include = self.read_include(include, &mut faults);
        let values = self.read_values(values, &mut faults);
        if !faults.is_empty() {
            return Err(faults);
        }
        let on: Vec<&PresetHost> = self.hosts.iter().filter(|host| self.is_on(host, &include, &values)).collect();
        let hosts = self.patterns(&on, &values)?;
        Ok(Expansion { hosts, warnings: self.warnings(&on, &include, &values) })
    }

    fn read_include(&self, words: &[&str], faults: &mut Vec<Fault>) -> Include {
        let mut include = Include::default();
        for (index, word) in words.iter().enumerate() {
            if *word == UNCERTAIN {
                include.uncertain = Some(index);
            } else if let Some(purpose) = Purpose::ALL.into_iter().find(|purpose| purpose.word() == *word) {
                include.purposes.push((index, purpose));
            } else {
                faults.push(self.unknown_word(index, word));
            }
        }
        include
    }

    fn read_values<'v>(&'v self, written: &BTreeMap<&str, Vec<&str>>, faults: &mut Vec<Fault>) -> Values<'v> {
        for key in written.keys().filter(|key| self.placeholders.iter().all(|known| known.name != **key)) {
            faults.push(self.unknown_key(key));
        }
        let mut values = Values::new();
        for placeholder in &self.placeholders {
            match written.get(placeholder.name.as_str()).map(Vec::as_slice) {
                Some([]) => faults.push(self.without_value(placeholder, Subject::Key(placeholder.name.clone()))),
                Some(texts) => {
                    values.insert(&placeholder.name, placeholder.accept(texts, faults));
                }
                None if placeholder.optional => {}
                None => faults.push(self.without_value(placeholder, Subject::Preset)),
            }
        }
        values
    }

    /// The table of the module comment.
    fn is_on(&self, host: &PresetHost, include: &Include, values: &Values<'_>) -> bool {
        let uncertain = host.confidence == Confidence::Uncertain;
        let filled = host.placeholders().all(|placeholder| values.contains_key(placeholder));
        let by_purpose = include.purposes.iter().any(|(_, purpose)| host.purposes.contains(purpose));
        // "uncertain" is a broad word: what lets strangers in has to be asked for by its purpose as well
        let by_word = uncertain && !host.is_shared();
        filled
            && (!uncertain || include.uncertain.is_some())
            && (host.required || by_purpose || by_word || self.has_optional_placeholder(host))
    }

    fn patterns<'p>(
        &'p self,
        on: &[&'p PresetHost],
        values: &Values<'_>,
    ) -> Result<Vec<(Pattern, &'p PresetHost)>, Vec<Fault>> {
        let mut known = BTreeSet::new();
        let mut patterns = Vec::new();
        let mut faults = Vec::new();
        for &host in on {
            for name in fill(host, values) {
                match Pattern::parse(&name) {
                    Ok(pattern) if known.insert(pattern.clone()) => patterns.push((pattern, host)),
                    Ok(_) => {}
                    Err(fault) => faults.push(self.not_a_name(&name, &fault)),
                }
            }
        }
        if faults.is_empty() { Ok(patterns) } else { Err(faults) }
    }

    fn warnings(&self, on: &[&PresetHost], include: &Include, values: &Values<'_>) -> Vec<Warning> {
        let mut warnings = Vec::new();
        warnings.extend(self.warn_of_uncertain(include));
        warnings.extend(on.iter().filter(|host| host.is_shared() && !host.required).map(|host| warn_of_shared(host)));
        warnings.extend(self.warn_of_idle_words(include));
        warnings.extend(self.warn_of_idle_values(on, values));
        if on.is_empty() && warnings.is_empty() {
            warnings.push(self.warn_of_nothing());
        }
        warnings
    }

    fn warn_of_uncertain(&self, include: &Include) -> Option<Warning> {
        let mut required = self.hosts.iter().filter(|host| host.required).peekable();
        required.peek()?;
        if required.any(|host| host.confidence != Confidence::Uncertain) {
            return None;
        }
        let hint = if include.uncertain.is_some() {
            "check with a real pull, and write the hosts it shows under `hosts` instead"
        } else {
            "they are off; check with a real pull, or turn them on with `include = [\"uncertain\"]`"
        };
        Some(Warning {
            subject: Subject::Preset,
            kind: WarningKind::Uncertain,
            message: format!("every host that a pull from `{}` needs is marked uncertain", self.id),
            hint: hint.to_owned(),
        })
    }

    /// A word of `include` that is about no host of this preset.
    fn warn_of_idle_words(&self, include: &Include) -> impl Iterator<Item = Warning> {
        let known = self.optional_purposes();
        let purposes = include.purposes.iter().filter(move |(_, purpose)| !known.contains(purpose));
        let purposes = purposes.map(|(index, purpose)| (*index, purpose.word()));
        let uncertain = include.uncertain.filter(|_| !self.has_uncertain_hosts()).map(|index| (index, UNCERTAIN));
        purposes.chain(uncertain).map(|(index, word)| Warning {
            subject: Subject::Include(index),
            kind: WarningKind::NoEffect,
            message: format!("preset `{}` has no optional `{word}` hosts", self.id),
            hint: format!("it has {}", self.words()),
        })
    }

    fn has_uncertain_hosts(&self) -> bool {
        self.hosts.iter().any(|host| host.confidence == Confidence::Uncertain)
    }

    /// A value that is in no host that is on.
    fn warn_of_idle_values(&self, on: &[&PresetHost], values: &Values<'_>) -> impl Iterator<Item = Warning> {
        let used: BTreeSet<&str> = on.iter().flat_map(|host| host.placeholders()).collect();
        let idle = values.keys().filter(move |key| !used.contains(**key));
        idle.map(|key| Warning {
            subject: Subject::Key((*key).to_owned()),
            kind: WarningKind::NoEffect,
            message: format!("no host that is on has `<{key}>` in its name"),
            hint: self.what_would_use(key, values),
        })
    }

    fn what_would_use(&self, key: &str, values: &Values<'_>) -> String {
        let Some(host) = self.hosts.iter().find(|host| host.placeholders().any(|name| name == key)) else {
            return "leave it out".to_owned();
        };
        let missing: Vec<String> =
            host.placeholders().filter(|name| !values.contains_key(name)).map(|name| format!("`{name}`")).collect();
        if missing.is_empty() {
            format!("`{}` is marked uncertain: `include = [\"uncertain\"]` turns it on", host.name)
        } else {
            format!("`{}` also needs {}", host.name, missing.join(" and "))
        }
    }

    fn warn_of_nothing(&self) -> Warning {
        Warning {
            subject: Subject::Preset,
            kind: WarningKind::NoEffect,
            message: format!("every host of preset `{}` is optional, and none is on", self.id),
            hint: format!("choose with `include`: it has {}", self.words()),
        }
    }

    fn unknown_word(&self, index: usize, word: &str) -> Fault {
        Fault {
            subject: Subject::Include(index),
            message: format!("unknown word `{word}` in `include`"),
            hint: format!("preset `{}` has {}", self.id, self.words()),
        }
    }

    fn unknown_key(&self, key: &str) -> Fault {
        let names: Vec<String> = self.placeholders.iter().map(|known| format!("`{}`", known.name)).collect();
        let hint = if names.is_empty() { "it takes none".to_owned() } else { format!("it takes {}", names.join(", ")) };
        Fault {
            subject: Subject::Key(key.to_owned()),
            message: format!("preset `{}` has no value `{key}`", self.id),
            hint,
        }
    }

    fn without_value(&self, placeholder: &Placeholder, subject: Subject) -> Fault {
        Fault {
            subject,
            message: format!(
                "preset `{}` needs the value `{}`: {}",
                self.id, placeholder.name, placeholder.description
            ),
            hint: format!("write for instance `{}`", self.values_example()),
        }
    }

    fn not_a_name(&self, name: &str, why: &PatternFault) -> Fault {
        Fault {
            subject: Subject::Preset,
            message: format!("the values make `{name}`: {why}"),
            hint: format!("write for instance `{}`", self.values_example()),
        }
    }

    /// What `include` may hold here, for hints.
    fn words(&self) -> String {
        let mut words: Vec<String> = self.optional_purposes().iter().map(|purpose| format!("`{purpose}`")).collect();
        if self.has_uncertain_hosts() {
            words.push(format!("`{UNCERTAIN}`"));
        }
        if words.is_empty() { "nothing optional".to_owned() } else { words.join(", ") }
    }
}

impl Placeholder {
    /// The values in lower case; those that do not fit are faults.
    fn accept(&self, texts: &[&str], faults: &mut Vec<Fault>) -> Vec<String> {
        for (index, text) in texts.iter().enumerate() {
            if let Err(Misfit { why, hint }) = self.fit(text) {
                let subject = Subject::Value(self.name.clone(), index);
                faults.push(Fault { subject, message: format!("`{}` {why}", self.name), hint });
            }
        }
        texts.iter().map(|text| text.to_ascii_lowercase()).collect()
    }

    /// Whether `text` may stand in for this placeholder.
    fn fit(&self, text: &str) -> Result<(), Misfit> {
        if text.contains('*') {
            let hint = format!("list the values: {} = [\"…\", \"…\"]", self.name);
            return Err(Misfit { why: "cannot be a wildcard, which would let strangers in".to_owned(), hint });
        }
        match self.form {
            Form::Digits => self.fit_bytes(text, |byte| byte.is_ascii_digit()),
            Form::Label => self.fit_bytes(text, |byte| byte.is_ascii_alphanumeric() || byte == b'-'),
            Form::Host => self.fit_host(text),
        }
    }

    fn fit_bytes(&self, text: &str, allowed: impl Fn(u8) -> bool) -> Result<(), Misfit> {
        let long_enough = self.length.map_or(!text.is_empty(), |length| text.len() == length);
        if long_enough && text.bytes().all(allowed) { Ok(()) } else { Err(self.misfit(text)) }
    }

    fn fit_host(&self, text: &str) -> Result<(), Misfit> {
        match Pattern::parse(text) {
            Ok(pattern) if pattern.exact().is_some() => Ok(()),
            Ok(_) => Err(self.misfit(text)),
            Err(fault) => Err(Misfit { why: format!("is a host name, and {}", fault.message), hint: fault.hint }),
        }
    }

    fn misfit(&self, text: &str) -> Misfit {
        let hint = format!("it is {}, such as `{}`", self.description, self.example);
        Misfit { why: format!("cannot be `{text}`"), hint }
    }
}

/// Why a text does not fit a placeholder, and what would.
struct Misfit {
    /// To be read after the placeholder's name.
    why: String,
    hint: String,
}

/// What `include` asks for.
#[derive(Default)]
struct Include {
    /// Purposes, each with its index in the policy's list.
    purposes: Vec<(usize, Purpose)>,
    /// The index of `uncertain`, if it is there.
    uncertain: Option<usize>,
}

/// The values of each placeholder that has some.
type Values<'v> = BTreeMap<&'v str, Vec<String>>;

/// The names that a host's template stands for.
fn fill(host: &PresetHost, values: &Values<'_>) -> Vec<String> {
    let mut names = vec![host.name.clone()];
    for placeholder in host.placeholders().collect::<BTreeSet<_>>() {
        let slot = format!("<{placeholder}>");
        let given = values.get(placeholder).map(Vec::as_slice).unwrap_or_default();
        names = names.iter().flat_map(|name| given.iter().map(|value| name.replace(&slot, value))).collect();
    }
    names
}

fn warn_of_shared(host: &PresetHost) -> Warning {
    let suffix = host.shared_suffix.as_deref().unwrap_or_default();
    Warning {
        subject: Subject::Preset,
        kind: WarningKind::SharedSuffix,
        message: format!("`{}` lets in what anybody puts on {suffix}", host.name),
        hint: "allow the exact host that a real pull shows, under `redirects`".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{catalogue, find};
    use super::*;
    use proptest::prelude::*;

    /// The names that preset `id` stands for; the faults' messages with their hints if there are some.
    fn names(id: &str, include: &[&str], values: &[(&str, &[&str])]) -> Result<Vec<String>, Vec<String>> {
        let values = values.iter().map(|(key, texts)| (*key, texts.to_vec())).collect();
        match find(id).unwrap().expand(include, &values) {
            Ok(expansion) => Ok(expansion.hosts.iter().map(|(pattern, _)| pattern.to_string()).collect()),
            Err(faults) => Err(faults.iter().map(|fault| format!("{fault} ({})", fault.hint)).collect()),
        }
    }

    fn warnings(id: &str, include: &[&str], values: &[(&str, &[&str])]) -> Vec<Warning> {
        let values = values.iter().map(|(key, texts)| (*key, texts.to_vec())).collect();
        find(id).unwrap().expand(include, &values).unwrap().warnings
    }

    fn kinds(warnings: &[Warning]) -> Vec<WarningKind> {
        warnings.iter().map(|warning| warning.kind).collect()
    }

    #[test]
    fn docker_hub_is_its_minimal_pull_set() {
        assert_eq!(
            names("docker-hub", &[], &[]).unwrap(),
            [
                "registry-1.docker.io",
                "auth.docker.io",
                "production.cloudfront.docker.com",
                "production.cloudflare.docker.com",
                "docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com",
            ]
        );
    }

    #[test]
    fn include_adds_hosts_by_purpose() {
        let web = names("docker-hub", &["web"], &[]).unwrap();
        assert!(web.contains(&"hub.docker.com".to_owned()) && web.contains(&"registry-1.docker.io".to_owned()));
        assert!(!web.contains(&"login.docker.com".to_owned()));
        assert_eq!(names("docker-hub", &["signing"], &[]).unwrap().last().unwrap(), "notary.docker.io");
    }

    #[test]
    fn uncertain_hosts_are_off_until_asked_for() {
        assert!(!names("docker-hub", &["api"], &[]).unwrap().contains(&"docker.io".to_owned()));
        assert!(names("docker-hub", &["uncertain"], &[]).unwrap().contains(&"docker.io".to_owned()));
        assert_eq!(names("docker-hardened-images", &[], &[]).unwrap(), ["dhi.io"]);
        assert!(
            names("dhi", &["uncertain"], &[]).unwrap().contains(&"production.cloudfront.docker.com".to_owned()),
            "a required host that is uncertain needs no other word"
        );
    }

    #[test]
    fn an_unsafe_wildcard_needs_both_words_and_warns() {
        let subdomain: &[(&str, &[&str])] = &[("subdomain", &["octocorp"])];
        let open = "*.githubusercontent.com".to_owned();
        assert!(!names("ghe-com", &["uncertain"], subdomain).unwrap().contains(&open));
        assert!(!names("ghe-com", &["blob"], subdomain).unwrap().contains(&open));
        assert!(names("ghe-com", &["blob", "uncertain"], subdomain).unwrap().contains(&open));
        let both = warnings("ghe-com", &["blob", "uncertain"], subdomain);
        assert_eq!(kinds(&both), [WarningKind::SharedSuffix, WarningKind::SharedSuffix]);
    }

    #[test]
    fn ecr_is_exact_for_each_account_and_region() {
        let values: &[(&str, &[&str])] = &[("account", &["123456789012"]), ("region", &["eu-west-1", "us-east-1"])];
        let expected = [
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com",
            "prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com",
            "prod-us-east-1-starport-layer-bucket.s3.us-east-1.amazonaws.com",
        ];
        assert_eq!(names("ecr-private", &[], values).unwrap(), expected);
        assert_eq!(names("ecr", &[], values).unwrap(), expected, "by its alias");
        let four: &[(&str, &[&str])] =
            &[("account", &["123456789012", "210987654321"]), ("region", &["eu-west-1", "us-east-1"])];
        assert_eq!(names("ecr", &[], four).unwrap().len(), 4 + 2);
    }

    #[test]
    fn a_missing_value_is_named_and_an_example_shown() {
        let faults = names("ecr-private", &[], &[("region", &["eu-west-1"])]).unwrap_err();
        assert_eq!(
            faults,
            ["preset `ecr-private` needs the value `account`: the 12-digit number of the AWS account that owns the \
              registry (write for instance `values = { account = \"123456789012\", region = \"eu-west-1\" }`)"]
        );
        assert_eq!(names("ecr-private", &[], &[]).unwrap_err().len(), 2, "both at once");
        assert_eq!(names("acr", &[], &[("registry", &[]), ("region", &["westeurope"])]).unwrap_err().len(), 1);
    }

    #[test]
    fn a_value_cannot_widen_its_name() {
        for account in
            ["*", "1*", "12345678901", "1234567890123", "12345678901a", "1.dkr", "", "１２３４５６７８９０１２"]
        {
            assert!(names("ecr", &[], &[("account", &[account]), ("region", &["eu-west-1"])]).is_err(), "{account}");
        }
        for registry in ["*", "a.b", "*.azurecr.io", "a b", "a_b", "<region>", "", "corp.azurecr.io"] {
            assert!(
                names("acr", &[], &[("registry", &[registry]), ("region", &["westeurope"])]).is_err(),
                "{registry}"
            );
        }
        for host in ["*.corp.example", ".corp.example", "*", "https://nexus.corp.example", "10.0.0.1", "nexus:8443"] {
            assert!(names("nexus", &[], &[("nexus-host", &[host])]).is_err(), "{host}");
        }
    }

    #[test]
    fn a_value_that_makes_no_name_is_a_fault() {
        let long = "a".repeat(63);
        let faults = names("ecr", &[], &[("account", &["123456789012"]), ("region", &[&long])]).unwrap_err();
        assert!(faults[0].starts_with("the values make `prod-aaa"), "{faults:?}");
    }

    #[test]
    fn a_wrong_value_says_what_would_do() {
        let faults = names("nexus", &[], &[("nexus-host", &["nexus.corp.example:8443"])]).unwrap_err();
        assert!(faults[0].contains("nexus.corp.example"), "{faults:?}");
        let faults = names("acr", &[], &[("registry", &["*"]), ("region", &["westeurope"])]).unwrap_err();
        assert_eq!(
            faults,
            [
                "`registry` cannot be a wildcard, which would let strangers in (list the values: registry = [\"…\", \"…\"])"
            ]
        );
    }

    #[test]
    fn unknown_words_and_keys_are_faults_that_list_the_known_ones() {
        assert_eq!(
            names("ghcr", &["webb"], &[("region", &["x"])]).unwrap_err(),
            [
                "unknown word `webb` in `include` (preset `ghcr` has `api`, `auth`, `web`)",
                "preset `ghcr` has no value `region` (it takes none)"
            ]
        );
    }

    #[test]
    fn hosts_of_optional_values_are_on_when_the_value_is_given() {
        let host: (&str, &[&str]) = ("harbor-host", &["harbor.corp.example"]);
        assert_eq!(names("harbor", &[], &[host]).unwrap(), ["harbor.corp.example"]);
        assert_eq!(
            names("harbor", &[], &[host, ("bucket", &["blobs"]), ("region", &["eu-west-1"])]).unwrap(),
            ["harbor.corp.example", "blobs.s3.eu-west-1.amazonaws.com"]
        );
        assert!(
            names("docker-hub", &[], &[("region", &["eu-west-1"])])
                .unwrap()
                .contains(&"docker-images-prod.s3.dualstack.eu-west-1.amazonaws.com".to_owned())
        );
        assert_eq!(names("tencent-tcr", &[], &[]).unwrap(), ["ccr.ccs.tencentyun.com"]);
    }

    #[test]
    fn a_value_without_effect_warns_and_says_what_it_waits_for() {
        let host: (&str, &[&str]) = ("harbor-host", &["harbor.corp.example"]);
        let found = warnings("harbor", &[], &[host, ("bucket", &["blobs"])]);
        assert_eq!(kinds(&found), [WarningKind::NoEffect]);
        assert_eq!(found[0].hint, "`<bucket>.s3.<region>.amazonaws.com` also needs `region`");
        let nexus = warnings("nexus", &[], &[("nexus-host", &["n.corp.example"]), ("storage-account", &["corp"])]);
        assert!(nexus[0].hint.contains("uncertain"), "{nexus:?}");
    }

    #[test]
    fn a_shared_host_warns_only_when_it_is_a_choice() {
        assert_eq!(kinds(&warnings("gitlab-com", &["blob"], &[])), [WarningKind::SharedSuffix]);
        assert!(warnings("scaleway", &[], &[("region", &["nl-ams"])]).is_empty());
        assert!(names("gitlab-com", &[], &[]).unwrap().iter().all(|name| name != "storage.googleapis.com"));
    }

    #[test]
    fn words_and_presets_that_add_nothing_warn() {
        assert_eq!(warnings("mcr", &["api", "signing"], &[])[0].subject, Subject::Include(1));
        assert_eq!(warnings("huggingface", &["auth"], &[])[0].hint, "it has `uncertain`");
        assert_eq!(warnings("mcr", &["uncertain"], &[])[0].message, "preset `mcr` has no optional `uncertain` hosts");
        assert_eq!(kinds(&warnings("docker-desktop", &[], &[])), [WarningKind::NoEffect]);
    }

    #[test]
    fn a_preset_of_which_nothing_is_certain_warns() {
        let mut preset = find("suse").unwrap().clone();
        for host in &mut preset.hosts {
            host.confidence = Confidence::Uncertain;
        }
        let expansion = preset.expand(&[], &BTreeMap::new()).unwrap();
        assert!(expansion.hosts.is_empty());
        assert_eq!(kinds(&expansion.warnings), [WarningKind::Uncertain]);
        let asked = preset.expand(&["uncertain"], &BTreeMap::new()).unwrap();
        assert_eq!(kinds(&asked.warnings), [WarningKind::Uncertain], "asked for or not");
    }

    #[test]
    fn kubernetes_needs_its_backends_and_has_a_bucket_for_london() {
        let default = names("registry-k8s-io", &[], &[]).unwrap();
        assert_eq!(default.len(), 22);
        assert!(default.contains(&"d1be1w964nk82h.cloudfront.net".to_owned()));
        assert!(default.contains(&"us-central1-docker.pkg.dev".to_owned()));
        let london = "767373bbdcb8270361b96548387bf2a9ad0d48758c35-eu-west-2.s3.dualstack.eu-west-2.amazonaws.com";
        let blobs = names("registry-k8s-io", &["blob"], &[]).unwrap();
        assert!(blobs.iter().any(|name| name == london));
        assert_eq!(blobs.len(), 22 + 32);
    }

    #[test]
    fn other_registries_are_what_their_pulls_were_seen_to_need() {
        assert_eq!(names("ghcr", &[], &[]).unwrap(), ["ghcr.io", "pkg-containers.githubusercontent.com"]);
        assert_eq!(names("mcr", &[], &[]).unwrap(), ["mcr.microsoft.com", "*.data.mcr.microsoft.com"]);
        assert_eq!(names("gar", &[], &[("location", &["europe"])]).unwrap(), ["europe-docker.pkg.dev"]);
        assert_eq!(
            names("acr", &[], &[("registry", &["Corp"]), ("region", &["westeurope"])]).unwrap(),
            ["corp.azurecr.io", "corp.westeurope.data.azurecr.io"]
        );
        assert_eq!(
            names("gitlab-com", &[], &[]).unwrap(),
            ["registry.gitlab.com", "gitlab.com", "cdn.registry.gitlab-static.net"]
        );
    }

    /// One example for every value of a preset.
    fn examples(preset: &Preset) -> BTreeMap<&str, Vec<&str>> {
        preset.placeholders.iter().map(|value| (value.name.as_str(), vec![value.example.as_str()])).collect()
    }

    #[test]
    fn every_preset_expands_with_its_own_examples_and_whatever_is_included() {
        let everything = ["api", "auth", "blob", "web", "signing", "uncertain"];
        for preset in catalogue() {
            let all = preset.expand(&everything, &examples(preset)).unwrap();
            assert_eq!(all.hosts.len(), preset.hosts.len(), "{}", preset.id);
        }
    }

    #[test]
    fn what_is_on_by_default_is_exact_or_a_wildcard_that_only_the_vendor_can_fill() {
        for preset in catalogue() {
            for (pattern, host) in preset.expand(&[], &examples(preset)).unwrap().hosts {
                let vendors_own = host.is_wildcard() && host.shared_suffix.is_none();
                assert!(pattern.exact().is_some() || vendors_own, "{}: {pattern}", preset.id);
            }
        }
    }

    proptest! {
        #[test]
        fn expanding_never_panics_and_a_label_value_never_makes_a_wildcard(
            index in 0..catalogue().len(),
            include in proptest::collection::vec("api|auth|blob|web|signing|uncertain|[a-z]{0,4}", 0..4),
            values in proptest::collection::vec("[a-z0-9.*<>-]{0,14}|[0-9]{12}|.{0,6}", 8),
        ) {
            let preset = &catalogue()[index];
            let include: Vec<&str> = include.iter().map(String::as_str).collect();
            let values = preset.placeholders.iter().zip(&values);
            let values = values.map(|(key, text)| (key.name.as_str(), vec![text.as_str()])).collect();
            if let Ok(expansion) = preset.expand(&include, &values) {
                for (pattern, host) in expansion.hosts {
                    prop_assert!(pattern.exact().is_some() || host.is_wildcard(), "{}", pattern);
                }
            }
        }
    }
}
