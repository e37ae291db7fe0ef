//! What a client is answered instead of a registry's response, in the registries' own form, with the reason wherever one
//! of the engines looks for it.
//!
//! The same text stands as reason phrase (old containerd and BuildKit print it, and nothing else of a HEAD), in the body's
//! `DENIED` error (Docker, podman, skopeo) and as `Warning`. A denied HEAD of a manifest is answered 405, upon which
//! containerd asks again by GET and has a body to read; a denied HEAD of a blob 404, upon which a push goes on to the POST
//! whose refusal is printed. docs/clients.md has what each engine makes of it.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::ext::ReasonPhrase;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, WARNING};
use hyper::{Method, Response, StatusCode};

use super::request::{Resource, Unknown};

/// Why a request is not handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The image policy says no; with its reason.
    Image(String),
    /// It is for nothing that a registry has.
    Unknown(Unknown),
    /// `Host` names something else than what the connection is for.
    Misdirected,
    /// Something about it has two readings.
    Malformed(&'static str),
    /// It has come by here before.
    Loop,
    /// The registry cannot be reached; with the reason.
    Unreachable(String),
}

/// Where the error codes are defined: the OCI distribution specification, "Error Codes".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    Denied,
    Unsupported,
    Unknown,
}

impl Refusal {
    /// The response; `manifest or blob` of a HEAD decides its status. What the policy denies says whom to ask.
    pub(super) fn into_response(
        self,
        method: &Method,
        resource: Option<Resource<'_>>,
        contact: Option<&str>,
    ) -> Response<Full<Bytes>> {
        let (status, code, mut text) = self.parts();
        if let (Self::Image(_) | Self::Unknown(_), Some(contact)) = (&self, contact) {
            text = format!("{}; ask {contact}", text.chars().take(MAX_TEXT).collect::<String>());
        }
        let status = match (method, resource, &self) {
            (&Method::HEAD, Some(Resource::Manifest(_)), Self::Image(_)) => StatusCode::METHOD_NOT_ALLOWED,
            (&Method::HEAD, Some(Resource::Blob(_)), Self::Image(_)) => StatusCode::NOT_FOUND,
            _ => status,
        };
        let mut response = error(status, code, &text);
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        }
        if matches!(self, Self::Misdirected | Self::Malformed(_) | Self::Loop) {
            // What comes next on this connection may be the rest of something else.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn parts(&self) -> (StatusCode, Code, String) {
        match self {
            Self::Image(reason) => (StatusCode::FORBIDDEN, Code::Denied, denied(reason)),
            Self::Unknown(Unknown::Method) => {
                (StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported, denied(&Unknown::Method.to_string()))
            }
            Self::Unknown(unknown) => (StatusCode::FORBIDDEN, Code::Denied, denied(&unknown.to_string())),
            Self::Misdirected => (
                StatusCode::MISDIRECTED_REQUEST,
                Code::Denied,
                "registry access denied: Host is not the name that the connection is for".to_owned(),
            ),
            Self::Malformed(what) => {
                (StatusCode::BAD_REQUEST, Code::Unsupported, format!("registry access denied: {what}"))
            }
            Self::Loop => {
                (StatusCode::LOOP_DETECTED, Code::Unknown, "the registry's name leads back to this gateway".to_owned())
            }
            Self::Unreachable(reason) => (
                StatusCode::BAD_GATEWAY,
                Code::Unknown,
                format!("the image gateway cannot reach the registry: {reason}"),
            ),
        }
    }
}

/// The text that a person reads, after the one that Docker's own restriction prints.
pub(super) fn denied(reason: &str) -> String {
    format!("image access denied: {reason}")
}

