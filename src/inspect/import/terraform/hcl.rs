//! A configuration in Terraform's own language. References to locals, and to what another resource of the same file says,
//! are followed; variables, functions and the rest only Terraform can work out.

use std::collections::HashMap;

use hcl_edit::Span as _;
use hcl_edit::expr::{Expression, FuncCall, Object, ObjectKey, Traversal, TraversalOperator};
use hcl_edit::structure::{Block, BlockLabel, Body, Structure};

use super::super::found::Found;
use super::super::term::{Field, Fields, Page, Term, What};
use super::{ZERO, read_resource};
use crate::tree::Span;

/// Reads the file. Of syntax errors only the first is told, since the library stops there.
pub(in super::super) fn read(page: &mut Page<'_>, found: &mut Found) {
    let text = page.source().text();
    if text.len() > MAX_FILE {
        return page.fault(0..0, format!("a file of {} bytes", text.len()), "a Terraform file has at most 1 MiB here");
    }
    let body = match hcl_edit::parser::parse_body(text) {
        Ok(body) => body,
        Err(error) => {
            let at = error.location().offset();
            return page.fault(at..at + 1, error.message(), "expected Terraform's language; JSON begins with `{`");
        }
    };
    let mut names = Names::of(&body);
    for block in body.blocks().filter(|block| block.has_ident("resource")) {
        let Some(kind) = block.labels.first() else { continue };
        let fields = names.fields(block);
        read_resource(kind.as_str(), fields, page, found);
    }
}

/// What expressions may refer to, by the words of the reference.
struct Names<'b> {
    known: HashMap<Vec<&'b str>, &'b Expression>,
    /// How much more may be made of references, so that a file that multiplies itself comes to an end.
    left: usize,
}

impl<'b> Names<'b> {
    fn of(body: &'b Body) -> Self {
        let mut known = HashMap::new();
        for block in body.blocks() {
            let labels = block.labels.iter().map(BlockLabel::as_str);
            let head: Vec<&str> = match block.ident.as_str() {
                "locals" => vec!["local"],
                "resource" => labels.collect(),
                _ => continue,
            };
            for attribute in block.body.attributes() {
                let path = head.iter().copied().chain([attribute.key.as_str()]).collect();
                known.insert(path, &attribute.value);
            }
        }
        Self { known, left: MAX_TERMS }
    }

    fn fields(&mut self, block: &'b Block) -> Fields {
        let span = block.ident.span().unwrap_or_default();
        let fields = block.body.iter().map(|structure| match structure {
            Structure::Attribute(attribute) => Field {
                key: attribute.key.as_str().to_owned(),
                key_span: attribute.key.span().unwrap_or_default(),
                value: self.term(&attribute.value, MAX_REFERENCES),
            },
            Structure::Block(block) => {
                let key_span = block.ident.span().unwrap_or_default();
                let value = Term { what: What::Other("a block"), span: key_span.clone() };
                Field { key: block.ident.as_str().to_owned(), key_span, value }
            }
        });
        Fields::new(fields.collect(), span)
    }

    /// The recursion is as deep as the library's, which refuses more than 64 levels, times the references followed.
    fn term(&mut self, expression: &'b Expression, references: usize) -> Term {
        let span = expression.span().unwrap_or_default();
        self.left = self.left.saturating_sub(1 + expression.as_str().map_or(0, str::len));
        if self.left == 0 {
            return Term { what: What::NotHere, span };
        }
        let what = match expression {
            Expression::String(text) => What::Text(text.value().clone()),
            Expression::Bool(value) => What::Flag(*value.value()),
            Expression::Array(items) => What::List(items.iter().map(|item| self.term(item, references)).collect()),
            Expression::Object(object) => self.object(object, references),
            Expression::Parenthesis(inner) => return self.term(inner.inner(), references),
            Expression::Traversal(traversal) => return self.follow(traversal, span, references),
            Expression::FuncCall(call) => return self.call(call, span, references),
            Expression::Number(number) if number.value().as_u64() == Some(0) => What::Other(ZERO),
            Expression::Number(_) => What::Other("a number"),
            Expression::Null(_) => What::Other("null"),
            _ => What::NotHere,
        };
        Term { what, span }
    }

    fn object(&mut self, object: &'b Object, references: usize) -> What {
        let mut fields = Vec::with_capacity(object.len());
        for (key, value) in object {
            let key_span = key.span().unwrap_or_default();
            let key = match key {
                ObjectKey::Ident(key) => key.as_str(),
                ObjectKey::Expression(Expression::String(key)) => key.value(),
                ObjectKey::Expression(_) => return What::NotHere,
            };
            fields.push(Field { key: key.to_owned(), key_span, value: self.term(value.expr(), references) });
        }
        What::Object(fields)
    }

    /// What a reference refers to; its place is the reference's, where people look first.
    fn follow(&mut self, traversal: &'b Traversal, span: Span, references: usize) -> Term {
        let known = words(traversal).and_then(|words| self.known.get(&words).copied());
        match known {
            Some(expression) if references > 0 => Term { span, ..self.term(expression, references - 1) },
            _ => Term { what: What::NotHere, span },
        }
    }

    /// `toset` and `tolist` make a set or a list of what is one to us.
    fn call(&mut self, call: &'b FuncCall, span: Span, references: usize) -> Term {
        let is_plain = !call.name.is_namespaced() && ["toset", "tolist"].contains(&call.name.name.as_str());
        let mut arguments = call.args.iter();
        match (arguments.next(), arguments.next()) {
            (Some(list), None) if is_plain => self.term(list, references),
            _ => Term { what: What::NotHere, span },
        }
    }
}

/// The words of a reference; `None` when it is more than words with dots between.
fn words(traversal: &Traversal) -> Option<Vec<&str>> {
    let first = traversal.expr.as_variable()?.as_str();
    let rest = traversal.operators.iter().map(|operator| match operator.value() {
        TraversalOperator::GetAttr(name) => Some(name.as_str()),
        _ => None,
    });
    std::iter::once(Some(first)).chain(rest).collect()
}

/// More than any configuration has in one file.
const MAX_FILE: usize = 1 << 20;
/// How many references are followed one after another.
const MAX_REFERENCES: usize = 4;
/// How many values and characters are made of a file's expressions.
const MAX_TERMS: usize = 1 << 20;
