//! How the server is, as the control API and the page say it.

use std::time::SystemTime;

use crate::control::api::Api;
use crate::control::report::{ExceptionReport, FaultReport, OverlayReport, RollbackReport, State, StatusReport};
use crate::observe::log::timestamp;
use crate::policy::document::Unlisted;
use crate::policy::rollback::Rollback;
use crate::policy::store::{InForce, PolicyState, PolicyStatus};

/// `GET /v1/status`.
pub(super) fn status(api: &Api) -> StatusReport {
    let status = api.policy.status();
    let PolicyStatus { state, generation, digest, since, rules, rollback, overlays, faults, warnings, .. } = status;
    StatusReport {
        state: State::from(state),
        generation,
        digest: digest.to_string(),
        since: timestamp(since),
        listen: api.listen.clone(),
        rules,
        forwards_unlisted: forwarding_groups(&api.policy.current()),
        rollback: rollback.map(RollbackReport::from),
        overlays: overlays.iter().map(OverlayReport::from).collect(),
        exceptions: exceptions(&api.policy.current()),
        faults: FaultReport::all(&faults),
        warnings: FaultReport::all(&warnings),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started: timestamp(api.metrics.started),
    }
}

fn exceptions(policy: &InForce) -> Vec<ExceptionReport> {
    let now = SystemTime::now();
    policy.snapshot.exceptions().iter().map(|exception| ExceptionReport::of(exception, now)).collect()
}

fn forwarding_groups(policy: &InForce) -> Vec<String> {
    let forwarding = policy.snapshot.groups().filter(|group| group.unlisted() == Unlisted::Forward);
    forwarding.map(|group| group.name().to_owned()).collect()
}

impl From<PolicyState> for State {
    fn from(state: PolicyState) -> Self {
        match state {
            PolicyState::Ok => Self::Ok,
            PolicyState::Degraded => Self::Degraded,
            PolicyState::RolledBack => Self::RolledBack,
            PolicyState::DenyAll => Self::DenyAll,
        }
    }
}

impl From<Rollback> for RollbackReport {
    fn from(rollback: Rollback) -> Self {
        let Rollback { generation, since, by } = rollback;
        Self { generation, since: timestamp(since), by }
    }
}
