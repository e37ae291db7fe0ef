//! From a host name that somebody wrote down to the preset of the registry it is.

use std::collections::BTreeMap;

use super::{Kind, Placeholder, Preset, PresetHost, Purpose, catalogue};
use crate::name::DomainName;
use crate::policy::pattern::Pattern;

/// The registry that answers to a host name, as a policy entry names it.
#[derive(Clone, Debug)]
pub struct Recognized {
    /// Its preset.
    pub preset: &'static Preset,
    /// What the name says for the preset's placeholders.
    pub values: BTreeMap<&'static str, String>,
    /// The values that the preset needs as well, and the name does not tell.
    pub missing: Vec<&'static Placeholder>,
    /// Whether the preset with these values covers the name itself; `docker.io` and the Hub's legacy names, say, are
    /// known to be its names, but no pull needs them.
    pub is_covered: bool,
}

/// The registry whose API answers at `name`. What administrators run themselves has no name to be recognized by, and
/// hosts that belong to another registry count there.
pub fn recognize(name: &DomainName) -> Option<Recognized> {
    let text = name.to_string();
    let registries = || catalogue().iter().filter(|preset| preset.kind == Kind::Registry && !preset.self_hosted);
    let found = |is_wanted: fn(&PresetHost) -> bool| {
        registries().find_map(|preset| {
            let hosts = preset.hosts.iter().filter(|host| is_api(host) && is_wanted(host));
            hosts.filter_map(|host| capture(&host.name, &text)).find_map(|values| preset.recognized(name, values))
        })
    };
    found(|host| !host.name.contains('<')).or_else(|| found(|host| host.name.contains('<')))
}

impl Recognized {
    /// The same with values that the name itself does not tell, as other hosts of the registry have them in their names.
    #[must_use]
    pub fn completed<'a>(mut self, others: impl IntoIterator<Item = &'a DomainName>) -> Self {
        for other in others {
            let text = other.to_string();
            let templates = self.preset.hosts.iter().filter(|host| host.name.contains('<'));
            for told in templates.filter_map(|host| capture(&host.name, &text)) {
                let fits = |(key, value): (&&str, &String)| self.values.get(*key).is_none_or(|known| known == value);
                let is_of_it = told.keys().any(|key| self.values.contains_key(key)) || self.values.is_empty();
                if is_of_it && told.iter().all(fits) {
                    let is_needed = |key: &&str| self.missing.iter().any(|missing| missing.name == **key);
                    let needed: Vec<_> = told.into_iter().filter(|(key, _)| is_needed(key)).collect();
                    self.missing.retain(|missing| needed.iter().all(|(key, _)| missing.name != *key));
                    self.values.extend(needed);
                }
            }
        }
        self
    }

    /// What the preset with these values allows; `None`: a value is missing, or none that it takes.
    pub fn hosts(&self) -> Option<Vec<Pattern>> {
        let values = self.values.iter().map(|(key, value)| (*key, vec![value.as_str()])).collect();
        let expansion = self.preset.expand(&[], &values).ok()?;
        Some(expansion.hosts.into_iter().map(|(pattern, _)| pattern).collect())
    }
}

impl Preset {
    /// `None` when the values do not fit.
    fn recognized(&'static self, name: &DomainName, values: BTreeMap<&'static str, String>) -> Option<Recognized> {
        let is_missing = |known: &&Placeholder| !known.optional && !values.contains_key(known.name.as_str());
        let missing: Vec<&Placeholder> = self.placeholders.iter().filter(is_missing).collect();
        let told = values.iter().map(|(key, value)| (*key, vec![value.as_str()]));
        let examples = missing.iter().map(|known| (known.name.as_str(), vec![known.example.as_str()]));
        let expansion = self.expand(&[], &told.chain(examples).collect()).ok()?;
        let is_covered = expansion.hosts.iter().any(|(pattern, _)| pattern.matches(name.as_name()));
        Some(Recognized { preset: self, values, missing, is_covered })
    }
}

fn is_api(host: &PresetHost) -> bool {
    host.purposes.contains(&Purpose::Api) && host.belongs_to.is_none()
}

/// What stands for each placeholder of `template` in `name`, each a part of one label; `None` when it is no such name.
fn capture(template: &'static str, name: &str) -> Option<BTreeMap<&'static str, String>> {
    let Some((before, rest)) = template.split_once('<') else {
        return (template == name).then(BTreeMap::new);
    };
    let (placeholder, after) = rest.split_once('>')?;
    let rest = name.strip_prefix(before)?;
    let label = rest.split('.').next().unwrap_or_default().len();
    // The longest first: `eu-west-1-docker.pkg.dev` has several ends for `<location>-docker`.
    (1..=label).rev().filter(|&end| rest.is_char_boundary(end)).find_map(|end| {
        let mut values = capture(after, &rest[end..])?;
        let value = rest[..end].to_owned();
        let is_other = values.insert(placeholder, value.clone()).is_some_and(|known| known != value);
        (!is_other).then_some(values)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The preset's id, its values (missing ones without one), and whether it covers the name.
    fn recognized(name: &str) -> Option<(&'static str, String, bool)> {
        let found = recognize(&name.parse().unwrap())?;
        let told = found.values.iter().map(|(key, value)| format!("{key}={value}"));
        let missing = found.missing.iter().map(|placeholder| format!("{}=", placeholder.name));
        let values = told.chain(missing).collect::<Vec<_>>().join(" ");
        Some((&found.preset.id, values, found.is_covered))
    }

    #[test]
    fn a_host_name_tells_its_registry_and_the_values_of_its_preset() {
        for (name, id, values, is_covered) in [
            ("ghcr.io", "ghcr", "", true),
            ("GHCR.io", "ghcr", "", true),
            ("registry-1.docker.io", "docker-hub", "", true),
            ("docker.io", "docker-hub", "", false),
            ("index.docker.io", "docker-hub", "", false),
            ("quay.io", "quay-io", "", true),
            ("mcr.microsoft.com", "mcr", "", true),
            (
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
                "ecr-private",
                "account=123456789012 region=eu-west-1",
                true,
            ),
            ("contoso.azurecr.io", "acr", "registry=contoso region=", true),
            ("europe-west1-docker.pkg.dev", "google-artifact-registry", "location=europe-west1", true),
        ] {
            assert_eq!(recognized(name), Some((id, values.to_owned(), is_covered)), "{name}");
        }
    }

    #[test]
    fn what_the_name_does_not_tell_is_found_in_other_hosts_names() {
        let names = ["contoso.azurecr.io", "other.westeurope.data.azurecr.io", "contoso.eastus.data.azurecr.io"];
        let names: Vec<DomainName> = names.iter().map(|name| name.parse().unwrap()).collect();
        let completed = recognize(&names[0]).unwrap().completed(&names);
        assert_eq!(completed.values["region"], "eastus");
        let hosts = completed.hosts().unwrap();
        assert!(completed.missing.is_empty() && hosts.iter().any(|pattern| pattern.matches(names[2].as_name())));
        assert!(recognize(&names[0]).unwrap().completed(&names[..2]).hosts().is_none(), "another customer's region");
    }

    #[test]
    fn other_names_are_nobodys() {
        for name in [
            "registry.example.com",
            "1234.dkr.ecr.eu-west-1.amazonaws.com",
            "a.b.azurecr.io",
            "evil-ghcr.io",
            "ghcr.io.example",
            "auth.docker.io",
        ] {
            assert_eq!(recognized(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_name_makes_it_panic(name in "[a-z0-9.-]{1,60}") {
            if let Ok(name) = name.parse() {
                recognize(&name);
            }
        }
    }
}
