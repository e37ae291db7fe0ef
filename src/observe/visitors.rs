//! Who came to the page, and who was turned away, in numbers.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::net::counter::Counter;

/// How many look at the page, and how many could not.
#[derive(Debug)]
pub struct Visitors {
    places: Arc<Semaphore>,
    /// Requests that called the page by another name.
    pub host: Counter,
    /// Requests that another site's page made.
    pub site: Counter,
    /// Streams turned away since there were as many as there may be.
    pub full: Counter,
}

/// One stream's right to be; it ends when dropped.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "held, never looked at")] OwnedSemaphorePermit);

impl Visitors {
    /// A place for one more stream; `None`: there is none left, which is counted.
    pub fn enter(&self) -> Option<Place> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        if place.is_none() {
            self.full.increment();
        }
        place.map(Place)
    }

    /// How many streams there are.
    pub fn streams(&self) -> usize {
        MAX_STREAMS - self.places.available_permits()
    }
}

impl Default for Visitors {
    fn default() -> Self {
        let places = Arc::new(Semaphore::new(MAX_STREAMS));
        Self { places, host: Counter::default(), site: Counter::default(), full: Counter::default() }
    }
}

/// How many streams there may be; each tab of a browser is one.
pub const MAX_STREAMS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_places_and_one_that_is_left_is_free_again() {
        let visitors = Visitors::default();
        let mut places: Vec<_> = (0..MAX_STREAMS).map(|_| visitors.enter().unwrap()).collect();
        assert!(visitors.enter().is_none());
        assert_eq!((visitors.streams(), visitors.full.value()), (MAX_STREAMS, 1));
        places.pop();
        assert!(visitors.enter().is_some());
        assert_eq!(visitors.streams(), MAX_STREAMS - 1);
    }
}
