//! The effective policy: `/v1/policy`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `GET /v1/policy`: the effective policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyReport {
    /// The number of the policy; `None` when it was read from files and is not in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Its digest.
    pub digest: String,
    /// The groups, in the order of the files; none: every client may use everything.
    pub groups: Vec<GroupReport>,
    /// The rules, in the order of the files.
    pub rules: Vec<PolicyRule>,
    /// Which images may be pulled and pushed, in the order of the files.
    #[serde(default)]
    pub images: Vec<ImagesReport>,
}

/// A group of clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Its name.
    pub name: String,
    /// `enforce` or `audit`.
    pub mode: String,
    /// `deny` or `forward`.
    pub unlisted: String,
    /// Its client ranges, and the listeners whose clients belong to it.
    pub clients: Vec<String>,
    /// Where it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The line in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// One rule of the effective policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyRule {
    /// The pattern; of `images` the key with its value.
    pub pattern: String,
    /// `registry`, `service` or `deny`; among unused rules also `images`.
    pub kind: String,
    /// The entry it belongs to.
    pub entry: String,
    /// The groups it is for. Where there are no groups, it is for everyone.
    pub groups: Vec<String>,
    /// `enforce`, or `audit` for an entry on trial.
    pub mode: String,
    /// `direct`, `pass` or `inspect`: how what it allows is reached.
    #[serde(default = "direct")]
    pub data_path: String,
    /// Where it was written.
    pub path: Option<PathBuf>,
    /// The line in it.
    pub line: Option<u32>,
    /// The number of the overlay that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<u64>,
}

/// One `[[images]]` of the effective policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagesReport {
    /// The registry.
    pub registry: String,
    /// The groups it is for. Where there are no groups, it is for everyone.
    pub groups: Vec<String>,
    /// `enforce` or `audit`; a group under audit makes an audit of it.
    pub mode: String,
    /// What decides, in the order in which it is asked.
    pub keys: Vec<ImageKeyReport>,
    /// Where it was written.
    pub path: PathBuf,
    /// The line in it.
    pub line: u32,
}

/// A key of an `[[images]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageKeyReport {
    /// The key, such as `allow`.
    pub key: String,
    /// Its value, or one of its list.
    pub value: String,
    /// Where it was written; of what holds by default, where the table is.
    pub path: PathBuf,
    /// The line in it.
    pub line: u32,
}

/// How a server that knows no gateway lets its registries be reached.
fn direct() -> String {
    "direct".to_owned()
}
