//! Any text as what a browser calls the page's server: an address, a name that reads again as the same, or nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullgate::control::page::Called;

fuzz_target!(|text: &str| match Called::parse(text) {
    Some(Called::Name(name)) => {
        let shown = name.to_string();
        assert!(!shown.contains([':', '@', '/', '\\', ' ']), "{shown}");
        assert_eq!(Called::parse(&format!("{shown}:8053")), Some(Called::Name(name)), "{shown}");
        let host = text.split(':').next().unwrap_or_default();
        assert!(host.trim_end_matches('.').eq_ignore_ascii_case(shown.trim_end_matches('.')), "{text:?} {shown}");
    }
    Some(Called::Address(address)) => {
        assert_eq!(address, address.to_canonical());
        let shown = std::net::SocketAddr::new(address, 8053).to_string();
        assert_eq!(Called::parse(&shown), Some(Called::Address(address)), "{shown}");
    }
    None => {}
});
