//! The name servers that this machine's resolv.conf names: there is one, and it is pullgate.

use std::net::SocketAddr;

use super::report::{Finding, Report, Section};
use super::scene::Scene;
use crate::resolv_conf::ResolvConf;

/// Whether resolv.conf is there and names exactly one server.
pub(super) fn configured(scene: &Scene<'_>, report: &mut Report) {
    let text = match scene.machine.read(RESOLV_CONF) {
        Ok(text) => text,
        Err(error) => return report.unseen(format!("{RESOLV_CONF} cannot be read: {error}")),
    };
    let servers = text.as_deref().map(ResolvConf::parse).unwrap_or_default().servers;
    report.add(match (&text, servers.as_slice()) {
        (None, _) => nothing(format!("there is no {RESOLV_CONF}")),
        (Some(_), []) => nothing(format!("{RESOLV_CONF} names no server")),
        (Some(_), [only]) => Finding::ok(CHECK, format!("{RESOLV_CONF} names one server, {}", only.ip())),
        (Some(_), several) => too_many(several),
    });
}

fn nothing(title: String) -> Finding {
    Finding::problem(CHECK, title)
        .meaning("programs ask whatever answers on 127.0.0.1, and Docker gives containers and RUN steps 8.8.8.8")
        .fix("pullgate setup resolv.conf --write")
        .section(Section::DockerEngine)
}

fn too_many(servers: &[SocketAddr]) -> Finding {
    let list = servers.iter().map(|server| server.ip().to_string()).collect::<Vec<_>>().join(", ");
    Finding::problem(CHECK, format!("{RESOLV_CONF} names {} servers: {list}", servers.len()))
        .meaning(
            "when one does not answer, fails or refuses, programs ask the next; musl asks all at once and takes the first answer",
        )
        .fix("pullgate setup resolv.conf --write")
}

const CHECK: &str = "nameservers";
const RESOLV_CONF: &str = "/etc/resolv.conf";

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::inspect::doctor::{Request, Severity};
    use crate::inspect::machine::Machine;

    /// What is said of a resolv.conf; `None`: there is none.
    fn said(text: Option<&str>) -> Report {
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        if let Some(text) = text {
            fs::write(root.path().join("etc/resolv.conf"), text).unwrap();
        }
        let (machine, request) = (Machine::under(root.path()), Request::default());
        let mut report = Report::default();
        configured(&Scene::of(&machine, &request, None), &mut report);
        report
    }

    #[test]
    fn exactly_one_server_is_fine() {
        for (text, expected) in [
            (Some("nameserver 192.0.2.1\n"), Severity::Ok),
            (Some("nameserver 192.0.2.1\nnameserver 192.0.2.2\n"), Severity::Problem),
            (Some("search corp.example\n"), Severity::Problem),
            (None, Severity::Problem),
        ] {
            let report = said(text);
            assert_eq!(report.worst(), expected, "{text:?}: {report:?}");
            assert!(report.findings.iter().all(|finding| finding.fix.is_some() || expected == Severity::Ok));
        }
    }
}
