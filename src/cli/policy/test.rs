//! `pullgate policy test`: whether the assertions kept in the policy files hold.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::failure::{self, Failure};
use super::super::options::Options;
use super::super::output::{Output, counted};
use super::super::{ExitCode, Outcome, compiled};
use crate::observe::recent::RuleReport;
use crate::policy::compile::Tested;
use crate::policy::document::Expectation;

/// What `policy test --json` prints.
#[derive(Debug, Serialize)]
struct TestReport {
    failed: usize,
    assertions: Vec<AssertionReport>,
}

/// One `[[assert]]`.
#[derive(Debug, Serialize)]
struct AssertionReport {
    holds: bool,
    /// The name or image.
    subject: String,
    /// The client, the group, or `everyone`.
    asker: String,
    expected: Expectation,
    /// What is decided: for everyone the first that is not as expected.
    verdict: &'static str,
    reason: String,
    /// The group it is decided for.
    group: Option<String>,
    /// The rule that decides.
    rule: Option<RuleReport>,
    /// Where the assertion is written.
    path: PathBuf,
    line: u32,
}

pub(super) fn run(options: &Options, path: Option<&Path>, json: bool, output: &mut Output) -> Outcome {
    let loaded = options.settings()?;
    let tested = compiled::tested(path, &loaded).map_err(Failure::Faults)?;
    let failed = tested.iter().filter(|tested| !tested.holds()).count();
    if json {
        output.json(&TestReport { failed, assertions: tested.into_iter().map(AssertionReport::from).collect() })?;
    } else {
        tested.iter().try_for_each(|tested| print(tested, output))?;
        match (tested.len(), failed) {
            (0, _) => writeln!(output, "no assertion: write `[[assert]]` beside the rules")?,
            (all, 0) => writeln!(output, "{}: all hold", counted(all, "assertion"))?,
            (all, _) => {
                writeln!(output, "{}, {failed} failed: a server refuses this policy", counted(all, "assertion"))?;
            }
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(failure::NO) })
}

fn print(tested: &Tested, output: &mut Output) -> Result<(), Failure> {
    if tested.holds() {
        let Tested { subject, asker, expected, .. } = tested;
        return Ok(writeln!(output, "ok      {} {subject} for {asker}", expected.word())?);
    }
    writeln!(output, "FAILED  {tested}")?;
    writeln!(output, "        asserted at {}", tested.place)?;
    if let Some((rule, Some(place))) = &tested.ruling.rule {
        writeln!(output, "        rule: {rule} ({place})")?;
    }
    Ok(())
}

impl From<Tested> for AssertionReport {
    fn from(tested: Tested) -> Self {
        let holds = tested.holds();
        let Tested { place, subject, asker, expected, ruling } = tested;
        Self {
            holds,
            subject,
            asker,
            expected,
            verdict: ruling.verdict,
            reason: ruling.reason,
            group: ruling.group,
            rule: ruling.rule.map(|(pattern, place)| RuleReport::new(pattern, place)),
            path: place.path.to_path_buf(),
            line: place.line,
        }
    }
}
