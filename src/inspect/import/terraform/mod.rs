//! The resources of Docker's Terraform provider (docker/docker) that say what an organization's members may use, in
//! configurations (`*.tf`, `*.tf.json`) and in states (`terraform show -json`, `terraform.tfstate`).

mod hcl;
mod json;

use super::docker::{read_image_access, read_registry_access};
use super::found::{Allowlist, Found, Known, NamespaceAccess, Stated};
use super::term::{Fields, Page, What};

pub(super) use hcl::read as read_hcl;
pub(super) use json::{is_terraform, read as read_json};

/// Reads a resource, if it is one of ours.
fn read_resource(kind: &str, mut fields: Fields, page: &mut Page<'_>, found: &mut Found) {
    if !RESOURCES.contains(&kind) || is_absent(&mut fields, page) {
        return;
    }
    match kind {
        IMAGE_ACCESS => found.image_access.extend(read_image_access(&mut fields, page)),
        ALLOWLIST => found.allowlists.extend(read_allowlist(&mut fields, page)),
        NAMESPACE => found.namespaces.push(read_namespace(&mut fields, page)),
        _ => {
            let hub = fields.require("standard_registry_docker_hub", page).and_then(|hub| hub.object(page));
            let hub = hub.and_then(|mut hub| hub.require("allowed", page)).and_then(|allowed| allowed.flag(page));
            found.registry_access.extend(read_registry_access(&mut fields, hub, page));
        }
    }
    for field in fields.into_rest() {
        if !PASSED_OVER.contains(&field.key.as_str()) {
            let message = format!("`{}` of `{kind}` is not known", field.key);
            page.warning(field.key_span, message, "nothing is made of it: see whether the policy needs it");
        }
    }
}

/// Whether `count` says that there is none. What else it or `for_each` comes to only Terraform can work out.
fn is_absent(fields: &mut Fields, page: &mut Page<'_>) -> bool {
    for key in ["count", "for_each"] {
        let Some(term) = fields.take(key) else { continue };
        if matches!(term.what, What::Other(ZERO)) {
            return true;
        }
        let message = format!("how often `{key}` makes this resource is not known here");
        page.warning(term.span, message, "it is taken as written, once; `terraform show -json` has what is in force");
    }
    false
}

fn read_allowlist(fields: &mut Fields, page: &mut Page<'_>) -> Option<Allowlist> {
    let organization = fields.take("org_name").and_then(|name| name.text(page));
    let list = fields.require("repositories", page)?.list(page)?;
    let repositories = match list.value {
        Known::Is(items) => items.into_iter().filter_map(|item| item.text(page)).collect(),
        Known::NotHere(text) => vec![Stated { value: Known::NotHere(text), spot: list.spot }],
    };
    Some(Allowlist { organization, repositories })
}

fn read_namespace(fields: &mut Fields, page: &mut Page<'_>) -> NamespaceAccess {
    let organization = fields.take("org_name").and_then(|name| name.text(page));
    let mut flag = |key| fields.take(key).and_then(|flag| flag.flag(page));
    NamespaceAccess {
        organization,
        no_personal_pushes: flag("disable_push_member_namespaces"),
        has_allowlist: flag("repository_allowlist_enabled"),
    }
}

const IMAGE_ACCESS: &str = "docker_org_setting_image_access_management";
const ALLOWLIST: &str = "docker_org_setting_image_access_allowlist";
const NAMESPACE: &str = "docker_org_setting_namespace";
const REGISTRY_ACCESS: &str = "docker_org_setting_registry_access_management";
/// The resources that are read.
const RESOURCES: [&str; 4] = [IMAGE_ACCESS, ALLOWLIST, NAMESPACE, REGISTRY_ACCESS];
/// What has no part in what members may use: Terraform's own arguments, and who may make public repositories.
const PASSED_OVER: [&str; 7] =
    ["id", "org_name", "provider", "depends_on", "lifecycle", "disable_public_repositories", "timeouts"];
/// What a literal 0 is called, of which `count` makes nothing.
const ZERO: &str = "zero";
