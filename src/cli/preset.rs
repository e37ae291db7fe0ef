//! `pullgate preset`: the registries whose hosts ship with the program.

use std::io::Write;

use super::failure::Failure;
use super::output::Output;
use super::{ExitCode, Outcome};
use crate::policy::preset::{self, Kind, Preset, PresetHost};

/// The registries whose hosts ship with the program
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List them all
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one: its hosts, what each is for, who says so, and the lines to paste into a policy
    ///
    /// Example: pullgate preset show docker-hub
    Show {
        /// Its id, as `preset list` shows it
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(arguments: &Arguments, output: &mut Output) -> Outcome {
    match &arguments.command {
        Command::List { json: true } => output.json(&preset::catalogue())?,
        Command::List { json: false } => list(output)?,
        Command::Show { name, json } => show(find(name)?, *json, output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn find(name: &str) -> Result<&'static Preset, Failure> {
    preset::find(name).ok_or_else(|| Failure::Usage {
        message: format!("there is no preset `{name}`"),
        hint: Some(match preset::nearest(name) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`pullgate preset list` shows them all".to_owned(),
        }),
    })
}

fn list(output: &mut Output) -> Result<(), Failure> {
    for (kind, title) in [(Kind::Registry, "Registries"), (Kind::Tool, "Tools")] {
        writeln!(output, "{title}")?;
        let presets = preset::catalogue().iter().filter(|preset| preset.kind == kind);
        let head = ["preset", "hosts", "checked", "values", "title"].map(str::to_uppercase);
        let rows: Vec<_> = std::iter::once(head).chain(presets.map(list_row)).collect();
        output.table(&rows)?;
        writeln!(output)?;
    }
    writeln!(output, "HOSTS: those that are on, of all. `pullgate preset show PRESET` shows them with their sources.")?;
    Ok(())
}

fn list_row(preset: &Preset) -> [String; 5] {
    let on = preset.hosts.iter().filter(|host| host.is_default()).count();
    let needed = preset.placeholders.iter().filter(|placeholder| !placeholder.optional);
    let values = needed.map(|placeholder| placeholder.name.as_str()).collect::<Vec<_>>().join(", ");
    let hosts = format!("{on}/{}", preset.hosts.len());
    [preset.id.clone(), hosts, preset.checked.clone(), values, preset.title.clone()]
}

fn show(preset: &Preset, json: bool, output: &mut Output) -> Result<(), Failure> {
    if json {
        return output.json(preset);
    }
    writeln!(output, "{}: {} ({})", preset.id, preset.title, preset.homepage)?;
    for note in [&preset.note, &preset.wildcard] {
        if !note.is_empty() {
            writeln!(output, "{note}")?;
        }
    }
    writeln!(output)?;
    let head = ["host", "on", "for", "confidence", "date", "source"].map(str::to_uppercase);
    let rows: Vec<_> = std::iter::once(head).chain(preset.hosts.iter().map(host_row)).collect();
    output.table(&rows)?;
    print_values(preset, output)?;
    writeln!(output, "\nIn a policy:\n\n{}", preset.example())?;
    let optional = preset.optional_purposes();
    if !optional.is_empty() {
        let words = optional.iter().map(|purpose| format!("\"{purpose}\"")).collect::<Vec<_>>().join(", ");
        writeln!(output, "include = [{words}]   # optional: hosts for these as well")?;
    }
    Ok(())
}

fn host_row(host: &PresetHost) -> [String; 6] {
    let on = if host.is_default() { "yes" } else { "no" };
    let purposes = host.purposes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let date = host.date.clone().unwrap_or_else(|| "-".to_owned());
    [host.name.clone(), on.to_owned(), purposes, host.confidence.to_string(), date, host.source.clone()]
}

fn print_values(preset: &Preset, output: &mut Output) -> Result<(), Failure> {
    if preset.placeholders.is_empty() {
        return Ok(());
    }
    writeln!(output, "\nValues:")?;
    let rows = preset.placeholders.iter().map(|value| {
        let need = if value.optional { "optional" } else { "required" };
        [format!("  {}", value.name), need.to_owned(), value.description.clone(), format!("e.g. {}", value.example)]
    });
    output.table(&rows.collect::<Vec<_>>())
}
