//! Counts of what a busy thread decides without regard to whom and which name: one line of a processor's cache for each
//! decision, which is next to all that counting costs.

use super::{Carrier, Facts, NONE, Wanted};
use crate::event::Decision;
use crate::policy::reason::Reason;

/// Counts by facts, all of decisions by one policy. A decision's place is in the set that its facts say, and if that is
/// full nowhere. Takes no memory until there is one.
#[derive(Debug, Default)]
pub(super) struct Various(Vec<Set>);

/// As many places as a line of the cache holds; those in use come first.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Set([Place; 4]);

#[derive(Clone, Copy, Debug)]
struct Place {
    facts: Facts,
    /// 0: it is free.
    count: u32,
}

impl Various {
    /// Counts one decision, if there is room.
    pub(super) fn add(&mut self, facts: &Facts) -> bool {
        if self.0.is_empty() {
            self.0.resize(1 << SET_BITS, FREE);
        }
        let Set(places) = &mut self.0[set(facts)];
        let Some(place) = places.iter_mut().find(|place| place.count == 0 || place.facts == *facts) else {
            return false;
        };
        *place = Place { facts: *facts, count: place.count.saturating_add(1) };
        true
    }

    /// The facts that were counted, and how often each.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Facts, u32)> {
        let places = self.0.iter().flat_map(|Set(places)| places);
        places.filter(|place| place.count > 0).map(|place| (&place.facts, place.count))
    }

    pub(super) fn clear(&mut self) {
        self.0.fill(FREE);
    }
}

/// Fibonacci hashing (Knuth, The Art of Computer Programming, volume 3, 6.4): the upper bits of a product.
fn set(facts: &Facts) -> usize {
    let Facts { group, rule, reason, wanted, .. } = *facts;
    let mixed = rule ^ group.rotate_right(16) ^ (reason as u32) << 28 ^ (wanted as u32) << 24;
    (mixed.wrapping_mul(0x9e37_79b9) >> (32 - SET_BITS)) as usize
}

/// 4,096 places, for some thousand rules that are busy within a second: 64 kB.
const SET_BITS: u32 = 10;
const FREE: Set = Set([Place {
    facts: Facts {
        group: NONE,
        rule: NONE,
        decision: Decision::Deny,
        reason: Reason::Unlisted,
        wanted: Wanted::Other,
        carrier: Carrier::Udp,
    },
    count: 0,
}; 4]);

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn facts(group: u32, rule: u32) -> Facts {
        let Place { facts, .. } = FREE.0[0];
        Facts { group, rule, decision: Decision::Allow, ..facts }
    }

    proptest! {
        /// The places against a map.
        #[test]
        fn what_has_a_place_is_counted_as_in_a_map(asked in prop::collection::vec((0u32..4, 0u32..4000), 0..9000)) {
            let (mut various, mut expected) = (Various::default(), HashMap::new());
            for (group, rule) in asked {
                if various.add(&facts(group, rule)) {
                    *expected.entry((group, rule)).or_default() += 1;
                }
            }
            let counted: HashMap<_, _> = various.iter().map(|(facts, count)| ((facts.group, facts.rule), count)).collect();
            prop_assert_eq!(counted, expected);
            various.clear();
            prop_assert_eq!(various.iter().count(), 0);
        }
    }

    #[test]
    fn a_place_is_not_given_to_another_and_a_full_set_takes_no_more() {
        let mut various = Various::default();
        let of_one_set: Vec<_> = (0..).map(|rule| facts(0, rule)).filter(|it| set(it) == 7).take(5).collect();
        assert_eq!(of_one_set.iter().map(|it| various.add(it)).collect::<Vec<_>>(), [true, true, true, true, false]);
        assert!(various.add(&of_one_set[2]));
        assert_eq!(various.iter().map(|(_, count)| count).collect::<Vec<_>>(), [1, 1, 2, 1]);
    }

    #[test]
    fn a_set_is_as_long_as_a_line_of_a_processors_cache() {
        assert_eq!(size_of::<Set>(), 64);
    }
}
