//! One rule as a record of the arena: a fixed header, then its labels as the wire carries them.

use std::fmt;

use super::tails::{Tails, wire_length};
use crate::name::MAX_NAME;
use crate::policy::document::DataPath;
use crate::policy::pattern::{LabelPattern, Pattern, Reach};

/// What a rule belongs to and where it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The entry's number.
    pub entry: u32,
    /// The file's number.
    pub path: u16,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1; columns beyond 65535 are kept as 65535.
    pub column: u16,
    /// How what the rule allows is reached.
    pub data_path: DataPath,
}

/// A rule of a matcher.
#[derive(Clone, Copy)]
pub struct Rule<'m> {
    pub(super) arena: &'m [u8],
    pub(super) offset: u32,
}

/// How a rule is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    Exact,
    Suffix,
    Glob,
}

impl<'m> Rule<'m> {
    /// The entry's number.
    pub fn entry(self) -> u32 {
        u32::from_le_bytes(self.field(ENTRY))
    }

    /// Whether it matches one name only.
    pub fn is_exact(self) -> bool {
        self.strategy() == Strategy::Exact
    }

    /// How many of its labels are written out.
    pub fn literal_labels(self) -> u8 {
        self.record()[LITERALS]
    }

    /// What it belongs to and where it is written.
    pub fn tag(self) -> Tag {
        Tag {
            entry: self.entry(),
            path: u16::from_le_bytes(self.field(PATH)),
            line: u32::from_le_bytes(self.field(LINE)),
            column: u16::from_le_bytes(self.field(COLUMN)),
            data_path: self.data_path(),
        }
    }

    /// How what it allows is reached.
    pub fn data_path(self) -> DataPath {
        match self.record()[DATA_PATH] {
            path if path == DataPath::Pass as u8 => DataPath::Pass,
            path if path == DataPath::Inspect as u8 => DataPath::Inspect,
            _ => DataPath::Direct,
        }
    }

    /// What it matches beside its own labels.
    pub fn reach(self) -> Reach {
        match self.record()[REACH] {
            reach if reach == Reach::Below as u8 => Reach::Below,
            reach if reach == Reach::Subtree as u8 => Reach::Subtree,
            _ => Reach::Exact,
        }
    }

    /// Its place in the arena: a number for the rule, greater than those of the rules added before it.
    pub fn offset(self) -> u32 {
        self.offset
    }

    /// Its labels on the wire, those with a `*` as they are written.
    pub(in crate::policy) fn wire(self) -> &'m [u8] {
        let text = &self.record()[HEADER..];
        &text[..wire_length(text)]
    }

    /// The literal labels that end it, on the wire; more of the arena follows.
    pub(in crate::policy) fn key(self) -> &'m [u8] {
        let record = self.record();
        &record[HEADER + usize::from(record[HEAD])..]
    }

    /// Where the literal labels that end it stand in the arena.
    pub(in crate::policy) fn key_offset(self) -> u32 {
        length(&self.arena[..self.offset as usize + HEADER]) + u32::from(self.record()[HEAD])
    }

    /// Whether some of its labels hold a `*`.
    pub(in crate::policy) fn is_glob(self) -> bool {
        self.strategy() == Strategy::Glob
    }

    pub(super) fn strategy(self) -> Strategy {
        Strategy::of(self.reach(), self.record()[HEAD])
    }

    fn record(self) -> &'m [u8] {
        &self.arena[self.offset as usize..]
    }

    fn field<const N: usize>(self, at: usize) -> [u8; N] {
        *self.record()[at..].first_chunk().expect("a header is as long as its fields")
    }

    pub(super) fn next(self) -> Option<Self> {
        let offset = u32::from_le_bytes(self.field(NEXT));
        (offset != 0).then_some(Self { arena: self.arena, offset })
    }

    pub(super) fn size(self) -> u32 {
        length(self.wire()) + length(&[0; HEADER])
    }

    /// Whether it matches a name of which its key is the last `depth` labels.
    pub(super) fn matches(self, name: &Tails<'_>, depth: usize) -> bool {
        let below = name.labels - depth;
        match self.strategy() {
            Strategy::Exact => below == 0,
            Strategy::Suffix => self.reaches(below) && name.are_host_labels(below),
            Strategy::Glob => self.head_matches(name, depth),
        }
    }

    /// Whether it matches only names below this one, of which its key is the last `depth` labels.
    pub(super) fn continues(self, name: &Tails<'_>, depth: usize) -> bool {
        match self.strategy() {
            Strategy::Exact => false,
            Strategy::Suffix => depth == name.labels && self.reach() == Reach::Below,
            Strategy::Glob => self.head_continues(name, depth),
        }
    }

    /// Whether it may match a name with `below` labels more than it has.
    fn reaches(self, below: usize) -> bool {
        match self.reach() {
            Reach::Exact => below == 0,
            Reach::Below => below > 0,
            Reach::Subtree => true,
        }
    }

    /// The labels in front of the key, leftmost first.
    fn head(self) -> impl Iterator<Item = LabelPattern<'m>> + Clone {
        let record = self.record();
        let mut rest = &record[HEADER..HEADER + usize::from(record[HEAD])];
        std::iter::from_fn(move || {
            let (&length, after) = rest.split_first()?;
            let (label, after) = after.split_at(usize::from(length));
            rest = after;
            Some(if label.contains(&b'*') { LabelPattern::Glob(label) } else { LabelPattern::Literal(label) })
        })
    }

    /// Whether the labels in front of the key match those of a name that ends in it.
    fn head_matches(self, tails: &Tails<'_>, depth: usize) -> bool {
        let Some(below) = (tails.labels - depth).checked_sub(self.head().count()) else { return false };
        let labels = (below..).map(|index| tails.label(index));
        self.reaches(below)
            && tails.are_host_labels(below)
            && self.head().zip(labels).all(|(own, label)| own.matches(label))
    }

    /// Whether a name that ends in the key has the last labels of the head, but not all that it takes to match.
    fn head_continues(self, tails: &Tails<'_>, depth: usize) -> bool {
        let (own, present) = (self.head().count(), tails.labels - depth);
        let incomplete = present < own || (present == own && self.reach() == Reach::Below);
        let labels = (0..present).map(|index| tails.label(index));
        incomplete && self.head().skip(own - present.min(own)).zip(labels).all(|(own, label)| own.matches(label))
    }
}

