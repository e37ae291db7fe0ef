//! `setup`: what to put where on a machine so that its clients ask pullgate, and how to take it back.

pub mod buildkit;
pub mod ca;
pub mod colima;
pub mod containerd;
pub mod docker;
pub mod kubernetes;
pub mod libvirt;
pub mod lima;
pub mod networkmanager;
pub mod owner;
pub mod podman;
pub mod rancher_desktop;
pub mod redirect;
pub mod resolv_conf;
pub mod resolved;
pub mod wsl;

mod apply;
mod diff;
mod plan;
mod record;
pub(in crate::inspect) mod service;
mod standing;
mod start;
#[cfg(test)]
mod testing;

pub use self::apply::{Applied, ApplyFault, OnForeignChange, Undone, apply, undo};
pub use self::diff::diff;
pub use self::plan::{Change, Command, Plan, Request, SetupFault};
pub use self::record::folder as folder_of_records;
pub use self::standing::{Standing, standing};
