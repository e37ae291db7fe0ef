//! `pullgate images import`: a policy from what an organization has set at Docker.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{ExitCode, Outcome};
use crate::cli::draft_file::{self, Existing};
use crate::cli::failure::Failure;
use crate::cli::options::Options;
use crate::cli::output::Output;
use crate::control::report::FaultReport;
use crate::diagnostic::{Diagnostic, Source};
use crate::inspect::import::{self, Draft, Imported, Kind};
use crate::tree::MAX_INPUT;

/// Draft a policy from what an organization has set at Docker
///
/// Reads files and prints a policy that says the same, each line with where it came from. It is a
/// draft for people to read: nothing is put in force. Without FILE it reads the registry.json of
/// Docker Desktop on this machine; - is standard input. What a file is shows by its contents:
///
///   registry.json        {"allowedOrgs": ["myorg"]}: organizations
///   settings of the Hub  what GET https://hub.docker.com/v2/orgs/NAME/settings answers (Image Access
///                        Management), or .../settings/registry-access-management
///   Terraform            *.tf and *.tf.json with resources docker_org_setting_...: image_access_management,
///                        image_access_allowlist, namespace, registry_access_management; or what
///                        `terraform show -json` prints, which has the values of variables too
///
/// A registry whose hosts ship with pullgate becomes its preset; of others the hosts that downloads
/// are redirected to have to be found (`pullgate log`). What only Terraform can work out is told, and
/// denied until somebody decides. Where pullgate can say less than Docker, or more, a comment says so.
///
/// Examples:
///   pullgate images import registry.json
///   curl -H "Authorization: Bearer $TOKEN" https://hub.docker.com/v2/orgs/myorg/settings |
///     pullgate images import --organization myorg -
///   pullgate images import *.tf --output docker.toml
///   terraform show -json | pullgate images import - --output docker.toml
///
/// JSON (--json): written (the path of --output), registries, images, left_out, remarks, warnings,
///   policy (the text)
///
/// Exit codes:
///   0   drafted; what could not be taken over is told on standard error and in the text
///   64  the command line is wrong, or --output names the policy folder
///   74  reading or writing failed, or the file of --output exists
///   78  a file has a fault, or none says anything
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
#[allow(clippy::doc_markdown, clippy::doc_link_with_quotes, reason = "a terminal shows it as it stands")]
pub(super) struct Arguments {
    /// The files; - is standard input [default: Docker Desktop's registry.json]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Take every file for this, whatever it holds
    #[arg(long, value_name = "KIND")]
    from: Option<FileKind>,
    /// The organization whose settings these are, if no file names it; its images are always allowed
    #[arg(long, value_name = "NAME", value_parser = import::organization_name)]
    organization: Vec<String>,
    /// Write the policy to this file, which must not exist, instead of printing it
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What a file is, on the command line.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum FileKind {
    /// Docker's registry.json
    RegistryJson,
    /// An answer of Docker Hub's API
    OrganizationSettings,
    /// Terraform's configuration or state
    Terraform,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct ImportReport<'d> {
    written: Option<&'d Path>,
    #[serde(flatten)]
    draft: &'d Draft,
    warnings: Vec<FaultReport>,
    policy: &'d str,
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    if let Some(path) = &arguments.output {
        draft_file::refuse_policy_folder(path, options)?;
    }
    let sources = sources(&arguments.files)?;
    let imported = import::import(&sources, arguments.from.map(Kind::from), &arguments.organization);
    let Imported { draft, warnings } = imported.map_err(Failure::Faults)?;
    let policy = draft.to_string();
    if let Some(path) = &arguments.output {
        draft_file::write(path, &policy, Existing::Keep)?;
    }
    if arguments.json {
        let written = arguments.output.as_deref();
        output.json(&ImportReport {
            written,
            draft: &draft,
            warnings: FaultReport::all(&warnings),
            policy: &policy,
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    for warning in &warnings {
        eprintln!("{warning}");
    }
    match &arguments.output {
        Some(path) => writeln!(output, "{} is written; read it, {NEXT}", path.display())?,
        None => write!(output, "{policy}")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn sources(files: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    if files.is_empty() {
        return Ok(vec![usual_registry_json()?]);
    }
    let read: Vec<Result<Source, Diagnostic>> = files.iter().map(|file| source(file)).collect();
    let faults: Vec<Diagnostic> = read.iter().filter_map(|read| read.as_ref().err()).cloned().collect();
    if !faults.is_empty() {
        return Err(Failure::Faults(faults));
    }
    Ok(read.into_iter().filter_map(Result::ok).collect())
}

fn usual_registry_json() -> Result<Source, Failure> {
    let path = Path::new(REGISTRY_JSON);
    if path.exists() {
        return source(path).map_err(|fault| Failure::Faults(vec![fault]));
    }
    Err(Failure::Usage {
        message: format!("import what? there is no {REGISTRY_JSON} here"),
        hint: Some("name the files; `pullgate images import --help` says which".to_owned()),
    })
}

fn source(path: &Path) -> Result<Source, Diagnostic> {
    let (name, read) = if path == Path::new("-") {
        (Path::new("standard input"), read_whole(io::stdin().lock()))
    } else {
        (path, File::open(path).and_then(read_whole))
    };
    let bytes = read.map_err(|error| Diagnostic::about(name, format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Diagnostic::about(name, format!("not UTF-8 at byte {at}")).hint("save the file as UTF-8")
    })?;
    Ok(Source::new(name, text))
}

/// One byte more than is read of a file, so that a longer one is refused.
fn read_whole(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_INPUT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl From<FileKind> for Kind {
    fn from(kind: FileKind) -> Self {
        match kind {
            FileKind::RegistryJson => Self::RegistryJson,
            FileKind::OrganizationSettings => Self::OrganizationSettings,
            FileKind::Terraform => Self::Terraform,
        }
    }
}

/// Where Docker Desktop for Linux has it (docs.docker.com, "Enforce sign-in").
const REGISTRY_JSON: &str = "/usr/share/docker-desktop/registry/registry.json";
const NEXT: &str = "put it into the policy folder under a name of its own, and run `pullgate policy lint`";
