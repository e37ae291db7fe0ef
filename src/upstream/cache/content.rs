//! What the cache holds, as it was put there, and putting it there: for those who compare two readings of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Cache, Failed, Key};
use crate::upstream::{Answer, Failure, Fault, Lookup, Resolver};

/// What is held of one question. Looking at it does not count as a use.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// The last answer, and since when it is held.
    pub answer: Option<(Arc<Answer>, Instant)>,
    /// The failure that came after it, and until when it is remembered.
    pub failure: Option<(Failure, Instant)>,
}

impl Resolver {
    /// What is held of a question.
    pub fn content(&self, lookup: &Lookup<'_>) -> Content {
        self.cache.content(self.routes.current().key(lookup))
    }

    /// Holds a server's response to this question as one that came `age` ago.
    ///
    /// # Errors
    /// The bytes are no response to the question, or hold a failure or an endless chain.
    pub fn hold(&self, lookup: &Lookup<'_>, response: &[u8], age: Duration) -> Result<(), Fault> {
        let answer = Arc::new(Answer::parse(response, lookup, self.max_ttl)?);
        let now = Instant::now();
        self.cache.store(self.routes.current().key(lookup), &answer, now.checked_sub(age).unwrap_or(now));
        Ok(())
    }

    /// Remembers for so long that the servers failed to answer this question.
    pub fn hold_failure(&self, lookup: &Lookup<'_>, failure: Failure, lasts: Duration) {
        let until = Instant::now() + lasts;
        self.cache.update(self.routes.current().key(lookup), |slot| {
            slot.failure = Some(Box::new(Failed { failure, until, lasts }));
        });
    }
}

impl Cache {
    fn content(&self, key: Key<'_>) -> Content {
        let hash = std::hash::BuildHasher::hash_one(&self.hasher, key);
        let mut shard = self.shard(hash);
        let Some(slot) = shard.find(hash, key) else { return Content::default() };
        Content {
            answer: slot.answer.as_ref().map(|stored| (Arc::clone(&stored.answer), stored.at)),
            failure: slot.failure.as_ref().map(|failed| (failed.failure, failed.until)),
        }
    }
}
