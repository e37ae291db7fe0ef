//! What people type to name an image: `docker.io/library/nginx:1.27`, `ghcr.io/mycompany/app@sha256:…`.
//!
//! Read as Docker reads it: without a registry it is one of Docker Hub, and there a name without a namespace is an
//! official image.

use std::fmt;
use std::net::IpAddr;

use crate::name::DomainName;
use crate::policy::repository::{Repository, RepositoryFault};

/// An image of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageReference {
    /// The name that the registry is asked by: `registry-1.docker.io` for `docker.io` and `index.docker.io`.
    pub registry: DomainName,
    /// The registry's port, where one is written.
    pub port: Option<u16>,
    /// The repository.
    pub repository: Repository,
    /// The tag, where one is written.
    pub tag: Option<String>,
    /// The digest, where one is written.
    pub digest: Option<String>,
    /// What people type for the registry.
    host: String,
}

/// What is wrong with a written image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ImageReferenceFault {
    /// What was seen.
    pub message: String,
    /// What would do.
    pub hint: String,
}

impl ImageReference {
    /// Reads an image's name.
    ///
    /// # Errors
    /// URLs, registries that are addresses or no names, repositories, tags and digests that are none.
    pub fn parse(text: &str) -> Result<Self, ImageReferenceFault> {
        if let Some((_, rest)) = text.split_once("://") {
            return Err(fault(format!("`{text}` is a URL"), format!("write `{rest}`")));
        }
        let (text, digest) = match text.split_once('@') {
            Some((text, digest)) => (text, Some(parse_digest(digest)?)),
            None => (text, None),
        };
        let (host, path) = split_registry(text);
        let (path, tag) = match path.split_once(':') {
            Some((path, tag)) => (path, Some(parse_tag(tag)?)),
            None => (path, None),
        };
        let (registry, port) = parse_registry(host)?;
        let is_hub = is_hub(&registry);
        let path = if is_hub && !path.contains('/') { format!("{OFFICIAL}/{path}") } else { path.to_owned() };
        let repository = Repository::parse(&path).map_err(|wrong| not_a_repository(&path, wrong))?;
        let registry = if is_hub { hub() } else { registry };
        let host = match port {
            Some(port) if is_hub => format!("{HUB}:{port}"),
            None if is_hub => HUB.to_owned(),
            _ => host.to_ascii_lowercase(),
        };
        Ok(Self { registry, port, repository, tag, digest, host })
    }

    /// The image's registry as people type it, with its port.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl fmt::Display for ImageReference {
    /// What people type: `docker.io`, not the host that is asked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

/// Whether `text` is a digest, and so can stand in the path of a registry's request.
pub fn is_digest(text: &str) -> bool {
    parse_digest(text).is_ok()
}

/// The registry and the rest: what stands before the first `/` is a registry if it could be no account of the Hub.
fn split_registry(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':', '[']) || host.eq_ignore_ascii_case("localhost") => (host, rest),
        _ => (HUB, text),
    }
}

fn parse_registry(host: &str) -> Result<(DomainName, Option<u16>), ImageReferenceFault> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') => (name, Some(parse_port(port)?)),
        _ => (host, None),
    };
    if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        let message = format!("`{name}` is an address, not a name");
        return Err(fault(message, "a registry reached by its address is asked without DNS: only names are judged"));
    }
    let registry: DomainName = name.parse().map_err(|error| not_a_registry(name, &error))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if registry.as_name().is_root() || !registry.as_name().labels().all(|label| label.iter().copied().all(plain)) {
        return Err(not_a_registry(name, &"letters, digits, `-` and `_` only"));
    }
    Ok((registry, port))
}

fn parse_port(port: &str) -> Result<u16, ImageReferenceFault> {
    let number = port.parse().ok().filter(|&number: &u16| number != 0);
    number.ok_or_else(|| fault(format!("`{port}` is not a port"), "a port is a number up to 65535"))
}

/// A tag by the OCI distribution specification: a letter, digit or `_`, then up to 127 of those, `.` and `-`.
fn parse_tag(tag: &str) -> Result<String, ImageReferenceFault> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let begins_well = tag.bytes().next().is_some_and(word);
    let goes_on_well = tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-');
    if begins_well && goes_on_well && tag.len() <= MAX_TAG {
        return Ok(tag.to_owned());
    }
    Err(fault(format!("`{tag}` is not a tag"), "write it as in `nginx:1.27`; a `:` ends the name"))
}

/// A digest by the OCI image specification; of SHA-256 the length is known.
fn parse_digest(digest: &str) -> Result<String, ImageReferenceFault> {
    let (algorithm, encoded) = digest.split_once(':').unwrap_or_default();
    let part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let is_encoded = |byte: u8| byte.is_ascii_alphanumeric() || b"=_-".contains(&byte);
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let fits = match algorithm {
        "sha256" => encoded.len() == 64 && encoded.bytes().all(is_hex),
        _ => !encoded.is_empty() && encoded.len() <= MAX_TAG && encoded.bytes().all(is_encoded),
    };
    if fits && algorithm.split(['+', '.', '_', '-']).all(part) {
        return Ok(digest.to_owned());
    }
    Err(fault(format!("`{digest}` is not a digest"), "write `@sha256:` and 64 hexadecimal digits in lower case"))
}

fn not_a_registry(name: &str, why: &dyn fmt::Display) -> ImageReferenceFault {
    fault(format!("`{name}` is no registry's name: {why}"), "write it as in `ghcr.io/mycompany/app`")
}

