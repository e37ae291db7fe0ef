//! A container engine as its API describes it: Docker's Engine API, and Podman's socket that speaks the same.
//!
//! Only GET requests, over a Unix socket of this machine; of each answer the few fields that `doctor` and `setup` look
//! at. Fields are named as in <https://docs.docker.com/reference/api/engine/>; what an engine leaves out is empty here.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::{Method, StatusCode};
use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::control::exchange::{self, ExchangeFault};

#[cfg(test)]
pub(in crate::inspect) mod testing;
#[cfg(test)]
mod tests;

/// What one engine said, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    /// Where it listens.
    pub socket: PathBuf,
    /// Which one it is.
    pub version: Version,
    /// How it is set up.
    pub info: Info,
    /// Its networks.
    pub networks: Vec<Network>,
    /// Its running containers: the first hundred.
    pub containers: Vec<Container>,
    /// How many more there are.
    pub containers_left_out: usize,
}

/// `GET /version`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Version {
    /// Such as `26.1.5`.
    #[serde(deserialize_with = "or_default")]
    pub version: String,
    /// Its parts: `Engine`, `containerd`; or `Podman Engine`.
    #[serde(deserialize_with = "or_default")]
    pub components: Vec<Component>,
}

/// A part of an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Component {
    /// What it calls itself.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Its version.
    #[serde(deserialize_with = "or_default")]
    pub version: String,
}

/// `GET /info`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Info {
    /// Words such as `name=seccomp,profile=default` and `name=rootless`.
    #[serde(deserialize_with = "or_default")]
    pub security_options: Vec<String>,
    /// Where it takes images from.
    #[serde(deserialize_with = "or_default")]
    pub registry_config: RegistryConfig,
    /// The proxy of its own pulls over HTTP; empty for none.
    #[serde(deserialize_with = "or_default")]
    pub http_proxy: String,
    /// The proxy of its own pulls over HTTPS; empty for none.
    #[serde(deserialize_with = "or_default")]
    pub https_proxy: String,
    /// What goes past those, separated by commas.
    #[serde(deserialize_with = "or_default")]
    pub no_proxy: String,
}

/// `RegistryConfig` of `GET /info`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RegistryConfig {
    /// URLs asked before Docker Hub.
    #[serde(deserialize_with = "or_default")]
    pub mirrors: Vec<String>,
    /// Every registry that has settings, by its name.
    #[serde(deserialize_with = "or_default")]
    pub index_configs: BTreeMap<String, IndexConfig>,
}

/// The settings of one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IndexConfig {
    /// Whether its certificate is checked.
    #[serde(deserialize_with = "or_default")]
    pub secure: bool,
}

/// An entry of `GET /networks`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Network {
    /// Its name; the default bridge is `bridge`.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Such as `bridge`, `host`, `overlay`.
    #[serde(deserialize_with = "or_default")]
    pub driver: String,
    /// Whether its containers have IPv6.
    #[serde(rename = "EnableIPv6", deserialize_with = "or_default")]
    pub has_ipv6: bool,
    /// Its addresses.
    #[serde(rename = "IPAM", deserialize_with = "or_default")]
    ipam: Ipam,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Ipam {
    #[serde(deserialize_with = "or_default")]
    config: Vec<IpamConfig>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct IpamConfig {
    #[serde(deserialize_with = "or_default")]
    subnet: String,
    #[serde(deserialize_with = "or_default")]
    gateway: String,
}

/// A running container: `GET /containers/{id}/json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Container {
    /// Its name, with the `/` that the API puts before it.
    #[serde(deserialize_with = "or_default")]
    name: String,
    /// Its resolv.conf, a file of the host that the engine mounts into it.
    #[serde(deserialize_with = "or_default")]
    pub resolv_conf_path: PathBuf,
    /// Its process.
    #[serde(deserialize_with = "or_default")]
    pub state: ContainerState,
    /// What it was started with.
    #[serde(deserialize_with = "or_default")]
    pub host_config: HostConfig,
    /// What the image and the command line made of it.
    #[serde(deserialize_with = "or_default")]
    pub config: ContainerConfig,
    /// What is mounted into it.
    #[serde(deserialize_with = "or_default")]
    pub mounts: Vec<Mount>,
}

/// `State` of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerState {
    /// Its first process; 0 for none.
    #[serde(deserialize_with = "or_default")]
    pub pid: u32,
}

/// `HostConfig` of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HostConfig {
    /// `default`, `bridge`, `host`, `none`, `container:ID`, or the name of a network.
    #[serde(deserialize_with = "or_default")]
    pub network_mode: String,
    /// `--dns`.
    #[serde(deserialize_with = "or_default")]
    pub dns: Vec<String>,
    /// `--add-host`, as `name:address`.
    #[serde(deserialize_with = "or_default")]
    pub extra_hosts: Vec<String>,
    /// `--privileged`.
    #[serde(deserialize_with = "or_default")]
    pub privileged: bool,
}

/// `Config` of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// The image, as it was named.
    #[serde(deserialize_with = "or_default")]
    pub image: String,
    /// `NAME=value`.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
}

/// Something mounted into a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Mount {
    /// Where it comes from on the host.
    #[serde(deserialize_with = "or_default")]
    pub source: String,
    /// Where the container sees it.
    #[serde(deserialize_with = "or_default")]
    pub destination: String,
}

/// Why an engine did not say.
#[derive(Debug, thiserror::Error)]
pub enum EngineFault {
    /// Nobody listens there.
    #[error("no engine listens at {}", .0.display())]
    NotRunning(PathBuf),
    /// The socket is not for this user.
    #[error("{} may only be used by root and its group", .0.display())]
    Forbidden(PathBuf),
    /// It does not speak the API, or not to the end.
    #[error("the engine at {} cannot be asked for {target}: {why}", socket.display())]
    Strange {
        /// The socket.
        socket: PathBuf,
        /// What was asked.
        target: String,
        /// What went wrong.
        why: String,
    },
    /// It took too long.
    #[error("the engine at {} did not answer within {} s", .0.display(), PATIENCE.as_secs())]
    TimedOut(PathBuf),
}

