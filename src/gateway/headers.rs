//! Headers on their way through: what belongs to one connection stays there (RFC 9110 §7.6.1), all else goes on as it is.

use hyper::Uri;
use hyper::header::{
    CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};

use super::HTTPS_PORT;
use crate::name::DomainName;

/// Makes the headers of a client's request those of the request to `host`, as the registry is asked for.
pub(super) fn forward_request(headers: &mut HeaderMap, host: &HeaderValue, via: &HeaderValue) {
    strip_hop_by_hop(headers);
    for name in ADDED_ON_THE_WAY {
        headers.remove(name);
    }
    // The server part has said 100 already, as soon as somebody wanted to read the body.
    headers.remove(EXPECT);
    headers.insert(HOST, host.clone());
    headers.append(VIA, via.clone());
}

/// Makes the headers of a registry's response those of the response to the client. A `Location` on the registry itself is
/// made one that the client reaches the same way it came: over TLS, on `port`.
pub(super) fn forward_response(headers: &mut HeaderMap, name: &DomainName, port: u16) {
    strip_hop_by_hop(headers);
    let location = headers.get(LOCATION).and_then(|location| own_location(location, name, port));
    if let Some(location) = location {
        headers.insert(LOCATION, location);
    }
}

/// The `Host` of requests to a registry.
pub(super) fn host_of(name: &DomainName, port: u16) -> HeaderValue {
    let host = if port == HTTPS_PORT { name.to_string() } else { format!("{name}:{port}") };
    HeaderValue::from_str(&host).expect("names are shown in ASCII")
}

/// Whether a request has come by here before.
pub(super) fn has_passed(headers: &HeaderMap, via: &HeaderValue) -> bool {
    let is_ours = |value: &HeaderValue| value.as_bytes().split(|&byte| byte == b',').any(|hop| hop.trim_ascii() == via);
    headers.get_all(VIA).iter().any(is_ours)
}

/// Whether a URI is on the host that answers, and its port there is none or the one it was asked on.
pub(super) fn is_own(uri: &Uri, name: &DomainName) -> bool {
    uri.host().is_some_and(|host| host.parse::<DomainName>().is_ok_and(|host| host == *name))
}

fn own_location(location: &HeaderValue, name: &DomainName, port: u16) -> Option<HeaderValue> {
    let uri: Uri = location.to_str().ok()?.parse().ok()?;
    if !is_own(&uri, name) {
        return None;
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let place =
        if port == HTTPS_PORT { format!("https://{name}{path}") } else { format!("https://{name}:{port}{path}") };
    HeaderValue::from_str(&place).ok()
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // These are what the message is made of, whatever a client says of them.
        .filter(|name| *name != HOST && *name != hyper::header::CONTENT_LENGTH)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// RFC 9110 §7.6.1, and those that RFC 2616 §13.5.1 had.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
/// What proxies tell servers of clients: nobody before us is believed, and registries are told nothing.
const ADDED_ON_THE_WAY: [HeaderName; 5] = [
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        lines.iter().map(pair).collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_belongs_to_one_connection_does_not_go_on() {
        let mut request = headers(&[
            ("host", "other.example"),
            ("connection", "keep-alive, X-Private, host, content-length"),
            ("keep-alive", "timeout=5"),
            ("x-private", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "Basic eA=="),
            ("expect", "100-continue"),
            ("x-forwarded-for", "10.0.0.1"),
            ("authorization", "Bearer x"),
            ("content-length", "3"),
            ("range", "bytes=5-"),
        ]);
        let via = HeaderValue::from_static("1.1 pullgate-1");
        forward_request(&mut request, &HeaderValue::from_static("ghcr.io"), &via);
        assert_eq!(names(&request), ["authorization", "content-length", "host", "range", "via"]);
        assert_eq!(request[HOST], "ghcr.io");
        assert!(has_passed(&request, &via));
    }

    #[test]
    fn a_request_has_passed_only_where_this_gateway_says_so() {
        let via = HeaderValue::from_static("1.1 pullgate-1");
        assert!(has_passed(&headers(&[("via", "1.0 a, 1.1 pullgate-1")]), &via));
        assert!(!has_passed(&headers(&[("via", "1.1 pullgate-2, 1.1 pullgate-11")]), &via));
        assert!(!has_passed(&HeaderMap::new(), &via));
    }

    #[test]
    fn only_a_location_on_the_registry_itself_is_rewritten() {
        let name = "registry-1.docker.io".parse().unwrap();
        for (sent, port, forwarded) in [
            (
                "http://registry-1.docker.io/v2/a/blobs/uploads/1?_state=x",
                443,
                "https://registry-1.docker.io/v2/a/blobs/uploads/1?_state=x",
            ),
            ("https://REGISTRY-1.docker.io:443/v2/", 443, "https://registry-1.docker.io/v2/"),
            ("https://registry-1.docker.io:80/v2/", 5000, "https://registry-1.docker.io:5000/v2/"),
            (
                "https://cdn.example/blob?sig=http://registry-1.docker.io/",
                443,
                "https://cdn.example/blob?sig=http://registry-1.docker.io/",
            ),
            ("/v2/a/blobs/uploads/1", 443, "/v2/a/blobs/uploads/1"),
            ("http://registry-1.docker.io.evil.example/", 443, "http://registry-1.docker.io.evil.example/"),
        ] {
            let mut response = headers(&[("location", sent), ("connection", "close")]);
            forward_response(&mut response, &name, port);
            assert_eq!(response[LOCATION], forwarded);
            assert_eq!(names(&response), ["location"]);
        }
    }
}
