use std::os::unix::net::UnixListener;

use proptest::prelude::*;
use tempfile::TempDir;

use super::testing::{FakeEngine, engine_saying};
use super::*;

#[tokio::test]
async fn an_engine_is_read_field_by_field() {
    let engine = engine_saying(&[
        ("/version", r#"{"Version": "20.10.24+dfsg1", "Components": [{"Name": "Engine", "Version": "20.10.24"}]}"#),
        (
            "/info",
            r#"{"SecurityOptions": ["name=seccomp", "name=rootless"], "HttpsProxy": "http://proxy:3128",
                "RegistryConfig": {"Mirrors": ["https://mirror/"], "IndexConfigs": {"docker.io": {"Secure": true}}}}"#,
        ),
        (
            "/networks",
            r#"[{"Name": "bridge", "Driver": "bridge", "EnableIPv6": true,
                 "IPAM": {"Config": [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}, {"Subnet": "fd00::/64"}]}},
                {"Name": "none", "IPAM": {"Config": null}}]"#,
        ),
        ("/containers/json", r#"[{"Id": "abc"}, {"Id": "gone"}]"#),
        (
            "/containers/abc/json",
            r#"{"Name": "/web", "ResolvConfPath": "/var/lib/docker/containers/abc/resolv.conf", "State": {"Pid": 7},
                "HostConfig": {"NetworkMode": "default", "Dns": null, "ExtraHosts": ["ghcr.io:192.0.2.1"]},
                "Config": {"Image": "nginx", "Env": ["A=b"]}, "Mounts": [{"Source": "/run/docker.sock"}]}"#,
        ),
    ])
    .await;
    assert_eq!((engine.major(), engine.is_podman(), engine.is_rootless()), (Some(20), false, true));
    assert_eq!(engine.info.https_proxy, "http://proxy:3128");
    assert_eq!(engine.info.registry_config.mirrors, ["https://mirror/"]);
    assert!(engine.info.registry_config.index_configs["docker.io"].secure);
    let bridge = engine.network("bridge").unwrap();
    assert_eq!(bridge.subnets().map(|net| net.to_string()).collect::<Vec<_>>(), ["172.17.0.0/16", "fd00::/64"]);
    assert_eq!(bridge.gateways().map(|address| address.to_string()).collect::<Vec<_>>(), ["172.17.0.1"]);
    let [web] = engine.containers.as_slice() else { panic!("one container, the other ended") };
    assert_eq!((web.name(), web.state.pid, web.config.image.as_str()), ("web", 7, "nginx"));
    assert_eq!(web.host_config.extra_hosts, ["ghcr.io:192.0.2.1"]);
    assert_eq!(engine.containers_left_out, 1);
}

#[tokio::test]
async fn podman_is_told_by_its_components() {
    let version = r#"{"Version": "4.3.1", "Components": [{"Name": "Podman Engine", "Version": "4.3.1"}]}"#;
    assert!(engine_saying(&[("/version", version)]).await.is_podman());
}

#[tokio::test]
async fn who_does_not_answer_as_an_engine_is_told_apart() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("docker.sock");
    assert!(matches!(Engine::read(&socket).await, Err(EngineFault::NotRunning(_))));
    drop(UnixListener::bind(&socket).unwrap());
    assert!(matches!(Engine::read(&socket).await, Err(EngineFault::NotRunning(_))), "its file is left over");
    let other = FakeEngine::start(&[("/version", "<html>")]);
    let fault = Engine::read(&other.socket()).await.unwrap_err().to_string();
    assert!(fault.contains("cannot be asked for /version: expected value"), "{fault}");
    let older = FakeEngine::start(&[("/version", "{}")]);
    let fault = Engine::read(&older.socket()).await.unwrap_err().to_string();
    assert!(fault.ends_with("cannot be asked for /info: status 404"), "{fault}");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_says_nothing_is_given_up() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("docker.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert!(matches!(Engine::read(&socket).await, Err(EngineFault::TimedOut(_))));
}

#[test]
fn the_usual_sockets_are_each_named_once() {
    let user = Path::new("/run/user/1000");
    let sockets = usual_sockets(Some("unix:///var/run/docker.sock"), Some(user));
    let expected = [
        "/run/docker.sock",
        "/run/podman/podman.sock",
        "/run/user/1000/docker.sock",
        "/run/user/1000/podman/podman.sock",
    ];
    assert_eq!(sockets, expected.map(PathBuf::from));
    assert_eq!(usual_sockets(Some("tcp://192.0.2.1:2375"), None).len(), 2, "not of this machine");
    assert_eq!(usual_sockets(Some("unix:///srv/d.sock"), None)[0], Path::new("/srv/d.sock"));
}

#[test]
fn a_field_of_another_kind_says_nothing() {
    let container: Container =
        serde_json::from_str(r#"{"Name": 7, "State": "up", "HostConfig": {"Dns": "8.8.8.8", "Privileged": 1}}"#)
            .unwrap();
    assert_eq!(container, Container::default());
}

proptest! {
    #[test]
    fn no_answer_panics(text in "[\\PC{}\\[\\]\":,a-zA-Z0-9]{0,200}") {
        let _ = serde_json::from_str::<Container>(&text);
        let _ = serde_json::from_str::<Vec<Network>>(&text);
        let _ = serde_json::from_str::<Info>(&text);
    }
}
