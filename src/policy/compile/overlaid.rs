//! The policy files with overlays on top of them. An overlay that has no place there is left out and said, and never
//! refuses the files.

use std::time::SystemTime;

use super::{Compiled, Options, compile, merge, parse, translate};
use crate::diagnostic::{Diagnostic, Source};
use crate::policy::document::{CnamePolicy, DenySpec, Document, EntryKindSpec, EntrySpec, Written};
use crate::policy::judge::{Denial, Verdict};
use crate::policy::overlay::{Change, Overlay};
use crate::policy::pattern::Pattern;
use crate::policy::snapshot::{GroupRef, Snapshot};

/// A policy with its overlays.
#[derive(Debug)]
pub struct Overlaid {
    /// The policy.
    pub compiled: Compiled,
    /// The overlays without any effect on it, by number, and why.
    pub idle: Vec<(u64, Diagnostic)>,
}

/// Parses and compiles policy files with overlays on top.
///
/// # Errors
/// Every fault of the files, and the warnings beside them: assertions are about the files alone.
pub fn load_overlaid(
    sources: Vec<Source>,
    overlays: &[Overlay],
    options: &Options,
    now: SystemTime,
) -> Result<Overlaid, Vec<Diagnostic>> {
    let (documents, parsed) = parse(sources, options);
    let is_whole = !parsed.iter().any(Diagnostic::is_fault);
    // What half a file decides says nothing of the assertions.
    let compile = if is_whole { compile } else { translate };
    let base = merge(parsed, compile(&documents, options, now))?;
    if overlays.is_empty() {
        return Ok(Overlaid { compiled: base, idle: Vec::new() });
    }
    Ok(lay(base, documents, overlays, options, now))
}

/// Lays overlays on a policy, without those that have no place on it.
fn lay(base: Compiled, documents: Vec<Document>, overlays: &[Overlay], options: &Options, now: SystemTime) -> Overlaid {
    let files = documents.len();
    let mut layers = Layers { base: &base.snapshot, documents, options: options.clone() };
    let mut idle = Vec::new();
    for overlay in overlays {
        if let Err(why) = layers.add(overlay) {
            idle.push((overlay.id, overlay.warning(why)));
        }
    }
    let Layers { mut documents, options: overlaid, .. } = layers;
    match translate(&documents, &overlaid, now) {
        Ok(Compiled { snapshot, .. }) => {
            let warnings = base.warnings;
            Overlaid { compiled: Compiled { snapshot, warnings }, idle }
        }
        Err(found) => {
            let is_faulty = |overlay: &&Overlay| {
                let place = overlay.place();
                found.iter().any(|fault| fault.is_fault() && fault.path.as_os_str() == place.as_str())
            };
            let faulty: Vec<&Overlay> = overlays.iter().filter(is_faulty).collect();
            // A fault elsewhere that the files alone do not have: none of them can be told from the others.
            let faulty = if faulty.is_empty() { overlays.iter().collect() } else { faulty };
            let first = found.iter().find(|fault| fault.is_fault()).map(|fault| fault.message.clone());
            let why = first.unwrap_or_default();
            let rest: Vec<Overlay> = overlays.iter().filter(|overlay| !faulty.contains(overlay)).cloned().collect();
            documents.truncate(files);
            let Overlaid { compiled, idle: mut others } = lay(base, documents, &rest, options, now);
            others.extend(faulty.into_iter().map(|overlay| (overlay.id, overlay.warning(why.clone()))));
            Overlaid { compiled, idle: others }
        }
    }
}

/// Documents and settings on their way.
struct Layers<'b> {
    /// What the files decide alone.
    base: &'b Snapshot,
    documents: Vec<Document>,
    options: Options,
}

impl Layers<'_> {
    /// Adds an overlay, or says why it would have no effect.
    fn add(&mut self, overlay: &Overlay) -> Result<(), String> {
        if let Some(group) = &overlay.group
            && self.base.find_group(group).is_none()
        {
            return Err(format!("the policy has no group `{group}`"));
        }
        match &overlay.change {
            Change::Allow(name) => {
                let groups = self.groups_to_allow(overlay, name.as_name())?;
                let pattern = Pattern::parse(&name.to_string()).map_err(|fault| fault.message)?;
                if pattern.exact().is_none() {
                    return Err("it is more than one name".to_owned());
                }
                self.documents.push(allowing(overlay, pattern, groups));
            }
            Change::Block(pattern) => self.documents.push(blocking(overlay, pattern)),
            Change::Mode(mode) => match (&overlay.group, overlay.client) {
                (_, Some(client)) => drop(self.options.client_modes.insert(client, *mode)),
                (None, None) => self.options.mode = *mode,
                (Some(group), None) => drop(self.options.modes.insert(group.clone(), *mode)),
            },
        }
        Ok(())
    }

    /// The groups for which an allowing overlay changes something; none: everyone.
    fn groups_to_allow(&self, overlay: &Overlay, name: crate::name::NameRef<'_>) -> Result<Vec<String>, String> {
        let named = |group: &GroupRef<'_>| overlay.group.as_ref().is_none_or(|name| group.name() == name);
        let groups: Vec<GroupRef<'_>> = self.base.groups().filter(named).collect();
        let everyone = groups.is_empty().then_some(None);
        let mut why = String::new();
        let mut lacking = Vec::new();
        for group in groups.into_iter().map(Some).chain(everyone) {
            match self.base.judge_as(group, name).verdict {
                Verdict::Allow(_) => "the policy files allow it already".clone_into(&mut why),
                Verdict::Deny(Denial::Listed(rule)) => {
                    let place = rule.place().map(|place| format!(" at {place}")).unwrap_or_default();
                    why = format!("a `[[deny]]`{place} forbids it, which no overlay beats");
                }
                Verdict::Deny(_) | Verdict::Audit(_) => lacking.push(group),
            }
        }
        if lacking.is_empty() {
            return Err(why);
        }
        Ok(lacking.into_iter().flatten().map(|group| group.name().to_owned()).collect())
    }
}

fn allowing(overlay: &Overlay, pattern: Pattern, groups: Vec<String>) -> Document {
    let kind =
        EntryKindSpec::Registry { preset: None, mode: None, cname: CnamePolicy::Trust, data_path: None, hosts: 1 };
    let entry = EntrySpec {
        kind,
        name: written(overlay.place()),
        patterns: vec![written(pattern)],
        groups: groups.into_iter().map(written).collect(),
        private_addresses: None,
        expires: overlay.until.map(written),
        owner: Some(overlay.by.clone()),
        ticket: overlay.ticket.clone(),
        accept_shared_suffix: true,
    };
    Document { entries: vec![entry], ..blank(overlay) }
}

fn blocking(overlay: &Overlay, pattern: &Pattern) -> Document {
    let deny = DenySpec {
        patterns: vec![written(pattern.clone())],
        groups: overlay.group.iter().cloned().map(written).collect(),
        reason: overlay.reason.clone().or_else(|| Some(format!("blocked by {}", overlay.by))),
    };
    Document { denies: vec![deny], ..blank(overlay) }
}

fn blank(overlay: &Overlay) -> Document {
    Document {
        source: overlay.source(),
        entries: Vec::new(),
        denies: Vec::new(),
        groups: Vec::new(),
        images: Vec::new(),
        asserts: Vec::new(),
        docker_organizations: None,
        overlay: Some(overlay.id),
    }
}

/// A value of an overlay's document, all of which is one line.
fn written<T>(value: T) -> Written<T> {
    Written { value, span: 0..1 }
}

#[cfg(test)]
mod tests;
