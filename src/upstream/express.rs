//! The first attempt at a question in the usual case: a datagram to the best server, an answer soon after.
//!
//! A worker of its own thread asks here without task, timer or socket for each question: questions that come together
//! leave together, over one of a few lines to the server, picked at random. Whatever is unusual, an answer that is late
//! among it, is handed over to the race among servers (`choose`), with this attempt as its first: so it is the same
//! question, with the same deadline and the same allowance of packets.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use super::answer::Answer;
use super::choose::first_choice;
use super::exchange::{Datagram, Plain};
use super::flights::{Boarding, Landing};
use super::inquiry::Trouble;
use super::line::{Buffers, Ended, LIFETIME, Line, Out};
use super::query::{Edns, Query};
use super::routes::Group;
use super::server::Server;
use super::{Occasion, OwnedLookup, Resolution, Resolver, Voyage};

/// The questions of one worker that are under way; `T` is what the worker wants back with the answer.
pub struct Express<T> {
    resolver: Arc<Resolver>,
    lines: Vec<Line<Waiter<T>>>,
    buffers: Buffers,
    ended: Vec<Ended<Waiter<T>>>,
    arrivals: VecDeque<Arrival<T>>,
    tick: Pin<Box<Sleep>>,
}

/// What became of a question.
#[derive(Debug)]
pub enum Arrival<T> {
    /// It has its end.
    Landed(T, Resolution),
    /// It is on its way, and takes a while.
    Later(T, Landing),
}

/// Who waits for a datagram.
enum Waiter<T> {
    /// Whoever asked.
    Passenger(Box<Passenger<T>>),
    /// A race that this is an attempt of.
    Race(oneshot::Sender<Result<Datagram, Trouble>>),
}

/// A question that one server has been asked, and no other.
struct Passenger<T> {
    voyage: Voyage,
    ticket: T,
    servers: Group,
    /// Which of them was asked.
    asked: usize,
    late_at: Instant,
}

/// How a question is to leave.
struct Departure {
    /// Which of its servers is asked.
    asked: usize,
    /// How long its answer is waited for before another attempt.
    patience: Duration,
    query: (Query, Edns),
    line: usize,
}

/// An attempt whose datagram has been sent.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) server: Arc<Server>,
    pub(super) asked: Instant,
    pub(super) edns: Edns,
    pub(super) datagram: oneshot::Receiver<Result<Datagram, Trouble>>,
}

impl<T> Express<T> {
    /// Nothing under way yet. Needs a tokio runtime, which the sockets will belong to.
    pub fn new(resolver: Arc<Resolver>) -> Self {
        let tick = Box::pin(sleep_until(Instant::now() + IDLE));
        Self {
            resolver,
            lines: Vec::new(),
            buffers: Buffers::new(),
            ended: Vec::new(),
            arrivals: VecDeque::new(),
            tick,
        }
    }

    /// Takes a question that the cache missed now. It leaves with the next [`turn`](Self::turn).
    pub fn ask(&mut self, lookup: OwnedLookup, ticket: T, now: Instant) {
        match self.resolver.board(lookup, Occasion::Miss, now) {
            Ok(Boarding::Started(voyage)) => self.embark(voyage, ticket, now),
            Ok(Boarding::Joined(landing)) => self.arrivals.push_back(Arrival::Later(ticket, landing)),
            Err(resolution) => self.arrivals.push_back(Arrival::Landed(ticket, resolution)),
        }
    }

    /// Comes back when there may be something to do.
    pub async fn ready(&mut self) {
        std::future::poll_fn(|context| self.poll_ready(context)).await;
    }

    /// Sends what was asked and receives what has come; [`arrival`](Self::arrival) then tells what came to its end.
    pub fn turn(&mut self) {
        let ticked = self.tick.is_elapsed();
        let mut ended = std::mem::take(&mut self.ended);
        for line in &mut self.lines {
            line.send(&mut self.buffers, &mut ended);
            line.receive(&mut self.buffers, self.resolver.max_ttl, &mut ended);
            if ticked {
                line.heed_errors(&mut ended);
            }
        }
        let now = Instant::now();
        for (out, end) in ended.drain(..) {
            self.settle(out, end, now);
        }
        self.ended = ended;
        if ticked {
            self.look_around(now);
        }
    }

    /// What came to its end, one after another.
    pub fn arrival(&mut self) -> Option<Arrival<T>> {
        self.arrivals.pop_front()
    }

