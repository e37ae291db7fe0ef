//! Work that takes a while, on a thread that gives way to those that answer questions.
//!
//! A policy of a million rules takes seconds to read and compile, and adding up what a second brought takes milliseconds.
//! Where cores are few, the thread that does it and one that answers would otherwise take turns of milliseconds each, and
//! every question in such a turn would wait for it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};
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

/// A thread of this name in the background that does `work` for each order it is sent, until nobody can send any more. One
/// order waits while it works.
///
/// # Errors
/// There can be no further thread.
pub(crate) fn on_order<T: Send + 'static>(
    name: &str,
    mut work: impl FnMut(T) + Send + 'static,
) -> io::Result<SyncSender<T>> {
    let (sender, orders) = sync_channel(1);
    Builder::new().name(name.to_owned()).spawn(move || {
        give_way();
        for order in orders {
            // A panic is counted and logged by the process's panic hook; the next order goes on with what is there.
            let _panic = catch_unwind(AssertUnwindSafe(|| work(order)));
        }
    })?;
    Ok(sender)
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

    #[test]
    fn each_order_is_done_also_after_one_that_panicked() {
        let (done, told) = std::sync::mpsc::channel();
        let orders = on_order("test", move |order: u8| {
            assert_ne!(order, 2, "a defect");
            done.send(order).unwrap();
        });
        let orders = orders.unwrap();
        for order in 1..=3 {
            orders.send(order).unwrap();
        }
        drop(orders);
        assert_eq!(told.iter().collect::<Vec<_>>(), [1, 3]);
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
