//! As which client a running pullgate sees this machine.

use std::net::IpAddr;
use std::time::Duration;

use super::ask::{Question, Transport, ask};
use super::nameservers::RESOLV_CONF;
use crate::inspect::machine::Machine;
use crate::policy::probe::{self, Standing};
use crate::resolv_conf::ResolvConf;

/// The address that this machine's questions come from, as pullgate says when it is asked through the servers of
/// `/etc/resolv.conf`, stubs among them; `None`: through none of them.
pub async fn seen_as(machine: &Machine, limit: Duration) -> Option<IpAddr> {
    let text = machine.read(RESOLV_CONF).ok().flatten()?;
    let question = Question::Text(probe::name());
    for server in ResolvConf::parse(&text).servers {
        let Ok(answer) = ask(server, Transport::Udp, &question, limit).await else { continue };
        let seen = answer.texts.iter().find_map(|text| Some(Standing::parse(text)?.client));
        if seen.is_some() {
            return seen;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_machine_whose_files_name_no_server_is_seen_by_none() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::under(folder.path());
        assert_eq!(seen_as(&machine, Duration::from_millis(1)).await, None);
        std::fs::create_dir(folder.path().join("etc")).unwrap();
        std::fs::write(folder.path().join("etc/resolv.conf"), "search example\n").unwrap();
        assert_eq!(seen_as(&machine, Duration::from_millis(1)).await, None);
    }
}
