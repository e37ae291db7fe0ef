//! What an organization has set at Docker, as a policy: Image Access Management, the repository allowlist, namespace
//! access and Registry Access Management, read from files that its administrators have or can save.
//!
//! ```text
//! files ─read─▶ Found (each value with its place) ─draft─▶ Draft ─text─▶ a policy file, for people to read first
//!       docker, terraform                          draft, hosts    text
//! ```
//!
//! Nothing here touches a file or the network: texts in, a text out.

mod docker;
mod draft;
mod found;
mod hosts;
mod names;
mod term;
mod terraform;
mod text;

pub use self::draft::{Decision, Draft, ImagesTable, LeftOut, Listed, RegistryEntry, Statement};
pub use self::names::organization_name;

use self::found::Found;
use self::term::{Fields, Page};
use crate::diagnostic::{Diagnostic, Severity, Source};
use crate::tree::{self, Format};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Docker's registry.json.
    RegistryJson,
    /// An answer of Docker Hub's API about an organization's settings.
    OrganizationSettings,
    /// A configuration or a state of Terraform.
    Terraform,
}

/// What was made of files without faults.
#[derive(Debug)]
pub struct Imported {
    /// The policy.
    pub draft: Draft,
    /// What somebody should look at.
    pub warnings: Vec<Diagnostic>,
}

/// Reads files and drafts a policy that says the same. `from` says what they are, instead of their contents;
/// `organizations` are added to those that the files name.
///
/// # Errors
/// Every fault of every file, and the warnings beside them; a fault as well when no file says anything.
pub fn import(sources: &[Source], from: Option<Kind>, organizations: &[String]) -> Result<Imported, Vec<Diagnostic>> {
    let mut found = Found::default();
    let mut complaints = Vec::new();
    let mut silent = Vec::new();
    for source in sources {
        let before = found.len();
        let said = read(source, from, &mut found);
        if found.len() == before && said.is_empty() {
            silent.push(Diagnostic::about(source.path().as_ref(), SAYS_NOTHING).hint(SAID_BY));
        }
        complaints.extend(said);
    }
    let severity = if found.is_empty() { Severity::Fault } else { Severity::Warning };
    complaints.extend(silent.into_iter().map(|diagnostic| Diagnostic { severity, ..diagnostic }));
    if complaints.iter().any(Diagnostic::is_fault) {
        return Err(complaints);
    }
    let (draft, drafted) = draft::draft(&found, organizations);
    complaints.extend(drafted);
    if complaints.iter().any(Diagnostic::is_fault) {
        Err(complaints)
    } else {
        Ok(Imported { draft, warnings: complaints })
    }
}

fn read(source: &Source, from: Option<Kind>, found: &mut Found) -> Vec<Diagnostic> {
    let mut page = Page::new(source);
    if source.text().trim().is_empty() {
        page.fault(0..0, "an empty file", "was it saved before there was an answer?");
    } else if is_json(source) {
        let table = tree::parse(source, Format::Json, page.report());
        if let Some(table) = table {
            read_json(table.into(), from, &mut page, found);
        }
    } else {
        match from {
            None | Some(Kind::Terraform) => terraform::read_hcl(&mut page, found),
            Some(Kind::RegistryJson | Kind::OrganizationSettings) => {
                page.fault(0..1, "not JSON", "it begins with `{`");
            }
        }
    }
    page.finish()
}

/// Terraform's own language has no use for a brace at the beginning.
fn is_json(source: &Source) -> bool {
    let text = source.text().trim_start_matches('\u{feff}').trim_start();
    text.starts_with('{') || text.starts_with('[')
}

fn read_json(fields: Fields, from: Option<Kind>, page: &mut Page<'_>, found: &mut Found) {
    match from.or_else(|| kind_of(&fields)) {
        Some(Kind::RegistryJson) => docker::read_registry_json(fields, page, found),
        Some(Kind::OrganizationSettings) => docker::read_organization_settings(fields, page, found),
        Some(Kind::Terraform) => terraform::read_json(fields, page, found),
        None if fields.has("message") || fields.has("detail") => {
            page.fault(fields.span(), "an error of Docker Hub, not its settings", "ask it with an owner's token");
        }
        None => page.fault(fields.span(), "not known what this file is", KINDS),
    }
}

fn kind_of(fields: &Fields) -> Option<Kind> {
    if fields.has(docker::ALLOWED_ORGS) {
        return Some(Kind::RegistryJson);
    }
    if [docker::RESTRICTED_IMAGES, "custom_registries", "standard_registries"].iter().any(|key| fields.has(key)) {
        return Some(Kind::OrganizationSettings);
    }
    terraform::is_terraform(fields).then_some(Kind::Terraform)
}

const SAYS_NOTHING: &str = "nothing here says which images or registries may be used";
const SAID_BY: &str = "`allowedOrgs`, `restricted_images`, or a resource `docker_org_setting_…` would";
const KINDS: &str = "a registry.json has `allowedOrgs`, Docker Hub's settings have `restricted_images` or \
    `custom_registries`, Terraform has `resource`, `values` or `resources`; --from says what it is";

#[cfg(test)]
mod tests;
