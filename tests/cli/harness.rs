//! A running `pullgate serve` of one's own: its folder, its upstream, its port, and what it prints.

use std::fs::{self, File, Metadata};
use std::io::{BufRead, BufReader, Lines, PipeReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The address that the upstream gives every name.
pub(crate) const UPSTREAM_ANSWER: [u8; 4] = [192, 0, 2, 7];

/// A folder with settings and a policy, and commands that use them; it goes with the last of its servers.
#[derive(Clone)]
pub(crate) struct Place {
    folder: Arc<tempfile::TempDir>,
}

/// A running server.
pub(crate) struct Server {
    pub(crate) place: Place,
    pub(crate) dns: SocketAddr,
    /// The line of its log that says where it listens.
    pub(crate) begun: String,
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    /// What it logged before that line and nobody has waited for yet.
    early: Vec<String>,
    stderr: Lines<BufReader<PipeReader>>,
}

/// An upstream server in this process: answers each question once its gate lets it.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    /// A message for each question that came.
    pub(crate) asked: Receiver<()>,
    /// A message lets one answer go; dropped: all.
    pub(crate) gate: Sender<()>,
}

impl Place {
    /// A folder whose policy is the one file `policy`, and whose upstream is at `upstream`.
    pub(crate) fn new(policy: &str, upstream: SocketAddr) -> Self {
        let place = Self { folder: Arc::new(tempfile::tempdir().unwrap()) };
        fs::create_dir(place.path("policy.d")).unwrap();
        place.write_policy(policy);
        place.write_settings("127.0.0.1:0", upstream, "");
        place
    }

    /// Writes the settings file; `more` is appended.
    pub(crate) fn write_settings(&self, listen: &str, upstream: SocketAddr, more: &str) {
        let [policy, state, socket] =
            ["policy.d", "state", "control.sock"].map(|name| self.path(name).display().to_string());
        let settings = format!(
            "[server]\nlisten = [\"{listen}\"]\n[upstream]\nservers = [\"{upstream}\"]\n\
             [policy]\npath = {policy:?}\nstate = {state:?}\n[control]\nsocket = {socket:?}\n{more}"
        );
        fs::write(self.path("pullgate.toml"), settings).unwrap();
    }

    /// Replaces the policy file as careful editors do.
    pub(crate) fn write_policy(&self, policy: &str) {
        let draft = self.path("draft");
        fs::write(&draft, format!("version = 1\n{policy}")).unwrap();
        fs::rename(draft, self.path("policy.d/a.toml")).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("control.sock")
    }

    /// `pullgate` with these arguments and this folder's settings.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = pullgate(arguments);
        command.arg("--config").arg(self.path("pullgate.toml"));
        command
    }

    /// What it printed and its exit code.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::from(self.command(arguments).output().unwrap())
    }

    pub(crate) fn serve(self) -> Server {
        self.serve_with(|_, _| {})
    }

    /// Serves, with the command changed before by a function that is told its standard error.
    pub(crate) fn serve_with(self, change: impl FnOnce(&mut Command, &Metadata)) -> Server {
        let (stderr, log) = std::io::pipe().unwrap();
        let log = File::from(OwnedFd::from(log));
        let mut command = self.command(&["serve"]);
        change(&mut command, &log.metadata().unwrap());
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        // It holds the pipe's other end: with it open the log would never end.
        drop(command);
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut stderr = BufReader::new(stderr).lines();
        let mut early = Vec::new();
        let begun = wait(&mut stderr.by_ref().inspect(|line| early.extend(line.as_ref().ok().cloned())), "serving");
        early.pop();
        let dns = first_address(&begun);
        Server { place: self, dns, begun, child, stdout, early, stderr }
    }
}

/// A command's end.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// `pullgate` with these arguments, away from this user's own files.
pub(crate) fn pullgate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pullgate"));
    command.args(arguments).env_remove("RUST_LOG").env_remove("JOURNAL_STREAM").env_remove("NOTIFY_SOCKET");
    command
}

