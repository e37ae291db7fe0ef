//! Names of repositories, and patterns for them, by the grammar of the OCI distribution specification ("Pulling
//! manifests"). Knows nothing of registries: `docker.io/` is no part of a name.

use std::fmt;
use std::str::FromStr;

/// The longest name that registries take.
pub const MAX_REPOSITORY: usize = 255;

/// The name of a repository: lower-case segments, `/` between them, at most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository(Box<str>);

/// Why a text is no name of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepositoryFault {
    /// Nothing is there, or nothing between two `/`.
    #[error("an empty part of a repository's name")]
    Empty,
    /// More than 255 bytes.
    #[error("a repository's name longer than {MAX_REPOSITORY} bytes")]
    TooLong,
    /// Letters that no repository has.
    #[error("upper-case letters, which no repository's name has")]
    UpperCase,
    /// A part that is not letters and digits with one `.`, one or two `_` or any number of `-` between them.
    #[error("a repository's name is lower-case letters and digits, with `.`, `_`, `__` or `-` between them")]
    Malformed,
}

/// Which repositories are meant: `prom/*`, `mycompany/**`. A `*` stands for any characters of one segment, `**` for any
/// number of segments, none among them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryPattern(Box<str>);

impl Repository {
    /// Reads a name.
    ///
    /// # Errors
    /// What is not one.
    pub fn parse(text: &str) -> Result<Self, RepositoryFault> {
        if text.len() > MAX_REPOSITORY {
            return Err(RepositoryFault::TooLong);
        }
        text.split('/').try_for_each(check_segment)?;
        Ok(Self(text.into()))
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its parts; at least one.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        self.0.split('/')
    }

    /// The first segment of two or more: whose repository it is. `None`: nobody's, as on registries without accounts.
    pub fn namespace(&self) -> Option<&str> {
        self.0.split_once('/').map(|(namespace, _)| namespace)
    }
}

impl RepositoryPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// A pattern that could match no repository.
    pub fn parse(text: &str) -> Result<Self, RepositoryFault> {
        if text.len() > MAX_REPOSITORY {
            return Err(RepositoryFault::TooLong);
        }
        text.split('/').try_for_each(check_pattern_segment)?;
        Ok(Self(text.into()))
    }

    /// The pattern that means one repository.
    pub fn of(repository: &Repository) -> Self {
        Self(repository.0.clone())
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The one repository that it means, if it has no `*`.
    pub fn exact(&self) -> Option<&str> {
        (!self.0.contains('*')).then_some(&*self.0)
    }

    /// The number of segments of every repository it matches; `None`: it has a `**`.
    pub fn depth(&self) -> Option<usize> {
        let segments = self.0.split('/');
        segments.clone().all(|segment| segment != ANY_SEGMENTS).then(|| segments.count())
    }

    /// Whether it means this repository. Takes at most the product of both lengths in steps.
    pub fn matches(&self, repository: &Repository) -> bool {
        let matches = |own: &str, other: &str| matches_segment(own.as_bytes(), other.as_bytes());
        wildcard_match(self.0.split('/'), repository.segments(), |own| own == ANY_SEGMENTS, matches)
    }
}

/// Matches a sequence against one in which some items stand for any number of others. The last such item alone is ever
/// tried again, which is enough: what an earlier one takes is a shortest prefix already.
fn wildcard_match<P: Copy, T: Copy>(
    mut pattern: impl Iterator<Item = P> + Clone,
    mut text: impl Iterator<Item = T> + Clone,
    is_any: impl Fn(P) -> bool,
    matches: impl Fn(P, T) -> bool,
) -> bool {
    let mut retry = None;
    loop {
        let here = text.clone();
        match (pattern.next(), text.next()) {
            (Some(item), _) if is_any(item) => {
                retry = Some((pattern.clone(), here.clone()));
                text = here;
            }
            (None, None) => return true,
            (Some(item), Some(other)) if matches(item, other) => {}
            (_, None) => return false,
            (_, Some(_)) => {
                let Some((after, mut taken)) = retry else { return false };
                taken.next();
                (pattern, text) = (after.clone(), taken.clone());
                retry = Some((after, taken));
            }
        }
    }
}

fn matches_segment(pattern: &[u8], segment: &[u8]) -> bool {
    wildcard_match(pattern.iter().copied(), segment.iter().copied(), |own| own == b'*', |own, other| own == other)
}

