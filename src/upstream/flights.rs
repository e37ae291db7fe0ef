//! Questions under way, one flight for all that are equal (RFC 5452 §5: no second chance for a forger).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{Question, Resolution};

/// Where a flight's end is told; `None` until then.
pub(super) type Landing = watch::Receiver<Option<Resolution>>;

/// The flights of a resolver.
#[derive(Clone, Debug, Default)]
pub(super) struct Flights(Arc<Mutex<HashMap<FlightKey, Landing>>>);

/// What equal questions are equal in: the question, and who is asked.
pub(super) type FlightKey = (Question, u64);

/// One flight, held by the task that flies it. Ends for those who wait also if the task does not come to its end.
#[derive(Debug)]
pub(super) struct Flight {
    key: FlightKey,
    flights: Flights,
    landing: watch::Sender<Option<Resolution>>,
}

/// How a question got on.
#[derive(Debug)]
pub(super) enum Boarding {
    /// It waits for a flight that was under way.
    Joined(Landing),
    /// It waits for a flight of its own, to be flown by the caller.
    Started(Landing, Flight),
}

impl Flights {
    /// Joins the flight of this key. If there is none, and `cleared` does not find that none is needed, starts it.
    pub(super) fn board<T>(&self, key: FlightKey, cleared: impl FnOnce() -> Result<(), T>) -> Result<Boarding, T> {
        let mut flights = self.lock();
        if let Some(landing) = flights.get(&key) {
            return Ok(Boarding::Joined(landing.clone()));
        }
        cleared()?;
        let (sender, landing) = watch::channel(None);
        flights.insert(key.clone(), landing.clone());
        Ok(Boarding::Started(landing, Flight { key, flights: self.clone(), landing: sender }))
    }

    /// A map is whole between any two statements.
    fn lock(&self) -> MutexGuard<'_, HashMap<FlightKey, Landing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// Tells all who wait. Whoever asks from here on is to find the answer in the cache, so it has to be there already.
    pub(super) fn land(self, resolution: Resolution) {
        self.landing.send_replace(Some(resolution));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}
