//! Names at Docker Hub: of organizations and of repositories.

use crate::policy::repository::Repository;

/// The name of an organization at Docker Hub, checked; faults say what is wrong with it.
///
/// # Errors
/// It is none.
pub fn organization_name(text: &str) -> Result<String, String> {
    // An organization is the first part of its repositories' names.
    match Repository::parse(text) {
        Ok(name) if name.segments().count() == 1 => Ok(text.to_owned()),
        _ => Err(format!("`{}` is no name of an organization at Docker Hub", quoted(text))),
    }
}

/// A repository of the Hub by its whole name.
pub(super) fn repository_name(text: &str) -> Result<String, String> {
    let text = text.strip_prefix("docker.io/").unwrap_or(text);
    let whole = if text.contains('/') { text.to_owned() } else { format!("library/{text}") };
    match Repository::parse(&whole) {
        Ok(_) => Ok(whole),
        Err(_) => Err(format!("`{}` is no repository of Docker Hub", quoted(text))),
    }
}

/// The beginning of what is no name.
fn quoted(text: &str) -> String {
    text.chars().take(40).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_by_the_grammar_of_repositories() {
        for name in ["myorg", "my-org", "my--org", "a.b", "a_b", "a__b", "0"] {
            assert_eq!(organization_name(name).as_deref(), Ok(name));
        }
        for name in ["", "MyOrg", "my org", "-a", "a-", "a..b", "a___b", "a._b", "a/b", "\u{e4}"] {
            assert!(organization_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_repository_is_known_by_its_whole_name() {
        assert_eq!(repository_name("docker.io/prom/prometheus").as_deref(), Ok("prom/prometheus"));
        assert_eq!(repository_name("alpine").as_deref(), Ok("library/alpine"));
        for name in ["prom/prometheus:v3", "prom/*", "prom//x", "/x", "x/", &"a/".repeat(200)] {
            assert!(repository_name(name).is_err(), "{name}");
        }
    }
}
