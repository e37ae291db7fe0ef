//! `pullgate check`: would a name resolve, would an image be let through, and why.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};

use super::failure::{self, Failure};
use super::options::{self, Options};
use super::output::Output;
use super::{ExitCode, Outcome, compiled, overlay};
use crate::control::explain::{self, ImageQuestion, OnBehalf, Question, UnknownGroup};
use crate::control::report::{Asked, Badge, CheckReport, VerdictWord};
use crate::name::DomainName;
use crate::policy::image_reference::ImageReference;
use crate::policy::images::Access;
use crate::policy::snapshot::Snapshot;
use crate::record_type;

/// Say whether names would resolve and images be let through, and which rule decides
///
/// Reads the policy files as they are now; it needs no running server. What has a `/` is an image,
/// all else a name. For what is denied it says what would allow it. A running server adds what it
/// knows: for a denied name the registry after which it was asked, since that may have sent the
/// client there; for an image of Docker Hub whether its publisher is verified.
///
/// Examples:
///   pullgate check ghcr.io quay.io
///   pullgate check docker.io/library/nginx:1.27 docker.io/bitnami/redis
///   pullgate check docker.io/mycompany/app --push --group ci
///   pullgate check ghcr.io --policy ./policy.d --client 10.20.0.5
///   pullgate check nexus.corp.example --group ci --json
///
/// Exit codes:
///   0   all are allowed, or let through by audit
///   1   one is denied
///   64  a name or image is none
///   78  the settings or the policy are faulty
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Host names, and images: what has a `/`
    #[arg(required = true, value_name = "NAME|IMAGE", value_parser = subject)]
    subjects: Vec<Subject>,
    /// Ask as the client at this address
    #[arg(long, value_name = "ADDR", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    client: IpAddr,
    /// Ask as a client of this group
    #[arg(long, value_name = "GROUP", conflicts_with = "client")]
    group: Option<String>,
    /// Ask whether the images may be pushed
    #[arg(long)]
    push: bool,
    /// Ask for this record type of the names
    #[arg(long = "type", value_name = "TYPE", value_parser = type_number)]
    record_type: Option<u16>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is asked about.
#[derive(Clone, Debug)]
enum Subject {
    Name(DomainName),
    Image(ImageReference),
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    arguments.refuse_idle()?;
    let loaded = options.settings()?;
    let snapshot = compiled::from_settings(&loaded)?.snapshot;
    let contact = loaded.settings.blocked.contact.as_deref();
    let mut reports = Vec::new();
    for subject in &arguments.subjects {
        reports.push(match subject {
            Subject::Name(name) => {
                let question = arguments.question(name);
                let report = explain::check(&snapshot, &question, &loaded.settings.server.record_types)?;
                let report = with_log(report, options)?;
                // A folder that is named is not what a server has in force.
                let report =
                    if options.policy().is_some() { report } else { with_overlay(report, &question, options)? };
                report.with_contact(contact)
            }
            Subject::Image(image) => {
                check_image(&snapshot, &arguments.image_question(image), options)?.with_contact(contact)
            }
        });
    }
    if arguments.json {
        output.json(&reports)?;
    } else {
        reports.iter().try_for_each(|report| print(report, output))?;
    }
    let denied = reports.iter().any(|report| report.verdict == VerdictWord::Deny);
    Ok(if denied { ExitCode::from(failure::NO) } else { ExitCode::SUCCESS })
}

impl Arguments {
    /// Refuses options that mean nothing to what is asked about.
    fn refuse_idle(&self) -> Result<(), Failure> {
        let has_images = self.subjects.iter().any(|subject| matches!(subject, Subject::Image(_)));
        let has_names = self.subjects.iter().any(|subject| matches!(subject, Subject::Name(_)));
        let idle = match (has_names, has_images) {
            (false, _) if self.record_type.is_some() => Some("--type means nothing to images"),
            (_, false) if self.push => Some("--push means nothing to names"),
            _ => None,
        };
        let hint = "an image has a `/`, as in `docker.io/library/nginx`";
        idle.map_or(Ok(()), |message| Err(Failure::Usage { message: message.to_owned(), hint: Some(hint.to_owned()) }))
    }

    fn question(&self, name: &DomainName) -> Question {
        Question { name: name.clone(), record_type: self.record_type, on_behalf: self.on_behalf() }
    }

    fn image_question(&self, image: &ImageReference) -> ImageQuestion {
        let access = if self.push { Access::Push } else { Access::Pull };
        ImageQuestion { image: image.clone(), access, on_behalf: self.on_behalf() }
    }

    fn on_behalf(&self) -> OnBehalf {
        match &self.group {
            Some(group) => OnBehalf::Group(group.clone()),
            None => OnBehalf::Client(self.client),
        }
    }
}

