//! One host name or wildcard of a policy: the grammar, what it matches, and what is refused with which hint.
//!
//! | written | matches |
//! |---|---|
//! | `ghcr.io` | that name |
//! | `*.example.com` | one or more labels below, not `example.com` |
//! | `.example.com` | `example.com` and everything below |
//! | `*-docker.pkg.dev` | `*` inside a label: one or more characters, never a dot |
//!
//! A label that a wildcard stands for holds only letters, digits, `-` and `_`; a label with any other byte never matches.
//! Who may hold names under a suffix is [`super::shared_suffix`]'s business.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::shared_suffix;
use crate::name::{DomainName, MAX_LABEL, NameRef};

/// A host name, or a set of them. Valid by construction; equal patterns are written alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    reach: Reach,
    /// The labels with dots between, lower-case, without the `*.` or `.` in front. One string, since a policy may hold a
    /// million of them.
    labels: Box<str>,
}

/// What a pattern matches beside its own labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// Nothing else.
    Exact,
    /// `*.x`: one or more labels below `x`, not `x` itself.
    Below,
    /// `.x`: `x` and everything below.
    Subtree,
}

/// One label of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelPattern<'a> {
    /// This label.
    Literal(&'a [u8]),
    /// At least one `*`, never two in a row; each stands for one or more of `[a-z0-9_-]`.
    Glob(&'a [u8]),
}

/// A pattern read from text that may have been Unicode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The pattern.
    pub pattern: Pattern,
    /// Whether the text held characters outside ASCII, so that the pattern (its A-labels, RFC 5890) reads otherwise.
    pub converted: bool,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatternFault {
    /// What was seen.
    pub message: String,
    /// What would do.
    pub hint: String,
}

impl Pattern {
    /// Reads a pattern; case and a trailing dot do not matter, Unicode becomes A-labels.
    ///
    /// # Errors
    /// What is no host name or wildcard: URLs, ports, paths, addresses, `*`, `**`, broken labels.
    pub fn parse(text: &str) -> Result<Self, PatternFault> {
        Self::parse_unicode(text).map(|parsed| parsed.pattern)
    }

    /// The same, and whether the text had to be converted to A-labels.
    ///
    /// # Errors
    /// As [`Pattern::parse`].
    pub fn parse_unicode(text: &str) -> Result<Parsed, PatternFault> {
        refuse_other_things(text)?;
        if text.is_ascii() {
            return Ok(Parsed { pattern: Self::parse_ascii(&text.to_ascii_lowercase())?, converted: false });
        }
        refuse_globs_beside_unicode(text)?;
        let ascii = idna::domain_to_ascii(text).map_err(|_| {
            fault(format!("`{text}` is not a valid internationalised name"), "write its A-label form, `xn--…`")
        })?;
        refuse_other_things(&ascii)?;
        Ok(Parsed { pattern: Self::parse_ascii(&ascii)?, converted: true })
    }

    fn parse_ascii(text: &str) -> Result<Self, PatternFault> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.len() > MAX_TEXT {
            return Err(fault(format!("a name of {} characters", text.len()), "a host name has at most 253"));
        }
        let (reach, labels) = if let Some(base) = text.strip_prefix("*.") {
            (Reach::Below, base)
        } else if let Some(base) = text.strip_prefix('.') {
            (Reach::Subtree, base)
        } else {
            (Reach::Exact, text)
        };
        labels.split('.').try_for_each(|label| check_label(label, text))?;
        let last = labels.rsplit('.').next().unwrap_or(labels);
        if last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(fault(format!("`{text}` ends in a number, as addresses do"), ADDRESS_HINT));
        }
        if last.contains('*') {
            return Err(fault(
                format!("`{text}` leaves its top-level domain open"),
                "a `*` needs a domain after it: write `*.example.com`",
            ));
        }
        let pattern = Self { reach, labels: labels.into() };
        shared_suffix::refusal(&pattern).map_or(Ok(pattern), Err)
    }

    /// What it matches beside its own labels.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// Its labels, leftmost first, without the `*.` or `.` of its reach.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = LabelPattern<'_>> {
        self.text_labels().map(LabelPattern::of)
    }

    /// The same as text.
    pub(super) fn text_labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.labels.split('.')
    }

    /// Whether it matches `name`: label by label, the plain way. The matcher of a snapshot is tested against this.
    pub fn matches(&self, name: NameRef<'_>) -> bool {
        let name: Vec<&[u8]> = name.labels().collect();
        let own: Vec<LabelPattern<'_>> = self.labels().collect();
        let Some(below) = name.len().checked_sub(own.len()) else { return false };
        let reached = match self.reach {
            Reach::Exact => below == 0,
            Reach::Below => below > 0,
            Reach::Subtree => true,
        };
        let (above, tail) = name.split_at(below);
        reached
            && above.iter().all(|label| is_host_label(label))
            && own.iter().zip(tail).all(|(own, label)| own.matches(label))
    }

    /// The one name it matches; `None` for wildcards.
    pub fn exact(&self) -> Option<DomainName> {
        self.single()?.parse().ok()
    }

    /// The same as text.
    pub(super) fn single(&self) -> Option<&str> {
        (self.reach == Reach::Exact && !self.labels.contains('*')).then_some(&*self.labels)
    }

    /// How many of its labels are written out: of two patterns that match, the one with more is the tighter.
    pub fn literal_labels(&self) -> usize {
        self.labels().filter(|label| matches!(label, LabelPattern::Literal(_))).count()
    }
}

