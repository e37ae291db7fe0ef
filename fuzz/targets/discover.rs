//! Any bytes as what a walk of a pull reads: the first one says what they are for: a challenge, a redirect, the body of an
//! answer, or what a user has written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullgate::inspect::discover::fuzzing::{reads_body, reads_challenge, reads_location, reads_settings};

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    match kind {
        b'c' => reads_challenge(&text),
        b'l' => reads_location(&text),
        b'b' => reads_body(rest),
        _ => reads_settings(&text),
    }
});
