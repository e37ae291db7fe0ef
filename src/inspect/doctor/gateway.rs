//! Whether the image gateway of this machine takes connections, and shows certificates of its authority.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use super::ask::{self, NoAnswer};
use super::local;
use super::report::{Finding, Report};
use super::scene::Scene;
use crate::config::Gateway;
use crate::gateway::authority::inspected;
use crate::name::DomainName;
use crate::policy::document::DataPath;
use crate::policy::judge::{Asker, Permit, Verdict};
use crate::policy::pattern::Pattern;
use crate::policy::snapshot::Snapshot;

/// One of its listeners, and what came of a connection there.
#[derive(Clone, Debug)]
pub(super) struct Tried {
    at: SocketAddr,
    /// The name that was asked for; `None`: this machine may use none that is inspected, and only connected.
    name: Option<DomainName>,
    /// Whether the certificate was one of its authority's.
    outcome: Result<bool, NoAnswer>,
}

/// Tries every listener, all at the same time. Nothing is tried where no name is steered.
pub(super) async fn ask(scene: &Scene<'_>) -> Vec<Tried> {
    let Some((gateway, policy)) = steering(scene).filter(|_| scene.machine.is_here()) else { return Vec::new() };
    let authorities = local::authorities(scene);
    let limit = scene.request.timeout;
    let attempts: Vec<_> = places(gateway)
        .into_iter()
        .map(|at| {
            let name = name_for(policy, at.ip());
            let authorities = authorities.clone();
            tokio::spawn(async move {
                let outcome = attempt(at, name.as_ref(), &authorities, limit).await;
                Tried { at, name, outcome }
            })
        })
        .collect();
    let mut tried = Vec::new();
    for attempt in attempts {
        // A task ends in no other way than by its result: nothing cancels it.
        tried.extend(attempt.await);
    }
    tried
}

/// What that means.
pub(super) fn judge(scene: &Scene<'_>, tried: &[Tried], report: &mut Report) {
    let Some((gateway, _)) = steering(scene) else { return };
    for tried in tried {
        report.add(judge_one(gateway, tried));
    }
}

fn judge_one(gateway: &Gateway, tried: &Tried) -> Finding {
    let at = tried.at;
    let service = if gateway.separate { "pullgate-gateway" } else { "pullgate" };
    match (&tried.outcome, &tried.name) {
        (Ok(true), _) | (Ok(false), None) => Finding::ok(CHECK, format!("the image gateway answers at {at}")),
        (Ok(false), Some(name)) => {
            let title = format!("what answers at {at} shows a certificate for {name} that is not the authority's");
            Finding::problem(CHECK, title)
                .meaning(
                    "engines refuse it: something else listens there, or the gateway has not read its folder since",
                )
                .fix(format!("systemctl restart {service}.service"))
        }
        (Err(error), _) => Finding::problem(CHECK, format!("the image gateway does not answer at {at}: {error}"))
            .meaning("registries whose names lead there cannot be reached: they fail closed")
            .fix(format!("systemctl status {service}.service")),
    }
}

/// The gateway of this machine's pullgate and its policy, if that steers any name.
fn steering<'s>(scene: &Scene<'s>) -> Option<(&'s Gateway, &'s Snapshot)> {
    let (gateway, policy) = (scene.settings?.gateway.as_ref()?, scene.policy?);
    policy.rules().any(|rule| rule.data_path() != DataPath::Direct).then_some((gateway, policy))
}

/// Where it can be tried: its listeners, and of one on every address those that clients are told.
fn places(gateway: &Gateway) -> Vec<SocketAddr> {
    let of = |listener: &SocketAddr| match listener.ip() {
        ip if ip.is_unspecified() => {
            gateway.addresses.iter().map(|address| SocketAddr::new(*address, listener.port())).collect()
        }
        _ => vec![*listener],
    };
    let mut places: Vec<SocketAddr> = gateway.listen.iter().flat_map(of).collect();
    places.sort();
    places.dedup();
    places
}

/// An inspected name that a connection from here is allowed, which comes from the address that it goes to.
fn name_for(policy: &Snapshot, address: IpAddr) -> Option<DomainName> {
    let asker = Asker { client: address, listener: None };
    let is_inspected = |name: &DomainName| {
        let verdict = policy.judge(&asker, name.as_name()).verdict;
        matches!(verdict, Verdict::Allow(Permit::Rule(rule)) if rule.data_path() == DataPath::Inspect)
    };
    inspected(policy).iter().filter_map(Pattern::exact).find(is_inspected)
}

async fn attempt(
    at: SocketAddr,
    name: Option<&DomainName>,
    authorities: &[CertificateDer<'static>],
    limit: Duration,
) -> Result<bool, NoAnswer> {
    match name.map(ToString::to_string) {
        None => ask::connects(at, limit).await.map(|()| true),
        // Nobody may look into the folder, or there is nothing in it: that is told elsewhere.
        Some(name) if authorities.is_empty() => ask::speaks_tls(at, &name, limit).await.map(|()| true),
        Some(name) => ask::is_vouched_for(at, &name, authorities, limit).await,
    }
}

const CHECK: &str = "gateway";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Settings};
    use crate::diagnostic::Source;

    fn gateway(text: &str) -> Gateway {
        let source = Source::new("pullgate.toml", format!("[gateway]\naddress = \"192.0.2.53\"\n{text}"));
        Settings::parse(&source, &Environment::default()).unwrap().0.gateway.unwrap()
    }

    fn said(name: Option<&str>, outcome: Result<bool, NoAnswer>) -> String {
        let name = name.map(|name| name.parse().unwrap());
        let finding = judge_one(&gateway(""), &Tried { at: "192.0.2.53:443".parse().unwrap(), name, outcome });
        format!("{:?}: {}", finding.severity, finding.title)
    }

    #[test]
    fn a_gateway_has_to_answer_with_a_certificate_of_its_authority() {
        for (name, outcome, expected) in [
            (None, Ok(true), "Ok: the image gateway answers at 192.0.2.53:443"),
            (Some("a.example"), Ok(true), "Ok: the image gateway answers at 192.0.2.53:443"),
            (
                Some("a.example"),
                Ok(false),
                "Problem: what answers at 192.0.2.53:443 shows a certificate for a.example that is not the authority's",
            ),
            (
                None,
                Err(NoAnswer::Refused),
                "Problem: the image gateway does not answer at 192.0.2.53:443: connection refused",
            ),
        ] {
            assert_eq!(said(name, outcome), expected);
        }
    }

    #[test]
    fn the_service_that_runs_it_is_named_in_the_fix() {
        let tried = Tried { at: "192.0.2.53:443".parse().unwrap(), name: None, outcome: Err(NoAnswer::TimedOut) };
        let fix = |text: &str| judge_one(&gateway(text), &tried).fix.unwrap();
        assert_eq!(fix(""), "systemctl status pullgate.service");
        assert_eq!(fix("separate = true\n"), "systemctl status pullgate-gateway.service");
    }

    #[test]
    fn a_listener_on_every_address_is_tried_where_clients_are_sent() {
        let places = |text: &str| places(&gateway(text)).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(places(""), ["192.0.2.53:443"]);
        assert_eq!(places("listen = [\"0.0.0.0:443\", \"192.0.2.53:5000\"]\n"), ["192.0.2.53:443", "192.0.2.53:5000"]);
    }
}
