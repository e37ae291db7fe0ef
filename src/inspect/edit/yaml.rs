//! YAML, as Kubernetes, Lima and their kin write it.
//!
//! No maintained crate both edits YAML and keeps it as it was written, so the text is changed here, at places that a
//! parser names, and the result is parsed again: unless it is what was there with that one key set, it is refused.

mod tree;

use self::tree::{Kind, Node};
use super::EditFault;

/// What a key is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// `true` or `false`.
    Flag(bool),
    /// A list of texts.
    List(Vec<String>),
}

/// The text with `value` at the key that `path` leads to; mappings on the way are made where there are none.
///
/// # Errors
/// The text is not one YAML document; something on the way is no mapping; the change cannot be made without another.
pub fn set(text: &str, path: &[&str], value: &Value) -> Result<String, EditFault> {
    let before = tree::parse(text)?;
    let changed = Editor { text, end: line_end(text) }.set(before.as_ref(), path, value)?;
    let mut expected = before;
    tree::put(&mut expected, path, Node::from(value));
    if tree::parse(&changed).ok() != Some(expected) {
        return Err(EditFault::at(text, 0, format!("`{}` cannot be set without changing more", path.join("."))));
    }
    Ok(changed)
}

/// What stands at a path; `None` where there is nothing, or neither a scalar nor a list of them.
///
/// # Errors
/// The text is not one YAML document.
pub fn read(text: &str, path: &[&str]) -> Result<Option<Value>, EditFault> {
    let tree = tree::parse(text)?;
    let found = tree.as_ref().and_then(|root| path.iter().try_fold(root, |node, key| node.member(key)));
    Ok(found.and_then(Value::of))
}

/// Finds where a change goes, and how it is written there.
struct Editor<'t> {
    text: &'t str,
    /// How lines end.
    end: &'static str,
}

/// A key with its value, and whether they stand between braces.
struct Member<'n> {
    key: &'n Node,
    value: &'n Node,
    in_flow: bool,
}

impl Editor<'_> {
    fn set(&self, root: Option<&Node>, path: &[&str], value: &Value) -> Result<String, EditFault> {
        let Some(mut node) = root else { return Ok(self.append(self.text.len(), &self.block(path, value, 0))) };
        let mut member: Option<Member<'_>> = None;
        for (depth, name) in path.iter().enumerate() {
            let rest = &path[depth..];
            match (&node.kind, &member) {
                (Kind::Map(members), _) => match members.iter().find(|(key, _)| key.is_text(name)) {
                    Some((key, value)) => {
                        let in_flow = self.in_flow(node) || member.is_some_and(|member| member.in_flow);
                        member = Some(Member { key, value, in_flow });
                        node = value;
                    }
                    None => return Ok(self.insert(node, members, rest, value)),
                },
                (_, Some(member)) if node.is_null() => return Ok(self.fill(member, rest, value)),
                _ => return Err(self.fault(node, format!("`{name}` cannot be set below what is no mapping"))),
            }
        }
        member.map_or_else(|| Ok(self.text.to_owned()), |member| self.replace(&member, value))
    }

    /// A member behind the last of a mapping.
    fn insert(&self, map: &Node, members: &[(Node, Node)], path: &[&str], value: &Value) -> String {
        let Some((first, _)) = members.first() else {
            return self.splice(map.start, map.end, &format!("{{{}}}", flow(path, value)));
        };
        if self.in_flow(map) {
            let last = members.iter().flat_map(|(key, value)| [key, value]).map(|node| node.content_end(self.text));
            let last = last.fold(map.start, usize::max);
            return self.splice(last, last, &format!(", {}", flow(path, value)));
        }
        self.append(self.end_of_line(map.end), &self.block(path, value, self.column(first.start)))
    }

    /// A mapping where a key has no value.
    fn fill(&self, member: &Member<'_>, path: &[&str], value: &Value) -> String {
        let Node { start, end, .. } = *member.value;
        if member.in_flow {
            let (start, end) = if start == end { self.behind_colon(member.key) } else { (start, end) };
            return self.splice(start, end, &format!(" {{{}}}", flow(path, value)));
        }
        let block = self.block(path, value, self.column(member.key.start) + INDENT);
        if start == end {
            return self.append(self.end_of_line(member.key.end), &block);
        }
        let start = self.text[..start].trim_end().len();
        self.splice(start, end, &format!("{}{block}", self.end))
    }

    /// Another value for a key.
    fn replace(&self, member: &Member<'_>, value: &Value) -> Result<String, EditFault> {
        let node = member.value;
        match (&node.kind, value) {
            _ if node.start == node.end && node.is_null() => {
                let (start, end) = self.behind_colon(member.key);
                Ok(self.splice(start, end, &format!(" {}", inline(value))))
            }
            (Kind::List(items), Value::List(values)) if !items.is_empty() && !self.in_flow(node) => {
                Ok(self.replace_items(node, items, values))
            }
            (Kind::Scalar { .. }, _) | (Kind::List(_), Value::List(_)) => {
                Ok(self.splice(node.start, node.end, &inline(value)))
            }
            _ => Err(self.fault(node, "something of another kind stands here".to_owned())),
        }
    }

    /// Other items in a list of lines; comments between them go before the first.
    fn replace_items(&self, list: &Node, items: &[Node], values: &[String]) -> String {
        let start = self.text[..items[0].start].rfind('\n').map_or(0, |at| at + 1);
        let end = list.content_end(self.text);
        let indent: String = self.text[start..].chars().take_while(|character| *character == ' ').collect();
        let comments = self.text[start..end].lines().filter(|line| line.trim_start().starts_with('#'));
        let items = values.iter().map(|value| format!("{indent}- {}", scalar(value)));
        let lines: Vec<String> = comments.map(str::to_owned).chain(items).collect();
        self.splice(start, end, &lines.join(self.end))
    }

    /// The lines that set `path` to `value` in a mapping whose keys stand in a column.
    fn block(&self, path: &[&str], value: &Value, column: usize) -> String {
        let last = path.len().saturating_sub(1);
        let lines = path.iter().enumerate().map(|(depth, key)| {
            let value = if depth == last { format!(" {}", inline(value)) } else { String::new() };
            format!("{:indent$}{}:{value}", "", scalar(key), indent = column + depth * INDENT)
        });
        lines.collect::<Vec<_>>().join(self.end)
    }

    /// Lines behind the line that ends at a place.
    fn append(&self, place: usize, lines: &str) -> String {
        let (before, after) = self.text.split_at(place);
        match (before.is_empty() || before.ends_with('\n'), after.is_empty()) {
            (true, _) => format!("{before}{lines}{}{after}", self.end),
            (false, true) => format!("{before}{}{lines}{}", self.end, self.end),
            (false, false) => format!("{before}{}{lines}{after}", self.end),
        }
    }

    fn splice(&self, start: usize, end: usize, with: &str) -> String {
        format!("{}{with}{}", &self.text[..start], &self.text[end..])
    }

    fn behind_colon(&self, key: &Node) -> (usize, usize) {
        let place = self.text[key.end..].find(':').map_or(key.end, |at| key.end + at + 1);
        (place, place)
    }

    fn in_flow(&self, node: &Node) -> bool {
        self.text[node.start..].starts_with(['{', '['])
    }

    fn column(&self, place: usize) -> usize {
        let line = self.text[..place].rfind('\n').map_or(0, |at| at + 1);
        self.text[line..place].chars().count()
    }

    fn end_of_line(&self, place: usize) -> usize {
        let end = self.text[place..].find('\n').map_or(self.text.len(), |at| place + at);
        place + self.text[place..end].trim_end_matches('\r').len()
    }

    fn fault(&self, node: &Node, message: String) -> EditFault {
        EditFault::at(self.text, node.start, message)
    }
}

