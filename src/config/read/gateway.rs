//! The `[gateway]` section.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Reader, socket, static_address, values};
use crate::config::gateway::{BadgeSource, DEFAULT_AUTHORITY, Gateway, HTTPS_PORT, ParentProxy};
use crate::tree::{Node, Report, Table, Value, Written};

impl<'s> Reader<'_, 's> {
    /// The section, if it is written: what has no default of its own depends on its address.
    pub(super) fn gateway(&mut self, table: &mut Table<'s>, _: Option<Gateway>) -> Option<Gateway> {
        let addresses = table.require("address", "\"192.0.2.53\"", self.report).and_then(|node| self.addresses(node));
        let listen = table.take("listen").and_then(|node| self.gateway_listeners(node));
        let connect = table.take("connect").and_then(|node| self.proxy_listeners(node)).unwrap_or_default();
        let parent = table.take("parent").and_then(|node| node.parsed(self.report, ParentProxy::parse));
        let badges = table.take("badges").and_then(|node| node.parsed(self.report, BadgeSource::parse));
        let authority = table.take("ca").and_then(|node| self.path(node));
        let upstream_roots = table.take("upstream-ca").and_then(|node| self.path(node));
        let separate = table.take("separate").and_then(|node| node.boolean(self.report)).unwrap_or_default();
        let metrics = table.take("metrics").and_then(|node| self.metrics_listener(node));
        let idle_timeout = self.duration(table, "idle-timeout", IDLE_TIMES).unwrap_or(DEFAULT_IDLE);
        let connections = self.count(table, "connections").unwrap_or(DEFAULT_CONNECTIONS);
        let per_client = self.count(table, "connections-per-client").unwrap_or(DEFAULT_PER_CLIENT);
        let addresses = addresses?;
        let everywhere = || addresses.iter().map(|&address| SocketAddr::new(address, HTTPS_PORT)).collect();
        let listen = listen.unwrap_or_else(everywhere);
        Some(Gateway {
            addresses,
            listen,
            connect,
            parent: parent.map(|parent| parent.value),
            authority: authority.map_or_else(|| DEFAULT_AUTHORITY.into(), |path| path.value),
            upstream_roots: upstream_roots.map(|path| path.value),
            badges: badges.map(|badges| badges.value).unwrap_or_default(),
            separate,
            metrics,
            idle_timeout,
            connections,
            connections_per_client: per_client.min(connections),
        })
    }

    /// One address, or a list of them.
    fn addresses(&mut self, node: Node<'s>) -> Option<Vec<IpAddr>> {
        if let Value::String(_) = node.value {
            return reachable_address(node, self.report).map(|address| vec![address.value]);
        }
        let hint = "write the addresses that clients reach the gateway by, as in `[\"192.0.2.53\"]`";
        self.some(node, reachable_address, hint).map(values)
    }

    fn gateway_listeners(&mut self, node: Node<'s>) -> Option<Vec<SocketAddr>> {
        let listeners =
            self.some(node, |node, report| listener(node, HTTPS_PORT, report), "write one address at least")?;
        for listener in &listeners {
            self.claim(listener);
        }
        Some(values(listeners))
    }

    fn proxy_listeners(&mut self, node: Node<'s>) -> Option<Vec<SocketAddr>> {
        let read = |node: Node<'s>, report: &mut Report<'_>| socket(node, PROXY_PORT, report);
        let listeners = self.some(node, read, "write one address, or leave the key out")?;
        for listener in &listeners {
            self.claim(listener);
        }
        Some(values(listeners))
    }

    fn count(&mut self, table: &mut Table<'s>, key: &'static str) -> Option<usize> {
        let count = table.take(key)?.integer(self.report, 1..=MAX_CONNECTIONS)?;
        usize::try_from(count.value).ok()
    }
}

/// An address that clients can be sent to without being told that encryption does not matter.
fn reachable_address(node: Node<'_>, report: &mut Report<'_>) -> Option<Written<IpAddr>> {
    let address = static_address(node, report)?;
    match complaint(address.value) {
        None => Some(address),
        Some((message, hint)) => {
            report.fault(address.span, message, hint);
            None
        }
    }
}

/// A listener on one of the gateway's addresses, on all, or for a test on loopback: what clients are told is `address`.
fn listener(node: Node<'_>, port: u16, report: &mut Report<'_>) -> Option<Written<SocketAddr>> {
    let listener = socket(node, port, report)?;
    if listener.value.ip().is_multicast() {
        report.fault(
            listener.span,
            format!("nothing connects to `{}`", listener.value),
            "write an address of this host",
        );
        return None;
    }
    Some(listener)
}

/// Why names cannot be steered to `address`.
fn complaint(address: IpAddr) -> Option<(String, String)> {
    let own = "give the gateway an address of its own, as in `ip address add 192.0.2.53/32 dev lo`";
    if address.is_loopback() {
        let message =
            format!("`{address}` is loopback: engines take registries there for ones that need no encryption");
        return Some((message, own.to_owned()));
    }
    if address.is_unspecified() || address.is_multicast() {
        return Some((format!("`{address}` is no address that clients can connect to"), own.to_owned()));
    }
    None
}

/// The port that squid made customary.
const PROXY_PORT: u16 = 3128;
/// Longer than an engine takes to unpack a layer while it holds its connection.
const DEFAULT_IDLE: Duration = Duration::from_secs(5 * 60);
/// Below, a slow upload breaks; above, dead clients pile up.
const IDLE_TIMES: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(24 * 60 * 60);
/// Some 100 engines at work; what each costs is some tens of kilobytes.
const DEFAULT_CONNECTIONS: usize = 2048;
/// An engine opens a handful for each image.
const DEFAULT_PER_CLIENT: usize = 512;
const MAX_CONNECTIONS: i64 = 1_000_000;