fn check_segment(segment: &str) -> Result<(), RepositoryFault> {
    if segment.is_empty() {
        return Err(RepositoryFault::Empty);
    }
    if segment.contains(|c: char| c.is_ascii_uppercase()) {
        return Err(RepositoryFault::UpperCase);
    }
    let ends_well = segment.starts_with(is_alphanumeric) && segment.ends_with(is_alphanumeric);
    if ends_well && segment.split(is_alphanumeric).all(is_separator) { Ok(()) } else { Err(RepositoryFault::Malformed) }
}

/// What a `*` leaves over of a segment must be a part of one.
fn check_pattern_segment(segment: &str) -> Result<(), RepositoryFault> {
    if segment == ANY_SEGMENTS {
        return Ok(());
    }
    if !segment.contains('*') {
        return check_segment(segment);
    }
    if segment.contains(|c: char| c.is_ascii_uppercase()) {
        return Err(RepositoryFault::UpperCase);
    }
    let ends_well = !segment.starts_with(['.', '_', '-']) && !segment.ends_with(['.', '_', '-']);
    let between = |part: &str| part.split(is_alphanumeric).all(is_separator);
    if ends_well && !segment.contains(ANY_SEGMENTS) && segment.split('*').all(between) {
        Ok(())
    } else {
        Err(RepositoryFault::Malformed)
    }
}

fn is_alphanumeric(character: char) -> bool {
    character.is_ascii_lowercase() || character.is_ascii_digit()
}

/// What may stand between two letters: nothing, one `.`, one or two `_`, any number of `-`.
fn is_separator(run: &str) -> bool {
    matches!(run, "." | "_" | "__") || run.bytes().all(|byte| byte == b'-')
}

impl FromStr for Repository {
    type Err = RepositoryFault;

