//! A YAML document as a tree whose nodes know their places.

use std::ops::Range;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};

use super::EditFault;

/// A node. Two are equal if they say the same, wherever they stand.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// The first byte. Of lists and mappings of lines, that of the first item or key.
    pub(super) start: usize,
    /// Behind the last byte.
    pub(super) end: usize,
    pub(super) kind: Kind,
    /// Anchor and tag.
    mark: (usize, Option<Tag>),
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Scalar {
        text: String,
        is_plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    /// What stands at an anchor.
    Alias(usize),
}

/// Reads one document; `None` if there is nothing in it.
pub(super) fn parse(text: &str) -> Result<Option<Node>, EditFault> {
    let mut reader =
        Reader { text, places: text.char_indices().map(|(at, _)| at).collect(), parser: Parser::new_from_str(text) };
    let mut root = None;
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => break,
            (Event::DocumentStart(_), span) if root.is_some() => {
                return Err(reader.fault(span, "a second document begins here"));
            }
            (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing, _) => {}
            (event, span) => root = Some(reader.node(event, span, 0)?),
        }
    }
    Ok(root.filter(|node: &Node| !(node.start == node.end && node.is_null())))
}

/// The tree with `value` at `path`.
pub(super) fn put(node: &mut Option<Node>, path: &[&str], value: Node) {
    let Some((key, rest)) = path.split_first() else {
        *node = Some(value);
        return;
    };
    let map = node.get_or_insert_with(|| Node::new(Kind::Map(Vec::new())));
    if map.is_null() {
        map.kind = Kind::Map(Vec::new());
    }
    let Kind::Map(members) = &mut map.kind else { return };
    let place = members.iter().position(|(name, _)| name.is_text(key)).unwrap_or_else(|| {
        members.push((Node::scalar((*key).to_owned(), true), Node::scalar(String::new(), true)));
        members.len() - 1
    });
    let mut member = Some(members[place].1.clone());
    put(&mut member, rest, value);
    members[place].1 = member.unwrap_or_else(|| Node::scalar(String::new(), true));
}

impl Node {
    fn new(kind: Kind) -> Self {
        Self { start: 0, end: 0, kind, mark: (0, None) }
    }

    pub(super) fn scalar(text: String, is_plain: bool) -> Self {
        Self::new(Kind::Scalar { text, is_plain })
    }

    pub(super) fn list(items: Vec<Node>) -> Self {
        Self::new(Kind::List(items))
    }

    /// A scalar's text.
    pub(super) fn text(&self) -> Option<String> {
        if let Kind::Scalar { text, .. } = &self.kind { Some(text.clone()) } else { None }
    }

    pub(super) fn is_text(&self, other: &str) -> bool {
        matches!(&self.kind, Kind::Scalar { text, .. } if text == other)
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, is_plain: true } if ["", "~", "null", "Null", "NULL"].contains(&text.as_str()))
    }

    pub(super) fn member(&self, key: &str) -> Option<&Node> {
        let Kind::Map(members) = &self.kind else { return None };
        members.iter().find(|(name, _)| name.is_text(key)).map(|(_, value)| value)
    }

    /// Behind the last byte, blank space left out; 0 if it is written as nothing.
    pub(super) fn content_end(&self, text: &str) -> usize {
        match &self.kind {
            Kind::List(_) | Kind::Map(_) => self.end,
            Kind::Scalar { .. } | Kind::Alias(_) if self.start == self.end => 0,
            Kind::Scalar { .. } | Kind::Alias(_) => self.start + text[self.start..self.end].trim_end().len(),
        }
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.mark == other.mark
    }
}

/// Turns events into nodes.
struct Reader<'t> {
    text: &'t str,
    /// The byte at which each character begins.
    places: Vec<usize>,
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), EditFault> {
        let event = self.parser.next_event().unwrap_or(Ok((Event::StreamEnd, Span::default())));
        event.map_err(|error: ScanError| EditFault::at(self.text, self.byte(*error.marker()), error.info()))
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, EditFault> {
        if depth > MAX_DEPTH {
            return Err(self.fault(span, "nested too deeply"));
        }
        let Range { start, mut end } = self.bytes(span);
        let (kind, anchor, tag) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                end = quoted_end(self.text, start).unwrap_or(end);
                (Kind::Scalar { text: text.into_owned(), is_plain: style == ScalarStyle::Plain }, anchor, tag)
            }
            Event::SequenceStart(anchor, tag) => {
                let items = self.items(depth)?;
                end = bracket_end(self.text, start, ']', &items);
                (Kind::List(items), anchor, tag)
            }
            Event::MappingStart(anchor, tag) => {
                let items = self.items(depth)?;
                end = bracket_end(self.text, start, '}', &items);
                (Kind::Map(self.members(items)?), anchor, tag)
            }
            Event::Alias(anchor) => (Kind::Alias(anchor), 0, None),
            _ => return Err(self.fault(span, "a value was expected")),
        };
        Ok(Node { start, end, kind, mark: (anchor, tag.map(std::borrow::Cow::into_owned)) })
    }

    /// What a list or a mapping holds.
    fn items(&mut self, depth: usize) -> Result<Vec<Node>, EditFault> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd | Event::MappingEnd | Event::StreamEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    /// Keys and values in pairs.
    fn members(&self, items: Vec<Node>) -> Result<Vec<(Node, Node)>, EditFault> {
        let mut members: Vec<(Node, Node)> = Vec::new();
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            if members.iter().any(|(other, _)| *other == key) {
                let name = key.text().unwrap_or_default();
                return Err(EditFault::at(self.text, key.start, format!("`{name}` is written twice")));
            }
            members.push((key, value));
        }
        Ok(members)
    }

    fn bytes(&self, span: Span) -> Range<usize> {
        self.byte(span.start)..self.byte(span.end)
    }

    fn byte(&self, marker: Marker) -> usize {
        self.places.get(marker.index()).copied().unwrap_or(self.text.len())
    }

    fn fault(&self, span: Span, message: &str) -> EditFault {
        EditFault::at(self.text, self.byte(span.start), message)
    }
}

/// Behind the quotation mark that closes the one at `start`: the parser counts a comment behind it in.
fn quoted_end(text: &str, start: usize) -> Option<usize> {
    let quote = text[start..].chars().next().filter(|first| ['"', '\''].contains(first))?;
    let mut escaped = false;
    let closing = text[start + 1..].char_indices().find(|(_, character)| {
        let closes = *character == quote && !escaped;
        escaped = *character == '\\' && quote == '"' && !escaped;
        closes
    });
    let end = start + 1 + closing?.0 + 1;
    // In single quotes, two stand for one.
    if quote == '\'' && text[end..].starts_with('\'') { quoted_end(text, end) } else { Some(end) }
}

/// Behind the bracket that closes a list or a mapping; of those that have none, behind their last item.
fn bracket_end(text: &str, start: usize, bracket: char, items: &[Node]) -> usize {
    let last = items.iter().map(|item| item.content_end(text)).fold(start, usize::max);
    let has_bracket = text[start..].starts_with(['[', '{']);
    text[last..].find(bracket).filter(|_| has_bracket).map_or(last, |at| last + at + 1)
}

/// More than any configuration file has; it bounds the recursion.
const MAX_DEPTH: usize = 64;
