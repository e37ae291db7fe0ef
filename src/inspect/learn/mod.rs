//! `learn`: which names the clients of each group lack, after which registry they asked for them, and what to add.
//!
//! ```text
//! rows of the history ─asked─▶ names ─policy in force─▶ ─┬─ proposed, for a registry ─narrow─▶ patterns ─grade─▶ risk
//!                                                        └─ unexplained, with the reason
//! rows about images ─────────▶ images ─policy in force─▶ the line of an `[[images]]` for each
//! ```
//!
//! Plain functions over rows and a policy: no clock, no socket. What is proposed is an exact name, or one `*` within a
//! label where several names differ there alone, and never a subtree.

mod asked;
mod draft;
mod images;
mod narrow;
mod policy;
mod report;
mod risk;

#[cfg(test)]
mod tests;

pub use self::draft::Draft;
pub use self::images::RefusedImage;
pub use self::report::{Evidence, Home, Place, Proposal, Report, Unexplained};
pub use self::risk::Risk;

use crate::control::report::{HistoryRow, PolicyReport};

/// What `rows` say is missing in `policy`. With `all`, names that were asked for after no registry are proposed as well.
pub fn learn(rows: &[HistoryRow], policy: &PolicyReport, all: bool) -> Report {
    let (images, images_allowed_by_now) = images::refused(asked::collect_images(rows), policy);
    Report { images, images_allowed_by_now, ..Report::of(asked::collect(rows), &policy::Known::of(policy), all) }
}
