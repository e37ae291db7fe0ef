//! Suffixes under which strangers get names: what a wildcard over them lets in, and what to write instead.
//!
//! The public suffix list is the base: its ICANN part says where anybody registers a domain, its private part where a
//! company hands names to customers. `SHARED` adds what the list misses and says more about what registries redirect to.

use std::sync::LazyLock;

use crate::policy::pattern::{LabelPattern, Pattern, PatternFault, Reach};

/// Who else gets in through a pattern, and what would be tighter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Who else gets in.
    pub message: String,
    /// The tightest safe pattern.
    pub hint: String,
}

/// Refuses a wildcard directly over a suffix where anybody registers a domain (`*.com`, `.co.uk`, `a.*.com`, `*.c*.uk`).
pub(super) fn refusal(pattern: &Pattern) -> Option<PatternFault> {
    let suffix = openings(pattern).iter().find_map(Opening::registered_suffix)?;
    Some(PatternFault {
        message: format!("`{pattern}` stands for whatever anybody registers under `{suffix}`"),
        hint: "write the host names, or a wildcard over a domain of the registry's own: `*.example.com`".to_owned(),
    })
}

/// The warning that a pattern deserves; `None` when only its owner has names under it.
pub fn warning(pattern: &Pattern) -> Option<Warning> {
    let labels: Vec<LabelPattern<'_>> = pattern.labels().collect();
    if CUT_VENDORS.iter().any(|vendor| ends_with(&labels, vendor)) {
        return None;
    }
    let mut shared = SHARED.iter().zip(&*CUT_SHARED).filter(|(_, suffix)| may_end_in(&labels, suffix));
    shared.find_map(|(shared, _)| shared.warning(pattern, &labels)).or_else(|| listed_warning(pattern))
}

/// Whether somebody may register a domain that a pattern matches.
pub fn is_open_to_registrations(pattern: &Pattern) -> bool {
    openings(pattern).iter().any(|opening| opening.listing() == Some(psl::Type::Icann))
}

/// The labels of a suffix from the right. Every pattern is held against every suffix, so they are cut once.
type Cut = Box<[LabelPattern<'static>]>;

static CUT_VENDORS: LazyLock<Vec<Cut>> = LazyLock::new(|| VENDORS.iter().map(|suffix| cut(suffix)).collect());
static CUT_SHARED: LazyLock<Vec<Cut>> = LazyLock::new(|| SHARED.iter().map(|shared| cut(shared.suffix)).collect());

fn cut(suffix: &'static str) -> Cut {
    suffix.rsplit('.').map(LabelPattern::of).collect()
}

/// A suffix with what is known about it.
struct Shared {
    /// Its labels; a `*` stands for one of them, such as a region.
    suffix: &'static str,
    /// Who gets a name under it.
    strangers: &'static str,
    /// The tightest safe pattern.
    tightest: &'static str,
    /// What the suffix is as a host of its own.
    host: Host,
    /// How a tenant's own part is made.
    tenants: Tenants,
}

/// What a suffix is as a host of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Host {
    /// The operator's, or nothing.
    Operators,
    /// It serves every tenant, told apart by the path, which DNS cannot see.
    Everybodys,
}

/// How a tenant's own part is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tenants {
    /// One label: what lies below it is the same tenant's.
    OneLabel,
    /// Any labels: `b.a.suffix` may be somebody else's than `a.suffix`.
    AnyLabels,
}

