//! What a request to a registry is for, from its method and path alone, by the OCI distribution specification's table of
//! endpoints. Pure; what is not in the table is nothing.
//!
//! ```text
//! /v2/                                 the version check
//! /v2/NAME/manifests/REFERENCE         GET HEAD: pull    PUT DELETE: push
//! /v2/NAME/blobs/DIGEST                GET HEAD: pull    DELETE: push
//! /v2/NAME/blobs/uploads/[ID]          push (POST GET PATCH PUT DELETE)
//! /v2/NAME/tags/list                   GET HEAD: pull
//! /v2/NAME/referrers/DIGEST            GET HEAD: pull
//! /v2/_catalog                         GET HEAD: all repositories
//! /v1/search                           GET HEAD: a search, as `docker search` asks
//! ```
//!
//! A path is cut at the last keyword, as registries do it: `/v2/a/manifests/b/tags/list` is about the repository
//! `a/manifests/b`. A path with a `%`, an empty or a dot segment has no meaning here: two readers could see two in it.

use std::fmt;

use hyper::Method;

use crate::policy::images::{Access, Listing};
use crate::policy::repository::Repository;

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request<'r> {
    /// Whether this is a registry, and who must log in where.
    Version,
    /// Something of a repository.
    Repository(RepositoryRequest<'r>),
    /// Which repositories there are.
    Listing(Listing),
}

/// A request about a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RepositoryRequest<'r> {
    /// The repository.
    pub repository: Repository,
    /// What the request does to it.
    pub access: Access,
    /// What of it.
    pub resource: Resource<'r>,
    /// The repository whose blob is to appear in this one (`mount` and `from`): it must be readable.
    pub mounts: Option<Repository>,
    query: Option<Query<'r>>,
}

/// What of a repository a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource<'r> {
    /// A manifest, by tag or digest.
    Manifest(&'r str),
    /// A blob, by digest.
    Blob(&'r str),
    /// A new upload.
    NewUpload,
    /// An upload under way, by the keyword and the id that the registry gave it.
    Upload(&'r str, &'r str),
    /// The tags.
    Tags,
    /// What refers to a digest.
    Referrers(&'r str),
}

/// Why a request is for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unknown {
    /// Not an endpoint of a registry.
    #[error("no such endpoint")]
    Endpoint,
    /// An endpoint, with a method that it has not.
    #[error("no such method here")]
    Method,
    /// Parameters that two readers could read in two ways.
    #[error("ambiguous parameters")]
    Query,
}

/// A query string, taken apart at its `&`, as sent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Query<'r>(Vec<&'r str>);

impl<'r> Request<'r> {
    /// Reads method, path and query of a request in origin form.
    ///
    /// # Errors
    /// What it is instead.
    pub(super) fn parse(method: &Method, path: &'r str, query: Option<&'r str>) -> Result<Self, Unknown> {
        let reads = || only(method, &[Method::GET, Method::HEAD]);
        match path {
            "/v2/" | "/v2" => return reads().map(|()| Self::Version),
            "/v2/_catalog" => return reads().map(|()| Self::Listing(Listing::Catalog)),
            "/v1/search" => return reads().map(|()| Self::Listing(Listing::Search)),
            _ => {}
        }
        let rest = path.strip_prefix("/v2/").ok_or(Unknown::Endpoint)?;
        let (name, resource) = cut(rest).ok_or(Unknown::Endpoint)?;
        let repository = Repository::parse(name).map_err(|_| Unknown::Endpoint)?;
        let access = resource.access(method)?;
        let query = query.map(Query::split);
        let mounts = match (resource, &query) {
            (Resource::NewUpload, Some(query)) => query.mounts()?,
            _ => None,
        };
        Ok(Self::Repository(RepositoryRequest { repository, access, resource, mounts, query }))
    }
}

impl RepositoryRequest<'_> {
    /// Path and query as the registry gets them: made of what was read, never what was sent.
    pub(super) fn target(&self) -> String {
        let path = format!("/v2/{}/{}", self.repository.as_str(), self.resource);
        match self.query.as_ref().map(|query| query.forwarded(self.mounts.is_some())) {
            Some(query) if !query.is_empty() => format!("{path}?{query}"),
            _ => path,
        }
    }
}