impl From<UnknownGroup> for Failure {
    fn from(unknown: UnknownGroup) -> Self {
        Self::Usage { message: unknown.to_string(), hint: None }
    }
}

fn check_image(snapshot: &Snapshot, question: &ImageQuestion, options: &Options) -> Result<CheckReport, Failure> {
    let is_undecided = explain::undecided_namespace(snapshot, question)?.is_some();
    let badge = if is_undecided { badge_of(&question.image, options)? } else { None };
    Ok(explain::check_image(snapshot, question, badge)?)
}

/// What a running server says of the namespace of an image. Without one, or if it does not know, there is nothing to say.
fn badge_of(image: &ImageReference, options: &Options) -> Result<Option<Badge>, Failure> {
    let (client, query) = (options.client()?, [("image", image.to_string())]);
    options::block_on(async { Ok(client.check(&query).await.ok().and_then(|report| report.badge)) })
}

/// Adds what a running server knows of a denied name. Without one the report is as good as can be had.
fn with_log(report: CheckReport, options: &Options) -> Result<CheckReport, Failure> {
    if report.verdict == VerdictWord::Allow {
        return Ok(report);
    }
    let (client, filter) = (options.client()?, [("name", report.name.clone())]);
    let entries = options::block_on(async { Ok(client.log(&filter).await.unwrap_or_default()) })?;
    Ok(report.with_log(&entries))
}

/// The verdict of a running server where an overlay makes it: the files know nothing of those.
fn with_overlay(report: CheckReport, question: &Question, options: &Options) -> Result<CheckReport, Failure> {
    let whose = match &question.on_behalf {
        OnBehalf::Client(client) => ("client", client.to_string()),
        OnBehalf::Group(group) => ("group", group.clone()),
    };
    let kind = question.record_type.map(|number| ("type", record_type::name(number).to_string()));
    let query: Vec<(&str, String)> = [("name", report.name.clone()), whose].into_iter().chain(kind).collect();
    let client = options.client()?;
    let told = options::block_on(async { Ok(client.check(&query).await.ok()) })?;
    Ok(told.filter(|told| told.overlay.is_some()).unwrap_or(report))
}

fn print(report: &CheckReport, output: &mut Output) -> Result<(), Failure> {
    let access = report.access.as_ref().map(|access| format!("{access} ")).unwrap_or_default();
    writeln!(output, "{:5}  {access}{}  {}", report.verdict, report.name, report.reason)?;
    if let Some(group) = &report.group {
        writeln!(output, "       group: {group}")?;
    }
    if let Some(rule) = &report.rule {
        writeln!(output, "       rule: {rule}")?;
    }
    if let Some(category) = &report.category {
        writeln!(output, "       category: {category}")?;
    }
    if let Some(overlay) = &report.overlay {
        writeln!(output, "       overlay: {}", overlay::line(overlay))?;
    }
    for (label, text) in [("note", &report.note), ("hint", &report.hint)] {
        if let Some(text) = text {
            writeln!(output, "       {label}: {text}")?;
        }
    }
    if let Some(Asked { at, client, after, line }) = &report.asked {
        writeln!(output, "       asked: by {client} at {at}, right after {}", after.name)?;
        writeln!(output, "       hint: if that sends downloads here, add to {}: {line}", after.place())?;
    }
    if let Some(contact) = &report.contact {
        writeln!(output, "       ask: {contact}")?;
    }
    Ok(())
}

/// A host name, or what has a `/` as only images have.
fn subject(text: &str) -> Result<Subject, String> {
    if text.contains('/') && !text.contains("://") {
        let image = ImageReference::parse(text);
        return image.map(Subject::Image).map_err(|fault| format!("{}: {}", fault.message, fault.hint));
    }
    host_name(text).map(Subject::Name)
}

/// A name as people paste it; what comes with an image reference is told apart from it.
fn host_name(text: &str) -> Result<DomainName, String> {
    if text.contains("://") {
        return Err("a URL: write the host name, `ghcr.io`, or the image, `ghcr.io/mycompany/app`".to_owned());
    }
    if text.contains([':', '@']) {
        let image = ImageReference::parse(text).map_or("docker.io/library/nginx".to_owned(), |image| image.to_string());
        return Err(format!("a host name has no port (DNS has none) and no tag; for an image write `{image}`"));
    }
    text.parse().map_err(|error| format!("not a name: {error}"))
}

fn type_number(text: &str) -> Result<u16, String> {
    record_type::number(text).ok_or_else(|| "not a record type: write A, AAAA, HTTPS, TXT or TYPE65".to_owned())
}
