//! The gateway: what stands between a client and a registry whose names are answered with this program's own address.
//! Knows nothing of DNS messages.

pub mod authority;
