//! Names at Docker Hub: of organizations and of repositories.

/// The name of an organization at Docker Hub, checked; faults say what is wrong with it.
///
/// # Errors
/// It is none.
pub fn organization_name(text: &str) -> Result<String, String> {
    if is_segment(text) {
        return Ok(text.to_owned());
    }
    let shown: String = text.chars().take(40).collect();
    Err(format!("`{}` is no name of an organization at Docker Hub", shown.escape_debug()))
}

/// A repository of the Hub by its whole name.
pub(super) fn repository_name(text: &str) -> Result<String, String> {
    let text = text.strip_prefix("docker.io/").unwrap_or(text);
    let segments = text.split('/').count();
    match text.split('/').all(is_segment) {
        true if segments == 1 => Ok(format!("library/{text}")),
        true if text.len() <= MAX_REPOSITORY => Ok(text.to_owned()),
        _ => {
            let shown: String = text.chars().take(40).collect();
            Err(format!("`{}` is no repository of Docker Hub", shown.escape_debug()))
        }
    }
}

/// A part of a repository's name (OCI distribution specification): letters and digits with `.`, `_`, `__` or hyphens
/// between.
fn is_segment(text: &str) -> bool {
    let is_word = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = bytes.first().is_some_and(|c| is_word(*c)) && bytes.last().is_some_and(|c| is_word(*c));
    let mut separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends && bytes.len() <= MAX_REPOSITORY
        && separators.all(|between| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|c| c == b'-'))
}

const MAX_REPOSITORY: usize = 255;

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
