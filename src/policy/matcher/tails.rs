//! Names as the matcher takes them: cut into tails, and hashed from right to left in one pass.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;

use crate::name::NameRef;
use crate::policy::pattern::is_host_label;

/// Where each label of a name begins, and the root label.
pub(in crate::policy) struct Tails<'n> {
    wire: &'n [u8],
    starts: [u8; MAX_DEPTH + 1],
    /// How many labels there are.
    pub(super) labels: usize,
}

/// Hashes tails of names, with a key of its own.
#[derive(Clone, Debug, Default)]
pub(in crate::policy) struct Keys(RandomState);

/// How many labels the keys of an index have, as a set: a name has at most 127.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::policy) struct Depths(u128);

impl<'n> Tails<'n> {
    pub(in crate::policy) fn of(name: NameRef<'n>) -> Self {
        Self::of_wire(name.as_wire())
    }

    /// `wire` is a valid name: labels and the root label, at most 255 bytes.
    pub(super) fn of_wire(wire: &'n [u8]) -> Self {
        let mut tails = Self { wire, starts: [0; MAX_DEPTH + 1], labels: 0 };
        let mut at = 0;
        while wire[at] > 0 {
            at += 1 + usize::from(wire[at]);
            tails.labels += 1;
            tails.starts[tails.labels] = u8::try_from(at).expect("a name has at most 255 bytes");
        }
        tails
    }

    /// The last `depth` labels and the root label.
    pub(super) fn tail(&self, depth: usize) -> &'n [u8] {
        &self.wire[usize::from(self.starts[self.labels - depth])..]
    }

    /// The label at `index`, counted from the left, without its length.
    pub(super) fn label(&self, index: usize) -> &'n [u8] {
        &self.wire[usize::from(self.starts[index]) + 1..usize::from(self.starts[index + 1])]
    }

    /// Whether a wildcard may stand for the first `count` labels.
    pub(super) fn are_host_labels(&self, count: usize) -> bool {
        (0..count).all(|index| is_host_label(self.label(index)))
    }
}

impl Keys {
    /// Calls `tail` with the number of labels and the hash of each tail of a name, up to `deepest` labels.
    pub(super) fn roll(&self, tails: &Tails<'_>, deepest: usize, mut tail: impl FnMut(usize, u64)) {
        let mut hasher = self.0.build_hasher();
        tail(0, hasher.finish());
        for depth in 1..=tails.labels.min(deepest) {
            hasher.write(tails.label(tails.labels - depth));
            tail(depth, hasher.finish());
        }
    }

    /// The hash of a whole name, as [`Keys::roll`] reckons it.
    pub(in crate::policy) fn hash(&self, wire: &[u8]) -> u64 {
        let tails = Tails::of_wire(wire);
        let mut hasher = self.0.build_hasher();
        (0..tails.labels).rev().for_each(|index| hasher.write(tails.label(index)));
        hasher.finish()
    }
}

impl Depths {
    pub(in crate::policy) fn insert(&mut self, depth: usize) {
        self.0 |= 1 << depth;
    }

    pub(in crate::policy) fn has(self, depth: usize) -> bool {
        self.0 & (1 << depth) != 0
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn deepest(self) -> usize {
        (u128::BITS - self.0.leading_zeros()).saturating_sub(1) as usize
    }
}

/// The bytes of the name at the start of `bytes`, its root label included.
pub(in crate::policy) fn wire_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while bytes[at] > 0 {
        at += 1 + usize::from(bytes[at]);
    }
    at + 1
}

/// A name of 255 bytes has at most 127 labels.
const MAX_DEPTH: usize = 127;
