//! The credentials that Docker has for registries: what its settings say (`config.json`), and what a credential helper
//! answers. Reads and decides; `keyring` opens the files and runs the helpers.
//!
//! For one registry Docker asks, in this order: its own helper (`credHelpers`), the helper for all (`credsStore`), the
//! settings themselves (`auths`).

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::{BASE64, BASE64_NOPAD};
use serde::Deserialize;

/// Docker's settings as far as they are about credentials.
#[derive(Default)]
pub(super) struct DockerConfig {
    auths: BTreeMap<String, Credentials>,
    creds_store: Option<HelperName>,
    cred_helpers: BTreeMap<String, HelperName>,
}

/// Where a registry's credentials are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source<'c> {
    /// A helper is asked for this server.
    Helper(&'c HelperName, String),
    /// In the settings.
    Stored(&'c Credentials),
}

/// What proves who asks. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    /// A user with a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// What a token service gives tokens for.
    IdentityToken(String),
    /// A token that needs no exchange.
    RegistryToken(String),
}

/// What stands behind `docker-credential-` in a helper's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HelperName(String);

/// Why settings or a helper's answer cannot be read. Says nothing of what stands in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no JSON of the shape that Docker writes")]
pub(super) struct CredentialsFault;

impl DockerConfig {
    /// Reads `config.json`, or `auth.json` of podman. Entries that say nothing are passed over.
    ///
    /// # Errors
    /// It is no JSON object of that shape.
    pub(super) fn parse(text: &str) -> Result<Self, CredentialsFault> {
        let written: Written = serde_json::from_str(text).map_err(|_| CredentialsFault)?;
        let auths = written.auths.unwrap_or_default().into_iter();
        let helpers = written.cred_helpers.unwrap_or_default().into_iter();
        Ok(Self {
            auths: auths.filter_map(|(key, auth)| Some((key, auth.credentials()?))).collect(),
            creds_store: written.creds_store.as_deref().and_then(HelperName::read),
            cred_helpers: helpers.filter_map(|(key, name)| Some((key, HelperName::read(&name)?))).collect(),
        })
    }

    /// Where the credentials of a registry are. `registry` is what people type for it, with its port.
    pub(super) fn source(&self, registry: &str) -> Option<Source<'_>> {
        let keys = keys_of(registry);
        let helper = keys.iter().find_map(|key| self.cred_helpers.get(*key));
        if let Some(helper) = helper.or(self.creds_store.as_ref()) {
            return Some(Source::Helper(helper, keys[0].to_owned()));
        }
        let exact = keys.iter().find_map(|key| self.auths.get(*key));
        let by_host = || self.auths.iter().find(|(key, _)| keys.contains(&host_of(key))).map(|(_, auth)| auth);
        exact.or_else(by_host).map(Source::Stored)
    }
}

impl Credentials {
    /// Reads what a helper prints; `None`: it has nothing for the server.
    ///
    /// # Errors
    /// It is no JSON object of that shape.
    pub(super) fn of_helper(answer: &str) -> Result<Option<Self>, CredentialsFault> {
        let Answer { username, secret } = serde_json::from_str(answer).map_err(|_| CredentialsFault)?;
        Ok(match (username.as_str(), secret) {
            (_, secret) if secret.is_empty() => None,
            (TOKEN_USER, secret) => Some(Self::IdentityToken(secret)),
            (_, password) => Some(Self::Password { user: username, password }),
        })
    }

    /// The value of `Authorization` that says them (RFC 7617), if they are of that kind.
    pub(super) fn basic(&self) -> Option<String> {
        match self {
            Self::Password { user, password } => Some(basic(user, password)),
            Self::IdentityToken(_) | Self::RegistryToken(_) => None,
        }
    }
}

/// `Basic` with a user and a password.
pub(super) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes()))
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl HelperName {
    /// A name that is no path: whoever writes it chooses among the helpers, not among all files.
    fn read(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (!text.is_empty() && text.bytes().all(plain)).then(|| Self(text.to_owned()))
    }

    /// The program.
    pub(super) fn program(&self) -> String {
        format!("docker-credential-{}", self.0)
    }
}

impl Entry {
    fn credentials(self) -> Option<Credentials> {
        let said = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(token) = said(self.identity_token) {
            return Some(Credentials::IdentityToken(token));
        }
        if let Some(token) = said(self.registry_token) {
            return Some(Credentials::RegistryToken(token));
        }
        let decoded = said(self.auth).and_then(|auth| decode(&auth));
        let (user, password) = decoded.or_else(|| said(self.username).zip(said(self.password)))?;
        Some(Credentials::Password { user, password })
    }
}