impl<'a> LabelPattern<'a> {
    /// A label of pattern text.
    pub(super) fn of(text: &'a str) -> Self {
        if text.contains('*') { Self::Glob(text.as_bytes()) } else { Self::Literal(text.as_bytes()) }
    }

    /// Whether it matches a lower-case label.
    pub fn matches(self, label: &[u8]) -> bool {
        match self {
            Self::Literal(text) => text == label,
            Self::Glob(glob) => is_host_label(label) && glob_matches(glob, label),
        }
    }
}

/// Whether a label may stand where a wildcard is: letters, digits, `-` and `_` only.
pub fn is_host_label(label: &[u8]) -> bool {
    label.iter().all(|&byte| is_host_byte(byte))
}

/// Looked up, since every byte of most allowed names is asked about.
fn is_host_byte(byte: u8) -> bool {
    const HOST_BYTES: [bool; 256] = {
        let mut is_host = [false; 256];
        let mut byte = 0_u8;
        while byte < u8::MAX {
            is_host[byte as usize] = byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
            byte += 1;
        }
        is_host
    };
    HOST_BYTES[usize::from(byte)]
}

/// Whether `label` is `glob` with one or more bytes for each `*`. On a mismatch only the last `*` is tried longer, which
/// is enough since a shorter match of an earlier one leaves the later ones more room: quadratic at worst.
fn glob_matches(glob: &[u8], label: &[u8]) -> bool {
    let (mut at, mut taken) = (0, 0);
    let mut last_star = None;
    while taken < label.len() {
        match glob.get(at) {
            Some(b'*') => {
                last_star = Some((at, taken));
                at += 1;
                taken += 1;
            }
            Some(&byte) if byte == label[taken] => {
                at += 1;
                taken += 1;
            }
            _ => {
                let Some((star, from)) = last_star else { return false };
                last_star = Some((star, from + 1));
                at = star + 1;
                taken = from + 2;
                if taken > label.len() {
                    return false;
                }
            }
        }
    }
    at == glob.len()
}

impl fmt::Display for Pattern {
    /// The canonical text; it reads back as the same pattern.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reach {
            Reach::Exact => "",
            Reach::Below => "*.",
            Reach::Subtree => ".",
        })?;
        f.write_str(&self.labels)
    }
}

impl FromStr for Pattern {
    type Err = PatternFault;

    fn from_str(text: &str) -> Result<Self, PatternFault> {
        Self::parse(text)
    }
}

fn fault(message: impl Into<String>, hint: impl Into<String>) -> PatternFault {
    PatternFault { message: message.into(), hint: hint.into() }
}

/// Refuses what people write where a host name belongs: nothing, URLs, paths, ports, addresses, bare stars.
fn refuse_other_things(text: &str) -> Result<(), PatternFault> {
    match text {
        "" => return Err(fault("an empty name", "write a host name such as `ghcr.io`")),
        "." | "*" | "*." => return Err(fault(format!("`{text}` stands for every name"), EVERY_NAME_HINT)),
        _ => {}
    }
    if text.contains("**") {
        let one = text.replace("**", "*");
        return Err(fault(
            "`**` has no meaning here",
            format!("`*.` already reaches all depths: {}", write_hint(&one)),
        ));
    }
    if text.parse::<IpNet>().is_ok() {
        return Err(fault(format!("`{text}` is an address range, not a name"), ADDRESS_HINT));
    }
    if is_address(text) {
        return Err(fault(format!("`{text}` is an address, not a name"), ADDRESS_HINT));
    }
    if let Some((_, rest)) = text.split_once("://") {
        return Err(fault(format!("`{text}` is a URL"), format!("a host name, not a URL: {}", write_hint(rest))));
    }
    if text.contains('/') {
        return Err(fault(format!("`{text}` has a path"), format!("DNS cannot see paths: {}", write_hint(text))));
    }
    if let Some((_, port)) = text.rsplit_once(':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(fault(format!("`{text}` has a port"), format!("DNS has no ports: {}", write_hint(text))));
    }
    Ok(())
}

