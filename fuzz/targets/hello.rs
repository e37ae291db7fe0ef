//! Any bytes, in pieces cut where they say, as the first message of a TLS connection.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullgate::gateway::fuzzing::read_hello;

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let pieces: Vec<&[u8]> = bytes.chunks(usize::from(size).max(1)).collect();
    let name = read_hello(&pieces);
    // How the bytes are cut is nothing to the name.
    assert_eq!(read_hello(&[bytes]).is_some(), name.is_some());
});
