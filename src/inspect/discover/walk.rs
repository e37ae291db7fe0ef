//! The walk itself: the requests of a pull, in their order, redirects followed by hand so that every host is seen.
//!
//! ```text
//! ping ─▶ manifest ─▶ (index: manifest of a platform) ─▶ config and layers ─▶ signatures, and a push if that is asked for
//!   └──────┴── 401 ─▶ token service ─▶ once more
//! ```

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use data_encoding::HEXLOWER;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION, RANGE};
use hyper::{Method, StatusCode};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::document::{self, Blob, BlobKind, Document, Listed, Platform, chosen};
use super::journal::{Contact, Journal, Seen, Step};
use super::keyring::Keyring;
use super::network::{Ask, Network, NoReply, Reply};
use super::target::{Origin, Security, Target};
use super::token;
use crate::policy::image_reference::ImageReference;
use crate::policy::preset::Purpose;

/// What is walked.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The image.
    pub image: ImageReference,
    /// For what; `None`: for every platform of an index.
    pub platform: Option<Platform>,
    /// Whether a push is begun as well, and cancelled.
    pub push: bool,
    /// How often each blob is asked for: a registry may send every request elsewhere.
    pub repeat: usize,
    /// How long all of it may take.
    pub limit: Duration,
}

/// What a walk has seen.
#[derive(Debug)]
pub struct Walked {
    /// The hosts, in the order in which they came up.
    pub hosts: Vec<Seen>,
    /// What else to know.
    pub notes: Vec<String>,
    /// Why it ended before the last step, if it did.
    pub end: Option<String>,
}

/// Walks. Whatever goes wrong, the hosts seen until then are told.
pub async fn walk(network: &Network, keyring: &Keyring, wanted: &Wanted) -> Walked {
    let mut walker = Walker::new(network, keyring, wanted);
    let ended = timeout(wanted.limit, walker.run()).await;
    let too_slow = |_| Err(Stopped(format!("not done within {}", humantime::format_duration(wanted.limit))));
    let end = ended.unwrap_or_else(too_slow).err().map(|Stopped(why)| why);
    let (hosts, left_out) = walker.journal.into_rows();
    let mut notes = walker.notes;
    if left_out > 0 {
        notes.push(format!("{left_out} requests went to hosts beyond the {} that are told", hosts.len()));
    }
    Walked { hosts, notes, end }
}

/// Why a walk, or a part of it, goes no further.
#[derive(Debug)]
pub(super) struct Stopped(pub(super) String);

pub(super) struct Walker<'a> {
    pub(super) network: &'a Network,
    pub(super) keyring: &'a Keyring,
    pub(super) wanted: &'a Wanted,
    security: Security,
    /// What each registry is shown; a redirect to another one is shown nothing of it.
    pub(super) sessions: HashMap<Origin, HeaderValue>,
    journal: Journal,
    notes: Vec<String>,
    answered_blobs: usize,
}

impl<'a> Walker<'a> {
    fn new(network: &'a Network, keyring: &'a Keyring, wanted: &'a Wanted) -> Self {
        let (sessions, journal, notes) = (HashMap::new(), Journal::default(), Vec::new());
        Self { network, keyring, wanted, security: Security::Tls, sessions, journal, notes, answered_blobs: 0 }
    }

    async fn run(&mut self) -> Result<(), Stopped> {
        self.ping().await?;
        let (top, body) = self.manifest(&self.reference()).await?;
        let blobs = self.images(top).await?;
        self.blobs(&blobs).await?;
        if self.wanted.push {
            self.upload().await;
        }
        self.signatures(&body).await;
        Ok(())
    }

    /// Is there a registry. One on this machine may be without TLS, as Docker has it.
    async fn ping(&mut self) -> Result<(), Stopped> {
        let target = self.target("")?;
        let ask = Ask { method: Method::GET, headers: HeaderMap::new(), body: Bytes::new(), reads: MAX_ERROR };
        let secure = self.contact(Step::Ping, &target, &ask).await;
        let reply = match secure {
            Ok(reply) => reply,
            Err(error) if !error.is_about_certificates() && self.network.is_here(target.host()).await => {
                self.security = Security::Plain;
                let target = self.target("")?;
                self.contact(Step::Ping, &target, &ask).await.map_err(|error| unanswered(&target, &error))?
            }
            Err(error) => return Err(unanswered(&target, &error)),
        };
        let target = self.target("")?;
        if reply.status == StatusCode::UNAUTHORIZED {
            // Some challenge here and nowhere else; others only where it matters. What fails here may go well there.
            if let Err(Stopped(why)) = self.authorize(&target, &reply).await {
                self.remark(why);
            }
        } else if let Some(next) = redirect(&target, &reply)? {
            // Where this leads is a host that engines ask as well.
            self.follow(Step::Ping, next, &ask).await?;
        }
        Ok(())
    }

