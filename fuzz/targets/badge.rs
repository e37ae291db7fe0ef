//! Any bytes as an answer of the Hub's API about a namespace.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullgate::gateway::fuzzing::reads_badge;

fuzz_target!(|body: &[u8]| {
    reads_badge(body);
});
