//! The first message of a TLS connection: which name it is for, without answering it (RFC 6066 §3).
//!
//! rustls reads it; what has been read is kept, so that whoever takes the connection on sees it from its first byte.

use std::io;

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::name::DomainName;

/// A ClientHello as it came, with whatever came right behind it.
#[derive(Debug)]
pub(super) struct Hello {
    /// The name that the client wants to reach, if it says one that can be a host's.
    pub name: Option<DomainName>,
    /// Every byte that was read.
    pub bytes: Vec<u8>,
}

/// Why there is no ClientHello.
#[derive(Debug, thiserror::Error)]
pub(super) enum HelloError {
    /// The client ended the connection, or it broke.
    #[error("the connection ended before its first message: {0}")]
    Ended(#[source] io::Error),
    /// Something else than TLS, or TLS that nobody speaks.
    #[error("not the first message of TLS: {0}")]
    NotTls(rustls::Error),
    /// Longer than any real one.
    #[error("a first message of more than {MAX_HELLO} bytes")]
    TooLong,
}

/// Reads a ClientHello, however its bytes are cut into records and segments. Waits as long as the caller lets it.
///
/// # Errors
/// There is none.
pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Hello, HelloError> {
    let mut reader = Reader::default();
    let mut chunk = [0; 2048];
    loop {
        let count = stream.read(&mut chunk).await.map_err(HelloError::Ended)?;
        if count == 0 {
            return Err(HelloError::Ended(io::ErrorKind::UnexpectedEof.into()));
        }
        if let Some(hello) = reader.push(&chunk[..count])? {
            return Ok(hello);
        }
    }
}

/// A ClientHello on its way.
#[derive(Default)]
struct Reader {
    acceptor: Acceptor,
    bytes: Vec<u8>,
}

impl Reader {
    /// Takes the next bytes; the whole message once it is there.
    fn push(&mut self, chunk: &[u8]) -> Result<Option<Hello>, HelloError> {
        self.bytes.extend_from_slice(chunk);
        let mut rest = chunk;
        while !rest.is_empty() {
            if self.acceptor.read_tls(&mut rest).map_err(HelloError::Ended)? == 0 {
                break;
            }
            match self.acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let name = accepted.client_hello().server_name().and_then(|name| name.parse().ok());
                    return Ok(Some(Hello { name, bytes: std::mem::take(&mut self.bytes) }));
                }
                Err((error, _alert)) => return Err(HelloError::NotTls(error)),
            }
        }
        if self.bytes.len() > MAX_HELLO { Err(HelloError::TooLong) } else { Ok(None) }
    }
}

/// Reads a ClientHello from bytes that come in pieces; `None` for what is none, or not whole.
#[cfg(any(test, fuzzing))]
pub(super) fn read_bytes(chunks: &[&[u8]]) -> Option<Hello> {
    let mut reader = Reader::default();
    chunks.iter().find_map(|chunk| reader.push(chunk).transpose())?.ok()
}

/// With post-quantum key shares and tickets they are some 2 kB.
const MAX_HELLO: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// What a client sends first.
    fn hello(name: &str) -> Vec<u8> {
        let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let mut client = ClientConnection::new(Arc::new(config), name.to_owned().try_into().unwrap()).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// The same handshake message in records of `size` bytes.
    fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
        let (header, message) = hello.split_at(5);
        let record = |part: &[u8]| [&header[..3], &u16::try_from(part.len()).unwrap().to_be_bytes(), part].concat();
        message.chunks(size).flat_map(record).collect()
    }

    fn name(chunks: &[&[u8]]) -> Option<String> {
        read_bytes(chunks)?.name.map(|name| name.to_string())
    }

    #[test]
    fn the_name_is_read_however_the_message_is_cut() {
        let whole = hello("Registry-1.docker.io");
        assert_eq!(name(&[&whole]).as_deref(), Some("registry-1.docker.io"));
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(name(&bytes).as_deref(), Some("registry-1.docker.io"), "byte by byte");
        for size in [1, 7, 100] {
            assert_eq!(
                name(&[&in_records(&whole, size)]).as_deref(),
                Some("registry-1.docker.io"),
                "records of {size}"
            );
        }
    }

    #[test]
    fn what_was_read_is_kept_with_what_came_behind() {
        let sent = [hello("ghcr.io"), b"early".to_vec()].concat();
        assert_eq!(read_bytes(&[&sent]).unwrap().bytes, sent);
    }

    #[test]
    fn a_client_that_names_an_address_names_nothing() {
        let read = read_bytes(&[&hello("192.0.2.1")]).unwrap();
        assert_eq!(read.name, None);
    }

    #[tokio::test]
    async fn what_is_no_tls_or_ends_early_is_said() {
        let mut plain: &[u8] = b"GET / HTTP/1.1\r\nHost: ghcr.io\r\n\r\n";
        assert!(matches!(read(&mut plain).await, Err(HelloError::NotTls(_))));
        let whole = hello("ghcr.io");
        assert!(matches!(read(&mut &whole[..20]).await, Err(HelloError::Ended(_))));
    }

    #[tokio::test]
    async fn a_message_without_an_end_is_not_read_for_ever() {
        // The first records of a message that says it is 64 KiB long.
        let record = |content: &[u8]| [&[22, 3, 1, 0x10, 0], content].concat();
        let first = [&[1, 0, 0xff, 0xff][..], &vec![0; 0x0ffc]].concat();
        let records = [vec![record(&first)], vec![record(&vec![0; 0x1000]); 5]].concat().concat();
        let error = read(&mut &records[..]).await.unwrap_err();
        assert!(matches!(error, HelloError::TooLong | HelloError::NotTls(_)), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..8)) {
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let _ = read_bytes(&chunks);
        }

        #[test]
        fn a_damaged_message_is_read_or_refused(at in 0usize..400, byte in any::<u8>()) {
            let mut bytes = hello("ghcr.io");
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = read_bytes(&[&bytes]);
        }
    }
}
