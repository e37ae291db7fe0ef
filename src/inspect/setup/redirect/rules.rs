//! The text of the rules: a table of nftables that an administrator can read.

use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Destinations, RULES, Redirect};
use crate::address::DNS_PORT;

impl Redirect {
    /// The file for `nft -f`. Every word of it that is not constant is an address, a number or an [`super::Interface`].
    pub(super) fn rules(&self) -> String {
        let mut text = HEAD.replace("{command}", &self.command()).replace("{file}", RULES);
        if self.has_clients() {
            text += &PREROUTING.replace("{clients}", &self.packets_of_clients("question"));
        }
        if let Some(user) = self.local {
            text += &OUTPUT.replace("{user}", &user.to_string());
        }
        text += &QUESTION.replace("{dnat}", &self.to.dnat());
        if self.has_clients() {
            text += &FORWARD_INPUT.replace("{clients}", &self.packets_of_clients("refuse"));
        }
        text += &REFUSE.replace("{pullgate}", &self.to.spared());
        text + "}\n"
    }

    /// The command line that says the same.
    fn command(&self) -> String {
        let mut line = "pullgate setup redirect".to_owned();
        let mut option =
            |name: &str, value: &dyn std::fmt::Display| write!(line, " --{name} {value}").unwrap_or_default();
        for interface in &self.interfaces {
            option("interface", &format_args!("'{interface}'"));
        }
        for (name, ranges) in [("clients", &self.clients), ("except", &self.except)] {
            for range in ranges {
                option(name, range);
            }
        }
        for address in self.to.addresses() {
            option("address", &address.ip());
        }
        if let Some(port) = self.port {
            option("port", &port);
        }
        if self.local.is_some() {
            line += " --local";
        }
        line + " --write"
    }

    fn has_clients(&self) -> bool {
        !self.interfaces.is_empty() || !self.clients.is_empty()
    }

    /// Rules that send the packets of clients to `chain`, and those of pullgate, of exceptions and of this machine past it.
    fn packets_of_clients(&self, chain: &str) -> String {
        let mut rules = vec!["iifname \"lo\" return".to_owned()];
        let pullgate = self.to.addresses().map(|address| IpNet::from(address.ip()));
        rules.extend(pullgate.chain(self.except.iter().copied()).map(|range| format!("{} return", from_range(range))));
        rules.extend(self.interfaces.iter().map(|interface| format!("iifname \"{interface}\" jump {chain}")));
        rules.extend(self.clients.iter().map(|&range| format!("{} jump {chain}", from_range(range))));
        lines(rules)
    }
}

impl Destinations {
    fn dnat(&self) -> String {
        let v4 = self.v4.map(|(address, port)| ("ipv4", "ip", format!("{address}:{port}")));
        let v6 = self.v6.map(|(address, port)| ("ipv6", "ip6", format!("[{address}]:{port}")));
        lines(v4.into_iter().chain(v6).map(|(family, word, to)| {
            format!("meta nfproto {family} meta l4proto {{ tcp, udp }} th dport {DNS_PORT} counter dnat {word} to {to}")
        }))
    }

    /// Rules that let pass what is addressed to pullgate, where it may answer DNS over TLS and QUIC as well.
    fn spared(&self) -> String {
        lines(self.addresses().map(|address| {
            let word = word_of(address.ip());
            // On another port, what is still addressed to 53 is for another resolver at the same address.
            let ports = if address.port() == DNS_PORT { "" } else { " meta l4proto { tcp, udp } th dport != 53" };
            format!("{word} daddr {}{ports} return", address.ip())
        }))
    }
}

fn from_range(range: IpNet) -> String {
    let range = range.trunc();
    match (range.prefix_len(), range) {
        (0, IpNet::V4(_)) => "meta nfproto ipv4".to_owned(),
        (0, IpNet::V6(_)) => "meta nfproto ipv6".to_owned(),
        _ if range.prefix_len() == range.max_prefix_len() => {
            format!("{} saddr {}", word_of(range.addr()), range.addr())
        }
        _ => format!("{} saddr {range}", word_of(range.addr())),
    }
}

fn word_of(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}

/// Rules, a line each, as they stand in a chain.
fn lines(rules: impl IntoIterator<Item = String>) -> String {
    rules.into_iter().fold(String::new(), |text, rule| text + "\t\t" + &rule + "\n")
}

const HEAD: &str = "\
# DNS questions of clients, sent to pullgate whatever server they name.
#
#   made by  {command}
#   load     nft -f {file}    (again at any time: the table is replaced in one step)
#   look     nft list table inet pullgate         (counters: conversations sent to pullgate, packets refused)
#   remove   pullgate setup redirect --undo
#
# The table is pullgate's own. No other one is read or changed, neither Docker's nor a firewall's.

# Made where there is none, so that there is one to delete.
table inet pullgate
delete table inet pullgate

table inet pullgate {
";

const PREROUTING: &str = "\
\t# Packets that come in, before Docker's own translation of addresses (dstnat) sees them. A chain of this type sees the
\t# first packet of a conversation; the kernel sends the others the same way, and turns answers back, so that they come
\t# from the server that was asked. What this machine itself, pullgate and exceptions send is passed over.
\tchain prerouting {
\t\ttype nat hook prerouting priority dstnat - 10; policy accept;
{clients}\t}

";

const OUTPUT: &str = "\
\t# What this machine's own programs send, but for pullgate, which is known by its user. Priority -110 is dstnat - 10,
\t# a name that not every version of nft takes here.
\tchain output {
\t\ttype nat hook output priority -110; policy accept;
\t\tmeta skuid {user} return
\t\tjump question
\t}

\tchain output_refuse {
\t\ttype filter hook output priority filter - 10; policy accept;
\t\tmeta skuid {user} return
\t\tjump refuse
\t}

";

const QUESTION: &str = "\
\t# UDP and TCP alike. If pullgate is down, the client is told at once that nobody listens.
\tchain question {
{dnat}\t}

";

const FORWARD_INPUT: &str = "\
\t# The same packets on their way out of this machine, and into it.
\tchain forward {
\t\ttype filter hook forward priority filter - 10; policy accept;
{clients}\t}

\tchain input {
\t\ttype filter hook input priority filter - 10; policy accept;
{clients}\t}

";

const REFUSE: &str = "\
\t# Not translated, so not for pullgate: a conversation older than these rules, or a family that pullgate has no address
\t# of. And DNS over TLS (853) and QUIC (853, in its drafts 784 and 8853), which cannot be sent elsewhere.
\tchain refuse {
{pullgate}\t\ttcp dport { 53, 853 } counter reject with tcp reset
\t\tudp dport { 53, 784, 853, 8853 } counter reject with icmpx admin-prohibited
\t}
";