impl fmt::Display for Rule<'_> {
    /// The pattern's canonical text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reach() {
            Reach::Exact => "",
            Reach::Below => "*.",
            Reach::Subtree => ".",
        })?;
        let mut rest = self.wire();
        let mut separator = "";
        while let Some((&length @ 1.., after)) = rest.split_first() {
            let (label, after) = after.split_at(usize::from(length));
            write!(f, "{separator}{}", label.escape_ascii())?;
            (rest, separator) = (after, ".");
        }
        Ok(())
    }
}

impl fmt::Debug for Rule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rule({self}, {:?})", self.tag())
    }
}

impl Strategy {
    fn of(reach: Reach, head: u8) -> Self {
        match (reach, head) {
            (_, 1..) => Self::Glob,
            (Reach::Exact, 0) => Self::Exact,
            (Reach::Below | Reach::Subtree, 0) => Self::Suffix,
        }
    }
}

/// Appends a record.
pub(in crate::policy) fn push_rule(arena: &mut Vec<u8>, pattern: &Pattern, tag: Tag) {
    let start = arena.len();
    arena.extend_from_slice(&[0; HEADER]);
    let (head, literals) = push_labels(arena, pattern);
    let header = &mut arena[start..start + HEADER];
    header[ENTRY..][..4].copy_from_slice(&tag.entry.to_le_bytes());
    header[LINE..][..4].copy_from_slice(&tag.line.to_le_bytes());
    header[COLUMN..][..2].copy_from_slice(&tag.column.to_le_bytes());
    header[PATH..][..2].copy_from_slice(&tag.path.to_le_bytes());
    header[REACH] = pattern.reach() as u8;
    header[HEAD] = head;
    header[LITERALS] = literals;
    header[DATA_PATH] = tag.data_path as u8;
}

/// Notes in the record at `offset` that `older` is the next one with the same key.
pub(in crate::policy) fn link(arena: &mut [u8], offset: u32, older: u32) {
    arena[offset as usize + NEXT..][..4].copy_from_slice(&older.to_le_bytes());
}

/// Appends a pattern's labels and the root label; how many bytes stand in front of the key, and how many labels are literal.
fn push_labels(arena: &mut Vec<u8>, pattern: &Pattern) -> (u8, u8) {
    let start = arena.len();
    let (mut head, mut literals) = (0, 0);
    for label in pattern.labels() {
        let (LabelPattern::Literal(text) | LabelPattern::Glob(text)) = label;
        arena.push(u8::try_from(text.len()).expect("a label has at most 63 bytes"));
        arena.extend_from_slice(text);
        match label {
            LabelPattern::Literal(_) => literals += 1,
            LabelPattern::Glob(_) => head = arena.len() - start,
        }
    }
    arena.push(0);
    (u8::try_from(head).expect("a pattern has at most 255 bytes"), literals)
}

/// A length within the arena: [`Builder::add`] keeps it below 4 GiB.
pub(super) fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("the arena is shorter than 4 GiB")
}

// A record: the offset of the next older rule with the same key, the tag, the shape, then the labels.
const NEXT: usize = 0;
const ENTRY: usize = 4;
const LINE: usize = 8;
const COLUMN: usize = 12;
const PATH: usize = 14;
const REACH: usize = 16;
const HEAD: usize = 17;
const LITERALS: usize = 18;
const DATA_PATH: usize = 19;
const HEADER: usize = 20;

/// The longest record.
pub(in crate::policy) const MAX_RECORD: usize = HEADER + MAX_NAME;
