//! A network's definition, and what is to stand in it; the rest of the text stays as it is.

use std::net::IpAddr;
use std::ops::Range;

use roxmltree::{Document, Node};

use crate::inspect::edit::EditFault;

/// The XML of a network.
pub(super) struct Definition<'t> {
    text: &'t str,
    document: Document<'t>,
}

/// What goes in the place of a part of the text.
type Edit = (Range<usize>, String);

impl<'t> Definition<'t> {
    /// Reads it.
    pub(super) fn read(text: &'t str) -> Result<Self, EditFault> {
        let document = Document::parse(text).map_err(|error| {
            let place = error.pos();
            EditFault { line: place.row as usize, column: place.col as usize, message: "this is not XML".to_owned() }
        })?;
        let root = document.root_element();
        if !root.has_tag_name("network") {
            return Err(EditFault::at(text, root.range().start, "this is not a libvirt network"));
        }
        Ok(Self { text, document })
    }

    /// Whether guests learn their addresses from it.
    pub(super) fn has_dhcp(&self) -> bool {
        let mut ips = self.root().children().filter(|node| node.has_tag_name("ip"));
        ips.any(|ip| ip.children().any(|node| node.has_tag_name("dhcp")))
    }

    /// The host's addresses in the network.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let ips = self.root().children().filter(|node| node.has_tag_name("ip"));
        ips.filter_map(|ip| ip.attribute("address")?.parse().ok()).collect()
    }

    /// The text in which DHCP hands out these servers and no other, and libvirt's own does not answer.
    pub(super) fn with_servers(&self, servers: &[IpAddr]) -> String {
        let mut edits = Vec::new();
        edits.extend(self.namespace());
        edits.extend(self.own_server_off());
        edits.extend(self.options(servers));
        edits.sort_by_key(|(place, _)| place.start);
        let mut text = self.text.to_owned();
        for (place, with) in edits.into_iter().rev() {
            text.replace_range(place, &with);
        }
        text
    }

    fn root(&self) -> Node<'_, 't> {
        self.document.root_element()
    }

    fn prefix(&self) -> &str {
        self.root().lookup_prefix(DNSMASQ).unwrap_or("dnsmasq")
    }

    fn namespace(&self) -> Option<Edit> {
        let behind_name = self.root().range().start + "<network".len();
        let is_known = self.root().lookup_prefix(DNSMASQ).is_some();
        (!is_known).then(|| (behind_name..behind_name, format!(" xmlns:dnsmasq='{DNSMASQ}'")))
    }

    fn own_server_off(&self) -> Option<Edit> {
        let Some(dns) = self.root().children().find(|node| node.has_tag_name("dns")) else {
            let behind = self.root().children().find(|node| BEHIND_DNS.contains(&node.tag_name().name()));
            let place = behind.map_or_else(|| self.closing_tag(), |node| self.line_start(node.range().start));
            return Some((place..place, "  <dns enable='no'/>\n".to_owned()));
        };
        match dns.attribute_node("enable") {
            Some(enable) if enable.value() == "no" => None,
            Some(enable) => Some((enable.range_value(), "no".to_owned())),
            None => {
                let behind_name = dns.range().start + "<dns".len();
                Some((behind_name..behind_name, " enable='no'".to_owned()))
            }
        }
    }

    fn options(&self, servers: &[IpAddr]) -> Vec<Edit> {
        let prefix = self.prefix();
        let element = |value: &str| format!("    <{prefix}:option value='{value}'/>\n");
        let Some(options) = self.root().children().find(|node| node.has_tag_name((DNSMASQ, "options"))) else {
            let place = self.line_start(self.closing_tag());
            let lines: String = servers.iter().map(|server| element(&dhcp_option(*server))).collect();
            return vec![(place..place, format!("  <{prefix}:options>\n{lines}  </{prefix}:options>\n"))];
        };
        let present: Vec<Node<'_, '_>> = options.children().filter(Node::is_element).collect();
        let value = |node: &Node<'_, '_>| node.attribute("value").unwrap_or_default().to_owned();
        let mut edits = Vec::new();
        let mut missing = String::new();
        for server in servers {
            let wanted = dhcp_option(*server);
            match present.iter().find(|node| names_servers(&value(node), server.is_ipv4())) {
                Some(node) if value(node) == wanted => {}
                Some(node) => edits.extend(node.attribute_node("value").map(|old| (old.range_value(), wanted))),
                None => missing.push_str(&element(&wanted)),
            }
        }
        if let (Some(last), false) = (present.last(), missing.is_empty()) {
            let place = last.range().end;
            edits.push((place..place, format!("\n{}", missing.trim_end_matches('\n'))));
        } else if !missing.is_empty() {
            edits.push((options.range(), format!("<{prefix}:options>\n{missing}  </{prefix}:options>")));
        }
        edits
    }

    fn closing_tag(&self) -> usize {
        self.text.rfind("</network").unwrap_or(self.text.len())
    }

    /// Where the line begins, if there is nothing but blank space before the place.
    fn line_start(&self, place: usize) -> usize {
        let start = self.text[..place].rfind('\n').map_or(0, |at| at + 1);
        if self.text[start..place].trim().is_empty() { start } else { place }
    }
}

/// The option of dnsmasq that hands a server out, of DHCP, or of its successor for IPv6 and of router advertisements.
fn dhcp_option(server: IpAddr) -> String {
    match server {
        IpAddr::V4(server) => format!("dhcp-option=option:dns-server,{server}"),
        IpAddr::V6(server) => format!("dhcp-option=option6:dns-server,[{server}]"),
    }
}

/// Whether an option of dnsmasq hands out servers of a family to every guest.
fn names_servers(value: &str, is_ipv4: bool) -> bool {
    let names = if is_ipv4 { ["option:dns-server,", "6,"] } else { ["option6:dns-server,", "option6:23,"] };
    let rest = value.strip_prefix("dhcp-option=").or_else(|| value.strip_prefix("dhcp-option-force="));
    rest.is_some_and(|rest| names.iter().any(|name| rest.starts_with(name)))
}

const DNSMASQ: &str = "http://libvirt.org/schemas/network/dnsmasq/1.0";
/// What libvirt writes behind `<dns>`.
const BEHIND_DNS: &[&str] = &["vlan", "bandwidth", "ip", "route", "virtualport", "port", "portgroup", "options"];
