//! Sets of images that ship with the program, each image with its use, source and date: `@build-tools` in the `allow` of
//! an `[[images]]`.
//!
//! The data is `config/image-sets/*.toml`, one file a set, built into the binary.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::policy::repository::Repository;

/// A set of images of Docker Hub.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ImageSet {
    /// What a policy calls it, after an `@`.
    pub name: String,
    /// What it is, for people.
    pub title: String,
    /// The day a person last compared the file with its sources, as `YYYY-MM-DD`.
    pub checked: String,
    /// The images.
    #[serde(rename = "image")]
    pub images: Vec<ImageOfSet>,
}

/// One image of a set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ImageOfSet {
    /// Its repository.
    #[serde(deserialize_with = "read_repository")]
    pub repository: Repository,
    /// Who pulls it, and what for.
    #[serde(rename = "use")]
    pub purpose: String,
    /// Whether an ordinary build fails without it.
    #[serde(default)]
    pub needed: bool,
    /// Who says so.
    pub source: String,
    /// When they said so.
    pub date: String,
}

/// Every set, in order of name.
pub fn sets() -> &'static [ImageSet] {
    static SETS: LazyLock<Vec<ImageSet>> = LazyLock::new(|| {
        FILES.iter().map(|text| toml::from_str(text).expect("a test reads every shipped set")).collect()
    });
    &SETS
}

/// The set of this name, which is written without its `@`.
pub fn find(name: &str) -> Option<&'static ImageSet> {
    sets().iter().find(|set| set.name == name)
}

/// The set of what build tools pull by themselves.
pub(super) fn build_tools() -> &'static ImageSet {
    find(BUILD_TOOLS).expect("a test finds the set")
}

/// The names of all sets, for hints.
pub(super) fn names() -> String {
    sets().iter().map(|set| format!("`@{}`", set.name)).collect::<Vec<_>>().join(", ")
}

fn read_repository<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Repository, D::Error> {
    let text = String::deserialize(deserializer)?;
    Repository::parse(&text).map_err(serde::de::Error::custom)
}

const BUILD_TOOLS: &str = "build-tools";
/// The files of `config/image-sets`.
const FILES: &[&str] = &[include_str!("../../config/image-sets/build-tools.toml")];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_built_in_and_reads_under_its_own_name() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/image-sets");
        let names: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        let read: BTreeSet<String> = FILES
            .iter()
            .map(|text| toml::from_str::<ImageSet>(text).unwrap_or_else(|fault| panic!("{fault}")).name)
            .collect();
        assert_eq!(read, names);
        assert_eq!(build_tools().name, "build-tools");
    }

    #[test]
    fn every_image_is_there_once_with_its_use_source_and_date() {
        for set in sets() {
            let known: BTreeSet<&Repository> = set.images.iter().map(|image| &image.repository).collect();
            assert_eq!(known.len(), set.images.len());
            for image in &set.images {
                assert!(image.repository.namespace().is_some(), "{image:?}");
                assert!(!image.purpose.is_empty() && !image.source.is_empty(), "{image:?}");
                assert!(image.date <= set.checked && image.date.len() == "2026-08-21".len(), "{image:?}");
            }
        }
    }

    #[test]
    fn what_a_build_cannot_do_without_is_marked() {
        let needed: Vec<&str> =
            build_tools().images.iter().filter(|image| image.needed).map(|image| image.repository.as_str()).collect();
        assert_eq!(needed, ["docker/dockerfile", "moby/buildkit"]);
    }
}