    /// A manifest or an index, and its bytes: HEAD first, as engines do, and GET whatever that said.
    async fn manifest(&mut self, reference: &str) -> Result<(Document, Bytes), Stopped> {
        let target = self.target(&format!("{}/manifests/{reference}", self.wanted.image.repository))?;
        let headers = one_header(ACCEPT, HeaderValue::from_static(MANIFESTS));
        let head = Ask { method: Method::HEAD, headers, body: Bytes::new(), reads: 0 };
        // Some registries know no HEAD, or no image by it.
        let _ = self.follow(Step::Manifest, target.clone(), &head).await;
        let get = Ask { method: Method::GET, reads: MAX_MANIFEST, ..head };
        let (_, reply) = self.follow(Step::Manifest, target, &get).await?;
        if !reply.status.is_success() {
            let what = format!("`{}` at {reference}", self.wanted.image.repository);
            return Err(Stopped(format!("{} answers {} for {what}", self.wanted.image.registry, status(&reply))));
        }
        let document = document::read(&reply.body).map_err(|fault| Stopped(format!("{reference}: {fault}")))?;
        Ok((document, reply.body))
    }

    /// The blobs of the images that are wanted, indexes in indexes looked into.
    async fn images(&mut self, top: Document) -> Result<Vec<Blob>, Stopped> {
        let (mut blobs, mut pending, mut looked_into) = (Vec::new(), vec![(top, 0)], 0);
        while let Some((document, depth)) = pending.pop() {
            let listed = match document {
                Document::Image(of_image) => {
                    blobs.extend(of_image);
                    continue;
                }
                Document::Index(listed) => listed,
            };
            for digest in self.chosen(&listed)? {
                if depth == MAX_DEPTH || looked_into == MAX_IMAGES {
                    self.remark(format!("more images than the {MAX_IMAGES} that are looked into"));
                    return Ok(blobs);
                }
                looked_into += 1;
                pending.push((self.manifest(&digest).await?.0, depth + 1));
            }
        }
        Ok(blobs)
    }

    fn chosen(&self, listed: &[Listed]) -> Result<Vec<String>, Stopped> {
        let chosen = chosen(listed, self.wanted.platform.as_ref());
        match &self.wanted.platform {
            Some(platform) if chosen.is_empty() => {
                let has = listed.iter().filter_map(|image| image.platform.as_ref()).map(ToString::to_string);
                let has = has.take(20).collect::<Vec<_>>().join(", ");
                Err(Stopped(format!("there is no image for {platform}; there are: {has}")))
            }
            _ => Ok(chosen.into_iter().map(|image| image.digest.clone()).collect()),
        }
    }

    /// Some of the blobs, each as often as wanted: the first bytes, wherever they lie.
    async fn blobs(&mut self, blobs: &[Blob]) -> Result<(), Stopped> {
        for url in foreign_urls(blobs) {
            match Target::parse(url) {
                Ok(target) => self.blob(Step::LayerUrl, target).await,
                Err(fault) => self.remark(format!("a layer's `urls` hold something that clients pass over: {fault}")),
            }
        }
        for _ in 0..self.wanted.repeat {
            for blob in sample(blobs) {
                let step = if blob.kind == BlobKind::Config { Step::Config } else { Step::Layer };
                self.blob(step, self.target(&format!("{}/blobs/{}", self.wanted.image.repository, blob.digest))?).await;
            }
        }
        if self.answered_blobs == 0 && !blobs.is_empty() {
            return Err(Stopped("no blob of it could be had".to_owned()));
        }
        Ok(())
    }