impl Shared {
    /// For a pattern that may end in the suffix.
    fn warning(&self, pattern: &Pattern, labels: &[LabelPattern<'_>]) -> Option<Warning> {
        let reason = self.reason(pattern.reach(), labels)?;
        let message = match reason {
            Reason::Host => {
                format!("`{pattern}` serves {}: the path tells them apart, which DNS cannot see", self.strangers)
            }
            Reason::Names => format!("`{pattern}` also lets in {}", self.strangers),
        };
        Some(Warning { message, hint: hint(self.tightest) })
    }

    /// What lets strangers in: the label left of the suffix, which names the tenant, decides.
    fn reason(&self, reach: Reach, labels: &[LabelPattern<'_>]) -> Option<Reason> {
        let open = reach != Reach::Exact;
        let Some(own) = labels.len().checked_sub(self.suffix.split('.').count()) else {
            return open.then_some(Reason::Names);
        };
        match labels[..own].split_last() {
            None if open => Some(Reason::Names),
            None => (self.host == Host::Everybodys).then_some(Reason::Host),
            Some((LabelPattern::Glob(_), _)) => Some(Reason::Names),
            Some((LabelPattern::Literal(_), more)) => {
                let open = open || more.iter().any(|label| matches!(label, LabelPattern::Glob(_)));
                (self.tenants == Tenants::AnyLabels && open).then_some(Reason::Names)
            }
        }
    }
}

enum Reason {
    /// The suffix itself is named, and serves everybody.
    Host,
    /// Names below it are.
    Names,
}

/// By the public suffix list alone.
fn listed_warning(pattern: &Pattern) -> Option<Warning> {
    if let Some(name) = pattern.single() {
        return (listing(name) == Some(psl::Type::Private)).then(|| Warning {
            message: format!("`{name}` is a suffix under which its operator gives names to others"),
            hint: hint(&format!("the exact `NAME.{name}`")),
        });
    }
    openings(pattern).into_iter().find_map(|opening| {
        let suffix = &opening.suffix;
        match opening.listing()? {
            psl::Type::Private => Some(Warning {
                message: format!("`{pattern}` also lets in whoever gets a name under `{suffix}`"),
                hint: hint(&format!("the exact `NAME.{suffix}`")),
            }),
            psl::Type::Icann => Some(Warning {
                message: format!("`{pattern}` also lets in whoever registers a matching name under `{suffix}`"),
                hint: hint("the exact names"),
            }),
        }
    })
}

/// A place where a pattern leaves something open, and what is written to the right of it.
struct Opening<'p> {
    /// The label with the `*`; `None`: whole labels.
    glob: Option<&'p str>,
    /// The rest of the name, other globs in it as `x`.
    suffix: String,
}

impl Opening<'_> {
    /// How the suffix is listed, or what lies directly below it (`*.digitaloceanspaces.com`).
    fn listing(&self) -> Option<psl::Type> {
        if self.suffix.rsplit('.').next() == Some(REVERSE_ZONES) {
            return None;
        }
        listing(&self.suffix).or_else(|| listing(&format!("{SOME_LABEL}.{}", self.suffix)))
    }

    /// The suffix open to everybody's registrations that this opening leaves whole.
    fn registered_suffix(&self) -> Option<String> {
        if self.listing() != Some(psl::Type::Icann) {
            return None;
        }
        let Some(glob) = self.glob.filter(|glob| *glob != "*") else { return Some(self.suffix.clone()) };
        let glob = LabelPattern::of(glob);
        let second = SECOND_LEVELS.iter().filter(|label| glob.matches(label.as_bytes()));
        let mut names = second.map(|label| format!("{label}.{}", self.suffix));
        names.find(|name| listing(name) == Some(psl::Type::Icann))
    }
}

fn openings(pattern: &Pattern) -> Vec<Opening<'_>> {
    if pattern.single().is_some() {
        return Vec::new();
    }
    let labels: Vec<&str> = pattern.text_labels().collect();
    let suffix = |from: usize| {
        let filled = labels[from..].iter().map(|label| if label.contains('*') { SOME_LABEL } else { label });
        filled.collect::<Vec<_>>().join(".")
    };
    let mut openings = Vec::new();
    if pattern.reach() != Reach::Exact {
        openings.push(Opening { glob: None, suffix: suffix(0) });
    }
    let globs = labels.iter().enumerate().filter(|(_, label)| label.contains('*'));
    openings.extend(globs.map(|(index, glob)| Opening { glob: Some(glob), suffix: suffix(index + 1) }));
    openings
}

/// How the public suffix list has `name` itself; `None` when it does not.
fn listing(name: &str) -> Option<psl::Type> {
    use psl::Psl;
    let suffix = psl::List.suffix(name.as_bytes())?;
    if suffix.as_bytes() == name.as_bytes() { suffix.typ() } else { None }
}

