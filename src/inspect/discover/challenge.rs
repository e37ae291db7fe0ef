//! What a registry asks to be shown, as it says in `WWW-Authenticate` (RFC 9110 §11.6.1, and the [token specification] of
//! registries), with the liberties that registries take: values without quotes and with blanks in them, several challenges
//! in one header, commas in a scope that is not quoted.
//!
//! [token specification]: https://distribution.github.io/distribution/spec/auth/token/

use super::target::{Target, TargetFault};

/// One way of proving who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

/// Whom to ask for a token, and for which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bearer {
    /// The token service.
    pub realm: Target,
    /// Who the token is for.
    pub service: Option<String>,
    /// What it is to permit; empty: the challenge does not say.
    pub scopes: Vec<String>,
}

/// Reads the values of all `WWW-Authenticate` headers of an answer. What is none is passed over.
pub(super) fn parse<'a>(headers: impl IntoIterator<Item = &'a str>) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    for header in headers {
        let mut reading: Option<Challenge> = None;
        for element in elements(header) {
            match Element::read(element) {
                Element::Parameter(name, value) => {
                    if let Some(challenge) = &mut reading {
                        challenge.add(name, value);
                    }
                }
                Element::Word(word) if reading.as_mut().is_some_and(|challenge| challenge.goes_on_with(word)) => {}
                Element::Word(word) => challenges.extend(reading.replace(Challenge::new(word))),
                Element::Challenge(scheme, (name, value)) => {
                    let mut challenge = Challenge::new(scheme);
                    challenge.add(name, value);
                    challenges.extend(reading.replace(challenge));
                }
            }
        }
        challenges.extend(reading);
    }
    challenges.truncate(MAX_CHALLENGES);
    challenges
}

impl Challenge {
    fn new(scheme: &str) -> Self {
        Self { scheme: scheme.to_owned(), parameters: Vec::new() }
    }

    /// Whether it is this scheme, in whatever case.
    pub(super) fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// The first value of a parameter.
    pub(super) fn parameter(&self, wanted: &str) -> Option<&str> {
        let mut values = self.parameters.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        values.next().map(|(_, value)| value.as_str())
    }

    /// What a `Bearer` challenge says, its realm read as an answer of `asked`; `None`: it is another, or has no realm.
    pub(super) fn bearer(&self, asked: &Target) -> Option<Result<Bearer, TargetFault>> {
        let realm = self.parameter("realm").filter(|_| self.is("bearer"))?;
        let scopes = self.parameters.iter().filter(|(name, _)| name.eq_ignore_ascii_case("scope"));
        let scopes = scopes.flat_map(|(_, value)| value.split_ascii_whitespace()).map(str::to_owned).collect();
        let service = self.parameter("service").filter(|service| !service.is_empty()).map(str::to_owned);
        Some(asked.join(realm).map(|realm| Bearer { realm, service, scopes }))
    }

    fn add(&mut self, name: &str, value: String) {
        if self.parameters.len() < MAX_PARAMETERS {
            self.parameters.push((name.to_owned(), value));
        }
    }

    /// Takes what a scope without quotes has behind its comma: `scope=repository:a/b:pull,push`.
    fn goes_on_with(&mut self, word: &str) -> bool {
        let last = self.parameters.last_mut().filter(|(name, _)| name.eq_ignore_ascii_case("scope"));
        match last {
            Some((_, value)) if ACTIONS.contains(&word) => {
                value.push(',');
                value.push_str(word);
                true
            }
            _ => false,
        }
    }
}

/// What stands between two commas.
enum Element<'a> {
    /// `name=value`.
    Parameter(&'a str, String),
    /// `Scheme name=value`.
    Challenge(&'a str, (&'a str, String)),
    /// `Scheme`, with what is no parameter behind it left out.
    Word(&'a str),
}

impl<'a> Element<'a> {
    fn read(text: &'a str) -> Self {
        if let Some((name, value)) = parameter(text) {
            return Self::Parameter(name, value);
        }
        let (scheme, rest) =
            text.split_at(text.find(|character: char| character.is_ascii_whitespace()).unwrap_or(text.len()));
        match parameter(rest.trim()) {
            Some(parameter) => Self::Challenge(scheme, parameter),
            None => Self::Word(scheme),
        }
    }
}

/// `name=value`, blanks around the sign allowed; the value in quotes, or as it is.
fn parameter(text: &str) -> Option<(&str, String)> {
    let (name, value) = text.split_once('=')?;
    let name = name.trim();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return None;
    }
    Some((name, unquoted(value.trim())))
}

fn unquoted(value: &str) -> String {
    let Some(quoted) = value.strip_prefix('"') else { return value.to_owned() };
    let mut text = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => text.extend(characters.next()),
            plain => text.push(plain),
        }
    }
    text
}

