//! Any text as what a name server says to the probe: what is understood is written again as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullgate::policy::probe::Standing;

fuzz_target!(|text: &str| {
    if let Some(standing) = Standing::parse(text) {
        let again = standing.to_string();
        assert_eq!(Standing::parse(&again), Some(standing), "{again:?}");
    }
});
