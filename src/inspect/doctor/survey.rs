//! Everything that is asked of the name servers in use, and what they said. What it means is judged elsewhere.
//!
//! Three rounds, the questions of each at the same time: who is pullgate; which names it allows and denies; those names
//! of every server, over UDP and TCP, and of the system's own resolver.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::ask::{self, Answer, Heard, NoAnswer, Question, Transport};
use super::nameservers::{self, NameServer, Origin};
use super::scene::Scene;
use crate::address::DNS_PORT;
use crate::name::DomainName;
use crate::policy::probe::{self, Standing};

/// What was asked and heard.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    /// Every server in use, with what it said.
    pub(super) servers: Vec<Surveyed>,
    /// The names that all were asked for.
    pub(super) names: Names,
    /// What the system's own resolver said; `None`: it was not asked.
    pub(super) system: Option<SystemSaid>,
}

/// The names that tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// One that must resolve.
    pub(super) allowed: Option<DomainName>,
    /// One that must not.
    pub(super) denied: Option<DomainName>,
}

/// A server, and what it said.
#[derive(Clone, Debug)]
pub(super) struct Surveyed {
    pub(super) server: NameServer,
    pub(super) udp: Said,
    pub(super) tcp: Said,
}

/// What a server said over one transport.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) probe: Heard,
    pub(super) allowed: Option<Heard>,
    pub(super) denied: Option<Heard>,
}

/// What the system's own resolver said: addresses, none for a name that does not resolve.
#[derive(Clone, Debug)]
pub(super) struct SystemSaid {
    pub(super) probe: Result<Vec<IpAddr>, NoAnswer>,
    pub(super) allowed: Option<Result<Vec<IpAddr>, NoAnswer>>,
    pub(super) denied: Option<Result<Vec<IpAddr>, NoAnswer>>,
}

/// Asks all that there is to ask of the servers in use.
pub(super) async fn take(scene: &Scene<'_>) -> Survey {
    let limit = scene.request.timeout;
    let servers = nameservers::to_try(scene);
    let probe = Question::Text(probe::name());
    let probes = all(servers.iter().flat_map(|server| both(server.address, &probe, limit))).await;
    let mut surveyed: Vec<Surveyed> = servers.into_iter().zip(pairs(probes)).map(Surveyed::probed).collect();
    let names = choose(scene, surveyed.iter().find_map(Surveyed::pullgate)).await;
    let ((), system) = tokio::join!(ask_each(&mut surveyed, &names, limit), ask_system(scene, &names));
    Survey { servers: surveyed, names, system }
}

/// Which names tell: those of the command line, else the first candidates that pullgate itself allows and denies.
/// `reference` is where it answers.
async fn choose(scene: &Scene<'_>, reference: Option<(SocketAddr, Transport)>) -> Names {
    let request = scene.request;
    let mut names = Names { allowed: request.allowed.clone(), denied: request.denied.clone() };
    let Some((server, transport)) = reference.filter(|_| names.allowed.is_none() || names.denied.is_none()) else {
        return names;
    };
    let candidates = scene.candidates();
    let limit = request.timeout;
    let questions = candidates.iter().cloned().map(Question::Addresses);
    let heard = all(questions.map(|question| async move { ask::ask(server, transport, &question, limit).await })).await;
    let first_of = |fits: &dyn Fn(&Heard) -> bool| {
        candidates.iter().zip(&heard).find(|(_, heard)| fits(heard)).map(|(name, _)| name.clone())
    };
    let first = |fits: fn(&Answer) -> bool| first_of(&|heard| heard.as_ref().is_ok_and(fits));
    // Denials come at once from pullgate itself: whatever else fails is allowed, and is what has to be told.
    let fails = |heard: &Heard| !heard.as_ref().is_ok_and(Answer::denies);
    names.allowed = names.allowed.or_else(|| first(Answer::resolves)).or_else(|| first_of(&fails));
    // A forwarder may have lost the reason; and an allowed name need not exist.
    names.denied = names.denied.or_else(|| first(Answer::is_blocked)).or_else(|| first(Answer::denies));
    names
}

