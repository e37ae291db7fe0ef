//! Choosing among servers: the best one is asked first, the next joins when it is late, all within one deadline.
//!
//! A server that fails is asked no more for this question, and if another one then answers, rests for a while; a
//! resting server is tried beside the others in the background, so that no client waits for it to come back.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Failure;
use super::answer::Answer;
use super::express::Begun;
use super::inquiry::{Inquiry, Trouble};
use super::server::Server;

/// Asks servers until one answers. At the deadline, when all have failed, or when the allowance is used up, the
/// question has failed: as failing if any server said so, else as unreachable.
pub(super) async fn choose(servers: &[Arc<Server>], inquiry: Inquiry, deadline: Instant) -> Result<Answer, Failure> {
    let inquiry = Arc::new(inquiry);
    let order = rank(servers, Instant::now());
    let race = Race::new(order, inquiry);
    race.probe_rested(deadline);
    race.run(deadline).await
}

/// The same for a question that one server has been asked already: that is the first attempt of the race.
pub(super) async fn take_over(
    servers: &[Arc<Server>],
    inquiry: Inquiry,
    begun: Begun,
    deadline: Instant,
) -> Result<Answer, Failure> {
    let mut order = rank(servers, Instant::now());
    order.retain(|server| !Arc::ptr_eq(server, &begun.server));
    order.insert(0, begun.server.clone());
    let mut race = Race::new(order, Arc::new(inquiry));
    race.resume(begun);
    race.run(deadline).await
}

/// Which server to ask first and how long to wait for it, unless it rests or a resting one is due for a try: that takes
/// more than one attempt.
pub(super) fn first_choice(servers: &[Arc<Server>], now: Instant) -> Option<(usize, Duration)> {
    let mut best = None;
    for (index, server) in servers.iter().enumerate() {
        let (rests, standing) = server.rank(now);
        if rests && standing.is_zero() {
            return None;
        }
        let rank = (rests, standing, index);
        best = Some(best.map_or(rank, |best| rank.min(best)));
    }
    let (rests, round_trip, first) = best?;
    (!rests).then(|| (first, hedge_delay(Some(round_trip))))
}

/// Servers in the order they are to be asked in: the resting ones last, quick ones first, otherwise as configured.
fn rank(servers: &[Arc<Server>], now: Instant) -> Vec<Arc<Server>> {
    let mut order = servers.to_vec();
    order.sort_by_cached_key(|server| server.rank(now));
    order
}

/// The attempts for one question.
struct Race {
    entrants: Vec<Entrant>,
    inquiry: Arc<Inquiry>,
    attempts: JoinSet<(usize, Result<Answer, Trouble>)>,
    next: usize,
    failure: Failure,
}

struct Entrant {
    server: Arc<Server>,
    asked: Option<Instant>,
    trouble: Option<Trouble>,
}

impl Race {
    fn new(order: Vec<Arc<Server>>, inquiry: Arc<Inquiry>) -> Self {
        let entrants = order.into_iter().map(|server| Entrant { server, asked: None, trouble: None }).collect();
        Self { entrants, inquiry, attempts: JoinSet::new(), next: 0, failure: Failure::Unreachable }
    }

    /// Tries servers that have rested long enough, beside the one that is asked first, for later questions' sake.
    fn probe_rested(&self, deadline: Instant) {
        for entrant in self.entrants.iter().skip(1) {
            if entrant.server.claim_probe(Instant::now()) && self.inquiry.may_ask() {
                let (server, inquiry) = (entrant.server.clone(), self.inquiry.clone());
                tokio::spawn(async move {
                    let asked = Instant::now();
                    match timeout_at(deadline, server.ask(&inquiry)).await {
                        Ok(Ok(_)) => server.succeeded(asked, Instant::now()),
                        Ok(Err(Trouble::Spent | Trouble::Local(_))) => {}
                        Ok(Err(_)) | Err(_) => server.failed(asked),
                    }
                });
            }
        }
    }

    async fn run(mut self, deadline: Instant) -> Result<Answer, Failure> {
        let Some(first) = self.entrants.first() else {
            return Err(Failure::Unreachable);
        };
        let patience = hedge_delay(first.server.round_trip());
        let mut delay = patience;
        let mut hedge_at = first.asked.unwrap_or_else(Instant::now) + delay;
        if self.attempts.is_empty() {
            self.start_next();
        }
        while !self.attempts.is_empty() {
            tokio::select! {
                biased;
                Some(Ok((index, outcome))) = self.attempts.join_next() => match outcome {
                    Ok(answer) => {
                        self.won(index, patience);
                        self.await_stragglers(deadline);
                        return Ok(answer);
                    }
                    Err(trouble) => {
                        self.note(index, trouble);
                        self.start_next();
                    }
                },
                () = sleep_until(hedge_at.min(deadline)) => {
                    if Instant::now() >= deadline {
                        break;
                    }
                    self.start_next();
                    delay = if self.next > 2 { delay * 2 } else { delay };
                    hedge_at += delay;
                }
            }
        }
        self.lost();
        Err(self.failure)
    }

