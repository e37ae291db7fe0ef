//! Image Access Management, the repository allowlist, namespace access and registry.json: the `[[images]]` of Docker Hub.

use super::{Decision, Drafting, ImagesTable, Listed, line, not_known};
use crate::diagnostic::{Diagnostic, Place, Severity};
use crate::inspect::import::found::{Allowlist, Found, ImageAccess, Known, NamespaceAccess, Spot, Stated};
use crate::inspect::import::names::{organization_name, repository_name};

/// Image Access Management of all files.
struct Categories<'f> {
    enabled: &'f Stated<Known<bool>>,
    official: &'f Stated<Known<bool>>,
    verified_publishers: &'f Stated<Known<bool>>,
}

impl Drafting {
    /// The `[[images]]`, if the files have anything to say about images.
    pub(super) fn images(&mut self, found: &Found, organizations: &[String]) -> Option<ImagesTable> {
        let categories = self.categories(&found.image_access);
        let ban = found.namespaces.iter().filter_map(|namespace| namespace.no_personal_pushes.as_ref());
        let ban = ban.clone().find(|ban| ban.value == Known::Is(true));
        let is_off = categories.as_ref().is_some_and(|categories| categories.enabled.value == Known::Is(false));
        let says_who = !found.organizations.is_empty() || !found.allowlists.is_empty();
        let mut table = match (&categories, ban) {
            (Some(_), Some(_)) if is_off => ImagesTable::free(),
            (Some(categories), _) => ImagesTable::of(categories),
            (None, _) if says_who => ImagesTable::customary(),
            (None, Some(_)) => ImagesTable::free(),
            (None, None) => {
                self.tell_of_idle_organizations(organizations);
                return None;
            }
        };
        table.organizations = self.organizations(found, organizations, &mut table.remarks);
        table.allow = self.allowlist(found, &mut table.remarks);
        table.push = table.organizations.iter().map(Listed::whole_namespace).collect();
        table.remarks.push(match ban {
            Some(ban) => format!("{}: members push to the organization only", line(&ban.spot.place())),
            None => PUSHES.to_owned(),
        });
        self.want_an_organization(found, &table);
        Some(table)
    }

    /// What all files say about categories; they have to agree.
    fn categories<'f>(&mut self, all: &'f [ImageAccess]) -> Option<Categories<'f>> {
        let (first, rest) = all.split_first()?;
        let ImageAccess { enabled, official, verified_publishers, .. } = first;
        let mut categories = Categories { enabled, official, verified_publishers };
        for other in rest {
            let agrees = agree(&mut categories.enabled, &other.enabled)
                & agree(&mut categories.official, &other.official)
                & agree(&mut categories.verified_publishers, &other.verified_publishers);
            if !agrees {
                let message = format!("other settings than those at {}", line(&first.spot.place()));
                self.complaints.push(other.spot.fault(message, ONE_AT_A_TIME));
            }
        }
        Some(categories)
    }

    fn organizations(&mut self, found: &Found, given: &[String], remarks: &mut Vec<String>) -> Vec<Listed> {
        let mut list: Vec<Listed> = Vec::new();
        let mut add = |value: String, from: Option<Place>| {
            if list.iter().all(|listed| listed.value != value) {
                list.push(Listed { value, from });
            }
        };
        for name in given {
            add(name.clone(), None);
        }
        let of_settings = found.image_access.iter().map(|access| &access.organization);
        let of_lists = found.allowlists.iter().map(|list| &list.organization);
        let of_namespaces = found.namespaces.iter().map(|namespace| &namespace.organization);
        let named = of_settings.chain(of_lists).chain(of_namespaces).flatten();
        for Stated { value, spot } in named {
            match value {
                Known::Is(name) => self.check_organization(name, spot, &mut add),
                Known::NotHere(text) => {
                    let remark = format!("{}: the organization: {}", line(&spot.place()), not_known(text));
                    if !remarks.contains(&remark) {
                        remarks.push(remark);
                    }
                }
            }
        }
        for Stated { value, spot } in &found.organizations {
            self.check_organization(value, spot, &mut add);
        }
        list
    }

    fn check_organization(&mut self, name: &str, spot: &Spot, add: &mut impl FnMut(String, Option<Place>)) {
        match organization_name(name) {
            Ok(name) => add(name, Some(spot.place())),
            Err(message) => self.complaints.push(spot.fault(message, "lower-case letters, digits, `-` and `_`")),
        }
    }

    /// The repositories of the allowlists that are in force.
    fn allowlist(&mut self, found: &Found, remarks: &mut Vec<String>) -> Vec<Listed> {
        let mut allow: Vec<Listed> = Vec::new();
        for list in &found.allowlists {
            let in_force = found.namespaces.iter().filter(|namespace| is_same_organization(list, namespace));
            let in_force = in_force.filter_map(|namespace| namespace.has_allowlist.as_ref()).next_back();
            let is_off = in_force.is_some_and(|stated| stated.value == Known::Is(false));
            if in_force.is_none_or(|stated| stated.value.known().is_none()) {
                push_once(remarks, ALLOWLIST_MAY_BE_OFF.to_owned());
            }
            for Stated { value, spot } in &list.repositories {
                match value {
                    Known::NotHere(text) => self.leave_out("allowed repositories", &not_known(text), spot),
                    Known::Is(repository) if is_off => self.leave_out(repository, "the allowlist is off", spot),
                    Known::Is(repository) => match repository_name(repository) {
                        Ok(value) if allow.iter().any(|listed| listed.value == value) => {}
                        Ok(value) => allow.push(Listed { value, from: Some(spot.place()) }),
                        Err(message) => self.complaints.push(spot.fault(message, "write `namespace/name`")),
                    },
                }
            }
        }
        allow
    }

    /// An organization's own images are always allowed at Docker, and its settings do not say whose they are.
    fn want_an_organization(&mut self, found: &Found, table: &ImagesTable) {
        let nameless = found.image_access.iter().find(|access| access.organization.is_none());
        if let Some(access) = nameless.filter(|_| table.organizations.is_empty()) {
            self.complaints.push(access.spot.warning("whose settings these are is not in the file", NAME_IT));
        }
    }

    fn tell_of_idle_organizations(&mut self, organizations: &[String]) {
        if !organizations.is_empty() {
            let about = Diagnostic::about("--organization", "the files say nothing about images");
            let hint = "no `[[images]]` are written, which it would be part of";
            self.complaints.push(Diagnostic { severity: Severity::Warning, ..about }.hint(hint));
        }
    }
}