fn error(status: StatusCode, code: Code, text: &str) -> Response<Full<Bytes>> {
    let text = printable(text);
    let body = serde_json::json!({ "errors": [{ "code": code.word(), "message": text, "detail": null }] });
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    if let Ok(reason) = ReasonPhrase::try_from(text.as_bytes()) {
        response.extensions_mut().insert(reason);
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(VERSION, HeaderValue::from_static("registry/2.0"));
    // RFC 7234 §5.5; the distribution specification has registries warn people this way.
    if let Ok(warning) = HeaderValue::from_str(&format!("299 - \"{}\"", text.replace(['"', '\\'], "'"))) {
        headers.insert(WARNING, warning);
    }
    response
}

/// What fits a header line: names of repositories are ASCII, reasons may quote what a policy file says.
fn printable(text: &str) -> String {
    let plain = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    text.chars().take(MAX_TEXT + MAX_CONTACT).map(plain).collect()
}

impl Code {
    fn word(self) -> &'static str {
        match self {
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// What tells clients that they speak to a registry.
const VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
/// A line of a terminal or three.
const MAX_TEXT: usize = 300;
/// Whom to ask, beside it.
const MAX_CONTACT: usize = 220;

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn text(response: Response<Full<Bytes>>) -> String {
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_reason_stands_wherever_an_engine_looks_for_it() {
        let refusal = Refusal::Image("community images not allowed".into());
        let response = refusal.into_response(&Method::GET, Some(Resource::Manifest("1")), None);
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        let phrase = response.extensions().get::<ReasonPhrase>().unwrap();
        assert_eq!(phrase.as_bytes(), b"image access denied: community images not allowed");
        assert_eq!(response.headers()[WARNING], "299 - \"image access denied: community images not allowed\"");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(
            text(response).await,
            r#"{"errors":[{"code":"DENIED","message":"image access denied: community images not allowed","detail":null}]}"#
        );
    }

    #[tokio::test]
    async fn what_the_policy_denies_says_whom_to_ask_also_behind_a_long_reason() {
        let contact = Some("platform team, #registries");
        let denied = |reason: &str| Refusal::Image(reason.into()).into_response(&Method::GET, None, contact);
        let phrase = denied("x").extensions().get::<ReasonPhrase>().unwrap().as_bytes().to_vec();
        assert_eq!(phrase, b"image access denied: x; ask platform team, #registries");
        let long = text(denied(&"x".repeat(1000))).await;
        assert!(long.contains("x; ask platform team, #registries"), "{long}");
        let unreachable = Refusal::Unreachable("x".into()).into_response(&Method::GET, None, contact);
        assert!(!text(unreachable).await.contains("platform team"));
    }

    #[test]
    fn a_head_is_answered_so_that_the_client_goes_on_to_what_has_a_body() {
        let answered = |method, resource| Refusal::Image("x".into()).into_response(&method, Some(resource), None);
        let manifest = answered(Method::HEAD, Resource::Manifest("1"));
        assert_eq!(
            (manifest.status(), manifest.headers()[ALLOW].as_bytes()),
            (StatusCode::METHOD_NOT_ALLOWED, &b"GET"[..])
        );
        assert_eq!(answered(Method::HEAD, Resource::Blob("sha256:1")).status(), StatusCode::NOT_FOUND);
        assert_eq!(answered(Method::HEAD, Resource::Tags).status(), StatusCode::FORBIDDEN);
        assert_eq!(answered(Method::POST, Resource::NewUpload).status(), StatusCode::FORBIDDEN);
    }

    #[test]
    fn a_reason_cannot_end_its_header() {
        let response = Refusal::Image("a\r\nSet-Cookie: x \"é\"".into()).into_response(&Method::GET, None, None);
        assert_eq!(response.headers()[WARNING], "299 - \"image access denied: a??Set-Cookie: x '?'\"");
        assert!(response.extensions().get::<ReasonPhrase>().is_some());
    }

    #[test]
    fn a_connection_on_which_something_was_odd_is_closed() {
        for refusal in [Refusal::Misdirected, Refusal::Malformed("two hosts"), Refusal::Loop] {
            assert_eq!(refusal.into_response(&Method::GET, None, None).headers()[CONNECTION], "close");
        }
        let denied = Refusal::Image("x".into()).into_response(&Method::GET, None, None);
        assert!(!denied.headers().contains_key(CONNECTION));
    }
}