    /// Asks the next server in turn that has not failed; a silent one again if no other is left.
    fn start_next(&mut self) {
        let count = self.entrants.len();
        let turn = (self.next..self.next + count).find(|turn| self.entrants[turn % count].trouble.is_none());
        let Some(turn) = turn.filter(|_| self.inquiry.may_ask()) else {
            return;
        };
        self.next = turn + 1;
        let index = turn % count;
        let entrant = &mut self.entrants[index];
        entrant.asked.get_or_insert_with(Instant::now);
        let (server, inquiry) = (entrant.server.clone(), self.inquiry.clone());
        self.attempts.spawn(async move {
            let asked = Instant::now();
            let outcome = server.ask(&inquiry).await;
            if outcome.is_ok() {
                server.succeeded(asked, Instant::now());
            }
            (index, outcome)
        });
    }

    /// Takes the attempt that has begun as the first entrant's.
    fn resume(&mut self, begun: Begun) {
        self.next = 1;
        let entrant = &mut self.entrants[0];
        entrant.asked = Some(begun.asked);
        let (server, inquiry) = (entrant.server.clone(), self.inquiry.clone());
        self.attempts.spawn(async move {
            let asked = begun.asked;
            let outcome = server.carry_on(&inquiry, begun).await;
            if outcome.is_ok() {
                server.succeeded(asked, Instant::now());
            }
            (0, outcome)
        });
    }

    fn note(&mut self, index: usize, trouble: Trouble) {
        let entrant = &mut self.entrants[index];
        tracing::debug!(server = %entrant.server, error = %trouble, "upstream server gave no answer");
        self.failure = match (&trouble, self.failure) {
            (Trouble::Failing(_), _) => Failure::Failing,
            (Trouble::Local(_), Failure::Unreachable) => Failure::Busy,
            (_, failure) => failure,
        };
        if !matches!(trouble, Trouble::Spent) {
            entrant.trouble = Some(trouble);
        }
    }

    /// One server answered: those that failed at the same question, or were silent for longer than patience, rest.
    fn won(&self, winner: usize, patience: Duration) {
        for (_, entrant) in self.entrants.iter().enumerate().filter(|(index, _)| *index != winner) {
            let Some(asked) = entrant.asked else {
                entrant.server.passed_over();
                continue;
            };
            let silent = entrant.trouble.is_none() && asked.elapsed() >= patience;
            let failed = matches!(entrant.trouble, Some(Trouble::Dead(_) | Trouble::Failing(_)));
            if silent {
                entrant.server.count_timed_out();
            }
            if silent || failed {
                tracing::debug!(server = %entrant.server, "upstream server rests");
                entrant.server.failed(asked);
            }
        }
    }

    /// Lets the attempts that were overtaken come to their end, so that a slow server is told from a silent one.
    fn await_stragglers(self, deadline: Instant) {
        let mut attempts = self.attempts;
        if !attempts.is_empty() {
            tokio::spawn(timeout_at(deadline, async move { while attempts.join_next().await.is_some() {} }));
        }
    }

    /// No server answered. One that said so is not to blame, since all did; one that was silent or dead is.
    fn lost(&self) {
        for entrant in &self.entrants {
            let reached = matches!(entrant.trouble, Some(Trouble::Failing(_) | Trouble::Local(_)));
            if let Some(asked) = entrant.asked.filter(|_| !reached) {
                if entrant.trouble.is_none() {
                    entrant.server.count_timed_out();
                }
                entrant.server.failed(asked);
            }
        }
    }
}

fn hedge_delay(round_trip: Option<Duration>) -> Duration {
    let delay = round_trip.map_or(*HEDGE.end(), |round_trip| round_trip * HEDGE_ROUND_TRIPS);
    delay.clamp(*HEDGE.start(), *HEDGE.end())
}

/// How late an answer is before a second server is asked, at least and at most; a server's own round trip decides.
const HEDGE: std::ops::RangeInclusive<Duration> = Duration::from_millis(60)..=Duration::from_millis(200);
/// A recursive server that has to go and look takes many times its round trip.
const HEDGE_ROUND_TRIPS: u32 = 8;

#[cfg(test)]
mod tests;
