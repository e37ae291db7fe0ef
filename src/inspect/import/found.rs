//! What the files say, each value with its place.

use crate::diagnostic::{Diagnostic, Place, Source};
use crate::tree::Span;

/// All that was found in all files, in their order.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// `allowedOrgs` of a registry.json.
    pub(super) organizations: Vec<Stated<String>>,
    pub(super) image_access: Vec<ImageAccess>,
    pub(super) allowlists: Vec<Allowlist>,
    pub(super) namespaces: Vec<NamespaceAccess>,
    pub(super) registry_access: Vec<RegistryAccess>,
}

/// Image Access Management: which categories of images of the Hub may be used.
#[derive(Debug)]
pub(super) struct ImageAccess {
    pub(super) organization: Option<Stated<Known<String>>>,
    /// If not, nothing is restricted.
    pub(super) enabled: Stated<Known<bool>>,
    pub(super) official: Stated<Known<bool>>,
    pub(super) verified_publishers: Stated<Known<bool>>,
    pub(super) spot: Spot,
}

/// The repository allowlist: what may be used whatever its category.
#[derive(Debug)]
pub(super) struct Allowlist {
    pub(super) organization: Option<Stated<Known<String>>>,
    pub(super) repositories: Vec<Stated<Known<String>>>,
}

/// Namespace access: where members may push, and whether the allowlist is in force.
#[derive(Debug)]
pub(super) struct NamespaceAccess {
    pub(super) organization: Option<Stated<Known<String>>>,
    /// Whether members may not push to their own namespaces.
    pub(super) no_personal_pushes: Option<Stated<Known<bool>>>,
    pub(super) has_allowlist: Option<Stated<Known<bool>>>,
}

/// Registry Access Management: which registries may be reached.
#[derive(Debug)]
pub(super) struct RegistryAccess {
    /// If not, nothing is restricted.
    pub(super) enabled: Stated<Known<bool>>,
    /// Whether Docker Hub may be reached; `None` when nothing is said of it.
    pub(super) hub: Option<Stated<Known<bool>>>,
    pub(super) custom: Vec<CustomRegistry>,
    /// A list of registries that is not known.
    pub(super) not_here: Option<Stated<String>>,
}

/// One registry of Registry Access Management.
#[derive(Debug)]
pub(super) struct CustomRegistry {
    pub(super) address: Stated<Known<String>>,
    pub(super) friendly_name: Option<String>,
    pub(super) allowed: Stated<Known<bool>>,
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct Stated<T> {
    pub(super) value: T,
    pub(super) spot: Spot,
}

/// A value, or what stands in its place where only Terraform can work it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known<T> {
    Is(T),
    NotHere(String),
}

/// A part of a file that can still be pointed at when all files have been read.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) source: Source,
    pub(super) span: Span,
}

impl Spot {
    pub(super) fn place(&self) -> Place {
        self.source.place(self.span.start)
    }

    pub(super) fn fault(&self, message: impl Into<String>, hint: impl Into<String>) -> Diagnostic {
        self.source.fault(self.span.clone(), message).hint(hint)
    }

    pub(super) fn warning(&self, message: impl Into<String>, hint: impl Into<String>) -> Diagnostic {
        self.source.warning(self.span.clone(), message).hint(hint)
    }
}

impl Found {
    pub(super) fn is_empty(&self) -> bool {
        let Self { organizations, image_access, allowlists, namespaces, registry_access } = self;
        organizations.is_empty()
            && image_access.is_empty()
            && allowlists.is_empty()
            && namespaces.is_empty()
            && registry_access.is_empty()
    }

    /// How many statements there are.
    pub(super) fn len(&self) -> usize {
        let Self { organizations, image_access, allowlists, namespaces, registry_access } = self;
        organizations.len() + image_access.len() + allowlists.len() + namespaces.len() + registry_access.len()
    }
}

impl<T> Known<T> {
    pub(super) fn known(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            Self::NotHere(_) => None,
        }
    }
}