/// The parts between commas that stand in no quotes; empty ones left out.
fn elements(header: &str) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = header.split(move |character| {
        let is_end = character == ',' && !is_quoted;
        is_quoted ^= character == '"' && !is_escaped;
        is_escaped = character == '\\' && is_quoted && !is_escaped;
        is_end
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

/// What a scope permits.
const ACTIONS: [&str; 4] = ["pull", "push", "delete", "*"];
/// More than any registry offers.
const MAX_CHALLENGES: usize = 16;
const MAX_PARAMETERS: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked() -> Target {
        Target::parse("https://registry.example/v2/").unwrap()
    }

    /// Realm, service and scopes of the first bearer challenge.
    fn bearer(headers: &[&str]) -> (String, String, String) {
        let challenges = parse(headers.iter().copied());
        let bearer = challenges.iter().find_map(|challenge| challenge.bearer(&asked())).unwrap().unwrap();
        let path = bearer.realm.path_and_query();
        (format!("{}{path}", bearer.realm), bearer.service.unwrap_or_default(), bearer.scopes.join(" "))
    }

    #[test]
    fn the_challenges_of_registries_are_read_with_their_oddities() {
        for (headers, realm, service, scopes) in [
            (
                &[
                    r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull""#,
                ][..],
                "https://auth.docker.io/token",
                "registry.docker.io",
                "repository:a/b:pull",
            ),
            (
                &["Bearer realm=https://icr.example/oauth/token, service=registry, scope=repository:a/b:pull,push"],
                "https://icr.example/oauth/token",
                "registry",
                "repository:a/b:pull,push",
            ),
            (
                &[r#"bearer  Realm = "https://scc.example/api/authorize", service="SUSE Linux Docker Registry""#],
                "https://scc.example/api/authorize",
                "SUSE Linux Docker Registry",
                "",
            ),
            (
                &["Bearer realm=https://ocr.example/auth,service=Oracle Registry,scope="],
                "https://ocr.example/auth",
                "Oracle Registry",
                "",
            ),
            (
                &[r#"Bearer realm="https://nvcr.example/proxy_auth?scope=repository:nvidia/cuda:pull,push""#],
                "https://nvcr.example/proxy_auth?scope=repository:nvidia/cuda:pull,push",
                "",
                "",
            ),
            (
                &[r#"Basic realm="a, b", Bearer realm="/token", service="x\"y", error="invalid_token""#],
                "https://registry.example/token",
                "x\"y",
                "",
            ),
            (&["Negotiate", "Basic realm=x", "BEARER realm=\"https://t.example/\""], "https://t.example/", "", ""),
            (
                &[r#"Bearer realm="https://t.example/t",scope="repository:a:pull repository:b:pull",scope="x:y:z""#],
                "https://t.example/t",
                "",
                "repository:a:pull repository:b:pull x:y:z",
            ),
        ] {
            let expected = (realm.to_owned(), service.to_owned(), scopes.to_owned());
            assert_eq!(bearer(headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn several_challenges_in_one_header_are_told_apart() {
        let challenges = parse([r#"Negotiate dG9rZW4=, NTLM, Basic realm="Sonatype Nexus", charset="UTF-8""#]);
        let schemes: Vec<&str> = challenges.iter().map(|challenge| challenge.scheme.as_str()).collect();
        assert_eq!(schemes, ["Negotiate", "NTLM", "Basic"]);
        assert_eq!(challenges[2].parameter("CHARSET"), Some("UTF-8"));
        assert!(challenges[2].is("basic") && challenges[2].bearer(&asked()).is_none());
    }

    #[test]
    fn a_realm_that_cannot_be_asked_is_a_fault_and_none_is_no_bearer() {
        let read = |header| parse([header]).first().and_then(|challenge| challenge.bearer(&asked()));
        assert_eq!(read("Bearer realm=\"ldap://x/\""), Some(Err(TargetFault::Scheme)));
        assert_eq!(read("Bearer service=x"), None);
        assert_eq!(read(", ,"), None);
        assert_eq!(read("realm=x"), None);
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic_or_grow(header in "\\PC{0,200}|([Bb]earer|Basic|,|=|\"|\\\\|realm|scope|pull| |x){0,80}") {
            let challenges = parse([header.as_str()]);
            prop_assert!(challenges.len() <= MAX_CHALLENGES);
            for challenge in challenges {
                prop_assert!(challenge.parameters.len() <= MAX_PARAMETERS);
                let _ = challenge.bearer(&asked());
            }
        }

        #[test]
        fn what_is_quoted_properly_is_read_as_it_was_meant(value in "[ -~]{0,40}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let header = format!("Bearer a=\"b\", realm=\"{quoted}\" , service=s");
            let challenges = parse([header.as_str()]);
            prop_assert_eq!(challenges[0].parameter("realm"), Some(value.as_str()));
            prop_assert_eq!(challenges[0].parameter("service"), Some("s"));
        }
    }
}
