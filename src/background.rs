//! Work that takes a while, on a thread that gives way to those that answer questions.
//!
//! A policy of a million rules takes seconds to read and compile, and adding up what a second brought takes milliseconds.
//! Where cores are few, the thread that does it and one that answers would otherwise take turns of milliseconds each, and
//! every question in such a turn would wait for it.

use std::io;
use std::panic::resume_unwind;
use std::thread::{self, Builder};

/// Does `work` in the background, on a thread of this name, and waits for it, which only threads may that answer nothing.
///
/// # Errors
/// There can be no further thread.
pub(crate) fn in_background<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = Builder::new().name(name.to_owned()).spawn_scoped(scope, || {
            give_way();
            work()
        })?;
        Ok(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// Has this thread run when others leave time, though not at their mercy: a new policy has to come into force under full
/// load, too.
#[cfg(target_os = "linux")]
fn give_way() {
    // Linux keeps this by thread. Where it is not permitted, as in the sandbox of our units, it takes turns as before.
    let _ = rustix::process::nice(NICENESS);
}

/// Elsewhere it would be the whole process that gives way.
#[cfg(not(target_os = "linux"))]
fn give_way() {}

/// A tenth of the time that another thread gets where both want all of it.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_work_yields_comes_back() {
        let borrowed = String::from("policy");
        assert_eq!(in_background("test", || borrowed.len()).unwrap(), 6);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_the_thread_of_the_work_gives_way() {
        let own = || rustix::process::nice(0).unwrap();
        let before = own();
        assert_eq!(in_background("test", own).unwrap(), (before + NICENESS).min(19));
        assert_eq!(own(), before);
    }
}
