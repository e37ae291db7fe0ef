//! What a walk has seen: one row a host, in the order in which they came up. Knows no secret: a row holds a host, steps and
//! status codes.

use std::fmt;

use serde::Serialize;

use super::target::{Host, Target};
use crate::policy::preset::Purpose;

/// A host that a pull asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The host.
    pub host: Host,
    /// The ports it was asked on.
    pub ports: Vec<u16>,
    /// The steps that led there, the first first.
    pub steps: Vec<Step>,
    /// What it was asked for.
    pub purposes: Vec<Purpose>,
    /// What came of it, each once: status codes, or why there was no answer.
    pub outcomes: Vec<String>,
    /// The proxy it was reached through, without its password.
    pub proxy: Option<String>,
    /// Whether it was asked without TLS.
    pub is_plain: bool,
}

/// A step of a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// `/v2/`: is this a registry, and whom does it want to know.
    Ping,
    /// A token for the image.
    Token,
    /// The manifest, or the index and one of its manifests.
    Manifest,
    /// The image's configuration.
    Config,
    /// A layer.
    Layer,
    /// Where a manifest says that a layer is to be had.
    LayerUrl,
    /// Where a pushed layer would go.
    Upload,
    /// What is kept beside the image: signatures.
    Signature,
}

/// The rows.
#[derive(Debug, Default)]
pub(super) struct Journal {
    seen: Vec<Seen>,
    left_out: usize,
}

/// One request, as it went.
pub(super) struct Contact<'a> {
    pub(super) step: Step,
    pub(super) purpose: Purpose,
    pub(super) target: &'a Target,
    pub(super) outcome: String,
    pub(super) proxy: Option<String>,
}

impl Journal {
    /// Writes a request down.
    pub(super) fn note(&mut self, contact: Contact<'_>) {
        let Contact { step, purpose, target, outcome, proxy } = contact;
        let at = self.seen.iter().position(|row| row.host == *target.host());
        let row = match at {
            Some(at) => &mut self.seen[at],
            None if self.seen.len() < MAX_HOSTS => {
                self.seen.push(Seen::new(target.host().clone()));
                self.seen.last_mut().expect("it was pushed just now")
            }
            None => {
                self.left_out += 1;
                return;
            }
        };
        add(&mut row.ports, target.port());
        add(&mut row.steps, step);
        add(&mut row.purposes, purpose);
        add(&mut row.outcomes, outcome);
        row.proxy = row.proxy.take().or(proxy);
        row.is_plain |= !target.is_tls();
    }

    /// The rows, and how many requests went to hosts for which there was no row left.
    pub(super) fn into_rows(self) -> (Vec<Seen>, usize) {
        (self.seen, self.left_out)
    }
}

impl Seen {
    fn new(host: Host) -> Self {
        let (ports, steps, purposes, outcomes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { host, ports, steps, purposes, outcomes, proxy: None, is_plain: false }
    }
}

impl Step {
    /// What a host is asked for in this step, if it is not the registry that only leads elsewhere.
    pub(super) fn purpose(self) -> Purpose {
        match self {
            Self::Token => Purpose::Auth,
            Self::Ping | Self::Manifest | Self::Signature => Purpose::Api,
            Self::Config | Self::Layer | Self::LayerUrl | Self::Upload => Purpose::Blob,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ping => "ping",
            Self::Token => "token",
            Self::Manifest => "manifest",
            Self::Config => "config",
            Self::Layer => "layer",
            Self::LayerUrl => "layer-url",
            Self::Upload => "upload",
            Self::Signature => "signature",
        })
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if list.len() < MAX_EACH && !list.contains(&item) {
        list.push(item);
    }
}

/// A pull asks four or five.
const MAX_HOSTS: usize = 256;
const MAX_EACH: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn note(journal: &mut Journal, text: &str, step: Step, outcome: &str) {
        let target = Target::parse(text).unwrap();
        let outcome = outcome.to_owned();
        journal.note(Contact { step, purpose: step.purpose(), target: &target, outcome, proxy: None });
    }

    #[test]
    fn a_host_has_one_row_and_each_thing_in_it_once() {
        let mut journal = Journal::default();
        note(&mut journal, "https://r.example/v2/", Step::Ping, "401");
        note(&mut journal, "https://cdn.example/x?sig", Step::Layer, "206");
        note(&mut journal, "http://r.example:5000/v2/", Step::Manifest, "200");
        note(&mut journal, "https://r.example/v2/", Step::Manifest, "401");
        let (rows, left_out) = journal.into_rows();
        let first = &rows[0];
        assert_eq!((rows.len(), left_out, first.is_plain), (2, 0, true));
        assert_eq!((first.ports.as_slice(), first.outcomes.len()), (&[443, 5000][..], 2));
        assert_eq!(
            (first.steps.as_slice(), first.purposes.as_slice()),
            (&[Step::Ping, Step::Manifest][..], &[Purpose::Api][..])
        );
    }

    #[test]
    fn rows_are_bounded_and_what_is_left_out_is_counted() {
        let mut journal = Journal::default();
        for number in 0..MAX_HOSTS + 3 {
            note(&mut journal, &format!("https://h{number}.example/"), Step::Layer, "206");
        }
        let (rows, left_out) = journal.into_rows();
        assert_eq!((rows.len(), left_out), (MAX_HOSTS, 3));
    }
}
