//! Whose settings a target changes, where they stand in a home folder.

use std::path::PathBuf;

use crate::inspect::setup::SetupFault;

/// The option for it.
#[derive(Debug, clap::Args)]
pub(super) struct Home {
    /// The home folder of the user whose settings these are [default: yours; with sudo, root's]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
}

impl Home {
    /// The folder.
    pub(super) fn folder(&self) -> Result<PathBuf, SetupFault> {
        let known = self.home.clone().or_else(std::env::home_dir).filter(|home| home.is_absolute());
        known.ok_or_else(|| SetupFault::new("whose home folder is meant is not known").hint("name it with --home"))
    }
}