    /// That one blob cannot be had is told and ends nothing: others may be.
    async fn blob(&mut self, step: Step, target: Target) {
        // Signed addresses may be good for GET only; one byte, and then the connection is closed.
        let headers = one_header(RANGE, HeaderValue::from_static("bytes=0-0"));
        let ask = Ask { method: Method::GET, headers, body: Bytes::new(), reads: 0 };
        match self.follow(step, target, &ask).await {
            // An empty blob has no first byte.
            Ok((_, reply)) if reply.status.is_success() || reply.status == StatusCode::RANGE_NOT_SATISFIABLE => {
                self.answered_blobs += 1;
            }
            Ok((target, reply)) => self.remark(format!("{step}: {target} answers {}", status(&reply))),
            Err(Stopped(why)) => self.remark(format!("{step}: {why}")),
        }
    }

    /// Begins an upload, to see where it would go, and cancels it.
    async fn upload(&mut self) {
        if let Err(Stopped(why)) = self.try_upload().await {
            self.remark(format!("upload: {why}"));
        }
    }

    async fn try_upload(&mut self) -> Result<(), Stopped> {
        let target = self.target(&format!("{}/blobs/uploads/", self.wanted.image.repository))?;
        let headers = one_header(CONTENT_LENGTH, HeaderValue::from_static("0"));
        let post = Ask { method: Method::POST, headers, body: Bytes::new(), reads: MAX_ERROR };
        let (target, reply) = self.follow(Step::Upload, target, &post).await?;
        if reply.status != StatusCode::ACCEPTED {
            return Err(Stopped(format!("{target} answers {}", status(&reply))));
        }
        let Some(place) = location(&target, &reply)? else {
            return Err(Stopped(format!("{target} does not say where an upload goes")));
        };
        let delete = Ask { method: Method::DELETE, headers: HeaderMap::new(), body: Bytes::new(), reads: 0 };
        self.contact(Step::Upload, &place, &delete).await.map_err(|error| unanswered(&place, &error))?;
        Ok(())
    }

    /// Whether signatures lie beside the image: who checks them asks more hosts.
    async fn signatures(&mut self, manifest: &[u8]) {
        let digest = HEXLOWER.encode(&Sha256::digest(manifest));
        let repository = &self.wanted.image.repository;
        let by_tag = format!("{repository}/manifests/sha256-{digest}.sig");
        let listed = format!("{repository}/referrers/sha256:{digest}");
        let headers = one_header(ACCEPT, HeaderValue::from_static(MANIFESTS));
        let ask = Ask { method: Method::GET, headers, body: Bytes::new(), reads: MAX_MANIFEST };
        for path in [by_tag, listed] {
            let Ok(target) = self.target(&path) else { continue };
            let Ok((_, reply)) = self.follow(Step::Signature, target, &ask).await else { continue };
            let text = String::from_utf8_lossy(&reply.body);
            let is_signed = SIGNATURES.iter().any(|word| text.contains(word));
            if reply.status.is_success() && is_signed {
                self.remark(
                    "it is signed: who checks that asks hosts of the preset `sigstore`, or `notation`".to_owned(),
                );
            }
        }
    }

    /// Asks, and goes where it is sent until there is an answer; shows who asks once if somebody wants to know.
    async fn follow(&mut self, step: Step, first: Target, ask: &Ask) -> Result<(Target, Reply), Stopped> {
        let mut target = first;
        let mut proven = HashSet::new();
        let mut hops = 0;
        loop {
            let reply = self.contact(step, &target, ask).await.map_err(|error| unanswered(&target, &error))?;
            if reply.status == StatusCode::UNAUTHORIZED && proven.insert(target.origin()) {
                self.authorize(&target, &reply).await?;
                continue;
            }
            let Some(next) = redirect(&target, &reply)? else { return Ok((target, reply)) };
            hops += 1;
            if hops > MAX_HOPS {
                return Err(Stopped(format!("more than {MAX_HOPS} redirects, the last to {next}")));
            }
            target = next;
        }
    }

    /// One request, shown what its host was shown before.
    async fn contact(&mut self, step: Step, target: &Target, ask: &Ask) -> Result<Reply, NoReply> {
        let mut ask = ask.clone();
        if let Some(session) = self.sessions.get(&target.origin()) {
            ask.headers.insert(AUTHORIZATION, session.clone());
        }
        self.send(step, target, &ask).await
    }

