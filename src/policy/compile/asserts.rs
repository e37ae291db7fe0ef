//! `[[assert]]`: what has to be decided, held against what is.
//!
//! Assertions are about the policy as it is written: an entry that has expired counts as if it had not. Else time passing
//! alone would make a policy faulty, and the one before, with the entry still in force, would stay. They leave nothing in
//! the snapshot: judging knows nothing of them.

use std::net::IpAddr;
use std::time::SystemTime;

use super::groups::suggest;
use crate::diagnostic::{Diagnostic, Place, Source};
use crate::policy::document::{Askers, AssertSpec, AssertSubject, Document, Expectation};
use crate::policy::images::{Access, ImageVerdict};
use crate::policy::judge::{Asker, Judgement};
use crate::policy::snapshot::{GroupRef, Groups, Snapshot};
use crate::tree::Report;

/// What became of an assertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    /// Where the assertion is written.
    pub place: Place,
    /// What it is about: a name, an image, or `push` and an image.
    pub subject: String,
    /// On whose behalf: `10.20.0.5`, ``group `ci` `` or `everyone`.
    pub asker: String,
    /// What has to be decided.
    pub expected: Expectation,
    /// What is decided: the first that is not as expected, if any is.
    pub ruling: Ruling,
}

/// What is decided for one asker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// `allow`, `deny`, `audit`; `undecided` where only a badge of Docker Hub would tell.
    pub verdict: &'static str,
    /// Why, in a few words.
    pub reason: String,
    /// The asker's group.
    pub group: Option<String>,
    /// The rule that decides, and where it is written.
    pub rule: Option<(String, Option<Place>)>,
    /// When the rule's entry ends.
    pub expires: Option<SystemTime>,
}

/// Refuses assertions about groups that the policy does not have.
pub(super) fn check(documents: &[Document], groups: &Groups, complaints: &mut Vec<Diagnostic>) {
    for (source, assert) in asserts(documents) {
        let Askers::Group(name) = &assert.askers else { continue };
        if !groups.list.iter().any(|group| group.name == name.value) {
            let names = groups.list.iter().map(|group| group.name.as_str());
            let hint = suggest(&name.value, names, "groups are defined with `[[group]]`");
            complaints.push(source.fault(name.span.clone(), format!("unknown group `{}`", name.value)).hint(hint));
        }
    }
}

/// Whether a policy has any.
pub(super) fn has_any(documents: &[Document]) -> bool {
    asserts(documents).next().is_some()
}

/// Every assertion held against `snapshot`, in file order.
pub(super) fn test(documents: &[Document], snapshot: &Snapshot) -> Vec<Tested> {
    asserts(documents).filter_map(|(source, assert)| tested(source, assert, snapshot)).collect()
}

/// A fault for each assertion that does not hold, at most 1000 a file.
pub(super) fn faults(documents: &[Document], snapshot: &Snapshot, now: SystemTime) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    for document in documents {
        let mut report = Report::new(&document.source);
        for assert in &document.asserts {
            if let Some(tested) = tested(&document.source, assert, snapshot).filter(|tested| !tested.holds()) {
                report.fault(assert.expect.span.clone(), tested.to_string(), tested.remedy(now));
            }
        }
        faults.extend(report.finish());
    }
    faults
}

fn asserts(documents: &[Document]) -> impl Iterator<Item = (&Source, &AssertSpec)> {
    documents.iter().flat_map(|document| document.asserts.iter().map(|assert| (&document.source, assert)))
}

/// `None`: the assertion was not understood, which is a fault of its own.
fn tested(source: &Source, assert: &AssertSpec, snapshot: &Snapshot) -> Option<Tested> {
    let AssertSpec { subject, askers, expect } = assert;
    let subject = subject.as_ref()?;
    let mut rulings = rulings(subject, askers, snapshot).peekable();
    let first = rulings.peek().cloned()?;
    let unlike = rulings.find(|ruling| ruling.verdict != expect.value.word());
    Some(Tested {
        place: source.place(expect.span.start),
        subject: shown(subject),
        asker: match askers {
            Askers::Everyone => "everyone".to_owned(),
            Askers::Client(client) => client.to_string(),
            Askers::Group(group) => format!("group `{}`", group.value),
        },
        expected: expect.value,
        ruling: unlike.unwrap_or(first),
    })
}

