//! `doctor`: is pullgate in force where this client stands, and which ways round are open.
//!
//! ```text
//! Machine, settings, command line ─gather─▶ Scene ─┬─ read ──────────────▶ findings ─┬─▶ Report
//!                                                  └─ ask ─▶ what was said ─judge─▶ ─┘
//! ```
//!
//! [`examine`] is the list of the checks, in the order of the report. Those over files are plain functions from the
//! [`Scene`] to findings. What asks the network and what judges the answers are two things: the first takes the addresses
//! it asks from the scene, so that tests bring their own servers, and the second is a plain function again. Nothing here
//! needs root: what cannot be seen is said to be unseen.

mod ask;
mod bypass;
mod local;
mod nameservers;
mod place;
mod report;
mod resolver;
mod scene;
mod survey;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

pub use self::bypass::public_resolvers;
pub use self::place::Place;
pub use self::report::{Finding, Report, Section, Severity};
pub use self::scene::{Request, Scene};

/// Runs every check.
pub async fn examine(scene: &Scene<'_>) -> Report {
    let mut report = Report { place: scene.place.to_string(), ..Report::default() };
    let proven = examine_network(scene, &mut report).await;
    let scene = Scene { proven, ..scene.clone() };
    nameservers::count(&scene, &mut report);
    local::examine(&scene, &mut report).await;
    report
}

/// The checks that ask name servers. Returns the servers that proved to be pullgate; `None`: nobody was asked.
async fn examine_network(scene: &Scene<'_>, report: &mut Report) -> Option<Vec<IpAddr>> {
    if !scene.has_network() {
        report.unseen("who answers, and what: these are the files of a machine that is not running here");
        return None;
    }
    let survey = survey::take(scene).await;
    resolver::judge(scene, &survey, report);
    let ways = bypass::take(scene, &survey).await;
    bypass::judge(scene, &survey, &ways, report);
    Some(survey.proven())
}