    /// One request as it is, written down.
    pub(super) async fn send(&mut self, step: Step, target: &Target, ask: &Ask) -> Result<Reply, NoReply> {
        let reply = self.network.ask(target, ask).await;
        let (outcome, leads_on) = match &reply {
            Ok(reply) => (reply.status.as_u16().to_string(), !reply.status.is_success()),
            Err(error) => (error.to_string(), false),
        };
        let is_registry = self.target("").is_ok_and(|registry| registry.origin() == target.origin());
        let purpose = if is_registry && leads_on { Purpose::Api } else { step.purpose() };
        let proxy = self.network.proxy_for(target).map(ToString::to_string);
        self.journal.note(Contact { step, purpose, target, outcome, proxy });
        reply
    }

    pub(super) fn target(&self, path: &str) -> Result<Target, Stopped> {
        let target = Target::registry(&self.wanted.image, self.security, path);
        target.map_err(|fault| Stopped(format!("{}: {fault}", self.wanted.image.registry)))
    }

    fn reference(&self) -> String {
        let ImageReference { digest, tag, .. } = &self.wanted.image;
        digest.clone().or_else(|| tag.clone()).unwrap_or_else(|| "latest".to_owned())
    }

    pub(super) fn remark(&mut self, what: String) {
        if self.notes.len() < MAX_NOTES && !self.notes.contains(&what) {
            self.notes.push(what);
        }
    }
}

/// Where a redirect leads; `None`: it is none.
pub(super) fn redirect(target: &Target, reply: &Reply) -> Result<Option<Target>, Stopped> {
    let leads_on = matches!(reply.status.as_u16(), 301 | 302 | 303 | 307 | 308);
    if leads_on { location(target, reply) } else { Ok(None) }
}

fn location(target: &Target, reply: &Reply) -> Result<Option<Target>, Stopped> {
    let Some(location) = reply.texts(LOCATION).into_iter().next() else { return Ok(None) };
    let next = target.join(&location);
    next.map(Some).map_err(|fault| Stopped(format!("{target} leads to where nothing can be asked: {fault}")))
}

/// A config, and of the layers the first, the last and the largest: which host has a blob may go by age and size.
fn sample(blobs: &[Blob]) -> Vec<&Blob> {
    let own = || blobs.iter().filter(|blob| blob.urls.is_empty());
    let layers = || own().filter(|blob| blob.kind == BlobKind::Layer);
    let config = own().find(|blob| blob.kind == BlobKind::Config);
    let picked = [config, layers().next(), layers().next_back(), layers().max_by_key(|blob| blob.size)];
    let mut sample: Vec<&Blob> = Vec::new();
    for blob in picked.into_iter().flatten() {
        if !sample.iter().any(|known| known.digest == blob.digest) {
            sample.push(blob);
        }
    }
    sample
}

/// The `urls` of layers, one a host.
fn foreign_urls(blobs: &[Blob]) -> Vec<&str> {
    let mut hosts = HashSet::new();
    let urls = blobs.iter().flat_map(|blob| &blob.urls).map(String::as_str);
    let new = urls.filter(|url| hosts.insert(Target::parse(url).ok().map(|target| target.host().clone())));
    new.take(MAX_URL_HOSTS).collect()
}

pub(super) fn unanswered(target: &Target, error: &NoReply) -> Stopped {
    Stopped(format!("{target}: {error}"))
}

/// A status with the registry's word for it.
pub(super) fn status(reply: &Reply) -> String {
    match token::error_code(&reply.body) {
        Some(code) => format!("{} ({code})", reply.status.as_u16()),
        None => reply.status.as_u16().to_string(),
    }
}

fn one_header(name: hyper::header::HeaderName, value: HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([(name, value)])
}

/// What engines accept.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.docker.distribution.manifest.v2+json, */*;q=0.5";
/// Words of the artifacts that cosign and notation make.
const SIGNATURES: [&str; 3] = ["simplesigning", "sigstore.bundle", "cncf.notary.signature"];
/// The OCI distribution specification has registries take manifests up to this.
const MAX_MANIFEST: usize = 4 * 1024 * 1024;
const MAX_ERROR: usize = 64 * 1024;
/// As containerd.
pub(super) const MAX_HOPS: usize = 10;
/// Indexes in indexes.
const MAX_DEPTH: usize = 3;
const MAX_IMAGES: usize = 64;
const MAX_URL_HOSTS: usize = 16;
const MAX_NOTES: usize = 64;
