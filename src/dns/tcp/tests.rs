//! Framing and the clocks of a connection, over streams in memory.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

use super::*;
use crate::dns::testing::{Lab, POLICY, parse, query};

/// A connection that is served, the client's end of it, and what keeps the server from stopping.
struct Connected {
    lab: Lab,
    client: DuplexStream,
    served: JoinHandle<()>,
    stop: watch::Sender<()>,
}

impl Connected {
    async fn new() -> Self {
        Self::with_buffer(64 * 1024).await
    }

    async fn with_buffer(size: usize) -> Self {
        let lab = Lab::new(POLICY).await;
        let (client, server) = tokio::io::duplex(size);
        let (stop, stopped) = watch::channel(());
        let (pipeline, peer) = (Arc::clone(&lab.pipeline), Peer { transport: Transport::Tcp, ..lab.peer });
        let served = tokio::spawn(async move {
            let activity = Activity::new(Instant::now());
            serve_stream(server, peer, pipeline, &activity, stopped).await;
        });
        Self { lab, client, served, stop }
    }

    async fn receive(&mut self) -> hickory_proto::op::Message {
        let mut answer = vec![0; usize::from(self.client.read_u16().await.unwrap())];
        self.client.read_exact(&mut answer).await.unwrap();
        parse(&answer)
    }

    /// How long the server keeps the connection from now on.
    async fn lifetime(&mut self) -> Duration {
        let start = Instant::now();
        (&mut self.served).await.unwrap();
        start.elapsed()
    }
}

fn framed(packet: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    push_framed(packet, &mut frame);
    frame
}

fn denied() -> Vec<u8> {
    framed(&query("evil.test", RecordType::A))
}

#[tokio::test]
async fn answers_do_not_stay_behind_in_a_stream_that_buffers() {
    let lab = Lab::new(POLICY).await;
    let (mut client, server) = tokio::io::duplex(1024);
    let (_stop, stopped) = watch::channel(());
    let activity = Activity::new(Instant::now());
    let served =
        serve_stream(tokio::io::BufWriter::new(server), lab.peer, Arc::clone(&lab.pipeline), &activity, stopped);
    let asking = async {
        client.write_all(&denied()).await.unwrap();
        timeout(IDLE_TIME / 2, client.read_u16()).await.expect("an answer").unwrap()
    };
    tokio::select! {
        () = served => panic!("the connection was ended"),
        length = asking => assert!(length > 12),
    }
}

#[tokio::test]
async fn queries_are_found_however_the_segments_are_cut() {
    let mut connected = Connected::new().await;
    for byte in denied() {
        connected.client.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(connected.receive().await.metadata.response_code, ResponseCode::NXDomain);
    connected.client.write_all(&denied().repeat(10)).await.unwrap();
    for _ in 0..10 {
        assert_eq!(connected.receive().await.metadata.response_code, ResponseCode::NXDomain);
    }
}

#[tokio::test]
async fn a_quick_answer_does_not_wait_for_a_slow_one() {
    let mut connected = Connected::new().await;
    let slow = framed(&query("held.good.example", RecordType::A));
    connected.client.write_all(&[slow, denied()].concat()).await.unwrap();
    assert_eq!(connected.receive().await.metadata.response_code, ResponseCode::NXDomain);
    connected.lab.upstream.release();
    assert_eq!(connected.receive().await.metadata.response_code, ResponseCode::NoError);
}

#[tokio::test]
async fn a_client_that_has_asked_all_still_gets_its_answers() {
    let mut connected = Connected::new().await;
    connected.client.write_all(&framed(&query("held.good.example", RecordType::A))).await.unwrap();
    connected.client.shutdown().await.unwrap();
    connected.lab.upstream.wait_for("held.good.example").await;
    connected.lab.upstream.release();
    assert_eq!(connected.receive().await.metadata.response_code, ResponseCode::NoError);
    assert_eq!(connected.client.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_first_byte_ends_after_two_seconds() {
    let mut connected = Connected::new().await;
    assert_eq!(connected.lifetime().await.as_secs(), FIRST_BYTE_TIME.as_secs());
    assert_eq!(connected.lab.pipeline.counters().tcp_timed_out.value(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_after_five_seconds() {
    let mut connected = Connected::new().await;
    connected.client.write_all(&denied()).await.unwrap();
    connected.receive().await;
    assert_eq!(connected.lifetime().await.as_secs(), IDLE_TIME.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_byte_a_second_is_as_slow_as_nothing() {
    let mut connected = Connected::new().await;
    let start = Instant::now();
    for byte in denied() {
        if connected.client.write_all(&[byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    connected.lifetime().await;
    assert!(start.elapsed() <= IDLE_TIME + Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_given_up() {
    let mut connected = Connected::with_buffer(256).await;
    let start = Instant::now();
    let query = denied();
    while start.elapsed() < Duration::from_secs(30) {
        let writing = timeout(Duration::from_secs(30), connected.client.write_all(&query));
        if !matches!(writing.await, Ok(Ok(()))) {
            break;
        }
    }
    connected.lifetime().await;
    assert!(start.elapsed() <= Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_query_longer_than_any_real_one_ends_the_connection() {
    let mut connected = Connected::new().await;
    connected.client.write_all(&[0xff, 0xff]).await.unwrap();
    connected.lifetime().await;
    assert_eq!(connected.lab.pipeline.counters().tcp_oversized.value(), 1);
}

#[tokio::test]
async fn a_stop_ends_an_idle_connection_at_once_and_a_busy_one_with_its_answer() {
    let mut idle = Connected::new().await;
    drop(idle.stop);
    idle.served.await.unwrap();
    assert_eq!(idle.client.read(&mut [0]).await.unwrap(), 0);

    let mut busy = Connected::new().await;
    busy.client.write_all(&framed(&query("held.good.example", RecordType::A))).await.unwrap();
    busy.lab.upstream.wait_for("held.good.example").await;
    drop(std::mem::replace(&mut busy.stop, watch::channel(()).0));
    busy.lab.upstream.release();
    assert_eq!(busy.receive().await.metadata.response_code, ResponseCode::NoError);
    busy.lifetime().await;
}
