//! Questions under way, one flight for all that are equal (RFC 5452 §5: no second chance for a forger).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use tokio::sync::watch;

use super::{Failure, Question, Resolution};

/// The flights of a resolver.
#[derive(Clone, Debug, Default)]
pub(super) struct Flights(Arc<Mutex<HashMap<FlightKey, Waiting, RandomState>>>);

/// What equal questions are equal in: the question, and who is asked.
pub(super) type FlightKey = (Arc<Question>, u64);

/// Where the end of a flight is told, from the moment that somebody waits for it.
type Waiting = Option<watch::Sender<Option<Resolution>>>;

/// One flight, held by who flies it. Ends for those who wait also if it does not come to its end.
#[derive(Debug)]
pub(super) struct Flight {
    key: FlightKey,
    flights: Flights,
    resolution: Option<Resolution>,
}

/// Waits for the end of a flight.
#[derive(Debug)]
pub struct Landing(watch::Receiver<Option<Resolution>>);

/// How a question got on.
#[derive(Debug)]
pub(super) enum Boarding<F> {
    /// It waits for a flight that was under way.
    Joined(Landing),
    /// It has a flight of its own, to be flown by the caller.
    Started(F),
}

impl Flights {
    /// Joins the flight of this key. If there is none, and `cleared` does not find that none is needed, starts it.
    pub(super) fn board<P, T>(
        &self,
        key: FlightKey,
        cleared: impl FnOnce() -> Result<P, T>,
    ) -> Result<Boarding<(Flight, P)>, T> {
        let mut flights = self.lock();
        if let Some(waiting) = flights.get_mut(&key) {
            return Ok(Boarding::Joined(Landing::of(waiting)));
        }
        let clearance = cleared()?;
        flights.insert(key.clone(), None);
        Ok(Boarding::Started((Flight { key, flights: self.clone(), resolution: None }, clearance)))
    }

    /// A map is whole between any two statements.
    fn lock(&self) -> MutexGuard<'_, HashMap<FlightKey, Waiting, RandomState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// The question, and who is asked.
    pub(super) fn key(&self) -> &FlightKey {
        &self.key
    }

    /// Waits for the end of this flight like everybody.
    pub(super) fn landing(&self) -> Landing {
        Landing::of(self.flights.lock().entry(self.key.clone()).or_default())
    }

    /// Tells all who wait. Whoever asks from here on is to find the answer in the cache, so it has to be there already.
    pub(super) fn land(mut self, resolution: Resolution) {
        self.resolution = Some(resolution);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let waiting = self.flights.lock().remove(&self.key).flatten();
        if let Some((sender, resolution)) = waiting.zip(self.resolution.take()) {
            sender.send_replace(Some(resolution));
        }
    }
}

impl Landing {
    fn of(waiting: &mut Waiting) -> Self {
        Self(waiting.get_or_insert_with(|| watch::channel(None).0).subscribe())
    }

    /// Comes back when the flight has ended.
    pub async fn resolution(mut self) -> Resolution {
        let landed = self.0.wait_for(Option::is_some).await.ok().and_then(|resolution| resolution.clone());
        landed.unwrap_or(Resolution::Failed(Failure::Unreachable))
    }
}
