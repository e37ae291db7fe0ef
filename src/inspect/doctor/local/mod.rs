//! What the files, the processes and the engines of this machine say: plain functions over what was read, and only
//! [`ask_engines`] asks, over their sockets.

mod authority;
mod builders;
mod containers;
mod daemon;
mod daemon_json;
mod docker_rules;
mod engines;
mod fixed_servers;
mod foreign;
mod hosts;
mod judged;
mod mirrors;
mod ours;
mod processes;
mod proxies;
mod resolved;
mod setups;
mod subnets;
#[cfg(test)]
mod testing;
mod units;
mod uplinks;
mod wsl;

use std::path::Path;

pub(super) use self::authority::authorities;
pub(super) use self::daemon::{is_engine_alone, servers_of_daemon};
pub(super) use self::hosts::tells_of_hosts;
pub(super) use self::uplinks::Uplinks;
use crate::inspect::doctor::report::Report;
use crate::inspect::doctor::scene::Scene;
use crate::inspect::engine::{Engine, EngineFault, usual_sockets};

/// Runs the checks of this folder.
pub(super) fn examine(scene: &Scene<'_>, asked: &[Engine], report: &mut Report) {
    let docker = asked.iter().find(|engine| !engine.is_podman());
    daemon::pulls(scene, report);
    daemon::alone(scene, report);
    containers::next(scene, docker, report);
    for engine in asked {
        containers::running(scene, engine, report);
        hosts::of_containers(scene, engine, report);
        engines::containers(engine, report);
    }
    engines::podman(scene, report);
    engines::kubelet(scene, report);
    builders::configured(scene, asked, report);
    builders::without_authority(scene, report);
    authority::of_gateway(scene, report);
    authority::trusted(scene, report);
    subnets::outside(scene, asked, report);
    if !scene.engine_alone {
        resolved::resolved(scene, report);
        resolved::owner(scene, report);
        fixed_servers::configured(scene, report);
        wsl::distribution(scene, report);
    }
    setups::standing_ones(scene, report);
    hosts::file(scene, report);
    hosts::order(scene, report);
    mirrors::configured(scene, asked, report);
    proxies::configured(scene, asked, report);
}

/// The engines that answer, each asked at the same time. One that this user may not ask is unseen; one that is not there
/// is no news, and neither is any for the tree of another machine.
pub(super) async fn ask_engines(scene: &Scene<'_>, report: &mut Report) -> Vec<Engine> {
    if !scene.machine.is_here() {
        return Vec::new();
    }
    let docker_host = scene.variables.get("DOCKER_HOST").map(String::as_str);
    if let Some(remote) = docker_host.filter(|host| !host.starts_with("unix://")) {
        report.unseen(format!("the engine at DOCKER_HOST={remote}: run doctor on its machine"));
    }
    let runtime_dir = scene.variables.get("XDG_RUNTIME_DIR").map(Path::new);
    let sockets = usual_sockets(docker_host, runtime_dir).into_iter();
    let asked: Vec<_> = sockets.map(|socket| tokio::spawn(async move { Engine::read(&socket).await })).collect();
    let mut engines = Vec::new();
    for answer in asked {
        match answer.await {
            Ok(Ok(engine)) => engines.push(engine),
            Ok(Err(EngineFault::NotRunning(_))) => {}
            Ok(Err(fault)) => report.unseen(fault.to_string()),
            Err(fault) => report.unseen(format!("an engine: {fault}")),
        }
    }
    engines
}
