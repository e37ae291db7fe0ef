//! An engine for tests: a Unix socket that answers GET requests from a table.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::Engine;

/// A running fake; it ends with the test's runtime.
pub(in crate::inspect) struct FakeEngine {
    folder: TempDir,
}

impl FakeEngine {
    /// Answers each target of `answers` with its JSON, and every other with 404.
    pub(in crate::inspect) fn start(answers: &[(&str, &str)]) -> Self {
        let fake = Self { folder: TempDir::new().unwrap() };
        let listener = UnixListener::bind(fake.socket()).unwrap();
        let answers: BTreeMap<String, String> =
            answers.iter().map(|(target, json)| ((*target).to_owned(), (*json).to_owned())).collect();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                answer(stream, &answers).await;
            }
        });
        fake
    }

    /// Where it listens.
    pub(in crate::inspect) fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }
}

/// What an engine with these answers is read as, beside a version, an info and lists that are empty unless given.
pub(in crate::inspect) async fn engine_saying(answers: &[(&str, &str)]) -> Engine {
    let empty = [("/version", "{}"), ("/info", "{}"), ("/networks", "[]"), ("/containers/json", "[]")];
    let all: Vec<(&str, &str)> = empty.into_iter().chain(answers.iter().copied()).collect();
    let fake = FakeEngine::start(&all);
    Engine::read(&fake.socket()).await.unwrap()
}

async fn answer(stream: UnixStream, answers: &BTreeMap<String, String>) {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    stream.read_line(&mut request).await.unwrap();
    let target = request.strip_prefix("GET ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    let (status, body) = answers.get(target).map_or(("404 Not Found", "{}"), |json| ("200 OK", json.as_str()));
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}
