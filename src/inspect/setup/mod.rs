//! `setup`: what to put where on a machine so that its clients ask pullgate, and how to take it back.

mod plan;
pub mod redirect;

pub use self::plan::{Change, Command, Plan, Request, SetupFault};