/// An entry of `GET /containers/json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
}

impl Engine {
    /// Asks the engine behind `socket` for everything of which this module knows.
    ///
    /// # Errors
    /// Nobody is there, this user may not ask, or it does not answer in the API's terms in time.
    pub async fn read(socket: &Path) -> Result<Self, EngineFault> {
        let everything = tokio::time::timeout(PATIENCE, Self::read_all(socket)).await;
        everything.unwrap_or_else(|_| Err(EngineFault::TimedOut(socket.to_owned())))
    }

    async fn read_all(socket: &Path) -> Result<Self, EngineFault> {
        let mut engine = Self {
            socket: socket.to_owned(),
            version: get(socket, "/version").await?,
            info: get(socket, "/info").await?,
            networks: get(socket, "/networks").await?,
            ..Self::default()
        };
        let listed: Vec<Listed> = get(socket, "/containers/json").await?;
        engine.containers_left_out = listed.len().saturating_sub(MAX_CONTAINERS);
        for Listed { id } in listed.into_iter().take(MAX_CONTAINERS) {
            match get(socket, &format!("/containers/{id}/json")).await {
                Ok(container) => engine.containers.push(container),
                // It ended in the meantime.
                Err(EngineFault::Strange { .. }) => engine.containers_left_out += 1,
                Err(fault) => return Err(fault),
            }
        }
        Ok(engine)
    }

    /// The first number of the version: 20 of `20.10.24+dfsg1`; `None` when it has none.
    pub fn major(&self) -> Option<u32> {
        self.version.version.split('.').next()?.parse().ok()
    }

    /// Whether it is Podman behind Docker's API.
    pub fn is_podman(&self) -> bool {
        self.version.components.iter().any(|component| component.name.starts_with("Podman"))
    }

    /// Whether it runs without root, in a network of its own.
    pub fn is_rootless(&self) -> bool {
        self.info.security_options.iter().any(|option| option == "name=rootless")
    }

    /// The network of this name.
    pub fn network(&self, name: &str) -> Option<&Network> {
        self.networks.iter().find(|network| network.name == name)
    }
}

impl Network {
    /// The ranges that its containers have their addresses from.
    pub fn subnets(&self) -> impl Iterator<Item = IpNet> {
        self.ipam.config.iter().filter_map(|config| config.subnet.parse().ok())
    }

    /// The host's addresses on it.
    pub fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        self.ipam.config.iter().filter_map(|config| config.gateway.parse().ok())
    }
}

impl Container {
    /// Its name, as people type it.
    pub fn name(&self) -> &str {
        self.name.trim_start_matches('/')
    }
}

/// Where engines listen: what `DOCKER_HOST` says if it is a Unix socket, then the usual places of Docker and Podman, of
/// the whole machine and of the user whose `XDG_RUNTIME_DIR` it is. Each once, whether there or not.
pub fn usual_sockets(docker_host: Option<&str>, runtime_dir: Option<&Path>) -> Vec<PathBuf> {
    let named = docker_host.and_then(|host| host.strip_prefix("unix://")).map(PathBuf::from);
    let of_user = runtime_dir.into_iter().flat_map(|folder| USER_SOCKETS.map(|socket| folder.join(socket)));
    let mut sockets: Vec<PathBuf> = Vec::new();
    for socket in named.into_iter().chain(SOCKETS.map(PathBuf::from)).chain(of_user) {
        // On every system in use the one is a link to the other.
        let socket = socket.strip_prefix("/var/run").map(|rest| Path::new("/run").join(rest)).unwrap_or(socket);
        if !sockets.contains(&socket) {
            sockets.push(socket);
        }
    }
    sockets
}

async fn get<T: DeserializeOwned>(socket: &Path, target: &str) -> Result<T, EngineFault> {
    let strange = |why: String| EngineFault::Strange { socket: socket.to_owned(), target: target.to_owned(), why };
    let failed = |fault| match fault {
        ExchangeFault::Unreachable(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => EngineFault::NotRunning(socket.to_owned()),
            io::ErrorKind::PermissionDenied => EngineFault::Forbidden(socket.to_owned()),
            _ => strange(error.to_string()),
        },
        fault => strange(fault.to_string()),
    };
    let response = exchange::send(socket, "docker", Method::GET, target).await.map_err(failed)?;
    let status = response.status();
    let body = exchange::read_whole(response, MAX_ANSWER).await.map_err(failed)?;
    if status != StatusCode::OK {
        return Err(strange(format!("status {}", status.as_u16())));
    }
    serde_json::from_slice(&body).map_err(|error| strange(error.to_string()))
}

/// A field that the engine leaves out, sets to null, or has of another kind than ever was documented, says nothing.
pub(in crate::inspect) fn or_default<'de, T: DeserializeOwned + Default, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// Engines of the whole machine.
const SOCKETS: [&str; 2] = ["/run/docker.sock", "/run/podman/podman.sock"];
/// Rootless engines, below the user's runtime folder.
const USER_SOCKETS: [&str; 2] = ["docker.sock", "podman/podman.sock"];
/// How long an engine may take for everything: a busy one takes a few milliseconds for each container.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most bytes of one answer that are taken: 64 KiB for each of a thousand containers.
const MAX_ANSWER: usize = 64 << 20;
/// How many containers are looked at one by one.
const MAX_CONTAINERS: usize = 100;
