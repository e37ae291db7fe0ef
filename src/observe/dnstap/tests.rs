use std::time::{SystemTime, UNIX_EPOCH};

use tokio::net::UnixListener;
use tokio::sync::mpsc;

use super::*;
use crate::config::QueryLog;
use crate::event::Decision;
use crate::event::tally::Carrier;
use crate::policy::reason::Reason;

fn tapped() -> Tapped {
    Tapped {
        client: "10.0.0.1:4000".parse().unwrap(),
        listener: "127.0.0.1:53".parse().unwrap(),
        carrier: Carrier::Udp,
        decision: Decision::Deny,
        reason: Reason::Unlisted,
        asked: UNIX_EPOCH,
        answered: SystemTime::now(),
        query: (*b"a query").into(),
        answer: (*b"its answer").into(),
    }
}

/// A frame's contents; empty: a control frame follows.
async fn next_frame(stream: &mut UnixStream) -> Vec<u8> {
    let length = stream.read_u32().await.unwrap();
    let mut frame = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut frame).await.unwrap();
    frame
}

async fn next_control(stream: &mut UnixStream) -> Control {
    assert!(next_frame(stream).await.is_empty());
    Control::read(&next_frame(stream).await).unwrap()
}

struct Lab {
    _folder: tempfile::TempDir,
    listener: UnixListener,
    messages: mpsc::Sender<Tapped>,
    standing: Arc<Standing>,
    task: tokio::task::JoinHandle<()>,
}

fn start(bidirectional: bool) -> Lab {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dnstap.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let reader = DnstapReader::Unix(path);
    let settings = Dnstap { reader, queries: QueryLog::All, identity: Some("lab".to_owned()), bidirectional };
    let (messages, queue) = mpsc::channel(10);
    let standing = Arc::new(Standing::default());
    let task = tokio::spawn(run(settings, queue, Arc::clone(&standing)));
    Lab { _folder: folder, listener, messages, standing, task }
}

fn holds(frame: &[u8], text: &[u8]) -> bool {
    frame.windows(text.len()).any(|window| window == text)
}

#[tokio::test]
async fn a_reader_that_answers_is_asked_first_and_told_the_end() {
    let lab = start(true);
    lab.messages.send(tapped()).await.unwrap();
    let (mut stream, _) = lab.listener.accept().await.unwrap();
    assert_eq!(next_control(&mut stream).await, Control::Ready);
    stream.write_all(&Control::Accept { takes_dnstap: true }.to_bytes()).await.unwrap();
    assert_eq!(next_control(&mut stream).await, Control::Start);
    let (query, response) = (next_frame(&mut stream).await, next_frame(&mut stream).await);
    assert!(holds(&query, b"a query") && holds(&query, b"lab") && holds(&query, b"deny unlisted"));
    assert!(holds(&response, b"its answer") && !holds(&response, b"a query"));
    drop(lab.messages);
    assert_eq!(next_control(&mut stream).await, Control::Stop);
    stream.write_all(&Control::Finish.to_bytes()).await.unwrap();
    lab.task.await.unwrap();
    assert_eq!((lab.standing.sent(), lab.standing.is_connected()), (2, true));
}

#[tokio::test]
async fn a_reader_that_only_reads_is_sent_what_there_is() {
    let lab = start(false);
    let (mut stream, _) = lab.listener.accept().await.unwrap();
    assert_eq!(next_control(&mut stream).await, Control::Start);
    lab.messages.send(tapped()).await.unwrap();
    assert!(holds(&next_frame(&mut stream).await, b"a query"));
    assert!(holds(&next_frame(&mut stream).await, b"its answer"));
    drop(lab.messages);
    assert_eq!(next_control(&mut stream).await, Control::Stop);
    lab.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_goes_away_or_takes_something_else_is_tried_again() {
    let lab = start(true);
    let (stream, _) = lab.listener.accept().await.unwrap();
    drop(stream);
    let (mut stream, _) = lab.listener.accept().await.unwrap();
    assert_eq!(next_control(&mut stream).await, Control::Ready);
    stream.write_all(&Control::Finish.to_bytes()).await.unwrap();
    let (mut stream, _) = lab.listener.accept().await.unwrap();
    assert_eq!(next_control(&mut stream).await, Control::Ready);
    stream.write_all(&Control::Accept { takes_dnstap: true }.to_bytes()).await.unwrap();
    assert_eq!(next_control(&mut stream).await, Control::Start);
    lab.task.abort();
}

#[tokio::test(start_paused = true)]
async fn without_a_reader_it_ends_when_there_is_nothing_more_to_tell() {
    let lab = start(true);
    drop(lab.listener);
    drop(lab.messages);
    lab.task.await.unwrap();
}