impl Value {
    fn of(node: &Node) -> Option<Self> {
        match &node.kind {
            Kind::Scalar { text, is_plain: true } if text == "true" || text == "false" => {
                Some(Self::Flag(text == "true"))
            }
            Kind::Scalar { text, .. } if !node.is_null() => Some(Self::Text(text.clone())),
            Kind::List(items) => items.iter().map(Node::text).collect::<Option<_>>().map(Self::List),
            _ => None,
        }
    }
}

impl From<&Value> for Node {
    fn from(value: &Value) -> Self {
        match value {
            Value::Text(text) => Node::scalar(text.clone(), is_plain(text)),
            Value::Flag(flag) => Node::scalar(flag.to_string(), true),
            Value::List(items) => {
                Node::list(items.iter().map(|item| Node::scalar(item.clone(), is_plain(item))).collect())
            }
        }
    }
}

fn line_end(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

/// `a: {b: value}`
fn flow(path: &[&str], value: &Value) -> String {
    let Some((key, rest)) = path.split_first() else { return inline(value) };
    let inner = flow(rest, value);
    if rest.is_empty() { format!("{}: {inner}", scalar(key)) } else { format!("{}: {{{inner}}}", scalar(key)) }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Text(text) => scalar(text),
        Value::Flag(flag) => flag.to_string(),
        Value::List(items) => format!("[{}]", items.iter().map(|item| scalar(item)).collect::<Vec<_>>().join(", ")),
    }
}

/// Double quotes as in JSON, which YAML contains, unless nothing in the text could mean anything else.
fn scalar(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

fn is_plain(text: &str) -> bool {
    let is_word = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/');
    let is_address = text.parse::<std::net::Ipv4Addr>().is_ok();
    let has_meaning =
        ["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&&*text.to_ascii_lowercase());
    let is_tame = text.chars().all(|character| character.is_ascii_alphanumeric() || "/._=-".contains(character));
    (is_word || is_address) && !has_meaning && is_tame
}

/// How deep a nested mapping is written.
const INDENT: usize = 2;

#[cfg(test)]
mod tests;
