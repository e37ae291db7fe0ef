//! Any bytes as a certificate file of the authority's folder, as PEM and as DER: read, or refused; what is read is
//! written again as it was and can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullgate::gateway::authority::{CaCertificate, parse_pem};
use pullgate::name::DomainName;

fuzz_target!(|bytes: &[u8]| {
    let from_pem = parse_pem(bytes).unwrap_or_default();
    let from_der = CaCertificate::parse(bytes.to_vec().into()).ok();
    for certificate in from_pem.into_iter().chain(from_der) {
        assert!(!certificate.subject().contains(char::is_control));
        assert_eq!(parse_pem(certificate.to_pem().as_bytes()).as_deref(), Ok(&[certificate.clone()][..]));
        let _ = certificate.permits(DomainName::root().as_name());
        let subtrees = certificate.permitted().unwrap_or_default();
        assert!(subtrees.iter().all(|subtree| !subtree.to_string().is_empty()));
    }
});
