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
mod gateway;
mod local;
mod nameservers;
mod place;
mod report;
mod resolver;
mod scene;
mod seen_as;
mod survey;
#[cfg(test)]
mod tests;

use self::survey::Survey;

pub use self::bypass::public_resolvers;
pub use self::place::Place;
pub use self::report::{Finding, Report, Section, Severity};
pub use self::scene::{Request, Scene};
pub use self::seen_as::seen_as;

/// Runs every check.
pub async fn examine(scene: &Scene<'_>) -> Report {
    let mut report = Report { place: scene.place.to_string(), ..Report::default() };
    let take = async { if scene.has_network() { Some(survey::take(scene).await) } else { None } };
    let (survey, engines, gateway) = tokio::join!(take, local::ask_engines(scene, &mut report), gateway::ask(scene));
    let scene = Scene { proven: survey.as_ref().map(Survey::proven), ..scene.clone() };
    let scene = Scene { engine_alone: local::is_engine_alone(&scene), ..scene };
    match &survey {
        Some(survey) => judge_answers(&scene, survey, &mut report).await,
        None => report.unseen("who answers, and what: these are the files of a machine that is not running here"),
    }
    if !scene.engine_alone {
        nameservers::count(&scene, &mut report);
    }
    local::examine(&scene, &engines, &mut report);
    gateway::judge(&scene, &gateway, &mut report);
    report
}

/// The checks of what name servers say.
async fn judge_answers(scene: &Scene<'_>, survey: &Survey, report: &mut Report) {
    resolver::judge(scene, survey, report);
    if scene.engine_alone {
        // Nobody else is kept from asking whom they like.
        return;
    }
    let ways = bypass::take(scene, survey).await;
    bypass::judge(scene, survey, &ways, report);
}
