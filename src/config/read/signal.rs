//! The `[[signal]]` tables.

use std::collections::HashSet;

use super::{Reader, values};
use crate::config::gateway::ProxyHost;
use crate::config::signal::{Signal, SignalKind, SignalWay, WebhookUrl};
use crate::tree::{Node, Report, Table, Written};

impl<'s> Reader<'_, 's> {
    /// All of them, in file order.
    pub(super) fn signals(&mut self, file: &mut Table<'s>) -> Vec<Signal> {
        let tables = file.take("signal").and_then(|signals| signals.list(self.report, Node::table));
        tables.into_iter().flatten().filter_map(|table| self.signal(table)).collect()
    }

    fn signal(&mut self, mut table: Table<'s>) -> Option<Signal> {
        let span = table.span();
        let url = table.take("url");
        let url_span = url.as_ref().map(|url| url.span.clone());
        let url = url.map(|url| url.parsed(self.report, WebhookUrl::parse));
        let token_file = table.take("token-file");
        let token_span = token_file.as_ref().map(|token| token.span.clone());
        let token_file = token_file.and_then(|path| self.path(path)).map(|path| path.value);
        let command = table.take("command").map(|command| self.signal_command(command));
        let on = table.take("on").and_then(|on| self.signal_kinds(on));
        let clients = table.take("clients").and_then(|clients| clients.integer(self.report, 1..=MAX_CLIENTS));
        table.finish(self.report);
        let way = match (url, command) {
            (Some(url), None) => {
                let url = url?.value;
                if token_file.is_some() && goes_in_the_clear(&url) {
                    let hint = "use `https://`: whoever sees the connection has the token";
                    self.report.warning(url_span.unwrap_or(span), "the token goes out unencrypted", hint);
                }
                SignalWay::Webhook { url, token_file }
            }
            (None, Some(command)) => {
                if let Some(span) = token_span {
                    self.report.fault(span, "a token is for a webhook", "leave it out, or write `url`");
                }
                SignalWay::Command(command?)
            }
            _ => {
                let hint =
                    "write `url = \"https://hooks.corp.example/pullgate\"`, or `command = [\"/usr/local/bin/notify\"]`";
                self.report.fault(span, "a signal goes one way, to a webhook or to a command", hint);
                return None;
            }
        };
        let clients = clients.and_then(|clients| usize::try_from(clients.value).ok()).unwrap_or(DEFAULT_CLIENTS);
        Some(Signal { way, on: on.unwrap_or_else(|| SignalKind::ALL.to_vec()), clients })
    }

    fn signal_command(&mut self, node: Node<'s>) -> Option<Vec<String>> {
        let hint = "write the program and its arguments, as in `[\"/usr/local/bin/notify\", \"--quiet\"]`";
        let arguments = self.some(node, argument, hint)?;
        let program = arguments.first()?;
        if !program.value.starts_with('/') {
            let message = format!("`{}` is not a whole path", program.value);
            self.report.fault(
                program.span.clone(),
                message,
                "no shell looks for it: write it as in `/usr/local/bin/notify`",
            );
            return None;
        }
        Some(values(arguments))
    }

    fn signal_kinds(&mut self, node: Node<'s>) -> Option<Vec<SignalKind>> {
        let choices = SignalKind::ALL.map(|kind| (kind.word(), kind));
        let read = |node: Node<'s>, report: &mut Report<'_>| {
            let span = node.span.clone();
            Some(Written { value: node.choice(report, &choices)?, span })
        };
        let kinds = self.some(node, read, "nothing would be told: write what of, or leave the key out")?;
        let mut seen = HashSet::new();
        Some(values(kinds).into_iter().filter(|kind| seen.insert(*kind)).collect())
    }
}

/// Arguments may be empty, and hold whatever a program takes but NUL.
fn argument(node: Node<'_>, report: &mut Report<'_>) -> Option<Written<String>> {
    node.parsed(report, |text| {
        if text.contains('\0') {
            return Err(("a NUL".to_owned(), "no argument of a program holds one".to_owned()));
        }
        Ok(text.to_owned())
    })
}

/// Whether others may read what is sent there.
fn goes_in_the_clear(url: &WebhookUrl) -> bool {
    let is_here = matches!(&url.host, ProxyHost::Address(address) if address.is_loopback());
    !url.is_tls && !is_here
}

/// Two are one person at two machines; three are a pattern.
const DEFAULT_CLIENTS: usize = 3;
/// Each client is remembered for an hour.
const MAX_CLIENTS: i64 = 1000;
