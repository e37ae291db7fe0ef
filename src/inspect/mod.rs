//! What looks at a machine from outside the path of a query: `setup` puts pullgate in force there, `doctor` tells
//! whether it is, `discover` and `learn` find the names that a pull lacks.
//!
//! ```text
//! Machine ─read─▶ setup::TARGET::plan ─▶ Plan ─apply─▶ files, and a record of what they were ─undo─▶ files
//!         └────▶ doctor checks, answers of name servers ─▶ Report
//! ```
//!
//! Planning and judging are plain functions over what was read; only `setup::apply` writes.

pub mod discover;
pub mod doctor;
pub mod edit;
pub mod engine;
pub mod import;
pub mod learn;
pub mod lines;
pub mod machine;
pub mod setup;
pub mod trust;
