//! Any bytes as a query: the first two choose the scene and who asks, the rest is the packet. The fast path and the plain
//! one, which reads and writes with hickory and the policy rule by rule, have to make the same of it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pullgate::dns::Peer;
use pullgate::dns::plain::scene::{self, Scene};

static SCENES: LazyLock<Vec<Scene>> = LazyLock::new(|| {
    let runtime = Box::leak(Box::new(tokio::runtime::Runtime::new().expect("threads can be started")));
    let _entered = runtime.enter();
    Scene::all()
});
static PEERS: LazyLock<Vec<Peer>> = LazyLock::new(scene::peers);

fuzz_target!(|bytes: &[u8]| {
    let [scene, peer, packet @ ..] = bytes else { return };
    let scene = &SCENES[usize::from(*scene) % SCENES.len()];
    let _ = scene.compare(packet, &PEERS[usize::from(*peer) % PEERS.len()]);
});
