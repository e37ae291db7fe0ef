//! `doctor`: is pullgate in force where this client stands, and which ways round are open.
//!
//! ```text
//! Machine, settings, command line ─gather─▶ Scene ─check─▶ findings ─▶ Report
//! ```
//!
//! Every check is a function from the [`Scene`] to findings; [`examine`] is the list of them, in the order of the
//! report. Those over files are plain functions; those that ask the network take the addresses they ask from the scene,
//! so that tests bring their own servers. Nothing here needs root: what cannot be seen is said to be unseen.

mod local;
mod nameservers;
mod place;
mod report;
mod scene;

pub use self::place::Place;
pub use self::report::{Finding, Report, Section, Severity};
pub use self::scene::{Request, Scene};

/// Runs every check.
pub async fn examine(scene: &Scene<'_>) -> Report {
    let mut report = Report { place: scene.place.to_string(), ..Report::default() };
    nameservers::configured(scene, &mut report);
    local::examine(scene, &mut report).await;
    report
}
