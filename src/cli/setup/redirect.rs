//! `pullgate setup redirect`.

use ipnet::IpNet;

use super::targets;
use crate::address;
use crate::inspect::machine::Machine;
use crate::inspect::setup::redirect::{self, Interface};
use crate::inspect::setup::{Plan, Request, SetupFault};

/// Containers, guests and networks, whatever server they name, by nftables
///
/// Rules in a table of their own send every question of those clients to UDP and TCP port 53, over
/// IPv4 and IPv6, to pullgate; answers come back from the server that was asked. DNS over TLS (853)
/// and QUIC (853, 784, 8853) to others is refused. With pullgate down, nothing resolves and nothing
/// leaves. Clients need no change.
///
/// A unit loads the rules before the network is there. No other table is read or changed: Docker's
/// and firewalls' rules stay, and may be loaded before or after.
///
/// Examples:
///   pullgate setup redirect --interface docker0 --interface 'br-*'      show it
///   sudo pullgate setup redirect --interface 'br-*' --write --restart
///   sudo pullgate setup redirect --clients 10.20.0.0/16 --except 10.20.0.53 --write
///   sudo pullgate setup redirect --local --write
///   sudo pullgate setup redirect --undo --restart
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Clients are whose packets come in here; `*` at the end: by all whose names begin so; may be repeated
    #[arg(long, value_name = "NAME", value_parser = interface)]
    interface: Vec<Interface>,
    /// Clients are those with an address in this range; may be repeated
    #[arg(long, value_name = "RANGE", value_parser = range)]
    clients: Vec<IpNet>,
    /// Leave this client or range alone, such as a resolver among them; may be repeated
    #[arg(long, value_name = "RANGE", value_parser = range)]
    except: Vec<IpNet>,
    /// The port of pullgate [default: from server.listen, else 53]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Redirect this machine's own programs as well, all but pullgate, which is known by its user
    #[arg(long)]
    local: bool,
}

impl targets::Arguments for Arguments {
    const NAME: &'static str = redirect::TARGET;

    fn found(machine: &Machine) -> Option<String> {
        redirect::found(machine)
    }

    fn plan(&self, machine: &Machine, request: &Request) -> Result<Plan, SetupFault> {
        let options = redirect::Options {
            interfaces: self.interface.clone(),
            clients: self.clients.clone(),
            except: self.except.clone(),
            local: self.local,
            port: self.port,
        };
        redirect::plan(machine, request, &options)
    }
}

fn interface(text: &str) -> Result<Interface, String> {
    text.parse().map_err(|fault: redirect::InterfaceFault| format!("{}: {}", fault.message, fault.hint))
}

fn range(text: &str) -> Result<IpNet, String> {
    address::parse_range(text).map_err(|fault| format!("{}: {}", fault.message, fault.hint))
}
