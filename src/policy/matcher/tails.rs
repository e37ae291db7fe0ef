//! Names as the matcher takes them: cut into tails, and hashed from right to left in one pass.

use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;

use foldhash::quality::RandomState;

use super::rule::Strategy;
use crate::name::NameRef;
use crate::policy::pattern::is_host_label;

/// A name with what all matchers want to know of it, found out once: where each of its tails begins, and their hashes.
pub struct Tails<'n> {
    wire: &'n [u8],
    starts: [u8; MAX_DEPTH + 1],
    /// By the number of labels. Deeper tails, which next to no rule has, are hashed when they are asked for.
    hashes: [u64; HASHED + 1],
    /// How many labels there are.
    pub(in crate::policy) labels: usize,
}

/// How many labels the keys of a matcher have, and some bits of their hashes: few other tails are looked up.
#[derive(Clone, Debug)]
pub(super) struct Depths {
    /// For each number of labels whether there are keys, and whether only for whole names.
    keys: [Option<Strictness>; MAX_DEPTH + 1],
    sieves: [Sieve; HASHED + 1],
    /// One more than the deepest has.
    end: usize,
}

/// Lets the hashes through that were put in, and few others as long as those are few: a thousand bits, of which each sets
/// one. Of the names that nothing lists, most differ from all keys within the bits that stay in a processor's nearest cache.
#[derive(Clone, Copy, Debug, Default)]
struct Sieve([u64; 16]);

/// Whether a key is of use within a longer name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strictness {
    WholeNames,
    Tails,
}

impl<'n> Tails<'n> {
    /// Cuts and hashes a name.
    pub fn of(name: NameRef<'n>) -> Self {
        Self::of_wire(name.as_wire())
    }

    /// The same for the valid name that `wire` begins with: labels and the root label, at most 255 bytes.
    pub(in crate::policy) fn of_wire(wire: &'n [u8]) -> Self {
        let mut tails = Self::unhashed(wire);
        let mut hasher = hasher();
        tails.hashes[0] = hasher.finish();
        for depth in 1..=tails.labels.min(HASHED) {
            hasher.write(tails.label(tails.labels - depth));
            tails.hashes[depth] = hasher.finish();
        }
        tails
    }

    fn unhashed(wire: &'n [u8]) -> Self {
        let mut tails = Self { wire, starts: [0; MAX_DEPTH + 1], hashes: [0; HASHED + 1], labels: 0 };
        let mut at = 0;
        while wire[at] > 0 {
            at += 1 + usize::from(wire[at]);
            tails.labels += 1;
            tails.starts[tails.labels] = u8::try_from(at).expect("a name has at most 255 bytes");
        }
        tails.wire = &wire[..=at];
        tails
    }

    /// The hash of the last `depth` labels.
    pub(in crate::policy) fn hash(&self, depth: usize) -> u64 {
        self.hashes.get(depth).copied().unwrap_or_else(|| hash_name(self.tail(depth)))
    }

    /// The last `depth` labels and the root label.
    pub(in crate::policy) fn tail(&self, depth: usize) -> &'n [u8] {
        &self.wire[usize::from(self.start(depth))..]
    }

    /// Where the last `depth` labels begin.
    pub(in crate::policy) fn start(&self, depth: usize) -> u8 {
        self.starts[self.labels - depth]
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

/// The hash of a whole name, as that of a tail is reckoned: label by label from the right.
pub(in crate::policy) fn hash_name(wire: &[u8]) -> u64 {
    let tails = Tails::unhashed(wire);
    let mut hasher = hasher();
    (0..tails.labels).rev().for_each(|index| hasher.write(tails.label(index)));
    hasher.finish()
}

/// Keyed, with a key that every start of the process chooses anew.
fn hasher() -> impl Hasher {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::default);
    KEY.build_hasher()
}

impl Depths {
    /// Notes that `strategy` has this key.
    pub(super) fn insert(&mut self, key: &Tails<'_>, strategy: Strategy) {
        let depth = key.labels;
        if let Some(sieve) = self.sieves.get_mut(depth) {
            sieve.insert(key.hash(depth));
        }
        let known = &mut self.keys[depth];
        if strategy != Strategy::Exact {
            *known = Some(Strictness::Tails);
        }
        known.get_or_insert(Strictness::WholeNames);
        self.end = self.end.max(depth + 1);
    }

    /// The depths of a name at which there may be a key.
    pub(super) fn of(&self, name: &Tails<'_>) -> impl Iterator<Item = usize> {
        (0..self.end.min(name.labels + 1)).filter(|&depth| {
            let passes = self.sieves.get(depth).is_none_or(|sieve| sieve.passes(name.hash(depth)));
            passes && (self.keys[depth] == Some(Strictness::Tails) || depth == name.labels)
        })
    }
}

impl Sieve {
    fn insert(&mut self, hash: u64) {
        let (word, bit) = Self::place(hash);
        self.0[word] |= bit;
    }

    fn passes(&self, hash: u64) -> bool {
        let (word, bit) = Self::place(hash);
        self.0[word] & bit != 0
    }

    /// By bits that a table neither begins its search by nor compares.
    fn place(hash: u64) -> (usize, u64) {
        let [_tag, word, bit, ..] = hash.to_be_bytes();
        (usize::from(word % 16), 1 << (bit % 64))
    }
}

impl Default for Depths {
    fn default() -> Self {
        Self { keys: [None; MAX_DEPTH + 1], sieves: Default::default(), end: 0 }
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
/// Hosts of registries have three to six labels.
const HASHED: usize = 15;