impl ImagesTable {
    /// What Image Access Management says.
    fn of(categories: &Categories<'_>) -> Self {
        let Categories { enabled, official, verified_publishers } = categories;
        let mode = if enabled.value == Known::Is(false) { "audit" } else { "enforce" };
        let mut table = Self::with(mode, Decision::stated(official), Decision::stated(verified_publishers));
        let at = line(&enabled.spot.place());
        match &enabled.value {
            Known::Is(true) => {}
            Known::Is(false) => table.remarks.push(format!("{at}: {IMAGE_ACCESS_IS_OFF}")),
            Known::NotHere(text) => table.remarks.push(format!("{at}: whether it is on: {}", not_known(text))),
        }
        table
    }

    /// What people mostly choose, when nothing is said about categories.
    fn customary() -> Self {
        Self::with("enforce", Decision::unsaid(true, UNSAID), Decision::unsaid(true, UNSAID))
    }

    /// Every image may be pulled.
    fn free() -> Self {
        let free = || Decision::unsaid(true, "pulls are not restricted");
        Self { sponsored_oss: free(), community: free(), ..Self::with("enforce", free(), free()) }
    }

    fn with(mode: &'static str, official: Decision, verified_publishers: Decision) -> Self {
        Self {
            mode,
            official,
            verified_publishers,
            sponsored_oss: Decision::unsaid(false, "community images to Docker"),
            community: Decision::unsaid(false, ""),
            organizations: Vec::new(),
            allow: Vec::new(),
            push: Vec::new(),
            remarks: Vec::new(),
        }
    }
}

impl Decision {
    fn stated(stated: &Stated<Known<bool>>) -> Self {
        let from = Some(stated.spot.place());
        match &stated.value {
            Known::Is(allowed) => Self { allowed: *allowed, from, remark: String::new() },
            Known::NotHere(text) => Self { allowed: false, from, remark: not_known(text) },
        }
    }

    fn unsaid(allowed: bool, remark: &str) -> Self {
        Self { allowed, from: None, remark: remark.to_owned() }
    }
}

impl Listed {
    /// All repositories of the organization.
    fn whole_namespace(&self) -> Self {
        Self { value: format!("{}/*", self.value), from: self.from.clone() }
    }
}

/// Takes the known one of two statements; `false` if they are both known and differ.
fn agree<'f>(one: &mut &'f Stated<Known<bool>>, other: &'f Stated<Known<bool>>) -> bool {
    if one.value.known().is_none() {
        *one = other;
    }
    other.value.known().is_none() || one.value == other.value
}

/// Whether both are, or may be, of one organization.
fn is_same_organization(list: &Allowlist, namespace: &NamespaceAccess) -> bool {
    let name = |organization: &Option<Stated<Known<String>>>| organization.as_ref()?.value.known().cloned();
    match (name(&list.organization), name(&namespace.organization)) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

fn push_once(remarks: &mut Vec<String>, remark: String) {
    if !remarks.contains(&remark) {
        remarks.push(remark);
    }
}

const IMAGE_ACCESS_IS_OFF: &str =
    "Image Access Management is off: nothing is denied here either, only logged, until this says `enforce`";
const ONE_AT_A_TIME: &str = "import one organization at a time, and give each `[[images]]` the `groups` it is for";
const NAME_IT: &str = "its own images would be denied: --organization NAME adds it";
const UNSAID: &str = "nothing is said of it: decide";
const ALLOWLIST_MAY_BE_OFF: &str = "whether the repository allowlist is on is not said";
const PUSHES: &str =
    "Docker lets members push to their own namespaces too; here pushes go to the organizations only, unless listed";
