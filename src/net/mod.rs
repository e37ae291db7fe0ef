//! What servers of every kind share: sockets that are bound with a word on what is in the way, a bound on connections,
//! the word to stop, sockets that are watched for what comes, and numbers that only grow. Knows nothing of what the connections carry.

pub mod backoff;
pub mod bind;
pub mod connections;
pub mod counter;
mod port_owner;
pub mod stop;
pub(crate) mod watched;

pub use port_owner::PortOwner;