/// Cuts a path below `/v2/` at its last keyword.
fn cut(path: &str) -> Option<(&str, Resource<'_>)> {
    let mut segments = path.rsplitn(4, '/');
    let last = segments.next()?;
    let before = segments.next()?;
    let earlier = segments.next();
    let name_before = |taken: usize| path.get(..path.len().checked_sub(taken)?);
    match (earlier, before, last) {
        (Some(_), "tags", "list") => Some((name_before("/tags/list".len())?, Resource::Tags)),
        (Some(_), "manifests", reference) if is_tag(reference) || is_digest(reference) => {
            Some((name_before("/manifests/".len() + reference.len())?, Resource::Manifest(reference)))
        }
        (Some(_), "referrers", digest) if is_digest(digest) => {
            Some((name_before("/referrers/".len() + digest.len())?, Resource::Referrers(digest)))
        }
        (Some(_), "blobs", "uploads") => Some((name_before("/blobs/uploads".len())?, Resource::NewUpload)),
        (Some(_), "blobs", digest) if is_digest(digest) => {
            Some((name_before("/blobs/".len() + digest.len())?, Resource::Blob(digest)))
        }
        (Some("blobs"), "uploads", "") => Some((name_before("/blobs/uploads/".len())?, Resource::NewUpload)),
        (Some("blobs"), keyword @ ("uploads" | "upload"), id) if is_upload(id) => {
            let taken = "/blobs//".len() + keyword.len() + id.len();
            Some((name_before(taken)?, Resource::Upload(keyword, id)))
        }
        _ => None,
    }
}

impl Resource<'_> {
    fn access(self, method: &Method) -> Result<Access, Unknown> {
        let (pulls, pushes): (&[Method], &[Method]) = match self {
            Self::Manifest(_) => (&[Method::GET, Method::HEAD], &[Method::PUT, Method::DELETE]),
            Self::Blob(_) => (&[Method::GET, Method::HEAD], &[Method::DELETE]),
            Self::NewUpload => (&[], &[Method::POST]),
            Self::Upload(..) => {
                (&[], &[Method::GET, Method::HEAD, Method::PATCH, Method::PUT, Method::POST, Method::DELETE])
            }
            Self::Tags | Self::Referrers(_) => (&[Method::GET, Method::HEAD], &[]),
        };
        if pulls.contains(method) {
            return Ok(Access::Pull);
        }
        only(method, pushes).map(|()| Access::Push)
    }
}

impl fmt::Display for Resource<'_> {
    /// Its path below the repository.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest(reference) => write!(f, "manifests/{reference}"),
            Self::Blob(digest) => write!(f, "blobs/{digest}"),
            Self::NewUpload => f.write_str("blobs/uploads/"),
            Self::Upload(keyword, id) => write!(f, "blobs/{keyword}/{id}"),
            Self::Tags => f.write_str("tags/list"),
            Self::Referrers(digest) => write!(f, "referrers/{digest}"),
        }
    }
}

fn only(method: &Method, allowed: &[Method]) -> Result<(), Unknown> {
    if allowed.contains(method) { Ok(()) } else { Err(Unknown::Method) }
}

impl<'r> Query<'r> {
    fn split(query: &'r str) -> Self {
        Self(query.split('&').filter(|pair| !pair.is_empty()).collect())
    }

    /// The repository that a blob is to be taken from. Which of two a registry would take is not known, so two are none;
    /// a `;` separates parameters for some readers and not for others.
    fn mounts(&self) -> Result<Option<Repository>, Unknown> {
        let values = |wanted: &str| -> Vec<String> {
            let pairs = self.0.iter().map(|pair| decoded(pair));
            pairs.filter(|(key, _)| key.eq_ignore_ascii_case(wanted)).map(|(_, value)| value).collect()
        };
        if self.0.iter().any(|pair| pair.contains(';')) {
            return Err(Unknown::Query);
        }
        match (&values("mount")[..], &values("from")[..]) {
            ([] | [_], []) | ([], [_]) => Ok(None),
            ([_], [from]) => Repository::parse(from).map(Some).map_err(|_| Unknown::Query),
            _ => Err(Unknown::Query),
        }
    }

    /// The parameters as they go on. `ns` names another registry than the one connected to (containerd sends it to
    /// mirrors); a mount that says no source lets the registry find one that nobody has judged: without it the upload
    /// begins as any other.
    fn forwarded(&self, mounts: bool) -> String {
        let dropped = |key: &str| match key.to_ascii_lowercase().as_str() {
            "ns" => true,
            "mount" | "from" => !mounts,
            _ => false,
        };
        let kept: Vec<&str> = self.0.iter().copied().filter(|pair| !dropped(&decoded(pair).0)).collect();
        kept.join("&")
    }
}

/// A parameter's key and value, without their percent encoding.
fn decoded(pair: &str) -> (String, String) {
    form_urlencoded::parse(pair.as_bytes())
        .next()
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .unwrap_or_default()
}

