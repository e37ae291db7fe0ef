//! Open connections: how many there may be, which one goes when there are too many, and
//! for how long one may be of no use.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// The open connections.
#[derive(Debug)]
pub struct Connections {
    limits: Limits,
    started: Instant,
    open: Mutex<HashMap<u64, Open>>,
    next_id: AtomicU64,
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In all.
    pub total: usize,
    /// Of one client.
    pub per_client: usize,
}

#[derive(Debug)]
struct Open {
    client: IpAddr,
    activity: Arc<Activity>,
}

/// When a connection was last of use, and the way to end it.
#[derive(Debug)]
pub struct Activity {
    started: Instant,
    /// Milliseconds since `started`.
    last: AtomicU64,
    /// Told when another connection takes this one's place.
    pub evicted: Notify,
}

/// A connection's place among the others; given up when dropped.
#[derive(Debug)]
pub struct Place {
    id: u64,
    /// What is known of the connection.
    pub activity: Arc<Activity>,
    connections: Arc<Connections>,
}

impl Activity {
    /// Of a connection that has just come; `started` is the moment from which time is counted.
    pub fn new(started: Instant) -> Self {
        let activity = Self { started, last: AtomicU64::new(0), evicted: Notify::new() };
        activity.touch();
        activity
    }

    /// Notes that something of use happened.
    pub fn touch(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(elapsed, Ordering::Relaxed);
    }

    /// Ready when nothing of use has happened for `time`.
    pub async fn quiet(&self, time: Duration) {
        loop {
            let last = self.started + Duration::from_millis(self.last.load(Ordering::Relaxed));
            if last + time <= Instant::now() {
                return;
            }
            sleep_until(last + time).await;
        }
    }
}

impl Connections {
    /// None open. There will be at most what `limits` say, and fewer where that would take more than a quarter of this
    /// process's descriptors: the rest is for upstreams, files and the control socket.
    pub fn new(limits: Limits) -> Arc<Self> {
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(DESCRIPTORS_ASSUMED, |(soft, _hard)| soft);
        let share = usize::try_from(descriptors / 4).unwrap_or(usize::MAX).max(MIN_CONNECTIONS);
        let total = limits.total.min(share);
        Self::with_limits(Limits { total, per_client: limits.per_client.min(total) })
    }

    fn with_limits(limits: Limits) -> Arc<Self> {
        let (open, next_id) = (Mutex::default(), AtomicU64::new(0));
        Arc::new(Self { limits, started: Instant::now(), open, next_id })
    }

    /// Takes a place for a connection of `client`; says whether another connection was ended for it.
    pub fn enter(self: &Arc<Self>, client: IpAddr) -> (Place, bool) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let activity = Arc::new(Activity::new(self.started));
        let mut open = self.lock();
        let of_client = open.values().filter(|other| other.client == client).count();
        let victim = if of_client >= self.limits.per_client {
            quietest(open.iter().filter(|(_, other)| other.client == client))
        } else if open.len() >= self.limits.total {
            quietest(open.iter())
        } else {
            None
        };
        let evicted = victim.and_then(|victim| open.remove(&victim));
        if let Some(evicted) = &evicted {
            evicted.activity.evicted.notify_one();
        }
        open.insert(id, Open { client, activity: Arc::clone(&activity) });
        (Place { id, activity, connections: Arc::clone(self) }, evicted.is_some())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection that was of use longest ago; the oldest of several.
fn quietest<'a>(connections: impl Iterator<Item = (&'a u64, &'a Open)>) -> Option<u64> {
    connections.min_by_key(|(id, open)| (open.activity.last.load(Ordering::Relaxed), **id)).map(|(id, _)| *id)
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.id);
    }
}

const MIN_CONNECTIONS: usize = 8;
/// What systems give when they do not say.
const DESCRIPTORS_ASSUMED: u64 = 1024;

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    const QUIET: Duration = Duration::from_secs(5);

    /// Whether the connection has been told to end; takes the message.
    fn is_evicted(place: &Place) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        pin!(place.activity.evicted.notified()).as_mut().poll(&mut context).is_ready()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_too_many_takes_the_place_of_the_quietest() {
        let connections = Connections::with_limits(Limits { total: 3, per_client: 2 });
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let (first, _) = connections.enter(address(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        let (second, _) = connections.enter(address(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        first.activity.touch();

        let (_third, evicted) = connections.enter(address(1));
        assert!(evicted && is_evicted(&second) && !is_evicted(&first), "of the same client");
        tokio::time::advance(Duration::from_secs(1)).await;
        let (_fourth, evicted) = connections.enter(address(2));
        assert!(!evicted);
        let (_fifth, evicted) = connections.enter(address(3));
        assert!(evicted && is_evicted(&first), "of anybody");
    }

    #[tokio::test]
    async fn a_place_is_given_up_with_its_connection() {
        let connections = Connections::with_limits(Limits { total: 1, per_client: 1 });
        let client = IpAddr::from([10, 0, 0, 1]);
        for _ in 0..3 {
            assert!(!connections.enter(client).1);
        }
        assert!(connections.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_quiet_once_nothing_of_use_has_happened_for_a_while() {
        let activity = Activity::new(Instant::now());
        let begin = Instant::now();
        tokio::join!(activity.quiet(QUIET), async {
            tokio::time::sleep(QUIET / 2).await;
            activity.touch();
        });
        assert_eq!(begin.elapsed(), QUIET + QUIET / 2);
    }
}
