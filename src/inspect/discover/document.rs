//! What a registry answers for a tag: an index of images for platforms, or one image with its blobs (OCI image
//! specification, Docker's schema 2, and what is needed of schema 1). Told apart by what is in it: media types are left out
//! by some, and wrong with others.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::policy::image_reference::is_digest;

/// What a manifest's address answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Document {
    /// Images for platforms.
    Index(Vec<Listed>),
    /// One image.
    Image(Vec<Blob>),
}

/// An image of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// The digest of its manifest.
    pub digest: String,
    /// What it runs on, where that is said.
    pub platform: Option<Platform>,
}

/// A blob of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blob {
    /// Its digest.
    pub digest: String,
    /// What it is.
    pub kind: BlobKind,
    /// How many bytes it has, as its manifest says.
    pub size: u64,
    /// Where else it is to be had; clients go there first.
    pub urls: Vec<String>,
}

/// What a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlobKind {
    /// The image's configuration.
    Config,
    /// A layer.
    Layer,
}

/// What an image runs on: `linux/arm64/v8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// The operating system.
    pub os: String,
    /// The processor.
    pub architecture: String,
    /// Which of its kind.
    pub variant: Option<String>,
}

/// Why an answer is no manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DocumentFault {
    /// Not JSON of this shape.
    #[error("it is no manifest: {0}")]
    NotAManifest(String),
    /// An index and an image at once, which clients read differently.
    #[error("it is an index and an image at once")]
    Ambiguous,
    /// A digest that is none.
    #[error("a digest in it is none")]
    Digest,
}

/// Reads a manifest or an index.
///
/// # Errors
/// It is none.
pub(super) fn read(body: &[u8]) -> Result<Document, DocumentFault> {
    let written: Written =
        serde_json::from_slice(body).map_err(|error| DocumentFault::NotAManifest(error.to_string()))?;
    match (written.manifests, written.layers, written.fs_layers) {
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => Err(DocumentFault::Ambiguous),
        (Some(listed), None, None) => {
            let listed: Result<Vec<_>, _> = listed.into_iter().take(MAX_LISTED).map(Listed::of).collect();
            listed.map(Document::Index)
        }
        (None, Some(layers), _) => {
            let config = written.config.into_iter().map(|config| (BlobKind::Config, config));
            let layers = layers.into_iter().map(|layer| (BlobKind::Layer, layer));
            let blobs: Result<Vec<_>, _> = config.chain(layers).take(MAX_LISTED).map(Blob::of).collect();
            blobs.map(Document::Image)
        }
        (None, None, Some(layers)) => {
            let described =
                |layer: FsLayer| WrittenDescriptor { digest: layer.blob_sum, ..WrittenDescriptor::default() };
            let layers = layers.into_iter().map(|layer| (BlobKind::Layer, described(layer)));
            layers.take(MAX_LISTED).map(Blob::of).collect::<Result<Vec<_>, _>>().map(Document::Image)
        }
        (None, None, None) => Err(DocumentFault::NotAManifest("neither `manifests` nor `layers`".to_owned())),
    }
}

/// The images of an index that are walked: those for `platform`, the closest first, or with `None` all but what describes
/// other images.
pub(super) fn chosen<'a>(listed: &'a [Listed], platform: Option<&Platform>) -> Vec<&'a Listed> {
    let Some(wanted) = platform else {
        return listed.iter().filter(|image| !image.is_attestation()).collect();
    };
    let fitting = |closeness: usize| {
        listed.iter().filter(move |image| image.platform.as_ref().is_some_and(|of| wanted.fits(of) == closeness))
    };
    fitting(2).chain(fitting(1)).take(1).collect()
}

impl Listed {
    fn of(written: WrittenDescriptor) -> Result<Self, DocumentFault> {
        let platform = written.platform.map(|platform| Platform {
            os: platform.os,
            architecture: platform.architecture,
            variant: platform.variant.filter(|variant| !variant.is_empty()),
        });
        Ok(Self { digest: read_digest(written.digest)?, platform })
    }

    /// BuildKit keeps what it says of an image as an image of no platform.
    fn is_attestation(&self) -> bool {
        self.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
    }
}

impl Blob {
    fn of((kind, written): (BlobKind, WrittenDescriptor)) -> Result<Self, DocumentFault> {
        let urls = written.urls.unwrap_or_default().into_iter().take(MAX_URLS).collect();
        Ok(Self { digest: read_digest(written.digest)?, kind, size: written.size.unwrap_or_default(), urls })
    }
}

impl Platform {
    /// What images for this machine's containers run on.
    pub fn here() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// How well an image for `of` does: 2 best, 0 not at all.
    fn fits(&self, of: &Self) -> usize {
        let same = self.os == of.os && self.architecture == of.architecture;
        match (&self.variant, &of.variant) {
            _ if !same => 0,
            (wanted, has) if wanted == has => 2,
            // Variants are left out where there is one only; `v8` is the only one of arm64.
            (None, _) | (_, None) => 1,
            _ => 0,
        }
    }
}

impl FromStr for Platform {
    type Err = String;