/// Whether `text` is an address, with or without brackets and a port.
fn is_address(text: &str) -> bool {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok() || text.parse::<std::net::SocketAddr>().is_ok()
}

/// "write `host`" with the host that a URL, path or port was written around.
fn write_hint(text: &str) -> String {
    let authority = text.split(['/', '?', '#']).next().unwrap_or("");
    let host = authority.rsplit('@').next().unwrap_or("");
    let host = host.split(':').next().unwrap_or("");
    match Pattern::parse_ascii(&host.to_ascii_lowercase()) {
        Ok(pattern) => format!("write `{pattern}`"),
        Err(_) => "write the host name alone, such as `ghcr.io`".to_owned(),
    }
}

/// A label is encoded as a whole, so that a `*` in an internationalised one would stand for nothing that is on the wire.
fn refuse_globs_beside_unicode(text: &str) -> Result<(), PatternFault> {
    match text.split(FULL_STOPS).find(|label| label.contains(['*', '＊']) && !label.is_ascii()) {
        None => Ok(()),
        Some(label) => Err(fault(
            format!("a `*` beside characters outside ASCII in `{label}`"),
            "such a label is encoded as a whole: write the names out, or let `*` stand for the whole label",
        )),
    }
}

fn check_label(label: &str, text: &str) -> Result<(), PatternFault> {
    if label.is_empty() {
        return Err(fault(format!("an empty label in `{text}`"), "write the labels with one dot between"));
    }
    if label.len() > MAX_LABEL {
        return Err(fault(format!("a label of {} characters", label.len()), "a label has at most 63"));
    }
    match label.chars().find(|&c| c != '*' && !u8::try_from(c).is_ok_and(is_host_byte)) {
        None => Ok(()),
        Some(bad) => Err(fault(
            format!("`{}` cannot be in a host name", bad.escape_debug()),
            "letters, digits, `-`, `_`, dots, and `*` as a wildcard",
        )),
    }
}

