//! The shipped presets: built in, read once, found by id.

use std::sync::LazyLock;

use super::{Confidence, Kind, Preset, PresetHost, Purpose};
use crate::name::DomainName;
use crate::policy::pattern::Pattern;

/// Every preset, in order of id.
pub fn catalogue() -> &'static [Preset] {
    static CATALOGUE: LazyLock<Vec<Preset>> = LazyLock::new(|| {
        FILES.iter().map(|(_, text)| read(text).expect("a test reads every shipped preset")).collect()
    });
    &CATALOGUE
}

/// The preset that `id`, or an alias of it, names.
pub fn find(id: &str) -> Option<&'static Preset> {
    catalogue().iter().find(|preset| preset.ids().any(|known| known == id))
}

/// The id of the preset that somebody who wrote `id` may have meant: one spelled like it, or one whose registry has
/// that host name.
pub fn nearest(id: &str) -> Option<&'static str> {
    let id = id.to_ascii_lowercase();
    if let Some(preset) = catalogue().iter().find(|preset| preset.has_api_host(&id)) {
        return Some(&preset.id);
    }
    let spelled = |preset: &Preset| preset.ids().map(|known| strsim::jaro_winkler(known, &id)).fold(0.0, f64::max);
    let (likeness, preset) =
        catalogue().iter().map(|preset| (spelled(preset), preset)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (likeness >= ALIKE).then_some(preset.id.as_str())
}

impl Preset {
    /// Names by which a question is known to be for this registry, whoever may use it. Placeholders count as any text
    /// within a label. Hosts of another registry count there. Empty for tools and for what the administrator runs.
    pub fn catalogue_patterns(&self) -> Vec<Pattern> {
        if self.self_hosted || self.kind == Kind::Tool {
            return Vec::new();
        }
        let known = |host: &&PresetHost| host.confidence != Confidence::Uncertain && host.belongs_to.is_none();
        let api = |host: &&PresetHost| host.purposes.contains(&Purpose::Api);
        self.hosts
            .iter()
            .filter(known)
            .filter(api)
            .filter_map(|host| Pattern::parse(&with_globs(&host.name)).ok())
            .collect()
    }

    /// All its hosts that need no value, for whatever purpose.
    pub fn host_patterns(&self) -> Vec<Pattern> {
        let written_out = self.hosts.iter().filter(|host| !host.name.contains('<'));
        written_out.filter_map(|host| Pattern::parse(&host.name).ok()).collect()
    }

    /// The host of this preset that `name` is, placeholders counting as any text within a label; one that is on before one
    /// that is not.
    pub fn host_for(&self, name: &DomainName) -> Option<&PresetHost> {
        let is_it = |host: &&PresetHost| {
            Pattern::parse(&with_globs(&host.name)).is_ok_and(|pattern| pattern.matches(name.as_name()))
        };
        let matching = || self.hosts.iter().filter(is_it);
        matching().find(|host| host.is_default()).or_else(|| matching().next())
    }

    fn ids(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.id.as_str()).chain(self.aliases.iter().map(String::as_str))
    }

    fn has_api_host(&self, name: &str) -> bool {
        self.kind == Kind::Registry
            && self.hosts.iter().any(|host| host.name == name && host.purposes.contains(&Purpose::Api))
    }
}

/// The template with `*` for each placeholder.
fn with_globs(template: &str) -> String {
    let mut parts = template.split('<');
    let start = parts.next().unwrap_or_default().to_owned();
    parts.filter_map(|part| part.split_once('>')).fold(start, |text, (_, rest)| text + "*" + rest)
}

fn read(text: &str) -> Result<Preset, toml::de::Error> {
    toml::from_str(text)
}

/// How alike two ids are, from 0 to 1, before one is suggested for the other.
const ALIKE: f64 = 0.8;

macro_rules! files {
    ($($id:literal),+ $(,)?) => {
        &[$(($id, include_str!(concat!("../../../config/presets/", $id, ".toml")))),+]
    };
}

