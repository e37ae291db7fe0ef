//! Changes on top of the policy files, over the control socket: what a request asks for, and what came of it.

use std::time::Duration;

use hyper::{Method, StatusCode};

use crate::control::api::{Api, BadRequest, Parameters};
use crate::control::caller;
use crate::control::report::{FaultReport, OverlayOutcomeReport, OverlayReport, OverlaysReport};
use crate::observe::http::{self, Head, Reply};
use crate::observe::log::timestamp;
use crate::policy::document::Mode;
use crate::policy::overlay::{Change, Order, Overlay};
use crate::policy::pattern::Pattern;
use crate::policy::reload::OverlayOutcome;

/// `/v1/overlay`: what is on top of the policy files is shown, added, ended.
pub(super) async fn overlay(api: &Api, head: &Head, query: &Parameters) -> Result<Reply, BadRequest> {
    let outcome = match *head.method() {
        Method::GET => {
            query.only(&[])?;
            return Ok(http::json(StatusCode::OK, &OverlaysReport { overlays: overlays(api) }));
        }
        Method::POST => {
            query.only(&["kind", "what", "group", "client", "for", "ticket", "reason"])?;
            let text = |name| query.value(name).map(str::to_owned);
            let time = query.value("for").map(|text| time(text).ok_or(NO_TIME)).transpose()?;
            let by = caller::name(head).await;
            let (group, ticket, reason) = (text("group"), text("ticket"), text("reason"));
            let client = query.parsed("client", "an address")?;
            api.reload.put_overlay(Order { change: wanted(query)?, group, client, by, time, ticket, reason }).await
        }
        Method::DELETE => {
            query.only(&["kind", "what", "group", "client"])?;
            let (group, client) = (query.value("group").map(str::to_owned), query.parsed("client", "an address")?);
            let by = caller::name(head).await;
            api.reload.end_overlay(wanted(query)?, group, client, by).await
        }
        _ => return Ok(http::wrong_method("GET, POST, DELETE")),
    };
    let report = OverlayOutcomeReport::from(outcome);
    let status = match report {
        OverlayOutcomeReport::InForce { .. } | OverlayOutcomeReport::Ended { .. } => StatusCode::OK,
        OverlayOutcomeReport::Refused { .. } => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Ok(http::json(status, &report))
}

/// What is on top of the policy files.
pub(super) fn overlays(api: &Api) -> Vec<OverlayReport> {
    api.policy.status().overlays.iter().map(OverlayReport::from).collect()
}

fn wanted(query: &Parameters) -> Result<Change, BadRequest> {
    let kind = query.value("kind").ok_or(BadRequest::Missing("kind"))?;
    let what = query.value("what").ok_or(BadRequest::Missing("what"))?;
    change(kind, what).ok_or(NO_CHANGE)
}

/// Reads what is to change: `kind` is `allow`, `block` or `mode`.
fn change(kind: &str, what: &str) -> Option<Change> {
    match kind {
        "allow" => Change::allow(what),
        "block" => Pattern::parse(what).ok().map(Change::Block),
        "mode" => match what {
            "audit" => Some(Change::Mode(Mode::Audit)),
            "enforce" => Some(Change::Mode(Mode::Enforce)),
            _ => None,
        },
        _ => None,
    }
}

/// Reads for how long, as in `2h` or `90m`.
fn time(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

impl From<&Overlay> for OverlayReport {
    fn from(overlay: &Overlay) -> Self {
        let Overlay { id, change, group, client, by, since, until, ticket, reason } = overlay.clone();
        Self {
            id,
            kind: change.kind().to_owned(),
            what: change.what(),
            group,
            client,
            by,
            since: timestamp(since),
            until: until.map(timestamp),
            ticket,
            reason,
        }
    }
}

impl From<OverlayOutcome> for OverlayOutcomeReport {
    fn from(outcome: OverlayOutcome) -> Self {
        match outcome {
            OverlayOutcome::InForce { generation, overlay, warnings } => Self::InForce {
                generation,
                overlay: Box::new((&overlay).into()),
                warnings: FaultReport::all(&warnings),
            },
            OverlayOutcome::Ended { generation, warnings } => {
                Self::Ended { generation, warnings: FaultReport::all(&warnings) }
            }
            OverlayOutcome::Refused { faults } => Self::Refused { faults: FaultReport::all(&faults) },
        }
    }
}

const NO_TIME: BadRequest = BadRequest::Wrong { parameter: "for", expected: "a time such as `2h`" };
const NO_CHANGE: BadRequest = BadRequest::Wrong {
    parameter: "what",
    expected: "what that kind is about: a name to `allow`, a pattern to `block`, a `mode`, enforce or audit",
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_change_is_a_name_a_pattern_or_a_mode() {
        for (kind, what, good) in [
            ("allow", "quay.io", true),
            ("allow", "*.quay.io", false),
            ("allow", "https://quay.io", false),
            ("block", "*.quay.io", true),
            ("block", "*", false),
            ("mode", "audit", true),
            ("mode", "off", false),
            ("deny", "quay.io", false),
        ] {
            assert_eq!(change(kind, what).is_some(), good, "{kind} {what}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_said_again_in_the_same_words(kind in "allow|block|mode", what in "[a-z*.]{0,12}|audit|enforce|\\PC{0,12}") {
            if let Some(read) = change(&kind, &what) {
                prop_assert_eq!(read.kind(), &kind);
                prop_assert_eq!(change(&kind, &read.what()), Some(read));
            }
            let _ = time(&what);
        }
    }
}
