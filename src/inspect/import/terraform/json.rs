//! A configuration in Terraform's JSON form, or a state: `terraform show -json` of a state or a plan, `terraform.tfstate`.

use super::super::found::Found;
use super::super::term::{Field, Fields, Page, Term, What};
use super::{RESOURCES, read_resource};

/// Whether the keys of a JSON file are those of one of the forms.
pub(in super::super) fn is_terraform(fields: &Fields) -> bool {
    CONFIGURATION.iter().chain(&STATE).any(|key| fields.has(key))
}

pub(in super::super) fn read(mut fields: Fields, page: &mut Page<'_>, found: &mut Found) {
    let states = ["values", "planned_values"].map(|key| fields.take(key));
    let resources = fields.take("resources");
    if states.iter().any(Option::is_some) || resources.is_some() {
        for state in states.into_iter().flatten() {
            let root = state.object(page).and_then(|mut state| state.take("root_module"));
            read_module(root, page, found);
        }
        return read_state_file(resources, page, found);
    }
    let Some(kinds) = fields.take("resource") else { return };
    read_configuration(kinds, page, found);
}

/// `{"TYPE": {"NAME": {…}}}`, where an array may stand for any of the objects.
fn read_configuration(kinds: Term, page: &mut Page<'_>, found: &mut Found) {
    for Field { key: kind, value: names, .. } in members(kinds, page) {
        for Field { value: bodies, .. } in members(names, page) {
            for body in bodies.each() {
                let Some(fields) = with_templates(body).object(page) else { continue };
                read_resource(&kind, fields, page, found);
            }
        }
    }
}

/// The members of an object, or of every object of an array.
fn members(term: Term, page: &mut Page<'_>) -> Vec<Field> {
    let objects: Vec<Fields> = term.each().into_iter().filter_map(|term| term.object(page)).collect();
    objects.into_iter().flat_map(Fields::into_rest).collect()
}

/// In a configuration, strings are templates.
fn with_templates(term: Term) -> Term {
    let what = match term.what {
        What::Text(text) if text.contains("${") || text.contains("%{") => What::NotHere,
        What::List(items) => What::List(items.into_iter().map(with_templates).collect()),
        What::Object(fields) => {
            let value = |field: Field| Field { value: with_templates(field.value), ..field };
            What::Object(fields.into_iter().map(value).collect())
        }
        other => other,
    };
    Term { what, span: term.span }
}

/// A module of `terraform show -json`, with those within.
fn read_module(root: Option<Term>, page: &mut Page<'_>, found: &mut Found) {
    let mut modules: Vec<Term> = root.into_iter().collect();
    while let Some(module) = modules.pop() {
        let Some(mut fields) = module.object(page) else { continue };
        for resource in fields.take("resources").into_iter().flat_map(Term::each) {
            let Some(mut resource) = resource.object(page) else { continue };
            if let Some(kind) = managed_kind(&resource) {
                read_attributes(kind, resource.require("values", page), page, found);
            }
        }
        modules.extend(fields.take("child_modules").into_iter().flat_map(Term::each).rev());
    }
}

/// The resources of a `terraform.tfstate`, each with its instances.
fn read_state_file(resources: Option<Term>, page: &mut Page<'_>, found: &mut Found) {
    for resource in resources.into_iter().flat_map(Term::each) {
        let Some(mut resource) = resource.object(page) else { continue };
        let Some(kind) = managed_kind(&resource) else { continue };
        for instance in resource.take("instances").into_iter().flat_map(Term::each) {
            let attributes = instance.object(page).and_then(|mut instance| instance.require("attributes", page));
            read_attributes(kind, attributes, page, found);
        }
    }
}

/// Of which of our kinds a resource of a state is; data sources are passed over.
fn managed_kind(resource: &Fields) -> Option<&'static str> {
    let kind = resource.text_of("type").filter(|_| resource.text_of("mode") == Some("managed"))?;
    RESOURCES.into_iter().find(|known| *known == kind)
}

fn read_attributes(kind: &str, attributes: Option<Term>, page: &mut Page<'_>, found: &mut Found) {
    if let Some(fields) = attributes.and_then(|attributes| attributes.object(page)) {
        read_resource(kind, fields, page, found);
    }
}

/// What a configuration may begin with.
const CONFIGURATION: [&str; 8] =
    ["resource", "terraform", "provider", "variable", "locals", "output", "module", "data"];
/// What a state or a plan has.
const STATE: [&str; 4] = ["format_version", "terraform_version", "values", "planned_values"];
