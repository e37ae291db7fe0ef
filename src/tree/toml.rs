//! TOML into a tree.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Member, Node, Report, Span, Table, Value};

/// Reads what can be read; syntax errors and keys written twice go into the report.
pub(super) fn parse<'s>(text: &'s str, report: &mut Report<'_>) -> Table<'s> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        complain(error.span().unwrap_or(0..0), error.message(), report);
    }
    let span = table.span();
    table_from(table.into_inner(), span, text)
}

/// The library says both what is wrong and what it expected.
fn complain(span: Span, message: &str, report: &mut Report<'_>) {
    if message == DUPLICATE_KEY {
        let message = format!("`{}` is written twice", report.quote(span.clone()));
        return report.broken(span, message, "keep one of them");
    }
    let (message, expected) = message.split_once(", expected ").unwrap_or((message, "TOML (https://toml.io)"));
    report.broken(span, message, format!("expected {expected}"));
}

fn table_from<'s>(table: DeTable<'s>, span: Span, text: &'s str) -> Table<'s> {
    let mut members: Vec<Member<'s>> = table
        .into_iter()
        .map(|(key, value)| Member { key_span: key.span(), key: key.into_inner(), value: node_from(value, text) })
        .collect();
    // The library keeps keys sorted by name.
    members.sort_by_key(|member| member.key_span.start);
    Table::new(members, span)
}

/// The recursion is as deep as the library's, which refuses more than 80 levels.
fn node_from<'s>(value: Spanned<DeValue<'s>>, text: &'s str) -> Node<'s> {
    let span = value.span();
    let value = match value.into_inner() {
        DeValue::String(text) => Value::String(text),
        DeValue::Integer(digits) => {
            i64::from_str_radix(digits.as_str(), digits.radix()).map_or(Value::Number, Value::Integer)
        }
        DeValue::Float(_) => Value::Number,
        DeValue::Boolean(value) => Value::Boolean(value),
        DeValue::Datetime(_) => Value::Date(text.get(span.clone()).unwrap_or_default()),
        DeValue::Array(items) => Value::Array(items.into_iter().map(|item| node_from(item, text)).collect()),
        DeValue::Table(table) => Value::Table(table_from(table, span.clone(), text)),
    };
    Node { value, span }
}

/// What the library says of a key that is there already.
const DUPLICATE_KEY: &str = "duplicate key";
