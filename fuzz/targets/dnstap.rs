//! Any bytes as what a reader of dnstap may answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullgate::observe::dnstap::frame::{Control, MAX_CONTROL, control_length};

fuzz_target!(|bytes: &[u8]| {
    if let Some((head, body)) = bytes.split_first_chunk()
        && let Ok(length) = control_length(*head)
    {
        assert!(length <= MAX_CONTROL);
        let _ = Control::read(&body[..length.min(body.len())]);
    }
    if let Ok(control) = Control::read(bytes) {
        let written = control.to_bytes();
        let read = Control::read(&written[8..]);
        assert!(read == Ok(control) || control == Control::Accept { takes_dnstap: false });
    }
});
