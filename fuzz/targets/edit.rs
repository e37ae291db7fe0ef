//! Any text as a settings file in which one key is set: what is written can be read again, holds the value, and stays as
//! it is when the same is set once more.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullgate::inspect::edit::yaml::Value;
use pullgate::inspect::edit::{ini, json, toml, yaml};

fuzz_target!(|text: &str| {
    for path in [&["dns"][..], &["network", "dns"]] {
        if let Ok(after) = json::set(text, path, SERVER.into()) {
            assert_eq!(json::read(&after, path), Ok(Some(SERVER.into())));
            assert_eq!(json::set(&after, path, SERVER.into()), Ok(after.clone()));
            let without = json::remove(&after, path).expect("it can be read");
            assert_eq!(json::read(&without, path), Ok(None));
        }
        if let Ok(after) = toml::set(text, path, SERVER) {
            let value = toml::read(&after, path).expect("it can be read");
            assert_eq!(value.as_ref().and_then(|value| value.as_str()), Some(SERVER));
            assert_eq!(toml::set(&after, path, SERVER), Ok(after));
        }
        for value in [Value::Text(SERVER.to_owned()), Value::Flag(false), Value::List(vec![SERVER.to_owned()])] {
            if let Ok(after) = yaml::set(text, path, &value) {
                assert_eq!(yaml::read(&after, path), Ok(Some(value.clone())));
                assert_eq!(yaml::set(&after, path, &value), Ok(after));
            }
        }
    }
    if let Ok(after) = ini::set(text, "network", "dns", SERVER) {
        assert_eq!(ini::read(&after, "network", "dns"), Ok(Some(SERVER)));
        assert_eq!(ini::set(&after, "network", "dns", SERVER), Ok(after.clone()));
    }
});

const SERVER: &str = "198.18.0.1";
