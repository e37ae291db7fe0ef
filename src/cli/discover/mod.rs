//! `pullgate discover`: which hosts a pull needs, and which of them the policy denies.

mod judge;
mod print;
mod setting;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use self::judge::Judge;
use super::failure;
use super::options::{self, Options};
use super::output::Output;
use super::{ExitCode, Outcome};
use crate::control::explain::OnBehalf;
use crate::inspect::discover::{self, Drift, Keyring, Network, Platform, Report, Walked, Wanted};
use crate::policy::image_reference::ImageReference;
use crate::policy::preset;

/// Walk the pull of an image as an engine does it, and tell which hosts it needs
///
/// It asks the registry, its token service, and wherever they send it, for the first byte of a few of
/// the image's blobs, and shows each host with the policy's verdict, the preset that has it, and the
/// lines that would allow it. Names are resolved as pullgate itself resolves them, so that nothing is
/// denied on the way; with --through as its clients do. Credentials are those of Docker's config.json and
/// its helpers; proxies those of HTTPS_PROXY, HTTP_PROXY and NO_PROXY; authorities those of the host, of
/// SSL_CERT_FILE and of certs.d. No secret is shown.
///
/// The verdicts are the running server's, or those of the policy files where none runs or --policy is given.
///
/// Examples:
///   pullgate discover docker.io/library/alpine
///   pullgate discover ghcr.io/mycompany/app:1.2 --all-platforms --repeat 5
///   pullgate discover nexus.corp.example:5000/app --policy ./policy.d --group ci
///   pullgate discover --presets            do the shipped presets still have every host
///
/// Exit codes:
///   0   all hosts are allowed, or let through by audit; of presets: none lacks a host
///   1   one is denied; of presets: one lacks a host
///   64  the command line is wrong
///   69  the pull could not be walked to its end; there may be more hosts
///   78  the settings or the policy are faulty
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
#[allow(clippy::doc_markdown, reason = "a terminal shows it as it stands")]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(super) struct Arguments {
    /// The image
    #[arg(value_name = "IMAGE", value_parser = image, required_unless_present = "presets")]
    image: Option<ImageReference>,
    /// For this platform, such as linux/arm64 [default: linux, and this machine's processor]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// For every platform that there is
    #[arg(long, conflicts_with = "platform")]
    all_platforms: bool,
    /// Begin a push as well, and cancel it: needs credentials that may push
    #[arg(long)]
    push: bool,
    /// Ask for each blob so often: a registry may send every request elsewhere
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=100))]
    repeat: u8,
    /// Resolve names as clients of this machine's pullgate do, denials and all
    #[arg(long)]
    through: bool,
    /// Walk the probe images of the shipped presets instead, and tell which hosts the presets lack
    #[arg(long, conflicts_with_all = ["image", "push", "through", "client", "group"])]
    presets: bool,
    /// Judge as for the client at this address
    #[arg(long, value_name = "ADDR", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    client: IpAddr,
    /// Judge as for a client of this group
    #[arg(long, value_name = "GROUP", conflicts_with = "client")]
    group: Option<String>,
    /// How long one image may take
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    match &arguments.image {
        Some(image) => options::block_on(walk_image(options, arguments, image, output)),
        None => options::block_on(walk_presets(options, arguments, output)),
    }
}

async fn walk_image(options: &Options, arguments: &Arguments, image: &ImageReference, output: &mut Output) -> Outcome {
    let loaded = options.settings()?;
    let judge = Judge::of(options, &loaded, arguments.on_behalf()).await?;
    let network = if arguments.through {
        setting::clients_network(&loaded, judge.listener(&loaded)?)?
    } else {
        setting::own_network(&loaded)?
    };
    let (keyring, troubles) = setting::keyring();
    let wanted = arguments.wanted(image.clone());
    let mut walked = discover::walk(&network, &keyring, &wanted).await;
    walked.notes.splice(0..0, troubles);
    let mut verdicts = BTreeMap::new();
    for name in walked.hosts.iter().filter_map(|seen| seen.host.name()) {
        verdicts.insert(name.clone(), judge.check(name).await?);
    }
    let report = Report::of(&wanted, walked, judge.word(), verdicts);
    if arguments.json {
        output.json(&report)?;
    } else {
        print::report(&report, output)?;
    }
    let code = if report.has_denied() {
        failure::NO
    } else if report.end.is_some() {
        failure::UNAVAILABLE
    } else {
        return Ok(ExitCode::SUCCESS);
    };
    Ok(ExitCode::from(code))
}

async fn walk_presets(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    let network = setting::own_network(&options.settings()?)?;
    let keyring = Keyring::default();
    let mut drifts = Vec::new();
    for preset in preset::catalogue().iter().filter(|preset| !preset.probes.is_empty()) {
        let mut walks = Vec::new();
        for probe in &preset.probes {
            walks.push((probe.clone(), arguments.probe(probe, &network, &keyring).await));
        }
        drifts.push(Drift::of(preset, walks));
    }
    if arguments.json {
        output.json(&drifts)?;
    } else {
        print::drifts(&drifts, output)?;
    }
    let code = if drifts.iter().any(Drift::has_drifted) {
        failure::NO
    } else if drifts.iter().any(Drift::is_walked) {
        return Ok(ExitCode::SUCCESS);
    } else {
        failure::UNAVAILABLE
    };
    Ok(ExitCode::from(code))
}

impl Arguments {
    /// Walks one probe image, without anybody's credentials.
    async fn probe(&self, probe: &str, network: &Network, keyring: &Keyring) -> Walked {
        match ImageReference::parse(probe) {
            Ok(image) => discover::walk(network, keyring, &self.wanted(image)).await,
            Err(fault) => Walked { hosts: Vec::new(), notes: Vec::new(), end: Some(fault.to_string()) },
        }
    }

    fn wanted(&self, image: ImageReference) -> Wanted {
        let platform = (!self.all_platforms).then(|| self.platform.clone().unwrap_or_else(Platform::here));
        Wanted { image, platform, push: self.push, repeat: usize::from(self.repeat), limit: self.timeout }
    }

    fn on_behalf(&self) -> OnBehalf {
        match &self.group {
            Some(group) => OnBehalf::Group(group.clone()),
            None => OnBehalf::Client(self.client),
        }
    }
}

fn image(text: &str) -> Result<ImageReference, String> {
    ImageReference::parse(text).map_err(|fault| format!("{}: {}", fault.message, fault.hint))
}
