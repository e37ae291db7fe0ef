//! One connection, from its first byte: read the name, judge it, then pass it on or look into it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::AlertDescription;
use tokio::io::{AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::admission::{Admission, Way};
use super::dial::{DialError, Target};
use super::hello::{self, Hello, HelloError};
use super::inspect::{self, Session};
use super::stream::{Rewound, Stream};
use super::{Client, Shared};
use crate::event::{Bearing, Decision, Event, Subject};
use crate::name::{DomainName, NameRef};
use crate::net::connections::Activity;
use crate::policy::store::InForce;

/// What a connection was announced as, before its first message: by the CONNECT that made it.
#[derive(Clone, Debug)]
pub(super) struct Announced {
    /// The name; the ClientHello has to say the same.
    pub(super) name: DomainName,
    /// The registry's port.
    pub(super) port: u16,
}

/// Serves a connection to its end. Without an announcement the port it came to is the registry's.
pub(super) async fn serve<S: Stream + 'static>(
    shared: Arc<Shared>,
    mut stream: S,
    client: Client,
    announced: Option<Announced>,
    activity: &Arc<Activity>,
) {
    let Some(hello) = read_hello(&shared, &mut stream).await else { return };
    let Some(name) = hello.name else {
        shared.counters.no_name.increment();
        return refuse(&mut stream, Alert::UnrecognizedName).await;
    };
    let policy = arc_swap::Guard::into_inner(shared.policy.current());
    let port = announced.as_ref().map_or(client.listener.port(), |announced| announced.port);
    match admit(&shared, &policy, &client, &name, announced.as_ref()) {
        Way::Refused => {
            shared.counters.refused.increment();
            refuse(&mut stream, Alert::AccessDenied).await;
        }
        Way::Pass => pass(&shared, stream, &client, (&policy, &name, port), hello.bytes).await,
        Way::Inspect(_) => look_into(shared, stream, client, (name, port), hello.bytes, activity).await,
    }
}

/// Which way a connection goes, and tells of it.
fn admit<'p>(
    shared: &Shared,
    policy: &'p Arc<InForce>,
    client: &Client,
    name: &DomainName,
    announced: Option<&Announced>,
) -> Way<'p> {
    if let Some(announced) = announced.filter(|announced| announced.name != *name) {
        shared.events.tell(Decision::Deny, Bearing::None, || Event {
            reason: format!("the connection was announced as one to {}", announced.name),
            ..client.event(name, Subject::Connection)
        });
        return Way::Refused;
    }
    let admission = Admission::judge(policy, client, name);
    shared.events.tallies().open().add_untimed(&admission.decided(policy, client, name));
    shared.events.tell(admission.decision(), Bearing::None, || admission.event(client, name));
    admission.way()
}

async fn read_hello<S: Stream>(shared: &Shared, stream: &mut S) -> Option<Hello> {
    match timeout(HELLO_TIME, hello::read(stream)).await {
        Ok(Ok(hello)) => Some(hello),
        Ok(Err(HelloError::Ended(_))) => None,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a connection that is not for a registry");
            shared.counters.not_tls.increment();
            None
        }
        Err(_elapsed) => {
            shared.counters.timed_out.increment();
            None
        }
    }
}

/// Passes a connection on, from its first byte.
async fn pass<S: Stream>(
    shared: &Shared,
    mut stream: S,
    client: &Client,
    (policy, name, port): (&Arc<InForce>, &DomainName, u16),
    ahead: Vec<u8>,
) {
    let dialled = dial(shared, client, (policy, name, port)).await;
    let mut upstream = match dialled {
        Ok(upstream) => upstream,
        Err(error) => {
            unreachable(shared, name, &error);
            return refuse(&mut stream, Alert::InternalError).await;
        }
    };
    shared.counters.passed.increment();
    let copied = async {
        upstream.write_all(&ahead).await?;
        drop(ahead);
        copy_bidirectional_with_sizes(&mut stream, &mut upstream, CHUNK, CHUNK).await
    };
    if let Err(error) = copied.await {
        tracing::debug!(%name, %error, "a connection that was passed on broke");
    }
}

