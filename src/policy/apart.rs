//! Clients whose mode an overlay sets apart from their group's: in all else they stay what the policy files say.
//!
//! Such a client's group is the group as it is written, under a number of its own: the number says the mode as well.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use crate::diagnostic::Place;
use crate::policy::document::{Mode, Unlisted};
use crate::policy::snapshot::Group;

/// The clients that are set apart.
#[derive(Debug, Default)]
pub(super) struct Apart {
    modes: BTreeMap<IpAddr, Mode>,
    /// Stands for the group of those who are in none.
    stand_in: Option<Group>,
}

impl Apart {
    /// Sets clients apart, by their canonical addresses.
    pub(super) fn new(modes: BTreeMap<IpAddr, Mode>) -> Self {
        let stand_in = (!modes.is_empty()).then(|| Group {
            name: String::new(),
            mode: Mode::default(),
            unlisted: Unlisted::Deny,
            clients: Box::default(),
            listen: Box::default(),
            place: Place { path: Arc::from(Path::new("")), line: 1, column: 1 },
        });
        Self { modes, stand_in }
    }

    /// All of them, with their modes.
    pub(super) fn modes(&self) -> &BTreeMap<IpAddr, Mode> {
        &self.modes
    }

    /// The number for a client of `group`.
    pub(super) fn number(&self, client: IpAddr, group: Option<u32>) -> Option<u32> {
        if self.modes.is_empty() {
            return group;
        }
        let Some(mode) = self.modes.get(&client.to_canonical()) else { return group };
        let flag = match mode {
            Mode::Audit => AUDITED,
            Mode::Enforce => ENFORCED,
        };
        Some(group.unwrap_or(NONE) | flag)
    }

    pub(super) fn stand_in(&self) -> Option<&Group> {
        self.stand_in.as_ref()
    }
}

/// The number of the group as it is written; `None`: none.
pub(super) fn written(number: Option<u32>) -> Option<u32> {
    number.map(|number| number & NONE).filter(|number| *number != NONE)
}

/// The mode that a number says, if it is that of a client set apart.
pub(super) fn mode(number: u32) -> Option<Mode> {
    match (number & AUDITED != 0, number & ENFORCED != 0) {
        (true, _) => Some(Mode::Audit),
        (false, true) => Some(Mode::Enforce),
        (false, false) => None,
    }
}

const AUDITED: u32 = 1 << 31;
const ENFORCED: u32 = 1 << 30;
/// The number of no group: there are fewer than bytes of policy, and of those no more than fit a thousandth of this.
const NONE: u32 = ENFORCED - 1;
