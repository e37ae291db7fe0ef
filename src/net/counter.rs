//! Numbers that only grow, with their names and meanings.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Its value now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counter's name, meaning and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// In lower case with underscores.
    pub name: &'static str,
    /// What is counted.
    pub help: &'static str,
    /// How many so far.
    pub value: u64,
}

/// Makes a `Counters` of named [`Counter`]s, each with what it counts.
macro_rules! counters {
    ($($name:ident: $help:literal,)*) => {
        /// Everything that is counted here.
        #[derive(Debug, Default)]
        pub struct Counters {
            $(#[doc = $help] pub $name: $crate::net::counter::Counter,)*
        }

        impl Counters {
            /// All of them, each with its name and meaning.
            pub fn snapshot(&self) -> Vec<$crate::net::counter::Reading> {
                vec![$($crate::net::counter::Reading {
                    name: stringify!($name),
                    help: $help,
                    value: self.$name.value(),
                },)*]
            }
        }
    };
}

pub(crate) use counters;
