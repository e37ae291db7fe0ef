//! Any method, path and query as a request to a registry: what goes on is read as what came.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullgate::gateway::fuzzing::read_request;

fuzz_target!(|input: (u8, &str, Option<&str>)| {
    let (method, path, query) = input;
    let method = METHODS[usize::from(method) % METHODS.len()];
    for path in [path.to_owned(), format!("/v2/{path}")] {
        if let Some((repository, target)) = read_request(method, &path, query) {
            let path = target.split('?').next().unwrap_or_default();
            assert!(path.starts_with(&format!("/v2/{repository}/")), "{target}");
            assert!(!path.contains("//") && !path.contains('%'), "{target}");
            assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{target}");
        }
    }
});

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