fn ends_with(labels: &[LabelPattern<'_>], suffix: &Cut) -> bool {
    suffix.len() <= labels.len() && suffix.iter().zip(labels.iter().rev()).all(|(own, label)| own == label)
}

/// Whether some name matches both, as far as both go.
fn may_end_in(labels: &[LabelPattern<'_>], suffix: &Cut) -> bool {
    suffix.iter().zip(labels.iter().rev()).all(|(&own, &label)| overlap(own, label))
}

/// Whether some label matches both; of two globs that is assumed.
fn overlap(one: LabelPattern<'_>, other: LabelPattern<'_>) -> bool {
    match (one, other) {
        (LabelPattern::Literal(label), any) | (any, LabelPattern::Literal(label)) => any.matches(label),
        (LabelPattern::Glob(_), LabelPattern::Glob(_)) => true,
    }
}

fn hint(tightest: &str) -> String {
    format!("tightest safe: {tightest}; `accept-shared-suffix = true` says that this was decided")
}

/// Stands for a label that a wildcard leaves open.
const SOME_LABEL: &str = "x";
/// Nobody reaches a host by its reverse name.
const REVERSE_ZONES: &str = "arpa";
/// Second-level labels that many top-level domains register under.
const SECOND_LEVELS: &[&str] = &["ac", "co", "com", "edu", "go", "gov", "mil", "ne", "net", "nom", "or", "org"];

/// Under these only the vendor has names; tenants are paths, if there are any.
const VENDORS: &[&str] =
    &["pkg.dev", "gcr.io", "quay.io", "icr.io", "ocir.io", "cgr.dev", "mcr.microsoft.com", "data.mcr.microsoft.com"];

const BUCKETS: &str = "anyone who makes an S3 bucket";
const S3_EXACT: &str = "the exact `BUCKET.s3.REGION.amazonaws.com`";
const ECR: &str = "every AWS account";
const ECR_EXACT: &str = "the exact `ACCOUNT.dkr.ecr.REGION.amazonaws.com`";
const R2: &str = "anyone with a Cloudflare account";
const R2_EXACT: &str = "the exact `BUCKET.ACCOUNT.r2.cloudflarestorage.com` or `ACCOUNT.r2.cloudflarestorage.com`";
const AZURE_REGISTRIES: &str = "every customer of Azure Container Registry";

/// The suffixes that registries and their redirects live under. A longer one stands before a shorter one.
const SHARED: &[Shared] = &[
    bucket_store("s3.amazonaws.com", BUCKETS, S3_EXACT),
    bucket_store("s3.dualstack.*.amazonaws.com", BUCKETS, "the exact `BUCKET.s3.dualstack.REGION.amazonaws.com`"),
    bucket_store("s3.*.amazonaws.com", BUCKETS, S3_EXACT),
    bucket_store("s3-*.amazonaws.com", BUCKETS, S3_EXACT),
    bucket_store("s3.*.amazonaws.com.cn", BUCKETS, "the exact `BUCKET.s3.REGION.amazonaws.com.cn`"),
    customers("dkr.ecr.*.amazonaws.com", ECR, ECR_EXACT),
    customers("dkr.ecr-fips.*.amazonaws.com", ECR, "the exact `ACCOUNT.dkr.ecr-fips.REGION.amazonaws.com`"),
    customers("dkr.ecr.*.amazonaws.com.cn", ECR, "the exact `ACCOUNT.dkr.ecr.REGION.amazonaws.com.cn`"),
    customers("dkr.ecr.*.amazonaws.eu", ECR, "the exact `ACCOUNT.dkr.ecr.REGION.amazonaws.eu`"),
    customers("dkr-ecr.*.on.aws", ECR, "the exact `ACCOUNT.dkr-ecr.REGION.on.aws`"),
    customers("cloudfront.net", "everyone who has a CloudFront distribution", "the exact `ID.cloudfront.net`"),
    bucket_store(
        "storage.googleapis.com",
        "every bucket of Google Cloud Storage",
        "the exact `BUCKET.storage.googleapis.com`",
    ),
    customers(
        "blob.core.windows.net",
        "everyone who has an Azure storage account",
        "the exact `ACCOUNT.blob.core.windows.net`",
    ),
    customers(
        "*.cloudapp.azure.com",
        "everyone who has an Azure address",
        "the exact `NAME.REGION.cloudapp.azure.com`",
    ),
    customers("*.data.azurecr.io", AZURE_REGISTRIES, "the exact `REGISTRY.REGION.data.azurecr.io`"),
    customers("azurecr.io", AZURE_REGISTRIES, "the exact `REGISTRY.azurecr.io` and `REGISTRY.REGION.data.azurecr.io`"),
    object_store("eu.r2.cloudflarestorage.com", R2, "the exact `BUCKET.ACCOUNT.eu.r2.cloudflarestorage.com`"),
    object_store("r2.cloudflarestorage.com", R2, R2_EXACT),
    object_store(
        "*.digitaloceanspaces.com",
        "every Space of its region",
        "the exact `SPACE.REGION.digitaloceanspaces.com`",
    ),
    object_store("s3.*.scw.cloud", "every Scaleway bucket of its region", "the exact `BUCKET.s3.REGION.scw.cloud`"),
    object_store(
        "oss-*.aliyuncs.com",
        "every Alibaba bucket of its region",
        "the exact `BUCKET.oss-REGION.aliyuncs.com`",
    ),
    customers(
        "*.cr.aliyuncs.com",
        "every customer of Alibaba's registry",
        "the exact `INSTANCE-registry.REGION.cr.aliyuncs.com`",
    ),
    object_store(
        "cos.*.myqcloud.com",
        "every Tencent bucket of its region",
        "the exact `BUCKET.cos.REGION.myqcloud.com`",
    ),
    customers("tencentcloudcr.com", "every customer of Tencent's registry", "the exact `INSTANCE.tencentcloudcr.com`"),
    customers("jfrog.io", "every customer of JFrog", "the exact `COMPANY.jfrog.io`"),
    customers("cloudsmith.io", "every customer of Cloudsmith", "the exact `docker.cloudsmith.io`"),
    customers("ghe.com", "every customer of GitHub Enterprise Cloud", "the exact `containers.COMPANY.ghe.com`"),
    customers(
        "githubusercontent.com",
        "what any user of GitHub uploads",
        "the exact `pkg-containers.githubusercontent.com`",
    ),
    customers("hf.space", "every Space of Hugging Face", "the exact `registry.hf.space`"),
];

/// Buckets may have dots in their names, and the host itself serves them all by path.
const fn bucket_store(suffix: &'static str, strangers: &'static str, tightest: &'static str) -> Shared {
    Shared { suffix, strangers, tightest, host: Host::Everybodys, tenants: Tenants::AnyLabels }
}

/// Buckets without dots; the host itself serves them all by path.
const fn object_store(suffix: &'static str, strangers: &'static str, tightest: &'static str) -> Shared {
    Shared { suffix, strangers, tightest, host: Host::Everybodys, tenants: Tenants::OneLabel }
}

/// A name for each customer; the host itself is the operator's.
const fn customers(suffix: &'static str, strangers: &'static str, tightest: &'static str) -> Shared {
    Shared { suffix, strangers, tightest, host: Host::Operators, tenants: Tenants::OneLabel }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warns(text: &str) -> Option<String> {
        warning(&Pattern::parse(text).expect(text)).map(|warning| warning.message)
    }

    #[test]
    fn a_wildcard_over_what_anybody_registers_is_refused() {
        for text in [
            "*.com",
            ".com",
            "*.co.uk",
            ".co.uk",
            "*.io",
            "*.github.*.com",
            "a.*.com",
            "*.c*.uk",
            "*.*.com",
            "*.dev",
            "*.ck",
            "*.kawasaki.jp",
            "*.COM.",
        ] {
            let fault = Pattern::parse(text).expect_err(text);
            assert!(fault.message.contains("anybody registers"), "{text}: {fault}");
        }
    }

    #[test]
    fn zones_that_nobody_registers_under_are_not() {
        for text in
            ["*.internal", ".lan", ".corp", ".10.in-addr.arpa", ".in-addr.arpa", ".ip6.arpa", "*.example.com", "com"]
        {
            assert_eq!(warns(text), None, "{text}");
        }
    }

    #[test]
    fn a_wildcard_where_strangers_get_names_warns() {
        for text in [
            "*.s3.amazonaws.com",
            ".s3.amazonaws.com",
            "*.s3.eu-west-1.amazonaws.com",
            "*.s3.*.amazonaws.com",
            "*.s3.dualstack.us-east-1.amazonaws.com",
            "prod-*-starport-layer-bucket.s3.*.amazonaws.com",
            "*.my-bucket.s3.amazonaws.com",
            "*.amazonaws.com",
            "*.dkr.ecr.eu-west-1.amazonaws.com",
            "*.dkr.ecr.*.amazonaws.com",
            "*.cloudfront.net",
            "d1*.cloudfront.net",
            "*.blob.core.windows.net",
            "*.windows.net",
            "*.storage.googleapis.com",
            "*.googleapis.com",
            "*.r2.cloudflarestorage.com",
            "*.cloudflarestorage.com",
            "*.digitaloceanspaces.com",
            "*.nyc3.digitaloceanspaces.com",
            "*.s3.nl-ams.scw.cloud",
            "*.oss-cn-hangzhou.aliyuncs.com",
            "*.aliyuncs.com",
            "*.cos.ap-guangzhou.myqcloud.com",
            "*.myqcloud.com",
            "*.azurecr.io",
            "my*.azurecr.io",
            "*.eastus.data.azurecr.io",
            "*.jfrog.io",
            "*.tencentcloudcr.com",
            "*.ghe.com",
            "containers.*.ghe.com",
            "*.cloudsmith.io",
            "*.cloudapp.azure.com",
            "*.eastus.cloudapp.azure.com",
            "*.githubusercontent.com",
            "*.hf.space",
            "*.github.io",
            "*.foo-*.github.io",
            "*.elb.amazonaws.com",
            "registry-*.com",
        ] {
            assert!(warns(text).is_some(), "{text}");
        }
    }

    #[test]
    fn a_host_that_serves_everybody_warns_by_itself() {
        for text in [
            "s3.amazonaws.com",
            "s3.eu-west-1.amazonaws.com",
            "s3.*.amazonaws.com",
            "storage.googleapis.com",
            "r2.cloudflarestorage.com",
            "nyc3.digitaloceanspaces.com",
            "s3.nl-ams.scw.cloud",
            "oss-cn-hangzhou.aliyuncs.com",
        ] {
            assert!(warns(text).is_some_and(|message| message.contains("path")), "{text}");
        }
    }

    #[test]
    fn a_tenant_s_exact_name_does_not_warn() {
        for text in [
            "bucket.s3.amazonaws.com",
            "layers.s3.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.*.amazonaws.com",
            "api.ecr.*.amazonaws.com",
            "d1be1w964nk82h.cloudfront.net",
            "account.blob.core.windows.net",
            "bucket.storage.googleapis.com",
            "docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com",
            "*.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com",
            "space.nyc3.digitaloceanspaces.com",
            "company.azurecr.io",
            "*.company.azurecr.io",
            "company.eastus.data.azurecr.io",
            "company.jfrog.io",
            "registry.hf.space",
            "pkg-containers.githubusercontent.com",
            "oauth2.googleapis.com",
            "docker.cloudsmith.io",
        ] {
            assert_eq!(warns(text), None, "{text}");
        }
    }

    #[test]
    fn a_vendor_s_own_suffix_does_not_warn() {
        for text in [
            "*-docker.pkg.dev",
            "*.pkg.dev",
            "*.gcr.io",
            "gcr.io",
            "*.quay.io",
            "*.icr.io",
            "*.ocir.io",
            "*.data.mcr.microsoft.com",
            "*.docker.com",
            "ghcr.io",
        ] {
            assert_eq!(warns(text), None, "{text}");
        }
    }

    #[test]
    fn the_hint_names_the_tightest_pattern() {
        let warning = warning(&Pattern::parse("*.s3.eu-west-1.amazonaws.com").unwrap()).unwrap();
        assert_eq!(warning.message, "`*.s3.eu-west-1.amazonaws.com` also lets in anyone who makes an S3 bucket");
        assert!(warning.hint.starts_with("tightest safe: the exact `BUCKET.s3.REGION.amazonaws.com`"));
    }
}