/// User and password from what Docker writes: `user:password` in base64, with a NUL behind it at times.
fn decode(auth: &str) -> Option<(String, String)> {
    let auth = auth.trim();
    let bytes = BASE64.decode(auth.as_bytes()).or_else(|_| BASE64_NOPAD.decode(auth.as_bytes())).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

/// What a registry's credentials may be kept under, its proper key first.
fn keys_of(registry: &str) -> Vec<&str> {
    if HUB_NAMES.contains(&registry) { vec![HUB_KEY, "index.docker.io", "docker.io"] } else { vec![registry] }
}

/// The host of a key, which old versions wrote as an address.
fn host_of(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    key.split('/').next().unwrap_or(key)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    auths: Option<BTreeMap<String, Entry>>,
    creds_store: Option<String>,
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    #[serde(rename = "identitytoken")]
    identity_token: Option<String>,
    #[serde(rename = "registrytoken")]
    registry_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// What Docker keeps the credentials of Docker Hub under.
const HUB_KEY: &str = "https://index.docker.io/v1/";
const HUB_NAMES: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];
/// The user of a helper's answer whose secret is an identity token.
pub(super) const TOKEN_USER: &str = "<token>";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn password(user: &str, password: &str) -> Credentials {
        Credentials::Password { user: user.to_owned(), password: password.to_owned() }
    }

    #[test]
    fn docker_s_order_is_kept_a_helper_of_its_own_the_helper_for_all_the_settings() {
        let text = r#"{
            "auths": { "ghcr.io": { "auth": "dTpw" }, "https://index.docker.io/v1/": {}, "https://old.example/v1/": { "auth": "dTpwOng=" } },
            "credHelpers": { "123456789012.dkr.ecr.eu-west-1.amazonaws.com": "ecr-login", "evil.example": "../../bin/sh" },
            "HttpHeaders": {}, "plugins": { "x": {} }
        }"#;
        let config = DockerConfig::parse(text).unwrap();
        let helper = HelperName("ecr-login".to_owned());
        let ecr = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
        assert_eq!(config.source(ecr), Some(Source::Helper(&helper, ecr.to_owned())));
        assert_eq!(helper.program(), "docker-credential-ecr-login");
        assert_eq!(config.source("ghcr.io"), Some(Source::Stored(&password("u", "p"))));
        assert_eq!(config.source("old.example"), Some(Source::Stored(&password("u", "p:x"))));
        for nothing in ["docker.io", "evil.example", "quay.io", "ghcr.io:5000"] {
            assert_eq!(config.source(nothing), None, "{nothing}");
        }
        let stored = DockerConfig::parse(r#"{"credsStore":"pass","auths":{"ghcr.io":{"auth":"dTpw"}}}"#).unwrap();
        let pass = HelperName("pass".to_owned());
        assert_eq!(stored.source("docker.io"), Some(Source::Helper(&pass, HUB_KEY.to_owned())));
    }

    #[test]
    fn the_hub_s_credentials_are_under_its_old_address() {
        let config = DockerConfig::parse(r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"}}}"#).unwrap();
        for name in HUB_NAMES {
            assert_eq!(config.source(name), Some(Source::Stored(&password("u", "p"))), "{name}");
        }
    }

    #[test]
    fn settings_hold_tokens_as_well() {
        let of = |auth: &str| {
            let config = DockerConfig::parse(&format!(r#"{{"auths":{{"a.example":{auth}}}}}"#)).unwrap();
            match config.source("a.example") {
                Some(Source::Stored(credentials)) => Some(credentials.clone()),
                _ => None,
            }
        };
        assert_eq!(of(r#"{"auth":"dTpw","identitytoken":"t"}"#), Some(Credentials::IdentityToken("t".to_owned())));
        assert_eq!(of(r#"{"registrytoken":"t"}"#), Some(Credentials::RegistryToken("t".to_owned())));
        assert_eq!(of(r#"{"username":"u","password":"p"}"#), Some(password("u", "p")));
        assert_eq!(of(r#"{"auth":"dTpwAAA="}"#), Some(password("u", "p")));
        for nothing in ["{}", r#"{"auth":""}"#, r#"{"auth":"?"}"#, r#"{"auth":"dQ=="}"#] {
            assert_eq!(of(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_helper_answers_a_password_a_token_or_nothing() {
        let of = |text| Credentials::of_helper(text);
        assert_eq!(of(r#"{"ServerURL":"x","Username":"u","Secret":"p"}"#), Ok(Some(password("u", "p"))));
        assert_eq!(of(r#"{"Username":"<token>","Secret":"t"}"#), Ok(Some(Credentials::IdentityToken("t".to_owned()))));
        assert_eq!(of(r#"{"Username":"","Secret":""}"#), Ok(None));
        assert_eq!(of("credentials not found in native keychain\n"), Err(CredentialsFault));
    }

    #[test]
    fn nothing_shows_a_secret() {
        let secret = password("u", "hunter2");
        assert_eq!(format!("{secret:?}"), "Credentials(…)");
        let broken = DockerConfig::parse(r#"{"auths":{"a":{"auth":5,"password":"hunter2"}}}"#);
        assert!(!format!("{:?}", broken.err()).contains("hunter2"));
        assert_eq!(secret.basic().as_deref(), Some("Basic dTpodW50ZXIy"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,100}", host in "[a-z.:/]{0,20}") {
            let _ = Credentials::of_helper(&text);
            if let Ok(config) = DockerConfig::parse(&text) {
                let _ = config.source(&host);
            }
        }

        #[test]
        fn what_docker_writes_is_read_back(user in "[^:\\x00]{1,10}", word in "[^\\x00]{1,10}") {
            let auth = BASE64.encode(format!("{user}:{word}").as_bytes());
            prop_assert_eq!(decode(&auth), Some((user, word)));
        }
    }
}
