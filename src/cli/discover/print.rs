//! Reports for people.

use std::io::Write;

use super::super::failure::Failure;
use super::super::output::{Output, counted};
use crate::inspect::discover::{Drift, DriftHost, DriftState, HostReport, JudgedBy, Proposal, Report};

/// Prints what one image's pull needs.
pub(super) fn report(report: &Report, output: &mut Output) -> Result<(), Failure> {
    let platform = report.platform.as_ref().map_or("every platform", |platform| platform);
    let by = match report.judged_by {
        JudgedBy::Server => "the policy in force",
        JudgedBy::Files => "the policy files",
    };
    writeln!(output, "{} for {platform}, judged by {by}\n", report.image)?;
    let head = ["host", "for", "seen in", "answered", "verdict", "preset"].map(str::to_uppercase);
    let rows: Vec<_> = std::iter::once(head).chain(report.hosts.iter().map(row)).collect();
    output.table(&rows)?;
    let remarks: Vec<String> = report.hosts.iter().filter_map(shared).chain(report.notes.iter().cloned()).collect();
    if !remarks.is_empty() {
        writeln!(output)?;
    }
    remarks.iter().try_for_each(|remark| writeln!(output, "note: {remark}"))?;
    report.add.iter().try_for_each(|proposal| print_proposal(proposal, output))?;
    if let Some(end) = &report.end {
        writeln!(output, "\nnot walked to the end, there may be more hosts: {end}")?;
    }
    Ok(())
}

fn row(host: &HostReport) -> [String; 6] {
    let words = |words: Vec<String>| words.join(",");
    let preset = host
        .preset
        .as_ref()
        .map_or("-".to_owned(), |preset| if preset.on { preset.id.clone() } else { format!("{} (off)", preset.id) });
    [
        host.host.clone(),
        words(host.purposes.iter().map(ToString::to_string).collect()),
        words(host.steps.iter().map(ToString::to_string).collect()),
        words(host.answered.clone()),
        host.verdict.map_or("-".to_owned(), |verdict| verdict.to_string()),
        preset,
    ]
}

fn shared(host: &HostReport) -> Option<String> {
    let shared = host.shared.as_ref()?;
    Some(format!("{}: {}; {}", host.host, shared.message, shared.hint))
}

fn print_proposal(proposal: &Proposal, output: &mut Output) -> Result<(), Failure> {
    match &proposal.to {
        Some(place) => writeln!(output, "\nto add to {place}:\n")?,
        None => writeln!(output, "\nto add to the policy:\n")?,
    }
    write!(output, "{}", proposal.toml)?;
    proposal.remarks.iter().try_for_each(|remark| writeln!(output, "# {remark}"))?;
    Ok(())
}

/// Prints what the shipped presets lack.
pub(super) fn drifts(drifts: &[Drift], output: &mut Output) -> Result<(), Failure> {
    for drift in drifts {
        let lacking = of_state(drift, DriftState::Lacking);
        let word = match (lacking.is_empty(), drift.is_walked()) {
            (false, _) => "DRIFT",
            (true, true) => "ok",
            (true, false) => "unseen",
        };
        writeln!(output, "{word:7} {} (checked {}): {}", drift.preset, drift.checked, hosts(drift))?;
        for (state, text) in STATES {
            for host in of_state(drift, state) {
                writeln!(output, "        {}: {text}; asked for by {}", host.host, host.image)?;
                if let Some(shared) = &host.shared {
                    writeln!(output, "        {}: {}; {}", host.host, shared.message, shared.hint)?;
                }
            }
        }
        for probe in &drift.probes {
            if let Some(end) = &probe.end {
                writeln!(output, "        {}: not walked to the end: {end}", probe.image)?;
            }
        }
    }
    Ok(())
}

fn of_state(drift: &Drift, state: DriftState) -> Vec<&DriftHost> {
    drift.hosts.iter().filter(|host| host.state == state).collect()
}

fn hosts(drift: &Drift) -> String {
    let on = of_state(drift, DriftState::On).len();
    format!("{} of {} seen are on", on, counted(drift.hosts.len(), "host"))
}

/// What is worth a line.
const STATES: [(DriftState, &str); 3] = [
    (DriftState::Lacking, "the preset lacks it"),
    (DriftState::Off, "the preset has it off"),
    (DriftState::Uncertain, "the preset has it as uncertain, and it is asked"),
];
