//! Domain names as the wire carries them: length-prefixed labels, lower-cased, never text.
//!
//! Comparing labels instead of text is what keeps `ok.example\000.evil` from looking like a child of `ok.example`
//! (RFC 1035 §3.1 for the form, RFC 4343 for case). A name here is valid by construction: labels of 1 to 63 bytes,
//! at most 255 bytes with the root label that ends it, ASCII letters in lower case. Other bytes are kept as they are.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// The longest name, root label included (RFC 1035 §2.3.4).
pub const MAX_NAME: usize = 255;
/// The longest label (RFC 1035 §2.3.4).
pub const MAX_LABEL: usize = 63;

/// An owned name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DomainName(Box<[u8]>);

/// A borrowed name: the same bytes as a [`DomainName`] (or the tail of one), free to copy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameRef<'a>(&'a [u8]);

/// A name on the stack, as read from a question: no allocation on the path of a query.
#[derive(Clone, Copy)]
pub struct NameBuf {
    /// What follows the name means nothing.
    wire: [u8; ROOM],
    len: u8,
}

/// Why bytes or text are not a domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The input ended inside a label or before the root label.
    #[error("the name is cut short")]
    Truncated,
    /// Two dots in a row, or a leading dot.
    #[error("an empty label")]
    EmptyLabel,
    /// A label of more than 63 bytes, or a length byte that is a compression pointer.
    #[error("a label longer than 63 bytes")]
    LabelTooLong,
    /// More than 255 bytes in all.
    #[error("a name longer than 255 bytes")]
    NameTooLong,
    /// A `\` that is not followed by a character or by three digits up to 255 (RFC 1035 §5.1).
    #[error("a broken escape")]
    BrokenEscape,
}

impl DomainName {
    /// The root: `.`.
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// The name's bytes: labels and the root label.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// The same name, borrowed.
    pub fn as_name(&self) -> NameRef<'_> {
        NameRef(&self.0)
    }
}

impl<'a> NameRef<'a> {
    /// The name of bytes that were one before.
    pub(crate) fn of_valid(wire: &'a [u8]) -> Self {
        Self(wire)
    }

    /// The name's bytes: labels and the root label.
    pub fn as_wire(self) -> &'a [u8] {
        self.0
    }

    /// An owned copy.
    pub fn to_owned(self) -> DomainName {
        DomainName(self.0.into())
    }

    /// Whether this is `.`.
    pub fn is_root(self) -> bool {
        self.0 == [0]
    }

    /// The labels, leftmost first, without the root.
    pub fn labels(self) -> Labels<'a> {
        Labels(self.0)
    }

    /// The name without its leftmost label; `None` for the root.
    pub fn parent(self) -> Option<NameRef<'a>> {
        let length = usize::from(*self.0.first()?);
        (length > 0).then(|| NameRef(&self.0[1 + length..]))
    }

    /// This name, its parent, and so on up to the root, which is included.
    pub fn ancestors(self) -> impl Iterator<Item = NameRef<'a>> {
        std::iter::successors(Some(self), |name| name.parent())
    }

    /// Whether this name is `other` or lies below it; compared label by label.
    pub fn is_within(self, other: NameRef<'_>) -> bool {
        self.ancestors().any(|ancestor| ancestor == other)
    }
}

impl NameBuf {
    /// Reads an uncompressed name from the start of `bytes`, in lower case; what follows the root label is not looked at.
    ///
    /// # Errors
    /// A cut-off name, a label or name too long. A compression pointer counts as a label too long: questions have none.
    pub fn read(bytes: &[u8]) -> Result<Self, NameError> {
        let mut name = Self::default();
        name.fill(bytes)?;
        Ok(name)
    }

    /// The same into a name that is there already, whose contents are replaced; an error leaves it as it was.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn fill(&mut self, bytes: &[u8]) -> Result<NameRef<'_>, NameError> {
        let (length, len) = measure(bytes)?;
        self.wire[..length].copy_from_slice(&bytes[..length]);
        // The lengths of labels are below the letters, so they stay as they are. Whole blocks are done at once.
        let (blocks, _none) = self.wire.as_chunks_mut::<BLOCK>();
        blocks[..length.div_ceil(BLOCK)].iter_mut().for_each(|block| block.make_ascii_lowercase());
        self.len = len;
        Ok(NameRef(&self.wire[..length]))
    }

    /// The name, borrowed.
    pub fn as_name(&self) -> NameRef<'_> {
        NameRef(&self.wire[..usize::from(self.len)])
    }
}

impl Default for NameBuf {
    /// The root.
    fn default() -> Self {
        Self { wire: [0; ROOM], len: 1 }
    }
}

/// What a processor compares and changes at once.
const BLOCK: usize = 16;
/// A name of any length in whole blocks.
const ROOM: usize = MAX_NAME.next_multiple_of(BLOCK);

/// The length of the uncompressed name at the start of `bytes`, root label included.
fn measure(bytes: &[u8]) -> Result<(usize, u8), NameError> {
    let mut at = 0;
    loop {
        let length = usize::from(*bytes.get(at).ok_or(NameError::Truncated)?);
        if length > MAX_LABEL {
            return Err(NameError::LabelTooLong);
        }
        at += 1 + length;
        if length == 0 {
            return u8::try_from(at).map(|len| (at, len)).map_err(|_| NameError::NameTooLong);
        }
    }
}

impl FromStr for DomainName {
    type Err = NameError;

