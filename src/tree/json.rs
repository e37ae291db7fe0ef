//! JSON into a tree.

use std::borrow::Cow;
use std::collections::HashSet;

use jsonc_parser::ast::{Object, ObjectPropName, Value as Ast};
use jsonc_parser::common::{Range, Ranged};
use jsonc_parser::errors::ParseErrorKind;
use jsonc_parser::{CollectOptions, ParseOptions};

use super::{Member, Node, Report, Span, Table, Value};

/// Reads an object. Of syntax errors only the first is told, since the library stops there.
pub(super) fn parse<'s>(text: &'s str, report: &mut Report<'_>) -> Option<Table<'s>> {
    if text.starts_with(BYTE_ORDER_MARK) {
        let message = "a byte order mark, which JSON has not (RFC 8259 §8.1)";
        report.fault(0..BYTE_ORDER_MARK.len_utf8(), message, "save the file as UTF-8 without a byte order mark");
        return None;
    }
    let parsed = match jsonc_parser::parse_to_ast(text, &CollectOptions::default(), &STRICT) {
        Ok(parsed) => parsed,
        Err(error) => {
            let message = lower_first(&error.kind().to_string());
            report.broken(span_of(error.range()), message, hint(error.kind()));
            // The file is refused; what else is wrong in it is told as far as a forgiving reading gets.
            jsonc_parser::parse_to_ast(text, &CollectOptions::default(), &FORGIVING).ok()?
        }
    };
    let Some(value) = parsed.value else {
        report.fault(0..0, "an empty file", "write an object: `{\"version\": 1}`");
        return None;
    };
    node_from(value, report).table(report)
}

fn hint(kind: &ParseErrorKind) -> &'static str {
    match kind {
        ParseErrorKind::CommentsNotAllowed => "JSON has no comments: take it out, or write the file in TOML",
        ParseErrorKind::TrailingCommasNotAllowed => "JSON has no comma after the last item: take it out",
        _ => "expected JSON (RFC 8259)",
    }
}

fn table_from<'s>(object: Object<'s>, report: &mut Report<'_>) -> Table<'s> {
    let span = span_of(object.range);
    let mut seen = HashSet::new();
    let mut members = Vec::with_capacity(object.properties.len());
    for property in object.properties {
        let key_span = span_of(property.name.range());
        refuse_control_characters(&key_span, report);
        let key = match property.name {
            ObjectPropName::String(name) => name.value,
            ObjectPropName::Word(word) => Cow::Borrowed(word.value),
        };
        if !seen.insert(key.clone()) {
            report.fault(key_span.clone(), format!("`{key}` is written twice"), "keep one of them");
            continue;
        }
        members.push(Member { key, key_span, value: node_from(property.value, report) });
    }
    Table::new(members, span)
}

/// The recursion is as deep as the library's, which refuses more than 512 levels.
fn node_from<'s>(value: Ast<'s>, report: &mut Report<'_>) -> Node<'s> {
    let span = span_of(value.range());
    let value = match value {
        Ast::StringLit(text) => {
            refuse_control_characters(&span, report);
            Value::String(text.value)
        }
        Ast::NumberLit(number) => {
            refuse_leading_zero(number.value, &span, report);
            number.value.parse().map_or(Value::Number, Value::Integer)
        }
        Ast::BooleanLit(boolean) => Value::Boolean(boolean.value),
        Ast::Object(object) => Value::Table(table_from(object, report)),
        Ast::Array(array) => Value::Array(array.elements.into_iter().map(|item| node_from(item, report)).collect()),
        Ast::NullKeyword(_) => Value::Null,
    };
    Node { value, span }
}

/// RFC 8259 §7; the library lets them pass.
fn refuse_control_characters(span: &Span, report: &mut Report<'_>) {
    if let Some(at) = report.quote(span.clone()).bytes().position(|byte| byte < 0x20) {
        let at = span.start + at;
        report.fault(at..at + 1, "a control character in a string", "write it as an escape such as `\\n`");
    }
}

/// RFC 8259 §6; the library lets them pass.
fn refuse_leading_zero(digits: &str, span: &Span, report: &mut Report<'_>) {
    let digits = digits.trim_start_matches('-');
    if digits.starts_with('0') && digits[1..].starts_with(|c: char| c.is_ascii_digit()) {
        report.fault(span.clone(), "a number that begins with 0", "leave the 0 out");
    }
}

fn span_of(range: Range) -> Span {
    range.start..range.end
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

const BYTE_ORDER_MARK: char = '\u{feff}';
/// RFC 8259 and nothing else.
pub(crate) const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};
/// Whatever can be guessed.
const FORGIVING: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_loose_object_property_names: true,
    allow_trailing_commas: true,
    allow_missing_commas: true,
    allow_single_quoted_strings: true,
    allow_hexadecimal_numbers: true,
    allow_unary_plus_numbers: true,
    allow_bare_decimal_point_numbers: true,
    allow_non_finite_numbers: true,
    allow_extended_string_escapes: true,
};