    /// Reads `linux/arm64` or `linux/arm/v7`.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_word = |part: &&str| {
            !part.is_empty()
                && part.len() <= MAX_WORD
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let (os, architecture, variant) = match parts.as_slice() {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(PLATFORM_HINT.to_owned()),
        };
        if !parts.iter().all(is_word) {
            return Err(PLATFORM_HINT.to_owned());
        }
        let variant = variant.map(|variant| variant.to_ascii_lowercase());
        Ok(Self { os: os.to_ascii_lowercase(), architecture: architecture.to_ascii_lowercase(), variant })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// A digest as it can stand in a path.
fn read_digest(digest: String) -> Result<String, DocumentFault> {
    if is_digest(&digest) { Ok(digest) } else { Err(DocumentFault::Digest) }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    manifests: Option<Vec<WrittenDescriptor>>,
    config: Option<WrittenDescriptor>,
    layers: Option<Vec<WrittenDescriptor>>,
    fs_layers: Option<Vec<FsLayer>>,
}

#[derive(Default, Deserialize)]
struct WrittenDescriptor {
    digest: String,
    size: Option<u64>,
    urls: Option<Vec<String>>,
    platform: Option<WrittenPlatform>,
}

#[derive(Deserialize)]
struct WrittenPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FsLayer {
    blob_sum: String,
}

/// Indexes of nightly builds have dozens; Docker takes no image of more than 127 layers.
const MAX_LISTED: usize = 1000;
/// Windows' layers have one.
const MAX_URLS: usize = 16;
const MAX_WORD: usize = 64;
const PLATFORM_HINT: &str = "write it as in `linux/amd64` or `linux/arm/v7`";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(number: u8) -> String {
        format!("sha256:{}", format!("{number:02x}").repeat(32))
    }

    #[test]
    fn an_index_lists_images_for_platforms() {
        let entry = |number, platform: &str| format!(r#"{{"digest":"{}","size":1{platform}}}"#, digest(number));
        let platform = |os, architecture, more: &str| {
            format!(r#","platform":{{"os":"{os}","architecture":"{architecture}"{more}}}"#)
        };
        let entries = [
            entry(1, &platform("linux", "arm", r#","variant":"v6""#)),
            entry(2, &platform("linux", "arm", r#","variant":"v7""#)),
            entry(3, &platform("linux", "amd64", r#","os.version":"1""#)),
            entry(4, &platform("unknown", "unknown", "")),
            entry(5, ""),
        ];
        let body = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        let Document::Index(listed) = read(body.as_bytes()).unwrap() else { panic!("no index") };
        let of = |wanted: &str| {
            let chosen = chosen(&listed, Some(&wanted.parse().unwrap()));
            chosen.first().map(|image| image.digest.clone())
        };
        assert_eq!(of("linux/arm/v7"), Some(digest(2)));
        assert_eq!(of("linux/arm"), Some(digest(1)), "whichever comes first");
        assert_eq!(of("Linux/AMD64"), Some(digest(3)));
        assert_eq!(of("linux/amd64/v2"), Some(digest(3)));
        assert_eq!(of("windows/amd64"), None);
        let all: Vec<_> = chosen(&listed, None).into_iter().map(|image| image.digest.clone()).collect();
        assert_eq!(all, [1, 2, 3, 5].map(digest));
    }

    #[test]
    fn an_image_has_a_config_and_layers_some_of_them_elsewhere() {
        let body = format!(
            r#"{{"config":{{"digest":"{}"}},"layers":[{{"digest":"{}","size":7,"urls":["https://go.example/x"]}},{{"digest":"{}"}}]}}"#,
            digest(1),
            digest(2),
            digest(3)
        );
        let Document::Image(blobs) = read(body.as_bytes()).unwrap() else { panic!("no image") };
        let urls: Vec<usize> = blobs.iter().map(|blob| blob.urls.len()).collect();
        assert_eq!((urls, blobs[0].kind, blobs[1].size), (vec![0, 1, 0], BlobKind::Config, 7));
    }

    #[test]
    fn an_image_of_the_first_schema_has_layers() {
        let body = format!(r#"{{"schemaVersion":1,"fsLayers":[{{"blobSum":"{}"}}],"history":[]}}"#, digest(9));
        let Document::Image(blobs) = read(body.as_bytes()).unwrap() else { panic!("no image") };
        assert_eq!((blobs.len(), blobs[0].digest.as_str()), (1, digest(9).as_str()));
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let refused = |body: &str| read(body.as_bytes()).unwrap_err();
        for body in ["", "<html>", "[]", r#"{"errors":[]}"#, r#"{"layers":1}"#, r#"{"layers":[{"size":1}]}"#] {
            assert!(matches!(refused(body), DocumentFault::NotAManifest(_)), "{body}");
        }
        assert_eq!(refused(r#"{"layers":[],"manifests":[]}"#), DocumentFault::Ambiguous);
        for bad in ["sha256:../../x", "x", "", "sha256:00?y"] {
            assert_eq!(refused(&format!(r#"{{"layers":[{{"digest":"{bad}"}}]}}"#)), DocumentFault::Digest, "{bad}");
        }
    }

    #[test]
    fn a_platform_is_two_words_or_three() {
        for text in ["linux/arm64/v8", "windows/amd64"] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
        }
        for text in ["", "linux", "linux/", "a/b/c/d", "linux/a b"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
        assert_eq!(Platform::here().os, "linux");
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&body);
        }

        #[test]
        fn what_is_read_has_digests_that_a_path_can_hold(texts in proptest::collection::vec("\\PC{0,20}|sha256:[0-9a-f]{64}", 0..4)) {
            let layers: Vec<_> = texts.iter().map(|text| serde_json::json!({ "digest": text })).collect();
            let body = serde_json::json!({ "layers": layers }).to_string();
            if let Ok(Document::Image(blobs)) = read(body.as_bytes()) {
                prop_assert!(blobs.iter().all(|blob| !blob.digest.contains(['/', '?', '#', '%', ' '])));
            }
        }
    }
}
