//! What becomes of the policy, for the log and for `systemctl status`: every fault of a refused one, each with its place.

use tokio::sync::watch;
use tracing::{error, warn};

use crate::daemon::readiness;
use crate::diagnostic::Diagnostic;
use crate::policy::store::{PolicyState, PolicyStatus};

/// Tells of the policy as it is, and of each change, until the store is gone.
pub(super) async fn follow(mut policy: watch::Receiver<PolicyStatus>) {
    let mut told: Vec<Diagnostic> = Vec::new();
    loop {
        let status = policy.borrow_and_update().clone();
        readiness::status(&line(&status));
        let found = status.faults.iter().chain(&status.warnings);
        let shown: Vec<Diagnostic> = found.take(MAX_TOLD).cloned().collect();
        shown.iter().filter(|diagnostic| !told.contains(diagnostic)).for_each(tell);
        told = shown;
        if policy.changed().await.is_err() {
            return;
        }
    }
}

fn tell(diagnostic: &Diagnostic) {
    let place = match &diagnostic.excerpt {
        Some(excerpt) => format!("{}:{}:{}", diagnostic.path.display(), excerpt.line, excerpt.column),
        None => diagnostic.path.display().to_string(),
    };
    let Diagnostic { message, hint, .. } = diagnostic;
    let hint = hint.as_deref();
    if diagnostic.is_fault() {
        error!(place, fault = message, hint, "policy fault");
    } else {
        warn!(place, warning = message, hint, "policy warning");
    }
}

fn line(status: &PolicyStatus) -> String {
    let PolicyStatus { generation, rules, faults, .. } = status;
    match status.state {
        PolicyState::Ok => format!("ok: policy generation {generation}, {rules} rules"),
        PolicyState::RolledBack => {
            format!("rolled back: an earlier policy is in force (generation {generation}, {rules} rules)")
        }
        PolicyState::Degraded => {
            format!(
                "degraded: {} faults, an earlier policy is in force (generation {generation}, {rules} rules)",
                faults.len()
            )
        }
        PolicyState::DenyAll => format!("deny-all: {} faults, no policy is in force", faults.len()),
    }
}

/// A generated policy may have a fault a line; `pullgate status` shows the rest.
const MAX_TOLD: usize = 50;
