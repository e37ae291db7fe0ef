//! Names of network interfaces, as nftables compares them.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::INTERFACES;
use crate::inspect::machine::{FileState, Machine};
use crate::inspect::setup::SetupFault;

/// A network interface, or with `*` at the end all whose names begin so. It is letters, digits and `. _ - @` only, so
/// that it can be written between quotes anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface(String);

/// Why a text names no interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InterfaceFault {
    /// What was seen.
    pub message: String,
    /// What would do.
    pub hint: &'static str,
}

impl Interface {
    /// The name, a `*` at its end included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A port of a bridge hands its packets to the bridge, by whose name they come in.
    pub(super) fn carries_packets(&self, machine: &Machine) -> Result<(), SetupFault> {
        let folder = Path::new(INTERFACES).join(&self.0);
        let (Ok(FileState::Link(master)), Ok(ports)) =
            (machine.look(&folder.join("master")), machine.list(folder.join("brport")))
        else {
            return Ok(());
        };
        let bridge = master.file_name().unwrap_or_default().to_string_lossy();
        if ports.is_empty() {
            return Ok(());
        }
        Err(SetupFault::new(format!("{self} is a port of a bridge, whose packets come in by the bridge's name"))
            .hint(format!("write --interface {bridge}")))
    }
}

impl FromStr for Interface {
    type Err = InterfaceFault;

    fn from_str(text: &str) -> Result<Self, InterfaceFault> {
        let fault = |what: &str, hint| Err(InterfaceFault { message: format!("{text:?} {what}"), hint });
        let stem = text.strip_suffix('*').unwrap_or(text);
        if stem.contains('*') {
            return fault("has a `*` that is not at its end", "`br-*` is every interface whose name begins with `br-`");
        }
        if stem.is_empty() {
            return fault(
                "is not the name of an interface",
                "name the interfaces of the clients, such as docker0 or `br-*`",
            );
        }
        if !stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte)) {
            return fault(
                "has a character that is not a letter, a digit or one of . _ - @",
                "name those clients by their range, with --clients",
            );
        }
        if stem.len() > LONGEST {
            return fault(
                "is longer than the 15 characters of an interface's name",
                "`ip -brief link` lists the interfaces",
            );
        }
        if [".", "..", "lo"].contains(&text) {
            return fault("is no interface that clients come in by", "--local redirects this machine's own programs");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The kernel's IFNAMSIZ, without the NUL.
const LONGEST: usize = 15;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn names_and_beginnings_of_names_are_interfaces() {
        for text in ["docker0", "br-*", "br-0123456789ab", "virbr0", "eth0.100", "veth_a@b", "v*"] {
            assert_eq!(text.parse::<Interface>().expect(text).as_str(), text);
        }
    }

    #[test]
    fn what_nftables_could_read_otherwise_is_no_interface() {
        for text in [
            "",
            "*",
            "br-*x",
            "b**",
            "a b",
            "a\"",
            "a\\",
            "a;b",
            "a\nb",
            "a{",
            "$a",
            "a/b",
            "a:b",
            "ä",
            "lo",
            "..",
            "sixteen-letters0",
        ] {
            assert!(text.parse::<Interface>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_port_of_a_bridge_is_told_from_the_bridge() {
        let root = TempDir::new().unwrap();
        let port = root.path().join("sys/devices/virtual/net/vnet0");
        fs::create_dir_all(port.join("brport")).unwrap();
        fs::write(port.join("brport/state"), "3\n").unwrap();
        symlink("../virbr0", port.join("master")).unwrap();
        fs::create_dir_all(root.path().join("sys/class/net")).unwrap();
        symlink("../../devices/virtual/net/vnet0", root.path().join("sys/class/net/vnet0")).unwrap();
        let machine = Machine::under(root.path());
        let fault = |name: &str| name.parse::<Interface>().unwrap().carries_packets(&machine).err();
        assert_eq!(fault("vnet0").and_then(|fault| fault.hint).as_deref(), Some("write --interface virbr0"));
        assert_eq!(fault("virbr0"), None);
        assert_eq!(fault("br-*"), None);
    }
}