/// What is decided for each asker.
fn rulings<'s>(
    subject: &'s AssertSubject,
    askers: &'s Askers,
    snapshot: &'s Snapshot,
) -> impl Iterator<Item = Ruling> + 's {
    let named = |group: &GroupRef<'_>| match askers {
        Askers::Everyone => true,
        Askers::Client(_) => false,
        Askers::Group(name) => group.name() == name.value,
    };
    let groups = snapshot.groups().filter(named).map(Some);
    let all = (*askers == Askers::Everyone && snapshot.groups().next().is_none()).then_some(None);
    let as_groups =
        groups.chain(all).map(|group| ruling(subject, None, snapshot, |name| snapshot.judge_as(group, name)));
    let client = match askers {
        Askers::Client(client) => Some(*client),
        Askers::Everyone | Askers::Group(_) => None,
    };
    let as_client = client.map(|client| {
        let asker = Asker { client, listener: None };
        ruling(subject, Some(client), snapshot, |name| snapshot.judge(&asker, name))
    });
    as_groups.chain(as_client)
}

fn ruling<'s>(
    subject: &AssertSubject,
    client: Option<IpAddr>,
    snapshot: &'s Snapshot,
    judge: impl FnOnce(crate::name::NameRef<'_>) -> Judgement<'s>,
) -> Ruling {
    match subject {
        AssertSubject::Name(name) => Ruling::of(judge(name.as_name())),
        AssertSubject::Image { image, push } => {
            let judgement = judge(image.registry.as_name());
            let host = Ruling::of(judgement);
            let Some(images) = snapshot.inspected_images(judgement, client) else { return host };
            let access = if *push { Access::Push } else { Access::Pull };
            host.with_image(images.judge(&image.repository, access, None), image.repository.namespace())
        }
    }
}

impl Tested {
    /// Whether what is decided is what is expected.
    pub fn holds(&self) -> bool {
        self.ruling.verdict == self.expected.word()
    }

    /// What would do, where it does not hold.
    fn remedy(&self, now: SystemTime) -> String {
        let Ruling { verdict, rule, expires, .. } = &self.ruling;
        match rule {
            _ if *verdict == UNDECIDED => "name its badge in `publishers` of the `[[images]]`".to_owned(),
            Some((rule, Some(place))) if expires.is_some_and(|end| end <= now) => {
                format!("`{rule}` at {place} has expired, but is still written: remove its entry")
            }
            Some((rule, Some(place))) => format!("`{rule}` at {place} decides: change that, or the assertion"),
            Some((_, None)) | None => "change the policy, or the assertion".to_owned(),
        }
    }
}

impl std::fmt::Display for Tested {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { subject, asker, expected, ruling, .. } = self;
        let whose = match &ruling.group {
            Some(group) if !asker.starts_with("group") => format!("{asker} (group `{group}`)"),
            _ => asker.clone(),
        };
        let (expected, Ruling { verdict, reason, .. }) = (expected.word(), ruling);
        write!(f, "`{subject}` for {whose}: {expected} is expected, {verdict} is decided: {reason}")
    }
}

impl Ruling {
    fn of(judgement: Judgement<'_>) -> Self {
        let Judgement { verdict, group } = judgement;
        let rule = verdict.rule();
        Self {
            verdict: verdict.word(),
            reason: verdict.to_string(),
            group: group.map(|group| group.name().to_owned()),
            rule: rule.map(|rule| (rule.pattern().to_string(), rule.place())),
            expires: rule.and_then(|rule| rule.entry().expires),
        }
    }

    /// The same registry's ruling on one of its images.
    fn with_image(self, verdict: ImageVerdict<'_>, namespace: Option<&str>) -> Self {
        let (word, reason) = match verdict {
            ImageVerdict::NeedsBadge => {
                (UNDECIDED, format!("the badge that Docker Hub gives `{}` decides", namespace.unwrap_or_default()))
            }
            decided => (decided.word(), decided.to_string()),
        };
        let rule = verdict.key().map(|key| (key.to_string(), Some(key.place().clone()))).or(self.rule.clone());
        Self { verdict: word, reason, rule, ..self }
    }
}

fn shown(subject: &AssertSubject) -> String {
    match subject {
        AssertSubject::Name(name) => name.to_string(),
        AssertSubject::Image { image, push: false } => image.to_string(),
        AssertSubject::Image { image, push: true } => format!("push {image}"),
    }
}

const UNDECIDED: &str = "undecided";

#[cfg(test)]
mod tests;
