//! Whether the presets still have the hosts that pulls really ask: what a walk of a preset's probe images has seen, beside
//! what its file says.

use serde::Serialize;

use super::journal::{Seen, Step};
use super::walk::Walked;
use crate::inspect::lines::{SharedReport, shared};
use crate::policy::preset::{Confidence, Preset, Purpose};

/// What the walks of one preset's probe images came to.
#[derive(Debug, Serialize)]
pub struct Drift {
    /// The preset.
    pub preset: String,
    /// The day a person last compared it with its sources.
    pub checked: String,
    /// The walks.
    pub probes: Vec<Probe>,
    /// The hosts that were asked.
    pub hosts: Vec<DriftHost>,
}

/// One walk.
#[derive(Debug, Serialize)]
pub struct Probe {
    /// The image.
    pub image: String,
    /// Why it ended early, if it did.
    pub end: Option<String>,
    /// What else to know.
    pub notes: Vec<String>,
}

/// A host that a pull asked, beside the preset.
#[derive(Debug, Serialize)]
pub struct DriftHost {
    /// Its name, or its address.
    pub host: String,
    /// The first image that led there.
    pub image: String,
    /// The steps that led there.
    pub steps: Vec<Step>,
    /// What it was asked for.
    pub purposes: Vec<Purpose>,
    /// Whether the preset has it.
    pub state: DriftState,
    /// What to know where strangers can get such names.
    pub shared: Option<SharedReport>,
}

/// Whether a preset has a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DriftState {
    /// It is on wherever the preset is used.
    On,
    /// The preset has it, and turns it on only when asked.
    Off,
    /// The preset has it as uncertain: this walk shows that it is asked.
    Uncertain,
    /// The preset does not have it: pulls fail wherever it is used.
    Lacking,
}

impl Drift {
    /// Of the walks of a preset's probe images.
    pub fn of(preset: &Preset, walks: Vec<(String, Walked)>) -> Self {
        let mut drift =
            Self { preset: preset.id.clone(), checked: preset.checked.clone(), probes: Vec::new(), hosts: Vec::new() };
        for (image, Walked { hosts, notes, end }) in walks {
            for seen in hosts {
                drift.add(preset, &image, seen);
            }
            drift.probes.push(Probe { image, end, notes });
        }
        drift
    }

    fn add(&mut self, preset: &Preset, image: &str, seen: Seen) {
        let Seen { host, steps, purposes, .. } = seen;
        let name = host.to_string();
        if self.hosts.iter().any(|known| known.host == name) {
            return;
        }
        let state = host.name().map_or(DriftState::Lacking, |name| match preset.host_for(name) {
            None => DriftState::Lacking,
            Some(host) if host.confidence == Confidence::Uncertain => DriftState::Uncertain,
            Some(host) if host.is_default() => DriftState::On,
            Some(_) => DriftState::Off,
        });
        let shared = host.name().and_then(shared);
        self.hosts.push(DriftHost { host: name, image: image.to_owned(), steps, purposes, state, shared });
    }

    /// Whether the preset lacks a host.
    pub fn has_drifted(&self) -> bool {
        self.hosts.iter().any(|host| host.state == DriftState::Lacking)
    }

    /// Whether a pull could be walked to its end.
    pub fn is_walked(&self) -> bool {
        self.probes.iter().any(|probe| probe.end.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::discover::journal::{Contact, Journal};
    use crate::inspect::discover::target::Target;
    use crate::policy::preset::find;

    fn walked(hosts: &[&str], end: Option<&str>) -> Walked {
        let mut journal = Journal::default();
        for host in hosts {
            let target = Target::parse(&format!("https://{host}/")).unwrap();
            let (step, outcome) = (Step::Layer, "206".to_owned());
            journal.note(Contact { step, purpose: step.purpose(), target: &target, outcome, proxy: None });
        }
        Walked { hosts: journal.into_rows().0, notes: Vec::new(), end: end.map(str::to_owned) }
    }

    fn states(drift: &Drift) -> Vec<(&str, DriftState)> {
        drift.hosts.iter().map(|host| (host.host.as_str(), host.state)).collect()
    }

    #[test]
    fn each_host_is_one_that_the_preset_has_on_off_uncertain_or_not_at_all() {
        let bucket = "docker-images-prod.s3.dualstack.eu-west-1.amazonaws.com";
        let seen = ["registry-1.docker.io", bucket, "docker.io", "new.cdn.example", "192.0.2.1"];
        let walks = vec![("a".to_owned(), walked(&seen, None)), ("b".to_owned(), walked(&seen[..1], Some("why")))];
        let drift = Drift::of(find("docker-hub").unwrap(), walks);
        let expected =
            [DriftState::On, DriftState::Off, DriftState::Uncertain, DriftState::Lacking, DriftState::Lacking];
        assert_eq!(states(&drift), seen.into_iter().zip(expected).collect::<Vec<_>>());
        assert!(drift.has_drifted() && drift.is_walked());
        assert!(drift.hosts[1].shared.as_ref().is_some_and(|shared| !shared.exact));
    }

    #[test]
    fn a_preset_with_every_host_has_not_drifted_and_a_walk_without_end_shows_nothing() {
        let drift = Drift::of(find("ghcr").unwrap(), vec![("a".to_owned(), walked(&["ghcr.io"], Some("no network")))]);
        assert!(!drift.has_drifted() && !drift.is_walked());
    }
}