    /// Whether nobody waits for anything here.
    pub fn is_idle(&self) -> bool {
        self.arrivals.is_empty() && !self.lines.iter().any(has_passengers)
    }

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Every line is looked at, so that any of them wakes the worker.
        let ready = self.lines.iter().filter(|line| line.poll_ready(context).is_ready()).count();
        let ticked = self.tick.as_mut().poll(context).is_ready();
        if ready > 0 || ticked { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Puts a question on a line, if it is one for this way; else it goes the long one.
    fn embark(&mut self, voyage: Voyage, ticket: T, now: Instant) {
        let servers = self.resolver.routes.servers(&voyage.lookup());
        let Some(Departure { asked, patience, query, line }) = self.prepare(&servers, &voyage, now) else {
            let landing = self.resolver.ask(voyage);
            return self.arrivals.push_back(Arrival::Later(ticket, landing));
        };
        servers[asked].count_asked();
        let question = voyage.question().clone();
        let passenger = Box::new(Passenger { voyage, ticket, servers, asked, late_at: now + patience });
        self.lines[line].take(question, query, now, Waiter::Passenger(passenger));
        if self.tick.deadline() > now + TICK {
            self.tick.as_mut().reset(now + TICK);
        }
    }

    fn prepare(&mut self, servers: &Group, voyage: &Voyage, now: Instant) -> Option<Departure> {
        let (asked, patience) = first_choice(servers, now)?;
        let server = &servers[asked];
        let plain = server.plain()?;
        let line = self.line(server, plain, now)?;
        Some(Departure { asked, patience, query: plain.query(voyage.question()), line })
    }

    /// The line to a server that is being filled, or else any of its lines; a new one while there are few.
    fn line(&mut self, server: &Arc<Server>, plain: &Plain, now: Instant) -> Option<usize> {
        let leads_there = |line: &Line<_>| Arc::ptr_eq(line.server(), server) && line.is_open(now);
        let filling = self.lines.iter().position(|line| leads_there(line) && line.is_filling());
        if filling.is_some() {
            return filling;
        }
        let open = || self.lines.iter().enumerate().filter(|(_, line)| leads_there(line)).map(|(index, _)| index);
        let count = open().count();
        if count >= LINES {
            return open().nth(rand::random_range(0..count));
        }
        if self.lines.len() >= MAX_LINES {
            return None;
        }
        let socket = plain.socket().ok()?;
        self.lines.push(Line::open(server.clone(), socket).ok()?);
        Some(self.lines.len() - 1)
    }

    /// Gives the end of a wait to who waited; what is no answer to a race.
    fn settle(&mut self, out: Out<Waiter<T>>, end: Result<Datagram, Trouble>, now: Instant) {
        match (out.waiter, end) {
            // A race that is over needs it no more.
            (Waiter::Race(race), end) => drop(race.send(end)),
            (Waiter::Passenger(passenger), Ok(Datagram::Answer(answer))) => {
                self.arrive(*passenger, out.asked, answer, now);
            }
            (Waiter::Passenger(passenger), end) => {
                let (sender, datagram) = oneshot::channel();
                drop(sender.send(end));
                self.hand_over(*passenger, out.asked, out.edns, datagram);
            }
        }
    }

    fn arrive(&mut self, passenger: Passenger<T>, asked: Instant, answer: Answer, now: Instant) {
        let Passenger { voyage, ticket, servers, asked: winner, .. } = passenger;
        for (index, server) in servers.iter().enumerate() {
            if index == winner {
                server.count_ended(true);
                server.succeeded(asked, now);
            } else {
                server.passed_over();
            }
        }
        let resolution = self.resolver.land(voyage, Ok(answer), now);
        self.arrivals.push_back(Arrival::Landed(ticket, resolution));
    }

    /// Gives a question into a race, with what this attempt may still bring.
    fn hand_over(
        &mut self,
        passenger: Passenger<T>,
        asked: Instant,
        edns: Edns,
        datagram: oneshot::Receiver<Result<Datagram, Trouble>>,
    ) {
        let Passenger { voyage, ticket, servers, asked: first, .. } = passenger;
        let begun = Begun { server: servers[first].clone(), asked, edns, datagram };
        let landing = self.resolver.take_over(voyage, servers, begun);
        self.arrivals.push_back(Arrival::Later(ticket, landing));
    }

    /// Hands over what is late, forgets what no race waits for any more, closes the lines that have served.
    fn look_around(&mut self, now: Instant) {
        let mut late = Vec::new();
        for line in &mut self.lines {
            for out in line.out_mut() {
                late.extend(leave_if_late(out, now));
            }
            drop(line.end_all(|out| matches!(&out.waiter, Waiter::Race(race) if race.is_closed())));
        }
        for (passenger, asked, edns, datagram) in late {
            self.hand_over(passenger, asked, edns, datagram);
        }
        self.lines.retain(|line| line.is_open(now) || !line.is_empty());
        let next = match (self.lines.is_empty(), self.lines.iter().any(has_passengers)) {
            (true, _) => IDLE,
            (false, false) => LIFETIME,
            (false, true) => TICK,
        };
        self.tick.as_mut().reset(now + next);
    }
}

fn has_passengers<T>(line: &Line<Waiter<T>>) -> bool {
    line.out().any(|out| matches!(out.waiter, Waiter::Passenger(_)))
}

/// Takes the passenger whose answer is late off the line, to which a race listens from now on.
fn leave_if_late<T>(out: &mut Out<Waiter<T>>, now: Instant) -> Option<Late<T>> {
    let is_late = matches!(&out.waiter, Waiter::Passenger(passenger) if passenger.late_at <= now);
    if !is_late {
        return None;
    }
    let (sender, datagram) = oneshot::channel();
    match std::mem::replace(&mut out.waiter, Waiter::Race(sender)) {
        Waiter::Passenger(passenger) => Some((*passenger, out.asked, out.edns, datagram)),
        Waiter::Race(_) => None,
    }
}

type Late<T> = (Passenger<T>, Instant, Edns, oneshot::Receiver<Result<Datagram, Trouble>>);

/// Lines to a server that are open at a time, so many random ports.
const LINES: usize = 8;
/// Lines in all: with more, to the servers of many services, questions go the long way, each with a socket of its own.
const MAX_LINES: usize = 64;
/// How exactly a late answer is told. Only while questions are under way.
const TICK: Duration = Duration::from_millis(10);
/// Nothing to look after.
const IDLE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