/// The files of `config/presets`: id and text.
const FILES: &[(&str, &str)] = files![
    "acr",
    "alibaba-acr",
    "az-acr-login",
    "broadcom-vmware",
    "buildkit",
    "chainguard",
    "cloudsmith",
    "digitalocean",
    "distribution",
    "docker-build-cloud",
    "docker-credential-ecr-login",
    "docker-credential-gcr",
    "docker-desktop",
    "docker-hardened-images",
    "docker-hub",
    "ecr-private",
    "ecr-public",
    "elastic",
    "gcr",
    "ghcr",
    "ghe-com",
    "github-attestations",
    "github-enterprise-server",
    "gitlab-com",
    "gitlab-self-managed",
    "google-artifact-registry",
    "harbor",
    "huggingface",
    "ibm-icr",
    "jfrog-cloud",
    "jfrog-self-hosted",
    "lscr",
    "mcr",
    "nexus",
    "notation",
    "nvidia-ngc",
    "oracle-container-registry",
    "oracle-ocir",
    "quay-io",
    "redhat",
    "registry-k8s-io",
    "scaleway",
    "sigstore",
    "suse",
    "tencent-tcr",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::policy::image_reference::ImageReference;

    #[test]
    fn every_shipped_preset_reads_under_its_own_id() {
        for (id, text) in FILES {
            let preset = read(text).unwrap_or_else(|fault| panic!("{id}: {fault}"));
            assert_eq!(preset.id, *id);
        }
    }

    #[test]
    fn every_file_of_the_folder_is_built_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/presets");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| name.strip_suffix(".toml").unwrap_or_else(|| panic!("{name} is no preset")).to_owned())
            .collect();
        let built_in: BTreeSet<String> = FILES.iter().map(|(id, _)| (*id).to_owned()).collect();
        assert_eq!(files, built_in);
    }

    #[test]
    fn a_probe_is_an_image_of_the_preset_s_own_registry() {
        let mut count = 0;
        for preset in catalogue() {
            for probe in &preset.probes {
                let image = ImageReference::parse(probe).unwrap_or_else(|fault| panic!("{probe}: {fault}"));
                let host =
                    preset.host_for(&image.registry).unwrap_or_else(|| panic!("{probe} is not of {}", preset.id));
                assert!(host.purposes.contains(&Purpose::Api) && image.tag.is_some(), "{probe}");
                count += 1;
            }
        }
        assert!(count > 10);
    }

    #[test]
    fn a_host_is_found_by_its_name_and_by_its_template() {
        let host = |id: &str, name: &str| {
            let found = find(id).unwrap().host_for(&name.parse().unwrap());
            found.map(|host| (host.name.as_str(), host.is_default()))
        };
        assert_eq!(host("docker-hub", "AUTH.docker.io"), Some(("auth.docker.io", true)));
        let bucket = "docker-images-prod.s3.dualstack.<region>.amazonaws.com";
        assert_eq!(
            host("docker-hub", "docker-images-prod.s3.dualstack.eu-west-1.amazonaws.com"),
            Some((bucket, false))
        );
        assert_eq!(host("docker-hub", "ghcr.io"), None);
        assert_eq!(host("nexus", "nexus.corp.example"), None, "its host is whatever the administrator calls it");
    }

    #[test]
    fn the_catalogue_is_complete() {
        let of = |kind| catalogue().iter().filter(move |preset| preset.kind == kind);
        assert_eq!((of(Kind::Registry).count(), of(Kind::Tool).count()), (36, 9));
        let hosts = |kind| of(kind).map(|preset| preset.hosts.len()).sum::<usize>();
        assert_eq!((hosts(Kind::Registry), hosts(Kind::Tool)), (284, 36));
    }

    #[test]
    fn ids_are_used_once_and_in_order() {
        assert!(catalogue().is_sorted_by(|a, b| a.id < b.id));
        let mut ids = BTreeSet::new();
        assert!(catalogue().iter().flat_map(Preset::ids).all(|id| ids.insert(id)));
    }

    #[test]
    fn every_host_is_sourced_once_and_has_a_purpose() {
        for preset in catalogue() {
            let mut names = BTreeSet::new();
            for host in &preset.hosts {
                assert!(names.insert(&host.name), "{}: {} twice", preset.id, host.name);
                assert!(!host.source.is_empty() && !host.purposes.is_empty(), "{}: {}", preset.id, host.name);
            }
        }
    }

    #[test]
    fn placeholders_are_declared_where_they_are_used_and_needed_where_a_required_host_has_them() {
        for preset in catalogue() {
            let declared: BTreeSet<&str> = preset.placeholders.iter().map(|known| known.name.as_str()).collect();
            let used: BTreeSet<&str> = preset.hosts.iter().flat_map(PresetHost::placeholders).collect();
            assert_eq!(declared, used, "{}", preset.id);
            let required = preset.hosts.iter().filter(|host| host.required);
            let needed: BTreeSet<&str> = required.flat_map(PresetHost::placeholders).collect();
            for placeholder in preset.placeholders.iter().filter(|known| !known.optional) {
                assert!(needed.contains(placeholder.name.as_str()), "{}: {}", preset.id, placeholder.name);
            }
        }
    }

    #[test]
    fn registries_say_how_customers_are_told_apart() {
        assert!(catalogue().iter().all(|preset| preset.kind == Kind::Tool || preset.tenancy.is_some()));
    }

    #[test]
    fn a_borrowed_host_is_one_of_the_registry_it_belongs_to() {
        for preset in catalogue() {
            for host in preset.hosts.iter().filter(|host| host.belongs_to.is_some()) {
                let lender = find(host.belongs_to.as_deref().unwrap()).unwrap();
                let name: crate::name::DomainName = host.name.parse().unwrap();
                let mut theirs = lender.hosts.iter().map(|own| Pattern::parse(&with_globs(&own.name)).unwrap());
                assert!(theirs.any(|own| own.matches(name.as_name())), "{}: {}", preset.id, host.name);
            }
        }
    }

    #[test]
    fn dates_are_dates_before_the_review() {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        for preset in catalogue() {
            let dates = preset.hosts.iter().filter_map(|host| host.date.as_ref());
            for date in dates.chain([&preset.checked]) {
                let parts: Vec<&str> = date.split('-').collect();
                let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
                assert!(parts.into_iter().all(digits) && [4, 2, 2].starts_with(&lengths), "{}: {date}", preset.id);
                assert!(*date <= preset.checked, "{}: {date}", preset.id);
            }
        }
    }

    #[test]
    fn administrators_own_registries_are_marked() {
        let marked: Vec<&str> =
            catalogue().iter().filter(|preset| preset.self_hosted).map(|preset| preset.id.as_str()).collect();
        assert_eq!(
            marked,
            ["distribution", "github-enterprise-server", "gitlab-self-managed", "harbor", "jfrog-self-hosted", "nexus"]
        );
    }

    #[test]
    fn every_host_of_the_catalogue_makes_a_pattern() {
        for preset in catalogue() {
            for host in &preset.hosts {
                let text = with_globs(&host.name);
                let whole = text == "*" || text == "containers.*" || text == "docker.*";
                assert!(whole || Pattern::parse(&text).is_ok(), "{}: {text}", preset.id);
            }
        }
    }

    #[test]
    fn the_catalogue_knows_whose_name_a_registry_has() {
        let known = |id: &str, name: &str| {
            let name: crate::name::DomainName = name.parse().unwrap();
            find(id).unwrap().catalogue_patterns().iter().any(|pattern| pattern.matches(name.as_name()))
        };
        assert!(known("docker-hub", "registry-1.docker.io"));
        assert!(known("ecr-private", "123456789012.dkr.ecr.eu-west-1.amazonaws.com"));
        assert!(known("google-artifact-registry", "europe-docker.pkg.dev"));
        assert!(known("acr", "anybody.azurecr.io"));
        assert!(!known("lscr", "ghcr.io") && known("ghcr", "ghcr.io"), "it counts where it belongs");
        assert!(!known("docker-hub", "auth.docker.io"), "a token host may be somebody else's too");
        assert!(!known("docker-hub", "docker.io"), "uncertain");
        assert!(find("nexus").unwrap().catalogue_patterns().is_empty(), "the administrator's own");
        assert!(find("github-attestations").unwrap().catalogue_patterns().is_empty(), "no registry");
    }

    #[test]
    fn a_near_miss_finds_its_preset() {
        for (written, meant) in [
            ("dockerhub", "docker-hub"),
            ("docker.io", "docker-hub"),
            ("docker-hup", "docker-hub"),
            ("ghcr.io", "ghcr"),
            ("quay", "quay-io"),
            ("GHCR", "ghcr"),
            ("gitlab", "gitlab-com"),
            ("public.ecr.aws", "ecr-public"),
            ("ecr-privat", "ecr-private"),
        ] {
            assert_eq!(nearest(written), Some(meant), "{written}");
        }
        assert_eq!(nearest("company-nexus-of-the-north"), None);
    }
}