    /// Reads presentation form: labels with dots between, `\.` and `\DDD` escapes (RFC 1035 §5.1), a trailing dot
    /// allowed, `.` for the root. Letters become lower case; non-ASCII text is taken as its UTF-8 bytes.
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "." {
            return Ok(Self::root());
        }
        let mut wire = vec![0];
        let mut start = 0;
        let mut rest = text.as_bytes();
        loop {
            let (byte, after) = match rest {
                [] | [b'.'] => break,
                [b'.', after @ ..] => {
                    close_label(&mut wire, start)?;
                    start = wire.len();
                    wire.push(0);
                    rest = after;
                    continue;
                }
                [b'\\', after @ ..] => unescape(after)?,
                [byte, after @ ..] => (*byte, after),
            };
            wire.push(byte.to_ascii_lowercase());
            rest = after;
        }
        close_label(&mut wire, start)?;
        wire.push(0);
        if wire.len() > MAX_NAME {
            return Err(NameError::NameTooLong);
        }
        Ok(Self(wire.into_boxed_slice()))
    }
}

/// Writes the length of the label that began at `start`.
fn close_label(wire: &mut [u8], start: usize) -> Result<(), NameError> {
    match wire.len() - start - 1 {
        0 => Err(NameError::EmptyLabel),
        length if length > MAX_LABEL => Err(NameError::LabelTooLong),
        length => {
            wire[start] = u8::try_from(length).map_err(|_| NameError::LabelTooLong)?;
            Ok(())
        }
    }
}

/// The byte that the text after a `\` stands for, and what follows it.
fn unescape(text: &[u8]) -> Result<(u8, &[u8]), NameError> {
    match text {
        [a, b, c, rest @ ..] if a.is_ascii_digit() && b.is_ascii_digit() && c.is_ascii_digit() => {
            let value = [a, b, c].iter().fold(0u16, |value, digit| value * 10 + u16::from(*digit - b'0'));
            u8::try_from(value).map(|byte| (byte, rest)).map_err(|_| NameError::BrokenEscape)
        }
        [digit, ..] if digit.is_ascii_digit() => Err(NameError::BrokenEscape),
        [byte, rest @ ..] => Ok((*byte, rest)),
        [] => Err(NameError::BrokenEscape),
    }
}

impl Borrow<[u8]> for DomainName {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl Hash for DomainName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Display for NameRef<'_> {
    /// Presentation form without the trailing dot; every byte that is not printable ASCII, and every `.` or `\` inside
    /// a label, is escaped, so that no name can forge a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for (index, label) in self.labels().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            for &byte in label {
                match byte {
                    b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => write!(f, "\\{}", char::from(byte))?,
                    0x21..=0x7e => write!(f, "{}", char::from(byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_name().fmt(f)
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DomainName({self})")
    }
}

impl fmt::Debug for NameRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameRef({self})")
    }
}

impl fmt::Debug for NameBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameBuf({})", self.as_name())
    }
}

/// The labels of a name, leftmost first.
#[derive(Clone, Debug)]
pub struct Labels<'a>(&'a [u8]);

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&length, rest) = self.0.split_first()?;
        let (label, rest) = rest.split_at(usize::from(length));
        self.0 = rest;
        (length > 0).then_some(label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    #[test]
    fn case_and_a_trailing_dot_do_not_matter() {
        assert_eq!(name("GHCR.io."), name("ghcr.io"));
    }

    #[test]
    fn a_dot_inside_a_label_is_not_a_dot() {
        assert_ne!(name(r"a\.example"), name("a.example"));
        assert!(!name(r"a\.example.com").as_name().is_within(name("example.com").as_name()));
    }

    #[test]
    fn a_look_alike_is_not_within() {
        assert!(!name("xexample.com").as_name().is_within(name("example.com").as_name()));
        assert!(name("a.b.example.com").as_name().is_within(name("example.com").as_name()));
        assert!(name("example.com").as_name().is_within(name("example.com").as_name()));
        assert!(name("example.com").as_name().is_within(name(".").as_name()));
    }

    #[test]
    fn a_length_byte_inside_a_label_is_not_a_length() {
        assert!(!name(r"x\007example.com").as_name().is_within(name("example.com").as_name()));
    }

    #[test]
    fn broken_names_are_refused_each_with_its_reason() {
        for (text, error) in [
            ("", NameError::EmptyLabel),
            ("a..b", NameError::EmptyLabel),
            (".a", NameError::EmptyLabel),
            (r"a\", NameError::BrokenEscape),
            (r"a\25", NameError::BrokenEscape),
            (r"a\256", NameError::BrokenEscape),
            (&"a".repeat(64), NameError::LabelTooLong),
            (&vec!["a".repeat(63); 4].join("."), NameError::NameTooLong),
        ] {
            assert_eq!(text.parse::<DomainName>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn control_bytes_are_escaped_when_shown() {
        assert_eq!(name(r"a\010b\000.io").to_string(), r"a\010b\000.io");
    }

    #[test]
    fn a_compression_pointer_in_a_question_is_refused() {
        assert_eq!(NameBuf::read(&[0xc0, 0x0c]).unwrap_err(), NameError::LabelTooLong);
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_as_the_same_name(labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..8)) {
            let mut wire = Vec::new();
            for label in &labels {
                wire.push(u8::try_from(label.len()).unwrap());
                wire.extend_from_slice(label);
            }
            wire.push(0);
            let read = NameBuf::read(&wire).unwrap();
            prop_assert_eq!(read.as_name().to_string().parse::<DomainName>().unwrap(), read.as_name().to_owned());
        }

        #[test]
        fn reading_arbitrary_bytes_never_panics_and_yields_a_valid_name(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(read) = NameBuf::read(&bytes) {
                prop_assert!(read.as_name().as_wire().len() <= MAX_NAME);
                prop_assert!(read.as_name().labels().all(|label| (1..=MAX_LABEL).contains(&label.len())));
            }
        }
    }
}
