//! What is asked of a token service, and what it answers: a token, or why not. Plain functions.

use serde::Deserialize;

use super::challenge::Bearer;
use super::credentials::{Credentials, TOKEN_USER, basic};
use super::target::Target;

/// A request for a token.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct TokenAsk {
    /// Where.
    pub target: Target,
    /// The value of `Authorization`, if it says who asks.
    pub authorization: Option<String>,
    /// The form that is posted; `None`: it is a GET.
    pub form: Option<String>,
}

/// The requests for a token that are tried in turn until one is answered: anonymous or with a password by GET, with an
/// identity token by POST first. `fallback` is the scope where the challenge has none.
pub(super) fn asks(bearer: &Bearer, fallback: &str, credentials: Option<&Credentials>) -> Vec<TokenAsk> {
    let is_scoped = !bearer.scopes.is_empty() || bearer.realm.has_parameter("scope");
    let scopes: Vec<&str> = if is_scoped { bearer.scopes.iter().map(String::as_str).collect() } else { vec![fallback] };
    let service = bearer.service.as_deref().map(|service| ("service", service));
    let query = service.into_iter().chain(scopes.iter().map(|scope| ("scope", *scope)));
    let get = |authorization| TokenAsk { target: bearer.realm.with_query(query), authorization, form: None };
    match credentials {
        None | Some(Credentials::RegistryToken(_)) => vec![get(None)],
        Some(password @ Credentials::Password { .. }) => vec![get(password.basic())],
        Some(Credentials::IdentityToken(token)) => {
            let pairs = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", "pullgate")];
            let scope = scopes.join(" ");
            let form = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(pairs)
                .extend_pairs(service)
                .append_pair("scope", &scope)
                .finish();
            // Harbor and others know no POST.
            let by_get = get(Some(basic(TOKEN_USER, token)));
            vec![TokenAsk { target: bearer.realm.clone(), authorization: None, form: Some(form) }, by_get]
        }
    }
}

/// Reads a token service's answer: `token`, or `access_token` (RFC 6749 §5.1); `None`: there is none in it that could be
/// shown to a registry.
pub(super) fn read(body: &[u8]) -> Option<String> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let said = |token: Option<String>| token.filter(|token| !token.is_empty());
    let token = said(answer.token).or_else(|| said(answer.access_token))?;
    token.bytes().all(|byte| byte.is_ascii_graphic()).then_some(token)
}

/// The code of a registry's first error, such as `MANIFEST_UNKNOWN` (OCI distribution specification); its other words may
/// hold anything.
pub(super) fn error_code(body: &[u8]) -> Option<String> {
    let answer: Errors = serde_json::from_slice(body).ok()?;
    let code = answer.errors.into_iter().next()?.code;
    let is_code = !code.is_empty() && code.len() <= 64 && code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    is_code.then_some(code)
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    code: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SCOPE: &str = "repository:a/b:pull";

    fn bearer(realm: &str, scopes: &[&str]) -> Bearer {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        Bearer { realm: Target::parse(realm).unwrap(), service: Some("s x".to_owned()), scopes }
    }

    #[test]
    fn a_token_is_asked_for_with_the_scopes_of_the_challenge_or_for_the_pull() {
        let asked = |bearer| asks(&bearer, SCOPE, None)[0].target.path_and_query();
        assert_eq!(asked(bearer("https://t.example/t", &[])), "/t?service=s+x&scope=repository%3Aa%2Fb%3Apull");
        assert_eq!(asked(bearer("https://t.example/t?a=1", &["x", "y"])), "/t?a=1&service=s+x&scope=x&scope=y");
        assert_eq!(asked(bearer("https://t.example/t?scope=z", &[])), "/t?scope=z&service=s+x", "the realm says");
    }

    #[test]
    fn who_asks_is_said_as_the_credentials_have_it() {
        let bearer = bearer("https://t.example/t", &["x"]);
        let password = Credentials::Password { user: "u".to_owned(), password: "p".to_owned() };
        let by_password = &asks(&bearer, SCOPE, Some(&password))[0];
        assert_eq!((by_password.authorization.as_deref(), &by_password.form), (Some("Basic dTpw"), &None));
        let identity = asks(&bearer, SCOPE, Some(&Credentials::IdentityToken("i&d".to_owned())));
        let form = "grant_type=refresh_token&refresh_token=i%26d&client_id=pullgate&service=s+x&scope=x";
        assert_eq!((identity[0].form.as_deref(), identity[0].target.path_and_query().as_str()), (Some(form), "/t"));
        assert!(identity[1].form.is_none() && identity[1].authorization.is_some());
    }

    #[test]
    fn an_answer_has_a_token_under_one_name_or_the_other() {
        for (body, token) in [
            (r#"{"token":"t","access_token":"a","expires_in":60}"#, Some("t")),
            (r#"{"token":"","access_token":"a"}"#, Some("a")),
            (r#"{"access_token":"a"}"#, Some("a")),
            (r#"{"token":"line\nbreak"}"#, None),
            (r#"{"token":5}"#, None),
            ("{}", None),
            ("<html>", None),
        ] {
            assert_eq!(read(body.as_bytes()).as_deref(), token, "{body}");
        }
    }

    #[test]
    fn of_an_error_the_code_alone_is_taken() {
        let code = |body: &str| error_code(body.as_bytes());
        assert_eq!(code(r#"{"errors":[{"code":"DENIED","message":"x"}]}"#).as_deref(), Some("DENIED"));
        for body in [r#"{"errors":[]}"#, r#"{"errors":[{"code":"see https://x"}]}"#, "", "null"] {
            assert_eq!(code(body), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (read(&body), error_code(&body));
        }
    }
}
