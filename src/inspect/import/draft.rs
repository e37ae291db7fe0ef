//! From what was found to the policy that says the same.
//!
//! Where the two differ the draft is the stricter, and says so: what is not known is denied, and pushes go to the
//! organizations only. What was off at Docker denies nothing here either, but tells what it would (`mode = "audit"`).

mod images;
mod registries;

use std::collections::BTreeMap;

use serde::Serialize;

use super::found::{Found, Spot, Stated};
use super::hosts::{self, DOCKER_HUB};
use crate::diagnostic::{Diagnostic, Place};
use crate::policy::preset::Preset;

/// A policy, and what of the files is not in it.
#[derive(Debug, Default, Serialize)]
pub struct Draft {
    /// `[[registry]]`.
    pub registries: Vec<RegistryEntry>,
    /// `[[images]]` of Docker Hub.
    pub images: Option<ImagesTable>,
    /// What the policy has no entry for.
    pub left_out: Vec<LeftOut>,
    /// What to know about the whole.
    pub remarks: Vec<String>,
}

/// A `[[registry]]`.
#[derive(Debug, Serialize)]
pub struct RegistryEntry {
    /// `name`; a preset's own need not be written.
    pub name: String,
    /// `preset`.
    pub preset: Option<&'static str>,
    /// `values` of the preset.
    pub values: BTreeMap<&'static str, String>,
    /// `hosts`.
    pub hosts: Vec<String>,
    /// Whether `path` is `inspect`, so that its images are judged.
    pub inspect: bool,
    /// Where it was written, and as what.
    pub stated: Vec<Statement>,
    /// What else to know.
    pub remarks: Vec<String>,
}

/// A place that asks for an entry.
#[derive(Debug, Serialize)]
pub struct Statement {
    /// Where.
    pub place: Place,
    /// What is written there.
    pub text: String,
}

/// The `[[images]]` of Docker Hub.
#[derive(Debug, Serialize)]
pub struct ImagesTable {
    /// `mode`: `enforce` or `audit`.
    pub mode: &'static str,
    /// `official`.
    pub official: Decision,
    /// `verified-publishers`.
    pub verified_publishers: Decision,
    /// `sponsored-oss`.
    pub sponsored_oss: Decision,
    /// `community`.
    pub community: Decision,
    /// `organizations`.
    pub organizations: Vec<Listed>,
    /// `allow`.
    pub allow: Vec<Listed>,
    /// `push`.
    pub push: Vec<Listed>,
    /// What else to know.
    pub remarks: Vec<String>,
}

/// Whether a category of images is allowed.
#[derive(Debug, Serialize)]
pub struct Decision {
    /// Whether it is.
    pub allowed: bool,
    /// Where that was written; `None` when it was not.
    pub from: Option<Place>,
    /// Why it is so when it was not written.
    pub remark: String,
}

/// An item of a list.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// The item.
    pub value: String,
    /// Where it was written; `None` when it was an option of the command.
    pub from: Option<Place>,
}

/// Something of the files that the policy has no entry for.
#[derive(Debug, Serialize)]
pub struct LeftOut {
    /// What it is.
    pub what: String,
    /// Why there is no entry for it.
    pub why: String,
    /// Where it was written.
    pub from: Place,
}

/// Drafts the policy; `organizations` come from the command line.
pub(super) fn draft(found: &Found, organizations: &[String]) -> (Draft, Vec<Diagnostic>) {
    let mut drafting = Drafting::default();
    let hub = drafting.hub(found);
    let allowed = drafting.allowed(found);
    let images = drafting.images(found, organizations);
    let images = drafting.without_hub(images, hub.as_ref());
    drafting.tell_of_registry_access(found);
    let hub = hub.filter(|hub| hub.value);
    drafting.draft.registries = hosts::entries(&allowed, images.is_some() || hub.is_some());
    if let Some(entry) = drafting.draft.registries.iter_mut().find(|entry| entry.name == DOCKER_HUB) {
        entry.inspect = images.is_some();
        let stated = hub.map(|hub| Statement { place: hub.spot.place(), text: "Docker Hub".to_owned() });
        entry.stated.splice(0..0, stated);
    }
    drafting.draft.images = images;
    (drafting.draft, drafting.complaints)
}

#[derive(Default)]
struct Drafting {
    draft: Draft,
    complaints: Vec<Diagnostic>,
}

impl Drafting {
    /// No settings for images of a Docker Hub that may not be reached.
    fn without_hub(&mut self, images: Option<ImagesTable>, hub: Option<&Stated<bool>>) -> Option<ImagesTable> {
        match (&images, hub) {
            (Some(_), Some(Stated { value: false, spot })) => {
                self.complaints
                    .push(spot.warning(HUB_IS_DENIED, "no `[[images]]` are written; allow the Hub for them"));
                None
            }
            _ => images,
        }
    }

    fn leave_out(&mut self, what: &str, why: &str, spot: &Spot) {
        self.draft.left_out.push(LeftOut { what: what.to_owned(), why: why.to_owned(), from: spot.place() });
    }

    fn contradict(&mut self, what: &str, spot: &Spot, first: &Spot) {
        let message = format!("`{what}` is allowed in one place and not in another");
        self.complaints.push(spot.fault(message, format!("see {}: import what is in force", line(&first.place()))));
    }
}

impl RegistryEntry {
    pub(super) fn of_preset(name: String, preset: &'static Preset, values: BTreeMap<&'static str, String>) -> Self {
        Self { preset: Some(&preset.id), values, ..Self::named(name) }
    }

    pub(super) fn of_host(name: String, host: String) -> Self {
        Self { hosts: vec![host], ..Self::named(name) }
    }

    fn named(name: String) -> Self {
        Self {
            name,
            preset: None,
            values: BTreeMap::new(),
            hosts: Vec::new(),
            inspect: false,
            stated: Vec::new(),
            remarks: Vec::new(),
        }
    }
}

fn not_known(text: &str) -> String {
    format!("`{text}` is not known here")
}

/// A place as comments name it.
pub(super) fn line(place: &Place) -> String {
    format!("{}:{}", place.path.display(), place.line)
}

const HUB_IS_DENIED: &str = "there are settings for images of Docker Hub, which may not be reached";