fn not_a_repository(path: &str, wrong: RepositoryFault) -> ImageReferenceFault {
    let hint = match wrong {
        RepositoryFault::UpperCase => format!("write `{}`", path.to_ascii_lowercase()),
        _ => "write it as in `docker.io/library/nginx:1.27`".to_owned(),
    };
    fault(format!("`{path}`: {wrong}"), hint)
}

fn is_hub(registry: &DomainName) -> bool {
    let written = registry.to_string();
    HUB_NAMES.contains(&written.as_str())
}

fn hub() -> DomainName {
    HUB_API.parse().expect("the Hub's host is a name")
}

fn fault(message: impl Into<String>, hint: impl Into<String>) -> ImageReferenceFault {
    ImageReferenceFault { message: message.into(), hint: hint.into() }
}

/// What people call Docker Hub.
const HUB: &str = "docker.io";
/// The host that Docker Hub's images are asked for at.
const HUB_API: &str = "registry-1.docker.io";
/// What else it is written as.
const HUB_NAMES: [&str; 3] = [HUB, "index.docker.io", HUB_API];
/// The namespace of official images.
const OFFICIAL: &str = "library";
/// The longest tag (OCI distribution specification), and longer than any digest.
const MAX_TAG: usize = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> ImageReference {
        ImageReference::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    #[test]
    fn an_image_is_read_as_docker_reads_it() {
        for (text, registry, repository, shown) in [
            ("nginx", "registry-1.docker.io", "library/nginx", "docker.io/library/nginx"),
            ("foo/bar", "registry-1.docker.io", "foo/bar", "docker.io/foo/bar"),
            ("docker.io/nginx:1", "registry-1.docker.io", "library/nginx", "docker.io/library/nginx:1"),
            ("index.docker.io/foo/bar", "registry-1.docker.io", "foo/bar", "docker.io/foo/bar"),
            ("registry-1.docker.io/foo/bar", "registry-1.docker.io", "foo/bar", "docker.io/foo/bar"),
            ("ghcr.io/mycompany/a/b:x-1", "ghcr.io", "mycompany/a/b", "ghcr.io/mycompany/a/b:x-1"),
            ("GHCR.io/a", "ghcr.io", "a", "ghcr.io/a"),
            ("localhost/foo", "localhost", "foo", "localhost/foo"),
            ("nexus:5000/foo:1", "nexus", "foo", "nexus:5000/foo:1"),
            ("nexus.corp.example:5000/foo", "nexus.corp.example", "foo", "nexus.corp.example:5000/foo"),
        ] {
            let image = read(text);
            assert_eq!(
                (image.registry.to_string().as_str(), image.repository.as_str(), image.to_string().as_str()),
                (registry, repository, shown),
                "{text}"
            );
        }
    }

    #[test]
    fn a_tag_and_a_digest_may_both_be_written() {
        let digest = format!("sha256:{}", "0f".repeat(32));
        let image = read(&format!("ghcr.io/a/b:v1.0_x@{digest}"));
        assert_eq!((image.tag.as_deref(), image.digest.as_deref()), (Some("v1.0_x"), Some(digest.as_str())));
        assert_eq!(image.to_string(), format!("ghcr.io/a/b:v1.0_x@{digest}"));
        assert_eq!((read("a/b").tag, read("a/b").digest), (None, None));
    }

    #[test]
    fn what_is_no_image_says_what_would_do() {
        for (text, hint) in [
            ("https://ghcr.io/a/b", "write `ghcr.io/a/b`"),
            ("10.0.0.1/a", "a registry reached by its address is asked without DNS: only names are judged"),
            ("10.0.0.1:5000/a", "a registry reached by its address is asked without DNS: only names are judged"),
            ("[fd00::1]:5000/a", "a registry reached by its address is asked without DNS: only names are judged"),
            ("nexus:99999/a", "a port is a number up to 65535"),
            ("docker.io/Foo/bar", "write `foo/bar`"),
            ("docker.io/foo//bar", "write it as in `docker.io/library/nginx:1.27`"),
            ("docker.io/", "write it as in `docker.io/library/nginx:1.27`"),
            ("a/b:", "write it as in `nginx:1.27`; a `:` ends the name"),
            ("a/b:x:y", "write it as in `nginx:1.27`; a `:` ends the name"),
            ("a/b@sha256:00", "write `@sha256:` and 64 hexadecimal digits in lower case"),
            ("a/b@", "write `@sha256:` and 64 hexadecimal digits in lower case"),
            ("gh cr.io/a", "write it as in `ghcr.io/mycompany/app`"),
            (".../a", "write it as in `ghcr.io/mycompany/app`"),
        ] {
            assert_eq!(ImageReference::parse(text).expect_err(text).hint, hint, "{text}");
        }
    }

    #[test]
    fn a_port_stays_where_it_is_the_hub_s_too() {
        for text in ["docker.io:988/library/b", "registry.example:5000/a"] {
            assert_eq!(read(text).to_string(), text);
        }
        assert_eq!(read("docker.io:988/b").to_string(), "docker.io:988/library/b");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(text in "([a-zA-Z0-9.:\\[\\]-]{0,8}/)?[a-z0-9_.-]{1,4}(/[a-z]{1,3})?(:[a-z0-9.]{0,4})?(@[a-z0-9:]{0,8})?|\\PC{0,20}") {
            if let Ok(image) = ImageReference::parse(&text) {
                prop_assert_eq!(ImageReference::parse(&image.to_string()), Ok(image));
            }
        }
    }
}
