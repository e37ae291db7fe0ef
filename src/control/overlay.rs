//! Changes on top of the policy files, over the control socket: what a request asks for, and what came of it.

use std::time::Duration;

use crate::control::report::{FaultReport, OverlayOutcomeReport, OverlayReport};
use crate::observe::log::timestamp;
use crate::policy::document::Mode;
use crate::policy::overlay::{Change, Overlay};
use crate::policy::pattern::Pattern;
use crate::policy::reload::OverlayOutcome;

/// Reads what is to change: `kind` is `allow`, `block` or `mode`.
pub(super) fn change(kind: &str, what: &str) -> Option<Change> {
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
pub(super) fn time(text: &str) -> Option<Duration> {
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