/// Asks every server for the names, over both transports.
async fn ask_each(servers: &mut [Surveyed], names: &Names, limit: Duration) {
    let targets: Vec<SocketAddr> = servers.iter().map(|surveyed| surveyed.server.address).collect();
    let ask_for = async |name: &Option<DomainName>| {
        let question = Question::Addresses(name.clone()?);
        Some(pairs(all(targets.iter().flat_map(|target| both(*target, &question, limit))).await))
    };
    let (allowed, denied) = tokio::join!(ask_for(&names.allowed), ask_for(&names.denied));
    for (surveyed, [udp, tcp]) in servers.iter_mut().zip(allowed.unwrap_or_default()) {
        (surveyed.udp.allowed, surveyed.tcp.allowed) = (Some(udp), Some(tcp));
    }
    for (surveyed, [udp, tcp]) in servers.iter_mut().zip(denied.unwrap_or_default()) {
        (surveyed.udp.denied, surveyed.tcp.denied) = (Some(udp), Some(tcp));
    }
}

/// Asks as programs do. Not for servers of the command line, which the system knows nothing of.
async fn ask_system(scene: &Scene<'_>, names: &Names) -> Option<SystemSaid> {
    if !scene.machine.is_here() || !scene.request.servers.is_empty() {
        return None;
    }
    // It may ask one server after another, and each more than once.
    let limit = scene.request.timeout * 3;
    let ask = async |name: &Option<DomainName>| Some(ask::ask_system(name.as_ref()?, limit).await);
    let probe = probe::name();
    let (probe, allowed, denied) =
        tokio::join!(ask::ask_system(&probe, limit), ask(&names.allowed), ask(&names.denied));
    Some(SystemSaid { probe, allowed, denied })
}

impl Survey {
    /// The servers that are pullgate, at the port that others can be told. A stub counts only if everyone behind it is:
    /// it may ask any of them next.
    pub(super) fn proven(&self) -> Vec<IpAddr> {
        let is_behind = |surveyed: &&Surveyed| matches!(surveyed.server.origin, Origin::Resolved | Origin::Docker);
        let stubs_count = self.servers.iter().filter(is_behind).all(|surveyed| surveyed.standing().is_some());
        let ours = self.servers.iter().filter(|surveyed| surveyed.standing().is_some());
        let ours = ours.map(|surveyed| surveyed.server.address).filter(|address| address.port() == DNS_PORT);
        ours.map(|address| address.ip().to_canonical()).filter(|ip| stubs_count || !nameservers::is_stub(*ip)).collect()
    }
}

impl Surveyed {
    fn probed((server, [udp, tcp]): (NameServer, [Heard; 2])) -> Self {
        let said = |probe| Said { probe, allowed: None, denied: None };
        Self { server, udp: said(udp), tcp: said(tcp) }
    }

    /// Where it can be asked, if it is pullgate.
    pub(super) fn pullgate(&self) -> Option<(SocketAddr, Transport)> {
        let by = [(&self.udp, Transport::Udp), (&self.tcp, Transport::Tcp)];
        by.into_iter().find_map(|(said, transport)| said.standing().map(|_| (self.server.address, transport)))
    }

    /// How things stand for this client, if it is pullgate.
    pub(super) fn standing(&self) -> Option<Standing<'_>> {
        self.udp.standing().or_else(|| self.tcp.standing())
    }
}

impl Said {
    /// How things stand for this client, if pullgate said so.
    pub(super) fn standing(&self) -> Option<Standing<'_>> {
        standing(&self.probe)
    }
}

/// How things stand for this client, if pullgate said so.
pub(super) fn standing(heard: &Heard) -> Option<Standing<'_>> {
    heard.as_ref().ok()?.texts.iter().find_map(|text| Standing::parse(text))
}

/// One question to one server, over UDP and over TCP.
pub(super) fn both(
    server: SocketAddr,
    question: &Question,
    limit: Duration,
) -> [impl Future<Output = Heard> + Send + 'static + use<>; 2] {
    [Transport::Udp, Transport::Tcp].map(|transport| {
        let question = question.clone();
        async move { ask::ask(server, transport, &question, limit).await }
    })
}

/// Waits for all of them at the same time; their order is kept.
pub(super) async fn all<T: Send + 'static>(
    questions: impl IntoIterator<Item = impl Future<Output = Result<T, NoAnswer>> + Send + 'static>,
) -> Vec<Result<T, NoAnswer>> {
    let tasks: Vec<_> = questions.into_iter().map(tokio::spawn).collect();
    let mut heard = Vec::with_capacity(tasks.len());
    for task in tasks {
        heard.push(task.await.unwrap_or(Err(NoAnswer::NotUnderstood)));
    }
    heard
}

/// What was heard over UDP and over TCP, server by server.
pub(super) fn pairs<T>(heard: Vec<T>) -> Vec<[T; 2]> {
    let mut heard = heard.into_iter();
    std::iter::from_fn(|| Some([heard.next()?, heard.next()?])).collect()
}
