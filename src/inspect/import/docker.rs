//! The JSON files that Docker has: registry.json, and what its API answers about an organization's settings.
//!
//! * `registry.json` (docs.docker.com, "Enforce sign-in"): `{"allowedOrgs": ["myorg"]}`.
//! * `GET /v2/orgs/NAME/settings` (Docker Hub API 2-beta): `{"restricted_images": {"enabled", "allow_official_images",
//!   "allow_verified_publishers"}}`.
//! * `GET /v2/orgs/NAME/settings/registry-access-management` (Docker's Terraform provider asks it; the API's
//!   description does not have it): `{"enabled", "standard_registries": [{"id": "DockerHub", "allowed"}],
//!   "custom_registries": [{"address", "friendly_name", "allowed"}]}`.
//!
//! What the settings hold besides is none of our business.

use super::found::{CustomRegistry, Found, ImageAccess, Known, RegistryAccess, Stated};
use super::term::{Fields, Page, Term};

pub(super) fn read_registry_json(mut fields: Fields, page: &mut Page<'_>, found: &mut Found) {
    let Some(list) = fields.require(ALLOWED_ORGS, page).and_then(|list| list.list(page)) else { return };
    let Known::Is(items) = list.value else { return };
    for text in items.into_iter().filter_map(|item| item.text(page)) {
        if let Known::Is(name) = text.value {
            found.organizations.push(Stated { value: name, spot: text.spot });
        }
    }
    for field in fields.into_rest() {
        page.warning(field.key_span, format!("`{}` means nothing in a registry.json", field.key), "it is passed over");
    }
}

pub(super) fn read_organization_settings(mut fields: Fields, page: &mut Page<'_>, found: &mut Found) {
    let is_registry_access = fields.has("standard_registries") || fields.has("custom_registries");
    if is_registry_access {
        let hub = fields.take("standard_registries").and_then(|list| read_standard(list, page));
        found.registry_access.extend(read_registry_access(&mut fields, hub, page));
    }
    if fields.has(RESTRICTED_IMAGES) || !is_registry_access {
        let restricted = fields.require(RESTRICTED_IMAGES, page).and_then(|restricted| restricted.object(page));
        found.image_access.extend(restricted.and_then(|mut fields| read_image_access(&mut fields, page)));
    }
}

/// The keys that image access has in the API and in Terraform.
pub(super) fn read_image_access(fields: &mut Fields, page: &mut Page<'_>) -> Option<ImageAccess> {
    let organization = fields.take("org_name").and_then(|name| name.text(page));
    let mut flag = |key| fields.require(key, page).and_then(|flag| flag.flag(page));
    let (enabled, official, verified) =
        (flag("enabled"), flag("allow_official_images"), flag("allow_verified_publishers"));
    let (enabled, official, verified_publishers) = (enabled?, official?, verified?);
    Some(ImageAccess { organization, enabled, official, verified_publishers, spot: page.spot(fields.span()) })
}

/// The keys that registry access has in the API and in Terraform; `hub` is written differently.
pub(super) fn read_registry_access(
    fields: &mut Fields,
    hub: Option<Stated<Known<bool>>>,
    page: &mut Page<'_>,
) -> Option<RegistryAccess> {
    let enabled = fields.require("enabled", page).and_then(|enabled| enabled.flag(page));
    let list = fields.require("custom_registries", page).and_then(|list| list.list(page));
    let (custom, not_here) = match list {
        Some(Stated { value: Known::Is(items), .. }) => (items, None),
        Some(Stated { value: Known::NotHere(value), spot }) => (Vec::new(), Some(Stated { value, spot })),
        None => (Vec::new(), None),
    };
    let custom = custom.into_iter().filter_map(|item| read_custom(item, page)).collect();
    Some(RegistryAccess { enabled: enabled?, hub, custom, not_here })
}

fn read_custom(item: Term, page: &mut Page<'_>) -> Option<CustomRegistry> {
    let mut fields = item.object(page)?;
    let address = fields.require("address", page).and_then(|address| address.text(page));
    let allowed = fields.require("allowed", page).and_then(|allowed| allowed.flag(page));
    let friendly_name = fields.take("friendly_name").and_then(|name| name.text(page));
    let friendly_name = friendly_name.and_then(|name| name.value.known().cloned());
    Some(CustomRegistry { address: address?, friendly_name, allowed: allowed? })
}

/// Of the standard registries there is one.
fn read_standard(list: Term, page: &mut Page<'_>) -> Option<Stated<Known<bool>>> {
    let Known::Is(items) = list.list(page)?.value else { return None };
    let mut hub = None;
    for item in items {
        let Some(mut fields) = item.object(page) else { continue };
        let id = fields.require("id", page).and_then(|id| id.text(page));
        let allowed = fields.require("allowed", page).and_then(|allowed| allowed.flag(page));
        let Some(Stated { value: Known::Is(id), spot }) = id else { continue };
        if id == DOCKER_HUB {
            hub = allowed;
        } else {
            page.warning(spot.span, format!("the standard registry `{id}` is not known"), "write it into the policy");
        }
    }
    hub
}

pub(super) const ALLOWED_ORGS: &str = "allowedOrgs";
pub(super) const RESTRICTED_IMAGES: &str = "restricted_images";
/// What the API calls the Hub.
const DOCKER_HUB: &str = "DockerHub";
