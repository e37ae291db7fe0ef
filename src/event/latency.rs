//! How long answers took, as a histogram for each place that they may come from.

use std::time::Duration;

/// Where an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The cache. It took from the call that received the question to the end of the one that sent the answer.
    Cached,
    /// The policy denies it. Measured as that.
    Denied,
    /// What the settings, the policy or the standards say without asking anybody. Measured as that.
    Local,
    /// An upstream. It took this long from the judging of the question to its answer.
    Forwarded(Duration),
}

/// A histogram for each [`Source`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latencies([Histogram; Source::ALL.len()]);

/// How many took how long.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// By the first of [`BOUNDS`] that is not below what it took; the last one is for what took longer.
    pub counts: [u64; BOUNDS.len() + 1],
    /// What all of them took.
    pub sum: Duration,
}

impl Source {
    /// In words, in the order in which they are counted.
    pub const ALL: [&'static str; 4] = ["cached", "denied", "local", "forwarded"];
    /// Those whose answers are given in the turn that brought the question.
    pub(super) const PROMPT: [Self; 3] = [Self::Cached, Self::Denied, Self::Local];

    pub(super) fn index(self) -> usize {
        match self {
            Self::Cached => 0,
            Self::Denied => 1,
            Self::Local => 2,
            Self::Forwarded(_) => 3,
        }
    }
}

impl Latencies {
    /// Each with what it is of.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        Source::ALL.into_iter().zip(&self.0)
    }

    /// Adds what `other` has.
    pub fn merge(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(&other.0) {
            own.sum += other.sum;
            for (own, other) in own.counts.iter_mut().zip(other.counts) {
                *own += other;
            }
        }
    }

    pub(super) fn add(&mut self, source: Source, took: Duration, count: u32) {
        if count == 0 {
            return;
        }
        let histogram = &mut self.0[source.index()];
        let bucket = BOUNDS.partition_point(|bound| *bound < took);
        histogram.counts[bucket] += u64::from(count);
        histogram.sum = histogram.sum.saturating_add(took.saturating_mul(count));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|histogram| histogram.counts.iter().all(|count| *count == 0))
    }
}

/// From what a cached answer takes to what a client waits for.
pub const BOUNDS: [Duration; 17] = {
    let micros = [
        10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
        2_500_000,
    ];
    let mut bounds = [Duration::ZERO; 17];
    let mut at = 0;
    while at < bounds.len() {
        bounds[at] = Duration::from_micros(micros[at]);
        at += 1;
    }
    bounds
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_on_a_bound_counts_below_it() {
        let mut latencies = Latencies::default();
        for micros in [1, 10, 11, 3_000_000] {
            latencies.add(Source::Denied, Duration::from_micros(micros), 2);
        }
        let (_, histogram) = latencies.all().find(|(source, _)| *source == "denied").unwrap();
        assert_eq!((histogram.counts[0], histogram.counts[1], histogram.counts[BOUNDS.len()]), (4, 2, 2));
        assert_eq!(histogram.sum, Duration::from_micros(2 * 3_000_022));
    }
}