fn is_tag(text: &str) -> bool {
    let mut bytes = text.bytes();
    let starts = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    starts && text.len() <= MAX_TAG && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// `algorithm:encoded`, by the OCI image specification ("Digests").
fn is_digest(text: &str) -> bool {
    let Some((algorithm, encoded)) = text.split_once(':') else { return false };
    let component = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.len() <= MAX_DIGEST
        && algorithm.split(['+', '.', '_', '-']).all(component)
        && !encoded.is_empty()
        && encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=_-".contains(&byte))
}

/// What registries call an upload: one segment that is no dot segment.
fn is_upload(text: &str) -> bool {
    let odd = |byte: u8| !(byte.is_ascii_alphanumeric() || b"-_.=:~".contains(&byte));
    !text.is_empty() && text.len() <= MAX_UPLOAD && !text.bytes().any(odd) && text.bytes().any(|byte| byte != b'.')
}

/// The OCI distribution specification, "Pulling manifests".
const MAX_TAG: usize = 128;
/// Longer than any algorithm's digest.
const MAX_DIGEST: usize = 255;
/// Registries put their state into it.
const MAX_UPLOAD: usize = 2048;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// `REPOSITORY access resource`, or the word for what it is instead.
    fn read(method: &Method, path: &str) -> String {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        match Request::parse(method, path, query) {
            Ok(Request::Version) => "version".to_owned(),
            Ok(Request::Listing(listing)) => format!("{listing:?}").to_lowercase(),
            Ok(Request::Repository(it)) => {
                format!("{} {:?} {}", it.repository.as_str(), it.access, it.resource).to_lowercase()
            }
            Err(unknown) => unknown.to_string(),
        }
    }

    #[test]
    fn every_endpoint_of_the_specification_is_read() {
        for (method, path, expected) in [
            (Method::GET, "/v2/", "version".to_owned()),
            (Method::HEAD, "/v2", "version".to_owned()),
            (Method::GET, "/v2/_catalog?n=5", "catalog".to_owned()),
            (Method::GET, "/v1/search?q=x", "search".to_owned()),
            (Method::GET, "/v2/library/nginx/manifests/latest", "library/nginx pull manifests/latest".to_owned()),
            (Method::HEAD, "/v2/nginx/manifests/1.27", "nginx pull manifests/1.27".to_owned()),
            (Method::PUT, "/v2/a/b/c/manifests/1", "a/b/c push manifests/1".to_owned()),
            (Method::DELETE, "/v2/a/manifests/1", "a push manifests/1".to_owned()),
            (Method::GET, &format!("/v2/a/b/blobs/{SHA}"), format!("a/b pull blobs/{SHA}")),
            (Method::DELETE, &format!("/v2/a/b/blobs/{SHA}"), format!("a/b push blobs/{SHA}")),
            (Method::POST, "/v2/a/b/blobs/uploads/", "a/b push blobs/uploads/".to_owned()),
            (Method::POST, "/v2/a/b/blobs/uploads", "a/b push blobs/uploads/".to_owned()),
            (Method::PATCH, "/v2/a/b/blobs/uploads/3f2-_.=1?_state=x", "a/b push blobs/uploads/3f2-_.=1".to_owned()),
            (Method::PUT, "/v2/a/b/blobs/upload/1", "a/b push blobs/upload/1".to_owned()),
            (Method::GET, "/v2/a/b/tags/list", "a/b pull tags/list".to_owned()),
            (Method::GET, &format!("/v2/a/b/referrers/{SHA}"), format!("a/b pull referrers/{SHA}")),
        ] {
            assert_eq!(read(&method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_path_is_cut_at_its_last_keyword() {
        for (path, expected) in [
            ("/v2/a/manifests/b/tags/list", "a/manifests/b pull tags/list"),
            ("/v2/library/manifests/x/manifests/1", "library/manifests/x pull manifests/1"),
            ("/v2/a/blobs/uploads/manifests/1", "a/blobs/uploads pull manifests/1"),
            ("/v2/a/tags/list/manifests/list", "a/tags/list pull manifests/list"),
            ("/v2/manifests/manifests/manifests", "manifests pull manifests/manifests"),
        ] {
            assert_eq!(read(&Method::GET, path), expected, "{path}");
        }
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_no_endpoint() {
        for path in [
            "/v2/a/../b/manifests/1",
            "/v2/a/./manifests/1",
            "/v2/a%2fb/manifests/1",
            "/v2/a//b/manifests/1",
            "//v2/a/manifests/1",
            "/v2//a/manifests/1",
            "/v2/a/manifests/",
            "/v2/a/manifests/..",
            "/v2/a/manifests/1/",
            "/v2/a/manifests/%31",
            "/v2/A/manifests/1",
            "/v2/a\\b/manifests/1",
            "/v2/manifests/1",
            "/v2/a/blobs/notadigest",
            "/v2/a/blobs/uploads/..",
            "/v2/a/blobs/uploads/x/y",
            "/v2/_catalog/",
            "/v2/a/_catalog",
            "/v2/a/tags",
            "/v2/a/tags/list/",
            "/v1/repositories/a/images",
            "/v3/a/manifests/1",
            "/",
            "",
            "*",
        ] {
            assert_eq!(read(&Method::GET, path), "no such endpoint", "{path}");
        }
    }

    #[test]
    fn an_endpoint_has_its_methods_and_no_others() {
        for (method, path) in [
            (Method::POST, "/v2/"),
            (Method::POST, "/v2/a/manifests/1"),
            (Method::PATCH, "/v2/a/manifests/1"),
            (Method::GET, "/v2/a/blobs/uploads/"),
            (Method::PUT, "/v2/a/tags/list"),
            (Method::DELETE, "/v2/_catalog"),
            (Method::CONNECT, "/v2/a/manifests/1"),
            (Method::OPTIONS, "/v2/"),
        ] {
            assert_eq!(read(&method, path), "no such method here", "{method} {path}");
        }
    }

    fn upload(query: &str) -> Result<RepositoryRequest<'_>, Unknown> {
        match Request::parse(&Method::POST, "/v2/a/b/blobs/uploads/", Some(query))? {
            Request::Repository(request) => Ok(request),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_mount_names_the_one_repository_that_it_takes_from() {
        let mount = upload("mount=sha256:12&from=library/nginx").unwrap();
        assert_eq!(mount.mounts.as_ref().unwrap().as_str(), "library/nginx");
        assert_eq!(mount.target(), "/v2/a/b/blobs/uploads/?mount=sha256:12&from=library/nginx");
        let encoded = upload("%6dount=sha256%3A12&fro%6d=library%2Fnginx").unwrap();
        assert_eq!(encoded.mounts.unwrap().as_str(), "library/nginx");
        for ambiguous in [
            "mount=x&from=a/b&from=c/d",
            "mount=x&mount=y&from=a",
            "mount=x&from=A",
            "mount=x;from=a/b",
            "mount=x&from=a&FROM=b",
        ] {
            assert_eq!(upload(ambiguous).err(), Some(Unknown::Query), "{ambiguous}");
        }
    }

    #[test]
    fn a_mount_without_a_source_begins_as_any_upload() {
        for (sent, forwarded) in [
            ("mount=sha256:12", "/v2/a/b/blobs/uploads/"),
            ("from=a/c", "/v2/a/b/blobs/uploads/"),
            ("digest=sha256:12&mount=x", "/v2/a/b/blobs/uploads/?digest=sha256:12"),
            ("ns=docker.io", "/v2/a/b/blobs/uploads/"),
            ("", "/v2/a/b/blobs/uploads/"),
        ] {
            assert_eq!(upload(sent).unwrap().target(), forwarded, "{sent}");
        }
    }

    proptest! {
        /// What goes on is what was judged: read again it says the same.
        #[test]
        fn the_forwarded_path_is_read_as_the_path_that_was_sent(
            path in "/v2/([a-z0-9._%/-]|manifests/|blobs/|uploads/|tags/list|sha256:[0-9a-f]{4}){0,12}",
            query in proptest::option::of("([a-z=&;%0-9]|mount=|from=|ns=){0,8}"),
            method in prop_oneof![Just(Method::GET), Just(Method::PUT), Just(Method::POST), Just(Method::PATCH)],
        ) {
            if let Ok(Request::Repository(request)) = Request::parse(&method, &path, query.as_deref()) {
                let target = request.target();
                let (path, query) = target.split_once('?').map_or((&target[..], None), |(path, query)| (path, Some(query)));
                let Ok(Request::Repository(again)) = Request::parse(&method, path, query) else {
                    panic!("{target}");
                };
                prop_assert_eq!(&again.repository, &request.repository);
                prop_assert_eq!((again.access, again.resource, &again.mounts), (request.access, request.resource, &request.mounts));
                prop_assert!(!path.contains('%') && !path.contains("//") && !path.split('/').any(|s| s == ".." || s == "."));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(path in ".{0,60}", query in proptest::option::of(".{0,30}")) {
            let _ = Request::parse(&Method::GET, &path, query.as_deref());
        }
    }
}
