//! A draft as the text of a policy file, each line with where it came from.

use std::fmt;

use super::draft::{Decision, Draft, ImagesTable, LeftOut, Listed, RegistryEntry, Statement, line};
use crate::diagnostic::Place;
use crate::inspect::lines::on_one_line;

impl fmt::Display for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        self.remarks.iter().try_for_each(|remark| comment(f, "", remark))?;
        writeln!(f, "version = 1")?;
        self.registries.iter().try_for_each(|entry| entry.fmt(f))?;
        self.images.iter().try_for_each(|images| images.fmt(f))?;
        if !self.left_out.is_empty() {
            writeln!(f, "\n# Left out, and so denied unless another file lists it:")?;
        }
        self.left_out.iter().try_for_each(|left_out| left_out.fmt(f))
    }
}

impl fmt::Display for RegistryEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        for Statement { place, text } in &self.stated {
            comment(f, "", &format!("{}: {text}", line(place)))?;
        }
        self.remarks.iter().try_for_each(|remark| comment(f, "", remark))?;
        writeln!(f, "[[registry]]")?;
        if let Some(preset) = self.preset {
            writeln!(f, "preset = \"{preset}\"")?;
        }
        if self.preset != Some(self.name.as_str()) {
            writeln!(f, "name   = \"{}\"", self.name)?;
        }
        if !self.values.is_empty() {
            let values = self.values.iter().map(|(key, value)| format!("{key} = \"{value}\""));
            writeln!(f, "values = {{ {} }}", values.collect::<Vec<_>>().join(", "))?;
        }
        if !self.hosts.is_empty() {
            let hosts = self.hosts.iter().map(|host| format!("\"{host}\""));
            writeln!(f, "hosts  = [{}]", hosts.collect::<Vec<_>>().join(", "))?;
        }
        if self.inspect {
            writeln!(f, "path   = \"inspect\"   # so that [[images]] decides; the settings need a [gateway]")?;
        }
        Ok(())
    }
}

impl fmt::Display for ImagesTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        self.remarks.iter().try_for_each(|remark| comment(f, "", remark))?;
        writeln!(f, "[[images]]\nregistry            = \"docker-hub\"\nmode                = \"{}\"", self.mode)?;
        for (key, decision) in [
            ("official", &self.official),
            ("verified-publishers", &self.verified_publishers),
            ("sponsored-oss", &self.sponsored_oss),
            ("community", &self.community),
        ] {
            let value = if decision.allowed { "\"allow\"" } else { "\"deny\"" };
            with_note(f, &format!("{key:19} = {value}"), &decision.note())?;
        }
        list(f, "organizations", &self.organizations)?;
        list(f, "allow", &self.allow)?;
        list(f, "push", &self.push)?;
        writeln!(f, "# exempt-clients    = [\"10.0.9.0/28\"]   # Docker exempts owners; here addresses are exempt")?;
        writeln!(f, "# \"@build-tools\" in `allow` lets `# syntax=` lines and buildx go on working.")
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        comment(f, "  ", &format!("{}: {}: {}", line(&self.from), self.what, self.why))
    }
}

impl Decision {
    fn note(&self) -> String {
        let place = self.from.as_ref().map(line);
        let parts = place.into_iter().chain((!self.remark.is_empty()).then(|| self.remark.clone()));
        parts.collect::<Vec<_>>().join(": ")
    }
}

/// A list with an item a line, so that each can say where it came from.
fn list(f: &mut fmt::Formatter<'_>, key: &str, items: &[Listed]) -> fmt::Result {
    if items.is_empty() {
        return writeln!(f, "{key:19} = []");
    }
    writeln!(f, "{key:19} = [")?;
    for Listed { value, from } in items {
        let from = from.as_ref().map_or_else(|| "--organization".to_owned(), |place: &Place| line(place));
        with_note(f, &format!("    \"{value}\","), &from)?;
    }
    writeln!(f, "]")
}

fn with_note(f: &mut fmt::Formatter<'_>, code: &str, note: &str) -> fmt::Result {
    if note.is_empty() { writeln!(f, "{code}") } else { writeln!(f, "{code}   # {}", on_one_line(note)) }
}

fn comment(f: &mut fmt::Formatter<'_>, indent: &str, text: &str) -> fmt::Result {
    writeln!(f, "# {indent}{}", on_one_line(text))
}

const HEAD: &str = "\
# Made by `pullgate images import`; a line's comment says where it came from.
# Read it, put it into the policy folder, and let `pullgate policy lint` look at the whole. A registry that no file of the
# folder lists is denied.";
