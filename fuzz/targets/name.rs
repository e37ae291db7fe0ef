//! Any bytes as a name on the wire, and as a name in text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullgate::name::{DomainName, MAX_LABEL, MAX_NAME, NameBuf};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(name) = NameBuf::read(bytes) {
        let name = name.as_name();
        assert!(name.as_wire().len() <= MAX_NAME);
        assert!(name.labels().all(|label| (1..=MAX_LABEL).contains(&label.len())));
        assert!(!name.as_wire().iter().any(u8::is_ascii_uppercase));
        let shown = name.to_string();
        assert!(shown.bytes().all(|byte| (0x21..=0x7e).contains(&byte)), "what is shown is printable: {shown:?}");
        assert_eq!(shown.parse::<DomainName>().as_ref().map(DomainName::as_name), Ok(name), "{shown}");
        assert!(name.ancestors().all(|ancestor| name.is_within(ancestor)));
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(name) = text.parse::<DomainName>()
    {
        assert_eq!(name.to_string().parse::<DomainName>(), Ok(name));
    }
});