    fn from_str(text: &str) -> Result<Self, RepositoryFault> {
        Self::parse(text)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RepositoryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The segment that stands for any number of segments.
const ANY_SEGMENTS: &str = "**";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn repository(text: &str) -> Repository {
        text.parse().unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    fn pattern(text: &str) -> RepositoryPattern {
        RepositoryPattern::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    #[test]
    fn a_name_has_segments_of_letters_and_digits_with_single_separators() {
        for text in ["a", "library/nginx", "a/b/c/d", "a.b", "a_b", "a__b", "a-b", "a---b", "0", "a1.b2-c3__d4/x"] {
            assert_eq!(repository(text).as_str(), text);
        }
        for (text, fault) in [
            ("", RepositoryFault::Empty),
            ("/a", RepositoryFault::Empty),
            ("a/", RepositoryFault::Empty),
            ("a//b", RepositoryFault::Empty),
            ("Foo/bar", RepositoryFault::UpperCase),
            ("a..b", RepositoryFault::Malformed),
            (".", RepositoryFault::Malformed),
            ("..", RepositoryFault::Malformed),
            ("a/../b", RepositoryFault::Malformed),
            ("a___b", RepositoryFault::Malformed),
            ("a._b", RepositoryFault::Malformed),
            ("-a", RepositoryFault::Malformed),
            ("a-", RepositoryFault::Malformed),
            ("a%2fb", RepositoryFault::Malformed),
            ("a b", RepositoryFault::Malformed),
            ("a:b", RepositoryFault::Malformed),
            ("é", RepositoryFault::Malformed),
            ("a\0", RepositoryFault::Malformed),
        ] {
            assert_eq!(Repository::parse(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn a_name_has_255_bytes_at_most() {
        assert!(Repository::parse(&"a".repeat(255)).is_ok());
        assert_eq!(Repository::parse(&"a".repeat(256)), Err(RepositoryFault::TooLong));
    }

    #[test]
    fn the_namespace_is_the_first_of_several_segments() {
        for (text, namespace) in [("nginx", None), ("library/nginx", Some("library")), ("a/b/c", Some("a"))] {
            assert_eq!(repository(text).namespace(), namespace);
        }
    }

    #[test]
    fn a_star_stays_within_its_segment_and_two_stand_for_segments() {
        for (text, matching, others) in [
            ("prom/prometheus", &["prom/prometheus"][..], &["prom/prometheus2", "prom", "x/prom/prometheus"][..]),
            ("prom/*", &["prom/a", "prom/b-c"], &["prom", "prom/a/b", "x/prom/a", "promx/a"]),
            ("prom/exp-*", &["prom/exp-1"], &["prom/exp", "prom/exp/1"]),
            ("*", &["nginx"], &["library/nginx"]),
            ("*/*", &["a/b"], &["a", "a/b/c"]),
            ("a*b", &["ab", "axb", "abab"], &["abc", "xab"]),
            ("a*-*b", &["a-b", "ax-yb", "a-b-b"], &["ab", "a-bc"]),
            ("mycompany/**", &["mycompany", "mycompany/a", "mycompany/a/b"], &["mycompanyx/a", "x/mycompany/a"]),
            ("**", &["a", "a/b"], &[]),
            ("**/nginx", &["nginx", "a/nginx", "a/b/nginx"], &["nginx/a", "anginx"]),
            ("a/**/b", &["a/b", "a/x/b", "a/b/b"], &["a", "a/b/c", "b"]),
            ("a/**/b/**/c", &["a/b/c", "a/b/x/b/c"], &["a/c", "a/c/b"]),
        ] {
            for name in matching {
                assert!(pattern(text).matches(&repository(name)), "{text} {name}");
            }
            for name in others {
                assert!(!pattern(text).matches(&repository(name)), "{text} {name}");
            }
        }
    }

    #[test]
    fn a_pattern_that_can_match_nothing_is_refused() {
        for text in [
            "",
            "a//b",
            "/a",
            "a/",
            "A/*",
            "a***",
            "a**",
            "***",
            "a/b**",
            "foo:latest",
            "a/-*",
            "a..*",
            "a b",
            "*.",
            "https://a/b",
            "a@b",
        ] {
            assert!(RepositoryPattern::parse(text).is_err(), "{text}");
        }
        assert!(RepositoryPattern::parse(&"a".repeat(256)).is_err());
    }

    #[test]
    fn a_pattern_knows_what_it_names_and_how_deep() {
        assert_eq!((pattern("a/b").exact(), pattern("a/*").exact()), (Some("a/b"), None));
        assert_eq!((pattern("a/*").depth(), pattern("a/**").depth()), (Some(2), None));
    }

    #[test]
    fn many_stars_take_no_time_to_fail() {
        let stars = pattern(&["*a"; 100].concat());
        assert!(!stars.matches(&repository(&"a".repeat(255).replace("aaa", "aab"))));
    }

    /// The same law, without a thought for speed.
    fn naive<T: PartialEq>(
        pattern: &[T],
        text: &[T],
        is_any: &dyn Fn(&T) -> bool,
        eq: &dyn Fn(&T, &T) -> bool,
    ) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((any, rest)), _) if is_any(any) => {
                (0..=text.len()).any(|taken| naive(rest, &text[taken..], is_any, eq))
            }
            (Some((own, rest)), Some((other, left))) => eq(own, other) && naive(rest, left, is_any, eq),
            _ => false,
        }
    }

    fn naive_matches(pattern: &str, name: &str) -> bool {
        let segment = |own: &&str, other: &&str| {
            let (own, other): (Vec<char>, Vec<char>) = (own.chars().collect(), other.chars().collect());
            naive(&own, &other, &|c| *c == '*', &|a, b| a == b)
        };
        let (own, other): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), name.split('/').collect());
        naive(&own, &other, &|segment| *segment == "**", &segment)
    }

    /// Names by the specification's own regular expression, read by proptest.
    fn names() -> impl Strategy<Value = String> {
        let segment = "[ab0]{1,2}((\\.|_|__|-{1,3})[ab0]{1,2}){0,2}";
        prop::string::string_regex(&format!("{segment}(/{segment}){{0,3}}")).expect("a regular expression")
    }

    proptest! {
        #[test]
        fn patterns_match_as_the_plain_definition_says(
            pattern in "(\\*\\*|[ab*]{1,4})(/(\\*\\*|[ab*]{1,4})){0,3}", name in "[ab]{1,4}(/[ab]{1,4}){0,3}"
        ) {
            if let Ok(read) = RepositoryPattern::parse(&pattern) {
                prop_assert_eq!(read.matches(&repository(&name)), naive_matches(&pattern, &name));
            }
        }

        #[test]
        fn what_the_grammar_makes_is_a_name(name in names()) {
            prop_assert_eq!(Repository::parse(&name).map(|name| name.to_string()), Ok(name.clone()));
            prop_assert!(pattern(&name).matches(&repository(&name)));
        }

        #[test]
        fn arbitrary_text_is_a_name_of_good_segments_or_refused(text in "[a-z/._%A-]{0,12}|\\PC{0,20}") {
            if let Ok(name) = Repository::parse(&text) {
                prop_assert!(name.segments().all(|segment| !segment.is_empty() && !segment.contains("..")));
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/._-".contains(&byte)));
            }
            let _ = RepositoryPattern::parse(&text);
        }
    }
}
