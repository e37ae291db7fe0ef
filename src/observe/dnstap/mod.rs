//! Whole queries and answers for a reader of dnstap (dnstap.info), over a Unix socket or TCP, as frame streams.
//!
//! A reader that is away or slow holds nobody up: what the bounded channel has no room for was dropped, and counted, by
//! whoever wanted to tell it.

pub mod frame;
mod message;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;
use tracing::{info, warn};

use self::frame::{Control, FrameError, MAX_CONTROL};
use self::message::Sender;
use crate::config::{Dnstap, DnstapReader};
use crate::event::tap::Tapped;

/// How it goes.
#[derive(Debug, Default)]
pub struct Standing {
    connected: AtomicBool,
    sent: AtomicU64,
}

impl Standing {
    /// Whether a reader is there.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// How many messages it was sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// Why a connection to a reader ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("it takes nothing")]
    TooSlow,
    #[error("it does not take dnstap")]
    OtherContent,
    #[error("it answers something else than was to be expected")]
    Unexpected,
}

/// Sends `messages` to the reader that the settings name, until their last sender is gone. Whenever it is not there, it
/// is tried again, within half a minute at the latest.
pub async fn run(settings: Dnstap, mut messages: Receiver<Tapped>, standing: Arc<Standing>) {
    let sender = Sender::new(settings.identity.clone().unwrap_or_else(host_name));
    let mut pause = PAUSE;
    loop {
        match serve(&settings, &sender, &mut messages, &standing).await {
            Ok(()) => return,
            Err(error) => {
                if standing.connected.swap(false, Ordering::Relaxed) {
                    warn!(%error, "lost the reader of dnstap");
                    pause = PAUSE;
                } else if pause == PAUSE {
                    warn!(%error, "the reader of dnstap is not there");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = ended(&messages) => return,
        }
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// Ready when nobody can send any more; what is in the channel stays there until then.
async fn ended(messages: &Receiver<Tapped>) {
    while !messages.is_closed() {
        tokio::time::sleep(PAUSE).await;
    }
}

async fn serve(
    settings: &Dnstap,
    sender: &Sender,
    messages: &mut Receiver<Tapped>,
    standing: &Standing,
) -> Result<(), Broken> {
    match &settings.reader {
        DnstapReader::Unix(path) => {
            let stream = within(UnixStream::connect(path)).await?;
            carry(stream, settings.bidirectional, sender, messages, standing).await
        }
        DnstapReader::Tcp(address) => {
            let stream = within(TcpStream::connect(address)).await?;
            carry(stream, settings.bidirectional, sender, messages, standing).await
        }
    }
}

/// Greets the reader, sends it messages as they come, and says goodbye when there can be no more.
async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    bidirectional: bool,
    sender: &Sender,
    messages: &mut Receiver<Tapped>,
    standing: &Standing,
) -> Result<(), Broken> {
    let mut stream = BufWriter::new(stream);
    greet(&mut stream, bidirectional).await?;
    if !standing.connected.swap(true, Ordering::Relaxed) {
        info!("the reader of dnstap is there");
    }
    let mut bytes = Vec::new();
    while let Some(tapped) = messages.recv().await {
        bytes.clear();
        sender.push_frames(&tapped, &mut bytes);
        within(stream.write_all(&bytes)).await?;
        if messages.is_empty() {
            within(stream.flush()).await?;
        }
        standing.sent.fetch_add(2, Ordering::Relaxed);
    }
    within(stream.write_all(&Control::Stop.to_bytes())).await?;
    within(stream.flush()).await?;
    if bidirectional && expect(&mut stream).await? != Control::Finish {
        return Err(Broken::Unexpected);
    }
    Ok(())
}

/// Agrees with the reader on what follows. One that answers says first what it takes.
async fn greet<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, bidirectional: bool) -> Result<(), Broken> {
    if bidirectional {
        within(stream.write_all(&Control::Ready.to_bytes())).await?;
        within(stream.flush()).await?;
        match expect(stream).await? {
            Control::Accept { takes_dnstap: true } => {}
            Control::Accept { takes_dnstap: false } => return Err(Broken::OtherContent),
            _ => return Err(Broken::Unexpected),
        }
    }
    within(stream.write_all(&Control::Start.to_bytes())).await?;
    within(stream.flush()).await
}

/// The control frame that comes next.
async fn expect<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Control, Broken> {
    let mut head = [0; 8];
    within(stream.read_exact(&mut head)).await?;
    let length = frame::control_length(head)?;
    let mut body = [0; MAX_CONTROL];
    within(stream.read_exact(&mut body[..length])).await?;
    Ok(Control::read(&body[..length])?)
}

async fn within<T>(step: impl Future<Output = io::Result<T>>) -> Result<T, Broken> {
    Ok(timeout(PATIENCE, step).await.map_err(|_elapsed| Broken::TooSlow)??)
}

/// What this host calls itself.
pub(super) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "pullgate".to_owned() } else { name.trim().to_owned() }
}

/// How long a reader may take for one step.
const PATIENCE: Duration = Duration::from_secs(5);
/// After a reader was not there; doubled each time, up to [`MAX_PAUSE`].
const PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
