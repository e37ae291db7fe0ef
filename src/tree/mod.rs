//! A TOML or JSON file as one tree in which every key and value knows its place, and the walk that collects faults.
//!
//! Both forms are read by libraries that keep places; what is wrong goes into a [`Report`], and the walk goes on. A reader
//! takes the keys it knows out of a [`Table`], and whatever is left is unknown:
//!
//! ```
//! # use pullgate::{diagnostic::Source, tree::{self, Format, Report}};
//! let source = Source::new("a.toml", "nmae = \"ci\"");
//! let mut report = Report::new(&source);
//! let mut table = tree::parse(&source, Format::Toml, &mut report).unwrap();
//! let name = table.take("name").and_then(|node| node.text(&mut report));
//! table.finish(&mut report);
//! assert!(name.is_none());
//! assert_eq!(report.finish()[0].hint.as_deref(), Some("did you mean `name`?"));
//! ```

mod json;
mod report;
mod table;
mod toml;

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::time::SystemTime;

use crate::diagnostic::Source;

pub(crate) use json::STRICT as STRICT_JSON;
pub use report::Report;
pub use table::{Member, Table};

/// The bytes of a source that something was read from.
pub type Span = Range<usize>;

/// A value and the bytes of the file it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written<T> {
    /// The value.
    pub value: T,
    /// Its bytes in the source.
    pub span: Span,
}

/// The two ways to write a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// TOML 1.1.
    Toml,
    /// JSON (RFC 8259): no comments, no trailing commas.
    Json,
}

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Node<'s> {
    /// What it is.
    pub value: Value<'s>,
    /// Where it stands.
    pub span: Span,
}