impl Server {
    /// The next line of standard output that holds `text`.
    pub(crate) fn wait_printed(&mut self, text: &str) -> String {
        wait(&mut self.stdout, text)
    }

    /// The next line of the log that holds `text`; what a start logs may come before it says that it serves, or after.
    pub(crate) fn wait_logged(&mut self, text: &str) -> String {
        match self.early.iter().position(|line| line.contains(text)) {
            Some(at) => self.early.drain(..=at).next_back().unwrap(),
            None => wait(&mut self.stderr, text),
        }
    }

    /// Ends it, and starts another in the same folder.
    pub(crate) fn restart(mut self) -> Self {
        self.signal(Signal::SIGTERM);
        self.wait();
        self.place.clone().serve()
    }

    /// Asks for the address of `name`: response code and answer count.
    pub(crate) fn ask(&self, name: &str) -> (u8, u8) {
        let answer = receive(&send(self.dns, name));
        (answer[3] & 0x0f, answer[7])
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// The exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Asks the control socket, byte for byte.
    pub(crate) fn request(&self, line: &str) -> String {
        let mut answer = String::new();
        self.connect(line).read_to_string(&mut answer).unwrap();
        answer
    }

    /// Sends a request to the control socket; the answer is still to be read.
    pub(crate) fn connect(&self, line: &str) -> UnixStream {
        let mut stream = UnixStream::connect(self.place.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "{line} HTTP/1.1\r\nHost: pullgate\r\n\r\n").unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait(lines: &mut impl Iterator<Item = std::io::Result<String>>, text: &str) -> String {
    let mut found = lines.map(Result::unwrap).filter(|line| line.contains(text));
    found.next().unwrap_or_else(|| panic!("no line with {text:?} came"))
}

/// The first address on 127.0.0.1 in a line of the log.
fn first_address(line: &str) -> SocketAddr {
    let (_, port) = line.split_once("127.0.0.1:").expect("it listens on 127.0.0.1");
    let port: String = port.chars().take_while(char::is_ascii_digit).collect();
    (Ipv4Addr::LOCALHOST, port.parse().unwrap()).into()
}

/// Sends a question for the address of `name` from a socket of its own.
pub(crate) fn send(server: SocketAddr, name: &str) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(server).unwrap();
    socket.send(&question(name)).unwrap();
    socket
}

/// The bytes of a question for the address of `name`.
pub(crate) fn question(name: &str) -> Vec<u8> {
    let mut query = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len().try_into().unwrap());
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    query
}

/// The answer that comes.
pub(crate) fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut answer = vec![0; 1500];
    let length = socket.recv(&mut answer).unwrap();
    answer.truncate(length);
    answer
}

impl Upstream {
    /// An upstream whose gate is open.
    pub(crate) fn start() -> SocketAddr {
        Self::gated().address
    }

    /// The address of an upstream that gives every name this one.
    pub(crate) fn answering(address: [u8; 4]) -> SocketAddr {
        Self::gated_with(address).address
    }

    /// An upstream that waits for its gate before each answer.
    pub(crate) fn gated() -> Self {
        Self::gated_with(UPSTREAM_ANSWER)
    }

    fn gated_with(given: [u8; 4]) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let (tell, asked) = channel();
        let (gate, opened) = channel();
        std::thread::spawn(move || {
            let mut packet = [0; 1500];
            while let Ok((length, client)) = socket.recv_from(&mut packet) {
                let _ = tell.send(());
                let _ = opened.recv();
                let _ = socket.send_to(&upstream_answer(&packet[..length], given), client);
            }
        });
        Self { address, asked, gate }
    }
}

/// The question with this address.
fn upstream_answer(query: &[u8], address: [u8; 4]) -> Vec<u8> {
    let mut end = 12;
    while query[end] != 0 {
        end += usize::from(query[end]) + 1;
    }
    let mut answer = query[..end + 5].to_vec();
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[4..12].copy_from_slice(&[0, 1, 0, 1, 0, 0, 0, 0]);
    answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    answer.extend_from_slice(&address);
    answer
}

/// Far longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
