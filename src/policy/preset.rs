//! Presets: the hosts that a registry's pulls need, shipped with the program, each with its source and date.
//!
//! The data is `config/presets/*.toml`, one file a preset, built into the binary. A host's name may be a template
//! (`<account>.dkr.ecr.<region>.amazonaws.com`): the policy entry that uses the preset gives the values. Which hosts
//! are on is decided in one place, [`Preset::expand`]:
//!
//! | a host that is | is on |
//! |---|---|
//! | required | always |
//! | optional | when `include` has one of its purposes, or when an optional placeholder of its name is given |
//! | marked uncertain | only with `include = ["uncertain"]`, whatever else it is |
//! | a template | only when every placeholder of its name has a value |
//!
//! Presets know nothing of policy files: faults say which key or value is wrong, and the caller finds its place.

mod catalogue;
mod expand;
mod recognize;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::catalogue::{catalogue, find, nearest};
pub use self::expand::{Expansion, Fault, Subject, Warning, WarningKind};
pub use self::recognize::{Recognized, recognize};

/// One registry, or one tool that registries are used with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Preset {
    /// What a policy calls it: `docker-hub`.
    pub id: String,
    /// Shorter ids that mean the same.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Its name for people.
    pub title: String,
    /// Where to read about it.
    pub homepage: String,
    /// Whether images are pulled from it.
    #[serde(default)]
    pub kind: Kind,
    /// How its customers are told apart; tools have none.
    pub tenancy: Option<Tenancy>,
    /// Whether the administrator runs it: its answers may hold private addresses.
    #[serde(default)]
    pub self_hosted: bool,
    /// The day the whole entry was last reviewed, as `YYYY-MM-DD`.
    pub checked: String,
    /// What a user should know before using it.
    #[serde(default)]
    pub note: String,
    /// Which wildcards are safe here, and which are not.
    #[serde(default)]
    pub wildcard: String,
    /// Images that anybody may pull, whose pulls show which hosts it needs today.
    #[serde(default)]
    pub probes: Vec<String>,
    /// What a policy must or may fill in.
    #[serde(default, rename(deserialize = "placeholder"))]
    pub placeholders: Vec<Placeholder>,
    /// The hosts, each name once.
    #[serde(rename(deserialize = "host"))]
    pub hosts: Vec<PresetHost>,
}

/// What a preset describes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A registry.
    #[default]
    Registry,
    /// A client, a login helper or a signing service: hosts beside those of a registry.
    Tool,
}

/// How customers of a registry are told apart, and so what an allowlist of names can separate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tenancy {
    /// Each has a host of its own: names can separate them.
    Host,
    /// All share the host and differ in the path: names cannot.
    Path,
    /// Only the vendor publishes there.
    Vendor,
}

/// A value that the policy gives for `<name>` in host names.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Placeholder {
    /// The key under `values`, and what stands between `<` and `>`.
    pub name: String,
    /// What it is, to be read after "the value is".
    pub description: String,
    /// A value that would be accepted.
    pub example: String,
    /// Which characters it may have.
    pub form: Form,
    /// How many characters it has exactly, if that is fixed.
    pub length: Option<usize>,
    /// Whether hosts that need it are left out, rather than the entry refused, when it is not given.
    #[serde(default)]
    pub optional: bool,
}

/// The characters of a placeholder's value. A dot or a `*` never fits but in a host name, so that no value can widen
/// the name it is put into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// `0` to `9`.
    Digits,
    /// Letters, digits and hyphens, as in one label.
    Label,
    /// A whole host name, without wildcard.
    Host,
}

/// One host of a preset.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PresetHost {
    /// Its name: exact, `*.below.example`, or a template with `<placeholders>`.
    pub name: String,
    /// What it is asked for.
    pub purposes: Vec<Purpose>,
    /// Whether an ordinary pull, with the token it needs, can fail without it.
    #[serde(default)]
    pub required: bool,
    /// How well it is known.
    pub confidence: Confidence,
    /// Who says so.
    pub source: String,
    /// When they said so: `YYYY`, `YYYY-MM` or `YYYY-MM-DD`; `None` when the source has no date.
    pub date: Option<String>,
    /// What else to know.
    #[serde(default)]
    pub note: String,
    /// The preset of the registry that runs it, when that is another than the one it is listed for.
    pub belongs_to: Option<String>,
    /// The suffix under which strangers can get names too (or, if it is the name itself, share the host).
    pub shared_suffix: Option<String>,
}