/// What a node can be.
#[derive(Clone, Debug)]
pub enum Value<'s> {
    /// JSON only.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number of 64 bits.
    Integer(i64),
    /// Any other number; nothing here has a use for one.
    Number,
    /// Text.
    String(Cow<'s, str>),
    /// A TOML date or time, as written.
    Date(&'s str),
    /// A list.
    Array(Vec<Node<'s>>),
    /// Keys with values.
    Table(Table<'s>),
}

/// The largest file that is read. A million rules take about 30 MB.
pub const MAX_INPUT: usize = 64 << 20;

/// Reads the whole of `source`; `None` when nothing of it can be used, which is then in the report.
pub fn parse<'s>(source: &'s Source, format: Format, report: &mut Report<'_>) -> Option<Table<'s>> {
    if source.text().len() > MAX_INPUT {
        report.fault(0..0, format!("a file of {} bytes", source.text().len()), TOO_LARGE);
        return None;
    }
    match format {
        Format::Toml => Some(toml::parse(source.text(), report)),
        Format::Json => json::parse(source.text(), report),
    }
}

/// The candidate that `word` is most likely a slip of the pen for.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word = word.to_lowercase().replace('_', "-");
    let tolerance = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|&(distance, _)| distance <= tolerance)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

impl Format {
    /// The format of a file by its extension; `None` for others.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

impl<T> Written<T> {
    /// The same place with another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Written<U> {
        Written { value: f(self.value), span: self.span }
    }
}

impl<'s> Node<'s> {
    /// A string; anything else is a fault.
    pub fn text(self, report: &mut Report<'_>) -> Option<Written<Cow<'s, str>>> {
        match self.value {
            Value::String(value) => Some(Written { value, span: self.span }),
            _ => self.refuse("a string", report),
        }
    }

    /// A string for people to read; a control character in it is a fault, since it could forge a line of a log.
    pub fn prose(self, report: &mut Report<'_>) -> Option<Written<String>> {
        let text = self.text(report)?;
        if let Some(control) = text.value.chars().find(|c| c.is_control()) {
            let message = format!("a control character, `{}`", control.escape_default());
            report.fault(text.span, message, "write plain text on one line");
            return None;
        }
        Some(text.map(Cow::into_owned))
    }

    /// Prose that says something; empty strings and anything else are a fault.
    pub fn name(self, report: &mut Report<'_>) -> Option<Written<String>> {
        let text = self.prose(report)?;
        if text.value.trim().is_empty() {
            report.fault(text.span, "an empty string", "write a name, or leave the key out");
            return None;
        }
        Some(text)
    }

    /// A string that `read` understands; `read` says what is wrong and what would do.
    pub fn parsed<T>(
        self,
        report: &mut Report<'_>,
        read: impl FnOnce(&str) -> Result<T, (String, String)>,
    ) -> Option<Written<T>> {
        let text = self.text(report)?;
        match read(&text.value) {
            Ok(value) => Some(Written { value, span: text.span }),
            Err((message, hint)) => {
                report.fault(text.span, message, hint);
                None
            }
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(self, report: &mut Report<'_>, choices: &[(&str, T)]) -> Option<T> {
        let read = |text: &str| match choices.iter().find(|(word, _)| *word == text) {
            Some(&(_, value)) => Ok(value),
            None => Err((format!("unknown value `{text}`"), alternatives(text, choices.iter().map(|(word, _)| *word)))),
        };
        self.parsed(report, read).map(|written| written.value)
    }

    /// `true` or `false`.
    pub fn boolean(self, report: &mut Report<'_>) -> Option<bool> {
        match self.value {
            Value::Boolean(value) => Some(value),
            _ => self.refuse("`true` or `false`", report),
        }
    }

    /// A whole number within `range`.
    pub fn integer(self, report: &mut Report<'_>, range: std::ops::RangeInclusive<i64>) -> Option<Written<i64>> {
        match self.value {
            Value::Integer(value) if range.contains(&value) => Some(Written { value, span: self.span }),
            Value::Integer(value) => {
                let hint = format!("write a number from {} to {}", range.start(), range.end());
                report.fault(self.span, format!("{value} is out of range"), hint);
                None
            }
            _ => self.refuse("a whole number", report),
        }
    }

    /// A moment: a TOML date with its offset, or the same in a string (RFC 3339).
    pub fn moment(self, report: &mut Report<'_>) -> Option<Written<SystemTime>> {
        let text = match &self.value {
            Value::Date(text) => text,
            Value::String(text) => text.as_ref(),
            _ => return self.refuse("a date", report),
        };
        let Ok(moment) = text.parse::<jiff::Timestamp>() else {
            let message = format!("`{text}` is not a date with a time and an offset");
            report.fault(self.span, message, "write it as in `2027-01-31T00:00:00Z`");
            return None;
        };
        Some(Written { value: moment.into(), span: self.span })
    }

    /// Whether it is a list without items.
    pub fn is_empty_array(&self) -> bool {
        matches!(&self.value, Value::Array(items) if items.is_empty())
    }

    /// A list; anything else is a fault.
    pub fn array(self, report: &mut Report<'_>) -> Option<Vec<Self>> {
        match self.value {
            Value::Array(items) => Some(items),
            Value::String(text) => {
                report.fault(self.span, "expected an array, found a string", format!("write `[{text:?}]`"));
                None
            }
            _ => self.refuse("an array", report),
        }
    }

    /// A list whose every item `read` understands; the others are in the report already.
    pub fn list<T>(self, report: &mut Report<'_>, read: impl Fn(Self, &mut Report<'_>) -> Option<T>) -> Option<Vec<T>> {
        let items = self.array(report)?;
        let mut values = Vec::with_capacity(items.len());
        values.extend(items.into_iter().filter_map(|item| read(item, report)));
        Some(values)
    }

    /// Keys with values; anything else is a fault.
    pub fn table(self, report: &mut Report<'_>) -> Option<Table<'s>> {
        match self.value {
            Value::Table(table) => Some(table),
            _ => self.refuse("a table", report),
        }
    }

    fn refuse<T>(self, wanted: &str, report: &mut Report<'_>) -> Option<T> {
        let message = format!("expected {wanted}, found {}", self.value.kind());
        report.fault(self.span, message, format!("write {wanted}"));
        None
    }
}

impl Value<'_> {
    /// What people call it.
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "a boolean",
            Self::Integer(_) => "a whole number",
            Self::Number => "a number",
            Self::String(_) => "a string",
            Self::Date(_) => "a date",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
        }
    }
}

/// "did you mean" the nearest, or all there are.
pub fn alternatives<'c>(word: &str, choices: impl Iterator<Item = &'c str> + Clone) -> String {
    if let Some(choice) = nearest(word, choices.clone()) {
        return format!("did you mean `{choice}`?");
    }
    let all: Vec<String> = choices.map(|choice| format!("`{choice}`")).collect();
    format!("write one of {}", all.join(", "))
}

const TOO_LARGE: &str = "a file has at most 64 MiB: split it, or write wildcards instead of names";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Diagnostic;
    use proptest::prelude::*;

    /// Reads `text` as a table with the key `x`, and hands that to `read`.
    fn complaints(text: &str, read: impl FnOnce(Node<'_>, &mut Report<'_>) -> bool) -> Vec<(String, Option<String>)> {
        let source = Source::new("a.toml", text);
        let mut report = Report::new(&source);
        let mut table = parse(&source, Format::Toml, &mut report).unwrap();
        let understood = table.take("x").is_some_and(|node| read(node, &mut report));
        assert!(understood != report.has_faults() || text.contains('['), "a value or a fault");
        table.finish(&mut report);
        report.finish().into_iter().map(|found| (found.message, found.hint)).collect()
    }

    fn said(message: &str, hint: &str) -> Vec<(String, Option<String>)> {
        vec![(message.to_owned(), Some(hint.to_owned()))]
    }

    #[test]
    fn a_wrong_type_says_what_was_seen_and_what_would_do() {
        assert_eq!(
            complaints("x = 1", |node, report| node.text(report).is_some()),
            said("expected a string, found a whole number", "write a string")
        );
        assert_eq!(
            complaints("x = []", |node, report| node.text(report).is_some()),
            said("expected a string, found an array", "write a string")
        );
        assert_eq!(
            complaints("x = 1.5", |node, report| node.boolean(report).is_some()),
            said("expected `true` or `false`, found a number", "write `true` or `false`")
        );
        assert_eq!(
            complaints("x = 1979-05-27", |node, report| node.table(report).is_some()),
            said("expected a table, found a date", "write a table")
        );
        assert_eq!(
            complaints("x = \"ghcr.io\"", |node, report| node.list(report, Node::text).is_some()),
            said("expected an array, found a string", "write `[\"ghcr.io\"]`")
        );
    }

    #[test]
    fn every_wrong_item_of_a_list_is_reported() {
        assert_eq!(complaints("x = [1, \"a\", true]", |node, report| node.list(report, Node::text).is_some()).len(), 2);
    }

    #[test]
    fn numbers_have_a_range() {
        assert_eq!(
            complaints("x = 70_000", |node, report| node.integer(report, 0..=65535).is_some()),
            said("70000 is out of range", "write a number from 0 to 65535")
        );
        assert!(complaints("x = 0xff", |node, report| node.integer(report, 255..=255).is_some()).is_empty());
    }

    #[test]
    fn words_are_suggested_or_listed() {
        let choice = |node: Node<'_>, report: &mut Report<'_>| {
            let Value::String(text) = &node.value else { panic!("a string") };
            report.fault(node.span.clone(), "", alternatives(text, ["enforce", "audit"].into_iter()));
            false
        };
        assert_eq!(complaints("x = \"audti\"", choice), said("", "did you mean `audit`?"));
        assert_eq!(complaints("x = \"none\"", choice), said("", "write one of `enforce`, `audit`"));
    }

    #[test]
    fn moments_need_an_offset_and_may_be_dates_or_strings() {
        for good in
            ["2027-01-31T00:00:00Z", "\"2027-01-31T00:00:00+02:00\"", "2027-01-31 00:00:00Z", "1979-05-27t07:32:00.5z"]
        {
            assert_eq!(
                complaints(&format!("x = {good}"), |node, report| node.moment(report).is_some()),
                vec![],
                "{good}"
            );
        }
        for bad in ["2027-01-31", "2027-01-31T00:00:00", "07:32:00", "\"soon\""] {
            let hint = complaints(&format!("x = {bad}"), |node, report| node.moment(report).is_some()).remove(0).1;
            assert_eq!(hint.as_deref(), Some("write it as in `2027-01-31T00:00:00Z`"), "{bad}");
        }
    }

    fn places_of(text: &str, format: Format) -> Vec<Diagnostic> {
        let source = Source::new("a", text);
        let mut report = Report::new(&source);
        if let Some(table) = parse(&source, format, &mut report) {
            table.finish(&mut report);
        }
        report.finish()
    }

    #[test]
    fn deep_nesting_is_refused() {
        for (format, text) in [
            (Format::Toml, format!("x = {}{}", "[".repeat(10_000), "]".repeat(10_000))),
            (Format::Toml, format!("{}x = 1", "a.".repeat(10_000))),
            (Format::Toml, format!("x = {}", "{a=".repeat(10_000))),
            (Format::Json, format!("{{\"x\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000))),
            (Format::Json, "{\"x\":".repeat(10_000)),
        ] {
            assert!(places_of(&text, format).iter().any(Diagnostic::is_fault));
        }
    }

    #[test]
    fn a_file_that_is_too_large_is_refused() {
        let text = " ".repeat(MAX_INPUT + 1);
        assert_eq!(places_of(&text, Format::Toml)[0].hint.as_deref(), Some(TOO_LARGE));
    }

    #[test]
    fn json_is_strict() {
        for text in [
            "",
            "[]",
            "1",
            "null",
            "{\"a\": 1,}",
            "{\"a\": [1,]}",
            "{\"a\": 1} // x",
            "/* x */ {}",
            "{a: 1}",
            "{'a': 1}",
            "{\"a\": 0x1}",
            "{\"a\": 1 \"b\": 2}",
            "{\"a\": +1}",
            "{\"a\": .5}",
            "{\"a\": NaN}",
            "{} {}",
            "{\"a\": \"\\x41\"}",
            "{\"a\": \"\n\"}",
            "{\"a\": 01}",
            "{\"a\" 1}",
            "{\"a\": tru}",
            "{",
            "{\"a\": \"",
            "{\"a\": \"\\ud800\"}",
            "{,}",
            "{\"a\": \"b\"\"c\": 1}",
            "{\"a\": [1 2]}",
            "{\"a\": [,]}",
        ] {
            let source = Source::new("a", text);
            let mut report = Report::new(&source);
            parse(&source, Format::Json, &mut report);
            assert!(!report.finish().is_empty(), "{text}");
        }
    }

    #[test]
    fn a_key_written_twice_is_a_fault_in_both() {
        assert!(places_of("a = 1\na = 2", Format::Toml).iter().any(|found| found.message == "`a` is written twice"));
        let found = places_of("{\"a\": 1,\n \"a\": 2}", Format::Json);
        let twice = found.iter().find(|found| found.message == "`a` is written twice").unwrap();
        assert_eq!(twice.excerpt.as_ref().map(|at| (at.line, at.column)), Some((2, 2)));
    }

    #[test]
    fn a_long_list_is_read_without_copies() {
        let items: Vec<String> = (0..200_000).map(|index| format!("  \"host-{index}.example.com\",\n")).collect();
        let source = Source::new("a.toml", format!("x = [\n{}]\n", items.concat()));
        let mut report = Report::new(&source);
        let mut table = parse(&source, Format::Toml, &mut report).unwrap();
        let items = table.take("x").and_then(|node| node.array(&mut report)).unwrap();
        assert_eq!(items.len(), 200_000);
        assert!(matches!(items[0].value, Value::String(Cow::Borrowed(_))), "no copy of each");
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics_and_every_place_lies_in_the_file(text in "[\\PC\\n\\t\\[\\]{}=\",.:#a-c0-9]{0,200}") {
            let lines = text.lines().count().max(1) + 1;
            for format in [Format::Toml, Format::Json] {
                for found in places_of(&text, format) {
                    let at = found.excerpt.unwrap();
                    prop_assert!(at.line as usize <= lines && at.column as usize <= at.text.chars().count() + 2);
                }
            }
        }
    }
}
