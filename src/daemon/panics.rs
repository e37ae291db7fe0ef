//! Panics are defects: each is counted and logged, and ends its task, not the service.

use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::error;

/// How many tasks or threads panicked.
pub type Panics = Arc<AtomicU64>;

/// Counts and logs this process's panics from now on, in place of the standard message.
pub fn count_panics() -> Panics {
    let panics = Panics::default();
    let count = Arc::clone(&panics);
    std::panic::set_hook(Box::new(move |panic| {
        count.fetch_add(1, Ordering::Relaxed);
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        error!(place, reason = reason(panic), "a task panicked: this is a defect of pullgate");
    }));
    panics
}

fn reason<'p>(panic: &'p PanicHookInfo<'_>) -> &'p str {
    let payload = panic.payload();
    let formatted = payload.downcast_ref::<String>().map(String::as_str);
    formatted.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("unknown")
}
