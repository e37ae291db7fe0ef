//! The names that an authority is for: those that the policy has inspected, and those of the command line.

use crate::cli::compiled;
use crate::cli::failure::Failure;
use crate::cli::options::Loaded;
use crate::gateway::authority::{Constraint, SharedTail, constraints, inspected};
use crate::policy::pattern::Pattern;

/// What an authority is to be for.
pub(super) struct Names {
    /// The patterns of the policy, in file order.
    pub(super) inspected: Vec<Pattern>,
    /// The same and those of the command line, as certificates can say it.
    pub(super) constraints: Vec<Constraint>,
    /// Which of them reach names of strangers.
    pub(super) warnings: Vec<SharedTail>,
}

impl Names {
    /// Gathers them.
    ///
    /// # Errors
    /// The policy has faults; a name that is none.
    pub(super) fn of(loaded: &Loaded, given: &[String]) -> Result<Self, Failure> {
        let inspected = in_force(loaded)?;
        let given = given.iter().map(|text| Pattern::parse(text)).collect::<Result<Vec<_>, _>>();
        let given = given.map_err(|fault| Failure::Usage { message: fault.message, hint: Some(fault.hint) })?;
        let (constraints, warnings) = constraints(inspected.iter().chain(&given));
        Ok(Self { inspected, constraints, warnings })
    }
}

/// The names that the policy on disk has inspected.
pub(super) fn in_force(loaded: &Loaded) -> Result<Vec<Pattern>, Failure> {
    Ok(inspected(&compiled::from_settings(loaded)?.snapshot))
}
