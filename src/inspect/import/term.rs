//! A value of any of the files, with its place; and the keys of an object, taken out by those who know them.

use std::ops::Range;

use super::found::{Known, Spot, Stated};
use crate::diagnostic::{Diagnostic, Source};
use crate::tree::{Member, Node, Report, Span, Table, Value};

/// A file while it is read, and what there is to say about it.
pub(super) struct Page<'s> {
    source: &'s Source,
    report: Report<'s>,
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct Term {
    pub(super) what: What,
    pub(super) span: Span,
}

/// What a value can be.
#[derive(Clone, Debug)]
pub(super) enum What {
    Text(String),
    Flag(bool),
    List(Vec<Term>),
    Object(Vec<Field>),
    /// Something that only Terraform can work out.
    NotHere,
    /// Anything else, with what people call it.
    Other(&'static str),
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) key: String,
    pub(super) key_span: Span,
    pub(super) value: Term,
}

/// The keys of an object, from which a reader takes what it knows.
#[derive(Debug)]
pub(super) struct Fields {
    fields: Vec<Field>,
    span: Span,
}

impl<'s> Page<'s> {
    pub(super) fn new(source: &'s Source) -> Self {
        Self { source, report: Report::new(source) }
    }

    pub(super) fn source(&self) -> &'s Source {
        self.source
    }

    pub(super) fn report(&mut self) -> &mut Report<'s> {
        &mut self.report
    }

    pub(super) fn fault(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.report.fault(span, message, hint);
    }

    pub(super) fn warning(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.report.warning(span, message, hint);
    }

    pub(super) fn spot(&self, span: Span) -> Spot {
        Spot { source: self.source.clone(), span }
    }

    pub(super) fn finish(self) -> Vec<Diagnostic> {
        self.report.finish()
    }

    /// Says that a value is not known; what stands there instead.
    fn not_here(&mut self, span: Range<usize>) -> String {
        let written = self.report.quote(span.clone());
        let shown: String = written.chars().take(MAX_SHOWN).collect();
        let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        self.warning(span, format!("`{shown}` is not known here"), FROM_STATE);
        shown
    }
}

impl Term {
    /// A boolean. Terraform takes `"true"` for one.
    pub(super) fn flag(self, page: &mut Page<'_>) -> Option<Stated<Known<bool>>> {
        let value = match &self.what {
            What::Flag(value) => Known::Is(*value),
            What::Text(text) if text == "true" => Known::Is(true),
            What::Text(text) if text == "false" => Known::Is(false),
            What::NotHere => Known::NotHere(page.not_here(self.span.clone())),
            _ => return self.refuse("`true` or `false`", page),
        };
        Some(Stated { value, spot: page.spot(self.span) })
    }

    /// A string.
    pub(super) fn text(self, page: &mut Page<'_>) -> Option<Stated<Known<String>>> {
        let value = match self.what {
            What::Text(text) => Known::Is(text),
            What::NotHere => Known::NotHere(page.not_here(self.span.clone())),
            _ => return self.refuse("a string", page),
        };
        Some(Stated { value, spot: page.spot(self.span) })
    }

    /// A list.
    pub(super) fn list(self, page: &mut Page<'_>) -> Option<Stated<Known<Vec<Term>>>> {
        let value = match self.what {
            What::List(items) => Known::Is(items),
            What::NotHere => Known::NotHere(page.not_here(self.span.clone())),
            _ => return self.refuse("an array", page),
        };
        Some(Stated { value, spot: page.spot(self.span) })
    }

    /// Keys with values.
    pub(super) fn object(self, page: &mut Page<'_>) -> Option<Fields> {
        match self.what {
            What::Object(fields) => Some(Fields { fields, span: self.span }),
            What::NotHere => {
                page.not_here(self.span);
                None
            }
            _ => self.refuse("an object", page),
        }
    }

    /// Itself, or the items of a list: in the JSON forms of Terraform an object may stand for a list of one.
    pub(super) fn each(self) -> Vec<Self> {
        match self.what {
            What::List(items) => items,
            _ => vec![self],
        }
    }

    fn refuse<T>(self, wanted: &str, page: &mut Page<'_>) -> Option<T> {
        page.fault(self.span, format!("expected {wanted}, found {}", self.what.kind()), format!("write {wanted}"));
        None
    }
}

impl What {
    fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Flag(_) => "a boolean",
            Self::List(_) => "an array",
            Self::Object(_) => "an object",
            Self::NotHere => "an expression",
            Self::Other(kind) => kind,
        }
    }
}

impl Fields {
    pub(super) fn new(fields: Vec<Field>, span: Span) -> Self {
        Self { fields, span }
    }

    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.fields.iter().any(|field| field.key == key)
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Term> {
        let index = self.fields.iter().position(|field| field.key == key)?;
        Some(self.fields.remove(index).value)
    }

    /// The same; it is a fault when the key is not there.
    pub(super) fn require(&mut self, key: &str, page: &mut Page<'_>) -> Option<Term> {
        let term = self.take(key);
        if term.is_none() {
            page.fault(self.span(), format!("`{key}` is missing"), "is the file whole?");
        }
        term
    }

    /// A string, which stays.
    pub(super) fn text_of(&self, key: &str) -> Option<&str> {
        match &self.fields.iter().find(|field| field.key == key)?.value.what {
            What::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What is left.
    pub(super) fn into_rest(self) -> Vec<Field> {
        self.fields
    }
}

impl From<Table<'_>> for Fields {
    fn from(mut table: Table<'_>) -> Self {
        let span = table.span();
        Self { fields: table.take_all().into_iter().map(Field::from).collect(), span }
    }
}

impl From<Member<'_>> for Field {
    fn from(member: Member<'_>) -> Self {
        Self { key: member.key.into_owned(), key_span: member.key_span, value: member.value.into() }
    }
}

impl From<Node<'_>> for Term {
    /// As deep as the tree is, which has a bound.
    fn from(node: Node<'_>) -> Self {
        let what = match node.value {
            Value::String(text) => What::Text(text.into_owned()),
            Value::Boolean(value) => What::Flag(value),
            Value::Array(items) => What::List(items.into_iter().map(Self::from).collect()),
            Value::Table(table) => What::Object(Fields::from(table).fields),
            Value::Null => What::Other("null"),
            Value::Integer(_) | Value::Number => What::Other("a number"),
            Value::Date(_) => What::Other("a date"),
        };
        Self { what, span: node.span }
    }
}

/// How much is shown of an expression.
const MAX_SHOWN: usize = 80;
const FROM_STATE: &str =
    "import what `terraform show -json` prints instead, which has the values; or decide it in the policy";