/// 255 bytes on the wire are 253 characters with dots (RFC 1035 §2.3.4).
const MAX_TEXT: usize = 253;
/// What separates labels (RFC 3490 §3.1).
const FULL_STOPS: [char; 4] = ['.', '。', '．', '｡'];
const ADDRESS_HINT: &str = "a policy names hosts; clients that connect to an address never ask for a name";
const EVERY_NAME_HINT: &str =
    "to try a policy out use `mode = \"audit\"`; to deny only other registries use `unlisted = \"forward\"` in a group";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(name.parse::<DomainName>().unwrap().as_name())
    }

    #[test]
    fn patterns_match_what_the_grammar_says() {
        for (pattern, name) in [
            ("ghcr.io", "ghcr.io"),
            ("GHCR.io.", "ghcr.IO"),
            ("*.example.com", "a.example.com"),
            ("*.example.com", "a.b.example.com"),
            (".example.com", "example.com"),
            (".example.com", "a.b.example.com"),
            ("*-docker.pkg.dev", "europe-west1-docker.pkg.dev"),
            (
                "prod-*-starport-layer-bucket.s3.*.amazonaws.com",
                "prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com",
            ),
            ("*.s3.*.amazonaws.com", "a.b.s3.eu-west-1.amazonaws.com"),
            ("_ldap._tcp.dc._msdcs.ad.example", "_ldap._tcp.dc._msdcs.ad.example"),
            ("a*b*c.io", "axbbxc.io"),
            ("a*a.io", "aaaa.io"),
            (".10.in-addr.arpa", "4.3.2.10.in-addr.arpa"),
        ] {
            assert!(matches(pattern, name), "{pattern} should match {name}");
        }
    }

    #[test]
    fn patterns_match_nothing_else() {
        for (pattern, name) in [
            ("ghcr.io", "a.ghcr.io"),
            ("ghcr.io", "io"),
            ("ghcr.io", "."),
            ("*.example.com", "example.com"),
            ("*.example.com", "a.xexample.com"),
            (".example.com", "xexample.com"),
            ("*-docker.pkg.dev", "docker.pkg.dev"),
            ("*-docker.pkg.dev", "-docker.pkg.dev"),
            ("*-docker.pkg.dev", "a.b-docker.pkg.dev"),
            ("*-docker.pkg.dev", r"a\.b-docker.pkg.dev"),
            ("s3.*.amazonaws.com", "s3.a.b.amazonaws.com"),
            ("a*b*c.io", "abc.io"),
            ("a*a.io", "aa.io"),
            ("*.example.com", r"a\000b.example.com"),
            (".example.com", r"ok\.example.com"),
        ] {
            assert!(!matches(pattern, name), "{pattern} should not match {name}");
        }
    }

    #[test]
    fn what_is_no_host_name_is_refused_with_a_hint() {
        for (text, hint) in [
            ("", "write a host name such as `ghcr.io`"),
            ("https://ghcr.io", "a host name, not a URL: write `ghcr.io`"),
            ("https://user@GHCR.io:443/v2/", "a host name, not a URL: write `ghcr.io`"),
            ("docker://ghcr.io/org/image:tag", "a host name, not a URL: write `ghcr.io`"),
            ("https://", "a host name, not a URL: write the host name alone, such as `ghcr.io`"),
            ("ghcr.io:443", "DNS has no ports: write `ghcr.io`"),
            ("ghcr.io/org", "DNS cannot see paths: write `ghcr.io`"),
            ("10.0.0.1", ADDRESS_HINT),
            ("10.0.0.1:5000", ADDRESS_HINT),
            ("[fd00::1]:5000", ADDRESS_HINT),
            ("fd00::1", ADDRESS_HINT),
            ("10.0.0.0/8", ADDRESS_HINT),
            ("1.2.3", ADDRESS_HINT),
            ("*", EVERY_NAME_HINT),
            (".", EVERY_NAME_HINT),
            ("**.example.com", "`*.` already reaches all depths: write `*.example.com`"),
            ("ghcr.*", "a `*` needs a domain after it: write `*.example.com`"),
            ("*.c*m", "a `*` needs a domain after it: write `*.example.com`"),
            ("*.*", "a `*` needs a domain after it: write `*.example.com`"),
            ("a..b", "write the labels with one dot between"),
            ("..example.com", "write the labels with one dot between"),
            ("gh cr.io", "letters, digits, `-`, `_`, dots, and `*` as a wildcard"),
            ("ghcr.io\0", "letters, digits, `-`, `_`, dots, and `*` as a wildcard"),
            (
                "bü*.example",
                "such a label is encoded as a whole: write the names out, or let `*` stand for the whole label",
            ),
        ] {
            assert_eq!(Pattern::parse(text).expect_err(text).hint, hint, "{text:?}");
        }
    }

    #[test]
    fn labels_and_names_have_their_longest_length() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert!(Pattern::parse(&longest).unwrap().exact().is_some());
        assert!(Pattern::parse(&format!("{longest}a")).is_err());
        assert!(Pattern::parse(&format!("{label}a.io")).is_err());
    }

    #[test]
    fn unicode_becomes_its_a_label_and_says_so() {
        let parsed = Pattern::parse_unicode("*.bücher.example").unwrap();
        assert_eq!((parsed.pattern.to_string().as_str(), parsed.converted), ("*.xn--bcher-kva.example", true));
        assert!(!Pattern::parse_unicode("xn--bcher-kva.example").unwrap().converted);
    }

    #[test]
    fn only_a_name_without_wildcards_is_exact() {
        assert!(Pattern::parse("ghcr.io").unwrap().exact().is_some());
        for wildcard in ["*.ghcr.io", ".ghcr.io", "gh*.io"] {
            assert_eq!(Pattern::parse(wildcard).unwrap().exact(), None);
        }
    }

    #[test]
    fn tighter_patterns_have_more_literal_labels() {
        assert_eq!(Pattern::parse("*.s3.*.amazonaws.com").unwrap().literal_labels(), 3);
    }

    /// The regular way to say the same: each `*` takes one byte, then tries every longer length.
    fn glob_matches_naively(glob: &[u8], label: &[u8]) -> bool {
        match glob {
            [] => label.is_empty(),
            [b'*', rest @ ..] => (1..=label.len()).any(|taken| glob_matches_naively(rest, &label[taken..])),
            [byte, rest @ ..] => label.first() == Some(byte) && glob_matches_naively(rest, &label[1..]),
        }
    }

    proptest! {
        #[test]
        fn globs_match_as_by_trying_every_length(glob in "[ab]{0,2}(\\*[ab]{1,2}){1,3}\\*?", label in "[ab]{1,10}") {
            prop_assert_eq!(glob_matches(glob.as_bytes(), label.as_bytes()), glob_matches_naively(glob.as_bytes(), label.as_bytes()));
        }

        #[test]
        fn a_pattern_reads_back_from_its_text(text in "(\\*\\.|\\.)?([a-zA-Z0-9_*-]{1,6}\\.){0,4}[a-z]{1,4}\\.?") {
            if let Ok(pattern) = Pattern::parse(&text) {
                prop_assert_eq!(Pattern::parse(&pattern.to_string()), Ok(pattern));
            }
        }

        #[test]
        fn arbitrary_text_never_panics_and_what_is_accepted_reads_back(text in "\\PC{0,40}") {
            if let Ok(pattern) = Pattern::parse(&text) {
                prop_assert_eq!(Pattern::parse(&pattern.to_string()), Ok(pattern));
            }
        }
    }
}