async fn dial(
    shared: &Shared,
    client: &Client,
    (policy, name, port): (&Arc<InForce>, &DomainName, u16),
) -> Result<Box<dyn Stream>, DialError> {
    let (servers, private) = {
        let admission = Admission::judge(policy, client, name);
        (admission.servers(), admission.private())
    };
    let forbids = |target: NameRef<'_>| Admission::judge(policy, client, name).forbids(target);
    shared.dialer.dial(&Target { name, port, servers, private, forbids: &forbids }).await
}

fn unreachable(shared: &Shared, name: &DomainName, error: &DialError) {
    shared.counters.unreachable.increment();
    tracing::warn!(%name, %error, "a registry cannot be reached");
}

/// Ends the client's TLS here and serves its requests.
async fn look_into<S: Stream + 'static>(
    shared: Arc<Shared>,
    mut stream: S,
    client: Client,
    (name, port): (DomainName, u16),
    ahead: Vec<u8>,
    activity: &Arc<Activity>,
) {
    let (leaves, wanted) = (Arc::clone(&shared.leaves), name.clone());
    let config = tokio::task::spawn_blocking(move || leaves.config(&wanted, SystemTime::now())).await;
    let config = match config {
        Ok(Ok(config)) => config,
        Ok(Err(error)) => {
            shared.counters.no_certificate.increment();
            tracing::error!(%name, %error, "no certificate for an inspected registry: its clients are turned away");
            return refuse(&mut stream, Alert::InternalError).await;
        }
        Err(_panic) => return,
    };
    let accepting = TlsAcceptor::from(config)
        .accept_with(Rewound::new(ahead, stream), |tls| tls.set_buffer_limit(Some(MAX_ENCRYPTED)));
    match timeout(HELLO_TIME, accepting).await {
        Ok(Ok(stream)) => {
            shared.counters.inspected.increment();
            inspect::serve(stream, Session::new(shared, client, name, port), activity).await;
        }
        Ok(Err(error)) => failed(&shared, &client, &name, &error),
        Err(_elapsed) => shared.counters.timed_out.increment(),
    }
}

/// A client that does not know the authority says so, and a person will wonder why nothing works.
fn failed(shared: &Shared, client: &Client, name: &DomainName, error: &io::Error) {
    shared.counters.tls_failed.increment();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::AlertReceived(alert)) = inner else {
        tracing::debug!(%name, %error, "a handshake failed");
        return;
    };
    let untrusted =
        [AlertDescription::UnknownCA, AlertDescription::BadCertificate, AlertDescription::CertificateUnknown];
    if untrusted.contains(alert) {
        shared.counters.untrusted.increment();
        shared.events.tell(Decision::Deny, Bearing::None, || Event {
            reason: "the client does not trust this gateway's authority (`pullgate images ca install`)".to_owned(),
            ..client.event(name, Subject::Connection)
        });
    }
}

/// Alerts that say before any handshake what became of a connection (RFC 8446 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alert {
    /// Engines print it: `tls: access denied`.
    AccessDenied = 49,
    InternalError = 80,
    UnrecognizedName = 112,
}

/// Turns a client away with a fatal alert, and waits for it to end the connection, so that the alert is not lost to bytes
/// that nobody reads.
async fn refuse<S: Stream>(stream: &mut S, alert: Alert) {
    let record = [21, 3, 3, 0, 2, 2, alert as u8];
    let told = async {
        stream.write_all(&record).await?;
        stream.shutdown().await?;
        let mut rest = [0; 512];
        while tokio::io::AsyncReadExt::read(stream, &mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(GOODBYE_TIME, told).await;
}

/// A client says whom it wants as soon as it is connected.
const HELLO_TIME: Duration = Duration::from_secs(10);
const GOODBYE_TIME: Duration = Duration::from_secs(1);
/// What is encrypted before the client has taken it: a record, and not the four that are rustls' default.
const MAX_ENCRYPTED: usize = 16 * 1024;
/// What is read of one side before it is written to the other.
const CHUNK: usize = 64 * 1024;