/// What a host is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Manifests and tags.
    Api,
    /// Tokens and logins.
    Auth,
    /// Layers, mostly by redirect.
    Blob,
    /// What people open in a browser.
    Web,
    /// Signatures and attestations.
    Signing,
}

/// How well a host is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// Not shown by any source that can be trusted; off unless asked for.
    Uncertain,
    /// On a third party's list.
    Community,
    /// Seen in a real pull.
    Measured,
    /// The vendor's own page or source code.
    Official,
}

impl Preset {
    /// The policy entry that uses it, with an example for every value it needs.
    pub fn example(&self) -> String {
        let mut entry = format!("[[registry]]\npreset = \"{}\"", self.id);
        if self.placeholders.iter().any(|placeholder| !placeholder.optional) {
            entry.push('\n');
            entry.push_str(&self.values_example());
        }
        entry
    }

    /// The purposes that turn a host on when `include` has them, and nothing but them.
    pub fn optional_purposes(&self) -> Vec<Purpose> {
        let certain = self.hosts.iter().filter(|host| host.confidence != Confidence::Uncertain);
        let optional = certain.filter(|host| !host.required && !self.has_optional_placeholder(host));
        let mut purposes: Vec<Purpose> = optional.flat_map(|host| host.purposes.iter().copied()).collect();
        purposes.sort_unstable();
        purposes.dedup();
        purposes
    }

    fn has_optional_placeholder(&self, host: &PresetHost) -> bool {
        let optional =
            |name| self.placeholders.iter().any(|placeholder| placeholder.optional && placeholder.name == name);
        host.placeholders().any(optional)
    }

    /// The `values` line: what must be given, or what may be if nothing must.
    fn values_example(&self) -> String {
        let optional = self.placeholders.iter().all(|placeholder| placeholder.optional);
        let shown = self.placeholders.iter().filter(|placeholder| placeholder.optional == optional);
        let values: Vec<String> = shown.map(|value| format!("{} = \"{}\"", value.name, value.example)).collect();
        format!("values = {{ {} }}", values.join(", "))
    }
}

impl PresetHost {
    /// Whether using the preset turns it on without being asked.
    pub fn is_default(&self) -> bool {
        self.required && self.confidence != Confidence::Uncertain
    }

    /// Whether allowing it lets strangers' names, or strangers' content on the same host, in.
    pub fn is_shared(&self) -> bool {
        self.shared_suffix.as_ref().is_some_and(|suffix| self.is_wildcard() || self.name == *suffix)
    }

    fn is_wildcard(&self) -> bool {
        self.name.contains('*')
    }

    /// What stands between `<` and `>` in its name, in order.
    fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.name.split('<').skip(1).filter_map(|part| part.split_once('>')).map(|(placeholder, _)| placeholder)
    }
}

impl Purpose {
    /// Every purpose, in the order of a pull.
    pub const ALL: [Purpose; 5] = [Purpose::Api, Purpose::Auth, Purpose::Blob, Purpose::Web, Purpose::Signing];

    /// Its word in files.
    pub fn word(self) -> &'static str {
        match self {
            Purpose::Api => "api",
            Purpose::Auth => "auth",
            Purpose::Blob => "blob",
            Purpose::Web => "web",
            Purpose::Signing => "signing",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Confidence::Uncertain => "uncertain",
            Confidence::Community => "community",
            Confidence::Measured => "measured",
            Confidence::Official => "official",
        })
    }
}

impl fmt::Display for Tenancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Tenancy::Host => "host",
            Tenancy::Path => "path",
            Tenancy::Vendor => "vendor",
        })
    }
}

/// The word in `include` that turns on hosts marked uncertain.
const UNCERTAIN: &str = "uncertain";
