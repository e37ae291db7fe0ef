//! A hash table that is filled once and then only read: as large as its entries need, whatever their number.
//!
//! Open addressing with linear probing. Each place has eight bits of its entry's hash in an array of their own, eight of
//! which are compared at once; what they point to is for the caller to compare.

/// Entries by hash. Two entries may have the same.
#[derive(Clone, Debug)]
pub(in crate::policy) struct Table<T> {
    /// Of each place the tag of its entry, or [`EMPTY`]; at least a window of empty ones follows the last place.
    tags: Vec<u8>,
    places: Vec<T>,
    /// How many of the places, from the first, a search may begin at.
    homes: usize,
    len: usize,
}

impl<T: Copy + Default> Table<T> {
    /// A table for up to so many entries.
    pub(in crate::policy) fn with_room_for(entries: usize) -> Self {
        let homes = entries + entries / SPARE_PART;
        Self { tags: vec![EMPTY; homes + WINDOW], places: vec![T::default(); homes], homes, len: 0 }
    }

    /// The first entry with this hash that `is` accepts; it is asked about some with other hashes, too.
    pub(in crate::policy) fn find(&self, hash: u64, is: impl FnMut(T) -> bool) -> Option<T> {
        self.search(hash, is).ok().map(|place| self.places[place])
    }

    /// The same, to be changed into another entry with this hash.
    pub(super) fn find_mut(&mut self, hash: u64, is: impl FnMut(T) -> bool) -> Option<&mut T> {
        self.search(hash, is).ok().map(|place| &mut self.places[place])
    }

    /// Adds an entry.
    pub(in crate::policy) fn insert(&mut self, hash: u64, entry: T) {
        let Err(place) = self.search(hash, |_| false) else { return };
        if place == self.places.len() {
            self.append_place();
        }
        (self.tags[place], self.places[place]) = (tag(hash), entry);
        self.len += 1;
    }

    /// All entries, in no particular order.
    pub(in crate::policy) fn iter(&self) -> impl Iterator<Item = T> {
        self.places.iter().zip(&self.tags).filter(|&(_, &tag)| tag != EMPTY).map(|(&entry, _)| entry)
    }

    /// The same entries in about as much memory as they need; for a little less none is moved.
    pub(super) fn shrunk(self, hash: impl Fn(T) -> u64) -> Self {
        let needed = self.len + self.len / SPARE_PART;
        if self.homes <= needed + needed / SPARED_PART {
            return self;
        }
        let mut table = Self::with_room_for(self.len);
        self.iter().for_each(|entry| table.insert(hash(entry), entry));
        table
    }

    /// The bytes this takes, its own fields aside.
    pub(in crate::policy) fn memory(&self) -> usize {
        self.tags.capacity() + self.places.capacity() * size_of::<T>()
    }

    /// The place of the first entry that `is` accepts, else the empty one where it would be.
    fn search(&self, hash: u64, mut is: impl FnMut(T) -> bool) -> Result<usize, usize> {
        let pattern = u64::from(tag(hash)) * EACH_BYTE;
        let mut start = self.home(hash);
        loop {
            let window = self.window(start);
            let empty = zero_bytes(window);
            let mut alike = zero_bytes(window ^ pattern) & below_lowest(empty);
            while alike != 0 {
                let place = start + byte_index(alike);
                if is(self.places[place]) {
                    return Ok(place);
                }
                alike &= alike - 1;
            }
            if empty != 0 {
                return Err(start + byte_index(empty));
            }
            start += WINDOW;
        }
    }

    /// For an entry that finds all places from its home on taken.
    fn append_place(&mut self) {
        self.places.reserve_exact(1);
        self.tags.reserve_exact(1);
        self.places.push(T::default());
        self.tags.push(EMPTY);
    }

    /// Where a search begins: spread by the lower half of the hash, as the tag is of the upper one.
    fn home(&self, hash: u64) -> usize {
        let scaled = (hash & u64::from(u32::MAX)) * self.homes as u64;
        usize::try_from(scaled >> u32::BITS).unwrap_or_default()
    }

    fn window(&self, start: usize) -> u64 {
        u64::from_le_bytes(*self.tags[start..].first_chunk().expect("a window of empty places follows the last"))
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { tags: vec![EMPTY; WINDOW], places: Vec::new(), homes: 0, len: 0 }
    }
}

/// Any value but [`EMPTY`].
fn tag(hash: u64) -> u8 {
    hash.to_be_bytes()[0].max(EMPTY + 1)
}

/// The upper bit of each byte that is zero. Above the lowest of them a byte of 1 may count as well.
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(EACH_BYTE) & !word & (EACH_BYTE << 7)
}

/// The bits below the lowest one that is set; all, if none is.
fn below_lowest(bits: u64) -> u64 {
    bits.wrapping_sub(1) & !bits
}

fn byte_index(bits: u64) -> usize {
    bits.trailing_zeros() as usize / 8
}

const EMPTY: u8 = 0;
/// How many tags are compared at once: the bytes of a word.
const WINDOW: usize = size_of::<u64>();
const EACH_BYTE: u64 = 0x0101_0101_0101_0101;
/// For each so many entries there is one place more: four fifths of the places are taken.
const SPARE_PART: usize = 4;
/// A table that is larger by more than one in so many places is made anew.
const SPARED_PART: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Hashes that collide often: in their home, in their tag, altogether.
    fn hash() -> impl Strategy<Value = u64> {
        (any::<u8>(), 0u64..4).prop_map(|(tag, home)| u64::from(tag % 4) << 56 | home << 30)
    }

    proptest! {
        #[test]
        fn what_was_put_in_is_found_and_nothing_else(
            entries in prop::collection::vec((hash(), 1u32..100), 0..200),
            room in 0usize..250,
            asked in hash(),
        ) {
            let mut table = Table::with_room_for(room);
            for &(hash, entry) in &entries {
                table.insert(hash, (hash, entry));
            }
            for table in [table.clone(), table.shrunk(|(hash, _)| hash)] {
                let mut seen = Vec::new();
                prop_assert_eq!(table.find(asked, |entry| { seen.push(entry); false }), None);
                seen.retain(|(hash, _)| *hash == asked);
                let mut own: Vec<_> = entries.iter().copied().filter(|(hash, _)| *hash == asked).collect();
                seen.sort_unstable();
                own.sort_unstable();
                prop_assert_eq!(seen, own);
                let mut all: Vec<_> = table.iter().collect();
                all.sort_unstable();
                let mut put_in = entries.clone();
                put_in.sort_unstable();
                prop_assert_eq!(all, put_in);
            }
        }
    }

    #[test]
    fn a_table_takes_five_places_for_four_entries() {
        let mut table = Table::with_room_for(10_000);
        for entry in 1..=1000_u64 {
            table.insert(entry.wrapping_mul(0x9e37_79b9_7f4a_7c15), entry);
        }
        let table = table.shrunk(|entry| entry.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        assert!((1250 * 9..1300 * 9).contains(&table.memory()), "{}", table.memory());
        assert!(table.find(0x9e37_79b9_7f4a_7c15, |entry| entry == 1).is_some());
    }
}
